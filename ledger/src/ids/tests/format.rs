//! The bytes of a run, read here as `docs/format.md` draws them and by nothing of the program.

use std::path::Path;

use expect_test::expect;

use super::super::test_disk::TestDisk;
use super::{DIR, UID, do_all_jobs, feed, key, open, small};

const ENTRIES: usize = 700;

fn run() -> Vec<u8> {
    let disk = TestDisk::new();
    let mut index = open(&disk, super::IdOptions { memtable_entries_max: ENTRIES, ..small() });
    feed(&mut index, 2 * ENTRIES as u64);
    do_all_jobs(&mut index);
    let name = format!("{:020}-{:020}.run", ENTRIES, 2 * ENTRIES - 1);
    disk.bytes(&Path::new(DIR).join(name)).unwrap()
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap())
}

/// The CRC that stands at the end of every page.
fn page_crc(page: &[u8], number: u64) -> u32 {
    let mut covered = UID.0.to_vec();
    for word in [ENTRIES as u64, 2 * ENTRIES as u64 - 1, number] {
        covered.extend(word.to_le_bytes());
    }
    covered.extend(&page[..4092]);
    crc32fast::hash(&covered)
}

#[test]
fn a_header_is_as_drawn() {
    let bytes = run();
    assert_eq!(&bytes[..8], b"TKLIDS01");
    assert_eq!(u32_at(&bytes, 8), 1);
    assert_eq!(&bytes[12..28], UID.0);
    assert_eq!(u64_at(&bytes, 28), ENTRIES as u64);
    assert_eq!(u64_at(&bytes, 36), ENTRIES as u64);
    assert_eq!(u32_at(&bytes, 44), 10);
    assert_eq!(u32_at(&bytes, 48), crc32fast::hash(&bytes[4 * 4096..]));
    assert!(bytes[52..4092].iter().all(|b| *b == 0));
    assert_eq!(u32_at(&bytes, 4092), page_crc(&bytes[..4096], u64::MAX));
}

#[test]
fn pages_are_as_drawn() {
    let bytes = run();
    let mut keys: Vec<_> = (ENTRIES as u64..2 * ENTRIES as u64).map(|n| (key(n).0, n)).collect();
    keys.sort_unstable();
    for (i, (key, n)) in keys.iter().enumerate() {
        let at = 4096 * (1 + i / 340) + 12 * (i % 340);
        assert_eq!((u64_at(&bytes, at), u64::from(u32_at(&bytes, at + 8))), (*key, n - ENTRIES as u64));
    }
    for number in 0..3 {
        let page = &bytes[4096 * (1 + number)..][..4096];
        assert_eq!(u32_at(page, 4092), page_crc(page, number as u64));
    }
    assert!(bytes[3 * 4096 + 20 * 12..4 * 4096 - 4].iter().all(|b| *b == 0));
}

#[test]
fn a_filter_is_as_drawn() {
    let bytes = run();
    let filter = &bytes[4 * 4096..];
    let remainder_words = (ENTRIES * 10).div_ceil(64);
    assert_eq!(filter.len(), 8 * (remainder_words + (2 * ENTRIES).div_ceil(64)));
    let bit = |n: usize| filter[n / 8] >> (n % 8) & 1 == 1;
    let mut keys: Vec<_> = (ENTRIES as u64..2 * ENTRIES as u64).map(|n| key(n).0).collect();
    keys.sort_unstable();
    let mut buckets = vec![false; 2 * ENTRIES];
    for (i, key) in keys.iter().enumerate() {
        let value = ((u128::from(*key) * ENTRIES as u128 * 1024) >> 64) as usize;
        let remainder = (0..10).filter(|b| bit(i * 10 + b)).map(|b| 1 << b).sum::<usize>();
        assert_eq!(remainder, value % 1024);
        buckets[value / 1024 + i] = true;
    }
    let stored: Vec<_> = (0..2 * ENTRIES).map(|n| bit(remainder_words * 64 + n)).collect();
    assert_eq!(stored, buckets);
}

#[test]
fn a_run_of_these_ids_has_had_these_bytes_since_the_first_release() {
    let golden = expect!["87fb4e8afc368d1c9e2c4fc085fc9d624c4fd635e2e2f22af412072e1bb8ac45"];
    golden.assert_eq(&blake3::hash(&run()).to_hex());
}
