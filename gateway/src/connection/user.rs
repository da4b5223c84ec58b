//! The user of a connection, as a worker has told it. A client is never asked.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// How many calls ask who the user is before one of them has told it. A call that fails, or that many pages share, tells
/// nobody's; an application without users never does.
const QUESTIONS_MAX: u8 = 3;

/// What is known about the user of one connection.
#[derive(Debug, Default)]
pub struct ConnectionUser {
    /// Empty for a guest; `None`: nobody has told it, or two answers contradict each other.
    id: RefCell<Option<Rc<str>>>,
    /// How often this has changed.
    changes: Cell<u32>,
    /// How often it had changed when the connection's session began.
    session_began: Cell<u32>,
    /// How often it had changed when a worker decided what the connection may hear.
    granted: Cell<u32>,
    /// How many calls have asked since it became unknown.
    questions: Cell<u8>,
}

/// What to do about an answer of a worker that names a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Nothing: it is known, or belongs to a session that the connection no longer has.
    Nothing,
    /// The answer counts.
    User,
    /// The user has changed while the call ran, and the answer names another one than the last. It is unknown which of
    /// the two is right.
    Contradiction,
}

impl ConnectionUser {
    /// Returns the user's id, if there is a user.
    pub fn id(&self) -> Option<Rc<str>> {
        self.id.borrow().clone().filter(|id| !id.is_empty())
    }

    /// Returns the user's id, empty for a guest, or `None` if it is unknown.
    pub fn known(&self) -> Option<Rc<str>> {
        self.id.borrow().clone()
    }

    /// Whether the connection's user is this one.
    pub fn is(&self, id: &str) -> bool {
        !id.is_empty() && self.id.borrow().as_deref() == Some(id)
    }

    /// Whether it is known who the user is, or that there is none.
    pub fn is_known(&self) -> bool {
        self.id.borrow().is_some()
    }

    /// Whether a call that begins now has to ask. Counts the call.
    pub fn ask(&self) -> bool {
        let asks = !self.is_known() && self.questions.get() < QUESTIONS_MAX;
        if asks {
            self.questions.set(self.questions.get() + 1);
        }
        asks
    }

    /// Notes that what the connection may hear was decided for the user whom it has now.
    pub fn set_granted(&self) {
        self.granted.set(self.changes.get());
    }

    /// Whether what the connection may hear was decided for a user whom it had before.
    pub fn has_grants_of_another(&self) -> bool {
        self.granted.get() != self.changes.get()
    }

    /// Returns how often the user has changed.
    pub fn changes(&self) -> u32 {
        self.changes.get()
    }

    /// Judges an answer to a call that was made after so many changes. `begins_session`: the answer comes with the cookies of
    /// another session.
    pub fn judge(&self, told: &str, changes_at_call: u32, begins_session: bool) -> Told {
        if begins_session {
            Told::User
        } else if changes_at_call < self.session_began.get() || self.id.borrow().as_deref() == Some(told) {
            Told::Nothing
        } else if changes_at_call == self.changes.get() {
            Told::User
        } else {
            Told::Contradiction
        }
    }

    /// Whether an answer was made for another user than the connection has now.
    pub fn is_outdated(&self, told: &str, changes_at_call: u32) -> bool {
        let is_other = self.id.borrow().as_deref() != Some(told);
        is_other && changes_at_call != self.changes.get()
    }

    /// Sets the user. Returns the one before.
    pub fn replace(&self, id: Option<Rc<str>>) -> Option<Rc<str>> {
        self.changes.set(self.changes.get().wrapping_add(1));
        self.questions.set(0);
        self.id.replace(id)
    }

    /// Notes that the connection has the cookies of another session from here on.
    pub fn begin_session(&self) {
        self.session_began.set(self.changes.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_that_tells_no_user_is_not_asked_by_every_call() {
        let user = ConnectionUser::default();
        let asked = (0..100).filter(|_| user.ask()).count();
        assert_eq!(asked, usize::from(QUESTIONS_MAX));
        user.replace(Some("ada".into()));
        assert!(!user.ask());
        user.replace(None);
        assert!(user.ask(), "somebody has logged in or out");
    }

    #[test]
    fn an_answer_from_before_a_login_or_logout_does_not_bring_the_former_user_back() {
        let user = ConnectionUser::default();
        assert_eq!(user.judge("ada", 0, false), Told::User);
        user.replace(Some("ada".into()));
        assert!(user.is("ada") && user.is_known());
        let slow = user.changes();
        assert_eq!(user.judge("ada", slow, false), Told::Nothing);
        // A logout that keeps the session's id.
        assert_eq!(user.judge("", user.changes(), false), Told::User);
        user.replace(Some("".into()));
        assert!(user.id().is_none() && user.is_known() && !user.is(""));
        assert_eq!(user.judge("ada", slow, false), Told::Contradiction, "which of the two came later?");
        // A login, which begins another session.
        assert_eq!(user.judge("eve", slow, true), Told::User, "its cookies are the connection's now");
        user.replace(Some("eve".into()));
        user.begin_session();
        assert_eq!(user.judge("ada", slow, false), Told::Nothing, "that was in the session before");
    }
}
