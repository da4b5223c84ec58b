//! What an answer renders of a component: its whole view, or islands of it, as it was on the page and as it is now.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::context::Context;
use super::definition::Definition;
use super::islands::ISLAND;
use super::shown::{Note, REST, Shown};
use super::streams::{self, RenderedChange};
use crate::call::CallError;
use crate::vdom::{Node, STREAM, parse, parse_item};

/// The most islands of one view that take the place of others: HTML that users have written may have any in it.
const FILLED_MAX: usize = 10_000;

/// A part of the view that an answer renders.
#[derive(Debug)]
pub(super) struct Region {
    /// The island's name; empty for the whole view.
    pub(super) name: String,
    /// What the page shows; `None` on a new page, and where nobody knows.
    pub(super) before: Option<String>,
    /// What the page shows of islands in it that were rendered alone: name and HTML.
    pub(super) islands: Vec<(String, String)>,
    /// What it is to show.
    pub(super) after: String,
}

/// A region before and after a call.
pub(super) struct Trees<'a> {
    pub(super) name: &'a str,
    pub(super) before: Option<Node<'a>>,
    pub(super) after: Node<'a>,
}

/// What is known of a component before its call.
pub(super) struct Previous<'a> {
    /// The state that the call starts from.
    pub(super) state: &'a Map<String, Value>,
    pub(super) shown: Shown,
    /// The region that the call asks for, and its HTML on the page where that has been rendered.
    pub(super) asked: (String, Option<String>),
}

impl Region {
    /// The whole view of a new page.
    pub(super) fn of_page(html: String) -> Self {
        Self { name: REST.to_owned(), before: None, islands: Vec::new(), after: html }
    }

    /// Its trees; `None` where nothing has changed. What `after` makes anew comes with the items of its streams.
    pub(super) fn trees<'a>(
        &'a self,
        is_stream: &dyn Fn(&str) -> bool,
        changes: &'a [RenderedChange],
    ) -> Result<Option<Trees<'a>>, CallError> {
        if self.before.as_ref() == Some(&self.after) && self.islands.is_empty() && changes.is_empty() {
            return Ok(None);
        }
        let tree = |html: &'a str| if self.name == REST { parse(html) } else { parse_item(html) };
        let mut after = tree(&self.after)?;
        streams::fill(&mut after, STREAM, &|name| streams::items_of(is_stream, changes, name))?;
        let mut before = self.before.as_deref().map(tree).transpose()?;
        if let Some(before) = &mut before {
            fill_islands(before, &self.islands)?;
        }
        Ok(Some(Trees { name: &self.name, before, after }))
    }
}

/// Puts what islands show into a tree, also into those within others.
fn fill_islands<'a>(tree: &mut Node<'a>, islands: &'a [(String, String)]) -> Result<(), CallError> {
    if islands.is_empty() {
        return Ok(());
    }
    let (mut left, mut filled) = (vec![tree], 0);
    while let Some(node) = left.pop() {
        let Node::Element(element) = node else { continue };
        let name = element.attribute(ISLAND);
        if let Some((_, html)) = islands.iter().find(|(island, _)| Some(island.as_str()) == name)
            && filled < FILLED_MAX
            && let Node::Element(island) = &mut parse_item(html)?
        {
            element.children = std::mem::take(&mut island.children);
            filled += 1;
        }
        left.extend(element.children.iter_mut());
    }
    Ok(())
}

impl<T> Definition<T>
where
    T: Default + Serialize + DeserializeOwned + Send + 'static,
{
    /// The island that a call asks for, if there is one; otherwise the whole view.
    pub(super) fn asked_region(&self, context: &Context) -> String {
        let is_known = context.accepts.islands && self.view.islands().get(&context.island).is_some();
        if is_known { context.island.clone() } else { REST.to_owned() }
    }

    /// Renders what the answer shows, by region, and notes what the page shows of the rest after it.
    pub(super) fn answer(
        &self,
        component: &T,
        state: &Value,
        previous: &Previous<'_>,
        context: &mut Context,
    ) -> Result<(Vec<(String, String)>, Note), CallError> {
        let mut names = self.answered_regions(previous, context)?;
        let errors = if context.accepts.base && self.view.uses_errors() { context.errors.clone() } else { Map::new() };
        let mut note = previous.shown.note(self.regions(&names), (previous.state, state), &errors);
        if note.is_too_long() {
            (names, note) = (vec![REST.to_owned()], Note::default());
        }
        let html = |name: String| self.html(&name, component, context).map(|html| (name, html));
        Ok((names.into_iter().map(html).collect::<Result<_, _>>()?, note))
    }

    /// The rendered regions with what the page shows of them.
    pub(super) async fn with_before(
        &self,
        rendered: Vec<(String, String)>,
        previous: &Previous<'_>,
        context: &Context,
    ) -> Result<Vec<Region>, CallError> {
        let mut regions = Vec::with_capacity(rendered.len());
        for (name, after) in rendered {
            let (before, islands) = self.before(&name, previous, context).await?;
            regions.push(Region { name, before, islands, after });
        }
        Ok(regions)
    }

    /// The regions that the call has asked for and its method has named; none is in another one.
    fn answered_regions(&self, previous: &Previous<'_>, context: &Context) -> Result<Vec<String>, CallError> {
        let islands = self.view.islands();
        let named = context.islands.iter().flatten();
        if let Some(unknown) = named.clone().find(|name| islands.get(name).is_none()) {
            return Err(CallError::Exception(format!("the view has no island {unknown}")));
        }
        let is_whole = context.islands.is_none() || previous.shown.is_unknown || !context.accepts.islands;
        let asked = Some(&previous.asked.0).filter(|asked| *asked != REST);
        let mut names: Vec<String> = asked.into_iter().chain(named).cloned().collect();
        names.sort_unstable();
        names.dedup();
        let all = names.clone();
        names.retain(|name| !all.iter().any(|other| islands.get(other).is_some_and(|other| other.has(name))));
        Ok(if is_whole || names.is_empty() { vec![REST.to_owned()] } else { names })
    }

    /// All regions, and whether an answer of these renders them.
    fn regions<'a>(&'a self, names: &'a [String]) -> impl Iterator<Item = (&'a str, bool)> {
        let islands = self.view.islands();
        let is_in = move |region: &str| {
            names
                .iter()
                .any(|name| name == REST || name == region || islands.get(name).is_some_and(|name| name.has(region)))
        };
        [REST]
            .into_iter()
            .chain(islands.all().iter().map(|island| island.name))
            .map(move |region| (region, is_in(region)))
    }

    /// What the page shows of a region, and of islands in it that show another state.
    async fn before(
        &self,
        region: &str,
        previous: &Previous<'_>,
        context: &Context,
    ) -> Result<(Option<String>, Vec<(String, String)>), CallError> {
        let shown = &previous.shown;
        if shown.is_unknown {
            return Ok((None, Vec::new()));
        }
        let html = match &previous.asked {
            (asked, Some(html)) if asked == region => html.clone(),
            _ => self.html_on_page(region, previous, context).await?,
        };
        let all = self.view.islands();
        let within = all
            .all()
            .iter()
            .filter(|island| region == REST || all.get(region).is_some_and(|region| region.has(island.name)));
        let differing: Vec<_> = within.clone().filter(|island| !shown.are_alike(region, island.name)).collect();
        let mut islands = Vec::new();
        for island in within {
            let is_other = differing.iter().any(|other| other.name == island.name || other.has(island.name));
            if is_other {
                islands.push((island.name.to_owned(), self.html_on_page(island.name, previous, context).await?));
            }
        }
        Ok((Some(html), islands))
    }

    /// Renders a region from the state that it shows.
    async fn html_on_page(
        &self,
        region: &str,
        previous: &Previous<'_>,
        context: &Context,
    ) -> Result<String, CallError> {
        let mut state = previous.shown.state(region, previous.state).unwrap_or_else(|| previous.state.clone());
        // What its hook does besides is done by the call itself.
        let mut context = context.for_rendering();
        context.errors = Shown::take_errors(&mut state);
        let mut component = self.restore(&state)?;
        if let Some(hook) = &self.hydrate {
            hook.run(&mut component, &mut context, ()).await?;
        }
        self.html(region, &component, &mut context)
    }
}
