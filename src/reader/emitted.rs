//! Events by who sent them.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use ledger::entry::Record;
use ledger::replay;
use ledger::types::{Emitter, Position};

use super::{AskError, Moment};
use crate::projection::{NUMBERS, Tag, numbers};

/// How many entries are read at once, and how many of one key are looked at in all. There are as many only where somebody
/// counts the same numbers over and over.
const SHARED_PAGE: usize = 256;
const SHARED_MAX: usize = 64 * SHARED_PAGE;

/// Events of an emitter that share a key.
struct Sharing {
    /// Number after number, up to the first that was not found.
    found: Vec<(Position, Record)>,
    /// Whether all there are were looked at, or all that are wanted found.
    whole: bool,
}

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
    /// As reading the index and the log; [`AskError::Crowded`] where too many events have these numbers to say that one is
    /// missing.
    pub fn numbered(
        &self,
        emitter: &Emitter,
        wanted: RangeInclusive<u64>,
        bytes_max: usize,
    ) -> Result<Vec<(Position, Record)>, AskError> {
        let mut all = Vec::new();
        let (mut next, mut bytes) = (Some(*wanted.start()), 0);
        while let Some(number) = next.filter(|number| wanted.contains(number) && bytes < bytes_max) {
            let last =
                (number / NUMBERS).saturating_mul(NUMBERS).saturating_add(NUMBERS - 1).min(*wanted.end());
            let Sharing { found, whole } = self.sharing(emitter, number..=last)?;
            if found.is_empty() && all.is_empty() && !whole {
                return Err(AskError::Crowded(number));
            }
            let gapless = found.len() as u64 > last - number;
            bytes += found.iter().map(|(_, record)| record.entry.len()).sum::<usize>();
            all.extend(found);
            next = if gapless { last.checked_add(1) } else { None };
        }
        Ok(all)
    }

    /// The same, of numbers that share a key. Of events with one number it is the first.
    fn sharing(&self, emitter: &Emitter, wanted: RangeInclusive<u64>) -> Result<Sharing, AskError> {
        let key = numbers(emitter, *wanted.start());
        let (mut from, mut looked_at, mut whole) = (0, 0, false);
        let mut numbered = BTreeMap::new();
        while !whole && looked_at < SHARED_MAX {
            let page = self.view().postings(Tag::Numbers as u8, &key, from..u64::MAX, false, SHARED_PAGE)?;
            looked_at += page.len();
            from = page.last().map_or(u64::MAX, |last| last.saturating_add(1));
            whole = page.len() < SHARED_PAGE;
            let page: Vec<Position> = page.into_iter().map(Position).collect();
            for (record, position) in self.records(&page)?.into_iter().zip(page) {
                let event = replay::recorded(&record, position)?.event;
                let number = event.emitter_sequence.filter(|number| wanted.contains(number));
                if let Some(number) = number.filter(|_| event.emitter == *emitter) {
                    numbered.entry(number).or_insert((position, record));
                }
            }
            whole |= numbered.len() as u64 > wanted.end() - wanted.start();
        }
        let found = wanted.zip(numbered).take_while(|(number, (found, _))| number == found);
        Ok(Sharing { found: found.map(|(_, (_, record))| record).collect(), whole })
    }
}
