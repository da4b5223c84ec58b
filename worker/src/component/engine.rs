//! The life of a call: read, verify, run, diff, sign, answer.

use std::panic::AssertUnwindSafe;

use arc_swap::ArcSwap;
use diffyne_shared::rpc::{CallKind, Outcome};
use diffyne_shared::signing::{Signer, fingerprint};
use diffyne_shared::telemetry::{self, LogThrottle};
use futures_util::FutureExt as _;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::client::ClientInfo;
use super::context::{App, Context, Event};
use super::failure::Failure;
use super::lifecycle::{Action, Component, Ran};
use super::message::{Data, Locked, Verified, invalid, object};
use super::{Registry, grant, trust};
use crate::backend::{Broadcastable, Finished};
use crate::redirect;
use crate::vdom::{Patch, diff, parse};

/// Log lines about calls that failed, which anybody can cause.
static LINES: LogThrottle = LogThrottle::new(10, 50);

/// Runs components of a registry.
pub struct Engine {
    /// The components.
    pub registry: Registry,
    /// Signs and verifies; can be exchanged while calls run.
    pub signer: ArcSwap<Signer>,
    /// The application's shared state.
    pub app: App,
    /// Tell clients of exceptions.
    pub debug: bool,
}

/// `c` of a response.
#[derive(Serialize)]
struct Changed<'a> {
    i: &'a str,
    p: &'a [Patch<'a>],
    st: &'a Value,
    f: String,
    sig: String,
    #[serde(skip_serializing_if = "Map::is_empty")]
    e: &'a Map<String, Value>,
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    q: &'a std::collections::BTreeMap<&'static str, Value>,
}

/// A whole response.
#[derive(Serialize)]
struct Response<'a> {
    s: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    c: Option<Changed<'a>>,
    #[serde(skip_serializing_if = "<[Event]>::is_empty")]
    events: &'a [Event],
    #[serde(skip_serializing_if = "<[Value]>::is_empty", rename = "browserEvents")]
    browser_events: &'a [Value],
    #[serde(skip_serializing_if = "Option::is_none")]
    redirect: Option<&'a super::context::Redirect>,
}

/// A component's place on a new page.
#[derive(Debug, Clone, Serialize)]
pub struct Mounted {
    /// Component id.
    pub id: String,
    /// Class.
    pub class: String,
    /// Its HTML.
    pub html: String,
    /// Its state.
    pub state: Value,
    /// md5 of the state.
    pub fingerprint: String,
    /// Signature of the state.
    pub signature: String,
    /// `{event: [methods]}`.
    pub listeners: Value,
}

/// What a worker has recognised of a call: fit for metrics and logs.
#[derive(Default)]
struct Labels {
    class: String,
    method: String,
}

impl Engine {
    /// Runs one call to its end; never panics, whatever the component does.
    pub async fn run(&self, kind: CallKind, client: ClientInfo, payload: &[u8]) -> Finished {
        let mut labels = Labels::default();
        let transport = client.transport;
        let work = AssertUnwindSafe(self.attempt(kind, client, payload, &mut labels)).catch_unwind();
        let result = match work.await {
            Ok(result) => result,
            Err(panic) => Err(Failure::Exception(format!("it panicked: {}", panic_text(&*panic)))),
        };
        let Labels { class, method } = labels;
        match result {
            Ok(finished) => Finished { class, method, ..finished },
            Err(failure) => {
                failure.warn_of_unsigned(&class);
                if let Failure::Exception(error) = &failure
                    && let Some(left_out) = LINES.allow()
                {
                    let error = telemetry::error(error);
                    tracing::error!(component = class, method, %error, left_out, "a component failed");
                }
                let place = format!("{class}::{method}");
                let answer = match kind {
                    CallKind::Mount => failure.mount_json(transport, self.debug, &place),
                    _ => failure.json(transport, self.debug, &place),
                };
                Finished {
                    class,
                    method,
                    outcome: failure.outcome(),
                    status: failure.status(),
                    data: answer.to_string().into_bytes(),
                    ..Finished::default()
                }
            }
        }
    }

    async fn attempt(
        &self,
        kind: CallKind,
        client: ClientInfo,
        payload: &[u8],
        labels: &mut Labels,
    ) -> Result<Finished, Failure> {
        if kind == CallKind::Grant {
            labels.method = "grant".to_owned();
            return grant::answer(&self.registry, &self.app, &client, payload).await;
        }
        let data = Data::read(payload)?;
        // An unknown class is told before anything else about the message.
        let class = data.component_class.get().ok_or_else(invalid)?;
        let component = self.registry.get(class).ok_or_else(|| Failure::UnknownComponent(class.to_owned()))?;
        labels.class = class.to_owned();
        let locked = Locked::Known(component.locked());
        let verified = Verified::of(&data, kind, client.transport, &self.signer.load(), locked)?;
        let Verified { id, member, method, trust, .. } = verified;
        if kind != CallKind::Call || component.has_method(&method) {
            labels.method = method.into_owned();
        }
        if kind == CallKind::Mount {
            return self.mount_for_page(&**component, &data, &id, client).await;
        }
        let state = trust::believed(&self.registry, &**component, &data, &trust)?;
        let action = match kind {
            CallKind::Call => Action::Call { method: &member, params: data.positional()? },
            _ => Action::Update { property: &member, value: &data.value },
        };
        let mut context = Context::new(id.clone().into_owned(), client, App::clone(&self.app));
        let ran = component.call(&state, action, &mut context).await?;
        self.respond(&**component, &id, &ran, context)
    }

    fn respond(&self, component: &dyn Component, id: &str, ran: &Ran, context: Context) -> Result<Finished, Failure> {
        if let Some(redirect) = &context.redirect {
            redirect::check(&redirect.url)?;
        }
        let trees = match (&ran.before, &ran.after) {
            (Some(before), Some(after)) if before != after => Some((parse(before)?, parse(after)?)),
            _ => None,
        };
        let patches = trees.as_ref().map(|(before, after)| diff(before, after)).unwrap_or_default();
        let changed = || Changed {
            i: id,
            p: &patches,
            st: &ran.state,
            f: fingerprint(&ran.state),
            sig: self.sign(component, id, &ran.state),
            e: &context.errors,
            q: &ran.query,
        };
        let response = Response {
            s: true,
            c: if context.redirect.is_none() { Some(changed()) } else { None },
            events: &context.events,
            browser_events: &context.browser_events,
            redirect: context.redirect.as_ref(),
        };
        Ok(Finished {
            outcome: Outcome::Ok,
            status: 200,
            data: serde_json::to_vec(&response)?,
            event_count: context.events.len() as u32,
            broadcasts: broadcasts(&context.events)?,
            set_cookie: context.set_cookie,
            ..Finished::default()
        })
    }

    fn sign(&self, component: &dyn Component, id: &str, state: &Value) -> String {
        self.signer.load().sign_locked(component.class(), id, state, component.locked())
    }

    /// A page asks for a lazy component.
    async fn mount_for_page(
        &self,
        component: &dyn Component,
        data: &Data<'_>,
        id: &str,
        client: ClientInfo,
    ) -> Result<Finished, Failure> {
        if component.placeholder().is_none() {
            return Err(Failure::NotLazy(component.class().to_owned()));
        }
        let mut params = match &data.params {
            Value::Null => Map::new(),
            params => object(params).ok_or_else(invalid)?.into_owned(),
        };
        component.drop_protected(&mut params);
        let query = object(&data.query_params).unwrap_or_default().into_owned();
        let mut context = Context::new(id.to_owned(), client, App::clone(&self.app));
        context.params = params;
        let mounted = self.mount_as(component, id, &query, &mut context).await?;
        let answer = json!({
            "success": true,
            "id": mounted.id,
            "html": mounted.html,
            "state": mounted.state,
            "fingerprint": mounted.fingerprint,
            "signature": mounted.signature,
            "eventListeners": mounted.listeners,
        });
        Ok(Finished {
            outcome: Outcome::Ok,
            status: 200,
            data: answer.to_string().into_bytes(),
            listeners: Some(mounted.listeners.to_string().into_bytes()),
            set_cookie: context.set_cookie,
            ..Finished::default()
        })
    }

    /// Brings a component to a page: its first state, rendered and signed. `query` is the page's address, by name.
    pub async fn mount(
        &self,
        class: &str,
        params: Map<String, Value>,
        query: &Map<String, Value>,
        client: ClientInfo,
    ) -> Result<Mounted, Failure> {
        let component = self.registry.get(class).ok_or_else(|| Failure::UnknownComponent(class.to_owned()))?;
        let id = new_component_id();
        let mut context = Context::new(id.clone(), client, App::clone(&self.app));
        context.params = params;
        self.mount_as(&**component, &id, query, &mut context).await
    }

    async fn mount_as(
        &self,
        component: &dyn Component,
        id: &str,
        query: &Map<String, Value>,
        context: &mut Context,
    ) -> Result<Mounted, Failure> {
        let ran = component.mount(query, context).await?;
        let html = parse(ran.after.as_deref().unwrap_or_default())?.to_html();
        let (fingerprint, signature) = (fingerprint(&ran.state), self.sign(component, id, &ran.state));
        let listeners = serde_json::to_value(component.listeners())?;
        let class = component.class().to_owned();
        Ok(Mounted { id: id.to_owned(), class, html, state: ran.state, fingerprint, signature, listeners })
    }
}

/// The events that may leave for the whole cluster.
fn broadcasts(events: &[Event]) -> Result<Vec<Broadcastable>, Failure> {
    let free = events.iter().enumerate().filter(|(_, event)| event.to.is_none());
    free.map(|(index, event)| {
        let params = serde_json::to_vec(&event.params)?;
        Ok(Broadcastable { index: index as u32, name: event.name.clone(), params })
    })
    .collect()
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a text")
}

/// `diffyne-` and 16 letters or digits.
pub(crate) fn new_component_id() -> String {
    let tail: String = std::iter::repeat_with(fastrand::alphanumeric).take(16).collect();
    format!("diffyne-{tail}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use diffyne_shared::rpc::Transport;
    use diffyne_shared::signing::{SigningKey, VerifyState};
    use serde::Deserialize;

    use super::*;
    use crate::component::{Definition, Rules};

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
            .query_as("page", "p", true)
            .rules(Rules::new([("coupon", "string|min:3"), ("amount", "integer|max:9")]))
            .mount(|order, context| {
                order.log.push(format!("mount {}", context.params.len()));
            })
            .hydrate(|order, _context| order.log.push("hydrate".to_owned()))
            .updating(|order, _context, property, value| {
                order.log.push(format!("updating {property} {value}"));
                if value == "forbidden" { Err(Failure::Property("not this one".to_owned())) } else { Ok(()) }
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
        Engine { registry, signer: ArcSwap::from_pointee(signer), app: Arc::new(()), debug }
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

    async fn run(engine: &Engine, kind: CallKind, data: Value) -> (Finished, Value) {
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
        let mounted = engine(false).mount("Shop\\Order", params, query, ClientInfo::default()).await.unwrap();
        let expected = json!({"amount": 3, "coupon": "SAVE", "total": 30, "log": ["mount 2", "dehydrate"], "page": 1});
        assert_eq!(mounted.state, expected, "what is hidden stays here");
        assert_eq!(mounted.html, format!("<p id=\"{}\">60 SAVE  30</p>", mounted.id));
        let wrong = json!({"amount": "many"}).as_object().unwrap().clone();
        let failure = engine(false).mount("Shop\\Order", wrong, query, ClientInfo::default()).await.unwrap_err();
        assert_eq!(failure, Failure::Property("Property [amount] must be of type int, string given.".to_owned()));
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
        let mount =
            |class: &str, params: Value| json!({"componentId": "c2", "componentClass": class, "params": params});
        let params = json!({"amount": 4, "total": 4, "margin": 4, "price": 4});
        let (_, answer) = run(&engine, CallKind::Mount, mount("Shop\\Lazy", params)).await;
        assert_eq!((&answer["id"], &answer["html"]), (&json!("c2"), &json!("<i>4</i>")));
        let expected = json!({"amount": 4, "coupon": "", "total": 0, "margin": 30, "log": [], "page": 1});
        assert_eq!(answer["state"], expected, "the others have their first values");
        let (_, answer) = run(&engine, CallKind::Mount, mount("Shop\\Order", json!({}))).await;
        assert_eq!(answer["error"], "Invalid component class");
    }

    #[tokio::test]
    async fn a_locked_value_is_believed_only_under_a_signature() {
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
    async fn a_signature_that_names_no_class_is_not_believed_where_two_classes_look_alike() {
        let mut engine = engine(false);
        let signature = engine.signer.load().sign(&fresh(), "c1");
        let buy = data(&fresh(), json!({"method": "buy", "signature": signature}));
        assert_eq!(run(&engine, CallKind::Call, buy.clone()).await.1["s"], true);
        let twin = Definition::<Order>::new("Shop\\Draft").hidden(["margin"]);
        engine.registry.add(twin);
        assert_eq!(run(&engine, CallKind::Call, buy).await.1["type"], "security_error");
        assert_eq!(run(&engine, CallKind::Call, data(&fresh(), json!({"method": "buy"}))).await.1["s"], true);
    }
}
