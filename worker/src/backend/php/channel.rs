//! The exchange of messages with one PHP process.
//!
//! Each call has a number, and only messages with the right one are taken: a process whose call has made a copy of it
//! (`pcntl_fork`) might otherwise reply twice.

use std::io;
use std::time::Duration;

use serde::Serialize;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::frame::{self, Frame};
use super::message::{CLIENT_LEFT, Leftover, ProcessMessage};
use super::socket::Socket;
use crate::backend::bridge_reply::BridgeReply;
use crate::call::Parts;
use crate::call::parts::{Part, PartError};

/// How long the clean-up after a call may take.
const CLEAN_UP_TIMEOUT: Duration = Duration::from_secs(10);

/// How the clean-up after a call ended.
pub(super) enum CleanUp {
    /// The process can run the next call.
    Done,
    /// The process exits: something cannot be put back.
    Unclean(Leftover),
    /// The process did not report that it is clean.
    Failed,
}

/// What a process sent after a call.
#[derive(Debug)]
pub(super) enum Exchange {
    /// The reply, with its body.
    Reply(Box<BridgeReply>, Vec<u8>),
    /// Nothing: it ended before it read the call.
    NotRead,
    /// It exits without reading the call, because of the call before.
    Unclean(Leftover),
}

/// The worker's end of the exchange with a process.
pub(super) struct Channel {
    socket: Socket,
    /// The last call's number.
    call: u32,
    /// Whether the last call is complete in the system's hands.
    is_written: bool,
    /// The process has sent a part of the answer to the last call, so it has read that call.
    has_begun: bool,
    /// The process has been told that the client of its call has left.
    is_told: bool,
    /// The process may still clean up after its last reply. It reads the next call when it is done, and reports that it
    /// is idle only when there is no next call.
    cleaning_up: bool,
    /// What PHP had allocated when it last reported it, in bytes.
    allocated: u64,
}

impl Channel {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self {
            socket: Socket::new(stream),
            call: 0,
            is_written: false,
            has_begun: false,
            is_told: false,
            cleaning_up: false,
            allocated: 0,
        }
    }

    /// What PHP had allocated when it last reported it, in bytes.
    pub(super) fn allocated(&self) -> u64 {
        self.allocated
    }

    /// Sends a call and waits for what comes back.
    pub(super) async fn exchange(
        &mut self,
        head: &impl Serialize,
        payload: &[u8],
        parts: &Parts,
    ) -> io::Result<Exchange> {
        self.call = self.call.wrapping_add(1);
        (self.is_written, self.has_begun, self.is_told) = (false, false, false);
        let (stream, _) = self.socket.on_this_thread()?;
        self.is_written = frame::write(stream, self.call, head, payload).await.is_ok();
        loop {
            let (stream, reader) = self.socket.on_this_thread()?;
            let received = reader.next(stream).await;
            if let Ok(Frame { call, head: ProcessMessage::Part(part), .. }) = &received
                && *call == self.call
            {
                self.pass_on(part, parts).await;
                continue;
            }
            if let Some(ended) = self.end_of_exchange(received) {
                return ended;
            }
        }
    }

    /// Passes a part of the answer on. While it waits for the client to read, nothing is read from the process, which then
    /// waits, too. A process whose client has left is told so, once.
    async fn pass_on(&mut self, part: &Part, parts: &Parts) {
        self.has_begun = true;
        match parts.send(part).await {
            Ok(()) => {}
            Err(PartError::Invalid(why)) => tracing::warn!(why, "a part of an answer is left out"),
            Err(PartError::ClientLeft) if self.is_told => {}
            Err(PartError::ClientLeft) => {
                self.is_told = true;
                if let Ok((stream, _)) = self.socket.on_this_thread() {
                    // It fails when the process has just ended, which the next read finds out.
                    let _ = frame::write(stream, self.call, &CLIENT_LEFT, b"").await;
                }
            }
        }
    }

    /// What a process that has ended had sent after its call.
    pub(super) fn exchange_before_end(&mut self) -> io::Result<Exchange> {
        loop {
            let received = self.socket.next_now();
            if let Ok(Frame { head: ProcessMessage::Part(_), .. }) = &received {
                self.has_begun = true;
                continue;
            }
            if let Some(ended) = self.end_of_exchange(received) {
                return ended;
            }
        }
    }

    /// How the exchange ends with this message; `None` when it goes on.
    fn end_of_exchange(&mut self, received: io::Result<Frame<ProcessMessage>>) -> Option<io::Result<Exchange>> {
        match received {
            Ok(Frame { call, head: ProcessMessage::Idle { memory, replace }, .. })
                if self.cleaning_up && call == self.call.wrapping_sub(1) =>
            {
                if let Some(leftover) = replace {
                    return Some(Ok(Exchange::Unclean(leftover)));
                }
                (self.cleaning_up, self.allocated) = (false, memory);
                None
            }
            // The process cannot have read the complete call.
            _ if !self.is_written => Some(Ok(Exchange::NotRead)),
            Ok(Frame { call, head: ProcessMessage::Answer(reply), body }) if call == self.call => {
                self.cleaning_up = true;
                Some(Ok(Exchange::Reply(reply, body)))
            }
            Ok(_) => Some(Err(io::Error::other("it sent a message that does not belong to the call"))),
            // The kernel resets a stream whose peer left data unread; otherwise the stream just ends.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset && !self.has_begun => {
                Some(Ok(Exchange::NotRead))
            }
            Err(error) => Some(Err(error)),
        }
    }

    /// Waits until the process has cleaned up after its reply.
    pub(super) async fn clean_up(&mut self) -> CleanUp {
        let Ok((stream, reader)) = self.socket.on_this_thread() else { return CleanUp::Failed };
        match timeout(CLEAN_UP_TIMEOUT, reader.next(stream)).await {
            Ok(Ok(Frame { call, head: ProcessMessage::Idle { memory, replace }, .. })) if call == self.call => {
                (self.cleaning_up, self.allocated) = (false, memory);
                replace.map_or(CleanUp::Done, CleanUp::Unclean)
            }
            _ => CleanUp::Failed,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A channel, and the end of it that a process has.
    fn pair() -> (Channel, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Channel::new(ours), theirs)
    }

    /// Sends a call, and stops waiting once it has arrived at the process.
    async fn send_call(channel: &mut Channel, process: &UnixStream) {
        let (head, none) = (json!({}), Parts::default());
        tokio::select! {
            ended = channel.exchange(&head, b"call", &none) => panic!("{ended:?}"),
            readable = process.readable() => readable.unwrap(),
        }
    }

    #[tokio::test]
    async fn an_unclean_process_does_not_run_the_call_that_it_was_handed() {
        let (mut channel, mut process) = pair();
        frame::write(&mut process, 1, &json!({"type": "answer", "outcome": "ok"}), b"{}").await.unwrap();
        assert!(matches!(channel.exchange(&json!({}), b"first", &Parts::default()).await, Ok(Exchange::Reply(..))));
        let unclean = json!({"type": "idle", "replace": {"kind": "handlers", "component": "App\\Shop"}});
        frame::write(&mut process, 1, &unclean, b"").await.unwrap();
        match channel.exchange(&json!({}), b"second", &Parts::default()).await.unwrap() {
            Exchange::Unclean(leftover) => {
                assert_eq!((leftover.kind.as_str(), leftover.component.as_str()), ("handlers", "App\\Shop"));
            }
            other => panic!("{other:?}"),
        }
        // The same without a call that waits.
        frame::write(&mut process, 2, &unclean, b"").await.unwrap();
        assert!(matches!(channel.clean_up().await, CleanUp::Unclean(_)));
    }

    #[tokio::test]
    async fn a_reply_to_another_call_is_not_taken() {
        let answer = json!({"type": "answer", "outcome": "ok"});
        for number in [0, 1, 3] {
            let (mut channel, mut process) = pair();
            frame::write(&mut process, 1, &answer, b"{}").await.unwrap();
            assert!(matches!(channel.exchange(&json!({}), b"first", &Parts::default()).await, Ok(Exchange::Reply(..))));
            frame::write(&mut process, number, &answer, b"{}").await.unwrap();
            channel.exchange(&json!({}), b"second", &Parts::default()).await.unwrap_err();
        }
    }

    #[tokio::test]
    async fn what_a_process_sent_before_it_ended_counts_however_long_the_socket_stays_open() {
        // A program that the process has started may hold the socket.
        let (mut channel, mut process) = pair();
        send_call(&mut channel, &process).await;
        frame::write(&mut process, 1, &json!({"type": "answer", "outcome": "exit"}), b"").await.unwrap();
        assert!(matches!(channel.exchange_before_end(), Ok(Exchange::Reply(reply, _)) if reply.is_last()));
        channel.exchange_before_end().unwrap_err();
        // It ended without having read the call.
        let (mut channel, process) = pair();
        send_call(&mut channel, &process).await;
        drop(process);
        assert!(matches!(channel.exchange_before_end(), Ok(Exchange::NotRead)));
    }
}
