//! Calls by which a worker is asked, in the user's session, what a connection may do. The answer counts only if nobody has
//! logged in or out meanwhile.

use std::rc::Rc;
use std::time::{Duration, Instant};

use diffyne_shared::rpc::{CallKind, Transport};

use super::Connection;
use super::account::HeldKind;
use super::identification;
use crate::relay::{CallRequest, ComponentKey, RelayResult};
use crate::shard::call::PendingDecision;
use crate::shard::state::Shard;

/// In which session an answer counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Validity {
    /// In whichever the connection has by now, as long as it is the same user's.
    SameUser,
    /// Only in the one in which the worker was asked.
    SameSession,
}

/// What an answer is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing: the connection has ended.
    Ended,
    /// Nothing: somebody has logged in or out, so that a worker has to be asked anew.
    Outdated,
    /// It counts. Where no worker has answered, the user may be another one than the client has shown.
    Current {
        /// Whether the user has changed since the worker was asked.
        is_other_user: bool,
    },
}

/// Makes a call that decides, for which the connection holds so many bytes beside its payload. `None`: too many of this
/// connection wait already.
pub(super) fn begin(
    shard: &Shard,
    connection: &Connection,
    payload: String,
    more_bytes: usize,
    request_id: Option<&str>,
) -> Option<(CallRequest, PendingDecision)> {
    if !connection.requests.begin_wait() {
        return None;
    }
    let held = payload.len() * 2 + more_bytes;
    connection.account.hold(HeldKind::Calls, held);
    let pending = PendingDecision {
        session: shard.grants.session(&connection.caller),
        user_changes: connection.user.changes(),
        request_id: request_id.map(str::to_owned),
        held,
    };
    let now = Instant::now();
    let call = CallRequest {
        caller: Rc::clone(&connection.caller),
        transport: Transport::Ws,
        kind: CallKind::Grant,
        // A decision belongs to no component: any worker will do, and not the same one for all clients.
        component: ComponentKey::new("", connection.caller.id()),
        cause: None,
        takes_pushes: false,
        wants_user: true,
        stream_max: Duration::ZERO,
        trace: None,
        payload: payload.into(),
        arrived: now,
        deadline: now + shard.settings.call_timeout,
    };
    Some((call, pending))
}

/// Ends the wait for an answer, and takes from it who the user is.
pub(super) fn end(
    shard: &Shard,
    connection: &Rc<Connection>,
    pending: &PendingDecision,
    result: &RelayResult<'_>,
    validity: Validity,
) -> Standing {
    connection.requests.end_wait();
    connection.account.release(HeldKind::Calls, pending.held);
    if !connection.takes_messages() {
        return Standing::Ended;
    }
    let user = match result {
        RelayResult::Reply(reply, _) => identification::told_user(reply),
        RelayResult::Failed(..) => None,
    };
    let is_other_session =
        validity == Validity::SameSession && pending.session != shard.grants.session(&connection.caller);
    if is_other_session || user.is_some_and(|user| connection.user.is_outdated(user, pending.user_changes)) {
        return Standing::Outdated;
    }
    let is_other_user = pending.user_changes != connection.user.changes();
    if let Some(user) = user {
        identification::take(shard, connection, user, pending.user_changes, false);
    }
    Standing::Current { is_other_user }
}
