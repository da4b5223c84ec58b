//! Streams: lists of which a component sends only what changes. Their items are on the page alone, neither in the state
//! nor in what is rendered in a call.

use std::collections::BTreeMap;
use std::fmt::Display;

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::call::CallError;
use crate::vdom::{Node, parse_item};

/// The most changes of streams in one call.
const CHANGES_MAX: usize = 10_000;
const TEMPLATE_NAME: &str = "item";
/// The index of a create patch that clients apply at the end of a list, however long it is.
const END: usize = i32::MAX as usize;

/// Where an item goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Index(usize),
    /// Behind the last item.
    Last,
}

/// The index, or -1.
impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Index(index) => serializer.serialize_u64(*index as u64),
            Self::Last => serializer.serialize_i64(-1),
        }
    }
}

/// A change of a stream, before its item is rendered.
#[derive(Debug)]
pub(super) struct StreamChange {
    name: String,
    change: Change<Value>,
}

/// A change of a list of items.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Change<T> {
    /// Inserts an item, or replaces the one with its key where that is.
    Insert { key: String, at: Place, html: T },
    /// Removes an item.
    Delete(String),
    /// Removes items from the end until no more than these are left.
    KeepFirst(usize),
    /// The same from the start.
    KeepLast(usize),
    /// Removes all items.
    Reset(bool),
}

/// A change of a stream as our client scripts apply it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct RenderedChange {
    #[serde(rename = "n")]
    pub(crate) name: String,
    #[serde(flatten)]
    change: Change<String>,
}

/// The changes of a call, not rendered yet.
#[derive(Debug, Default)]
pub(super) struct StreamChanges {
    changes: Vec<StreamChange>,
    /// Why a change was not possible.
    error: Option<String>,
}

impl StreamChanges {
    pub(super) fn stream<'a>(&'a mut self, name: &'a str) -> Stream<'a> {
        Stream { changes: self, name }
    }
}

/// A stream in a call, see [`Context::stream`](super::Context::stream).
#[derive(Debug)]
pub struct Stream<'a> {
    changes: &'a mut StreamChanges,
    name: &'a str,
}

impl Stream<'_> {
    /// Inserts an item behind the last one. An item with this key takes the new form where it is.
    pub fn append(&mut self, key: impl Display, item: &impl Serialize) -> &mut Self {
        self.insert_at(Place::Last, &key, item)
    }

    /// Inserts an item before the first one. An item with this key takes the new form where it is.
    pub fn prepend(&mut self, key: impl Display, item: &impl Serialize) -> &mut Self {
        self.insert_at(Place::Index(0), &key, item)
    }

    /// Inserts an item at this index, or behind the last one of a shorter list. An item with this key takes the new form
    /// where it is.
    pub fn insert(&mut self, index: usize, key: impl Display, item: &impl Serialize) -> &mut Self {
        self.insert_at(Place::Index(index), &key, item)
    }

    fn insert_at(&mut self, at: Place, key: &dyn Display, item: &impl Serialize) -> &mut Self {
        match serde_json::to_value(item) {
            Ok(html) => self.add(Change::Insert { key: key.to_string(), at, html }),
            Err(error) => self.fail(format!("an item of the stream {} is no JSON: {error}", self.name)),
        }
    }

    /// Removes an item.
    pub fn delete(&mut self, key: impl Display) -> &mut Self {
        self.add(Change::Delete(key.to_string()))
    }

    /// Keeps no more items than this, and removes the others from the end: after a prepend to a long list.
    pub fn keep_first(&mut self, most: usize) -> &mut Self {
        self.add(Change::KeepFirst(most))
    }

    /// Keeps no more items than this, and removes the others from the start: after an append to a long list.
    pub fn keep_last(&mut self, most: usize) -> &mut Self {
        self.add(Change::KeepLast(most))
    }

    /// Removes all items.
    pub fn reset(&mut self) -> &mut Self {
        self.add(Change::Reset(true))
    }

    fn add(&mut self, change: Change<Value>) -> &mut Self {
        if self.changes.changes.len() >= CHANGES_MAX {
            return self.fail(format!("a call changes streams more than {CHANGES_MAX} times"));
        }
        self.changes.changes.push(StreamChange { name: self.name.to_owned(), change });
        self
    }

    fn fail(&mut self, text: String) -> &mut Self {
        self.changes.error.get_or_insert(text);
        self
    }
}

/// The templates of a component's items, by stream.
#[derive(Debug, Default)]
pub(super) struct StreamViews(BTreeMap<&'static str, StreamView>);

#[derive(Debug)]
struct StreamView {
    environment: Environment<'static>,
    source: &'static str,
}

impl StreamViews {
    /// # Panics
    /// When the template does not compile.
    pub(super) fn add(&mut self, class: &str, name: &'static str, source: &'static str) {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        if let Err(error) = environment.add_template(TEMPLATE_NAME, source) {
            panic!("the template of the stream {name} of {class} does not compile: {error:#}");
        }
        self.0.insert(name, StreamView { environment, source });
    }

    /// The templates, for the release of the class.
    pub(super) fn sources(&self) -> Vec<(&'static str, &'static str)> {
        self.0.iter().map(|(name, view)| (*name, view.source)).collect()
    }

    /// Whether there is a stream of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Renders the changes of a call.
    pub(super) fn render(&self, changes: &mut StreamChanges) -> Result<Vec<RenderedChange>, CallError> {
        if let Some(text) = changes.error.take() {
            return Err(CallError::Exception(text));
        }
        std::mem::take(&mut changes.changes).into_iter().map(|change| self.render_one(change)).collect()
    }

    fn render_one(&self, StreamChange { name, change }: StreamChange) -> Result<RenderedChange, CallError> {
        let view = self.0.get(name.as_str());
        let view = view.ok_or_else(|| CallError::Exception(format!("the component has no stream {name}")))?;
        let change = match change {
            Change::Insert { key, at, html: item } => {
                let template = view.environment.get_template(TEMPLATE_NAME)?;
                let html = template.render(Serde(json!({"item": item, "key": key})));
                let html = html.map_err(|error| CallError::Exception(format!("{error:#}")))?;
                Change::Insert { html: with_key(&html, &key)?, key, at }
            }
            Change::Delete(key) => Change::Delete(key),
            Change::KeepFirst(most) => Change::KeepFirst(most),
            Change::KeepLast(most) => Change::KeepLast(most),
            Change::Reset(all) => Change::Reset(all),
        };
        Ok(RenderedChange { name, change })
    }
}

/// The HTML of an item as a browser reads it, with its key.
fn with_key(html: &str, key: &str) -> Result<String, CallError> {
    let mut item = parse_item(html)?;
    let Node::Element(element) = &mut item else {
        return Err(CallError::Exception("an item of a stream has to be one element".to_owned()));
    };
    element.attributes.retain(|(name, _)| name != "diff:key");
    element.attributes.insert(0, ("diff:key".into(), key.to_owned().into()));
    Ok(item.to_html())
}

/// The items that a stream has after changes of an empty one: what a new page shows.
pub(super) fn items<'a>(changes: &'a [RenderedChange], stream: &str) -> Result<Vec<Node<'a>>, CallError> {
    let mut items: Vec<(&str, &str)> = Vec::new();
    for RenderedChange { change, .. } in changes.iter().filter(|change| change.name == stream) {
        match change {
            Change::Insert { key, at, html } => {
                let known = items.iter().position(|(other, _)| other == key);
                match (known, at) {
                    (Some(known), _) => items[known].1 = html,
                    (None, Place::Index(index)) => items.insert((*index).min(items.len()), (key, html)),
                    (None, Place::Last) => items.push((key, html)),
                }
            }
            Change::Delete(key) => items.retain(|(other, _)| other != key),
            Change::KeepFirst(most) => items.truncate(*most),
            Change::KeepLast(most) => drop(items.drain(..items.len().saturating_sub(*most))),
            Change::Reset(_) => items.clear(),
        }
    }
    items.into_iter().map(|(_, html)| Ok(parse_item(html)?)).collect()
}

/// The items of a list; `None` where the component has none of this name, and its view says what the element shows.
pub(super) fn items_of<'a>(is_stream: &dyn Fn(&str) -> bool, changes: &'a [RenderedChange], name: &str) -> Content<'a> {
    if is_stream(name) { items(changes, name).map(Some) } else { Ok(None) }
}

/// The inserts of a stream for a client that knows patches alone: the index and the item of each. Such a client cannot
/// find an item by its key, nor count the items that it has.
pub(super) fn inserts<'a>(
    changes: &'a [RenderedChange],
    stream: &'a str,
) -> impl Iterator<Item = Result<(usize, Node<'a>), CallError>> {
    changes.iter().filter(move |change| change.name == stream).filter_map(|RenderedChange { change, .. }| {
        let Change::Insert { at, html, .. } = change else { return None };
        let index = match at {
            Place::Index(index) => (*index).min(END),
            Place::Last => END,
        };
        Some(parse_item(html).map(|item| (index, item)).map_err(CallError::from))
    })
}

/// The content of an element, if it has one that is not rendered with it.
pub(super) type Content<'a> = Result<Option<Vec<Node<'a>>>, CallError>;

/// Puts the items of streams, or slots by name, into the elements of a tree that hold them: those of a new page, or those
/// that a patch makes. Elements without a content of their own (`None`) stay as they are rendered.
pub(super) fn fill<'a>(
    tree: &mut Node<'a>,
    attribute: &str,
    content: &dyn Fn(&str) -> Content<'a>,
) -> Result<(), CallError> {
    let mut left = vec![tree];
    while let Some(node) = left.pop() {
        let Node::Element(element) = node else { continue };
        match element.attribute(attribute).map(str::to_owned) {
            Some(name) => {
                if let Some(children) = content(&name)? {
                    element.children = children;
                }
            }
            None => left.extend(element.children.iter_mut()),
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn views() -> StreamViews {
        let mut views = StreamViews::default();
        views.add("Feed", "posts", "<li>{{ item.text }}</li>");
        views.add("Feed", "rows", "<tr><td>{{ key }}");
        views
    }

    fn html(changes: &[RenderedChange], stream: &str) -> String {
        items(changes, stream).unwrap().iter().map(Node::to_html).collect()
    }

    #[test]
    fn a_new_page_has_the_items_that_the_changes_leave() {
        let (mut changes, views) = (StreamChanges::default(), views());
        let post = |text: &str| json!({"text": text});
        let mut posts = changes.stream("posts");
        posts.append(1, &post("a")).append(2, &post("<b>")).prepend(0, &post("first")).insert(1, "x", &post("x"));
        posts.append(1, &post("a, again")).delete("x").delete("nobody").insert(99, 3, &post("c"));
        let rendered = views.render(&mut changes).unwrap();
        assert_eq!(
            html(&rendered, "posts"),
            r#"<li diff:key="0">first</li><li diff:key="1">a, again</li><li diff:key="2">&lt;b&gt;</li><li diff:key="3">c</li>"#
        );
        assert!(views.render(&mut changes).unwrap().is_empty(), "they are rendered once");
        let mut posts = changes.stream("posts");
        posts
            .append(1, &post("a"))
            .append(2, &post("b"))
            .append(3, &post("c"))
            .keep_last(2)
            .prepend(0, &post("z"))
            .keep_first(2);
        assert_eq!(
            html(&views.render(&mut changes).unwrap(), "posts"),
            r#"<li diff:key="0">z</li><li diff:key="2">b</li>"#
        );
        changes.stream("posts").append(1, &post("a")).reset();
        assert_eq!(html(&views.render(&mut changes).unwrap(), "posts"), "");
    }

    #[test]
    fn the_wire_has_keys_places_and_html() {
        let (mut changes, views) = (StreamChanges::default(), views());
        changes.stream("rows").append("k\"", &()).prepend(7, &()).delete(8).keep_first(5).keep_last(6).reset();
        let rendered = views.render(&mut changes).unwrap();
        let row = |key: &str| format!("<tr diff:key=\"{key}\"><td>{key}</td></tr>");
        assert_eq!(
            serde_json::to_value(&rendered).unwrap(),
            json!([
                {"n": "rows", "insert": {"key": "k\"", "at": -1, "html": row("k&quot;")}},
                {"n": "rows", "insert": {"key": "7", "at": 0, "html": row("7")}},
                {"n": "rows", "delete": "8"},
                {"n": "rows", "keepFirst": 5},
                {"n": "rows", "keepLast": 6},
                {"n": "rows", "reset": true},
            ])
        );
        let indexes: Vec<_> = inserts(&rendered, "rows").map(|insert| insert.unwrap().0).collect();
        assert_eq!(indexes, [END, 0], "a client that knows patches alone gets the inserts");
    }

    #[test]
    fn faults_are_named() {
        let views = views();
        let fails = |change: &dyn Fn(&mut StreamChanges)| {
            let mut changes = StreamChanges::default();
            change(&mut changes);
            format!("{:?}", views.render(&mut changes).unwrap_err())
        };
        assert!(fails(&|changes| _ = changes.stream("nothing").append(1, &())).contains("no stream nothing"));
        let unprintable: std::collections::HashMap<Vec<u8>, u8> = [(vec![1], 1)].into();
        assert!(fails(&|changes| _ = changes.stream("posts").append(1, &unprintable)).contains("is no JSON"));
        assert!(
            fails(&|changes| (0..=CHANGES_MAX).for_each(|key| _ = changes.stream("posts").delete(key)))
                .contains("10000")
        );
    }
}
