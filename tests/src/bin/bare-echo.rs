//! What the gateway is measured against: hyper and fastwebsockets with nothing in between, and a bare loop of writes.
//!
//! `bare-echo HOST:PORT` answers each message with itself. With `--fan-out` behind it, the text `go` makes it write
//! one frame of 310 bytes to every connection instead.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use fastwebsockets::{FragmentCollector, OpCode};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The open connections, for `go`: a second descriptor of each, kept only where it is asked for.
type Everybody = Arc<Mutex<Vec<Arc<std::net::TcpStream>>>>;

fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9778".to_owned());
    let fan_out = std::env::args().nth(2).is_some_and(|flag| flag == "--fan-out");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(&address).await?;
        println!("bare echo on {}", listener.local_addr()?);
        let everybody = Everybody::default();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let everybody = Arc::clone(&everybody);
            tokio::spawn(async move {
                let std = stream.into_std()?;
                let second = if fan_out { Some(Arc::new(std.try_clone()?)) } else { None };
                let stream = TcpStream::from_std(std)?;
                let service = service_fn(move |request| {
                    let response = upgrade(request, &everybody, second.clone());
                    async move { Ok::<_, Infallible>(response) }
                });
                let builder = hyper::server::conn::http1::Builder::new();
                // A client that goes away is no event here.
                let _ = builder.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
                anyhow::Ok(())
            });
        }
    })
}

fn upgrade(
    mut request: Request<Incoming>,
    everybody: &Everybody,
    second: Option<Arc<std::net::TcpStream>>,
) -> Response<Empty<Bytes>> {
    let Ok((response, upgraded)) = fastwebsockets::upgrade::upgrade(&mut request) else {
        return Response::new(Empty::new());
    };
    let everybody = Arc::clone(everybody);
    tokio::spawn(async move {
        let Ok(socket) = upgraded.await else { return };
        let mut socket = FragmentCollector::new(socket);
        let lock = || everybody.lock().unwrap_or_else(PoisonError::into_inner);
        lock().extend(second.clone());
        while let Ok(frame) = socket.read_frame().await {
            match frame.opcode {
                OpCode::Text if &*frame.payload == b"go" => write_to_all(&everybody).await,
                OpCode::Text | OpCode::Binary => {
                    if socket.write_frame(frame).await.is_err() {
                        break;
                    }
                }
                _ => break,
            }
        }
        if let Some(second) = second {
            lock().retain(|other| !Arc::ptr_eq(other, &second));
        }
    });
    response
}

/// Half of the connections on each of two threads, as fast as the kernel takes it.
async fn write_to_all(everybody: &Everybody) {
    let mut frame = vec![0x81, 126];
    frame.extend_from_slice(&306u16.to_be_bytes());
    frame.extend_from_slice(&[b'x'; 306]);
    let streams = everybody.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let half = streams.len() / 2;
    let mut halves = [streams, Vec::new()];
    halves[1] = halves[0].split_off(half);
    let tasks = halves.map(|streams| {
        let frame = frame.clone();
        tokio::task::spawn_blocking(move || {
            for stream in streams {
                // A connection that is gone is skipped.
                let _ = std::io::Write::write(&mut &*stream, &frame);
            }
        })
    });
    for task in tasks {
        // The writes cannot panic.
        let _ = task.await;
    }
}
