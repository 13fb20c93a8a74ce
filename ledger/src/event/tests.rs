//! What is sent comes back from the log as it was sent; what must not be sent is refused without being told.

use proptest::prelude::*;
use prost::Message;
use uuid::Uuid;

use super::{
    Annotations, Event, Fact, Kind, Recorded, encode_annotations, encode_sent, parse, stored, to_message,
};
use crate::entry::{self, Header};
use crate::pb;
use crate::testing;
use crate::types::{Emitter, LedgerUid, Link, Position, Time};

fn header(event: &Event) -> Header {
    Header {
        uid: LedgerUid([7; 16]),
        position: Position(12),
        epoch: 0,
        previous: Link::default(),
        recorded_at: Time(99),
        event_id: event.event_id,
        emitter: event.emitter.clone(),
    }
}

fn message() -> pb::Event {
    pb::Event {
        event_id: Uuid::from_u128(1).to_string(),
        emitter: "platform".to_owned(),
        occurred_at: Some(prost_types::Timestamp { seconds: 1_726_012_800, nanos: 0 }),
        actor: Some(pb::Actor { kind: pb::ActorKind::Automation.into(), id: "cron".to_owned() }),
        account: "bot-1".to_owned(),
        fact: Some(pb::event::Fact::AccountDisabled(pb::AccountDisabled {})),
        ..pb::Event::default()
    }
}

fn refusals(message: &pb::Event) -> String {
    parse(message).expect_err("must be refused").to_string()
}

proptest! {
    #[test]
    fn an_event_that_is_sent_is_read_as_it_was_meant(event in testing::event()) {
        prop_assert_eq!(parse(&to_message(&event)), Ok(event));
    }

    #[test]
    fn what_is_stored_of_an_event_is_its_message_without_id_and_emitter(event in testing::event()) {
        let message = pb::Event { event_id: String::new(), emitter: String::new(), ..to_message(&event) };
        prop_assert_eq!(encode_sent(&event), message.encode_to_vec());
    }

    #[test]
    fn an_event_comes_back_from_the_log_as_it_was_recorded(
        event in testing::event(), annotations in testing::annotations()
    ) {
        let mut bytes = encode_sent(&event);
        bytes.extend(encode_annotations(&annotations));
        let header = header(&event);
        let entry = entry::encode(&header, &bytes).unwrap();
        let (read, rest) = entry::decode(&entry).unwrap();
        let expected = Recorded { event, annotations, position: Position(12), recorded_at: Time(99) };
        prop_assert_eq!(&read, &header);
        prop_assert_eq!(stored(&read, rest), expected);
    }

    #[test]
    fn cut_or_changed_bytes_never_stop_the_reader(
        event in testing::event(), cut in any::<prop::sample::Index>(),
        flip in any::<prop::sample::Index>(), mask in 1..=255_u8, garbage in any::<Vec<u8>>()
    ) {
        let header = header(&event);
        let mut bytes = encode_sent(&event);
        let _ = stored(&header, &bytes[..cut.index(bytes.len() + 1)]);
        let _ = stored(&header, &garbage);
        let at = flip.index(bytes.len());
        bytes[at] ^= mask;
        let _ = stored(&header, &bytes);
        let _ = pb::Event::decode(&bytes[..]).map(|message| parse(&message));
    }

    #[test]
    fn no_refusal_tells_what_was_sent(
        secret in "glpat-[A-Za-z0-9]{24}|hvs\\.[A-Za-z0-9]{30}|[A-Za-z0-9!]{700}", field in 0..FIELDS
    ) {
        let told = refusals(&with_text(&secret, field));
        for window in secret.as_bytes().windows(8) {
            let part = std::str::from_utf8(window).unwrap();
            prop_assert!(!told.contains(part), "field {field}: {told}");
        }
    }
}

/// How many fields [`with_text`] knows.
const FIELDS: usize = 26;

/// A message with a value where a client might put a secret by accident.
fn with_text(value: &str, field: usize) -> pb::Event {
    use pb::event::Fact as M;
    let v = || value.to_owned();
    let ok = || "fine".to_owned();
    let token = || pb::TokenIssued {
        token: ok(),
        expiry: Some(pb::Expiry { expiry: Some(pb::expiry::Expiry::Never(pb::expiry::Never {})) }),
        ..Default::default()
    };
    let created = || pb::AccountCreated { kind: 1, handle: ok(), ..Default::default() };
    let mut m = message();
    let fact = match field {
        0 => return pb::Event { event_id: v(), ..m },
        1 => return pb::Event { emitter: format!("{value} "), ..m },
        2 => return pb::Event { actor: Some(pb::Actor { kind: 1, id: v() }), ..m },
        3 => return pb::Event { account: v(), ..m },
        4 => return pb::Event { cause: Some(pb::Cause { run: v(), ..Default::default() }), ..m },
        5 => return pb::Event { cause: Some(pb::Cause { request: v(), ..Default::default() }), ..m },
        6 => {
            let reason = format!("gl{}-{}", "pat", "a".repeat(20)) + value;
            return pb::Event { cause: Some(pb::Cause { reason, ..Default::default() }), ..m };
        }
        7 => return pb::Event { cause: Some(pb::Cause { correlation_id: v(), ..Default::default() }), ..m },
        8 => M::TokenIssued(pb::TokenIssued { token: v(), ..token() }),
        9 => M::TokenIssued(pb::TokenIssued { digest: v(), ..token() }),
        10 => M::TokenIssued(pb::TokenIssued { digest: format!("sha256:{value}"), ..token() }),
        11 => M::TokenIssued(pb::TokenIssued { family: v(), ..token() }),
        12 => M::TokenIssued(pb::TokenIssued { scopes: vec![ok(), v()], ..token() }),
        13 => M::AccountCreated(pb::AccountCreated { handle: v(), ..created() }),
        14 => M::AccountCreated(pb::AccountCreated { namespace: v(), ..created() }),
        15 => M::AccountCreated(pb::AccountCreated {
            attributes: [(v(), ok())].into_iter().collect(),
            ..created()
        }),
        16 => M::AccountCreated(pb::AccountCreated {
            attributes: [(ok(), format!("{value}{}", "x".repeat(4096)))].into_iter().collect(),
            ..created()
        }),
        17 => M::TokenRotated(pb::TokenRotated {
            old_token: v(),
            new_token: Some(token()),
            overlap_until: None,
        }),
        18 => M::TokenRotated(pb::TokenRotated {
            old_token: ok(),
            new_token: Some(pb::TokenIssued { token: v(), ..token() }),
            overlap_until: None,
        }),
        19 => M::GrantAdded(pb::GrantAdded { grant: ok(), resource: v(), ..Default::default() }),
        20 => M::GrantChanged(pb::GrantChanged { grant: ok(), access: Some(v()), expires_at: None }),
        21 => {
            M::ConsumerDeclared(pb::ConsumerDeclared { consumer: ok(), location: v(), ..Default::default() })
        }
        22 => M::AccountRestored(pb::AccountRestored {
            differences: vec![pb::Difference { what: v(), reason: ok(), detail: ok() }],
            ..Default::default()
        }),
        23 => M::AccountRestored(pb::AccountRestored { plan: v(), ..Default::default() }),
        24 => M::AccountUpdated(pb::AccountUpdated { handle: Some(v()), ..Default::default() }),
        _ => M::AccountUpdated(pb::AccountUpdated { attributes_removed: vec![v()], ..Default::default() }),
    };
    m.fact = Some(fact);
    m
}

#[test]
fn every_kind_has_a_fact_that_comes_back_from_its_bytes() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..4000 {
        let event = proptest::strategy::Strategy::new_tree(&testing::event(), &mut runner)
            .map(|tree| proptest::strategy::ValueTree::current(&tree))
            .unwrap();
        assert_eq!(stored(&header(&event), &encode_sent(&event)).event, event);
        seen.insert(event.fact.kind());
    }
    let missing: Vec<_> = Kind::ALL.iter().filter(|k| **k != Kind::Opaque && !seen.contains(k)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_problem_is_reported_at_once() {
    let message = pb::Event { event_id: "7".to_owned(), actor: None, fact: None, ..message() };
    let told = refusals(&message);
    for field in ["event_id", "actor", "fact"] {
        assert!(told.contains(&format!("field `{field}`")), "{told}");
    }
}

#[test]
fn a_number_for_an_unknown_choice_is_refused_and_never_read_as_no_choice() {
    let revoked = pb::TokenRevoked { token: "t".to_owned(), reason: 99 };
    let message = pb::Event { fact: Some(pb::event::Fact::TokenRevoked(revoked)), ..message() };
    assert!(refusals(&message).contains("token_revoked.reason"));
    let event = parse(&self::message()).unwrap();
    assert_eq!(stored(&header(&event), &message.encode_to_vec()).event.fact, Fact::Opaque);

    let actor = pb::Event { actor: Some(pb::Actor { kind: 99, id: "x".to_owned() }), ..self::message() };
    assert!(refusals(&actor).contains("actor.kind"));
}

#[test]
fn a_client_may_not_set_what_the_ledger_finds() {
    let annotations = Some(pb::Annotations { late: true, ..Default::default() });
    assert!(refusals(&pb::Event { annotations, ..message() }).contains("annotations"));
}

#[test]
fn what_the_ledger_has_nothing_to_add_to_costs_no_bytes() {
    assert!(encode_annotations(&Annotations::default()).is_empty());
}

#[test]
fn id_and_emitter_stand_in_the_header_alone() {
    let event = parse(&message()).unwrap();
    let other = Event {
        event_id: Uuid::from_u128(2),
        emitter: "someone-else".parse::<Emitter>().unwrap(),
        ..event.clone()
    };
    assert_eq!(encode_sent(&event), encode_sent(&other));
}

#[test]
fn a_kind_newer_than_this_program_is_opaque_and_keeps_its_account() {
    let event = parse(&message()).unwrap();
    let mut bytes = pb::Event { fact: None, ..to_message(&event) }.encode_to_vec();
    // Field 1999, length-delimited: a kind that does not exist yet.
    prost::encoding::encode_key(1999, prost::encoding::WireType::LengthDelimited, &mut bytes);
    bytes.push(0);
    let read = stored(&header(&event), &bytes).event;
    assert_eq!((read.fact, read.account), (Fact::Opaque, event.account));
}
