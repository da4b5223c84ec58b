//! What a worker computes for a call, part by part: reading a component's HTML before and after it, the diff of one
//! changed cell, signatures, and a whole call of a component in Rust.

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use clap::{ArgMatches, Command};
use diffyne_shared::rpc::CallKind;
use diffyne_shared::signing::{Signer, SigningKey, VerifyState, fingerprint};
use diffyne_worker::component::engine::{Engine, PushSlots};
use diffyne_worker::component::{ClientInfo, Registry};
use diffyne_worker::demo;
use diffyne_worker::vdom::{diff, parse_as_browser, parse_plain};
use futures_util::FutureExt as _;
use serde_json::json;

use crate::figures::median;

/// Rows of the tables; 0 is a counter.
const ROWS: [usize; 4] = [0, 10, 100, 1_000];
/// Each figure is the median of so many runs.
const RUNS: usize = 41;
/// The bytes that are read in a run, at least.
const RUN_BYTES: usize = 400_000;

/// Its arguments.
pub fn command() -> Command {
    Command::new("engine").about("What a worker computes for a call, part by part, in microseconds")
}

/// Runs it.
pub fn run(_: &ArgMatches) -> anyhow::Result<()> {
    println!("Medians of {RUNS} runs, in us. Reading includes dropping the tree.");
    html()?;
    calls()
}

/// Reading and comparing HTML.
fn html() -> anyhow::Result<()> {
    println!(
        "{:<12} {:>8} {:>10} {:>10} {:>8} {:>22}",
        "", "bytes", "html5ever", "plain", "diff", "twice plain and diff"
    );
    for rows in ROWS {
        let (old, new) = (page(rows, "old"), page(rows, "new"));
        let (before, after) = (parse_plain(&old).context("plain")?, parse_plain(&new).context("plain")?);
        let times = RUN_BYTES / old.len() + 1;
        let full = microseconds(times / 10 + 1, || drop(black_box(parse_as_browser(black_box(&old)))));
        let plain = microseconds(times, || drop(black_box(parse_plain(black_box(&old)))));
        let compare = microseconds(times, || drop(black_box(diff(black_box(&before), black_box(&after)))));
        let together = microseconds(times, || {
            let trees = (parse_plain(black_box(&old)), parse_plain(black_box(&new)));
            if let (Some(old), Some(new)) = &trees {
                drop(black_box(diff(old, new)));
            }
        });
        let name = if rows == 0 { "a counter".to_owned() } else { format!("{rows} rows") };
        println!("{name:<12} {:>8} {full:>10.2} {plain:>10.2} {compare:>8.2} {together:>22.2}", old.len());
    }
    Ok(())
}

/// Signatures, and a component in Rust.
fn calls() -> anyhow::Result<()> {
    const TIMES: usize = 500;
    const ID: &str = "diffyne-0123456789abcdef";
    let key = SigningKey::parse("a key of thirty-two characters..").context("key")?;
    let signer = Signer::new(vec![key], VerifyState::PropertyUpdates, true).context("signer")?;
    let message = |id| json!({"id": id, "content": "some words", "room_id": 1});
    let state = json!({"roomId": 1, "newMessage": "hi", "messages": (0..50).map(message).collect::<Vec<_>>()});
    let sign = microseconds(TIMES, || drop(black_box(signer.sign(black_box(&state), ID))));
    let print = microseconds(TIMES, || drop(black_box(fingerprint(black_box(&state)))));

    let mut registry = Registry::default();
    demo::register(&mut registry);
    let engine = Engine {
        registry,
        signer: ArcSwap::from_pointee(signer),
        app: Arc::new(()),
        debug: false,
        uploads: None,
        release: None,
        push_slots: PushSlots::default(),
    };
    let call = json!({"type": "call", "componentId": ID, "componentClass": demo::COUNTER, "method": "increment",
        "params": [], "state": {"count": 1}, "fingerprint": "", "signature": ""})
    .to_string();
    let whole = microseconds(TIMES, || {
        drop(black_box(engine.run(CallKind::Call, ClientInfo::default(), call.as_bytes()).now_or_never()));
    });
    println!();
    println!("{:<40} {sign:>8.2}", "sign a state of 50 messages");
    println!("{:<40} {print:>8.2}", "fingerprint a state of 50 messages");
    println!("{:<40} {whole:>8.2}", "a call of the counter, without a socket");
    Ok(())
}

/// A counter, or a table in which one cell has this text.
fn page(rows: usize, text: &str) -> String {
    if rows == 0 {
        return format!(
            "<div class=\"counter\">\n  <h2>Counter</h2>\n  <button diff:click=\"increment\">+</button>\n  <span class=\"count\">{text}</span>\n</div>\n"
        );
    }
    let mut html = String::from("<table class=\"w-full\">\n<tbody>\n");
    for row in 0..rows {
        let text = if row == rows / 2 { text } else { "open" };
        // Writing into a String cannot fail.
        let _ = writeln!(
            html,
            "<tr diff:key=\"row-{row}\"><td class=\"p-2\">{row}</td><td>Customer {row}</td><td>{text}</td><td><button diff:click=\"edit({row})\">Edit</button></td></tr>"
        );
    }
    html + "</tbody>\n</table>\n"
}

/// The time that something takes.
fn microseconds(times: usize, mut work: impl FnMut()) -> f64 {
    let mut run = || {
        let started = Instant::now();
        for _ in 0..times {
            work();
        }
        started.elapsed().as_secs_f64() * 1e6 / times as f64
    };
    median((0..RUNS).map(|_| run()).collect())
}
