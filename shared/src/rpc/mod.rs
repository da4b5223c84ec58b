//! The protocol between a gateway (the relay) and a worker.
//!
//! On the wire: a u32 length, then MessagePack `[type, {fields by name}]`. Unknown fields and unknown types are
//! ignored and new fields are optional, so that releases mix during a deploy. Payloads are `bin`, never re-encoded.

mod codec;
mod endpoint;
mod frame;
pub mod handshake;
mod messages;
mod version;

pub use codec::{CallRef, CodecError, ForeignProtocol, FrameReader, OversizedFrame, encode, encode_within};
pub use endpoint::{Endpoint, EndpointError};
pub use frame::{FRAME_OVERHEAD_MAX, Frame};
pub use messages::{
    Bytes, Call, CallDetails, CallId, CallKind, Cause, Challenge, Client, DEMO_BACKEND, Empty, Hello,
    LIFECYCLE_FEATURE, Outcome, PARTS_AHEAD_BYTES_MAX, Part, PartsSent, Ping, Pong, Proof, Push, Refuse, Reply,
    ResponseEvent, SESSION_HEADER, SESSION_REQUIRED, SessionChange, Transport, UserEvent,
};
pub use version::{VERSIONS, VersionRange};
