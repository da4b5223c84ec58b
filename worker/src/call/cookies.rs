//! The cookies of a call: the handshake's, overridden by those that responses have set since.

/// The start of a line with cookies, among the lines of a client's headers.
const LINE: &str = "cookie: ";

/// Cookies in order of precedence: of two cookies with one name the first counts, as in PHP.
///
/// Only spaces and tabs before a name are trimmed. A cookie without `=` has an empty value; one without a name is
/// ignored.
pub(crate) fn pairs(headers: &str) -> impl Iterator<Item = (&str, &str)> {
    pieces(headers).map(|piece| piece.split_once('=').unwrap_or((piece, "")))
}

fn pieces(headers: &str) -> impl Iterator<Item = &str> {
    let lines = headers.lines().filter_map(|line| line.strip_prefix(LINE));
    let pieces = lines.flat_map(|line| line.split(';')).map(|piece| piece.trim_start_matches([' ', '\t']));
    pieces.filter(|piece| !piece.is_empty() && !piece.starts_with('='))
}

/// All cookies as the value of one `Cookie` header.
pub(crate) fn header(headers: &str) -> String {
    pieces(headers).collect::<Vec<_>>().join("; ")
}

/// Replaces cookies of the handshake by those that responses have set (`name=value; name`).
///
/// A name without `=` is a cookie that a response has deleted.
pub(crate) fn override_with(headers: &str, set: &str) -> String {
    let set: Vec<&str> = set.split("; ").filter(|piece| !piece.is_empty()).collect();
    let is_set = |piece: &str| set.iter().any(|other| name(other) == name(piece));
    let new = set.iter().copied().filter(|piece| piece.contains('='));
    let old = pieces(headers).filter(|piece| !is_set(piece));
    let cookies = new.chain(old).collect::<Vec<_>>().join("; ");
    let mut lines: String =
        headers.lines().filter(|line| !line.starts_with(LINE)).flat_map(|line| [line, "\n"]).collect();
    if !cookies.is_empty() {
        lines.extend([LINE, &cookies, "\n"]);
    }
    lines
}

fn name(piece: &str) -> &str {
    piece.split_once('=').map_or(piece, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_two_equal_cookies_counts_and_only_blanks_are_trimmed() {
        let headers = "host: x\ncookie: a=1; \tb = 2 ;c;;=x; a=3\ncookie: \u{a0}a=4\n";
        let expected = [("a", "1"), ("b ", " 2 "), ("c", ""), ("a", "3"), ("\u{a0}a", "4")];
        assert_eq!(pairs(headers).collect::<Vec<_>>(), expected);
        assert_eq!(header(headers), "a=1; b = 2 ; c; a=3; \u{a0}a=4");
    }

    #[test]
    fn what_responses_have_set_replaces_and_deletes_by_name() {
        let over = |set: &str| override_with("host: x\ncookie: a=1; b=2; a=3\ncookie: c\nuser-agent: y\n", set);
        assert_eq!(over("a=new; d=4"), "host: x\nuser-agent: y\ncookie: a=new; d=4; b=2; c\n");
        assert_eq!(over("a; c"), "host: x\nuser-agent: y\ncookie: b=2\n");
        assert_eq!(override_with("host: x\ncookie: a=1\n", "a"), "host: x\n");
        assert_eq!(override_with("host: x\n", "a=b=c"), "host: x\ncookie: a=b=c\n");
    }
}
