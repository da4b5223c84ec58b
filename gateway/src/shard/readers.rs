//! Reads from connections that have something to say: as a task of the runtime for all of them.
//!
//! Most connections are silent most of the time. A task of the runtime for each would take 272 bytes, at places in memory
//! that are multiples of 128; a reader takes 96, wherever there is room.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures_util::Stream as _;
use futures_util::stream::FuturesUnordered;

use crate::connection::Connection;
use crate::socket::Decoder;

/// What reads from a connection.
pub struct Reader {
    /// The connection.
    pub connection: Rc<Connection>,
    /// The decoder, in the middle of a message.
    pub unfinished: Option<Box<Decoder>>,
}

/// Reads what has arrived, with the state of the thread. It is ready when it is done with the reader, of which it may have
/// made another one.
type Read<S, R> = fn(&Rc<S>, &mut R, &mut Context<'_>) -> Poll<()>;

/// The readers of a thread.
pub struct Readers<R = Reader> {
    /// Those that have not been polled yet.
    added: RefCell<Vec<R>>,
    /// Wakes what polls them.
    waker: RefCell<Option<Waker>>,
}

impl<R> Default for Readers<R> {
    fn default() -> Self {
        Self { added: RefCell::default(), waker: RefCell::default() }
    }
}

/// What all readers of a thread have in common.
struct Common<S, R> {
    state: Rc<S>,
    read: Read<S, R>,
}

/// A reader while it is polled.
struct ReadTask<S, R> {
    reader: R,
    common: Rc<Common<S, R>>,
}

impl<S, R: Unpin> Future for ReadTask<S, R> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { reader, common } = self.get_mut();
        // A panic ends this reader alone; the runtime's hook has reported it.
        catch_unwind(AssertUnwindSafe(|| (common.read)(&common.state, reader, cx))).unwrap_or(Poll::Ready(()))
    }
}

impl<R: Unpin> Readers<R> {
    /// Lets a reader read.
    pub fn add(&self, reader: R) {
        self.added.borrow_mut().push(reader);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Polls the readers of a thread until it is dropped, and they with it.
    pub(super) async fn run<S>(&self, state: Rc<S>, read: Read<S, R>) {
        let common = Rc::new(Common { state, read });
        let mut tasks = FuturesUnordered::new();
        std::future::poll_fn(|cx| {
            self.waker.borrow_mut().get_or_insert_with(|| cx.waker().clone()).clone_from(cx.waker());
            self.poll(&mut tasks, &common, cx)
        })
        .await;
    }

    /// Polls those to which something has happened. Some add others meanwhile.
    fn poll<S>(
        &self,
        tasks: &mut FuturesUnordered<ReadTask<S, R>>,
        common: &Rc<Common<S, R>>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        loop {
            let task = |reader| ReadTask { reader, common: Rc::clone(common) };
            tasks.extend(self.added.borrow_mut().drain(..).map(task));
            let ended = Pin::new(&mut *tasks).poll_next(cx);
            if matches!(ended, Poll::Ready(None) | Poll::Pending) && self.added.borrow().is_empty() {
                return Poll::Pending;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::cell::Cell;

    use tokio::sync::oneshot;
    use tokio::task::LocalSet;

    use super::*;

    /// What the state has of a test, and what its readers add.
    #[derive(Default)]
    struct State {
        readers: Readers<TestReader>,
        done: Cell<u32>,
    }

    enum TestReader {
        Waits(oneshot::Receiver<u32>),
        Adds(u32),
        Panics,
        IsPolledAgain(u32),
    }

    fn read(state: &Rc<State>, reader: &mut TestReader, cx: &mut Context<'_>) -> Poll<()> {
        match reader {
            TestReader::Waits(receiver) => {
                if let Poll::Ready(more) = Pin::new(receiver).poll(cx) {
                    state.readers.add(TestReader::Adds(more.unwrap()));
                    return Poll::Ready(());
                }
                return Poll::Pending;
            }
            TestReader::Adds(more) => state.done.set(state.done.get() + *more),
            TestReader::Panics => panic!("on purpose"),
            TestReader::IsPolledAgain(times) if *times > 0 => {
                *times -= 1;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            TestReader::IsPolledAgain(_) => state.done.set(state.done.get() + 100),
        }
        Poll::Ready(())
    }

    async fn until(is_so: impl Fn() -> bool) {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn readers_add_others_and_a_panic_ends_one_alone() {
        let state = Rc::new(State::default());
        let running = Rc::clone(&state);
        LocalSet::new()
            .run_until(async {
                // One waits before anything runs.
                state.readers.add(TestReader::Adds(1));
                let runner =
                    tokio::task::spawn_local(async move { running.readers.run(Rc::clone(&running), read).await });
                until(|| state.done.get() == 1).await;
                let (wake, woken) = oneshot::channel();
                state.readers.add(TestReader::Panics);
                state.readers.add(TestReader::Waits(woken));
                state.readers.add(TestReader::IsPolledAgain(10));
                until(|| state.done.get() == 101).await;
                wake.send(10).unwrap();
                until(|| state.done.get() == 111).await;
                // What waits is dropped with the runner.
                let (mut kept, receiver) = oneshot::channel();
                state.readers.add(TestReader::Waits(receiver));
                tokio::task::yield_now().await;
                runner.abort();
                kept.closed().await;
            })
            .await;
        assert_eq!(Rc::strong_count(&state), 1, "nothing holds the thread's state");
    }

    #[test]
    fn a_reader_takes_little_memory() {
        assert_eq!(size_of::<ReadTask<State, Reader>>(), 3 * size_of::<usize>());
    }
}
