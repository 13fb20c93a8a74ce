//! Events by filters, in pages: from the shortest list of the index that holds them all.

use ledger::entry::{self, Record};
use ledger::event::Kind;
use ledger::replay;
use ledger::state::Slot;
use ledger::types::Position;

use super::{AskError, Filter, Moment, Page, Stored};
use crate::projection::{Tag, hour};

/// How many positions are looked at between two questions to the index, at most.
const CHUNK: usize = 512;
/// A filter by time alone uses the index where it spans at most so many hours.
const HOURS_MAX: usize = 24 * 31;

impl Moment {
    /// A page of events: from position `start` on, or down from below it where `descending`. They come as they stand in
    /// the log.
    ///
    /// # Errors
    /// As reading the index and the log.
    pub fn events(
        &self,
        filter: &Filter,
        start: Option<Position>,
        descending: bool,
        limit: usize,
    ) -> Result<Page<(Position, Record)>, AskError> {
        let mut candidates = self.candidates(filter, start, descending)?;
        let mut page = Page { items: Vec::new(), next: None };
        // As a rule all candidates pass; where they don't, more of them are looked at each time.
        let mut chunk = limit.saturating_add(1);
        loop {
            let positions = candidates.next(self, chunk.min(CHUNK))?;
            if positions.is_empty() {
                return Ok(page);
            }
            for found in self.passing(filter, &positions) {
                let Some((position, record)) = found? else { continue };
                if page.items.len() == limit {
                    // Where the next page begins: at this event, or just above it.
                    page.next = Some(if descending { position.next() } else { position });
                    return Ok(page);
                }
                page.items.push((position, record));
            }
            chunk = chunk.saturating_mul(2);
        }
    }

    /// What stands at some positions, where it passes.
    fn passing<'a>(
        &'a self,
        filter: &'a Filter,
        positions: &'a [Position],
    ) -> impl Iterator<Item = Result<Option<(Position, Record)>, AskError>> + 'a {
        // Where one of them can't be read, those that a page needs before it still can, one by one.
        let mut read = self.records(positions).ok().map(Vec::into_iter);
        positions.iter().map(move |&position| {
            let record = match read.as_mut().and_then(Iterator::next) {
                Some(record) => record,
                None => self.entry(position)?.record,
            };
            Ok(passes(filter, position, &record)?.then_some((position, record)))
        })
    }

    fn candidates(
        &self,
        filter: &Filter,
        start: Option<Position>,
        descending: bool,
    ) -> Result<Candidates, AskError> {
        let range = match (start, descending) {
            (None, _) => 0..self.view().cursor(),
            (Some(start), false) => start.0..self.view().cursor(),
            (Some(start), true) => 0..start.0.min(self.view().cursor()),
        };
        let source = match filter.list() {
            Some((tag, key)) => Source::List(tag as u8, key.as_bytes().to_vec()),
            None => self.by_hours(filter, &range, descending)?.map_or(Source::All, Source::Sorted),
        };
        Ok(Candidates { source, range, descending })
    }

    /// The positions of the hours of a filter by time alone, ready to be taken from the end; `None` where the filter
    /// spans too many hours for that.
    fn by_hours(
        &self,
        filter: &Filter,
        range: &std::ops::Range<u64>,
        descending: bool,
    ) -> Result<Option<Vec<u64>>, AskError> {
        let (Some(from), Some(to)) = (filter.from, filter.to) else { return Ok(None) };
        let (first, last) = (hour(from), hour(to));
        let mut found = Vec::new();
        // Keys beyond `after`: begin just below the first hour.
        let below = u64::from_be_bytes(first).saturating_sub(1);
        let mut after = below.to_be_bytes().to_vec();
        for _ in 0..HOURS_MAX {
            let keys = self.view().keys(Tag::Hour as u8, Some(&after), &[], 1)?;
            let Some(key) = keys.into_iter().next().filter(|key| key.as_slice() <= last.as_slice()) else {
                found.sort_unstable();
                if !descending {
                    found.reverse();
                }
                return Ok(Some(found));
            };
            found.extend(self.view().postings(Tag::Hour as u8, &key, range.clone(), false, usize::MAX)?);
            after = key;
        }
        Ok(None)
    }

    /// A page of deletions that took an account away, oldest first.
    ///
    /// # Errors
    /// As reading the index and the log.
    pub fn deletions(
        &self,
        filter: &Filter,
        start: Option<Position>,
        limit: usize,
    ) -> Result<Page<(ledger::restore::DeletionSummary, ledger::state::Status)>, AskError> {
        let filter = Filter { kind: Some(Kind::AccountDeleted.name().to_owned()), ..filter.clone() };
        let page = self.events(&filter, start, false, limit)?;
        let mut items = Vec::with_capacity(page.items.len());
        for (position, record) in page.items {
            let Some(account) = replay::recorded(&record, position)?.event.account else { continue };
            let history = self.history(&account)?;
            let window = ledger::restore::WINDOW_SECONDS;
            let Some(slot) = Slot::fold(&account, &history) else { continue };
            if let Some(deletion) = ledger::restore::deletion(&history, position, window) {
                items.push((deletion, slot.current().status));
            }
        }
        Ok(Page { items, next: page.next })
    }
}

/// Where positions that may pass a filter come from.
enum Source {
    /// A list of the index.
    List(u8, Vec<u8>),
    /// A list that is here already, to be taken from the end.
    Sorted(Vec<u64>),
    /// The log itself.
    All,
}

struct Candidates {
    source: Source,
    /// What was not taken yet.
    range: std::ops::Range<u64>,
    descending: bool,
}

impl Candidates {
    /// At most the next `limit` of them; none at the end.
    fn next(&mut self, moment: &Moment, limit: usize) -> Result<Vec<Position>, AskError> {
        let positions = match &mut self.source {
            Source::Sorted(positions) => {
                let mut next = positions.split_off(positions.len().saturating_sub(limit));
                next.reverse();
                next
            }
            Source::All if self.descending => self.range.by_ref().rev().take(limit).collect(),
            Source::All => self.range.by_ref().take(limit).collect(),
            Source::List(tag, key) => {
                let list = moment.view().postings(*tag, key, self.range.clone(), self.descending, limit)?;
                match list.last() {
                    Some(last) if self.descending => self.range.end = *last,
                    Some(last) => self.range.start = last + 1,
                    None => {}
                }
                list
            }
        };
        Ok(positions.into_iter().map(Position).collect())
    }
}

/// Whether an entry is one that is asked for.
fn passes(filter: &Filter, position: Position, record: &Record) -> Result<bool, AskError> {
    let known = entry::decode(&record.entry).ok().and_then(|(_, bytes)| Stored::of(bytes));
    match known.and_then(|stored| filter.holds_stored(&stored)) {
        Some(passes) => Ok(passes),
        None => Ok(filter.holds(&replay::recorded(record, position)?)),
    }
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
