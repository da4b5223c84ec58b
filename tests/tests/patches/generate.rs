//! Random views, by kind of template.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::Union;

use super::view::{Attribute, Bound, Element, Item, Keys, Loop, Part};

/// A kind of template, and what makes views of it.
type Kind = (&'static str, fn() -> BoxedStrategy<Part>);

/// The kinds.
pub const KINDS: [Kind; 14] = [
    ("texts and attributes", texts),
    ("`@if` and `@else`: elements and texts that come, go and take each other's place", conditions),
    ("a loop without keys", || loops(vec![Keys::None])),
    ("a loop with keys: added, removed, in another order", || loops(vec![Keys::All("diff:key"), Keys::All("key")])),
    ("items with and without keys side by side", || mixed_keys().boxed()),
    ("fields with values, checkboxes, radio buttons", fields),
    ("`<select>`", selects),
    ("`<pre>` and `<textarea>`", preformatted),
    ("tables with and without `<tbody>`", tables),
    ("SVG and MathML", drawings),
    ("comments", comments),
    ("entities and white space", entities),
    ("nested components, templates, styles and scripts", nested),
    ("elements that the template does not close", unclosed),
];

/// A view of one of these kinds, and of others below it.
pub fn view(kind: usize) -> BoxedStrategy<Part> {
    let (_, own) = KINDS[kind];
    let others = Union::new(KINDS[..13].iter().map(|(_, strategy)| strategy()));
    let children = (own(), proptest::collection::vec(others, 0..2), any::<bool>(), attributes());
    children
        .prop_map(|(own, others, own_first, attributes)| {
            let mut children = others;
            children.insert(if own_first { 0 } else { children.len() }, own);
            Part::Element(Element { tag: "div", attributes, is_spaced: true, is_closed: true, children })
        })
        .boxed()
}

/// A value that stays, or another one after the call.
fn bound<T: Clone + std::fmt::Debug + 'static>(
    values: impl Strategy<Value = T> + Clone + 'static,
) -> impl Strategy<Value = Bound<T>> + Clone {
    let other = proptest::option::weighted(0.5, values.clone());
    (values, other).prop_map(|(before, after)| Bound { after: after.unwrap_or_else(|| before.clone()), before })
}

fn one_of(texts: &'static [&'static str]) -> impl Strategy<Value = String> + Clone {
    select(texts).prop_map(str::to_owned)
}

fn html(texts: &'static [&'static str]) -> BoxedStrategy<Part> {
    bound(one_of(texts)).prop_map(Part::Html).boxed()
}

fn attribute(name: &'static str, values: &'static [&'static str]) -> impl Strategy<Value = Attribute> + Clone {
    bound(proptest::option::weighted(0.7, one_of(values))).prop_map(move |value| Attribute { name, value })
}

const WORDS: &[&str] = &["alpha", "beta 2", "gamma, delta", "0", "7 items", "Ünïcode ✓"];
const VALUES: &[&str] = &["", "a", "b c", "1", "x &amp; y", "&quot;q&quot; &#039;s&#039;"];

fn attributes() -> impl Strategy<Value = Vec<Attribute>> + Clone {
    let one = prop_oneof![
        3 => attribute("class", &["a", "b", "a b", ""]),
        1 => attribute("title", VALUES),
        1 => attribute("data-id", VALUES),
        1 => attribute("style", &["color: red", "display: none;", "width: 50%"]),
        1 => attribute("diff:click", &["add", "add(1, &#039;x&#039;, true)", "remove(2)"]),
        1 => attribute("hidden", &["", "hidden"]),
        1 => attribute("@click", &["open = true", "open = false"]),
        1 => attribute(":class", &["{ &#039;a&#039;: open }"]),
        1 => attribute("x-on:click.prevent", &["go()"]),
        1 => attribute("aria-label", VALUES),
    ];
    proptest::collection::vec(one, 0..3).prop_map(|mut all: Vec<Attribute>| {
        all.sort_by_key(|attribute| attribute.name);
        all.dedup_by_key(|attribute| attribute.name);
        all
    })
}

fn element(tag: &'static str, children: impl Strategy<Value = Vec<Part>> + 'static) -> impl Strategy<Value = Part> {
    (attributes(), any::<bool>(), children).prop_map(move |(attributes, is_spaced, children)| {
        Part::Element(Element { tag, attributes, is_spaced, is_closed: true, children })
    })
}

fn fixed(tag: &'static str, attributes: Vec<Attribute>, children: Vec<Part>) -> Part {
    Part::Element(Element { tag, attributes, is_spaced: false, is_closed: true, children })
}

fn texts() -> BoxedStrategy<Part> {
    let inner = prop_oneof![
        html(WORDS),
        element("b", html(WORDS).prop_map(|text| vec![text])),
        element("span", html(WORDS).prop_map(|text| vec![text])),
    ];
    element("p", proptest::collection::vec(inner, 0..4)).boxed()
}

fn conditions() -> BoxedStrategy<Part> {
    let plain = || prop_oneof![html(WORDS), texts(), element("i", Just(Vec::new())), comments()];
    let part = prop_oneof![
        2 => (bound(any::<bool>()), plain()).prop_map(|(shown, part)| Part::If(shown, Box::new(part))),
        2 => (plain(), plain()).prop_map(|(before, after)| Part::Exchange(Box::new(before), Box::new(after))),
        1 => plain(),
    ];
    element("section", proptest::collection::vec(part, 1..6)).boxed()
}

/// The numbers of a loop's items before and after the call.
fn numbers(most: usize) -> impl Strategy<Value = Bound<Vec<u8>>> {
    let shuffled = Just((0..9u8).collect::<Vec<_>>()).prop_shuffle();
    let list = (shuffled, 0..=most).prop_map(|(mut list, length)| {
        list.truncate(length);
        list
    });
    let edit = prop_oneof![
        Just(Vec::new()).prop_map(Edit::Other),
        (any::<prop::sample::Index>(), 9..12u8).prop_map(|(at, number)| Edit::Insert(at, number)),
        any::<prop::sample::Index>().prop_map(Edit::Remove),
        any::<[prop::sample::Index; 2]>().prop_map(|[from, to]| Edit::Move(from, to)),
        Just(Edit::Reverse),
        list.clone().prop_map(Edit::Other),
        Just(Edit::Same),
    ];
    (list, proptest::collection::vec(edit, 1..4)).prop_map(|(before, edits)| {
        let after = edits.into_iter().fold(before.clone(), |list, edit| edit.apply(list));
        Bound { before, after }
    })
}

#[derive(Debug, Clone)]
enum Edit {
    Same,
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Move(prop::sample::Index, prop::sample::Index),
    Reverse,
    Other(Vec<u8>),
}

impl Edit {
    fn apply(self, mut list: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Insert(at, number) if !list.contains(&number) => list.insert(at.index(list.len() + 1), number),
            Self::Remove(at) if !list.is_empty() => drop(list.remove(at.index(list.len()))),
            Self::Move(from, to) if !list.is_empty() => {
                let moved = list.remove(from.index(list.len()));
                list.insert(to.index(list.len() + 1), moved);
            }
            Self::Reverse => list.reverse(),
            Self::Other(other) => return other,
            Self::Same | Self::Insert(..) | Self::Remove(_) | Self::Move(..) => {}
        }
        list
    }
}

fn items(item: Vec<Item>, keys: Vec<Keys>) -> impl Strategy<Value = Part> {
    (select(item), select(keys), numbers(8), bound(0..9u8), any::<bool>()).prop_map(
        |(item, keys, numbers, marked, is_spaced)| Part::Loop(Loop { item, keys, numbers, marked, is_spaced }),
    )
}

fn loops(keys: Vec<Keys>) -> BoxedStrategy<Part> {
    let in_list = items(vec![Item::Plain("li"), Item::Rich("li")], keys.clone());
    let in_div = items(vec![Item::Plain("p"), Item::Rich("div"), Item::Text], keys);
    prop_oneof![
        element("ul", in_list.prop_map(|items| vec![items])),
        element("div", in_div.prop_map(|items| vec![items])),
    ]
    .boxed()
}

/// A heading and a last line without keys around items with keys, two loops in one list, or keys for some items only.
fn mixed_keys() -> impl Strategy<Value = Part> {
    let item = || vec![Item::Plain("li"), Item::Rich("li")];
    let line = || {
        (bound(any::<bool>()), html(WORDS))
            .prop_map(|(shown, text)| Part::If(shown, Box::new(fixed("li", Vec::new(), vec![text]))))
    };
    let around = (line(), items(item(), vec![Keys::All("diff:key"), Keys::Some]), line())
        .prop_map(|(first, items, last)| vec![first, items, last]);
    let two = (items(item(), vec![Keys::All("key")]), items(item(), vec![Keys::None, Keys::All("key")]))
        .prop_map(|(keyed, other)| vec![keyed, other]);
    prop_oneof![element("ul", around), element("ol", two)]
}

fn fields() -> BoxedStrategy<Part> {
    let kind = select(&["text", "number", "range", "color", "checkbox", "radio", "hidden", "date"][..]);
    let input = (
        bound(kind.prop_map(str::to_owned)),
        attribute("value", &["", "a", "5", "70", "#ff0000", "2026-01-02", "x &amp; y"]),
        attribute("checked", &["", "checked"]),
        attribute("disabled", &["", "disabled"]),
        any::<bool>(),
    )
        .prop_map(|(kind, value, checked, disabled, value_first)| {
            let kind = Attribute { name: "type", value: Bound { before: Some(kind.before), after: Some(kind.after) } };
            let model = Attribute {
                name: "diff:model.live",
                value: Bound { before: Some("name".to_owned()), after: Some("name".to_owned()) },
            };
            let (first, second) = if value_first { (value, kind) } else { (kind, value) };
            fixed("input", vec![first, second, checked, disabled, model], Vec::new())
        });
    let meter = (attribute("value", &["1", "3"]), attribute("max", &["5", "9"]))
        .prop_map(|(value, max)| fixed("progress", vec![value, max], Vec::new()));
    let details = (attribute("open", &[""]), html(WORDS))
        .prop_map(|(open, text)| fixed("details", vec![open], vec![fixed("summary", Vec::new(), vec![text])]));
    let field = prop_oneof![
        4 => input,
        1 => meter,
        1 => details,
        1 => items(vec![Item::Field], vec![Keys::None, Keys::All("diff:key")]),
        1 => html(WORDS).prop_map(|text| fixed("label", Vec::new(), vec![text])),
    ];
    element("form", proptest::collection::vec(field, 1..4)).boxed()
}

fn selects() -> BoxedStrategy<Part> {
    let options = || items(vec![Item::Option], vec![Keys::None, Keys::All("diff:key")]);
    let grouped = (attribute("label", &["one", "two"]), options())
        .prop_map(|(label, options)| fixed("optgroup", vec![label], vec![options]));
    let content = prop_oneof![3 => options().prop_map(|options| vec![options]), 1 => (options(), grouped).prop_map(|(a, b)| vec![a, b])];
    (content, attribute("multiple", &[""]), attribute("disabled", &["", "disabled"]))
        .prop_map(|(content, multiple, disabled)| fixed("select", vec![multiple, disabled], content))
        .boxed()
}

fn preformatted() -> BoxedStrategy<Part> {
    const LINES: &[&str] = &["x", "\nx", "\n\nx", "a\n  b\n", "&lt;b&gt;", " ", "", "\n", "tab\tand &amp; more"];
    let text = || html(LINES).prop_map(|text| vec![text]);
    let bold = (html(LINES), html(WORDS), html(LINES))
        .prop_map(|(before, inner, after)| vec![before, fixed("b", Vec::new(), vec![inner]), after]);
    let (pre, area) = (prop_oneof![text().boxed(), bold.boxed()], text());
    prop_oneof![
        pre.prop_map(|children| fixed("pre", Vec::new(), children)),
        (area, attribute("rows", &["2", "5"])).prop_map(|(children, rows)| fixed("textarea", vec![rows], children)),
    ]
    .boxed()
}

fn tables() -> BoxedStrategy<Part> {
    let rows = || items(vec![Item::Row], vec![Keys::None, Keys::All("diff:key"), Keys::Some]);
    let head = (bound(any::<bool>()), html(WORDS)).prop_map(|(shown, text)| {
        let cell = fixed("th", Vec::new(), vec![text]);
        Part::If(shown, Box::new(fixed("thead", Vec::new(), vec![fixed("tr", Vec::new(), vec![cell])])))
    });
    let caption = (bound(any::<bool>()), html(WORDS))
        .prop_map(|(shown, text)| Part::If(shown, Box::new(fixed("caption", Vec::new(), vec![text]))));
    let body = (any::<bool>(), rows())
        .prop_map(|(has_body, rows)| if has_body { fixed("tbody", Vec::new(), vec![rows]) } else { rows });
    let fostered = (bound(any::<bool>()), html(WORDS)).prop_map(|(shown, text)| Part::If(shown, Box::new(text)));
    let parts = prop_oneof![
        6 => (caption, head, body).prop_map(|(caption, head, body)| vec![caption, head, body]),
        1 => (rows(), fostered).prop_map(|(rows, text)| vec![rows, text]),
    ];
    element("table", parts).boxed()
}

fn drawings() -> BoxedStrategy<Part> {
    let shape = prop_oneof![
        attribute("d", &["M0 0", "M1 1L2 2"]).prop_map(|d| fixed("path", vec![d], Vec::new())),
        attribute("xlink:href", &["#a", "#b"]).prop_map(|href| fixed("use", vec![href], Vec::new())),
        (attribute("gradientUnits", &["userSpaceOnUse"]), attribute("offset", &["0", "50%"])).prop_map(
            |(units, offset)| fixed("linearGradient", vec![units], vec![fixed("stop", vec![offset], Vec::new())])
        ),
        html(WORDS).prop_map(|text| fixed("text", Vec::new(), vec![text])),
        html(WORDS).prop_map(|text| fixed("title", Vec::new(), vec![text])),
        html(WORDS).prop_map(|text| fixed("a", Vec::new(), vec![fixed("tspan", Vec::new(), vec![text])])),
        html(WORDS).prop_map(|text| fixed("foreignObject", Vec::new(), vec![fixed("p", Vec::new(), vec![text])])),
    ];
    let shown = (bound(any::<bool>()), shape).prop_map(|(shown, shape)| Part::If(shown, Box::new(shape)));
    let drawing = (attribute("viewBox", &["0 0 1 1", "0 0 9 9"]), proptest::collection::vec(shown, 0..4))
        .prop_map(|(view, children)| fixed("svg", vec![view], vec![fixed("g", Vec::new(), children)]));
    let formula = (bound(any::<bool>()), html(&["x", "y", "2"])).prop_map(|(shown, text)| {
        let row = fixed("mrow", Vec::new(), vec![fixed("mi", Vec::new(), vec![text])]);
        fixed("math", Vec::new(), vec![Part::If(shown, Box::new(row))])
    });
    let drawing = prop_oneof![4 => drawing, 1 => formula];
    (bound(any::<bool>()), drawing)
        .prop_map(|(shown, drawing)| fixed("figure", Vec::new(), vec![Part::If(shown, Box::new(drawing))]))
        .boxed()
}

fn comments() -> BoxedStrategy<Part> {
    const COMMENTS: &[&str] =
        &["<!-- a -->", "<!-- b -->", "<!--[if BLOCK]><![endif]-->", "<!-- <b>no element</b> -->", "<!---->"];
    (bound(any::<bool>()), html(COMMENTS)).prop_map(|(shown, comment)| Part::If(shown, Box::new(comment))).boxed()
}

fn entities() -> BoxedStrategy<Part> {
    const TEXTS: &[&str] = &[
        "&nbsp;",
        "&nbsp;x",
        "&amp;lt;b&amp;gt;",
        "&lt;script&gt;",
        "&copy; 2026",
        "&#39;&quot;",
        "\u{3000}",
        "&#8203;",
        "&#x1F600;",
        "a  b",
        "\n  x\n",
        "a &amp b &unknown; c",
        "\u{feff}",
        "&#65279;",
        "x&shy;y",
    ];
    let part = prop_oneof![html(TEXTS), html(TEXTS).prop_map(|text| fixed("b", Vec::new(), vec![text]))];
    element("p", proptest::collection::vec(part, 1..4)).boxed()
}

fn nested() -> BoxedStrategy<Part> {
    let component = (
        attribute("diff:id", &["diffyne-aaaaaaaaaaaaaaaa", "diffyne-bbbbbbbbbbbbbbbb"]),
        attribute("diff:state", &["{&quot;count&quot;:1}", "{&quot;count&quot;:2}"]),
        texts(),
    )
        .prop_map(|(id, state, content)| fixed("div", vec![id, state], vec![content]));
    let template = (texts(), bound(any::<bool>()), texts())
        .prop_map(|(a, shown, b)| fixed("template", Vec::new(), vec![a, Part::If(shown, Box::new(b))]));
    let style = html(&["a > b { color: red }", "p { margin: 0 }", "/* <b> */"])
        .prop_map(|text| fixed("style", Vec::new(), vec![text]));
    let script = html(&["if (1 < 2) { go('&') }", "let x = '<b>';", "//"])
        .prop_map(|text| fixed("script", Vec::new(), vec![text]));
    let without = html(&["<p>off</p>", "<b>off</b>"]).prop_map(|text| fixed("noscript", Vec::new(), vec![text]));
    let part = prop_oneof![4 => component, 2 => template, 1 => style, 1 => script, 1 => without];
    let shown = (bound(any::<bool>()), part).prop_map(|(shown, part)| Part::If(shown, Box::new(part)));
    element("article", proptest::collection::vec(shown, 1..4)).boxed()
}

fn unclosed() -> BoxedStrategy<Part> {
    let open = (select(&["li", "p", "dt", "dd", "b", "a", "i", "option"][..]), texts(), html(WORDS)).prop_map(
        |(tag, inner, text)| {
            Part::Element(Element {
                tag,
                attributes: Vec::new(),
                is_spaced: false,
                is_closed: false,
                children: vec![text, inner],
            })
        },
    );
    let raw = html(&[
        "</p>",
        "</br>",
        "<p><div>x</div></p>",
        "<b>x<i>y</b>z</i>",
        "<a href=1>x<a href=2>y</a>",
        "<form><form>",
    ]);
    let part = prop_oneof![3 => open, 2 => raw, 1 => html(WORDS)];
    let shown = (bound(any::<bool>()), part).prop_map(|(shown, part)| Part::If(shown, Box::new(part)));
    element("div", proptest::collection::vec(shown, 1..4)).boxed()
}
