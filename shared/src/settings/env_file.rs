//! `.env` files, read as Laravel reads them: one file serves the application and the cluster, so both have to see the same
//! values in it, and what one accepts the other may not refuse.

use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasher;

/// What is not part of a name or a value at their ends.
const SPACE: [char; 6] = [' ', '\n', '\r', '\t', '\0', '\u{b}'];
/// What Laravel's `env()` takes for no value.
const NO_VALUE: [&str; 4] = ["null", "(null)", "empty", "(empty)"];
/// A mark that some editors put at the beginning of a file.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Why a file cannot be read. It has no value in it, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EnvFileError {
    line: usize,
    name: Option<String>,
    what: &'static str,
}

impl fmt::Display for EnvFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "line {}, {name}: {}", self.line, self.what),
            None => write!(f, "line {}: {}", self.line, self.what),
        }
    }
}

/// The text of a file. What is no UTF-8 in it, in a comment perhaps, becomes a `?`.
pub(super) fn text(bytes: &[u8]) -> String {
    let replaced = |invalid: &[u8]| if invalid.is_empty() { "" } else { "?" };
    bytes.utf8_chunks().flat_map(|chunk| [chunk.valid(), replaced(chunk.invalid())]).collect()
}

/// The values of a file. `environment` has what `${NAME}` in a value stands for, before the file itself.
pub(super) fn parse<S: BuildHasher>(
    text: &str,
    environment: &HashMap<String, String, S>,
) -> Result<HashMap<String, String>, EnvFileError> {
    let mut values = HashMap::new();
    for (line, entry) in entries(text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)) {
        let Some((name, value)) = entry.split_once('=') else {
            name_of(&entry).ok_or(EnvFileError {
                line,
                name: None,
                what: "this is neither NAME=value nor a comment",
            })?;
            continue;
        };
        let name = name_of(name).ok_or(EnvFileError { line, name: None, what: "no name stands before the =" })?;
        let wrong = |what| EnvFileError { line, name: Some(name.clone()), what };
        let value = Value::parse(value.trim_matches(SPACE)).map_err(wrong)?;
        let value = value.resolve(|name| environment.get(name).or_else(|| values.get(name)));
        values.insert(name, value);
    }
    // Only now: `${NAME}` stands for what is written.
    for value in values.values_mut() {
        if let Some(given) = given(value) {
            *value = given.to_owned();
        }
    }
    Ok(values)
}

/// What Laravel's `env()` gives for a value, where that differs from what is written.
fn given(value: &str) -> Option<&str> {
    let is = |word: &str| value.eq_ignore_ascii_case(word);
    if NO_VALUE.into_iter().any(is) {
        return Some("");
    }
    if let Some(word) = ["true", "false"].into_iter().find(|word| is(&format!("({word})"))) {
        return Some(word);
    }
    let within = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote).filter(|text| !text.contains('\n'));
    within('"').or_else(|| within('\''))
}

/// The entries with the numbers of their lines. A value in double quotes may go on over lines.
fn entries(text: &str) -> Vec<(usize, String)> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut entries = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in text.split('\n').enumerate() {
        match &mut open {
            Some((_, entry)) => {
                entry.push('\n');
                entry.push_str(line);
                if quotes(line) >= 1 {
                    entries.extend(open.take());
                }
            }
            None if opens_lines(line) => open = Some((index + 1, line.to_owned())),
            None => {
                let line = line.trim_matches(SPACE);
                if !line.is_empty() && !line.starts_with('#') {
                    entries.push((index + 1, line.to_owned()));
                }
            }
        }
    }
    // One that is still open has no closing quote, which the parser says.
    entries.extend(open);
    entries
}

/// Whether a value begins here that ends on a later line.
fn opens_lines(line: &str) -> bool {
    let Some(start) = line.find("=\"") else { return false };
    !line[..start].contains('#') && quotes(line) <= 1
}

/// Double quotes that no backslash escapes.
fn quotes(line: &str) -> usize {
    let line = line.replace("\\\\", "");
    line.match_indices('"').filter(|(at, _)| !line[..*at].ends_with('\\')).count()
}

/// The name as it is written, without `export` and quotes; `None` where it can be none.
fn name_of(text: &str) -> Option<String> {
    let text = text.trim_matches(SPACE);
    let name = match text.strip_prefix("export") {
        Some(rest) if rest.starts_with(char::is_whitespace) => rest.trim_start(),
        _ => text,
    };
    let quoted = |quote: char| name.strip_prefix(quote)?.strip_suffix(quote);
    let name = quoted('"').or_else(|| quoted('\'')).unwrap_or(name);
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    (!name.is_empty() && name.chars().all(is_name)).then(|| name.to_owned())
}

/// A value before `${NAME}` in it is replaced.
#[derive(Default)]
struct Value {
    text: String,
    /// Where a `$` stands that may begin a name.
    dollars: Vec<usize>,
}

#[derive(Clone, Copy)]
enum State {
    Start,
    Unquoted,
    SingleQuoted,
    DoubleQuoted,
    Escape,
    Space,
    Comment,
}

impl Value {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let mut value = Self::default();
        let mut state = State::Start;
        for c in text.chars() {
            state = value.take(state, c)?;
        }
        match state {
            State::SingleQuoted | State::DoubleQuoted | State::Escape => Err("the quote is not closed"),
            _ => Ok(value),
        }
    }

    fn take(&mut self, state: State, c: char) -> Result<State, &'static str> {
        Ok(match (state, c) {
            (State::Start, '\'') => State::SingleQuoted,
            (State::Start, '"') => State::DoubleQuoted,
            (State::Start | State::Unquoted | State::Space, '#') | (State::Comment, _) => State::Comment,
            (State::Unquoted, c) if c.is_ascii_whitespace() => State::Space,
            (State::Start | State::Unquoted, c) => self.push(c, true, State::Unquoted),
            (State::SingleQuoted, '\'') | (State::DoubleQuoted, '"') => State::Space,
            (State::SingleQuoted, c) => self.push(c, false, State::SingleQuoted),
            (State::DoubleQuoted, '\\') => State::Escape,
            (State::DoubleQuoted, c) => self.push(c, true, State::DoubleQuoted),
            (State::Escape, c) => self.push(escaped(c)?, false, State::DoubleQuoted),
            (State::Space, c) if c.is_ascii_whitespace() => State::Space,
            (State::Space, _) => return Err("a value with spaces has to stand in quotes"),
        })
    }

    fn push(&mut self, c: char, may_begin_name: bool, next: State) -> State {
        if may_begin_name && c == '$' {
            self.dollars.push(self.text.len());
        }
        self.text.push(c);
        next
    }

    /// The text with what names in it stand for. Unknown ones stay as they are.
    fn resolve<'a>(self, known: impl Fn(&str) -> Option<&'a String>) -> String {
        let (mut text, mut done) = (String::new(), 0);
        for dollar in self.dollars {
            let found = self.text[dollar..].strip_prefix("${").and_then(|rest| rest.split_once('}'));
            if let Some((name, rest)) = found
                && dollar >= done
                && let Some(value) = known(name)
            {
                text.push_str(&self.text[done..dollar]);
                text.push_str(value);
                done = self.text.len() - rest.len();
            }
        }
        text.push_str(&self.text[done..]);
        text
    }
}

/// What a backslash and this character stand for in double quotes.
fn escaped(c: char) -> Result<char, &'static str> {
    Ok(match c {
        '"' | '\\' | '$' => c,
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'f' => '\u{c}',
        'v' => '\u{b}',
        _ => return Err("in double quotes, a backslash is written twice; single quotes take it as it is"),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn environment() -> HashMap<String, String> {
        HashMap::from([("HOST".to_owned(), "h".to_owned())])
    }

    /// What Laravel 13 (vlucas/phpdotenv) reads of the same text.
    #[test]
    fn values_are_what_laravel_reads() {
        for (text, expected) in [
            ("A=1", "1"),
            ("A=1\nA=2", "2"),
            ("\u{feff}A=1\r\n", "1"),
            ("A = spaced  ", "spaced"),
            ("export A=1", "1"),
            ("\"A\"='1'", "1"),
            ("A=", ""),
            ("A=x#y", "x"),
            ("A=x #y", "x"),
            ("A='x#y' # z", "x#y"),
            ("A=App\\Models\\User", "App\\Models\\User"),
            ("A=it's", "it's"),
            ("A=\"pa$word\"", "pa$word"),
            ("A=$HOST", "$HOST"),
            ("A=${HOST}:${NOPE}", "h:${NOPE}"),
            ("A='${HOST}'", "${HOST}"),
            ("A=\"\\${HOST}\"", "${HOST}"),
            ("B=1\nA=\"${B}${B}\"", "11"),
            ("A=\"q\\\"q\\\\\"", "q\"q\\"),
            ("A=\"two\\nlines\"", "two\nlines"),
            ("A=\"two\nlines\" # here\nB=1", "two\nlines"),
            ("# A=0\n\n  A=base64:AA==", "base64:AA=="),
            ("A=ü", "ü"),
            ("J\nA=1", "1"),
            ("A=\"x\n\" # here\nB=1", "x\n"),
            ("A=\"x\n\"\nB=\"1\"", "x\n"),
            ("A=null", ""),
            ("A=(Null)", ""),
            ("A=\"EMPTY\" # none", ""),
            ("A=(empty)", ""),
            ("A=nullable", "nullable"),
            ("B=null\nA=x${B}", "xnull"),
            ("B=null\nA=${B}", ""),
            ("A=(TRUE)", "true"),
            ("A=(false)", "false"),
            ("A='\"x\"'", "x"),
            ("A=\"'\"", "'"),
        ] {
            assert_eq!(parse(text, &environment()).unwrap()["A"], expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_utf_8_is_read_as_laravel_reads_it() {
        for (bytes, expected) in [
            (&b"# caf\xe9\nA=1"[..], "1"),
            (b"A=caf\xe9", "caf?"),
            (b"A=\xff\xfe\xe2\x82x", "???x"),
            (b"\xef\xbb\xbfA=\xc3\xbc", "ü"),
        ] {
            assert_eq!(parse(&text(bytes), &environment()).unwrap()["A"], expected, "{bytes:?}");
        }
        let error = parse(&text(b"caf\xe9=1"), &environment()).unwrap_err().to_string();
        assert_eq!(error, "line 1: no name stands before the =");
    }

    #[test]
    fn a_wrong_line_is_told_by_its_number_and_name_and_never_by_its_value() {
        for (text, expected) in [
            ("A=1\nNOT A LINE", "line 2: this is neither NAME=value nor a comment"),
            ("=secret", "line 1: no name stands before the ="),
            ("my secret=1", "line 1: no name stands before the ="),
            ("\n\nA=\"secret\nB=1\n", "line 3, A: the quote is not closed"),
            ("A='secret", "line 1, A: the quote is not closed"),
            ("A=my secret", "line 1, A: a value with spaces has to stand in quotes"),
            ("A=\"\\d\"", "line 1, A: in double quotes, a backslash is written twice; single quotes take it as it is"),
        ] {
            assert_eq!(parse(text, &environment()).unwrap_err().to_string(), expected, "{text}");
        }
    }
}
