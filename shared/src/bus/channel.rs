//! Events of an application's channels, by their names: `private:orders.7:OrderPaid`.

use std::borrow::Cow;

/// A kind of channel, as names of events begin.
const KINDS: [(&str, Audience); 3] =
    [("channel:", Audience::Everybody), ("private:", Audience::Admitted), ("presence:", Audience::Admitted)];

/// Who may hear a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Audience {
    Everybody,
    /// Those whom the application lets in.
    Admitted,
}

/// An event of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelEvent<'a> {
    /// The channel's kind, with the colon behind it.
    pub kind: &'a str,
    /// The event's own name.
    pub event: &'a str,
}

impl<'a> ChannelEvent<'a> {
    /// Reads an event's name; `None` if it is the name of no channel's event.
    pub fn read(name: &'a str) -> Option<Self> {
        let (kind, _) = KINDS.into_iter().find(|(kind, _)| name.starts_with(kind))?;
        let (channel, event) = name[kind.len()..].split_once(':')?;
        (!channel.is_empty() && !event.is_empty()).then_some(Self { kind: &name[..kind.len()], event })
    }
}

/// An event's name for statistics: without its channel, of which an application may have one for each user.
pub fn without_channel(name: &str) -> Cow<'_, str> {
    match ChannelEvent::read(name) {
        Some(ChannelEvent { kind, event }) => format!("{kind}{event}").into(),
        None => name.into(),
    }
}

/// Whether nobody may hear this event whom the application has not let in.
///
/// Everything counts that begins like a guarded channel: a name that is read in another way elsewhere must not be open.
pub fn is_guarded(name: &str) -> bool {
    KINDS.iter().any(|(kind, audience)| *audience == Audience::Admitted && name.starts_with(kind))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn events_of_channels_are_told_from_others() {
        for (name, kind, event, is_guarded) in [
            ("channel:orders:OrderPaid", "channel:", "OrderPaid", false),
            ("private:orders.7:Shop.OrderPaid", "private:", "Shop.OrderPaid", true),
            ("presence:room.1:said:twice", "presence:", "said:twice", true),
        ] {
            let read = ChannelEvent::read(name).unwrap();
            assert_eq!((read.kind, read.event, super::is_guarded(name)), (kind, event, is_guarded), "{name}");
            assert_eq!(without_channel(name), format!("{kind}{event}"));
        }
        for name in
            ["message-sent", "private", "private-message", "channels:a:b", "channel:orders", "channel::x", "a:b:c"]
        {
            assert_eq!(ChannelEvent::read(name), None, "{name}");
            assert!(!is_guarded(name) && without_channel(name) == name, "{name}");
        }
        for name in ["private:", "private:orders", "private::x", "presence:room:"] {
            assert!(is_guarded(name), "{name} is nobody's");
        }
    }
}
