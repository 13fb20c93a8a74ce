//! The writer on a disk that fails: what callers are told, what is there afterwards, and that nothing is there twice.

use std::path::Path;
use std::sync::Arc;

use ledger::disk::Disk;
use ledger::disk::testing::{Failure, FaultyDisk, MemoryDisk};
use ledger::entry;
use ledger::entry::Record;
use ledger::event::{self, Recorded};
use ledger::ids::{IdIndex, IdOptions};
use ledger::log::{AppendError, LogStore, ReadError, SegmentLog, SegmentOptions, Tail};
use ledger::sequencer::{Proposal, Receipt, Request};
use ledger::snapshot;
use ledger::types::{LedgerName, LedgerUid, Position, Time};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::handle::EVENTS_MAX;
use super::{Answers, LearnIds, Parts, QUICK_WRITE, WriteError, WriteTime, Writer, start};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::wire::pb;

const DIR: &str = "/data/ledgers/default";

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Time {
        "2024-09-11T12:00:00Z".parse().unwrap()
    }
}

fn learn(log: Arc<SegmentLog>) -> LearnIds {
    Arc::new(move |ids: &mut IdIndex| {
        let mut missing = Vec::new();
        log.for_each_id(ids.covered(), &mut |key, position| missing.push((position, key)))
            .map_err(|e| e.to_string())?;
        missing.sort_unstable_by_key(|(position, _)| *position);
        missing.into_iter().for_each(|(position, key)| ids.insert(key, position));
        Ok(())
    })
}

/// A writer with its log, on a disk.
struct Open {
    writer: Writer,
    task: JoinHandle<()>,
    log: Arc<SegmentLog>,
}

fn open(disk: Arc<dyn Disk>) -> Open {
    open_through(disk, |log| log)
}

/// The writer has its log through something that stands before it.
fn open_through(disk: Arc<dyn Disk>, through: impl FnOnce(Arc<SegmentLog>) -> Arc<dyn LogStore>) -> Open {
    let options = SegmentOptions {
        first_segment_bytes: 4096,
        segment_bytes_max: 16_384,
        protected_through: Position(0),
    };
    let (log, _) = SegmentLog::open(Arc::clone(&disk), Path::new(DIR), options).unwrap();
    assert_eq!(log.damage(), []);
    let log = Arc::new(log);
    let snapshots = Path::new(DIR).join("snapshots");
    let snapshot::Recovered { state, tail, unreadable } =
        snapshot::recover(disk.as_ref(), &snapshots, log.as_ref());
    assert!(unreadable.is_none());
    let uid = if tail.next == Position(0) { LedgerUid([3; 16]) } else { tail.uid };
    let ids = Path::new(DIR).join("ids");
    let mut ids = IdIndex::open(Arc::clone(&disk), &ids, IdOptions::new(uid)).unwrap();
    let learn_ids = learn(Arc::clone(&log));
    learn_ids(&mut ids).unwrap();
    let ahead = Arc::clone(&log);
    let prepare = move || {
        if ahead.wants_next() {
            let _ = ahead.prepare_next();
        }
    };
    let parts = Parts {
        name: LedgerName::default(),
        log: through(log.clone()),
        prepare: Arc::new(prepare),
        ids,
        learn_ids,
        disk,
        snapshots,
        state,
        tail,
        uid,
        clock: Arc::new(Noon),
        tree: None,
        metrics: Metrics::default().of(&LedgerName::default()),
        stopped: None,
    };
    let (writer, task) = start(parts).unwrap();
    Open { writer, task, log }
}

impl Open {
    async fn close(self) {
        drop(self.writer);
        self.task.await.unwrap();
    }

    async fn append(&self, numbers: impl IntoIterator<Item = u128>) -> Result<Vec<Receipt>, WriteError> {
        let answers: Answers = self.writer.append(request(numbers)).await?;
        Ok(answers.into_iter().map(|answer| answer.unwrap().receipt).collect())
    }

    fn events(&self) -> Vec<Recorded> {
        let mut all: Vec<Recorded> = Vec::new();
        loop {
            let more = self.log.read(Position(all.len() as u64), 1 << 20).unwrap();
            if more.is_empty() {
                return all;
            }
            all.extend(more.iter().map(|record| {
                let (header, bytes) = entry::decode(&record.entry).unwrap();
                event::stored(&header, bytes)
            }));
        }
    }
}

/// Event number `n`, about an account of its own.
fn request(numbers: impl IntoIterator<Item = u128>) -> Request {
    let event = |n: u128| pb::Event {
        event_id: Uuid::from_u128(n).to_string(),
        emitter: "tests".into(),
        occurred_at: Some(prost_types::Timestamp { seconds: 1_726_000_000, nanos: 0 }),
        actor: Some(pb::Actor { kind: 1, id: "ann".into() }),
        account: format!("bot-{n}"),
        fact: Some(pb::event::Fact::AccountCreated(pb::AccountCreated {
            kind: 1,
            handle: format!("bot-{n}"),
            ..Default::default()
        })),
        ..Default::default()
    };
    let proposal = |n| Proposal::new(event::parse(&event(n)).unwrap(), None);
    Request {
        proposals: numbers.into_iter().map(proposal).collect(),
        atomic: false,
        validate_only: false,
        strict: false,
    }
}

/// Every acknowledged event stands where its receipt says, and no id stands twice.
fn check(events: &[Recorded], receipts: &[Receipt]) {
    for receipt in receipts {
        let found = &events[usize::try_from(receipt.position.0).unwrap()];
        assert_eq!(found.event.event_id, receipt.event_id, "an acknowledged event is lost");
    }
    let mut ids: Vec<Uuid> = events.iter().map(|recorded| recorded.event.event_id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), events.len(), "an event is there twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failed_write_the_outcome_is_unknown_and_the_ledger_stops_while_reads_go_on() {
    for call in 0..2 {
        for failure in Failure::ALL {
            let memory = MemoryDisk::new();
            let disk = FaultyDisk::new(Arc::new(memory.clone()));
            let open_ = open(Arc::new(disk.clone()));
            let receipts = open_.append(0..3).await.unwrap();
            disk.fail_at(disk.calls().len() + call, failure);
            let failed = tokio::join!(open_.append([10]), open_.append([11, 12]), open_.append([13]));
            for outcome in [failed.0, failed.1, failed.2] {
                // One that came after the failure is told that nothing was recorded.
                assert!(
                    matches!(outcome, Err(WriteError::Unknown(_) | WriteError::Stopped(_))),
                    "call {call}, {failure:?}: {outcome:?}"
                );
            }
            assert!(matches!(open_.append([20]).await, Err(WriteError::Stopped(_))));
            assert!(open_.writer.stopped().is_some());
            check(&open_.events(), &receipts);
            // What is asked about the state goes by what is durable, and does not wait for what will never be.
            let next = tokio::time::timeout(
                std::time::Duration::from_secs(5),
                open_.writer.inspect(|state| (state.next(), state.accounts())),
            );
            assert_eq!(next.await.expect("an answer"), Ok((Position(4), 3)), "call {call}, {failure:?}");
            let found = open_.writer.find("tests".parse().unwrap(), Uuid::from_u128(2)).await;
            assert_eq!(found, Ok(Some(Position(3))));
            open_.close().await;
            // A restart repairs; the same events sent again are there once.
            let again = open(Arc::new(memory));
            let all = again.append([0, 1, 2, 10, 11, 12, 13, 20]).await.unwrap();
            assert_eq!(all[..3], receipts, "the first receipts");
            check(&again.events(), &all);
            assert_eq!(again.events().len(), 9);
            again.close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_of_several_that_fail_is_unknown_not_refused() {
    let disk = FaultyDisk::new(Arc::new(MemoryDisk::new()));
    let open_ = open(Arc::new(disk.clone()));
    open_.append([0]).await.unwrap();
    disk.fail_at(disk.calls().len(), Failure::Done);
    assert!(matches!(open_.append([1]).await, Err(WriteError::Unknown(_))));
    open_.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_and_heals_by_itself() {
    let memory = MemoryDisk::new();
    let disk = FaultyDisk::new(Arc::new(memory.clone()));
    let open_ = open(Arc::new(disk.clone()));
    let mut receipts = open_.append([0]).await.unwrap();
    let mut next = 1;
    for round in 0..4 {
        disk.set_full(true);
        let mut refused = 0;
        while refused < 3 {
            match open_.append([next, next + 1]).await {
                Ok(more) => receipts.extend(more),
                Err(WriteError::Full(_)) => refused += 1,
                Err(other) => panic!("round {round}: {other}"),
            }
            next += 2;
            assert!(next < 2_000, "a full disk is noticed");
        }
        assert_eq!(open_.writer.stopped(), None, "the ledger did not stop");
        let state = open_.writer.inspect(|state| (state.next(), state.accounts())).await.unwrap();
        assert_eq!(
            state,
            (open_.log.tail().next, receipts.len()),
            "nothing that was refused is in the state"
        );
        disk.set_full(false);
        // Those that were refused are recorded when they are sent again, each once.
        receipts.extend(open_.append([next - 2, next - 1, next]).await.unwrap());
        next += 1;
    }
    check(&open_.events(), &receipts);
    assert_eq!(open_.events().len(), receipts.len() + 1, "the genesis and what was acknowledged");
    let repeated = open_.append([0, 1, 2]).await.unwrap();
    assert_eq!(repeated, receipts[..3]);
    open_.close().await;
    let again = open(Arc::new(memory));
    check(&again.events(), &receipts);
    again.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_decided_ahead_of_a_full_disk_is_forgotten_with_it() {
    let disk = FaultyDisk::new(Arc::new(MemoryDisk::new()));
    let open_ = Arc::new(open(Arc::new(disk.clone())));
    open_.append([0]).await.unwrap();
    disk.set_full(true);
    let calls = (0..40).map(|n| {
        let open_ = Arc::clone(&open_);
        tokio::spawn(async move { open_.append((0..20).map(|i| 1_000 + n * 20 + i)).await })
    });
    let mut receipts = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        match call.await.unwrap() {
            Ok(more) => receipts.extend(more),
            Err(error) => assert!(matches!(error, WriteError::Full(_)), "{error}"),
        }
    }
    assert!(receipts.len() < 800, "the disk was full");
    check(&open_.events(), &receipts);
    assert_eq!(open_.events().len(), receipts.len() + 2);
    disk.set_full(false);
    let all = open_.append(1_000..1_800).await.unwrap();
    assert_eq!(open_.events().len(), 802);
    check(&open_.events(), &all);
}

#[tokio::test]
async fn more_events_than_may_wait_are_told_to_come_back_and_nothing_of_them_is_recorded() {
    const EACH: u128 = 1_000;
    let ledger = open(Arc::new(MemoryDisk::new()));
    // The writer's task gets no turn as long as this one does not let it.
    let fit = u128::from(EVENTS_MAX) / EACH;
    let mut waiting: Vec<_> = (0..fit).map(|n| Box::pin(ledger.append(n * EACH..(n + 1) * EACH))).collect();
    for append in &mut waiting {
        assert!(futures::poll!(append.as_mut()).is_pending());
    }
    let refused = ledger.append(fit * EACH..(fit + 1) * EACH).await;
    assert_eq!(refused, Err(WriteError::Busy));
    let patient = ledger.writer.begin(request([fit * EACH]));
    assert!(futures::poll!(Box::pin(patient)).is_ready(), "a few more have room");
    let mut too_many = Box::pin(ledger.writer.begin(request(fit * EACH..(fit + 1) * EACH)));
    assert!(futures::poll!(&mut too_many).is_pending(), "a stream waits until there is room");
    for append in waiting {
        assert_eq!(append.await.unwrap().len() as u128, EACH);
    }
    let answers = too_many.as_mut().await.finish().await.unwrap();
    drop(too_many);
    assert!(answers[0].as_ref().unwrap().already_present, "the one that had room");
    assert_eq!(ledger.events().len() as u128, 1 + (fit + 1) * EACH);
    ledger.close().await;
}

#[test]
fn one_slow_write_is_enough_to_do_the_next_ones_elsewhere_and_many_quick_ones_bring_them_back() {
    let mut time = WriteTime::default();
    assert!(!time.is_quick(), "nothing is known before the first write");
    time.learn(QUICK_WRITE / 3);
    assert!(time.is_quick());
    time.learn(QUICK_WRITE * 14);
    assert!(!time.is_quick());
    let again = (1..100).find(|_| {
        time.learn(QUICK_WRITE / 3);
        time.is_quick()
    });
    assert!(again.is_some_and(|writes| writes > 5), "{again:?}");
    (0..20).for_each(|_| time.learn(QUICK_WRITE / 3));
    time.learn(QUICK_WRITE * 2);
    assert!(time.is_quick(), "one write was held up");
}

/// A log whose disk takes its time: a write begins when it is let through.
struct Slow {
    log: Arc<SegmentLog>,
    through: std::sync::Mutex<std::sync::mpsc::Receiver<()>>,
    begun: tokio::sync::mpsc::UnboundedSender<()>,
}

impl LogStore for Slow {
    fn tail(&self) -> Tail {
        self.log.tail()
    }

    fn append(&self, expected: Position, group: &[Record]) -> Result<Tail, AppendError> {
        self.begun.send(()).unwrap();
        self.through.lock().unwrap().recv().unwrap();
        self.log.append(expected, group)
    }

    fn read(&self, from: Position, bytes_max: usize) -> Result<Vec<Record>, ReadError> {
        self.log.read(from, bytes_max)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_found_once_it_is_durable_and_from_then_on() {
    let (let_through, through) = std::sync::mpsc::channel();
    let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let slow = |log| Arc::new(Slow { log, through: through.into(), begun }) as Arc<dyn LogStore>;
    let open = open_through(Arc::new(MemoryDisk::new()), slow);
    for number in 1..50 {
        let (writer, asked) = (open.writer.clone(), request([number]));
        let append = tokio::spawn(async move { writer.append(asked).await });
        begins.recv().await.unwrap();
        let find = || open.writer.find("tests".parse().unwrap(), Uuid::from_u128(number));
        // The writer is free to answer only where it does not write itself, as it does for a single caller later on.
        if number == 1 {
            assert_eq!(find().await, Ok(None), "it is being written");
        }
        let_through.send(()).unwrap();
        append.await.unwrap().unwrap();
        assert_eq!(find().await, Ok(Some(Position(number as u64))), "its caller was told");
    }
    open.close().await;
}
