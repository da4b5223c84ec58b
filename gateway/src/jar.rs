//! The cookies that answers have set since a connection's handshake: a login over the socket holds for its next call.

use std::cell::RefCell;

/// Cookies of one connection; more are not kept.
const COOKIES_MAX: usize = 32;
/// Bytes of one cookie, name and value; a larger one is not kept.
const COOKIE_BYTES_MAX: usize = 8 * 1024;

/// A connection's own cookies, as a `Cookie` header would say them. Empty it takes no room of its own.
#[derive(Debug, Default)]
pub struct Jar(RefCell<Option<Box<str>>>);

impl Jar {
    /// The cookies as `name=value; name=value`.
    pub fn with<R>(&self, read: impl FnOnce(&[u8]) -> R) -> R {
        read(self.0.borrow().as_deref().unwrap_or_default().as_bytes())
    }

    /// Takes `Set-Cookie` values over: the newest of a name counts, and one that has expired goes.
    pub fn keep(&self, set_cookie: &[String]) {
        if set_cookie.is_empty() {
            return;
        }
        let mut jar = self.0.borrow_mut();
        let old = jar.take().unwrap_or_default();
        let mut cookies: Vec<(&str, &str)> = old.split("; ").filter_map(|pair| pair.split_once('=')).collect();
        for line in set_cookie {
            let (pair, attributes) = line.split_once(';').unwrap_or((line, ""));
            let Some((name, value)) = pair.trim().split_once('=') else { continue };
            cookies.retain(|(known, _)| *known != name);
            let fits = name.len() + value.len() <= COOKIE_BYTES_MAX && cookies.len() < COOKIES_MAX;
            if fits && !has_expired(attributes) {
                cookies.push((name, value));
            }
        }
        let text = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        *jar = (!text.is_empty()).then(|| text.into_boxed_str());
    }
}

/// `Max-Age` decides: Laravel always says it.
fn has_expired(attributes: &str) -> bool {
    let mut pairs = attributes.split(';').filter_map(|attribute| attribute.trim().split_once('='));
    let age = pairs.find(|(name, _)| name.eq_ignore_ascii_case("max-age"));
    age.and_then(|(_, seconds)| seconds.parse::<i64>().ok()).is_some_and(|seconds| seconds <= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(jar: &Jar) -> String {
        jar.with(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    #[test]
    fn the_newest_cookie_counts_and_an_expired_one_goes() {
        let jar = Jar::default();
        assert_eq!(text(&jar), "");
        jar.keep(&["session=old; path=/; httponly".to_owned(), "theme=dark=er; Max-Age=60".to_owned()]);
        jar.keep(&["session=new; expires=whenever; Max-Age=7200; path=/".to_owned()]);
        assert_eq!(text(&jar), "theme=dark=er; session=new");
        jar.keep(&["theme=; Max-Age=0".to_owned(), "nonsense".to_owned()]);
        assert_eq!(text(&jar), "session=new");
    }

    #[test]
    fn a_jar_is_bounded() {
        let jar = Jar::default();
        let many: Vec<String> = (0..100).map(|n| format!("c{n}=1")).collect();
        jar.keep(&many);
        jar.keep(&[format!("large={}", "x".repeat(COOKIE_BYTES_MAX))]);
        assert_eq!(text(&jar).split("; ").count(), COOKIES_MAX);
    }
}
