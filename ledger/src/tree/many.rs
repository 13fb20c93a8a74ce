//! Many hashes at once. A step of SHA-256 waits for the step before it, and a processor that has instructions for it
//! could do another one meanwhile: so some messages are compressed in turns, a block of each. The compression is that of
//! the `sha2` crate; what is left here is what its specification says of a message: how it is cut into blocks and filled
//! up.

use std::slice;

use sha2::compress256;
use sha2::digest::consts::U64;
use sha2::digest::generic_array::GenericArray;

use super::{Hash, leaf};

/// How many messages take turns. More gain nothing.
const LANES: usize = 4;
const BLOCK_BYTES: usize = 64;
/// Behind the message: one bit, and its length.
const BEHIND_BYTES: usize = 9;
/// What SHA-256 begins with (FIPS 180-4, 5.3.3).
const BEGINNING: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

type Block = GenericArray<u8, U64>;

/// The hashes of leaves, each as [`leaf`] gives it, in the same order.
pub(crate) fn leaves(leaves: &[&[u8]]) -> Vec<Hash> {
    let mut hashes = Vec::with_capacity(leaves.len());
    let (fours, rest) = leaves.as_chunks::<LANES>();
    for four in fours {
        hashes.extend_from_slice(&leaves_in_turns(four));
    }
    hashes.extend(rest.iter().map(|bytes| leaf(bytes)));
    hashes
}

/// The hashes of inner nodes over pairs of hashes, each as [`super::node`] gives it, in the same order.
pub(crate) fn nodes(pairs: &[[Hash; 2]]) -> Vec<Hash> {
    let mut hashes = Vec::with_capacity(pairs.len());
    let (fours, rest) = pairs.as_chunks::<LANES>();
    for four in fours {
        hashes.extend_from_slice(&nodes_in_turns(four));
    }
    hashes.extend(rest.iter().map(|[left, right]| super::node(left, right)));
    hashes
}

fn leaves_in_turns(leaves: &[&[u8]; LANES]) -> [Hash; LANES] {
    let mut states = [BEGINNING; LANES];
    let most = leaves.iter().map(|bytes| blocks(bytes)).max().unwrap_or_default();
    for number in 0..most {
        for (bytes, state) in leaves.iter().zip(&mut states) {
            // Most blocks are compressed where they lie.
            match inner_block(bytes, number) {
                Some(block) => compress256(state, slice::from_ref(block.into())),
                None if number < blocks(bytes) => compress256(state, &[outer_block(bytes, number)]),
                None => {}
            }
        }
    }
    states.map(hash)
}

/// How many blocks the message of a leaf has.
fn blocks(leaf: &[u8]) -> usize {
    (1 + leaf.len() + BEHIND_BYTES).div_ceil(BLOCK_BYTES)
}

/// A block of the message of a leaf that is bytes of it and nothing else.
fn inner_block(bytes: &[u8], number: usize) -> Option<&[u8; BLOCK_BYTES]> {
    bytes.get((number * BLOCK_BYTES).checked_sub(1)?..)?.first_chunk()
}

/// Another block of the message of a leaf: it begins with a zero, or its end lies in it or before it.
fn outer_block(bytes: &[u8], number: usize) -> Block {
    let mut block = [0; BLOCK_BYTES];
    let rest = match number {
        0 => {
            if let Some(first) = bytes.first_chunk::<{ BLOCK_BYTES - 1 }>() {
                block[1..].copy_from_slice(first);
                return block.into();
            }
            bytes
        }
        _ => bytes.get(number * BLOCK_BYTES - 1..).unwrap_or_default(),
    };
    let at = usize::from(number == 0);
    block[at..at + rest.len()].copy_from_slice(rest);
    // A message that ended with the block before has its bit there, or here.
    if number * BLOCK_BYTES <= 1 + bytes.len() {
        block[at + rest.len()] = 0x80;
    }
    if number + 1 == blocks(bytes) {
        block[BLOCK_BYTES - 8..].copy_from_slice(&(8 * (1 + bytes.len() as u64)).to_be_bytes());
    }
    block.into()
}

fn nodes_in_turns(pairs: &[[Hash; 2]; LANES]) -> [Hash; LANES] {
    let mut states = [BEGINNING; LANES];
    for (pair, state) in pairs.iter().zip(&mut states) {
        let mut block = [1; BLOCK_BYTES];
        block[1..].copy_from_slice(&pair.as_flattened()[..BLOCK_BYTES - 1]);
        compress256(state, &[block.into()]);
    }
    for ([_, right], state) in pairs.iter().zip(&mut states) {
        let mut block = [0; BLOCK_BYTES];
        (block[0], block[1]) = (right[31], 0x80);
        block[BLOCK_BYTES - 8..].copy_from_slice(&(8 * (1 + 2 * 32_u64)).to_be_bytes());
        compress256(state, &[block.into()]);
    }
    states.map(hash)
}

fn hash(state: [u32; 8]) -> Hash {
    let mut hash = Hash::default();
    for (bytes, word) in hash.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::super::node;
    use super::*;

    #[test]
    fn hashes_are_the_same_one_by_one_and_many_at_once_whatever_their_lengths() {
        let bytes: Vec<u8> = (0..5_000_u32).map(|i| (i * 31 + i / 256) as u8).collect();
        let alike: Vec<&[u8]> = (0..400).map(|length| &bytes[length % 7..][..length]).collect();
        let mixed: Vec<&[u8]> = (0..400).map(|i| &bytes[i..][..i * 37 % 1_100]).collect();
        for messages in [alike, mixed] {
            for crowd in [1, 3, 4, 5, 16, 400] {
                for messages in messages.chunks(crowd) {
                    let expected: Vec<Hash> = messages.iter().map(|bytes| leaf(bytes)).collect();
                    assert_eq!(leaves(messages), expected);
                }
            }
        }
    }

    #[test]
    fn nodes_are_the_same_one_by_one_and_many_at_once() {
        let hashes: Vec<Hash> = (0..100_u8).map(|n| leaf(&[n])).collect();
        for count in 0..50 {
            let pairs = &hashes.as_chunks::<2>().0[..count];
            let expected: Vec<Hash> = pairs.iter().map(|[left, right]| node(left, right)).collect();
            assert_eq!(nodes(pairs), expected);
        }
    }
}
