//! The directory in which uploaded files wait, its limit and its clean-up. Workers may share it: each counts what all of
//! them have stored, once a minute.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use diffyne_shared::settings::upload::UploadStoreSettings;
use prometheus::Registry;
use thiserror::Error;

use super::file::{FileDetails, TemporaryFile, details_path};
use super::handle::{HandleKeys, random_name};
use super::metrics::UploadMetrics;

/// How often old files are removed and the others counted.
const CLEAN_EVERY: Duration = Duration::from_mins(1);
/// The folder in the directory that is ours alone, so that nothing else is ever removed.
const FOLDER: &str = "diffyne-uploads";
/// What a file takes on the disk at least. An upload has two: the file and its details. Else empty files would be free.
const BLOCK_BYTES: u64 = 4096;
/// The extension of a file that is not complete.
const PART: &str = "part";

/// Why a file is not stored.
#[derive(Debug, Error)]
pub(super) enum StoreError {
    /// The directory holds as much as it may.
    #[error("there is no room for more files")]
    Full,
    /// The system refuses it.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Uploaded files that wait for their components.
pub struct UploadStore {
    directory: PathBuf,
    pub(super) file_bytes_max: usize,
    disk_bytes_max: u64,
    age_max: Duration,
    keys: HandleKeys,
    /// Bytes of all files, by the last count and what was written since.
    used: AtomicU64,
    pub(super) metrics: UploadMetrics,
}

impl UploadStore {
    /// Opens the store in the directory that the settings name, and makes it if it is not there.
    pub fn open(settings: &UploadStoreSettings) -> io::Result<Arc<Self>> {
        let directory = settings.directory.join(FOLDER);
        DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        let store = Arc::new(Self {
            directory,
            file_bytes_max: settings.bytes_max,
            disk_bytes_max: settings.disk_bytes_max as u64,
            age_max: settings.age_max,
            keys: HandleKeys::new(settings.keys.clone()),
            used: AtomicU64::new(0),
            metrics: UploadMetrics::new(),
        });
        store.clean()?;
        Ok(store)
    }

    /// Returns the file of a handle that was signed for this component, if it is still there.
    pub fn find(&self, handle: &str, component: &str) -> Option<TemporaryFile> {
        let (owner, name) = self.keys.verify(handle)?;
        if owner == component { self.read(name) } else { None }
    }

    /// Returns the file of a handle, whoever shows it.
    pub(super) fn show(&self, handle: &str) -> Option<TemporaryFile> {
        self.read(self.keys.verify(handle)?.1)
    }

    fn read(&self, name: &str) -> Option<TemporaryFile> {
        let path = self.directory.join(name);
        let details = serde_json::from_slice(&fs::read(details_path(&path)).ok()?).ok()?;
        path.is_file().then(|| TemporaryFile::new(path, details))
    }

    /// Removes files that are too old and counts the others, until the worker stops.
    pub async fn keep_clean(self: Arc<Self>) {
        loop {
            tokio::time::sleep(CLEAN_EVERY).await;
            let store = Arc::clone(&self);
            match tokio::task::spawn_blocking(move || store.clean()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the directory of uploads cannot be cleaned"),
                Err(_) => return,
            }
        }
    }

    fn clean(&self) -> io::Result<()> {
        let now = SystemTime::now();
        let mut used = 0;
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            // Another worker, or a component, may have removed it.
            let Ok(metadata) = entry.metadata() else { continue };
            let age = metadata.modified().ok().and_then(|modified| now.duration_since(modified).ok());
            if age.is_some_and(|age| age > self.age_max) && fs::remove_file(entry.path()).is_ok() {
                if entry.path().extension().is_none() {
                    self.metrics.count("expired");
                }
            } else {
                used += metadata.len().max(BLOCK_BYTES);
            }
        }
        self.used.store(used, Ordering::Relaxed);
        self.metrics.bytes.set(used as i64);
        Ok(())
    }

    /// Begins a new file.
    pub(super) fn begin(self: &Arc<Self>) -> Result<NewFile, StoreError> {
        let path = self.directory.join(random_name());
        let part = path.with_extension(PART);
        self.take_room(2 * BLOCK_BYTES)?;
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part) {
            Ok(file) => Ok(NewFile { store: Arc::clone(self), path, part, file, bytes: 0, is_kept: false }),
            Err(error) => {
                self.give_room_back(2 * BLOCK_BYTES);
                Err(error.into())
            }
        }
    }

    /// Registers the store's metrics.
    pub(crate) fn register_metrics(&self, registry: &Registry) {
        self.metrics.register(registry);
    }

    fn take_room(&self, bytes: u64) -> Result<(), StoreError> {
        let most = self.disk_bytes_max;
        let fits = |used: u64| used.checked_add(bytes).filter(|total| *total <= most);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).map_err(|_| StoreError::Full)?;
        self.metrics.bytes.add(bytes as i64);
        Ok(())
    }

    fn give_room_back(&self, bytes: u64) {
        let less = |used: u64| Some(used.saturating_sub(bytes));
        // The function never refuses.
        let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        self.metrics.bytes.sub(bytes as i64);
    }
}

/// A file that is being received. It is removed unless it is finished.
pub(super) struct NewFile {
    store: Arc<UploadStore>,
    path: PathBuf,
    part: PathBuf,
    file: File,
    bytes: u64,
    is_kept: bool,
}

impl NewFile {
    /// Writes a piece.
    pub(super) fn write(&mut self, piece: &Bytes) -> Result<(), StoreError> {
        self.store.take_room(piece.len() as u64)?;
        self.bytes += piece.len() as u64;
        Ok(self.file.write_all(piece)?)
    }

    /// Completes the file. Returns its handle for a component.
    pub(super) fn finish(&mut self, component: &str, details: &FileDetails) -> Result<String, StoreError> {
        let details = FileDetails { size: self.bytes, ..details.clone() };
        fs::write(details_path(&self.path), serde_json::to_vec(&details).map_err(io::Error::other)?)?;
        fs::rename(&self.part, &self.path)?;
        self.is_kept = true;
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        Ok(self.store.keys.sign(component, &name))
    }

    /// Returns the bytes that were written.
    pub(super) fn size(&self) -> u64 {
        self.bytes
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_kept {
            self.store.give_room_back(self.bytes + 2 * BLOCK_BYTES);
            remove_quietly(&self.part);
            remove_quietly(&details_path(&self.path));
        }
    }
}

fn remove_quietly(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::debug!(%error, "an unfinished upload stays until it is too old");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn store(directory: &Path, disk_bytes_max: usize) -> Arc<UploadStore> {
        UploadStore::open(&UploadStoreSettings {
            listen: None,
            directory: directory.to_owned(),
            bytes_max: 1000,
            disk_bytes_max,
            age_max: Duration::from_hours(1),
            keys: vec![b"key".to_vec()],
        })
        .unwrap()
    }

    fn put(store: &Arc<UploadStore>, content: &'static [u8]) -> Result<String, StoreError> {
        let mut file = store.begin()?;
        file.write(&Bytes::from_static(content))?;
        file.finish("diffyne-a", &FileDetails { name: "a.txt".to_owned(), ..FileDetails::default() })
    }

    #[test]
    fn a_file_is_found_by_its_component_alone() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path(), 100_000);
        let handle = put(&store, b"hello").unwrap();
        let file = store.find(&handle, "diffyne-a").unwrap();
        assert_eq!((file.name(), file.size()), ("a.txt", 5));
        assert_eq!(std::fs::read(file.path()).unwrap(), b"hello");
        assert!(store.find(&handle, "diffyne-b").is_none());
        file.delete().unwrap();
        assert!(store.find(&handle, "diffyne-a").is_none());
    }

    #[test]
    fn the_disk_is_limited_and_an_unfinished_file_gives_its_room_back() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path(), 2 * BLOCK_BYTES as usize + 10);
        assert!(matches!(put(&store, b"hello, world"), Err(StoreError::Full)));
        let mut unfinished = store.begin().unwrap();
        unfinished.write(&Bytes::from_static(b"12345678")).unwrap();
        assert!(matches!(put(&store, b"hello"), Err(StoreError::Full)));
        drop(unfinished);
        put(&store, b"hello").unwrap();
        assert_eq!(fs::read_dir(directory.path().join(FOLDER)).unwrap().count(), 2, "the file and its details");
    }

    #[test]
    fn empty_files_are_not_free() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path(), 10 * 2 * BLOCK_BYTES as usize);
        let stored = (0..100).take_while(|_| put(&store, b"").is_ok()).count();
        assert_eq!(stored, 10);
        store.clean().unwrap();
        assert!(matches!(put(&store, b""), Err(StoreError::Full)), "a count says the same");
    }

    #[test]
    fn old_files_are_removed_and_nothing_beside_them() {
        let directory = tempfile::tempdir().unwrap();
        let old = SystemTime::now() - Duration::from_hours(2);
        let store = store(directory.path(), 100_000);
        let (first, second) = (put(&store, b"old").unwrap(), put(&store, b"new").unwrap());
        let beside = directory.path().join("important.txt");
        fs::write(&beside, "x").unwrap();
        let file = store.find(&first, "diffyne-a").unwrap();
        for path in [file.path().to_owned(), details_path(file.path()), beside.clone()] {
            File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
        }
        store.clean().unwrap();
        assert!(store.find(&first, "diffyne-a").is_none() && store.find(&second, "diffyne-a").is_some());
        assert!(beside.exists());
        assert_eq!(store.used.load(Ordering::Relaxed), 2 * BLOCK_BYTES);
    }
}
