//! A shard: one serving thread with its own connections to clients and workers, and its own buffers.
//!
//! Shards share nothing on the hot path except the bus and the metrics.
//!
//! * [`command`]: the commands of other threads
//! * [`state`]: the state of a shard
//! * [`call`]: the origin of a call; [`completion`]: the steps that complete every call
//! * [`hub`]: the shard's connections; [`users`]: those of each user, in an index (`user_index`); [`departures`]: their end; [`subscription_index`]: the subscriptions to an event
//! * [`lifecycle_events`]: reports what happens to them
//! * [`pushes`]: calls whose client gets more after the answer; [`parts`]: those whose client gets parts of it before,
//!   over HTTP as [`response_lines`]
//! * [`rooms`]: the connections in each room, in an index (`room_index`)
//! * [`readers`]: what reads from them
//! * [`delivery`]: a broadcast; [`history`]: the most recent ones

pub mod call;
pub mod command;
pub mod completion;
pub mod delivery;
pub mod departures;
pub mod history;
pub mod hub;
mod lifecycle_call;
pub mod lifecycle_events;
pub mod parts;
pub mod pushes;
pub mod readers;
pub mod response_lines;
mod room_index;
pub mod rooms;
pub mod state;
pub mod subscription_index;
mod user_index;
pub mod users;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use diffyne_shared::bus::Position;
use diffyne_shared::task;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, LocalSet};

use crate::connection::selector::{ConnectionPage, ConnectionSelector};
use crate::connection::{Connection, grant_request, reply, room_request, session};
use crate::http::{self, ajax_call};
use crate::protocol;
use crate::reaction;
use crate::relay::RelayResult;
use crate::relay::discovery::Workers;
use crate::socket::Close;

use call::CallOrigin;
use command::{AcceptedConnection, Command, Inbox, ShardHandle};
use departures::ReconnectPolicy;
use state::{GatewayContext, Shard};

/// How often this thread's counters are added to the shared ones.
const FLUSH_METRICS_EVERY: Duration = Duration::from_millis(100);
const HEARTBEAT_EVERY: Duration = Duration::from_secs(1);

/// Starts a serving thread.
pub fn spawn(
    index: usize,
    context: Arc<GatewayContext>,
) -> std::io::Result<(ShardHandle, std::thread::JoinHandle<()>)> {
    let settings = &context.settings;
    let (handle, inbox) = ShardHandle::new(settings.handshake_queue_max.div_ceil(settings.threads));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name(format!("gateway-{index}")).spawn(move || {
        let local = LocalSet::new();
        let shard = Shard::new(index, &context, complete);
        local.block_on(&runtime, run(&shard, inbox, context.workers.clone()));
        // The remaining tasks (a slow flush, a retrying connection to a worker) end with the runtime.
    })?;
    Ok((handle, thread))
}

/// Hands the result of a call to its origin.
fn complete(shard: &Rc<Shard>, origin: CallOrigin, result: &RelayResult<'_>) {
    match origin {
        CallOrigin::Socket(connection, pending) => reply::complete(shard, &connection, &pending, result),
        CallOrigin::Ajax(pending) => ajax_call::complete(shard, &pending, result),
        CallOrigin::Grant(connection, request) => grant_request::complete(shard, &connection, *request, result),
        CallOrigin::Lifecycle(reply) => lifecycle_call::complete(reply, result),
        CallOrigin::Rooms(connection, request) => room_request::complete(shard, &connection, *request, result),
    }
}

async fn run(shard: &Rc<Shard>, mut inbox: Inbox, workers: watch::Receiver<Workers>) {
    let background = [
        task::spawn_local(Rc::clone(&shard.relay).run(workers)),
        spawn_readers(shard),
        spawn_heartbeat(shard),
        spawn_metrics_flush(shard),
        spawn_http(shard, inbox.accepted),
        spawn_pace(shard),
    ];
    while let Some(command) = inbox.commands.recv().await {
        execute(shard, command).await;
    }
    for task in background {
        task.abort();
    }
}

fn spawn_readers(shard: &Rc<Shard>) -> JoinHandle<()> {
    let shard = Rc::clone(shard);
    task::spawn_local(async move { shard.readers.run(Rc::clone(&shard), session::read).await })
}

fn spawn_heartbeat(shard: &Rc<Shard>) -> JoinHandle<()> {
    let shard = Rc::clone(shard);
    task::spawn_local(async move {
        let mut tick = tokio::time::interval(HEARTBEAT_EVERY);
        loop {
            tick.tick().await;
            shard.hub.heartbeat().await;
        }
    })
}

fn spawn_metrics_flush(shard: &Rc<Shard>) -> JoinHandle<()> {
    let metrics = Rc::clone(&shard.metrics);
    task::spawn_local(async move {
        let mut tick = tokio::time::interval(FLUSH_METRICS_EVERY);
        loop {
            tick.tick().await;
            metrics.flush();
        }
    })
}

fn spawn_http(shard: &Rc<Shard>, mut accepted: mpsc::Receiver<AcceptedConnection>) -> JoinHandle<()> {
    let shard = Rc::clone(shard);
    task::spawn_local(async move {
        while let Some(connection) = accepted.recv().await {
            http::serve(&shard, connection).await;
        }
    })
}

fn spawn_pace(shard: &Rc<Shard>) -> JoinHandle<()> {
    let shard = Rc::clone(shard);
    task::spawn_local(async move { shard.pace.run().await })
}

async fn execute(shard: &Rc<Shard>, command: Command) {
    // The receiver of an answer may be gone; then the answer is dropped.
    match command {
        Command::Deliver(deliveries) => {
            shard.hub.fan_out(&deliveries).await;
            for delivery in deliveries.iter().filter(|delivery| delivery.disconnects()) {
                let reconnect = delivery.first().and_then(|first| first.get("reconnect")?.as_bool()) == Some(true);
                disconnect(shard, &ConnectionSelector::user(delivery.user.as_deref().unwrap_or_default(), reconnect));
            }
        }
        Command::Rooms(news) => shard.hub.tell_rooms(&shard.rates, &news).await,
        Command::StartHistory(position, before) => {
            shard.hub.start_history(position.clone(), &before);
            // Who has subscribed by now waited for the position in vain, and got nothing of what was broadcast before it.
            report_gap(shard, &position);
        }
        Command::Gap(position) => {
            shard.hub.start_history(position.clone(), &[]);
            report_gap(shard, &position);
        }
        Command::Drain(per_second) => {
            shard.set_draining();
            let shard = Rc::clone(shard);
            task::spawn_local(async move { shard.hub.drain(per_second).await });
        }
        Command::Close => close_all(shard),
        Command::Abandon => shard.hub.abandon(),
        Command::Lifecycle(call, reply) => lifecycle_call::submit(shard, call, reply),
        Command::Largest(reply) => drop(reply.send(shard.hub.largest())),
        Command::Shed(chosen) => shard.hub.shed(&chosen),
        Command::Find(selector, reply) => {
            drop(reply.send(describe(shard, &selected(shard, &selector))));
        }
        Command::List(page, reply) => drop(reply.send(list(shard, &page))),
        Command::Disconnect(selector, reply) => drop(reply.send(disconnect(shard, &selector))),
        Command::AskProcesses => shard.relay.ask_processes(),
        Command::Processes(reply) => drop(reply.send(shard.relay.processes())),
        Command::Events(reply) => drop(reply.send(shard.hub.events())),
        Command::Workers(reply) => drop(reply.send(shard.relay.workers())),
    }
}

/// Tells subscribed clients that broadcasts before a position are missing.
fn report_gap(shard: &Shard, position: &Position) {
    let window_ms = reaction::window_ms(&shard.bus, shard.settings.reactions_per_second);
    let frame = protocol::gap(position, window_ms);
    for connection in shard.hub.subscribed() {
        shard.hub.push_at(&connection, frame.clone(), Some(position));
    }
    shard.hub.flush();
}

fn close_all(shard: &Shard) {
    for connection in shard.hub.all() {
        connection.close(&Close::GOING_AWAY, &shard.metrics, shard.hub.now());
    }
}

/// Returns the connections that match a selector, except those that are already closing.
fn selected(shard: &Shard, selector: &ConnectionSelector) -> Vec<Rc<Connection>> {
    let is_selected = |connection: &Rc<Connection>| connection.takes_messages() && selector.matches(connection);
    let all = if let ConnectionSelector::User(user) = selector {
        shard.hub.connections_of(&user.id)
    } else {
        shard.hub.all()
    };
    all.into_iter().filter(is_selected).collect()
}

fn describe(shard: &Shard, connections: &[Rc<Connection>]) -> Vec<Value> {
    connections.iter().map(|connection| connection.describe(shard.hub.now())).collect()
}

/// Describes a page of this shard's connections, but for those that are closing.
fn list(shard: &Shard, page: &ConnectionPage) -> Vec<Value> {
    let mut connections = shard.hub.all();
    connections.retain(|connection| connection.takes_messages());
    page.of(&mut connections, |connection| connection.caller.id(), |connection| connection.waiting_bytes() as u64);
    describe(shard, &connections)
}

/// Closes the connections that an operator or the application selects, and returns their number. A user's grants are void
/// by then.
fn disconnect(shard: &Shard, selector: &ConnectionSelector) -> usize {
    let policy = match selector {
        ConnectionSelector::User(user) if user.reconnect => ReconnectPolicy::AfterMs(0),
        _ => ReconnectPolicy::Never,
    };
    let found = selected(shard, selector);
    for connection in &found {
        shard.hub.send_disconnect(connection, "disconnected", policy);
        connection.close(&Close::DISCONNECTED, &shard.metrics, shard.hub.now());
    }
    found.len()
}
