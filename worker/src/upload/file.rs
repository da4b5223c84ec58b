//! One uploaded file.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Bytes from which the type of a file is recognised.
const HEAD_BYTES: u64 = 8 * 1024;
/// The longest name of a file, in bytes.
const NAME_BYTES_MAX: usize = 255;
/// The name of a file whose browser gave none.
const UNNAMED: &str = "file";
/// What Laravel's rule `image` accepts, as extensions.
const IMAGES: [&str; 5] = ["jpg", "png", "bmp", "gif", "webp"];

/// What the browser has said about a file, and its size.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct FileDetails {
    pub(super) name: String,
    pub(super) client_type: Option<String>,
    pub(super) size: u64,
}

/// An uploaded file that waits for its component. It is removed after `DIFFYNE_UPLOAD_AGE` unless it is moved.
#[derive(Debug, Clone)]
pub struct TemporaryFile {
    path: PathBuf,
    details: FileDetails,
}

impl TemporaryFile {
    pub(super) fn new(path: PathBuf, details: FileDetails) -> Self {
        Self { path, details }
    }

    /// The name that the file has on the user's machine, without folders. Do not make a path of it.
    pub fn name(&self) -> &str {
        &self.details.name
    }

    /// The MIME type that the browser has said. Nothing has checked it.
    pub fn client_type(&self) -> Option<&str> {
        self.details.client_type.as_deref()
    }

    /// The size in bytes.
    pub fn size(&self) -> u64 {
        self.details.size
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file for reading.
    pub fn open(&self) -> io::Result<File> {
        File::open(&self.path)
    }

    /// The MIME type by the file's content; `None` when it is of no known kind.
    pub fn content_type(&self) -> Option<&'static str> {
        infer::get(&self.head()).map(|kind| kind.mime_type())
    }

    /// The extension by the file's content; text without a kind of its own is `txt`.
    pub fn extension(&self) -> Option<&'static str> {
        let head = self.head();
        if let Some(kind) = infer::get(&head) {
            return Some(kind.extension());
        }
        // The head may end within a character.
        let is_utf8 = std::str::from_utf8(&head).map_or_else(|error| error.error_len().is_none(), |_| true);
        (is_utf8 && !head.is_empty() && !head.contains(&0)).then_some("txt")
    }

    /// Whether the content is a picture that browsers show: JPEG, PNG, BMP, GIF or WebP.
    pub fn is_image(&self) -> bool {
        self.extension().is_some_and(|extension| IMAGES.contains(&extension))
    }

    /// Moves the file to where it stays. A file there is replaced.
    pub fn move_to(&self, destination: impl AsRef<Path>) -> io::Result<()> {
        if std::fs::rename(&self.path, &destination).is_err() {
            // Another file system.
            std::fs::copy(&self.path, &destination)?;
        }
        self.delete()
    }

    /// Removes the file.
    pub fn delete(&self) -> io::Result<()> {
        for path in [self.path.clone(), details_path(&self.path)] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn head(&self) -> Vec<u8> {
        let mut head = Vec::new();
        // What cannot be read is of no known kind.
        if let Ok(file) = self.open()
            && file.take(HEAD_BYTES).read_to_end(&mut head).is_err()
        {
            head.clear();
        }
        head
    }
}

/// Where the details of a file are kept.
pub(super) fn details_path(path: &Path) -> PathBuf {
    path.with_extension("json")
}

/// Takes folders and control characters out of a name that a client has sent.
pub(super) fn plain_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut plain = String::new();
    for c in last.chars().filter(|c| !c.is_control()) {
        if plain.len() + c.len_utf8() > NAME_BYTES_MAX {
            break;
        }
        plain.push(c);
    }
    if plain.is_empty() || plain == "." || plain == ".." { UNNAMED.to_owned() } else { plain }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn file(directory: &Path, content: &[u8]) -> TemporaryFile {
        let path = directory.join("a");
        std::fs::write(&path, content).unwrap();
        std::fs::write(details_path(&path), "{}").unwrap();
        TemporaryFile::new(path, FileDetails::default())
    }

    #[test]
    fn the_kind_of_a_file_is_that_of_its_content() {
        let directory = tempfile::tempdir().unwrap();
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
        let rows: [(&[u8], Option<&str>, bool); 6] = [
            (png, Some("png"), true),
            (b"\xff\xd8\xff\xe0\0\x10JFIF", Some("jpg"), true),
            (b"%PDF-1.7", Some("pdf"), false),
            (b"<svg xmlns='http://www.w3.org/2000/svg'>", Some("txt"), false),
            (b"plain text", Some("txt"), false),
            (b"\0\x01\x02", None, false),
        ];
        for (content, extension, is_image) in rows {
            let file = file(directory.path(), content);
            assert_eq!((file.extension(), file.is_image()), (extension, is_image), "{content:?}");
        }
    }

    #[test]
    fn a_file_that_is_moved_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let file = file(directory.path(), b"content");
        let kept = directory.path().join("kept.bin");
        file.move_to(&kept).unwrap();
        assert_eq!(std::fs::read(&kept).unwrap(), b"content");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_name_has_no_folders_and_no_control_characters() {
        for (sent, plain) in [
            ("photo.png", "photo.png"),
            ("../../etc/passwd", "passwd"),
            ("C:\\fakepath\\a b.txt", "a b.txt"),
            ("a\r\nb\0", "ab"),
            ("..", UNNAMED),
            ("", UNNAMED),
        ] {
            assert_eq!(plain_name(sent), plain);
        }
        assert_eq!(plain_name(&"é".repeat(400)).len(), 254);
    }
}
