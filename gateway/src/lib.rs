//! A stateless WebSocket gateway for Diffyne: terminates browsers' connections, relays component calls to workers,
//! shares broadcasts and presence with the other gateways.
//!
//! Data flows one way: `acceptor` → `http` → `handshake` → `connection::session` → `relay` → worker →
//! `connection::reply` → `socket::outbox`. A call by AJAX takes the same way from `http::twin` and back. `hub` holds a thread's connections, `cluster` joins the bus to the threads,
//! `server` starts and stops all of it.

pub mod acceptor;
pub mod answer;
pub mod cli;
pub mod cluster;
pub mod connection;
pub mod cookies;
pub mod dev;
mod doctor;
pub mod grant;
pub mod handover;
pub mod handshake;
pub mod history;
pub mod http;
pub mod hub;
pub mod jar;
pub mod memory;
pub mod metrics;
pub mod operator;
pub mod origin;
pub mod pages;
pub mod proxy;
pub mod quota;
pub mod reactor;
pub mod relay;
pub mod server;
pub mod session_identity;
pub mod socket;
pub mod subscribers;
