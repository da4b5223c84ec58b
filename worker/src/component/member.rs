//! A user in a room.

use serde::Serialize;
use serde_json::Value;

/// A user in a room, as the others there see it.
///
/// ```
/// use diffyne_worker::component::Member;
/// use serde_json::json;
///
/// let ada = Member::new(7, json!({"name": "Ada"}));
/// assert_eq!(ada.id, "7");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Member {
    /// The user's id: whoever has the same is one member, whatever number of pages are open. 1 to 255 bytes.
    pub id: String,
    /// What the others may know of the user: up to 4096 bytes of JSON.
    pub info: Value,
}

impl Member {
    /// A user of whom the others may know this.
    pub fn new(id: impl ToString, info: Value) -> Self {
        Self { id: id.to_string(), info }
    }
}
