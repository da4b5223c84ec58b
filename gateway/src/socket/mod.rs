//! The WebSocket on its own: frames in, frames out, limits and close codes. It knows nothing of Diffyne.
//!
//! fastwebsockets gives the handshake, the unmasking and the frame heads. The reading loop and the writer are ours,
//! because its own reserve what a frame merely declares, accept what the protocol forbids and send no close codes.
//!
//! * [`decoder`]: bytes to messages, without I/O; an idle connection owns no buffer
//! * [`frame`]: messages to bytes, encoded once and shared
//! * [`outbox`]: what waits to be written to one connection, bounded in bytes
//! * [`io`]: the stream underneath, read and written without waiting

pub mod close;
pub mod decoder;
pub mod frame;
pub mod io;
pub mod outbox;

pub use close::Close;
pub use decoder::{Decoder, DecoderLimits, Event};
pub use io::{IoReader, IoWriter};
pub use outbox::{Flushed, Outbox};
