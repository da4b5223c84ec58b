//! The demo's messages: one SQLite file in WAL mode, shared by all workers of the machine.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rusqlite::{Connection, ErrorCode, params};
use serde::{Deserialize, Serialize};

/// How long a write waits for another worker's.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The newest messages of a room, which a page shows and has in its state.
const MESSAGES_SHOWN: i64 = 50;

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Id.
    pub id: i64,
    /// Text.
    pub content: String,
    /// Room.
    pub room_id: i64,
}

/// The messages.
pub struct Store {
    connection: Mutex<Connection>,
}

impl Store {
    /// Opens the file, and creates it if it is missing.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)
                .with_context(|| format!("DIFFYNE_DATABASE: cannot create {}", directory.display()))?;
        }
        let connection =
            Connection::open(path).with_context(|| format!("DIFFYNE_DATABASE: cannot open {}", path.display()))?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        set_wal(&connection).with_context(|| format!("DIFFYNE_DATABASE: cannot use {}", path.display()))?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY, content TEXT NOT NULL, room_id INTEGER NOT NULL);
             CREATE INDEX IF NOT EXISTS messages_by_room ON messages (room_id, id);",
        )?;
        Ok(Self { connection: Mutex::new(connection) })
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a message. Blocks.
    pub fn add(&self, room: i64, content: &str) -> rusqlite::Result<()> {
        let connection = self.connection();
        let mut insert = connection.prepare_cached("INSERT INTO messages (content, room_id) VALUES (?, ?)")?;
        insert.execute(params![content, room]).map(|_| ())
    }

    /// The newest messages of a room, oldest first. Blocks.
    pub fn messages(&self, room: i64) -> rusqlite::Result<Vec<ChatMessage>> {
        let connection = self.connection();
        let mut select = connection
            .prepare_cached("SELECT id, content, room_id FROM messages WHERE room_id = ? ORDER BY id DESC LIMIT ?")?;
        let rows = select.query_map(params![room, MESSAGES_SHOWN], |row| {
            Ok(ChatMessage { id: row.get(0)?, content: row.get(1)?, room_id: row.get(2)? })
        })?;
        let mut messages = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        messages.reverse();
        Ok(messages)
    }
}

/// Switches to WAL. Several workers may open a new file at once, and the switch does not wait for a lock by itself.
fn set_wal(connection: &Connection) -> rusqlite::Result<()> {
    let until = Instant::now() + BUSY_TIMEOUT;
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(20));
            }
            result => return result,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn two_workers_share_one_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/demo.sqlite");
        let (a, b) = (Store::open(&path).unwrap(), Store::open(&path).unwrap());
        a.add(1, "from a").unwrap();
        b.add(1, "from b").unwrap();
        b.add(2, "elsewhere").unwrap();
        let texts: Vec<String> = a.messages(1).unwrap().into_iter().map(|message| message.content).collect();
        assert_eq!(texts, ["from a", "from b"]);
    }
}
