//! A file that proves that a log only grew between two signed notes of it.
//!
//! ```text
//! tokenledger/consistency-proof@v1
//! BASE64                      the hashes: a proof of consistency as RFC 6962 has it
//! …
//!
//! PREFIX/LEDGER               the smaller checkpoint, a note that the log alone has signed
//! SIZE
//! BASE64
//!
//! — PREFIX/LEDGER BASE64
//!
//! PREFIX/LEDGER               the larger one
//! SIZE
//! BASE64
//!
//! — PREFIX/LEDGER BASE64
//! ```
//!
//! Of one size there are no two such notes, and from no entries at all every log goes on: there are no files of these.

use super::BadProof;
use super::part::{CONSISTENCY_HASHES_MAX, Two, open, parse_hashes, put_hashes};
use crate::checkpoint::{LogKeys, Signed};
use crate::tree::{Hash, TreeHead, check_consistency};

const FIRST_LINE: &str = "tokenledger/consistency-proof@v1";

/// Two notes of a log, and what shows that the larger one goes on from the smaller one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsistencyProof {
    /// The hashes.
    pub hashes: Vec<Hash>,
    /// The smaller note.
    pub smaller: Vec<u8>,
    /// The larger note.
    pub larger: Vec<u8>,
}

impl ConsistencyProof {
    /// Whether a file says that it is one.
    #[must_use]
    pub fn is_one(file: &[u8]) -> bool {
        file.starts_with(FIRST_LINE.as_bytes())
    }

    /// The file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("{FIRST_LINE}\n");
        put_hashes(&self.hashes, &mut text);
        text.push('\n');
        [text.as_bytes(), &self.smaller, b"\n", &self.larger].concat()
    }

    /// Reads a file. Only the bytes that [`ConsistencyProof::to_bytes`] would give are accepted.
    ///
    /// # Errors
    /// [`BadProof::Malformed`].
    pub fn parse(file: &[u8]) -> Result<Self, BadProof> {
        let Two { lines: hashes, smaller, larger } = Two::parse(file, FIRST_LINE)?;
        let hashes =
            parse_hashes(hashes.into_iter().flat_map(|text| text.split('\n')), CONSISTENCY_HASHES_MAX)?;
        let proof = Self { hashes, smaller, larger };
        match proof.to_bytes() == file {
            true => Ok(proof),
            false => Err(BadProof::Malformed("it says the same in another way")),
        }
    }

    /// Checks it with the keys that identify the log, and nothing else: the two checkpoints.
    ///
    /// # Errors
    /// [`BadProof`].
    pub fn verify(&self, keys: &LogKeys) -> Result<[Signed; 2], BadProof> {
        let (smaller, larger) = (open(keys, &self.smaller)?, open(keys, &self.larger)?);
        self.check(&smaller.checkpoint.tree, &larger.checkpoint.tree)?;
        Ok([smaller, larger])
    }

    /// Checks it against what two checkpoints say that one believes.
    ///
    /// # Errors
    /// [`BadProof::Inconsistent`].
    pub fn check(&self, smaller: &TreeHead, larger: &TreeHead) -> Result<(), BadProof> {
        if smaller.size == 0 || smaller.size >= larger.size {
            return Err(BadProof::Inconsistent("the first one is not the smaller one"));
        }
        check_consistency(&self.hashes, smaller, larger)
            .map_err(|_| BadProof::Inconsistent("the hashes do not lead from one to the other"))
    }
}

#[cfg(test)]
#[path = "consistency_tests.rs"]
mod tests;
