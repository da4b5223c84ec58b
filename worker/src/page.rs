//! Components on a page that a Rust program serves: their wrapper elements, and the tag of the client script.
//!
//! ```no_run
//! # use serde_json::json;
//! # use diffyne_worker::{component::{ClientInfo, CallError, engine::Engine}, page::{Page, Script, script_tag}};
//! # async fn example(engine: &Engine, request_headers: String, query: &str) -> Result<String, CallError> {
//! let client = ClientInfo { headers: request_headers, ..ClientInfo::default() };
//! let page = Page::new(engine, client, query);
//! let counter = page.component("App\\Diffyne\\Counter", json!({"count": 5})).await?;
//! let script = script_tag(&Script { source: "/_diffyne/client.js", socket: Some("/diffyne?key=secret"), ..Script::default() });
//! Ok(format!("<!doctype html><body>{counter}{script}"))
//! # }
//! ```

use serde_json::{Map, Value};

use crate::component::engine::{Engine, MountedComponent, new_component_id};
use crate::component::{CallError, ClientInfo};
use crate::vdom::escape_html;

/// A page under construction: who requested it, and its address.
pub struct Page<'a> {
    engine: &'a Engine,
    client: ClientInfo,
    query: Map<String, Value>,
}

impl<'a> Page<'a> {
    /// A page for this client. `query` is the query string of its address, without the `?`.
    pub fn new(engine: &'a Engine, client: ClientInfo, query: &str) -> Self {
        let pairs = form_urlencoded::parse(query.as_bytes());
        let query = pairs.map(|(name, value)| (name.into_owned(), Value::from(value))).collect();
        Self { engine, client, query }
    }

    /// The HTML of a component in its wrapper, with parameters by name (`json!({"count": 5})`). A lazy component is
    /// its placeholder.
    pub async fn component(&self, class: &str, params: Value) -> Result<String, CallError> {
        self.component_with(class, params, &[]).await
    }

    /// The same with slots: HTML that the page gives the component, by name. The component shows it in an empty element,
    /// `<header diff:slot="title"></header>`, and does not know it: it is not part of its state, and stays as it is.
    /// HTML of several elements comes in a `div`. A lazy component has none.
    pub async fn component_with(
        &self,
        class: &str,
        params: Value,
        slots: &[(&str, &str)],
    ) -> Result<String, CallError> {
        let params = match params {
            Value::Object(params) => params,
            Value::Null => Map::new(),
            _ => return Err(CallError::Exception(format!("the parameters of {class} must be an object"))),
        };
        let component = self.engine.registry.get(class);
        if let Some(placeholder) = component.and_then(|component| component.placeholder()) {
            return Ok(lazy_wrapper(
                class,
                self.engine.signed_params(class, params),
                placeholder,
                &self.engine.class_release(class),
            ));
        }
        let mounted = self.engine.mount(class, params, &self.query, self.client.clone(), slots).await?;
        Ok(wrapper(&mounted, &self.engine.class_release(class)))
    }
}

fn open_tag(attributes: &[(&str, &str)], flags: &str) -> String {
    let mut html = String::from("<div");
    for (attribute, value) in attributes {
        html.push(' ');
        html.push_str(attribute);
        html.push_str("=\"");
        escape_html(value, &mut html);
        html.push('"');
    }
    html.push_str(flags);
    html.push('>');
    html
}

fn short_name(class: &str) -> &str {
    class.rsplit('\\').next().unwrap_or(class)
}

/// A mounted component in its wrapper element.
fn wrapper(mounted: &MountedComponent, release: &str) -> String {
    // PHP encodes an empty array as a list, and clients expect that.
    let listeners = match &mounted.listeners {
        Value::Object(map) if map.is_empty() => "[]".to_owned(),
        listeners => listeners.to_string(),
    };
    let attributes = [
        ("diff:id", mounted.id.as_str()),
        ("diff:class", &mounted.class),
        ("diff:name", short_name(&mounted.class)),
        ("diff:state", &mounted.state.to_string()),
        ("diff:fingerprint", &mounted.fingerprint),
        ("diff:listeners", &listeners),
        ("diff:signature", &mounted.signature),
        ("diff:release", release),
    ];
    open_tag(&attributes, " data-diffyne-component data-diffyne-loaded") + &mounted.html + "</div>"
}

fn lazy_wrapper(class: &str, params: Map<String, Value>, placeholder: &str, release: &str) -> String {
    let params = Value::Object(params).to_string();
    let id = new_component_id();
    let attributes = [
        ("diff:id", id.as_str()),
        ("diff:class", class),
        ("diff:name", short_name(class)),
        ("diff:params", &params),
        ("diff:release", release),
    ];
    open_tag(&attributes, " data-diffyne-lazy data-diffyne-component") + placeholder + "</div>"
}

/// The tag of a client script, for [`script_tag`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Script<'a> {
    /// The script's address: `/_diffyne/client.js`, or `/_diffyne/companion.js` beside diffyne.js.
    pub source: &'a str,
    /// Address of the WebSocket, with its key. `None`: AJAX only.
    pub socket: Option<&'a str>,
    /// Address of the AJAX endpoint; `/_diffyne` by default.
    pub endpoint: Option<&'a str>,
    /// Names of components that call over AJAX.
    pub ajax: Option<&'a str>,
}

/// The script tag of a page with components.
pub fn script_tag(script: &Script<'_>) -> String {
    let mut html = String::from("<script type=\"module\"");
    let attributes = [
        ("src", Some(script.source)),
        ("data-url", script.socket),
        ("data-endpoint", script.endpoint),
        ("data-ajax", script.ajax),
    ];
    for (name, value) in attributes {
        if let Some(value) = value {
            html.extend([" ", name, "=\""]);
            escape_html(value, &mut html);
            html.push('"');
        }
    }
    html + "></script>"
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_script_tag_is_escaped() {
        let tag = script_tag(&Script { source: "/c.js", socket: Some("/d?key=a&b"), ..Script::default() });
        assert_eq!(tag, r#"<script type="module" src="/c.js" data-url="/d?key=a&amp;b"></script>"#);
    }
}
