//! Runs Diffyne components for the gateways.
//!
//! `server` accepts gateways and runs their calls on a `backend`; `component` is the engine for components written in
//! Rust, `vdom` its trees and patches; `demo` are the components of the tour. A worker with components of your own is
//! [`cli::main_with`] and a function that registers them.

pub mod announce;
pub mod backend;
pub mod cli;
pub mod component;
pub mod cookies;
pub mod demo;
pub mod metrics;
pub mod page;
mod redirect;
pub mod server;
pub mod vdom;
