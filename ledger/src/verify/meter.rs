//! How far the reading has come, over all files and threads.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::Progress;
use crate::types::Position;

/// Adds up what has been read.
pub(crate) struct Meter<'a> {
    pub(super) progress: &'a dyn Progress,
    bytes: Mutex<Bytes>,
}

#[derive(Default)]
struct Bytes {
    done: u64,
    total: u64,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(progress: &'a dyn Progress) -> Self {
        Self { progress, bytes: Mutex::default() }
    }

    pub(super) fn expect(&self, bytes: u64) {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).total += bytes;
    }

    /// So many bytes more have been read. Told while nobody else can tell, so that what is told never goes backwards.
    fn read(&self, more: u64) {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.done += more;
        bytes.total = bytes.total.max(bytes.done);
        self.progress.bytes(bytes.done, bytes.total);
    }
}

/// How far each segment of one ledger has been read: what is read again is not counted again.
pub(crate) struct Reached<'a> {
    meter: &'a Meter<'a>,
    /// The offset behind what has been read of the segment with this name.
    furthest: Mutex<HashMap<Position, u64>>,
}

impl<'a> Reached<'a> {
    pub(crate) fn new(meter: &'a Meter<'a>) -> Self {
        Self { meter, furthest: Mutex::default() }
    }

    /// The segment has been read up to `offset`, be it for the first time or again.
    pub(super) fn up_to(&self, segment: Position, offset: u64) {
        let more = {
            let mut furthest = self.furthest.lock().unwrap_or_else(PoisonError::into_inner);
            let before = furthest.entry(segment).or_default();
            let more = offset.saturating_sub(*before);
            *before += more;
            more
        };
        self.meter.read(more);
    }
}
