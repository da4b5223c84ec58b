//! Islands of components: whatever calls render, and whatever of the view they render, the page shows what the states
//! say that it shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use diffyne_shared::rpc::{CallKind, Transport};
use diffyne_shared::signing::{Signer, SigningKey, VerifyState};
use diffyne_tests::dom;
use diffyne_worker::component::engine::{Engine, PushSlots};
use diffyne_worker::component::{ClientInfo, Definition, Registry, Rules};
use diffyne_worker::vdom::{Node, parse};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const CLASS: &str = "App\\Tests\\Parts";
const ISLANDS: [&str; 3] = ["list", "rows", "inner"];

/// How often the value is computed that the rest of the view shows alone.
static COMPUTED: AtomicUsize = AtomicUsize::new(0);

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Parts {
    title: String,
    count: i64,
    items: Vec<i64>,
    price: i64,
    hidden: String,
}

const VIEW: &str = r#"<main class="{{ title }}"><h1>{{ title }}</h1> {{ count }} {{ costly }} {{ price }}
  <div class="n{{ count }}" diff:island="list">
    {%- block list %}<b>{{ count }}</b> <i>{{ hidden }}</i>
    {% for item in items %}<li diff:key="{{ item }}">{{ item }} {{ title }}</li>{% endfor %}
    {% if count % 3 == 0 %}<p diff:island="inner">{% block inner %}{{ title }}, {{ count }}{% if price %}: {{ price }}{% endif %}{% endblock %}</p>{% endif %}
    {% endblock %}
  </div>
  {% if count % 2 %}<i>odd</i>{% endif %}
  <table><tbody diff:island="rows">{% block rows %}{% for item in items %}<tr diff:key="{{ item }}"><td>{{ item }}<td>{{ title }} {{ id }}</tr>{% endfor %}{% endblock %}</tbody></table>
</main>"#;

fn engine() -> Arc<Engine> {
    let costly = |_: &Parts| {
        COMPUTED.fetch_add(1, Ordering::Relaxed);
        0
    };
    let definition = Definition::<Parts>::new(CLASS)
        .template(VIEW)
        .locked(["price"])
        .hidden(["hidden"])
        .computed("costly", costly)
        .hydrate(|parts, _context| parts.hidden = format!("hidden {}", parts.count))
        .method("set", ["parts", "render"], |parts, context, (new, render): (Value, Vec<Value>)| {
            let new: Parts = serde_json::from_value(new)?;
            *parts = Parts { hidden: format!("hidden {}", new.count), ..new };
            for region in render.iter().filter_map(Value::as_str) {
                if region == "whole" { context.render_whole() } else { context.render_island(region) }
            }
            Ok(())
        });
    let mut registry = Registry::default();
    registry.add(definition);
    registry.add(
        Definition::<Parts>::new("App\\Tests\\Checked")
            .template("<p><b>{{ errors.title | first }}</b><i>{{ title }}</i></p>")
            .rules(Rules::new([("title", "required|min:2")]))
            .method("check", [], |parts, context, ()| context.validate_only(parts, "title")),
    );
    let signer = Signer::new(vec![SigningKey::parse("k").unwrap()], VerifyState::PropertyUpdates, true).unwrap();
    Arc::new(Engine {
        registry,
        signer: ArcSwap::from_pointee(signer),
        app: Arc::new(()),
        debug: true,
        uploads: None,
        release: None,
        push_slots: PushSlots::default(),
    })
}

/// A page with the component: what it shows is what patches have made of it.
struct Page {
    engine: Arc<Engine>,
    id: &'static str,
    tree: Node<'static>,
    state: Value,
    fingerprint: Value,
    signature: Value,
    accepts: Value,
}

/// What the island `inner` shows of a state.
fn inner(state: &Value) -> String {
    let price = if state["price"] == 0 { String::new() } else { format!(": {}", state["price"]) };
    format!("{}, {}{price}", state["title"].as_str().unwrap(), state["count"])
}

/// The tree of the view with this state, as it has to be.
fn expected(state: &Value) -> Node<'static> {
    let (title, count, price) = (state["title"].as_str().unwrap(), state["count"].as_i64().unwrap(), &state["price"]);
    let items: Vec<i64> = serde_json::from_value(state["items"].clone()).unwrap();
    let each = |html: &dyn Fn(&i64) -> String| items.iter().map(html).collect::<String>();
    let list = each(&|item| format!(r#"<li diff:key="{item}">{item} {title}</li>"#));
    let rows = each(&|item| format!(r#"<tr diff:key="{item}"><td>{item}</td><td>{title} c1</td></tr>"#));
    let inner = if count % 3 == 0 { format!(r#"<p diff:island="inner">{}</p>"#, inner(state)) } else { String::new() };
    let odd = if count % 2 == 1 { "<i>odd</i>" } else { "" };
    let html = format!(
        r#"<main class="{title}"><h1>{title}</h1> {count} 0 {price}
            <div class="n{count}" diff:island="list"><b>{count}</b> <i>hidden {count}</i>{list}{inner}</div>{odd}
            <table><tbody diff:island="rows">{rows}</tbody></table></main>"#
    );
    owned(&parse(&html).unwrap())
}

/// What a tree shows, with white space as one reads it.
fn html(tree: &Node<'_>) -> String {
    dom::sorted(tree).to_html().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A tree that borrows nothing.
fn owned(node: &Node<'_>) -> Node<'static> {
    match node {
        Node::Text(text) => Node::Text(text.to_string().into()),
        Node::Comment(text) => Node::Comment(text.to_string().into()),
        Node::Element(element) => Node::Element(diffyne_worker::vdom::Element {
            tag: element.tag.to_string().into(),
            attributes: element
                .attributes
                .iter()
                .map(|(name, value)| (name.to_string().into(), value.to_string().into()))
                .collect(),
            children: element.children.iter().map(owned).collect(),
        }),
    }
}

fn island<'t, 'a>(tree: &'t Node<'a>, name: &str) -> Option<&'t Node<'a>> {
    let Node::Element(element) = tree else { return None };
    if element.attribute("diff:island") == Some(name) {
        return Some(tree);
    }
    element.children.iter().find_map(|child| island(child, name))
}

/// Gives an island other children; its element stays.
fn replace(tree: &mut Node<'static>, name: &str, children: &[Node<'static>]) {
    let Node::Element(element) = tree else { return };
    if element.attribute("diff:island") == Some(name) {
        element.children = children.to_vec();
    } else {
        element.children.iter_mut().for_each(|child| replace(child, name, children));
    }
}

fn children(node: &Node<'static>) -> Vec<Node<'static>> {
    if let Node::Element(element) = node { element.children.clone() } else { Vec::new() }
}

impl Page {
    fn new(engine: &Arc<Engine>, state: &Value, accepts: &[&str]) -> Self {
        let signature = engine.signer.load().sign_locked(CLASS, "c1", state, &["price"]).into();
        Self {
            engine: Arc::clone(engine),
            id: "c1",
            tree: expected(state),
            state: state.clone(),
            fingerprint: json!("f"),
            signature,
            accepts: json!(accepts),
        }
    }

    async fn call(&mut self, more: Value) -> anyhow::Result<Value> {
        let signature = self.signature.as_str().context("a signature")?;
        let (signature, lock) = signature.split_once('.').unwrap_or((signature, ""));
        let mut message = json!({"componentId": self.id, "componentClass": CLASS, "method": "set", "moves": true, "exact": true,
            "state": self.state, "fingerprint": self.fingerprint, "signature": signature, "lock": lock, "accepts": self.accepts});
        for (name, value) in more.as_object().context("an object")? {
            message[name] = value.clone();
        }
        let client = ClientInfo { transport: Transport::Ws, ..ClientInfo::default() };
        let answer = self.engine.run(CallKind::Call, client, message.to_string().as_bytes()).await;
        let answer: Value = serde_json::from_slice(&answer.data)?;
        anyhow::ensure!(answer["s"] == true, "{answer}");
        let component = &answer["c"];
        self.tree = owned(&dom::apply(&self.tree, component["p"].as_array().context("patches")?)?);
        for (name, patches) in component["islands"].as_object().into_iter().flatten() {
            let patches = patches.as_array().context("patches")?;
            // One that the view does not show now.
            let Some(element) = island(&self.tree, name) else { continue };
            // As client.js does: the element itself belongs to what is around it.
            let whole = patches
                .iter()
                .find(|patch| ["R", "c"].contains(&patch["t"].as_str().unwrap_or_default()) && patch["p"] == json!([]));
            let now = match whole {
                Some(patch) => dom::apply(element, &[json!({"t": "c", "p": [], "d": patch["d"]})])?,
                None => dom::apply(element, patches)?,
            };
            let now = children(&owned(&now));
            replace(&mut self.tree, name, &now);
        }
        self.state = component["st"].clone();
        self.fingerprint = component["f"].clone();
        self.signature = component["sig"].clone();
        Ok(answer)
    }
}

/// A step of a page: what the call sets, from which island, what the method renders, and whether a field was edited.
type Step = (Value, Option<&'static str>, Vec<&'static str>, Option<String>);

fn step() -> impl Strategy<Value = Step> {
    let state = ("[a-c]", 0i64..7, prop::collection::vec(0i64..6, 0..5), 0i64..3).prop_map(
        |(title, count, mut items, price)| {
            items.dedup();
            items.sort_unstable();
            items.dedup();
            if count % 2 == 0 {
                items.reverse();
            }
            json!({"title": title, "count": count, "items": items, "price": price})
        },
    );
    let region = prop_oneof![3 => Just(None), 5 => prop::sample::select(&ISLANDS[..]).prop_map(Some)];
    let named = prop_oneof![
        5 => Just(Vec::new()),
        1 => Just(vec!["whole"]),
        4 => prop::collection::vec(prop::sample::select(&ISLANDS[..]), 1..3),
    ];
    (state, region, named, prop::option::weighted(0.3, "[d-f]"))
}

/// The islands that a step renders; none: the whole view.
fn rendered((_, asked, named, _): &Step) -> Vec<&'static str> {
    if named.contains(&"whole") { Vec::new() } else { asked.iter().chain(named).copied().collect() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn a_page_shows_what_was_rendered_last_of_each_part(steps in prop::collection::vec(step(), 1..9)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let first = json!({"title": "a", "count": 3, "items": [1, 2], "price": 5});
            let mut page = Page::new(&engine(), &first, &["streams", "islands", "base"]);
            for step in &steps {
                let (state, asked, named, edit) = step;
                let mut message = json!({"params": [state, named], "island": asked});
                if let Some(text) = edit {
                    // A field that nobody has sent yet.
                    let mut edited = page.state.clone();
                    edited["title"] = json!(text);
                    message["state"] = edited;
                    message["base"] = json!({"title": page.state["title"]});
                }
                let mut shown = page.tree.clone();
                let computed = COMPUTED.load(Ordering::Relaxed);
                page.call(message).await.unwrap();
                let regions = rendered(step);
                if regions.is_empty() {
                    shown = expected(state);
                } else if named.is_empty() {
                    prop_assert_eq!(COMPUTED.load(Ordering::Relaxed), computed, "the rest was rendered");
                }
                // Inner ones last: their text is the same as in those around them.
                for region in ISLANDS.iter().filter(|region| regions.contains(region)) {
                    let now = match *region {
                        "inner" => vec![Node::Text(inner(state).into())],
                        region => children(island(&expected(state), region).unwrap()),
                    };
                    replace(&mut shown, region, &now);
                }
                prop_assert_eq!(html(&page.tree), html(&shown), "{:?}", step);
            }
            Ok(())
        })?;
    }
}

/// A page on which the island `list` is newer than the rest.
async fn torn(engine: &Arc<Engine>, accepts: &[&str]) -> anyhow::Result<Page> {
    let first = json!({"title": "a", "count": 1, "items": [1], "price": 5});
    let mut page = Page::new(engine, &first, accepts);
    page.call(json!({"params": [{"title": "b", "count": 2, "items": [2], "price": 6}, []], "island": "list"})).await?;
    Ok(page)
}

#[tokio::test]
async fn what_a_page_says_of_itself_is_believed_where_it_is_signed() -> anyhow::Result<()> {
    let engine = engine();
    let all = ["streams", "islands", "base"];
    let next = json!({"title": "c", "count": 4, "items": [], "price": 7});
    let whole = |answer: &Value| answer["c"]["p"][0]["p"] == json!([]) && answer["c"]["p"][0]["t"] == "c";
    let page = torn(&engine, &all).await?;
    let note = page.fingerprint.as_str().context("a fingerprint")?.to_owned();
    assert!(note.contains("\"price\":5"), "it has the locked value that the rest shows: {note}");

    let mut honest = torn(&engine, &all).await?;
    let answer = honest.call(json!({"params": [next, []]})).await?;
    assert!(!whole(&answer), "{answer}");
    assert_eq!(answer["c"]["f"].as_str().map(str::len), Some(32), "all of it is new: {answer}");
    assert_eq!(html(&honest.tree), html(&expected(&next)));

    let other = note.replace("\"price\":5", "\"price\":4");
    for (name, fingerprint) in
        [("forged", other.as_str()), ("cut", &note[..note.len() - 3]), ("empty", "f."), ("odd", "f.a.b.{}")]
    {
        let mut page = torn(&engine, &all).await?;
        page.fingerprint = json!(fingerprint);
        let answer = page.call(json!({"params": [next, []], "island": "list"})).await?;
        assert!(whole(&answer), "{name}: all of it is sent, as nobody knows what the page shows: {answer}");
        assert_eq!(html(&page.tree), html(&expected(&next)), "{name}");
    }
    // The note of another component.
    let mut page = torn(&engine, &all).await?;
    page.id = "c2";
    page.signature = engine.signer.load().sign_locked(CLASS, "c2", &page.state, &["price"]).into();
    assert!(whole(&page.call(json!({"params": [next, []]})).await?));
    Ok(())
}

#[tokio::test]
async fn who_knows_no_islands_gets_the_whole_and_a_long_note_is_none() -> anyhow::Result<()> {
    let engine = engine();
    let next = json!({"title": "b", "count": 2, "items": [2], "price": 6});
    for accepts in [&[][..], &["streams", "push", "parts"]] {
        let page = torn(&engine, accepts).await?;
        assert_eq!(html(&page.tree), html(&expected(&next)));
        assert_eq!(page.fingerprint.as_str().map(str::len), Some(32));
    }
    let first = json!({"title": "a".repeat(70_000), "count": 1, "items": [1], "price": 5});
    let mut page = Page::new(&engine, &first, &["streams", "islands", "base"]);
    page.call(json!({"params": [next, []], "island": "list"})).await?;
    assert_eq!(html(&page.tree), html(&expected(&next)));
    // A name that the view does not have: a client's is as none, a method's is a fault.
    let mut page = torn(&engine, &["streams", "islands", "base"]).await?;
    page.call(json!({"params": [next, []], "island": "nothing"})).await?;
    assert_eq!(html(&page.tree), html(&expected(&next)));
    let fault = page.call(json!({"params": [next, ["nothing"]]})).await.unwrap_err();
    assert!(fault.to_string().contains("the view has no island nothing"), "{fault}");
    Ok(())
}

#[tokio::test]
async fn errors_that_a_view_shows_go_when_nothing_is_wrong_any_more() -> anyhow::Result<()> {
    let state = json!({"title": "", "count": 0, "items": [], "price": 0, "hidden": ""});
    let mut page = Page::new(&engine(), &state, &["streams", "islands", "base"]);
    page.tree = owned(&parse("<p><b></b><i></i></p>")?);
    let texts = ["The title field is required.", "The title field must be at least 2 characters.", "", ""];
    for (title, text) in ["", "a", "ab", "abc"].into_iter().zip(texts) {
        let mut edited = page.state.clone();
        edited["title"] = json!(title);
        let base = json!({"title": page.state["title"]});
        page.call(json!({"componentClass": "App\\Tests\\Checked", "method": "check", "state": edited, "base": base}))
            .await?;
        assert_eq!(html(&page.tree), format!("<p><b>{text}</b><i>{title}</i></p>"));
    }
    Ok(())
}
