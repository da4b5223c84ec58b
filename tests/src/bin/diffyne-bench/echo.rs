//! What the gateway is measured against: hyper and fastwebsockets with nothing in between, and a bare loop of writes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use bytes::Bytes;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use fastwebsockets::{FragmentCollector, OpCode};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A second descriptor of each open connection, for the loop of writes; `None` where nobody asked for that loop.
type Connections = Option<Arc<Mutex<Vec<Arc<std::net::TcpStream>>>>>;

/// The payload of a broadcast, in bytes.
const PAYLOAD_BYTES: u16 = 306;

/// Its arguments.
pub fn command() -> Command {
    Command::new("echo")
        .about("A bare WebSocket echo, which the other subcommands start as their yardstick")
        .arg(
            Arg::new("address")
                .value_name("HOST:PORT")
                .default_value("127.0.0.1:9778")
                .value_parser(value_parser!(SocketAddr))
                .help("Where to listen"),
        )
        .arg(
            Arg::new("fan-out")
                .long("fan-out")
                .action(ArgAction::SetTrue)
                .help("The text `go` writes one frame of 310 bytes to every connection"),
        )
}

/// Serves until it is killed.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let address = *matches.get_one::<SocketAddr>("address").context("no address")?;
    let connections: Connections = matches.get_flag("fan-out").then(Arc::default);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await?;
        println!("bare echo on {}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(serve(stream, connections.clone()));
        }
    })
}

async fn serve(stream: TcpStream, connections: Connections) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let stream = stream.into_std()?;
    let second = if connections.is_some() { Some(Arc::new(stream.try_clone()?)) } else { None };
    let stream = TcpStream::from_std(stream)?;
    let service = service_fn(move |request| {
        let response = upgrade(request, &connections, second.clone());
        async move { Ok::<_, Infallible>(response) }
    });
    let builder = hyper::server::conn::http1::Builder::new();
    // Clients come and go; an error ends one of them.
    let _ = builder.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
    Ok(())
}

fn upgrade(
    mut request: Request<Incoming>,
    connections: &Connections,
    second: Option<Arc<std::net::TcpStream>>,
) -> Response<Empty<Bytes>> {
    let Ok((response, upgraded)) = fastwebsockets::upgrade::upgrade(&mut request) else {
        return Response::new(Empty::new());
    };
    let connections = connections.clone();
    tokio::spawn(async move {
        let Ok(socket) = upgraded.await else { return };
        let Some((connections, second)) = connections.as_ref().zip(second) else {
            return echo(FragmentCollector::new(socket), &None).await;
        };
        let lock = || connections.lock().unwrap_or_else(PoisonError::into_inner);
        lock().push(Arc::clone(&second));
        echo(FragmentCollector::new(socket), &Some(Arc::clone(connections))).await;
        lock().retain(|other| !Arc::ptr_eq(other, &second));
    });
    response
}

/// Answers each message with itself, until the connection ends.
async fn echo(mut socket: FragmentCollector<TokioIo<Upgraded>>, connections: &Connections) {
    while let Ok(frame) = socket.read_frame().await {
        match (frame.opcode, connections) {
            (OpCode::Text, Some(connections)) if &*frame.payload == b"go" => {
                let streams = connections.lock().unwrap_or_else(PoisonError::into_inner).clone();
                write_to_all(streams).await;
            }
            (OpCode::Text | OpCode::Binary, _) => {
                if socket.write_frame(frame).await.is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}

/// Writes one frame to half of the connections on each of two threads, as fast as the kernel takes it.
async fn write_to_all(mut streams: Vec<Arc<std::net::TcpStream>>) {
    let mut frame = vec![0x81, 126];
    frame.extend_from_slice(&PAYLOAD_BYTES.to_be_bytes());
    frame.resize(frame.len() + usize::from(PAYLOAD_BYTES), b'x');
    let second_half = streams.split_off(streams.len() / 2);
    let tasks = [streams, second_half].map(|streams| {
        let frame = frame.clone();
        tokio::task::spawn_blocking(move || {
            for stream in streams {
                // A connection that has ended is skipped.
                let _ = std::io::Write::write(&mut &*stream, &frame);
            }
        })
    });
    for task in tasks {
        if let Err(error) = task.await {
            eprintln!("echo: the loop of writes: {error}");
        }
    }
}
