//! A witness: it sees the checkpoints of logs, and cosigns those that go on from all that it saw before. A log that shows
//! two people two histories does not get both past it. What is asked and answered is c2sp.org/tlog-witness.

mod request;
mod state;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

pub use request::{REQUEST_BYTES_MAX, Request, to_bytes};
use state::State;
pub use state::StateError;

use crate::checkpoint::cosignature::CosignerSecret;
use crate::checkpoint::{CheckpointError, VerifierKey};
use crate::disk::Disk;
use crate::tree::{Frontier, TreeHead, check_consistency};

/// The type of the answer that says which size is known.
pub const SIZE_TYPE: &str = "text/x.tlog.size";

/// Why a checkpoint is not cosigned.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It is no request.
    #[error("this is no add-checkpoint request: {0}")]
    Malformed(&'static str),
    /// The log is not one of those that this witness looks at.
    #[error("this witness does not know the log {0}")]
    UnknownLog(String),
    /// None of the log's keys has signed it.
    #[error("none of the keys that this witness trusts for the log has signed the checkpoint")]
    Unsigned,
    /// The log believes that the witness is elsewhere than it is.
    #[error("the newest checkpoint that this witness cosigned has {0} entries")]
    Conflict(u64),
    /// The log has signed another tree of the same size.
    #[error("the log has signed two checkpoints of {size} entries with two roots")]
    Fork {
        /// The size of both.
        size: u64,
        /// The one that is not cosigned, with the signatures of the log and no others.
        note: String,
    },
    /// The proof does not show that the tree goes on from the one that was cosigned last. Anybody can send a wrong proof.
    #[error("the proof does not lead from the {0} entries that this witness cosigned to the checkpoint")]
    Inconsistent(u64),
    /// It can't be kept, so it is not cosigned.
    #[error("the checkpoint can't be kept, so it is not cosigned: {0}")]
    Keep(io::Error),
    /// It can't be signed.
    #[error("{0}")]
    Sign(CheckpointError),
}

impl Refused {
    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::Unsigned => 403,
            Self::UnknownLog(_) => 404,
            Self::Conflict(_) | Self::Fork { .. } => 409,
            Self::Inconsistent(_) => 422,
            Self::Keep(_) | Self::Sign(_) => 500,
        }
    }
}

/// A witness of some logs. It answers one request after the other: what it knows is looked up and changed as one.
pub struct Witness {
    key: CosignerSecret,
    /// The keys of each log, by its name; several while a key is changed for another.
    logs: BTreeMap<String, Vec<VerifierKey>>,
    known: BTreeMap<String, TreeHead>,
    state: State,
}

impl Witness {
    /// A witness that goes on from what it knows, which is kept in `dir`. Nobody else must use that.
    ///
    /// # Errors
    /// [`StateError`] where what it knows can't be read, or is not as it wrote it.
    pub fn open(
        key: CosignerSecret,
        logs: &[VerifierKey],
        disk: Arc<dyn Disk>,
        dir: PathBuf,
    ) -> Result<Self, StateError> {
        let (state, known) = State::open(disk, dir, &key.public())?;
        let mut keys = BTreeMap::<String, Vec<VerifierKey>>::new();
        for log in logs {
            keys.entry(log.name().to_owned()).or_default().push(log.clone());
        }
        Ok(Self { key, logs: keys, known, state })
    }

    /// The newest tree that it cosigned of a log; the empty one before the first.
    #[must_use]
    pub fn known(&self, origin: &str) -> TreeHead {
        self.known.get(origin).copied().unwrap_or_else(|| Frontier::default().head())
    }

    /// Answers a request: the line of the cosignature. `seconds` is the time since 1970.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn add_checkpoint(&mut self, body: &[u8], seconds: u64) -> Result<Vec<u8>, Refused> {
        let request = Request::parse(body).map_err(Refused::Malformed)?;
        let (origin, tree) = (&request.checkpoint.origin, request.checkpoint.tree);
        let keys = self.logs.get(origin).ok_or_else(|| Refused::UnknownLog(origin.clone()))?;
        let signed = request.signed_by(keys).ok_or(Refused::Unsigned)?;
        let known = self.known(origin);
        let text = request.note.text();
        goes_on(&request, &signed, &known)?;
        let line = self.key.cosign(text, seconds).map_err(Refused::Sign)?;
        if tree != known || !self.known.contains_key(origin) {
            // The only copy that counts is the one on the disk: nobody sees the line before.
            let note = [text, b"\n", &signed, &line].concat();
            self.state.keep(origin, &note).map_err(Refused::Keep)?;
            self.known.insert(origin.clone(), tree);
        }
        Ok(line)
    }
}

/// Whether a tree goes on from the one that is known, and the log knows that one.
fn goes_on(request: &Request, signed: &[u8], known: &TreeHead) -> Result<(), Refused> {
    let tree = request.checkpoint.tree;
    if request.old > tree.size {
        return Err(Refused::Malformed("its old size is larger than its checkpoint"));
    }
    // There is one empty tree, whatever a log says of it.
    if tree.size == known.size && tree.root != known.root && tree.size > 0 {
        let note = String::from_utf8_lossy(&[request.note.text(), b"\n", signed].concat()).into_owned();
        return Err(Refused::Fork { size: tree.size, note });
    }
    let other_root = tree.size == known.size && tree.root != known.root;
    if request.old != known.size || other_root {
        return Err(Refused::Conflict(known.size));
    }
    check_consistency(&request.proof, known, &tree).map_err(|_| Refused::Inconsistent(known.size))
}

#[cfg(test)]
mod tests;
