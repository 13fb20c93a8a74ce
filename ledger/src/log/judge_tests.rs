use super::*;

const UID: LedgerUid = LedgerUid([9; 16]);
const CAPACITY: usize = 8192;

/// Frames of these entries from `offset` on, of one group that begins at position 10.
fn group(offset: usize, entries: &[Vec<u8>]) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = vec![0; offset];
    let mut starts = Vec::new();
    for (n, entry) in (0_u32..).zip(entries) {
        starts.push(bytes.len());
        let header = FrameHeader {
            entry_bytes: u16::try_from(entry.len()).unwrap(),
            batch: (0, 1),
            lag: n,
            entry_crc: crc32fast::hash(entry),
        };
        frame::encode(&mut bytes, UID, Position(10 + u64::from(n)), &header, entry);
    }
    starts.push(bytes.len());
    bytes.resize(CAPACITY, 0);
    (bytes, starts)
}

/// An entry that tells its position where entries do.
fn entry(position: u64, fill: u8, bytes: usize) -> Vec<u8> {
    let mut entry = vec![fill; bytes];
    entry[17..25].copy_from_slice(&position.to_le_bytes());
    entry
}

fn judge(bytes: &[u8], offset: usize) -> Verdict {
    Doubt { bytes, present: bytes.len(), uid: UID, offset, position: Position(10) }.verdict()
}

/// Where the first frame of the group fails.
fn first_failing(bytes: &[u8], starts: &[usize]) -> Option<(usize, Position)> {
    (10..).zip(&starts[..starts.len() - 1]).find_map(|(position, start)| {
        let sound = matches!(frame::look(&bytes[*start..], UID, Position(position)), Found::Whole(..));
        (!sound).then_some((*start, Position(position)))
    })
}

fn judge_from_first_failing(bytes: &[u8], starts: &[usize]) -> Option<Verdict> {
    let (offset, position) = first_failing(bytes, starts)?;
    Some(Doubt { bytes, present: bytes.len(), uid: UID, offset, position }.verdict())
}

#[test]
fn zeros_are_nothing() {
    assert_eq!(judge(&vec![0; CAPACITY], 700), Verdict::Nothing);
}

#[test]
fn every_subset_of_the_sectors_of_a_group_is_torn_and_never_damage() {
    for offset in [512, 700, 1000, 1010, 1023] {
        let entries: Vec<_> = (10..16).map(|p| entry(p, 3, 150 + 130 * (p as usize % 4))).collect();
        let (whole, starts) = group(offset, &entries);
        let sectors = offset / SECTOR_BYTES..=(starts[6] - 1) / SECTOR_BYTES;
        let count = sectors.clone().count();
        for kept in 0..(1_u32 << count) {
            let mut bytes = whole.clone();
            for (n, sector) in sectors.clone().enumerate().filter(|(n, _)| kept & (1 << n) == 0) {
                let _ = n;
                bytes[sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES].fill(0);
            }
            let verdict = judge_from_first_failing(&bytes, &starts);
            assert!(!matches!(verdict, Some(Verdict::Damaged(_))), "{offset} {kept:b} {verdict:?}");
            assert_eq!(verdict.is_none(), kept + 1 == 1 << count);
        }
    }
}

#[test]
fn every_flipped_bit_of_a_group_is_damage() {
    // Also in an event that has whole sectors of zeros by nature, and whose last bytes are zero.
    for fill in [3, 0] {
        let entries = vec![entry(10, fill, 200), entry(11, fill, 1700), entry(12, fill, 512 - 21)];
        let (whole, starts) = group(1020, &entries);
        for bit in 1020 * 8..starts[3] * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let verdict = judge_from_first_failing(&bytes, &starts);
            assert!(matches!(verdict, Some(Verdict::Damaged(_))), "{fill} {bit} {verdict:?}");
        }
    }
}

#[test]
fn a_flipped_bit_behind_the_last_entry_is_damage() {
    for bit in 700 * 8..CAPACITY * 8 {
        let mut bytes = vec![0; CAPACITY];
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(judge(&bytes, 700), Verdict::Damaged(_)), "{bit}");
    }
}

#[test]
fn a_zeroed_sector_is_damage_once_a_later_group_says_it_was_durable() {
    let (mut bytes, starts) = group(512, &[entry(10, 3, 700), entry(11, 3, 700)]);
    bytes[512..1024].fill(0);
    assert!(matches!(judge(&bytes, 512), Verdict::Torn { .. }));
    let later = entry(12, 3, 100);
    let header = FrameHeader { entry_bytes: 100, batch: (0, 1), lag: 0, entry_crc: crc32fast::hash(&later) };
    let mut next = Vec::new();
    frame::encode(&mut next, UID, Position(12), &header, &later);
    bytes[starts[2]..starts[2] + next.len()].copy_from_slice(&next);
    assert!(matches!(judge(&bytes, 512), Verdict::Damaged(_)));
}

#[test]
fn more_than_one_group_can_hold_is_damage() {
    let mut bytes = vec![0; GROUP_BYTES_MAX + 4096];
    bytes[1024] = 0xff;
    bytes[512 + GROUP_BYTES_MAX - 1] = 0xff;
    assert!(matches!(judge(&bytes, 512), Verdict::Torn { .. }));
    bytes[512 + GROUP_BYTES_MAX] = 0xff;
    assert!(matches!(judge(&bytes, 512), Verdict::Damaged(_)));
}

#[test]
fn a_file_that_ends_early_is_torn_at_every_byte_but_a_flipped_bit_before_is_not() {
    let (whole, starts) = group(700, &[entry(10, 3, 300), entry(11, 3, 900)]);
    for present in starts[1] + 1..starts[2] {
        let mut bytes = whole.clone();
        bytes[present..].fill(0);
        let doubt = Doubt { bytes: &bytes, present, uid: UID, offset: starts[1], position: Position(11) };
        assert!(matches!(doubt.verdict(), Verdict::Torn { .. }), "{present}");
        bytes[starts[0] + 40] ^= 1;
        let doubt = Doubt { bytes: &bytes, present, uid: UID, offset: starts[0], position: Position(10) };
        assert!(matches!(doubt.verdict(), Verdict::Damaged(_)), "{present}");
    }
}

#[test]
fn one_flipped_bit_is_known_by_its_crc() {
    let entry: Vec<u8> = (0..=255).collect();
    let crc = crc32fast::hash(&entry);
    for bit in 0..entry.len() * 8 {
        let mut flipped = entry.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(is_one_bit(crc32fast::hash(&flipped) ^ crc, entry.len()));
        flipped[(bit / 8 + 9) % 256] ^= 4;
        assert!(!is_one_bit(crc32fast::hash(&flipped) ^ crc, entry.len()));
    }
}
