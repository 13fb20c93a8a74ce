use std::path::{Path, PathBuf};
use std::time::Duration;

use tokenledger::wire::pb;
use tokenledger::wire::pb::append_result::Result as Outcome;
use tonic::{Code, Status};

use crate::harness::{Clients, Dice, Server, created, event, fold, story};
use crate::queries::passes;

fn filters() -> Vec<pb::EventFilter> {
    let mut filters = vec![pb::EventFilter::default()];
    for n in 0..6 {
        filters.push(pb::EventFilter { account: format!("id-{n}"), ..Default::default() });
        filters.push(pb::EventFilter { token: format!("t{n}"), ..Default::default() });
        filters.push(pb::EventFilter { actor: format!("actor-{n}"), ..Default::default() });
        filters.push(pb::EventFilter { run: format!("run-{n}"), ..Default::default() });
    }
    filters.extend(
        ["TokenIssued", "AccountDeleted"]
            .map(|kind| pb::EventFilter { kind: kind.into(), ..Default::default() }),
    );
    filters
}

async fn list(clients: &Clients, filter: &pb::EventFilter) -> Result<Vec<pb::LedgerEvent>, Status> {
    let request =
        pb::ListEventsRequest { filter: Some(filter.clone()), page_size: 1000, ..Default::default() };
    Ok(clients.query.clone().list_events(request).await?.into_inner().events)
}

/// Every answer is the right one, or, for a while, that there is none.
async fn check_answers(clients: &Clients) {
    let all = clients.export().await;
    assert_eq!(clients.root(None).await.root, fold(&all).root().0, "the state root");
    for filter in filters() {
        let expected: Vec<_> = all.iter().filter(|event| passes(&filter, event)).cloned().collect();
        let mut tries = 0;
        let listed = loop {
            match list(clients, &filter).await {
                Ok(listed) => break listed,
                Err(status) => {
                    assert_eq!(status.code(), Code::Unavailable, "{status}");
                    tries += 1;
                    assert!(tries < 10, "it comes back: {status}");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        };
        assert_eq!(listed, expected, "{filter:?}");
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Flips bits of bytes that are not zero, where there are any, in the files of a directory, in place.
fn flip(dir: &Path, dice: &mut Dice, count: u64) {
    use std::os::unix::fs::FileExt;
    let files: Vec<PathBuf> =
        files(dir).into_iter().filter(|file| std::fs::metadata(file).is_ok_and(|m| m.len() > 0)).collect();
    for _ in 0..if files.is_empty() { 0 } else { count } {
        let path = dice.pick(&files);
        let bytes = std::fs::read(path).unwrap();
        let used: Vec<usize> = (0..bytes.len()).filter(|i| bytes[*i] != 0).collect();
        let Some(at) = (!used.is_empty()).then(|| *dice.pick(&used)) else { continue };
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&[bytes[at] ^ (1 << dice.below(8))], at as u64).unwrap();
    }
}

async fn with_story(seed: u64) -> (Server, Vec<pb::Event>) {
    let server = Server::start().await;
    let events = story(seed, 300);
    server.clients().await.record_all(&events).await;
    (server, events)
}

/// Sent again, an event gets its first receipt; where ids are in doubt it may be asked to come again, never more.
async fn check_ids(clients: &Clients, events: &[pb::Event]) {
    let count = clients.export().await.len();
    for (event, position) in events.iter().zip(1..).step_by(7) {
        let mut tries = 0;
        let accepted = loop {
            match clients.try_record(event.clone()).await {
                Ok(accepted) => break accepted,
                Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status}"),
            }
            tries += 1;
            assert!(tries < 10, "it comes back");
        };
        assert!(accepted.already_present, "{event:?}");
        assert_eq!(accepted.receipt.unwrap().position, position);
    }
    assert_eq!(clients.export().await.len(), count, "nothing is there twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn projections_that_are_deleted_while_the_server_stands_still_are_built_anew() {
    let (mut server, events) = with_story(41).await;
    for _ in 0..2 {
        server.stop().await;
        std::fs::remove_dir_all(server.data().join("projections")).unwrap();
        server.resume().await;
        let clients = server.clients().await;
        check_answers(&clients).await;
        check_ids(&clients, &events).await;
    }
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn projections_that_are_deleted_under_a_running_server_change_no_answer() {
    let (mut server, _) = with_story(42).await;
    let clients = server.clients().await;
    std::fs::remove_dir_all(server.data().join("projections")).unwrap();
    check_answers(&clients).await;
    clients.record_all(&story(43, 300)).await;
    check_answers(&clients).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    clients.record(event("bot-9", created("bot-9"))).await;
    check_answers(&clients).await;
    drop(clients);
    server.restart().await;
    check_answers(&server.clients().await).await;
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flipped_bits_in_stored_projections_never_give_a_wrong_answer() {
    let (mut server, _) = with_story(44).await;
    let mut dice = Dice::new(45);
    for round in 0..8 {
        server.stop().await;
        flip(&server.data().join("projections"), &mut dice, 1 + round * 2);
        server.resume().await;
        let clients = server.clients().await;
        check_answers(&clients).await;
        clients.record(event(&format!("bot-{round}"), created(&format!("bot-{round}")))).await;
    }
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flipped_bits_under_a_running_server_never_give_a_wrong_answer() {
    let (mut server, _) = with_story(46).await;
    let mut dice = Dice::new(47);
    let clients = server.clients().await;
    for round in 0..6 {
        // What waits in memory has been written by then.
        tokio::time::sleep(Duration::from_millis(700)).await;
        flip(&server.data().join("projections"), &mut dice, 4);
        check_answers(&clients).await;
        clients.record(event(&format!("bot-{round}"), created(&format!("bot-{round}")))).await;
    }
    drop(clients);
    server.restart().await;
    check_answers(&server.clients().await).await;
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_and_ids_can_be_lost_or_damaged_and_every_event_is_known_again() {
    let (mut server, mut events) = with_story(48).await;
    let mut dice = Dice::new(49);
    let ledger = server.data().join("ledgers/default");
    for round in 0..6 {
        server.stop().await;
        assert!(!files(&ledger.join("snapshots")).is_empty(), "a stop leaves a snapshot");
        match round % 3 {
            0 => {
                let _ = std::fs::remove_dir_all(ledger.join("snapshots"));
                let _ = std::fs::remove_dir_all(ledger.join("ids"));
            }
            _ => {
                flip(&ledger.join("snapshots"), &mut dice, 3);
                flip(&ledger.join("ids"), &mut dice, 3);
            }
        }
        server.resume().await;
        let clients = server.clients().await;
        check_answers(&clients).await;
        check_ids(&clients, &events).await;
        let more = event(&format!("bot-{round}"), created(&format!("bot-{round}")));
        clients.record(more.clone()).await;
        events.push(more);
    }
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_are_deleted_under_a_running_server_are_still_known() {
    let (server, events) = with_story(50).await;
    let clients = server.clients().await;
    let _ = std::fs::remove_dir_all(server.data().join("ledgers/default/ids"));
    let _ = std::fs::remove_dir_all(server.data().join("ledgers/default/snapshots"));
    check_ids(&clients, &events).await;
    let results = clients.batch(events[..50].to_vec(), true).await;
    for result in &results {
        let Some(Outcome::Accepted(accepted)) = &result.result else { panic!("{result:?}") };
        assert!(accepted.already_present);
    }
    drop(clients);
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_tells_how_far_it_is_while_queries_go_on() {
    let (server, _) = with_story(51).await;
    let clients = server.clients().await;
    for _ in 0..3 {
        let asking = {
            let clients = clients.clone();
            tokio::spawn(async move {
                for _ in 0..20 {
                    let filter = pb::EventFilter { kind: "TokenIssued".into(), ..Default::default() };
                    let found = list(&clients, &filter).await.expect("queries go on").len();
                    assert!(found > 50, "{found}");
                }
            })
        };
        let request = pb::RebuildProjectionRequest::default();
        let mut progress = clients.admin.clone().rebuild_projection(request).await.unwrap().into_inner();
        clients.record(event("bot-9", created("bot-9"))).await;
        let mut last = pb::RebuildProjectionResponse::default();
        while let Some(next) = progress.message().await.unwrap() {
            assert!(next.done >= last.done && next.done <= next.total, "{last:?} {next:?}");
            assert!(!last.finished, "nothing comes after the end");
            last = next;
        }
        assert!(last.finished && last.done >= 301, "{last:?}");
        asking.await.unwrap();
        check_answers(&clients).await;
    }
    drop(clients);
    server.check().await;
}
