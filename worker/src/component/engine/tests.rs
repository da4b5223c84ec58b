//! Calls of one component from message to response.

use std::sync::Arc;

use diffyne_shared::rpc::Transport;
use diffyne_shared::signing::{SigningKey, VerifyState};
use serde::{Deserialize, Serialize};

use super::*;
use crate::component::{Definition, Member, Rules};

#[derive(Serialize, Deserialize)]
struct Order {
    amount: i64,
    coupon: String,
    total: i64,
    margin: i64,
    log: Vec<String>,
    page: i64,
}

impl Default for Order {
    fn default() -> Self {
        Self { amount: 1, coupon: String::new(), total: 0, margin: 30, log: Vec::new(), page: 1 }
    }
}

const VIEW: &str = "<p id=\"{{ id }}\">{{ price }} {{ coupon }} {{ errors.coupon | first }} {{ margin }}</p>";

fn order() -> Definition<Order> {
    Definition::<Order>::new("Shop\\Order")
        .template(VIEW)
        .locked(["total"])
        .hidden(["margin"])
        .computed("price", |order| order.amount * 10 + order.margin)
        .query("coupon")
        .query_always_as("page", "p")
        .rules(Rules::new([("coupon", "string|min:3"), ("amount", "integer|max:9")]))
        .mount(|order, context| {
            order.log.push(format!("mount {}", context.params.len()));
        })
        .hydrate(|order, _context| order.log.push("hydrate".to_owned()))
        .updating(|order, _context, property, value| {
            order.log.push(format!("updating {property} {value}"));
            if value == "forbidden" { Err(CallError::Property("not this one".to_owned())) } else { Ok(()) }
        })
        .updated(|order, context, property| {
            order.log.push(format!("updated {property}"));
            context.validate_only(order, property)
        })
        .dehydrate(|order, _context| {
            order.total = order.amount * 10;
            order.log.push("dehydrate".to_owned());
        })
        .method("buy", [], |order, context, ()| {
            context.validate(order)?;
            context.dispatch("sold", vec![json!(order.amount)]);
            context.redirect("/thanks")
        })
        .async_method("restock", ["n", "why"], |order, context, (n, why): (i64, Option<String>)| {
            Box::pin(async move {
                order.amount += context.blocking(move || Ok(n)).await?;
                order.log.extend(why);
                let text = std::fs::read_to_string("/nowhere/at/all")?;
                order.log.push(text);
                Ok(())
            })
        })
        .method("explode", [], |_order, _context, ()| -> () { panic!("boom {}", 7) })
}

fn engine(debug: bool) -> Engine {
    let mut registry = Registry::default();
    registry.add(order());
    registry.add(order_lazy());
    let key = SigningKey::parse("k").unwrap();
    let signer = Signer::new(vec![key], VerifyState::PropertyUpdates, true).unwrap();
    Engine {
        registry,
        signer: ArcSwap::from_pointee(signer),
        app: Arc::new(()),
        debug,
        uploads: None,
        release: None,
        push_slots: PushSlots::default(),
    }
}

fn order_lazy() -> Definition<Order> {
    Definition::<Order>::new("Shop\\Lazy")
        .render(|order| format!("<i>{}</i>", order.amount))
        .locked(["total", "margin"])
        .computed("price", |order| order.amount)
        .lazy()
}

fn ws() -> ClientInfo {
    ClientInfo { transport: Transport::Ws, ..ClientInfo::default() }
}

async fn run(engine: &Engine, kind: CallKind, data: Value) -> (CallResult, Value) {
    let finished = engine.run(kind, ws(), data.to_string().as_bytes()).await;
    let answer = serde_json::from_slice(&finished.data).unwrap();
    (finished, answer)
}

fn data(state: &Value, more: Value) -> Value {
    let signature = engine(false).signer.load().sign_locked("Shop\\Order", "c1", state, &["total"]);
    let mut data =
        json!({"componentId": "c1", "componentClass": "Shop\\Order", "state": state, "signature": signature});
    for (name, value) in more.as_object().unwrap() {
        data[name] = value.clone();
    }
    data
}

/// What a page has after a mount.
fn fresh() -> Value {
    json!({"amount": 1, "coupon": "", "total": 0, "log": [], "page": 1})
}

#[tokio::test]
async fn a_component_mounts_with_its_address_and_parameters() {
    let query = json!({"coupon": "SAVE", "p": "x", "amount": "9"});
    let params = json!({"amount": "3", "other": true});
    let (query, params) = (query.as_object().unwrap(), params.as_object().unwrap().clone());
    let mounted = engine(false).mount("Shop\\Order", params, query, ClientInfo::default(), &[]).await.unwrap();
    let expected = json!({"amount": 3, "coupon": "SAVE", "total": 30, "log": ["mount 2", "dehydrate"], "page": 1});
    assert_eq!(mounted.state, expected, "what is hidden stays here");
    assert_eq!(mounted.html, format!("<p id=\"{}\">60 SAVE  30</p>", mounted.id));
    let wrong = json!({"amount": "many"}).as_object().unwrap().clone();
    let failure = engine(false).mount("Shop\\Order", wrong, query, ClientInfo::default(), &[]).await.unwrap_err();
    assert_eq!(failure, CallError::Property("Property [amount] must be of type int, string given.".to_owned()));
}

#[tokio::test]
async fn an_update_goes_through_all_its_steps() {
    let engine = engine(false);
    let state = json!({"amount": 2, "coupon": "OLD", "total": 20, "log": [], "page": 1, "margin": 999});
    let update = |value: Value| data(&state, json!({"type": "update", "property": "coupon", "value": value}));
    let (finished, answer) = run(&engine, CallKind::Update, update(json!("XY"))).await;
    assert_eq!((finished.class.as_str(), finished.method.as_str()), ("Shop\\Order", "update"));
    let changed = &answer["c"];
    assert_eq!(changed["st"]["log"], json!(["hydrate", "updating coupon \"XY\"", "updated coupon", "dehydrate"]));
    assert_eq!(changed["st"].get("margin"), None);
    assert_eq!(changed["e"], json!({"coupon": ["The coupon field must be at least 3 characters."]}));
    assert_eq!(changed["q"], json!({"coupon": "XY", "p": 1}));
    // 30, not the 999 that the client says: what is hidden is not taken from it.
    let text = changed["p"][0]["d"]["x"].as_str().unwrap();
    assert_eq!(text, "50 XY The coupon field must be at least 3 characters. 30");
    let (_, answer) = run(&engine, CallKind::Update, update(json!(""))).await;
    assert_eq!(answer["c"]["q"], json!({"coupon": null, "p": 1}), "it leaves the address");
    let refused = [
        ("total", "Property [total] is locked and cannot be updated from client."),
        ("margin", "Property [margin] is protected and cannot be updated."),
        ("price", "Property [price] is computed and cannot be updated."),
        ("nope", "Property nope does not exist"),
    ];
    for (property, text) in refused {
        let update = data(&state, json!({"type": "update", "property": property, "value": 1}));
        let (finished, answer) = run(&engine, CallKind::Update, update).await;
        assert_eq!(answer, json!({"s": false, "error": text, "type": "property_error"}));
        assert_eq!(finished.outcome, Outcome::PropertyError);
    }
    let (_, answer) = run(&engine, CallKind::Update, update(json!("forbidden"))).await;
    assert_eq!(answer["error"], "not this one");
}

#[tokio::test]
async fn a_redirect_takes_events_along_and_renders_nothing() {
    let (finished, answer) = run(&engine(false), CallKind::Call, data(&fresh(), json!({"method": "buy"}))).await;
    let events = json!([{"name": "sold", "params": [1], "to": null, "self": false}]);
    let expected = json!({"s": true, "redirect": {"url": "/thanks", "spa": true}, "events": events});
    assert_eq!(answer, expected);
    assert_eq!((finished.broadcasts.len(), finished.event_count), (1, 1));
}

#[tokio::test]
async fn an_error_or_panic_fails_its_call_and_is_told_in_debug_mode_only() {
    let restock = data(&fresh(), json!({"method": "restock", "params": [2, null]}));
    let (_, answer) = run(&engine(false), CallKind::Call, restock.clone()).await;
    assert_eq!(answer["type"], "server_error");
    let (_, answer) = run(&engine(true), CallKind::Call, restock).await;
    assert_eq!(
        (&answer["type"], &answer["details"]["exception"]),
        (&json!("exception"), &json!("Shop\\Order::restock"))
    );
    assert!(answer["error"].as_str().unwrap().contains("No such file"), "{answer}");
    let explode = data(&fresh(), json!({"method": "explode"}));
    let (finished, answer) = run(&engine(true), CallKind::Call, explode).await;
    assert_eq!((finished.outcome, &answer["error"]), (Outcome::ServerError, &json!("it panicked: boom 7")));
    let (_, answer) = run(&engine(false), CallKind::Call, data(&fresh(), json!({"method": "restock"}))).await;
    assert_eq!(answer["error"], "Parameter [n] of method [restock] is missing.");
}

#[tokio::test]
async fn only_lazy_components_mount_for_a_page_and_what_is_protected_is_not_its_choice() {
    let engine = engine(false);
    let mount = |class: &str, params: Value| json!({"componentId": "c2", "componentClass": class, "params": params});
    let params = json!({"amount": 4, "total": 4, "margin": 4, "price": 4});
    let (_, answer) = run(&engine, CallKind::Mount, mount("Shop\\Lazy", params)).await;
    assert_eq!((&answer["id"], &answer["html"]), (&json!("c2"), &json!("<i>4</i>")));
    let expected = json!({"amount": 4, "coupon": "", "total": 0, "margin": 30, "log": [], "page": 1});
    assert_eq!(answer["state"], expected, "the others have their first values");
    let (_, answer) = run(&engine, CallKind::Mount, mount("Shop\\Order", json!({}))).await;
    assert_eq!(answer["error"], "Invalid component class");
}

#[tokio::test]
async fn a_locked_value_is_accepted_only_under_a_signature() {
    let engine = engine(false);
    let signer = engine.signer.load_full();
    let state = fresh();
    let forged = json!({"amount": 2, "coupon": "", "total": 9, "log": [], "page": 1});
    let edited = json!({"amount": 2, "coupon": "", "total": 0, "log": [], "page": 1});
    let package = signer.sign(&state, "c1");
    let ours = signer.sign_locked("Shop\\Order", "c1", &state, &["total"]);
    let (plain, lock) = ours.split_once('.').unwrap();
    let rows = [
        ("nothing is signed", json!({"state": state, "signature": ""}), false),
        ("as it was rendered", json!({"state": state, "signature": package}), true),
        ("edited since", json!({"state": edited, "signature": package}), false),
        ("edited, and said so", json!({"state": edited, "signature": package, "base": {"amount": 1}}), true),
        ("forged, and not said", json!({"state": forged, "signature": package, "base": {"amount": 1}}), false),
        ("edited, with our signature", json!({"state": edited, "signature": ours}), true),
        ("the same in two fields", json!({"state": edited, "signature": plain, "lock": lock}), true),
        ("forged, with our signature", json!({"state": forged, "signature": ours}), false),
        ("no values at all", json!({"state": {}, "signature": ours}), false),
    ];
    for (what, row, runs) in rows {
        let mut data = data(&state, json!({"method": "explode"}));
        data.as_object_mut().unwrap().extend(row.as_object().unwrap().clone());
        let (finished, answer) = run(&engine, CallKind::Call, data).await;
        let expected = if runs { Outcome::ServerError } else { Outcome::SecurityError };
        assert_eq!(finished.outcome, expected, "{what}: {answer}");
    }
    // Said to have been edited, it is what was signed.
    let row = json!({"method": "buy", "state": forged, "signature": package, "base": {"amount": 1, "total": 0}});
    let (_, answer) = run(&engine, CallKind::Call, data(&state, row)).await;
    assert_eq!(answer["s"], true, "{answer}");
}

#[tokio::test]
async fn a_signature_that_names_no_class_is_refused_where_two_classes_look_alike() {
    let mut engine = engine(false);
    let signature = engine.signer.load().sign(&fresh(), "c1");
    let buy = data(&fresh(), json!({"method": "buy", "signature": signature}));
    assert_eq!(run(&engine, CallKind::Call, buy.clone()).await.1["s"], true);
    let twin = Definition::<Order>::new("Shop\\Draft").hidden(["margin"]);
    engine.registry.add(twin);
    assert_eq!(run(&engine, CallKind::Call, buy).await.1["type"], "security_error");
    assert_eq!(run(&engine, CallKind::Call, data(&fresh(), json!({"method": "buy"}))).await.1["s"], true);
}

#[derive(Default, Serialize, Deserialize)]
struct Recorder {
    log: Vec<String>,
}

/// A component whose hooks all wait for something.
fn recorder() -> Definition<Recorder> {
    Definition::<Recorder>::new("Recorder")
        .async_hydrate(|recorder, _context| {
            Box::pin(async move {
                tokio::task::yield_now().await;
                recorder.log.push("hydrate".to_owned());
                Ok(())
            })
        })
        .async_updated(|recorder, _context, property| {
            Box::pin(async move {
                tokio::task::yield_now().await;
                recorder.log.push(format!("updated {property}"));
                Ok(())
            })
        })
        .method("heard", [], |_recorder, _context, ()| {})
        .listen("news", "heard")
        .async_may_hear(|context, event, fields| {
            Box::pin(async move {
                tokio::task::yield_now().await;
                Ok(event == "news" && fields.get("room") == Some(&json!(1)) && context.client.is_websocket())
            })
        })
        .async_here(|_context, _event, _fields| {
            Box::pin(async move {
                tokio::task::yield_now().await;
                Ok(Some(Member::new(7, json!({"name": "Ada"}))))
            })
        })
}

#[tokio::test]
async fn hooks_and_policies_may_wait() {
    let mut engine = engine(false);
    engine.registry.add(recorder());
    let state = json!({"log": []});
    let signature = engine.signer.load().sign(&state, "c1");
    let message = |more: Value| {
        let mut message =
            json!({"componentId": "c1", "componentClass": "Recorder", "state": state, "signature": signature});
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        message
    };
    let (_, response) = run(&engine, CallKind::Call, message(json!({"method": "heard"}))).await;
    assert_eq!(response["c"]["st"]["log"], json!(["hydrate"]));
    let update = message(json!({"property": "log", "value": ["set"]}));
    let (_, response) = run(&engine, CallKind::Update, update).await;
    assert_eq!(response["c"]["st"]["log"], json!(["set", "updated log"]));
    let event = |name: &str, room: i64| json!({"name": name, "match": {"room": room}, "componentClass": "Recorder"});
    let events = json!({"events": [event("news", 1), event("news", 2), event("other", 1)]});
    let (_, response) = run(&engine, CallKind::Grant, events).await;
    assert_eq!(response, json!({"granted": [true, false, false]}));
    // Whoever may not hear the event is not in its room, nor where the class does not exist.
    let nobody = json!({"name": "news", "match": {"room": 1}, "componentClass": "Nobody"});
    let rooms = json!({"events": [], "rooms": [event("news", 1), event("news", 2), nobody, event("other", 1)]});
    let (_, response) = run(&engine, CallKind::Grant, rooms).await;
    let member = json!({"id": "7", "info": {"name": "Ada"}});
    assert_eq!(response, json!({"granted": [], "here": [member, null, null, null]}));
}

/// A list below a part that comes and goes, and in an element that changes.
fn feed() -> Definition<Order> {
    const FEED: &str = "<main>{% if amount > 1 %}<h1>{{ amount }}</h1>{% endif %}<header diff:slot=\"title\"></header>\
        {% if page == 1 %}<ul diff:stream=\"posts\"></ul>{% else %}<div><ol diff:stream=\"posts\"></ol></div>{% endif %}</main>";
    Definition::<Order>::new("Shop\\Feed")
        .template(FEED)
        .stream("posts", "<li>{{ item }}</li>")
        .mount(|_order, context| _ = context.stream("posts").append(1, &"first"))
        .method("post", ["amount", "page"], |order, context, (amount, page): (i64, i64)| {
            (order.amount, order.page) = (amount, page);
            context.stream("posts").append("k", &"new").prepend(0, &"top");
        })
}

#[tokio::test]
async fn a_page_has_the_items_and_slots_and_patches_lead_to_the_list_that_it_has() {
    let mut engine = engine(false);
    engine.registry.add(feed());
    let slots = [("title", "<h2>Hello</h2>")];
    let mounted = engine.mount("Shop\\Feed", Map::new(), &Map::new(), ClientInfo::default(), &slots).await.unwrap();
    assert_eq!(
        mounted.html,
        "<main><header diff:slot=\"title\"><h2>Hello</h2></header><ul diff:stream=\"posts\"><li diff:key=\"1\">first</li></ul></main>"
    );
    let run = async |amount: i64, page: i64, params: Value, accepts: Value| {
        let state = json!({"amount": amount, "page": page, "coupon": "", "total": 0, "margin": 0, "log": []});
        let message = json!({"componentId": "diffyne-a", "componentClass": "Shop\\Feed", "method": "post",
            "params": params, "state": state, "accepts": accepts});
        let result = engine.run(CallKind::Call, ClientInfo::default(), message.to_string().as_bytes()).await;
        serde_json::from_slice::<Value>(&result.data).unwrap()["c"].take()
    };
    let item = |key: &str, text: &str| json!({"t": "li", "a": {"diff:key": key}, "c": [{"x": text}], "k": key});
    let create = |path: Value, node: Value| json!({"t": "c", "p": path, "d": {"node": node}});
    let end = i32::MAX;
    // The list stays: its path is that before what is created above it, as deeper patches go first.
    let plain = run(1, 1, json!([5, 1]), Value::Null).await;
    let title = json!({"t": "h1", "c": [{"x": "5"}]});
    assert_eq!(
        plain["p"],
        json!([
            create(json!([0]), title.clone()),
            create(json!([1, end]), item("k", "new")),
            create(json!([1, 0]), item("0", "top"))
        ])
    );
    let ours = run(1, 1, json!([5, 1]), json!(["streams"])).await;
    assert_eq!((&ours["p"], ours["s"].as_array().map(Vec::len)), (&json!([create(json!([0]), title)]), Some(2)));
    // What goes above it goes first.
    let removed = run(5, 1, json!([1, 1]), Value::Null).await;
    assert_eq!(removed["p"][0], json!({"t": "r", "p": [0]}));
    assert_eq!(removed["p"][1]["p"], json!([1, end]));
    // A list that is made anew comes with its items, once.
    let anew = run(1, 1, json!([1, 2]), Value::Null).await;
    let list = json!({"t": "ol", "a": {"diff:stream": "posts"}, "c": [item("0", "top"), item("k", "new")]});
    assert!(anew["p"].to_string().contains(&list.to_string()), "{anew}");
    assert_eq!(anew["p"].to_string().matches("new").count(), 1, "{anew}");
}
