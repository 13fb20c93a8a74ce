use std::time::Duration;

use ledger::checkpoint::{Checkpoint, VerifierKey};
use ledger::tree::{Hash, TreeHead, check_consistency, check_inclusion, leaf};
use ledger::types::LedgerName;
use tokenledger::wire::pb;
use tonic::Code;

use crate::harness::{Clients, Server, created, event, key};

fn verifier() -> VerifierKey {
    key().verifier(&LedgerName::default())
}

fn made(account: &str) -> pb::Event {
    event(account, created(account))
}

fn hashes(hashes: &[Vec<u8>]) -> Vec<Hash> {
    hashes.iter().map(|hash| hash.as_slice().try_into().unwrap()).collect()
}

async fn checkpoint(clients: &Clients, min_size: Option<u64>) -> Checkpoint {
    let request = pb::GetCheckpointRequest { min_size, ..Default::default() };
    let answer = clients.proof.clone().get_checkpoint(request).await.unwrap().into_inner();
    let checkpoint = verifier().open(&answer.note).unwrap();
    assert_eq!(checkpoint.tree.size, answer.size);
    checkpoint
}

/// Proves an event, and checks the proof as somebody would who has the key alone.
async fn proven(clients: &Clients, which: pb::prove_inclusion_request::Which) -> (u64, Vec<u8>, TreeHead) {
    let request = pb::ProveInclusionRequest { which: Some(which), ..Default::default() };
    let proof = clients.proof.clone().prove_inclusion(request).await.unwrap().into_inner();
    let tree = verifier().open(&proof.note).unwrap().tree;
    let path = hashes(&proof.hashes);
    assert_eq!(check_inclusion(&path, &tree, proof.position, &leaf(&proof.entry)), Ok(()));
    assert!(path.len() as u32 <= u64::BITS - (tree.size - 1).leading_zeros());
    (proof.position, proof.entry, tree)
}

/// Checks that a checkpoint goes on from an earlier one, as its holder would.
async fn goes_on(clients: &Clients, old: &TreeHead) -> TreeHead {
    let request = pb::ProveConsistencyRequest { old_size: old.size, ..Default::default() };
    let proof = clients.proof.clone().prove_consistency(request).await.unwrap().into_inner();
    let tree = verifier().open(&proof.note).unwrap().tree;
    assert_eq!(proof.old_root, old.root);
    assert_eq!(check_consistency(&hashes(&proof.hashes), old, &tree), Ok(()));
    tree
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_proved_by_position_and_by_id_and_every_checkpoint_goes_on_from_those_before() {
    let mut server = Server::start().await;
    let mut heads = Vec::new();
    for round in 0..6 {
        let clients = server.clients().await;
        for n in 0..40 {
            let event = made(&format!("account-{round}-{n}"));
            let (emitter, event_id) = (event.emitter.clone(), event.event_id.clone());
            let position = clients.record(event).await.receipt.unwrap().position;
            if n % 8 == 0 {
                let key = pb::ProvenKey { emitter, event_id };
                let by_key = proven(&clients, pb::prove_inclusion_request::Which::Key(key)).await;
                let by_position =
                    proven(&clients, pb::prove_inclusion_request::Which::Position(position)).await;
                assert_eq!((by_key.0, &by_key.1), (position, &by_position.1));
                heads.push(by_key.2);
            }
        }
        let newest = checkpoint(&clients, None).await.tree;
        assert!(newest.size >= heads.last().unwrap().size);
        for old in &heads {
            assert!(goes_on(&clients, old).await.size >= newest.size);
        }
        match round {
            // What is stored of the tree may be lost, or be another's.
            1 => {
                server.stop().await;
                std::fs::remove_dir_all(server.data().join("ledgers/default/tree")).ok();
                server.resume().await;
            }
            3 => {
                server.stop().await;
                let level = server.data().join("ledgers/default/tree/level-0");
                let mut bytes = std::fs::read(&level).unwrap();
                bytes[5 * 32] ^= 1;
                std::fs::write(&level, bytes).unwrap();
                server.resume().await;
            }
            _ => server.restart().await,
        }
    }
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn between_any_two_checkpoints_that_somebody_kept_the_log_is_shown_to_have_gone_on() {
    let server = Server::start().await;
    let clients = server.clients().await;
    let mut heads = Vec::new();
    for n in 0..12 {
        let position = clients.record(made(&format!("account-{n}"))).await.receipt.unwrap().position;
        heads.push(checkpoint(&clients, Some(position + 1)).await.tree);
    }
    let ask = |old_size: u64, new_size: Option<u64>| {
        let request = pb::ProveConsistencyRequest { old_size, new_size, ..Default::default() };
        let mut client = clients.proof.clone();
        async move { client.prove_consistency(request).await.map(tonic::Response::into_inner) }
    };
    for (n, old) in heads.iter().enumerate() {
        for new in &heads[n..] {
            let proof = ask(old.size, Some(new.size)).await.unwrap();
            assert_eq!((&proof.old_root[..], &proof.new_root[..]), (&old.root[..], &new.root[..]));
            assert_eq!(check_consistency(&hashes(&proof.hashes), old, new), Ok(()));
            assert!(proof.note.is_empty(), "whoever asks has it");
        }
    }
    let newest = heads.last().unwrap();
    let proof = ask(3, None).await.unwrap();
    assert_eq!(proof.new_root, verifier().open(&proof.note).unwrap().tree.root);
    assert_eq!(ask(5, Some(4)).await.unwrap_err().code(), Code::InvalidArgument);
    for beyond in [newest.size + 1, u64::MAX] {
        assert_eq!(ask(3, Some(beyond)).await.unwrap_err().code(), Code::OutOfRange);
    }
    drop(clients);
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_follows_what_is_recorded_and_one_is_signed_at_once_for_who_asks() {
    let mut server = Server::start().await;
    let clients = server.clients().await;
    clients.record(made("one")).await;
    let tail = clients.record(made("two")).await.receipt.unwrap().position + 1;
    assert!(checkpoint(&clients, Some(tail)).await.tree.size >= tail);
    let after = clients.record(made("three")).await.receipt.unwrap().position + 1;
    for waited in 0.. {
        if checkpoint(&clients, None).await.tree.size >= after {
            break;
        }
        assert!(waited < 500, "nobody asks, and none is signed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let newest = checkpoint(&clients, None).await;
    assert_eq!(checkpoint(&clients, None).await, newest, "nothing is new");
    let beyond = pb::GetCheckpointRequest { min_size: Some(after + 1), ..Default::default() };
    let refused = clients.proof.clone().get_checkpoint(beyond).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
    drop(clients);
    // The last one is signed when the server ends, and is there when it begins.
    server.restart().await;
    let clients = server.clients().await;
    assert_eq!(checkpoint(&clients, None).await, newest);
    drop(clients);
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_everything_works_but_proofs_and_the_refusal_says_what_to_do() {
    let server = Server::start_without_key().await;
    let clients = server.clients().await;
    clients.record(made("one")).await;
    let refused =
        clients.proof.clone().get_checkpoint(pb::GetCheckpointRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("--key FILE"), "{refused}");
    let which = Some(pb::prove_inclusion_request::Which::Position(0));
    let request = pb::ProveInclusionRequest { which, ..Default::default() };
    let refused = clients.proof.clone().prove_inclusion(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    drop(clients);
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_hash_that_is_spoiled_keeps_no_proof_back_though_nothing_is_recorded() {
    let mut server = Server::start().await;
    let clients = server.clients().await;
    let events: Vec<pb::Event> = (0..600).map(|n| made(&format!("account-{n}"))).collect();
    clients.record_all(&events).await;
    checkpoint(&clients, Some(601)).await;
    drop(clients);
    // What was hashed is on the disk now.
    server.restart().await;
    let clients = server.clients().await;
    let path = server.data().join("ledgers/default/tree/level-0");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[101 * 32] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    for position in [100, 500] {
        let which = pb::prove_inclusion_request::Which::Position(position);
        assert_eq!(proven(&clients, which).await.0, position);
    }
    drop(clients);
    server.check().await;
}
