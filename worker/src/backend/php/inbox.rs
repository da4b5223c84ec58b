//! The calls that lie in a process's socket until it reads them.
//!
//! The worker keeps both ends of the socket for calls. So a call can lie there while the process still runs the one before,
//! and be taken back when another process is free earlier. A process reads no byte beyond the call that it is about to run,
//! so what lies there has not begun. The process replies over another socket, whose end the worker sees.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::ioctl_fionread;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

use super::frame;

/// With a call behind the one that runs, so many bytes may lie in a socket. The system's default takes twice as many.
const UNREAD_BYTES_MAX: usize = 96 * 1024;

/// Both ends of a process's socket, for what is written to it.
pub(super) struct Inbox {
    ours: OwnedFd,
    theirs: OwnedFd,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The number of the call that was written last.
    call: u32,
    /// The length of the frame behind the call that runs, in bytes; 0 without one.
    behind: usize,
}

impl Inbox {
    /// Of a socket with these two ends. The worker's does not wait.
    pub(super) fn new(ours: OwnedFd, theirs: OwnedFd) -> Arc<Self> {
        Arc::new(Self { ours, theirs, state: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the next call, as far as the socket takes it now; the bytes that are left.
    pub(super) fn post(&self, frame: &mut [u8]) -> usize {
        self.lock().number(frame);
        frame.len() - self.write(frame)
    }

    /// Writes the rest of a call, as the process reads it.
    pub(super) async fn post_rest(&self, rest: &[u8]) -> io::Result<()> {
        let mut socket = UnixStream::from_std(StdStream::from(self.ours.try_clone()?))?;
        socket.write_all(rest).await
    }

    /// Writes a call behind the one that runs, if there is room for it; whether there was.
    pub(super) fn post_behind(&self, frame: &mut [u8]) -> bool {
        let mut state = self.lock();
        if self.unread() + frame.len() > UNREAD_BYTES_MAX {
            return false;
        }
        state.number(frame);
        state.behind = self.write(frame);
        // A socket of the usual size takes it whole. Nobody would write the rest.
        state.behind == frame.len() || !self.take_back_from(&mut state)
    }

    /// The call behind is now the one that runs.
    pub(super) fn advance(&self) {
        self.lock().behind = 0;
    }

    /// Takes back the call behind the one that runs. It fails when the process has begun to read it.
    pub(super) fn take_back(&self) -> bool {
        self.take_back_from(&mut self.lock())
    }

    fn take_back_from(&self, state: &mut State) -> bool {
        let mut unread = self.drain();
        let is_unread = unread.len() >= state.behind;
        if is_unread {
            state.call = state.call.wrapping_sub(1);
            unread.truncate(unread.len() - state.behind);
            state.behind = 0;
        }
        self.write(&unread);
        is_unread
    }

    /// Writes a message to the call that runs, before the one behind it; nothing when that one has begun.
    pub(super) fn post_to_running(&self, message: &[u8]) {
        let state = self.lock();
        let unread = self.drain();
        if unread.len() >= state.behind {
            self.write(message);
        }
        self.write(&unread);
    }

    /// Whether the process, which has ended, had not read the whole call that it should have run.
    pub(super) fn is_unread(&self) -> bool {
        let state = self.lock();
        self.unread() > state.behind
    }

    /// Bytes that the process has not read.
    fn unread(&self) -> usize {
        ioctl_fionread(&self.theirs).map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// Takes everything that the process has not read.
    fn drain(&self) -> Vec<u8> {
        let mut unread = vec![0; self.unread()];
        let mut filled = 0;
        while filled < unread.len() {
            match recv(&self.theirs, &mut unread[filled..], RecvFlags::DONTWAIT) {
                Ok((read, _)) if read > 0 => filled += read,
                // The process has read it meanwhile.
                _ => break,
            }
        }
        unread.truncate(filled);
        unread
    }

    /// Writes without waiting; how many bytes the socket has taken.
    fn write(&self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while written < bytes.len() {
            match send(self.ours.as_fd(), &bytes[written..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(taken) if taken > 0 => written += taken,
                _ => break,
            }
        }
        written
    }
}

impl State {
    fn number(&mut self, frame: &mut [u8]) {
        self.call = self.call.wrapping_add(1);
        frame::renumber(frame, self.call);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Read as _;

    use super::*;

    /// The socket that a process reads, and its inbox.
    fn socket() -> (StdStream, Arc<Inbox>) {
        let (ours, theirs) = StdStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let inbox = Inbox::new(ours.into(), theirs.try_clone().unwrap().into());
        (theirs, inbox)
    }

    fn call(payload: &[u8]) -> Vec<u8> {
        frame::encode(0, &serde_json::json!({}), payload).unwrap()
    }

    fn read(process: &mut StdStream, bytes: usize) -> Vec<u8> {
        let mut read = vec![0; bytes];
        process.read_exact(&mut read).unwrap();
        read
    }

    #[test]
    fn a_call_is_taken_back_as_long_as_no_byte_of_it_is_read() {
        let (mut process, inbox) = socket();
        let (mut first, mut second) = (call(b"first"), call(b"the second one"));
        assert_eq!(inbox.post(&mut first), 0);
        assert!(inbox.post_behind(&mut second));
        // The process may not even have begun with the first.
        assert!(inbox.take_back());
        assert_eq!(read(&mut process, first.len()), first);
        assert!(inbox.post_behind(&mut second));
        assert_eq!(second[..4], 2u32.to_be_bytes(), "a number is used again when its call was taken back");
        assert!(inbox.take_back());
        assert!(!inbox.is_unread(), "nothing is left");
        assert!(inbox.post_behind(&mut second));
        assert_eq!(read(&mut process, 1), second[..1]);
        assert!(!inbox.take_back() && !inbox.take_back(), "it has begun to read");
        assert_eq!(read(&mut process, second.len() - 1), second[1..], "and reads on");
    }

    #[test]
    fn a_message_to_the_running_call_overtakes_the_call_behind_it() {
        let (mut process, inbox) = socket();
        let (mut first, mut second) = (call(b"first"), call(b"second"));
        inbox.post(&mut first);
        read(&mut process, first.len());
        assert!(inbox.post_behind(&mut second));
        inbox.post_to_running(b"left");
        assert_eq!(read(&mut process, 4), b"left");
        assert!(inbox.take_back());
        // The first has ended when the second is being read.
        assert!(inbox.post_behind(&mut second));
        read(&mut process, 12);
        inbox.post_to_running(b"left");
        assert_eq!(read(&mut process, second.len() - 12), second[12..]);
        assert!(!inbox.is_unread());
    }

    #[test]
    fn what_was_not_read_of_the_running_call_is_told_from_the_call_behind_it() {
        let (mut process, inbox) = socket();
        let (mut first, mut second) = (call(b"first"), call(b"second"));
        inbox.post(&mut first);
        assert!(inbox.post_behind(&mut second));
        read(&mut process, first.len() - 1);
        assert!(inbox.is_unread());
        read(&mut process, 1);
        assert!(!inbox.is_unread());
        inbox.advance();
        assert!(inbox.is_unread());
    }

    #[tokio::test]
    async fn a_call_that_the_socket_does_not_take_is_written_as_it_is_read() {
        let (mut process, inbox) = socket();
        let mut large = call(&vec![b'x'; 4 << 20]);
        assert!(!inbox.post_behind(&mut large));
        let mut small = call(b"small");
        assert_eq!(inbox.post(&mut small), 0);
        assert_eq!(read(&mut process, small.len()), small);
        let left = inbox.post(&mut large);
        assert!(left > 0);
        let length = large.len();
        let reader = std::thread::spawn(move || read(&mut process, length));
        inbox.post_rest(&large[length - left..]).await.unwrap();
        assert!(reader.join().unwrap() == large);
    }
}
