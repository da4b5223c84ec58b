//! The JSON of a successful call.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::context::{ComponentEvent, Redirect};
use super::streams::RenderedChange;
use crate::vdom::Patch;

/// The whole response.
#[derive(Serialize)]
pub(super) struct CallResponse<'a> {
    #[serde(rename = "s")]
    pub(super) success: bool,
    #[serde(rename = "c", skip_serializing_if = "Option::is_none")]
    pub(super) update: Option<ComponentUpdate<'a>>,
    #[serde(skip_serializing_if = "<[ComponentEvent]>::is_empty")]
    pub(super) events: &'a [ComponentEvent],
    #[serde(skip_serializing_if = "<[Value]>::is_empty", rename = "browserEvents")]
    pub(super) browser_events: &'a [Value],
    /// The number of values that come later.
    #[serde(rename = "async", skip_serializing_if = "is_zero")]
    pub(super) pending: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) redirect: Option<&'a Redirect>,
}

/// What changed of the component.
#[derive(Serialize)]
pub(super) struct ComponentUpdate<'a> {
    #[serde(rename = "i")]
    pub(super) id: &'a str,
    #[serde(rename = "p")]
    pub(super) patches: &'a [Patch<'a>],
    /// Patches of islands that were rendered alone.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) islands: &'a BTreeMap<&'a str, Vec<Patch<'a>>>,
    #[serde(rename = "st")]
    pub(super) state: &'a Value,
    #[serde(rename = "f")]
    pub(super) fingerprint: String,
    #[serde(rename = "sig")]
    pub(super) signature: String,
    #[serde(rename = "s", skip_serializing_if = "<[RenderedChange]>::is_empty")]
    pub(super) streams: &'a [RenderedChange],
    #[serde(rename = "e", skip_serializing_if = "Map::is_empty")]
    pub(super) errors: &'a Map<String, Value>,
    #[serde(rename = "q", skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) query: &'a BTreeMap<&'static str, Value>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}
