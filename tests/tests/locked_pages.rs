//! Pages with locked properties: unmodified ones, edited ones, those that the package has rendered, and forged ones.

use diffyne_tests::client::Client;
use diffyne_tests::cluster::Cluster;
use diffyne_tests::for_all_backends;
use diffyne_tests::http::{http_get, http_post};
use diffyne_tests::laravel::{Laravel, Runtime};
use diffyne_tests::message::ServerMessage;
use diffyne_tests::verification::{ACCOUNT, CHEST, ID, SAFE, VAULT, VerifyMode, app_signer, deploy, verifying};
use serde_json::{Value, json};

/// A component's page as it stands, answer by answer, in one cluster.
struct ComponentPage<'a> {
    cluster: &'a Cluster,
    client: Client,
}

impl<'a> ComponentPage<'a> {
    async fn open(cluster: &'a Cluster) -> anyhow::Result<Self> {
        Ok(Self { cluster, client: Client::connect(&cluster.url(0)).await? })
    }

    /// Sends a message by both transports; they agree.
    async fn request(&mut self, kind: &str, class: &str, more: Value) -> anyhow::Result<ServerMessage> {
        let mut data = json!({"type": kind, "componentClass": class, "componentId": ID, "params": []});
        data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let path = if kind == "mount" { "/_diffyne/lazy" } else { "/_diffyne/update" };
        let by_ajax = http_post(self.cluster.gateways[0].port, path, &[], &data.to_string())?.message()?;
        data["requestId"] = json!("r1");
        let by_socket = self.client.request(&format!("diffyne.{kind}"), data).await?;
        for field in ["c", "error", "state", "signature"] {
            assert_eq!(by_socket[field], by_ajax[field], "{by_socket} {by_ajax}");
        }
        Ok(by_socket)
    }
}

for_all_backends!(the_inputs_of_the_audit_are_refused);
async fn the_inputs_of_the_audit_are_refused(runtime: Option<Runtime>) -> anyhow::Result<()> {
    let (_laravel, deployment) = deploy(runtime)?;
    let cluster = Cluster::start(deployment.shape.clone())?;
    let mut page = ComponentPage::open(&cluster).await?;
    let assert_refused = |answer: &ServerMessage| {
        let text = "No signature covers the locked properties of this component. Reload the page.";
        assert_eq!((answer.error_type(), answer.error()), ("security_error", text), "{answer}");
    };

    // An unsigned call in the default mode.
    let forged = json!({"method": "look", "state": {"plain": 5, "note": "n", "owner": 1, "seen": ""}});
    assert_refused(&page.request("call", VAULT, forged).await?);
    if runtime.is_none() {
        let forged = json!({"method": "next", "state": {"step": 3, "team": "t", "seats": "2"}});
        assert_refused(&page.request("call", "Gallery\\Wizard", forged).await?);
    }

    // A lazy mount with a parameter for a locked property, and for what a class knows its locks by.
    let params = json!({"params": {"owner": 1, "plain": 2, "locked": [], "hidden": [], "computed": [], "id": "x"}});
    let mounted = page.request("mount", VAULT, params).await?;
    assert_eq!(mounted["state"], json!({"plain": 2, "note": "n", "owner": 7, "seen": "2 7 30 40"}), "{mounted}");

    // A state that was signed for one class, sent as another.
    let safe = page.request("mount", SAFE, json!({})).await?;
    let call = json!({"method": "look", "state": safe["state"], "signature": safe["signature"]});
    assert!(page.request("call", SAFE, call.clone()).await?.is_ok());
    assert_refused(&page.request("call", VAULT, call.clone()).await?);
    let plain = safe["signature"].as_str().unwrap().split_once('.').unwrap().0;
    let stripped = json!({"method": "look", "state": safe["state"], "signature": plain});
    assert_refused(&page.request("call", VAULT, stripped).await?);

    // The lenient forms of strict mode.
    let cluster = Cluster::start(verifying(deployment.shape.clone(), VerifyMode::StrictLenient))?;
    let mut page = ComponentPage::open(&cluster).await?;
    let empty = json!({"name": null, "isAdmin": false, "balance": 0});
    let locked = ["isAdmin", "balance"];
    for signature in [app_signer()?.sign(&empty, ID), app_signer()?.sign_locked(ACCOUNT, ID, &empty, &locked)] {
        let rich = json!({"name": "Eve", "isAdmin": true, "balance": 1_000_000});
        let answer =
            page.request("call", ACCOUNT, json!({"method": "save", "state": rich, "signature": signature})).await?;
        assert_eq!(answer.error_type(), "security_error", "{answer}");
    }
    // What a form is for.
    let filled = json!({"name": "Ada", "isAdmin": false, "balance": 0});
    let signature = app_signer()?.sign_locked(ACCOUNT, ID, &empty, &locked);
    let answer =
        page.request("call", ACCOUNT, json!({"method": "save", "state": filled, "signature": signature})).await?;
    assert_eq!(*answer.state(), filled, "{answer}");
    Ok(())
}

for_all_backends!(an_edited_page_keeps_working_with_either_signature);
async fn an_edited_page_keeps_working_with_either_signature(runtime: Option<Runtime>) -> anyhow::Result<()> {
    let (_laravel, deployment) = deploy(runtime)?;
    let cluster = Cluster::start(deployment.shape.clone())?;
    let mut page = ComponentPage::open(&cluster).await?;

    // An unmodified diffyne.js, after the first answer of ours: it changes fields, and hands the signature back.
    let mounted = page.request("mount", VAULT, json!({})).await?;
    let (mut state, mut signature) = (mounted.state().clone(), mounted.signature().clone());
    for plain in [11, 12, 13] {
        state["plain"] = json!(plain);
        let call = json!({"method": "look", "state": state, "signature": signature});
        let answer = page.request("call", VAULT, call).await?;
        assert_eq!(answer.state()["seen"], format!("{plain} 7 30 40"), "{answer}");
        (state, signature) = (answer.state().clone(), answer.signature().clone());
        let update = json!({"property": "note", "value": "typed", "state": state, "signature": signature});
        let answer = page.request("update", VAULT, update).await?;
        (state, signature) = (answer.state().clone(), answer.signature().clone());
    }
    let signature = signature.as_str().unwrap();
    assert!(signature.starts_with(&app_signer()?.sign(&state, ID)), "the package's own comes first: {signature}");
    // As scripts of ours say the same.
    let (plain, lock) = signature.split_once('.').unwrap();
    let split = json!({"method": "look", "state": state, "signature": plain, "lock": lock});
    assert!(page.request("call", VAULT, split).await?.is_ok());

    // A page that the package has rendered. Without our scripts the first call may not take edits along ...
    let rendered = json!({"plain": 5, "note": "n", "owner": 7, "seen": "", "chest": 1, "sum": 9});
    let signature = app_signer()?.sign(&rendered, ID);
    let mut edited = rendered.clone();
    edited["plain"] = json!(6);
    let call =
        |state: &Value, base: Value| json!({"method": "look", "state": state, "signature": signature, "base": base});
    assert_eq!(page.request("call", CHEST, call(&rendered, Value::Null)).await?.state()["seen"], "5 7 30 40");
    assert_eq!(page.request("call", CHEST, call(&edited, Value::Null)).await?.error_type(), "security_error");
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
        let answer = page.request("call", CHEST, call(&state, base)).await?;
        assert_eq!(answer.state()["seen"], "6 7 30 40", "{answer}");
        assert_eq!(answer.state()["sum"], 9, "{answer}");
    }
    let mut forged = edited.clone();
    forged["owner"] = json!(1);
    assert_eq!(page.request("call", CHEST, call(&forged, json!({"plain": 5}))).await?.error_type(), "security_error");
    let with_more = json!({"plain": 5, "more": 1});
    assert_eq!(page.request("call", CHEST, call(&edited, with_more)).await?.error_type(), "security_error");

    // Where an operator opens it, it is as the package has it: in calls, but not in lenient forms.
    let upstream = |mode| verifying(deployment.shape.clone(), mode).worker_variable("DIFFYNE_LOCKED", "upstream");
    let cluster = Cluster::start(upstream(VerifyMode::PropertyUpdates))?;
    let mut page = ComponentPage::open(&cluster).await?;
    let answer = page.request("call", CHEST, call(&forged, Value::Null)).await?;
    assert_eq!(answer.state()["seen"], "6 1 30 40", "{answer}");
    assert_eq!(*answer.signature(), app_signer()?.sign(answer.state(), ID), "the package's own signature");
    let mounted = page.request("mount", VAULT, json!({"params": {"owner": 1}})).await?;
    assert_eq!(mounted["state"]["owner"], 7, "a mount gives nothing away in any case");
    let cluster = Cluster::start(upstream(VerifyMode::StrictLenient))?;
    let mut page = ComponentPage::open(&cluster).await?;
    let empty = json!({"name": null, "isAdmin": false, "balance": 0});
    let signature = app_signer()?.sign(&empty, ID);
    for (state, runs) in [
        (json!({"name": "Ada", "isAdmin": false, "balance": 0}), true),
        (json!({"name": "Eve", "isAdmin": true, "balance": 0}), false),
        (json!({"name": "Eve", "isAdmin": false, "balance": 5}), false),
    ] {
        let answer =
            page.request("call", ACCOUNT, json!({"method": "save", "state": state, "signature": signature})).await?;
        assert_eq!(answer.is_ok(), runs, "{answer}");
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
    let message_in = |body: &str| {
        let (start, end) = (body.find('{').unwrap_or(0), body.rfind('}').map_or(0, |end| end + 1));
        ServerMessage::from_body(body.get(start..end).unwrap_or_default())
    };
    let rendered = message_in(&http_get(port, "/vault")?.body)?;
    let (id, signature) = (&rendered["id"], rendered.signature().as_str().unwrap());
    assert!(signature.contains('.'), "{rendered}");

    // An unmodified diffyne.js, on its first call.
    let mut state = rendered.state().clone();
    state["plain"] = json!(6);
    let call = |state: &Value| json!({"type": "call", "componentClass": VAULT, "componentId": id, "method": "look", "params": [], "state": state, "signature": signature});
    let send = |port, data: Value| -> anyhow::Result<(u16, ServerMessage)> {
        let answer = http_post(port, "/_diffyne/update", &[("Sec-Fetch-Site", "same-origin")], &data.to_string())?;
        Ok((answer.status, message_in(&answer.body)?))
    };
    let gateway = cluster.gateways[0].port;
    let (_, answer) = send(gateway, call(&state))?;
    assert_eq!(answer.state()["seen"], "6 7 30 40", "{answer}");
    state["owner"] = json!(1);
    assert_eq!(send(gateway, call(&state))?.0, 403);

    // The package's own endpoint, which knows its own signature only, takes what it has signed, and the page goes on.
    let update = json!({"type": "update", "componentClass": VAULT, "componentId": id, "property": "note", "value": "typed",
        "state": rendered.state(), "signature": signature});
    let (status, answer) = send(port, update.clone())?;
    assert_eq!((status, &answer.state()["note"]), (200, &json!("typed")), "{answer}");
    let next = json!({"type": "update", "componentClass": VAULT, "componentId": id, "property": "plain", "value": 8,
        "state": answer.state(), "signature": answer.signature()});
    for port in [gateway, port] {
        let (status, answer) = send(port, next.clone())?;
        assert_eq!((status, &answer.state()["seen"]), (200, &json!("8 7 30 40")), "{answer}");
    }
    let mut forged = update;
    forged["state"]["owner"] = json!(1);
    assert_eq!(send(port, forged)?.0, 403);
    Ok(())
}
