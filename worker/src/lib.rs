//! Runs Diffyne components for gateways.
//!
//! [`server`] accepts gateways and runs their calls on a [`backend`]. [`component`] is the engine for components
//! written in Rust, [`vdom`] its trees and patches, [`page`] puts components on pages, [`upload`] has the files
//! that users send them, and [`demo`] has the components of the tour. A worker with components of your own needs [`cli::main_with`] and a function that registers them.

mod announce;
pub mod backend;
pub mod call;
pub mod cli;
pub mod component;
pub mod demo;
mod metrics;
pub mod page;
pub mod server;
mod top;
pub mod upload;
pub mod vdom;
