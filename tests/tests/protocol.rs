//! The wire, row by row: sections 1 to 6 of the protocol, and what the real server was recorded to answer.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use diffyne_tests::client::{Client, increment};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::http::{handshake, http, http_get};
use diffyne_tests::message::ServerMessage;
use diffyne_tests::process::{PATIENCE, eventually, project};
use serde_json::{Value, json};

fn gateway(flags: &[(&str, &str)]) -> anyhow::Result<Cluster> {
    Cluster::start(flags.iter().fold(Shape::new(1, 1), |shape, (flag, value)| shape.gateway(flag, value)))
}

#[test]
fn every_row_of_the_handshake_has_its_status_and_body() -> anyhow::Result<()> {
    let cluster = gateway(&[("--ws-key", "secret,next"), ("--ws-cors-origins", "https://a.test/,https://*.b.test")])?;
    let port = cluster.gateways[0].port;
    let key = "/?key=secret";
    let not_found = r#"{"error":"Not Found"}"#;
    let invalid = "Invalid WebSocket request";
    #[allow(clippy::type_complexity)]
    let rows: [(&str, &[(&str, &str)], u16, &str); 13] = [
        ("/other?key=secret", &[("Origin", "https://evil.test")], 404, not_found),
        ("/", &[("Origin", "https://evil.test")], 403, "Origin not allowed"),
        (key, &[("Origin", "https://b.test")], 403, "Origin not allowed"),
        ("/", &[], 401, "Invalid authentication key"),
        ("/?key=wrong", &[("Sec-WebSocket-Version", "8")], 401, "Invalid authentication key"),
        ("/diffyne?key=", &[], 401, "Invalid authentication key"),
        ("/", &[("Authorization", "Bearer wrong")], 401, "Invalid authentication key"),
        (key, &[("Sec-WebSocket-Key", "")], 400, invalid),
        (key, &[("Sec-WebSocket-Key", "c2hvcnQ=")], 400, invalid),
        (key, &[("Sec-WebSocket-Version", "")], 400, invalid),
        (key, &[("Connection", "keep-alive")], 400, invalid),
        (key, &[("Sec-WebSocket-Version", "12")], 426, invalid),
        ("/nothing/here", &[], 404, not_found),
    ];
    for (path, headers, status, body) in rows {
        let answer = http(port, &handshake(path, headers))?;
        assert_eq!((answer.status, answer.body.as_str()), (status, body), "{path} {headers:?}");
        assert!(answer.head.to_lowercase().contains("connection: close"), "{}", answer.head);
        if status == 426 {
            assert!(answer.head.to_lowercase().contains("sec-websocket-version: 13"), "{}", answer.head);
        }
        if status == 404 {
            assert!(answer.head.to_lowercase().contains("content-type: application/json"), "{}", answer.head);
        }
    }
    for path in ["/", "/diffyne", "/x"] {
        let answer = http_get(port, path)?;
        assert_eq!((answer.status, answer.body.as_str()), (404, not_found), "{path}");
    }
    let health: Value = serde_json::from_str(&http_get(port, "/health")?.body)?;
    for field in ["status", "reasons", "version", "gateway", "uptime_seconds", "connections", "workers", "redis"] {
        assert!(health.get(field).is_some(), "{field} in {health}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn accepted_handshakes_say_what_upstream_says() -> anyhow::Result<()> {
    let cluster = gateway(&[("--ws-key", "secret,next"), ("--ws-cors-origins", "https://a.test/,https://*.b.test")])?;
    let port = cluster.gateways[0].port;
    let accepted: [(&str, &[(&str, &str)]); 6] = [
        ("/?key=secret", &[]),
        ("/diffyne?x=1&key=next", &[]),
        ("/?key=secret", &[("Origin", "https://a.test")]),
        ("/?key=secret", &[("Origin", "https://shop.b.test")]),
        ("/", &[("Authorization", "Bearer next")]),
        ("/?key=secret", &[("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits, no list")]),
    ];
    for (path, headers) in accepted {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(handshake(path, headers).as_bytes())?;
        let mut text = String::new();
        while !text.contains("diffyne.connected") {
            let mut buffer = [0; 1024];
            let read = stream.read(&mut buffer)?;
            assert!(read > 0, "{text}");
            text.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        let head = text.to_lowercase();
        assert!(head.starts_with("http/1.1 101"), "{head}");
        assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
        let origin = headers.iter().find(|(name, _)| *name == "Origin").map(|(_, value)| *value);
        let allowed = origin.map(|origin| format!("access-control-allow-origin: {origin}"));
        assert_eq!(head.contains("access-control-allow-origin"), allowed.is_some());
        assert!(allowed.is_none_or(|line| head.contains(&line)), "{head}");
        assert!(!head.contains("sec-websocket-extensions"), "no compression, unless it is on");
        let message = &text[text.find("{\"event\"").unwrap()..];
        let hello = ServerMessage::parse(message)?;
        assert_eq!(hello["message"], "Connected to Diffyne WebSocket server");
        let beginning = r#"{"event":"diffyne.connected","data":{"clientId":""#;
        assert!(message.starts_with(beginning) && hello["timestamp"].is_u64(), "{message}");
    }
    Ok(())
}

/// The text with its time stamps made equal.
fn without_time(text: &str) -> String {
    let Some(at) = text.find("\"timestamp\":") else { return text.to_owned() };
    let digits = at + "\"timestamp\":".len();
    let end = digits + text[digits..].chars().take_while(char::is_ascii_digit).count();
    format!("{}T{}", &text[..digits], &text[end..])
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_the_envelope_is_answered_byte_for_byte() -> anyhow::Result<()> {
    let cluster = gateway(&[])?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let failed = "Message validation failed: ";
    let rows = [
        ("", "Empty message payload".to_owned()),
        ("{", "Invalid JSON format: Syntax error".to_owned()),
        ("true", "Message must be a JSON object".to_owned()),
        ("{}", format!("{failed}Missing required field: event, Missing required field: data")),
        (r#"{"event":"a"}"#, format!("{failed}Missing required field: data")),
        (r#"{"data":[]}"#, format!("{failed}Missing required field: event")),
        (r#"{"event":[],"data":{}}"#, format!("{failed}Event field must be a string")),
        (r#"{"event":"","data":{}}"#, format!("{failed}Event field cannot be empty")),
        (
            r#"{"event":"a/b","data":{}}"#,
            format!("{failed}Invalid event name format (only alphanumeric, dots, underscores, hyphens allowed)"),
        ),
        (r#"{"event":"a","data":"x"}"#, format!("{failed}Data field must be an object/array")),
        (r#"{"event":"a","data":{},"x":1,"y":2}"#, format!("{failed}Message contains unsupported fields: x, y")),
        (r#"{"event":"x","data":{}}"#, "Event 'x' does not exist".to_owned()),
        (r#"{"event":"diffyne.ping","data":null}"#, format!("{failed}Missing required field: data")),
        (
            r#"{"event":"diffyne.call","data":{"componentId":null,"componentClass":"A","method":"m"}}"#,
            "Internal server error processing message".to_owned(),
        ),
    ];
    for (text, fault) in rows {
        client.send_text(text).await?;
        let expected = format!(r#"{{"event":"error","data":{{"message":{},"timestamp":T}}}}"#, json!(fault));
        assert_eq!(without_time(&client.receive_text().await?), expected, "{text}");
    }
    client.send_text(r#"{"event":"diffyne.ping","data":{"any":"thing"}}"#).await?;
    let pong = client.receive().await?;
    assert!(pong.event() == "diffyne.pong" && pong["timestamp"].is_u64(), "{pong}");

    let too_big = format!(r#"{{"event":"x","data":"{}"}}"#, "x".repeat(1_048_576));
    client.send_text(&too_big).await?;
    assert_eq!(client.closed().await?, 1009);
    Ok(())
}

/// Where ours differs from the recorded frames, and why.
const OURS: [(&str, &str); 7] = [
    ("", "an empty frame is answered"),
    (r#"{"event":"x","data":{}}"#, "an unknown event is answered"),
    (r#"{"event":"x","data":{"a":1}}"#, "an unknown event is answered"),
    (r#"{"event":"diffyne.ping","data":{}}"#, "a pong also tells the place in the history"),
    (r#"{"event":"diffyne.call","data":{"requestId":"r1"}}"#, "a call with a requestId gets its response"),
    (r#"{"event":"diffyne.update","data":{"requestId":"r1"}}"#, "an update with a requestId gets its response"),
    ("frames of section 2", "see the test above"),
];

#[tokio::test(flavor = "multi_thread")]
async fn recorded_frames_are_answered_as_upstream_did_except_for_documented_differences() -> anyhow::Result<()> {
    let cluster = gateway(&[])?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let recorded = std::fs::read_to_string(project().join("tests/data/recorded/upstream.jsonl"))?;
    let mut compared = 0;
    for line in recorded.lines() {
        let record: Value = serde_json::from_str(line)?;
        let Some(text) = record["text"].as_str().filter(|_| record["case"] == "frame") else { continue };
        client.send_text(text).await?;
        let mut answer = client.receive().await?;
        if OURS.iter().any(|(ours, _)| *ours == text) {
            let fine = match text {
                "" => answer["message"] == "Empty message payload",
                _ if text.contains("requestId") => {
                    answer.event() == "diffyne.response"
                        && answer.request_id() == "r1"
                        && answer["error"] == record["socket"]["data"]["error"]
                        && answer["type"] == record["socket"]["data"]["type"]
                }
                _ if text.contains("ping") => answer.event() == "diffyne.pong",
                _ => answer["message"] == "Event 'x' does not exist",
            };
            assert!(fine, "{text}: {answer}");
        } else {
            let mut expected = ServerMessage::parse(&record["socket"].to_string())?;
            for message in [&mut answer, &mut expected] {
                if let Some(time) = message.data_mut().get_mut("timestamp") {
                    *time = json!(0);
                }
            }
            assert_eq!(answer, expected, "{text}");
        }
        compared += 1;
    }
    assert_eq!(compared, 20);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_are_verified_and_request_ids_echoed_whatever_they_are() -> anyhow::Result<()> {
    let cluster = gateway(&[])?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    for id in [json!("r"), json!(7), json!(null), json!({"a": [1, "ü"]}), json!(1.50)] {
        let mut data = increment("diffyne-a", 1, "");
        data["requestId"] = id.clone();
        assert_eq!(*client.call(data).await?.request_id(), id);
    }
    let changed = client.call(increment("diffyne-a", 41, "r")).await?;
    let mut update = json!({
        "type": "update", "componentId": "diffyne-a", "componentClass": "App\\Diffyne\\Counter",
        "property": "count", "value": "7", "state": changed.state(), "fingerprint": changed.fingerprint(),
        "signature": changed.signature(), "requestId": "u",
    });
    assert_eq!(*client.request("diffyne.update", update.clone()).await?.state(), json!({"count": 7}));

    update["state"] = json!({"count": 999});
    let refused = client.request("diffyne.update", update.clone()).await?;
    assert_eq!(refused.error_type(), "security_error");
    assert_eq!(refused.error(), "Invalid state signature. State may have been tampered with.");

    // Without a requestId the failure is a diffyne.error, as upstream's.
    update.as_object_mut().unwrap().remove("requestId");
    client.send("diffyne.update", update).await?;
    let refused = client.receive_text().await?;
    let expected = r#"{"event":"diffyne.error","data":{"error":"Invalid state signature. State may have been tampered with.","type":"security_error"}}"#;
    assert_eq!(refused, expected);

    let shapes = [
        (json!({"state": "x"}), "validation_error"),
        (json!({"params": "x"}), "validation_error"),
        (json!({"componentClass": "App\\Nope"}), "exception"),
        (json!({"componentClass": 7}), "validation_error"),
    ];
    for (change, kind) in shapes {
        let mut data = increment("diffyne-a", 1, "s");
        for (name, value) in change.as_object().unwrap() {
            data[name] = value.clone();
        }
        let answer = client.call(data).await?;
        assert_eq!((answer.error_type(), answer.request_id()), (kind, &json!("s")), "{change}");
    }
    // An empty state works over the socket.
    let mut empty = increment("diffyne-a", 0, "e");
    empty["state"] = json!([]);
    assert_eq!(client.call(empty).await?.state()["count"], 1);
    Ok(())
}

#[test]
fn sockets_survive_slow_headers_half_closed_peers_and_fragments_with_pings_between() -> anyhow::Result<()> {
    let cluster = gateway(&[("--header-timeout", "3s")])?;
    let port = cluster.gateways[0].port;

    // A header that comes byte by byte, then a call in fragments with pings between, then no more from this side.
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    for byte in handshake("/", &[]).as_bytes() {
        stream.write_all(&[*byte])?;
    }
    let call = json!({"event": "diffyne.call", "data": increment("diffyne-a", 1, "slow")}).to_string();
    let frame = |first: u8, payload: &[u8]| {
        let mut bytes = vec![first, 0x80 | payload.len() as u8, 0, 0, 0, 0];
        bytes.extend_from_slice(payload);
        bytes
    };
    let parts: Vec<&[u8]> = call.as_bytes().chunks(40).collect();
    for (index, part) in parts.iter().enumerate() {
        let first = u8::from(index == 0) | if index + 1 == parts.len() { 0x80 } else { 0 };
        for byte in frame(first, part) {
            stream.write_all(&[byte])?;
        }
        stream.write_all(&frame(0x89, b"are you there"))?;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut everything = Vec::new();
    stream.read_to_end(&mut everything)?;
    let text = String::from_utf8_lossy(&everything);
    assert!(text.contains(r#""st":{"count":2}"#) && text.contains(r#""requestId":"slow""#), "{text}");
    assert_eq!(text.matches("are you there").count(), parts.len());

    // A header that never ends is cut off.
    let mut stuck = TcpStream::connect(("127.0.0.1", port))?;
    stuck.set_read_timeout(Some(PATIENCE))?;
    stuck.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n")?;
    let mut rest = Vec::new();
    stuck.read_to_end(&mut rest)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_exactly_the_limit_is_taken_and_memory_goes_back() -> anyhow::Result<()> {
    let cluster = gateway(&[])?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let frame = |size: usize| {
        let empty = r#"{"event":"diffyne.ping","data":{"x":""}}"#;
        empty.replace(r#""x":"""#, &format!(r#""x":"{}""#, "x".repeat(size - empty.len())))
    };
    client.send_text(&frame(1_048_576)).await?;
    assert_eq!(client.receive().await?.event(), "diffyne.pong");
    let before = cluster.gateways[0].process.resident_kib()?;
    let mut clients = Vec::new();
    for _ in 0..40 {
        let mut client = Client::connect(&cluster.url(0)).await?;
        client.send_text(&frame(1_000_000)).await?;
        assert_eq!(client.receive().await?.event(), "diffyne.pong");
        clients.push(client);
    }
    eventually("40 connections that sent a megabyte each take less than 8 MiB", || {
        cluster.gateways[0].process.resident_kib().is_ok_and(|now| now.saturating_sub(before) < 8 * 1024)
    })?;
    client.send_text(&frame(1_048_577)).await?;
    assert_eq!(client.closed().await?, 1009);
    Ok(())
}
