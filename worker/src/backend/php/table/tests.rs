//! Tests of single situations. `simulation` has all of them at random.

mod simulation;

use std::io::Read as _;
use std::os::unix::net::UnixStream;

use super::*;
use crate::backend::php::frame;

const PREFIX_BYTES: usize = 12;

#[derive(Clone)]
struct Process {
    id: u32,
    inbox: Arc<Inbox>,
}

impl PooledProcess for Process {
    fn id(&self) -> u32 {
        self.id
    }

    fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }
}

type Table = ProcessTable<Process, u32>;
type Granted = oneshot::Receiver<Grant<u32>>;

/// A process, and the end of its socket that it reads.
fn process(id: u32) -> (Process, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let inbox = Inbox::new(ours.into(), theirs.try_clone().unwrap().into());
    theirs.set_nonblocking(true).unwrap();
    (Process { id, inbox }, theirs)
}

fn call(number: u32) -> Vec<u8> {
    frame::encode(0, &serde_json::json!({}), &number.to_be_bytes()).unwrap()
}

/// The call that a process reads next.
fn read(socket: &mut UnixStream) -> Option<u32> {
    let mut bytes = vec![0; PREFIX_BYTES + 2 + 4];
    let read = socket.read(&mut bytes).ok()?;
    assert_eq!(read, bytes.len(), "calls are written and taken back as a whole");
    Some(u32::from_be_bytes(bytes[PREFIX_BYTES + 2..].try_into().unwrap()))
}

fn wait(table: &mut Table, number: u32) -> (u64, Granted) {
    let (granted, grant) = oneshot::channel();
    (table.wait(Some(call(number)), granted), grant)
}

/// A table with so many slots and processes, each of which runs a call.
fn busy(processes: u32) -> (Table, Vec<(Process, UnixStream)>) {
    let mut table = Table::with_slots(processes as usize);
    let mut all: Vec<_> = (0..processes).map(process).collect();
    for (process, _) in &all {
        table.add_idle(process.clone());
    }
    for _ in 0..processes {
        let process = table.take_idle().unwrap();
        assert_eq!(process.inbox.post(&mut call(1000 + process.id)), 0);
        table.open(process.id);
    }
    for (process, socket) in &mut all {
        assert_eq!(read(socket), Some(1000 + process.id));
    }
    (table, all)
}

fn runs(next: Next<u32>) -> u64 {
    match next {
        Next::Run(call, true) => call.number,
        Next::Run(_, false) => panic!("it was not sent"),
        Next::CleanUp => panic!("it has nothing to do"),
    }
}

#[test]
fn a_process_finds_its_next_call_before_the_worker_has_its_reply() {
    let (mut table, mut processes) = busy(1);
    let calls: Vec<_> = (1..=3).map(|number| wait(&mut table, number)).collect();
    let socket = &mut processes[0].1;
    assert_eq!((read(socket), read(socket)), (Some(1), None), "one lies there, the others wait");
    assert_eq!(table.queue().calls, 3);
    assert_eq!(runs(table.after_reply(0, true)), calls[0].0);
    assert_eq!(read(socket), Some(2));
    // It is to be replaced: it runs the call that it has read, and takes none after it.
    assert_eq!(runs(table.after_reply(0, false)), calls[1].0);
    assert!(matches!(table.after_reply(0, false), Next::CleanUp));
    assert_eq!((read(socket), table.queue().calls), (None, 1));
}

#[test]
fn a_process_without_work_takes_over_a_call_that_lies_at_another() {
    let (mut table, mut processes) = busy(2);
    let (_, _granted) = wait(&mut table, 1);
    let holder = table.busy.iter().find(|process| process.posted.is_some()).unwrap().id;
    let other = 1 - holder;
    assert!(matches!(table.after_reply(other, true), Next::CleanUp), "not while it may be quick");
    table.end_idle(processes[other as usize].0.clone());
    let (call, process) = table.next_grant().unwrap();
    assert_eq!((call.number, process.id), (1, other));
    assert_eq!(read(&mut processes[holder as usize].1), None);
    // But not one that has been read.
    table.open(other);
    let (_, _granted) = wait(&mut table, 2);
    let reader = processes.iter_mut().find_map(|(process, socket)| read(socket).map(|_| process.id)).unwrap();
    let other = 1 - reader;
    assert!(matches!(table.after_reply(other, true), Next::CleanUp));
    table.end_idle(processes[other as usize].0.clone());
    assert!(table.next_grant().is_none());
    assert_eq!(runs(table.after_reply(reader, true)), 2);
}

#[test]
fn a_call_behind_a_slow_one_keeps_its_turn() {
    let (mut table, mut processes) = busy(2);
    let (first, _granted) = wait(&mut table, 1);
    let slow = table.busy.iter_mut().find(|process| process.posted.is_some()).unwrap();
    slow.since = Instant::now().checked_sub(SLOW_AFTER).unwrap();
    let other = 1 - slow.id;
    let rest: Vec<_> = (2..=3).map(|number| wait(&mut table, number)).collect();
    let at = table.position(other).unwrap();
    assert!(table.busy[at].posted.is_some(), "nothing is posted behind a slow call");
    assert_eq!(runs(table.after_reply(other, true)), rest[0].0);
    let socket = &mut processes[other as usize].1;
    assert_eq!((read(socket), read(socket)), (Some(2), Some(1)), "it has waited longer than the third");
    assert_eq!(runs(table.after_reply(other, true)), first);
}

#[test]
fn calls_that_are_too_large_or_given_up_are_not_posted() {
    let (mut table, mut processes) = busy(1);
    let (granted, _grant) = oneshot::channel();
    let large = table.wait(None, granted);
    let (given_up, grant) = wait(&mut table, 2);
    drop(grant);
    let (withdrawn, _grant) = wait(&mut table, 3);
    table.withdraw(withdrawn);
    let (last, _grant) = wait(&mut table, 4);
    assert!(matches!(table.after_reply(0, true), Next::Run(call, false) if call.number == large));
    table.open(0);
    assert_eq!(read(&mut processes[0].1), Some(4));
    assert_eq!(runs(table.after_reply(0, true)), last);
    assert!(given_up < withdrawn);
    // One that lies there is taken back.
    let (withdrawn, _grant) = wait(&mut table, 5);
    table.withdraw(withdrawn);
    assert_eq!((read(&mut processes[0].1), table.queue().calls), (None, 0));
}

#[test]
fn what_lay_at_a_process_that_is_gone_waits_again_unless_it_was_read() {
    let (mut table, mut processes) = busy(1);
    let calls: Vec<_> = (1..=3).map(|number| wait(&mut table, number)).collect();
    assert!(table.end(0).is_none());
    let (other, mut socket) = process(1);
    table.add_idle(other);
    assert_eq!(table.next_grant().unwrap().0.number, calls[0].0, "before the others");
    assert_eq!(read(&mut processes[0].1), None);
    table.open(1);
    assert_eq!(read(&mut socket), Some(2));
    assert_eq!(table.end(1).unwrap().number, calls[1].0);
    assert_eq!((table.queue().calls, table.free_slots()), (1, 1));
}

#[test]
fn a_call_is_not_bound_to_a_process_that_cleans_up_for_long() {
    let (mut table, mut processes) = busy(2);
    assert!(matches!(table.after_reply(0, true), Next::CleanUp));
    let (posted, _granted) = wait(&mut table, 1);
    let at = table.position(0).unwrap();
    assert!(table.busy[at].posted.is_some(), "it will be free first");
    assert!(matches!(table.after_reply(1, true), Next::CleanUp));
    assert!(table.take_posted(1).is_none());
    table.end_idle(processes[1].0.clone());
    let (call, process) = table.next_grant().unwrap();
    assert_eq!((call.number, process.id), (posted, 1));
    table.open(1);
    let at = table.position(0).unwrap();
    table.busy[at].since = Instant::now().checked_sub(SLOW_AFTER).unwrap();
    let (_, _granted) = wait(&mut table, 2);
    assert_eq!((read(&mut processes[0].1), read(&mut processes[1].1)), (None, Some(2)), "nothing more is posted there");
}

#[test]
fn nothing_lies_behind_a_call_that_streams() {
    let (mut table, mut processes) = busy(1);
    let (first, _granted) = wait(&mut table, 1);
    assert!(table.close(0));
    assert_eq!((read(&mut processes[0].1), table.queue().calls), (None, 1));
    let (_, _granted) = wait(&mut table, 2);
    assert_eq!(read(&mut processes[0].1), None);
    assert_eq!(runs(table.after_reply(0, true)), first);
    // Its parts may be read late: the process has ended it, and runs the next.
    assert_eq!((read(&mut processes[0].1), read(&mut processes[0].1)), (Some(1), Some(2)));
    assert!(!table.close(0));
}
