//! One file that proves an event to whoever has the ledger's public key: C2SP's `tlog-proof`, with the entry itself as its
//! extra data.
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra BASE64                the entry, as stored: its leaf is SHA-256(0x00 || entry)
//! index N                     its position
//! BASE64                      the hashes of the proof, from the lowest up
//! …
//!
//! PREFIX/LEDGER               the checkpoint, a signed note
//! SIZE
//! BASE64
//!
//! — PREFIX/LEDGER BASE64
//! ```

use base64::prelude::{BASE64_STANDARD, Engine};

use crate::checkpoint::{Checkpoint, CheckpointError, VerifierKey};
use crate::entry::{self, BadEntry, ENTRY_BYTES_MAX, Header};
use crate::tree::{self, Hash, check_inclusion};

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";
/// No proof has more hashes.
const HASHES_MAX: usize = 64;
/// No note is longer.
const NOTE_BYTES_MAX: usize = 64 * 1024;

/// Why a file proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum BadProof {
    /// It is no proof, or says the same in another way than it would be written.
    #[error("this is no proof: {0}")]
    Malformed(&'static str),
    /// The checkpoint is none of the log's.
    #[error("{0}")]
    Checkpoint(#[from] CheckpointError),
    /// The hashes do not lead to the checkpoint.
    #[error("{0}: the entry, its position or the proof was changed")]
    Inclusion(#[from] tree::ProofError),
    /// What is proved is no entry.
    #[error("what the proof holds is no entry of a ledger: {0}")]
    Entry(#[from] BadEntry),
    /// The entry names another position than the one at which it stands.
    #[error("the entry at {stands} says that it stands at {says}")]
    Position {
        /// Where the proof shows it.
        stands: u64,
        /// What it says.
        says: u64,
    },
}

/// A proof that a log has an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The entry's bytes.
    pub entry: Vec<u8>,
    /// Where it stands.
    pub position: u64,
    /// What leads from its leaf to the root.
    pub hashes: Vec<Hash>,
    /// The signed checkpoint.
    pub note: Vec<u8>,
}

/// What a proof proves.
#[derive(Clone, Debug)]
pub struct Proven {
    /// The checkpoint that covers the entry.
    pub checkpoint: Checkpoint,
    /// The entry's header.
    pub header: Header,
    /// The bytes of its event.
    pub event: Vec<u8>,
}

impl Proof {
    /// The file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text =
            format!("{FIRST_LINE}\nextra {}\nindex {}\n", BASE64_STANDARD.encode(&self.entry), self.position);
        for hash in &self.hashes {
            text.push_str(&BASE64_STANDARD.encode(hash));
            text.push('\n');
        }
        text.push('\n');
        [text.as_bytes(), &self.note].concat()
    }

    /// Reads a file. Only the bytes that [`Proof::to_bytes`] would give are accepted.
    ///
    /// # Errors
    /// [`BadProof::Malformed`].
    pub fn parse(file: &[u8]) -> Result<Self, BadProof> {
        let malformed = BadProof::Malformed;
        let behind =
            file.windows(2).position(|pair| pair == b"\n\n").ok_or(malformed("it has no checkpoint"))?;
        let (head, note) = (&file[..behind], &file[behind + 2..]);
        let head = std::str::from_utf8(head).map_err(|_| malformed("it is not text"))?;
        let mut lines = head.split('\n');
        if lines.next() != Some(FIRST_LINE) {
            return Err(malformed("its first line is not `c2sp.org/tlog-proof@v1`"));
        }
        let entry = lines.next().and_then(|line| line.strip_prefix("extra "));
        let entry = entry.filter(|entry| entry.len() <= ENTRY_BYTES_MAX * 2);
        let entry = entry.and_then(|entry| BASE64_STANDARD.decode(entry).ok());
        let entry = entry.ok_or(malformed("its line `extra` holds no entry"))?;
        let position = lines.next().and_then(|line| line.strip_prefix("index ")?.parse().ok());
        let position = position.ok_or(malformed("it has no line `index`"))?;
        let mut hashes = Vec::new();
        for line in lines {
            let hash = BASE64_STANDARD.decode(line).ok().and_then(|hash| hash.try_into().ok());
            hashes.push(hash.ok_or(malformed("one of its lines is no hash"))?);
            if hashes.len() > HASHES_MAX {
                return Err(malformed("it has more hashes than any proof"));
            }
        }
        if note.len() > NOTE_BYTES_MAX {
            return Err(malformed("its checkpoint is too long"));
        }
        let proof = Self { entry, position, hashes, note: note.to_vec() };
        if proof.to_bytes() == file { Ok(proof) } else { Err(malformed("it says the same in another way")) }
    }

    /// Checks it with the key that identifies the log, and nothing else.
    ///
    /// # Errors
    /// [`BadProof`].
    pub fn verify(&self, key: &VerifierKey) -> Result<Proven, BadProof> {
        let checkpoint = key.open(&self.note)?;
        check_inclusion(&self.hashes, &checkpoint.tree, self.position, &tree::leaf(&self.entry))?;
        let (header, event) = entry::decode(&self.entry)?;
        if header.position.0 != self.position {
            return Err(BadProof::Position { stands: self.position, says: header.position.0 });
        }
        let event = event.to_vec();
        Ok(Proven { checkpoint, header, event })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{LocalSigner, PrivateKey, Signer};
    use crate::tree::{Frontier, leaf};
    use crate::types::{LedgerName, LedgerUid, Link, Position, Time};

    fn key() -> PrivateKey {
        PrivateKey::new("ledger.example.org".parse().unwrap(), &[3; 32])
    }

    fn entry(position: u64) -> Vec<u8> {
        let header = Header {
            uid: LedgerUid([1; 16]),
            position: Position(position),
            epoch: 0,
            previous: Link::default(),
            recorded_at: Time(5),
            event_id: uuid::Uuid::from_u128(u128::from(position)),
            emitter: "emitter".parse().unwrap(),
        };
        entry::encode(&header, b"event").unwrap()
    }

    /// The second of three entries; the others' positions are what they are given.
    fn proof(positions: [u64; 3]) -> Proof {
        let entries = positions.map(entry);
        let leaves = entries.each_ref().map(|entry| leaf(entry));
        let mut frontier = Frontier::default();
        leaves.iter().for_each(|leaf| frontier.push(*leaf));
        let note = LocalSigner::new(&key(), &LedgerName::default(), None).sign(frontier.head()).unwrap();
        let [_, entry, _] = entries;
        Proof { entry, position: 1, hashes: vec![leaves[0], leaves[2]], note }
    }

    #[test]
    fn a_proof_is_what_its_file_says_and_holds_with_the_key_alone() {
        let (proof, key) = (proof([0, 1, 2]), key().verifier(&LedgerName::default()));
        let file = proof.to_bytes();
        assert!(file.starts_with(b"c2sp.org/tlog-proof@v1\nextra "));
        let read = Proof::parse(&file).unwrap();
        assert_eq!(read, proof);
        let proven = read.verify(&key).unwrap();
        assert_eq!((proven.checkpoint.tree.size, proven.header.position), (3, Position(1)));
        assert_eq!(proven.event, b"event");
    }

    #[test]
    fn no_bit_of_the_file_can_be_changed() {
        let (file, key) = (proof([0, 1, 2]).to_bytes(), key().verifier(&LedgerName::default()));
        for bit in 0..file.len() * 8 {
            let mut changed = file.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Proof::parse(&changed).and_then(|p| p.verify(&key)).is_err(), "bit {bit}");
        }
        for cut in 0..file.len() {
            assert!(Proof::parse(&file[..cut]).and_then(|p| p.verify(&key)).is_err(), "cut at {cut}");
        }
        for more in [&b"\n"[..], b"x", b"\n\n"] {
            assert!(Proof::parse(&[&file, more].concat()).and_then(|p| p.verify(&key)).is_err());
        }
        assert!(Proof::parse(&file.replace_once(b"index 1", b"index 01")).is_err());
        assert!(Proof::parse(&file.replace_once(b"index 1", b"index +1")).is_err());
    }

    trait ReplaceOnce {
        fn replace_once(&self, from: &[u8], to: &[u8]) -> Vec<u8>;
    }

    impl ReplaceOnce for Vec<u8> {
        fn replace_once(&self, from: &[u8], to: &[u8]) -> Vec<u8> {
            let at = self.windows(from.len()).position(|w| w == from).unwrap();
            [&self[..at], to, &self[at + from.len()..]].concat()
        }
    }

    #[test]
    fn an_entry_of_another_place_key_or_ledger_is_not_proved() {
        let good = proof([0, 1, 2]);
        let key = |ledger: &str| key().verifier(&ledger.parse().unwrap());
        assert!(matches!(good.verify(&key("other")), Err(BadProof::Checkpoint(_))));
        let elsewhere = Proof { position: 0, ..good.clone() };
        assert!(matches!(elsewhere.verify(&key("default")), Err(BadProof::Inclusion(_))));
        let other = Proof { entry: entry(7), ..good.clone() };
        assert!(matches!(other.verify(&key("default")), Err(BadProof::Inclusion(_))));
        let short = Proof { hashes: good.hashes[..1].to_vec(), ..good };
        assert!(matches!(short.verify(&key("default")), Err(BadProof::Inclusion(_))));
        let says = proof([0, 9, 2]).verify(&key("default"));
        assert!(matches!(says, Err(BadProof::Position { stands: 1, says: 9 })), "{says:?}");
    }
}
