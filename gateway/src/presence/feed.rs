//! Brings the news of rooms, and whispers, to the shards.

use std::sync::Arc;
use std::time::{Duration, Instant};

use diffyne_shared::bus::{Bus, Whisper};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::news::PresenceNews;
use super::registry::{QueuedWhisper, RoomRegistry, WHISPERS_MAX};
use super::room::RoomNews;
use crate::metrics::Metrics;
use crate::protocol;
use crate::shard::command::{Command, ShardHandle, send_to_all};
use crate::shard::delivery::SharedFrame;

/// How often connections are told what has changed.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// Whispers that are delivered together.
const WHISPERS_TURN: usize = 64;

/// Tells connections what has changed in their rooms, until the program ends.
pub async fn tell_changes(presence: Arc<RoomRegistry>, shards: Vec<ShardHandle>, metrics: Arc<Metrics>) {
    let mut tick = tokio::time::interval(TELL_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let found = presence.take_news(Instant::now()).await;
        let (rooms, members) = presence.counts();
        metrics.presence_rooms.set(i64::try_from(rooms).unwrap_or(i64::MAX));
        metrics.presence_members.set(i64::try_from(members).unwrap_or(i64::MAX));
        let news: Arc<[PresenceNews]> = found.into_iter().flat_map(|news| frames(news, &metrics)).collect();
        if !news.is_empty() {
            send_to_all(&shards, || Command::Rooms(Arc::clone(&news))).await;
        }
    }
}

/// The messages about one room. Who waits for the list has no use for the changes before it.
fn frames(news: RoomNews, metrics: &Metrics) -> Vec<PresenceNews> {
    let RoomNews { room, joins, leaves, list } = news;
    let mut messages = Vec::new();
    if !joins.is_empty() || !leaves.is_empty() {
        metrics.presence_changes.with_label_values(&["join"]).inc_by(joins.len() as u64);
        metrics.presence_changes.with_label_values(&["leave"]).inc_by(leaves.len() as u64);
        let frame = SharedFrame::new(protocol::room_change(&room, &joins, &leaves));
        messages.push(PresenceNews::Change { room: Arc::clone(&room), frame });
    }
    if let Some((members, watchers)) = list {
        let frame = SharedFrame::new(protocol::room_list(&room, &members));
        messages.push(PresenceNews::List { room, frame, watchers });
    }
    messages
}

/// Delivers whispers, until the program ends: to the connections of this gateway, and to the other gateways those that
/// come from here.
pub async fn deliver_whispers(presence: Arc<RoomRegistry>, shards: Vec<ShardHandle>, bus: Bus, metrics: Arc<Metrics>) {
    let Some(mut queue) = presence.take_queue() else { return };
    // Redis may be slow: nobody here waits for it.
    let (others, leaving) = mpsc::channel(WHISPERS_MAX);
    let dropped = |count: usize| metrics.whispers.with_label_values(&["dropped"]).inc_by(count as u64);
    let deliver = async {
        let mut queued = Vec::with_capacity(WHISPERS_TURN);
        while queue.recv_many(&mut queued, WHISPERS_TURN).await > 0 {
            let mut news = Vec::new();
            {
                let rooms = presence.lock();
                for QueuedWhisper { whisper, sender } in queued.drain(..) {
                    if rooms.members_in(&whisper.room) > 0 {
                        let frame = SharedFrame::new(protocol::whisper(&whisper));
                        news.push(PresenceNews::Whisper { room: Arc::clone(&whisper.room), frame, except: sender });
                    }
                    if sender.is_some()
                        && rooms.has_members_elsewhere(&whisper.room)
                        && others.try_send(whisper).is_err()
                    {
                        dropped(1);
                    }
                }
            }
            let news: Arc<[PresenceNews]> = news.into();
            if !news.is_empty() {
                send_to_all(&shards, || Command::Rooms(Arc::clone(&news))).await;
            }
        }
    };
    tokio::join!(deliver, send_to_others(leaving, &bus, &dropped));
}

/// Sends whispers to the other gateways.
async fn send_to_others(mut leaving: mpsc::Receiver<Whisper>, bus: &Bus, dropped: &impl Fn(usize)) {
    let mut turn = Vec::with_capacity(WHISPERS_TURN);
    while leaving.recv_many(&mut turn, WHISPERS_TURN).await > 0 {
        if let Err(error) = bus.whisper(&turn).await {
            dropped(turn.len());
            tracing::debug!(%error, "whispers did not reach the other gateways");
        }
        turn.clear();
    }
}
