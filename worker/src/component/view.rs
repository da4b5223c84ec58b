//! Renders components.

use std::hash::{Hash as _, Hasher};
use std::sync::LazyLock;

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use serde::Serialize;
use serde_json::{Map, Value};

use super::context::Context;
use super::islands::{Island, Islands};
use crate::call::CallError;

type RenderFunction<T> = dyn Fn(&T) -> Result<String, CallError> + Send + Sync;

/// A value that is computed from the component's properties.
pub(super) struct Computed<T> {
    pub(super) name: &'static str,
    pub(super) compute: Box<dyn Fn(&T) -> Value + Send + Sync>,
}

/// The variables that a template uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TemplateVariables {
    /// Properties only: the component itself can be the template's data.
    Properties,
    /// Also the errors or the id.
    All,
}

/// A component's view.
pub(super) enum View<T> {
    Empty,
    Template {
        environment: Box<Environment<'static>>,
        variables: TemplateVariables,
        source: &'static str,
        islands: Box<Islands>,
        uses_errors: bool,
    },
    Function(Box<RenderFunction<T>>),
}

const TEMPLATE_NAME: &str = "view";
/// The islands of a view that has none.
static NO_ISLANDS: LazyLock<Islands> = LazyLock::new(Islands::default);

impl<T: Serialize> View<T> {
    pub(super) fn template(class: &str, source: &'static str) -> Self {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        if let Err(error) = environment.add_template(TEMPLATE_NAME, source) {
            panic!("the template of {class} does not compile: {error:#}");
        }
        let names =
            environment.get_template(TEMPLATE_NAME).map(|view| view.undeclared_variables(false)).unwrap_or_default();
        let variables = if names.contains("errors") || names.contains("id") {
            TemplateVariables::All
        } else {
            TemplateVariables::Properties
        };
        let islands = Box::new(Islands::of(class, source, &names));
        let uses_errors = names.contains("errors");
        Self::Template { environment: Box::new(environment), variables, source, islands, uses_errors }
    }

    /// The parts that can be rendered alone.
    pub(super) fn islands(&self) -> &Islands {
        if let Self::Template { islands, .. } = self { islands } else { &NO_ISLANDS }
    }

    /// Whether it shows the errors of fields by itself.
    pub(super) fn uses_errors(&self) -> bool {
        matches!(self, Self::Template { uses_errors: true, .. })
    }

    /// Adds the template to a hash. The code of a function is not known.
    pub(super) fn hash(&self, mut hasher: &mut dyn Hasher) {
        if let Self::Template { source, .. } = self {
            source.hash(&mut hasher);
        }
    }

    pub(super) fn html(&self, component: &T, computed: &[Computed<T>], context: &Context) -> Result<String, CallError> {
        match self {
            Self::Empty => Ok(String::new()),
            Self::Function(render) => render(component),
            Self::Template { environment, variables, .. } => {
                let view = environment.get_template(TEMPLATE_NAME)?;
                let rendered = if *variables == TemplateVariables::Properties && computed.is_empty() {
                    view.render(Serde(component))
                } else {
                    view.render(Serde(all_variables(component, computed.iter(), context)?))
                };
                rendered.map_err(|error| CallError::Exception(format!("{error:#}")))
            }
        }
    }
}

/// Renders an island. Of the computed values, those are computed that it uses.
pub(super) fn island_html<T: Serialize>(
    islands: &Islands,
    island: &Island,
    (component, computed): (&T, &[Computed<T>]),
    context: &Context,
) -> Result<String, CallError> {
    let mut used = computed.iter().filter(|computed| island.uses(computed.name)).peekable();
    let variables = if used.peek().is_none() && !island.uses("errors") && !island.uses("id") {
        Serde(component).into()
    } else {
        Serde(all_variables(component, used, context)?).into()
    };
    islands.html(island, variables).map_err(|error| CallError::Exception(format!("{error:#}")))
}

/// The id, the errors, the properties and the computed values; a later one replaces an earlier one of its name.
fn all_variables<'a, T: Serialize + 'a>(
    component: &T,
    computed: impl Iterator<Item = &'a Computed<T>>,
    context: &Context,
) -> Result<Map<String, Value>, CallError> {
    let mut values = Map::new();
    values.insert("id".to_owned(), context.component_id.clone().into());
    values.insert("errors".to_owned(), Value::Object(context.errors().clone()));
    values.extend(super::validation::values(component)?);
    values.extend(computed.map(|computed| (computed.name.to_owned(), (computed.compute)(component))));
    Ok(values)
}
