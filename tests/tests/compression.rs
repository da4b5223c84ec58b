//! Compression of messages: as a browser and as a hand-written client see it, and what attackers make of it.

use diffyne_tests::attack::address_of;
use diffyne_tests::browser::Browser;
use diffyne_tests::client::{Client, call};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::http::{handshake, http, http_post};
use diffyne_tests::load::{Socket, client_frame_with};
use diffyne_tests::process::eventually;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use serde_json::{Value, json};

const TOKEN: &str = "admin-token-of-tests";
const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
const SUBSCRIBE: &str = r#"{"event":"diffyne.subscribe","data":{"events":[{"name":"message-sent"}]}}"#;
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

fn compressed(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 64);
    Compress::new(Compression::best(), false).compress_vec(payload, &mut out, FlushCompress::Sync).unwrap();
    out.strip_suffix(&TAIL).unwrap().to_vec()
}

fn inflated(payload: &[u8]) -> String {
    let mut out = Vec::with_capacity(1 << 20);
    let bytes = [payload, &TAIL].concat();
    Decompress::new(false).decompress_vec(&bytes, &mut out, FlushDecompress::Sync).unwrap();
    String::from_utf8(out).unwrap()
}

fn publish(cluster: &Cluster, params: &Value) -> anyhow::Result<()> {
    let headers = [("Authorization", format!("Bearer {TOKEN}"))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let body = json!({"name": "message-sent", "params": [params]}).to_string();
    let response = http_post(cluster.gateways[0].admin, "/api/broadcast", &headers, &body)?;
    anyhow::ensure!(response.status == 202, "{}", response.body);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_and_a_plain_client_hear_the_same_and_only_large_messages_are_compressed() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1).gateway("--compression", "auto").gateway("--admin-token", TOKEN))?;
    let node = &cluster.gateways[0];
    let large: String = (0..2000).map(|n| format!("row {n}, ")).collect();

    let mut plain = Client::connect(&cluster.url(0)).await?;
    plain.subscribe("message-sent").await?;
    let mut compressing = Socket::connect(address_of(node), OFFER).await?;
    compressing.begin(1, Some(SUBSCRIBE)).await?;
    // It inflates from a window that is smaller than the message.
    let narrow = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n";
    let mut narrow = Socket::connect(address_of(node), narrow).await?;
    narrow.begin(1, Some(SUBSCRIBE)).await?;
    let browser = Browser::start()?;
    let mut tab = browser.open(&format!("http://127.0.0.1:{}/health", node.port)).await?;
    tab.wait_for("location.pathname === '/health' && document.readyState === 'complete'").await?;
    tab.eval(&format!(
        "seen = []; socket = new WebSocket('{}'); socket.onmessage = message => seen.push(JSON.parse(message.data))",
        cluster.url(0)
    ))
    .await?;
    tab.wait_for("seen.length === 1").await?;
    let extensions = tab.eval("socket.extensions").await?;
    assert_eq!(extensions, "permessage-deflate; server_no_context_takeover; client_no_context_takeover");
    tab.eval(&format!("socket.send('{SUBSCRIBE}')")).await?;
    tab.wait_for("seen.length === 2").await?;

    // What the browser sends is compressed, too.
    let padded = json!({"event": "diffyne.ping", "data": {"padding": large}});
    tab.eval(&format!("socket.send(JSON.stringify({padded}))")).await?;
    tab.wait_for("seen.length === 3 && seen[2].event === 'diffyne.pong'").await?;
    eventually("it has been inflated", || {
        node.metric("diffyne_gateway_inflated_bytes_total").is_ok_and(|bytes| bytes > large.len() as f64)
    })?;

    for (round, params) in [json!({"n": 1, "text": "short"}), json!({"n": 2, "text": large})].iter().enumerate() {
        publish(&cluster, params)?;
        let expected = plain.receive_text().await?;
        let payload = compressing.receive().await?;
        let is_plain = payload == expected.as_bytes();
        assert_eq!(is_plain, round == 0, "the short one stays as it is");
        if !is_plain {
            assert!(payload.len() < expected.len() / 2, "{} of {}", payload.len(), expected.len());
            assert_eq!(inflated(payload), expected);
        }
        assert_eq!(narrow.receive().await?, expected.as_bytes(), "no window is exceeded");
        tab.wait_for(&format!("seen.length === {}", 4 + round)).await?;
        let heard = tab.eval("seen.at(-1).data.events[0].params[0]").await?;
        assert_eq!(heard, *params);
    }
    let expected = json!({"e": "x".repeat(3000)}).to_string();
    compressing.send(&client_frame_with(0xc1, &compressed(expected.as_bytes()))).await?;
    assert!(
        String::from_utf8_lossy(compressing.receive().await?).contains("Missing required field"),
        "a compressed message is read"
    );

    // A long answer is compressed, a short one is not.
    for (rows, is_compressed) in [(1000, true), (1, false)] {
        let view = (0..rows).map(|row| format!("<i>row {row}</i>")).collect::<String>();
        let state = json!({"view": "", "n": 0, "said": "", "text": "", "open": false});
        let data = call("App\\Tests\\Stage", "s", "stage", json!([view]), state, "r");
        let message = json!({"event": "diffyne.call", "data": data}).to_string();
        compressing.send(&client_frame_with(0x81, message.as_bytes())).await?;
        let payload = compressing.receive().await?;
        let text = if is_compressed { inflated(payload) } else { String::from_utf8(payload.to_vec())? };
        assert!(
            text.starts_with("{\"event\":\"diffyne.response\"") && text.contains(&format!("row {}<", rows - 1)),
            "{text}"
        );
    }

    // Two of the four were sent the long broadcast compressed.
    eventually("all is counted", || {
        node.metric("diffyne_gateway_compressed_messages_total").is_ok_and(|messages| messages >= 2.0)
    })?;
    assert!(node.metric("diffyne_gateway_compression_saved_bytes_total")? > 15_000.0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_bombs_and_faults_cost_their_sender_the_connection_and_nobody_memory() -> anyhow::Result<()> {
    let cluster = Cluster::start(
        Shape::new(1, 1)
            .gateway("--compression", "auto")
            .gateway("--ws-max-message-size", "262144")
            .gateway("--threads", "1")
            .with_default_limits(),
    )?;
    let node = &cluster.gateways[0];
    let mut bystander = Client::connect(&cluster.url(0)).await?;
    bystander.barrier().await?;

    let bomb = compressed(&vec![b'x'; 16 << 20]);
    assert!(bomb.len() < 100_000, "it is within the limit while it is compressed");
    let (first, rest) = bomb.split_at(1000);
    let fragments = [client_frame_with(0x41, first), client_frame_with(0x89, b"?"), client_frame_with(0x80, rest)];
    let good = compressed(br#"{"event":"diffyne.ping","data":{}}"#);
    let attacks = [
        ("a bomb", client_frame_with(0xc1, &bomb), 1009),
        ("a fragmented bomb", fragments.concat(), 1009),
        ("no deflate stream", client_frame_with(0xc1, &[0xff; 99]), 1007),
        (
            "RSV1 on a continuation",
            [client_frame_with(0x41, &good[..5]), client_frame_with(0xc0, &good[5..])].concat(),
            1002,
        ),
    ];
    let before = node.process.resident_kib()?;
    for round in 0..10 {
        for (name, bytes, code) in &attacks {
            let mut socket = Socket::connect(address_of(node), OFFER).await?;
            socket.begin(1, None).await?;
            socket.send(bytes).await?;
            let closed = socket.receive().await.err().map(|error| error.to_string()).unwrap_or_default();
            // The close frame begins with the code.
            let [high, low] = u16::to_be_bytes(*code);
            assert!(closed.starts_with(&format!("closed: [{high}, {low},")), "{name}, round {round}: {closed}");
        }
    }
    let grown = node.process.resident_kib()?.saturating_sub(before);
    assert!(grown < 4096, "{grown} KiB");

    // A message that is just within the limit is read, and its work is charged inflated.
    let padded = json!({"event": "diffyne.ping", "data": {"padding": "x".repeat(250_000)}}).to_string();
    let mut socket = Socket::connect(address_of(node), OFFER).await?;
    socket.begin(1, None).await?;
    for _ in 0..100 {
        socket.send(&client_frame_with(0xc1, &compressed(padded.as_bytes()))).await?;
    }
    for _ in 0..100 {
        assert!(String::from_utf8_lossy(socket.receive().await?).contains("diffyne.pong"));
    }
    assert!(node.metric(r#"diffyne_gateway_limited_total{what="bytes"}"#)? >= 1.0, "25 MB are more than its burst");
    let malformed = http(node.port, &handshake("/", &[("Sec-WebSocket-Extensions", "permessage deflate")]))?;
    assert_eq!((malformed.status, malformed.body.as_str()), (400, "Invalid WebSocket request"));
    bystander.barrier().await?;
    Ok(())
}
