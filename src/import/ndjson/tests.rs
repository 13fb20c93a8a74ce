use ledger::event::{Event, Kind, Recorded};
use ledger::types::{Link, Position};

use super::{LINE_BYTES_MAX, import};
use crate::import::fake::FakeLedger;
use crate::import::{BATCH_EVENTS_MAX, Summary};
use crate::json::{event_from_json, event_to_json};

fn line(kind: &str, n: u32, rest: &str) -> String {
    format!(
        r#"{{"event_id":"3b241101-e2bb-4255-8caf-{n:012x}","kind":"{kind}","account":"bot-{n}","actor":"alice","actor_kind":"human","occurred_at":"2023-07-10T12:00:00Z","emitter":"iam"{rest}}}"#
    )
}

fn expired(n: u32) -> String {
    line("TokenExpired", n, r#","data":{"token":"t"}"#)
}

async fn run(text: &str, ledger: &mut FakeLedger) -> Summary {
    import("export.ndjson", text.as_bytes(), ledger, &mut |_| {}).await.unwrap()
}

#[tokio::test]
async fn what_was_exported_comes_in_as_it_was_and_only_once() {
    let events: Vec<Event> = (0..3).map(|n| event_from_json(&expired(n)).unwrap()).collect();
    let export: String = events
        .iter()
        .map(|event| Recorded {
            event: event.clone(),
            annotations: Default::default(),
            position: Position(1),
            recorded_at: event.occurred_at,
        })
        .map(|recorded| serde_json::to_string(&event_to_json(&recorded, &Link([1; 32]))).unwrap() + "\n")
        .collect();
    let mut ledger = FakeLedger::default();
    let first = run(&export, &mut ledger).await;
    assert_eq!(ledger.events, events);
    assert_eq!((first.records, first.appended[&Kind::TokenExpired]), (3, 3));
    let second = run(&export, &mut ledger).await;
    assert_eq!((second.records, second.already_present, second.appended.len()), (3, 3, 0));
}

#[tokio::test]
async fn a_line_that_is_no_event_is_named_and_the_rest_goes_on() {
    let surprise = line("AccountDisabled", 2, r#","surprise":1"#);
    let text = format!("\u{FEFF}{}\r\n\n{surprise}\n{{\n{}", expired(1), expired(3));
    let mut ledger = FakeLedger::default();
    let summary = run(&text, &mut ledger).await;
    assert_eq!((summary.records, ledger.events.len()), (4, 2));
    let problems: Vec<String> = summary.problems.listed().iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 2);
    assert!(problems[0].starts_with("export.ndjson, line 3: field `surprise` is not known"), "{problems:?}");
    assert!(problems[1].starts_with("export.ndjson, line 4: "), "{problems:?}");
    assert!(!summary.is_clean());
}

#[tokio::test]
async fn what_only_a_ledger_writes_of_itself_is_left_to_the_new_one() {
    let genesis = line("LedgerCreated", 1, r#","data":{"name":"default"}"#).replace(r#""bot-1""#, "null");
    let mut ledger = FakeLedger::default();
    let summary = run(&genesis, &mut ledger).await;
    assert!(summary.is_clean());
    assert_eq!((summary.unmapped, ledger.events.len()), (1, 0));
}

#[tokio::test]
async fn a_repeated_line_is_a_duplicate_but_not_across_emitters() {
    let other = expired(1).replace(r#""iam""#, r#""idm""#);
    let mut ledger = FakeLedger::default();
    let summary = run(&[expired(1), expired(1), other].join("\n"), &mut ledger).await;
    assert_eq!((summary.duplicates, summary.appended[&Kind::TokenExpired]), (1, 2));
}

#[tokio::test]
async fn a_line_without_end_or_not_in_utf_8_is_named() {
    let mut bytes = vec![b'x'; LINE_BYTES_MAX * 3];
    bytes.extend_from_slice(b"\n\xFF\xFE\n");
    bytes.extend_from_slice(expired(1).as_bytes());
    let mut ledger = FakeLedger::default();
    let summary = import("x", &bytes[..], &mut ledger, &mut |_| {}).await.unwrap();
    assert_eq!((summary.problems.count(), ledger.events.len()), (2, 1));
    assert!(summary.problems.listed()[0].problem.contains("1 MiB"));
    assert!(summary.problems.listed()[1].problem.contains("UTF-8"));
}

#[tokio::test]
async fn batches_stay_within_their_bounds_of_events_and_bytes() {
    let many: Vec<String> = (0..1_100).map(expired).collect();
    let mut ledger = FakeLedger::default();
    run(&many.join("\n"), &mut ledger).await;
    assert_eq!(ledger.batches, [BATCH_EVENTS_MAX, BATCH_EVENTS_MAX, 100]);

    let reason = "so it goes ".repeat(360);
    let large: Vec<String> = (0..400)
        .map(|n| {
            line("TokenExpired", n, &format!(r#","data":{{"token":"t"}},"cause":{{"reason":"{reason}"}}"#))
        })
        .collect();
    let mut ledger = FakeLedger::default();
    let summary = run(&large.join("\n"), &mut ledger).await;
    assert_eq!(summary.appended[&Kind::TokenExpired], 400, "{:?}", summary.problems.listed().first());
    assert!(ledger.batches.len() == 2 && ledger.batches[0] < 300, "{:?}", ledger.batches);
}
