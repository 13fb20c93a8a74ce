//! What is known of logs outside of their directories: checkpoints, which a log must go on from. A chain alone does not
//! show that its tail was cut off, that a directory was put back to an older copy, or that somebody rewrote it and made
//! all hashes anew; a checkpoint kept elsewhere does.
//!
//! Anchors are kept as a file of JSON lines, one for each ledger, in the order of their names:
//!
//! ```text
//! {"ledger":"default","note":"tokenledger.local/default\n17\nBASE64\n\n— tokenledger.local/default BASE64\n"}
//! ```

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::tree::{Hash, TreeHead};
use crate::types::LedgerName;

/// No file of anchors is larger.
pub const ANCHORS_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A signed checkpoint of a ledger, with what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The note as it was published.
    pub note: String,
}

impl Known {
    /// Reads a note. Its signatures are not looked at: what it says is held against the log whoever signed it, so that
    /// whoever can put one there can only make a sound log be refused, never a changed one be accepted.
    ///
    /// # Errors
    /// [`CheckpointError`] where it is no signed checkpoint.
    pub fn read(note: &[u8]) -> Result<Self, CheckpointError> {
        let checkpoint = Checkpoint::unverified(note)?;
        let note =
            std::str::from_utf8(note).map_err(|_| CheckpointError::Malformed("its text is not UTF-8"))?;
        Ok(Self { checkpoint, note: note.to_owned() })
    }

    /// The ledger that it is a checkpoint of: the last part of the log's name. `None` where that can't be one.
    #[must_use]
    pub fn ledger(&self) -> Option<LedgerName> {
        self.checkpoint.origin.rsplit_once('/')?.1.parse().ok()
    }

    /// Holds it against a log of `size` entries; `root_at` gives the root over the first so many of them.
    ///
    /// # Errors
    /// As `root_at` does.
    pub fn against<E>(
        &self,
        size: u64,
        root_at: impl FnOnce(u64) -> Result<Hash, E>,
    ) -> Result<Option<Contradiction>, E> {
        let TreeHead { size: known, root } = self.checkpoint.tree;
        if size < known {
            return Ok(Some(Contradiction::Missing { first: size, last: known - 1 }));
        }
        Ok((root_at(known)? != root).then_some(Contradiction::Rewritten { size: known }))
    }
}

/// How a log contradicts what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contradiction {
    /// It is shorter than it was.
    Missing {
        /// The first position that is missing.
        first: u64,
        /// The last one that is known to have been there.
        last: u64,
    },
    /// Entries are not what they were.
    Rewritten {
        /// One of the first so many.
        size: u64,
    },
    /// It is damaged, so that nobody can tell.
    Unreadable {
        /// Some of the first so many.
        size: u64,
    },
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { first, last } if first == last => {
                write!(f, "the entry at position {first} is missing")
            }
            Self::Missing { first, last } => {
                write!(f, "the entries from position {first} to {last} are missing")
            }
            Self::Unreadable { size } => {
                write!(
                    f,
                    "of the first {size} entries some can't be read, so nobody can tell whether they are the same"
                )
            }
            Self::Rewritten { size } => {
                write!(f, "of the first {size} entries, one at least is not what it was")
            }
        }
    }
}

/// Why a file holds no anchors.
#[derive(Debug, thiserror::Error)]
pub enum BadAnchors {
    /// A line is none.
    #[error("line {line} is no anchor: {reason}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// It is not text.
    #[error("it is not text")]
    NotText,
}

/// The newest known checkpoint of each ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Anchors(BTreeMap<LedgerName, Known>);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    ledger: String,
    note: String,
}

impl Anchors {
    /// Reads a file.
    ///
    /// # Errors
    /// [`BadAnchors`] with the line.
    pub fn parse(file: &[u8]) -> Result<Self, BadAnchors> {
        let text = std::str::from_utf8(file).map_err(|_| BadAnchors::NotText)?;
        let mut anchors = Self::default();
        for (number, line) in text.lines().enumerate() {
            anchors.read_line(line).map_err(|reason| BadAnchors::Line { line: number + 1, reason })?;
        }
        Ok(anchors)
    }

    fn read_line(&mut self, line: &str) -> Result<(), String> {
        let line: Line = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let ledger: LedgerName = line.ledger.parse().map_err(|_| "that is no ledger's name".to_owned())?;
        let known = Known::read(line.note.as_bytes()).map_err(|error| error.to_string())?;
        if known.ledger().as_ref() != Some(&ledger) {
            return Err(format!("the checkpoint is that of {}, not of {ledger}", known.checkpoint.origin));
        }
        match self.0.insert(ledger, known) {
            Some(_) => Err("the ledger has two of them".to_owned()),
            None => Ok(()),
        }
    }

    /// The file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let line = |(ledger, known): (&LedgerName, &Known)| {
            let line = Line { ledger: ledger.to_string(), note: known.note.clone() };
            // Two texts always make JSON.
            serde_json::to_string(&line).unwrap_or_default() + "\n"
        };
        self.0.iter().map(line).collect::<String>().into_bytes()
    }

    /// The one of a ledger.
    #[must_use]
    pub fn get(&self, ledger: &LedgerName) -> Option<&Known> {
        self.0.get(ledger)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&LedgerName, &Known)> {
        self.0.iter()
    }

    /// Puts a ledger's newest in.
    pub fn put(&mut self, ledger: LedgerName, known: Known) {
        self.0.insert(ledger, known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{LocalSigner, PrivateKey, Signer};

    fn note(ledger: &str, size: u64, root: u8) -> Vec<u8> {
        let key = PrivateKey::new("example.org/logs".parse().unwrap(), &[7; 32]);
        LocalSigner::new(&key, &ledger.parse().unwrap(), None)
            .sign(TreeHead { size, root: [root; 32] }, &[])
            .unwrap()
    }

    fn known(ledger: &str, size: u64, root: u8) -> Known {
        Known::read(&note(ledger, size, root)).unwrap()
    }

    #[test]
    fn a_log_is_refused_where_it_is_shorter_than_a_checkpoint_or_had_another_root_then() {
        let known = known("default", 10, 1);
        assert_eq!(known.ledger(), Some(LedgerName::default()));
        let hold = |size, root: u8| known.against(size, |at| if at == 10 { Ok([root; 32]) } else { Err(at) });
        assert_eq!(hold(10, 1), Ok(None));
        assert_eq!(hold(11, 1), Ok(None));
        assert_eq!(hold(11, 2), Ok(Some(Contradiction::Rewritten { size: 10 })));
        assert_eq!(hold(9, 1), Ok(Some(Contradiction::Missing { first: 9, last: 9 })));
        let missing = hold(0, 1).unwrap().unwrap();
        assert_eq!(missing.to_string(), "the entries from position 0 to 9 are missing");
    }

    #[test]
    fn a_file_of_anchors_is_read_as_it_was_written_and_nothing_else_is() {
        let mut anchors = Anchors::default();
        anchors.put("b".parse().unwrap(), known("b", 3, 3));
        anchors.put("a".parse().unwrap(), known("a", 1, 1));
        anchors.put("a".parse().unwrap(), known("a", 2, 2));
        let file = anchors.to_bytes();
        assert_eq!(Anchors::parse(&file).unwrap(), anchors);
        assert_eq!(Anchors::parse(b"").unwrap(), Anchors::default());
        let text = String::from_utf8(file).unwrap();
        let (first, second) = text.split_at(text.find('\n').unwrap() + 1);
        for (bad, says) in [
            (format!("{first}{first}"), "line 2"),
            (format!("{first}\n{second}"), "line 2"),
            (first.replace(r#""a""#, r#""b""#), "not of b"),
            (first.replace(r#""a""#, r#""A""#), "no ledger's name"),
            (first.replace("logs/a", "logs-a"), "not of a"),
            (first.replace("{", r#"{"more":1,"#), "unknown field"),
            (first.replace("\\n2\\n", "\\n02\\n"), "in another way"),
            (first[..first.len() / 2].to_owned(), "line 1"),
        ] {
            let refused = Anchors::parse(bad.as_bytes()).unwrap_err().to_string();
            assert!(refused.contains(says), "{bad}: {refused}");
        }
        assert!(Anchors::parse(&[0xff]).is_err());
    }
}
