//! What is put together from stored bytes is what the definition gives.

use ledger::event::{Annotations, Event, encode_annotations, encode_sent};
use ledger::testing;
use ledger::types::{LedgerUid, Link, Time};
use proptest::prelude::*;

use super::*;
use crate::wire::pb;

fn record(event: &Event, annotations: &Annotations, position: u64, recorded_at: Time) -> Record {
    record_of(event, &[encode_sent(event), encode_annotations(annotations)].concat(), position, recorded_at)
}

fn record_of(event: &Event, stored: &[u8], position: u64, recorded_at: Time) -> Record {
    let header = Header {
        uid: LedgerUid([7; 16]),
        position: Position(position),
        epoch: 0,
        previous: Link([9; 32]),
        recorded_at,
        event_id: event.event_id,
        emitter: event.emitter.clone(),
    };
    let entry = entry::encode(&header, stored).unwrap();
    let link = entry::link(&entry);
    Record::new(entry.into(), link, (0, 1))
}

fn defined(records: &[(Position, Record)]) -> Vec<pb::LedgerEvent> {
    let each = records.iter().map(|(position, record)| {
        let recorded = replay::recorded(record, *position).unwrap();
        convert::ledger_event(&Entry { record: record.clone(), recorded })
    });
    each.collect()
}

/// In a box, since several of them on one thread's stack are too many.
fn any_record(position: u64) -> BoxedStrategy<(Position, Record)> {
    let parts = (testing::event().boxed(), testing::annotations().boxed(), testing::any_time());
    let any = parts.prop_map(move |(event, annotations, time)| {
        (Position(position), record(&event, &annotations, position, time))
    });
    any.boxed()
}

proptest! {
    #[test]
    fn answers_have_the_bytes_of_the_messages_that_they_stand_for(
        one in any_record(0),
        other in any_record(u64::MAX - 1),
        third in any_record(1 << 40),
        token in "[0-9a-f]{0,20}",
        reflects in prop_oneof![Just(0), any::<u64>()],
    ) {
        let page = Page { items: vec![one, other, third], next: None };
        let message = pb::ListEventsResponse {
            events: defined(&page.items),
            next_page_token: token.clone(),
            reflects,
        };
        let answer = list_response(&page, &token, Position(reflects)).unwrap();
        prop_assert_eq!(&answer.0[..], &message.encode_to_vec()[..]);
    }

    #[test]
    fn a_tail_has_the_bytes_of_the_message_that_it_stands_for(one in any_record(41), other in any_record(42)) {
        let records = vec![one, other];
        let message = pb::TailEventsResponse { events: defined(&records) };
        let only: Vec<Record> = records.iter().map(|(_, record)| record.clone()).collect();
        prop_assert_eq!(&tail_response(Position(41), &only).unwrap().0[..], &message.encode_to_vec()[..]);
    }
}

fn sample() -> Event {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    testing::event().new_tree(&mut TestRunner::deterministic()).unwrap().current()
}

#[test]
fn events_that_this_program_would_not_write_come_out_as_the_definition_has_them() {
    let event = sample();
    let strange: [&[u8]; 5] = [
        &[],
        b"no protobuf at all",
        &[0xa2, 0x06, 1, b'x'],
        &[0x0a, 1, b'x', 0x12, 1, b'y', 0x3a, 1, b'z'],
        &[0x3a, 2, 0xff, 0xff, 0x3a, 1, b'z'],
    ];
    for stored in strange {
        let found = (Position(5), record_of(&event, stored, 5, Time(1)));
        let message = pb::TailEventsResponse { events: defined(std::slice::from_ref(&found)) };
        let answer = tail_response(Position(5), &[found.1]).unwrap();
        assert_eq!(answer.0, message.encode_to_vec(), "{stored:?}");
    }
}

#[test]
fn an_entry_that_stands_elsewhere_is_not_sent() {
    let record = record(&sample(), &Annotations::default(), 5, Time(1));
    assert!(tail_response(Position(6), &[record]).is_err());
}
