//! What a browser sends (`{"event", "data"}`) and the messages it gets.
//!
//! Only the few fields that a gateway needs are read; state, parameters and values stay as they came. The texts of
//! errors are upstream's, letter by letter.

mod failure;
mod head;
mod json;
mod messages;
mod parse;

pub use failure::{FailureKind, INTERNAL_ERROR, MISSING_PARAMETERS};
pub use head::{
    CAUSE_ID_BYTES_MAX, CLASS_BYTES_MAX, COMPONENT_ID_BYTES_MAX, DataHead, MEMBER_BYTES_MAX, REQUEST_ID_BYTES_MAX,
    TextField,
};
pub use json::json_string;
pub use messages::{connected, diffyne_error, error, failure, pong, unix_seconds};
pub use parse::{Message, parse, parse_canonical, shortened};
