//! JSON as PHP prints it, and keys in the order in which PHP 8's `ksort` puts them.

use std::cmp::Ordering;
use std::fmt::Write as _;

use serde_json::Number;

use super::json_tree::{JsonTree, Shape};
use super::php_number::{Numeric, format_float, format_returned_float, format_unsigned, integer_key, numeric};
use super::php_sort;

/// What happens to empty strings: Laravel turns those of a request into null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmptyStrings {
    /// They stay.
    Keep,
    /// They count as null, except inside a paginator.
    AsNull,
}

/// How numbers print that a browser prints in another way than PHP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// As PHP prints them.
    AsMade,
    /// As PHP prints them once JavaScript has read and printed them: -0 as 0, a float from 1e17 on as an integer, keys
    /// that are numbers in JavaScript's order.
    AsReturned,
}

/// How PHP escapes a string.
#[derive(Clone, Copy)]
pub(super) enum Escaping {
    /// `JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE`.
    Readable,
    /// The defaults: slashes and everything beyond ASCII escaped.
    Default,
}

/// The canonical form that is signed.
pub fn canonical_json<T: JsonTree>(state: &T, empty_strings: EmptyStrings, numbers: Numbers) -> String {
    let mut out = String::with_capacity(256);
    Printer { escaping: Escaping::Readable, sorted: true, empty_strings, numbers }.value(&mut out, state);
    out
}

/// `json_encode(state)` with PHP's defaults: what the fingerprint is made of.
pub(super) fn php_json<T: JsonTree>(state: &T) -> String {
    let mut out = String::with_capacity(256);
    let (empty_strings, numbers) = (EmptyStrings::Keep, Numbers::AsMade);
    Printer { escaping: Escaping::Default, sorted: false, empty_strings, numbers }.value(&mut out, state);
    out
}

#[derive(Clone, Copy)]
struct Printer {
    escaping: Escaping,
    sorted: bool,
    empty_strings: EmptyStrings,
    numbers: Numbers,
}

/// The members of an object that are to be printed.
type Members<'a, T> = std::vec::IntoIter<(&'a str, &'a T)>;

/// A list or object that is being printed.
struct Open<'a, T> {
    printer: Printer,
    items: Items<'a, T>,
    is_first: bool,
}

enum Items<'a, T> {
    List(std::slice::Iter<'a, T>),
    /// An object whose keys are those of a list.
    Values(Members<'a, T>),
    Members {
        entries: Members<'a, T>,
        is_paginator: bool,
    },
}

impl<'a, T: JsonTree> Open<'a, T> {
    fn new(printer: Printer, items: Items<'a, T>) -> Self {
        Self { printer, items, is_first: true }
    }

    /// Prints what is before the next value, and returns that one.
    fn next(&mut self, out: &mut String) -> Option<(Printer, &'a T)> {
        let (key, value) = match &mut self.items {
            Items::List(items) => (None, items.next()?),
            Items::Values(entries) => (None, entries.next()?.1),
            Items::Members { entries, .. } => entries.next().map(|(key, value)| (Some(key), value))?,
        };
        if !std::mem::take(&mut self.is_first) {
            out.push(',');
        }
        let Some(key) = key else { return Some((self.printer, value)) };
        print_string(out, key, self.printer.escaping);
        out.push(':');
        let is_paginator = matches!(self.items, Items::Members { is_paginator: true, .. });
        let keeps_order = is_paginator && key == "items" && forms_list(value);
        let printer = if keeps_order { Printer { sorted: false, ..self.printer } } else { self.printer };
        Some((printer, value))
    }

    fn end(&self) -> char {
        if matches!(self.items, Items::Members { .. }) { '}' } else { ']' }
    }
}

impl Printer {
    /// Prints a value without recursion: clients choose how deep their states nest.
    fn value<T: JsonTree>(self, out: &mut String, value: &T) {
        let mut open: Vec<Open<'_, T>> = Vec::new();
        let mut next = Some((self, value));
        loop {
            if let Some((printer, value)) = next {
                open.extend(printer.begin(out, value));
            }
            let Some(container) = open.last_mut() else { return };
            next = container.next(out);
            if next.is_none() {
                out.push(container.end());
                open.pop();
            }
        }
    }

    /// Prints a scalar, or the beginning of a list or object.
    fn begin<'a, T: JsonTree>(self, out: &mut String, value: &'a T) -> Option<Open<'a, T>> {
        match value.shape() {
            Shape::Null => out.push_str("null"),
            Shape::Bool(flag) => out.push_str(if flag { "true" } else { "false" }),
            Shape::Number(number) => print_number(out, number, self.numbers),
            Shape::Text("") if self.empty_strings == EmptyStrings::AsNull => out.push_str("null"),
            Shape::Text(text) => print_string(out, text, self.escaping),
            Shape::List(items) => {
                out.push('[');
                return Some(Open::new(self, Items::List(items.iter())));
            }
            Shape::Object(members) if members.len() == 0 => out.push_str("[]"),
            Shape::Object(members) => return Some(self.begin_object(out, members.collect())),
        }
        None
    }

    fn begin_object<'a, T: JsonTree>(self, out: &mut String, mut members: Vec<(&'a str, &'a T)>) -> Open<'a, T> {
        let is_paginator =
            self.sorted && members.iter().any(|(name, value)| *name == "__paginator" && value.is_bool(true));
        let printer = if is_paginator { Self { empty_strings: EmptyStrings::Keep, ..self } } else { self };
        if members.iter().all(|(name, _)| is_word(name)) {
            if self.sorted && !members.is_sorted_by_key(|(name, _)| *name) {
                members.sort_unstable_by_key(|(name, _)| *name);
            }
            out.push('{');
            return Open::new(printer, Items::Members { entries: members.into_iter(), is_paginator });
        }
        let mut entries: Vec<(Key<'_>, &T)> = members.into_iter().map(|(key, value)| (Key::new(key), value)).collect();
        if self.numbers == Numbers::AsReturned {
            order_as_javascript(&mut entries);
        }
        if self.sorted {
            ksort(&mut entries);
        }
        let is_list = is_list(entries.iter().map(|(key, _)| key));
        out.push(if is_list { '[' } else { '{' });
        let entries: Members<'a, T> =
            entries.into_iter().map(|(key, value)| (key.text, value)).collect::<Vec<_>>().into_iter();
        Open::new(printer, if is_list { Items::Values(entries) } else { Items::Members { entries, is_paginator } })
    }
}

/// Whether a key is neither an integer nor a numeric string: such keys are ordered by their bytes.
fn is_word(key: &str) -> bool {
    key.bytes().next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
}

/// Whether PHP holds this value as a list: a JSON array, or an object with keys 0..n-1 in order.
fn forms_list<T: JsonTree>(value: &T) -> bool {
    match value.shape() {
        Shape::List(_) => true,
        Shape::Object(members) => is_list(members.map(|(key, _)| Key::new(key)).collect::<Vec<_>>().iter()),
        _ => false,
    }
}

fn is_list<'a, 'k: 'a>(keys: impl Iterator<Item = &'a Key<'k>>) -> bool {
    keys.enumerate().all(|(index, key)| key.integer == i64::try_from(index).ok())
}

/// An array key as PHP holds it.
struct Key<'a> {
    text: &'a str,
    integer: Option<i64>,
    /// Its place before the sort, which decides between equal keys.
    place: usize,
}

impl<'a> Key<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, integer: integer_key(text), place: 0 }
    }

    /// PHP 8's comparison of two keys. Not transitive over numeric and other strings mixed.
    fn compare(&self, other: &Self) -> Ordering {
        match (self.integer, other.integer) {
            (Some(a), Some(b)) => a.cmp(&b),
            (Some(a), None) => compare_integer(a, self.text, other.text),
            (None, Some(b)) => compare_integer(b, other.text, self.text).reverse(),
            (None, None) => compare_strings(self.text, other.text),
        }
    }
}

fn compare_integer(integer: i64, as_text: &str, text: &str) -> Ordering {
    match numeric(text) {
        Some(Numeric::Int(value)) => integer.cmp(&value),
        Some(Numeric::Float { value, .. }) => (integer as f64).partial_cmp(&value).unwrap_or(Ordering::Equal),
        None => as_text.as_bytes().cmp(text.as_bytes()),
    }
}

fn compare_strings(a: &str, b: &str) -> Ordering {
    let by_bytes = || a.as_bytes().cmp(b.as_bytes());
    let (Some(x), Some(y)) = (numeric(a), numeric(b)) else { return by_bytes() };
    match (x, y) {
        (Numeric::Int(x), Numeric::Int(y)) => x.cmp(&y),
        (Numeric::Float { overflow, .. }, Numeric::Int(_)) if overflow != 0 => overflow.cmp(&0),
        (Numeric::Int(_), Numeric::Float { overflow, .. }) if overflow != 0 => 0.cmp(&overflow),
        (Numeric::Float { overflow: x, .. }, Numeric::Float { overflow: y, .. }) if x != 0 && x == y => by_bytes(),
        (x, y) => {
            let float = |side| match side {
                Numeric::Int(value) => value as f64,
                Numeric::Float { value, .. } => value,
            };
            let (x, y) = (float(x), float(y));
            // PHP compares so, too: two infinities are equal, and only they.
            #[allow(clippy::float_cmp)]
            if x == y && x.is_infinite() { by_bytes() } else { x.partial_cmp(&y).unwrap_or(Ordering::Equal) }
        }
    }
}

/// Keys that JavaScript takes for indexes come first, the smallest first. PHP's sort depends on the order before it where
/// keys are equal to each other, as 10 and "1e1" are.
fn order_as_javascript<T>(entries: &mut [(Key<'_>, &T)]) {
    const INDEX_MAX: i64 = u32::MAX as i64 - 1;
    let index = |key: &Key<'_>| key.integer.filter(|integer| (0..=INDEX_MAX).contains(integer)).unwrap_or(i64::MAX);
    if !entries.is_sorted_by_key(|(key, _)| index(key)) {
        entries.sort_by_key(|(key, _)| index(key));
    }
}

/// A stable sort by PHP's comparison: as PHP's own up to the number that it sorts by insertion (its order decides what
/// comes out when the comparison is not transitive); above, by integer keys and text first. The standard library's sort may
/// panic on such a comparison, so a merge of our own.
fn ksort<T>(entries: &mut Vec<(Key<'_>, &T)>) {
    if entries.len() <= php_sort::FEW_MAX {
        for (place, (key, _)) in entries.iter_mut().enumerate() {
            key.place = place;
        }
        php_sort::sort_few(entries, |(a, _), (b, _)| a.compare(b).then(a.place.cmp(&b.place)) == Ordering::Greater);
        return;
    }
    let mut right = entries.split_off(entries.len() / 2);
    ksort(entries);
    ksort(&mut right);
    let left = std::mem::take(entries);
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        let smaller = if a.0.compare(&b.0) == Ordering::Greater { &mut right } else { &mut left };
        entries.extend(smaller.next());
    }
    entries.extend(left);
    entries.extend(right);
}

pub(super) fn print_number(out: &mut String, number: &Number, numbers: Numbers) {
    if let Some(integer) = number.as_i64() {
        // Writing into a String cannot fail.
        let _ = write!(out, "{integer}");
        return;
    }
    let float = number.as_f64().unwrap_or(0.0);
    out.push_str(&match (numbers, number.as_u64()) {
        (Numbers::AsMade, _) => format_float(float),
        (Numbers::AsReturned, Some(integer)) => format_unsigned(integer),
        (Numbers::AsReturned, None) => format_returned_float(float),
    });
}

pub(super) fn print_string(out: &mut String, text: &str, escaping: Escaping) {
    let mask = match escaping {
        Escaping::Readable => ESCAPED_IF_READABLE,
        Escaping::Default => ESCAPED_BY_DEFAULT,
    };
    out.push('"');
    // Most text needs no escaping: it is copied in runs.
    let (mut rest, mut from) = (text, 0);
    while let Some(at) = rest.as_bytes()[from..].iter().position(|byte| BYTES[usize::from(*byte)] & mask != 0) {
        let at = from + at;
        let Some(c) = rest[at..].chars().next() else { break };
        from = at + c.len_utf8();
        if mask == ESCAPED_IF_READABLE && !c.is_ascii() && !matches!(c, '\u{2028}' | '\u{2029}') {
            continue;
        }
        out.push_str(&rest[..at]);
        (rest, from) = (&rest[from..], 0);
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '/' => out.push_str("\\/"),
            c => escape_unicode(out, c),
        }
    }
    out.push_str(rest);
    out.push('"');
}

/// The first byte of a character that is escaped.
const ESCAPED_BY_DEFAULT: u8 = 1;
/// The first byte of a character that may be escaped in the readable form: of all above ASCII, two line separators are.
const ESCAPED_IF_READABLE: u8 = 2;
/// The first byte of the line separators, as of many other characters.
const SEPARATOR: u8 = 0xe2;

static BYTES: [u8; 256] = {
    let mut bytes = [0; 256];
    let mut byte = 0;
    while byte < bytes.len() {
        bytes[byte] = match byte as u8 {
            0..0x20 | b'"' | b'\\' | SEPARATOR => ESCAPED_BY_DEFAULT | ESCAPED_IF_READABLE,
            b'/' | 0x80.. => ESCAPED_BY_DEFAULT,
            _ => 0,
        };
        byte += 1;
    }
    bytes
};

fn escape_unicode(out: &mut String, c: char) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        let _ = write!(out, "\\u{unit:04x}");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::json_tree::BorrowedJson;
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    #[test]
    fn the_fingerprint_form_escapes_what_php_escapes() {
        let value = Value::String("a/é\u{1F600}\u{7f}\u{2028}<>&'\"".to_owned());
        assert_eq!(php_json(&value), "\"a\\/\\u00e9\\ud83d\\ude00\u{7f}\\u2028<>&'\\\"\"");
    }

    /// What PHP 8.4 makes of keys whose comparison is not transitive.
    #[test]
    fn keys_without_a_total_order_come_out_as_from_php() {
        let cases: [(&[&str], &[&str]); 6] = [
            (&["2", "0a", "02"], &["02", "0a", "2"]),
            (&["5", "2a", "200"], &["200", "2a", "5"]),
            (&[" 25", "5 ", " 3a", "1"], &[" 3a", "1", "5 ", " 25"]),
            (&[" 14", "-54", "--", "5", "45"], &["--", "-54", "5", " 14", "45"]),
            (
                &["3-", "-05", "3", "a0e", "-ae", "a", "1e", "043", "-e5"],
                &["-05", "-ae", "-e5", "043", "1e", "3", "3-", "a", "a0e"],
            ),
            (
                &["4", "4a0", "1", "e12", "- ", "45 ", "2 ", "3", "5", "0", "-e", "401", "-a", "104", "141", "e0"],
                &["- ", "-a", "-e", "0", "1", "2 ", "3", "4", "5", "45 ", "104", "141", "401", "4a0", "e0", "e12"],
            ),
        ];
        for (keys, expected) in cases {
            let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
            assert_eq!(sorted(&keys), expected);
        }
    }

    #[test]
    fn sorting_many_keys_is_stable_and_never_panics() {
        let map: Map<String, Value> = (0..200)
            .map(|i| (["10", "1e1", "abc", "9a", " 7", "-1", ""][i % 7].to_owned() + &"x".repeat(i / 7 % 3), i))
            .map(|(key, i)| (format!("{key}{}", i / 21), Value::from(i)))
            .collect();
        let sorted = canonical_json(&Value::Object(map.clone()), EmptyStrings::Keep, Numbers::AsReturned);
        let again: Value = serde_json::from_str(&sorted).unwrap();
        assert_eq!(again.as_object().unwrap().len(), map.len());
    }

    /// Any JSON value; keys are words or decimal integers, which PHP orders totally each among themselves.
    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_filter("JSON has no others", |float| float.is_finite()).prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            let words = proptest::collection::vec(("[a-zA-Z_ü]{0,4}", inner.clone()), 0..20);
            let numbers = proptest::collection::vec((0..20u8, inner.clone()), 0..6);
            prop_oneof![
                proptest::collection::vec(inner, 0..6).prop_map(Value::from),
                words.prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
                numbers.prop_map(|pairs| Value::Object(pairs.into_iter().map(|(n, v)| (n.to_string(), v)).collect())),
            ]
        })
    }

    fn sorted(keys: &[String]) -> Vec<&str> {
        let null = Value::Null;
        let mut entries: Vec<(Key<'_>, &Value)> = keys.iter().map(|key| (Key::new(key), &null)).collect();
        ksort(&mut entries);
        entries.into_iter().map(|(key, _)| key.text).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn keys_without_digits_are_totally_ordered(a in "[^0-9]{0,4}", b in "[^0-9]{0,4}", c in "[^0-9]{0,4}") {
            let (x, y, z) = (Key::new(&a), Key::new(&b), Key::new(&c));
            prop_assert_eq!(x.compare(&y), y.compare(&x).reverse());
            prop_assert_eq!(x.compare(&y) == Ordering::Equal, a == b);
            if x.compare(&y) != Ordering::Greater && y.compare(&z) != Ordering::Greater {
                prop_assert_ne!(x.compare(&z), Ordering::Greater);
            }
        }

        #[test]
        fn sorting_is_idempotent_and_does_not_care_for_the_order_before(
            (keys, shuffled) in proptest::collection::hash_set("[^0-9]{0,4}", 0..40)
                .prop_map(|keys| keys.into_iter().collect::<Vec<_>>())
                .prop_flat_map(|keys| (Just(keys.clone()), Just(keys).prop_shuffle()))
        ) {
            let once: Vec<String> = sorted(&keys).into_iter().map(str::to_owned).collect();
            prop_assert_eq!(sorted(&once), once.clone());
            prop_assert_eq!(sorted(&shuffled), once);
        }

        #[test]
        fn words_come_out_as_from_phps_sort(keys in proptest::collection::hash_set("[a-zA-Z_].{0,6}", 1..20)) {
            let keys: Vec<String> = keys.into_iter().collect();
            let object: Value = keys.iter().map(|key| (key.clone(), Value::Null)).collect::<Map<_, _>>().into();
            let printed = canonical_json(&object, EmptyStrings::Keep, Numbers::AsReturned);
            let printed: Map<String, Value> = serde_json::from_str(&printed).unwrap();
            prop_assert_eq!(printed.keys().map(String::as_str).collect::<Vec<_>>(), sorted(&keys));
        }

        #[test]
        fn what_is_borrowed_prints_as_what_is_owned(value in value()) {
            let text = value.to_string();
            let borrowed: BorrowedJson<'_> = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(php_json(&borrowed), php_json(&value));
            for empty_strings in [EmptyStrings::Keep, EmptyStrings::AsNull] {
                for numbers in [Numbers::AsMade, Numbers::AsReturned] {
                    let owned = canonical_json(&value, empty_strings, numbers);
                    prop_assert_eq!(canonical_json(&borrowed, empty_strings, numbers), owned);
                }
            }
        }

        #[test]
        fn texts_print_as_serde_json_prints_them_but_for_the_line_separators(text in "[\\PC\u{0}-\u{7f}âé\u{2027}-\u{202a}😀]{0,12}") {
            let mut printed = String::new();
            print_string(&mut printed, &text, Escaping::Readable);
            let expected = Value::from(text.as_str()).to_string();
            prop_assert_eq!(printed, expected.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029"));
            let mut escaped = String::new();
            print_string(&mut escaped, &text, Escaping::Default);
            prop_assert!(escaped.is_ascii() && !escaped.replace("\\/", "").contains('/'));
            prop_assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), text);
        }

        #[test]
        fn the_canonical_form_survives_a_round_trip(value in value()) {
            for empty_strings in [EmptyStrings::Keep, EmptyStrings::AsNull] {
                for numbers in [Numbers::AsMade, Numbers::AsReturned] {
                    let text = canonical_json(&value, empty_strings, numbers);
                    let again: Value = serde_json::from_str(&text).unwrap();
                    prop_assert_eq!(canonical_json(&again, empty_strings, numbers), text);
                }
            }
        }
    }
}
