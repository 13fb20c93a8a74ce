use expect_test::expect;
use ledger::checkpoint::{LocalSigner, PrivateKey, Signer};
use ledger::entry::Header;
use ledger::tree::Frontier;
use ledger::types::{LedgerName, LedgerUid, Link, Position, Time};
use uuid::Uuid;

use super::*;
use crate::cli::print::tests::{check_json, check_page};

fn private() -> PrivateKey {
    PrivateKey::new("ledger.example.org".parse().unwrap(), &[3; 32])
}

fn keys() -> LogKeys {
    LogKeys::new(vec![private().verifier(&LedgerName::default())]).unwrap()
}

/// A log of one entry, number 9 of its emitter.
fn proof() -> Proof {
    let header = Header {
        uid: LedgerUid([1; 16]),
        position: Position(0),
        epoch: 0,
        previous: Link::default(),
        recorded_at: Time(5_000_000_000),
        event_id: Uuid::from_u128(7),
        emitter: "hr".parse().unwrap(),
    };
    let entry = entry::encode(&header, &[0x18, 9]).unwrap();
    let mut frontier = Frontier::default();
    frontier.push(tree::leaf(&entry));
    let note = LocalSigner::new(&private(), &LedgerName::default(), None).sign(frontier.head(), &[]).unwrap();
    Proof { entry, position: 0, hashes: Vec::new(), note }
}

fn shown(bytes: &[u8]) -> Proved {
    proved(bytes, &keys()).unwrap().of_file(Path::new("file"))
}

#[test]
fn the_json_of_a_proved_event_keeps_its_promise() {
    check_json(
        &shown(&proof().to_bytes()),
        &expect![[r#"
        {"ok":true,"file":"file","proves":"event","position":0,"event_id":"00000000-0000-0000-0000-000000000007","emitter":"hr","kind":"Opaque","account":null,"recorded_at":"1970-01-01T00:00:05Z","link":"80fdfdf2e58689a1d59f9ce89cb0c26ade9b8edbc8067993bc39a76d7aaa1916","from":null,"to":null,"positions":[],"origin":"ledger.example.org/default","size":1,"root":"3c9b55b1e8692b542d24a99aa65e515775847285552bf613ed868b64bd1c2d3c","contradicts":null,"reason":null,"goes_on_from":null}
    "#]],
    );
}

#[test]
fn the_json_of_a_proved_sequence_keeps_its_promise() {
    let Proof { entry, position, hashes, note } = proof();
    let part = ledger::proof::Part { entry, position, hashes };
    let sequence = SequenceProof { emitter: "hr".parse().unwrap(), from: 9, parts: vec![part], note };
    check_json(
        &shown(&sequence.to_bytes()),
        &expect![[r#"
        {"ok":true,"file":"file","proves":"sequence","position":null,"event_id":null,"emitter":"hr","kind":null,"account":null,"recorded_at":null,"link":null,"from":9,"to":9,"positions":[0],"origin":"ledger.example.org/default","size":1,"root":"3c9b55b1e8692b542d24a99aa65e515775847285552bf613ed868b64bd1c2d3c","contradicts":null,"reason":null,"goes_on_from":null}
    "#]],
    );
}

#[test]
fn the_json_of_a_proved_fork_keeps_its_promise() {
    let note = |root: u8| {
        let tree = tree::TreeHead { size: 4, root: [root; 32] };
        let note = LocalSigner::new(&private(), &LedgerName::default(), None).sign(tree, &[]).unwrap();
        keys().open(&note).unwrap()
    };
    let fork = Fork::between(&note(2), &note(1), None).unwrap();
    check_json(
        &shown(&fork.to_bytes()),
        &expect![[r#"
        {"ok":true,"file":"file","proves":"fork","position":null,"event_id":null,"emitter":null,"kind":null,"account":null,"recorded_at":null,"link":null,"from":null,"to":null,"positions":[],"origin":"ledger.example.org/default","size":4,"root":"0202020202020202020202020202020202020202020202020202020202020202","contradicts":{"size":4,"root":"0101010101010101010101010101010101010101010101010101010101010101"},"reason":null,"goes_on_from":null}
    "#]],
    );
}

#[test]
fn the_json_of_a_proved_consistency_keeps_its_promise() {
    let leaves = [tree::leaf(b"one"), tree::leaf(b"two")];
    let mut frontier = Frontier::default();
    let [smaller, larger] = leaves.map(|leaf| {
        frontier.push(leaf);
        LocalSigner::new(&private(), &LedgerName::default(), None).sign(frontier.head(), &[]).unwrap()
    });
    let proof = ConsistencyProof { hashes: vec![leaves[1]], smaller, larger };
    check_json(
        &shown(&proof.to_bytes()),
        &expect![[r#"
        {"ok":true,"file":"file","proves":"consistency","position":null,"event_id":null,"emitter":null,"kind":null,"account":null,"recorded_at":null,"link":null,"from":null,"to":null,"positions":[],"origin":"ledger.example.org/default","size":2,"root":"4f55f619d9215235778b2b9f17d6f4915b16171214d152381293669764de722e","contradicts":null,"reason":null,"goes_on_from":{"size":1,"root":"d0d7360ab79f58ab1e1e3fe64ad77e2ea0bc07e36b5f46ed2223edd9298df9e9"}}
    "#]],
    );
    check_page(
        &shown(&proof.to_bytes()),
        &expect![[r#"
        the log went on from one checkpoint to the other:
        log           ledger.example.org/default
        checkpoint    2 entries, root 4f55f619d9215235778b2b9f17d6f4915b16171214d152381293669764de722e
        goes on from  1 entry, root d0d7360ab79f58ab1e1e3fe64ad77e2ea0bc07e36b5f46ed2223edd9298df9e9
    "#]],
    );
}

#[test]
fn people_are_told_in_a_sentence_what_is_proved_or_why_nothing_is() {
    check_page(
        &shown(&proof().to_bytes()),
        &expect![[r#"
        the log has this event:
        position     0
        kind         Opaque
        event id     00000000-0000-0000-0000-000000000007
        emitter      hr
        recorded at  1970-01-01T00:00:05Z
        link         80fdfdf2e58689a1d59f9ce89cb0c26ade9b8edbc8067993bc39a76d7aaa1916
        log          ledger.example.org/default
        checkpoint   1 entry, root 3c9b55b1e8692b542d24a99aa65e515775847285552bf613ed868b64bd1c2d3c
    "#]],
    );
    let why = proved(b"c2sp.org/tlog-proof@v1\n", &keys()).unwrap_err();
    check_page(
        &Proved::nothing(Path::new("file"), &why),
        &expect![[r#"
        PROVES NOTHING: this is no proof: it has no checkpoint
    "#]],
    );
}
