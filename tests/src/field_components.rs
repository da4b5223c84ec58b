//! Components with a field of each kind on a property of each type, one with what patches can go wrong with, and one of
//! which a part is rendered alone: for `tests/tests/page_fields`.

use diffyne_worker::component::{Definition, Registry};
use serde::{Deserialize, Serialize};

/// Their pages, as the gallery's: path, title, class and description.
pub const PAGES: [(&str, &str, &str, &str); 3] = [
    ("/fields", "Fields", "App\\Tests\\Fields", ""),
    ("/patched", "Patches", "App\\Tests\\Patched", ""),
    ("/islands", "Islands", "App\\Tests\\Islands", ""),
];

/// The view of the fields. `turn` makes them all anew.
const FIELDS: &str = r#"<div>{% set tag = "section" if turn % 2 else "form" %}
<{{ tag }} id="form">
  <input id="text" diff:model="text"> <input id="lazy" diff:model.lazy="lazy"> <input id="live" diff:model.live.debounce.1="live">
  <input id="price" type="number" step="any" value="1.5" diff:model.live.debounce.1="price">
  <input id="count" value="5" diff:model="count"> <input id="age" diff:model="age"> <input id="range" type="range" max="200" diff:model="range">
  <textarea id="area" diff:model="area"></textarea> <input id="day" type="date" diff:model="day">
  <input id="on" type="checkbox" diff:model="on"> <input id="digit" type="checkbox" value="1" diff:model="digit">
  <input id="number" type="checkbox" diff:model="number"> <input id="word" type="checkbox" value="yes" diff:model="word">
  {% for word in ["a", "b", "c"] %}<input id="tag-{{ word }}" type="checkbox" value="{{ word }}" diff:model="tags">{% endfor %}
  {% for id in [1, 2, 3] %}<input id="id-{{ id }}" type="checkbox" value="{{ id }}" diff:model="ids">{% endfor %}
  {% for size in ["s", "m", "l"] %}<input id="size-{{ size }}" type="radio" name="size" value="{{ size }}" diff:model="size">{% endfor %}
  {% for is in [1, 0] %}<input id="sure-{{ is }}" type="radio" name="sure" value="{{ is }}" diff:model="sure">{% endfor %}
  {% for n in [1, 2] %}<input id="floor-{{ n }}" type="radio" value="{{ n }}" diff:model="floor">{% endfor %}
  <select id="city" diff:model="city"><option value="">none</option><option>Rome</option><option>Oslo</option></select>
  <select id="open" diff:model="open"><option value="1">yes</option><option value="0">no</option></select>
  <select id="room" diff:model="room"><option value="">none</option><option>1</option><option>2</option></select>
  <select id="days" multiple diff:model="days"><option>mon</option><option>tue</option><option>wed</option></select>
  <select id="rows" multiple diff:model="rows"><option>1</option><option>2</option><option>3</option></select>
  <input id="file" type="file" diff:model="file"> <input id="kind" type="{{ "text" if turn % 2 else "number" }}" diff:model="kind">
</{{ tag }}>
<button id="save" diff:click="save">save</button> <button id="fill" diff:click="fill">fill</button>
<button id="empty" diff:click="empty">empty</button> <button id="new" diff:click="turned">anew</button>
<button id="tell" diff:click="tell">tell</button> <button id="reset" type="reset" form="form">reset</button>
<pre id="dump">{{ dump }}</pre>
</div>"#;

#[derive(Serialize, Deserialize)]
#[serde(default)]
struct Fields {
    text: String,
    lazy: String,
    live: String,
    price: f64,
    count: i64,
    age: Option<i64>,
    range: i64,
    area: String,
    day: String,
    on: bool,
    digit: String,
    number: i64,
    word: String,
    tags: Vec<String>,
    ids: Vec<i64>,
    size: String,
    sure: bool,
    floor: i64,
    city: String,
    open: bool,
    room: Option<i64>,
    days: Vec<String>,
    rows: Vec<i64>,
    file: String,
    kind: String,
    turn: i64,
    calls: i64,
}

impl Default for Fields {
    fn default() -> Self {
        let list = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect();
        Self {
            text: "a".to_owned(),
            lazy: "a".to_owned(),
            live: String::new(),
            price: 1.5,
            count: 5,
            age: None,
            range: 150,
            area: "a\nb".to_owned(),
            day: "2026-01-02".to_owned(),
            on: false,
            digit: "0".to_owned(),
            number: 1,
            word: "yes".to_owned(),
            tags: list(&["b"]),
            ids: Vec::new(),
            size: "m".to_owned(),
            sure: false,
            floor: 2,
            city: "Oslo".to_owned(),
            open: false,
            room: None,
            days: list(&["mon", "wed"]),
            rows: vec![2],
            file: String::new(),
            kind: String::new(),
            turn: 0,
            calls: 0,
        }
    }
}

/// Other values than a page begins with.
fn other() -> Fields {
    Fields {
        text: "other".to_owned(),
        lazy: "other".to_owned(),
        live: "other".to_owned(),
        price: 2.25,
        count: 6,
        age: Some(7),
        range: 50,
        area: "other".to_owned(),
        day: "2026-03-04".to_owned(),
        on: true,
        digit: "1".to_owned(),
        number: 0,
        word: String::new(),
        tags: vec!["a".to_owned(), "c".to_owned()],
        ids: vec![1, 3],
        size: "l".to_owned(),
        sure: true,
        floor: 1,
        city: String::new(),
        open: true,
        room: Some(2),
        days: vec!["tue".to_owned()],
        rows: vec![1, 3],
        ..Fields::default()
    }
}

fn fields() -> Definition<Fields> {
    let fill = |fields: &mut Fields| *fields = Fields { turn: fields.turn, calls: fields.calls + 1, ..other() };
    Definition::<Fields>::new("App\\Tests\\Fields")
        .template(FIELDS)
        .computed("dump", |fields: &Fields| serde_json::to_string(fields).unwrap_or_default())
        .updated(|fields, _context, _property| fields.live = fields.live.trim().to_owned())
        .method("save", [], |fields, _context, ()| fields.calls += 1)
        .method("fill", [], move |fields, _context, ()| fill(fields))
        .method("heard", ["text"], move |fields, _context, (_text,): (String,)| fill(fields))
        .method("empty", [], |fields, _context, ()| {
            fields.live = String::new();
            fields.calls += 1;
        })
        .method("turned", [], |fields, _context, ()| fields.turn += 1)
        .method("tell", [], |_fields, context, ()| context.dispatch("fields-told", vec!["x".into()]))
        .listen("fields-told", "heard")
}

/// Rows, words and elements that patches change, and a child of another component.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Patched {
    step: i64,
    rows: i64,
}

const PATCHED: &str = r##"<div>
<p id="words"><b>Hello</b> <i>world</i>{% if step % 2 %} <u>again</u>{% endif %}</p>
<p id="tight"><b>a</b><i>b</i>{% if step % 2 %}<u>c</u>{% endif %}</p>
<ul id="tags">
  {% for tag in (["a", "b", "c"] if step % 2 else ["c", "a"]) %}
  <li style="display: inline" diff:key="{{ tag }}"><b>{{ tag }}</b> <i>{{ tag }}</i></li>
  {% endfor %}
</ul>
{% if step % 2 %}<p id="late"><b>Hello</b> <i>world</i></p>
<svg viewBox="0 0 9 9"><defs><linearGradient id="g"/></defs><use xlink:href="#g"/><foreignObject><i>x</i></foreignObject></svg>
<math><mrow><mi>x</mi><annotation-xml encoding="text/html"><p>y</p></annotation-xml></mrow></math>
<template><p>{{ step }}</p></template>{% endif %}
<input id="limited" type="range" min="0" {% if step % 2 %}value="150" max="200"{% else %}value="5" max="10"{% endif %}>
<form id="clobber"><input name="attributes"><input name="closest"><input name="insertBefore"><input name="childNodes"><input name="getAttribute">
  <input name="parentNode"><b>{{ step }}</b>{% if step % 2 %}<i>new</i>{% endif %}</form>
<button id="next" diff:click="next">next</button>
</div>"##;

fn patched() -> Definition<Patched> {
    Definition::<Patched>::new("App\\Tests\\Patched").template(PATCHED).method("next", [], |patched, context, ()| {
        patched.step += 1;
        context.browser_event("went", serde_json::json!({"step": patched.step}));
    })
}

/// A view with an island: what of it is rendered shows in both.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Parts {
    n: i64,
    word: String,
    draft: String,
}

const PARTS: &str = r#"<main>
<p id="rest">{{ n }} {{ word }}</p> <input id="draft" diff:model="draft"> <p id="preview">{{ draft }}</p>
<section id="island" class="n{{ n }}" diff:island="part">{% block part %}<b id="in">{{ n }} {{ word }}</b>
  <ul>{% for item in range(n) %}<li diff:key="{{ item }}">{{ item }}</li>{% endfor %}</ul>
  <input id="word" diff:model.live.debounce.1="word"> <button id="step" diff:click="step">in</button>
  <button id="all" diff:click="step_all">all</button> <button id="up" diff:render="" diff:click="step">up</button>{% endblock %}</section>
<button id="outside" diff:click="step">outside</button> <button id="named" diff:render="part" diff:click="step">named</button>
<button id="alone" diff:click="step_alone">alone</button>
</main>"#;

fn parts() -> Definition<Parts> {
    Definition::<Parts>::new("App\\Tests\\Islands")
        .template(PARTS)
        .method("step", [], |parts, _context, ()| parts.n += 1)
        .method("step_alone", [], |parts, context, ()| {
            parts.n += 1;
            context.render_island("part");
        })
        .method("step_all", [], |parts, context, ()| {
            parts.n += 1;
            context.render_whole();
        })
}

/// Registers them.
pub fn register(registry: &mut Registry) {
    registry.add(fields());
    registry.add(patched());
    registry.add(parts());
}
