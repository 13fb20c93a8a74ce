//! Files that prove something to whoever has the ledger's public key, and trusts nobody. Only one form of each is accepted,
//! and nothing stands in them that no hash or signature covers.
//!
//! One event is C2SP's `tlog-proof`, with the entry itself as its extra data:
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra BASE64                the entry, as stored: its leaf is SHA-256(0x00 || entry)
//! index N                     its position
//! BASE64                      the hashes of the proof, from the lowest up
//! …
//!
//! PREFIX/LEDGER               the checkpoint, a note that the log alone has signed
//! SIZE
//! BASE64
//!
//! — PREFIX/LEDGER BASE64
//! ```
//!
//! All events of an emitter between two of its numbers are a [`SequenceProof`]; that a log went on from one checkpoint to
//! another is a [`ConsistencyProof`], that it did not a [`Fork`].

mod consistency;
mod fork;
mod part;
mod sequence;

use crate::checkpoint::{Checkpoint, CheckpointError, VerifierKey};
use crate::entry::{BadEntry, Header};
use crate::tree::{self, Hash};

pub use consistency::ConsistencyProof;
pub use fork::Fork;
pub use part::Part;
pub use sequence::{ProvenNumber, ProvenSequence, SEQUENCE_MAX, SequenceProof};

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";
/// No note in these files is longer.
const NOTE_BYTES_MAX: usize = 64 * 1024;
/// The longest of these files: that of a sequence of large entries.
pub const FILE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why a file proves nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
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
    /// An event is not the one of its emitter that is due.
    #[error("the event at {position} is not number {number} of {emitter}")]
    Number {
        /// Where it stands.
        position: u64,
        /// Which number is due.
        number: u64,
        /// Of which emitter.
        emitter: String,
    },
    /// Two notes of which the larger one is not shown to go on from the smaller one.
    #[error("the larger checkpoint is not shown to go on from the smaller one: {0}")]
    Inconsistent(&'static str),
    /// Two notes that can both be true.
    #[error("the two checkpoints do not contradict each other: {0}")]
    NoFork(&'static str),
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
    fn part(&self) -> Part {
        Part { entry: self.entry.clone(), position: self.position, hashes: self.hashes.clone() }
    }

    /// The file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("{FIRST_LINE}\n");
        self.part().put(&mut text);
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
        let (first, part) = head.split_once('\n').unwrap_or((head, ""));
        if first != FIRST_LINE {
            return Err(malformed("its first line is not `c2sp.org/tlog-proof@v1`"));
        }
        let Part { entry, position, hashes } = Part::parse(part)?;
        if note.len() > NOTE_BYTES_MAX {
            return Err(malformed("its checkpoint is too long"));
        }
        let proof = Self { entry, position, hashes, note: note.to_vec() };
        if proof.to_bytes() == file { Ok(proof) } else { Err(malformed("it says the same in another way")) }
    }

    /// Checks it with the key that identifies the log, and nothing else. The checkpoint must have the signature line of
    /// this key alone: to have those of witnesses checked as well, their keys would have to be given here.
    ///
    /// # Errors
    /// [`BadProof`].
    pub fn verify(&self, key: &VerifierKey) -> Result<Proven, BadProof> {
        let checkpoint = key.open_alone(&self.note)?;
        let (header, event) = self.part().check(&checkpoint.tree)?;
        Ok(Proven { checkpoint, header, event })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{LocalSigner, PrivateKey, Signer};
    use crate::entry;
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
        let note = LocalSigner::new(&key(), &LedgerName::default(), None).sign(frontier.head(), &[]).unwrap();
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

    #[test]
    fn a_checkpoint_with_a_line_that_the_key_does_not_know_proves_nothing() {
        let key = key().verifier(&LedgerName::default());
        let mut cosigned = proof([0, 1, 2]);
        cosigned.note.extend_from_slice("— witness.example.org AAAAAQAAAAA=\n".as_bytes());
        let read = Proof::parse(&cosigned.to_bytes()).unwrap();
        assert!(matches!(read.verify(&key), Err(BadProof::Checkpoint(CheckpointError::OtherSignatures))));
    }

    proptest::proptest! {
        #[test]
        fn an_edited_file_never_holds(
            at in proptest::prelude::any::<proptest::prelude::prop::sample::Index>(), length in 0usize..60,
            new in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60),
        ) {
            let (file, key) = (proof([0, 1, 2]).to_bytes(), key().verifier(&LedgerName::default()));
            let at = at.index(file.len());
            let edited = [&file[..at], &new, &file[(at + length).min(file.len())..]].concat();
            proptest::prop_assume!(edited != file);
            proptest::prop_assert!(Proof::parse(&edited).and_then(|proof| proof.verify(&key)).is_err());
        }

        #[test]
        fn arbitrary_bytes_are_no_proof(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
        ) {
            let key = key().verifier(&LedgerName::default());
            let file = [b"c2sp.org/tlog-proof@v1\n", &bytes[..]].concat();
            proptest::prop_assert!(Proof::parse(&file).and_then(|proof| proof.verify(&key)).is_err());
        }
    }
}
