//! Entries for tests: opaque events in a sound chain, the same each time.

use bytes::Bytes;
use uuid::Uuid;

use crate::entry::{self, Header, IdKey, Record};
use crate::log::Tail;
use crate::types::{LedgerUid, Position, Time};

/// Makes groups that continue a log.
pub(crate) struct Chain {
    tail: Tail,
}

impl Chain {
    /// From the first entry on.
    pub(crate) fn new() -> Self {
        Self::after(Tail::default())
    }

    /// From the end of a log on.
    pub(crate) fn after(tail: Tail) -> Self {
        let uid = if tail.next == Position(0) { LedgerUid([0xA7; 16]) } else { tail.uid };
        Self { tail: Tail { uid, ..tail } }
    }

    /// A group of batches of these sizes, with events of about so many bytes.
    pub(crate) fn group(&mut self, batches: &[u16], event_bytes: usize) -> Vec<Record> {
        assert!(self.tail.next.0 < 5000, "whatever the test waits for does not come");
        let mut group = Vec::new();
        for count in batches {
            for index in 0..*count {
                group.push(self.record((index, *count), event_bytes));
            }
        }
        group
    }

    fn record(&mut self, batch: (u16, u16), event_bytes: usize) -> Record {
        let n = self.tail.next.0;
        let header = Header {
            uid: self.tail.uid,
            position: self.tail.next,
            epoch: 1,
            previous: self.tail.link,
            recorded_at: Time(1_700_000_000_000_000_000 + i64::try_from(n).unwrap()),
            event_id: Uuid::from_u128(u128::from(n) * 7 + 1),
            emitter: "crm/test".parse().unwrap(),
        };
        // Lengths and contents vary, and some events end in zeros.
        let bytes = event_bytes + usize::try_from(n * 37 % 50).unwrap();
        let event: Vec<u8> = (0..bytes)
            .map(|i| if i + 9 > bytes && n.is_multiple_of(3) { 0 } else { (i * 31) as u8 ^ n as u8 })
            .collect();
        let entry = entry::encode(&header, &event).unwrap();
        let link = entry::link(&entry);
        self.tail = Tail::after(&header, link);
        Record::new(Bytes::from(entry), link, batch)
    }
}

/// The ids that a log with these entries must give.
pub(crate) fn ids(records: &[Record]) -> Vec<(Position, IdKey)> {
    let headers = records.iter().map(|r| entry::decode(&r.entry).unwrap().0);
    headers.map(|h| (h.position, IdKey::of(&h.emitter, &h.event_id))).collect()
}
