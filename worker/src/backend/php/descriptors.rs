//! File descriptors that are sent to PHP processes.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// Descriptors of one message.
const DESCRIPTORS_MAX: usize = 2;

/// Sends bytes over a socket, and descriptors with them. They are few, so the system takes all or none.
pub(super) fn send(socket: impl AsFd, bytes: &[u8], sent: &[OwnedFd]) -> io::Result<()> {
    let descriptors: Vec<_> = sent.iter().map(|sent| sent.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("the descriptors do not fit into their message"));
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}
