//! Components on a page: the wrapper that clients look for.

use serde_json::{Map, Value};

use crate::component::ClientInfo;
use crate::component::Failure;
use crate::component::engine::{Engine, Mounted};
use crate::vdom::node::escape_html;

/// The wrapper of a mounted component.
pub fn wrapper(mounted: &Mounted) -> String {
    let name = mounted.class.rsplit('\\').next().unwrap_or(&mounted.class);
    // A component without listeners prints a list, as PHP does.
    let listeners = match &mounted.listeners {
        Value::Object(map) if map.is_empty() => "[]".to_owned(),
        listeners => listeners.to_string(),
    };
    let state = mounted.state.to_string();
    let attributes = [
        ("diff:id", mounted.id.as_str()),
        ("diff:class", &mounted.class),
        ("diff:name", name),
        ("diff:state", &state),
        ("diff:fingerprint", &mounted.fingerprint),
        ("diff:listeners", &listeners),
        ("diff:signature", &mounted.signature),
    ];
    let mut html = String::from("<div");
    for (attribute, value) in attributes {
        html.push(' ');
        html.push_str(attribute);
        html.push_str("=\"");
        escape_html(value, &mut html);
        html.push('"');
    }
    html.push_str(" data-diffyne-component data-diffyne-loaded>");
    html.push_str(&mounted.html);
    html.push_str("</div>");
    html
}

/// Mounts a component and wraps it.
pub async fn component(
    engine: &Engine,
    class: &str,
    params: Map<String, Value>,
    client: ClientInfo,
) -> Result<String, Failure> {
    engine.mount(class, params, client).await.map(|mounted| wrapper(&mounted))
}
