//! The cookies that responses have set since a connection's handshake. A login over the socket is valid for the next
//! call.

use std::borrow::Cow;
use std::cell::RefCell;
use std::time::SystemTime;

use cookie::Cookie;

/// The number of cookies that are kept for one connection; further ones are dropped.
const COOKIES_MAX: usize = 32;
/// Bytes of one cookie, name and value. A larger one is not kept.
const COOKIE_BYTES_MAX: usize = 8 * 1024;

/// A connection's own cookies, in the format of a `Cookie` header. A name without `=` is a deleted cookie, even if the
/// handshake brought it. An empty store allocates nothing.
#[derive(Debug, Default)]
pub struct CookieStore(RefCell<Option<Box<str>>>);

impl CookieStore {
    /// Reads the cookies as `name=value; name=value; deleted`.
    pub fn with<R>(&self, read: impl FnOnce(&[u8]) -> R) -> R {
        read(self.0.borrow().as_deref().unwrap_or_default().as_bytes())
    }

    /// Stores `Set-Cookie` values. The newest of a name counts.
    pub fn store(&self, set_cookie: &[String]) {
        if set_cookie.is_empty() {
            return;
        }
        let mut stored = self.0.borrow_mut();
        let old = stored.take().unwrap_or_default();
        let mut cookies: Vec<(&str, Cow<'_, str>)> =
            old.split("; ").filter(|pair| !pair.is_empty()).map(|pair| (name(pair), pair.into())).collect();
        let now = SystemTime::now();
        for cookie in set_cookie.iter().filter_map(|line| Cookie::parse(line.as_str()).ok()) {
            // The parsed cookie borrows from the line, which outlives this loop.
            let (Some(name), Some(value)) = (cookie.name_raw(), cookie.value_raw()) else { continue };
            cookies.retain(|(known, _)| *known != name);
            let fits = name.len() + value.len() <= COOKIE_BYTES_MAX && cookies.len() < COOKIES_MAX;
            if fits {
                let is_gone = has_expired(&cookie, now);
                cookies.push((name, if is_gone { name.into() } else { format!("{name}={value}").into() }));
            }
        }
        let text = cookies.into_iter().map(|(_, pair)| pair).collect::<Vec<_>>().join("; ");
        *stored = (!text.is_empty()).then(|| text.into_boxed_str());
    }
}

fn name(pair: &str) -> &str {
    pair.split_once('=').map_or(pair, |(name, _)| name)
}

/// Applies `Max-Age` or, without it, `Expires`, as browsers do.
fn has_expired(cookie: &Cookie<'_>, now: SystemTime) -> bool {
    match (cookie.max_age(), cookie.expires_datetime()) {
        (Some(age), _) => !age.is_positive(),
        (None, Some(at)) => at <= now,
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(cookies: &CookieStore) -> String {
        cookies.with(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    #[test]
    fn the_newest_cookie_counts_and_deletions_are_remembered() {
        let cookies = CookieStore::default();
        assert_eq!(text(&cookies), "");
        cookies.store(&["session=old; path=/; httponly".to_owned(), "theme=dark=er; Max-Age=60".to_owned()]);
        cookies.store(&["session=new; expires=whenever; Max-Age=7200; path=/".to_owned()]);
        assert_eq!(text(&cookies), "theme=dark=er; session=new");
        cookies.store(&["theme=; Max-Age=0".to_owned(), "nonsense".to_owned(), "=x".to_owned()]);
        assert_eq!(text(&cookies), "session=new; theme");
        cookies.store(&["theme=light".to_owned(), "session=x; Max-Age=-1".to_owned()]);
        assert_eq!(text(&cookies), "theme=light; session");
        cookies.store(&[
            "theme=x; expires=Thu, 01 Jan 1970 00:00:01 GMT".to_owned(),
            "later=1; expires=Fri, 01 Jan 2100 00:00:01 GMT".to_owned(),
        ]);
        assert_eq!(text(&cookies), "session; theme; later=1");
        cookies.store(&["theme=x; expires=Thu, 01 Jan 1970 00:00:01 GMT; Max-Age=5".to_owned()]);
        assert_eq!(text(&cookies), "session; later=1; theme=x");
    }

    #[test]
    fn the_cookie_store_is_bounded() {
        let cookies = CookieStore::default();
        let many: Vec<String> = (0..100).map(|n| format!("c{n}=1")).collect();
        cookies.store(&many);
        cookies.store(&[format!("large={}", "x".repeat(COOKIE_BYTES_MAX))]);
        assert_eq!(text(&cookies).split("; ").count(), COOKIES_MAX);
    }
}
