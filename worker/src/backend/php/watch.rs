//! Watches files of the application, and has its processes replaced when they change.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use diffyne_shared::telemetry;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::time::{Instant, sleep, sleep_until};

/// The shortest time between two reloads.
const RELOAD_INTERVAL: Duration = Duration::from_secs(1);
/// How long further changes are waited for: editors and checkouts write several files.
const SETTLE_TIME: Duration = Duration::from_millis(100);
/// Time between two looks at what the system has noted.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Folders that are watched, at most.
const FOLDERS_MAX: usize = 10_000;
/// Space for the events of one read; one with the longest name needs a fifteenth of it.
const EVENT_BYTES: usize = 4096;
/// The file that shows that a folder is a Laravel application's.
const APPLICATION_FILE: &str = "artisan";
/// What an application writes while it runs, relative to its directory.
const WRITTEN_BY_APPLICATION: [&str; 2] = ["storage", "bootstrap/cache"];
/// A folder with many files that PHP does not read.
const NODE_MODULES: &str = "node_modules";

/// Calls `reload` with a changed path when watched files have changed; returns when files cannot be watched.
///
/// Relative paths are relative to the application's directory.
pub(super) async fn reload_on_change(directory: &str, paths: &[String], reload: impl Fn(&Path)) {
    let error = match FileWatcher::new(Path::new(directory), paths) {
        Ok(mut watcher) => {
            let mut earliest = Instant::now();
            loop {
                let changed = match watcher.changed().await {
                    Ok(changed) => changed,
                    Err(error) => break error,
                };
                sleep_until(earliest.max(Instant::now() + SETTLE_TIME)).await;
                if let Err(error) = watcher.take_events() {
                    break error;
                }
                earliest = Instant::now() + RELOAD_INTERVAL;
                reload(&changed);
            }
        }
        Err(error) => error,
    };
    tracing::error!(%error, "files are not watched: PHP processes are replaced only by diffyne-worker reload");
}

/// A path of the setting.
struct Target {
    path: PathBuf,
    is_watched: bool,
}

/// A folder that the system watches.
struct Folder {
    path: PathBuf,
    /// Whether all files in it count, but for temporary ones.
    is_whole: bool,
    /// Files that count in any case.
    files: Vec<OsString>,
}

/// An event of the system.
struct FileEvent {
    folder: i32,
    flags: ReadFlags,
    name: Option<OsString>,
}

/// Tells which files have changed below some paths.
struct FileWatcher {
    inotify: OwnedFd,
    targets: Vec<Target>,
    folders: HashMap<i32, Folder>,
    /// Folders below the paths that are not watched.
    excluded: Vec<PathBuf>,
    is_limit_told: bool,
}

impl FileWatcher {
    fn new(directory: &Path, paths: &[String]) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let paths: Vec<PathBuf> = paths.iter().map(|path| directory.join(path)).collect();
        let mut watcher = Self {
            inotify,
            excluded: written_by_applications(&paths),
            targets: paths.into_iter().map(|path| Target { path, is_watched: false }).collect(),
            folders: HashMap::new(),
            is_limit_told: false,
        };
        watcher.watch_missing();
        for missing in watcher.targets.iter().filter(|target| !target.is_watched) {
            tracing::warn!(
                path = %telemetry::name(&missing.path.to_string_lossy()),
                "a path of DIFFYNE_PHP_WATCH does not exist here. Where PHP sees another file system than the worker, give paths as the worker sees them"
            );
        }
        tracing::info!(folders = watcher.folders.len(), "PHP processes are replaced when files change");
        Ok(watcher)
    }

    /// Waits until something has changed; one of the changed paths.
    async fn changed(&mut self) -> io::Result<PathBuf> {
        loop {
            if let Some(changed) = self.take_events()?.or_else(|| self.watch_missing()) {
                return Ok(changed);
            }
            sleep(CHECK_INTERVAL).await;
        }
    }

    /// Watches the paths of the setting that were not there before; one that now is.
    fn watch_missing(&mut self) -> Option<PathBuf> {
        let mut found = None;
        for at in 0..self.targets.len() {
            let Target { path, is_watched: false } = &self.targets[at] else { continue };
            let path = path.clone();
            let is_watched = match (std::fs::metadata(&path), path.parent(), path.file_name()) {
                (Ok(metadata), _, _) if metadata.is_dir() => self.watch_folders(&path),
                (Ok(_), Some(folder), Some(file)) => self.watch_folder(folder, Some(file)),
                _ => false,
            };
            if is_watched {
                self.targets[at].is_watched = true;
                found.get_or_insert(path);
            }
        }
        found
    }

    /// Watches a folder and those in it.
    fn watch_folders(&mut self, top: &Path) -> bool {
        let is_watched = self.watch_folder(top, None);
        let mut folders = vec![top.to_owned()];
        while let Some(folder) = folders.pop() {
            // A folder that has just gone has nothing to watch.
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                if is_folder && !self.is_excluded(&path) && self.watch_folder(&path, None) {
                    folders.push(path);
                }
            }
        }
        is_watched
    }

    /// Watches one folder, or one file in it.
    fn watch_folder(&mut self, path: &Path, file: Option<&OsStr>) -> bool {
        let flags = WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let has_room = self.folders.len() < FOLDERS_MAX;
        let added = if has_room { inotify::add_watch(&self.inotify, path, flags) } else { Err(Errno::NOSPC) };
        match added {
            Ok(number) => {
                let new = || Folder { path: path.to_owned(), is_whole: false, files: Vec::new() };
                let folder = self.folders.entry(number).or_insert_with(new);
                folder.is_whole |= file.is_none();
                folder.files.extend(file.map(OsStr::to_owned));
                true
            }
            Err(Errno::NOSPC) if !self.is_limit_told => {
                self.is_limit_told = true;
                let folders = self.folders.len();
                tracing::warn!(folders, "not all folders are watched: see fs.inotify.max_user_watches, or watch fewer");
                false
            }
            Err(_) => false,
        }
    }

    /// Takes the events that there are; one of the changed paths.
    fn take_events(&mut self) -> io::Result<Option<PathBuf>> {
        let mut events = Vec::new();
        let mut space = [MaybeUninit::uninit(); EVENT_BYTES];
        let mut reader = Reader::new(&self.inotify, &mut space);
        loop {
            match reader.next() {
                Ok(event) => events.push(FileEvent {
                    folder: event.wd(),
                    flags: event.events(),
                    name: event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()).to_owned()),
                }),
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        let mut changed = None;
        for event in events {
            changed = changed.or(self.changed_by(event));
        }
        Ok(changed)
    }

    /// The path that an event is about, where it matters.
    fn changed_by(&mut self, event: FileEvent) -> Option<PathBuf> {
        if event.flags.contains(ReadFlags::QUEUE_OVERFLOW) {
            self.targets.iter_mut().for_each(|target| target.is_watched = false);
            return self.watch_missing();
        }
        if event.flags.contains(ReadFlags::IGNORED) {
            let folder = self.folders.remove(&event.folder)?;
            let gone = |target: &&mut Target| target.path == folder.path || target.path.parent() == Some(&folder.path);
            self.targets.iter_mut().filter(gone).for_each(|target| target.is_watched = false);
            return None;
        }
        let folder = self.folders.get(&event.folder)?;
        let Some(name) = event.name else {
            // The folder itself has gone from its place.
            let path = folder.path.clone();
            self.forget(&path);
            return Some(path);
        };
        let path = folder.path.join(&name);
        let is_named = folder.files.contains(&name);
        if !is_named && (!folder.is_whole || is_temporary(&name) || self.is_excluded(&path)) {
            return None;
        }
        if event.flags.contains(ReadFlags::ISDIR) {
            if event.flags.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
                self.watch_folders(&path);
            } else {
                self.forget(&path);
            }
        }
        Some(path)
    }

    /// Stops watching a folder that is not at its place any more, and those in it.
    fn forget(&mut self, path: &Path) {
        for (number, folder) in &self.folders {
            if folder.path.starts_with(path) {
                // It fails when the folder is gone. Otherwise the system confirms it with an event.
                let _ = inotify::remove_watch(&self.inotify, *number);
            }
        }
    }

    fn is_excluded(&self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default();
        name == NODE_MODULES || name.as_bytes().starts_with(b".") || self.excluded.iter().any(|other| other == path)
    }
}

/// The folders that the applications around these paths write to.
fn written_by_applications(paths: &[PathBuf]) -> Vec<PathBuf> {
    let folders = paths.iter().flat_map(|path| [Some(path.as_path()), path.parent()]).flatten();
    let applications = folders.filter(|folder| folder.join(APPLICATION_FILE).is_file());
    applications.flat_map(|folder| WRITTEN_BY_APPLICATION.map(|path| folder.join(path))).collect()
}

/// Whether an editor keeps such a file for itself.
fn is_temporary(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.starts_with(b".")
        || name.starts_with(b"#")
        || [b"~".as_slice(), b".swp", b".tmp"].iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    fn watcher(directory: &Path, paths: &[&str]) -> FileWatcher {
        FileWatcher::new(directory, &paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[tokio::test]
    async fn changes_below_the_watched_paths_are_seen_and_no_others() {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path);
        for folder in ["app/Deep/er", "node_modules/x", "storage/framework", "bootstrap/cache", ".git"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        for file in [".env", "artisan"] {
            fs::write(at(file), "").unwrap();
        }
        let mut watcher = watcher(directory.path(), &["bootstrap", ".", ".env"]);
        let rows = [
            ("app/A.php", true),
            ("app/Deep/er/B.php", true),
            ("bootstrap/app.php", true),
            (".env", true),
            ("app/.A.php.swp", false),
            ("app/A.php~", false),
            ("node_modules/x/y.js", false),
            ("storage/framework/view.php", false),
            ("bootstrap/cache/packages.php", false),
            (".git/index", false),
            (".phpunit", false),
        ];
        for (path, is_seen) in rows {
            fs::write(at(path), "changed").unwrap();
            let changed = watcher.take_events().unwrap();
            assert_eq!(changed, is_seen.then(|| at(path)), "{path}");
        }
    }

    #[tokio::test]
    async fn folders_may_come_move_and_go() {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path);
        let mut watcher = watcher(directory.path(), &["app"]);
        fs::create_dir(at("app")).unwrap();
        assert_eq!(watcher.changed().await.unwrap(), at("app"), "it is found once it is there");
        fs::create_dir_all(at("app/New/Sub")).unwrap();
        assert!(watcher.take_events().unwrap().is_some());
        fs::write(at("app/New/Sub/C.php"), "").unwrap();
        assert_eq!(watcher.take_events().unwrap(), Some(at("app/New/Sub/C.php")));
        fs::rename(at("app/New"), at("outside")).unwrap();
        assert_eq!(watcher.take_events().unwrap(), Some(at("app/New")));
        fs::write(at("outside/Sub/C.php"), "elsewhere").unwrap();
        assert_eq!(watcher.take_events().unwrap(), None);
        assert_eq!(watcher.folders.len(), 1, "what has moved away is not watched any more");
        fs::rename(at("app"), at("old")).unwrap();
        assert_eq!(watcher.take_events().unwrap(), Some(at("app")));
        fs::create_dir(at("app")).unwrap();
        assert_eq!(watcher.changed().await.unwrap(), at("app"), "a deploy has put another one there");
        fs::write(at("app/D.php"), "").unwrap();
        assert_eq!(watcher.take_events().unwrap(), Some(at("app/D.php")));
    }

    #[tokio::test]
    async fn a_single_file_is_watched_through_its_replacements() {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path);
        fs::write(at("composer.lock"), "1").unwrap();
        let mut watcher = watcher(directory.path(), &["composer.lock"]);
        for round in 0..3 {
            fs::write(at("other"), "x").unwrap();
            fs::rename(at("other"), at("composer.lock")).unwrap();
            assert_eq!(watcher.take_events().unwrap(), Some(at("composer.lock")), "{round}");
        }
        fs::write(at("other"), "x").unwrap();
        assert_eq!(watcher.take_events().unwrap(), None);
    }
}
