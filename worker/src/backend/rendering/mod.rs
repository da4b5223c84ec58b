//! What the bridge rendered, and the client's response that it becomes: patches, fingerprint and signature.
//!
//! PHP renders a component's HTML, and the worker compares it with the HTML that the client shows. Where that is not at
//! hand (the first call of a page, another worker's, one that was dropped), or where the client's fields hold unsent
//! edits, PHP renders the old state as well, in the same call.

mod metrics;
mod tree_cache;

use std::sync::Arc;
use std::time::Duration;

use diffyne_shared::rpc::CallKind;
use diffyne_shared::settings::rendering::{PatchMaker, RenderingSettings};
use diffyne_shared::signing::{BorrowedJson, Signer, fingerprint};
use prometheus::Registry;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use self::metrics::TreeMetrics;
pub(super) use self::tree_cache::ShownHtml;
use self::tree_cache::{TreeCache, TreeTag};
use crate::call::deep_json::{self, DEPTH_MAX};
use crate::call::verified::VerifiedCall;
use crate::call::{CallError, page_values};
use crate::vdom::{
    ChangedElement, Moves, Node, Patch, changed_element, diff_page, diff_within, parse_known_page, parse_page,
};

/// The label from which the key of tags is derived.
const PURPOSE: &[u8] = b"diffyne tree cache 1";
/// Time between two looks for trees that nobody has used.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

/// What the bridge is asked to render.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RenderRequest {
    /// The response as a whole, with the package's own patches.
    #[default]
    Response,
    /// The HTML after the call.
    New,
    /// The HTML of the state as it was sent, and the HTML after the call.
    Both,
}

impl RenderRequest {
    /// Whether nothing has to be said of it: older bridges know nothing else.
    // serde asks with a reference.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The parts of a reply's body: lengths in bytes of those that precede the rest of the response.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ViewParts {
    /// The HTML of the state as it was sent; `None` where it was not asked for.
    #[serde(default)]
    old: Option<usize>,
    html: usize,
    state: usize,
    /// The locked properties that the state holds.
    #[serde(default)]
    locked: Vec<String>,
}

impl ViewParts {
    /// The parts of a body with another component's id in them.
    pub(super) fn with_id(&self, body: &[u8], from: &str, to: &str) -> (Self, Vec<u8>) {
        let Ok(view) = View::split(self, body) else { return (self.clone(), body.to_vec()) };
        let [html, state, rest] = [view.html, view.state, view.rest].map(|part| part.replace(from, to));
        let old = view.old.map(|old| old.replace(from, to));
        let parts = Self {
            old: old.as_ref().map(String::len),
            html: html.len(),
            state: state.len(),
            locked: self.locked.clone(),
        };
        (parts, [old.unwrap_or_default(), html, state, rest].concat().into_bytes())
    }
}

/// The component that a reply is about.
#[derive(Clone, Copy)]
pub(super) struct RenderedComponent<'a> {
    pub(super) class: &'a str,
    pub(super) id: &'a str,
    /// Whether the page's script returns integers as it got them.
    pub(super) is_exact: bool,
    /// The HTML that the client shows, where it is at hand.
    pub(super) shown: Option<&'a ShownHtml>,
}

/// Makes responses of what the bridge rendered.
pub(super) struct Rendering {
    maker: PatchMaker,
    trees: TreeCache,
}

impl Rendering {
    pub(super) fn new(settings: &RenderingSettings, signer: &Signer) -> Arc<Self> {
        let mut key = [0; 16];
        key.copy_from_slice(&signer.derived_key(PURPOSE)[..16]);
        let (bytes_max, age_max) = (settings.tree_cache_bytes, settings.tree_cache_age);
        Arc::new(Self { maker: settings.patches, trees: TreeCache::new(key, bytes_max, age_max, TreeMetrics::new()) })
    }

    pub(super) fn register_metrics(&self, registry: &Registry) {
        self.trees.register_metrics(registry);
    }

    /// What to ask for in a call, and the HTML that its client shows, where it is at hand.
    pub(super) fn request(&self, kind: CallKind, call: &VerifiedCall<'_>) -> (RenderRequest, Option<ShownHtml>) {
        if self.maker == PatchMaker::Application || !matches!(kind, CallKind::Call | CallKind::Update) {
            return (RenderRequest::Response, None);
        }
        // What edited fields show is known to PHP alone.
        let tag = if call.shows_answer { TreeTag::of_fingerprint(&call.fingerprint) } else { None };
        match self.trees.get(tag) {
            Some(shown) => (RenderRequest::New, Some(shown)),
            None => (RenderRequest::Both, None),
        }
    }

    /// The client's response.
    pub(super) fn response(
        &self,
        parts: &ViewParts,
        body: &[u8],
        component: RenderedComponent<'_>,
        signer: &Signer,
    ) -> Result<Vec<u8>, CallError> {
        let view = View::split(parts, body)?;
        let state = read_state(view.state)?;
        page_values::check_state(component.class, &state, component.is_exact)?;
        let old = match (view.old, component.shown) {
            (Some(html), _) => Some(OldHtml { html, is_plain: false }),
            (None, shown) => shown.map(|shown| OldHtml { html: &shown.html, is_plain: shown.is_plain }),
        };
        let Patches { json: patches, is_plain } = patches(old, view.html)?;
        let locked: Vec<&str> = parts.locked.iter().map(String::as_str).collect();
        let signature = signer.sign_locked(component.class, component.id, &state, &locked);
        let fingerprint = self.trees.put(view.html, is_plain).fingerprint(&fingerprint(&state));
        let mut out = Vec::with_capacity(patches.len() + view.state.len() + view.rest.len() + 320);
        out.extend_from_slice(br#"{"s":true,"c":{"i":"#);
        serde_json::to_writer(&mut out, component.id)?;
        out.extend_from_slice(br#","p":"#);
        out.extend_from_slice(&patches);
        out.extend_from_slice(br#","st":"#);
        out.extend_from_slice(view.state.as_bytes());
        for (name, value) in [("f", fingerprint), ("sig", signature)] {
            out.extend_from_slice(format!(r#","{name}":"{value}""#).as_bytes());
        }
        out.extend_from_slice(view.rest.as_bytes());
        Ok(out)
    }

    /// Drops trees that nobody has used, for as long as the backend lives.
    pub(super) async fn sweep(self: Arc<Self>) {
        let rendering = Arc::downgrade(&self);
        drop(self);
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            let Some(rendering) = rendering.upgrade() else { return };
            rendering.trees.sweep();
        }
    }
}

/// A reply's body.
struct View<'a> {
    old: Option<&'a str>,
    html: &'a str,
    state: &'a str,
    /// The rest of the response, from behind the component's signature on.
    rest: &'a str,
}

impl<'a> View<'a> {
    fn split(parts: &ViewParts, body: &'a [u8]) -> Result<Self, CallError> {
        let broken = || CallError::exception("the parts of the answer do not fit together");
        let mut left = std::str::from_utf8(body).map_err(|_| CallError::exception("the view is not UTF-8"))?;
        let mut take = |length: usize| {
            let (part, rest) = left.split_at_checked(length).ok_or_else(broken)?;
            left = rest;
            Ok::<_, CallError>(part)
        };
        let old = parts.old.map(&mut take).transpose()?;
        let (html, state) = (take(parts.html)?, take(parts.state)?);
        let view = Self { old, html, state, rest: left };
        // Invalid JSON would break the whole message for the page.
        let is_json = serde_json::from_str::<&RawValue>(&format!(r#"{{"c":{{"sig":0{}"#, view.rest)).is_ok();
        if is_json { Ok(view) } else { Err(broken()) }
    }
}

fn read_state(text: &str) -> Result<BorrowedJson<'_>, CallError> {
    if let Ok(state) = serde_json::from_str(text) {
        return Ok(state);
    }
    // serde_json's own limit is 128 levels.
    let raw: &RawValue = serde_json::from_str(text)?;
    deep_json::read(raw, DEPTH_MAX)
        .map(BorrowedJson::from)
        .map_err(|_| CallError::exception("the state cannot be read"))
}

/// The HTML that the client shows.
#[derive(Clone, Copy)]
struct OldHtml<'a> {
    html: &'a str,
    /// It is known to be plain.
    is_plain: bool,
}

/// Patches as JSON, and whether the new HTML is known to be plain.
struct Patches {
    json: Vec<u8>,
    is_plain: bool,
}

/// The patches from one HTML to the other.
fn patches(old: Option<OldHtml<'_>>, html: &str) -> Result<Patches, CallError> {
    if let Some(old) = old {
        if old.html == html {
            return Ok(Patches { json: b"[]".to_vec(), is_plain: old.is_plain });
        }
        if let Some(changed) = changed_element(old.html, html, old.is_plain)
            && let Some(patches) = patches_within(&changed)
        {
            return Ok(Patches { json: serde_json::to_vec(&patches)?, is_plain: true });
        }
    }
    let (new, is_plain) = parse_known_page(html)?;
    // HTML that no tree is made of is replaced as a whole.
    let old: Option<Node<'_>> = old.and_then(|old| parse_page(old.html).ok());
    let patches =
        old.as_ref().map_or_else(|| vec![Patch::Create(Vec::new(), &new)], |old| diff_page(old, &new, Moves::Recreate));
    Ok(Patches { json: serde_json::to_vec(&patches)?, is_plain })
}

fn patches_within<'a>(changed: &'a ChangedElement<'a>) -> Option<Vec<Patch<'a>>> {
    diff_within(&changed.old, &changed.new, Moves::Recreate, &changed.path, changed.is_preformatted)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use diffyne_shared::signing::{SigningKey, VerifyState};
    use serde_json::{Value, json};

    use super::*;

    fn signer() -> Signer {
        Signer::new(vec![SigningKey::parse("key").unwrap()], VerifyState::default(), false).unwrap()
    }

    fn rendering() -> Arc<Rendering> {
        let settings = RenderingSettings {
            patches: PatchMaker::Worker,
            tree_cache_bytes: 1 << 20,
            tree_cache_age: Duration::from_mins(1),
        };
        Rendering::new(&settings, &signer())
    }

    fn component(shown: Option<&ShownHtml>) -> RenderedComponent<'_> {
        RenderedComponent { class: "App\\Counter", id: "c1", is_exact: true, shown }
    }

    fn parts(old: Option<&str>, html: &str, state: &str) -> ViewParts {
        ViewParts { old: old.map(str::len), html: html.len(), state: state.len(), locked: Vec::new() }
    }

    fn respond(
        old: Option<&str>,
        shown: Option<&str>,
        html: &str,
        state: &str,
        rest: &str,
    ) -> Result<Value, CallError> {
        let body = [old.unwrap_or_default(), html, state, rest].concat();
        let shown = shown.map(|html| ShownHtml { html: html.into(), is_plain: false });
        let component = component(shown.as_ref());
        let data = rendering().response(&parts(old, html, state), body.as_bytes(), component, &signer())?;
        Ok(serde_json::from_slice(&data).unwrap())
    }

    #[test]
    fn a_response_has_patches_from_what_the_client_shows() {
        let rest = r#","e":{"name":["Too short."]}},"events":[{"name":"saved"}]}"#;
        for (old, shown) in [(Some("<p>1</p>"), None), (None, Some("<p>1</p>"))] {
            let response = respond(old, shown, "<p>2</p>", r#"{"count":2}"#, rest).unwrap();
            let state = json!({"count": 2});
            assert_eq!(response["c"]["p"], json!([{"t": "t", "p": [0], "d": {"x": "2"}}]));
            assert_eq!((&response["s"], &response["c"]["i"]), (&json!(true), &json!("c1")));
            assert_eq!(response["c"]["st"], state);
            assert_eq!(response["c"]["sig"], signer().sign(&state, "c1"));
            let fingerprint = response["c"]["f"].as_str().unwrap();
            assert_eq!(fingerprint.split_once('.').unwrap().0, super::fingerprint(&state));
            assert_eq!(response["c"]["e"], json!({"name": ["Too short."]}));
            assert_eq!(response["events"], json!([{"name": "saved"}]));
        }
    }

    #[test]
    fn the_same_html_needs_no_patches_and_an_unknown_one_is_replaced() {
        let response = respond(None, Some("<p>1"), "<p>1", "[]", "}}").unwrap();
        assert_eq!((&response["c"]["p"], &response["c"]["st"]), (&json!([]), &json!([])));
        let deep = "<div>".repeat(600);
        let replaced = json!([{"t": "c", "p": [], "d": {"node": {"t": "p", "c": [{"x": "1"}]}}}]);
        assert_eq!(respond(Some(&deep), None, "<p>1</p>", "{}", "}}").unwrap()["c"]["p"], replaced);
        assert_eq!(respond(None, None, "<p>1</p>", "{}", "}}").unwrap()["c"]["p"], replaced);
        respond(None, None, &deep, "{}", "}}").unwrap_err();
    }

    #[test]
    fn a_reply_whose_parts_do_not_fit_together_fails_its_call() {
        for rest in ["", "}", "}}}", r#","e":"#, r#","e":{}"#, "}} {}"] {
            respond(None, None, "<p>1</p>", "{}", rest).unwrap_err();
        }
        for state in ["", "{", "no JSON", "{}{}"] {
            respond(None, None, "<p>1</p>", state, "}}").unwrap_err();
        }
        let body = "<p>é</p>{}}}".as_bytes();
        for (html, state) in [(4, 2), (100, 2), (9, 100), (usize::MAX, usize::MAX)] {
            let parts = ViewParts { old: None, html, state, locked: Vec::new() };
            rendering().response(&parts, body, component(None), &signer()).unwrap_err();
        }
        rendering().response(&parts(None, "", ""), &[0xff], component(None), &signer()).unwrap_err();
    }

    #[test]
    fn what_a_client_shows_is_known_by_its_fingerprint_unless_its_fields_were_edited() {
        let rendering = rendering();
        let body = b"<p>2</p>{}}}";
        let data = rendering.response(&parts(None, "<p>2</p>", "{}"), body, component(None), &signer()).unwrap();
        let response: Value = serde_json::from_slice(&data).unwrap();
        let call = |fingerprint: &str, shows_answer: bool| VerifiedCall {
            fingerprint: fingerprint.to_owned().into(),
            shows_answer,
            ..VerifiedCall::grant()
        };
        let fingerprint = response["c"]["f"].as_str().unwrap();
        let (request, shown) = rendering.request(CallKind::Call, &call(fingerprint, true));
        assert_eq!((request, shown.as_ref().map(|shown| &*shown.html)), (RenderRequest::New, Some("<p>2</p>")));
        for (kind, call) in [
            (CallKind::Call, call(fingerprint, false)),
            (CallKind::Update, call("", true)),
            (CallKind::Update, call("b35e951ba958819ccddb9224b2df2a55", true)),
        ] {
            assert_eq!(rendering.request(kind, &call), (RenderRequest::Both, None));
        }
        assert_eq!(rendering.request(CallKind::Grant, &call("", true)), (RenderRequest::Response, None));
    }
}
