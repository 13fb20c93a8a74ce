//! What an auditor remembers: the last checkpoint that it has seen, and what it takes to go on from there.
//!
//! ```text
//! tokenledger/audit-state@v1
//! key NAME+HASH+BASE64        the keys that were used so far, the oldest first: the last one signed the checkpoint
//! …
//! uid HEX                     the ledger's identity
//! link HEX                    the link of the last entry
//! recorded N                  when it was recorded, nanoseconds since 1970
//! epoch N                     its epoch
//! BASE64                      the roots of the full subtrees, the largest first
//! …
//!
//! PREFIX/LEDGER               the checkpoint
//! SIZE
//! BASE64
//!
//! — PREFIX/LEDGER BASE64
//!
//! check HEX                   SHA-256 of everything before this line
//! ```

use base64::prelude::{BASE64_STANDARD, Engine};
use sha2::{Digest, Sha256};

use super::Audit;
use crate::checkpoint::{CheckpointError, LogKeys, Signed, VerifierKey};
use crate::log::Tail;
use crate::tree::{Frontier, TreeHead};
use crate::types::{LedgerUid, Link, Position, Time};

const FIRST_LINE: &str = "tokenledger/audit-state@v1";
/// How many keys are remembered at most.
const KEYS_MAX: usize = 64;
/// The longest state, in bytes.
const STATE_BYTES_MAX: usize = 64 * 1024;

/// Why a file is no state, or not one to go on from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadState {
    /// It is damaged, or something else.
    #[error("it is no state of an audit, or was damaged: {0}")]
    Malformed(&'static str),
    /// The note that it holds is not signed by its key.
    #[error("it is no state of an audit, or was damaged: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// Of another log.
    #[error("it is of the log {actual}, not of {expected}")]
    Log {
        /// Which log is audited.
        expected: String,
        /// Which one it is of.
        actual: String,
    },
    /// Its checkpoint is signed by a key that is none of those given.
    #[error("its checkpoint was signed by the key {0}, which is none of those given with `--key`")]
    Key(String),
}

/// What an auditor remembers of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditState {
    /// The keys that were used so far; the last one signed.
    keys: Vec<VerifierKey>,
    signed: Signed,
    tail: Tail,
    frontier: Frontier,
}

impl AuditState {
    pub(super) fn new(
        mut keys: Vec<VerifierKey>,
        tail: Tail,
        frontier: Frontier,
        signed: &Signed,
    ) -> Option<Self> {
        // The first one is what the auditor began with and may still be given; of those behind it, the newest count.
        let dropped = keys.len().saturating_sub(KEYS_MAX);
        if dropped > 0 {
            keys.drain(1..=dropped);
        }
        let covered = frontier.head() == signed.checkpoint.tree && tail.next.0 == frontier.size();
        let right = covered && keys.last() == Some(&signed.key);
        right.then(|| Self { keys, signed: signed.clone(), tail, frontier })
    }

    pub(super) fn audit(&self, keys: LogKeys) -> Audit {
        Audit { tail: self.tail, frontier: self.frontier.clone(), keys, used: self.keys.clone() }
    }

    /// The last checkpoint.
    #[must_use]
    pub fn signed(&self) -> &Signed {
        &self.signed
    }

    /// What it covers.
    #[must_use]
    pub fn head(&self) -> TreeHead {
        self.signed.checkpoint.tree
    }

    /// The frontier of its tree.
    #[must_use]
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// The keys that may sign what comes next: the one that signed last, and those that were given behind it. It need not be
    /// one of those itself, if the log led from one of them to it.
    ///
    /// # Errors
    /// [`BadState::Log`], [`BadState::Key`] where it is of another log, or of a key that was not given.
    pub fn keys(&self, given: &LogKeys) -> Result<LogKeys, BadState> {
        let key = &self.signed.key;
        if key.name() != given.origin() {
            return Err(BadState::Log { expected: given.origin().to_owned(), actual: key.name().to_owned() });
        }
        if let Some(keys) = given.from(key) {
            return Ok(keys);
        }
        // The log led here from one of those given: that one is left behind, and those that were never used may follow.
        let next: Vec<&VerifierKey> = given.all().iter().filter(|key| !self.keys.contains(key)).collect();
        if next.len() == given.all().len() {
            return Err(BadState::Key(key.to_string()));
        }
        let keys = std::iter::once(key).chain(next).cloned().collect();
        LogKeys::new(keys).map_err(BadState::Checkpoint)
    }

    /// The keys that were used so far, the oldest first.
    #[must_use]
    pub fn used(&self) -> &[VerifierKey] {
        &self.keys
    }

    /// All keys that may have signed something of the log at some time: those that were given, and those that it led to.
    #[must_use]
    pub fn all_keys(&self, given: &LogKeys) -> LogKeys {
        let led_to = self.keys.iter().filter(|key| !given.all().contains(key));
        let all = given.all().iter().chain(led_to).cloned().collect();
        LogKeys::new(all).unwrap_or_else(|_| given.clone())
    }

    /// The file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let Tail { link, recorded_at, uid, epoch, .. } = self.tail;
        let mut text = format!("{FIRST_LINE}\n");
        for key in &self.keys {
            text.push_str(&format!("key {key}\n"));
        }
        text.push_str(&format!(
            "uid {}\nlink {link}\nrecorded {}\nepoch {epoch}\n",
            hex::encode(uid.0),
            recorded_at.0,
        ));
        for root in self.frontier.to_bytes().as_chunks::<32>().0 {
            text.push_str(&BASE64_STANDARD.encode(root));
            text.push('\n');
        }
        let body = [text.as_bytes(), b"\n", &self.signed.note, b"\n"].concat();
        let check = format!("check {}\n", hex::encode(Sha256::digest(&body)));
        [&body, check.as_bytes()].concat()
    }

    /// Reads a file. Only the bytes that [`AuditState::to_bytes`] would give are accepted, of a state whose note is signed
    /// and covers what it remembers.
    ///
    /// # Errors
    /// [`BadState`].
    pub fn parse(file: &[u8]) -> Result<Self, BadState> {
        let malformed = BadState::Malformed;
        if file.len() > STATE_BYTES_MAX {
            return Err(malformed("it is too long"));
        }
        let text = std::str::from_utf8(file).map_err(|_| malformed("it is not text"))?;
        let (head, rest) = text.split_once("\n\n").ok_or(malformed("it ends early"))?;
        let (note, _) = rest.rsplit_once("\ncheck ").ok_or(malformed("its last line is not `check`"))?;
        let (keys, tail, roots) = parse_head(head).ok_or(malformed("its lines are not those of a state"))?;
        let note = note.as_bytes().to_vec();
        let key = keys.last().cloned().ok_or(malformed("it names no key"))?;
        let checkpoint = key.open_alone(&note)?;
        let size = checkpoint.tree.size;
        let frontier =
            Frontier::from_bytes(size, &roots).ok_or(malformed("its hashes are not those of its size"))?;
        let tail = Tail { next: Position(size), ..tail };
        let state = Self::new(keys, tail, frontier, &Signed { checkpoint, key, note });
        let state = state.ok_or(malformed("its hashes do not lead to its checkpoint"))?;
        if state.to_bytes() == file { Ok(state) } else { Err(malformed("its check does not hold")) }
    }
}

/// The keys, the end of the log but for its position, and the roots.
fn parse_head(head: &str) -> Option<(Vec<VerifierKey>, Tail, Vec<u8>)> {
    let mut lines = head.split('\n').peekable();
    let first = lines.next()?;
    let mut keys = Vec::new();
    while let Some(line) = lines.next_if(|line| line.starts_with("key ") && keys.len() < KEYS_MAX) {
        keys.push(line.strip_prefix("key ")?.parse().ok()?);
    }
    let mut value = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
    let (uid, link, recorded, epoch) = (value("uid")?, value("link")?, value("recorded")?, value("epoch")?);
    let tail = Tail {
        next: Position(0),
        link: Link(hex::decode(link).ok()?.try_into().ok()?),
        recorded_at: Time(recorded.parse().ok()?),
        uid: LedgerUid(hex::decode(uid).ok()?.try_into().ok()?),
        epoch: epoch.parse().ok()?,
    };
    let roots = lines.map(|line| BASE64_STANDARD.decode(line).ok()).collect::<Option<Vec<_>>>()?;
    (first == FIRST_LINE).then(|| (keys, tail, roots.concat()))
}
