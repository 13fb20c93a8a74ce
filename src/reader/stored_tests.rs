//! What the bytes say at once is what decoding them says.

use ledger::event::{encode_annotations, encode_sent};
use ledger::testing;
use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn a_stored_event_is_told_by_its_bytes(
        event in testing::event(),
        annotations in testing::annotations(),
    ) {
        let bytes = [encode_sent(&event), encode_annotations(&annotations)].concat();
        let stored = Stored::of(&bytes).expect("it is what the ledger writes");
        let account = event.account.as_ref().map_or(&b""[..], |account| account.as_str().as_bytes());
        prop_assert_eq!(stored.account, account);
        prop_assert_eq!(stored.kind, Some(event.fact.kind()).filter(|kind| *kind != Kind::Opaque));
    }

    #[test]
    fn bytes_that_were_altered_never_panic(mut bytes in any_event(), at in any::<usize>(), to in any::<u8>()) {
        let at = at % bytes.len();
        bytes[at] = to;
        let _ = Stored::of(&bytes);
        let _ = Stored::of(&bytes[..at]);
    }
}

fn any_event() -> impl Strategy<Value = Vec<u8>> {
    testing::event().prop_map(|event| encode_sent(&event))
}

#[test]
fn every_kind_has_the_number_that_the_proto_gives_it() {
    let descriptors = prost_reflect::DescriptorPool::decode(crate::wire::DESCRIPTORS).unwrap();
    let event = descriptors.get_message_by_name("tokenledger.v1.Event").unwrap();
    let facts = event.oneofs().find(|oneof| oneof.name() == "fact").unwrap();
    let mut named = 0;
    for field in facts.fields() {
        let kind = field.kind();
        let name = kind.as_message().unwrap().name().to_owned();
        assert_eq!(super::kind(field.number().into()).map(Kind::name), Some(name.as_str()));
        named += 1;
    }
    assert_eq!(named, Kind::ALL.len() - 1, "all but the one that has no number");
}

#[test]
fn what_this_program_would_not_write_is_left_to_the_decoder() {
    let unusual: [&[u8]; 8] = [
        &[0x0a, 1, b'x'],
        &[0x12, 1, b'x'],
        &[0x98, 0x06, 1],
        &[0xa2, 0x06, 1, b'x'],
        &[0x3a, 1, b'a', 0x3a, 1, b'b'],
        &[0x82, 0x01, 0, 0x8a, 0x01, 0],
        &[0x3a, 9, b'a'],
        &[0x80; 11],
    ];
    for bytes in unusual {
        assert_eq!(Stored::of(bytes), None, "{bytes:?}");
    }
}
