//! A signature as clients send it, and as hexadecimal digits.

/// The parts of what a client sends as its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignatureParts<'a> {
    /// The package's own.
    pub state: &'a str,
    /// Ours, with its names; a page of the unmodified package has none.
    pub lock: Option<&'a str>,
}

impl<'a> SignatureParts<'a> {
    /// Splits a signature; one of the package has no second part.
    pub fn of(text: &'a str) -> Self {
        match text.split_once('.') {
            Some((state, lock)) => Self { state, lock: Some(lock) },
            None => Self { state: text, lock: None },
        }
    }
}

/// Lower-case hexadecimal digits.
pub(super) fn to_hex(bytes: &[u8]) -> String {
    let mut digits = vec![0; bytes.len() * 2];
    // The length fits, and hexadecimal digits are UTF-8.
    let _ = hex::encode_to_slice(bytes, &mut digits);
    String::from_utf8(digits).unwrap_or_default()
}
