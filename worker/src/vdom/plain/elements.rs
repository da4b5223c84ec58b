//! The HTML elements that plain HTML may have, and what the HTML standard's tree builder does with each.

use super::names::NameTable;

/// What the tree builder does with an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing that others are not treated with, as long as its end tag is where it should be: `<span>`, `<b>`.
    Phrasing,
    /// `<a>`: closes another one.
    Link,
    /// Closes an open `<p>`.
    Block,
    /// A list or `<dl>`: a block whose items are its own.
    List,
    /// `<p>`.
    Paragraph,
    /// `<h1>` to `<h6>`.
    Heading,
    /// `<li>`: closes another one.
    ListItem,
    /// `<dt>`, `<dd>`: each closes the other.
    Definition,
    /// `<form>`, of which one is open at a time.
    Form,
    /// `<button>`: closes another one.
    Button,
    /// `<pre>`, whose first line break is dropped.
    Preformatted,
    /// `<table>`.
    Table,
    /// `<caption>`.
    Caption,
    /// `<colgroup>`.
    ColumnGroup,
    /// `<col>`.
    Column,
    /// `<thead>`, `<tbody>`, `<tfoot>`.
    TableSection,
    /// `<tr>`.
    Row,
    /// `<td>`, `<th>`.
    Cell,
    /// `<select>`.
    Select,
    /// `<optgroup>`.
    OptionGroup,
    /// `<option>`.
    Option,
    /// Has no end tag.
    Void,
    /// `<hr>`: has no end tag, and closes an open `<p>`.
    Rule,
    /// Its text is no HTML.
    RawText,
    /// `<textarea>`: its text is no HTML, but for character references. The first line break is dropped.
    Textarea,
    /// `<svg>`.
    Svg,
}

/// What an element may contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Text and elements.
    Flow,
    /// Text.
    Text,
    /// The parts of a table.
    Table,
    /// Columns.
    ColumnGroup,
    /// Rows.
    TableSection,
    /// Cells.
    Row,
    /// Options and groups of them.
    Select,
    /// Options.
    OptionGroup,
    /// Elements of SVG, and text.
    Svg,
}

impl Content {
    /// Whether text may stand here that is not only white space.
    pub(super) fn has_text(self) -> bool {
        matches!(self, Self::Flow | Self::Text | Self::Svg)
    }
}

impl Kind {
    /// What an element of this kind may contain.
    pub(super) fn content(self) -> Content {
        match self {
            Self::Table => Content::Table,
            Self::ColumnGroup => Content::ColumnGroup,
            Self::TableSection => Content::TableSection,
            Self::Row => Content::Row,
            Self::Select => Content::Select,
            Self::OptionGroup => Content::OptionGroup,
            Self::Option => Content::Text,
            Self::Svg => Content::Svg,
            _ => Content::Flow,
        }
    }

    /// Whether an element of this kind may stand in this content. A row may stand in a table, too: its `<tbody>` is implied.
    pub(super) fn may_stand_in(self, content: Content) -> bool {
        match content {
            Content::Flow => !matches!(
                self,
                Self::Caption
                    | Self::ColumnGroup
                    | Self::Column
                    | Self::TableSection
                    | Self::Row
                    | Self::Cell
                    | Self::OptionGroup
            ),
            Content::Table => matches!(self, Self::Caption | Self::ColumnGroup | Self::TableSection | Self::Row),
            Content::ColumnGroup => self == Self::Column,
            Content::TableSection => self == Self::Row,
            Content::Row => self == Self::Cell,
            Content::Select => matches!(self, Self::Option | Self::OptionGroup),
            Content::OptionGroup => self == Self::Option,
            Content::Text | Content::Svg => false,
        }
    }

    /// Whether it has no end tag.
    pub(super) fn is_void(self) -> bool {
        matches!(self, Self::Void | Self::Rule | Self::Column)
    }
}

/// Elements whose tags would do something to the next start tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Scope(u8);

impl Scope {
    const PARAGRAPH: u8 = 1;
    const LINK: u8 = 2;
    const BUTTON: u8 = 4;
    const LIST_ITEM: u8 = 8;
    const DEFINITION: u8 = 16;
    const FORM: u8 = 32;
    const HEADING: u8 = 64;

    /// Whether a start tag of this kind only opens its element.
    pub(super) fn allows(self, kind: Kind) -> bool {
        let closes = match kind {
            Kind::Block | Kind::List | Kind::Paragraph | Kind::Preformatted | Kind::Table | Kind::Rule => {
                Self::PARAGRAPH
            }
            Kind::Heading => Self::PARAGRAPH | Self::HEADING,
            Kind::Form => Self::PARAGRAPH | Self::FORM,
            Kind::ListItem => Self::PARAGRAPH | Self::LIST_ITEM,
            Kind::Definition => Self::PARAGRAPH | Self::DEFINITION,
            Kind::Link => Self::LINK,
            Kind::Button => Self::BUTTON,
            _ => 0,
        };
        self.0 & closes == 0
    }

    /// The scope within an element of this kind.
    pub(super) fn within(self, kind: Kind) -> Self {
        let (left, added) = match kind {
            Kind::Paragraph => (!0, Self::PARAGRAPH),
            Kind::Link => (!0, Self::LINK),
            Kind::Button => (!Self::PARAGRAPH, Self::BUTTON),
            Kind::ListItem => (!0, Self::LIST_ITEM),
            Kind::Definition => (!0, Self::DEFINITION),
            Kind::Form => (!0, Self::FORM),
            Kind::Heading => (!0, Self::HEADING),
            Kind::List => (!(Self::LIST_ITEM | Self::DEFINITION), 0),
            // The boundary of all scopes and of the formatting elements to reopen.
            Kind::Caption | Kind::Cell => (Self::FORM, 0),
            _ => (!0, 0),
        };
        // A heading closes only the heading that it stands in, without an element between them.
        let left = if kind == Kind::Heading { left } else { left & !Self::HEADING };
        Self(self.0 & left | added)
    }
}

/// What the tree builder does with an HTML element, and its name in lower case; `None` for elements that are not plain.
pub(super) fn element(name: &str) -> Option<(&'static str, Kind)> {
    ELEMENTS.get(name)
}

/// Left out on purpose: `applet`, `marquee`, `object`, `template`, `nobr`, `ruby` and its parts, `math`, `noscript`, `xmp`,
/// `plaintext`, `title`, `meta`, `base`, frames, and what belongs to a document's head and body.
static ELEMENTS: NameTable<Kind, 107> = {
    use Kind::{
        Block, Button, Caption, Cell, Column, ColumnGroup, Definition, Form, Heading, Link, List, ListItem, Option,
        OptionGroup, Paragraph, Phrasing, Preformatted, RawText, Row, Rule, Select, Svg, Table, TableSection, Textarea,
        Void,
    };
    NameTable::new([
        ("a", Link),
        ("abbr", Phrasing),
        ("address", Block),
        ("area", Void),
        ("article", Block),
        ("aside", Block),
        ("audio", Phrasing),
        ("b", Phrasing),
        ("bdi", Phrasing),
        ("bdo", Phrasing),
        ("big", Phrasing),
        ("blockquote", Block),
        ("br", Void),
        ("button", Button),
        ("canvas", Phrasing),
        ("caption", Caption),
        ("center", Block),
        ("cite", Phrasing),
        ("code", Phrasing),
        ("col", Column),
        ("colgroup", ColumnGroup),
        ("data", Phrasing),
        ("datalist", Phrasing),
        ("dd", Definition),
        ("del", Phrasing),
        ("details", Block),
        ("dfn", Phrasing),
        ("dialog", Block),
        ("dir", List),
        ("div", Block),
        ("dl", List),
        ("dt", Definition),
        ("em", Phrasing),
        ("embed", Void),
        ("fieldset", Block),
        ("figcaption", Block),
        ("figure", Block),
        ("font", Phrasing),
        ("footer", Block),
        ("form", Form),
        ("h1", Heading),
        ("h2", Heading),
        ("h3", Heading),
        ("h4", Heading),
        ("h5", Heading),
        ("h6", Heading),
        ("header", Block),
        ("hgroup", Block),
        ("hr", Rule),
        ("i", Phrasing),
        ("iframe", RawText),
        ("img", Void),
        ("input", Void),
        ("ins", Phrasing),
        ("kbd", Phrasing),
        ("label", Phrasing),
        ("legend", Phrasing),
        ("li", ListItem),
        ("link", Void),
        ("main", Block),
        ("map", Phrasing),
        ("mark", Phrasing),
        ("menu", List),
        ("meter", Phrasing),
        ("nav", Block),
        ("ol", List),
        ("optgroup", OptionGroup),
        ("option", Option),
        ("output", Phrasing),
        ("p", Paragraph),
        ("picture", Phrasing),
        ("pre", Preformatted),
        ("progress", Phrasing),
        ("q", Phrasing),
        ("s", Phrasing),
        ("samp", Phrasing),
        ("script", RawText),
        ("search", Block),
        ("section", Block),
        ("select", Select),
        ("slot", Phrasing),
        ("small", Phrasing),
        ("source", Void),
        ("span", Phrasing),
        ("strike", Phrasing),
        ("strong", Phrasing),
        ("style", RawText),
        ("sub", Phrasing),
        ("summary", Block),
        ("sup", Phrasing),
        ("svg", Svg),
        ("table", Table),
        ("tbody", TableSection),
        ("td", Cell),
        ("textarea", Textarea),
        ("tfoot", TableSection),
        ("th", Cell),
        ("thead", TableSection),
        ("time", Phrasing),
        ("tr", Row),
        ("track", Void),
        ("tt", Phrasing),
        ("u", Phrasing),
        ("ul", List),
        ("var", Phrasing),
        ("video", Phrasing),
        ("wbr", Void),
    ])
};
