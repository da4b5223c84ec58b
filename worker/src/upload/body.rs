//! The bodies of the upload endpoint: a form that is read piece by piece, and a file that is sent so.

use std::fs::File;
use std::io::{self, Read as _};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, Stream, TryStreamExt as _};
use http_body_util::StreamBody;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Frame;
use multer::{Constraints, Multipart, SizeLimit};
use thiserror::Error;

use super::file::{FileDetails, TemporaryFile, plain_name};
use super::handle::COMPONENT_BYTES_MAX;
use super::store::{NewFile, StoreError, UploadStore};

/// Bytes of a file that are read at once.
const PIECE_BYTES: usize = 64 * 1024;
/// Bytes of a field beside the file.
const FIELD_BYTES_MAX: u64 = 4 * 1024;
/// The fields that are read.
const FILE: &str = "file";
const COMPONENT: &str = "componentId";

/// Why an upload is refused.
#[derive(Debug, Error)]
pub(super) enum UploadError {
    #[error("The file is too large.")]
    TooLarge,
    #[error("The server has no room for more files. Try again later.")]
    Full,
    #[error("The form has no file, or does not say for which component.")]
    Incomplete,
    #[error("The form cannot be read.")]
    Invalid,
    #[error("The file could not be stored.")]
    Failed(#[source] io::Error),
}

impl From<StoreError> for UploadError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => Self::Full,
            StoreError::Io(error) => Self::Failed(error),
        }
    }
}

impl From<multer::Error> for UploadError {
    fn from(error: multer::Error) -> Self {
        match error {
            multer::Error::FieldSizeExceeded { .. } | multer::Error::StreamSizeExceeded { .. } => Self::TooLarge,
            _ => Self::Invalid,
        }
    }
}

/// A file that was stored.
pub(super) struct StoredFile {
    pub(super) handle: String,
    pub(super) name: String,
    pub(super) size: u64,
}

/// Reads a form and stores its file.
pub(super) async fn receive<S, E>(store: &Arc<UploadStore>, body: S, boundary: &str) -> Result<StoredFile, UploadError>
where
    S: Stream<Item = Result<Bytes, E>> + Send,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let most = store.file_bytes_max as u64;
    let sizes = SizeLimit::new().whole_stream(most).per_field(FIELD_BYTES_MAX).for_field(FILE, most);
    let mut form = Multipart::with_constraints(body, boundary, Constraints::new().size_limit(sizes));
    let mut received = None;
    let mut component = None;
    while let Some(field) = form.next_field().await? {
        match field.name() {
            Some(FILE) if received.is_none() => received = Some(receive_file(store, field).await?),
            Some(COMPONENT) => component = Some(field.text().await?),
            _ => {}
        }
    }
    let is_id = |id: &String| (1..=COMPONENT_BYTES_MAX).contains(&id.len()) && !id.chars().any(char::is_control);
    let (Some((mut file, details)), Some(component)) = (received, component.filter(is_id)) else {
        return Err(UploadError::Incomplete);
    };
    let (name, size) = (details.name.clone(), file.size());
    let handle = blocking(move || file.finish(&component, &details)).await?;
    Ok(StoredFile { handle, name, size })
}

async fn receive_file(
    store: &Arc<UploadStore>,
    mut field: multer::Field<'_>,
) -> Result<(NewFile, FileDetails), UploadError> {
    let details = FileDetails {
        name: plain_name(field.file_name().unwrap_or_default()),
        client_type: field.content_type().map(ToString::to_string),
        size: 0,
    };
    let mut file = store.begin()?;
    while let Some(piece) = field.chunk().await? {
        file = blocking(move || file.write(&piece).map(|()| file)).await?;
    }
    Ok((file, details))
}

/// Runs work with the disk on another thread.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, UploadError> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|error| UploadError::Failed(io::Error::other(error)))??)
}

/// The body of a response with a file.
pub(super) type FileBody = UnsyncBoxBody<Bytes, io::Error>;

/// Sends a file piece by piece.
pub(super) fn send(file: &TemporaryFile) -> io::Result<FileBody> {
    let pieces = stream::try_unfold(file.open()?, |file| async move {
        let read = tokio::task::spawn_blocking(move || read_piece(file)).await.map_err(io::Error::other)?;
        read.map(|(piece, file)| if piece.is_empty() { None } else { Some((piece, file)) })
    });
    Ok(UnsyncBoxBody::new(StreamBody::new(pieces.map_ok(Frame::data))))
}

fn read_piece(mut file: File) -> io::Result<(Bytes, File)> {
    let mut piece = vec![0; PIECE_BYTES];
    let read = file.read(&mut piece)?;
    piece.truncate(read);
    Ok((piece.into(), file))
}
