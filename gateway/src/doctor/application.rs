//! Checks the application's code for what the bridge requires. The check reads the source text, not the running
//! application.

use std::path::{Path, PathBuf};

use super::Report;

/// The number of files that are examined.
const FILES_MAX: usize = 20_000;
/// A larger file, in bytes, is not source code.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The number of names that are shown.
const SHOWN_MAX: usize = 5;

/// Names by which an application uses classes of the bridge.
const BRIDGE_CLASSES: [&str; 3] = ["InteractsWithWebSocket", "WebSocketHealthChecker", "diffyne.websocket.health"];

/// How an application loads the bridge by itself. The second one is the way of releases before the package.
const LOADS_BRIDGE: [&str; 2] = ["Cluster\\Providers\\ClusterServiceProvider", "Cluster\\Bridge::install"];

/// One PHP file of the application: its path from the application's directory, and its text.
type Source = (PathBuf, String);

pub(super) fn check(directory: &Path, report: &mut Report) {
    let sources: Vec<Source> = php_files(&directory.join("app"))
        .into_iter()
        .filter_map(|file| Some((file.strip_prefix(directory).ok()?.to_owned(), std::fs::read_to_string(&file).ok()?)))
        .collect();
    if sources.is_empty() {
        report.fail("application", format!("{} has no PHP files in app/", directory.display()));
        return;
    }
    report.ok("application", format!("{}: {} files in app/", directory.display(), sources.len()));
    let loads_bridge = has_package(directory, &sources);
    check_listeners(&sources, loads_bridge, report);
    if !loads_bridge {
        check_locked(&sources, report);
    }
    check_bridge(&sources, loads_bridge, report);
}

/// Whether the application has the package: from Composer, or loaded by itself.
fn has_package(directory: &Path, sources: &[Source]) -> bool {
    let installed = std::fs::read_to_string(directory.join("vendor/composer/installed.json")).unwrap_or_default();
    let providers = std::fs::read_to_string(directory.join("bootstrap/providers.php")).unwrap_or_default();
    let loads = |text: &str| LOADS_BRIDGE.iter().any(|name| text.contains(name));
    installed.contains("\"diffyne/cluster\"") || loads(&providers) || sources.iter().any(|(_, text)| loads(text))
}

/// Listeners without `#[Invokable]`, which the package's own endpoint refuses.
fn check_listeners(sources: &[Source], loads_bridge: bool, report: &mut Report) {
    let names = |(file, text): &Source| {
        let file = file.display().to_string();
        listeners_only(text).into_iter().map(move |name| format!("{file}::{name}()")).collect::<Vec<_>>()
    };
    let listeners: Vec<String> = sources.iter().flat_map(names).collect();
    if listeners.is_empty() || loads_bridge {
        let loaded = if loads_bridge { ", which is loaded" } else { "" };
        return report.ok("listeners", format!("{} that need the bridge{loaded}", listeners.len()));
    }
    report.warn(
        "listeners",
        format!(
            "{} with #[On] and without #[Invokable]: {}. They work through workers with --app; over AJAX to the application \
             itself, and without the bridge, they are refused",
            listeners.len(),
            some_of(&listeners)
        ),
    );
}

/// Locked properties, which nobody signs on pages without the bridge.
fn check_locked(sources: &[Source], report: &mut Report) {
    let locking = files_where(sources, has_locked);
    if locking.is_empty() {
        return;
    }
    report.warn(
        "locked",
        format!(
            "{} have locked properties. Their first call with edited fields is refused on pages that have neither companion.js nor \
             client.js; load the bridge in the application, and its pages are signed from the start (or DIFFYNE_LOCKED=upstream)",
            some_of(&locking)
        ),
    );
}

/// Whether php-fpm can load the classes of the bridge that the application uses.
fn check_bridge(sources: &[Source], loads_bridge: bool, report: &mut Report) {
    if loads_bridge {
        return report.ok("bridge", "the application loads it by itself");
    }
    let users = files_where(sources, |text| BRIDGE_CLASSES.iter().any(|name| text.contains(name)));
    if users.is_empty() {
        return;
    }
    report.fail(
        "bridge",
        format!(
            "{} use classes of the bridge, which php-fpm has to load too: install the Composer package diffyne/cluster in the \
             application (deploy/laravel/README.md tells how)",
            some_of(&users)
        ),
    );
}

fn files_where(sources: &[Source], matches: impl Fn(&str) -> bool) -> Vec<String> {
    sources.iter().filter(|(_, text)| matches(text)).map(|(file, _)| file.display().to_string()).collect()
}

fn some_of(names: &[String]) -> String {
    let more = names.len().saturating_sub(SHOWN_MAX);
    let shown = names.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

/// Returns the PHP files below a directory.
fn php_files(directory: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, kind) = (entry.path(), entry.file_type());
            // Links are not followed, because they may form a cycle.
            if kind.as_ref().is_ok_and(std::fs::FileType::is_dir) {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "php")
                && entry.metadata().is_ok_and(|metadata| metadata.len() <= FILE_BYTES_MAX)
                && found.len() < FILES_MAX
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Whether a component has locked properties, judging by its text.
fn has_locked(text: &str) -> bool {
    let has_attribute = text.match_indices("#[").any(|(at, _)| {
        let inside = text[at..].split(']').next().unwrap_or_default();
        inside.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "Locked")
    });
    has_attribute || text.contains("protected array $locked") || text.contains("protected $locked")
}

/// Returns the methods that carry `#[On]` but not `#[Invokable]`, judging by the text of their attributes.
fn listeners_only(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("function ") {
        // Attributes are between the end of the preceding code and the `function` keyword.
        let before = &text[..at];
        let start = before.rfind(['{', '}', ';']).map_or(0, |end| end + 1);
        let attributes = &before[start..];
        let has = |name: &str| {
            attributes.match_indices(name).any(|(at, _)| {
                let (left, right) = (&attributes[..at], &attributes[at + name.len()..]);
                left.contains("#[")
                    && !left.ends_with(|c: char| c.is_alphanumeric() || c == '_')
                    && !right.starts_with(|c: char| c.is_alphanumeric() || c == '_')
            })
        };
        if has("On") && !has("Invokable") {
            let name: String =
                text[at + "function ".len()..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            found.push(name);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{has_locked, listeners_only};

    #[test]
    fn locked_properties_are_found() {
        let text = |inside: &str| format!("<?php use Diffyne\\Attributes\\Locked; class A {{ {inside} }}");
        for inside in
            ["#[Locked] public int $a;", "#[Other, \\Diffyne\\Attributes\\Locked]", "protected array $locked = ['a'];"]
        {
            assert!(has_locked(&text(inside)), "{inside}");
        }
        for inside in ["#[Unlocked] public int $a;", "public bool $locked = true;", "#[On('Lock')]"] {
            assert!(!has_locked(&text(inside)), "{inside}");
        }
    }

    #[test]
    fn listeners_that_are_not_invokable_are_found() {
        let text = "<?php class A { #[On('message-sent')]\n public function refresh(): void {} \
                    #[Invokable] #[On('x')] public function both(): void {} \
                    #[Invokable] public function only(): void { $x = fn () => 1; } \
                    #[On(\"y\"), Other] public function second() {} private function Once() {} }";
        assert_eq!(listeners_only(text), ["refresh", "second"]);
    }
}
