//! Fake gateways and workers, which send what a test wants, and a listener that records what it receives.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail};
use diffyne_shared::rpc::{self, Call, CallKind, Client, Frame, FrameReader, Hello, Outcome, Reply, Transport};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::cluster::{Node, Shape};
use crate::process::PATIENCE;
use crate::task::ConnectionTasks;

/// A listener that records what it receives and answers nothing.
pub struct RecordingListener {
    /// Its port.
    pub port: u16,
    connections: Arc<Mutex<usize>>,
    bytes: Arc<Mutex<Vec<u8>>>,
    tasks: Arc<ConnectionTasks>,
}

impl Drop for RecordingListener {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RecordingListener {
    /// Listens, and keeps what it is sent; to each connection it says `words` at once.
    pub async fn start(words: Vec<u8>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let recorder = Self { port, connections: Arc::default(), bytes: Arc::default(), tasks: Arc::default() };
        let (connections, bytes) = (Arc::clone(&recorder.connections), Arc::clone(&recorder.bytes));
        let tasks = Arc::clone(&recorder.tasks);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                *locked(&connections) += 1;
                let (bytes, words) = (Arc::clone(&bytes), words.clone());
                tasks.spawn(async move {
                    stream.write_all(&words).await?;
                    let mut buffer = [0; 4096];
                    loop {
                        match stream.read(&mut buffer).await? {
                            0 => return anyhow::Ok(()),
                            read => locked(&bytes).extend_from_slice(&buffer[..read]),
                        }
                    }
                });
            }
        });
        Ok(recorder)
    }

    /// How many have connected, and what all of them have sent.
    pub fn seen(&self) -> (usize, Vec<u8>) {
        (*locked(&self.connections), locked(&self.bytes).clone())
    }
}

/// A worker that answers each frame as the test says. It records the frames as text.
pub struct FakeWorker {
    /// Its port.
    pub port: u16,
    seen: Arc<Mutex<Vec<String>>>,
    tasks: Arc<ConnectionTasks>,
}

impl Drop for FakeWorker {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

impl FakeWorker {
    /// Listens. The answers are made by connection: `make` gives a function of a frame.
    pub async fn start<F: FnMut(&Frame<'_>) -> Vec<Frame<'static>> + Send + 'static>(
        make: impl Fn() -> F + Send + 'static,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let worker = Self { port: listener.local_addr()?.port(), seen: Arc::default(), tasks: Arc::default() };
        let (seen, tasks) = (Arc::clone(&worker.seen), Arc::clone(&worker.tasks));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (mut answer, seen) = (make(), Arc::clone(&seen));
                tasks.spawn(async move {
                    let mut reader = FrameReader::new(1 << 20);
                    loop {
                        let mut out = Vec::new();
                        while let Some(frame) = reader.next_frame()? {
                            locked(&seen).push(format!("{frame:?}"));
                            for answer in answer(&frame) {
                                rpc::encode(&answer, &mut out)?;
                            }
                        }
                        stream.write_all(&out).await?;
                        if reader.fill(&mut stream).await? == 0 {
                            return anyhow::Ok(());
                        }
                    }
                });
            }
        });
        Ok(worker)
    }

    /// All frames that it was sent, as text.
    pub fn seen(&self) -> Vec<String> {
        locked(&self.seen).clone()
    }
}

/// A connection to a worker, as a gateway has one.
pub struct FakeGateway {
    stream: TcpStream,
    reader: FrameReader,
}

impl FakeGateway {
    /// Connects and says nothing.
    pub async fn connect(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        Ok(Self { stream, reader: FrameReader::new(1 << 20) })
    }

    /// Sends a frame.
    pub async fn send(&mut self, frame: &Frame<'_>) -> anyhow::Result<()> {
        let mut bytes = Vec::new();
        rpc::encode(frame, &mut bytes)?;
        self.send_bytes(&bytes).await
    }

    /// Sends bytes.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// The next frame, or `None` when the worker has hung up.
    pub async fn receive<R>(&mut self, read: impl FnOnce(&Frame<'_>) -> R) -> anyhow::Result<Option<R>> {
        loop {
            // Twice, as a borrow that is returned lasts for the whole loop.
            if let Some(frame) = self.reader.next_frame()? {
                return Ok(Some(read(&frame)));
            }
            match tokio::time::timeout(PATIENCE, self.reader.fill(&mut self.stream)).await.context("nothing came")? {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => bail!(error),
            }
        }
    }

    /// All that comes until the worker hangs up, as text.
    pub async fn until_hang_up(&mut self) -> anyhow::Result<Vec<String>> {
        self.until(|_seen| false).await
    }

    /// All that comes until it is enough or the worker hangs up, as text.
    pub async fn until(&mut self, is_enough: impl Fn(&[String]) -> bool) -> anyhow::Result<Vec<String>> {
        let mut seen = Vec::new();
        while !is_enough(&seen) {
            match self.receive(|frame| format!("{frame:?}")).await? {
                Some(frame) => seen.push(frame),
                None => break,
            }
        }
        Ok(seen)
    }
}

/// The token of clusters made by [`shape_with_token`].
pub const WORKER_TOKEN: &str = "a-long-random-text-that-only-gateways-and-workers-know";

/// The shape of a cluster whose gateways and workers have a token.
pub fn shape_with_token(gateways: usize, workers: usize) -> Shape {
    Shape::new(gateways, workers).gateway("--worker-token", WORKER_TOKEN).worker("--worker-token", WORKER_TOKEN)
}

/// How many of these a gateway has not believed: `registration`, `worker`, `order`, `answer`.
pub fn count_unproved(gateway: &Node, what: &str) -> anyhow::Result<f64> {
    gateway.metric(&format!("diffyne_gateway_unproved_total{{what=\"{what}\"}}"))
}

/// A hello as gateways of the first version said it.
pub fn first_version_hello(token: Option<&str>) -> Frame<'static> {
    let versions = rpc::VersionRange { min: 1, max: 1 };
    Frame::Hello(Hello { versions, id: "old".to_owned(), token: token.map(str::to_owned), ..Hello::default() })
}

/// A call of the demo counter.
pub fn call_frame(payload: &[u8]) -> Frame<'_> {
    let client =
        Client { id: "c", ip: "127.0.0.1", transport: Transport::Ws, headers: b"cookie: s=secret\n", cookies: b"" };
    Frame::Call(Call {
        id: 1,
        budget_ms: 5000,
        client,
        kind: CallKind::Call,
        cause: None,
        pushes: false,
        stream_ms: 0,
        wants_user: false,
        trace: None,
        payload,
    })
}

/// An answer to the call with this id.
pub fn reply_frame(id: u64) -> Frame<'static> {
    Frame::Reply(Reply::new(id, Outcome::Ok, 200, br#"{"s":true,"from":"by hand"}"#))
}
