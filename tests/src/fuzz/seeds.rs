//! What fuzzing starts from: kept findings, the recorded conversation, and an example of each other kind.

use anyhow::ensure;
use diffyne_shared::rpc::{self, Frame};
use serde_json::Value;

use super::Target;
use super::mutation::NESTED_MAX;
use crate::process::project;

/// Lines of the recorded conversation that are used.
const RECORDED_LINES: usize = 60;

/// The seeds of a target.
pub fn of(target: Target) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut seeds = kept(target)?;
    let recorded = std::fs::read_to_string(project().join("tests/data/recorded/upstream.jsonl"))?;
    let lines = recorded.lines().take(RECORDED_LINES);
    match target {
        Target::Envelope | Target::Endpoint => seeds.extend(lines.map(|line| line.as_bytes().to_vec())),
        Target::State => seeds.extend(parts(lines, "/request/state")?),
        Target::Call => {
            seeds.extend(parts(lines, "/request")?);
            seeds.push(deepest_call());
        }
        Target::Socket => {
            seeds.push(vec![0x81, 0x82, 1, 2, 3, 4, b'{' ^ 1, b'}' ^ 2, 0x89, 0x80, 0, 0, 0, 0]);
            // "Hello", compressed: in RFC 7692, section 7.2.3.1.
            seeds.push(vec![0xc1, 0x87, 0, 0, 0, 0, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]);
        }
        Target::Relay => seeds.extend(relay_frames()?),
        Target::Page => seeds.push(b"<ul><li diff:key=a>1</li><li>2</li></ul>\0<ul><li>2</li><p>x</ul>".to_vec()),
        // Its pages are files.
        Target::Html => {}
        Target::Settings => seeds.push(b"ws_port = 7\nredis_url = \"redis://x\"\nDIFFYNE_CALL_RATE=5/s:7".to_vec()),
        Target::Http => seeds.push(
            b"HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\n{\"outcome\":\"ok\",\"length\":10}\n{\"s\":true}".to_vec(),
        ),
        Target::FastCgi => seeds.push(fastcgi_answer()),
    }
    ensure!(!seeds.is_empty(), "no seeds for {}", target.name());
    Ok(seeds)
}

/// The files of a target's folder.
fn kept(target: Target) -> anyhow::Result<Vec<Vec<u8>>> {
    let folder = project().join("tests/data/fuzz").join(target.name());
    let mut files: Vec<_> =
        std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    Ok(files.iter().map(std::fs::read).collect::<Result<_, _>>()?)
}

/// A part of each recorded line.
fn parts<'l>(lines: impl Iterator<Item = &'l str>, pointer: &str) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut parts = Vec::new();
    for line in lines {
        let record: Value = serde_json::from_str(line)?;
        parts.extend(record.pointer(pointer).map(|part| part.to_string().into_bytes()));
    }
    Ok(parts)
}

/// A message that nests as deep as one may.
fn deepest_call() -> Vec<u8> {
    const STATE_LEVELS: usize = 510;
    let state = format!("{}[]{}", r#"{"a":"#.repeat(STATE_LEVELS - 1), "}".repeat(STATE_LEVELS - 1));
    let text = format!(
        r#"{{"componentId":"c","componentClass":"App\\Diffyne\\Todo","method":"add","property":"items","value":[],"params":[{state}],"state":{{"items":{state}}},"signature":"00.00.WyJpdGVtcyJd"}}"#
    );
    text.into_bytes()
}

fn relay_frames() -> anyhow::Result<Vec<Vec<u8>>> {
    let mac = rpc::Bytes::from(vec![7; 32]);
    let (versions, id) = (rpc::VERSIONS, "g".to_owned());
    let hello = rpc::Hello { nonce: Some(mac.clone()), proof: Some(mac.clone()), ..rpc::Hello::default() };
    let frames = [
        Frame::Ping(rpc::Ping::default()),
        Frame::Hello(hello),
        Frame::Challenge(rpc::Challenge { versions, id, nonce: mac.clone() }),
        Frame::Proof(rpc::Proof { macs: vec![mac] }),
    ];
    let mut seeds = Vec::new();
    for (first, frame) in frames.iter().enumerate() {
        let mut bytes = Vec::new();
        rpc::encode(frame, &mut bytes)?;
        rpc::encode(&frames[(first + 1) % frames.len()], &mut bytes)?;
        seeds.push(bytes);
    }
    // A newer release may send an unknown type with unknown fields, lists or maps within each other.
    for opener in [&[0x91][..], &[0x81, 0xa1, b'a']] {
        for depth in [10, NESTED_MAX] {
            let body = [&[0x92, 99], opener.repeat(depth).as_slice(), &[0xc0]].concat();
            seeds.push([(body.len() as u32).to_be_bytes().as_slice(), &body].concat());
        }
    }
    Ok(seeds)
}

/// Two records of output and the end of the request.
fn fastcgi_answer() -> Vec<u8> {
    let body = b"Status: 200 OK\r\n\r\n{\"outcome\":\"ok\",\"length\":10}\n{\"s\":true}";
    let mut bytes = vec![1, 6, 0, 1, 0, body.len() as u8, 0, 0];
    bytes.extend(body);
    bytes.extend([1, 6, 0, 1, 0, 0, 0, 0, 1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes
}
