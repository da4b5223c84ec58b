//! Clients that call components on four workers, in simulated time: how often a component's call reaches the worker of
//! its previous one, who gets how much, and what that costs in waiting.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use super::*;

const WORKERS: usize = 4;
/// PHP processes of a worker; it takes as many calls again.
const PROCESSES: usize = 4;
/// What a call takes in a process, on average.
const SERVICE_MICROS: f64 = 5_000.0;
const CALLS: usize = 40_000;

#[derive(Clone, Copy)]
enum Rule {
    /// What gateways do.
    Preference,
    /// The power of two choices alone, for comparison.
    TwoChoices,
}

/// What a simulation is about.
struct Scenario {
    clients: usize,
    /// The pause of a client between two calls.
    pause_micros: f64,
    /// How many times as long as elsewhere a call takes on the first worker.
    slowness: f64,
}

#[derive(Debug)]
struct Figures {
    /// The share of calls that reached the worker of the component's previous call.
    same: f64,
    /// Each worker's share of the calls.
    shares: Vec<f64>,
    /// The mean time from a call to its answer, in microseconds.
    mean_micros: f64,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Call { client: usize },
    End { worker: usize, client: usize },
}

struct Simulation {
    upstreams: Vec<Rc<Upstream>>,
    classes: ClassLatencies,
    began: Instant,
    events: BinaryHeap<Reverse<(u64, Event)>>,
    running: [usize; WORKERS],
    waiting: [VecDeque<usize>; WORKERS],
    slowness: f64,
}

/// A random time with this mean, distributed exponentially.
fn random_micros(mean: f64) -> u64 {
    (-(1.0 - fastrand::f64()).ln() * mean) as u64
}

impl Simulation {
    fn new(slowness: f64) -> Self {
        let hello = Hello { queue: Some(64), ..Hello::worker("w", 2 * PROCESSES as u32) };
        let upstream = |port| {
            let upstream = Upstream::new(Endpoint::tcp("h", port));
            upstream.connected(&hello, 1000);
            upstream
        };
        Self {
            upstreams: (0..WORKERS as u16).map(upstream).collect(),
            classes: ClassLatencies::default(),
            began: Instant::now(),
            events: BinaryHeap::new(),
            running: [0; WORKERS],
            waiting: Default::default(),
            slowness,
        }
    }

    /// A moment of the simulated time.
    fn at(&self, micros: u64) -> Instant {
        self.began + Duration::from_micros(micros)
    }

    fn select(&self, now: u64, rule: Rule, client: usize) -> usize {
        let upstream = match rule {
            Rule::Preference => {
                let component = ComponentKey::new("C", &format!("diffyne-{client}"));
                select(&self.upstreams, component, self.at(now), |_| false).unwrap().upstream
            }
            Rule::TwoChoices => better_of_two(|n| self.upstreams.get(n), WORKERS, self.at(now)).unwrap(),
        };
        self.upstreams.iter().position(|other| Rc::ptr_eq(other, upstream)).unwrap()
    }

    /// Starts a call of this client in a process.
    fn start(&mut self, now: u64, worker: usize, client: usize) {
        self.running[worker] += 1;
        let slowness = if worker == 0 { self.slowness } else { 1.0 };
        let end = now + random_micros(SERVICE_MICROS * slowness);
        self.events.push(Reverse((end, Event::End { worker, client })));
    }

    fn send(&mut self, now: u64, worker: usize, client: usize) {
        self.upstreams[worker].send_call(1, &Frame::Ping(Ping::default()));
        self.upstreams[worker].take_out();
        if self.running[worker] < PROCESSES {
            self.start(now, worker, client);
        } else {
            self.waiting[worker].push_back(client);
        }
    }

    /// Ends a call that took this long, and starts the next one.
    fn end(&mut self, now: u64, worker: usize, took: u64) {
        self.running[worker] -= 1;
        if let Some(next) = self.waiting[worker].pop_front() {
            self.start(now, worker, next);
        }
        let upstream = &self.upstreams[worker];
        upstream.set_load((self.running[worker] + self.waiting[worker].len()) as u32, None);
        let took = Duration::from_micros(took);
        upstream.latency.observe(took, self.at(now));
        upstream.slowness.observe(self.classes.observe(ComponentKey::new("C", ""), took));
    }
}

fn simulate(scenario: &Scenario, rule: Rule) -> Figures {
    fastrand::seed(7);
    let mut simulation = Simulation::new(scenario.slowness);
    for client in 0..scenario.clients {
        simulation.events.push(Reverse((random_micros(scenario.pause_micros + 1.0), Event::Call { client })));
    }
    let (mut sent_at, mut previous) = (vec![0; scenario.clients], vec![None; scenario.clients]);
    let (mut same, mut total_micros, mut ended, mut counts) = (0, 0, 0, vec![0usize; WORKERS]);
    while let Some(Reverse((now, event))) = simulation.events.pop() {
        match event {
            Event::Call { client } => {
                let worker = simulation.select(now, rule, client);
                same += usize::from(previous[client].replace(worker) == Some(worker));
                sent_at[client] = now;
                counts[worker] += 1;
                simulation.send(now, worker, client);
            }
            Event::End { worker, client } => {
                let took = now - sent_at[client];
                simulation.end(now, worker, took);
                (total_micros, ended) = (total_micros + took, ended + 1);
                if ended == CALLS {
                    break;
                }
                let next = now + random_micros(scenario.pause_micros);
                simulation.events.push(Reverse((next, Event::Call { client })));
            }
        }
    }
    let of_all = |count: usize| count as f64 / ended as f64;
    Figures {
        same: of_all(same),
        shares: counts.into_iter().map(of_all).collect(),
        mean_micros: total_micros as f64 / ended as f64,
    }
}

/// Both rules in one scenario.
fn compare(name: &str, scenario: &Scenario) -> (Figures, Figures) {
    let (ours, plain) = (simulate(scenario, Rule::Preference), simulate(scenario, Rule::TwoChoices));
    println!("{name}: {ours:?}\n  two choices alone: {plain:?}");
    (ours, plain)
}

const EVEN: f64 = 1.0;

#[test]
fn a_quiet_components_calls_reach_the_same_worker() {
    let (ours, plain) = compare("quiet", &Scenario { clients: 40, pause_micros: 200_000.0, slowness: EVEN });
    assert!(ours.same > 0.9 && plain.same < 0.5, "{ours:?}");
    assert!(ours.mean_micros < 1.1 * plain.mean_micros);
}

#[test]
fn most_calls_reach_the_same_worker_under_load_and_hardly_wait_longer() {
    let half = Scenario { clients: 200, pause_micros: 120_000.0, slowness: EVEN };
    let (ours, plain) = compare("half of the processes busy", &half);
    assert!(ours.same > 0.6, "{ours:?}");
    assert!(ours.mean_micros < 1.1 * plain.mean_micros);
    let full = Scenario { clients: 40, pause_micros: 0.0, slowness: EVEN };
    let (ours, plain) = compare("2.5 calls for each process", &full);
    assert!(ours.same > 0.6, "{ours:?}");
    assert!(ours.mean_micros < 1.1 * plain.mean_micros);
}

#[test]
fn a_slow_preferred_worker_gets_no_more_than_it_would_without_a_preference() {
    for (name, clients, pause_micros) in [("slow, quiet", 40, 200_000.0), ("slow, full", 40, 0.0)] {
        let (ours, plain) = compare(name, &Scenario { clients, pause_micros, slowness: 4.0 });
        assert!(ours.shares[0] <= plain.shares[0] + 0.03, "{name}: {ours:?}");
        assert!(ours.mean_micros < 1.15 * plain.mean_micros, "{name}");
    }
}

#[test]
fn one_component_of_everybody_does_not_go_to_one_worker_alone() {
    // All pages have the same id, as a cached page has, or an attacker chooses it.
    let component = ComponentKey::new("C", "diffyne-same");
    let simulation = Simulation::new(EVEN);
    for _ in 0..WORKERS * PROCESSES {
        let selected = select(&simulation.upstreams, component, simulation.began, |_| false).unwrap();
        selected.upstream.send_call(1, &Frame::Ping(Ping::default()));
    }
    let calls: Vec<f64> = simulation.upstreams.iter().map(|upstream| upstream.utilization()).collect();
    assert!(calls.iter().all(|utilization| (0.25..=1.0).contains(utilization)), "{calls:?}");
}
