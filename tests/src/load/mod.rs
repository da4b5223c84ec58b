//! Load: connections that send a message, wait for the answer and send the next; or sit idle; or count pushes.
//!
//! A WebSocket client by hand: masked with zeros, so that a message is written as it was built, and one task a
//! connection on a current-thread runtime per thread.

pub mod hostile;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// What to do, to whom.
#[derive(Debug, Clone)]
pub struct Load {
    /// Where to connect.
    pub target: SocketAddr,
    /// Connections.
    pub connections: usize,
    /// How long to measure, after everybody is connected.
    pub duration: Duration,
    /// The message.
    pub message: String,
    /// Messages that the server sends by itself at first.
    pub greetings: usize,
    /// More headers for the handshake, each line ended by CR LF.
    pub headers: String,
    /// Headers of each connection in turn, beside those; none: no others.
    pub own_headers: Vec<String>,
    /// Threads of the generator.
    pub threads: usize,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// Answers within the time.
    pub answers: u64,
    /// Seconds measured.
    pub seconds: f64,
    /// Round trips in microseconds, sorted.
    pub micros: Vec<u32>,
}

impl Measured {
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
    let mut frame = vec![0x81];
    match text.len() {
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
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// Connections made so far.
static CONNECTED: AtomicU64 = AtomicU64::new(0);

/// One connection.
pub struct Socket {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Socket {
    /// Connects from one of several loopback addresses, so that ports do not run out, and shakes hands.
    pub async fn connect(target: SocketAddr, headers: &str) -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        // Each address has some 28 000 ports, and a closed connection keeps its port for a minute.
        let address = CONNECTED.fetch_add(1, Ordering::Relaxed) / 10_000;
        let source = std::net::Ipv4Addr::new(127, 1, (address / 250) as u8, (address % 250 + 1) as u8);
        socket.bind((source, 0).into())?;
        let mut stream = socket.connect(target).await?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {target}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
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
                ensure!(head.starts_with("HTTP/1.1 101"), "refused: {head}");
                return Ok(Self { stream, buffer, start: at + 4, end });
            }
        }
    }

    /// Writes a ready frame.
    pub async fn send(&mut self, frame: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.write_all(frame).await?)
    }

    /// Waits for one data frame; its payload.
    pub async fn receive(&mut self) -> anyhow::Result<&[u8]> {
        loop {
            if let Some((head, length)) = self.frame_here() {
                let opcode = self.buffer[self.start] & 15;
                let payload = self.start + head..self.start + head + length;
                self.start = payload.end;
                match opcode {
                    1 | 2 => return Ok(&self.buffer[payload]),
                    8 => bail!("closed: {:?}", &self.buffer[payload]),
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

    /// Head and payload length of a frame that is here as a whole.
    fn frame_here(&self) -> Option<(usize, usize)> {
        let here = &self.buffer[self.start..self.end];
        let (head, length) = match *here.get(1)? & 127 {
            126 => (4, usize::from(u16::from_be_bytes([*here.get(2)?, *here.get(3)?]))),
            127 => (10, u64::from_be_bytes(here.get(2..10)?.try_into().ok()?) as usize),
            short => (2, usize::from(short)),
        };
        (here.len() >= head + length).then_some((head, length))
    }
}

/// Runs a load to its end.
pub fn run(load: &Load) -> anyhow::Result<Measured> {
    let ready = Arc::new(std::sync::Barrier::new(load.threads));
    let threads: Vec<_> = (0..load.threads)
        .map(|thread| {
            let (load, ready) = (load.clone(), Arc::clone(&ready));
            std::thread::spawn(move || run_thread(&load, thread, &ready))
        })
        .collect();
    let mut all = Measured::default();
    for thread in threads {
        let part = thread.join().map_err(|_| anyhow::anyhow!("a load thread panicked"))??;
        all.answers += part.answers;
        all.seconds = all.seconds.max(part.seconds);
        all.micros.extend(part.micros);
    }
    all.micros.sort_unstable();
    Ok(all)
}

fn run_thread(load: &Load, thread: usize, ready: &std::sync::Barrier) -> anyhow::Result<Measured> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let mut sockets = Vec::new();
        for number in (thread..load.connections).step_by(load.threads) {
            let own = load.own_headers.get(number % load.own_headers.len().max(1)).map_or("", String::as_str);
            let mut socket = Socket::connect(load.target, &format!("{}{own}", load.headers)).await?;
            for _ in 0..load.greetings {
                socket.receive().await?;
            }
            sockets.push(socket);
        }
        ready.wait();
        let stop = std::rc::Rc::new(std::cell::Cell::new(false));
        let frame = std::rc::Rc::new(client_frame(&load.message));
        let started = Instant::now();
        let tasks: Vec<_> = sockets
            .into_iter()
            .map(|socket| {
                let (stop, frame) = (std::rc::Rc::clone(&stop), std::rc::Rc::clone(&frame));
                tokio::task::spawn_local(ping_pong(socket, frame, stop))
            })
            .collect();
        tokio::time::sleep(load.duration).await;
        stop.set(true);
        let seconds = started.elapsed().as_secs_f64();
        let mut micros = Vec::new();
        for task in tasks {
            micros.extend(task.await.context("a connection's task panicked")??);
        }
        Ok(Measured { answers: micros.len() as u64, seconds, micros })
    })
}

async fn ping_pong(
    mut socket: Socket,
    frame: std::rc::Rc<Vec<u8>>,
    stop: std::rc::Rc<std::cell::Cell<bool>>,
) -> anyhow::Result<Vec<u32>> {
    let mut micros = Vec::with_capacity(4096);
    while !stop.get() {
        let sent = Instant::now();
        socket.send(&frame).await?;
        socket.receive().await?;
        micros.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    Ok(micros)
}

/// Connections that stay open and do nothing but count what arrives.
pub struct Audience {
    /// Messages that arrived.
    pub received: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Audience {
    /// Connects everybody; `hello` is sent by each and answered before it counts, if there is one.
    pub fn connect(
        target: SocketAddr,
        connections: usize,
        headers: &str,
        greetings: usize,
        hello: Option<&str>,
    ) -> anyhow::Result<Self> {
        let received = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, told) = std::sync::mpsc::channel();
        let (headers, hello) = (headers.to_owned(), hello.map(client_frame));
        let (count, until) = (Arc::clone(&received), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let work = async {
                let mut sockets = Vec::new();
                for _ in 0..connections {
                    let mut socket = Socket::connect(target, &headers).await?;
                    for _ in 0..greetings {
                        socket.receive().await?;
                    }
                    if let Some(hello) = &hello {
                        socket.send(hello).await?;
                        socket.receive().await?;
                    }
                    sockets.push(socket);
                }
                anyhow::Ok(sockets)
            };
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(tell.send(Err(error.into()))),
            };
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async {
                match work.await {
                    Ok(sockets) => {
                        for mut socket in sockets {
                            let count = Arc::clone(&count);
                            tokio::task::spawn_local(async move {
                                while socket.receive().await.is_ok() {
                                    count.fetch_add(1, Ordering::Relaxed);
                                }
                            });
                        }
                        drop(tell.send(Ok(())));
                        while !until.load(Ordering::Relaxed) {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    }
                    Err(error) => drop(tell.send(Err(error))),
                }
            });
        });
        told.recv().context("the audience ended")??;
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
            // It has nothing left to say.
            let _ = thread.join();
        }
    }
}
