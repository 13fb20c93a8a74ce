use tokenledger::wire::pb;
use tokenledger::wire::pb::append_result::Result as Outcome;
use tokio_stream::StreamExt;
use tonic::Code;
use tonic_types::StatusExt;

use crate::harness::{Server, created, deleted, event, granted, issued};

fn reason(result: &pb::AppendResult) -> &str {
    match result.result.as_ref().unwrap() {
        Outcome::Accepted(accepted) if accepted.already_present => "repeated",
        Outcome::Accepted(_) => "accepted",
        Outcome::Refused(refused) => &refused.reason,
    }
}

fn reasons(results: &[pb::AppendResult]) -> Vec<&str> {
    results.iter().map(reason).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_acknowledges_each_message_in_order_and_survives_refusals() {
    let server = Server::start().await;
    let clients = server.clients().await;
    let first = event("bot-1", created("bot-1"));
    let mut wrong = event("bot-1", issued("t0"));
    wrong.occurred_at = None;
    let taken = pb::Event { fact: Some(created("other")), ..first.clone() };
    let mut events = vec![first.clone(), wrong, taken, first, event("bot-1", granted("g", "dev"))];
    events.extend((0..500).map(|n| event("bot-1", issued(&format!("t{n}")))));
    let mut messages: Vec<_> = events
        .iter()
        .map(|event| {
            let proposal = Some(pb::Proposal { event: Some(event.clone()), expected_version: None });
            pb::AppendStreamRequest { proposal, ..Default::default() }
        })
        .collect();
    messages.insert(5, pb::AppendStreamRequest { ledger: "No Ledger".into(), ..messages[4].clone() });
    messages.insert(6, pb::AppendStreamRequest::default());
    let mut other = messages[0].clone();
    other.ledger = "other".into();
    messages.insert(7, other);
    let stream = tokio_stream::iter(messages);
    let mut answers = clients.append.clone().append_stream(stream).await.unwrap().into_inner();
    let mut results = Vec::new();
    while let Some(answer) = answers.next().await {
        results.push(answer.unwrap().result.unwrap());
    }
    let expected = [
        "accepted", "invalid_event", "event_id_taken", "repeated", "accepted", "invalid_request",
        "invalid_event", "accepted",
    ];
    assert_eq!(reasons(&results[..8]), expected);
    assert_eq!(results.len(), 508);
    for (result, (event, position)) in results[8..].iter().zip(events[5..].iter().zip(3..)) {
        let Some(Outcome::Accepted(accepted)) = &result.result else { panic!("{result:?}") };
        let receipt = accepted.receipt.as_ref().unwrap();
        assert_eq!((&receipt.event_id, receipt.position), (&event.event_id, position));
    }
    drop(answers);
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_answers_for_each_event_in_order() {
    let server = Server::start().await;
    let clients = server.clients().await;
    let first = event("bot-1", created("bot-1"));
    let mut wrong = event("bot-1", issued("t0"));
    wrong.actor = None;
    let taken = pb::Event { fact: Some(created("other")), ..first.clone() };
    let token = event("bot-1", issued("t1"));
    let batch = vec![first.clone(), wrong.clone(), token.clone(), taken, token.clone(), first];
    let results = clients.batch(batch, false).await;
    let expected = ["accepted", "invalid_event", "accepted", "event_id_taken", "repeated", "repeated"];
    assert_eq!(reasons(&results), expected);
    let receipt = |i: usize| match &results[i].result {
        Some(Outcome::Accepted(accepted)) => accepted.receipt.clone().unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!((receipt(4), receipt(5)), (receipt(2), receipt(0)), "a duplicate answers like any other");
    // An atomic batch with a malformed event is refused as a whole, and says which.
    let proposals = [event("bot-1", issued("t9")), wrong].map(|event| pb::Proposal { event: Some(event), expected_version: None });
    let request = pb::AppendBatchRequest { proposals: proposals.into(), atomic: true, ..Default::default() };
    let refused = clients.append.clone().append_batch(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("event number 1") && refused.message().contains("`actor`"), "{refused}");
    assert_eq!(refused.get_details_error_info().unwrap().reason, "invalid_event");
    assert_eq!(clients.export().await.len(), 3, "genesis and two events");
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_has_one_to_a_thousand_events() {
    let server = Server::start().await;
    let clients = server.clients().await;
    let batch = |count: usize| {
        let proposals = (0..count)
            .map(|n| pb::Proposal { event: Some(event("bot-1", issued(&format!("t{n}")))), expected_version: None });
        let request = pb::AppendBatchRequest { proposals: proposals.collect(), atomic: true, ..Default::default() };
        let mut append = clients.append.clone();
        async move { append.append_batch(request).await }
    };
    for count in [0, 1001] {
        let refused = batch(count).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{count}");
        assert_eq!(refused.get_details_error_info().unwrap().reason, "batch_size");
    }
    let results = batch(1000).await.unwrap().into_inner().results;
    assert!(results.iter().all(|r| reason(r) == "accepted"));
    assert_eq!(clients.export().await.len(), 1001);
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_has_moved_is_refused() {
    let server = Server::start().await;
    let clients = server.clients().await;
    let append = |event: pb::Event, version| {
        let proposal = Some(pb::Proposal { event: Some(event), expected_version: Some(version) });
        let mut append = clients.append.clone();
        let request = pb::AppendRequest { proposal, ..Default::default() };
        async move { append.append(request).await }
    };
    append(event("bot-1", created("bot-1")), 1).await.unwrap_err();
    let first = event("bot-1", created("bot-1"));
    append(first.clone(), 0).await.unwrap();
    let refused = append(event("bot-1", issued("t1")), 0).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("version 1, not 0"), "{refused}");
    append(event("bot-1", issued("t1")), clients.account("bot-1", None).await.unwrap().version).await.unwrap();
    append(first, 0).await.expect("what was recorded is answered alike, whatever has happened since");
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_in_an_entry_is_refused() {
    let server = Server::start().await;
    let clients = server.clients().await;
    let sized = |values: usize| {
        let mut sized = event("bot-1", created("bot-1"));
        if let Some(pb::event::Fact::AccountCreated(created)) = &mut sized.fact {
            created.attributes = (0..values).map(|n| (format!("k{n}"), "v".repeat(4096))).collect();
        }
        sized
    };
    let refused = clients.try_record(sized(16)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(refused.get_details_error_info().unwrap().reason, "event_too_large");
    clients.record(sized(15)).await;
    let mut long = event("bot-1", issued("t"));
    long.account = "a".repeat(513);
    let refused = clients.try_record(long).await.unwrap_err();
    assert!(refused.message().contains("`account`") && refused.message().contains("512"), "{refused}");
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_has_a_plain_name() {
    let server = Server::start().await;
    let clients = server.clients().await;
    let append = |ledger: &str| {
        let proposal = Some(pb::Proposal { event: Some(event("bot-1", created("bot-1"))), expected_version: None });
        let request = pb::AppendRequest { ledger: ledger.into(), proposal, ..Default::default() };
        let mut append = clients.append.clone();
        async move { append.append(request).await }
    };
    let long = "a".repeat(64);
    for name in ["A", "1a", "-a", "a b", "a/b", "..", ".", "a.b", "ä", "a\0", long.as_str()] {
        let refused = append(name).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{name}");
        let query = pb::GetAccountRequest { ledger: name.into(), account: "x".into(), ..Default::default() };
        let refused = clients.query.clone().get_account(query).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{name}");
    }
    for name in ["", "a", "tenant-7", &long[1..]] {
        append(name).await.unwrap();
    }
    let listed = clients.admin.clone().list_ledgers(pb::ListLedgersRequest::default()).await.unwrap().into_inner();
    let names: Vec<String> = listed.ledgers.into_iter().map(|l| l.ledger).collect();
    assert_eq!(names, ["a", &long[1..], "default", "tenant-7"]);
    server.check().await;
}

/// A status travels in HTTP headers, of which a client takes 16 KiB.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_with_much_to_say_still_arrives() {
    let server = Server::start().await;
    let clients = server.clients().await;
    let mode = pb::PolicyChanged { namespace: String::new(), mode: pb::PolicyMode::Enforce.into() };
    clients.record(event("", pb::event::Fact::PolicyChanged(mode))).await;
    for (account, letter) in [("bot-1", "x"), ("bot-2", "é")] {
        clients.record(event(account, created(account))).await;
        let tokens: Vec<_> =
            (0..150).map(|n| event(account, issued(&format!("{n:03}-{}", letter.repeat(200))))).collect();
        clients.record_all(&tokens).await;
        let refused = clients.try_record(event(account, deleted())).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
        assert!(refused.message().contains("150 active token(s)"), "{refused}");
        let info = refused.get_details_error_info().unwrap();
        assert!(info.metadata["evidence"].starts_with("token/000-"), "{info:?}");
    }
    let mut wrong = event("bot-1", created("bot-1"));
    if let Some(pb::event::Fact::AccountCreated(created)) = &mut wrong.fact {
        created.attributes = (0..900).map(|n| (format!("k{n}"), "\u{7}".into())).collect();
    }
    let refused = clients.try_record(wrong).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert!(!refused.get_details_bad_request().unwrap().field_violations.is_empty());
    server.check().await;
}
