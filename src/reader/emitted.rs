//! Events by who sent them.

use std::ops::RangeInclusive;

use ledger::entry::Record;
use ledger::replay;
use ledger::types::{Emitter, Position};

use super::{AskError, Moment};
use crate::projection::{NUMBERS, Tag, numbers};

/// How many entries that only share their key with others are looked at for each one that is wanted, at most: somebody
/// would have to count the same numbers over and over.
const SHARED_MAX: usize = 4;

impl Moment {
    /// Those who have sent events, at most `limit`, sorted.
    ///
    /// # Errors
    /// As reading the index.
    pub fn emitters(&self, limit: usize) -> Result<Vec<Emitter>, AskError> {
        let names = self.view().keys(Tag::Emitter as u8, None, &[], limit)?;
        Ok(names.iter().filter_map(|name| std::str::from_utf8(name).ok()?.parse().ok()).collect())
    }

    /// The events of an emitter with these numbers, one for each, in order; so many as come before one that is missing, and
    /// about as many as have so many bytes.
    ///
    /// # Errors
    /// As reading the index and the log.
    pub fn numbered(
        &self,
        emitter: &Emitter,
        wanted: RangeInclusive<u64>,
        bytes_max: usize,
    ) -> Result<Vec<(Position, Record)>, AskError> {
        let mut found = Vec::new();
        let (mut next, mut bytes) = (Some(*wanted.start()), 0);
        while let Some(number) = next.filter(|number| wanted.contains(number) && bytes < bytes_max) {
            let last =
                (number / NUMBERS).saturating_mul(NUMBERS).saturating_add(NUMBERS - 1).min(*wanted.end());
            let some = self.sharing(emitter, number..=last)?;
            let whole = some.len() as u64 > last - number;
            bytes += some.iter().map(|(_, record)| record.entry.len()).sum::<usize>();
            found.extend(some);
            next = if whole { last.checked_add(1) } else { None };
        }
        Ok(found)
    }

    /// The same, of numbers that share a key.
    fn sharing(
        &self,
        emitter: &Emitter,
        wanted: RangeInclusive<u64>,
    ) -> Result<Vec<(Position, Record)>, AskError> {
        let key = numbers(emitter, *wanted.start());
        let limit = usize::try_from(NUMBERS).unwrap_or(usize::MAX).saturating_mul(SHARED_MAX);
        let positions = self.view().postings(Tag::Numbers as u8, &key, 0..u64::MAX, false, limit)?;
        let positions: Vec<Position> = positions.into_iter().map(Position).collect();
        let mut numbered = std::collections::BTreeMap::new();
        for (record, position) in self.records(&positions)?.into_iter().zip(positions) {
            let event = replay::recorded(&record, position)?.event;
            let number = event.emitter_sequence.filter(|number| wanted.contains(number));
            if let Some(number) = number.filter(|_| event.emitter == *emitter) {
                numbered.entry(number).or_insert((position, record));
            }
        }
        let found = wanted.zip(numbered).take_while(|(number, (found, _))| number == found);
        Ok(found.map(|(_, (_, record))| record).collect())
    }
}
