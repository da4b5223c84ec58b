//! How a component becomes HTML.

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use serde::Serialize;
use serde_json::{Map, Value};

use super::context::Context;
use super::failure::Failure;

type Function<T> = dyn Fn(&T) -> Result<String, Failure> + Send + Sync;

/// A value that follows from the component's properties.
pub(super) struct Computed<T> {
    pub(super) name: &'static str,
    pub(super) compute: Box<dyn Fn(&T) -> Value + Send + Sync>,
}

/// What a template asks for beside the properties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    /// Nothing: the properties can be handed to it as they are.
    Properties,
    /// Computed properties, errors or the id.
    More,
}

/// A component's view.
pub(super) enum View<T> {
    Empty,
    Template { environment: Box<Environment<'static>>, asks: Asks },
    Function(Box<Function<T>>),
}

const NAME: &str = "view";

impl<T: Serialize> View<T> {
    pub(super) fn template(class: &str, source: &'static str) -> Self {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        if let Err(error) = environment.add_template(NAME, source) {
            panic!("the template of {class} does not compile: {error:#}");
        }
        let names = environment.get_template(NAME).map(|view| view.undeclared_variables(false)).unwrap_or_default();
        // Whatever the properties do not give has to come from elsewhere; looked at again when rendering.
        let asks = if names.contains("errors") || names.contains("id") { Asks::More } else { Asks::Properties };
        Self::Template { environment: Box::new(environment), asks }
    }

    pub(super) fn html(&self, component: &T, computed: &[Computed<T>], context: &Context) -> Result<String, Failure> {
        match self {
            Self::Empty => Ok(String::new()),
            Self::Function(render) => render(component),
            Self::Template { environment, asks } => {
                let view = environment.get_template(NAME)?;
                let rendered = if *asks == Asks::Properties && computed.is_empty() {
                    view.render(Serde(component))
                } else {
                    view.render(Serde(everything(component, computed, context)?))
                };
                rendered.map_err(|error| Failure::Exception(format!("{error:#}")))
            }
        }
    }
}

/// The properties, which win, and the rest.
fn everything<T: Serialize>(
    component: &T,
    computed: &[Computed<T>],
    context: &Context,
) -> Result<Map<String, Value>, Failure> {
    let mut values = Map::new();
    values.insert("id".to_owned(), context.component_id.clone().into());
    values.insert("errors".to_owned(), Value::Object(context.errors().clone()));
    values.extend(super::validation::values(component)?);
    values.extend(computed.iter().map(|computed| (computed.name.to_owned(), (computed.compute)(component))));
    Ok(values)
}
