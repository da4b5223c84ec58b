//! A pool whose processes do what a random generator says: each call runs once, whatever happens.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// Each so many calls, one is too large to be posted.
const LARGE_EVERY: u64 = 7;

/// What the test knows of a process.
struct Simulated {
    process: Process,
    socket: UnixStream,
    /// The call whose reply the worker waits for, and the one that the process runs.
    awaited: Option<u64>,
    running: Option<u32>,
    cleans_up: bool,
}

/// A pool whose processes do what a random generator says.
struct Simulation {
    table: Table,
    processes: BTreeMap<u32, Simulated>,
    /// Calls that wait.
    waiting: BTreeMap<u64, Granted>,
    begun: BTreeSet<u64>,
    answered: BTreeSet<u64>,
    given_up: BTreeSet<u64>,
    last_process: u32,
}

impl Simulation {
    fn new(slots: usize) -> Self {
        let mut simulation = Self {
            table: Table::with_slots(slots),
            processes: BTreeMap::new(),
            waiting: BTreeMap::new(),
            begun: BTreeSet::new(),
            answered: BTreeSet::new(),
            given_up: BTreeSet::new(),
            last_process: 0,
        };
        (0..=slots).for_each(|_| simulation.start());
        simulation
    }

    fn start(&mut self) {
        self.last_process += 1;
        let (process, socket) = process(self.last_process);
        self.table.add_idle(process.clone());
        let simulated = Simulated { process, socket, awaited: None, running: None, cleans_up: false };
        self.processes.insert(self.last_process, simulated);
        self.dispatch();
    }

    /// A call comes. Its number is the one that the table gives it.
    fn call(&mut self) {
        let (granted, grant) = oneshot::channel();
        let number = self.table.last_number + 1;
        let frame = (!number.is_multiple_of(LARGE_EVERY)).then(|| call(number as u32));
        if let Some(process) = self.table.take_idle() {
            self.table.last_number = number;
            self.send(process.id, number);
            return;
        }
        assert_eq!(self.table.wait(frame, granted), number);
        self.waiting.insert(number, grant);
    }

    fn send(&mut self, process: u32, number: u64) {
        let simulated = self.processes.get_mut(&process).unwrap();
        assert_eq!(simulated.process.inbox.post(&mut call(number as u32)), 0);
        simulated.awaited = Some(number);
        self.table.open(process);
    }

    fn dispatch(&mut self) {
        while let Some((call, process)) = self.table.next_grant() {
            self.waiting.remove(&call.number).unwrap();
            self.send(process.id, call.number);
        }
    }

    fn run(&mut self, process: u32, call: &WaitingCall<u32>, is_sent: bool) {
        let is_wanted = self.waiting.remove(&call.number).is_some();
        if !is_wanted {
            assert!(self.given_up.contains(&call.number));
            return self.die(process);
        }
        if is_sent {
            self.processes.get_mut(&process).unwrap().awaited = Some(call.number);
        } else {
            self.send(process, call.number);
        }
    }

    /// A process reads its next call, as soon as it has nothing else to do.
    fn read(&mut self, id: u32) {
        let process = self.processes.get_mut(&id).unwrap();
        if process.running.is_none()
            && let Some(number) = read(&mut process.socket)
        {
            process.running = Some(number);
            assert!(self.begun.insert(u64::from(number)), "{number} runs twice");
        }
    }

    fn reply(&mut self, id: u32, continues: bool) {
        let process = self.processes.get_mut(&id).unwrap();
        let (Some(running), Some(awaited)) = (process.running, process.awaited) else { return };
        assert_eq!(u64::from(running), awaited, "a reply is taken for another call's");
        (process.running, process.awaited) = (None, None);
        self.answered.insert(awaited);
        match self.table.after_reply(id, continues) {
            Next::Run(call, is_sent) => self.run(id, &call, is_sent),
            Next::CleanUp if continues => self.processes.get_mut(&id).unwrap().cleans_up = true,
            Next::CleanUp => self.die(id),
        }
    }

    /// A process has cleaned up and says so, or has begun the call that was posted meanwhile.
    fn clean_up(&mut self, id: u32) {
        let process = self.processes.get_mut(&id).unwrap();
        if !process.cleans_up {
            return;
        }
        process.cleans_up = false;
        if let Some(call) = self.table.take_posted(id) {
            return self.run(id, &call, true);
        }
        assert!(process.running.is_none());
        self.table.end_idle(process.process.clone());
        self.dispatch();
    }

    /// A part of an answer comes.
    fn part(&mut self, id: u32) {
        let process = &self.processes[&id];
        if process.awaited.is_some() {
            let goes_on = process.awaited == process.running.map(u64::from);
            assert!(self.table.close(id) || !goes_on);
            self.dispatch();
        }
    }

    fn die(&mut self, id: u32) {
        let process = self.processes.remove(&id).unwrap();
        if self.table.take_idle_if(|_, idle| idle.id == id).is_none() {
            self.given_up.extend(process.awaited);
            if let Some(lost) = self.table.end(id) {
                assert!(self.begun.contains(&lost.number));
                self.waiting.remove(&lost.number);
                self.given_up.insert(lost.number);
            }
        }
        self.start();
    }

    fn give_up(&mut self, number: u64) {
        if self.waiting.remove(&number).is_some() {
            self.given_up.insert(number);
            self.table.withdraw(number);
        }
    }

    fn step(&mut self, random: &mut fastrand::Rng) {
        let ids: Vec<u32> = self.processes.keys().copied().collect();
        let id = ids[random.usize(..ids.len())];
        match random.u8(..100) {
            0..30 => self.call(),
            30..60 => self.read(id),
            60..80 => self.reply(id, random.u8(..10) > 0),
            80..92 => self.clean_up(id),
            92..94 => self.part(id),
            94..96 => self.die(id),
            96..98 => self.give_up(self.table.last_number.saturating_sub(random.u64(..8))),
            _ => {
                for process in &mut self.table.busy {
                    if random.bool() {
                        process.since = Instant::now().checked_sub(SLOW_AFTER).unwrap();
                    }
                }
            }
        }
        let is_idle = self.table.free > 0 && !self.table.idle.is_empty();
        let unread = self.table.busy.iter().filter_map(|process| process.posted.as_ref());
        let unread = unread.filter(|call| !self.begun.contains(&call.number)).count();
        assert!(!is_idle || self.table.queue.is_empty() && unread == 0, "calls wait beside an idle process");
    }
}

#[test]
fn each_call_runs_once_whatever_happens_to_its_processes() {
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut simulation = Simulation::new(1 + seed as usize % 3);
        (0..400).for_each(|_| simulation.step(&mut random));
        // What still waits ends once nothing happens but work.
        for _ in 0..simulation.table.last_number * 4 {
            for id in simulation.processes.keys().copied().collect::<Vec<_>>() {
                simulation.read(id);
                simulation.reply(id, true);
                if simulation.processes.contains_key(&id) {
                    simulation.clean_up(id);
                }
            }
        }
        let all = simulation.answered.len() + simulation.given_up.difference(&simulation.answered).count();
        assert_eq!(all as u64, simulation.table.last_number, "seed {seed}");
    }
}
