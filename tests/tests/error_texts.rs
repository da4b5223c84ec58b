//! The same failure has the package's words for its transport: one text over the socket, and maybe another by AJAX.

use diffyne_tests::client::Client;
use diffyne_tests::cluster::Cluster;
use diffyne_tests::for_all_backends;
use diffyne_tests::http::http_post;
use diffyne_tests::laravel::Runtime;
use diffyne_tests::verification::{ID, app_signer, deploy};
use serde_json::{Value, json};

/// A failure by one transport: status by AJAX, text, type ("" where the package gives none).
type Words = (u16, &'static str, &'static str);

/// A message that fails: what it is, its fields, the words over the socket and by AJAX. `null` takes a field out.
type Row = (&'static str, &'static str, Value, Option<Words>, Option<Words>);

const MISSING: Option<Words> = Some((0, "Missing required parameters", "validation_error"));
const NO_CLASS: Option<Words> = Some((404, "Component class not found", ""));
const INVALID: Option<Words> = Some((400, "Invalid request", ""));
const TAMPERED: &str = "Invalid state signature. State may have been tampered with.";
const UNSIGNED: &str = "Missing state signature";
const LOCKED: &str = "Property [owner] is locked and cannot be updated from client.";
const NOT_LAZY: Option<Words> = Some((400, "Invalid component class", ""));
/// Ours hides what the package's socket tells of an exception.
const FAILED: &str = "An error occurred while processing your request.";

fn rows() -> Vec<Row> {
    let property = |text| Some((400, text, "property_error"));
    vec![
        ("no class", "call", json!({"componentClass": null}), MISSING, NO_CLASS),
        ("an empty class", "call", json!({"componentClass": ""}), MISSING, NO_CLASS),
        (
            "an unknown class",
            "call",
            json!({"componentClass": "App\\Nope"}),
            Some((0, "Component class [App\\Nope] does not exist.", "exception")),
            NO_CLASS,
        ),
        ("no component id", "call", json!({"componentId": null}), MISSING, INVALID),
        ("an empty component id", "call", json!({"componentId": ""}), MISSING, INVALID),
        ("no method", "call", json!({"method": null}), MISSING, Some((400, "Method not specified", ""))),
        ("an empty method", "call", json!({"method": ""}), MISSING, Some((400, "Method not specified", ""))),
        (
            "an unknown method",
            "call",
            json!({"method": "nope"}),
            Some((0, "Method nope does not exist", "method_error")),
            Some((400, "Method [nope] does not exist on component.", "method_error")),
        ),
        (
            "a method that fails",
            "call",
            json!({"method": "boom"}),
            Some((0, FAILED, "server_error")),
            Some((500, FAILED, "server_error")),
        ),
        ("no property", "update", json!({"property": null}), MISSING, Some((400, "Property not specified", ""))),
        ("an empty property", "update", json!({"property": ""}), MISSING, Some((400, "Property not specified", ""))),
        (
            "an unknown property",
            "update",
            json!({"property": "nope"}),
            Some((0, "Property nope does not exist", "property_error")),
            property("Property [nope] does not exist on component."),
        ),
        ("a locked property", "update", json!({"property": "owner"}), property(LOCKED), property(LOCKED)),
        (
            "no signature",
            "update",
            json!({"signature": null}),
            Some((0, UNSIGNED, "validation_error")),
            Some((400, UNSIGNED, "")),
        ),
        (
            "another state than the signed one",
            "update",
            json!({"state": {"count": 2}}),
            Some((0, TAMPERED, "security_error")),
            Some((403, TAMPERED, "")),
        ),
        ("no type", "call", json!({"type": null}), None, Some((400, "Invalid request type", ""))),
        ("another type", "call", json!({"type": "nope"}), None, Some((400, "Invalid request type", ""))),
        ("a mount of no class", "mount", json!({"componentClass": null}), MISSING, NOT_LAZY),
        ("a mount of an unknown class", "mount", json!({"componentClass": "App\\Nope"}), None, NOT_LAZY),
    ]
}

/// Whether a row is about something that the counter in Rust does not have.
fn is_php_alone(what: &str) -> bool {
    matches!(what, "a method that fails" | "a locked property")
}

fn message(runtime: Option<Runtime>, kind: &str, changes: &Value) -> anyhow::Result<Value> {
    let (state, locked): (Value, &[&str]) = match runtime {
        None => (json!({"count": 1}), &[]),
        Some(_) => (json!({"count": 1, "label": "a", "owner": 7}), &["owner"]),
    };
    let signature = app_signer()?.sign_locked("App\\Diffyne\\Counter", ID, &state, locked);
    let mut data = json!({"type": kind, "componentId": ID, "componentClass": "App\\Diffyne\\Counter", "state": state,
        "signature": signature, "method": "increment", "params": [], "property": "count", "value": 3});
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => _ = data.as_object_mut().unwrap().remove(name),
            value => data[name] = value.clone(),
        }
    }
    Ok(data)
}

for_all_backends!(every_failure_has_the_packages_words_for_its_transport);
async fn every_failure_has_the_packages_words_for_its_transport(runtime: Option<Runtime>) -> anyhow::Result<()> {
    let (laravel, deployment) = deploy(runtime)?;
    let cluster = Cluster::start(deployment.shape.clone())?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let port = cluster.gateways[0].port;
    // The package's own endpoint, where the real package is at hand.
    let package = match &laravel {
        Some(laravel) if std::env::var_os("DIFFYNE_PACKAGE").is_some() => Some(laravel.serve()?),
        _ => None,
    };
    let headers = [("Sec-Fetch-Site", "same-origin"), ("Accept", "application/json")];
    for (what, kind, changes, by_socket, by_ajax) in rows() {
        if runtime.is_none() && is_php_alone(what) {
            continue;
        }
        let mut data = message(runtime, kind, &changes)?;
        if let Some((status, text, of_type)) = by_ajax {
            let path = if kind == "mount" { "/_diffyne/update/lazy" } else { "/_diffyne/update" };
            let answer = http_post(port, path, &headers, &data.to_string())?;
            let body = answer.message()?;
            assert_eq!(
                (answer.status, body.error(), body.error_type()),
                (status, text, of_type),
                "{what} by AJAX: {body}"
            );
            if let Some((_, port)) = &package {
                // It knows its own signature only.
                if let Some(signature) = data["signature"].as_str() {
                    data["signature"] = json!(signature.split('.').next());
                }
                let theirs = http_post(*port, path, &headers, &data.to_string())?;
                assert_eq!(
                    (theirs.status, theirs.message()?.error()),
                    (status, text),
                    "{what}: the package has {theirs:?}"
                );
            }
        }
        let mut data = message(runtime, kind, &changes)?;
        if let Some((_, text, of_type)) = by_socket {
            data["requestId"] = json!(what);
            let answer = client.request(&format!("diffyne.{kind}"), data).await?;
            assert_eq!((answer.error(), answer.error_type()), (text, of_type), "{what} over the socket: {answer}");
        }
    }
    Ok(())
}
