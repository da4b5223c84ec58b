//! Clients that listen to `message-sent` as the page's scripts do: they keep their place, resume, drop ids that they
//! have seen, and refresh when they are told that something is missing.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Report;
use crate::client::Client;
use crate::events_client::EventsClient;

/// The address of the events behind this port of this machine, for clients that have no WebSocket, begins so.
pub const EVENTS: &str = "events:";
/// Ids that a client remembers, as the page's scripts do.
const SEEN_MAX: usize = 500;
/// The upper bound of the first wait before a reconnect; it doubles each time.
const RETRY_FIRST: Duration = Duration::from_millis(200);
/// The upper bound of every later wait.
const RETRY_LAST: Duration = Duration::from_secs(2);

/// A connection that is cut now and then.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// The connection lasts about this long.
    pub every: Duration,
    /// The client stays away this long.
    pub away: Duration,
}

/// What a client did and heard, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// The broadcast of this number.
    Heard(u64),
    /// The gateway said that something is missing, so that the page refreshes.
    Gap,
}

#[derive(Debug, Default)]
struct Log {
    items: Vec<Item>,
    /// Ids that came twice, which a page leaves out.
    repeats: u64,
    reconnects: u64,
}

struct Shared {
    urls: Vec<String>,
    cut: Option<Cut>,
    logs: Vec<Mutex<Log>>,
    listening: AtomicUsize,
    /// Moments at which connections were opened.
    opened: Mutex<Vec<Instant>>,
}

/// Clients under way.
pub struct Fleet {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Fleet {
    /// Starts `count` clients, dealt out over `urls`, and waits until all of them listen.
    pub async fn start(urls: &[String], count: usize, cut: Option<Cut>, seed: u64) -> anyhow::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared {
            urls: urls.to_vec(),
            cut,
            logs: (0..count).map(|_| Mutex::default()).collect(),
            listening: AtomicUsize::new(0),
            opened: Mutex::default(),
        });
        let tasks = (0..count)
            .map(|index| {
                let random = fastrand::Rng::with_seed(seed.wrapping_add(index as u64));
                tokio::spawn(Listener::new(index, Arc::clone(&shared), random).run(stopped.clone()))
            })
            .collect();
        let fleet = Self { shared, stop, tasks };
        fleet.wait("all listen", Duration::from_mins(1), |fleet| fleet.listening() == count).await?;
        Ok(fleet)
    }

    /// Clients that have a subscription now.
    pub fn listening(&self) -> usize {
        self.shared.listening.load(Ordering::Relaxed)
    }

    /// Clients that the gateway told of a gap.
    pub fn informed(&self) -> usize {
        self.shared.logs.iter().filter(|log| lock(log).items.contains(&Item::Gap)).count()
    }

    /// Clients that have heard this number, or were told of a gap after it was sent.
    pub fn have(&self, number: u64) -> usize {
        self.shared
            .logs
            .iter()
            .filter(|log| lock(log).items.iter().rev().take(64).any(|item| *item == Item::Heard(number)))
            .count()
    }

    /// Waits for a condition.
    pub async fn wait(&self, what: &str, limit: Duration, holds: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        let until = Instant::now() + limit;
        while !holds(self) {
            ensure!(Instant::now() < until, "waited {limit:?} in vain: {what}; {} listen", self.listening());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// The most connections that were opened within one second.
    pub fn most_opened_a_second(&self) -> usize {
        let mut opened = self.shared.opened.lock().unwrap_or_else(PoisonError::into_inner).clone();
        opened.sort_unstable();
        let mut first = 0;
        let mut most = 0;
        for (at, moment) in opened.iter().enumerate() {
            while moment.duration_since(opened[first]) > Duration::from_secs(1) {
                first += 1;
            }
            most = most.max(at - first + 1);
        }
        most
    }

    /// Forgets the connections that were opened so far.
    pub fn forget_opened(&self) {
        self.shared.opened.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Ends all clients, and counts what each of them heard of the numbers from 0 to `sent`.
    pub async fn finish(self, what: &str, sent: u64) -> anyhow::Result<Report> {
        self.stop.send_replace(true);
        for task in self.tasks {
            task.await.context("a listening client panicked")?;
        }
        let mut report =
            Report { what: what.to_owned(), sent, clients: self.shared.logs.len() as u64, ..Report::default() };
        let (mut repeats, mut reconnects) = (0, 0);
        for log in &self.shared.logs {
            let log = lock(log);
            count(&log.items, sent, &mut report);
            repeats += log.repeats;
            reconnects += log.reconnects;
        }
        report.more = format!("{reconnects} reconnects, {repeats} repeats left out by their id");
        Ok(report)
    }
}

/// Adds what one client heard to a report.
pub fn count(items: &[Item], sent: u64, report: &mut Report) {
    let (mut next, mut informed) = (0, false);
    for item in items {
        match item {
            Item::Gap => informed = true,
            Item::Heard(number) if *number < next => report.doubled += 1,
            Item::Heard(number) => {
                let missing = number - next;
                *(if informed { &mut report.reported } else { &mut report.lost }) += missing;
                report.delivered += 1;
                (next, informed) = (number + 1, false);
            }
        }
    }
    *(if informed { &mut report.reported } else { &mut report.lost }) += sent.saturating_sub(next);
}

fn lock(log: &Mutex<Log>) -> std::sync::MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Listener {
    index: usize,
    shared: Arc<Shared>,
    random: fastrand::Rng,
    /// Epoch and offset.
    place: Option<(String, u64)>,
    seen: HashSet<String>,
    order: VecDeque<String>,
    turn: usize,
}

/// What a client hears by.
enum Ears {
    Socket(Box<Client>),
    Events(EventsClient),
}

impl Ears {
    async fn receive(&mut self) -> anyhow::Result<String> {
        match self {
            Self::Socket(client) => client.receive_text_forever().await,
            Self::Events(client) => client.receive_text().await,
        }
    }
}

/// How a connection ended.
enum End {
    Stopped,
    Cut,
    Broken,
    /// The server said when to come back.
    SentAway(Duration),
}

impl Listener {
    fn new(index: usize, shared: Arc<Shared>, random: fastrand::Rng) -> Self {
        let turn = index;
        Self { index, shared, random, place: None, seen: HashSet::new(), order: VecDeque::new(), turn }
    }

    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut ceiling = RETRY_FIRST;
        while !*stop.borrow() {
            let url = self.shared.urls[self.turn % self.shared.urls.len()].clone();
            let end = match self.connect(&url).await {
                Ok(client) => {
                    self.shared.opened.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
                    ceiling = RETRY_FIRST;
                    let end = self.listen(client, &mut stop).await;
                    lock(&self.shared.logs[self.index]).reconnects += 1;
                    end
                }
                Err(_) => End::Broken,
            };
            self.turn += 1;
            let wait = match end {
                End::Stopped => return,
                End::Cut => self.shared.cut.map_or(RETRY_FIRST, |cut| cut.away),
                End::SentAway(wait) => wait,
                End::Broken => {
                    let wait = ceiling.mul_f64(self.random.f64());
                    ceiling = (ceiling * 2).min(RETRY_LAST);
                    wait
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stop.changed() => {}
            }
        }
    }

    /// Connects, by the transport that the address names, and says what the client wants to hear.
    async fn connect(&self, url: &str) -> anyhow::Result<Ears> {
        let mut wanted = json!({"events": [{"name": "message-sent"}]});
        if let Some((epoch, offset)) = &self.place {
            wanted["epoch"] = json!(epoch);
            wanted["offset"] = json!(offset);
        }
        if let Some(port) = url.strip_prefix(EVENTS) {
            return Ok(Ears::Events(EventsClient::post(port.parse()?, "", &[], &wanted).await?));
        }
        let mut client = Client::connect(url).await?;
        let event = if self.place.is_some() { "diffyne.resume" } else { "diffyne.subscribe" };
        client.send(event, wanted).await?;
        Ok(Ears::Socket(Box::new(client)))
    }

    async fn listen(&mut self, mut client: Ears, stop: &mut watch::Receiver<bool>) -> End {
        let cut = self.shared.cut.map(|cut| cut.every.mul_f64(0.5 + self.random.f64()));
        let cut = tokio::time::sleep(cut.unwrap_or(Duration::from_hours(1)));
        tokio::pin!(cut);
        let mut counted = false;
        let mut leave: Option<Instant> = None;
        let end = loop {
            let leaving = tokio::time::sleep(
                leave.map_or(Duration::from_hours(1), |at| at.saturating_duration_since(Instant::now())),
            );
            tokio::select! {
                () = &mut cut => break End::Cut,
                () = leaving => break End::SentAway(Duration::ZERO),
                _ = stop.changed() => break End::Stopped,
                text = client.receive() => {
                    let Ok(text) = text else { break End::Broken };
                    let Ok(message) = serde_json::from_str::<Value>(&text) else { break End::Broken };
                    if message["event"] == "diffyne.disconnect" {
                        leave = Some(Instant::now() + Duration::from_millis(message["data"]["retryAfter"].as_u64().unwrap_or(0)));
                    } else if self.take(&message) && !counted {
                        counted = true;
                        self.shared.listening.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        };
        if counted {
            self.shared.listening.fetch_sub(1, Ordering::Relaxed);
        }
        match (end, leave) {
            // It was told when to come back, and the server was faster.
            (End::Broken, Some(at)) => End::SentAway(at.saturating_duration_since(Instant::now())),
            (end, _) => end,
        }
    }

    /// Takes a message in; `true` when it says that the client listens now.
    fn take(&mut self, message: &Value) -> bool {
        let data = &message["data"];
        let place = || Some((data["epoch"].as_str()?.to_owned(), data["offset"].as_u64()?));
        match message["event"].as_str() {
            Some("diffyne.subscribed") => {
                self.place = self.place.take().or_else(place);
                true
            }
            Some("diffyne.resumed") => {
                self.place = place();
                if data["recovered"] != true {
                    self.note(Item::Gap);
                }
                true
            }
            Some("diffyne.gap") => {
                self.place = place();
                self.note(Item::Gap);
                false
            }
            Some("diffyne.event") => {
                self.push(data);
                false
            }
            _ => false,
        }
    }

    fn push(&mut self, data: &Value) {
        if let (Some(offset), Some((_, at))) = (data["offset"].as_u64(), &mut self.place) {
            *at = (*at).max(offset);
        }
        let id = data["id"].as_str().unwrap_or_default().to_owned();
        if !self.seen.insert(id.clone()) {
            lock(&self.shared.logs[self.index]).repeats += 1;
            return;
        }
        self.order.push_back(id);
        if self.order.len() > SEEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        if let Some(number) = data["events"][0]["params"][0]["n"].as_u64() {
            self.note(Item::Heard(number));
        }
    }

    fn note(&self, item: Item) {
        lock(&self.shared.logs[self.index]).items.push(item);
    }
}
