//! A signature covers what it is said to cover: values of locked and hidden properties are taken only under one that
//! names the class, the component and them, in every mode and on every path.
#![allow(missing_docs, clippy::unwrap_used)]

use diffyne_shared::signing::{LockedValues, Signer, SigningKey, VerifyState};
use diffyne_tests::client::Client;
use diffyne_tests::cluster::{Cluster, Shape, http_get, http_post};
use diffyne_tests::laravel::{Laravel, Deployment, Runtime};
use diffyne_tests::recorded::APP_KEY;
use serde_json::{Value, json};

const VAULT: &str = "App\\Diffyne\\Vault";
const SAFE: &str = "App\\Diffyne\\Safe";
const CHEST: &str = "App\\Diffyne\\Chest";
const ACCOUNT: &str = "App\\Diffyne\\Account";
const ID: &str = "diffyne-0123456789abcdef";
/// What a client would like a property to be.
const FORGED: i64 = 1;

/// How a worker verifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    PropertyUpdates,
    StrictLenient,
    Strict,
    None,
}

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    /// A call, whose state makes the claim.
    Call,
    /// An update of another property, whose state makes the claim.
    Update,
    /// An update of the very property.
    Set,
    /// A mount, whose parameters make the claim.
    Mount,
}

/// What the claim is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Locked,
    Hidden,
    Computed,
    Plain,
}

/// What the message is signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Nothing.
    Unsigned,
    /// Both signatures, of the state with the claim: the server itself has sent it.
    Signed,
    /// The package's signature alone, of the state with the claim.
    Package,
    /// Both, of the state before the claim.
    Stale,
    /// Both, for another class.
    OtherClass,
    /// Both, for another component.
    OtherId,
    /// Both, of the state as an empty form: nothing in it, and nothing at the claim's place.
    Lenient,
    /// The package's alone, of the same.
    LenientPackage,
}

const MODES: [Mode; 4] = [Mode::PropertyUpdates, Mode::StrictLenient, Mode::Strict, Mode::None];
const MESSAGES: [Message; 4] = [Message::Call, Message::Update, Message::Set, Message::Mount];
const KINDS: [Kind; 4] = [Kind::Locked, Kind::Hidden, Kind::Computed, Kind::Plain];
const FORMS: [Form; 8] = [
    Form::Unsigned,
    Form::Signed,
    Form::Package,
    Form::Stale,
    Form::OtherClass,
    Form::OtherId,
    Form::Lenient,
    Form::LenientPackage,
];

impl Kind {
    /// The property, its place in `seen`, and what it is by itself.
    fn property(self) -> (&'static str, usize, i64) {
        match self {
            Self::Plain => ("plain", 0, 5),
            Self::Locked => ("owner", 1, 7),
            Self::Hidden => ("margin", 2, 30),
            Self::Computed => ("total", 3, 40),
        }
    }
}

/// What must come of a message.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// It is not run.
    Refused,
    /// It runs, and the property has this value.
    Runs(i64),
}

/// The oracle. `Vault` shares its names with `Safe`, so that the package's signature alone never speaks of it.
fn expected(mode: Mode, message: Message, kind: Kind, form: Form) -> Outcome {
    let (_, _, own) = kind.property();
    let taken = if matches!(kind, Kind::Plain | Kind::Locked) { FORGED } else { own };
    if message == Message::Mount {
        return Outcome::Runs(if kind == Kind::Plain { FORGED } else { own });
    }
    if !passes_as_upstream(mode, message, kind, form) {
        return Outcome::Refused;
    }
    let is_covered = match form {
        Form::Unsigned | Form::Package | Form::OtherClass | Form::OtherId | Form::LenientPackage => false,
        Form::Signed => true,
        // The lock holds as long as the locked value is what it was.
        Form::Stale | Form::Lenient => message == Message::Set || kind != Kind::Locked,
    };
    match message {
        _ if !is_covered => Outcome::Refused,
        Message::Set if kind != Kind::Plain => Outcome::Refused,
        _ => Outcome::Runs(taken),
    }
}

/// Whether the package's own rules let the state pass.
fn passes_as_upstream(mode: Mode, message: Message, kind: Kind, form: Form) -> bool {
    let is_wanted = match mode {
        Mode::None => false,
        Mode::PropertyUpdates => message != Message::Call,
        Mode::Strict | Mode::StrictLenient => true,
    };
    // The state of such an update makes no claim.
    let is_as_signed = message == Message::Set && form == Form::Stale;
    !is_wanted
        || match form {
            Form::Signed | Form::Package | Form::OtherClass => true,
            Form::Unsigned | Form::OtherId => false,
            Form::Stale => is_as_signed,
            Form::Lenient => mode == Mode::StrictLenient && message == Message::Call && kind != Kind::Locked,
            Form::LenientPackage => mode == Mode::StrictLenient && message == Message::Call,
        }
}

fn signer() -> Signer {
    Signer::new(vec![SigningKey::parse(APP_KEY).unwrap()], VerifyState::Strict, false).unwrap()
}

fn state_with(name: &str, value: i64) -> Value {
    let mut state = json!({"plain": 5, "note": "n", "owner": 7, "seen": ""});
    state[name] = json!(value);
    state
}

/// The `data` of a message that makes a claim, and its event.
fn message(message: Message, kind: Kind, form: Form) -> (&'static str, Value) {
    let (name, _, own) = kind.property();
    if message == Message::Mount {
        // Both ways in: a parameter, and the page's address, which plain properties in Rust have to be declared for.
        let query = if kind == Kind::Plain { json!({}) } else { json!({name: FORGED}) };
        let data = json!({"componentClass": VAULT, "componentId": ID, "params": {name: FORGED}, "queryParams": query});
        return ("diffyne.mount", data);
    }
    let signer = signer();
    let before =
        if matches!(kind, Kind::Plain | Kind::Locked) { state_with(name, own) } else { state_with("plain", 5) };
    let claimed = state_with(name, FORGED);
    let empty = {
        let mut empty = json!({"plain": 0, "note": null, "owner": 0, "seen": null});
        // With the lock over what stays locked.
        empty["owner"] = json!(if kind == Kind::Locked || form == Form::LenientPackage { 0 } else { 7 });
        if !matches!(kind, Kind::Plain | Kind::Locked) {
            empty[name] = json!(0);
        }
        empty
    };
    let both = |class: &str, id: &str, state: &Value| signer.sign_locked(class, id, state, &["owner"]);
    let signature = match form {
        Form::Unsigned => String::new(),
        Form::Signed => both(VAULT, ID, &claimed),
        Form::Package => signer.sign(&claimed, ID),
        Form::Stale => both(VAULT, ID, &before),
        Form::OtherClass => both(SAFE, ID, &claimed),
        Form::OtherId => both(VAULT, "diffyne-fedcba9876543210", &claimed),
        Form::Lenient => both(VAULT, ID, &empty),
        Form::LenientPackage => signer.sign(&empty, ID),
    };
    let state = if message == Message::Set && form == Form::Stale { before } else { claimed };
    let mut data = json!({"componentClass": VAULT, "componentId": ID, "state": state, "signature": signature});
    let more = match message {
        Message::Call => json!({"type": "call", "method": "look", "params": []}),
        Message::Update => json!({"type": "update", "property": "note", "value": "typed"}),
        _ => json!({"type": "update", "property": name, "value": FORGED}),
    };
    data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    (if message == Message::Call { "diffyne.call" } else { "diffyne.update" }, data)
}

/// What came of a message.
fn outcome(answer: &Value, kind: Kind) -> Outcome {
    if answer["s"] != true && answer["success"] != true {
        let type_is_known =
            ["security_error", "validation_error", "property_error"].iter().any(|kind| answer["type"] == *kind);
        assert!(type_is_known || answer["success"] == false, "{answer}");
        return Outcome::Refused;
    }
    let state = answer.get("state").unwrap_or(&answer["c"]["st"]);
    let seen = state["seen"].as_str().unwrap();
    Outcome::Runs(seen.split(' ').nth(kind.property().1).unwrap().parse().unwrap())
}

/// Runs the whole table for one mode.
async fn walk(cluster: &Cluster, mode: Mode) -> anyhow::Result<()> {
    let mut client = Client::connect(&cluster.url(0)).await?;
    let mut wrong = Vec::new();
    for (said, kind, form) in MESSAGES
        .iter()
        .flat_map(|said| KINDS.iter().flat_map(move |kind| FORMS.iter().map(move |form| (*said, *kind, *form))))
    {
        let (event, mut data) = message(said, kind, form);
        let path = if said == Message::Mount { "/_diffyne/lazy" } else { "/_diffyne/update" };
        let by_ajax = http_post(cluster.gateways[0].port, path, &[], &data.to_string())?;
        data["requestId"] = json!("r1");
        client.send(event, data).await?;
        let by_socket = client.receive().await?["data"].clone();
        let expected = expected(mode, said, kind, form);
        for (how, answer) in [("socket", by_socket), ("AJAX", serde_json::from_str(&by_ajax.body)?)] {
            if outcome(&answer, kind) != expected {
                wrong
                    .push(format!("{mode:?} {said:?} {kind:?} {form:?} by {how}: {expected:?} was expected: {answer}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} cells:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

fn verifying(shape: Shape, mode: Mode) -> Shape {
    let (verify, lenient) = match mode {
        Mode::PropertyUpdates => ("property-updates", "true"),
        Mode::StrictLenient => ("strict", "true"),
        Mode::Strict => ("strict", "false"),
        Mode::None => ("none", "true"),
    };
    shape.worker_variable("DIFFYNE_VERIFY_STATE", verify).worker_variable("DIFFYNE_LENIENT_FORMS", lenient)
}

/// Components in Rust, signed with the application's key.
fn in_rust() -> Shape {
    Shape { signing_key: APP_KEY.to_owned(), ..Shape::new(1, 1) }
}

/// The clusters on which claims are tried: in Rust, and in PHP in these ways.
fn deploy(runtime: Option<Runtime>) -> anyhow::Result<(Option<Laravel>, Deployment)> {
    let Some(runtime) = runtime else { return Ok((None, Deployment { shape: in_rust(), processes: Vec::new() })) };
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(runtime, 1)?;
    Ok((Some(laravel), deployment))
}

/// The same test in Rust, in PHP's pool by both ways, and by the bridge of an application that is served elsewhere.
macro_rules! everywhere {
    ($test:ident) => {
        mod $test {
            use super::Runtime;
            #[tokio::test(flavor = "multi_thread")]
            async fn rust() -> anyhow::Result<()> {
                super::$test(None).await
            }
            #[tokio::test(flavor = "multi_thread")]
            async fn pool() -> anyhow::Result<()> {
                super::$test(Some(Runtime::FastPath)).await
            }
            #[tokio::test(flavor = "multi_thread")]
            async fn pool_through_the_kernel() -> anyhow::Result<()> {
                super::$test(Some(Runtime::Kernel)).await
            }
            #[tokio::test(flavor = "multi_thread")]
            async fn bridge_by_http() -> anyhow::Result<()> {
                super::$test(Some(Runtime::Http)).await
            }
            #[tokio::test(flavor = "multi_thread")]
            async fn bridge_in_php_fpm() -> anyhow::Result<()> {
                super::$test(Some(Runtime::FastCgi)).await
            }
        }
    };
}

everywhere!(a_protected_value_is_taken_only_under_a_signature_that_covers_it);
async fn a_protected_value_is_taken_only_under_a_signature_that_covers_it(runtime: Option<Runtime>) -> anyhow::Result<()> {
    let (_laravel, deployment) = deploy(runtime)?;
    for mode in MODES {
        let cluster = Cluster::start(verifying(deployment.shape.clone(), mode))?;
        walk(&cluster, mode).await?;
    }
    Ok(())
}

/// A component's page as it stands, answer by answer, in one cluster.
struct Page<'a> {
    cluster: &'a Cluster,
    client: Client,
}

impl<'a> Page<'a> {
    async fn open(cluster: &'a Cluster) -> anyhow::Result<Self> {
        Ok(Self { cluster, client: Client::connect(&cluster.url(0)).await? })
    }

    /// Sends a message by both transports; they agree.
    async fn say(&mut self, kind: &str, class: &str, more: Value) -> anyhow::Result<Value> {
        let mut data = json!({"type": kind, "componentClass": class, "componentId": ID, "params": []});
        data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let path = if kind == "mount" { "/_diffyne/lazy" } else { "/_diffyne/update" };
        let by_ajax = http_post(self.cluster.gateways[0].port, path, &[], &data.to_string())?;
        let by_ajax: Value = serde_json::from_str(&by_ajax.body)?;
        data["requestId"] = json!("r1");
        self.client.send(&format!("diffyne.{kind}"), data).await?;
        let mut by_socket = self.client.receive().await?["data"].clone();
        by_socket.as_object_mut().unwrap().remove("requestId");
        for field in ["c", "error", "state", "signature"] {
            assert_eq!(by_socket[field], by_ajax[field], "{by_socket} {by_ajax}");
        }
        Ok(by_socket)
    }
}

everywhere!(the_inputs_of_the_audit_are_refused);
async fn the_inputs_of_the_audit_are_refused(runtime: Option<Runtime>) -> anyhow::Result<()> {
    let (_laravel, deployment) = deploy(runtime)?;
    let cluster = Cluster::start(deployment.shape.clone())?;
    let mut page = Page::open(&cluster).await?;
    let refused = |answer: &Value| {
        let text = "No signature covers the locked properties of this component. Reload the page.";
        assert_eq!((&answer["type"], &answer["error"]), (&json!("security_error"), &json!(text)), "{answer}");
    };

    // An unsigned call in the default mode.
    let forged = json!({"method": "look", "state": {"plain": 5, "note": "n", "owner": 1, "seen": ""}});
    refused(&page.say("call", VAULT, forged).await?);
    if runtime.is_none() {
        let forged = json!({"method": "next", "state": {"step": 3, "team": "t", "seats": "2"}});
        refused(&page.say("call", "Gallery\\Wizard", forged).await?);
    }

    // A lazy mount with a parameter for a locked property, and for what a class knows its locks by.
    let params = json!({"params": {"owner": 1, "plain": 2, "locked": [], "hidden": [], "computed": [], "id": "x"}});
    let mounted = page.say("mount", VAULT, params).await?;
    assert_eq!(mounted["state"], json!({"plain": 2, "note": "n", "owner": 7, "seen": "2 7 30 40"}), "{mounted}");

    // A state that was signed for one class, sent as another.
    let safe = page.say("mount", SAFE, json!({})).await?;
    let call = json!({"method": "look", "state": safe["state"], "signature": safe["signature"]});
    assert_eq!(page.say("call", SAFE, call.clone()).await?["s"], true);
    refused(&page.say("call", VAULT, call.clone()).await?);
    let plain = safe["signature"].as_str().unwrap().split_once('.').unwrap().0;
    let stripped = json!({"method": "look", "state": safe["state"], "signature": plain});
    refused(&page.say("call", VAULT, stripped).await?);

    // The lenient forms of strict mode.
    let cluster = Cluster::start(verifying(deployment.shape.clone(), Mode::StrictLenient))?;
    let mut page = Page::open(&cluster).await?;
    let empty = json!({"name": null, "isAdmin": false, "balance": 0});
    let locked = ["isAdmin", "balance"];
    for signature in [signer().sign(&empty, ID), signer().sign_locked(ACCOUNT, ID, &empty, &locked)] {
        let rich = json!({"name": "Eve", "isAdmin": true, "balance": 1_000_000});
        let answer =
            page.say("call", ACCOUNT, json!({"method": "save", "state": rich, "signature": signature})).await?;
        assert_eq!(answer["type"], "security_error", "{answer}");
    }
    // What a form is for.
    let filled = json!({"name": "Ada", "isAdmin": false, "balance": 0});
    let signature = signer().sign_locked(ACCOUNT, ID, &empty, &locked);
    let answer = page.say("call", ACCOUNT, json!({"method": "save", "state": filled, "signature": signature})).await?;
    assert_eq!(answer["c"]["st"], filled, "{answer}");
    Ok(())
}

everywhere!(a_page_goes_on_under_edits_with_either_signature);
async fn a_page_goes_on_under_edits_with_either_signature(runtime: Option<Runtime>) -> anyhow::Result<()> {
    let (_laravel, deployment) = deploy(runtime)?;
    let cluster = Cluster::start(deployment.shape.clone())?;
    let mut page = Page::open(&cluster).await?;

    // An unmodified diffyne.js, after the first answer of ours: it changes fields, and hands the signature back.
    let mounted = page.say("mount", VAULT, json!({})).await?;
    let (mut state, mut signature) = (mounted["state"].clone(), mounted["signature"].clone());
    for plain in [11, 12, 13] {
        state["plain"] = json!(plain);
        let call = json!({"method": "look", "state": state, "signature": signature});
        let answer = page.say("call", VAULT, call).await?;
        assert_eq!(answer["c"]["st"]["seen"], format!("{plain} 7 30 40"), "{answer}");
        (state, signature) = (answer["c"]["st"].clone(), answer["c"]["sig"].clone());
        let update = json!({"property": "note", "value": "typed", "state": state, "signature": signature});
        let answer = page.say("update", VAULT, update).await?;
        (state, signature) = (answer["c"]["st"].clone(), answer["c"]["sig"].clone());
    }
    let signature = signature.as_str().unwrap();
    assert!(signature.starts_with(&signer().sign(&state, ID)), "the package's own comes first: {signature}");
    // As scripts of ours say the same.
    let (plain, lock) = signature.split_once('.').unwrap();
    let split = json!({"method": "look", "state": state, "signature": plain, "lock": lock});
    assert_eq!(page.say("call", VAULT, split).await?["s"], true);

    // A page that the package has rendered. Without our scripts the first call may not take edits along ...
    let rendered = json!({"plain": 5, "note": "n", "owner": 7, "seen": "", "chest": 1, "sum": 9});
    let signature = signer().sign(&rendered, ID);
    let mut edited = rendered.clone();
    edited["plain"] = json!(6);
    let call =
        |state: &Value, base: Value| json!({"method": "look", "state": state, "signature": signature, "base": base});
    assert_eq!(page.say("call", CHEST, call(&rendered, Value::Null)).await?["c"]["st"]["seen"], "5 7 30 40");
    assert_eq!(page.say("call", CHEST, call(&edited, Value::Null)).await?["type"], "security_error");
    // ... with them it may, and what it says of locked values counts for nothing.
    for (state, base) in [
        (edited.clone(), json!({"plain": 5})),
        (
            {
                let mut forged = edited.clone();
                forged["owner"] = json!(1);
                forged["sum"] = json!(1);
                forged
            },
            json!({"plain": 5, "owner": 7, "sum": 9}),
        ),
    ] {
        let answer = page.say("call", CHEST, call(&state, base)).await?;
        assert_eq!(answer["c"]["st"]["seen"], "6 7 30 40", "{answer}");
        assert_eq!(answer["c"]["st"]["sum"], 9, "{answer}");
    }
    let mut forged = edited.clone();
    forged["owner"] = json!(1);
    assert_eq!(page.say("call", CHEST, call(&forged, json!({"plain": 5}))).await?["type"], "security_error");
    let with_more = json!({"plain": 5, "more": 1});
    assert_eq!(page.say("call", CHEST, call(&edited, with_more)).await?["type"], "security_error");

    // Where an operator opens it, it is as the package has it: in calls, but not in lenient forms.
    let upstream = |mode| verifying(deployment.shape.clone(), mode).worker_variable("DIFFYNE_LOCKED", "upstream");
    let cluster = Cluster::start(upstream(Mode::PropertyUpdates))?;
    let mut page = Page::open(&cluster).await?;
    let answer = page.say("call", CHEST, call(&forged, Value::Null)).await?;
    assert_eq!(answer["c"]["st"]["seen"], "6 1 30 40", "{answer}");
    assert_eq!(answer["c"]["sig"], signer().sign(&answer["c"]["st"], ID), "the package's own signature");
    let mounted = page.say("mount", VAULT, json!({"params": {"owner": 1}})).await?;
    assert_eq!(mounted["state"]["owner"], 7, "a mount gives nothing away in any case");
    let cluster = Cluster::start(upstream(Mode::StrictLenient))?;
    let mut page = Page::open(&cluster).await?;
    let empty = json!({"name": null, "isAdmin": false, "balance": 0});
    let signature = signer().sign(&empty, ID);
    for (state, runs) in [
        (json!({"name": "Ada", "isAdmin": false, "balance": 0}), true),
        (json!({"name": "Eve", "isAdmin": true, "balance": 0}), false),
        (json!({"name": "Eve", "isAdmin": false, "balance": 5}), false),
    ] {
        let answer =
            page.say("call", ACCOUNT, json!({"method": "save", "state": state, "signature": signature})).await?;
        assert_eq!(answer["s"] == true, runs, "{answer}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_an_application_with_the_bridge_are_signed_from_the_start() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    laravel.load_bridge()?;
    let page = "Route::get('/vault', fn () => app(Diffyne\\VirtualDOM\\Renderer::class)->renderInitial(\
        app(Diffyne\\State\\ComponentHydrator::class)->mount(App\\Diffyne\\Vault::class)));\nRoute::get('/whoami'";
    laravel.change("routes/web.php", "Route::get('/whoami'", page)?;
    let (_fpm, socket) = laravel.serve_fpm(2)?;
    let (_nginx, port) = laravel.serve_nginx(&socket)?;
    let cluster = Cluster::start(laravel.shape_over_http(port))?;
    // nginx sends PHP's answers as one chunk, with its length before and an end behind.
    let json_in = |body: &str| -> anyhow::Result<Value> {
        let (start, end) = (body.find('{').unwrap_or(0), body.rfind('}').map_or(0, |end| end + 1));
        Ok(serde_json::from_str(body.get(start..end).unwrap_or_default())?)
    };
    let rendered = json_in(&http_get(port, "/vault")?.body)?;
    let (id, signature) = (&rendered["id"], rendered["signature"].as_str().unwrap());
    assert!(signature.contains('.'), "{rendered}");

    // An unmodified diffyne.js, on its first call.
    let mut state = rendered["state"].clone();
    state["plain"] = json!(6);
    let call = |state: &Value| json!({"type": "call", "componentClass": VAULT, "componentId": id, "method": "look", "params": [], "state": state, "signature": signature});
    let send = |port, data: Value| -> anyhow::Result<(u16, Value)> {
        let answer = http_post(port, "/_diffyne/update", &[("Sec-Fetch-Site", "same-origin")], &data.to_string())?;
        Ok((answer.status, json_in(&answer.body)?))
    };
    let gateway = cluster.gateways[0].port;
    let (_, answer) = send(gateway, call(&state))?;
    assert_eq!(answer["c"]["st"]["seen"], "6 7 30 40", "{answer}");
    state["owner"] = json!(1);
    assert_eq!(send(gateway, call(&state))?.0, 403);

    // The package's own endpoint, which knows its own signature only, takes what it has signed, and the page goes on.
    let update = json!({"type": "update", "componentClass": VAULT, "componentId": id, "property": "note", "value": "typed",
        "state": rendered["state"], "signature": signature});
    let (status, answer) = send(port, update.clone())?;
    assert_eq!((status, &answer["c"]["st"]["note"]), (200, &json!("typed")), "{answer}");
    let next = json!({"type": "update", "componentClass": VAULT, "componentId": id, "property": "plain", "value": 8,
        "state": answer["c"]["st"], "signature": answer["c"]["sig"]});
    for port in [gateway, port] {
        let (status, answer) = send(port, next.clone())?;
        assert_eq!((status, &answer["c"]["st"]["seen"]), (200, &json!("8 7 30 40")), "{answer}");
    }
    let mut forged = update;
    forged["state"]["owner"] = json!(1);
    assert_eq!(send(port, forged)?.0, 403);
    Ok(())
}

#[test]
fn php_and_rust_agree_on_every_lock() -> anyhow::Result<()> {
    use proptest::prelude::*;
    use proptest::strategy::ValueTree as _;

    let laravel = Laravel::new()?;
    laravel.load_bridge()?;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |float| float.is_finite()).prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        Just(json!("")),
        Just(json!({})),
    ];
    let tree = leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec(("[0-9]{1,3}|[a-zA-Z0-9_äé -]{0,6}|__paginator|items", inner), 0..5)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    });
    let values = proptest::collection::vec(("[a-zA-Z][a-zA-Z0-9_]{0,8}", tree), 1..6)
        .prop_map(|pairs| Value::Object(pairs.into_iter().collect()));
    let mut runner = proptest::test_runner::TestRunner::default();
    let mut cases = Vec::new();
    let mut lines = String::new();
    for number in 0..1000 {
        let values = values.new_tree(&mut runner).map_err(|reason| anyhow::anyhow!("{reason}"))?.current();
        let case = json!({"class": format!("App\\Diffyne\\C{}", number % 7), "id": format!("diffyne-{number}"), "values": values});
        lines.extend([case.to_string().as_str(), "\n"]);
        cases.push(case);
    }
    std::fs::write(laravel.path("locks.jsonl"), &lines)?;
    let code = "foreach (file('locks.jsonl') as $line) { $case = json_decode($line, true); \
         echo Diffyne\\Cluster\\Locks::lock($case['class'], $case['id'], $case['values']), \"\\n\"; }";
    let told = laravel.tinker(&[], code)?;
    assert_eq!(told.lines().count(), cases.len());
    for (case, theirs) in cases.iter().zip(told.lines()) {
        let names: Vec<&str> = case["values"].as_object().unwrap().keys().map(String::as_str).collect();
        let (class, id) = (case["class"].as_str().unwrap(), case["id"].as_str().unwrap());
        let ours = signer().sign_locked(class, id, &case["values"], &names);
        assert_eq!(ours.split('.').nth(1), Some(theirs), "{case}");
    }
    assert_eq!(signer().locked_values(), LockedValues::Signed);
    Ok(())
}
