//! A signature covers what it is said to cover: values of locked and hidden properties are taken only under one that
//! names the class, the component and them, in every mode and on every path.

use diffyne_shared::signing::LockedValues;
use diffyne_tests::client::Client;
use diffyne_tests::cluster::Cluster;
use diffyne_tests::for_all_backends;
use diffyne_tests::http::http_post;
use diffyne_tests::laravel::{Laravel, Runtime};
use diffyne_tests::message::ServerMessage;
use diffyne_tests::verification::{ID, SAFE, VAULT, VerifyMode, app_signer, deploy, verifying};
use serde_json::{Value, json};

/// What a client would like a property to be.
const FORGED: i64 = 1;

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
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
enum PropertyKind {
    Locked,
    Hidden,
    Computed,
    Plain,
}

/// What the message is signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SignatureForm {
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

const MODES: [VerifyMode; 4] =
    [VerifyMode::PropertyUpdates, VerifyMode::StrictLenient, VerifyMode::Strict, VerifyMode::None];
const REQUESTS: [Request; 4] = [Request::Call, Request::Update, Request::Set, Request::Mount];
const KINDS: [PropertyKind; 4] =
    [PropertyKind::Locked, PropertyKind::Hidden, PropertyKind::Computed, PropertyKind::Plain];
const FORMS: [SignatureForm; 8] = [
    SignatureForm::Unsigned,
    SignatureForm::Signed,
    SignatureForm::Package,
    SignatureForm::Stale,
    SignatureForm::OtherClass,
    SignatureForm::OtherId,
    SignatureForm::Lenient,
    SignatureForm::LenientPackage,
];

impl PropertyKind {
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
enum Verdict {
    /// It is not run.
    Refused,
    /// It runs, and the property has this value.
    Runs(i64),
}

/// The oracle. `Vault` shares its names with `Safe`, so that the package's signature alone never speaks of it.
fn expected(mode: VerifyMode, message: Request, kind: PropertyKind, form: SignatureForm) -> Verdict {
    let (_, _, own) = kind.property();
    let taken = if matches!(kind, PropertyKind::Plain | PropertyKind::Locked) { FORGED } else { own };
    if message == Request::Mount {
        return Verdict::Runs(if kind == PropertyKind::Plain { FORGED } else { own });
    }
    if !passes_as_upstream(mode, message, kind, form) {
        return Verdict::Refused;
    }
    let is_covered = match form {
        SignatureForm::Unsigned
        | SignatureForm::Package
        | SignatureForm::OtherClass
        | SignatureForm::OtherId
        | SignatureForm::LenientPackage => false,
        SignatureForm::Signed => true,
        // The lock holds as long as the locked value is what it was.
        SignatureForm::Stale | SignatureForm::Lenient => message == Request::Set || kind != PropertyKind::Locked,
    };
    match message {
        _ if !is_covered => Verdict::Refused,
        Request::Set if kind != PropertyKind::Plain => Verdict::Refused,
        _ => Verdict::Runs(taken),
    }
}

/// Whether the package's own rules let the state pass.
fn passes_as_upstream(mode: VerifyMode, message: Request, kind: PropertyKind, form: SignatureForm) -> bool {
    let is_wanted = match mode {
        VerifyMode::None => false,
        VerifyMode::PropertyUpdates => message != Request::Call,
        VerifyMode::Strict | VerifyMode::StrictLenient => true,
    };
    // The state of such an update makes no claim.
    let is_as_signed = message == Request::Set && form == SignatureForm::Stale;
    !is_wanted
        || match form {
            SignatureForm::Signed | SignatureForm::Package | SignatureForm::OtherClass => true,
            SignatureForm::Unsigned | SignatureForm::OtherId => false,
            SignatureForm::Stale => is_as_signed,
            SignatureForm::Lenient => {
                mode == VerifyMode::StrictLenient && message == Request::Call && kind != PropertyKind::Locked
            }
            SignatureForm::LenientPackage => mode == VerifyMode::StrictLenient && message == Request::Call,
        }
}

fn state_with(name: &str, value: i64) -> Value {
    let mut state = json!({"plain": 5, "note": "n", "owner": 7, "seen": ""});
    state[name] = json!(value);
    state
}

/// The `data` of a message that makes a claim, and its event.
fn build_request(request: Request, kind: PropertyKind, form: SignatureForm) -> (&'static str, Value) {
    let (name, _, own) = kind.property();
    if request == Request::Mount {
        // Both ways in: a parameter, and the page's address, which plain properties in Rust have to be declared for.
        let query = if kind == PropertyKind::Plain { json!({}) } else { json!({name: FORGED}) };
        let data = json!({"componentClass": VAULT, "componentId": ID, "params": {name: FORGED}, "queryParams": query});
        return ("diffyne.mount", data);
    }
    let signer = app_signer().unwrap();
    let before = if matches!(kind, PropertyKind::Plain | PropertyKind::Locked) {
        state_with(name, own)
    } else {
        state_with("plain", 5)
    };
    let claimed = state_with(name, FORGED);
    let empty = {
        let mut empty = json!({"plain": 0, "note": null, "owner": 0, "seen": null});
        // With the lock over what stays locked.
        empty["owner"] =
            json!(if kind == PropertyKind::Locked || form == SignatureForm::LenientPackage { 0 } else { 7 });
        if !matches!(kind, PropertyKind::Plain | PropertyKind::Locked) {
            empty[name] = json!(0);
        }
        empty
    };
    let both = |class: &str, id: &str, state: &Value| signer.sign_locked(class, id, state, &["owner"]);
    let signature = match form {
        SignatureForm::Unsigned => String::new(),
        SignatureForm::Signed => both(VAULT, ID, &claimed),
        SignatureForm::Package => signer.sign(&claimed, ID),
        SignatureForm::Stale => both(VAULT, ID, &before),
        SignatureForm::OtherClass => both(SAFE, ID, &claimed),
        SignatureForm::OtherId => both(VAULT, "diffyne-fedcba9876543210", &claimed),
        SignatureForm::Lenient => both(VAULT, ID, &empty),
        SignatureForm::LenientPackage => signer.sign(&empty, ID),
    };
    let state = if request == Request::Set && form == SignatureForm::Stale { before } else { claimed };
    let mut data = json!({"componentClass": VAULT, "componentId": ID, "state": state, "signature": signature});
    let more = match request {
        Request::Call => json!({"type": "call", "method": "look", "params": []}),
        Request::Update => json!({"type": "update", "property": "note", "value": "typed"}),
        _ => json!({"type": "update", "property": name, "value": FORGED}),
    };
    data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    (if request == Request::Call { "diffyne.call" } else { "diffyne.update" }, data)
}

/// What came of a request.
fn verdict(answer: &ServerMessage, kind: PropertyKind) -> Verdict {
    if !answer.is_ok() {
        let type_is_known = ["security_error", "validation_error", "property_error"].contains(&answer.error_type());
        assert!(type_is_known || answer["success"] == false, "{answer}");
        return Verdict::Refused;
    }
    let seen = answer.state()["seen"].as_str().unwrap();
    Verdict::Runs(seen.split(' ').nth(kind.property().1).unwrap().parse().unwrap())
}

/// Runs the whole table for one mode.
async fn walk(cluster: &Cluster, mode: VerifyMode) -> anyhow::Result<()> {
    let mut client = Client::connect(&cluster.url(0)).await?;
    let mut wrong = Vec::new();
    for (said, kind, form) in REQUESTS
        .iter()
        .flat_map(|said| KINDS.iter().flat_map(move |kind| FORMS.iter().map(move |form| (*said, *kind, *form))))
    {
        // A mount is not signed.
        if said == Request::Mount && form != SignatureForm::Unsigned {
            continue;
        }
        let (event, mut data) = build_request(said, kind, form);
        let path = if said == Request::Mount { "/_diffyne/lazy" } else { "/_diffyne/update" };
        let by_ajax = http_post(cluster.gateways[0].port, path, &[], &data.to_string())?;
        data["requestId"] = json!("r1");
        let by_socket = client.request(event, data).await?;
        let expected = expected(mode, said, kind, form);
        for (how, answer) in [("socket", by_socket), ("AJAX", by_ajax.message()?)] {
            if verdict(&answer, kind) != expected {
                wrong
                    .push(format!("{mode:?} {said:?} {kind:?} {form:?} by {how}: {expected:?} was expected: {answer}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} cells:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

for_all_backends!(a_protected_value_is_taken_only_under_a_signature_that_covers_it);
async fn a_protected_value_is_taken_only_under_a_signature_that_covers_it(
    runtime: Option<Runtime>,
) -> anyhow::Result<()> {
    let (_laravel, deployment) = deploy(runtime)?;
    for mode in MODES {
        let cluster = Cluster::start(verifying(deployment.shape.clone(), mode))?;
        walk(&cluster, mode).await?;
    }
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
        let ours = app_signer()?.sign_locked(class, id, &case["values"], &names);
        assert_eq!(ours.split('.').nth(1), Some(theirs), "{case}");
    }
    assert_eq!(app_signer()?.locked_values(), LockedValues::Signed);
    Ok(())
}
