//! Files that no packer wrote.

use super::*;
use crate::log::ReadError;

/// A log of which the first two segments are packed; the second, before the open one, is to be tampered with.
fn log() -> (MemoryDisk, Vec<Record>, PathBuf, Vec<u8>) {
    let (disk, log, records) = hot(2);
    assert_eq!(pack_all(&log), 2);
    let path = path(log.view().sealed[1].first);
    let bytes = disk.bytes(&path).unwrap();
    (disk, records, path, bytes)
}

/// Whatever the bytes of the file are: the log opens, every entry is either what was written or damaged, and something
/// is found.
fn tolerated(disk: &MemoryDisk, records: &[Record], path: &Path, bytes: &[u8], what: &str) {
    let disk = disk.copy();
    disk.put(path, bytes);
    let (log, repair) = open_on(disk.clone());
    assert_eq!(repair, None, "{what}");
    let mut found = !log.damage().is_empty();
    for (n, record) in records.iter().enumerate() {
        match log.read(Position(n as u64), 1) {
            Ok(read) => assert_eq!(read, std::slice::from_ref(record), "{what}: {n}"),
            Err(ReadError::Damaged(damage)) => {
                found = true;
                assert!(path.ends_with(&damage.file), "{what}: {damage}");
            }
            Err(e) => panic!("{what}: {e}"),
        }
    }
    assert!(found, "{what}");
    let _ = log.for_each_id(Position(0), &mut |_, _| {});
    assert_eq!(disk.bytes(path).unwrap(), bytes, "{what}: nothing was written");
}

#[test]
fn a_packed_file_cut_anywhere_is_damaged_and_never_torn() {
    let (disk, records, path, bytes) = log();
    for cut in 0..bytes.len() {
        tolerated(&disk, &records, &path, &bytes[..cut], &format!("cut at {cut}"));
    }
    for more in [&[0][..], &[0; 600], b"TKLFOOTE"] {
        tolerated(&disk, &records, &path, &[&bytes, more].concat(), "longer");
    }
}

#[test]
fn any_sector_of_zeros_or_noise_is_found() {
    let (disk, records, path, bytes) = log();
    for sector in 0..bytes.len() / 512 {
        for noise in [0_u8, 0xFF, 0x5A] {
            let mut changed = bytes.clone();
            for (n, byte) in changed[sector * 512..][..512].iter_mut().enumerate() {
                *byte = if noise == 0x5A { (n * 131 + sector) as u8 } else { noise };
            }
            tolerated(&disk, &records, &path, &changed, &format!("sector {sector} of {noise}"));
        }
    }
}

/// Writes the CRC of the footer's head anew.
fn sealed_anew(mut bytes: Vec<u8>, footer: usize, head: usize) -> Vec<u8> {
    let crc = crc32fast::hash(&bytes[footer..footer + head - 4]);
    bytes[footer + head - 4..footer + head].copy_from_slice(&crc.to_le_bytes());
    bytes
}

#[test]
fn numbers_in_a_footer_that_lie_under_a_right_crc_are_not_believed() {
    let (disk, records, path, bytes) = log();
    let footer = bytes.windows(8).position(|w| w == b"TKLFOOT2").unwrap();
    let blocks = u32::from_le_bytes(bytes[footer + 84..footer + 88].try_into().unwrap()) as usize;
    let frontier = u32::from_le_bytes(bytes[footer + 80..footer + 84].try_into().unwrap()) as usize;
    let head = 104 + frontier + 8 * blocks + 4;
    assert_eq!(sealed_anew(bytes.clone(), footer, head), bytes);
    let fields = [(8, 4), (12, 8), (20, 8), (80, 4), (84, 4), (88, 8)].into_iter();
    let starts = (0..2 * blocks).map(|n| (104 + frontier + 4 * n, 4));
    for (at, width) in fields.chain(starts) {
        for value in [0_u64, 1, 7, 511, 1 << 20, u64::from(u32::MAX), u64::MAX / 8, u64::MAX] {
            let mut changed = bytes.clone();
            changed[footer + at..footer + at + width].copy_from_slice(&value.to_le_bytes()[..width]);
            if changed != bytes {
                let changed = sealed_anew(changed, footer, head);
                tolerated(&disk, &records, &path, &changed, &format!("{value} at {at}"));
            }
        }
    }
}

/// The CRC of a block as a writer would give it.
fn block(uid: LedgerUid, first: u64, frames_bytes: u32, entries: u32, zstd: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in [u32::try_from(zstd.len()).unwrap(), frames_bytes, entries] {
        bytes.extend_from_slice(&field.to_le_bytes());
    }
    let crc = crc32fast::hash(&[&uid.0[..], &first.to_le_bytes(), &bytes, zstd].concat());
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(zstd);
    bytes
}

#[test]
fn a_block_that_holds_more_than_it_says_or_than_a_block_may_is_not_unpacked() {
    let (disk, records, path, bytes) = log();
    let first: u64 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let (uid, zstd_bytes) = (LedgerUid([0xA7; 16]), u32::from_le_bytes(bytes[512..516].try_into().unwrap()));
    let end = 528 + zstd_bytes as usize;
    let (frames, entries) = (
        u32::from_le_bytes(bytes[516..520].try_into().unwrap()),
        u32::from_le_bytes(bytes[520..524].try_into().unwrap()),
    );
    assert_eq!(block(uid, first, frames, entries, &bytes[528..end]), bytes[512..end], "as the writer does");
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).unwrap();
    assert!(bomb.len() < 66_000);
    let small = zstd::bulk::compress(&[0; 4096], 3).unwrap();
    for (frames, entries, zstd) in [
        (65_556, entries, &bomb[..]),
        (u32::MAX, entries, &bomb),
        (4096, entries, &bomb),
        (4096, entries, &small),
        (4095, entries, &small),
        (4096, 0, &small),
        (4096, u32::MAX, &small),
        (frames, entries + 1, &bytes[528..end]),
        (frames, entries - 1, &bytes[528..end]),
        (frames - 1, entries, &bytes[528..end]),
        (frames + 1, entries, &bytes[528..end]),
        (frames, entries, b"not compressed"),
        (frames, entries, b""),
    ] {
        let forged = block(uid, first, frames, entries, zstd);
        // Over the block that stands there, as far as that reaches; and with nothing behind it, so that it is found by
        // itself.
        let mut over = bytes.clone();
        let room = forged.len().min(end - 512);
        over[512..512 + room].copy_from_slice(&forged[..room]);
        tolerated(&disk, &records, &path, &over, "in the place of a block");
        let alone = [&bytes[..512], &forged].concat();
        tolerated(&disk, &records, &path, &alone, "without a footer");
    }
}

#[test]
fn a_block_of_another_place_is_not_taken_for_the_one_that_stood_there() {
    let (disk, records, path, bytes) = log();
    let at = |offset: usize| 16 + u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap()) as usize;
    let (one, two) = (at(512), at(512 + at(512)));
    let swapped =
        [&bytes[..512], &bytes[512 + one..][..two], &bytes[512..][..one], &bytes[512 + one + two..]].concat();
    tolerated(&disk, &records, &path, &swapped, "two blocks in each other's place");
    let other = disk.bytes(&super::path(Position(0))).unwrap();
    tolerated(&disk, &records, &path, &other, "the file of another segment");
}
