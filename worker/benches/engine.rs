//! What a call costs, part by part: `cargo bench -p diffyne-worker`.
#![allow(missing_docs)]

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;

use arc_swap::ArcSwap;
use criterion::{Criterion, criterion_group, criterion_main};
use diffyne_shared::rpc::CallKind;
use diffyne_shared::signing::{Signer, SigningKey, VerifyState, fingerprint};
use diffyne_worker::component::engine::{Engine, PushSlots};
use diffyne_worker::component::{ClientInfo, Registry};
use diffyne_worker::demo;
use diffyne_worker::vdom::{diff, parse};
use futures_util::FutureExt as _;
use serde_json::json;

/// A table of some 10 000 nodes (4 per row and cell pair); `changed` is the text of one cell.
fn table(changed: &str) -> String {
    let mut html = String::from("<table><tbody>");
    for row in 0..1666 {
        let text = if row == 900 { changed } else { "same" };
        // Writing into a String cannot fail.
        let _ = write!(html, "<tr diff:key=\"r{row}\"><td>{row}</td><td class=\"x\"><b>{text}</b></td></tr>");
    }
    html + "</tbody></table>"
}

fn signer() -> Signer {
    let key = SigningKey::parse("a key of thirty-two characters..").expect("a key");
    Signer::new(vec![key], VerifyState::PropertyUpdates, true).expect("a signer")
}

fn benches(c: &mut Criterion) {
    let (before, after) = (table("before"), table("after"));
    let (old, new) = (parse(&before).expect("HTML"), parse(&after).expect("HTML"));
    c.bench_function("parse 10 000 nodes", |b| b.iter(|| parse(black_box(&before))));
    c.bench_function("diff 10 000 nodes of the same shape", |b| b.iter(|| diff(black_box(&old), black_box(&new))));

    let state = json!({"roomId": 1, "newMessage": "hi", "messages": (0..50).map(|id| json!({"id": id, "content": "some words", "room_id": 1})).collect::<Vec<_>>()});
    let signer = signer();
    c.bench_function("sign a state of 50 messages", |b| {
        b.iter(|| signer.sign(black_box(&state), "diffyne-0123456789abcdef"));
    });
    c.bench_function("fingerprint a state of 50 messages", |b| b.iter(|| fingerprint(black_box(&state))));

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
    let call = json!({"type": "call", "componentId": "diffyne-0123456789abcdef", "componentClass": demo::COUNTER,
        "method": "increment", "params": [], "state": {"count": 1}, "fingerprint": "", "signature": ""})
    .to_string();
    c.bench_function("a call of the counter", |b| {
        b.iter(|| engine.run(CallKind::Call, ClientInfo::default(), call.as_bytes()).now_or_never());
    });
}

criterion_group!(engine, benches);
criterion_main!(engine);
