//! Who may connect, as whom, and what they may hear.
//!
//! * [`admission`]: the checks of a handshake, and the identity that workers get
//! * [`authority`], [`origin`], [`proxy`]: hosts and origins, which pages are trusted, what trusted proxies forward
//! * [`cookie_header`]: the browser's cookies on their way to a worker; [`cookie_store`]: cookies set since the handshake;
//!   [`sealed_cookies`]: the same on their way back to the browser
//! * [`grant`]: the signed right to subscribe; [`session_identity`]: the session that it belongs to

pub(crate) mod admission;
pub(crate) mod authority;
mod cookie_header;
pub(crate) mod cookie_store;
pub(crate) mod grant;
mod origin;
mod proxy;
pub mod sealed_cookies;
pub(crate) mod session_identity;
