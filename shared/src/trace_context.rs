//! The place of a hop in its trace, as the W3C header `traceparent` writes it.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The length of a `traceparent` of version 00.
const LENGTH: usize = 55;

/// A span by its trace and its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; never 0.
    pub trace: u128,
    /// The span in it; never 0.
    pub span: u64,
    /// Whether the span is recorded.
    pub is_sampled: bool,
}

impl TraceContext {
    /// Reads a `traceparent`; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let fields = text.get(..LENGTH)?;
        let rest = &text[LENGTH..];
        let mut parts = fields.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        // What a later version adds begins with a dash.
        let is_known =
            version == "00" && rest.is_empty() || version != "00" && (rest.is_empty() || rest.starts_with('-'));
        if parts.next().is_some() || !is_known || version == "ff" || hex(version, 2).is_none() {
            return None;
        }
        let trace = hex(trace, 32).filter(|id| *id != 0)?;
        let span = u64::try_from(hex(span, 16)?).ok().filter(|id| *id != 0)?;
        Some(Self { trace, span, is_sampled: hex(flags, 2)? & 1 == 1 })
    }

    /// A new span of a new trace.
    pub fn root() -> Self {
        Self { trace: fastrand::u128(1..), span: fastrand::u64(1..), is_sampled: true }
    }

    /// A new span of the same trace.
    #[must_use]
    pub fn child(self) -> Self {
        Self { span: fastrand::u64(1..), ..self }
    }
}

/// A number of exactly so many hexadecimal digits, in lower case.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_hex = text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_hex { u128::from_str_radix(text, 16).ok() } else { None }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.is_sampled))
    }
}

impl Serialize for TraceContext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What is no `traceparent` is as if it were not there: a peer of another release costs no call. For fields of the type
/// `Option<TraceContext>`.
pub fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TraceContext>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.and_then(|text| TraceContext::parse(&text)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TEXT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_is_read_and_written() {
        let context = TraceContext::parse(TEXT).unwrap();
        assert_eq!(
            (context.span, context.is_sampled, context.to_string().as_str()),
            (0xb7ad_6b71_6920_3331, true, TEXT)
        );
        assert!(!TraceContext::parse(&TEXT.replace("-01", "-00")).unwrap().is_sampled);
        let later = format!("{}-more", TEXT.replacen("00", "cc", 1));
        assert_eq!(TraceContext::parse(&later), Some(context));
        let child = context.child();
        assert!(child.trace == context.trace && child.span != context.span);
    }

    #[test]
    fn what_is_no_traceparent_is_refused() {
        let zero = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        for text in [
            "",
            "00",
            zero,
            &TEXT.replace("b7ad6b7169203331", "0000000000000000"),
            &TEXT.to_uppercase(),
            &TEXT.replacen("00", "ff", 1),
            &format!("{TEXT}-more"),
            &TEXT.replace('-', "+"),
            &TEXT.replace('c', "\u{e4}"),
        ] {
            assert_eq!(TraceContext::parse(text), None, "{text}");
        }
    }
}
