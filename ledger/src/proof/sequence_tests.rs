use proptest::prelude::*;

use super::*;
use crate::checkpoint::{LocalSigner, PrivateKey, Signer};
use crate::disk::testing::MemoryDisk;
use crate::entry::{self, Record};
use crate::log::{LogStore, MemoryLog};
use crate::tiles::TreeStore;
use crate::types::{LedgerName, LedgerUid, Link, Position, Time};

fn public() -> VerifierKey {
    private().verifier(&LedgerName::default())
}

fn private() -> PrivateKey {
    PrivateKey::new("ledger.example.org".parse().unwrap(), &[3; 32])
}

/// A log in which `emitter` counts its events as `numbers` say, others standing in between, and the proof that one would
/// make of all of them as if they began with `from`.
fn proof(numbers: &[u64], emitter: &str, from: u64) -> SequenceProof {
    let mut previous = Link::default();
    let mut records = Vec::new();
    for (position, number) in numbers.iter().flat_map(|n| [Some(*n), None]).enumerate() {
        let header = Header {
            uid: LedgerUid([1; 16]),
            position: Position(position as u64),
            epoch: 0,
            previous,
            recorded_at: Time(5),
            event_id: uuid::Uuid::from_u128(position as u128),
            emitter: number.map_or("other", |_| emitter).parse().unwrap(),
        };
        // Field 3 is the number.
        let mut event = Vec::new();
        prost::encoding::uint64::encode(3, &number.unwrap_or(7), &mut event);
        let entry = entry::encode(&header, &event).unwrap();
        previous = entry::link(&entry);
        records.push(Record::new(entry.into(), previous, (0, 1)));
    }
    let log = MemoryLog::default();
    log.append(Position(0), &records).unwrap();
    let tree = TreeStore::open(std::sync::Arc::new(MemoryDisk::new()), std::path::Path::new("/tree"), &[]);
    tree.catch_up(&log).unwrap();
    let head = tree.head();
    let part = |position: usize| {
        let leaf = records[position].leaf();
        let hashes = tree.inclusion(&head, position as u64, &leaf).unwrap();
        Part { entry: records[position].entry.to_vec(), position: position as u64, hashes }
    };
    let parts = (0..numbers.len()).map(|n| part(2 * n)).collect();
    let note = LocalSigner::new(&private(), &LedgerName::default(), None).sign(head, &[]).unwrap();
    SequenceProof { emitter: "hr".parse().unwrap(), from, parts, note }
}

#[test]
fn numbers_that_follow_one_another_are_proved_from_the_file_alone() {
    let made = proof(&[4, 5, 6, 7], "hr", 4);
    let file = made.to_bytes();
    assert!(SequenceProof::is_one(&file));
    let read = SequenceProof::parse(&file).unwrap();
    assert_eq!((&read, read.to()), (&made, 7));
    let proven = read.verify(&public()).unwrap();
    assert_eq!(proven.checkpoint.tree.size, 8);
    let positions: Vec<u64> = proven.events.iter().map(|event| event.header.position.0).collect();
    assert_eq!(positions, [0, 2, 4, 6]);
}

#[test]
fn a_missing_a_repeated_and_a_foreign_number_are_no_proof() {
    let refused = |made: SequenceProof, number: u64, position: u64| {
        let wrong = SequenceProof::parse(&made.to_bytes()).unwrap().verify(&public()).unwrap_err();
        assert_eq!(wrong, BadProof::Number { position, number, emitter: "hr".to_owned() });
    };
    refused(proof(&[4, 6, 7], "hr", 4), 5, 2);
    refused(proof(&[4, 4, 5], "hr", 4), 5, 2);
    refused(proof(&[4, 5, 6], "hr2", 4), 4, 0);
    refused(proof(&[4, 5, 6], "hr", 3), 3, 0);
    refused(proof(&[5, 4], "hr", 4), 4, 0);
    let mut dropped = proof(&[4, 5, 6], "hr", 4);
    dropped.parts.remove(1);
    refused(dropped, 5, 4);
    let mut other = proof(&[4, 5, 6], "hr", 4);
    other.parts.swap(0, 1);
    refused(other, 4, 2);
    let mut none = proof(&[4], "hr", 4);
    none.parts.clear();
    assert!(none.verify(&public()).is_err());
}

#[test]
fn the_numbers_may_end_where_the_type_ends_and_stand_in_any_order() {
    let last = proof(&[u64::MAX - 1, u64::MAX], "hr", u64::MAX - 1);
    let read = SequenceProof::parse(&last.to_bytes()).unwrap();
    assert_eq!(read.verify(&public()).unwrap().events.len(), 2);
    // One that claims to go on behind it ends nowhere.
    let beyond = proof(&[u64::MAX, 0], "hr", u64::MAX);
    assert!(
        SequenceProof::parse(&beyond.to_bytes()).and_then(|proof| proof.verify(&public())).is_err()
            && beyond.verify(&public()).is_err()
    );
    let mut late = proof(&[5, 4], "hr", 4);
    late.parts.swap(0, 1);
    assert!(late.verify(&public()).is_ok());
}

#[test]
fn no_bit_of_the_file_can_be_changed() {
    let file = proof(&[4, 5], "hr", 4).to_bytes();
    let holds = |file: &[u8]| SequenceProof::parse(file).and_then(|proof| proof.verify(&public())).is_ok();
    assert!(holds(&file));
    for bit in 0..file.len() * 8 {
        let mut changed = file.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!holds(&changed), "bit {bit}");
    }
    for cut in 0..file.len() {
        assert!(!holds(&file[..cut]), "cut at {cut}");
    }
    for more in [&b"\n"[..], b"x", b"\n\n", "— witness.example.org AAAAAQAAAAA=\n".as_bytes()] {
        assert!(!holds(&[&file, more].concat()));
    }
}

#[test]
fn a_file_that_claims_more_than_any_may_hold_is_refused_at_once() {
    for numbers in ["0 10000", "0 18446744073709551615", "5 4", "1", "a b", "01 2"] {
        let file = format!("{FIRST_LINE}\nemitter hr\nnumbers {numbers}\n\nextra AA==\nindex 0\n\n");
        assert!(matches!(SequenceProof::parse(file.as_bytes()), Err(BadProof::Malformed(_))), "{numbers}");
    }
}

proptest! {
    #[test]
    fn an_edited_file_never_holds(
        at in any::<prop::sample::Index>(), length in 0usize..60,
        new in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b' '), Just(b'A'), any::<u8>()], 0..60),
    ) {
        let file = proof(&[4, 5], "hr", 4).to_bytes();
        let at = at.index(file.len());
        let edited = [&file[..at], &new, &file[(at + length).min(file.len())..]].concat();
        prop_assume!(edited != file);
        prop_assert!(SequenceProof::parse(&edited).and_then(|proof| proof.verify(&public())).is_err());
    }

    #[test]
    fn arbitrary_bytes_are_no_proof(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let file = [FIRST_LINE.as_bytes(), &bytes].concat();
        prop_assert!(SequenceProof::parse(&file).and_then(|proof| proof.verify(&public())).is_err());
    }
}
