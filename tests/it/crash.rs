use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokenledger::wire::pb;
use tokenledger::wire::pb::append_result::Result as pb_result;
use tokio::task::JoinHandle;
use tonic::Code;

use crate::binary_harness::{Served, data_of, say};
use crate::harness::{Clients, check_ledger, created, event, issued};

/// How often the server is killed; `TOKENLEDGER_KILLS` says otherwise.
const KILLS: u64 = 20;
const CLIENTS: u64 = 6;

/// What was sent, in the words of the clients that sent it.
#[derive(Default)]
struct Sent {
    /// By event id: the event, and its receipt where one came.
    events: HashMap<String, (pb::Event, Option<pb::Receipt>)>,
    /// The ids of each atomic batch.
    atomic: Vec<Vec<String>>,
}

type Shared = Arc<Mutex<Sent>>;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_under_load_keeps_what_it_acknowledged_once_and_no_part_of_a_batch() {
    let kills =
        std::env::var("TOKENLEDGER_KILLS").map_or(KILLS, |n| n.parse().expect("TOKENLEDGER_KILLS: a number"));
    let sent = Shared::default();
    let accounts = Arc::new(AtomicU64::new(0));
    let mut server = Served::start();
    // The ledger is there from the first kill on.
    server.clients().await.record(event("first", created("first"))).await;
    let mut before = 0;
    for kill in 0..kills {
        let loads = load(&server, &sent, &accounts).await;
        tokio::time::sleep(Duration::from_millis(80 + kill % 7 * 20)).await;
        let dir = server.kill();
        for load in loads {
            load.await.unwrap();
        }
        if kill % 5 == 0 {
            let verified = say(&["verify", data_of(&dir).to_str().unwrap(), "-o", "json"]);
            assert_eq!(verified.code, Some(0), "after kill {kill}: {verified:?}");
        }
        server = Served::on(dir);
        let clients = server.clients().await;
        before = stands(&clients, &sent, before).await;
        send_again(&clients, &sent).await;
    }
    let clients = server.clients().await;
    stands(&clients, &sent, 0).await;
    let (all, parts) = {
        let sent = sent.lock().unwrap();
        (sent.events.len(), sent.atomic.len())
    };
    assert!(all as u64 > kills * 20 && parts as u64 > kills, "there was some load: {all} events");
    println!("{kills} kills: {all} events, {parts} atomic batches");
    let dir = server.stop();
    check_ledger(&data_of(&dir), None).await;
}

/// Clients append until the server is gone.
async fn load(server: &Served, sent: &Shared, accounts: &Arc<AtomicU64>) -> Vec<JoinHandle<()>> {
    let mut loads = Vec::new();
    for client in 0..CLIENTS {
        let (clients, sent, accounts) = (server.clients().await, Arc::clone(sent), Arc::clone(accounts));
        loads.push(tokio::spawn(async move {
            for round in client.. {
                let account = format!("bot-{}", accounts.fetch_add(1, Ordering::Relaxed));
                if !append(&clients, &sent, &account, round).await {
                    return;
                }
            }
        }));
    }
    loads
}

/// One call: single, a batch, or an atomic batch. Whether the server answered.
async fn append(clients: &Clients, sent: &Shared, account: &str, round: u64) -> bool {
    let mut events = vec![event(account, created(account))];
    let atomic = round % 3 == 2;
    if !round.is_multiple_of(3) {
        events.extend((0..1 + round % 9).map(|n| event(account, issued(&format!("t{n}")))));
    }
    let ids: Vec<String> = events.iter().map(|event| event.event_id.clone()).collect();
    {
        let mut sent = sent.lock().unwrap();
        sent.events.extend(events.iter().map(|event| (event.event_id.clone(), (event.clone(), None))));
        if atomic {
            sent.atomic.push(ids);
        }
    }
    match try_append(clients, events, atomic).await {
        Ok(accepted) => {
            let mut sent = sent.lock().unwrap();
            for accepted in accepted {
                assert!(!accepted.already_present, "{accepted:?}: a new id");
                acknowledge(&mut sent, accepted);
            }
            true
        }
        Err(status) => {
            let gone = [Code::Unavailable, Code::Unknown, Code::Cancelled, Code::Internal];
            assert!(gone.contains(&status.code()), "{status:?}");
            false
        }
    }
}

async fn try_append(
    clients: &Clients,
    mut events: Vec<pb::Event>,
    atomic: bool,
) -> Result<Vec<pb::Accepted>, tonic::Status> {
    if events.len() == 1
        && let Some(event) = events.pop()
    {
        return Ok(vec![clients.try_record(event).await?]);
    }
    let proposals =
        events.into_iter().map(|event| pb::Proposal { event: Some(event), expected_version: None });
    let request = pb::AppendBatchRequest { proposals: proposals.collect(), atomic, ..Default::default() };
    let results = clients.append.clone().append_batch(request).await?.into_inner().results;
    let accepted = |result: pb::AppendResult| match result.result {
        Some(pb_result::Accepted(accepted)) => accepted,
        other => panic!("a good event was refused: {other:?}"),
    };
    Ok(results.into_iter().map(accepted).collect())
}

fn acknowledge(sent: &mut Sent, accepted: pb::Accepted) {
    let receipt = accepted.receipt.unwrap();
    let known = &mut sent.events.get_mut(&receipt.event_id).unwrap().1;
    if let Some(first) = known {
        assert_eq!(*first, receipt, "the first receipt, for ever");
    }
    *known = Some(receipt);
}

/// Reads the log from a position on, and compares it with what the clients know. Says where the log ends.
async fn stands(clients: &Clients, sent: &Shared, from: u64) -> u64 {
    let mut found = BTreeMap::new();
    let mut next = from;
    let request = pb::TailEventsRequest { from_position: from, stop_at_end: true, ..Default::default() };
    let mut events = clients.query.clone().tail_events(request).await.unwrap().into_inner();
    while let Some(page) = events.message().await.unwrap() {
        for event in page.events {
            assert_eq!(event.position, next, "no gap");
            next += 1;
            let id = event.event.as_ref().unwrap().event_id.clone();
            assert!(found.insert(id, (event.position, event.link)).is_none(), "no event is there twice");
        }
    }
    let sent = sent.lock().unwrap();
    for (id, (_, receipt)) in &sent.events {
        match (receipt, found.get(id)) {
            (Some(receipt), Some((position, link))) => {
                assert_eq!((receipt.position, &receipt.link), (*position, link));
            }
            (Some(receipt), None) => assert!(receipt.position < from, "lost: {receipt:?}"),
            (None, _) => {}
        }
    }
    for batch in &sent.atomic {
        let there: Vec<u64> = batch.iter().filter_map(|id| Some(found.get(id)?.0)).collect();
        assert!(there.is_empty() || there.len() == batch.len(), "a part of an atomic batch: {there:?}");
        assert!(
            there.windows(2).all(|pair| pair[0] + 1 == pair[1]),
            "an atomic batch stands together: {there:?}"
        );
    }
    next
}

/// Whoever has no answer sends again, all or nothing where it was so; and some that have one, too.
async fn send_again(clients: &Clients, sent: &Shared) {
    let (batches, singles) = {
        let sent = sent.lock().unwrap();
        let unanswered = |id: &String| sent.events[id].1.is_none();
        let of_batch =
            |batch: &Vec<String>| batch.iter().map(|id| sent.events[id].0.clone()).collect::<Vec<_>>();
        let batches: Vec<Vec<pb::Event>> =
            sent.atomic.iter().filter(|batch| batch.iter().any(unanswered)).map(of_batch).collect();
        let in_batch: HashSet<&String> = sent.atomic.iter().flatten().collect();
        let mut singles: Vec<pb::Event> = sent
            .events
            .iter()
            .filter(|(id, (_, receipt))| !in_batch.contains(id) && receipt.is_none())
            .map(|(_, (event, _))| event.clone())
            .collect();
        // An account is created before its tokens are issued.
        singles.sort_by_key(|event| !matches!(event.fact, Some(pb::event::Fact::AccountCreated(_))));
        let answered =
            sent.events.values().filter(|(_, receipt)| receipt.is_some()).map(|(event, _)| event.clone());
        singles.extend(answered.take(300));
        (batches, singles)
    };
    for batch in batches {
        let accepted = try_append(clients, batch, true).await.unwrap();
        let mut sent = sent.lock().unwrap();
        accepted.into_iter().for_each(|accepted| acknowledge(&mut sent, accepted));
    }
    for batch in singles.chunks(1_000) {
        let accepted = try_append(clients, batch.to_vec(), false).await.unwrap();
        let mut sent = sent.lock().unwrap();
        accepted.into_iter().for_each(|accepted| acknowledge(&mut sent, accepted));
    }
}
