//! Ports for the programs of a test that no other test, and no connection, can take between their choice and their use.
//!
//! The system gives out ports from 32 768 on by itself: to listeners on port 0 and to every outgoing connection. A port
//! chosen there can be gone when the program that is to listen on it has started. These ports lie below, in blocks. A
//! test process holds the lock of its block for its life. To each port belongs the one that is 10 000 further on.

use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, bail};

/// Above 10 080, which browsers refuse.
pub const FIRST: u16 = 10_200;
const BLOCK_LEN: u16 = 100;
const BLOCKS: u16 = 100;
/// Programs listen on a second port by default, so much further on: gateways and workers for admins, Redis for its
/// cluster.
pub const SECOND: u16 = 10_000;

/// A block of ports that belongs to this process.
struct Block {
    /// Keeps the others out; unlocked by the system when the process ends.
    _lock: File,
    next: u16,
    end: u16,
}

/// The blocks of this process; the last one has ports left. Used ones are kept, since their ports are in use.
static BLOCKS_HELD: Mutex<Vec<Block>> = Mutex::new(Vec::new());

/// Ports on loopback that nobody listens on, and that nobody else is given while this process lives.
pub fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    let ports = (0..N).map(|_| free_port()).collect::<anyhow::Result<Vec<_>>>()?;
    ports.try_into().map_err(|_| anyhow::anyhow!("not enough ports"))
}

fn free_port() -> anyhow::Result<u16> {
    let mut held = BLOCKS_HELD.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let Some(block) = held.last_mut().filter(|block| block.next < block.end) else {
            held.push(Block::claim()?);
            continue;
        };
        let port = block.next;
        block.next += 1;
        // Something that is no test may listen there.
        if [port, port + SECOND].iter().all(|port| TcpListener::bind(("0.0.0.0", *port)).is_ok()) {
            return Ok(port);
        }
    }
}

impl Block {
    fn claim() -> anyhow::Result<Self> {
        let directory: PathBuf = std::env::temp_dir().join("diffyne-test-ports");
        std::fs::create_dir_all(&directory)?;
        // Neighbours begin at different places, so that a port rests after its use.
        let first = std::process::id() as u16 % BLOCKS;
        for number in (first..BLOCKS).chain(0..first) {
            let path = directory.join(number.to_string());
            let lock = File::options().create(true).append(true).open(&path);
            let lock = lock.with_context(|| format!("cannot open {}", path.display()))?;
            if lock.try_lock().is_ok() {
                let next = FIRST + number * BLOCK_LEN;
                return Ok(Self { _lock: lock, next, end: next + BLOCK_LEN });
            }
        }
        bail!("all {BLOCKS} blocks of ports are in use")
    }
}
