//! Load: connections that send a message, wait for the answer and send the next, or that only count what arrives.
//!
//! The WebSocket client is written by hand, so that it costs little: it masks with zeros, so that a message is written as
//! it was built, and runs one task a connection on one current-thread runtime a thread.

pub mod hostile;
pub mod publish;

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;

/// Where WebSocket connections are taken.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The server.
    pub address: SocketAddr,
    /// Path and query.
    pub path: &'static str,
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self { address, path: "/" }
    }
}

/// A load on one server.
#[derive(Debug, Clone)]
pub struct Load {
    /// The server.
    pub target: Target,
    /// Connections at once.
    pub connections: usize,
    /// How long to measure, once all are connected.
    pub duration: Duration,
    /// The message that each connection sends again and again.
    pub message: String,
    /// Messages that the server sends first.
    pub greetings: usize,
    /// What each connection sends next, and waits for the answer to.
    pub hello: Option<&'static str>,
    /// More headers for the handshake, each line ended by CR LF.
    pub headers: String,
    /// More headers of each connection in turn; may be empty.
    pub own_headers: Vec<String>,
    /// How long each connection waits after an answer, before its next message.
    pub pause: Duration,
    /// Threads of the generator.
    pub threads: usize,
}

/// What a load measured.
#[derive(Debug, Clone, Default)]
pub struct Measurement {
    /// Answers within the time.
    pub answers: u64,
    /// Seconds measured.
    pub seconds: f64,
    /// Round trips in microseconds, sorted.
    pub micros: Vec<u32>,
}

impl Measurement {
    /// Answers a second.
    pub fn rate(&self) -> f64 {
        self.answers as f64 / self.seconds
    }

    /// A quantile of the round trips, in microseconds.
    pub fn quantile(&self, q: f64) -> f64 {
        if self.micros.is_empty() {
            return 0.0;
        }
        f64::from(self.micros[((self.micros.len() - 1) as f64 * q) as usize])
    }
}

/// A client frame around a text.
pub fn client_frame(text: &str) -> Vec<u8> {
    client_frame_with(0x81, text.as_bytes())
}

/// A client frame with this first byte.
pub fn client_frame_with(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | short as u8),
        medium @ 126..=65_535 => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// Connections that this process has made.
static CONNECTED: AtomicU64 = AtomicU64::new(0);

/// A handshake was refused: the head of the response.
#[derive(Debug)]
pub struct Refused(pub String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "refused: {}", self.0)
    }
}

impl std::error::Error for Refused {}

/// A socket at a loopback address of this network, which changes now and then. Each address has some 28 000 ports, and a
/// closed connection keeps its port for a minute.
fn next_address(network: u8) -> std::io::Result<TcpSocket> {
    let address = CONNECTED.fetch_add(1, Ordering::Relaxed) / 5_000;
    let source = std::net::Ipv4Addr::new(127, network, (address / 250) as u8, (address % 250 + 1) as u8);
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    Ok(socket)
}

/// A WebSocket connection.
pub struct Socket {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Socket {
    /// Connects and shakes hands. The loopback address changes now and then, so that ports do not run out.
    pub async fn connect(target: impl Into<Target>, headers: &str) -> anyhow::Result<Self> {
        let target = target.into();
        Self::open(next_address(1)?.connect(target.address).await?, &target, headers).await
    }

    /// The same from the address that the system chooses: on loopback that of a trusted proxy, as nginx would connect.
    pub async fn connect_unbound(target: SocketAddr, headers: &str) -> anyhow::Result<Self> {
        Self::open(TcpStream::connect(target).await?, &target.into(), headers).await
    }

    /// The same, when it is this client's turn to connect. The turn ends before the request is sent, which follows at once.
    /// `many_addresses`: not from the same address as all others of this machine.
    pub async fn connect_in_turn(
        target: SocketAddr,
        headers: &str,
        turns: &Semaphore,
        many_addresses: bool,
    ) -> anyhow::Result<Self> {
        let stream = {
            let _turn = turns.acquire().await?;
            if many_addresses {
                next_address(2 + (std::process::id() % 200) as u8)?.connect(target).await?
            } else {
                TcpStream::connect(target).await?
            }
        };
        Self::open(stream, &target.into(), headers).await
    }

    /// Shakes hands.
    async fn open(mut stream: TcpStream, Target { address, path }: &Target, headers: &str) -> anyhow::Result<Self> {
        stream.set_nodelay(true)?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut buffer = vec![0; 2048];
        let mut end = 0;
        loop {
            ensure!(end < buffer.len(), "a handshake answer without end");
            let read = stream.read(&mut buffer[end..]).await?;
            ensure!(read > 0, "closed in the handshake");
            end += read;
            if let Some(at) = buffer[..end].windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&buffer[..at]);
                if !head.starts_with("HTTP/1.1 101") {
                    return Err(Refused(head.into_owned()).into());
                }
                return Ok(Self { stream, buffer, start: at + 4, end });
            }
        }
    }

    /// Reads up to so many bytes at a time from now on; for those who get many messages.
    #[must_use]
    pub fn with_buffer(mut self, bytes: usize) -> Self {
        self.buffer.resize(bytes.max(self.buffer.len()), 0);
        self
    }

    /// Waits for the server's first messages, says hello, and waits for the answer.
    pub async fn begin(&mut self, greetings: usize, hello: Option<&str>) -> anyhow::Result<()> {
        for _ in 0..greetings {
            self.receive().await?;
        }
        if let Some(hello) = hello {
            self.send(&client_frame(hello)).await?;
            self.receive().await?;
        }
        Ok(())
    }

    /// Writes a frame, as [`client_frame`] makes it.
    pub async fn send(&mut self, frame: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.write_all(frame).await?)
    }

    /// Ends the connection with a reset when this is dropped, instead of an orderly end.
    pub fn reset_on_close(&self) {
        // If the system refuses, the end is orderly.
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    /// Waits for a data frame and returns its payload. Answers pings.
    pub async fn receive(&mut self) -> anyhow::Result<&[u8]> {
        loop {
            if let Some((head, length)) = self.whole_frame() {
                let opcode = self.buffer[self.start] & 15;
                let payload = self.start + head..self.start + head + length;
                self.start = payload.end;
                match opcode {
                    1 | 2 => return Ok(&self.buffer[payload]),
                    8 => bail!("closed: {:?}", &self.buffer[payload]),
                    9 => {
                        let mut pong = vec![0x8a, 0x80 | length as u8, 0, 0, 0, 0];
                        pong.extend_from_slice(&self.buffer[payload]);
                        self.stream.write_all(&pong).await?;
                        continue;
                    }
                    _ => continue,
                }
            }
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            }
            if self.end == self.buffer.len() {
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
            let read = self.stream.read(&mut self.buffer[self.end..]).await?;
            ensure!(read > 0, "closed by the server");
            self.end += read;
        }
    }

    /// The lengths of head and payload of the next frame, once all of it has arrived.
    fn whole_frame(&self) -> Option<(usize, usize)> {
        let bytes = &self.buffer[self.start..self.end];
        let (head, length) = match *bytes.get(1)? & 127 {
            126 => (4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
            127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
            short => (2, usize::from(short)),
        };
        (bytes.len() >= head + length).then_some((head, length))
    }
}

/// Runs a load to its end.
pub fn run(load: &Load) -> anyhow::Result<Measurement> {
    let ready = Arc::new(std::sync::Barrier::new(load.threads));
    let threads: Vec<_> = (0..load.threads)
        .map(|thread| {
            let (load, ready) = (load.clone(), Arc::clone(&ready));
            std::thread::spawn(move || run_thread(&load, thread, &ready))
        })
        .collect();
    let mut all = Measurement::default();
    for thread in threads {
        let part = thread.join().map_err(|_| anyhow::anyhow!("a load thread panicked"))??;
        all.answers += part.answers;
        all.seconds = all.seconds.max(part.seconds);
        all.micros.extend(part.micros);
    }
    all.micros.sort_unstable();
    Ok(all)
}

fn run_thread(load: &Load, thread: usize, ready: &std::sync::Barrier) -> anyhow::Result<Measurement> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let mut sockets = Vec::new();
        for number in (thread..load.connections).step_by(load.threads) {
            let own = load.own_headers.get(number % load.own_headers.len().max(1)).map_or("", String::as_str);
            let mut socket = Socket::connect(load.target, &format!("{}{own}", load.headers)).await?;
            socket.begin(load.greetings, load.hello).await?;
            sockets.push(socket);
        }
        ready.wait();
        let stop = Rc::new(Cell::new(false));
        let frame = Rc::new(client_frame(&load.message));
        let started = Instant::now();
        let tasks: Vec<_> = sockets
            .into_iter()
            .map(|socket| {
                let (stop, frame) = (Rc::clone(&stop), Rc::clone(&frame));
                tokio::task::spawn_local(ping_pong(socket, frame, stop, load.pause))
            })
            .collect();
        tokio::time::sleep(load.duration).await;
        stop.set(true);
        let seconds = started.elapsed().as_secs_f64();
        let mut micros = Vec::new();
        for task in tasks {
            micros.extend(task.await.context("a connection's task panicked")??);
        }
        Ok(Measurement { answers: micros.len() as u64, seconds, micros })
    })
}

async fn ping_pong(
    mut socket: Socket,
    frame: Rc<Vec<u8>>,
    stop: Rc<Cell<bool>>,
    pause: Duration,
) -> anyhow::Result<Vec<u32>> {
    let mut micros = Vec::with_capacity(4096);
    while !stop.get() {
        let sent = Instant::now();
        socket.send(&frame).await?;
        socket.receive().await?;
        micros.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    Ok(micros)
}

/// Connections that stay open and count what arrives. They close when this is dropped.
pub struct Audience {
    /// Messages that arrived.
    pub received: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Audience {
    /// Connects all. Each sends `hello`, if there is one, and waits for its answer, which does not count.
    pub fn connect(
        target: impl Into<Target>,
        connections: usize,
        headers: &str,
        greetings: usize,
        hello: Option<&str>,
    ) -> anyhow::Result<Self> {
        let target = target.into();
        let received = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (headers, hello) = (headers.to_owned(), hello.map(str::to_owned));
        let (count, until) = (Arc::clone(&received), Arc::clone(&stop));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::spawn(move || {
            tokio::task::LocalSet::new().block_on(&runtime, async {
                match connect_all(target, connections, &headers, greetings, hello.as_deref()).await {
                    Ok(sockets) => {
                        for socket in sockets {
                            count_messages(socket, Arc::clone(&count));
                        }
                        // The other side waits.
                        let _ = ready.send(Ok(()));
                        while !until.load(Ordering::Relaxed) {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    }
                    Err(error) => drop(ready.send(Err(error))),
                }
            });
        });
        is_ready.recv().context("the audience's thread panicked")??;
        Ok(Self { received, stop, thread: Some(thread) })
    }

    /// Waits until so many messages have arrived.
    pub fn wait_for(&self, messages: u64, limit: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + limit;
        while self.received.load(Ordering::Relaxed) < messages {
            ensure!(Instant::now() < until, "{} of {messages} arrived", self.received.load(Ordering::Relaxed));
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }
}

impl Drop for Audience {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A drop has no result to return.
            let _ = thread.join();
        }
    }
}

async fn connect_all(
    target: Target,
    connections: usize,
    headers: &str,
    greetings: usize,
    hello: Option<&str>,
) -> anyhow::Result<Vec<Socket>> {
    let mut sockets = Vec::new();
    for _ in 0..connections {
        let mut socket = Socket::connect(target, headers).await?;
        socket.begin(greetings, hello).await?;
        sockets.push(socket);
    }
    Ok(sockets)
}

/// Counts a connection's messages until it ends.
fn count_messages(mut socket: Socket, count: Arc<AtomicU64>) {
    tokio::task::spawn_local(async move {
        while socket.receive().await.is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
}
