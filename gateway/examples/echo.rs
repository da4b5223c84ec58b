//! An echo server over the gateway's own socket code, for the Autobahn suite: `echo [HOST:PORT]`.
//!
//! The same decoder, outbox and frames as in production; only binary messages are taken here, too, and the limit is
//! as high as the suite needs.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::Shutdown;

use bytes::Bytes;
use diffyne_gateway::socket::{Close, Decoder, DecoderLimits, Event, FlushResult, Outbox, SocketIo, frame};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

const LIMITS: DecoderLimits = DecoderLimits { message_bytes_max: 64 << 20, binary: true };

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9777".to_owned());
    let listener = TcpListener::bind(&address).await?;
    println!("echo on {}", listener.local_addr()?);
    tokio::task::LocalSet::new().run_until(serve(listener)).await
}

async fn serve(listener: TcpListener) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::task::spawn_local(async move {
            let service = service_fn(|request| async move { Ok::<_, Infallible>(upgrade(request)) });
            let builder = hyper::server::conn::http1::Builder::new();
            // A client that breaks its handshake off is no event here.
            let _ = builder.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
        });
    }
}

fn upgrade(mut request: Request<Incoming>) -> Response<Empty<Bytes>> {
    let Ok((response, upgraded)) = fastwebsockets::upgrade::upgrade(&mut request) else {
        let mut response = Response::new(Empty::new());
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    tokio::task::spawn_local(async move {
        let Ok(socket) = upgraded.await else { return };
        let Ok(parts) = socket.into_inner().into_inner().downcast::<TokioIo<TcpStream>>() else { return };
        let io = SocketIo::from(parts.io.into_inner());
        echo(io, parts.read_buf.to_vec()).await;
    });
    response
}

async fn echo(io: SocketIo, early: Vec<u8>) {
    let mut decoder = Decoder::new(LIMITS);
    let mut outbox = Outbox::default();
    let mut buffer = vec![0; 64 * 1024];
    let mut length = early.len();
    buffer[..length].copy_from_slice(&early);
    let mut closing = false;
    loop {
        // After a close frame what still comes is read and dropped, so that the frame is not lost to a reset.
        if !closing {
            closing = answer(&mut decoder, &mut outbox, &mut buffer[..length]);
            while outbox.flush(&io).is_ok_and(|flushed| flushed == FlushResult::Blocked) {
                if io.writable().await.is_err() {
                    return;
                }
            }
            if closing {
                io.shutdown(Shutdown::Write);
            }
        }
        match poll_fn(|cx| io.poll_read(cx, &mut buffer)).await {
            Ok(0) | Err(_) => return,
            Ok(read) => length = read,
        }
    }
}

/// Answers what was read; `true` when the connection ends.
fn answer(decoder: &mut Decoder, outbox: &mut Outbox, bytes: &mut [u8]) -> bool {
    let mut used = 0;
    loop {
        match decoder.next(bytes, &mut used) {
            Ok(Some(Event::Text(text))) => outbox.push(frame::text(&text)),
            Ok(Some(Event::Binary(data))) => outbox.push(frame::binary(&data)),
            Ok(Some(Event::Ping(payload))) => outbox.push(frame::pong(&payload)),
            Ok(Some(Event::Pong)) => {}
            Ok(Some(Event::Close(code))) => {
                outbox.push(code.map_or_else(frame::close_empty, |code| frame::close(&Close::new(code, ""))));
                return true;
            }
            Ok(None) => return false,
            Err(close) => {
                outbox.push(frame::close(&close));
                return true;
            }
        }
    }
}
