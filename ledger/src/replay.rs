//! The one way to read a log back. Recovery, queries, rebuilds and roots all go through here.

use crate::entry::{self, Record};
use crate::event::{self, Recorded};
use crate::log::{Damage, LogStore, ReadError};
use crate::types::Position;

/// How much is read at a time, in bytes.
const READ_BYTES: usize = 1024 * 1024;

/// Calls `each` for every entry from `from` up to, not including, `to`, in order, until it returns `false`.
///
/// # Errors
/// Where the log cannot be read, or an entry does not stand where it says it does.
pub fn replay(
    log: &dyn LogStore,
    from: Position,
    to: Position,
    mut each: impl FnMut(&Record, Recorded) -> bool,
) -> Result<(), ReadError> {
    let mut next = from;
    while next < to {
        let records = log.read(next, READ_BYTES)?;
        if records.is_empty() {
            return Err(unreadable(next, "the log ends before the position that it said was durable"));
        }
        for record in &records {
            if next >= to || !each(record, recorded(record, next)?) {
                return Ok(());
            }
            next = next.next();
        }
    }
    Ok(())
}

/// One entry as an event.
///
/// # Errors
/// As [`replay`].
pub fn recorded(record: &Record, position: Position) -> Result<Recorded, ReadError> {
    let (header, bytes) = entry::decode(&record.entry).map_err(|e| unreadable(position, &e.to_string()))?;
    if header.position != position {
        return Err(unreadable(position, "the entry says that it stands elsewhere"));
    }
    Ok(event::stored(&header, bytes))
}

fn unreadable(position: Position, reason: &str) -> ReadError {
    ReadError::Damaged(Damage { position, file: String::new(), offset: 0, reason: reason.to_owned() })
}
