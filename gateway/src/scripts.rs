//! Serves `/health` and the client scripts for `diffyne-gateway serve`.
//!
//! A script has two names: a plain one for script tags, which browsers revalidate each time, and one with the hash of
//! its content, which browsers keep. Scripts import each other by the second.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use bytes::Bytes;

use crate::http::health::{Audience, HealthSource};
use crate::http::pages::{CachePolicy, Page, PageFuture, Pages};

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// The scripts by path. Each imports only scripts before it.
const SCRIPTS: [(&str, &str); 58] = [
    ("dom.js", include_str!("client/dom.js")),
    ("field.js", include_str!("client/field.js")),
    ("patches.js", include_str!("client/patches.js")),
    ("islands.js", include_str!("client/islands.js")),
    ("companion-fields.js", include_str!("client/companion-fields.js")),
    ("numbers.js", include_str!("client/numbers.js")),
    ("typing.js", include_str!("client/typing.js")),
    ("refresh.js", include_str!("client/refresh.js")),
    ("page.js", include_str!("client/page.js")),
    ("query.js", include_str!("client/query.js")),
    ("params.js", include_str!("client/params.js")),
    ("queue.js", include_str!("client/queue.js")),
    ("refusal.js", include_str!("client/refusal.js")),
    ("offer.js", include_str!("client/offer.js")),
    ("release.js", include_str!("client/release.js")),
    ("streams.js", include_str!("client/streams.js")),
    ("session.js", include_str!("client/session.js")),
    ("parts.js", include_str!("client/parts.js")),
    ("ajax.js", include_str!("client/ajax.js")),
    ("signature.js", include_str!("client/signature.js")),
    ("backoff.js", include_str!("client/backoff.js")),
    ("event-stream.js", include_str!("client/event-stream.js")),
    ("fallback.js", include_str!("client/fallback.js")),
    ("socket.js", include_str!("client/socket.js")),
    ("transport.js", include_str!("client/transport.js")),
    ("rooms.js", include_str!("client/rooms.js")),
    ("channels.js", include_str!("client/channels.js")),
    ("companion.js", include_str!("client/companion.js")),
    ("navigation.js", include_str!("client/navigation.js")),
    ("address.js", include_str!("client/address.js")),
    ("directives/error.js", include_str!("client/directives/error.js")),
    ("calls.js", include_str!("client/calls.js")),
    ("lazy.js", include_str!("client/lazy.js")),
    ("components.js", include_str!("client/components.js")),
    ("debugging.js", include_str!("client/debugging.js")),
    ("directives.js", include_str!("client/directives.js")),
    ("confirm.js", include_str!("client/confirm.js")),
    ("parameters.js", include_str!("client/parameters.js")),
    ("action.js", include_str!("client/action.js")),
    ("directives/modifiers.js", include_str!("client/directives/modifiers.js")),
    ("directives/events.js", include_str!("client/directives/events.js")),
    ("upload.js", include_str!("client/upload.js")),
    ("directives/model.js", include_str!("client/directives/model.js")),
    ("hooks.js", include_str!("client/hooks.js")),
    ("effects.js", include_str!("client/effects.js")),
    ("directives/dirty.js", include_str!("client/directives/dirty.js")),
    ("directives/failure.js", include_str!("client/directives/failure.js")),
    ("directives/hook.js", include_str!("client/directives/hook.js")),
    ("directives/init.js", include_str!("client/directives/init.js")),
    ("directives/intersect.js", include_str!("client/directives/intersect.js")),
    ("directives/loading.js", include_str!("client/directives/loading.js")),
    ("directives/navigate.js", include_str!("client/directives/navigate.js")),
    ("directives/offline.js", include_str!("client/directives/offline.js")),
    ("directives/on.js", include_str!("client/directives/on.js")),
    ("directives/poll.js", include_str!("client/directives/poll.js")),
    ("directives/show.js", include_str!("client/directives/show.js")),
    ("rare.js", include_str!("client/rare.js")),
    ("client.js", include_str!("client/diffyne-client.js")),
];

/// Returns how a script in a folder (at most one deep) spells an import of another script.
fn import_of(folder: &str, path: &str) -> String {
    match path.split_once('/') {
        Some((other, file)) if other == folder => format!("'./{file}'"),
        _ if folder.is_empty() => format!("'./{path}'"),
        _ => format!("'../{path}'"),
    }
}

/// Leaves out comments and indentation: browsers load them for nothing. A comment behind code begins with ` // `, and one
/// within it (a type) with `/** @`, which no text in the scripts does.
fn without_comments(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut is_comment = false;
    for line in source.lines() {
        let text = line.trim();
        is_comment = is_comment || (text.starts_with("/**") && (text.ends_with("*/") || !text.contains("*/")));
        if !is_comment && !text.is_empty() && !text.starts_with("//") {
            let mut text = text.split_once(" // ").map_or(text, |(code, _)| code.trim_end());
            while let Some((before, (_, after))) =
                text.split_once("/** @").and_then(|(before, rest)| Some((before, rest.split_once("*/ ")?)))
            {
                code.push_str(before);
                text = after;
            }
            code.push_str(text);
            code.push('\n');
        }
        is_comment = is_comment && !text.ends_with("*/");
    }
    code
}

/// Digits of a hash in a script's name: scripts name each other often.
const HASH_DIGITS: usize = 8;

fn hash(body: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Creates a page with this content, which browsers revalidate each time.
pub fn page(content_type: &'static str, body: impl Into<Bytes>) -> Page {
    let body = body.into();
    Page { content_type, etag: format!("\"{}\"", hash(&body)), body, cache: CachePolicy::Revalidate }
}

/// What stands for the release in the script that tells it.
const RELEASE_MARK: &str = "RELEASE_OF_THE_SCRIPTS";

/// The scripts by path below the prefix.
pub struct Scripts {
    release: String,
    pages: HashMap<String, Page>,
    hashed: HashMap<&'static str, String>,
}

impl Scripts {
    /// Loads all scripts for this prefix. Their release is this one, or the hash of all scripts.
    pub fn new(prefix: &str, release: Option<&str>) -> Self {
        let all = || hash(SCRIPTS.map(|(_, source)| without_comments(source)).concat().as_bytes());
        let release = release.map_or_else(all, str::to_owned);
        let mut scripts = Self { release, pages: HashMap::new(), hashed: HashMap::new() };
        for (name, source) in SCRIPTS {
            let source = without_comments(source).replace(RELEASE_MARK, &scripts.release);
            let page = page(JAVASCRIPT, scripts.link(name, &source));
            let hashed = format!("{}.{}.js", name.trim_end_matches(".js"), &page.etag.trim_matches('"')[..HASH_DIGITS]);
            scripts.pages.insert(format!("{prefix}/{hashed}"), Page { cache: CachePolicy::Immutable, ..page.clone() });
            scripts.pages.insert(format!("{prefix}/{name}"), page);
            scripts.hashed.insert(name, hashed);
        }
        scripts
    }

    /// Makes a script import the others by the names that contain their hashes.
    fn link(&self, name: &str, source: &str) -> String {
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut source = source.to_owned();
        for (other, hashed) in &self.hashed {
            source = source.replace(&import_of(folder, other), &import_of(folder, hashed));
        }
        source
    }

    /// Returns the script at a path. A path with the hash of another release, as happens during a deploy, gets this
    /// release's script.
    pub fn at(&self, path: &str) -> Option<&Page> {
        self.pages.get(path).or_else(|| {
            let (name, hash) = path.strip_suffix(".js")?.rsplit_once('.')?;
            let is_hash = (HASH_DIGITS..=16).contains(&hash.len()) && hash.bytes().all(|b| b.is_ascii_hexdigit());
            self.pages.get(&format!("{name}.js")).filter(|_| is_hash)
        })
    }

    /// Returns the name of a script that contains the hash of its content.
    pub fn hashed(&self, name: &str) -> Option<&str> {
        self.hashed.get(name).map(String::as_str)
    }
}

/// The pages of a gateway in production.
pub struct ScriptPages {
    health: Arc<HealthSource>,
    scripts: Scripts,
}

impl ScriptPages {
    /// Creates the pages for this health source, with the scripts below this prefix, of this release or the one that
    /// their hash names.
    pub fn new(health: Arc<HealthSource>, prefix: &str, release: Option<&str>) -> Self {
        Self { health, scripts: Scripts::new(prefix, release) }
    }
}

impl Pages for ScriptPages {
    fn page<'a>(&'a self, path: &'a str) -> PageFuture<'a> {
        Box::pin(async move { self.scripts.at(path).cloned() })
    }

    fn release(&self) -> &str {
        &self.scripts.release
    }

    fn health(&self, audience: Audience) -> String {
        self.health.json(audience)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn imports(text: &str) -> impl Iterator<Item = &str> {
        let quoted = text.split("from '").skip(1).chain(text.split("import('").skip(1));
        quoted.filter_map(|rest| rest.split('\'').next())
    }

    #[test]
    fn scripts_import_each_other_by_content_hash() {
        let scripts = Scripts::new("/_diffyne", None);
        let named = Scripts::new("/_diffyne", Some("2026-11-26"));
        let text = |scripts: &Scripts| scripts.at("/_diffyne/release.js").unwrap().body.clone();
        assert!(String::from_utf8_lossy(&text(&named)).contains("'2026-11-26'"));
        assert!(String::from_utf8_lossy(&text(&scripts)).contains(&format!("'{}'", scripts.release)));
        for (name, _) in SCRIPTS {
            let plain = scripts.at(&format!("/_diffyne/{name}")).unwrap();
            let hashed = scripts.at(&format!("/_diffyne/{}", scripts.hashed(name).unwrap())).unwrap();
            assert_eq!((plain.cache, hashed.cache), (CachePolicy::Revalidate, CachePolicy::Immutable));
            assert_eq!(plain.body, hashed.body);
            let other = format!("/_diffyne/{}.0123456789abcdef.js", name.trim_end_matches(".js"));
            assert_eq!(
                scripts.at(&other).unwrap().cache,
                CachePolicy::Revalidate,
                "another release's name is not kept"
            );
            let text = std::str::from_utf8(&plain.body).unwrap();
            let folder = name.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
            for imported in imports(text) {
                let path = match imported.strip_prefix("../") {
                    Some(path) => path.to_owned(),
                    None => format!("{folder}{}", imported.trim_start_matches("./")),
                };
                let page = scripts.at(&format!("/_diffyne/{path}"));
                assert!(page.is_some_and(|page| page.cache == CachePolicy::Immutable), "{name} imports {imported}");
            }
        }
    }

    #[test]
    fn every_script_is_served() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/client");
        let mut found = Vec::new();
        for part in ["", "directives/"] {
            for entry in std::fs::read_dir(folder.join(part)).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                if name.strip_suffix(".js").is_some_and(|stem| !stem.contains(".config")) {
                    found.push(format!("{part}{}", name.trim_start_matches("diffyne-")));
                }
            }
        }
        found.sort();
        let mut served = SCRIPTS.map(|(name, _)| name.to_owned());
        served.sort();
        assert_eq!(found, served);
    }

    #[test]
    fn comments_are_not_served_and_code_is_as_it_was() {
        let source = "// A comment.\n/** @type {string} */\nconst a = 'http://b'; // why\n\n/**\n * More.\n */\n  f();\n/** @type {A} */ (g)();\n";
        assert_eq!(without_comments(source), "const a = 'http://b';\nf();\n(g)();\n");
        for (name, source) in SCRIPTS {
            // Lines in the middle of a text might look like comments.
            assert!(source.lines().all(|line| line.matches('`').count() % 2 == 0), "{name} has a text over many lines");
            // Whatever is left out has no end of a text in it.
            let is_text =
                |line: &str| line.split_once(" // ").is_some_and(|(code, _)| code.matches('\'').count() % 2 == 1);
            assert!(
                !source.lines().any(|line| !line.trim().starts_with("//") && is_text(line)),
                "{name} has // in a text"
            );
        }
    }
}
