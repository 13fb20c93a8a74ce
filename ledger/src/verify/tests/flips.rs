//! One flipped bit.

use super::writer::{Built, build, plan};
use super::{fast, judged, judged_in_ways, small};

/// Where a byte of a file stands: the position that its damage affects, and the offsets at which it may be reported.
fn owner(built: &Built, file: &str, offset: u64) -> (std::ops::Range<u64>, std::ops::Range<u64>) {
    let mut frames = built.frames.iter().enumerate().filter(|(_, frame)| frame.0 == file);
    if let Some((position, frame)) = frames.clone().find(|(_, frame)| (frame.1..frame.2).contains(&offset)) {
        return (position as u64..position as u64 + 1, frame.1..frame.2);
    }
    let first = frames.next().unwrap().0 as u64;
    let last = frames.next_back().map_or(first, |frame| frame.0 as u64);
    match offset {
        0..512 => (first..first + 1, 0..512),
        // Behind the frames: padding, a footer, or zeros that were never used.
        _ => (first..last + 2, offset.saturating_sub(31)..offset + 1),
    }
}

fn every_flip_is_found(built: &Built) {
    for file in &built.segments {
        let sound = built.files.get(file);
        for offset in 0..sound.len() {
            for bit in 0..8 {
                let mut bytes = sound.clone();
                bytes[offset] ^= 1 << bit;
                built.files.put(file, bytes);
                // Starting threads takes longer than judging such a small log.
                let report = match offset % 61 {
                    0 => judged(&built.files),
                    _ => judged_in_ways(&built.files, &[fast(1, 300)]),
                };
                let (positions, offsets) = owner(built, file, offset as u64);
                let located = report.damage.iter().any(|damage| {
                    positions.contains(&damage.position.0)
                        && offsets.contains(&damage.offset)
                        && damage.file == *file
                });
                assert!(located, "{file} offset {offset} bit {bit}: {:?}", report.damage);
                assert_eq!(report.torn_bytes, 0, "{file} offset {offset} bit {bit} taken for a torn tail");
                assert!(report.damage.len() <= 3, "{file} offset {offset} bit {bit}: {:?}", report.damage);
            }
        }
        built.files.put(file, sound);
    }
}

#[test]
fn every_single_flipped_bit_is_found_where_it_is() {
    every_flip_is_found(&small());
}

#[test]
fn a_flipped_bit_in_an_entry_full_of_zeros_is_not_a_torn_tail() {
    let mut planned = plan(&[&[20], &[1500]]);
    planned[1].event.fill(0);
    let built = build(&planned, &[], 2560);
    every_flip_is_found(&built);
}
