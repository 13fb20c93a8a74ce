//! Events by filters, in pages: from the shortest list of the index that holds them all.

use ledger::event::Kind;
use ledger::state::Slot;
use ledger::types::Position;

use super::{AskError, Entry, Filter, Moment, Page};
use crate::projection::{Tag, hour};

/// How many positions are looked at between two pages of the index.
const CHUNK: usize = 512;
/// A filter by time alone uses the index where it spans at most so many hours.
const HOURS_MAX: usize = 24 * 31;

impl Moment {
    /// A page of events: from position `start` on, or down from below it where `descending`.
    ///
    /// # Errors
    /// As reading the index and the log.
    pub fn events(
        &self,
        filter: &Filter,
        start: Option<Position>,
        descending: bool,
        limit: usize,
    ) -> Result<Page<Entry>, AskError> {
        let mut positions = self.candidates(filter, start, descending)?;
        let mut page = Page { items: Vec::new(), next: None };
        while let Some(position) = positions.next(self)? {
            let entry = self.entry(Position(position))?;
            if !filter.holds(&entry.recorded) {
                continue;
            }
            if page.items.len() == limit {
                // Where the next page begins: at this event, or just above it.
                page.next = Some(Position(if descending { position + 1 } else { position }));
                return Ok(page);
            }
            page.items.push(entry);
        }
        Ok(page)
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
        Ok(Candidates { source, range, descending, ready: Vec::new() })
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
        for entry in page.items {
            let Some(account) = &entry.recorded.event.account else { continue };
            let history = self.history(account)?;
            let window = ledger::restore::WINDOW_SECONDS;
            let Some(slot) = Slot::fold(account, &history) else { continue };
            if let Some(deletion) = ledger::restore::deletion(&history, entry.recorded.position, window) {
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
    range: std::ops::Range<u64>,
    descending: bool,
    /// The next ones of a list, to be taken from the end.
    ready: Vec<u64>,
}

impl Candidates {
    fn next(&mut self, moment: &Moment) -> Result<Option<u64>, AskError> {
        match &mut self.source {
            Source::Sorted(positions) => Ok(positions.pop()),
            Source::All if self.descending => Ok(self.range.next_back()),
            Source::All => Ok(self.range.next()),
            Source::List(tag, key) => {
                if self.ready.is_empty() {
                    self.ready =
                        moment.view().postings(*tag, key, self.range.clone(), self.descending, CHUNK)?;
                    match self.ready.last() {
                        Some(last) if self.descending => self.range.end = *last,
                        Some(last) => self.range.start = last + 1,
                        None => {}
                    }
                    self.ready.reverse();
                }
                Ok(self.ready.pop())
            }
        }
    }
}
