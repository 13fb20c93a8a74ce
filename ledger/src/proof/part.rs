//! One entry of a proof: its bytes, where it stands, and what leads from it to the root.

use base64::prelude::{BASE64_STANDARD, Engine};

use super::{BadProof, NOTE_BYTES_MAX};
use crate::checkpoint::{LogKeys, Signed};
use crate::entry::{self, ENTRY_BYTES_MAX, Header};
use crate::tree::{self, Hash, TreeHead, check_inclusion};

/// No proof of an entry has more hashes.
const HASHES_MAX: usize = 64;
/// No proof of consistency has more hashes.
pub(super) const CONSISTENCY_HASHES_MAX: usize = 96;

/// An entry, and what shows that a tree has it. In a file these are the lines `extra`, `index` and one for each hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The entry's bytes.
    pub entry: Vec<u8>,
    /// Where it stands.
    pub position: u64,
    /// What leads from its leaf to the root.
    pub hashes: Vec<Hash>,
}

impl Part {
    /// Writes its lines.
    pub(super) fn put(&self, text: &mut String) {
        text.push_str(&format!("extra {}\nindex {}\n", BASE64_STANDARD.encode(&self.entry), self.position));
        put_hashes(&self.hashes, text);
    }

    /// Reads its lines. Whoever calls this holds what [`Part::put`] gives against what was read.
    pub(super) fn parse(text: &str) -> Result<Self, BadProof> {
        let malformed = BadProof::Malformed;
        let mut lines = text.split('\n');
        let entry = lines.next().and_then(|line| line.strip_prefix("extra "));
        let entry = entry.filter(|entry| entry.len() <= ENTRY_BYTES_MAX * 2);
        let entry = entry.and_then(|entry| BASE64_STANDARD.decode(entry).ok());
        let entry = entry.ok_or(malformed("its line `extra` holds no entry"))?;
        let position = lines.next().and_then(|line| line.strip_prefix("index ")?.parse().ok());
        let position = position.ok_or(malformed("it has no line `index`"))?;
        Ok(Self { entry, position, hashes: parse_hashes(lines, HASHES_MAX)? })
    }

    /// Checks that a tree has the entry at this position, and that the entry says so itself: its header, and the bytes of
    /// its event.
    ///
    /// # Errors
    /// [`BadProof`].
    pub fn check(&self, tree: &TreeHead) -> Result<(Header, Vec<u8>), BadProof> {
        check_inclusion(&self.hashes, tree, self.position, &tree::leaf(&self.entry))?;
        let (header, event) = entry::decode(&self.entry)?;
        if header.position.0 != self.position {
            return Err(BadProof::Position { stands: self.position, says: header.position.0 });
        }
        Ok((header, event.to_vec()))
    }
}

/// A file with two notes at its end.
pub(super) struct Two<'a> {
    /// The lines before them without the first, if there are more.
    pub(super) lines: Option<&'a str>,
    /// The note that comes first.
    pub(super) smaller: Vec<u8>,
    /// The other one.
    pub(super) larger: Vec<u8>,
}

impl<'a> Two<'a> {
    /// Reads one that begins with this line.
    pub(super) fn parse(file: &'a [u8], first_line: &str) -> Result<Self, BadProof> {
        let malformed = BadProof::Malformed;
        if file.len() > 3 * NOTE_BYTES_MAX {
            return Err(malformed("it is longer than any"));
        }
        let text = std::str::from_utf8(file).map_err(|_| malformed("it is not text"))?;
        // Neither the text of a checkpoint nor its signatures have a blank line in them.
        let mut sections = text.splitn(4, "\n\n");
        let mut next = || sections.next().ok_or(malformed("it has not two checkpoints"));
        let (head, text, signature, larger) = (next()?, next()?, next()?, next()?);
        let (first, lines) = head.split_once('\n').map_or((head, None), |(first, rest)| (first, Some(rest)));
        if first != first_line {
            return Err(malformed("its first line is that of something else"));
        }
        let smaller = format!("{text}\n\n{signature}\n").into_bytes();
        Ok(Self { lines, smaller, larger: larger.as_bytes().to_vec() })
    }
}

/// A note with the signature of one of the keys, and no other.
pub(super) fn open(keys: &LogKeys, note: &[u8]) -> Result<Signed, BadProof> {
    keys.try_each(|key| {
        let checkpoint = key.open_alone(note)?;
        Ok(Signed { checkpoint, key: key.clone(), note: note.to_vec() })
    })
}

/// Hashes, one a line.
pub(super) fn put_hashes(hashes: &[Hash], text: &mut String) {
    for hash in hashes {
        text.push_str(&BASE64_STANDARD.encode(hash));
        text.push('\n');
    }
}

/// Reads the rest of some lines, each as a hash.
pub(super) fn parse_hashes<'a>(
    lines: impl Iterator<Item = &'a str>,
    max: usize,
) -> Result<Vec<Hash>, BadProof> {
    let mut hashes = Vec::new();
    for line in lines {
        if hashes.len() == max {
            return Err(BadProof::Malformed("it has more hashes than any proof"));
        }
        hashes.push(parse_hash(line).ok_or(BadProof::Malformed("one of its lines is no hash"))?);
    }
    Ok(hashes)
}

pub(super) fn parse_hash(line: &str) -> Option<Hash> {
    BASE64_STANDARD.decode(line).ok()?.try_into().ok()
}
