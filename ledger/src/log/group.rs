//! What a group must be before any engine takes it.

use crate::entry::{self, Header, Record};
use crate::types::LedgerUid;

use super::{AppendError, GROUP_BYTES_MAX, GROUP_ENTRIES_MAX, Tail, frame};

/// Checks that a group continues the log at `tail`: positions, identity and links follow, batches are whole, sizes are
/// within the bounds. Gives the headers of its entries and the bytes of its frames.
///
/// # Errors
/// `Stopped`: whoever made such a group is not fit to go on. Nothing was written.
pub(crate) fn check(tail: &Tail, group: &[Record]) -> Result<(Vec<Header>, usize), AppendError> {
    let bytes = group.iter().map(|r| r.entry.len() + frame::FRAME_EXTRA_BYTES).sum();
    if group.len() > GROUP_ENTRIES_MAX || bytes > GROUP_BYTES_MAX {
        return Err(unfit("it is larger than a group may be"));
    }
    let mut headers = Vec::with_capacity(group.len());
    let mut uid = (tail.uid != LedgerUid::default()).then_some(tail.uid);
    let (mut next, mut link) = (tail.next, tail.link);
    for record in group {
        let (header, _) = entry::decode(&record.entry).map_err(|e| unfit(&e.to_string()))?;
        let follows = header.position == next && header.previous == link;
        if !follows || header.uid != *uid.get_or_insert(header.uid) {
            return Err(unfit("an entry does not continue the one before"));
        }
        (next, link) = (next.next(), record.link);
        headers.push(header);
    }
    check_batches(group)?;
    Ok((headers, bytes))
}

fn check_batches(group: &[Record]) -> Result<(), AppendError> {
    let mut open: Option<(u16, u16)> = None;
    for record in group {
        let (index, count) = record.batch;
        let expected = open.map_or(index == 0, |(i, n)| index == i + 1 && count == n);
        if !expected || index >= count {
            return Err(unfit("a batch is not whole"));
        }
        open = (index + 1 < count).then_some((index, count));
    }
    if open.is_some() { Err(unfit("a batch is not whole")) } else { Ok(()) }
}

fn unfit(why: &str) -> AppendError {
    AppendError::Stopped(format!("a group was offered that cannot be appended: {why}"))
}
