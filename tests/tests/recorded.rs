//! The recorded conversation: the same requests to the same components in Rust, by both transports, answered as
//! upstream answered them, except where the protocol page or common sense says that ours is another.

use diffyne_tests::client::Client;
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::http::http_post;
use diffyne_tests::laravel::{Laravel, Runtime};
use diffyne_tests::message::ServerMessage;
use diffyne_tests::process::project;
use diffyne_tests::{dom, for_runtimes, recorded};
use diffyne_worker::vdom::{Node, parse};
use serde_json::{Map, Value, json};

/// What ours says instead: status by AJAX, text of the error (its beginning, or `=` for upstream's own), type.
struct Ours(u16, &'static str, &'static str);

/// The cases in which ours differs, and why.
fn ours(case: &str, socket: bool, php: bool) -> Option<Ours> {
    const METHOD: &str = "method_error";
    const PROPERTY: &str = "property_error";
    if php && case == "update a list property with a scalar" {
        // PHP wraps it, as over HTTP, and the view cannot show it.
        return Some(Ours(500, "An error occurred while processing your request.", "server_error"));
    }
    Some(match (case, socket) {
        // A PHP TypeError; ours names the parameter, without ending in a general error or a page.
        ("Counter.add['x']", _) => {
            Ours(400, "Parameter [n] of method [add] must be of type int, string given.", METHOD)
        }
        ("Counter.add[]", _) => Ours(400, "Parameter [n] of method [add] is missing.", METHOD),
        ("Counter.add[None]", _) => Ours(400, "Parameter [n] of method [add] must be of type int, null given.", METHOD),
        // Upstream's socket tells the exception even without debug mode: a leak.
        ("Counter.boom[]", true) => Ours(0, "An error occurred while processing your request.", "server_error"),
        // Upstream's socket calls any public method: a hole. In Rust, what is not listed does not exist.
        (
            "Counter.secret[]"
            | "Counter.mount[]"
            | "Counter.hydrate[]"
            | "Counter.render[]"
            | "Counter.__construct[]"
            | "Counter.validate[]",
            _,
        ) => Ours(400, "Method ", METHOD),
        // There are no other classes than components.
        ("call: a class that is no component", true) => Ours(0, "Component class [", "exception"),
        ("call: a class that is no component", false) => Ours(404, "Component class not found", ""),
        // Where upstream answers without requestId, and the page hangs: the same words, with it.
        (
            "Counter.nope[]"
            | "update nope = 1"
            | "update errors = []"
            | "update with a tampered state"
            | "update without signature"
            | "call: no method",
            true,
        ) => Ours(0, "=", "="),
        ("call: componentId null", true) => Ours(0, "componentId must be a string", "validation_error"),
        ("call: state is a string", true) => Ours(0, "state must be an object", "validation_error"),
        ("call: state is a string", false) => Ours(400, "Invalid request", ""),
        ("call: params is a string", true) => Ours(0, "params must be an array", "validation_error"),
        ("call: params is a string", false) => Ours(400, "params must be an array", ""),
        // Values that do not fit the property.
        ("update label = null" | "update label = [1]", _) => {
            Ours(400, "Property [label] must be of type string", PROPERTY)
        }
        ("update count = \"x\"", _) => Ours(400, "Property [count] must be of type int, string given.", PROPERTY),
        ("update a list property with a scalar", _) => Ours(400, "Property [items] does not take this value", PROPERTY),
        // Upstream's socket writes any property: a hole.
        ("update owner = 9", true) => {
            Ours(0, "Property [owner] is locked and cannot be updated from client.", PROPERTY)
        }
        ("update id = \"x\"", _) => Ours(400, "Property ", PROPERTY),
        _ => return None,
    })
}

/// Cases whose answer by one transport is that of the other, and why.
fn as_the_other(case: &str, socket: bool) -> bool {
    match case {
        // Over HTTP, listeners without #[Invokable] are refused, an empty state is, and typed text is trimmed.
        "Counter.poked[]"
        | "Counter.poked[5]"
        | "call with an empty state"
        | "ChatRoom.handleNewMessage"
        | "ChatRoom.handleNewMessage, other room" => !socket,
        // Over the socket, a state with an empty string in it never verifies.
        "update with an empty string elsewhere in the state" => socket,
        case => !socket && case.starts_with("update label = \"") && case != "update label = \"new\"",
    }
}

/// The HTML of a component of this class in this state.
fn shown(request: &Value) -> String {
    let (view, defaults) = match request["componentClass"].as_str().unwrap() {
        "App\\Diffyne\\Counter" => (recorded::COUNTER_VIEW, json!({"count": 0, "label": "a", "owner": 7})),
        "App\\Diffyne\\ChatRoom" => (recorded::CHAT_ROOM_VIEW, json!({"roomId": 1, "messages": [], "newMessage": ""})),
        _ => (recorded::TODO_VIEW, json!({"items": [], "draft": "", "filter": ""})),
    };
    let mut state: Map<String, Value> = defaults.as_object().unwrap().clone();
    for (name, value) in request["state"].as_object().into_iter().flatten() {
        let value = match (name.as_str(), value) {
            ("count", Value::Null) => json!(0),
            (_, Value::Null) => json!(""),
            ("count", Value::String(digits)) => digits.parse::<i64>().unwrap().into(),
            (_, value) => value.clone(),
        };
        state.insert(name.clone(), value);
    }
    let mut templates = minijinja::Environment::new();
    templates.set_auto_escape_callback(|_| minijinja::AutoEscape::Html);
    templates.add_template("view", view).unwrap();
    templates.get_template("view").unwrap().render(minijinja::value::Serde(state)).unwrap()
}

/// Takes the patches out of the data of a reply, and tells what the page is after them.
fn page_after<'a>(before: &Node<'a>, data: &mut Value) -> Option<Node<'a>> {
    let patches = data["c"].as_object_mut()?.remove("p")?;
    Some(dom::sorted(&dom::apply(before, patches.as_array().unwrap()).unwrap()))
}

/// Calls in which no signature covers the counter's owner: the state is not the one that was signed, and nobody says
/// what it was. Pages of the package send such calls; `DIFFYNE_LOCKED=upstream` lets them pass.
const UNCOVERED: [&str; 8] = [
    "call with an unsaved edit",
    "call with a tampered locked property",
    "call with an unknown key in the state",
    "call with a key missing from the state",
    "call without signature",
    "call with null in a typed property",
    "call with a string in an int property",
    "call with an empty state",
];

fn check(case: &Value, mut answer: ServerMessage, status: Option<u16>, php: bool, locked: &str) {
    let name = case["case"].as_str().unwrap();
    let socket = status.is_none();
    if locked == "signed" && UNCOVERED.contains(&name) {
        let text = "No signature covers the locked properties of this component. Reload the page.";
        assert_eq!(answer.error(), text, "{name}: {answer}");
        assert!(status.is_none_or(|status| status == 403), "{name}: {status:?}");
        return;
    }
    if locked == "signed" && case["request"]["componentClass"] == "App\\Diffyne\\Counter" {
        // The package's own signature, and ours behind it.
        if let Some(signature) = answer.signature().as_str() {
            let own = signature.split_once('.').unwrap_or_else(|| panic!("{name}: {signature}")).0.into();
            answer.data_mut()["c"]["sig"] = own;
        }
    }
    if php && let Some(fingerprint) = answer["c"]["f"].as_str() {
        // The state's, and a tag of the HTML behind it.
        let own = fingerprint.split_once('.').unwrap_or_else(|| panic!("{name}: {fingerprint}")).0.into();
        answer.data_mut()["c"]["f"] = own;
    }
    let recorded = |socket: bool| if socket { &case["socket"]["data"] } else { &case["ajax"]["body"] };
    if let Some(Ours(expected_status, text, kind)) = ours(name, socket, php) {
        let upstream = recorded(socket);
        let expected = |ours: &str, field: &str| if ours == "=" { upstream[field].clone() } else { json!(ours) };
        assert!(answer.error().starts_with(expected(text, "error").as_str().unwrap()), "{name}: {answer}");
        assert_eq!(answer.error_type(), expected(kind, "type").as_str().unwrap(), "{name}: {answer}");
        assert!(status.is_none_or(|status| status == expected_status), "{name}: {status:?} {answer}");
        return;
    }
    let mut data = answer.data().clone();
    let mut expected = recorded(if as_the_other(name, socket) { !socket } else { socket }).clone();
    for object in [&mut data, &mut expected] {
        let fields = object.as_object_mut().unwrap();
        fields.remove("requestId");
        // An addition of ours, which diffyne.js does not look at.
        fields.remove("eventIds");
        // Ours tells no place in the code.
        fields.remove("details");
    }
    let html = shown(&case["request"]);
    let before = parse(&html).unwrap();
    let (page, expected_page) = (page_after(&before, &mut data), page_after(&before, &mut expected));
    assert_eq!(page, expected_page, "{name} (socket: {socket})");
    assert_eq!(data, expected, "{name} (socket: {socket})");
    if let Some(status) = status.filter(|_| !as_the_other(name, socket)) {
        assert_eq!(case["ajax"]["status"], status, "{name}");
    }
}

/// Holds the whole conversation with the components of a cluster.
async fn converse(shape: &Shape, php: bool, locked: &str) -> anyhow::Result<()> {
    let cluster = Cluster::start(shape.clone().worker_variable("DIFFYNE_LOCKED", locked))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let text = std::fs::read_to_string(project().join("tests/data/recorded/upstream.jsonl"))?;
    let mut checked = 0;
    for line in text.lines() {
        let case: Value = serde_json::from_str(line)?;
        let Some(request) = case["request"].as_object() else { continue };
        let mut data = Value::Object(request.clone());
        data["requestId"] = json!("r1");
        let event = if data["type"] == "update" { "diffyne.update" } else { "diffyne.call" };
        let reply = client.request(event, data).await?;
        assert_eq!((reply.event(), reply.request_id()), ("diffyne.response", &json!("r1")), "{reply}");
        check(&case, reply, None, php, locked);

        let body = case["request"].to_string();
        let answer = http_post(cluster.gateways[0].port, "/_diffyne/update", &[], &body)?;
        check(&case, answer.message()?, Some(answer.status), php, locked);
        checked += 1;
    }
    assert_eq!(checked, 67, "every recorded call and update");
    Ok(())
}

fn in_rust() -> Shape {
    let shape = Shape { signing_key: recorded::APP_KEY.to_owned(), ..Shape::new(1, 1) };
    shape.worker_variable("DIFFYNE_RECORDED", "1").worker("--worker-threads", "1")
}

#[tokio::test(flavor = "multi_thread")]
async fn components_in_rust_answer_the_recorded_conversation_as_upstream_did() -> anyhow::Result<()> {
    converse(&in_rust(), false, "upstream").await
}

#[tokio::test(flavor = "multi_thread")]
async fn components_in_rust_answer_as_upstream_with_signed_locked_values() -> anyhow::Result<()> {
    converse(&in_rust(), false, "signed").await
}

for_runtimes!(components_in_php_answer_as_upstream_did: fast_path = FastPath, kernel = Kernel, http = Http, fastcgi = FastCgi);
async fn components_in_php_answer_as_upstream_did(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(runtime, 1)?;
    converse(&deployment.shape, true, "upstream").await
}

for_runtimes!(components_in_php_answer_as_upstream_with_signed_locked_values: fast_path = FastPath, http = Http);
async fn components_in_php_answer_as_upstream_with_signed_locked_values(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(runtime, 1)?;
    converse(&deployment.shape, true, "signed").await
}
