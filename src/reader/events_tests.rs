//! Pages of events against the plain reading of a filter, and beside damage.

use std::sync::Arc;

use ledger::entry::{self, Header, Record};
use ledger::event::{Recorded, encode_annotations, encode_sent};
use ledger::log::{AppendError, Damage, LogStore, ReadError, Tail};
use ledger::testing;
use ledger::types::{LedgerUid, Link};
use proptest::prelude::*;

use super::*;
use crate::projection;
use crate::store::{Index, MemoryStore};

/// Entries that can be read, but for one.
struct Entries {
    records: Vec<Record>,
    damaged: Option<u64>,
}

impl LogStore for Entries {
    fn tail(&self) -> Tail {
        Tail { next: Position(self.records.len() as u64), ..Tail::default() }
    }

    fn append(&self, _: Position, _: &[Record]) -> Result<Tail, AppendError> {
        Err(AppendError::Stopped("nothing is appended here".to_owned()))
    }

    fn read(&self, from: Position, _: usize) -> Result<Vec<Record>, ReadError> {
        if self.damaged == Some(from.0) {
            let (file, reason) = (String::new(), "on purpose".to_owned());
            return Err(ReadError::Damaged(Damage { position: from, file, offset: 0, reason }));
        }
        Ok(self.records[from.0 as usize..][..1].to_vec())
    }
}

fn record(recorded: &Recorded) -> Record {
    let header = Header {
        uid: LedgerUid([7; 16]),
        position: recorded.position,
        epoch: 0,
        previous: Link([9; 32]),
        recorded_at: recorded.recorded_at,
        event_id: recorded.event.event_id,
        emitter: recorded.event.emitter.clone(),
    };
    let stored = [encode_sent(&recorded.event), encode_annotations(&recorded.annotations)].concat();
    let entry = entry::encode(&header, &stored).unwrap();
    let link = entry::link(&entry);
    Record::new(entry.into(), link, (0, 1))
}

/// A moment at the end of a history, some of it flushed and the rest in memory.
fn moment(history: &[Recorded], damaged: Option<u64>) -> Moment {
    let mut index = Index::open(Arc::new(MemoryStore::new()), "n").unwrap();
    for recorded in history {
        index.add(recorded.position.0, &projection::keys(recorded)).unwrap();
        if recorded.position.0 % 30 == 20 {
            index.flush([0; 32]).unwrap();
        }
    }
    let records = history.iter().map(record).collect();
    Moment::new(Arc::new(Entries { records, damaged }), index.view())
}

/// All positions of all pages, one page after the other.
fn paged(moment: &Moment, filter: &Filter, descending: bool, limit: usize) -> Vec<u64> {
    let (mut positions, mut start) = (Vec::new(), None);
    loop {
        let page = moment.events(filter, start, descending, limit).unwrap();
        assert!(page.items.len() <= limit);
        positions.extend(page.items.iter().map(|(position, _)| position.0));
        start = page.next;
        if start.is_none() {
            return positions;
        }
        assert_eq!(page.items.len(), limit, "a page that another follows is full");
    }
}

/// What one might ask about an event, and about its neighbours.
fn filters(recorded: &Recorded) -> Vec<Filter> {
    let event = &recorded.event;
    let account = event.account.as_ref().map(ToString::to_string);
    let kind = Some(event.fact.kind().name().to_owned());
    let none = Filter::default();
    vec![
        none.clone(),
        Filter { account: account.clone(), ..none.clone() },
        Filter { kind: kind.clone(), ..none.clone() },
        Filter { account: account.clone(), kind, ..none.clone() },
        Filter { actor: Some(event.actor.id.to_string()), account, ..none.clone() },
        Filter { run: event.cause.run.as_ref().map(ToString::to_string), ..none.clone() },
        Filter { from: Some(event.occurred_at), ..none.clone() },
        Filter { from: Some(event.occurred_at), to: Some(event.occurred_at.plus_seconds(40)), ..none },
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn pages_of_any_size_and_direction_hold_what_the_filter_lets_pass(
        history in testing::history(1..70),
        limit in prop_oneof![Just(1_usize), 2..9_usize, Just(100_usize)],
    ) {
        // As it reads back: what is newer than this program is opaque.
        let history: Vec<Recorded> = history
            .iter()
            .map(|recorded| replay::recorded(&record(recorded), recorded.position).unwrap())
            .collect();
        let moment = moment(&history, None);
        for filter in history.iter().step_by(9).flat_map(filters) {
            let mut expected: Vec<u64> =
                history.iter().filter(|r| filter.holds(r)).map(|r| r.position.0).collect();
            prop_assert_eq!(paged(&moment, &filter, false, limit), expected.clone(), "{:?}", filter);
            expected.reverse();
            prop_assert_eq!(paged(&moment, &filter, true, limit), expected, "descending {:?}", filter);
        }
    }
}

#[test]
fn a_page_that_ends_before_an_entry_that_cannot_be_read_is_given() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let history = testing::history(40..41).new_tree(&mut TestRunner::deterministic()).unwrap().current();
    let moment = moment(&history, Some(20));
    let all = Filter::default();
    let page = moment.events(&all, None, false, 19).unwrap();
    assert_eq!((page.items.len(), page.next), (19, Some(Position(19))));
    assert!(matches!(moment.events(&all, None, false, 20), Err(AskError::Log(_))), "its end is not known");
    // More is read at once than the page needs, and that holds the damage.
    let late = history[15].event.occurred_at;
    let from = Filter { from: Some(late), ..Filter::default() };
    let passing: Vec<u64> = history[..20].iter().filter(|r| from.holds(r)).map(|r| r.position.0).collect();
    let first = moment.events(&from, None, false, passing.len() - 1).unwrap();
    assert!(
        first.items.iter().map(|(position, _)| position.0).eq(passing[..passing.len() - 1].iter().copied())
    );
    assert_eq!(first.next.map(|next| next.0), passing.last().copied());
}
