//! Many links at once. Entries do not wait for one another: each holds the link of the one before, and its own link is a
//! hash of nothing but its bytes. So where the entries are all there, a processor that can do the same to many numbers at
//! once hashes as many entries at once.
//!
//! The primitive for that is BLAKE3's own, for inputs of whole blocks; what is left here is what its specification says
//! of a single chunk: the last block, which need not be whole, is compressed by itself. An entry of more than one chunk
//! is hashed as any other bytes are.

use std::sync::LazyLock;

use blake3::IncrementCounter;
use blake3::platform::{Platform, le_bytes_from_words_32, words_from_le_bytes_32};

use super::{LINK_CONTEXT, link};
use crate::types::Link;

/// Bytes of a block of BLAKE3.
const BLOCK_BYTES: usize = 64;
/// Bytes of a chunk of BLAKE3.
const CHUNK_BYTES: usize = 1024;
/// How many hashes are handed over at once: as many as any processor computes side by side.
const LANES: usize = 16;
// Flags of a compression, by the specification.
const CHUNK_START: u8 = 1;
const CHUNK_END: u8 = 1 << 1;
const ROOT: u8 = 1 << 3;
const DERIVE_KEY_MATERIAL: u8 = 1 << 6;

static PLATFORM: LazyLock<Platform> = LazyLock::new(Platform::detect);

/// A context of BLAKE3's key derivation, made ready.
pub(super) struct Context([u32; 8]);

impl Context {
    pub(super) fn new(context: &str) -> Self {
        Self(words_from_le_bytes_32(&blake3::hazmat::hash_derive_key_context(context)))
    }

    /// The hash of bytes that fit into one block; `None` where they do not.
    pub(super) fn of_block(&self, parts: &[&[u8]]) -> Option<[u8; 32]> {
        let (mut block, mut bytes) = ([0; BLOCK_BYTES], 0);
        for part in parts {
            block.get_mut(bytes..bytes + part.len())?.copy_from_slice(part);
            bytes += part.len();
        }
        Some(last_block(self.0, &block, bytes, CHUNK_START))
    }
}

/// Compresses the last block of a chunk that is all there is.
fn last_block(mut state: [u32; 8], block: &[u8; BLOCK_BYTES], bytes: usize, flags: u8) -> [u8; 32] {
    // At most the 64 bytes of a block.
    let bytes = bytes as u8;
    PLATFORM.compress_in_place(&mut state, block, bytes, 0, flags | DERIVE_KEY_MATERIAL | CHUNK_END | ROOT);
    le_bytes_from_words_32(&state)
}

/// Computes links of many entries at once. Keeps what it needs for the next time.
#[derive(Debug, Default)]
pub struct Linker {
    /// Numbers of entries, by how many whole blocks they have before their last.
    by_blocks: [Vec<usize>; CHUNK_BYTES / BLOCK_BYTES],
    links: Vec<Link>,
}

impl Linker {
    /// The links of entries, each as [`link`] gives it, in the same order.
    pub fn links(&mut self, entries: &[&[u8]]) -> &[Link] {
        self.links.clear();
        self.links.resize(entries.len(), Link::default());
        for (i, entry) in entries.iter().enumerate() {
            match self.by_blocks.get_mut(entry.len().saturating_sub(1) / BLOCK_BYTES) {
                Some(alike) => alike.push(i),
                None => self.links[i] = link(entry),
            }
        }
        for blocks in 0..self.by_blocks.len() {
            let mut alike = std::mem::take(&mut self.by_blocks[blocks]);
            for lanes in alike.chunks(LANES) {
                self.side_by_side(blocks, entries, lanes);
            }
            alike.clear();
            self.by_blocks[blocks] = alike;
        }
        &self.links
    }

    fn side_by_side(&mut self, blocks: usize, entries: &[&[u8]], lanes: &[usize]) {
        let states = match blocks {
            1 => states::<{ BLOCK_BYTES }>(entries, lanes),
            2 => states::<{ 2 * BLOCK_BYTES }>(entries, lanes),
            3 => states::<{ 3 * BLOCK_BYTES }>(entries, lanes),
            4 => states::<{ 4 * BLOCK_BYTES }>(entries, lanes),
            5 => states::<{ 5 * BLOCK_BYTES }>(entries, lanes),
            6 => states::<{ 6 * BLOCK_BYTES }>(entries, lanes),
            7 => states::<{ 7 * BLOCK_BYTES }>(entries, lanes),
            8 => states::<{ 8 * BLOCK_BYTES }>(entries, lanes),
            9 => states::<{ 9 * BLOCK_BYTES }>(entries, lanes),
            10 => states::<{ 10 * BLOCK_BYTES }>(entries, lanes),
            11 => states::<{ 11 * BLOCK_BYTES }>(entries, lanes),
            12 => states::<{ 12 * BLOCK_BYTES }>(entries, lanes),
            13 => states::<{ 13 * BLOCK_BYTES }>(entries, lanes),
            14 => states::<{ 14 * BLOCK_BYTES }>(entries, lanes),
            15 => states::<{ 15 * BLOCK_BYTES }>(entries, lanes),
            _ => None,
        };
        for (lane, i) in lanes.iter().enumerate() {
            let behind = states.as_ref().and_then(|states| states.get(lane * 32..)?.first_chunk());
            let tail = entries[*i].get(blocks * BLOCK_BYTES..).unwrap_or_default();
            self.links[*i] = match behind {
                Some(state) => Link(finish(words_from_le_bytes_32(state), tail, 0)),
                None => link(entries[*i]),
            };
        }
    }
}

/// What BLAKE3 has come to behind the first `BYTES` bytes of some entries, one behind the other.
fn states<const BYTES: usize>(entries: &[&[u8]], lanes: &[usize]) -> Option<[u8; 32 * LANES]> {
    static CONTEXT: LazyLock<Context> = LazyLock::new(|| Context::new(LINK_CONTEXT));
    let mut inputs = [entries[*lanes.first()?].first_chunk::<BYTES>()?; LANES];
    for (input, i) in inputs.iter_mut().zip(lanes) {
        *input = entries[*i].first_chunk::<BYTES>()?;
    }
    let mut states = [0; 32 * LANES];
    let inputs = inputs.get(..lanes.len())?;
    let (key, same) = (&CONTEXT.0, IncrementCounter::No);
    PLATFORM.hash_many(inputs, key, 0, same, DERIVE_KEY_MATERIAL, CHUNK_START, 0, &mut states);
    Some(states)
}

fn finish(state: [u32; 8], tail: &[u8], flags: u8) -> [u8; 32] {
    let mut block = [0; BLOCK_BYTES];
    let bytes = tail.len().min(BLOCK_BYTES);
    block[..bytes].copy_from_slice(&tail[..bytes]);
    last_block(state, &block, bytes, flags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::IdKey;

    #[test]
    fn links_are_the_same_one_by_one_and_many_at_once_whatever_their_lengths() {
        let bytes: Vec<u8> = (0..5000_u32).map(|i| (i * 31 + i / 256) as u8).collect();
        let mut linker = Linker::default();
        for first in [0, 1, 7] {
            // Every length of one chunk and some of more, alone and in crowds of any size.
            let entries: Vec<&[u8]> =
                (0..4000).map(|i| &bytes[i % 100..][..i * 37 % (1100 + first)]).collect();
            for crowd in [1, 5, 16, 17, 4000] {
                for entries in entries.chunks(crowd) {
                    let expected: Vec<Link> = entries.iter().map(|entry| link(entry)).collect();
                    assert_eq!(linker.links(entries), expected);
                }
            }
        }
    }

    #[test]
    fn the_key_of_an_id_is_the_same_in_one_block_and_in_several() {
        for bytes in 1..=128 {
            let emitter: crate::types::Emitter = "e".repeat(bytes).parse().unwrap();
            let id = uuid::Uuid::from_u128(bytes as u128 * 0x1234_5678_9ABC);
            let whole = [emitter.as_str().as_bytes(), &[0], id.as_bytes()].concat();
            let hash = blake3::derive_key("tokenledger 2026 event id v1", &whole);
            assert_eq!(IdKey::of(&emitter, &id).0.to_le_bytes(), hash[..8]);
        }
    }
}
