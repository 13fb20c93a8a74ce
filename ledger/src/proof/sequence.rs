//! A file that proves that no event of an emitter is missing between two of the numbers by which it counts them.
//!
//! ```text
//! tokenledger/sequence-proof@v1
//! emitter NAME
//! numbers FROM TO             both included; at most 10,000 numbers
//!
//! extra BASE64                the event number FROM, as in a proof of one event
//! index N
//! BASE64
//! …
//!
//! …                           each further number in the same way, behind a blank line
//!
//! PREFIX/LEDGER               one checkpoint that covers them all, a note that the log alone has signed
//! SIZE
//! BASE64
//!
//! — PREFIX/LEDGER BASE64
//! ```

use super::{BadProof, FILE_BYTES_MAX, NOTE_BYTES_MAX, Part};
use crate::checkpoint::{Checkpoint, VerifierKey};
use crate::entry::Header;
use crate::event;
use crate::types::Emitter;

const FIRST_LINE: &str = "tokenledger/sequence-proof@v1";
/// The most numbers of one file. Longer sequences are several files.
pub const SEQUENCE_MAX: u64 = 10_000;

/// A proof that a log has every event of an emitter from one number to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceProof {
    /// Whose events.
    pub emitter: Emitter,
    /// The number of the first.
    pub from: u64,
    /// The events, number after number.
    pub parts: Vec<Part>,
    /// The signed checkpoint.
    pub note: Vec<u8>,
}

/// One of the events.
#[derive(Clone, Debug)]
pub struct ProvenNumber {
    /// Its entry's header.
    pub header: Header,
    /// The bytes of its event.
    pub event: Vec<u8>,
}

/// What such a proof proves.
#[derive(Clone, Debug)]
pub struct ProvenSequence {
    /// The checkpoint that covers the events.
    pub checkpoint: Checkpoint,
    /// The events, number after number.
    pub events: Vec<ProvenNumber>,
}

impl SequenceProof {
    /// The number of the last event.
    #[must_use]
    pub fn to(&self) -> u64 {
        self.from.saturating_add((self.parts.len() as u64).saturating_sub(1))
    }

    /// Whether a file says that it is one.
    #[must_use]
    pub fn is_one(file: &[u8]) -> bool {
        file.starts_with(FIRST_LINE.as_bytes())
    }

    /// The file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text =
            format!("{FIRST_LINE}\nemitter {}\nnumbers {} {}\n\n", self.emitter, self.from, self.to());
        for part in &self.parts {
            part.put(&mut text);
            text.push('\n');
        }
        [text.as_bytes(), &self.note].concat()
    }

    /// Reads a file. Only the bytes that [`SequenceProof::to_bytes`] would give are accepted.
    ///
    /// # Errors
    /// [`BadProof::Malformed`].
    pub fn parse(file: &[u8]) -> Result<Self, BadProof> {
        let malformed = BadProof::Malformed;
        if file.len() > FILE_BYTES_MAX {
            return Err(malformed("it is longer than any"));
        }
        let text = std::str::from_utf8(file).map_err(|_| malformed("it is not text"))?;
        let (head, mut rest) = text.split_once("\n\n").ok_or(malformed("it proves no event"))?;
        let (emitter, from, count) = parse_head(head).ok_or(malformed("it does not begin as one"))?;
        let mut parts = Vec::new();
        for _ in 0..count {
            let part;
            (part, rest) = rest.split_once("\n\n").ok_or(malformed("it ends before its last number"))?;
            parts.push(Part::parse(part)?);
        }
        if rest.len() > NOTE_BYTES_MAX {
            return Err(malformed("its checkpoint is too long"));
        }
        let proof = Self { emitter, from, parts, note: rest.as_bytes().to_vec() };
        if proof.to_bytes() == file { Ok(proof) } else { Err(malformed("it says the same in another way")) }
    }

    /// Checks it with the key that identifies the log, and nothing else.
    ///
    /// # Errors
    /// [`BadProof`].
    pub fn verify(&self, key: &VerifierKey) -> Result<ProvenSequence, BadProof> {
        let checkpoint = key.open_alone(&self.note)?;
        let events = self.check(&checkpoint)?;
        Ok(ProvenSequence { checkpoint, events })
    }

    /// Checks it against a checkpoint that one believes.
    ///
    /// # Errors
    /// [`BadProof`].
    pub fn check(&self, checkpoint: &Checkpoint) -> Result<Vec<ProvenNumber>, BadProof> {
        let last =
            (self.parts.len() as u64).checked_sub(1).ok_or(BadProof::Malformed("it proves no event"))?;
        if self.from.checked_add(last).is_none() {
            return Err(BadProof::Malformed("there are no such numbers"));
        }
        let numbered = self.parts.iter().enumerate();
        numbered.map(|(nth, part)| self.check_one(self.from + nth as u64, part, checkpoint)).collect()
    }

    fn check_one(&self, number: u64, part: &Part, checkpoint: &Checkpoint) -> Result<ProvenNumber, BadProof> {
        let (header, event) = part.check(&checkpoint.tree)?;
        let counted = event::stored(&header, &event).event.emitter_sequence;
        if header.emitter != self.emitter || counted != Some(number) {
            let emitter = self.emitter.to_string();
            return Err(BadProof::Number { position: part.position, number, emitter });
        }
        Ok(ProvenNumber { header, event })
    }
}

/// The emitter, the first number, and how many there are.
fn parse_head(head: &str) -> Option<(Emitter, u64, u64)> {
    let mut lines = head.split('\n');
    let (first, emitter, numbers) = (lines.next()?, lines.next()?, lines.next()?);
    let emitter = emitter.strip_prefix("emitter ")?.parse().ok()?;
    let (from, to) = numbers.strip_prefix("numbers ")?.split_once(' ')?;
    let (from, to): (u64, u64) = (from.parse().ok()?, to.parse().ok()?);
    let count = to.checked_sub(from)?.checked_add(1)?;
    (first == FIRST_LINE && lines.next().is_none() && count <= SEQUENCE_MAX).then_some((emitter, from, count))
}

#[cfg(test)]
#[path = "sequence_tests.rs"]
mod tests;
