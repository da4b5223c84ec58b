//! The demo's page: its components, and for a cluster on one machine what can be broken there.

use serde_json::Value;

use super::control::Control;
use super::{CHAT_ROOM, COUNTER, STYLE};
use crate::component::ClientInfo;
use crate::component::engine::Engine;
use crate::page::{Page, Script, script_tag};

const PAGE: &str = include_str!("page.html");
const CLUSTER: &str = include_str!("cluster.html");
/// What to try where the demo is one process.
const STEPS: &str = include_str!("steps.html");

/// The page, with components of this engine.
pub async fn html(engine: &Engine, script: &Script<'_>) -> String {
    html_of(engine, script, None).await
}

/// The page with a panel by which its visitors kill processes.
pub(super) async fn html_with_control(engine: &Engine, script: &Script<'_>, control: &Control) -> String {
    html_of(engine, script, Some(control)).await
}

async fn html_of(engine: &Engine, script: &Script<'_>, control: Option<&Control>) -> String {
    let page = Page::new(engine, ClientInfo::default(), "");
    let (cluster, steps, place) = match control {
        Some(control) => (CLUSTER.replace("{{ workers }}", &buttons(control)), "", "on any worker of this cluster"),
        None => (String::new(), STEPS, "in this one process"),
    };
    let mut html = PAGE.replace("{{ style }}", STYLE).replace("{{ cluster }}", &cluster);
    html =
        html.replace("{{ steps }}", steps).replace("{{ where }}", place).replace("{{ script }}", &script_tag(script));
    for (mark, class) in [("{{ counter }}", COUNTER), ("{{ chat }}", CHAT_ROOM)] {
        // Each place gets a component of its own.
        while html.contains(mark) {
            html = html.replacen(mark, &component(&page, class).await, 1);
        }
    }
    html
}

async fn component(page: &Page<'_>, class: &str) -> String {
    page.component(class, Value::Null).await.unwrap_or_else(|failure| {
        tracing::error!(?failure, class, "a demo component does not mount");
        "<p>This component cannot be shown; the worker's log says why.</p>".to_owned()
    })
}

/// A button for each worker.
fn buttons(control: &Control) -> String {
    let button = |name: &String| {
        let label = name.replacen('-', " ", 1);
        format!("<button type=\"button\" data-kill=\"{name}\">Kill {label}</button>")
    };
    control.parts().iter().filter(|name| name.starts_with("worker-")).map(button).collect()
}
