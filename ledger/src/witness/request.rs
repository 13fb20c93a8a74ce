//! What a log sends to a witness: `add-checkpoint` of c2sp.org/tlog-witness.
//!
//! ```text
//! old N                       how many entries the witness has seen, as the log believes
//! BASE64                      the proof that the new tree goes on from that one: at most 63 hashes
//! …
//!
//! the checkpoint, a signed note
//! ```

use base64::prelude::{BASE64_STANDARD, Engine};
use signed_note::Note;

use crate::checkpoint::{Checkpoint, CheckpointError, VerifierKey};
use crate::tree::Hash;

/// No request has more hashes.
const HASHES_MAX: usize = 63;
/// No request is longer.
pub const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// How many lines of a checkpoint's text say what it is; others may follow, which say nothing to us.
const LINES: usize = 3;

/// A request, read and not believed.
#[derive(Debug, PartialEq)]
pub struct Request {
    /// The size from which the proof goes on.
    pub old: u64,
    /// The proof.
    pub proof: Vec<Hash>,
    /// What the note says.
    pub checkpoint: Checkpoint,
    pub(super) note: Note,
}

/// The body of a request.
#[must_use]
pub fn to_bytes(old: u64, proof: &[Hash], note: &[u8]) -> Vec<u8> {
    let mut text = format!("old {old}\n");
    for hash in proof {
        text.push_str(&BASE64_STANDARD.encode(hash));
        text.push('\n');
    }
    text.push('\n');
    [text.as_bytes(), note].concat()
}

impl Request {
    /// Reads a body. Only the bytes that [`to_bytes`] would give are accepted.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(body: &[u8]) -> Result<Self, &'static str> {
        if body.len() > REQUEST_BYTES_MAX {
            return Err("it is longer than any request");
        }
        let behind = body.windows(2).position(|pair| pair == b"\n\n").ok_or("it has no empty line")?;
        let (head, note) = (&body[..behind], &body[behind + 2..]);
        let head = std::str::from_utf8(head).map_err(|_| "it is not text")?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| number(line.strip_prefix("old ")?));
        let old = old.ok_or("its first line is not `old` and a size")?;
        let mut proof = Vec::new();
        for line in lines {
            let hash = BASE64_STANDARD.decode(line).ok().and_then(|hash| hash.try_into().ok());
            proof.push(hash.ok_or("one of its lines is no hash in base64")?);
            if proof.len() > HASHES_MAX {
                return Err("it has more than 63 hashes");
            }
        }
        let (checkpoint, note) = read(note)?;
        Ok(Self { old, proof, checkpoint, note })
    }

    /// Those of its lines that one of these keys has signed, and nothing else.
    pub(super) fn signed_by(&self, keys: &[VerifierKey]) -> Option<Vec<u8>> {
        let signed = |key: &VerifierKey| self.note.verify(&key.verifiers().ok()?).ok();
        let lines: Vec<u8> =
            keys.iter().filter_map(signed).flat_map(|(lines, _)| lines).flat_map(|l| l.to_bytes()).collect();
        (!lines.is_empty()).then_some(lines)
    }
}

/// A decimal, as it is written.
pub(super) fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

/// Reads a signed checkpoint of any log, which may have lines that say nothing to us.
pub(super) fn read(bytes: &[u8]) -> Result<(Checkpoint, Note), &'static str> {
    let note = Note::from_bytes(bytes).map_err(|_| "its checkpoint is no signed note")?;
    if note.to_bytes() != bytes {
        return Err("its checkpoint is written in another way than it should be");
    }
    let lines: Vec<&[u8]> = note.text().split_inclusive(|byte| *byte == b'\n').collect();
    let (known, others) = lines.split_at_checked(LINES).ok_or("its checkpoint has too few lines")?;
    if others.contains(&&b"\n"[..]) {
        return Err("its checkpoint has an empty line");
    }
    let checkpoint = Checkpoint::parse(&known.concat()).map_err(|error| match error {
        CheckpointError::Malformed(why) => why,
        _ => "its checkpoint is none",
    })?;
    Ok((checkpoint, note))
}
