//! How the text of a setting becomes a value.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::rate::Rate;
use crate::rpc::PeerAddress;
use crate::rpc::proof::LegacyToken;
use crate::signing::{LockedValues, VerifyState};

/// A type that a setting can have.
pub trait FromSetting: Sized {
    /// What is accepted, to end the sentence "it must be ...".
    fn allowed() -> String;
    /// The value, or `None` when the text is not of this type.
    fn from_setting(text: &str) -> Option<Self>;
}

impl FromSetting for String {
    fn allowed() -> String {
        "text".to_owned()
    }
    fn from_setting(text: &str) -> Option<Self> {
        Some(text.to_owned())
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

/// `28s`, `500ms`, `5m`, `1h`.
impl FromSetting for Duration {
    fn allowed() -> String {
        "a duration such as 500ms, 28s, 5m or 1h".to_owned()
    }
    fn from_setting(text: &str) -> Option<Self> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: u64 = text[..digits].parse().ok()?;
        let millis = match text[digits..].trim() {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        number.checked_mul(millis).filter(|millis| *millis <= 366 * 24 * 3_600_000).map(Duration::from_millis)
    }
}

impl FromSetting for LegacyToken {
    fn allowed() -> String {
        "refuse or accept".to_owned()
    }
    fn from_setting(text: &str) -> Option<Self> {
        match text {
            "refuse" => Some(Self::Refuse),
            "accept" => Some(Self::Accept),
            _ => None,
        }
    }
}

/// A number of bytes: `1048576`, `64KiB`, `1MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(pub usize);

impl FromSetting for ByteSize {
    fn allowed() -> String {
        "a number of bytes such as 1048576, 64KiB or 1MiB".to_owned()
    }
    fn from_setting(text: &str) -> Option<Self> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: usize = text[..digits].parse().ok()?;
        let unit = match text[digits..].trim() {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        number.checked_mul(unit).filter(|bytes| *bytes <= 1 << 40).map(ByteSize)
    }
}

impl FromSetting for PeerAddress {
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
pub struct ByteRate(pub Rate);

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

/// A list, separated by commas; empty items are dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List<T>(pub Vec<T>);

impl<T: FromSetting> FromSetting for List<T> {
    fn allowed() -> String {
        format!("a comma list, each item {}", T::allowed())
    }
    fn from_setting(text: &str) -> Option<Self> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        items.map(T::from_setting).collect::<Option<_>>().map(List)
    }
}

impl FromSetting for VerifyState {
    fn allowed() -> String {
        "property-updates, strict or none".to_owned()
    }
    fn from_setting(text: &str) -> Option<Self> {
        match text {
            // Laravel's configuration allows booleans here.
            "property-updates" | "true" => Some(Self::PropertyUpdates),
            "strict" => Some(Self::Strict),
            "none" | "false" => Some(Self::None),
            _ => None,
        }
    }
}

impl FromSetting for LockedValues {
    fn allowed() -> String {
        "signed or upstream".to_owned()
    }
    fn from_setting(text: &str) -> Option<Self> {
        match text {
            "signed" => Some(Self::Signed),
            "upstream" => Some(Self::Upstream),
            _ => None,
        }
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

/// Proxies whose word counts; `none` are these: an empty value means the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxies(pub Vec<IpNet>);

impl FromSetting for Proxies {
    fn allowed() -> String {
        format!("none or {}", List::<IpNet>::allowed())
    }
    fn from_setting(text: &str) -> Option<Self> {
        if text == "none" { Some(Self(Vec::new())) } else { List::from_setting(text).map(|list| Self(list.0)) }
    }
}

/// A value from a fixed set of words.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $variant),* }

        impl FromSetting for $name {
            fn allowed() -> String {
                format!("one of {}", [$($word),*].join(", "))
            }
            fn from_setting(text: &str) -> Option<Self> {
                match text { $($word => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

words! {
    /// How log lines look.
    LogFormat {
        /// Text on a terminal, JSON otherwise is not assumed: text everywhere unless asked.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

words! {
    /// Who may subscribe (`granted` comes with the next release).
    Subscribe {
        /// Anyone who may connect.
        Open = "open",
        /// Those whom a worker grants it, in their own session.
        Granted = "granted",
    }
}

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
        for text in ["", "x", "4MB/s", "1MiB/m", "1MiB/s:", "1MiB/s:0", "4GiB/s"] {
            assert_eq!(ByteRate::from_setting(text), None, "{text}");
        }
    }

    #[test]
    fn durations_and_sizes_have_units() {
        assert_eq!(Duration::from_setting("28s"), Some(Duration::from_secs(28)));
        assert_eq!(Duration::from_setting("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(ByteSize::from_setting("64KiB"), Some(ByteSize(65_536)));
        assert_eq!(ByteSize::from_setting("1048576"), Some(ByteSize(1 << 20)));
        for text in ["", "s", "28", "28 days", "-1s", "99999999999999999999s"] {
            assert_eq!(Duration::from_setting(text), None, "{text}");
        }
        for text in ["", "KiB", "1KB", "-1", "99999999999GiB"] {
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
        assert_eq!(Proxies::from_setting("none"), Some(Proxies(Vec::new())));
        assert_eq!(Proxies::from_setting("::1, 10.0.0.0/8").unwrap().0.len(), 2);
        assert!(Proxies::from_setting("none, ::1").is_none());
    }
}
