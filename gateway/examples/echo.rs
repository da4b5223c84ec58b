//! An echo server over the gateway's own socket code, for the Autobahn suite: `echo [HOST:PORT]`.
//!
//! The same decoder, outbox, frames and compression as in production; only binary messages are taken here, too, and the
//! limit is as high as the suite needs.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::Shutdown;

use bytes::Bytes;
use diffyne_gateway::socket::{
    Close, Decoder, DecoderLimits, Deflate, Event, FlushResult, Outbox, SocketIo, deflate, extensions, frame,
};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::header::SEC_WEBSOCKET_EXTENSIONS;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

const LIMITS: DecoderLimits = DecoderLimits { message_bytes_max: 64 << 20, binary: true, inflates: false };

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
    let bad_request = || {
        let mut response = Response::new(Empty::new());
        *response.status_mut() = StatusCode::BAD_REQUEST;
        response
    };
    let Ok(terms) = extensions::negotiate(request.headers()) else { return bad_request() };
    let (terms, header) = terms.unzip();
    let Ok((mut response, upgraded)) = fastwebsockets::upgrade::upgrade(&mut request) else {
        return bad_request();
    };
    if let Some(header) = header {
        response.headers_mut().insert(SEC_WEBSOCKET_EXTENSIONS, header);
    }
    tokio::task::spawn_local(async move {
        let Ok(socket) = upgraded.await else { return };
        let Ok(parts) = socket.into_inner().into_inner().downcast::<TokioIo<TcpStream>>() else { return };
        let io = SocketIo::from(parts.io.into_inner());
        Echo::new(io, terms).run(&parts.read_buf).await;
    });
    response
}

/// One connection.
struct Echo {
    io: SocketIo,
    terms: Option<Deflate>,
    decoder: Decoder,
    outbox: Outbox,
}

impl Echo {
    fn new(io: SocketIo, terms: Option<Deflate>) -> Self {
        let limits = DecoderLimits { inflates: terms.is_some(), ..LIMITS };
        Self { io, terms, decoder: Decoder::new(limits), outbox: Outbox::default() }
    }

    async fn run(mut self, early: &[u8]) {
        let mut buffer = vec![0; 64 * 1024];
        let mut length = early.len();
        buffer[..length].copy_from_slice(early);
        let mut closing = false;
        loop {
            // After a close frame what still comes is read and dropped, so that the frame is not lost to a reset.
            if !closing {
                closing = self.answer(&mut buffer[..length]);
                while self.outbox.flush(&self.io).is_ok_and(|flushed| flushed == FlushResult::Blocked) {
                    if self.io.writable().await.is_err() {
                        return;
                    }
                }
                if closing {
                    self.io.shutdown(Shutdown::Write);
                }
            }
            match poll_fn(|cx| self.io.poll_read(cx, &mut buffer)).await {
                Ok(0) | Err(_) => return,
                Ok(read) => length = read,
            }
        }
    }

    /// Answers what was read; `true` when the connection ends.
    fn answer(&mut self, bytes: &mut [u8]) -> bool {
        let Self { terms, decoder, outbox, .. } = self;
        let mut used = 0;
        loop {
            match decoder.next(bytes, &mut used) {
                Ok(Some(Event::Text(text))) => outbox.push(compressed(*terms, frame::text(&text))),
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
}

/// Compresses a frame if the client's terms allow it and the frame becomes smaller.
fn compressed(terms: Option<Deflate>, frame: Bytes) -> Bytes {
    let smaller = terms.filter(|terms| terms.allows(frame.len())).and_then(|_| deflate::compress(&frame));
    smaller.unwrap_or(frame)
}
