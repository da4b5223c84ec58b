//! Tells a PHP class of the application what happens to connections, by calls of workers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::lifecycle::delivery::{DeliveryError, DeliveryFuture, Receiver};
use crate::shard::command::{Command, LifecycleCall, ShardHandle};

/// How much longer than the call this waits for its result, which comes from another thread.
const LAST_WORD: Duration = Duration::from_secs(1);

/// The class.
pub struct LifecycleListener {
    /// Its name.
    pub class: String,
    /// The thread whose connections to workers are used.
    pub shard: ShardHandle,
    /// How long a call may take.
    pub timeout: Duration,
}

impl LifecycleListener {
    async fn call(&self, body: Bytes) -> Result<(), DeliveryError> {
        let events = std::str::from_utf8(&body).ok().and_then(|body| body.strip_prefix('{')).unwrap_or_default();
        // The name of a class has nothing to escape but its backslashes.
        let payload = format!(r#"{{"listener":"{}",{events}"#, self.class.replace('\\', r"\\"));
        let call = LifecycleCall { payload: Arc::from(payload), deadline: Instant::now() + self.timeout };
        let (reply, result) = oneshot::channel();
        let answered = async {
            self.shard.send(Command::Lifecycle(call, reply)).await;
            result.await
        };
        match tokio::time::timeout(self.timeout + LAST_WORD, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_dropped)) => Err("the gateway stops".into()),
            Err(_elapsed) => Err("no worker has answered".into()),
        }
    }
}

impl Receiver for LifecycleListener {
    fn deliver(&self, body: Bytes) -> DeliveryFuture<'_> {
        Box::pin(self.call(body))
    }

    fn name(&self) -> String {
        self.class.clone()
    }
}
