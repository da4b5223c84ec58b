//! File uploads for components in Rust: files that wait in a directory until a component takes them.
//!
//! A browser sends a file to `{prefix}/upload`, through a gateway whose `DIFFYNE_UPLOAD_URL` is this worker's
//! `DIFFYNE_UPLOAD_LISTEN`. The property gets a handle, with which the component gets the file in its next call:
//!
//! ```
//! # use diffyne_worker::component::{CallError, Definition, Rules};
//! # use serde::{Deserialize, Serialize};
//! #[derive(Default, Serialize, Deserialize)]
//! struct Profile {
//!     avatar: String,
//! }
//!
//! let profile = Definition::<Profile>::new("App\\Diffyne\\Profile")
//!     .template(r#"<form diff:submit="save"><input type="file" diff:model="avatar"><em diff:error="avatar"></em></form>"#)
//!     .rules(Rules::new([("avatar", "required|image|mimes:png,jpg|max:2048")]))
//!     .method("save", [], |profile, context, ()| {
//!         context.validate(profile)?;
//!         if let Some(file) = context.file(&profile.avatar) {
//!             file.move_to("/var/lib/app/avatars/7.png").map_err(CallError::exception)?;
//!         }
//!         profile.avatar.clear();
//!         Ok(())
//!     });
//! ```
//!
//! * `handle`: what the property gets, signed for one component
//! * `store`: the directory, its limit and its clean-up
//! * `file`: one file
//! * `endpoint`, `body`: uploads and previews by HTTP

mod body;
mod endpoint;
mod file;
mod handle;
mod metrics;
mod store;

pub use endpoint::serve;
pub use file::TemporaryFile;
pub use store::UploadStore;
