use std::time::Duration;

use tokenledger::wire::pb;
use tokio_stream::StreamExt;
use tonic::{Code, Streaming};

use crate::harness::{Clients, Server, created, event, issued};

type Tail = Streaming<pb::TailEventsResponse>;

async fn tail(clients: &Clients, from_position: u64, stop_at_end: bool) -> Tail {
    let request = pb::TailEventsRequest { from_position, stop_at_end, ..Default::default() };
    clients.query.clone().tail_events(request).await.unwrap().into_inner()
}

/// The events up to, not including, a position; each must stand where the last one says.
async fn follow(mut tail: Tail, from: u64, to: u64) -> Vec<pb::LedgerEvent> {
    let mut all = Vec::new();
    while from + (all.len() as u64) < to {
        let message = tokio::time::timeout(Duration::from_secs(30), tail.next()).await;
        all.extend(message.expect("the tail goes on").expect("the tail has not ended").unwrap().events);
    }
    for (event, position) in all.iter().zip(from..) {
        assert_eq!(event.position, position, "no gap, nothing twice, in order");
    }
    all
}

async fn write_some(clients: Clients, writer: u32, rounds: u32) {
    let account = format!("bot-{writer}");
    clients.record(event(&account, created(&account))).await;
    for round in 0..rounds {
        let token = |n| event(&account, issued(&format!("t-{writer}-{round}-{n}")));
        match round % 3 {
            0 => drop(clients.record(token(0)).await),
            1 => drop(clients.batch((0..5).map(token).collect(), false).await),
            _ => drop(clients.batch((0..5).map(token).collect(), true).await),
        }
    }
}

async fn entries(clients: &Clients) -> u64 {
    let request = pb::DescribeLedgerRequest::default();
    let described = clients.admin.clone().describe_ledger(request).await.unwrap().into_inner();
    described.ledger.unwrap().entries
}

#[tokio::test(flavor = "multi_thread")]
async fn history_and_what_comes_are_joined_without_a_gap_while_others_append() {
    let server = Server::start().await;
    let clients = server.clients().await;
    write_some(clients.clone(), 9, 30).await;
    // 4 writers of 1 + 60 rounds of 11 events for 3 rounds, and the 111 + genesis of before.
    let end = entries(&clients).await + 4 * (1 + 20 * 11);
    let writers: Vec<_> = (0..4).map(|w| tokio::spawn(write_some(clients.clone(), w, 60))).collect();
    let mut followers = Vec::new();
    for from in [0, 1, 57, 100, 112, 200, 500] {
        let tail = tail(&clients, from, false).await;
        followers.push((from, tokio::spawn(follow(tail, from, end))));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let whole = follow(tail(&clients, 0, true).await, 0, end).await;
    assert_eq!(entries(&clients).await, end);
    for (from, follower) in followers {
        assert_eq!(follower.await.unwrap(), whole[usize::try_from(from).unwrap()..], "from {from}");
    }
    drop(clients);
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_atomic_batch_arrives_whole() {
    let server = Server::start().await;
    let clients = server.clients().await;
    clients.record(event("bot-1", created("bot-1"))).await;
    let mut live = tail(&clients, 2, false).await;
    let other = clients.clone();
    let writer = tokio::spawn(async move {
        for round in 0..40 {
            let batch = (0..10).map(|n| event("bot-1", issued(&format!("t-{round}-{n}")))).collect();
            other.batch(batch, true).await;
        }
    });
    let mut seen = 0;
    while seen < 400 {
        seen += live.next().await.unwrap().unwrap().events.len();
        assert_eq!(seen % 10, 0, "the end of what is visible tears no batch apart");
    }
    writer.await.unwrap();
    drop((live, clients));
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_slows_nobody_and_misses_nothing() {
    let server = Server::start().await;
    let clients = server.clients().await;
    clients.record(event("bot-1", created("bot-1"))).await;
    // On a connection of its own: the flow control of one stream must not be what is tested.
    let slow = tail(&server.clients().await, 0, false).await;
    let long = "x".repeat(4000);
    for _ in 0..30 {
        let noted = |_| pb::Event {
            cause: Some(pb::Cause { reason: long.clone(), ..Default::default() }),
            ..event("bot-1", issued(&uuid::Uuid::new_v4().to_string()))
        };
        let batch = clients.batch((0..100).map(noted).collect(), false);
        let results = tokio::time::timeout(Duration::from_secs(20), batch).await.expect("the writer goes on");
        assert!(results.iter().all(|r| matches!(r.result, Some(pb::append_result::Result::Accepted(_)))));
    }
    let end = entries(&clients).await;
    assert_eq!(end, 3002, "12 MB, more than any buffer on the way holds, while nobody reads");
    let all = follow(slow, 0, end).await;
    assert_eq!(all.len(), 3002);
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_from_beyond_the_end_waits_for_its_position() {
    let server = Server::start().await;
    let clients = server.clients().await;
    clients.record(event("bot-1", created("bot-1"))).await;
    let mut waiting = tail(&clients, 4, false).await;
    for n in 0..2 {
        clients.record(event("bot-1", issued(&format!("t{n}")))).await;
    }
    let early = tokio::time::timeout(Duration::from_millis(300), waiting.next()).await;
    assert!(early.is_err(), "nothing before position 4: {early:?}");
    let receipt = clients.record(event("bot-1", issued("t2"))).await.receipt.unwrap();
    assert_eq!(receipt.position, 4);
    let events = waiting.next().await.unwrap().unwrap().events;
    assert_eq!((events[0].position, events.len()), (4, 1));
    drop(waiting);
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_that_stops_at_the_end_ends_there() {
    let server = Server::start().await;
    let clients = server.clients().await;
    clients.record(event("bot-1", created("bot-1"))).await;
    for (from, expected) in [(0, 2), (1, 1), (2, 0), (9, 0)] {
        let mut tail = tail(&clients, from, true).await;
        let mut count = 0;
        while let Some(message) = tail.next().await {
            count += message.unwrap().events.len();
        }
        assert_eq!(count, expected, "from {from}");
    }
    let missing = pb::TailEventsRequest { ledger: "none".into(), ..Default::default() };
    let refused = clients.query.clone().tail_events(missing).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_streams_end_with_the_server_and_do_not_keep_it() {
    let mut server = Server::start().await;
    let clients = server.clients().await;
    clients.record(event("bot-1", created("bot-1"))).await;
    let mut live = tail(&clients, 0, false).await;
    assert_eq!(live.next().await.unwrap().unwrap().events.len(), 2);
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    let proposal = Some(pb::Proposal { event: Some(event("bot-1", issued("t1"))), expected_version: None });
    sender.send(pb::AppendStreamRequest { proposal, ..Default::default() }).await.unwrap();
    let outgoing = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut appending = clients.append.clone().append_stream(outgoing).await.unwrap().into_inner();
    appending.next().await.unwrap().unwrap();
    assert_eq!(live.next().await.unwrap().unwrap().events.len(), 1);
    let began = std::time::Instant::now();
    server.stop().await;
    assert!(began.elapsed() < Duration::from_secs(5), "a silent stream holds nobody up: {:?}", began.elapsed());
    for ended in [live.next().await.map(|r| r.map(drop)), appending.next().await.map(|r| r.map(drop))] {
        let status = ended.expect("a stream that was cut says so").unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert!(status.message().contains("shutting down"), "{status}");
    }
    drop((sender, clients));
    server.check().await;
}
