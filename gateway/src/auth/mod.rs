//! Decides who may connect, with which identity, and to which events they may subscribe.
//!
//! * [`admission`]: checks a handshake and builds the identity that workers see
//! * [`authority`], [`origin`], [`proxy`]: hosts and origins, trusted pages, and the headers of trusted proxies
//! * [`cookie_header`]: the browser's cookies, in the form that workers get; [`cookie_store`]: cookies set since the
//!   handshake; [`sealed_cookies`]: new cookies on their way back to the browser
//! * [`refusal`]: why handshakes are refused; [`refusal_log`]: their lines in the log
//! * [`ended_sessions`]: which connections have lost their session
//! * [`grant`]: the signed right to subscribe; [`revocations`]: whose grants are void; [`session_identity`]: the session that a grant belongs to

pub(crate) mod admission;
pub(crate) mod authority;
mod cookie_header;
pub(crate) mod cookie_store;
pub(crate) mod ended_sessions;
pub(crate) mod grant;
mod origin;
mod proxy;
mod refusal;
pub(crate) mod refusal_log;
mod revocations;
pub mod sealed_cookies;
pub(crate) mod session_identity;
