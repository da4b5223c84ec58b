//! The WebSocket protocol: frames, limits and close codes. This module knows nothing of Diffyne.
//!
//! fastwebsockets provides the handshake, the unmasking and the frame heads. The reading loop and the writer are ours,
//! because those of the crate reserve the length that a frame declares, accept frames that the protocol forbids, and
//! send no close codes.
//!
//! * [`decoder`]: decodes bytes to messages, without I/O; an idle connection owns no buffer
//! * [`frame`]: encodes messages to bytes, once, to be shared
//! * [`extensions`]: negotiates compression; [`deflate`]: compresses and inflates messages
//! * [`event_stream`]: the same messages for clients that hear by an HTTP response
//! * [`outbox`]: the frames that wait to be written to one connection, with their size in bytes
//! * [`io`]: the underlying stream, read and written without waiting

pub mod close;
pub mod decoder;
pub mod deflate;
pub mod event_stream;
pub mod extensions;
pub mod frame;
pub mod io;
pub mod outbox;
mod partial;

pub use close::Close;
pub use decoder::{Decoder, DecoderLimits, Event};
pub use extensions::Deflate;
pub use io::SocketIo;
pub use outbox::{FlushResult, Outbox};
