//! The admin listener of both programs: `GET /` for people, `GET /metrics` for Prometheus, `GET /ready` for whoever routes
//! traffic, `GET /health` of gateways, and requests below `/api/`, which need a token.
//!
//! * `serve`: the listener; `source`: what a program has to say there
//! * `api`: requests with a token, and the log of changes; `client` asks such a listener
//! * [`overview`]: what operators see; [`history`]: the hour behind it
//! * [`processes`]: its table of PHP processes
//! * [`terminal`]: the same as text, whole or in parts
//! * `page`: the same as HTML; `session`: who may see it; `web`: its requests

mod api;
mod client;
pub mod history;
pub mod overview;
mod page;
pub mod processes;
mod response;
mod serve;
mod session;
mod source;
pub mod terminal;
mod web;

pub use client::{ask, look, ready};
pub use serve::serve;
pub use source::{AdminSource, ApiFuture, ApiRequest};
