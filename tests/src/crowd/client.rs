//! One client: connects, subscribes or resumes, and counts what it gets.

use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;

use super::Plan;
use super::group::Group;
use super::record::Record;
use crate::load::{Refused, Socket, client_frame};

/// Ids that a client remembers, as the page's scripts do.
const SEEN_MAX: usize = 500;
/// How long a connection may take to open.
const OPEN_MAX: Duration = Duration::from_secs(20);

/// A message of a gateway, as far as a client needs it.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Data<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Data<'a> {
    #[serde(borrow)]
    epoch: Option<Cow<'a, str>>,
    offset: Option<u64>,
    recovered: Option<bool>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    events: Vec<Event>,
    retry_after: Option<u64>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    params: Vec<Param>,
}

#[derive(Deserialize)]
struct Param {
    n: Option<u64>,
}

/// How a connection ended.
enum End {
    Finished,
    Cut,
    Refused,
    Broken,
    SentAway(Duration),
}

/// A client under way.
pub struct Client {
    index: usize,
    group: Rc<Group>,
    random: fastrand::Rng,
    /// Epoch and offset.
    place: Option<(String, u64)>,
    seen: HashSet<u64>,
    order: VecDeque<u64>,
    /// When the resume was sent that has no confirmation yet.
    resuming: Option<Instant>,
    listens: bool,
    has_arrived: bool,
}

impl Client {
    /// Creates a client that has connected nowhere.
    pub fn new(index: usize, group: Rc<Group>) -> Self {
        let random = fastrand::Rng::with_seed(group.plan.seed.wrapping_add(index as u64));
        let (seen, order) = (HashSet::new(), VecDeque::new());
        Self { index, group, random, place: None, seen, order, resuming: None, listens: false, has_arrived: false }
    }

    /// Connects again and again, until the group finishes.
    pub async fn run(mut self) {
        let group = Rc::clone(&self.group);
        let mut turn = self.index;
        while !group.is_finished() {
            let end = tokio::select! {
                end = self.connection(turn) => end,
                () = group.finished() => End::Finished,
            };
            self.leave();
            turn += 1;
            let (from, to) = group.plan.retry_ms;
            let wait = match end {
                End::Finished => return,
                End::Cut => group.plan.cut.map_or(Duration::ZERO, |cut| cut.away),
                End::SentAway(wait) => wait,
                End::Refused => {
                    group.count_refused();
                    Duration::from_millis(self.random.u64(from..=to))
                }
                End::Broken => Duration::from_millis(self.random.u64(from..=to)),
            };
            group.update_figures(|figures| figures.reconnects += 1);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = group.finished() => return,
            }
        }
    }

    /// Opens one connection and listens on it until it ends.
    async fn connection(&mut self, turn: usize) -> End {
        let group = Rc::clone(&self.group);
        let target = group.plan.targets[turn % group.plan.targets.len()];
        let started = Instant::now();
        group.count_try();
        let Plan { headers, many_addresses, .. } = &group.plan;
        let opened = Socket::connect_in_turn(target, headers, &group.turns, *many_addresses);
        let opened = tokio::time::timeout(OPEN_MAX, opened);
        let mut socket = match opened.await {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) if error.is::<Refused>() => return End::Refused,
            Ok(Err(_)) | Err(_) => return End::Broken,
        };
        if socket.receive().await.is_err() {
            return End::Broken;
        }
        group.update_figures(|figures| figures.connects.add(started.elapsed()));
        group.count_connected(1);
        if !group.plan.subscribes {
            self.arrive();
        }
        let end = self.listen(&mut socket).await;
        group.count_connected(-1);
        if matches!(end, End::Cut) && self.random.bool() {
            // Half of the networks vanish without a word of the client's system.
            socket.reset_on_close();
        }
        end
    }

    async fn listen(&mut self, socket: &mut Socket) -> End {
        let group = Rc::clone(&self.group);
        let cut = group.plan.cut.map(|cut| cut.every.mul_f64(0.5 + self.random.f64()));
        let cut = tokio::time::sleep(cut.unwrap_or(Duration::from_hours(1)));
        tokio::pin!(cut);
        if !group.subscribes() {
            // It reads, to answer the gateway's pings.
            tokio::select! {
                () = &mut cut => return End::Cut,
                () = group.subscribed() => {}
                _ = socket.receive() => return End::Broken,
            }
        }
        let request = client_frame(&self.request());
        self.resuming = self.place.is_some().then(Instant::now);
        if socket.send(&request).await.is_err() {
            return End::Broken;
        }
        loop {
            tokio::select! {
                () = &mut cut => return End::Cut,
                received = socket.receive() => {
                    let Ok(bytes) = received else { return End::Broken };
                    let Ok(message) = serde_json::from_slice::<Message<'_>>(bytes) else { return End::Broken };
                    if message.event == "diffyne.disconnect" {
                        return End::SentAway(Duration::from_millis(message.data.retry_after.unwrap_or(0)));
                    }
                    self.take(&message);
                }
            }
        }
    }

    fn request(&self) -> String {
        let events = json!([{"name": "message-sent"}]);
        match &self.place {
            Some((epoch, offset)) => {
                let data = json!({"epoch": epoch, "offset": offset, "events": events});
                json!({"event": "diffyne.resume", "data": data}).to_string()
            }
            None => json!({"event": "diffyne.subscribe", "data": {"events": events}}).to_string(),
        }
    }

    fn take(&mut self, message: &Message<'_>) {
        let data = &message.data;
        let place = || Some((data.epoch.as_deref()?.to_owned(), data.offset?));
        match &*message.event {
            "diffyne.subscribed" => {
                self.place = self.place.take().or_else(place);
                self.begin_to_listen();
            }
            "diffyne.resumed" => {
                self.place = place();
                if data.recovered != Some(true) {
                    self.group.update(self.index, Record::inform);
                }
                if let Some(sent) = self.resuming.take() {
                    self.group.update_figures(|figures| figures.resumes.add(sent.elapsed()));
                }
                self.begin_to_listen();
            }
            "diffyne.gap" => {
                self.place = place();
                self.group.update(self.index, Record::inform);
            }
            "diffyne.event" => self.push(data),
            _ => {}
        }
    }

    fn push(&mut self, data: &Data<'_>) {
        if let (Some(offset), Some((_, at))) = (data.offset, &mut self.place) {
            *at = (*at).max(offset);
        }
        let id = self.group.hash(data.id.as_deref().unwrap_or_default());
        if !self.seen.insert(id) {
            return self.group.update(self.index, |record| record.repeats += 1);
        }
        self.order.push_back(id);
        if self.order.len() > SEEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        let param = data.events.first().and_then(|event| event.params.first());
        if let Some(number) = param.and_then(|param| param.n) {
            self.group.update(self.index, |record| record.hear(number));
            self.group.count_heard(number);
        }
    }

    fn begin_to_listen(&mut self) {
        if !self.listens {
            self.listens = true;
            self.group.count_listening(1);
            if self.group.plan.subscribes {
                self.arrive();
            }
        }
    }

    /// It has come as far as the plan wants.
    fn arrive(&mut self) {
        if !std::mem::replace(&mut self.has_arrived, true) {
            self.group.count_arrival();
        }
    }

    fn leave(&mut self) {
        if self.listens {
            self.listens = false;
            self.group.count_listening(-1);
        }
    }
}
