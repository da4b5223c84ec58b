//! Checks whether workers are reachable, what backend they use, and whether a call gets through to it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use diffyne_shared::bus::{RejectedWorker, WorkerRegistry};
use diffyne_shared::rpc::{DEMO_BACKEND, Endpoint};
use diffyne_shared::signing::{Signer, SigningKey, VerifyState};
use diffyne_shared::token::Tokens;
use serde_json::{Value, json};

use super::{Report, Target};
use crate::http::pages::Pages;
use crate::relay;
use crate::scripts::ScriptPages;
use crate::server::Gateway;

/// The time limit for a running gateway's answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);
/// The time limit for the doctor's own gateway to reach a worker.
const REACH_TIMEOUT: Duration = Duration::from_secs(3);
/// A slower call is reported.
const SLOW_CALL: Duration = Duration::from_secs(1);
/// A class that no application has. The answer proves that the call got through, and nothing is run.
pub(super) const NOBODY: &str = "Diffyne\\Doctor\\Nobody";

pub(super) async fn check(target: &Target, report: &mut Report) {
    let addresses = addresses(target, report).await;
    if addresses.is_empty() {
        report.fail("workers", "no worker is known: start one (diffyne-worker serve --app DIR), and name it in DIFFYNE_WORKERS, or give both the same DIFFYNE_REDIS_URL");
        return;
    }
    let mut reached = false;
    for address in &addresses {
        reached |= greet(target, address, report).await;
    }
    if reached {
        Box::pin(call(target, &addresses, report)).await;
    }
}

/// Returns the workers of the settings and those in the registry.
async fn addresses(target: &Target, report: &mut Report) -> Vec<Endpoint> {
    let mut addresses = target.settings.workers.clone();
    if let Some(url) = &target.settings.redis.url
        && let Ok(registry) =
            WorkerRegistry::open(url, &target.settings.redis, Tokens::shared(&target.settings.worker_tokens))
    {
        match registry.list().await {
            Ok(listing) => {
                for RejectedWorker { address, why } in &listing.rejected {
                    report.fail("workers", format!("the registration of {address:?} in Redis is ignored: {why}"));
                }
                for entry in listing.workers.iter().filter(|entry| !entry.draining) {
                    match entry.address.parse() {
                        Ok(address) if !addresses.contains(&address) => addresses.push(address),
                        Ok(_) => {}
                        Err(_) => report.fail(
                            "workers",
                            format!("a worker has announced itself as {}, which is not an address", entry.address),
                        ),
                    }
                }
            }
            Err(error) => report.fail("workers", format!("the registry cannot be read: {error}")),
        }
    }
    addresses
}

/// Exchanges hellos with a worker.
async fn greet(target: &Target, address: &Endpoint, report: &mut Report) -> bool {
    let hello = match relay::greet_once(address, &target.settings).await {
        Ok(hello) => hello,
        Err(error) => {
            report.fail("worker", format!("{address}: {error}"));
            return false;
        }
    };
    let who = format!("{address}: {} runs calls on {}, {} at once", hello.id, hello.backend, hello.capacity);
    if hello.faulty {
        report.fail("worker", format!("{who}; it cannot run calls now: see its /ready and its log"));
        return false;
    }
    if hello.backend == DEMO_BACKEND {
        demo(target, address, report);
    } else {
        report.ok("worker", who);
    }
    if hello.outdated {
        report.fail(
            "worker",
            format!("{address}: old code still serves, because the application's newest does not start: see the worker's /ready and its log"),
        );
    }
    let has = |feature: &str| hello.features.iter().any(|name| name == feature);
    if has("bridge") {
        report.ok("bridge", format!("{address} has it"));
    } else if has("endpoint") {
        report.fail(
            "bridge",
            format!(
                "{address} calls the package's own endpoint: typed text is trimmed, a cleared field fails, listeners and empty states are \
                 refused, locked properties are whatever a client says. Install the Composer package diffyne/cluster in the application \
                 (deploy/laravel/README.md tells how)"
            ),
        );
    }
    if has("locked-upstream") {
        report.warn(
            "locked",
            format!(
                "{address} takes locked properties as the package does (DIFFYNE_LOCKED=upstream): in calls, whatever a client says. \
                 It is needed only for pages that the package renders without our scripts and without the bridge"
            ),
        );
    }
    true
}

/// A worker with the demo's components, which serves no application.
fn demo(target: &Target, address: &Endpoint, report: &mut Report) {
    let text = format!("{address} runs the demo's components (--demo)");
    if target.has_application() {
        report.fail("worker", format!("{text}, not your application's: start it with --app /var/www/app instead"));
    } else {
        report.warn("worker", format!("{text}: fine for a try, and no application's"));
    }
}

/// Whether one of our gateways answers at this address.
pub(super) fn is_ours(address: &Endpoint) -> bool {
    get_health(address).is_some_and(|health| health.contains("\"status\":\""))
}

fn get_health(address: &Endpoint) -> Option<String> {
    let (host, port) = address.host_port()?;
    let mut stream = TcpStream::connect((host, port)).ok()?;
    stream.set_read_timeout(Some(ASK_TIMEOUT)).ok()?;
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Makes a call through a temporary gateway with these settings and workers, to a worker and its application.
async fn call(target: &Target, addresses: &[Endpoint], report: &mut Report) {
    let mut settings = target.settings.clone();
    settings.listen = Endpoint::tcp("127.0.0.1", 0);
    settings.admin_listen = None;
    settings.redis.url = None;
    settings.status_key = None;
    settings.threads = 1;
    settings.workers = addresses.to_vec();
    let prefix = settings.route_prefix.clone();
    let pages_prefix = prefix.clone();
    let pages = Box::new(move |health| -> Arc<dyn Pages> { Arc::new(ScriptPages::new(health, &pages_prefix, None)) });
    let gateway = match Gateway::start(settings, pages) {
        Ok(gateway) => gateway,
        Err(error) => return report.fail("call", format!("no gateway could be started for it: {error}")),
    };
    let address = gateway.address.clone();
    let reached = async {
        let until = Instant::now() + REACH_TIMEOUT;
        while !gateway.has_worker() && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    reached.await;
    let (class, method) = target.call.clone().unwrap_or_else(|| (NOBODY.to_owned(), String::new()));
    let body = message(target, &class, &method);
    let path = format!("{prefix}/update");
    let timeout = target.settings.call_timeout;
    let started = Instant::now();
    let answer = tokio::task::spawn_blocking(move || post(&address, &path, &body, timeout)).await;
    let took = started.elapsed();
    gateway.stop().await;
    match answer {
        Ok(Ok((status, answer))) => judge(target, &class, status, &answer, took, report),
        Ok(Err(error)) => report.fail("call", error),
        Err(error) => report.fail("call", error.to_string()),
    }
}

/// Builds a call, or an update of a property of a component that does not exist. The update has to be signed, so it
/// checks the signing keys as well.
fn message(target: &Target, class: &str, method: &str) -> String {
    if target.call.is_some() {
        let call = json!({"type": "call", "componentId": "diffyne-doctor", "componentClass": class, "method": method, "params": [], "state": {"doctor": true}});
        return call.to_string();
    }
    let state = json!({"doctor": true});
    let keys = target.settings.signing_keys.iter().filter_map(|key| SigningKey::from_bytes(key)).collect();
    let signature = Signer::new(keys, VerifyState::Strict, false).map(|signer| signer.sign(&state, "diffyne-doctor"));
    json!({"type": "update", "componentId": "diffyne-doctor", "componentClass": class, "property": "doctor", "value": true,
        "state": state, "fingerprint": "", "signature": signature.unwrap_or_default()})
    .to_string()
}

fn post(address: &Endpoint, path: &str, body: &str, timeout: Duration) -> Result<(u16, Value), String> {
    fn words(error: impl std::fmt::Display) -> String {
        error.to_string()
    }
    let (host, port) = address.host_port().ok_or("no address")?;
    let mut stream = TcpStream::connect((host, port)).map_err(words)?;
    stream.set_read_timeout(Some(timeout)).map_err(words)?;
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).map_err(words)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(words)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no HTTP answer")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or("no HTTP status")?;
    Ok((status, serde_json::from_str(body).unwrap_or_default()))
}

fn judge(target: &Target, class: &str, status: u16, answer: &Value, took: Duration, report: &mut Report) {
    let error = answer["error"].as_str().unwrap_or_default();
    let millis = took.as_millis();
    // A call of a component with locked properties needs a state that the component itself has signed.
    let is_locked = target.call.is_some() && error.starts_with("No signature covers");
    if !is_locked && (answer["type"] == "security_error" || status == 403) {
        return report.fail(
            "call",
            "the worker's signing key is not the gateway's: give both the same DIFFYNE_SIGNING_KEY or APP_KEY",
        );
    }
    let came_through = match target.call {
        Some(_) => is_locked || answer["s"] == true,
        None => error == "Component class not found",
    };
    if !came_through {
        return report.fail("call", format!("{class} answered {status}: {error}; the worker's log has more"));
    }
    if is_locked {
        let text = "through gateway, worker and application; it was not run, as the component has locked properties and nobody has signed these";
        return report.ok("call", text);
    }
    if took > SLOW_CALL {
        return report.warn("call", format!("through gateway, worker and application in {millis} ms, which is slow"));
    }
    report.ok("call", format!("through gateway, worker and application in {millis} ms"));
}
