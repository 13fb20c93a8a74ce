use ledger::entry::Header;
use ledger::event::{Annotations, encode_annotations};
use ledger::tree::{Frontier, TreeHead, leaf};
use ledger::types::{LedgerUid, Link, Position, Time};

use super::*;

fn sent() -> pb::Event {
    let line = r#"{"event_id":"3b241101-e2bb-4255-8caf-4136c566a962","kind":"AccountDeleted","account":"bot-1","actor":"cleanup","actor_kind":"automation","occurred_at":"2024-09-11T00:00:00Z","emitter":"worker","data":{}}"#;
    ledger::event::to_message(&crate::json::event_from_json(line).unwrap())
}

/// The receipt and the proof of an entry with this event in it.
fn recorded(header: &pb::Event, event: Vec<u8>) -> (pb::Receipt, Proof, Proven) {
    let header = Header {
        uid: LedgerUid([1; 16]),
        position: Position(0),
        epoch: 0,
        previous: Link::default(),
        recorded_at: Time(5),
        event_id: header.event_id.parse().unwrap(),
        emitter: header.emitter.parse().unwrap(),
    };
    let entry = entry::encode(&header, &event).unwrap();
    let receipt = pb::Receipt { link: entry::link(&entry).0.to_vec(), ..Default::default() };
    let mut frontier = Frontier::default();
    frontier.push(leaf(&entry));
    let tree: TreeHead = frontier.head();
    let checkpoint = ledger::checkpoint::Checkpoint { origin: "example.org/default".into(), tree };
    let proof = Proof { entry, position: 0, hashes: Vec::new(), note: Vec::new() };
    (receipt, proof, Proven { checkpoint, header, event })
}

#[test]
fn a_receipt_is_of_what_was_sent_and_may_only_have_annotations_behind_it() {
    let event = sent();
    let bytes = encode_sent(&parse(&event).unwrap());
    let check = |stored: Vec<u8>| {
        let (receipt, proof, proven) = recorded(&event, stored);
        is_of(&event, &receipt, &proof, &proven)
    };
    assert_eq!(check(bytes.clone()), Ok(()));
    let late = Annotations { late: true, ..Annotations::default() };
    let annotated = [&bytes[..], &encode_annotations(&late)].concat();
    assert_eq!(check(annotated.clone()), Ok(()));
    // Another account, another actor, a field more, one that comes again behind the annotations, and one less.
    let other = pb::Event { account: "bot-2".into(), ..event.clone() };
    let numbered = pb::Event { emitter_sequence: Some(1), ..event.clone() };
    for other in [other, numbered] {
        assert!(check(encode_sent(&parse(&other).unwrap())).is_err());
    }
    assert!(check([&annotated[..], b"\x3a\x05bot-2"].concat()).is_err());
    assert!(check([&bytes[..], b"\x3a\x05bot-2"].concat()).is_err());
    assert!(check(bytes[..bytes.len() - 2].to_vec()).is_err());
}

#[test]
fn a_receipt_stands_where_the_server_said_and_has_the_link_that_it_said() {
    let event = sent();
    let (receipt, proof, proven) = recorded(&event, encode_sent(&parse(&event).unwrap()));
    let elsewhere = pb::Receipt { position: 1, ..receipt.clone() };
    assert!(is_of(&event, &elsewhere, &proof, &proven).is_err());
    for link in [Vec::new(), vec![7; 32]] {
        assert!(is_of(&event, &pb::Receipt { link, ..receipt.clone() }, &proof, &proven).is_err());
    }
    // An id is part of what was sent.
    let other = pb::Event { event_id: uuid::Uuid::from_u128(7).to_string(), ..event };
    assert!(is_of(&other, &receipt, &proof, &proven).is_err());
}
