//! The cookies of a call: those of the handshake, and over them those that answers have set since.

/// The name of a line with cookies, among the lines of a client's headers.
const LINE: &str = "cookie: ";

/// Cookies in the order in which they count: of two equal ones the first, as in PHP. Only spaces and tabs before a name
/// are no part of it; a cookie without `=` is empty, and one without a name is none.
pub fn pairs(headers: &str) -> impl Iterator<Item = (&str, &str)> {
    pieces(headers).map(|piece| piece.split_once('=').unwrap_or((piece, "")))
}

fn pieces(headers: &str) -> impl Iterator<Item = &str> {
    let lines = headers.lines().filter_map(|line| line.strip_prefix(LINE));
    let pieces = lines.flat_map(|line| line.split(';')).map(|piece| piece.trim_start_matches([' ', '\t']));
    pieces.filter(|piece| !piece.is_empty() && !piece.starts_with('='))
}

/// All cookies as the value of one `Cookie` header.
pub fn header(headers: &str) -> String {
    pieces(headers).collect::<Vec<_>>().join("; ")
}

/// Puts the cookies that answers have set, `name=value; name`, over those of the handshake: these of the same name go.
/// A name without `=` is a cookie that an answer has deleted.
pub fn put_over(headers: &str, set: &str) -> String {
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
    fn what_answers_have_set_replaces_and_deletes_by_name() {
        let over = |set: &str| put_over("host: x\ncookie: a=1; b=2; a=3\ncookie: c\nuser-agent: y\n", set);
        assert_eq!(over("a=new; d=4"), "host: x\nuser-agent: y\ncookie: a=new; d=4; b=2; c\n");
        assert_eq!(over("a; c"), "host: x\nuser-agent: y\ncookie: b=2\n");
        assert_eq!(put_over("host: x\ncookie: a=1\n", "a"), "host: x\n");
        assert_eq!(put_over("host: x\n", "a=b=c"), "host: x\ncookie: a=b=c\n");
    }
}
