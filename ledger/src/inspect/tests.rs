//! What `log inspect` shows.

use std::path::Path;

use expect_test::{Expect, expect};

use super::{Naming, describe, find_frame};
use crate::types::Position;
use crate::verify::tests::writer::{Planned, build, plan};

/// An event: field 1 text, 2 a message with a number and a text, 3 a fixed64, 4 a fixed32, 5 bytes.
const EVENT: &[u8] =
    b"\x0a\x05hello\x12\x09\x08\x96\x01\x12\x04team\x19\x01\0\0\0\0\0\0\0\x25\x02\0\0\0\x2a\x02\xff\xfe";

fn planned(event: &[u8]) -> Planned {
    let mut one = plan(&[&[10], &[10]]).remove(1);
    one.event = event.to_vec();
    one
}

fn check(frame: &[u8], naming: Option<Naming<'_>>, expected: &Expect) {
    let mut shown = String::new();
    for field in describe(frame, naming) {
        let bytes = hex::encode(&field.bytes);
        shown += &format!("{:<4} {:<22} {bytes} = {}\n", field.offset, field.name, field.value);
    }
    expected.assert_eq(&shown);
}

/// The bytes of the fields, one after the other, are the frame.
fn covers_every_byte(frame: &[u8]) {
    let mut covered = Vec::new();
    for field in describe(frame, None) {
        assert_eq!(field.offset, covered.len(), "{}", field.name);
        covered.extend(field.bytes);
    }
    assert_eq!(covered, frame);
}

#[test]
fn an_entry_is_shown_byte_by_byte() {
    let names = |path: &[u32]| {
        let name = match path {
            [1] => "greeting",
            [2] => "owner",
            [2, 1] => "number",
            [2, 2] => "name",
            _ => return None,
        };
        Some(name.to_owned())
    };
    check(
        &planned(EVENT).frame(),
        Some(&names),
        &expect![[r#"
            0    frame.magic            544c = TL
            2    frame.entry_bytes      8700 = 135
            4    frame.batch_index      0000 = 0
            6    frame.batch_entries    0100 = 1
            8    frame.lag              00000000 = 0: 1 entries were durable when it was written
            12   frame.entry_crc        26df84d3 = d384df26, fits
            16   frame.header_crc       a171d398 = 98d371a1, fits
            20   entry.version          01 = 1
            21   entry.ledger_uid       7468652074657374206c656467657221 = 74686520-7465-7374-206c-656467657221
            37   entry.position         0100000000000000 = 1
            45   entry.epoch            00000000 = 0
            49   entry.previous_link    3e40166fa3dd215c6d64f4bc0f64522ec4822c66bc117a345ad3ad2e23651433 = 3e40166fa3dd215c6d64f4bc0f64522ec4822c66bc117a345ad3ad2e23651433
            81   entry.recorded_at      01002a36fe9c9717 = 2023-11-14T22:13:20.000000001Z
            89   entry.event_id         0000000000000000000000002468acf0 = 00000000-0000-0000-0000-00002468acf0
            105  entry.emitter_bytes    0d = 13
            106  entry.emitter          746f6b656e2d73657276696365 = token-service
            119  event.greeting         0a0568656c6c6f = "hello"
            126  event.owner            1209 = a message of 9 bytes
            128  event.owner.number     089601 = 150
            131  event.owner.name       12047465616d = "team"
            137  event.3                190100000000000000 = 1
            146  event.4                2502000000 = 2
            151  event.5                2a02fffe = fffe
            155  frame.end_mark         b7 = fits
            156  link                    = 5c5cf023195c57664b1363c77122a194691d1fe0a95cab5219ae4e7a96b1ac89
        "#]],
    );
}

#[test]
fn an_event_without_names_is_shown_by_its_numbers() {
    let frame = planned(b"\x0a\x05hello\x12\x02\x08\x07\x1a\x01\x07").frame();
    let shown = describe(&frame, None);
    let event: Vec<_> = shown.iter().filter(|f| f.name.starts_with("event")).collect();
    let shown: Vec<_> = event.iter().map(|f| (f.name.as_str(), f.value.as_str())).collect();
    let expected = [
        ("event.1", "\"hello\""),
        ("event.2", "a message of 2 bytes"),
        ("event.2.1", "7"),
        ("event.3", "07"),
    ];
    assert_eq!(shown, expected);
}

#[test]
fn a_changed_entry_is_shown_not_to_fit() {
    let mut frame = planned(EVENT).frame();
    let last = frame.len() - 2;
    frame[last] ^= 1;
    let value = |frame: &[u8], name: &str| {
        describe(frame, None).into_iter().find(|field| field.name == name).unwrap().value
    };
    assert!(value(&frame, "frame.entry_crc").ends_with("does not fit"));
    assert!(value(&frame, "frame.header_crc").ends_with(", fits"));
    assert_eq!(value(&frame, "frame.end_mark"), "fits");
    frame[last + 1] ^= 1;
    assert_eq!(value(&frame, "frame.end_mark"), "does not fit");
    frame[9] ^= 1;
    assert!(value(&frame, "frame.header_crc").ends_with("does not fit"));
}

#[test]
fn every_byte_is_shown_whatever_the_bytes_are() {
    let frame = planned(EVENT).frame();
    covers_every_byte(&frame);
    for length in 0..frame.len() {
        covers_every_byte(&frame[..length]);
    }
    for offset in 0..frame.len() {
        for bit in 0..8 {
            let mut flipped = frame.clone();
            flipped[offset] ^= 1 << bit;
            covers_every_byte(&flipped);
        }
    }
}

#[test]
fn messages_nested_without_end_are_shown_as_bytes() {
    let mut event = vec![8, 1];
    while event.len() < 60_000 {
        let mut length = Vec::new();
        prost::encoding::encode_varint(event.len() as u64, &mut length);
        event.splice(0..0, [&[0x0A], &length[..]].concat());
    }
    covers_every_byte(&planned(&event).frame());
}

#[test]
fn a_frame_is_found_by_its_position_in_sealed_and_open_segments() {
    let planned = plan(&[&[40], &[300], &[1, 2, 3], &[70]]);
    let built = build(&planned, &[2, 2], 4096);
    let find =
        |position| find_frame(&built.files, Path::new("d/ledgers/default"), Position(position)).unwrap();
    for (position, (file, begin, _)) in built.frames.iter().enumerate() {
        let found = find(position as u64).unwrap();
        assert_eq!((&found.file, found.offset), (file, *begin));
        assert_eq!(found.frame, planned[position].frame());
    }
    assert_eq!(find(6), None);
    assert_eq!(find(u64::MAX), None);
}
