//! Feeds one input to a target, and checks what the target promises.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use diffyne_gateway::socket::{Decoder, DecoderLimits, Event};
use diffyne_shared::envelope::{self, DataHead};
use diffyne_shared::rpc::handshake::{GatewayHandshake, GatewayStep, LegacyToken, WorkerHandshake, WorkerStep};
use diffyne_shared::rpc::{self, CallKind, FrameReader, Transport};
use diffyne_shared::settings::worker::{MissingKey, WorkerSettings};
use diffyne_shared::settings::{Files, Layers, gateway, worker};
use diffyne_shared::signing::{
    EmptyStrings, Numbers, Purpose, Signer, SigningKey, Verdict, VerifyState, canonical_json, fingerprint,
};
use diffyne_shared::token::Tokens;
use diffyne_worker::backend::Backend;
use diffyne_worker::backend::upstream::UpstreamBackend;
use diffyne_worker::backend::upstream::endpoint::read_response;
use diffyne_worker::call::Job;
use diffyne_worker::component::engine::{Engine, PushSlots};
use diffyne_worker::component::{ClientInfo, Registry};
use diffyne_worker::vdom::{Node, Patch, diff, parse, parse_as_browser, parse_plain};
use serde::de::IgnoredAny;
use serde_json::Value;

use super::Target;
use super::server::{self, Input};

/// The stack of the checks, which recurse further than the code under test.
const CHECK_STACK_BYTES: usize = 64 * 1024 * 1024;
/// Elements within elements up to which patches are applied: the tests' own client is a simple one.
const APPLIED_DEPTH_MAX: usize = 60;

/// A target with what it needs for all inputs.
pub struct Runner {
    target: Target,
    runtime: tokio::runtime::Runtime,
    /// A worker's backend whose application answers with the input.
    backend: Option<Arc<UpstreamBackend>>,
    /// The application's answer.
    input: Input,
    /// Components in Rust.
    engine: Engine,
    /// Verifies everything.
    signer: Signer,
}

fn signer(verify: VerifyState) -> anyhow::Result<Signer> {
    Signer::new(vec![SigningKey::parse(crate::recorded::APP_KEY)?], verify, true).context("a key")
}

/// The components of the recorded conversation.
fn engine() -> anyhow::Result<Engine> {
    let mut registry = Registry::default();
    crate::recorded::register(&mut registry);
    let signer = arc_swap::ArcSwap::from_pointee(signer(VerifyState::None)?);
    Ok(Engine {
        registry,
        signer,
        app: Arc::new(()),
        debug: true,
        uploads: None,
        release: None,
        push_slots: PushSlots::default(),
    })
}

fn client() -> ClientInfo {
    ClientInfo { transport: Transport::Ws, ..ClientInfo::default() }
}

impl Runner {
    pub fn new(target: Target) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let input = Input::default();
        let backend = match target {
            Target::Http | Target::FastCgi => Some(runtime.block_on(server::start(target, Arc::clone(&input)))?),
            _ => None,
        };
        Ok(Self { target, runtime, backend, input, engine: engine()?, signer: signer(VerifyState::Strict)? })
    }

    /// Feeds an input; panics when the target breaks a promise.
    pub fn feed(&self, input: &[u8]) {
        match self.target {
            Target::Envelope => feed_envelope(input),
            Target::Socket => feed_socket(input),
            Target::Relay => self.runtime.block_on(feed_relay(input)),
            Target::Page => feed_page(input),
            Target::Html => feed_html(input),
            Target::State => self.feed_state(input),
            Target::Call => self.feed_call(input),
            Target::Settings => feed_settings(input),
            Target::Endpoint => feed_endpoint(input),
            Target::Http | Target::FastCgi => self.feed_backend(input),
        }
    }

    fn feed_state(&self, input: &[u8]) {
        let Ok(state) = serde_json::from_slice::<Value>(input) else { return };
        let signature = self.signer.sign(&state, "c");
        let judge = |purpose, signature| self.signer.judge(purpose, &state, "c", Some(signature), &[""; 0]);
        assert_eq!(judge(Purpose::Update, &signature), Verdict::Accepted);
        assert_eq!(judge(Purpose::Call, "00"), Verdict::Refused);
        assert_eq!(fingerprint(&state).len(), 32);
        let canonical = canonical_json(&state, EmptyStrings::AsNull, Numbers::AsReturned);
        assert!(serde_json::from_str::<Value>(&canonical).is_ok(), "the canonical form is no JSON");
    }

    fn feed_call(&self, input: &[u8]) {
        for kind in [CallKind::Call, CallKind::Update, CallKind::Mount, CallKind::Grant, CallKind::Lifecycle] {
            let finished = self.runtime.block_on(self.engine.run(kind, client(), input));
            assert!(serde_json::from_slice::<IgnoredAny>(&finished.data).is_ok(), "no JSON");
        }
    }

    fn feed_backend(&self, input: &[u8]) {
        let Some(backend) = &self.backend else { return };
        *self.input.lock().unwrap_or_else(PoisonError::into_inner) = input.to_vec();
        let payload = br#"{"componentId":"a","componentClass":"A","method":"m","params":[],"state":{"a":1}}"#;
        let job = Job {
            pushes: false,
            wants_user: false,
            parts: diffyne_worker::call::Parts::default(),
            kind: CallKind::Call,
            request_id: "r".to_owned(),
            client: client(),
            cause: None,
            payload: payload.to_vec(),
            deadline: Instant::now() + Duration::from_millis(300),
        };
        let finished = self.runtime.block_on(backend.run(job));
        // As a browser reads it, which accepts lone surrogates.
        let is_json = std::str::from_utf8(&finished.data)
            .is_ok_and(|text| text.starts_with('{') && serde_json::from_str::<IgnoredAny>(text).is_ok());
        assert!(
            is_json || finished.data.is_empty(),
            "an answer that is no JSON: {:?}",
            String::from_utf8_lossy(&finished.data)
        );
    }
}

fn feed_envelope(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let usual = envelope::parse_canonical(&text).map(|(message, _)| message.data.to_owned());
    let parsed = envelope::parse(&text);
    if let Some(data) = usual {
        assert!(parsed.is_ok_and(|message| message.data == data), "the quick parser takes what the full one refuses");
    } else if let Ok(message) = parsed {
        let _ = DataHead::read(message.data);
    }
}

fn feed_socket(input: &[u8]) {
    for inflates in [false, true] {
        let mut decoder = Decoder::new(DecoderLimits { message_bytes_max: 4096, binary: false, inflates });
        let (mut bytes, mut used) = (input.to_vec(), 0);
        while let Ok(Some(event)) = decoder.next(&mut bytes, &mut used) {
            assert!(!matches!(event, Event::Text(text) if text.len() > 4096), "larger than the limit");
        }
        assert!(used <= input.len());
    }
}

/// Feeds a worker and a gateway that share a token which the sender does not know.
async fn feed_relay(mut input: &[u8]) {
    let mut reader = FrameReader::new(1 << 20);
    let tokens = Arc::new(Tokens::new(&["nobody-knows".to_owned()]));
    let mut worker = WorkerHandshake::new(Arc::clone(&tokens), LegacyToken::Accept, rpc::Hello::default());
    let greeting = GatewayHandshake::new(tokens, "g", 1 << 20);
    let (mut gateway, _) = greeting.unwrap_or_else(|error| panic!("no greeting: {error}"));
    loop {
        while let Ok(Some(frame)) = reader.next_frame() {
            let mut again = Vec::new();
            let _ = rpc::encode(&frame, &mut again);
            let step = worker.receive(frame.clone());
            assert!(!matches!(step, Ok(WorkerStep::Welcome(..))), "the worker accepts a stranger");
            let step = gateway.receive(frame);
            assert!(!matches!(step, Ok(GatewayStep::Connected(_))), "the gateway calls a stranger");
        }
        if reader.next_frame().is_err() || reader.fill(&mut input).await.map_or(true, |read| read == 0) {
            return;
        }
    }
}

fn feed_page(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (old, new) = text.split_once('\0').unwrap_or((&text, ""));
    let (Ok(old), Ok(new)) = (parse(old), parse(new)) else { return };
    let patches = diff(&old, &new);
    let written = serde_json::to_string(&patches).unwrap_or_default();
    let printed = new.to_html();
    with_a_large_stack(|| check_page(&old, &new, &patches, &written, &printed));
}

/// Both parsers must find the same tree, also in what is printed.
fn feed_html(input: &[u8]) {
    let html = String::from_utf8_lossy(input);
    let expected = parse_as_browser(&html);
    if let Some(tree) = parse_plain(&html) {
        assert!(expected.as_ref() == Ok(&tree), "plain HTML becomes {tree:?}, for a browser {expected:?}");
    }
    let Ok(tree) = expected else { return };
    let printed = tree.to_html();
    assert!(parse_plain(&printed).is_none_or(|again| again == tree), "what is printed is another page");
}

/// Checks that patches lead to the page that they were made for, and HTML to the tree that it was printed from.
fn check_page(old: &Node<'_>, new: &Node<'_>, patches: &[Patch<'_>], written: &str, printed: &str) {
    assert!(parse(printed).is_ok_and(|again| again == *new), "what is printed is another page");
    assert!(serde_json::from_str::<IgnoredAny>(written).is_ok(), "the patches are no JSON");
    if crate::dom::depth(old).max(crate::dom::depth(new)) > APPLIED_DEPTH_MAX {
        return;
    }
    let patches: Vec<Value> = patches.iter().filter_map(|patch| serde_json::to_value(patch).ok()).collect();
    let page = crate::dom::apply(old, &patches);
    let page = page.unwrap_or_else(|error| panic!("a patch does not apply: {error:#}"));
    assert_eq!(crate::dom::sorted(&page), crate::dom::sorted(new), "the patches lead to another page");
}

fn with_a_large_stack(work: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(CHECK_STACK_BYTES).spawn_scoped(scope, work);
        if let Err(panic) = thread.expect("a thread").join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn feed_settings(input: &[u8]) {
    let text = String::from_utf8_lossy(input).replace('\0', "");
    let mut flags = HashMap::new();
    for spec in gateway::specs().into_iter().chain(worker::specs()) {
        if input.len() % 7 == spec.name.len() % 7 {
            flags.insert(spec.name.to_owned(), text.chars().take(60).collect());
        }
    }
    for specs in [gateway::specs(), worker::specs()] {
        if let Ok(layers) = Layers::read(&specs, &Files::default(), &HashMap::new(), &flags) {
            let _ = gateway::GatewaySettings::read(&layers);
            let _ = layers.table();
        }
    }
    let Ok(file) = file_with(input) else { return };
    let toml = Files { toml: Some(file.path().to_owned()), env_files: Vec::new() };
    let env = Files { toml: None, env_files: vec![file.path().to_owned()] };
    for files in [toml, env] {
        let _ = Layers::read(&worker::specs(), &files, &HashMap::new(), &HashMap::new())
            .map(|layers| WorkerSettings::read(&layers, MissingKey::Random));
    }
}

fn file_with(input: &[u8]) -> std::io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(input)?;
    Ok(file)
}

fn feed_endpoint(input: &[u8]) {
    let status = [200, 400, 403, 404, 422, 500][input.len() % 6];
    let (_, body) = read_response(status, input);
    assert!(body.is_empty() || serde_json::from_slice::<Value>(&body).is_ok());
}
