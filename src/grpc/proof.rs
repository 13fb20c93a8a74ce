//! The service to prove what stands in a ledger.

use std::sync::Arc;

use ledger::types::Position;
use tonic::{Code, Request, Response, Status};

use super::existing;
use super::query::find;
use crate::ledgers::{Ledger, Ledgers};
use crate::notary::{Issued, ProofError};
use crate::reader::Entry;
use crate::wire::pb;
use crate::wire::pb::proof_service_server::ProofService;
use crate::wire::status::{invalid, status};

/// Proves.
#[derive(Clone)]
pub struct Proof {
    ledgers: Arc<Ledgers>,
}

impl Proof {
    /// Proves what stands in these ledgers.
    #[must_use]
    pub fn new(ledgers: Arc<Ledgers>) -> Self {
        Self { ledgers }
    }
}

fn beyond(entries: u64, asked: u64) -> Status {
    let message = format!("the ledger has {entries} entries; there is nothing at {asked} yet");
    status(Code::OutOfRange, "beyond_end", message)
}

async fn issued(ledger: &Ledger, size: u64) -> Result<Issued, Status> {
    ledger.notary.checkpoint(size).await.map_err(|error| Status::from(error.as_ref()))
}

#[tonic::async_trait]
impl ProofService for Proof {
    async fn get_checkpoint(
        &self,
        request: Request<pb::GetCheckpointRequest>,
    ) -> Result<Response<pb::GetCheckpointResponse>, Status> {
        let request = request.into_inner();
        let ledger = existing(&self.ledgers, &request.ledger)?;
        let entries = ledger.reader.log().tail().next.0;
        let size = request.min_size.unwrap_or(1);
        if size > entries {
            return Err(beyond(entries, size));
        }
        let issued = issued(&ledger, size).await?;
        Ok(Response::new(pb::GetCheckpointResponse {
            note: issued.note.to_vec(),
            size: issued.tree.size,
            witnesses: issued.witnesses.to_vec(),
            witnessed: issued.witnessed,
        }))
    }

    async fn prove_inclusion(
        &self,
        request: Request<pb::ProveInclusionRequest>,
    ) -> Result<Response<pb::ProveInclusionResponse>, Status> {
        let request = request.into_inner();
        let ledger = existing(&self.ledgers, &request.ledger)?;
        let entry: Entry = match request.which {
            Some(pb::prove_inclusion_request::Which::Position(p)) => {
                ledger.reader.ask(None, move |moment| moment.entry(Position(p))).await?
            }
            Some(pb::prove_inclusion_request::Which::Key(key)) => {
                let key = pb::EventKey { emitter: key.emitter, event_id: key.event_id };
                find(&ledger.reader, &ledger.writer, key).await?
            }
            None => return Err(invalid("invalid_request", "say which event: by `position` or by `key`")),
        };
        let position = entry.recorded.position.0;
        let issued = issued(&ledger, position + 1).await?;
        let (tree, head, leaf) = (Arc::clone(ledger.notary.tree()), issued.tree, entry.record.leaf());
        let hashes = on_a_thread(move || tree.inclusion(&head, position, &leaf)).await?;
        Ok(Response::new(pb::ProveInclusionResponse {
            position,
            entry: entry.record.entry.to_vec(),
            hashes: hashes.iter().map(|hash| hash.to_vec()).collect(),
            note: issued.note.to_vec(),
        }))
    }

    async fn prove_consistency(
        &self,
        request: Request<pb::ProveConsistencyRequest>,
    ) -> Result<Response<pb::ProveConsistencyResponse>, Status> {
        let request = request.into_inner();
        let ledger = existing(&self.ledgers, &request.ledger)?;
        let (entries, old) = (ledger.reader.log().tail().next.0, request.old_size);
        if old > entries {
            return Err(beyond(entries, old));
        }
        let issued = issued(&ledger, old.max(1)).await?;
        let (tree, head) = (Arc::clone(ledger.notary.tree()), issued.tree);
        let (old, hashes) = on_a_thread(move || tree.consistency(old, &head)).await?;
        Ok(Response::new(pb::ProveConsistencyResponse {
            old_root: old.root.to_vec(),
            hashes: hashes.iter().map(|hash| hash.to_vec()).collect(),
            note: issued.note.to_vec(),
        }))
    }
}

/// Proofs are read from files.
async fn on_a_thread<T: Send + 'static>(
    prove: impl FnOnce() -> Result<T, ledger::tiles::TreeError> + Send + 'static,
) -> Result<T, Status> {
    let proved = tokio::task::spawn_blocking(prove).await;
    let proved = proved.map_err(|_| status(Code::Internal, "proof_failed", "the proof could not be made"))?;
    Ok(proved.map_err(ProofError::Tree)?)
}
