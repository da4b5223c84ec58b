//! The fingerprint of a state, by which the package tells whether it changed.

use md5::{Digest as _, Md5};

use super::canonical::php_json;
use super::json_tree::JsonTree;
use super::signature::to_hex;

/// The fingerprint of a state: md5 of PHP's `json_encode` with its defaults.
pub fn fingerprint<T: JsonTree>(state: &T) -> String {
    to_hex(&Md5::digest(php_json(state).as_bytes()))
}
