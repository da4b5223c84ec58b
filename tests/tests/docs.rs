//! What the documentation points at is there: links and their anchors, files, targets of make, commands and flags of the
//! programs, and settings. Nothing is started.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use diffyne_tests::process::{program, project};

/// Folders of the project that paths in the documentation begin with.
const FOLDERS: [&str; 7] = ["deploy/", "docs/", "gateway/", "nginx/", "shared/", "tests/", "worker/"];
/// Variables that are no setting of the gateway or the worker: of the package, of the bridge, of the tests.
const OTHER_VARIABLES: [&str; 9] = [
    "DIFFYNE_TRANSPORT",
    "DIFFYNE_PUBLISH_URL",
    "DIFFYNE_JS",
    "DIFFYNE_PACKAGE",
    "DIFFYNE_SOCKEON",
    "DIFFYNE_SEED",
    "DIFFYNE_BLESS",
    "DIFFYNE_LARAVEL_ROOT",
    "DIFFYNE_PROGRAMS",
];
/// A history names what is gone.
const HISTORY: &str = "CHANGELOG.md";

/// The Markdown files of the project by path, without those that are data of tests.
fn pages() -> anyhow::Result<BTreeMap<PathBuf, String>> {
    let mut pages = BTreeMap::new();
    for folder in ["", "docs"] {
        for entry in std::fs::read_dir(project().join(folder))? {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == "md") {
                let text = std::fs::read_to_string(&path)?;
                pages.insert(path.strip_prefix(project())?.to_owned(), text);
            }
        }
    }
    Ok(pages)
}

/// The pages that describe how things are now.
fn current_pages() -> anyhow::Result<BTreeMap<PathBuf, String>> {
    let mut pages = pages()?;
    pages.remove(Path::new(HISTORY));
    Ok(pages)
}

/// Lines outside of fenced blocks.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut is_fenced = false;
    page.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_fenced ^= is_fence;
        !is_fenced && !is_fence
    })
}

/// The code of a page: lines of fenced blocks, and what is between backticks in others.
fn code(page: &str) -> Vec<&str> {
    let mut code = Vec::new();
    let mut is_fenced = false;
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
        } else if is_fenced {
            code.push(line);
        } else {
            code.extend(line.split('`').skip(1).step_by(2));
        }
    }
    code
}

/// Texts that print a WebSocket's address for a page: documentation, what operators copy, examples.
fn snippets() -> anyhow::Result<Vec<(PathBuf, String)>> {
    let mut found: Vec<(PathBuf, String)> = current_pages()?.into_iter().collect();
    let mut folders: Vec<PathBuf> =
        ["deploy", "nginx", "worker/examples", "gateway/dev", "tests/data/laravel"].map(PathBuf::from).into();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(project().join(&folder))? {
            let path = folder.join(entry?.file_name());
            if project().join(&path).is_dir() {
                folders.push(path);
            } else if let Ok(text) = std::fs::read_to_string(project().join(&path)) {
                found.push((path, text));
            }
        }
    }
    Ok(found)
}

#[test]
fn every_snippet_encodes_the_key_of_the_websocket() -> anyhow::Result<()> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~%".contains(c);
    // What Blade and Rust print in its place.
    let encoded = ["{{ rawurlencode(config('diffyne.websocket.key')) }}", "{}\", encoded(key))", "`"];
    let mut seen = 0;
    for (path, text) in snippets()? {
        for rest in text.split("?key=").skip(1) {
            let rest = rest.lines().next().unwrap_or_default();
            let plain = rest.split(|c| !is_plain(c)).next().unwrap_or_default();
            let good = !plain.is_empty() || encoded.iter().any(|printed| rest.starts_with(printed));
            anyhow::ensure!(good, "{}: `?key={rest}` is not URL-encoded", path.display());
            seen += 1;
        }
    }
    anyhow::ensure!(seen >= 8, "only {seen} snippets");
    Ok(())
}

/// The targets of `[text](target)`.
fn links(page: &str) -> Vec<&str> {
    prose(page).flat_map(|line| line.split("](").skip(1)).filter_map(|rest| rest.split(')').next()).collect()
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = prose(page).filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let kept = |letter: &char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
    headings.map(|text| text.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")).collect()
}

#[test]
fn every_link_leads_to_a_file_and_every_anchor_to_a_heading() -> anyhow::Result<()> {
    let pages = pages()?;
    let mut broken = Vec::new();
    let mut seen = 0;
    for (path, text) in &pages {
        for link in links(text).into_iter().filter(|link| !link.contains("://")) {
            seen += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { normal(&path.parent().unwrap().join(file)) };
            let has_anchor = || pages.get(&target).is_some_and(|page| anchors(page).contains(anchor));
            if !project().join(&target).exists() || !anchor.is_empty() && !has_anchor() {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    for page in pages.keys().filter_map(|path| path.strip_prefix("docs").ok()).filter(|page| *page != "README.md") {
        let page = page.display().to_string();
        let is_listed = links(&pages[Path::new("docs/README.md")]).contains(&&*page);
        broken.extend((!is_listed).then(|| format!("docs/README.md does not name {page}")));
    }
    assert!(seen > 50, "only {seen} links were found");
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
    Ok(())
}

/// The path without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        if part.as_os_str() == ".." {
            normal.pop();
        } else {
            normal.push(part);
        }
    }
    normal
}

#[test]
fn the_readme_is_short() -> anyhow::Result<()> {
    let lines = pages()?[Path::new("README.md")].lines().count();
    assert!(lines <= 120, "README.md has {lines} lines");
    Ok(())
}

#[test]
fn every_page_of_docs_is_in_its_index_and_says_whom_it_is_for() -> anyhow::Result<()> {
    let pages = pages()?;
    let index = links(&pages[Path::new("docs/README.md")]);
    for (path, text) in pages.iter().filter(|(path, _)| path.starts_with("docs") && !path.ends_with("README.md")) {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(index.contains(&name), "docs/README.md does not lead to {name}");
        // This one is made from the declarations of settings.
        let is_generated = name == "settings.md";
        let first = text.lines().skip(1).find(|line| !line.is_empty()).unwrap_or_default();
        assert!(is_generated || first.starts_with("For "), "{name} does not begin with whom it is for: {first}");
    }
    Ok(())
}

#[test]
fn every_file_that_is_named_is_there() -> anyhow::Result<()> {
    let mut missing = Vec::new();
    for (path, text) in current_pages()? {
        let is_path = |code: &&str| {
            let letters = |c: char| c.is_ascii_alphanumeric() || "/._-@".contains(c);
            FOLDERS.iter().any(|folder| code.starts_with(folder)) && code.chars().all(letters)
        };
        let named = code(&text).into_iter().filter(is_path).filter(|named| !project().join(named).exists());
        missing.extend(named.map(|named| format!("{}: {named}", path.display())));
    }
    assert!(missing.is_empty(), "named, and not there:\n{}", missing.join("\n"));
    Ok(())
}

/// Text files below a folder that are ours and no data of tests.
fn sources(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("tests/data") && !path.ends_with("node_modules") {
            files.extend(sources(&path)?);
        } else if path.is_file() && path.extension().is_none_or(|ending| ending != "md") {
            files.push(path);
        }
    }
    Ok(files)
}

#[test]
fn every_page_that_sources_name_is_there() -> anyhow::Result<()> {
    let mut missing = Vec::new();
    let mut seen = 0;
    for folder in FOLDERS.iter().filter(|folder| **folder != "docs/") {
        for path in sources(&project().join(folder))? {
            // What is no text names no page.
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "_./-".contains(c)));
            let is_page =
                |word: &&str| word.strip_suffix(".md").is_some_and(|name| !name.is_empty() && !name.starts_with('/'));
            for named in words.filter(is_page) {
                seen += 1;
                if !project().join(named).exists() && !project().join("docs").join(named).exists() {
                    missing.push(format!("{}: {named}", path.display()));
                }
            }
        }
    }
    assert!(seen > 3, "only {seen} pages are named");
    assert!(missing.is_empty(), "named, and not there:\n{}", missing.join("\n"));
    Ok(())
}

#[test]
fn every_target_of_make_is_in_the_makefile() -> anyhow::Result<()> {
    let makefile = std::fs::read_to_string(project().join("Makefile"))?;
    let mut seen = BTreeSet::new();
    for (path, text) in current_pages()? {
        for code in code(&text) {
            let words: Vec<&str> = code.split_whitespace().collect();
            for pair in words.windows(2).filter(|pair| pair[0] == "make") {
                let target = pair[1];
                if target.bytes().all(|b| b.is_ascii_lowercase() || b == b'-') {
                    let is_there = makefile.lines().any(|line| line.starts_with(&format!("{target}:")));
                    assert!(is_there, "{}: make {target}", path.display());
                    seen.insert(target.to_owned());
                }
            }
        }
    }
    assert!(seen.len() > 10, "{seen:?}");
    Ok(())
}

/// `--help` of a program and of each of its commands.
struct Help {
    whole: String,
    commands: BTreeMap<String, String>,
}

impl Help {
    fn of(name: &str) -> anyhow::Result<Self> {
        let path = program(name)?;
        let help = |arguments: &[&str]| -> anyhow::Result<String> {
            let output = Command::new(&path).args(arguments).arg("--help").output()?;
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let whole = help(&[])?;
        let listed = whole.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
        let names = listed.take_while(|line| !line.is_empty()).filter_map(|line| {
            // A name is indented by two; lines that go on, by more.
            let name = line.strip_prefix("  ")?.split_whitespace().next()?;
            (!line.starts_with("   ")).then(|| name.to_owned())
        });
        let commands = names.filter(|name| name != "help").map(|name| Ok((name.clone(), help(&[&name])?)));
        Ok(Self { commands: commands.collect::<anyhow::Result<_>>()?, whole })
    }

    /// What is wrong with a command line of this program.
    fn fault(&self, arguments: &[&str]) -> Option<String> {
        let is_word = |word: &&&str| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        let command = arguments.first().filter(|first| !first.starts_with('-')).filter(is_word);
        let help = match command {
            Some(name) => match self.commands.get(*name) {
                Some(help) => help,
                None => return Some(format!("there is no command {name}")),
            },
            None => &self.whole,
        };
        let flags = arguments.iter().filter(|word| word.starts_with("--"));
        let unknown = flags
            .map(|flag| flag.split('=').next().unwrap_or(flag))
            .find(|flag| !help.split(|c: char| c.is_whitespace() || c == ',' || c == '=').any(|word| word == *flag));
        unknown.map(|flag| format!("there is no {flag}"))
    }
}

#[test]
fn every_command_and_flag_of_the_programs_is_in_their_help() -> anyhow::Result<()> {
    for name in ["diffyne-gateway", "diffyne-worker", "diffyne-bench"] {
        let help = Help::of(name)?;
        assert!(help.commands.len() > 3, "{name} --help lists {:?}", help.commands.keys());
        let mut seen = 0;
        for (path, text) in current_pages()? {
            for code in code(&text) {
                let words: Vec<&str> = code.split_whitespace().collect();
                let Some(at) = words.iter().position(|word| *word == name || word.ends_with(&format!("/{name}")))
                else {
                    continue;
                };
                // Up to a pipe, a comment or the next command.
                let ends = ["|", "#", "&&", "\\", "..."];
                let arguments: Vec<&str> =
                    words[at + 1..].iter().copied().take_while(|word| !ends.contains(word)).collect();
                let fault = help.fault(&arguments);
                assert!(fault.is_none(), "{}: `{code}`: {}", path.display(), fault.unwrap_or_default());
                seen += 1;
            }
        }
        assert!(seen > 0, "{name} is named nowhere");
    }
    Ok(())
}

#[test]
fn every_setting_that_is_named_exists() -> anyhow::Result<()> {
    let settings = std::fs::read_to_string(project().join("docs/settings.md"))?;
    let mut unknown = Vec::new();
    for (path, text) in current_pages()? {
        let words = text.split(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
        for word in words.filter(|word| word.starts_with("DIFFYNE_")) {
            // `DIFFYNE_WORKER_TLS_*` stands for all that begin so.
            let is_known = match word.strip_suffix('_') {
                Some(_) => settings.contains(&format!("`{word}")),
                None => settings.contains(&format!("`{word}`")) || OTHER_VARIABLES.contains(&word),
            };
            if !is_known {
                unknown.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert!(unknown.is_empty(), "no such setting:\n{}", unknown.join("\n"));
    Ok(())
}
