//! Poisoned input: mutated messages, frames, pages, settings and answers, on stable Rust. What is fed must end in a
//! value or an error; a panic is a finding, and so is a broken promise (a patch list that does not lead to its page).
//! Everything runs on a small stack: input that nests without end must not end the process.
//!
//! Seeds are the recorded conversation and `tests/data/fuzz/<target>/`, where findings go once they are mended.

use std::collections::HashMap;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use diffyne_gateway::socket::{Decoder, DecoderLimits};
use diffyne_shared::envelope::{self, DataHead};
use diffyne_shared::rpc::handshake::{GatewayHandshake, GatewayStep, LegacyToken, WorkerHandshake, WorkerStep};
use diffyne_shared::rpc::{self, CallKind, FrameReader, Transport};
use diffyne_shared::settings::worker::{Components, MissingKey, WorkerSettings};
use diffyne_shared::settings::{Files, Layers, gateway, worker};
use diffyne_shared::signing::{
    EmptyStrings, Purpose, Signer, SigningKey, Verdict, VerifyState, canonical_json, fingerprint,
};
use diffyne_shared::token::Tokens;
use diffyne_worker::backend::Backend;
use diffyne_worker::backend::upstream::UpstreamBackend;
use diffyne_worker::backend::upstream::endpoint::read_response;
use diffyne_worker::call::Job;
use diffyne_worker::component::engine::Engine;
use diffyne_worker::component::{ClientInfo, Registry};
use diffyne_worker::vdom::{Node, Patch, diff, parse};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::process::project;

/// What can be fed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Messages of browsers.
    Envelope,
    /// WebSocket frames.
    Socket,
    /// Frames between gateways and workers.
    Relay,
    /// Two pages, and the patches from one to the other.
    Page,
    /// TOML and `.env` files, and values of all settings.
    Settings,
    /// Answers of the package's own endpoint.
    Endpoint,
    /// Answers of an HTTP server, byte by byte.
    Http,
    /// Answers of php-fpm, byte by byte.
    FastCgi,
    /// A component's state: its canonical form, signature and fingerprint.
    State,
    /// Calls of components in Rust, from the message to the answer.
    Call,
}

/// All of them.
pub const TARGETS: [Target; 10] = [
    Target::Envelope,
    Target::Socket,
    Target::Relay,
    Target::Page,
    Target::Settings,
    Target::Endpoint,
    Target::Http,
    Target::FastCgi,
    Target::State,
    Target::Call,
];

/// The stack that parsers and the diff have to do with; threads have 2 MiB.
const STACK_BYTES: usize = 256 * 1024;
/// The stack of what checks them.
const CHECK_STACK_BYTES: usize = 64 * 1024 * 1024;
/// Repetitions of what nests.
const NESTED_MAX: usize = 6_000;
/// Elements within elements up to which patches are applied: the tests' own client is a simple one.
const APPLIED_DEPTH_MAX: usize = 60;

/// What nests, and what closes it again.
const NESTING: [(&str, &str); 16] = [
    ("[", "]"),
    ("{\"a\":", "}"),
    ("[[", "]]"),
    ("[{\"state\":", "}]"),
    ("<b>", "</b>"),
    ("<div>", "</div>"),
    ("<svg>", "</svg>"),
    ("<math><mtext>", "</math>"),
    ("<table><td>", "</table>"),
    ("<template>", "</template>"),
    ("<a><b>", "</a></b>"),
    ("<ul><li diff:key=a>", "</ul>"),
    // Lists and maps of one item in MessagePack.
    ("\u{11}", ""),
    ("(", ")"),
    ("a.", ""),
    ("<!--", "-->"),
];

/// Words that get an input further than noise does.
const WORDS: [&str; 24] = [
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    "null",
    "1e999",
    "-0",
    "\\u0000",
    "\\ud800",
    "\u{2028}",
    "<div>",
    "</",
    "<!--",
    "<table>",
    "<svg>",
    "diff:key=\"a\"",
    "\r\n\r\n",
    "Content-Length: 9999999999",
    "Transfer-Encoding: chunked\r\n",
    "=",
    "\0",
    "unix:",
];

impl Target {
    /// The folder of its seeds.
    pub fn name(self) -> &'static str {
        match self {
            Self::Envelope => "envelope",
            Self::Socket => "socket",
            Self::Relay => "relay",
            Self::Page => "page",
            Self::Settings => "settings",
            Self::Endpoint => "endpoint",
            Self::Http => "http",
            Self::FastCgi => "fastcgi",
            Self::State => "state",
            Self::Call => "call",
        }
    }

    fn seeds(self) -> anyhow::Result<Vec<Vec<u8>>> {
        let folder = project().join("tests/data/fuzz").join(self.name());
        let mut files: Vec<_> =
            std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        files.sort();
        let mut seeds: Vec<Vec<u8>> = files.iter().map(std::fs::read).collect::<Result<_, _>>()?;
        let recorded = std::fs::read_to_string(project().join("tests/data/recorded/upstream.jsonl"))?;
        let lines = recorded.lines().take(60).map(|line| line.as_bytes().to_vec());
        match self {
            Self::Envelope | Self::Endpoint => seeds.extend(lines),
            Self::State | Self::Call => {
                for line in recorded.lines().take(60) {
                    let record: serde_json::Value = serde_json::from_str(line)?;
                    let pointer = if self == Self::State { "/request/state" } else { "/request" };
                    seeds.extend(record.pointer(pointer).map(|part| part.to_string().into_bytes()));
                }
            }
            Self::Socket => seeds.push(vec![0x81, 0x82, 1, 2, 3, 4, b'{' ^ 1, b'}' ^ 2, 0x89, 0x80, 0, 0, 0, 0]),
            Self::Relay => {
                let mac = rpc::Bytes::from(vec![7; 32]);
                let (versions, id) = (rpc::VERSIONS, "g".to_owned());
                let hello = rpc::Hello { nonce: Some(mac.clone()), proof: Some(mac.clone()), ..rpc::Hello::default() };
                let challenge = rpc::Challenge { versions, id, nonce: mac.clone() };
                let frames = [
                    rpc::Frame::Ping(rpc::Empty {}),
                    rpc::Frame::Hello(hello),
                    rpc::Frame::Challenge(challenge),
                    rpc::Frame::Proof(rpc::Proof { macs: vec![mac] }),
                ];
                for (first, frame) in frames.iter().enumerate() {
                    let mut bytes = Vec::new();
                    rpc::encode(frame, &mut bytes)?;
                    rpc::encode(&frames[(first + 1) % frames.len()], &mut bytes)?;
                    seeds.push(bytes);
                }
                // Of a newer release: a type and fields that nobody knows, lists or maps within each other.
                for opener in [&[0x91][..], &[0x81, 0xa1, b'a']] {
                    for depth in [10, NESTED_MAX] {
                        let body = [&[0x92, 99], opener.repeat(depth).as_slice(), &[0xc0]].concat();
                        seeds.push([(body.len() as u32).to_be_bytes().as_slice(), &body].concat());
                    }
                }
            }
            Self::Page => seeds.push(b"<ul><li diff:key=a>1</li><li>2</li></ul>\0<ul><li>2</li><p>x</ul>".to_vec()),
            Self::Settings => seeds.push(b"ws_port = 7\nredis_url = \"redis://x\"\nDIFFYNE_CALL_RATE=5/s:7".to_vec()),
            Self::Http => seeds.push(
                b"HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\n{\"outcome\":\"ok\",\"length\":10}\n{\"s\":true}"
                    .to_vec(),
            ),
            Self::FastCgi => {
                let body = b"Status: 200 OK\r\n\r\n{\"outcome\":\"ok\",\"length\":10}\n{\"s\":true}";
                let mut bytes = vec![1, 6, 0, 1, 0, body.len() as u8, 0, 0];
                bytes.extend(body);
                bytes.extend([1, 6, 0, 1, 0, 0, 0, 0, 1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
                seeds.push(bytes);
            }
        }
        ensure!(!seeds.is_empty(), "no seeds for {}", self.name());
        Ok(seeds)
    }
}

/// Changes an input a little, or mixes two.
fn mutate(random: &mut fastrand::Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut input = seeds[random.usize(..seeds.len())].clone();
    for _ in 0..random.usize(1..8) {
        let at = random.usize(..=input.len());
        let end = (at + random.usize(..32)).min(input.len());
        match random.u8(..9) {
            0 if at < input.len() => input[at] ^= 1 << random.u8(..8),
            1 if at < input.len() => input[at] = random.u8(..),
            2 => input.insert(at, random.u8(..)),
            3 => drop(input.drain(at..end)),
            4 => {
                let part = input[at..end].to_vec();
                input.splice(at..at, part);
            }
            5 => {
                let word = WORDS[random.usize(..WORDS.len())];
                input.splice(at..at, word.bytes());
            }
            6 => {
                let other = &seeds[random.usize(..seeds.len())];
                let from = random.usize(..=other.len());
                input.truncate(at);
                input.extend(&other[from..]);
            }
            7 => nest(random, &mut input, at),
            _ => input.truncate(at),
        }
    }
    input
}

/// Puts what begins at a place deep into something, and may close it again.
fn nest(random: &mut fastrand::Rng, input: &mut Vec<u8>, at: usize) {
    let (open, close) = NESTING[random.usize(..NESTING.len())];
    let times = random.usize(1..=NESTED_MAX) >> random.u8(..10);
    let closed = if random.bool() { close.repeat(times) } else { String::new() };
    let end = (at + random.usize(..32)).min(input.len());
    input.splice(end..end, closed.bytes());
    input.splice(at..at, open.repeat(times).bytes());
}

/// What runs a target, with what it needs for all inputs.
struct Runner {
    target: Target,
    runtime: tokio::runtime::Runtime,
    /// A worker's backend over a server of ours that answers with the input.
    backend: Option<Arc<UpstreamBackend>>,
    answer: Arc<std::sync::Mutex<Vec<u8>>>,
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
    Ok(Engine { registry, signer, app: Arc::new(()), debug: true })
}

impl Runner {
    fn new(target: Target) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let answer = Arc::new(std::sync::Mutex::new(Vec::new()));
        let backend = match target {
            Target::Http | Target::FastCgi => Some(runtime.block_on(serve(target, Arc::clone(&answer)))?),
            _ => None,
        };
        Ok(Self { target, runtime, backend, answer, engine: engine()?, signer: signer(VerifyState::Strict)? })
    }

    fn feed(&self, input: &[u8]) {
        match self.target {
            Target::Envelope => {
                let text = String::from_utf8_lossy(input);
                let usual = envelope::parse_canonical(&text).map(|(message, _)| message.data.to_owned());
                let parsed = envelope::parse(&text);
                if let Some(data) = usual {
                    assert!(
                        parsed.is_ok_and(|message| message.data == data),
                        "the quick way takes what the other refuses"
                    );
                } else if let Ok(message) = parsed {
                    let _ = DataHead::read(message.data);
                }
            }
            Target::Socket => {
                let mut decoder = Decoder::new(DecoderLimits { message_bytes_max: 4096, binary: false });
                let (mut bytes, mut used) = (input.to_vec(), 0);
                while let Ok(Some(_)) = decoder.next(&mut bytes, &mut used) {}
                assert!(used <= input.len());
            }
            Target::Relay => {
                let mut reader = FrameReader::new(1 << 20);
                let tokens = Arc::new(Tokens::new(&["nobody-knows".to_owned()]));
                let mut worker = WorkerHandshake::new(Arc::clone(&tokens), LegacyToken::Accept, rpc::Hello::default());
                let greeting = GatewayHandshake::new(tokens, "g", 1 << 20);
                let (mut gateway, _) = greeting.unwrap_or_else(|error| panic!("no greeting: {error}"));
                let fed = async {
                    let mut bytes = input;
                    loop {
                        while let Ok(Some(frame)) = reader.next_frame() {
                            let mut again = Vec::new();
                            let _ = rpc::encode(&frame, &mut again);
                            let told = worker.receive(frame.clone());
                            assert!(!matches!(told, Ok(WorkerStep::Welcome(..))), "a stranger is let in");
                            let told = gateway.receive(frame);
                            assert!(!matches!(told, Ok(GatewayStep::Connected(_))), "a stranger is called");
                        }
                        if reader.next_frame().is_err() || reader.fill(&mut bytes).await.map_or(true, |read| read == 0)
                        {
                            return;
                        }
                    }
                };
                self.runtime.block_on(fed);
            }
            Target::Page => {
                let text = String::from_utf8_lossy(input);
                let (old, new) = text.split_once('\0').unwrap_or((&text, ""));
                let (Ok(old), Ok(new)) = (parse(old), parse(new)) else { return };
                let patches = diff(&old, &new);
                let written = serde_json::to_string(&patches).unwrap_or_default();
                let printed = new.to_html();
                with_a_large_stack(|| check_page(&old, &new, &patches, &written, &printed));
            }
            Target::State => {
                let Ok(state) = serde_json::from_slice::<serde_json::Value>(input) else { return };
                let signature = self.signer.sign(&state, "c");
                let judge = |purpose, signature| self.signer.judge::<&str>(purpose, &state, "c", Some(signature), &[]);
                assert_eq!(judge(Purpose::Update, &signature), Verdict::Accepted);
                assert_eq!(judge(Purpose::Call, "00"), Verdict::Refused);
                assert_eq!(fingerprint(&state).len(), 32);
                let canonical = canonical_json(&state, EmptyStrings::AsNull);
                assert!(serde_json::from_str::<serde_json::Value>(&canonical).is_ok(), "the canonical form is no JSON");
            }
            Target::Call => {
                let client = ClientInfo { transport: Transport::Ws, ..ClientInfo::default() };
                for kind in [CallKind::Call, CallKind::Update, CallKind::Mount, CallKind::Grant] {
                    let finished = self.runtime.block_on(self.engine.run(kind, client.clone(), input));
                    assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&finished.data).is_ok(), "no JSON");
                }
            }
            Target::Settings => {
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
                if let Ok(file) = tempfile_with(input) {
                    let toml = Files { toml: Some(file.path().to_owned()), env_file: None };
                    let env = Files { toml: None, env_file: Some(file.path().to_owned()) };
                    for files in [toml, env] {
                        let _ = Layers::read(&worker::specs(), &files, &HashMap::new(), &HashMap::new())
                            .map(|layers| WorkerSettings::read(&layers, MissingKey::Random));
                    }
                }
            }
            Target::Endpoint => {
                let status = [200, 400, 403, 404, 422, 500][input.len() % 6];
                let (_, body) = read_response(status, input);
                assert!(body.is_empty() || serde_json::from_slice::<serde_json::Value>(&body).is_ok());
            }
            Target::Http | Target::FastCgi => {
                let Some(backend) = &self.backend else { return };
                *self.answer.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = input.to_vec();
                let payload = br#"{"componentId":"a","componentClass":"A","method":"m","params":[],"state":{"a":1}}"#;
                let client = ClientInfo { transport: Transport::Ws, ..ClientInfo::default() };
                let job = Job {
                    kind: CallKind::Call,
                    request_id: "r".to_owned(),
                    client,
                    cause: None,
                    payload: payload.to_vec(),
                    deadline: Instant::now() + Duration::from_millis(300),
                };
                let finished = self.runtime.block_on(backend.run(job));
                // As a browser reads it, which minds no lone surrogates.
                let is_json = std::str::from_utf8(&finished.data).is_ok_and(|text| {
                    text.starts_with('{') && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
                });
                assert!(
                    is_json || finished.data.is_empty(),
                    "an answer that is no JSON: {:?}",
                    String::from_utf8_lossy(&finished.data)
                );
            }
        }
    }
}

/// Whether patches lead to the page that they were made for, and HTML to the tree that it was printed from.
fn check_page(old: &Node, new: &Node, patches: &[Patch<'_>], written: &str, printed: &str) {
    assert!(parse(printed).is_ok_and(|again| again == *new), "what is printed is another page");
    assert!(serde_json::from_str::<serde::de::IgnoredAny>(written).is_ok(), "the patches are no JSON");
    if crate::dom::depth(old).max(crate::dom::depth(new)) > APPLIED_DEPTH_MAX {
        return;
    }
    let patches: Vec<serde_json::Value> = patches.iter().filter_map(|patch| serde_json::to_value(patch).ok()).collect();
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

fn tempfile_with(input: &[u8]) -> std::io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(input)?;
    Ok(file)
}

/// A server that answers everything with the input of the moment, and the backend that asks it.
async fn serve(target: Target, answer: Arc<std::sync::Mutex<Vec<u8>>>) -> anyhow::Result<Arc<UpstreamBackend>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                let mut request = [0; 4096];
                // One read is enough to answer, whatever was asked.
                let _ = stream.read(&mut request).await;
                let bytes = answer.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    let mut flags = HashMap::from([("APP_KEY".to_owned(), "k".to_owned())]);
    if target == Target::Http {
        flags.insert("DIFFYNE_BACKEND_URL".to_owned(), format!("http://{address}"));
    } else {
        flags.insert("DIFFYNE_FASTCGI".to_owned(), address);
        flags.insert("DIFFYNE_FASTCGI_SCRIPT".to_owned(), "/app/public/index.php".to_owned());
    }
    let layers = Layers::read(&worker::specs(), &Files::default(), &HashMap::new(), &flags)?;
    let settings = WorkerSettings::read(&layers, MissingKey::Refuse)?;
    let Components::Application(application) = settings.components else { anyhow::bail!("no application") };
    Ok(UpstreamBackend::start(application, settings.signer, false))
}

/// Feeds a target for a while, on a small stack; how many inputs it took. A finding is kept in a file that the error
/// names. An overflow of the stack ends the process: the input is in `diffyne-fuzz-<target>-last` then.
pub fn fuzz(target: Target, time: Duration, seed: u64) -> anyhow::Result<u64> {
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || feed(target, time, seed))?;
    thread.join().map_err(|_| anyhow::anyhow!("{}: the thread panicked", target.name()))?
}

fn feed(target: Target, time: Duration, seed: u64) -> anyhow::Result<u64> {
    let seeds = target.seeds()?;
    let runner = Runner::new(target)?;
    let mut random = fastrand::Rng::with_seed(seed);
    let (started, mut count) = (Instant::now(), 0);
    // Each seed as it is, and then changed.
    let mut inputs: Vec<Vec<u8>> = seeds.clone();
    while started.elapsed() < time {
        let input = inputs.pop().unwrap_or_else(|| mutate(&mut random, &seeds));
        if input.len() > NESTED_MAX / 2 {
            std::fs::write(std::env::temp_dir().join(format!("diffyne-fuzz-{}-last", target.name())), &input)?;
        }
        if catch_unwind(AssertUnwindSafe(|| runner.feed(&input))).is_err() {
            let file = std::env::temp_dir().join(format!("diffyne-fuzz-{}-{seed}-{count}", target.name()));
            std::fs::write(&file, &input)?;
            anyhow::bail!("{}: input {count} of seed {seed} is a finding: {}", target.name(), file.display());
        }
        count += 1;
    }
    Ok(count)
}
