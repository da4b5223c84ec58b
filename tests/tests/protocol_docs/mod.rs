//! `docs/protocol.md` is true: every example of it is replayed against real processes, in the order of the page, and
//! every message, failure type and close code of the source is described there.

mod bindings;
mod exchange;
mod replay;
mod source;
mod steps;

use std::collections::BTreeSet;

use anyhow::Context as _;
use diffyne_tests::process::project;

use bindings::Bindings;
use replay::Replay;
use steps::Step;

fn page() -> anyhow::Result<String> {
    Ok(std::fs::read_to_string(project().join("docs/protocol.md"))?)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_of_the_protocol_page_is_what_really_happens() -> anyhow::Result<()> {
    let steps = steps::read(&page()?)?;
    let compared = steps.iter().filter(|(_, step)| matches!(step, Step::Receive(..) | Step::Response(_)));
    assert!(compared.count() > 30, "the examples of the page are not found");
    let mut replay = Replay::default();
    for (line, step) in &steps {
        replay.step(step).await.with_context(|| format!("docs/protocol.md, line {line}"))?;
    }
    Ok(())
}

#[test]
fn a_wrong_example_is_noticed() -> anyhow::Result<()> {
    let mut bindings = Bindings::default();
    let actual = serde_json::json!({"event": "a", "data": {"offset": 1, "ids": ["x"]}});
    let right = serde_json::json!({"event": "a", "data": {"offset": "{{offset}}", "ids": "<any>"}});
    bindings.compare(&right, &actual)?;
    let wrong = [
        serde_json::json!({"event": "b", "data": {"offset": 1, "ids": ["x"]}}),
        serde_json::json!({"event": "a", "data": {"offset": 1}}),
        serde_json::json!({"event": "a", "data": {"offset": 1, "ids": ["x"], "more": 1}}),
        serde_json::json!({"event": "a", "data": {"offset": 1, "ids": ["x", "y"]}}),
        serde_json::json!({"event": "a", "data": {"offset": 1, "ids": ["{{offset}}"]}}),
    ];
    for template in wrong {
        assert!(bindings.compare(&template, &actual).is_err(), "{template}");
    }
    assert!(steps::read("```json\n{}\n```").is_err(), "a block that says nothing of its direction");
    assert!(steps::read("<!-- replay: dance -->").is_err());
    Ok(())
}

#[test]
fn every_message_of_the_source_is_shown() -> anyhow::Result<()> {
    let mut events = BTreeSet::from(["error".to_owned()]);
    for text in source::texts()? {
        events.extend(source::events(&text).map(|name| format!("diffyne.{name}")));
    }
    assert!(events.len() > 15, "{events:?}");
    let mut shown = BTreeSet::new();
    for (_, step) in steps::read(&page()?)? {
        if let Step::Send(_, message) | Step::Receive(_, message) = step {
            shown.extend(message["event"].as_str().map(str::to_owned));
        }
    }
    let missing: Vec<_> = events.difference(&shown).collect();
    assert!(missing.is_empty(), "docs/protocol.md shows no {missing:?}");
    Ok(())
}

#[test]
fn every_type_of_failure_of_the_source_is_explained() -> anyhow::Result<()> {
    let (page, texts) = (page()?, source::texts()?);
    let types =
        texts.iter().find_map(|text| source::failure_types(text)).context("where are the types of failures?")?;
    assert!(types.len() > 7, "{types:?}");
    for name in types {
        assert!(page.contains(&format!("\n| `{name}` |")), "docs/protocol.md does not explain {name}");
    }
    Ok(())
}

#[test]
fn every_close_code_of_the_source_is_explained() -> anyhow::Result<()> {
    let (page, texts) = (page()?, source::texts()?);
    let closes: Vec<(&str, &str)> = texts.iter().flat_map(|text| source::closes(text)).collect();
    assert!(closes.len() > 8, "{closes:?}");
    for (code, reason) in closes {
        let row = format!("| {code} | `{reason}` |");
        assert!(page.contains(&row), "docs/protocol.md has no row {row}");
    }
    Ok(())
}
