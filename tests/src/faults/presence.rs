//! "A server crashed, and people were shown who had long gone." Users in rooms, who come and go while gateways die.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Report, Scale, quantile};
use crate::cluster::{Cluster, Shape};
use crate::process::Signal;
use crate::visitor::{Visitor, room, room_name};

/// How long a list may differ from the truth.
const LIMIT: Duration = Duration::from_secs(6);
const ROOMS: usize = 5;
/// The upper bound of the wait before a user whose connection is lost comes back.
const RETRY_MS: u64 = 500;
const STEP: Duration = Duration::from_millis(50);

/// What a user's page shows; `None` while it has no list.
type Shown = Option<BTreeSet<String>>;

struct User {
    /// Whether the page is to be open.
    wanted: watch::Sender<bool>,
    shown: Arc<Mutex<Shown>>,
    task: JoinHandle<anyhow::Result<()>>,
}

fn name_of(user: usize) -> String {
    format!("u{user}")
}

fn room_of(user: usize) -> i64 {
    (user % ROOMS) as i64
}

/// Keeps a page open as long as it is wanted, at whatever gateway is there.
async fn stay(
    user: usize,
    urls: Vec<String>,
    mut wanted: watch::Receiver<bool>,
    shown: Arc<Mutex<Shown>>,
    seed: u64,
) -> anyhow::Result<()> {
    let mut random = fastrand::Rng::with_seed(seed.wrapping_add(user as u64));
    let mut grant: Option<String> = None;
    loop {
        if wanted.wait_for(|wanted| *wanted).await.is_err() {
            return Ok(());
        }
        let url = &urls[random.usize(..urls.len())];
        if let Ok(visitor) = enter(url, user, grant.as_deref()).await {
            tokio::select! {
                // Lost with its gateway.
                lost = follow(visitor, user, &shown, &mut grant) => lost?,
                gone = wanted.wait_for(|wanted| !*wanted) => if gone.is_err() { return Ok(()) },
            }
        }
        *shown.lock().unwrap_or_else(PoisonError::into_inner) = None;
        tokio::time::sleep(Duration::from_millis(random.u64(..RETRY_MS))).await;
    }
}

async fn enter(url: &str, user: usize, grant: Option<&str>) -> anyhow::Result<Visitor> {
    let mut visitor = Visitor::connect(url, &format!("session={}", name_of(user))).await?;
    let mut wanted = room(room_of(user));
    if let Some(grant) = grant {
        wanted["grant"] = json!(grant);
    }
    visitor.ask(json!([wanted])).await?;
    Ok(visitor)
}

/// Follows what a page is told until its connection is lost. A change that does not follow from what was told before is an
/// error.
async fn follow(
    mut visitor: Visitor,
    user: usize,
    shown: &Mutex<Shown>,
    grant: &mut Option<String>,
) -> anyhow::Result<()> {
    let room = room_name(room_of(user));
    loop {
        let Ok(message) = visitor.client.receive_text_forever().await else { return Ok(()) };
        visitor.hear(&crate::message::ServerMessage::parse(&message)?)?;
        if let Some(given) = visitor.grants.get(&room) {
            *grant = Some(given.clone());
        }
        let members = visitor.members.get(&room).map(|members| members.keys().cloned().collect());
        *shown.lock().unwrap_or_else(PoisonError::into_inner) = members;
    }
}

/// The users that are wanted, and those of their pages that show something else.
fn wrong(users: &[User]) -> Vec<usize> {
    let mut truth: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
    let wanted: Vec<usize> = (0..users.len()).filter(|user| *users[*user].wanted.borrow()).collect();
    for user in &wanted {
        truth.entry(room_of(*user)).or_default().insert(name_of(*user));
    }
    let is_wrong = |user: &usize| {
        let shown = users[*user].shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.as_ref() != truth.get(&room_of(*user))
    };
    wanted.into_iter().filter(is_wrong).collect()
}

/// Waits until all pages show the truth. Returns how long that took.
async fn settle(users: &mut [User], limit: Duration) -> anyhow::Result<Duration> {
    let began = Instant::now();
    loop {
        let wrong = wrong(users);
        if wrong.is_empty() {
            return Ok(began.elapsed());
        }
        for user in users.iter_mut() {
            if user.task.is_finished() {
                (&mut user.task).await??;
            }
        }
        let shown =
            wrong.first().map(|user| (user, users[*user].shown.lock().unwrap_or_else(PoisonError::into_inner).clone()));
        ensure!(
            began.elapsed() < limit,
            "after {limit:?}, {} pages show something else, such as {shown:?}",
            wrong.len()
        );
        tokio::time::sleep(STEP).await;
    }
}

/// Gateways are killed and started again while users open and close their pages.
pub async fn gateways_die_while_users_come_and_go(scale: Scale, seed: u64) -> anyhow::Result<Report> {
    let (count, kills) = (scale.pick(60, 300), scale.pick(2, 12));
    let shape = Shape::new(3, 1).with_redis().gateway("--signing-key", "k").gateway("--app-url", "http://127.0.0.1");
    let mut cluster = Cluster::start(shape)?;
    let urls: Vec<String> = (0..3).map(|gateway| cluster.url(gateway)).collect();
    let mut users: Vec<User> = (0..count)
        .map(|user| {
            let (wanted, is_wanted) = watch::channel(true);
            let shown: Arc<Mutex<Shown>> = Arc::default();
            let task = tokio::spawn(stay(user, urls.clone(), is_wanted, Arc::clone(&shown), seed));
            User { wanted, shown, task }
        })
        .collect();
    settle(&mut users, Duration::from_secs(30)).await.context("at the start")?;
    let mut random = fastrand::Rng::with_seed(seed);
    let mut times = Vec::new();
    for kill in 0..kills {
        let victim = kill % cluster.gateways.len();
        cluster.gateways[victim].process.signal(Signal::Kill)?;
        // Some go for good while their gateway is down, and some come.
        for user in &users {
            if random.u32(..4) == 0 {
                user.wanted.send_modify(|wanted| *wanted = !*wanted);
            }
        }
        times.push(settle(&mut users, LIMIT).await.with_context(|| format!("after kill {kill}"))?);
        cluster.gateways[victim].process.wait()?;
        cluster.restart_gateway(victim)?;
    }
    for user in users {
        drop(user.wanted);
        user.task.abort();
    }
    let (worst, median) = (quantile(&mut times, 1.0), quantile(&mut times, 0.5));
    Ok(Report {
        what: format!("{kills} gateways killed, a quarter of {count} users in {ROOMS} rooms comes or goes each time"),
        sent: kills as u64,
        clients: count as u64,
        delivered: (kills * count) as u64,
        more: format!("every list was the truth after {median:.1?} (median), {worst:.1?} (most)"),
        ..Report::default()
    })
}
