//! Numbers as PHP reads and prints them: numeric strings, integer-like keys, shortest floats.

/// A string as PHP's comparison sees it when it looks like a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Numeric {
    Int(i64),
    /// `overflow` is -1 or 1 for an integer literal beyond 64 bits, else 0.
    Float {
        value: f64,
        overflow: i8,
    },
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// PHP 8's numeric strings: white space on both ends, a sign, digits with one point, an exponent.
pub(super) fn numeric(text: &str) -> Option<Numeric> {
    let bytes = text.as_bytes();
    let start = bytes.iter().position(|b| !is_space(*b))?;
    let end = bytes.iter().rposition(|b| !is_space(*b))? + 1;
    let body = &text[start..end];
    let unsigned = body.strip_prefix(['+', '-']).unwrap_or(body);
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    if let Some(exponent) = exponent {
        let bare = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        if bare.is_empty() || !digits(bare) {
            return None;
        }
    }
    let is_integer = if let Some((whole, fraction)) = mantissa.split_once('.') {
        if !digits(whole) || !digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
            return None;
        }
        false
    } else {
        if mantissa.is_empty() || !digits(mantissa) {
            return None;
        }
        exponent.is_none()
    };
    if is_integer {
        if let Ok(value) = body.strip_prefix('+').unwrap_or(body).parse() {
            return Some(Numeric::Int(value));
        }
        let value: f64 = body.parse().ok()?;
        return Some(Numeric::Float { value, overflow: if body.starts_with('-') { -1 } else { 1 } });
    }
    Some(Numeric::Float { value: body.parse().ok()?, overflow: 0 })
}

/// The integer that PHP turns an array key into, if it does: canonical decimal within 64 bits.
pub(super) fn integer_key(key: &str) -> Option<i64> {
    let digits = key.strip_prefix('-').unwrap_or(key);
    let canonical = match digits.as_bytes() {
        [b'0'] => !key.starts_with('-'),
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if canonical { key.parse().ok() } else { None }
}

/// A float as `json_encode` prints it with `serialize_precision=-1`: the shortest digits that round-trip.
pub fn format_float(value: f64) -> String {
    if value == 0.0 {
        return if value.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    let (digits, exponent) = shortest(value.abs());
    let sign = if value < 0.0 { "-" } else { "" };
    let count = digits.len() as i32;
    // Fixed notation from 1e-4 up to 17 digits before the point, checked against PHP 8.2.
    if !(-4..17).contains(&exponent) {
        let rest = if count > 1 { &digits[1..] } else { "0" };
        return format!("{sign}{}.{rest}e{exponent:+}", &digits[..1]);
    }
    if exponent < 0 {
        return format!("{sign}0.{}{digits}", "0".repeat((-exponent - 1) as usize));
    }
    if count <= exponent + 1 {
        return format!("{sign}{digits}{}", "0".repeat((exponent + 1 - count) as usize));
    }
    let (whole, fraction) = digits.split_at((exponent + 1) as usize);
    format!("{sign}{whole}.{fraction}")
}

/// A float as PHP prints it once a browser has read and printed it: JavaScript has no -0 in JSON, and prints floats below
/// 1e21 without an exponent, so that those that fit into 64 bits come back as integers.
pub(super) fn format_returned_float(value: f64) -> String {
    const PHP_EXPONENT_FROM: f64 = 1e17;
    const INTEGERS_BELOW: f64 = 9_223_372_036_854_775_808.0; // 2^63
    if value == 0.0 {
        return "0".to_owned();
    }
    if !(PHP_EXPONENT_FROM..INTEGERS_BELOW).contains(&value.abs()) {
        return format_float(value);
    }
    let sign = if value < 0.0 { "-" } else { "" };
    format!("{sign}{}", without_exponent(value.abs()))
}

/// An integer beyond PHP's 64 bits, which PHP holds as a float. One that is not what a browser makes of that float is no
/// float that came back: it keeps its digits, so that a signature over one such integer does not cover its neighbours.
pub(super) fn format_unsigned(value: u64) -> String {
    if javascript_keeps(value) { format_float(value as f64) } else { value.to_string() }
}

/// Whether JavaScript prints this integer as it read it.
pub fn javascript_keeps(size: u64) -> bool {
    const ALL_UP_TO: u64 = (1 << 53) - 1;
    size <= ALL_UP_TO || without_exponent(size as f64) == size.to_string()
}

/// An integer beyond 2^53, below 1e21, as JavaScript prints it.
fn without_exponent(value: f64) -> String {
    let (digits, exponent) = shortest(value);
    let zeros = (exponent + 1) as usize - digits.len();
    digits + &"0".repeat(zeros)
}

/// The shortest digits that round-trip, without zeros at either end, and the power of ten of the first.
///
/// Of two that are equally near, PHP takes the even one, as serde_json does; `format!` takes the larger.
fn shortest(value: f64) -> (String, i32) {
    let printed = serde_json::Number::from_f64(value).map(|number| number.to_string()).unwrap_or_default();
    let (mantissa, exponent) = printed.split_once('e').unwrap_or((&printed, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let leading = all.len() - all.trim_start_matches('0').len();
    let exponent = exponent.parse::<i32>().unwrap_or(0) + whole.len() as i32 - 1 - leading as i32;
    (all.trim_matches('0').to_owned(), exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_in_php() {
        let expected = [
            (1e14, "100000000000000"),
            (1e16, "10000000000000000"),
            (1e17, "1.0e+17"),
            (123_456_789_012_345_678.0, "1.2345678901234568e+17"),
            (0.0001, "0.0001"),
            (0.000_01, "1.0e-5"),
            (0.000_123_45, "0.00012345"),
            (1.5e-7, "1.5e-7"),
            (1.5e300, "1.5e+300"),
            (9_007_199_254_740_993.0, "9007199254740992"),
            (-0.0, "-0"),
            (5e-324, "5.0e-324"),
            (0.1 + 0.2, "0.30000000000000004"),
            (-608_457_828_713_223.0 - 0.25, "-608457828713223.2"),
            (12.5, "12.5"),
            (-100.25, "-100.25"),
            (1.0, "1"),
        ];
        for (value, text) in expected {
            assert_eq!(format_float(value), text);
        }
    }

    #[test]
    fn floats_come_back_from_a_browser_as_javascript_prints_them() {
        let expected = [
            (-0.0, "0"),
            (0.0, "0"),
            (-0.3, "-0.3"),
            (1e17, "100000000000000000"),
            (-1e17, "-100000000000000000"),
            (432_224_099_704_639_488.0, "432224099704639500"),
            (9_223_372_036_854_774_784.0, "9223372036854775000"),
            (9_223_372_036_854_775_808.0, "9.223372036854776e+18"),
            (1e21, "1.0e+21"),
            (1e-7, "1.0e-7"),
        ];
        for (value, text) in expected {
            assert_eq!(format_returned_float(value), text);
        }
        assert_eq!(format_unsigned(10_000_000_000_000_000_000), "1.0e+19", "a float that came back");
        assert_eq!(format_unsigned(u64::MAX), "18446744073709551615");
        for kept in
            [0, (1 << 53) - 1, 1 << 53, 9_007_199_254_740_994, 432_224_099_704_639_500, 1_000_000_000_000_000_000]
        {
            assert!(javascript_keeps(kept), "{kept}");
        }
        for changed in [(1 << 53) + 1, 432_224_099_704_639_488, u64::MAX, 1 << 63] {
            assert!(!javascript_keeps(changed), "{changed}");
        }
    }

    #[test]
    fn only_canonical_decimals_are_integer_keys() {
        assert_eq!(integer_key("-1"), Some(-1));
        assert_eq!(integer_key("9223372036854775807"), Some(i64::MAX));
        for text in ["", "-", "-0", "01", "1a", " 1", "+1", "9223372036854775808"] {
            assert_eq!(integer_key(text), None, "{text}");
        }
    }

    #[test]
    fn numeric_strings_follow_php_8() {
        assert_eq!(numeric(" 7 "), Some(Numeric::Int(7)));
        assert_eq!(numeric("1e1"), Some(Numeric::Float { value: 10.0, overflow: 0 }));
        assert_eq!(numeric(".5"), Some(Numeric::Float { value: 0.5, overflow: 0 }));
        for text in ["", " ", "1a", "e1", "1e", ".", "--1", "0x1", "inf", "nan"] {
            assert_eq!(numeric(text), None, "{text}");
        }
    }
}
