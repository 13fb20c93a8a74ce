//! Snapshots make a start quicker and change nothing: whatever is wrong with one, the state is that of the log.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::{newest_first, recover, write};
use crate::disk::testing::{Failure, FaultyDisk, MemoryDisk};
use crate::disk::{Disk, Open};
use crate::event::{AccountId, AccountKind, Actor, ActorKind, Cause, Event, Fact, Handle, Text};
use crate::log::{LogStore, MemoryLog};
use crate::sequencer::{Proposal, Request, Sequencer};
use crate::state::State;
use crate::testing::DAY;
use crate::types::{LedgerName, LedgerUid, Position};

const DIR: &str = "/data/ledgers/default/snapshots";

fn created(name: &str) -> Event {
    Event {
        event_id: Uuid::new_v5(&Uuid::nil(), name.as_bytes()),
        emitter: "tests".parse().unwrap(),
        emitter_sequence: Some(1),
        occurred_at: DAY,
        actor: Actor { kind: ActorKind::Human, id: Text::own("ann") },
        cause: Cause::default(),
        account: Some(AccountId(Text::own(name))),
        fact: Fact::AccountCreated {
            kind: AccountKind::Bot,
            handle: Handle(Text::own(name)),
            owner: None,
            namespace: None,
            environment: None,
            protected: false,
            attributes: Default::default(),
        },
    }
}

/// A log of a ledger whose accounts begin with `prefix`.
fn log(uid: [u8; 16], prefix: &str, accounts: usize) -> MemoryLog {
    let log = MemoryLog::new();
    grow(&log, uid, prefix, 0..accounts);
    log
}

fn grow(log: &MemoryLog, uid: [u8; 16], prefix: &str, accounts: std::ops::Range<usize>) {
    let disk = MemoryDisk::new();
    let state = recover(&disk, Path::new(DIR), log).state;
    let mut sequencer = Sequencer::new(state, log.tail(), LedgerName::default(), LedgerUid(uid)).unwrap();
    let proposal = |n| Proposal::new(created(&format!("{prefix}{n}")), None);
    let request = Request {
        proposals: accounts.map(proposal).collect(),
        atomic: false,
        validate_only: false,
        strict: false,
    };
    sequencer.propose(request, &|_| Ok(Vec::new()), DAY);
    log.append(log.tail().next, &sequencer.take_group()).unwrap();
}

/// The state by reading the whole log.
fn folded(log: &MemoryLog) -> State {
    recover(&MemoryDisk::new(), Path::new(DIR), log).state
}

fn take(disk: &dyn Disk, log: &MemoryLog) -> std::io::Result<u64> {
    write(disk, Path::new(DIR), &folded(log).freeze(), &log.tail())
}

fn files(disk: &MemoryDisk) -> Vec<PathBuf> {
    disk.paths().into_iter().filter(|path| path.extension().is_some_and(|e| e == "snap")).collect()
}

#[test]
fn a_state_comes_back_as_it_was_and_goes_on_with_the_log() {
    let (disk, log) = (MemoryDisk::new(), log([1; 16], "a", 20));
    take(&disk, &log).unwrap();
    let found = newest_first(&disk, Path::new(DIR)).next().unwrap();
    assert_eq!((&found.state, found.uid, found.link), (&folded(&log), LedgerUid([1; 16]), log.tail().link));
    assert_eq!(found.root, found.state.root());
    grow(&log, [1; 16], "a", 20..30);
    let recovered = recover(&disk, Path::new(DIR), &log);
    assert_eq!((recovered.state, recovered.tail), (folded(&log), log.tail()));
}

#[test]
fn a_snapshot_saves_reading_what_it_holds() {
    let (disk, whole) = (MemoryDisk::new(), log([1; 16], "a", 20));
    take(&disk, &whole).unwrap();
    // A state that no log has: if the snapshot is used, it shows.
    write(&disk, Path::new(DIR), &folded(&log([1; 16], "b", 20)).freeze(), &whole.tail()).unwrap();
    let recovered = recover(&disk, Path::new(DIR), &whole);
    assert_eq!(recovered.state, folded(&log([1; 16], "b", 20)));
}

#[test]
fn every_flipped_bit_is_noticed() {
    let (disk, log) = (MemoryDisk::new(), log([1; 16], "a", 3));
    take(&disk, &log).unwrap();
    let path = files(&disk).remove(0);
    let bytes = disk.bytes(&path).unwrap();
    for offset in 0..bytes.len() {
        let damaged = disk.copy();
        damaged.flip(&path, offset, 1 << (offset % 8));
        assert!(newest_first(&damaged, Path::new(DIR)).next().is_none(), "byte {offset}");
        assert_eq!(recover(&damaged, Path::new(DIR), &log).state, folded(&log));
    }
    for length in [0, 1, 31, 32, 99, 100, 107, 108, bytes.len() - 1] {
        let damaged = disk.copy();
        damaged.open(&path, Open::Write).unwrap().set_len(length as u64).unwrap();
        assert!(newest_first(&damaged, Path::new(DIR)).next().is_none(), "{length} bytes");
    }
}

#[test]
fn the_one_before_is_used_where_the_newest_is_damaged_and_no_more_are_kept() {
    let (disk, log) = (MemoryDisk::new(), log([1; 16], "a", 5));
    for step in 1..4 {
        take(&disk, &log).unwrap();
        grow(&log, [1; 16], "a", step * 5..step * 5 + 5);
    }
    let kept = files(&disk);
    assert_eq!(kept.len(), 2);
    disk.flip(&kept[1], 200, 4);
    let found = newest_first(&disk, Path::new(DIR)).next().unwrap();
    assert_eq!(found.state.next(), Position(11));
    assert_eq!(recover(&disk, Path::new(DIR), &log).state, folded(&log));
}

#[test]
fn a_snapshot_of_another_log_is_not_used() {
    let ours = log([1; 16], "a", 10);
    let (of_other_uid, of_other_past, of_the_future) =
        (log([2; 16], "a", 10), log([1; 16], "b", 10), log([1; 16], "a", 12));
    for other in [of_other_uid, of_other_past, of_the_future] {
        let disk = MemoryDisk::new();
        take(&disk, &other).unwrap();
        assert_eq!(recover(&disk, Path::new(DIR), &ours).state, folded(&ours));
    }
}

#[test]
fn whatever_fails_while_one_is_written_the_one_before_is_there() {
    let first = log([1; 16], "a", 5);
    let second = log([1; 16], "a", 9);
    for failure in Failure::ALL {
        for call in 0..12 {
            let memory = MemoryDisk::new();
            take(&memory, &first).unwrap();
            let disk = FaultyDisk::new(Arc::new(memory.clone()));
            disk.fail_at(call, failure);
            let written = take(&disk, &second);
            let after_a_cut = memory.crash(&mut |_| false);
            for left in [&memory, &after_a_cut] {
                let next = newest_first(left, Path::new(DIR)).next().map(|s| s.state.next());
                assert!(
                    next == Some(Position(6)) || next == Some(Position(10)),
                    "{call} {failure:?}: {next:?}"
                );
                assert_eq!(recover(left, Path::new(DIR), &second).state, folded(&second));
            }
            // The next try succeeds, whatever the last one left.
            take(&memory, &second).unwrap_or_else(|e| panic!("{call} {failure:?} {written:?}: {e}"));
            let next = newest_first(&memory, Path::new(DIR)).next().map(|s| s.state.next());
            assert_eq!(next, Some(Position(10)));
        }
    }
}

/// A state that takes several buffers, one account of which takes more than one.
fn large() -> State {
    let issued = |n: usize| {
        let mut event = created(&format!("bot-{}", n % 3));
        let (token, scope) = (format!("token-{n}"), "s".repeat(300));
        event.fact = Fact::TokenIssued(crate::event::IssuedToken {
            token: crate::event::TokenId(Text::own(&token)),
            digest: None,
            family: None,
            scopes: vec![Text::own(&scope)],
            expiry: crate::event::Expiry::Never,
        });
        event
    };
    let mut state = State::default();
    crate::testing::record((0..12_000).map(issued).collect()).iter().for_each(|r| state.apply(r));
    state
}

#[test]
fn a_state_of_several_buffers_comes_back_as_it_was_and_not_where_a_bit_of_it_is_wrong() {
    let (disk, state) = (MemoryDisk::new(), large());
    let tail = crate::log::Tail { next: state.next(), ..Default::default() };
    let bytes = write(&disk, Path::new(DIR), &state.freeze(), &tail).unwrap();
    let path = files(&disk).remove(0);
    let length = disk.bytes(&path).unwrap().len();
    assert_eq!(bytes, length as u64);
    assert!(length > 3 << 20);
    let found = newest_first(&disk, Path::new(DIR)).next().unwrap();
    assert!(found.state == state && found.root == state.root());
    let step = 1 << 20;
    for offset in (step..length).step_by(step).flat_map(|edge| [edge - 1, edge]).chain([length - 1]) {
        let damaged = disk.copy();
        damaged.flip(&path, offset, 1);
        assert!(newest_first(&damaged, Path::new(DIR)).next().is_none(), "byte {offset}");
    }
}

#[test]
fn the_larger_a_snapshot_is_the_more_entries_pass_before_the_next() {
    assert_eq!(super::entries_between(0), 100_000);
    assert_eq!(super::entries_between(6_400_000), 100_000);
    assert_eq!(super::entries_between(128_000_000), 2_000_000);
}
