//! What follows when a worker tells who the user of a connection is.
//!
//! A client that comes back shows its grant, which names the user. So in `granted` mode a grant is asked for again when
//! the user has changed; in `open` mode the client is sent one that is good for no event, for its user alone.

use std::rc::Rc;

use diffyne_shared::bus::is_user_id;
use diffyne_shared::rpc::{Reply, SessionChange};
use diffyne_shared::settings::value::Identify;

use super::Connection;
use super::user::Told;
use crate::protocol;
use crate::shard::state::Shard;

/// A connection has another user than before.
#[derive(Debug, Clone, Copy)]
pub(super) struct UserChange {
    /// Nobody knew who the user was.
    pub(super) is_first: bool,
}

/// Takes what the answer to a call says about the user. The call was made after so many changes of the user.
pub(super) fn told(
    shard: &Shard,
    connection: &Rc<Connection>,
    reply: &Reply<'_>,
    changes_at_call: u32,
) -> Option<UserChange> {
    let change = UserChange { is_first: connection.user.changes() == 0 };
    match (reply.session, told_user(reply)) {
        // Another tab has logged in or out. The connection will end.
        (SessionChange::Gone, _) => {
            shard.hub.set_user(connection, None);
            None
        }
        // What was granted may be for somebody else.
        (SessionChange::Changed, None) => {
            shard.hub.set_user(connection, None);
            Some(UserChange { is_first: false })
        }
        (_, None) => None,
        (session, Some(user)) => {
            let begins_session = session == SessionChange::Changed;
            let is_news = take(shard, connection, user, changes_at_call, begins_session);
            (is_news || !connection.user.is_known()).then_some(change)
        }
    }
}

/// Returns the user whom an answer names, empty for a guest.
pub(super) fn told_user<'a>(reply: &Reply<'a>) -> Option<&'a str> {
    reply.user.filter(|user| user.is_empty() || is_user_id(user))
}

/// Sets the user whom an answer names. Returns `false` if that is no news, or if it is unknown whether it is right.
pub(super) fn take(
    shard: &Shard,
    connection: &Rc<Connection>,
    user: &str,
    changes_at_call: u32,
    begins_session: bool,
) -> bool {
    match connection.user.judge(user, changes_at_call, begins_session) {
        Told::Nothing => return false,
        Told::Contradiction => {
            shard.hub.set_user(connection, None);
            return false;
        }
        Told::User => shard.hub.set_user(connection, Some(user)),
    }
    if begins_session {
        connection.user.begin_session();
    }
    true
}

/// Sets the user whom a valid grant of this session names. A worker that has told it already knows better.
pub(super) fn set_shown_user(shard: &Shard, connection: &Rc<Connection>, user: &str) {
    if !connection.user.is_known() {
        shard.hub.set_user(connection, Some(user));
    }
}

/// Sends a subscribed client the grant that names its user, in `open` mode. A guest gets one only in the place of another
/// one.
pub(super) fn send_grant(shard: &Shard, connection: &Rc<Connection>) {
    let is_news = connection.user.id().is_some() || connection.user.changes() > 1;
    // Who was granted private channels has a grant that names the user as well.
    if is_news
        && connection.granted.borrow().is_empty()
        && !connection.subscriptions.borrow().is_empty()
        && let Some(grant) = user_grant(shard, connection)
    {
        shard.hub.send_quietly(connection, &protocol::user_grant(&grant), None);
    }
}

/// Returns a grant that names the connection's user and is good for no event, if the user is known.
pub(super) fn user_grant(shard: &Shard, connection: &Connection) -> Option<String> {
    let user = connection.user.known()?;
    shard.grants.sign(Vec::new(), &shard.grants.session(&connection.caller), Some(&user))
}

/// Whether a worker has to be asked who the user is before the connection subscribes, in `open` mode.
pub(super) fn is_needed(shard: &Shard, connection: &Connection) -> bool {
    let asks = shard.settings.identify == Identify::Subscribe || connection.transport.is_one_way();
    asks && !connection.user.is_known() && connection.caller.has_cookies()
}
