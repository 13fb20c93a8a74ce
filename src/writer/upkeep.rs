//! What a writer has done in the background: runs of the index of ids, the next segment, snapshots.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ledger::ids::{Done, IdsError};
use ledger::log::Tail;
use ledger::snapshot;
use ledger::state::Frozen;
use tokio::task::JoinHandle;

use super::Drive;

/// How long work in the background waits after the disk refused it.
const UPKEEP_RETRY: Duration = Duration::from_secs(1);

impl Drive {
    /// Work in the background: runs of the index of ids, the next segment, snapshots.
    pub(super) fn upkeep(&mut self) {
        if self.upkeep.is_none()
            && self.upkeep_not_before <= Instant::now()
            && let Some(job) = self.ids.next_job()
        {
            self.upkeep = Some(tokio::task::spawn_blocking(move || job.run()));
        }
        self.snapshot();
        (self.prepare)();
    }

    pub(super) fn install(&mut self, done: Result<Done, IdsError>) {
        match done {
            Ok(done) => self.ids.install(done),
            Err(IdsError::Damaged { .. }) => self.renew_ids(),
            Err(e) => {
                tracing::warn!(ledger = %self.name, error = %e, "the index of event ids could not be written");
                self.upkeep_not_before = Instant::now() + UPKEEP_RETRY;
            }
        }
    }

    /// Has a snapshot taken when it is time. The state runs ahead of the disk, so what is frozen now is written once
    /// everything in it is durable.
    fn snapshot(&mut self) {
        let ahead = self.sequencer.tail();
        let due = self.snapshot_at.0.saturating_add(snapshot::entries_between(self.snapshot_bytes));
        if self.snapshot.is_none() && self.frozen.is_none() && ahead.next.0 >= due {
            self.frozen = Some((self.sequencer.state().freeze(), ahead));
        }
        let durable = self.tail.borrow().next;
        if let Some((frozen, tail)) = self.frozen.take_if(|(frozen, _)| frozen.next() <= durable) {
            self.snapshot_at = tail.next;
            self.snapshot = Some(self.take_snapshot(frozen, tail));
        }
    }

    fn take_snapshot(&self, frozen: Frozen, tail: Tail) -> JoinHandle<u64> {
        let (disk, dir, name) = (Arc::clone(&self.disk), self.snapshots.clone(), self.name.clone());
        tokio::task::spawn_blocking(move || {
            snapshot::write(disk.as_ref(), &dir, &frozen, &tail).unwrap_or_else(|error| {
                tracing::warn!(ledger = %name, %error, "no snapshot was taken; a start will take longer");
                0
            })
        })
    }

    pub(super) async fn last_snapshot(&mut self) {
        if let Some(running) = self.snapshot.take() {
            let _ = running.await;
        }
        let tail = self.sequencer.tail();
        // Whatever was proposed is durable by now, or the ledger has stopped.
        if self.stopped.borrow().is_none() && tail.next > self.snapshot_at {
            let _ = self.take_snapshot(self.sequencer.state().freeze(), tail).await;
        }
    }
}
