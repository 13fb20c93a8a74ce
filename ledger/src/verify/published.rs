//! What a running server says about itself: the file `tail`.

use std::path::Path;

use crate::disk::{Disk, Open};
use crate::types::Position;

const TAIL_BYTES: usize = 52;

/// How many entries the server last said were durable. `None` where it never said so, or is just saying it: the file
/// is advice, and nothing is judged less, or not at all, for lack of it.
pub(super) fn published(disk: &dyn Disk, ledger: &Path) -> Option<Position> {
    let file = disk.open(&ledger.join("tail"), Open::Read).ok()?;
    let mut bytes = [0; TAIL_BYTES];
    let read = file.read_at(&mut bytes, 0).ok()?;
    let (body, crc) = bytes.split_at(TAIL_BYTES - 4);
    let sound =
        read == TAIL_BYTES && body.starts_with(b"TKLTAIL1") && crc32fast::hash(body).to_le_bytes() == crc;
    let next = body.get(8..16)?.try_into().ok()?;
    sound.then_some(Position(u64::from_le_bytes(next)))
}
