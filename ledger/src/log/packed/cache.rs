//! Blocks that were decompressed lately, of all logs of this process: entries that are asked for one by one often stand
//! in the same block.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// How many blocks are kept; 4 MiB of them, and never more than twice that.
const SLOTS: usize = 1024;
/// A larger block is not kept.
const FRAMES_BYTES_MAX: usize = 8 * 1024;

/// A segment's serial number and the number of a block in it.
pub(super) type Key = (u64, usize);

type Slot = Mutex<Option<(Key, Arc<[u8]>)>>;

/// Each block has one slot where it may stand, and drives out what stands there.
static KEPT: LazyLock<Vec<Slot>> = LazyLock::new(|| (0..SLOTS).map(|_| Slot::default()).collect());

fn slot(key: Key) -> Option<&'static Slot> {
    // Neighbours get slots side by side; segments begin anywhere.
    let at = key.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    KEPT.get((at as usize).wrapping_add(key.1) % SLOTS)
}

/// The frames of a block, where they are kept.
pub(super) fn get(key: Key) -> Option<Arc<[u8]>> {
    let kept = slot(key)?.lock().unwrap_or_else(PoisonError::into_inner);
    kept.as_ref().filter(|(of, _)| *of == key).map(|(_, frames)| Arc::clone(frames))
}

/// Keeps the frames of a block.
pub(super) fn put(key: Key, frames: &Arc<[u8]>) {
    if let Some(slot) = slot(key).filter(|_| frames.len() <= FRAMES_BYTES_MAX) {
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some((key, Arc::clone(frames)));
    }
}
