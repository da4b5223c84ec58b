//! What the source of gateway and shared code says to clients, found by its text.

use std::collections::BTreeSet;
use std::path::Path;

use diffyne_tests::process::project;

/// The texts of all Rust files that know what a client is sent.
pub fn texts() -> anyhow::Result<Vec<String>> {
    let mut texts = below(&project().join("gateway/src"))?;
    texts.extend(below(&project().join("shared/src"))?);
    Ok(texts)
}

fn below(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        // Traces name what they tell in the same way, and clients hear nothing of it.
        if path.file_name().is_some_and(|name| name == "traces.rs") {
            continue;
        }
        if path.is_dir() {
            texts.extend(below(&path)?);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            texts.push(std::fs::read_to_string(path)?);
        }
    }
    Ok(texts)
}

/// The words between each `before` and the next `"`.
fn quoted_after<'a>(text: &'a str, before: &str) -> impl Iterator<Item = &'a str> {
    text.split(before).skip(1).filter_map(|rest| rest.split('"').next())
}

/// The names of messages, without `diffyne.`.
pub fn events(text: &str) -> impl Iterator<Item = &str> {
    quoted_after(text, "\"diffyne.").filter(|name| name.bytes().all(|byte| byte.is_ascii_lowercase()))
}

/// The types of failures: what the arms of the match around `grant_expired` give.
pub fn failure_types(text: &str) -> Option<BTreeSet<&str>> {
    let lines: Vec<&str> = text.lines().collect();
    let middle = lines.iter().position(|line| line.contains("=> \"grant_expired\""))?;
    let is_arm = |line: &&&str| line.contains("=> \"");
    let before = lines[..middle].iter().rev().take_while(is_arm);
    let arms = before.chain(lines[middle..].iter().take_while(is_arm));
    Some(arms.filter_map(|line| quoted_after(line, "=> \"").next()).collect())
}

/// Code and reason of each close that is a constant of its module.
pub fn closes(text: &str) -> Vec<(&str, &str)> {
    let calls = text.split("Self = Self::new(").skip(1).filter_map(|rest| rest.split("\")").next());
    let pairs = calls.filter_map(|call| call.split_once(", \""));
    pairs.filter(|(code, _)| code.bytes().all(|byte| byte.is_ascii_digit())).collect()
}
