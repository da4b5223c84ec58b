//! Calls of one gateway that were answered and of which more is to come.

use std::collections::HashMap;

use diffyne_shared::LocalBoxFuture;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;

use crate::call::FollowUp;

/// What a call says next, and the rest.
type Step = (u64, Option<Vec<u8>>, FollowUp);

/// The calls of which more is to come. Their number is bounded by what makes such calls.
#[derive(Default)]
pub(super) struct FollowUps {
    steps: FuturesUnordered<LocalBoxFuture<'static, Step>>,
    /// How to cancel them, by the gateway's id.
    cancels: HashMap<u64, CancellationToken>,
}

impl FollowUps {
    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    pub(super) fn add(&mut self, id: u64, follow_up: FollowUp) {
        let cancel = CancellationToken::new();
        self.cancels.insert(id, cancel.clone());
        self.steps.push(step(id, follow_up, cancel));
    }

    /// Ends what follows a call.
    pub(super) fn cancel(&self, id: u64) {
        if let Some(cancel) = self.cancels.get(&id) {
            cancel.cancel();
        }
    }

    /// Waits for what a call says next; `None`: nothing more.
    pub(super) async fn next(&mut self) -> Option<(u64, Option<Vec<u8>>)> {
        let (id, data, rest) = self.steps.next().await?;
        match (&data, self.cancels.get(&id)) {
            (Some(_), Some(cancel)) => self.steps.push(step(id, rest, cancel.clone())),
            _ => drop(self.cancels.remove(&id)),
        }
        Some((id, data))
    }

    /// Drops them all, and returns their number.
    pub(super) fn clear(&mut self) -> u32 {
        self.steps.clear();
        std::mem::take(&mut self.cancels).len() as u32
    }
}

fn step(id: u64, mut follow_up: FollowUp, cancel: CancellationToken) -> LocalBoxFuture<'static, Step> {
    Box::pin(async move {
        let data = cancel.run_until_cancelled(follow_up.0.next()).await.flatten();
        (id, data, follow_up)
    })
}
