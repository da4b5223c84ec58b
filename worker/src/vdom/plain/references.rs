//! Character references of plain HTML: those that every parser reads alike, with their semicolon.

use std::borrow::Cow;

use html5ever::data::NAMED_ENTITIES;

/// Longer names and numbers are not plain. The longest name that HTML knows has 31 letters.
const NAME_BYTES_MAX: usize = 32;
const DIGITS_MAX: usize = 7;

/// Where a text stands, which decides what `&a=b` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Text,
    AttributeValue,
}

/// The text that HTML stands for; `None` when it has a reference that is not plain.
pub(super) fn decode(html: &str, place: Place) -> Option<Cow<'_, str>> {
    let Some(first) = memchr::memchr(b'&', html.as_bytes()) else { return Some(Cow::Borrowed(html)) };
    let mut text = String::with_capacity(html.len());
    text.push_str(&html[..first]);
    let mut rest = &html[first + 1..];
    loop {
        let used = reference(rest, place, &mut text)?;
        rest = &rest[used..];
        let Some(next) = memchr::memchr(b'&', rest.as_bytes()) else { break };
        text.push_str(&rest[..next]);
        rest = &rest[next + 1..];
    }
    text.push_str(rest);
    Some(Cow::Owned(text))
}

/// Appends what the reference stands for that begins behind its `&`, and returns the length of the rest of it.
fn reference(after: &str, place: Place, text: &mut String) -> Option<usize> {
    match after.as_bytes().first() {
        Some(b'#') => return number(&after[1..], text).map(|used| used + 1),
        Some(first) if first.is_ascii_alphanumeric() => {}
        _ => {
            text.push('&');
            return Some(0);
        }
    }
    let name_bytes = after.bytes().take(NAME_BYTES_MAX).take_while(u8::is_ascii_alphanumeric).count();
    if after.as_bytes().get(name_bytes) != Some(&b';') {
        text.push('&');
        return is_literal(after, name_bytes, place).then_some(0);
    }
    match &after[..name_bytes] {
        "amp" => text.push('&'),
        "lt" => text.push('<'),
        "gt" => text.push('>'),
        "quot" => text.push('"'),
        _ => {
            let (first, second) = named(&after[..=name_bytes])?;
            text.push(first);
            text.extend(second);
        }
    }
    Some(name_bytes + 1)
}

/// Whether an `&` before a name without a semicolon means itself, as in `AT&T` or a query string.
fn is_literal(after: &str, name_bytes: usize, place: Place) -> bool {
    // The oldest names need no semicolon. In a text, other letters may follow them.
    let is_old = |bytes: usize| named(&after[..bytes]).is_some();
    match (after.as_bytes().get(name_bytes), place) {
        (Some(b'='), Place::AttributeValue) => true,
        (Some(next), _) if next.is_ascii_alphanumeric() => false,
        (_, Place::AttributeValue) => !is_old(name_bytes),
        (_, Place::Text) => !(1..=name_bytes).any(is_old),
    }
}

/// The characters of a name.
fn named(name: &str) -> Option<(char, Option<char>)> {
    let (first, second) = *NAMED_ENTITIES.get(name)?;
    let character = |code: u32| char::from_u32(code).filter(|c| *c != '\0');
    // Beginnings of names are in the table, too: they stand for nothing.
    Some((character(first)?, character(second)))
}

/// The same for a number, behind `&#`.
fn number(after: &str, text: &mut String) -> Option<usize> {
    let (radix, prefix) = if after.starts_with(['x', 'X']) { (16, 1) } else { (10, 0) };
    let is_digit = |byte: &u8| char::from(*byte).is_digit(radix);
    let digits = after[prefix..].bytes().take(DIGITS_MAX).take_while(is_digit).count();
    let end = prefix + digits;
    if after.as_bytes().get(end) != Some(&b';') {
        return None;
    }
    let c = char::from_u32(u32::from_str_radix(&after[prefix..end], radix).ok()?)?;
    // Other control characters and those that Unicode reserves are errors.
    let is_harmless = matches!(c, '\t' | '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fdcf}' | '\u{fdf0}'..='\u{fffd}' | '\u{10000}'..='\u{1fffd}');
    is_harmless.then(|| {
        text.push(c);
        end + 1
    })
}
