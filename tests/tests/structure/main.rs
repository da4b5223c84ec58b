//! How the sources hang together: no circle of files, and the invariants that ARCHITECTURE.md promises. It reads files
//! and runs nothing but `cargo tree`. Whoever adds an invariant adds a row to a table of [`rules`].
#![allow(missing_docs, clippy::unwrap_used)]

mod graph;
mod rules;
mod sources;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use diffyne_tests::process::project;

use sources::Sources;

/// The workspace's crates, by their folders.
fn members() -> anyhow::Result<Vec<String>> {
    let manifest: toml::Table = std::fs::read_to_string(project().join("Cargo.toml"))?.parse()?;
    let members = manifest["workspace"]["members"].as_array().context("no members")?;
    members.iter().map(|member| Ok(member.as_str().context("a member is no text")?.to_owned())).collect()
}

fn sources_of(member: &str) -> anyhow::Result<Sources> {
    Sources::read(&project().join(member).join("src"))
}

/// One failure that tells everything that is wrong.
fn none(problems: Vec<String>) -> anyhow::Result<()> {
    ensure!(problems.is_empty(), "\n{}", problems.join("\n"));
    Ok(())
}

#[test]
fn no_files_use_each_other_in_a_circle() -> anyhow::Result<()> {
    let mut problems = Vec::new();
    for member in members()? {
        let sources = sources_of(&member)?;
        for circle in graph::circles(&sources.edges()) {
            problems.push(format!("{member}: a circle of {}", circle.join(", ")));
        }
    }
    none(problems)
}

#[test]
fn modules_use_only_what_they_may() -> anyhow::Result<()> {
    let mut problems = Vec::new();
    for rule in &rules::BOUNDARIES {
        let sources = sources_of(rule.member)?;
        let files = sources.modules().filter(|module| rules::is_within(module, rule.modules));
        let mut found = false;
        for module in files {
            found = true;
            for used in sources.uses(module).filter(|used| !rule.allows(used)) {
                problems.push(format!("{}: {module} uses {used}, but {}", rule.member, rule.reason));
            }
        }
        if !found {
            problems.push(format!("{}: the rule for {} names nothing", rule.member, rule.modules));
        }
    }
    none(problems)
}

#[test]
fn layers_use_only_what_lies_below_them() -> anyhow::Result<()> {
    let mut problems = Vec::new();
    for (member, layers) in rules::LAYERS {
        let sources = sources_of(member)?;
        let layer_of =
            |module: &str| layers.iter().position(|layer| layer.iter().any(|part| rules::is_within(module, part)));
        for module in sources.modules() {
            let Some(own) = layer_of(module) else { continue };
            for used in sources.uses(module).filter(|used| layer_of(used).is_some_and(|layer| layer > own)) {
                problems.push(format!("{member}: {module} uses {used}, which is a layer above it"));
            }
        }
        for part in layers.iter().copied().flatten() {
            if !sources.modules().any(|module| rules::is_within(module, part)) {
                problems.push(format!("{member}: the layer {part} names nothing"));
            }
        }
    }
    none(problems)
}

#[test]
fn programs_link_nothing_that_they_must_not() -> anyhow::Result<()> {
    let mut problems = Vec::new();
    for (package, banned) in rules::NOT_LINKED {
        let tree = Command::new(std::env::var("CARGO").as_deref().unwrap_or("cargo"))
            .args(["tree", "--offline", "--package", package, "--edges", "normal", "--prefix", "none"])
            .current_dir(project())
            .output()?;
        ensure!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
        let tree = String::from_utf8_lossy(&tree.stdout);
        let names: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        problems
            .extend(banned.iter().filter(|name| names.contains(name)).map(|name| format!("{package} links {name}")));
    }
    none(problems)
}

/// A profile that inherits from another one keeps the level that the other one gives a crate by its name.
#[test]
fn the_demo_optimises_nothing_that_the_release_names() -> anyhow::Result<()> {
    let manifest: toml::Table = std::fs::read_to_string(project().join("Cargo.toml"))?.parse()?;
    let packages = |profile: &str| manifest["profile"][profile]["package"].as_table().context("no packages");
    let demo = packages("demo")?;
    let is_level_0 = |name: &String| demo.get(name).is_some_and(|of| of["opt-level"].as_integer() == Some(0));
    let named = packages("release")?.keys().filter(|name| *name != "*");
    none(
        named
            .filter(|name| !is_level_0(name))
            .map(|name| format!("profile.demo.package.{name} is not at level 0"))
            .collect(),
    )
}

#[test]
fn no_crate_may_have_unsafe_code() -> anyhow::Result<()> {
    let read = |path: PathBuf| -> anyhow::Result<toml::Table> { Ok(std::fs::read_to_string(path)?.parse()?) };
    let workspace = read(project().join("Cargo.toml"))?;
    assert_eq!(workspace["workspace"]["lints"]["rust"]["unsafe_code"].as_str(), Some("forbid"));
    for member in members()? {
        let manifest = read(project().join(&member).join("Cargo.toml"))?;
        let inherited = manifest.get("lints").and_then(|lints| lints.get("workspace")?.as_bool());
        assert_eq!(inherited, Some(true), "{member} does not take over the workspace's lints");
    }
    Ok(())
}

#[test]
fn a_file_can_be_read_in_one_sitting() -> anyhow::Result<()> {
    let mut problems = Vec::new();
    for member in members()? {
        for file in sources::rust_files(&project().join(&member).join("src"))? {
            let lines = std::fs::read_to_string(&file)?.lines().count();
            if lines > rules::LINES_MAX {
                let file = file.strip_prefix(project()).unwrap_or(&file).display().to_string();
                problems.push(format!("{file} has {lines} lines, {} are allowed", rules::LINES_MAX));
            }
        }
    }
    none(problems)
}

#[test]
fn every_file_of_tests_is_part_of_the_program_that_runs_them() -> anyhow::Result<()> {
    let folder = project().join("tests/tests");
    let named = std::fs::read_to_string(folder.join("main.rs"))?;
    let named: BTreeSet<&str> = named.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';')).collect();
    let mut there = BTreeSet::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        there.insert(name.strip_suffix(".rs").unwrap_or(&name).to_owned());
    }
    let forgotten =
        there.iter().filter(|name| !named.contains(name.as_str()) && *name != "main" && *name != "structure");
    none(forgotten.map(|name| format!("tests/tests/main.rs does not name {name}: its tests do not run")).collect())
}

#[test]
fn every_path_of_the_code_map_exists() -> anyhow::Result<()> {
    let text = std::fs::read_to_string(project().join("ARCHITECTURE.md"))?;
    let entries = code_map(&text);
    ensure!(entries.len() > 10, "the code map of ARCHITECTURE.md was not found");
    let missing = entries.iter().filter(|places| !places.iter().any(|place| project().join(place).exists()));
    none(missing.map(|places| format!("ARCHITECTURE.md: {} is not there", places[0])).collect())
}

/// What the first column of the code map names: from the project's folder, or in the folder of the name before it.
fn code_map(text: &str) -> Vec<[String; 2]> {
    let section = text.split("\n## ").find(|section| section.starts_with("Code map")).unwrap_or_default();
    let mut entries = Vec::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cell = row.split('|').nth(1).unwrap_or_default();
        let mut folder = PathBuf::new();
        for name in cell.split('`').skip(1).step_by(2) {
            let beside = folder.join(name);
            // A name with a folder of its own is where the next one may be.
            if let Some(parent) = Path::new(name).parent().filter(|parent| *parent != Path::new("")) {
                folder = parent.to_owned();
            }
            entries.push([name.to_owned(), beside.display().to_string()]);
        }
    }
    entries
}

#[test]
fn the_code_map_is_read_with_the_folders_that_it_leaves_out() {
    let text = "# A\n\n## Code map\n\n| where | what |\n|---|---|\n| `a/src/b.rs`, `c.rs`, `http/` | `no.rs` |\n| `d/` | e |\n\n## Next\n| `x/y` | |";
    let places: Vec<String> = code_map(text).into_iter().map(|[_, beside]| beside).collect();
    assert_eq!(places, ["a/src/b.rs", "a/src/c.rs", "a/src/http/", "d/"]);
}
