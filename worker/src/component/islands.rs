//! Islands: parts of a view that are rendered alone.
//!
//! An island is the content of an element, `<div diff:island="totals">{% block totals %}..{% endblock %}</div>`. It is a
//! template of its own besides being part of the view, so that a call which concerns it alone renders nothing else.

use std::collections::HashSet;

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment};

/// The attribute of an island's element.
pub(super) const ISLAND: &str = "diff:island";
const ATTRIBUTE: &str = r#"diff:island=""#;

/// The islands of a view.
#[derive(Debug, Default)]
pub(super) struct Islands {
    environment: Environment<'static>,
    islands: Vec<Island>,
}

/// An island of a view.
#[derive(Debug)]
pub(super) struct Island {
    pub(super) name: &'static str,
    /// The tag of its element.
    tag: &'static str,
    /// The islands within it.
    inner: Vec<&'static str>,
    /// The variables that its template uses.
    variables: HashSet<String>,
}

impl Islands {
    /// The islands of a template.
    ///
    /// # Panics
    /// When an island is not what its element holds, or uses a variable that is set outside of it.
    pub(super) fn of(class: &str, source: &'static str, view_variables: &HashSet<String>) -> Self {
        let blocks = blocks(source);
        let elements: Vec<Content> = elements(source)
            .map(|at| {
                Content::at(source, at, &blocks).unwrap_or_else(|| {
                    let name = name_at(source, at);
                    panic!(
                        "the element of the island {name} of {class} has to hold one block of that name and nothing \
                         else: {ATTRIBUTE}{name}\">{{% block {name} %}}..{{% endblock %}}</..>"
                    )
                })
            })
            .collect();
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        // As in the middle of the view.
        if let Ok(syntax) = SyntaxConfig::builder().keep_trailing_newline(true).build() {
            environment.set_syntax(syntax);
        }
        let mut islands = Vec::new();
        for content in &elements {
            let name = content.name;
            assert!(elements.iter().filter(|other| other.name == name).count() == 1, "{class} has two islands {name}");
            if let Err(error) = environment.add_template(name, &source[content.start..content.end]) {
                panic!("the island {name} of {class} does not compile: {error:#}");
            }
            let template = environment.get_template(name);
            let variables = template.map(|template| template.undeclared_variables(false)).unwrap_or_default();
            if let Some(outer) = variables.difference(view_variables).next() {
                panic!("the island {name} of {class} uses {outer}, which the view sets outside of the island");
            }
            let is_inner = |other: &&Content| content.start < other.start && other.end < content.end;
            let inner = elements.iter().filter(is_inner).map(|other| other.name).collect();
            islands.push(Island { name, tag: content.tag, inner, variables });
        }
        Self { environment, islands }
    }

    /// All islands.
    pub(super) fn all(&self) -> &[Island] {
        &self.islands
    }

    /// The island of this name.
    pub(super) fn get(&self, name: &str) -> Option<&Island> {
        self.islands.iter().find(|island| island.name == name)
    }

    /// Renders an island: its element, without attributes, and what it holds.
    pub(super) fn html(&self, island: &Island, variables: minijinja::Value) -> Result<String, minijinja::Error> {
        let content = self.environment.get_template(island.name)?.render(variables)?;
        Ok(format!("<{tag}>{content}</{tag}>", tag = island.tag))
    }
}

impl Island {
    /// Whether it has this other island in it.
    pub(super) fn has(&self, other: &str) -> bool {
        self.inner.contains(&other)
    }

    /// Whether its template uses a variable.
    pub(super) fn uses(&self, variable: &str) -> bool {
        self.variables.contains(variable)
    }
}

/// What an island's element holds: a part of the view's source.
struct Content {
    name: &'static str,
    tag: &'static str,
    start: usize,
    end: usize,
}

impl Content {
    /// The content of the element whose attribute is at this place.
    fn at(source: &'static str, at: usize, blocks: &[Block]) -> Option<Self> {
        let name = name_at(source, at);
        let block = blocks.iter().find(|block| block.name == name && block.start > at)?;
        let (before, after) = (source[..block.start].trim_end(), &source[block.end..]);
        let end = block.end + (after.len() - after.trim_start().len());
        // What stands between the element's tags and the block is white space.
        let is_alone = before.ends_with('>') && !before.ends_with("%}") && source[end..].starts_with("</");
        let tag = source[source[..at].rfind('<')? + 1..].split(|c: char| !c.is_ascii_alphanumeric()).next()?;
        (is_alone && !tag.is_empty() && tag != "template").then_some(Self { name, tag, start: before.len(), end })
    }
}

/// Where the attributes of islands are.
fn elements(source: &str) -> impl Iterator<Item = usize> {
    source.match_indices(ATTRIBUTE).map(|(at, _)| at)
}

fn name_at(source: &'static str, at: usize) -> &'static str {
    source[at + ATTRIBUTE.len()..].split('"').next().unwrap_or_default()
}

/// A block of a template, with its tags.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    name: &'static str,
    start: usize,
    end: usize,
}

/// The blocks of a template that compiles, inner ones first.
fn blocks(source: &'static str) -> Vec<Block> {
    let (mut blocks, mut open, mut at) = (Vec::new(), Vec::new(), 0);
    let behind = |from: usize, end: &str| source[from..].find(end).map_or(source.len(), |found| from + found + 2);
    while let Some(found) = source[at..].find('{') {
        let start = at + found;
        let rest = &source[start..];
        at = match rest.as_bytes().get(1) {
            Some(b'#') => behind(start, "#}"),
            Some(b'{') => behind(start, "}}"),
            Some(b'%') => behind(start, "%}"),
            _ => start + 1,
        };
        if !rest.starts_with("{%") {
            continue;
        }
        let mut words =
            source[start + 2..at].trim_matches(|c: char| "-+%}".contains(c) || c.is_whitespace()).split_whitespace();
        match (words.next(), words.next()) {
            (Some("block"), Some(name)) => open.push((name, start)),
            (Some("endblock"), _) => {
                blocks.extend(open.pop().map(|(name, start)| Block { name, start, end: at }));
            }
            (Some("raw"), _) => at = source[at..].find("endraw").map_or(source.len(), |end| at + end),
            _ => {}
        }
    }
    blocks
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashSet;

    use super::{Islands, blocks};

    const VIEW: &str = r#"{# {% block no %} #}<main>{{ '{% block no %}' }}{% raw %}{% block no %}{% endraw %}
        <p>{{ title }}</p>
        <table><tbody class="{% if a > 1 %}many{% endif %}" diff:island="rows">
            {%- block rows -%} <tr><td diff:island="cell">{% block cell %}{{ cell }}{% endblock cell %}</td></tr>{% endblock %}
        </tbody></table>
        {% block plain %}{{ title }}{% endblock %}
    </main>"#;

    fn islands(view: &'static str) -> Islands {
        let names = ["title", "a", "cell", "items"].map(str::to_owned);
        Islands::of("Shop", view, &HashSet::from(names))
    }

    #[test]
    fn blocks_are_found_and_nothing_else_is() {
        let names: Vec<_> = blocks(VIEW).into_iter().map(|block| block.name).collect();
        assert_eq!(names, ["cell", "rows", "plain"]);
    }

    #[test]
    fn an_island_is_what_its_element_holds() {
        let islands = islands(VIEW);
        let names: Vec<_> = islands.all().iter().map(|island| island.name).collect();
        assert_eq!(names, ["rows", "cell"]);
        let (rows, cell) = (islands.get("rows").unwrap(), islands.get("cell").unwrap());
        assert!(rows.has("cell") && !cell.has("rows") && !rows.has("rows"));
        assert!(rows.uses("cell") && !rows.uses("title"));
        let html = |island| islands.html(island, minijinja::context! { cell => "<5>" }).unwrap();
        assert_eq!(html(cell), "<td>&lt;5&gt;</td>");
        // White space as in the view.
        assert_eq!(html(rows), "<tbody><tr><td diff:island=\"cell\">&lt;5&gt;</td></tr>\n        </tbody>");
    }

    #[test]
    fn what_cannot_be_an_island_is_named() {
        let text = |view: &'static str| {
            let panic = std::panic::catch_unwind(|| islands(view)).unwrap_err();
            panic
                .downcast_ref::<String>()
                .cloned()
                .unwrap_or_else(|| (*panic.downcast_ref::<&str>().unwrap()).to_owned())
        };
        for view in [
            r#"<p diff:island="a">text</p>"#,
            r#"<p diff:island="a">text {% block a %}{% endblock %}</p>"#,
            r#"<p diff:island="a">{% block a %}{% endblock %} text</p>"#,
            r#"<p diff:island="a">{% if a %}{% block a %}{% endblock %}{% endif %}</p>"#,
            r#"<p diff:island="a">{% block b %}{% endblock %}</p>"#,
            r#"<template diff:island="a">{% block a %}{% endblock %}</template>"#,
        ] {
            assert!(text(view).contains("has to hold one block of that name"), "{view}: {}", text(view));
        }
        let twice =
            r#"<p diff:island="a">{% block a %}{% endblock %}</p><p diff:island="a">{% block a %}{% endblock %}</p>"#;
        assert!(text(twice).contains("two islands a"));
        for view in [
            r#"{% for item in items %}<p diff:island="a">{% block a %}{{ item }}{% endblock %}</p>{% endfor %}"#,
            r#"{% set item = title %}<p diff:island="a">{% block a %}{{ item }}{% endblock %}</p>"#,
            r#"{% macro item() %}x{% endmacro %}<p diff:island="a">{% block a %}{{ item() }}{% endblock %}</p>"#,
        ] {
            assert!(text(view).contains("uses item, which the view sets outside"), "{view}: {}", text(view));
        }
    }
}
