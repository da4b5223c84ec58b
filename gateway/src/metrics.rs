//! The metrics of a gateway. Labels are constants or names reported by workers, never values from clients.

use std::sync::Arc;

use diffyne_shared::bus::{BusCounters, without_channel};
use diffyne_shared::metrics::{LabelNames, Table, UNKNOWN, made};
use diffyne_shared::trace;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use crate::auth::admission::Refusal;
use crate::connection::transport::ClientTransport;

/// The number of component names with a label of their own; the rest share `unknown`.
pub const COMPONENTS_MAX: usize = 500;
/// The number of components whose times are counted by themselves: each takes as many series as there are buckets.
const TIMED_COMPONENTS_MAX: usize = 100;
/// The number of event names with a label of their own. Workers and applications name them, never clients.
const EVENTS_MAX: usize = 200;

/// The counters and gauges of one gateway process.
pub struct Metrics {
    /// Spans, by what became of them.
    pub spans: IntCounterVec,
    /// The registry of all metrics.
    pub registry: Registry,
    /// Open WebSocket connections.
    pub connections: IntGauge,
    /// Open connections by transport.
    transports: IntGaugeVec,
    /// Connections since the start, by transport.
    transports_opened: IntCounterVec,
    /// Handshakes by result.
    pub handshakes: IntCounterVec,
    /// Accepted connections that wait for their thread.
    pub handshakes_waiting: IntGauge,
    /// Messages received.
    pub messages_in: IntCounter,
    /// Messages sent.
    pub messages_out: IntCounter,
    /// Payload bytes received.
    pub bytes_in: IntCounter,
    /// Bytes of frames sent.
    pub bytes_out: IntCounter,
    /// Connections that the server closed, by close code.
    pub closes: IntCounterVec,
    /// Calls by component and outcome.
    pub calls: IntCounterVec,
    /// Components that have a label.
    pub components: LabelNames,
    /// Time from a call's arrival to its response, by component.
    pub call_duration: HistogramVec,
    /// Time from a call's arrival until it was sent to a worker, by component.
    pub queue_wait: HistogramVec,
    /// Components whose times have a label.
    pub timed_components: LabelNames,
    /// Calls without a response so far.
    pub calls_in_flight: IntGauge,
    /// Calls that wait for a worker.
    pub calls_waiting: IntGauge,
    /// Calls sent to the worker that their component prefers.
    pub sent_to_preferred: IntCounter,
    /// Calls sent to another worker.
    pub sent_to_other: IntCounter,
    /// Calls that a worker handed back.
    pub busy: IntCounter,
    /// Replies that match no call.
    pub stray_replies: IntCounter,
    /// Workers by state, as this process sees them.
    pub workers: IntGaugeVec,
    /// Workers that run older code of the application, as the newest does not start.
    pub workers_outdated: IntGauge,
    /// Connections to workers, over all threads.
    pub worker_connections: IntGauge,
    /// Broadcasts published by this gateway.
    pub broadcasts_published: IntCounter,
    /// Broadcasts not published, by reason.
    pub broadcasts_held: IntCounterVec,
    broadcasts_received: IntCounterVec,
    /// Bytes of broadcasts to connections, by event.
    pub broadcast_bytes: IntCounterVec,
    /// Events that have a label.
    pub events: LabelNames,
    /// Parts of answers that were sent on.
    pub parts: IntCounter,
    /// Pushes to connections.
    pub deliveries: IntCounter,
    /// Messages that were sent compressed.
    pub compressed: IntCounter,
    /// Bytes that were not sent because of it.
    pub compression_saved: IntCounter,
    /// Bytes of messages that arrived compressed, inflated.
    pub inflated: IntCounter,
    /// Time to deliver one broadcast to all connections of one thread.
    pub fan_out: Histogram,
    /// Connections whose user is known.
    pub user_connections: IntGauge,
    /// Events for one user that left from here.
    pub user_events: IntCounter,
    /// Events of connections for the application, by what became of them.
    pub lifecycle_events: IntCounterVec,
    /// Those that wait to be delivered.
    pub lifecycle_waiting: IntGauge,
    /// Those that are tried by themselves, since the receiver has refused them.
    pub lifecycle_set_aside: IntGauge,
    /// What the latter take, in bytes.
    pub lifecycle_set_aside_bytes: IntGauge,
    /// What all take that were not delivered yet, in bytes.
    pub lifecycle_bytes: IntGauge,
    /// Deliveries of such events by result.
    pub lifecycle_requests: IntCounterVec,
    /// Rooms that clients of this gateway are in.
    pub presence_rooms: IntGauge,
    /// Entries of this gateway's users in rooms.
    pub presence_members: IntGauge,
    /// Entries that connections were told of, by whether they have come or left.
    pub presence_changes: IntCounterVec,
    /// Attempts to enter a room, by result.
    pub presence_entries: IntCounterVec,
    /// Times that rooms were read, or reported, anew.
    pub presence_resyncs: IntCounter,
    /// Whispers by result.
    pub whispers: IntCounterVec,
    /// Grants by result.
    pub grants: IntCounterVec,
    /// Messages and calls that exceeded a connection's rate.
    pub limited: IntCounterVec,
    /// Resident memory, as compared with the budget.
    pub memory: IntGauge,
    /// The memory budget.
    pub memory_max: IntGauge,
    /// Connections ended because memory was short.
    pub shed: IntCounter,
    /// Connections closed because the client did not read.
    pub slow_consumers: IntCounter,
    /// Connections closed because the client did not answer pings.
    pub dead_peers: IntCounter,
    /// Resumes, by whether the missed broadcasts could be replayed.
    pub resumes: IntCounterVec,
    /// Replayed broadcasts.
    pub replayed: IntCounter,
    /// Requests to the AJAX endpoint, by result.
    pub requests: IntCounterVec,
    /// Uploads and previews, by result.
    pub uploads: IntCounterVec,
    /// Bytes of uploads that were passed on.
    pub upload_bytes: IntCounter,
    /// Uploads without a complete response so far.
    pub uploads_under_way: IntGauge,
    /// Handshakes of foreign pages that are served as guests.
    pub guests: IntCounter,
    /// Whether Redis responds; registered where it is used.
    pub redis_up: IntGauge,
    /// Reconnections to Redis.
    pub redis_reconnects: IntCounter,
    /// Broadcasts that wait for Redis.
    pub broadcasts_waiting: IntGauge,
    /// Time that requests of applications waited for room in the queue of broadcasts.
    pub publish_wait: Histogram,
    /// Events of applications that wait in the ingress list.
    pub ingress_waiting: IntGauge,
    /// Events of applications dropped because the ingress list was too long.
    pub ingress_dropped: IntCounter,
    /// Events that were published before under the same idempotency key.
    pub repeated: IntCounter,
    /// Broadcasts lost because the queue was full.
    pub broadcasts_overflowed: IntCounter,
    /// Gaps, by whether they were closed from the history or reported to clients.
    pub gaps: IntCounterVec,
    /// Messages and connections without a proof of the worker token.
    pub unproved: IntCounterVec,
}

/// Whether a gateway uses Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedisUse {
    /// `DIFFYNE_REDIS_URL` is set.
    Yes,
    /// The bus is in memory.
    No,
}

impl Metrics {
    /// Creates all metrics, including those of the process itself and of the bus. A gateway without Redis does not tell
    /// whether it answers.
    pub fn new(bus: &BusCounters, redis: RedisUse) -> Arc<Self> {
        let table = Table::new("diffyne_gateway");
        let redis_up = made(IntGauge::new(
            "diffyne_gateway_redis_up",
            "1 while Redis answers, 0 while it does not; absent without Redis",
        ));
        if redis == RedisUse::Yes {
            table.add(&redis_up);
        }
        table.add(&bus.batch_sizes);
        let counter = |name, help| table.counter(name, help);
        let counters = |name, help, labels: &[&str]| table.counters(name, help, labels);
        let gauge = |name, help| table.gauge(name, help);
        let gauges = |name, help, labels: &[&str]| table.gauges(name, help, labels);
        let seconds = |name, help| table.seconds(name, help);
        let by_component = |name, help| table.seconds_by(name, help, &["component"]);
        table.build_info();
        let info = gauges("info", "Version of this gateway; always 1", &["version"]);
        info.with_label_values(&[diffyne_shared::VERSION]).set(1);
        let directions = counters("messages_total", "WebSocket messages by direction", &["direction"]);
        let sent = counters(
            "calls_sent_total",
            "Calls sent to workers: to the one that their component prefers (preferred), or to another (other)",
            &["worker"],
        );
        let bytes = counters("bytes_total", "WebSocket bytes by direction", &["direction"]);
        let metrics = Self {
            connections: gauge("connections", "Open connections of clients, over all transports"),
            transports: gauges(
                "transport_connections",
                "Open connections by transport: websocket, sse, poll (a request that waits for news)",
                &["transport"],
            ),
            transports_opened: counters(
                "transport_connections_opened_total",
                "Connections since the start by transport; each poll is one",
                &["transport"],
            ),
            handshakes: counters(
                "handshakes_total",
                "WebSocket handshakes, and requests for server-sent events, by result",
                &["result"],
            ),
            handshakes_waiting: gauge("handshakes_waiting", "Accepted connections that wait for their thread"),
            messages_in: directions.with_label_values(&["in"]),
            messages_out: directions.with_label_values(&["out"]),
            bytes_in: bytes.with_label_values(&["in"]),
            bytes_out: bytes.with_label_values(&["out"]),
            closes: counters("closes_total", "Connections closed by this server, by close code", &["code"]),
            calls: counters("calls_total", "Component calls by component and outcome", &["component", "outcome"]),
            components: LabelNames::new(COMPONENTS_MAX),
            call_duration: by_component("call_duration_seconds", "From a call's arrival to its answer, by component"),
            queue_wait: by_component(
                "queue_wait_seconds",
                "How long calls waited in the gateway: for earlier calls of their component and for a worker",
            ),
            timed_components: LabelNames::new(TIMED_COMPONENTS_MAX),
            calls_in_flight: gauge("calls_in_flight", "Calls not answered yet"),
            calls_waiting: gauge("calls_waiting", "Calls that wait for a worker with room"),
            sent_to_preferred: sent.with_label_values(&["preferred"]),
            sent_to_other: sent.with_label_values(&["other"]),
            busy: counter("calls_handed_back_total", "Calls that a busy or draining worker handed back"),
            stray_replies: counter("stray_replies_total", "Replies of workers that fit no call"),
            workers: gauges(
                "workers",
                "Workers: those that run calls (reachable), answer but cannot (faulty), or do not answer (unreachable)",
                &["state"],
            ),
            workers_outdated: gauge(
                "workers_with_old_code",
                "Reachable workers on which older code of the application runs because the newest does not start",
            ),
            worker_connections: gauge("worker_connections", "Connections to workers, over all threads"),
            broadcasts_published: counter("broadcasts_published_total", "Broadcasts that left from this gateway"),
            broadcasts_held: counters(
                "broadcasts_held_total",
                "Broadcast events that stayed in their response, by reason",
                &["reason"],
            ),
            broadcasts_received: counters(
                "broadcasts_received_total",
                "Broadcasts that arrived for delivery, by event",
                &["event"],
            ),
            broadcast_bytes: counters(
                "broadcast_bytes_total",
                "Bytes of broadcasts to connections, by event: a broadcast to ten connections counts ten times",
                &["event"],
            ),
            events: LabelNames::new(EVENTS_MAX),
            parts: counter("parts_total", "Parts of answers sent on while their calls ran"),
            deliveries: counter("deliveries_total", "Broadcasts handed to connections"),
            compressed: counter("compressed_messages_total", "Messages sent compressed"),
            compression_saved: counter("compression_saved_bytes_total", "Bytes not sent because of compression"),
            inflated: counter("inflated_bytes_total", "Bytes of messages that arrived compressed, inflated"),
            fan_out: seconds("fan_out_seconds", "One broadcast to all connections of one thread"),
            user_connections: gauge("user_connections", "Open connections whose user a worker has told"),
            user_events: counter("user_events_total", "Events for one user that left from calls of this gateway"),
            lifecycle_events: counters(
                "lifecycle_events_total",
                "Events of connections for the application: delivered, dropped (the queue was full), abandoned (tried for DIFFYNE_WEBHOOK_RETRY), left_out (a room too many, or with too long a match)",
                &["result"],
            ),
            lifecycle_waiting: gauge("lifecycle_waiting", "Events of connections that wait to be delivered"),
            lifecycle_set_aside: gauge(
                "lifecycle_set_aside",
                "Events of connections that the receiver has refused, and those behind them of the same connection or room",
            ),
            lifecycle_set_aside_bytes: gauge(
                "lifecycle_set_aside_bytes",
                "Memory that such events take: a quarter of DIFFYNE_WEBHOOK_QUEUE at most",
            ),
            lifecycle_bytes: gauge(
                "lifecycle_bytes",
                "Memory that events of connections take until they are delivered or given up, of DIFFYNE_WEBHOOK_QUEUE",
            ),
            lifecycle_requests: counters(
                "lifecycle_requests_total",
                "Webhooks sent, or calls of the listener, by result: taken, failed, refused (a final 4xx)",
                &["result"],
            ),
            presence_rooms: gauge("presence_rooms", "Rooms that clients of this gateway are in"),
            presence_members: gauge("presence_members", "Users of this gateway in rooms, each once a room"),
            presence_changes: counters(
                "presence_changes_total",
                "Users who came or left in rooms of this gateway: join (or another info), leave",
                &["change"],
            ),
            presence_entries: counters(
                "presence_entries_total",
                "Connections that wanted to enter a room: granted, shown (with a grant that a client came back with), refused, full, failed (no worker decided)",
                &["result"],
            ),
            presence_resyncs: counter(
                "presence_resyncs_total",
                "Times that rooms were read or reported anew, because something was lost on the way",
            ),
            whispers: counters(
                "whispers_total",
                "Whispers of clients: sent, limited (over the rate), refused (not in the room, or not a whisper), dropped (the queue was full, or Redis away)",
                &["result"],
            ),
            grants: counters(
                "grants_total",
                "Grants to subscribe: given, shown (by a client that came back), refused, expired, other_session (a worker was asked), revoked (its user was disconnected), forged, failed, not_renewed",
                &["result"],
            ),
            limited: counters(
                "limited_total",
                "What was over a limit of its connection: messages, calls, frames, bytes and replay (waits), held (memory), message_time",
                &["what"],
            ),
            shed: counter("shed_total", "Connections ended because memory was short"),
            memory: gauge("memory_bytes", "Resident memory, as compared with the budget"),
            memory_max: gauge("memory_max_bytes", "Memory above which load is shed"),
            slow_consumers: counter("slow_consumers_total", "Connections closed because they did not read"),
            dead_peers: counter("dead_peers_total", "Connections closed because they did not answer pings"),
            resumes: counters("resumes_total", "Clients that came back: recovered, lost", &["result"]),
            replayed: counter("replayed_total", "Broadcasts replayed to clients that came back"),
            requests: counters(
                "http_calls_total",
                "Requests to the HTTP ajax: accepted, origin (refused), full, too_large",
                &["result"],
            ),
            uploads: counters(
                "uploads_total",
                "File uploads and previews by result: relayed (the application answered), off, origin, full, address, too_large, late, aborted, unreachable, broken, no_response",
                &["kind", "result"],
            ),
            upload_bytes: counter("upload_bytes_total", "Bytes of file uploads passed on to the application"),
            uploads_under_way: gauge("uploads_under_way", "File uploads under way"),
            guests: counter("guest_handshakes_total", "Handshakes from foreign pages, served without cookies"),
            redis_up,
            redis_reconnects: counter("redis_reconnects_total", "Times that the subscription was (re)established"),
            broadcasts_waiting: gauge("broadcasts_waiting", "Broadcasts that wait for Redis"),
            publish_wait: seconds(
                "publish_wait_seconds",
                "How long POST /api/broadcast waited for room in the queue of broadcasts",
            ),
            ingress_waiting: gauge("ingress_waiting", "Events of applications that wait in the ingress list"),
            ingress_dropped: counter("ingress_dropped_total", "Events dropped because the ingress list was too long"),
            repeated: counter("publish_repeated_total", "Events published before under the same idempotency key"),
            broadcasts_overflowed: counter("broadcasts_overflowed_total", "Broadcasts that found the queue full"),
            gaps: counters("gaps_total", "Gaps in the broadcasts by what became of them", &["result"]),
            unproved: counters(
                "unproved_total",
                "Ignored because they do not prove the worker token: worker (connections), registration, order, answer (in Redis)",
                &["what"],
            ),
            spans: trace::counter(&table),
            registry: table.registry,
        };
        metrics.show_known_labels();
        Arc::new(metrics)
    }

    /// Shows counters with known labels at 0 from the start. Prometheus sees no increase in one that appears with its first
    /// event, so no alert would see that event.
    fn show_known_labels(&self) {
        let refusals = Refusal::ALL.map(Refusal::label);
        for label in ClientTransport::LABELS {
            self.transport(label, 0);
        }
        let known: [(&IntCounterVec, &[&str]); 16] = [
            (&self.presence_changes, &["join", "leave"]),
            (&self.presence_entries, &["granted", "shown", "refused", "full", "failed"]),
            (&self.whispers, &["sent", "limited", "refused", "dropped"]),
            (&self.transports_opened, &ClientTransport::LABELS),
            (&self.broadcasts_received, &[UNKNOWN]),
            (&self.broadcast_bytes, &[UNKNOWN]),
            (&self.handshakes, &["accepted", "timeout", "evicted"]),
            (&self.handshakes, &refusals),
            (&self.closes, &["1000", "1001", "1002", "1003", "1006", "1007", "1008", "1009", "1013"]),
            (&self.limited, &["messages", "calls", "frames", "bytes", "replay", "held", "message_time"]),
            (&self.resumes, &["recovered", "lost"]),
            (&self.requests, &["accepted", "origin", "full", "memory", "address", "too_large"]),
            (&self.broadcasts_held, &["depth", "rate", "queue_full"]),
            (&self.gaps, &["closed", "told"]),
            (&self.lifecycle_events, &["delivered", "dropped", "abandoned", "left_out"]),
            (&self.lifecycle_requests, &["taken", "failed", "refused"]),
        ];
        for (counters, labels) in known {
            for label in labels {
                counters.with_label_values(&[*label]);
            }
        }
    }

    /// Counts a broadcast that arrived for delivery.
    pub fn broadcast_received(&self, event: &str) {
        self.broadcasts_received.with_label_values(&[self.events.label(&without_channel(event))]).inc();
    }

    /// Counts a handshake by its result.
    pub fn handshake(&self, result: &str) {
        self.handshakes.with_label_values(&[result]).inc();
    }

    /// Counts a connection that has come (1) or gone (-1).
    pub fn transport(&self, label: &str, change: i64) {
        self.transports.with_label_values(&[label]).add(change);
        if change > 0 {
            self.transports_opened.with_label_values(&[label]).inc();
        }
    }

    /// Counts a connection that this server closes.
    pub fn close(&self, code: u16) {
        self.closes.with_label_values(&[&code.to_string()]).inc();
    }
}

/// Raises a counter to a value that is counted elsewhere.
pub fn advance(counter: &IntCounter, figure: u64) {
    counter.inc_by(figure.saturating_sub(counter.get()));
}
