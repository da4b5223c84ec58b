//! The `Cookie` headers of a request, joined into the one line of text that workers get.

use hyper::header::{self, HeaderMap};

/// Joins all cookies in the order sent, with the separator that HTTP/2 prescribes. Returns `None` if there are none.
///
/// Bytes of a value that are not UTF-8 are percent-encoded; PHP decodes them. A cookie with such bytes in its name is
/// left out.
pub fn line(headers: &HeaderMap) -> Option<String> {
    let mut line = String::new();
    for value in headers.get_all(header::COOKIE) {
        for pair in value.as_bytes().split(|byte| *byte == b';') {
            let start = pair.iter().position(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or(pair.len());
            append(&mut line, &pair[start..]);
        }
    }
    (!line.is_empty()).then_some(line)
}

fn append(line: &mut String, pair: &[u8]) {
    let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
    let Ok(name) = std::str::from_utf8(&pair[..at]) else { return };
    if pair.is_empty() {
        return;
    }
    if !line.is_empty() {
        line.push_str("; ");
    }
    line.push_str(name);
    for chunk in pair[at..].utf8_chunks() {
        line.push_str(chunk.valid());
        for byte in chunk.invalid() {
            line.push_str(percent_encoding::percent_encode_byte(*byte));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    #[test]
    fn cookies_are_joined_into_one_line() {
        let read = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::COOKIE, HeaderValue::from_bytes(value).unwrap());
            }
            line(&headers)
        };
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[b"; ;\t"]), None);
        assert_eq!(read(&[b"a=1;\tb = 2 ;c", b"a=3"]).unwrap(), "a=1; b = 2 ; c; a=3");
        // Unicode white space is part of a name.
        assert_eq!(read(&["s=victim; \u{a0}s=attacker".as_bytes()]).unwrap(), "s=victim; \u{a0}s=attacker");
        assert_eq!(read(&[b"a=\xff%41\xc3\xa4; \xff=1; b=2"]).unwrap(), "a=%FF%41\u{e4}; b=2");
    }
}
