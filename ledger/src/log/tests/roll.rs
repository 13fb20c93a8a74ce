//! From segment to segment.

use super::*;
use crate::log::AppendError;

#[test]
fn segments_grow_four_times_up_to_the_largest_and_a_larger_group_gets_a_larger_one() {
    let (log, _) = open_on(MemoryDisk::new());
    let mut chain = Chain::new();
    let mut capacities = Vec::new();
    let mut records = Vec::new();
    for n in 0..60 {
        let batches: &[u16] = if n == 50 { &[100] } else { &[1, 3] };
        let group = chain.group(batches, 200);
        log.append(log.tail().next, &group).unwrap();
        records.extend(group);
        capacities.push(log.view().open.as_ref().unwrap().capacity);
    }
    capacities.dedup();
    assert_eq!(capacities[..2], [4096, 16_384]);
    assert!(capacities.iter().any(|c| *c > 16_384), "{capacities:?}");
    assert!(capacities.iter().all(|c| c % 512 == 0));
    assert_eq!(all(&log), records);
}

#[test]
fn a_sealed_segment_is_cut_to_its_length_and_is_as_good_after_reopening() {
    let disk = MemoryDisk::new();
    let (log, _) = open_on(disk.clone());
    let mut chain = Chain::new();
    let mut records = Vec::new();
    for _ in 0..40 {
        let group = chain.group(&[2], 100);
        log.append(log.tail().next, &group).unwrap();
        records.extend(group);
    }
    assert!(log.view().sealed.len() >= 2);
    for sealed in &log.view().sealed {
        let bytes = disk.bytes(&Path::new(DIR).join("log").join(&sealed.name)).unwrap();
        assert_eq!(&bytes[bytes.len() - 8..], b"TKLFOOTE");
    }
    let (again, repair) = open_on(disk.copy());
    assert_eq!((repair, again.tail(), all(&again)), (None, log.tail(), records.clone()));
    for from in [0, 1, 30, 79] {
        for log in [&log, &again] {
            let mut ids = Vec::new();
            log.for_each_id(Position(from), &mut |key, position| ids.push((position, key))).unwrap();
            ids.sort_unstable();
            assert_eq!(ids, chain::ids(&records)[from as usize..]);
        }
    }
}

/// Has the first id of a segment's footer name another entry, under a CRC that is right.
fn with_first_id_naming(mut bytes: Vec<u8>, entry: u32) -> Vec<u8> {
    let end = bytes.len() - 16;
    let footer = bytes.len() - u32::from_le_bytes(bytes[end + 4..end + 8].try_into().unwrap()) as usize;
    let count = u64::from_le_bytes(bytes[footer + 12..footer + 20].try_into().unwrap()) as usize;
    let first = end - 12 * count;
    let named = u32::from_le_bytes(bytes[first + 8..first + 12].try_into().unwrap());
    let other = if entry == named { entry + 1 } else { entry };
    bytes[first + 8..first + 12].copy_from_slice(&other.to_le_bytes());
    let crc = crc32fast::hash(&bytes[footer..end]);
    bytes[end..end + 4].copy_from_slice(&crc.to_le_bytes());
    bytes
}

#[test]
fn ids_come_from_the_entries_where_a_footer_names_one_twice_or_one_that_is_not_there() {
    let disk = MemoryDisk::new();
    let (log, _) = open_on(disk.clone());
    let mut chain = Chain::new();
    let mut records = Vec::new();
    while log.view().sealed.len() < 3 {
        let group = chain.group(&[2], 100);
        log.append(log.tail().next, &group).unwrap();
        records.extend(group);
    }
    let path = Path::new(DIR).join("log").join(&log.view().sealed[1].name);
    let bytes = disk.bytes(&path).unwrap();
    for entry in [0, 1, 1_000_000, u32::MAX - 1] {
        disk.put(&path, &with_first_id_naming(bytes.clone(), entry));
        let (again, _) = open_on(disk.copy());
        let mut ids = Vec::new();
        again.for_each_id(Position(0), &mut |key, position| ids.push((position, key))).unwrap();
        ids.sort_unstable();
        assert_eq!(ids, chain::ids(&records), "{entry}");
    }
}

#[test]
fn the_next_segment_can_be_prepared_ahead_once_the_open_one_is_half_full() {
    let disk = crate::disk::testing::FaultyDisk::new(Arc::new(MemoryDisk::new()));
    let (log, _) = open_on(disk.clone());
    let mut chain = Chain::new();
    assert!(!log.wants_next());
    while !log.wants_next() {
        log.append(log.tail().next, &chain.group(&[1], 100)).unwrap();
    }
    log.prepare_next().unwrap();
    assert!(!log.wants_next());
    let calls = disk.calls().len();
    log.prepare_next().unwrap();
    assert_eq!(disk.calls().len(), calls, "it is ready");
    while log.view().sealed.is_empty() {
        log.append(log.tail().next, &chain.group(&[1], 100)).unwrap();
    }
    assert!(disk.calls()[calls..].iter().all(|c| c.kind != "open"), "it was used");
}

#[test]
fn a_group_that_does_not_continue_the_log_is_turned_away_and_does_no_harm() {
    let (log, _) = open_on(MemoryDisk::new());
    let mut chain = Chain::new();
    let first = chain.group(&[2], 50);
    log.append(Position(0), &first).unwrap();
    let second = chain.group(&[3], 50);
    let broken: [&[Record]; 4] =
        [&second[..2], &second[1..], &first, &[second[0].clone(), second[2].clone()]];
    for group in broken {
        assert!(matches!(log.append(Position(2), group), Err(AppendError::Stopped(_))));
    }
    assert!(matches!(
        log.append(Position(3), &second),
        Err(AppendError::Moved { expected: Position(3), actual: Position(2) })
    ));
    log.append(Position(2), &second).unwrap();
    assert_eq!(all(&log), [first, second].concat());
}

#[test]
fn the_published_tail_tells_how_far_the_log_is_durable() {
    let disk = MemoryDisk::new();
    let (log, _) = open_on(disk.clone());
    let tail = log.append(Position(0), &Chain::new().group(&[5], 50)).unwrap();
    let bytes = disk.bytes(&Path::new(DIR).join("tail")).unwrap();
    let (body, crc) = bytes.split_last_chunk::<4>().unwrap();
    assert_eq!(body, [&b"TKLTAIL1"[..], &5_u64.to_le_bytes(), &tail.link.0].concat());
    assert_eq!(*crc, crc32fast::hash(body).to_le_bytes());
}

#[test]
fn readers_beside_a_writer_see_whole_groups_that_continue_one_another() {
    let (log, _) = open_on(MemoryDisk::new());
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut chain = Chain::new();
            for _ in 0..300 {
                log.append(log.tail().next, &chain.group(&[1, 2], 80)).unwrap();
            }
        });
        let mut next = Position(0);
        while !writer.is_finished() || next < log.tail().next {
            let tail = log.tail().next;
            assert!(tail.0.is_multiple_of(3), "part of a group");
            let records = log.read(next, 5000).unwrap();
            next = Position(next.0 + records.len() as u64);
        }
        assert_eq!(next, Position(900));
    });
}

#[test]
fn many_segments_are_read_with_few_open_files() {
    let (log, _) = open_on(MemoryDisk::new());
    let mut chain = Chain::new();
    let mut records = Vec::new();
    while log.view().sealed.len() < 30 {
        let group = chain.group(&[30], 400);
        log.append(log.tail().next, &group).unwrap();
        records.extend(group);
    }
    for _ in 0..2 {
        assert_eq!(all(&log), records);
    }
}
