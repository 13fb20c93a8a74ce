//! Proofs from a server, checked as far as that is possible before anybody keeps them.

use ledger::checkpoint::{Checkpoint, CheckpointError, LogKeys, without_cosignatures};
use ledger::proof::{
    BadProof, FILE_BYTES_MAX, Part, Proof, Proven, ProvenSequence, SEQUENCE_MAX, SequenceProof,
};
use ledger::tree::Hash;
use ledger::types::Emitter;
use uuid::Uuid;

use super::Proved;
use crate::cli::connect::Server;
use crate::cli::exit::Failure;
use crate::wire::pb;
use crate::wire::pb::prove_inclusion_request::Which;

/// No proof has more hashes.
const HASHES_MAX: usize = 96;

/// The bytes of a file and what it proves, or why what the server sent proves nothing.
pub(super) type Checked = Result<(Vec<u8>, Proved), String>;

/// Which event is meant.
pub(super) fn which(event: Option<Uuid>, emitter: Option<&Emitter>, position: Option<u64>) -> Which {
    match (event, position) {
        (Some(id), _) => Which::Key(pb::ProvenKey {
            emitter: emitter.map(ToString::to_string).unwrap_or_default(),
            event_id: id.to_string(),
        }),
        (None, position) => Which::Position(position.unwrap_or_default()),
    }
}

/// The checkpoint of a note with the log's own signature alone, which is checked where there are keys.
pub(super) fn opened(note: &[u8], keys: Option<&LogKeys>) -> Result<(Checkpoint, Vec<u8>), CheckpointError> {
    match keys {
        Some(keys) => keys.open(note).map(|signed| (signed.checkpoint, signed.note)),
        None => without_cosignatures(note),
    }
}

/// The proof of an event.
///
/// # Errors
/// Where the server cannot be asked, or has no such event.
pub(super) async fn event(server: &Server, which: Which, keys: Option<&LogKeys>) -> Result<Checked, Failure> {
    let proven = proven(server, which, keys).await?;
    Ok(proven.map(|(proof, proven)| (proof.to_bytes(), Proved::event(&proven))))
}

/// The same, as what can be looked at; or why what the server sent proves nothing.
///
/// # Errors
/// As [`event`].
pub async fn proven(
    server: &Server,
    which: Which,
    keys: Option<&LogKeys>,
) -> Result<Result<(Proof, Proven), String>, Failure> {
    let request = pb::ProveInclusionRequest { ledger: server.ledger(), which: Some(which.clone()) };
    let answer = server.proof().prove_inclusion(request).await.map_err(|e| server.failure(e))?.into_inner();
    Ok(check_event(answer, &which, keys).map_err(|why| why.to_string()))
}

pub(super) fn hashes(hashes: &[Vec<u8>]) -> Result<Vec<Hash>, BadProof> {
    if hashes.len() > HASHES_MAX {
        return Err(BadProof::Malformed("it has more hashes than any proof"));
    }
    let hash = |bytes: &Vec<u8>| bytes.as_slice().try_into().ok();
    hashes.iter().map(hash).collect::<Option<_>>().ok_or(BadProof::Malformed("one of its hashes is none"))
}

fn check_event(
    answer: pb::ProveInclusionResponse,
    which: &Which,
    keys: Option<&LogKeys>,
) -> Result<(Proof, Proven), BadProof> {
    let (checkpoint, note) = opened(&answer.note, keys)?;
    let pb::ProveInclusionResponse { position, entry, .. } = answer;
    let part = Part { entry, position, hashes: hashes(&answer.hashes)? };
    let (header, event) = part.check(&checkpoint.tree)?;
    let asked = match which {
        Which::Position(asked) => *asked == position,
        Which::Key(key) => {
            header.event_id.to_string() == key.event_id
                && (key.emitter.is_empty() || header.emitter.as_str() == key.emitter)
        }
    };
    if !asked {
        return Err(BadProof::Malformed("it is of another event than the one that was asked for"));
    }
    let Part { entry, position, hashes } = part;
    let proof = Proof { entry, position, hashes, note };
    if Proof::parse(&proof.to_bytes())? != proof {
        return Err(BadProof::Malformed("it can't be written as a file"));
    }
    Ok((proof, Proven { checkpoint, header, event }))
}

/// What a file proves of an event: to whoever has these keys, or, without any, if its checkpoint is the log's.
///
/// # Errors
/// [`BadProof`].
pub fn holds(file: &[u8], keys: Option<&LogKeys>) -> Result<Proof, BadProof> {
    let proof = Proof::parse(file)?;
    let (checkpoint, note) = opened(&proof.note, keys)?;
    if note != proof.note {
        return Err(BadProof::Checkpoint(CheckpointError::OtherSignatures));
    }
    let part = Part { entry: proof.entry.clone(), position: proof.position, hashes: proof.hashes.clone() };
    part.check(&checkpoint.tree)?;
    Ok(proof)
}

/// The proof that no number of an emitter is missing between two.
///
/// # Errors
/// Where the server cannot be asked, or a number is missing.
pub(super) async fn sequence(
    server: &Server,
    emitter: &Emitter,
    from: u64,
    to: u64,
    keys: Option<&LogKeys>,
) -> Result<Checked, Failure> {
    let count = to.checked_sub(from).map(|more| more.saturating_add(1));
    if count.is_none_or(|count| count > SEQUENCE_MAX) {
        let why = format!("--to is at least --from, and a file proves at most {SEQUENCE_MAX} numbers");
        return Err(Failure::Usage(why));
    }
    let (mut parts, mut note, mut size, mut bytes): (Vec<Part>, _, _, _) = (Vec::new(), Vec::new(), None, 0);
    while from.saturating_add(parts.len() as u64) <= to && (parts.len() as u64) < count.unwrap_or_default() {
        let request = pb::ProveSequenceRequest {
            ledger: server.ledger(),
            emitter: emitter.to_string(),
            from: from + parts.len() as u64,
            to,
            size,
        };
        let answer =
            server.sequences().prove_sequence(request).await.map_err(|e| server.failure(e))?.into_inner();
        if size.is_none() {
            (note, size) = (answer.note, Some(answer.size));
        }
        let due = (to - from + 1).saturating_sub(parts.len() as u64);
        if answer.entries.len() as u64 > due {
            return Ok(Err("the server proves more numbers than it was asked for".to_owned()));
        }
        if answer.entries.is_empty() {
            return Ok(Err("the server proves none of the numbers that are due".to_owned()));
        }
        for pb::ProvenEntry { position, entry, hashes: path } in answer.entries {
            bytes += entry.len() * 4 / 3 + path.len() * 45;
            let Ok(hashes) = hashes(&path) else {
                return Ok(Err("one of the server's hashes is none".to_owned()));
            };
            parts.push(Part { entry, position, hashes });
        }
        if bytes > FILE_BYTES_MAX {
            let why = "these events are too large for one file; prove them in several parts".to_owned();
            return Err(Failure::Failed(why));
        }
    }
    Ok(check_sequence(emitter, from, to, parts, &note, keys).map_err(|why| why.to_string()))
}

fn check_sequence(
    emitter: &Emitter,
    from: u64,
    to: u64,
    parts: Vec<Part>,
    note: &[u8],
    keys: Option<&LogKeys>,
) -> Result<(Vec<u8>, Proved), BadProof> {
    let (checkpoint, note) = opened(note, keys)?;
    let proof = SequenceProof { emitter: emitter.clone(), from, parts, note };
    if proof.to() != to {
        return Err(BadProof::Malformed("it is of other numbers than those that were asked for"));
    }
    let events = proof.check(&checkpoint)?;
    let bytes = proof.to_bytes();
    if SequenceProof::parse(&bytes)? != proof {
        return Err(BadProof::Malformed("it can't be written as a file"));
    }
    let proven = ProvenSequence { checkpoint, events };
    Ok((bytes, Proved::sequence(&proof, &proven)))
}
