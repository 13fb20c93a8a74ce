use tokenledger::wire::pb;
use tokenledger::wire::pb::append_result::Result as pb_result;
use tonic::Code;

use crate::harness::{Clients, Server, created, deleted, event, granted, issued};

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_identical_requests_make_one_event_and_a_hundred_equal_receipts() {
    let server = Server::start().await;
    let clients = server.clients().await;
    let event = event("bot-1", created("bot-1"));
    let calls = (0..100).map(|_| {
        let (clients, event) = (clients.clone(), event.clone());
        tokio::spawn(async move { clients.record(event).await })
    });
    let mut accepted = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        accepted.push(call.await.unwrap());
    }
    let first = accepted[0].receipt.clone();
    assert!(accepted.iter().all(|a| a.receipt == first));
    assert_eq!(accepted.iter().filter(|a| !a.already_present).count(), 1);
    assert_eq!(
        clients.events(pb::EventFilter { account: "bot-1".into(), ..Default::default() }).await.len(),
        1
    );
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_id_with_another_body_is_refused_for_ever() {
    let mut server = Server::start().await;
    let first = event("bot-1", created("bot-1"));
    let receipt = server.clients().await.record(first.clone()).await.receipt;
    let other = pb::Event { fact: Some(created("bot-2")), ..first.clone() };
    for round in 0..3 {
        let clients = server.clients().await;
        let refused = clients.try_record(other.clone()).await.unwrap_err();
        assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
        assert_eq!(clients.record(first.clone()).await.receipt, receipt);
        fill_a_segment(&clients, round).await;
        server.restart().await;
    }
    let segments = std::fs::read_dir(server.data().join("ledgers/default/log")).unwrap();
    let segments = segments.filter(|f| f.as_ref().unwrap().path().extension().is_some_and(|e| e == "seg"));
    assert!(segments.count() > 1, "the first event stands in an older segment");
    server.check().await;
}

/// More than the first segment holds: 300 accounts with 4 KiB of attributes each.
async fn fill_a_segment(clients: &Clients, round: usize) {
    let large = |n: usize| {
        let id = format!("filler-{round}-{n}");
        let attributes = [("note".to_owned(), "x".repeat(4_000))].into();
        let fact = pb::event::Fact::AccountCreated(pb::AccountCreated {
            kind: pb::AccountKind::Bot.into(),
            handle: id.clone(),
            attributes,
            ..Default::default()
        });
        event(&id, fact)
    };
    let results = clients.batch((0..300).map(large).collect(), false).await;
    assert!(results.iter().all(|r| matches!(r.result, Some(pb_result::Accepted(_)))));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_atomic_batch_is_all_or_nothing() {
    let server = Server::start().await;
    let clients = server.clients().await;
    let good = event("bot-1", created("bot-1"));
    clients.record(good.clone()).await;
    let taken = pb::Event { fact: Some(created("other")), ..good };
    let results =
        clients.batch(vec![event("bot-1", issued("t1")), taken, event("bot-1", issued("t2"))], true).await;
    assert!(results.iter().all(|r| matches!(r.result, Some(pb_result::Refused(_)))), "{results:?}");
    let account = clients.account("bot-1", None).await.unwrap();
    assert_eq!((account.tokens.len(), account.version), (0, 1));
    let results =
        clients.batch(vec![event("bot-1", issued("t1")), event("bot-1", granted("g", "dev"))], true).await;
    assert!(results.iter().all(|r| matches!(r.result, Some(pb_result::Accepted(_)))), "{results:?}");
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_account_comes_back_as_it_was() {
    let server = Server::start().await;
    let clients: Clients = server.clients().await;
    for fact in [created("bot-1"), issued("t1"), granted("project-1", "maintainer")] {
        clients.record(event("bot-1", fact)).await;
    }
    let before = clients.account("bot-1", None).await.unwrap();
    clients.record(event("bot-1", deleted())).await;
    assert_eq!(clients.account("bot-1", None).await.unwrap().status, 3);
    let plan = clients.plan(&["bot-1"]).await;
    let receipt = clients.apply(&plan.plan).await;
    assert_eq!(receipt.items[0].outcome, pb::RestoreOutcome::Restored as i32, "{receipt:?}");
    assert_eq!(receipt.items[0].digest_before, receipt.items[0].digest_after);
    let after = clients.account("bot-1", None).await.unwrap();
    assert_eq!((after.digest.clone(), after.status), (before.digest.clone(), before.status));
    assert_eq!(clients.apply(&plan.plan).await, receipt, "applying again says the same");
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_first_append_makes_no_ledger() {
    let server = Server::start().await;
    let clients = server.clients().await;
    let mut wrong = event("bot-1", created("bot-1"));
    wrong.occurred_at.as_mut().unwrap().seconds = 32_503_680_000 / 4;
    assert_eq!(clients.try_record(wrong).await.unwrap_err().code(), Code::InvalidArgument);
    let missing = clients.account("bot-1", None).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound, "{missing}");
    assert!(!server.data().join("ledgers/default").exists(), "nothing is created by a refusal");
    server.check().await;
}
