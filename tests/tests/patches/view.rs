//! Views as Blade prints them, before and after a call: what is static is printed twice, what is bound may change.

use std::fmt::Write as _;

/// Which of the two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Before,
    After,
}

/// What a view prints before and after the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound<T> {
    pub before: T,
    pub after: T,
}

impl<T> Bound<T> {
    pub fn of(&self, side: Side) -> &T {
        match side {
            Side::Before => &self.before,
            Side::After => &self.after,
        }
    }
}

/// An attribute; `None` where the view leaves it out.
#[derive(Debug, Clone)]
pub struct Attribute {
    pub name: &'static str,
    pub value: Bound<Option<String>>,
}

/// A part of a view. Texts are HTML: their entities are written out.
#[derive(Debug, Clone)]
pub enum Part {
    /// Printed as it is.
    Html(Bound<String>),
    Element(Element),
    /// `@if`.
    If(Bound<bool>, Box<Part>),
    /// `@if ... @else`: another part after the call.
    Exchange(Box<Part>, Box<Part>),
    /// `@foreach`.
    Loop(Loop),
}

#[derive(Debug, Clone)]
pub struct Element {
    pub tag: &'static str,
    pub attributes: Vec<Attribute>,
    /// Children on lines of their own, as templates are indented.
    pub is_spaced: bool,
    /// Whether the template closes it; a browser closes some elements by itself.
    pub is_closed: bool,
    pub children: Vec<Part>,
}

/// How the items of a loop are told from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    None,
    All(&'static str),
    /// Only items with an even number have a key.
    Some,
}

/// What a loop prints for an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// `<li>` and the like with a text.
    Plain(&'static str),
    /// With a button and a text inside.
    Rich(&'static str),
    /// A row of a table.
    Row,
    /// An option, of which one is selected.
    Option,
    /// A label with a field.
    Field,
    /// Text and no element.
    Text,
}

#[derive(Debug, Clone)]
pub struct Loop {
    pub item: Item,
    pub keys: Keys,
    pub numbers: Bound<Vec<u8>>,
    /// The item whose text changes, or that is selected.
    pub marked: Bound<u8>,
    pub is_spaced: bool,
}

const VOID: [&str; 6] = ["br", "hr", "img", "input", "col", "stop"];

/// A view's output.
pub fn print(part: &Part, side: Side) -> String {
    let mut out = String::new();
    part.print(side, &mut out);
    out
}

impl Part {
    fn print(&self, side: Side, out: &mut String) {
        match self {
            Self::Html(text) => out.push_str(text.of(side)),
            Self::Element(element) => element.print(side, out),
            Self::If(shown, part) if *shown.of(side) => part.print(side, out),
            Self::If(..) => {}
            Self::Exchange(before, after) => if side == Side::Before { before } else { after }.print(side, out),
            Self::Loop(items) => items.print(side, out),
        }
    }
}

impl Element {
    fn print(&self, side: Side, out: &mut String) {
        out.push('<');
        out.push_str(self.tag);
        for attribute in &self.attributes {
            if let Some(value) = attribute.value.of(side) {
                print_attribute(attribute.name, value, out);
            }
        }
        // In SVG an element may close itself.
        let is_empty = self.children.is_empty();
        if VOID.contains(&self.tag) && is_empty {
            out.push_str(if self.tag == "stop" { "/>" } else { ">" });
            return;
        }
        out.push('>');
        for child in &self.children {
            if self.is_spaced {
                out.push_str("\n    ");
            }
            child.print(side, out);
        }
        if self.is_spaced {
            out.push('\n');
        }
        if self.is_closed {
            let _ = write!(out, "</{}>", self.tag);
        }
    }
}

/// A value without quotes stands for a word; an empty one for a boolean attribute.
fn print_attribute(name: &str, value: &str, out: &mut String) {
    let _ = match value {
        "" => write!(out, " {name}"),
        value if value.bytes().all(|byte| byte.is_ascii_alphanumeric()) => write!(out, " {name}={value}"),
        value => write!(out, " {name}=\"{value}\""),
    };
}

impl Loop {
    fn print(&self, side: Side, out: &mut String) {
        for number in self.numbers.of(side) {
            if self.is_spaced {
                out.push_str("\n        ");
            }
            self.print_item(*number, *self.marked.of(side) == *number, out);
        }
    }

    fn print_item(&self, number: u8, is_marked: bool, out: &mut String) {
        let key = match self.keys {
            Keys::All(name) => format!(" {name}=\"k{number}\""),
            Keys::Some if number.is_multiple_of(2) => format!(" diff:key=\"k{number}\""),
            Keys::Some | Keys::None => String::new(),
        };
        let text = if is_marked { "marked" } else { "plain" };
        let _ = match self.item {
            Item::Plain(tag) => write!(out, "<{tag}{key} class=\"{text}\">{number} {text}</{tag}>"),
            Item::Rich(tag) => write!(
                out,
                "<{tag}{key}>\n  <b>{number}</b> {text}\n  <button diff:click=\"remove({number})\"{}>x</button></{tag}>",
                if is_marked { " disabled" } else { "" }
            ),
            Item::Row => write!(out, "<tr{key}>\n<td>{number}</td> <td class=\"{text}\">{text}</td></tr>"),
            Item::Option => {
                write!(
                    out,
                    "<option{key} value=\"{number}\"{}>{number}</option>",
                    if is_marked { " selected" } else { "" }
                )
            }
            Item::Field => write!(
                out,
                "<label{key}>{number} <input type=\"radio\" name=\"r\" value=\"{number}\"{}></label>",
                if is_marked { " checked" } else { "" }
            ),
            Item::Text => write!(out, "{number} {text} <br{key}>"),
        };
    }
}
