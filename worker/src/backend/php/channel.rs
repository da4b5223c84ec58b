//! The exchange of messages with one PHP process.
//!
//! Each call has a number, and only messages with the right one are taken: a process whose call has made a copy of it
//! (`pcntl_fork`) might otherwise reply twice.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::timeout;

use super::frame::{self, Frame};
use super::inbox::Inbox;
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
    /// The process has begun the call behind the one that it has answered.
    Begun,
    /// The process has sent nothing for long.
    TimedOut,
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
    pub(super) inbox: Arc<Inbox>,
    /// The last call's number.
    call: u32,
    /// What the socket has not yet taken of the last call.
    rest: Vec<u8>,
    /// What the process sent first for the call behind the last one.
    first_frame: Option<Frame<ProcessMessage>>,
    /// The process has sent a part of the answer to the last call, so it has read that call.
    has_begun: bool,
    /// The process has already begun the call behind this one: its parts do not wait for the client.
    is_over: bool,
    /// The process has been told that the client of its call has left.
    is_told: bool,
    /// The process may still clean up after its last reply. It reads the next call when it is done, and reports that it
    /// is idle only when there is no next call.
    cleaning_up: bool,
    /// What PHP had allocated when it last reported it, in bytes.
    allocated: u64,
}

impl Channel {
    /// With the socket for what the process sends, and the inbox for its calls.
    pub(super) fn new(replies: UnixStream, inbox: Arc<Inbox>) -> Self {
        Self {
            socket: Socket::new(replies),
            inbox,
            call: 0,
            rest: Vec::new(),
            first_frame: None,
            has_begun: false,
            is_over: false,
            is_told: false,
            cleaning_up: false,
            allocated: 0,
        }
    }

    /// What PHP had allocated when it last reported it, in bytes.
    pub(super) fn allocated(&self) -> u64 {
        self.allocated
    }

    /// Sends a call, and as much of it as the socket takes now; whether that is all.
    pub(super) fn send(&mut self, mut call: Vec<u8>) -> bool {
        let left = self.inbox.post(&mut call);
        self.begin(call.split_off(call.len() - left));
        left == 0
    }

    /// The call that lies in the inbox is the one whose reply comes next.
    pub(super) fn take_posted(&mut self) {
        self.begin(Vec::new());
    }

    fn begin(&mut self, rest: Vec<u8>) {
        self.call = self.call.wrapping_add(1);
        self.rest = rest;
        (self.has_begun, self.is_over, self.is_told) = (false, false, false);
    }

    /// Waits for what comes back after a call. `on_first_part` says whether no call behind it has begun.
    pub(super) async fn exchange(
        &mut self,
        parts: &Parts,
        on_first_part: &(dyn Fn() -> bool + Sync),
    ) -> io::Result<Exchange> {
        if !self.rest.is_empty() {
            if self.inbox.post_rest(&self.rest).await.is_err() {
                return Ok(Exchange::NotRead);
            }
            self.rest = Vec::new();
        }
        loop {
            let received = self.receive().await;
            if let Ok(Frame { call, head: ProcessMessage::Part(part), .. }) = &received
                && *call == self.call
            {
                if !self.has_begun {
                    (self.has_begun, self.is_over) = (true, !on_first_part());
                }
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
        let sent = if self.is_over { parts.send_at_once(part) } else { parts.send(part).await };
        match sent {
            Ok(()) => {}
            Err(PartError::Invalid(why)) => tracing::warn!(why, "a part of an answer is left out"),
            Err(PartError::ClientLeft) if self.is_told => {}
            Err(PartError::ClientLeft) => {
                self.is_told = true;
                if let Ok(left) = frame::encode(self.call, &CLIENT_LEFT, b"") {
                    self.inbox.post_to_running(&left);
                }
            }
        }
    }

    /// The next frame.
    async fn receive(&mut self) -> io::Result<Frame<ProcessMessage>> {
        if let Some(frame) = self.first_frame.take() {
            return Ok(frame);
        }
        let (stream, reader) = self.socket.on_this_thread()?;
        reader.next(stream).await
    }

    /// What a process that has ended had sent after its call.
    pub(super) fn exchange_before_end(&mut self) -> io::Result<Exchange> {
        loop {
            let received = self.first_frame.take().map_or_else(|| self.socket.next_now(), Ok);
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
            _ if !self.rest.is_empty() => Some(Ok(Exchange::NotRead)),
            Ok(Frame { call, head: ProcessMessage::Answer(reply), body }) if call == self.call => {
                self.cleaning_up = true;
                self.allocated = reply.memory();
                Some(Ok(Exchange::Reply(reply, body)))
            }
            Ok(_) => Some(Err(io::Error::other("it sent a message that does not belong to the call"))),
            Err(_) if !self.has_begun && self.inbox.is_unread() => Some(Ok(Exchange::NotRead)),
            Err(error) => Some(Err(error)),
        }
    }

    /// Waits until the process has cleaned up after its reply. With a call behind, it may go on without saying so.
    pub(super) async fn clean_up(&mut self) -> CleanUp {
        match timeout(CLEAN_UP_TIMEOUT, self.receive()).await {
            Ok(Ok(Frame { call, head: ProcessMessage::Idle { memory, replace }, .. })) if call == self.call => {
                (self.cleaning_up, self.allocated) = (false, memory);
                replace.map_or(CleanUp::Done, CleanUp::Unclean)
            }
            Ok(Ok(frame)) if frame.call == self.call.wrapping_add(1) => {
                self.first_frame = Some(frame);
                CleanUp::Begun
            }
            Ok(Ok(_) | Err(_)) => CleanUp::Failed,
            Err(_elapsed) => CleanUp::TimedOut,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::net::UnixStream as StdStream;

    use serde_json::json;

    use super::*;

    /// A channel, and the ends of it that a process has.
    fn pair() -> (Channel, UnixStream, StdStream) {
        let (replies, process) = UnixStream::pair().unwrap();
        let (calls, reads) = StdStream::pair().unwrap();
        let inbox = Inbox::new(calls.into(), reads.try_clone().unwrap().into());
        (Channel::new(replies, inbox), process, reads)
    }

    /// Sends a call.
    fn send(channel: &mut Channel) {
        assert!(channel.send(frame::encode(0, &json!({}), b"call").unwrap()));
    }

    /// Sends a call and waits for what comes back.
    async fn exchange(channel: &mut Channel) -> io::Result<Exchange> {
        send(channel);
        channel.exchange(&Parts::default(), &|| true).await
    }

    #[tokio::test]
    async fn an_unclean_process_does_not_run_the_call_that_it_was_handed() {
        let (mut channel, mut process, _calls) = pair();
        frame::write(&mut process, 1, &json!({"type": "answer", "outcome": "ok"}), b"{}").await.unwrap();
        assert!(matches!(exchange(&mut channel).await, Ok(Exchange::Reply(..))));
        let unclean = json!({"type": "idle", "replace": {"kind": "handlers", "component": "App\\Shop"}});
        frame::write(&mut process, 1, &unclean, b"").await.unwrap();
        match exchange(&mut channel).await.unwrap() {
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
    async fn a_process_that_goes_on_without_a_word_has_begun_the_call_behind() {
        let (mut channel, mut process, _calls) = pair();
        let answer = json!({"type": "answer", "outcome": "ok"});
        frame::write(&mut process, 1, &answer, b"first").await.unwrap();
        assert!(matches!(exchange(&mut channel).await, Ok(Exchange::Reply(..))));
        assert!(channel.inbox.post_behind(&mut frame::encode(0, &json!({}), b"second").unwrap()));
        frame::write(&mut process, 2, &answer, b"second").await.unwrap();
        assert!(matches!(channel.clean_up().await, CleanUp::Begun));
        channel.inbox.advance();
        channel.take_posted();
        let reply = channel.exchange(&Parts::default(), &|| true).await.unwrap();
        assert!(matches!(reply, Exchange::Reply(_, body) if body == b"second"));
        // What belongs to no call at all is no clean-up.
        frame::write(&mut process, 4, &answer, b"").await.unwrap();
        assert!(matches!(channel.clean_up().await, CleanUp::Failed));
    }

    #[tokio::test]
    async fn a_reply_to_another_call_is_not_taken() {
        let answer = json!({"type": "answer", "outcome": "ok"});
        for number in [0, 1, 3] {
            let (mut channel, mut process, _calls) = pair();
            frame::write(&mut process, 1, &answer, b"{}").await.unwrap();
            assert!(matches!(exchange(&mut channel).await, Ok(Exchange::Reply(..))));
            frame::write(&mut process, number, &answer, b"{}").await.unwrap();
            exchange(&mut channel).await.unwrap_err();
        }
    }

    #[tokio::test]
    async fn what_a_process_sent_before_it_ended_counts_however_long_the_socket_stays_open() {
        // A program that the process has started may hold the socket.
        let (mut channel, mut process, mut calls) = pair();
        send(&mut channel);
        assert!(calls.read(&mut [0; 1024]).unwrap() > 0);
        frame::write(&mut process, 1, &json!({"type": "answer", "outcome": "exit"}), b"").await.unwrap();
        assert!(matches!(channel.exchange_before_end(), Ok(Exchange::Reply(reply, _)) if reply.is_last()));
        channel.exchange_before_end().unwrap_err();
        // It ended without having read the call.
        let (mut channel, _process, _calls) = pair();
        send(&mut channel);
        assert!(matches!(channel.exchange_before_end(), Ok(Exchange::NotRead)));
    }
}
