//! A worker with components that tests and benchmarks need: one that renders nothing, and one that is slow, counts
//! its runs, fails and panics. Made as a user would make a worker of their own.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use diffyne_tests::{field_components, gallery, members, protected_components, recorded, stage};
use diffyne_worker::component::{Async, CallError, Definition, Registry};
use diffyne_worker::{cli, demo};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// How often a held call looks whether it may go on.
const RELEASE_STEP: Duration = Duration::from_millis(5);

#[derive(Default, Serialize, Deserialize)]
struct Silent {
    count: i64,
    label: String,
}

#[derive(Default, Serialize, Deserialize)]
struct Probe {
    runs: i64,
}

/// Shows what a component knows of who calls.
#[derive(Default, Serialize, Deserialize)]
struct Visitor {
    session: Option<String>,
    address: String,
    over_socket: bool,
}

/// Hears of one room, if its user may.
#[derive(Default, Serialize, Deserialize)]
struct Listener {
    heard: i64,
}

/// Shows the HTML that it is given, and sends the page where it is told.
#[derive(Default, Serialize, Deserialize)]
struct Page {
    html: String,
}

/// Loads a value that takes its time, and has a list.
#[derive(Default, Serialize, Deserialize)]
struct Later {
    value: Async<String>,
    other: Async<String>,
    clicks: i64,
}

/// Sends parts of its answer.
#[derive(Default, Serialize, Deserialize)]
struct Speaker {
    answer: String,
}

/// Notes that a value was given up.
struct NoteDrop(String);

impl Drop for NoteDrop {
    fn drop(&mut self) {
        // The test sees what is missing.
        let _ = note(&format!("end {}", self.0));
    }
}

/// A part of it is rendered alone, in the protocol's page.
#[derive(Default, Serialize, Deserialize)]
struct Shop {
    sold: i64,
}

/// The example of the protocol's page.
#[derive(Default, Serialize, Deserialize)]
struct Orders {
    orders: Async<Vec<String>>,
}

/// A value that comes when the test releases it.
async fn held_value(name: String) -> Result<String, CallError> {
    note(&format!("begin {name}"))?;
    let _end = NoteDrop(name.clone());
    wait_for_release(&name).await?;
    match name.as_str() {
        "fails" => Err(CallError::Exception("a secret".to_owned())),
        "huge" => Ok("x".repeat(5 << 20)),
        _ => Ok(name),
    }
}

/// One line a run, in the file that the test names: what ran, even when its answer was lost.
fn note(tag: &str) -> Result<(), CallError> {
    let path = std::env::var("DIFFYNE_PROBE_FILE").map_err(CallError::exception)?;
    let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(CallError::exception)?;
    // One write a line: two workers share the file.
    file.write_all(format!("{tag}\n").as_bytes()).map_err(CallError::exception)
}

/// Waits until the test releases the calls that wait for this.
async fn wait_for_release(name: &str) -> Result<(), CallError> {
    let path = std::env::var("DIFFYNE_PROBE_FILE").map_err(CallError::exception)?;
    let release = PathBuf::from(path).with_extension(format!("release-{name}"));
    while !release.exists() {
        tokio::time::sleep(RELEASE_STEP).await;
    }
    Ok(())
}

fn register(registry: &mut Registry) {
    if std::env::var_os("DIFFYNE_RECORDED").is_some() {
        recorded::register(registry);
    } else {
        demo::register(registry);
    }
    gallery::components::register(registry);
    protected_components::register(registry);
    stage::register(registry);
    field_components::register(registry);
    members::register(registry, |name| Box::pin(async move { wait_for_release(&name).await }));
    registry.add(
        Definition::<Silent>::new("App\\Tests\\Silent").method("touch", [], |silent, _context, ()| silent.count += 1),
    );
    registry.add(
        Definition::<Page>::new("App\\Tests\\Page")
            .render(|page| format!("<div>{}</div>", page.html))
            .method("show", ["html"], |page, _context, (html,): (String,)| page.html = html)
            .method("go", ["url"], |_page, context, (url,): (String,)| context.redirect(&url))
            .lazy(),
    );
    registry.add(Definition::<Visitor>::new("App\\Tests\\Visitor").method("look", [], |visitor, context, ()| {
        visitor.session = context.client.cookie("session").map(str::to_owned);
        visitor.address = context.client.ip.clone();
        visitor.over_socket = context.client.is_websocket();
        context.set_cookie("seen=1; Path=/; HttpOnly");
        context.set_cookie("theme=dark; Path=/");
    }));
    registry.add(
        Definition::<Listener>::new("App\\Tests\\Listener")
            .method("hear", ["data"], |listener, _context, (_data,): (serde_json::Value,)| listener.heard += 1)
            .listen("message-sent", "hear")
            .may_hear(|context, _event, fields| {
                context.client.cookie("session") == Some("ada") && fields.get("room") == Some(&json!(7))
            }),
    );
    registry.add(
        Definition::<Shop>::new("App\\Diffyne\\Shop")
            .template(
                r#"<main><p>{{ sold }}</p><p diff:island="sales">{% block sales %}{{ sold }} sold{% endblock %}</p></main>"#,
            )
            .method("sell", [], |shop, _context, ()| shop.sold += 1),
    );
    registry.add(
        Definition::<Orders>::new("App\\Diffyne\\Orders")
            .template("<main><p>{{ orders.value | join(', ') if orders.value else 'Loading' }}</p><ol diff:stream=\"log\"></ol></main>")
            .stream("log", "<li>{{ item }}</li>")
            .method("load", [], |_orders, context, ()| {
                context.assign_async("orders", async { Ok(vec!["No. 7".to_owned()]) });
            })
            .method("note", ["text"], |_orders, context, (text,): (String,)| {
                context.stream("log").append(7, &text).delete(3).keep_last(50);
            }),
    );
    registry.add(
        Definition::<Later>::new("App\\Tests\\Later")
            .template(
                "<section><p>{% if value.loading %}loading{% elif value.failed %}{{ value.failed }}{% else %}{{ value.value }}{% endif %}</p>\
                 <b>{{ clicks }}</b><ul diff:stream=\"items\"></ul></section>",
            )
            .stream("items", "<li>{{ item }}</li>")
            .locked(["value"])
            .method("load", ["name"], |_later, context, (name,): (String,)| {
                context.assign_async("value", held_value(name));
            })
            .method("both", [], |_later, context, ()| {
                context.assign_async("value", held_value("first".to_owned()));
                context.assign_async("other", held_value("second".to_owned()));
            })
            .method("click", [], |later, _context, ()| later.clicks += 1)
            .method("change", ["key"], |later, context, (key,): (String,)| {
                later.clicks += 1;
                context.stream("items").append(&key, &key).prepend(0, &"zero").insert(1, 1, &"one").delete("x").keep_last(9);
            }),
    );
    registry.add(
        Definition::<Speaker>::new("App\\Diffyne\\Assistant")
            .template("<p diff:stream=\"answer\">{{ answer }}</p>")
            .async_method("say", ["word"], |speaker, context, (word,): (String,)| {
                Box::pin(async move {
                    context.stream_part("answer", word.as_str()).await?;
                    speaker.answer = word;
                    Ok(())
                })
            })
            .async_method("flood", ["parts", "bytes"], |_speaker, context, (parts, bytes): (i64, i64)| {
                Box::pin(async move {
                    note("begin flood")?;
                    let rest = "x".repeat(usize::try_from(bytes).unwrap_or(0).min(65_536));
                    for part in 0..parts {
                        let text = format!("{part} {rest}");
                        context.stream_part("answer", &text[..rest.len()]).await?;
                    }
                    note("end flood")
                })
            })
            .async_method("wait", ["name"], |_speaker, context, (name,): (String,)| {
                Box::pin(async move {
                    let _end = NoteDrop(name.clone());
                    context.stream_part("answer", "begins").await?;
                    wait_for_release(&name).await
                })
            }),
    );
    registry.add(
        Definition::<Probe>::new("App\\Tests\\Probe")
            .render(|probe| Ok(format!("<p>{}</p>", probe.runs)))
            .async_method("slow", ["tag", "ms"], |probe, _context, (tag, ms): (String, i64)| {
                Box::pin(async move {
                    note(&format!("begin {tag}"))?;
                    tokio::time::sleep(Duration::from_millis(ms.unsigned_abs())).await;
                    note(&format!("end {tag}"))?;
                    probe.runs += 1;
                    Ok(())
                })
            })
            .async_method("locate", ["ms"], |probe, _context, (ms,): (i64,)| {
                Box::pin(async move {
                    tokio::time::sleep(Duration::from_millis(ms.unsigned_abs())).await;
                    probe.runs = i64::from(std::process::id());
                    Ok(())
                })
            })
            .async_method("hold", ["release", "tag"], |probe, _context, (release, tag): (String, String)| {
                Box::pin(async move {
                    note(&format!("begin {tag}"))?;
                    wait_for_release(&release).await?;
                    note(&format!("end {tag}"))?;
                    probe.runs += 1;
                    Ok(())
                })
            })
            .method("fail", [], |_probe, _context, ()| Err(CallError::Exception("it failed on purpose".to_owned())))
            .method("panic", [], |_probe, _context, ()| -> () { panic!("it panicked on purpose") })
            .method("blast", ["n", "bytes"], |_probe, context, (n, bytes): (i64, i64)| {
                let text = "x".repeat(usize::try_from(bytes).unwrap_or(0).min(2_000_000));
                context.dispatch("message-sent", vec![json!({"n": n, "text": text})]);
            })
            .method("post", ["room"], |_probe, context, (room,): (i64,)| {
                context.dispatch("message-sent", vec![json!({"room": room})]);
            })
            .method("announce", ["n"], |_probe, context, (n,): (i64,)| {
                context.dispatch("message-sent", vec![json!({"n": n})]);
            }),
    );
}

/// Faster than that of the system for the many small parts of states and views.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main_with(|registry, settings| {
        register(registry);
        demo::app(&settings.database)
    })
}
