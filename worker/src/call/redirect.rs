//! Where a redirect may send a page: to http and https addresses, and to paths.

use thiserror::Error;

/// The redirect's address has a scheme that pages must not follow.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("a redirect was not sent: pages go to http and https addresses and to paths only (scheme {scheme})")]
pub(crate) struct RedirectError {
    /// The scheme, by one of [`NAMED`]: the address may be a user's, so its own text stays out of logs.
    scheme: &'static str,
}

/// Schemes that error messages name.
const NAMED: [&str; 7] = ["about", "blob", "data", "file", "filesystem", "javascript", "vbscript"];

/// Refuses an address whose scheme, as browsers read it, is neither http nor https.
///
/// An address without a scheme is a path of the page's own site or, after two slashes, another host.
pub(crate) fn check(url: &str) -> Result<(), RedirectError> {
    match scheme(url) {
        None => Ok(()),
        Some(scheme) if scheme == "http" || scheme == "https" => Ok(()),
        Some(scheme) => {
            let named = NAMED.into_iter().find(|named| *named == scheme);
            Err(RedirectError { scheme: named.unwrap_or("unknown") })
        }
    }
}

/// The scheme in lower case, by the URL standard: leading control characters and spaces are skipped, and so are tabs
/// and line breaks anywhere.
fn scheme(url: &str) -> Option<String> {
    let url = url.trim_start_matches(|c: char| c <= ' ');
    let mut scheme = String::new();
    for c in url.chars().filter(|c| !matches!(c, '\t' | '\n' | '\r')) {
        match c {
            ':' => return (!scheme.is_empty()).then_some(scheme),
            c if c.is_ascii_alphabetic() => scheme.push(c.to_ascii_lowercase()),
            c if !scheme.is_empty() && (c.is_ascii_digit() || "+-.".contains(c)) => scheme.push(c),
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn only_http_addresses_and_paths_are_followed() {
        let table: Value = serde_json::from_str(include_str!("../../../tests/data/redirects.json")).unwrap();
        for row in table.as_array().unwrap() {
            let (url, followed) = (row[0].as_str().unwrap(), row[1].as_bool().unwrap());
            assert_eq!(check(url).is_ok(), followed, "{url:?}");
        }
    }

    #[test]
    fn an_error_names_no_text_of_the_address() {
        let text = check("secret-thing:x").unwrap_err().to_string();
        assert!(text.contains("unknown") && !text.contains("secret"), "{text}");
    }
}
