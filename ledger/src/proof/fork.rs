//! A file that proves that a log has forked: two signed notes of it that cannot both be true.
//!
//! ```text
//! tokenledger/fork-evidence@v1
//! old BASE64                  where the sizes differ: the root that the larger tree had at the smaller size,
//! BASE64                      and the hashes that show it: a proof of consistency as RFC 6962 has it
//! …
//!
//! PREFIX/LEDGER               the smaller checkpoint; of two of one size, that with the lesser root
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
//! Two notes of one size with two roots need no hashes.

use base64::prelude::{BASE64_STANDARD, Engine};

use super::BadProof;
use super::part::{CONSISTENCY_HASHES_MAX, Two, open, parse_hash, parse_hashes, put_hashes};
use crate::checkpoint::{LogKeys, Signed};
use crate::tree::{Hash, TreeHead, check_consistency};

const FIRST_LINE: &str = "tokenledger/fork-evidence@v1";

/// Two notes of a log that cannot both be true, and what shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fork {
    /// The smaller note; of two of one size, that with the lesser root.
    pub smaller: Vec<u8>,
    /// The other one.
    pub larger: Vec<u8>,
    /// Where the sizes differ: the root that the larger tree had at the smaller size, and the hashes that show it.
    pub path: Option<(Hash, Vec<Hash>)>,
}

impl Fork {
    /// The evidence that two signed checkpoints give, if they do. Where their sizes differ it takes a proof that leads from
    /// the smaller size to the larger one, and the root from which it does.
    ///
    /// # Errors
    /// [`BadProof`] where it shows nothing.
    pub fn between(one: &Signed, other: &Signed, path: Option<(Hash, Vec<Hash>)>) -> Result<Self, BadProof> {
        let (one, other) = if order(one) <= order(other) { (one, other) } else { (other, one) };
        let path = path.filter(|_| one.checkpoint.tree.size != other.checkpoint.tree.size);
        let fork = Self { smaller: one.note.clone(), larger: other.note.clone(), path };
        fork.check(one, other)?;
        Ok(fork)
    }

    /// Whether a file says that it is one.
    #[must_use]
    pub fn is_one(file: &[u8]) -> bool {
        file.starts_with(FIRST_LINE.as_bytes())
    }

    /// The file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("{FIRST_LINE}\n");
        if let Some((old, hashes)) = &self.path {
            text.push_str(&format!("old {}\n", BASE64_STANDARD.encode(old)));
            put_hashes(hashes, &mut text);
        }
        text.push('\n');
        [text.as_bytes(), &self.smaller, b"\n", &self.larger].concat()
    }

    /// Reads a file. Only the bytes that [`Fork::to_bytes`] would give are accepted.
    ///
    /// # Errors
    /// [`BadProof::Malformed`].
    pub fn parse(file: &[u8]) -> Result<Self, BadProof> {
        let Two { lines: path, smaller, larger } = Two::parse(file, FIRST_LINE)?;
        let fork = Self { smaller, larger, path: path.map(parse_path).transpose()? };
        match fork.to_bytes() == file {
            true => Ok(fork),
            false => Err(BadProof::Malformed("it says the same in another way")),
        }
    }

    /// Checks it with the keys that identify the log, and nothing else: the two checkpoints.
    ///
    /// # Errors
    /// [`BadProof`] where it shows nothing.
    pub fn verify(&self, keys: &LogKeys) -> Result<[Signed; 2], BadProof> {
        let (smaller, larger) = (open(keys, &self.smaller)?, open(keys, &self.larger)?);
        if order(&smaller) >= order(&larger) {
            return Err(BadProof::NoFork("they are the same, or in the wrong order"));
        }
        self.check(&smaller, &larger)?;
        Ok([smaller, larger])
    }

    fn check(&self, smaller: &Signed, larger: &Signed) -> Result<(), BadProof> {
        let (small, large) = (&smaller.checkpoint.tree, &larger.checkpoint.tree);
        let Some((old, hashes)) = &self.path else {
            return match small.size == large.size && small.root != large.root {
                true => Ok(()),
                false => Err(BadProof::NoFork("nothing shows what the larger one was before")),
            };
        };
        if small.size >= large.size || small.size == 0 {
            return Err(BadProof::NoFork("there is nothing to lead from one to the other"));
        }
        let before = TreeHead { size: small.size, root: *old };
        check_consistency(hashes, &before, large)
            .map_err(|_| BadProof::NoFork("the hashes do not lead to the larger one"))?;
        match *old == small.root {
            true => Err(BadProof::NoFork("the larger one goes on from the smaller one")),
            false => Ok(()),
        }
    }
}

/// In which order the two notes stand.
fn order(signed: &Signed) -> (u64, Hash) {
    (signed.checkpoint.tree.size, signed.checkpoint.tree.root)
}

fn parse_path(text: &str) -> Result<(Hash, Vec<Hash>), BadProof> {
    let mut lines = text.split('\n');
    let old = lines.next().and_then(|line| parse_hash(line.strip_prefix("old ")?));
    let old = old.ok_or(BadProof::Malformed("its line `old` holds no hash"))?;
    Ok((old, parse_hashes(lines, CONSISTENCY_HASHES_MAX)?))
}

#[cfg(test)]
#[path = "fork_tests.rs"]
mod tests;
