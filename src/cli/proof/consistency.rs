//! Proofs that a log went on from one checkpoint to another, for whoever kept the first one.

use std::path::Path;

use ledger::checkpoint::{Checkpoint, LogKeys};
use ledger::proof::{BadProof, ConsistencyProof, Proof};

use super::fetch::{Checked, hashes, opened};
use super::{Proved, read};
use crate::cli::connect::Server;
use crate::cli::exit::Failure;
use crate::wire::pb;

/// A checkpoint, and the note with the log's own signature alone.
type Held = (Checkpoint, Vec<u8>);

/// The checkpoint of a file: a note, or a proof of an event.
///
/// # Errors
/// Where there is none, or a key is given that has not signed it.
pub(super) fn held(path: &Path, keys: Option<&LogKeys>) -> Result<Held, Failure> {
    let bytes = read(path)?;
    let note = Proof::parse(&bytes).map_or(bytes, |proof| proof.note);
    opened(&note, keys).map_err(|why| Failure::Unverified(format!("{}: {why}", path.display())))
}

/// The proof that the log went on from one checkpoint to another, or to the newest.
///
/// # Errors
/// Where the server cannot be asked, or there is nothing to prove.
pub(super) async fn proof(
    server: &Server,
    from: Held,
    to: Option<Held>,
    keys: Option<&LogKeys>,
) -> Result<Checked, Failure> {
    let (old_size, new_size) = (from.0.tree.size, to.as_ref().map(|to| to.0.tree.size));
    if old_size == 0 {
        return Err(Failure::Usage(
            "every log goes on from no entries: there is nothing to prove".to_owned(),
        ));
    }
    if let Some(to) = &to {
        grows(&from.0, &to.0)?;
    }
    let request = pb::ProveConsistencyRequest { ledger: server.ledger(), old_size, new_size };
    let answer = server.proof().prove_consistency(request).await.map_err(|e| server.failure(e))?.into_inner();
    let hashes = match hashes(&answer.hashes) {
        Ok(hashes) => hashes,
        Err(why) => return Ok(Err(why.to_string())),
    };
    let to = match to.map_or_else(|| opened(&answer.note, keys), Ok) {
        Ok(to) => to,
        Err(why) => return Ok(Err(why.to_string())),
    };
    if to.0 == from.0 {
        return Err(Failure::Failed(format!(
            "the ledger still has {old_size} entries: there is nothing to prove yet"
        )));
    }
    Ok(check(from, to, hashes).map_err(|why| why.to_string()))
}

/// Two checkpoints that somebody holds of which one may go on from the other.
fn grows(from: &Checkpoint, to: &Checkpoint) -> Result<(), Failure> {
    if from.origin != to.origin {
        let why = format!("--from is a checkpoint of {}, and --to one of {}", from.origin, to.origin);
        return Err(Failure::Usage(why));
    }
    if from.tree.size == to.tree.size && from.tree.root != to.tree.root {
        let why = "the two checkpoints have as many entries and other roots: if both are signed by the log, it has forked";
        return Err(Failure::Unverified(why.to_owned()));
    }
    if from.tree.size >= to.tree.size {
        return Err(Failure::Usage("--to must have more entries than --from".to_owned()));
    }
    Ok(())
}

fn check(from: Held, to: Held, hashes: Vec<[u8; 32]>) -> Result<(Vec<u8>, Proved), BadProof> {
    if from.0.origin != to.0.origin {
        return Err(BadProof::Malformed("the newest checkpoint is that of another log"));
    }
    if from.0.tree.size == to.0.tree.size {
        return Err(BadProof::Inconsistent(
            "they have as many entries and other roots, so the log has forked",
        ));
    }
    let proof = ConsistencyProof { hashes, smaller: from.1, larger: to.1 };
    proof.check(&from.0.tree, &to.0.tree)?;
    let bytes = proof.to_bytes();
    if ConsistencyProof::parse(&bytes)? != proof {
        return Err(BadProof::Malformed("it can't be written as a file"));
    }
    Ok((bytes, Proved::consistency(&from.0, &to.0)))
}
