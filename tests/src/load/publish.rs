//! Publishers by HTTP, and subscribers that check what arrives: each broadcast once, in the order of the offsets.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Socket, client_frame};

/// The event that is published, with the moment at which it left in microseconds.
const BEFORE_MOMENT: &str = r#"{"name":"message-sent","params":[{"at":""#;
const AFTER_MOMENT: &str = r#""}]}"#;
const MOMENT_DIGITS: usize = 16;
/// What stands before the moment where a subscriber gets it.
const PUSH_PREFIX: &str = r#"{"event":"diffyne.event","data":{"events":[{"name":"message-sent","params":[{"at":""#;
const SUBSCRIBE: &str = r#"{"event":"diffyne.subscribe","data":{"events":[{"name":"message-sent"}]}}"#;
/// Bytes that a subscriber reads at a time.
const READ_BYTES: usize = 64 * 1024;
const STEP: Duration = Duration::from_micros(200);

/// A connection to `POST /api/broadcast` that is kept alive.
pub struct Publisher {
    stream: TcpStream,
    request: Vec<u8>,
    /// Where the moments are written in the request.
    moments: Vec<usize>,
    response: Vec<u8>,
    start: Instant,
}

impl Publisher {
    /// Connects to an admin port. Each request publishes one event, or a list of several.
    pub async fn connect(admin: SocketAddr, token: &str, events: usize, start: Instant) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(admin).await?;
        stream.set_nodelay(true)?;
        let event = format!("{BEFORE_MOMENT}{}{AFTER_MOMENT}", "0".repeat(MOMENT_DIGITS));
        let body = if events == 1 { event } else { format!("[{}]", vec![event; events].join(",")) };
        let request = format!(
            "POST /api/broadcast HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let moments = request.match_indices(BEFORE_MOMENT).map(|(at, found)| at + found.len()).collect();
        Ok(Self { stream, request: request.into_bytes(), moments, response: vec![0; 64 * 1024], start })
    }

    /// Publishes, and returns the status of the answer.
    pub async fn publish(&mut self) -> anyhow::Result<u16> {
        let moment = format!("{:0MOMENT_DIGITS$}", self.start.elapsed().as_micros());
        for at in &self.moments {
            self.request[*at..*at + MOMENT_DIGITS].copy_from_slice(moment.as_bytes());
        }
        self.stream.write_all(&self.request).await?;
        let mut end = 0;
        loop {
            ensure!(end < self.response.len(), "an answer without end");
            let read = self.stream.read(&mut self.response[end..]).await?;
            ensure!(read > 0, "the admin port closed the connection");
            end += read;
            if let Some(status) = whole_response(&self.response[..end])? {
                return Ok(status);
            }
        }
    }
}

/// The status of an answer, once all of it has arrived.
fn whole_response(bytes: &[u8]) -> anyhow::Result<Option<u16>> {
    let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&bytes[..head])?;
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.context("an answer without a length")?.parse()?;
    if bytes.len() < head + 4 + length {
        return Ok(None);
    }
    Ok(Some(text.split(' ').nth(1).context("no status")?.parse()?))
}

/// What a subscriber has got.
#[derive(Default)]
pub struct Received {
    /// Broadcasts so far.
    pub count: AtomicU64,
    micros: Mutex<Vec<u32>>,
}

impl Received {
    /// The times from publishing to arrival, sorted; the next ones are noted from now on.
    pub fn take_micros(&self) -> Vec<u32> {
        let mut micros = std::mem::take(&mut *self.micros.lock().unwrap_or_else(PoisonError::into_inner));
        micros.sort_unstable();
        micros
    }
}

/// One subscriber for each address, all on a thread of their own. They end when this is dropped.
pub struct Subscribers {
    /// What each has got.
    pub received: Vec<Arc<Received>>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<anyhow::Result<()>>>,
}

impl Subscribers {
    /// Connects and subscribes. `start` is the moment that publishers count from.
    pub fn connect(gateways: &[SocketAddr], start: Instant) -> anyhow::Result<Self> {
        let received: Vec<Arc<Received>> = gateways.iter().map(|_| Arc::default()).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (all, until, gateways) = (received.clone(), Arc::clone(&stop), gateways.to_vec());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut tasks = tokio::task::JoinSet::new();
                for (gateway, received) in gateways.into_iter().zip(all) {
                    let mut socket = Socket::connect(gateway, "").await?.with_buffer(READ_BYTES);
                    socket.receive().await?;
                    socket.send(&client_frame(SUBSCRIBE)).await?;
                    socket.receive().await?;
                    tasks.spawn(subscribe(socket, received, start));
                }
                // The other side waits.
                let _ = ready.send(());
                while !until.load(Ordering::Relaxed) {
                    tokio::select! {
                        ended = tasks.join_next() => ended.context("no subscriber")??.context("a subscriber")?,
                        () = tokio::time::sleep(Duration::from_millis(20)) => {}
                    }
                }
                anyhow::Ok(())
            })
        });
        let mut subscribers = Self { received, stop, thread: Some(thread) };
        match is_ready.recv() {
            Ok(()) => Ok(subscribers),
            Err(_) => Err(subscribers.end().err().context("a subscriber's thread ended")?),
        }
    }

    /// Waits until each has so many. Fails when one of them has ended, or after the limit.
    pub fn wait_for(&mut self, count: u64, limit: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + limit;
        while self.received.iter().any(|received| received.count.load(Ordering::Relaxed) < count) {
            if self.thread.as_ref().is_none_or(std::thread::JoinHandle::is_finished) {
                self.end()?;
                bail!("the subscribers ended");
            }
            let counts: Vec<u64> = self.received.iter().map(|one| one.count.load(Ordering::Relaxed)).collect();
            ensure!(Instant::now() < until, "{counts:?} of {count} arrived");
            std::thread::sleep(STEP);
        }
        Ok(())
    }

    fn end(&mut self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(std::thread::JoinHandle::join);
        ended.map_or(Ok(()), |ended| ended.map_err(|_| anyhow::anyhow!("a subscriber panicked"))?)
    }
}

impl Drop for Subscribers {
    fn drop(&mut self) {
        // A drop has no result to return.
        let _ = self.end();
    }
}

/// Counts broadcasts until the connection ends; an error if one is missing, doubled or out of order.
async fn subscribe(mut socket: Socket, received: Arc<Received>, start: Instant) -> anyhow::Result<()> {
    let mut last = None;
    loop {
        let push = socket.receive().await?;
        let text = std::str::from_utf8(push)?;
        let rest = text.strip_prefix(PUSH_PREFIX).with_context(|| format!("no broadcast: {text}"))?;
        let sent: u64 = rest.get(..MOMENT_DIGITS).context("no moment")?.parse()?;
        let (_, offset) = rest.rsplit_once(r#""offset":"#).context("no offset: redis is away")?;
        let offset: u64 = offset.split(',').next().unwrap_or_default().parse()?;
        ensure!(last.is_none_or(|last| last + 1 == offset), "{offset} follows {last:?}");
        last = Some(offset);
        let micros = (start.elapsed().as_micros() as u64).saturating_sub(sent);
        received.micros.lock().unwrap_or_else(PoisonError::into_inner).push(u32::try_from(micros).unwrap_or(u32::MAX));
        received.count.fetch_add(1, Ordering::Relaxed);
    }
}
