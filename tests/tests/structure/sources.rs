//! Which file of a crate uses which others: by `use crate::`, `use self::` and `use super::`, and by paths in the code
//! that begin with `crate::`. What only tests use does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::graph::Edges;

/// The files of a crate, by their modules' paths.
pub struct Sources {
    uses: BTreeMap<String, BTreeSet<String>>,
}

impl Sources {
    /// Reads the files below a folder.
    pub fn read(root: &Path) -> anyhow::Result<Self> {
        let mut files = BTreeMap::new();
        for file in rust_files(root)? {
            let module = module_of(file.strip_prefix(root)?);
            // Programs of their own.
            if !module.starts_with("bin::") {
                files.insert(module, std::fs::read_to_string(&file)?);
            }
        }
        Ok(Self::parse(&files))
    }

    fn parse(files: &BTreeMap<String, String>) -> Self {
        let tokens: BTreeMap<&str, Vec<String>> =
            files.iter().map(|(module, text)| (module.as_str(), without_tests(tokens(text)))).collect();
        let uses = tokens.iter().map(|(module, tokens)| {
            let used = paths(tokens).into_iter().map(|path| resolve(module, &path, files));
            ((*module).to_owned(), used.filter(|used| used != module).collect())
        });
        Self { uses: uses.collect() }
    }

    /// All modules that are files.
    pub fn modules(&self) -> impl Iterator<Item = &str> {
        self.uses.keys().map(String::as_str)
    }

    /// What a module uses.
    pub fn uses(&self, module: &str) -> impl Iterator<Item = &str> {
        self.uses.get(module).into_iter().flatten().map(String::as_str)
    }

    /// Who uses whom.
    pub fn edges(&self) -> Edges {
        self.uses.clone()
    }
}

/// All Rust files below a folder.
pub fn rust_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// `connection/mod.rs` is `connection`, `lib.rs` is the empty path.
fn module_of(file: &Path) -> String {
    let path = file.with_extension("");
    let mut parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
    if matches!(parts.last(), Some(&("mod" | "lib" | "main"))) {
        parts.pop();
    }
    parts.join("::")
}

/// Words and signs. Comments and literals are left out.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = literal_or_comment(rest);
        if length > 0 {
            rest = &rest[length..];
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            tokens.push(rest[..end].to_owned());
            rest = &rest[end..];
        } else if let Some(after) = rest.strip_prefix("::") {
            tokens.push("::".to_owned());
            rest = after;
        } else {
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            rest = &rest[first.len_utf8()..];
        }
    }
    tokens
}

/// The length of the comment or literal that a text begins with; 0 when it begins with neither.
fn literal_or_comment(text: &str) -> usize {
    let until = |end: &str, from: usize| text[from..].find(end).map_or(text.len(), |at| from + at + end.len());
    if text.starts_with("//") {
        return until("\n", 0);
    }
    if text.starts_with("/*") {
        return until("*/", 2);
    }
    let prefix = text.len() - text.trim_start_matches(['b', 'c']).len();
    if let Some(raw) = text[prefix..].strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            return until(&format!("\"{}", "#".repeat(hashes)), prefix + 1 + hashes + 1);
        }
    }
    let quoted = |quote: char, from: usize| {
        let mut escaped = false;
        for (at, c) in text[from..].char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                c if c == quote => return from + at + 1,
                _ => {}
            }
        }
        text.len()
    };
    if prefix <= 1 && text[prefix..].starts_with('"') {
        return quoted('"', prefix + 1);
    }
    // A character, and not a lifetime.
    let mut characters = text.chars();
    match (characters.next(), characters.next(), characters.next()) {
        (Some('\''), Some('\\'), _) => quoted('\'', 1),
        (Some('\''), Some(c), Some('\'')) => 2 + c.len_utf8(),
        _ => 0,
    }
}

/// Leaves out every item behind `#[cfg(test)]`.
fn without_tests(tokens: Vec<String>) -> Vec<String> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at..].iter().take(MARK.len()).eq(MARK.iter()) {
            at = end_of_item(&tokens, at + MARK.len());
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// Where an item ends: behind its braces, or at its semicolon.
fn end_of_item(tokens: &[String], from: usize) -> usize {
    let is_use = tokens[from..].iter().take(4).any(|token| token == "use");
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match token.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => {
                depth -= 1;
                if depth == 0 && token == "}" && !is_use {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// The paths that a file names.
fn paths(tokens: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at] == "use" {
            let end = tokens[at..].iter().position(|token| token == ";").map_or(tokens.len(), |length| at + length);
            let local = tokens.get(at + 1).is_some_and(|first| ["crate", "self", "super"].contains(&first.as_str()));
            if local {
                expand(&tokens[at + 1..end], &mut 0, &[], &mut found);
            }
            at = end;
        } else if tokens[at] == "crate" && tokens.get(at + 1).is_some_and(|next| next == "::") {
            let mut path = vec!["crate".to_owned()];
            while tokens.get(at + 1).is_some_and(|next| next == "::")
                && tokens.get(at + 2).is_some_and(|word| is_word(word))
            {
                path.push(tokens[at + 2].clone());
                at += 2;
            }
            found.push(path);
        }
        at += 1;
    }
    found
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// Expands one tree of a `use`: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expand(tokens: &[String], at: &mut usize, before: &[String], found: &mut Vec<Vec<String>>) {
    let mut path = before.to_vec();
    while let Some(token) = tokens.get(*at) {
        match token.as_str() {
            "::" => {}
            "{" => {
                *at += 1;
                while tokens.get(*at).is_some_and(|token| token != "}") {
                    expand(tokens, at, &path, found);
                    if tokens.get(*at).is_some_and(|token| token == ",") {
                        *at += 1;
                    }
                }
                *at += 1;
                return;
            }
            "," | "}" => break,
            // The new name does not matter.
            "as" => *at += 1,
            word => path.push(word.to_owned()),
        }
        *at += 1;
    }
    found.push(path);
}

/// The file that a path leads to: the longest part of it that is one.
fn resolve(module: &str, path: &[String], files: &BTreeMap<String, String>) -> String {
    let own: Vec<&str> = module.split("::").filter(|part| !part.is_empty()).collect();
    let (mut base, mut rest) = match path.first().map(String::as_str) {
        Some("crate") => (Vec::new(), &path[1..]),
        _ => (own, path),
    };
    while let Some(first) = rest.first() {
        match first.as_str() {
            "super" => drop(base.pop()),
            "self" => {}
            _ => break,
        }
        rest = &rest[1..];
    }
    base.extend(rest.iter().map(String::as_str));
    while !base.is_empty() && !files.contains_key(&base.join("::")) {
        base.pop();
    }
    base.join("::")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `a::b` uses in a crate with these modules.
    fn uses(text: &str) -> Vec<String> {
        let mut files: BTreeMap<String, String> =
            ["", "a", "a::c", "d", "d::e"].iter().map(|module| ((*module).to_owned(), String::new())).collect();
        files.insert("a::b".to_owned(), text.to_owned());
        Sources::parse(&files).uses("a::b").map(str::to_owned).collect()
    }

    #[test]
    fn a_use_leads_to_the_file_that_its_path_is_in() {
        assert_eq!(uses("use crate::d::Thing;"), ["d"]);
        assert_eq!(uses("use crate::d::e::{self, Thing};"), ["d::e"]);
        assert_eq!(uses("pub(crate) use super::c::Thing as Other;"), ["a::c"]);
        assert_eq!(uses("use super::{Thing, c};"), ["a", "a::c"]);
        assert_eq!(uses("use crate::{d::{Thing, e::*}, a::c};"), ["a::c", "d", "d::e"]);
        assert_eq!(uses("use crate::Nothing;"), [""]);
        assert!(uses("use self::Inner; use std::sync::Arc; use d::Other;").is_empty());
    }

    #[test]
    fn a_path_in_the_code_counts_and_one_in_comments_and_literals_does_not() {
        assert_eq!(uses("fn f() -> crate::d::Thing { crate::a::c::g::<u8>() }"), ["a::c", "d"]);
        assert!(
            uses("// crate::d::x\n/* use crate::d; */ fn f() { \"crate::d\"; r#\"use crate::d;\"#; 'c'; b'\\''; }")
                .is_empty()
        );
        assert_eq!(uses("fn f<'a>(x: &'a str) -> char { let _ = '\"'; crate::d::g(x); '\\'' }"), ["d"]);
    }

    #[test]
    fn what_only_tests_use_does_not_count() {
        let text = "use crate::d::A;\n#[cfg(test)]\nmod tests { use crate::a::c::B; fn f() { {} } }\nfn g() {}";
        assert_eq!(uses(text), ["d"]);
        assert_eq!(uses("#[cfg(test)]\nuse crate::d::{A, B};\nuse crate::a::c::B;"), ["a::c"]);
        assert_eq!(uses("#[cfg(test)]\nfn f() { crate::d::g(); }\n#[cfg(test)]\nmod bounds;\nuse super::c;"), ["a::c"]);
    }

    #[test]
    fn files_are_named_by_their_modules() {
        let names = ["lib.rs", "main.rs", "a/mod.rs", "a/b.rs"].map(|file| module_of(Path::new(file)));
        assert_eq!(names, ["", "", "a", "a::b"]);
    }
}
