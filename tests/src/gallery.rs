//! The worker's example components and their pages, as the gallery itself serves them.
#![allow(missing_docs)]

#[path = "../../worker/examples/gallery/components/mod.rs"]
pub mod components;
#[path = "../../worker/examples/gallery/site.rs"]
pub mod site;
