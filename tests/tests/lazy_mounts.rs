//! What a page may choose when it mounts a lazy component: what its server has written into the page, and what clients
//! may change anyway. Nothing that is locked, hidden or computed, and nothing that is no property of the state.

use arc_swap::ArcSwap;
use diffyne_tests::client::Client;
use diffyne_tests::cluster::Cluster;
use diffyne_tests::for_all_backends;
use diffyne_tests::for_runtimes;
use diffyne_tests::http::{http, http_post};
use diffyne_tests::laravel::{Laravel, Runtime};
use diffyne_tests::message::ServerMessage;
use diffyne_tests::protected_components;
use diffyne_tests::verification::{ID, SAFE, VAULT, app_signer, deploy};
use diffyne_worker::component::engine::{Engine, PushSlots};
use diffyne_worker::component::{ClientInfo, Registry};
use diffyne_worker::demo;
use diffyne_worker::page::Page;
use serde_json::{Value, json};

const LOCK: &str = "diffyne:lock";

/// The parameters of a lazy component as a page of the application has them.
async fn rendered_params(laravel: Option<&Laravel>, class: &str, params: Value) -> anyhow::Result<Value> {
    let html = if let Some(laravel) = laravel {
        let (_server, port) = laravel.serve()?;
        let query: Vec<String> =
            params.as_object().unwrap().iter().map(|(name, value)| format!("params[{name}]={value}")).collect();
        let path = format!("/lazy/{}?{}", class.rsplit('\\').next().unwrap(), query.join("&"));
        http(port, &format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"))?.body
    } else {
        let mut registry = Registry::default();
        protected_components::register(&mut registry);
        let directory = tempfile::tempdir()?;
        let app = demo::app(&directory.path().join("demo.sqlite"))?;
        let engine = Engine {
            registry,
            signer: ArcSwap::from_pointee(app_signer()?),
            app,
            debug: false,
            uploads: None,
            release: None,
            push_slots: PushSlots::default(),
        };
        let page = Page::new(&engine, ClientInfo::default(), "");
        page.component(class, params).await.map_err(|error| anyhow::anyhow!("{error:?}"))?
    };
    let attribute = html.split_once("diff:params=\"").and_then(|(_, rest)| rest.split_once('"'));
    let text = attribute.unwrap_or_else(|| panic!("{html}")).0.replace("&quot;", "\"").replace("&#34;", "\"");
    Ok(serde_json::from_str(&text)?)
}

/// Mounts over the socket and by AJAX, which have to agree.
async fn mount(cluster: &Cluster, class: &str, params: &Value, query: &Value) -> anyhow::Result<ServerMessage> {
    let mut client = Client::connect(&cluster.url(0)).await?;
    let mut data = json!({"componentClass": class, "componentId": ID, "params": params, "queryParams": query});
    let by_ajax = http_post(cluster.gateways[0].port, "/_diffyne/lazy", &[], &data.to_string())?.message()?;
    data["requestId"] = json!("r");
    let by_socket = client.request("diffyne.mount", data).await?;
    assert_eq!(by_ajax.state(), by_socket.state(), "{by_ajax} {by_socket}");
    Ok(by_socket)
}

for_all_backends!(a_lazy_component_gets_the_parameters_that_its_server_has_written_and_no_others);
async fn a_lazy_component_gets_the_parameters_that_its_server_has_written_and_no_others(
    runtime: Option<Runtime>,
) -> anyhow::Result<()> {
    let (laravel, deployment) = deploy(runtime)?;
    if runtime.is_some_and(Runtime::is_pool) {
        // Pages come from the application itself, which has the bridge for them.
        laravel.as_ref().unwrap().load_bridge()?;
    }
    let cluster = Cluster::start(deployment.shape.clone())?;
    let written = json!({"plain": 6, "owner": 8, "margin": 31});
    let vault = rendered_params(laravel.as_ref(), VAULT, written.clone()).await?;
    let safe = rendered_params(laravel.as_ref(), SAFE, json!({"owner": 9})).await?;
    let plain = rendered_params(laravel.as_ref(), VAULT, json!({"plain": 6})).await?;
    assert!(vault[LOCK].is_string() && plain.get(LOCK).is_none(), "{vault} {plain}");
    let with = |changes: Value| {
        let mut params = vault.clone();
        params.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        params
    };
    let mut without_owner = vault.clone();
    without_owner.as_object_mut().unwrap().remove("owner");
    for (what, class, params, expected) in [
        ("as written", VAULT, vault.clone(), "6 8 31 40"),
        ("a plain one is the client's", VAULT, with(json!({"plain": 1})), "1 8 31 40"),
        ("nothing signed", VAULT, written, "6 7 30 40"),
        ("a changed one", VAULT, with(json!({"owner": 1})), "6 7 30 40"),
        ("one left out", VAULT, without_owner, "6 7 30 40"),
        ("one more", VAULT, with(json!({"total": 1})), "6 8 31 40"),
        ("another class's lock", VAULT, with(json!({"owner": 9, LOCK: safe[LOCK]})), "6 7 30 40"),
        ("for another class", SAFE, vault.clone(), "6 7 30 40"),
        ("nonsense", VAULT, with(json!({LOCK: 7})), "6 7 30 40"),
    ] {
        let answer = mount(&cluster, class, &params, &json!({})).await?;
        assert_eq!(answer.state()["seen"], expected, "{what}: {answer}");
        assert!(answer.state().get("margin").is_none() && answer.state().get(LOCK).is_none(), "{what}: {answer}");
        // Its first call stands on the signature of the mount.
        let data = json!({"type": "call", "componentClass": class, "componentId": ID, "method": "look", "params": [],
            "state": answer.state(), "signature": answer["signature"], "requestId": "r"});
        let answer = Client::connect(&cluster.url(0)).await?.call(data).await?;
        assert_eq!(answer.state()["owner"].to_string(), expected.split(' ').nth(1).unwrap(), "{what}: {answer}");
    }
    Ok(())
}

for_runtimes!(a_pages_address_sets_what_is_declared_for_it: fast_path = FastPath, kernel = Kernel, http = Http, fastcgi = FastCgi);
async fn a_pages_address_sets_what_is_declared_for_it(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(runtime, 1)?;
    let cluster = Cluster::start(deployment.shape.clone())?;
    // Everything that a class has, and what the package keeps about it.
    let forged = json!({"tab": "x", "team": "x", "secret": "x", "plain": "x", "shared": "x", "id": "x", "hidden": [], "locked": [],
        "tracked": ["secret"], "computed": [], "urlProperties": [], "events": [], "t": "y"});
    let own =
        json!({"tab": "own", "team": "own", "secret": "own", "plain": "own", "shared": "own", "hidden": ["secret"]});
    let (in_params, in_query) = (json!({"tab": "x", "plain": "x"}), json!({"tab": "y"}));
    for (params, query, changed) in [
        (&forged, &json!({}), in_params),
        (&json!({}), &forged, in_query.clone()),
        (&json!({"tab": "x"}), &forged, in_query),
    ] {
        let answer = mount(&cluster, "App\\Diffyne\\Tabs", params, query).await?;
        let mut expected = own.clone();
        expected.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
        let seen: Value = serde_json::from_str(answer.state()["seen"].as_str().unwrap())?;
        assert_eq!(seen, expected, "{answer}");
        assert_eq!(answer["id"], ID, "{answer}");
        assert!(answer.state().get("secret").is_none(), "{answer}");
    }
    Ok(())
}
