//! Negotiates extensions of the WebSocket protocol: the header `Sec-WebSocket-Extensions` (RFC 6455, section 9.1) and what
//! it says of permessage-deflate (RFC 7692, section 7.1).

use std::num::NonZeroU8;

use hyper::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_EXTENSIONS};

const NAME: &str = "permessage-deflate";
/// The bits of the largest window, which is deflate's own: 15; and of the smallest: 8.
pub(super) const WINDOW_BITS_MAX: NonZeroU8 = NonZeroU8::MIN.saturating_add(14);
const WINDOW_BITS_MIN: NonZeroU8 = NonZeroU8::MIN.saturating_add(7);

/// The terms on which messages of a connection are compressed. Neither side refers to an earlier message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deflate {
    /// The bits of the window from which the client inflates.
    pub(super) window_bits: NonZeroU8,
}

/// A client's header is not what the protocol calls a list of extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// What a client offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Offer {
    /// The client wants messages that are compressed with a window of so many bits.
    server_window_bits: Option<NonZeroU8>,
}

/// Returns the terms of the first acceptable offer, and the response header that says so. A client that offers no
/// compression, or on terms that nobody knows, gets none.
pub fn negotiate(headers: &HeaderMap) -> Result<Option<(Deflate, HeaderValue)>, Malformed> {
    let mut accepted = None;
    for header in headers.get_all(SEC_WEBSOCKET_EXTENSIONS) {
        let text = header.to_str().map_err(|_| Malformed)?;
        for element in split(text, ',')? {
            let element = element.trim();
            if element.is_empty() {
                continue;
            }
            let (name, params) = parse_extension(element)?;
            if name == NAME && accepted.is_none() {
                accepted = acceptable(&params);
            }
        }
    }
    Ok(accepted.map(|offer| {
        let window_bits = offer.server_window_bits.unwrap_or(WINDOW_BITS_MAX);
        (Deflate { window_bits }, response(offer))
    }))
}

fn response(offer: Offer) -> HeaderValue {
    let bits = offer.server_window_bits.map(|bits| format!("; server_max_window_bits={bits}")).unwrap_or_default();
    let text = format!("{NAME}; server_no_context_takeover; client_no_context_takeover{bits}");
    // Only letters, digits and signs.
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(NAME))
}

/// A parameter, and its value if it has one.
type Param<'a> = (&'a str, Option<String>);

/// Reads an offer. One with an unknown parameter, a wrong value or a parameter given twice is declined (RFC 7692, section
/// 7.1).
fn acceptable(params: &[Param<'_>]) -> Option<Offer> {
    let mut offer = Offer { server_window_bits: None };
    for (at, (name, value)) in params.iter().enumerate() {
        if params[..at].iter().any(|(other, _)| other == name) {
            return None;
        }
        match (*name, value) {
            ("server_no_context_takeover" | "client_no_context_takeover" | "client_max_window_bits", None) => {}
            // The client may compress with any window: ours is the largest.
            ("client_max_window_bits", Some(bits)) => {
                window_bits(bits)?;
            }
            ("server_max_window_bits", Some(bits)) => offer.server_window_bits = Some(window_bits(bits)?),
            _ => return None,
        }
    }
    Some(offer)
}

fn window_bits(text: &str) -> Option<NonZeroU8> {
    let bits = text.parse().ok().filter(|bits| (WINDOW_BITS_MIN..=WINDOW_BITS_MAX).contains(bits))?;
    // `parse` also takes `+9` and `09`.
    (bits.to_string() == text).then_some(bits)
}

fn parse_extension(text: &str) -> Result<(&str, Vec<Param<'_>>), Malformed> {
    let parts = split(text, ';')?;
    let (name, params) = parts.split_first().ok_or(Malformed)?;
    let params = params.iter().map(|param| match param.split_once('=') {
        None => Ok((token(param.trim())?, None)),
        Some((name, value)) => Ok((token(name.trim())?, Some(parse_value(value.trim())?))),
    });
    Ok((token(name.trim())?, params.collect::<Result<_, _>>()?))
}

/// Reads a token, or a quoted string that is a token once it is unquoted.
fn parse_value(text: &str) -> Result<String, Malformed> {
    let Some(quoted) = text.strip_prefix('"') else { return token(text).map(str::to_owned) };
    let quoted = quoted.strip_suffix('"').ok_or(Malformed)?;
    let mut value = String::with_capacity(quoted.len());
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        value.push(if character == '\\' { characters.next().ok_or(Malformed)? } else { character });
    }
    token(&value)?;
    Ok(value)
}

fn token(text: &str) -> Result<&str, Malformed> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_token) { Ok(text) } else { Err(Malformed) }
}

/// Splits a text at separators that are not within quotes.
fn split(text: &str, separator: char) -> Result<Vec<&str>, Malformed> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            other if other == separator && !quoted => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    if quoted { Err(Malformed) } else { Ok(parts) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn answer(headers: &[&str]) -> Result<Option<String>, Malformed> {
        let mut map = HeaderMap::new();
        for header in headers {
            map.append(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_str(header).unwrap());
        }
        negotiate(&map).map(|terms| terms.map(|(_, header)| header.to_str().unwrap().to_owned()))
    }

    const PLAIN: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    #[test]
    fn the_first_offer_that_can_be_met_is_accepted() {
        let with_bits = |bits: u8| format!("{PLAIN}; server_max_window_bits={bits}");
        let accepted: [(&[&str], String); 11] = [
            (&["permessage-deflate"], PLAIN.to_owned()),
            (&["permessage-deflate; client_max_window_bits"], PLAIN.to_owned()),
            (&["permessage-deflate; client_max_window_bits=9"], PLAIN.to_owned()),
            (&["permessage-deflate ;server_no_context_takeover; client_no_context_takeover"], PLAIN.to_owned()),
            (&["permessage-deflate; server_max_window_bits=8"], with_bits(8)),
            (&["permessage-deflate; server_max_window_bits=\"1\\0\""], with_bits(10)),
            (&["x-other; a=1, permessage-deflate"], PLAIN.to_owned()),
            (&["x-other", ", permessage-deflate,"], PLAIN.to_owned()),
            (&["permessage-deflate; server_max_window_bits=7, permessage-deflate"], PLAIN.to_owned()),
            (&["permessage-deflate; unknown", "permessage-deflate; server_max_window_bits=12"], with_bits(12)),
            (&["permessage-deflate; server_max_window_bits=9, permessage-deflate"], with_bits(9)),
        ];
        for (headers, expected) in accepted {
            assert_eq!(answer(headers), Ok(Some(expected)), "{headers:?}");
        }
    }

    #[test]
    fn an_offer_on_unknown_terms_is_declined() {
        assert_eq!(answer(&[]), Ok(None));
        let params = [
            "unknown",
            "unknown=1",
            "server_no_context_takeover=1",
            "client_no_context_takeover; client_no_context_takeover",
            "server_max_window_bits",
            "server_max_window_bits=7",
            "server_max_window_bits=16",
            "server_max_window_bits=09",
            "server_max_window_bits=+9",
            "server_max_window_bits=99999999999",
            "server_max_window_bits=9; server_max_window_bits=9",
            "client_max_window_bits=7",
            "client_max_window_bits=x",
            "Client_Max_Window_Bits=9",
        ];
        for param in params {
            assert_eq!(answer(&[&format!("permessage-deflate; {param}")]), Ok(None), "{param}");
        }
        assert_eq!(answer(&["x-webkit-deflate-frame", "permessage-bzip2"]), Ok(None));
    }

    #[test]
    fn a_header_that_is_no_list_of_extensions_is_malformed() {
        let malformed = [
            "permessage-deflate;",
            "permessage-deflate;;client_max_window_bits",
            "permessage-deflate; =9",
            "permessage-deflate; server_max_window_bits=",
            "permessage-deflate; server_max_window_bits=\"9",
            "permessage-deflate; server_max_window_bits=\"\"",
            "permessage-deflate; server_max_window_bits=9\"",
            "permessage deflate",
            "; client_max_window_bits",
            "permessage-deflate, (comment)",
            "permessage-deflate; a=\"\\",
            // A quoted value has to be a token, too.
            "x-other; list=\"a,b;c\", permessage-deflate",
        ];
        for header in malformed {
            assert_eq!(answer(&[header]), Err(Malformed), "{header}");
        }
        let mut map = HeaderMap::new();
        map.append(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_bytes(b"permessage-deflate\xff").unwrap());
        assert!(negotiate(&map).is_err());
    }
}
