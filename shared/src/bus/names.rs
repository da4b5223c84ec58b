//! What can be the name of an event, and the id of a user.

/// The longest id of a user, in bytes.
const USER_BYTES_MAX: usize = 255;

/// Whether this can be the id of a user: not empty, not too long, and without control characters.
pub fn is_user_id(id: &str) -> bool {
    (1..=USER_BYTES_MAX).contains(&id.len()) && !id.chars().any(char::is_control)
}

/// Characters of an event name.
const EVENT_NAME_MAX: usize = 128;

/// Whether this can be the name of an event: printable, and not too long.
pub fn is_event_name(name: &str) -> bool {
    (1..=EVENT_NAME_MAX).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}
