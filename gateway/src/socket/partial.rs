//! A message that is not complete yet.

use super::Close;

/// The initial capacity of a message buffer, in bytes.
const FIRST_BYTES: usize = 1024;

/// The bytes of an unfinished message.
#[derive(Debug, Default)]
pub(super) struct Partial {
    pub(super) bytes: Vec<u8>,
    /// The length of the prefix that is known to be valid UTF-8 (text only).
    valid: usize,
}

impl Partial {
    /// Adds bytes. `checks_utf8`: they are of a text, as it is.
    pub(super) fn append(&mut self, part: &[u8], checks_utf8: bool, bytes_max: usize) -> Result<(), Close> {
        if self.bytes.capacity() - self.bytes.len() < part.len() {
            // Grow by the received bytes, at least doubling, but never beyond the largest message.
            let wanted = (self.bytes.len() + part.len()).max(self.bytes.capacity() * 2).max(FIRST_BYTES);
            self.bytes.reserve_exact(wanted.min(bytes_max.max(part.len())).saturating_sub(self.bytes.len()));
        }
        self.bytes.extend_from_slice(part);
        if checks_utf8 {
            match std::str::from_utf8(&self.bytes[self.valid..]) {
                Ok(_) => self.valid = self.bytes.len(),
                Err(error) if error.error_len().is_none() => self.valid += error.valid_up_to(),
                Err(_) => return Err(Close::BAD_UTF8),
            }
        }
        Ok(())
    }
}
