//! Which rooms have subscribers anywhere in the cluster. Each gateway has a lease in Redis: what one that was killed has
//! left there, another one takes over.
//!
//! Everything is in one script, so that of two gateways one is the first and one the last.

use std::time::{Duration, Instant};

use deadpool_redis::redis::{RedisError, Script};

use super::context::Context;
use crate::bus::room_changes::{OccupancyChanges, RoomNews};

/// How long a silent gateway keeps its rooms.
const LIFE: Duration = Duration::from_secs(10);

/// Where the repetition of all news begins.
const FROM_THE_FIRST: &str = "0";

/// Whether Redis knows the gateway, where the repetition of all news goes on, whether more is to be taken over, and what
/// there is to tell: of each room its version, and whether it is occupied.
type Answer = (u8, String, u8, Vec<(String, u64, u8)>);

/// The rooms in Redis, as one gateway changes them.
pub(crate) struct RedisOccupancy {
    context: Context,
    /// Redis knows this gateway.
    is_known: bool,
    /// Where all news are to be repeated from, in steps: the answer to a call was lost, and with it what it has found.
    repeats: Option<String>,
    /// A gateway that has ended has more to be taken over.
    has_more: bool,
    /// Since when each call was answered. Who has just come back leaves the others the time to come back as well.
    well_since: Option<Instant>,
}

impl RedisOccupancy {
    pub(super) fn new(context: Context) -> Self {
        Self { context, is_known: false, repeats: None, has_more: false, well_since: None }
    }

    /// Whether Redis has to be told all rooms of this gateway again.
    pub(crate) fn is_known(&self) -> bool {
        self.is_known
    }

    /// Whether the next call finds more at once.
    pub(crate) fn has_more(&self) -> bool {
        self.is_known && (self.has_more || self.repeats.is_some())
    }

    /// Renews the lease, and applies changes; the same ones again after an error. `None`: Redis does not know this gateway.
    pub(crate) async fn apply(&mut self, changes: &OccupancyChanges) -> Result<Option<Vec<RoomNews>>, String> {
        let applied = self.context.connector.limited(self.call(changes)).await;
        match applied {
            Ok((known, cursor, has_more, found)) => {
                self.is_known = known == 1;
                if !self.is_known {
                    // What it had to tell may still be there.
                    self.repeats = Some(FROM_THE_FIRST.to_owned());
                } else if !changes.only_lives {
                    self.repeats = Some(cursor).filter(|cursor| !cursor.is_empty());
                }
                self.has_more = has_more == 1;
                self.well_since.get_or_insert_with(Instant::now);
                let news =
                    |(room, version, is_occupied): (String, u64, u8)| RoomNews::new(room, version, is_occupied == 1);
                Ok(self.is_known.then(|| found.into_iter().map(news).collect()))
            }
            Err(error) => {
                self.repeats = Some(FROM_THE_FIRST.to_owned());
                self.well_since = None;
                Err(error.to_string())
            }
        }
    }

    async fn call(&self, changes: &OccupancyChanges) -> Result<Answer, RedisError> {
        // Whoever leaves takes over nothing, and neither does who cannot tell it.
        let takes_news = !changes.only_lives;
        let may_sweep = takes_news && !changes.leaves && self.well_since.is_some_and(|since| since.elapsed() > LIFE);
        let flags: String = [('f', changes.is_first), ('s', may_sweep), ('l', changes.leaves)]
            .into_iter()
            .filter_map(|(flag, is_set)| is_set.then_some(flag))
            .collect();
        let repeats = self.repeats.as_deref().filter(|_| takes_news).unwrap_or_default();
        let mut connection = self.context.connector.pooled().await?;
        let script = Script::new(include_str!("scripts/occupancy.lua"));
        let mut call = script.prepare_invoke();
        for key in self.context.keys.occupancy() {
            call.key(key);
        }
        call.arg(&self.context.shared.identity.id).arg(LIFE.as_millis() as u64).arg(flags).arg(repeats);
        for rooms in [&changes.entered, &changes.left] {
            call.arg(rooms.len());
            for room in rooms {
                call.arg(&**room);
            }
        }
        call.arg(changes.told.len());
        for (room, version) in &changes.told {
            call.arg(&**room).arg(*version);
        }
        call.invoke_async(&mut connection).await
    }
}
