//! Reactions to one broadcast that are equal: of methods marked `#[Shared]`, one call runs, and the others get its reply.
//!
//! Which methods are marked is learned from replies. A call is equal to another one when it reacts to the same broadcast
//! and its message says the same, but for the component's id and signatures; its page has the same origin and language.
//! PHP runs it for a component id of its own, which is replaced in each reply. It has the user of the first call: a reply
//! that PHP says to depend on a user is the first call's alone, and the others run by themselves.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use diffyne_shared::rpc::CallKind;
use diffyne_shared::telemetry::{self, LogThrottle};
use prometheus::{IntCounter, IntGauge};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::time::timeout_at;

use crate::backend::bridge_reply::BridgeReply;
use crate::backend::bridge_request::BridgeRequest;
use crate::backend::rendering::RenderRequest;
use crate::call::Job;
use crate::call::verified::VerifiedCall;

/// Methods that are remembered.
const METHODS_MAX: usize = 1_000;
/// How long a reply is given to calls that come after the run. Whoever guesses a broadcast's id and calls before it gets
/// others a reply that is as old as the run was long, and this.
const REUSE: Duration = Duration::from_secs(1);
/// A longer reply is not shared.
const REPLY_BYTES_MAX: usize = 1 << 20;
/// Bytes of all replies that may be reused.
const BYTES_MAX: usize = 32 << 20;
/// Calls whose replies may be reused.
const RUNS_MAX: usize = 1_000;
/// Bytes of a component's id.
const ID_BYTES_MAX: usize = 128;
/// Fields of a message that differ from page to page.
const OWN_FIELDS: [&str; 7] = ["type", "componentId", "signature", "lock", "fingerprint", "requestId", "cause"];
/// Limits log lines about methods whose replies are not shared: users can cause them.
static LINES: LogThrottle = LogThrottle::new(10, 50);

type Key = [u8; 32];

/// A reply and its body, for the component id that PHP got.
struct SharedReply {
    reply: BridgeReply,
    body: Vec<u8>,
    id: String,
}

impl SharedReply {
    fn for_component(&self, id: &str) -> (BridgeReply, Vec<u8>) {
        self.reply.for_component(&self.body, &self.id, id)
    }
}

/// How far the call is that runs.
#[derive(Clone)]
enum Progress {
    Running,
    Done(Arc<SharedReply>),
    /// Its reply is nobody else's.
    NotShared,
}

#[derive(Default)]
struct State {
    /// Methods that are marked, as `class::method` in lower case.
    methods: HashSet<String>,
    runs: HashMap<Key, watch::Receiver<Progress>>,
    /// Runs that have ended, the oldest first, and the bytes of their replies.
    ended: VecDeque<(Instant, Key, usize)>,
    bytes: usize,
}

impl State {
    fn forget_old(&mut self, now: Instant) {
        while let Some(&(since, key, bytes)) = self.ended.front() {
            let too_many = self.ended.len() > RUNS_MAX || self.bytes > BYTES_MAX;
            if !too_many && now.duration_since(since) < REUSE {
                return;
            }
            self.ended.pop_front();
            self.bytes -= bytes;
            self.runs.remove(&key);
        }
    }
}

/// The calls that can be shared now.
pub(super) struct SharedCalls {
    state: Mutex<State>,
    coalesced: IntCounter,
    waiting: IntGauge,
}

/// How a call gets its reply.
pub(super) enum Admission {
    /// It runs by itself.
    Alone,
    /// It runs for others, too.
    First(FirstCall),
    /// It waits for an equal one.
    Other(OtherCall),
}

/// A call that runs for others, too. When it is dropped, they run by themselves.
pub(super) struct FirstCall {
    calls: Arc<SharedCalls>,
    key: Key,
    progress: watch::Sender<Progress>,
    /// The message for PHP, with an id that is no component's.
    pub(super) payload: Vec<u8>,
    neutral_id: String,
}

/// A call that waits for an equal one.
pub(super) struct OtherCall {
    calls: Arc<SharedCalls>,
    progress: watch::Receiver<Progress>,
}

impl SharedCalls {
    pub(super) fn new(coalesced: IntCounter, waiting: IntGauge) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), coalesced, waiting })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides how a call gets its reply.
    pub(super) fn admit(
        self: &Arc<Self>,
        job: &Job,
        call: &VerifiedCall<'_>,
        head: &BridgeRequest<'_>,
        render: RenderRequest,
    ) -> Admission {
        let Some(cause) = job.cause.as_ref().filter(|_| job.kind == CallKind::Call) else { return Admission::Alone };
        let is_marked = || self.lock().methods.contains(&name(&call.class, &call.method));
        if render.is_default() || !is_plain(&call.id) || !is_marked() {
            return Admission::Alone;
        }
        let Some(mut message) = common_fields(&job.payload) else { return Admission::Alone };
        let Ok(key) = key(&cause.id, &message, head) else { return Admission::Alone };
        let now = Instant::now();
        let mut state = self.lock();
        state.forget_old(now);
        if let Some(progress) = state.runs.get(&key) {
            return Admission::Other(OtherCall { calls: Arc::clone(self), progress: progress.clone() });
        }
        let neutral_id = format!("diffyne-{:032x}", fastrand::u128(..));
        let Ok(id) = serde_json::value::to_raw_value(&neutral_id) else { return Admission::Alone };
        message.insert("componentId".to_owned(), &id);
        let Ok(payload) = serde_json::to_vec(&message) else { return Admission::Alone };
        let (progress, received) = watch::channel(Progress::Running);
        state.runs.insert(key, received);
        Admission::First(FirstCall { calls: Arc::clone(self), key, progress, payload, neutral_id })
    }

    /// Learns from a call's reply whether its method is marked.
    pub(super) fn learn(&self, kind: CallKind, call: &VerifiedCall<'_>, reply: &BridgeReply) {
        if kind != CallKind::Call || !reply.has_view() {
            return;
        }
        let Some(dependence) = reply.shared() else {
            // After a deploy, it may be marked no more. Hardly any method was.
            let mut state = self.lock();
            if !state.methods.is_empty() {
                state.methods.remove(&name(&call.class, &call.method));
            }
            return;
        };
        let mut state = self.lock();
        if state.methods.len() < METHODS_MAX {
            state.methods.insert(name(&call.class, &call.method));
        }
        drop(state);
        if !dependence.is_empty()
            && let Some(left_out) = LINES.allow()
        {
            let (component, method) = (telemetry::name(&call.class), telemetry::name(&call.method));
            tracing::warn!(
                %component,
                %method,
                used = %telemetry::name(dependence),
                left_out,
                "a method marked #[Shared] depends on its user, so its reply was not shared"
            );
        }
    }
}

impl FirstCall {
    /// Ends the run; the reply for the first call's own component.
    pub(super) fn finish(self, (reply, body): (BridgeReply, Vec<u8>), id: &str) -> (BridgeReply, Vec<u8>) {
        if !reply.has_view() && contains(&body, &self.neutral_id) {
            // It is signed for an id that the page does not have.
            return (
                BridgeReply::broken("a shared method was not answered by the worker's patches".to_owned()),
                Vec::new(),
            );
        }
        let is_shared = reply.is_shareable() && body.len() <= REPLY_BYTES_MAX;
        let shared = Arc::new(SharedReply { reply, body, id: self.neutral_id.clone() });
        if is_shared {
            let bytes = shared.body.len();
            let mut state = self.calls.lock();
            state.ended.push_back((Instant::now(), self.key, bytes));
            state.bytes += bytes;
            self.progress.send_replace(Progress::Done(Arc::clone(&shared)));
        }
        shared.for_component(id)
    }
}

impl Drop for FirstCall {
    fn drop(&mut self) {
        if matches!(*self.progress.borrow(), Progress::Running) {
            self.calls.lock().runs.remove(&self.key);
            self.progress.send_replace(Progress::NotShared);
        }
    }
}

impl OtherCall {
    /// Waits for the reply, for this component; `None` when the call has to run by itself.
    pub(super) async fn reply(mut self, id: &str, deadline: Instant) -> Option<(BridgeReply, Vec<u8>)> {
        let waiting = Waiting::new(&self.calls.waiting);
        let ended = self.progress.wait_for(|progress| !matches!(progress, Progress::Running));
        let progress = timeout_at(deadline.into(), ended).await.ok()?.ok()?.clone();
        drop(waiting);
        let Progress::Done(shared) = progress else { return None };
        self.calls.coalesced.inc();
        Some(shared.for_component(id))
    }
}

/// Counts a call that waits.
struct Waiting<'a>(&'a IntGauge);

impl<'a> Waiting<'a> {
    fn new(gauge: &'a IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn name(class: &str, method: &str) -> String {
    format!("{}::{method}", class.trim_start_matches('\\')).to_ascii_lowercase()
}

/// Whether an id can stand in the place of another one in HTML and JSON.
fn is_plain(id: &str) -> bool {
    id.len() <= ID_BYTES_MAX && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn contains(body: &[u8], id: &str) -> bool {
    body.windows(id.len()).any(|window| window == id.as_bytes())
}

/// What equal calls have in common; `None` where a field of the page holds an edit.
fn common_fields(payload: &[u8]) -> Option<BTreeMap<String, &RawValue>> {
    let mut message: BTreeMap<String, &RawValue> = serde_json::from_slice(payload).ok()?;
    if message.get("base").is_some_and(|base| base.get() != "null") {
        return None;
    }
    for field in OWN_FIELDS {
        message.remove(field);
    }
    Some(message)
}

/// What makes calls equal.
fn key(cause: &str, message: &BTreeMap<String, &RawValue>, head: &BridgeRequest<'_>) -> serde_json::Result<Key> {
    let parts = serde_json::to_vec(&(cause, message, head.common()))?;
    Ok(Sha256::digest(parts).into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use diffyne_shared::rpc::Cause;
    use serde_json::{Value, json};

    use super::*;
    use crate::backend::bridge_request;
    use crate::call::ClientInfo;

    fn calls() -> Arc<SharedCalls> {
        SharedCalls::new(IntCounter::new("a", "b").unwrap(), IntGauge::new("c", "d").unwrap())
    }

    fn message(id: &str) -> Value {
        json!({"componentId": id, "componentClass": "App\\Room", "method": "refresh", "params": [1], "state": {"n": 1},
               "signature": format!("signature of {id}"), "fingerprint": id, "requestId": id, "cause": {"id": "g-1", "depth": 1}})
    }

    fn job(message: &Value) -> Job {
        Job {
            pushes: false,
            wants_user: false,
            parts: crate::call::Parts::default(),
            kind: CallKind::Call,
            client: ClientInfo { headers: "host: a.test\ncookie: user=1\n".to_owned(), ..ClientInfo::default() },
            cause: Some(Cause { id: "g-1".to_owned(), depth: 1 }),
            payload: message.to_string().into_bytes(),
            deadline: Instant::now() + Duration::from_mins(1),
            request_id: "r".to_owned(),
        }
    }

    fn verified(id: &str) -> VerifiedCall<'_> {
        let (class, method) = ("App\\Room", "refresh");
        VerifiedCall {
            id: id.into(),
            class: class.into(),
            member: method.into(),
            method: method.into(),
            ..VerifiedCall::grant()
        }
    }

    fn admit(calls: &Arc<SharedCalls>, job: &Job, id: &str) -> Admission {
        let call = verified(id);
        let head = bridge_request::head(job, &call.coverage, RenderRequest::Both, &job.parts);
        calls.admit(job, &call, &head, RenderRequest::Both)
    }

    /// What PHP replies to a call of the component with this id.
    fn reply(id: &str, head: Value) -> (BridgeReply, Vec<u8>) {
        let (html, state) = (format!("<p id=\"{id}\">1</p>"), format!("{{\"own\":\"{id}\"}}"));
        let mut whole =
            json!({"outcome": "ok", "shared": "", "view": {"html": html.len(), "state": state.len(), "locked": []}});
        whole.as_object_mut().unwrap().extend(head.as_object().unwrap().clone());
        (serde_json::from_value(whole).unwrap(), format!("{html}{state}}}}}").into_bytes())
    }

    fn marked() -> Arc<SharedCalls> {
        let calls = calls();
        calls.learn(CallKind::Call, &verified("x"), &reply("x", json!({})).0);
        calls
    }

    fn first(calls: &Arc<SharedCalls>, id: &str) -> FirstCall {
        let Admission::First(first) = admit(calls, &job(&message(id)), id) else { panic!("it is the first") };
        first
    }

    fn other(calls: &Arc<SharedCalls>, id: &str) -> OtherCall {
        let Admission::Other(other) = admit(calls, &job(&message(id)), id) else { panic!("there is a first one") };
        other
    }

    #[tokio::test]
    async fn equal_calls_get_one_reply_each_with_its_own_id() {
        let calls = marked();
        let first = first(&calls, "diffyne-a");
        let sent: Value = serde_json::from_slice(&first.payload).unwrap();
        let id = sent["componentId"].as_str().unwrap().to_owned();
        assert!(id != "diffyne-a" && sent.get("signature").is_none() && sent["params"] == json!([1]), "{sent}");
        let waiting = other(&calls, "diffyne-b");
        let text = |id: &str| format!("<p id=\"{id}\">1</p>{{\"own\":\"{id}\"}}}}}}");
        let (_, body) = first.finish(reply(&id, json!({})), "diffyne-a");
        assert_eq!(String::from_utf8(body).unwrap(), text("diffyne-a"));
        for (other, id) in [(waiting, "diffyne-b"), (other(&calls, "c"), "c")] {
            let (_, body) = other.reply(id, job(&message(id)).deadline).await.unwrap();
            assert_eq!(String::from_utf8(body).unwrap(), text(id));
        }
        assert_eq!((calls.coalesced.get(), calls.waiting.get()), (2, 0));
    }

    #[tokio::test]
    async fn a_reply_that_is_nobody_elses_makes_the_others_run() {
        let heads = [
            json!({"shared": "the session"}),
            json!({"shared": null}),
            json!({"event_count": 1}),
            json!({"set_cookie": ["a=b"]}),
            json!({"outcome": "exception"}),
            json!({"view": null}),
        ];
        for head in heads {
            let calls = marked();
            let first = first(&calls, "a");
            let waiting = other(&calls, "b");
            first.finish(reply("nobody", head.clone()), "a");
            assert!(waiting.reply("b", job(&message("b")).deadline).await.is_none(), "{head}");
            assert!(matches!(admit(&calls, &job(&message("c")), "c"), Admission::First(_)));
        }
        // Its client has gone.
        let calls = marked();
        let (first, waiting) = (first(&calls, "a"), other(&calls, "b"));
        drop(first);
        assert!(waiting.reply("b", job(&message("b")).deadline).await.is_none());
        let first = self::first(&calls, "a");
        assert!(other(&calls, "b").reply("b", Instant::now()).await.is_none(), "its own deadline counts");
        drop(first);
    }

    #[test]
    fn calls_that_differ_or_are_not_marked_run_by_themselves() {
        assert!(
            matches!(admit(&calls(), &job(&message("a")), "a"), Admission::Alone),
            "nobody has said that it is marked"
        );
        let calls = marked();
        let _running = first(&calls, "a");
        let is_other = |job: &Job, id: &str| matches!(admit(&calls, job, id), Admission::Other(_));
        assert!(is_other(&job(&message("b")), "b"));
        for (field, value) in
            [("params", json!([2])), ("state", json!({"n": 2})), ("errors", json!({"n": ["x"]})), ("base", json!({}))]
        {
            let mut changed = message("b");
            changed[field] = value;
            assert!(!is_other(&job(&changed), "b"), "{field}");
        }
        let mut jobs = [job(&message("b")), job(&message("b")), job(&message("b")), job(&message("b"))];
        jobs[0].cause = None;
        jobs[1].cause = Some(Cause { id: "g-2".to_owned(), depth: 1 });
        jobs[2].client.headers = "host: b.test\n".to_owned();
        jobs[3].client.headers = "host: a.test\naccept-language: de\n".to_owned();
        for job in jobs {
            assert!(!is_other(&job, "b"), "{job:?}");
        }
        assert!(matches!(admit(&calls, &job(&message("<b>")), "<b>"), Admission::Alone), "an id that is no plain word");
        calls.learn(CallKind::Call, &verified("x"), &reply("x", json!({"shared": null})).0);
        assert!(matches!(admit(&calls, &job(&message("b")), "b"), Admission::Alone), "it is marked no more");
    }

    #[test]
    fn a_response_that_is_signed_for_no_page_fails() {
        let calls = marked();
        let first = first(&calls, "a");
        let body = json!({"s": true, "c": {"i": first.neutral_id, "sig": "x"}}).to_string().into_bytes();
        let (reply, _) = first.finish((reply("x", json!({"view": null})).0, body), "a");
        assert!(reply.error().is_some());
    }

    #[test]
    fn old_replies_are_forgotten_and_all_of_them_are_bounded() {
        let calls = marked();
        for number in 0..RUNS_MAX + 10 {
            let mut message = message("a");
            message["params"] = json!([number]);
            let Admission::First(first) = admit(&calls, &job(&message), "a") else { panic!() };
            first.finish(reply("x", json!({})), "a");
        }
        let mut state = calls.lock();
        state.forget_old(Instant::now());
        assert!(state.runs.len() <= RUNS_MAX && state.bytes > 0, "{}", state.runs.len());
        state.forget_old(Instant::now() + REUSE);
        assert_eq!((state.runs.len(), state.ended.len(), state.bytes), (0, 0, 0));
    }
}
