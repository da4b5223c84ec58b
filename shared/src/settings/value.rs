//! How the text of a setting becomes a value.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;

use crate::admin_tokens::AdminTokens;
use crate::rate::Rate;
use crate::rpc::Endpoint;
use crate::rpc::handshake::LegacyToken;
use crate::signing::{LockedValues, VerifyState};

/// A type that a setting can have.
pub(super) trait FromSetting: Sized {
    /// What is accepted, to end the sentence "it must be ...".
    fn allowed() -> String;
    /// The value, or `None` when the text is not of this type.
    fn from_setting(text: &str) -> Option<Self>;
    /// The value of a setting that has neither a text nor a default; `None`: there has to be one.
    fn absent() -> Option<Self> {
        None
    }
}

/// A setting that may be absent.
impl<T: FromSetting> FromSetting for Option<T> {
    fn allowed() -> String {
        T::allowed()
    }
    fn from_setting(text: &str) -> Option<Self> {
        T::from_setting(text).map(Some)
    }
    fn absent() -> Option<Self> {
        Some(None)
    }
}

/// A list, separated by commas; empty items are dropped.
impl<T: FromSetting> FromSetting for Vec<T> {
    fn allowed() -> String {
        format!("a comma list, each item {}", T::allowed())
    }
    fn from_setting(text: &str) -> Option<Self> {
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(T::from_setting).collect()
    }
    fn absent() -> Option<Self> {
        Some(Self::new())
    }
}

impl FromSetting for String {
    fn allowed() -> String {
        "text".to_owned()
    }
    fn from_setting(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl FromSetting for PathBuf {
    fn allowed() -> String {
        "a path".to_owned()
    }
    fn from_setting(text: &str) -> Option<Self> {
        Some(Self::from(text))
    }
}

macro_rules! whole_numbers {
    ($($type:ty),*) => {$(
        impl FromSetting for $type {
            fn allowed() -> String {
                format!("a whole number from 0 to {}", <$type>::MAX)
            }
            fn from_setting(text: &str) -> Option<Self> {
                text.parse().ok()
            }
        }
    )*};
}
whole_numbers!(u16, u32, u64, usize);

impl FromSetting for bool {
    fn allowed() -> String {
        "true or false".to_owned()
    }
    fn from_setting(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" | "(true)" => Some(true),
            "false" | "0" | "no" | "off" | "(false)" => Some(false),
            _ => None,
        }
    }
}

/// Longest duration of a setting: a year.
const DURATION_MAX: Duration = Duration::from_hours(366 * 24);

/// `28s`, `500ms`, `5m`, `1h 30m`. Months are refused: they differ in length, and `5M` is likely a mistyped `5m`.
impl FromSetting for Duration {
    fn allowed() -> String {
        "a duration such as 500ms, 28s, 5m or 1h".to_owned()
    }
    fn from_setting(text: &str) -> Option<Self> {
        if text.contains('M') || text.contains("month") {
            return None;
        }
        humantime::parse_duration(text).ok().filter(|duration| *duration <= DURATION_MAX)
    }
}

/// Largest size of a setting: 1 TiB.
const SIZE_MAX: ByteSize = ByteSize::tib(1);

/// A number of bytes: `1048576`, `64KiB`, `1MiB`, or `64KB`, which is 64000. A bare `K` or `M` is refused: it means
/// 1000 to some programs and 1024 to others.
impl FromSetting for ByteSize {
    fn allowed() -> String {
        "a number of bytes such as 1048576, 64KiB or 1MiB".to_owned()
    }
    fn from_setting(text: &str) -> Option<Self> {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number && !text.ends_with(['b', 'B']) {
            return None;
        }
        text.parse().ok().filter(|size| *size <= SIZE_MAX)
    }
}

impl FromSetting for Endpoint {
    fn allowed() -> String {
        "host:port or unix:PATH".to_owned()
    }
    fn from_setting(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// `100/s`, `100/s:500` with a burst, or `off`; without a burst, twice as many at once as a second.
impl FromSetting for Rate {
    fn allowed() -> String {
        "a rate such as 100/s, 100/s:500 with a burst, or off".to_owned()
    }
    fn from_setting(text: &str) -> Option<Self> {
        if text == "off" || text == "0" {
            return Some(Self::default());
        }
        let (rate, burst) = match text.split_once(':') {
            Some((rate, burst)) => (rate.trim(), Some(burst.trim().parse().ok()?)),
            None => (text, None),
        };
        let per_second: u32 = rate.strip_suffix("/s").unwrap_or(rate).trim().parse().ok()?;
        let burst: u32 = burst.unwrap_or(per_second.saturating_mul(2));
        (per_second > 0 && burst > 0 && per_second <= 1_000_000_000).then_some(Self { per_second, burst })
    }
}

/// A rate in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ByteRate(pub(super) Rate);

impl FromSetting for ByteRate {
    fn allowed() -> String {
        "bytes a second such as 4MiB/s, 4MiB/s:16MiB with a burst, or off; less than 4GiB".to_owned()
    }
    fn from_setting(text: &str) -> Option<Self> {
        if text == "off" || text == "0" {
            return Some(Self(Rate::default()));
        }
        let bytes = |text: &str| u32::try_from(ByteSize::from_setting(text.trim())?.0).ok().filter(|bytes| *bytes > 0);
        let (rate, burst) = text.split_once(':').map_or((text, None), |(rate, burst)| (rate, Some(burst)));
        let rate = rate.trim();
        let per_second = bytes(rate.strip_suffix("/s").unwrap_or(rate))?;
        let burst = burst.map_or(Some(per_second.saturating_mul(2)), bytes)?;
        Some(Self(Rate { per_second, burst }))
    }
}

/// An address, or a range of them as `10.0.0.0/8`.
impl FromSetting for IpNet {
    fn allowed() -> String {
        "an IP address or a range such as 10.0.0.0/8".to_owned()
    }
    fn from_setting(text: &str) -> Option<Self> {
        text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(Self::from))
    }
}

/// Trusted proxies. `none` is the empty list, since an empty value means the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TrustedProxies(pub(super) Vec<IpNet>);

impl FromSetting for AdminTokens {
    fn allowed() -> String {
        "a comma list of NAME:TOKEN or NAME:read:TOKEN, with tokens of 16 characters or more and each name once"
            .to_owned()
    }
    fn from_setting(text: &str) -> Option<Self> {
        Self::read(text)
    }
    fn absent() -> Option<Self> {
        Some(Self::default())
    }
}

impl FromSetting for TrustedProxies {
    fn allowed() -> String {
        format!("none or {}", Vec::<IpNet>::allowed())
    }
    fn from_setting(text: &str) -> Option<Self> {
        if text == "none" { Some(Self(Vec::new())) } else { Vec::from_setting(text).map(Self) }
    }
}

/// A type whose values are words.
macro_rules! words {
    ($type:ty { $first:literal => $first_value:ident $(, $word:literal => $value:ident)* } $(also $alias:literal => $alias_value:ident)*) => {
        impl $crate::settings::value::FromSetting for $type {
            fn allowed() -> String {
                $crate::settings::value::alternatives(&[$first $(, $word)*])
            }
            fn from_setting(text: &str) -> Option<Self> {
                match text {
                    $first => Some(Self::$first_value),
                    $($word => Some(Self::$value),)*
                    $($alias => Some(Self::$alias_value),)*
                    _ => None,
                }
            }
        }
    };
}
pub(super) use words;

/// `a or b`, `a, b or c`.
pub(super) fn alternatives(words: &[&str]) -> String {
    match words {
        [words @ .., last] if !words.is_empty() => format!("{} or {last}", words.join(", ")),
        words => words.concat(),
    }
}

words!(LegacyToken { "refuse" => Refuse, "accept" => Accept });
words!(LockedValues { "signed" => Signed, "upstream" => Upstream });
// Laravel's configuration allows booleans here.
words!(VerifyState { "property-updates" => PropertyUpdates, "strict" => Strict, "none" => None }
    also "true" => PropertyUpdates also "false" => None);

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text, also where standard error is no terminal.
    Text,
    /// One JSON object a line.
    Json,
}
words!(LogFormat { "text" => Text, "json" => Json });

/// Who may subscribe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subscribe {
    /// Anyone who may connect.
    Open,
    /// Those to whom a worker grants it, in their own session.
    Granted,
}
words!(Subscribe { "open" => Open, "granted" => Granted });

/// When gateways learn who the user of a connection is, where subscriptions need no grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identify {
    /// With the first call.
    Call,
    /// When it subscribes: a worker is asked.
    Subscribe,
}
words!(Identify { "call" => Call, "subscribe" => Subscribe });

/// Whether messages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompressionMode {
    /// They are not.
    Off,
    /// Large ones are, where the client offers it.
    Auto,
}
// The package reads a boolean of the same name, which an application's .env may have.
words!(CompressionMode { "off" => Off, "auto" => Auto }
    also "true" => Auto also "1" => Auto also "on" => Auto also "false" => Off also "0" => Off);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_a_burst() {
        let rate = |per_second, burst| Some(Rate { per_second, burst });
        assert_eq!(Rate::from_setting("100/s"), rate(100, 200));
        assert_eq!(Rate::from_setting("100/s:5"), rate(100, 5));
        assert_eq!((Rate::from_setting("off"), Rate::from_setting("7")), (rate(0, 0), rate(7, 14)));
        for text in ["", "x", "1/m", "5/s:", "5/s:0", "-1/s"] {
            assert_eq!(Rate::from_setting(text), None, "{text}");
        }
    }

    #[test]
    fn byte_rates_have_units() {
        let rate = |per_second, burst| Some(ByteRate(Rate { per_second, burst }));
        assert_eq!(ByteRate::from_setting("4MiB/s:16MiB"), rate(4 << 20, 16 << 20));
        assert_eq!((ByteRate::from_setting("1KiB/s"), ByteRate::from_setting("off")), (rate(1024, 2048), rate(0, 0)));
        for text in ["", "x", "4M/s", "1MiB/m", "1MiB/s:", "1MiB/s:0", "4GiB/s"] {
            assert_eq!(ByteRate::from_setting(text), None, "{text}");
        }
    }

    #[test]
    fn durations_and_sizes_have_units() {
        assert_eq!(Duration::from_setting("28s"), Some(Duration::from_secs(28)));
        assert_eq!(Duration::from_setting("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(Duration::from_setting("1h 30m"), Some(Duration::from_mins(90)));
        assert_eq!(Duration::from_setting("0s"), Some(Duration::ZERO));
        assert_eq!(Duration::from_setting("0"), Some(Duration::ZERO));
        for text in ["", "s", "28", "5M", "2 months", "2 years", "-1s", "99999999999999999999s"] {
            assert_eq!(Duration::from_setting(text), None, "{text}");
        }
        let sizes = [("64KiB", 65_536), ("64 KiB", 65_536), ("1048576", 1 << 20), ("7B", 7), ("0", 0), ("1KB", 1000)];
        for (text, size) in sizes {
            assert_eq!(ByteSize::from_setting(text), Some(ByteSize(size)), "{text}");
        }
        for text in ["", "KiB", "64K", "1M", "1.5", "-1", "-1KiB", "1e3", "99999999999GiB", "2TiB"] {
            assert_eq!(ByteSize::from_setting(text), None, "{text}");
        }
    }

    #[test]
    fn networks_are_addresses_or_ranges() {
        let contains =
            |network: &str, ip: &str| IpNet::from_setting(network).unwrap().contains(&ip.parse::<IpAddr>().unwrap());
        assert!(contains("10.0.0.0/8", "10.9.9.9") && !contains("10.0.0.0/8", "11.0.0.1"));
        assert!(
            contains("127.0.0.1", "127.0.0.1")
                && contains("0.0.0.0/0", "8.8.8.8")
                && contains("10.1.2.3/8", "10.9.9.9")
        );
        assert!(contains("fd00::/8", "fd12::1") && !contains("fd00::/8", "10.0.0.1"));
        assert!(IpNet::from_setting("10.0.0.0/33").is_none() && IpNet::from_setting("x").is_none());
        assert_eq!(TrustedProxies::from_setting("none"), Some(TrustedProxies(Vec::new())));
        assert_eq!(TrustedProxies::from_setting("::1, 10.0.0.0/8").unwrap().0.len(), 2);
        assert!(TrustedProxies::from_setting("none, ::1").is_none());
    }
}
