use super::*;
use crate::types::Position;

fn tree(size: u64) -> Frontier {
    let mut tree = Frontier::default();
    (0..size).for_each(|n| tree.push([n as u8; 32]));
    tree
}

fn index(entries: u64) -> Index {
    let before =
        End { next: Position(30), offset: HEADER_BYTES, link: Link([5; 32]), recorded_at: Time(9), epoch: 3 };
    let mut index = Index::new(before, Some(tree(30)));
    for n in 0..entries {
        let header = crate::entry::Header {
            uid: crate::types::LedgerUid([1; 16]),
            position: Position(30 + n),
            epoch: 3,
            previous: Link([5; 32]),
            recorded_at: Time(9),
            event_id: uuid::Uuid::from_u128(u128::from(n)),
            emitter: "e".parse().unwrap(),
        };
        let key = IdKey::of(&header.emitter, &header.event_id);
        index.push(&header, key, Link([6; 32]), index.end.offset, 120);
        index.grow(&n.to_le_bytes());
    }
    index
}

fn sealed(entries: u64) -> (Index, Vec<u8>, usize) {
    let index = index(entries);
    let start = usize::try_from(align(index.end.offset)).unwrap();
    let mut bytes = vec![0; start];
    bytes.extend(encode(&index));
    (index, bytes, start)
}

#[test]
fn a_footer_reads_back_and_no_flipped_bit_goes_unnoticed() {
    let (index, bytes, at) = sealed(130);
    assert_eq!(bytes.len() - at, usize::try_from(footer_bytes(130, 32 * 2)).unwrap());
    assert_eq!(start(&bytes[bytes.len() - 16..], bytes.len() as u64), Some(at as u64));
    let (footer, listed) = decode(&bytes[at..], at as u64).unwrap();
    assert_eq!((footer.first, footer.end, footer.strides), (index.first, index.end, index.strides.clone()));
    assert_eq!((&footer.tree, footer.tree.as_ref().map(Frontier::size)), (&index.tree, Some(160)));
    let mut ids_in: Vec<_> = ids(listed).collect();
    assert!(ids_in.is_sorted());
    ids_in.sort_by_key(|(_, number)| *number);
    assert_eq!(ids_in, index.ids);
    for bit in at * 8..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(decode(&flipped[at..], at as u64), None, "bit {bit}");
        assert_eq!(sealing(&index, &flipped, bytes.len()), Sealing::Damaged, "bit {bit}");
    }
}

#[test]
fn any_subset_of_the_sectors_of_a_footer_is_a_footer_cut_short() {
    let (index, bytes, at) = sealed(130);
    let sectors = (bytes.len() - at).div_ceil(SECTOR_BYTES);
    for kept in 0..(1_u32 << sectors) {
        let mut torn = bytes.clone();
        for n in (0..sectors).filter(|n| kept & (1 << n) == 0) {
            let end = torn.len().min(at + (n + 1) * SECTOR_BYTES);
            torn[at + n * SECTOR_BYTES..end].fill(0);
        }
        torn.resize(bytes.len() + 3000, 0);
        let expected = match kept {
            0 => Sealing::NotBegun,
            k if k + 1 == 1 << sectors => Sealing::Done,
            _ => Sealing::Torn,
        };
        assert_eq!(sealing(&index, &torn, torn.len()), expected, "{kept:b}");
    }
}

#[test]
fn a_footer_that_ends_early_is_cut_short() {
    let (index, bytes, at) = sealed(130);
    for present in at + 1..bytes.len() {
        let mut torn = bytes.clone();
        torn[present..].fill(0);
        assert_eq!(sealing(&index, &torn, present), Sealing::Torn, "{present}");
    }
}
