//! The state signature: what makes a component's state, which travels through the browser, trustworthy.
//!
//! Signatures and fingerprints are byte for byte those of the PHP package. `canonical`, `php_sort` and `php_number` hold the
//! PHP side of it: how PHP sorts keys, and prints JSON and numbers. `signer` holds the rules of verification, `key` the
//! keys, and `lock` the second signature, which covers class, component and locked values. `json_tree` is what is signed.

mod canonical;
mod fingerprint;
mod json_tree;
mod key;
mod lock;
mod php_number;
mod php_sort;
mod signature;
mod signer;

pub use canonical::{EmptyStrings, Numbers, canonical_json};
pub use fingerprint::fingerprint;
pub use json_tree::{BorrowedJson, JsonTree, MembersByName, Shape};
pub use key::{KeyError, SigningKey};
pub use lock::PARAMS_LOCK;
pub use php_number::{format_float, javascript_keeps};
pub use signature::SignatureParts;
pub use signer::{LockedValues, Purpose, Signer, Verdict, VerifyState};
