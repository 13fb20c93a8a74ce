//! A log in memory, for tests and for `dev`: the same promises, as long as the process lives.

use std::sync::{PoisonError, RwLock};

use crate::entry::Record;
use crate::types::Position;

use super::{AppendError, LogStore, ReadError, Tail, group};

/// A log in memory.
#[derive(Debug, Default)]
pub struct MemoryLog(RwLock<(Tail, Vec<Record>)>);

impl MemoryLog {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl LogStore for MemoryLog {
    fn tail(&self) -> Tail {
        self.0.read().unwrap_or_else(PoisonError::into_inner).0
    }

    fn append(&self, expected: Position, group: &[Record]) -> Result<Tail, AppendError> {
        let mut log = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if log.0.next != expected {
            return Err(AppendError::Moved { expected, actual: log.0.next });
        }
        let (headers, _) = group::check(&log.0, group)?;
        if let (Some(header), Some(record)) = (headers.last(), group.last()) {
            log.0 = Tail::after(header, record.link);
            log.1.extend_from_slice(group);
        }
        Ok(log.0)
    }

    fn read(&self, from: Position, bytes_max: usize) -> Result<Vec<Record>, ReadError> {
        let log = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let start = usize::try_from(from.0).unwrap_or(usize::MAX);
        let mut room = bytes_max;
        let mut records: Vec<Record> = Vec::new();
        for record in log.1.get(start..).unwrap_or_default() {
            if !records.is_empty() && record.entry.len() > room {
                break;
            }
            room = room.saturating_sub(record.entry.len());
            records.push(record.clone());
        }
        Ok(records)
    }
}
