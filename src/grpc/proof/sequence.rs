//! Proves that no event of an emitter is missing between two of its numbers.

use ledger::entry::Record;
use ledger::tree::TreeHead;
use ledger::types::{Emitter, Position};
use tonic::{Code, Status};

use super::{beyond, issued};
use crate::ledgers::Ledger;
use crate::wire::pb;
use crate::wire::status::{invalid, status};

/// How many numbers one answer proves at most, and with how many bytes of entries, about.
const NUMBERS_MAX: u64 = 1_000;
const ENTRIES_BYTES: usize = 1024 * 1024;

pub(super) async fn prove(
    ledger: &Ledger,
    request: &pb::ProveSequenceRequest,
) -> Result<pb::ProveSequenceResponse, Status> {
    let emitter: Emitter =
        request.emitter.parse().map_err(|e| invalid("invalid_request", format!("field `emitter`: {e}")))?;
    let from = request.from;
    if request.to < from {
        return Err(invalid("invalid_request", "field `to` is lower than `from`"));
    }
    let to = request.to.min(from.saturating_add(NUMBERS_MAX - 1));
    let (head, note) = covering(ledger, request.size).await?;
    let asked = emitter.clone();
    let found =
        ledger.reader.ask(None, move |moment| moment.numbered(&asked, from..=to, ENTRIES_BYTES)).await?;
    // What was recorded since the checkpoint of an earlier part is not covered by it.
    let found: Vec<_> = found.into_iter().take_while(|(position, _)| position.0 < head.size).collect();
    if found.is_empty() {
        // The name is not repeated: it was given, and may be a secret that got into the wrong field.
        let message = format!(
            "the emitter has no event number {from} in the first {} entries of this ledger",
            head.size
        );
        return Err(status(Code::NotFound, "sequence_gap", message));
    }
    let entries = ledger.notary.ask(move |tree| {
        let proven = |(position, record): &(Position, Record)| {
            let hashes = tree.inclusion(&head, position.0, &record.leaf())?;
            Ok(pb::ProvenEntry {
                position: position.0,
                entry: record.entry.to_vec(),
                hashes: hashes.iter().map(|hash| hash.to_vec()).collect(),
            })
        };
        found.iter().map(proven).collect::<Result<Vec<_>, _>>()
    });
    Ok(pb::ProveSequenceResponse { entries: entries.await?, note, size: head.size })
}

/// A checkpoint of everything that is there; or the tree of an earlier one, whose note whoever asks has already.
async fn covering(ledger: &Ledger, size: Option<u64>) -> Result<(TreeHead, Vec<u8>), Status> {
    let entries = ledger.reader.log().tail().next.0;
    let Some(size) = size else {
        let issued = issued(ledger, entries).await?;
        return Ok((issued.tree, issued.note.to_vec()));
    };
    if size > entries {
        return Err(beyond(entries, size));
    }
    Ok((ledger.notary.ask(move |tree| tree.head_at(size)).await?, Vec::new()))
}
