//! Sessions that have ended under a WebSocket: another tab has logged in or out, or they have expired.
//!
//! A connection keeps the cookies of its handshake. When its session ends, its next call would be a guest's, so workers
//! refuse it ([`SESSION_REQUIRED`]), and the page connects again, with the cookies that the browser has now. After a login
//! these are newer. After an expiry they are the same, and calls of such a connection run as a guest's, as in a page
//! that is loaded anew. This type tells the two apart.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use diffyne_shared::rpc::{SESSION_HEADER, SESSION_REQUIRED};

use super::session_identity::SessionIdentity;
use crate::relay::Caller;

/// Sessions that are remembered. When there are more, the oldest is forgotten, and costs its user one refused call.
const SESSIONS_MAX: usize = 10_000;

/// The sessions that connections of this gateway have lost.
#[derive(Debug, Default)]
pub struct EndedSessions(Mutex<Ended>);

#[derive(Debug, Default)]
struct Ended {
    known: HashSet<SessionIdentity>,
    /// The oldest first.
    order: VecDeque<SessionIdentity>,
}

impl EndedSessions {
    /// Adds to the headers of a new connection that its calls must not run without its session.
    pub fn require(&self, caller: &mut Caller, session: impl FnOnce(&Caller) -> SessionIdentity) {
        let has_cookies = caller.headers().split(|byte| *byte == b'\n').any(|line| line.starts_with(b"cookie: "));
        if !has_cookies || self.has_lost(|| session(caller)) {
            return;
        }
        caller.add_header(SESSION_HEADER, SESSION_REQUIRED);
    }

    fn has_lost(&self, session: impl FnOnce() -> SessionIdentity) -> bool {
        let known = &self.0.lock().unwrap_or_else(PoisonError::into_inner).known;
        !known.is_empty() && known.contains(&session())
    }

    /// Notes that a connection with these headers has lost its session.
    pub fn lost(&self, headers: &[u8], session: SessionIdentity) {
        let line = [SESSION_HEADER, ": ", SESSION_REQUIRED].concat();
        let was_required = headers.split(|byte| *byte == b'\n').any(|other| other == line.as_bytes());
        let mut ended = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !was_required {
            // The call has run as a guest's, and with that a session has begun that may end in turn.
            if ended.known.remove(&session) {
                ended.order.retain(|other| *other != session);
            }
        } else if ended.known.insert(session) {
            ended.order.push_back(session);
            if ended.order.len() > SESSIONS_MAX
                && let Some(oldest) = ended.order.pop_front()
            {
                ended.known.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::cookie_store::CookieStore;
    use crate::auth::session_identity::Sessions;

    fn caller(headers: &str) -> Caller {
        let cookies = CookieStore::default();
        Caller::new("", "", headers.as_bytes(), cookies)
    }

    fn session(headers: &str) -> SessionIdentity {
        Sessions::new(&[]).of(&caller(headers))
    }

    fn connect(ended: &EndedSessions, headers: &str) -> String {
        let mut caller = caller(headers);
        ended.require(&mut caller, |caller| Sessions::new(&[]).of(caller));
        String::from_utf8_lossy(caller.headers()).into_owned()
    }

    #[test]
    fn a_session_is_required_until_its_browser_comes_back_without_a_newer_one() {
        let ended = EndedSessions::default();
        let (ada, eve) = ("host: x\ncookie: s=ada\n", "host: x\ncookie: s=eve\n");
        assert_eq!(connect(&ended, "host: x\n"), "host: x\n", "no cookies, no session");
        let first = connect(&ended, ada);
        assert_eq!(first, format!("{ada}x-diffyne-session: required\n"));
        ended.lost(first.as_bytes(), session(ada));
        assert_eq!(connect(&ended, eve), format!("{eve}x-diffyne-session: required\n"), "newer cookies");
        let again = connect(&ended, ada);
        assert_eq!(again, ada, "it has expired");
        // The guest's session, which has begun now, may end as well.
        ended.lost(again.as_bytes(), session(ada));
        assert_eq!(connect(&ended, ada), first);
    }

    #[test]
    fn the_oldest_session_is_forgotten() {
        let ended = EndedSessions::default();
        let headers = |number: usize| format!("cookie: s={number}\n");
        for number in 0..=SESSIONS_MAX {
            let sent = connect(&ended, &headers(number));
            ended.lost(sent.as_bytes(), session(&headers(number)));
        }
        assert_ne!(connect(&ended, &headers(0)), headers(0));
        assert_eq!(connect(&ended, &headers(1)), headers(1));
        assert_eq!(connect(&ended, &headers(SESSIONS_MAX)), headers(SESSIONS_MAX));
    }
}
