//! A report of everything, in parts.

use std::sync::Arc;

use diffyne_shared::bus::{RoomChange, RoomReport};

use super::{REPORT_BYTES_MAX, Rooms, WORK_MAX, behind};

/// How far a report of everything has come.
#[derive(Debug)]
pub struct WholeReport {
    /// Rooms that are named whether or not they are still here: the others may believe in members of them.
    named: Vec<Arc<str>>,
    /// How many of these are in the parts so far.
    count: usize,
    /// The last room in the parts so far.
    after: Arc<str>,
    is_complete: bool,
}

impl WholeReport {
    /// Nothing is reported yet. `named`: rooms of reports that got lost.
    pub fn new(named: Vec<Arc<str>>) -> Self {
        Self { named, count: 0, after: "".into(), is_complete: false }
    }

    /// Whether the last part was taken out.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// The rooms that the next report of everything has to name if a part of this one got lost.
    pub fn into_named(self) -> Vec<Arc<str>> {
        self.named
    }
}

impl Rooms {
    /// Takes the next part of a report of everything, as much as goes at once.
    pub fn take_part(&mut self, whole: &mut WholeReport) -> RoomReport {
        let (mut changes, mut bytes, mut work) = (Vec::new(), 0, 0);
        while bytes < REPORT_BYTES_MAX
            && work < WORK_MAX
            && let Some(change) = self.next_whole_room(whole)
        {
            bytes += change.bytes();
            work += 1 + change.joins.len();
            changes.push(change);
        }
        let is_last = self.by_name.range::<str, _>(behind(&whole.after)).next().is_none();
        whole.is_complete = is_last && whole.count == whole.named.len();
        self.report(changes)
    }

    /// First the rooms that have to be named, then all that are here.
    fn next_whole_room(&mut self, whole: &mut WholeReport) -> Option<RoomChange> {
        if let Some(name) = whole.named.get(whole.count).cloned() {
            whole.count += 1;
            return Some(self.whole_room(&name));
        }
        let name = self.by_name.range::<str, _>(behind(&whole.after)).next().map(|(name, _)| Arc::clone(name))?;
        let change = self.whole_room(&name);
        if change.joins.is_empty() {
            // It is not here any more.
            whole.named.push(Arc::clone(&name));
            whole.count += 1;
        }
        whole.after = name;
        Some(change)
    }

    fn whole_room(&mut self, name: &Arc<str>) -> RoomChange {
        let joins = self.by_name.get_mut(name).map_or_else(Vec::new, |room| {
            room.unreported.clear();
            room.own.values().map(|own| own.member.clone()).collect()
        });
        self.unreported.remove(name);
        self.drop_if_empty(name);
        RoomChange { room: Arc::clone(name), joins, leaves: Vec::new(), is_whole: true }
    }
}
