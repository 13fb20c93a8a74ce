//! The service to prove what stands in a ledger.

mod entries;
mod sequence;

use std::pin::Pin;
use std::sync::Arc;

use ledger::types::{Emitter, Position};
use tokio_stream::Stream;
use tonic::{Code, Request, Response, Status};
use uuid::Uuid;

use super::existing;
use super::query::find;
use crate::ledgers::{Ledger, Ledgers};
use crate::notary::Issued;
use crate::reader::Entry;
use crate::wire::pb;
use crate::wire::pb::proof_service_server::ProofService;
use crate::wire::status::{invalid, status};

/// How many emitters are asked about an event id at most, where nobody says whose it is.
const EMITTERS_MAX: usize = 10_000;

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
                let emitter = match key.emitter.is_empty() {
                    true => sole_emitter(&ledger, &key.event_id).await?.to_string(),
                    false => key.emitter,
                };
                let key = pb::EventKey { emitter, event_id: key.event_id };
                find(&ledger.reader, &ledger.writer, key).await?
            }
            None => return Err(invalid("invalid_request", "say which event: by `position` or by `key`")),
        };
        let position = entry.recorded.position.0;
        let issued = issued(&ledger, position + 1).await?;
        let (head, leaf) = (issued.tree, entry.record.leaf());
        let hashes = ledger.notary.ask(move |tree| tree.inclusion(&head, position, &leaf)).await?;
        Ok(Response::new(pb::ProveInclusionResponse {
            position,
            entry: entry.record.entry.to_vec(),
            hashes: hashes.iter().map(|hash| hash.to_vec()).collect(),
            note: issued.note.to_vec(),
            leaf: leaf.to_vec(),
            link: entry.record.link.0.to_vec(),
        }))
    }

    async fn prove_consistency(
        &self,
        request: Request<pb::ProveConsistencyRequest>,
    ) -> Result<Response<pb::ProveConsistencyResponse>, Status> {
        let request = request.into_inner();
        let ledger = existing(&self.ledgers, &request.ledger)?;
        let (entries, old) = (ledger.reader.log().tail().next.0, request.old_size);
        let new = request.new_size.unwrap_or(old);
        if new < old {
            return Err(invalid("invalid_request", "field `new_size` is lower than `old_size`"));
        }
        if new > entries {
            return Err(beyond(entries, new));
        }
        // Nothing is shown that no checkpoint covers.
        let issued = issued(&ledger, new.max(1)).await?;
        let newest = issued.tree;
        let proved = ledger.notary.ask(move |tree| {
            let head = request.new_size.map_or(Ok(newest), |size| tree.head_at(size))?;
            let (old, hashes) = tree.consistency(old, &head)?;
            Ok((old, head, hashes))
        });
        let (old, head, hashes) = proved.await?;
        Ok(Response::new(pb::ProveConsistencyResponse {
            old_root: old.root.to_vec(),
            hashes: hashes.iter().map(|hash| hash.to_vec()).collect(),
            note: if request.new_size.is_none() { issued.note.to_vec() } else { Vec::new() },
            new_root: head.root.to_vec(),
        }))
    }

    async fn prove_sequence(
        &self,
        request: Request<pb::ProveSequenceRequest>,
    ) -> Result<Response<pb::ProveSequenceResponse>, Status> {
        let request = request.into_inner();
        let ledger = existing(&self.ledgers, &request.ledger)?;
        Ok(Response::new(sequence::prove(&ledger, &request).await?))
    }

    type StreamEntriesStream = Pin<Box<dyn Stream<Item = Result<pb::StreamEntriesResponse, Status>> + Send>>;

    async fn stream_entries(
        &self,
        request: Request<pb::StreamEntriesRequest>,
    ) -> Result<Response<Self::StreamEntriesStream>, Status> {
        let request = request.into_inner();
        let ledger = existing(&self.ledgers, &request.ledger)?;
        let entries = ledger.reader.log().tail().next.0;
        let to = request.to_position.unwrap_or(entries);
        if to > entries || request.from_position > to {
            return Err(beyond(entries, to.max(request.from_position)));
        }
        let (from, to) = (Position(request.from_position), Position(to));
        Ok(Response::new(Box::pin(entries::stream(&ledger, from, to, self.ledgers.stopping()))))
    }
}

/// Who used an event id, if nobody else did.
async fn sole_emitter(ledger: &Ledger, event_id: &str) -> Result<Emitter, Status> {
    let event_id = Uuid::try_parse(event_id)
        .map_err(|_| invalid("invalid_request", "field `key.event_id` is not a UUID"))?;
    let emitters = ledger.reader.ask(None, |moment| moment.emitters(EMITTERS_MAX + 1)).await?;
    if emitters.len() > EMITTERS_MAX {
        let message = "this ledger has too many emitters to look for the event of each: say whose it is in `key.emitter`";
        return Err(invalid("invalid_request", message));
    }
    let mut used = Vec::new();
    for emitter in emitters {
        if ledger.writer.find(emitter.clone(), event_id).await?.is_some() {
            used.push(emitter);
        }
    }
    match used.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(status(Code::NotFound, "event_not_found", "no event of this ledger has this id")),
        many => {
            let names: Vec<&str> = many.iter().take(10).map(Emitter::as_str).collect();
            let message = format!(
                "{} emitters used this event id: say which one is meant ({})",
                many.len(),
                names.join(", ")
            );
            Err(status(Code::FailedPrecondition, "event_id_ambiguous", message))
        }
    }
}
