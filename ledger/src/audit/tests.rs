use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::checkpoint::{LocalSigner, LogKeys, PrivateKey, Signer};
use crate::pb;
use crate::types::{Emitter, LedgerName};

fn key(seed: u8) -> PrivateKey {
    PrivateKey::new("ledger.example.org".parse().unwrap(), &[seed; 32])
}

fn keys(seeds: &[u8]) -> LogKeys {
    LogKeys::new(seeds.iter().map(|seed| key(*seed).verifier(&LedgerName::default())).collect()).unwrap()
}

fn signed(seed: u8, tree: TreeHead) -> Signed {
    let note = LocalSigner::new(&key(seed), &LedgerName::default(), None).sign(tree, &[]).unwrap();
    keys(&[seed]).open(&note).unwrap()
}

fn header(position: u64) -> Header {
    Header {
        uid: LedgerUid([1; 16]),
        position: Position(position),
        epoch: 0,
        previous: Link::default(),
        recorded_at: Time(1_000 + i64::try_from(position / 3).unwrap()),
        event_id: uuid::Uuid::from_bytes([if position == 0 { 1 } else { 2 }; 16]),
        emitter: Emitter::ledger(),
    }
}

fn event(position: u64) -> Vec<u8> {
    let fact = match position {
        0 => pb::event::Fact::LedgerCreated(pb::LedgerCreated { name: "default".into() }),
        _ => pb::event::Fact::AccountDeleted(pb::AccountDeleted::default()),
    };
    message(fact, if position == 0 { "" } else { "bot" })
}

fn message(fact: pb::event::Fact, account: &str) -> Vec<u8> {
    let actor = pb::Actor { kind: pb::ActorKind::Automation.into(), id: "tokenledger".into() };
    pb::Event {
        occurred_at: Some(prost_types::Timestamp::default()),
        actor: Some(actor),
        account: account.into(),
        fact: Some(fact),
        ..Default::default()
    }
    .encode_to_vec()
}

/// A log of so many entries; `change` is told each header and event before it is linked.
fn log(size: u64, mut change: impl FnMut(u64, &mut Header, &mut Vec<u8>)) -> Vec<Vec<u8>> {
    let mut previous = Link::default();
    (0..size)
        .map(|position| {
            let (mut header, mut event) = (Header { previous, ..header(position) }, event(position));
            change(position, &mut header, &mut event);
            let entry = entry::encode(&header, &event).unwrap();
            previous = entry::link(&entry);
            entry
        })
        .collect()
}

fn honest(size: u64) -> Vec<Vec<u8>> {
    log(size, |_, _, _| {})
}

/// Takes everything in, and gives the walk or the first finding.
fn walked(entries: &[Vec<u8>]) -> Result<Audit, Finding> {
    let mut audit = Audit::from(None, &keys(&[1, 2]));
    entries.iter().try_for_each(|entry| audit.take(entry).map(drop))?;
    Ok(audit)
}

#[test]
fn an_honest_log_is_walked_in_one_go_or_in_many_with_the_same_result() {
    let entries = honest(40);
    let whole = walked(&entries).unwrap();
    let mut state: Option<AuditState> = None;
    for run in entries.chunks(7) {
        let mut audit = Audit::from(state.as_ref(), &keys(&[1, 2]));
        for entry in run {
            assert_eq!(audit.take(entry).unwrap(), tree::leaf(entry));
        }
        let next = audit.remember(&signed(1, audit.head())).unwrap();
        state = Some(AuditState::parse(&next.to_bytes()).unwrap());
        assert_eq!(state.as_ref(), Some(&next));
    }
    assert_eq!(state.unwrap().head(), whole.head());
    assert_eq!(whole.next(), 40);
}

#[test]
fn a_checkpoint_of_anything_else_is_not_remembered() {
    let audit = walked(&honest(5)).unwrap();
    let other = TreeHead { root: [1; 32], ..audit.head() };
    assert_eq!(audit.remember(&signed(1, other)), None);
    assert_eq!(walked(&honest(4)).unwrap().remember(&signed(1, audit.head())), None);
}

fn wrong_at(size: u64, change: impl FnMut(u64, &mut Header, &mut Vec<u8>)) -> (u64, Wrong) {
    let finding = walked(&log(size, change)).unwrap_err();
    (finding.position, finding.wrong)
}

#[test]
fn whatever_cannot_stand_where_it_does_is_named_with_its_position() {
    let at = |at: u64, what: fn(&mut Header)| {
        wrong_at(9, move |position, header, _| {
            if position == at {
                what(header);
            }
        })
    };
    assert_eq!(at(5, |h| h.position = Position(6)), (5, Wrong::Position(Position(6))));
    assert_eq!(at(5, |h| h.previous.0[9] ^= 1), (5, Wrong::Link));
    assert_eq!(at(5, |h| h.uid = LedgerUid([9; 16])), (5, Wrong::Ledger(LedgerUid([9; 16]))));
    assert_eq!(at(5, |h| h.recorded_at = Time(3)), (5, Wrong::Time(Time(3))));
    assert_eq!(at(5, |h| h.epoch = 1), (6, Wrong::Epoch(0)));
    assert_eq!(at(0, |h| h.uid = LedgerUid([9; 16])), (0, Wrong::Genesis));
    assert_eq!(at(0, |h| h.previous = Link([1; 32])), (0, Wrong::Link));
    assert_eq!(at(0, |h| h.emitter = "other".parse().unwrap()), (0, Wrong::Genesis));
    let no_genesis = wrong_at(3, |position, _, body| {
        if position == 0 {
            *body = event(1);
        }
    });
    assert_eq!(no_genesis, (0, Wrong::Genesis));
}

#[test]
fn a_changed_body_a_swap_a_gap_and_a_repetition_break_the_chain_where_they_are() {
    let entries = honest(12);
    let with = |change: fn(&mut Vec<Vec<u8>>)| {
        let mut entries = entries.clone();
        change(&mut entries);
        let finding = walked(&entries).unwrap_err();
        (finding.position, finding.wrong)
    };
    assert_eq!(with(|e| *e[4].last_mut().unwrap() ^= 1), (5, Wrong::Link));
    assert_eq!(with(|e| e.swap(4, 7)), (4, Wrong::Position(Position(7))));
    assert_eq!(with(|e| drop(e.remove(4))), (4, Wrong::Position(Position(5))));
    assert_eq!(with(|e| e.insert(4, e[4].clone())), (5, Wrong::Position(Position(4))));
    assert!(matches!(with(|e| e[4].truncate(50)), (4, Wrong::Unreadable(BadEntry::Short))));
    assert!(matches!(with(|e| e[4][0] = 9), (4, Wrong::Unreadable(BadEntry::Version(9)))));
}

#[test]
fn an_event_of_a_kind_that_is_not_known_is_taken_as_it_is() {
    let newer = log(6, |position, _, event| {
        if position == 4 {
            *event = vec![0xFA, 0x3E, 0x00];
        }
    });
    assert_eq!(walked(&newer).unwrap().next(), 6);
}

#[test]
fn what_recomputes_every_link_has_another_root_and_the_first_difference_is_found() {
    let honest = honest(100);
    for place in [1, 2, 50, 98, 99] {
        let forged = log(100, |position, header, _| {
            if position == place {
                header.event_id = uuid::Uuid::from_u128(7);
            }
        });
        assert_ne!(walked(&forged).unwrap().head(), walked(&honest).unwrap().head());
        let same =
            |size: usize| walked(&forged[..size]).unwrap().head() == walked(&honest[..size]).unwrap().head();
        let (mut search, mut asked) = (Bisection::between(0, 100), 0);
        while let Some(size) = search.question() {
            search.answer(same(size as usize));
            asked += 1;
        }
        assert_eq!(search.position(), place);
        assert!(asked <= 7);
    }
}

#[test]
fn a_state_is_refused_by_another_log_or_key_and_an_older_key_is_left_behind() {
    let audit = walked(&honest(5)).unwrap();
    let state = audit.remember(&signed(2, audit.head())).unwrap();
    assert_eq!(state.keys(&keys(&[2])), Ok(keys(&[2])));
    assert_eq!(state.keys(&keys(&[1, 2, 3])), Ok(keys(&[2, 3])));
    assert!(matches!(state.keys(&keys(&[3, 4])), Err(BadState::Key(_))));
    let other = LogKeys::new(vec![key(2).verifier(&"other".parse().unwrap())]).unwrap();
    assert!(matches!(state.keys(&other), Err(BadState::Log { .. })));
}

#[test]
fn a_key_that_the_log_says_follows_is_followed_and_remembered_and_no_other_is() {
    let rotated = |old: u8, new: u8, by: &'static str| {
        log(6, move |position, header, event| {
            if position == 4 {
                let note = Rotation::sign(&key(old), &key(new)).unwrap().note().to_owned();
                *event = message(pb::event::Fact::KeyRotated(pb::KeyRotated { note }), "");
                header.emitter = by.parse().unwrap();
            }
        })
    };
    let walk = |entries: &[Vec<u8>], given: &[u8]| {
        let mut audit = Audit::from(None, &keys(given));
        entries.iter().for_each(|entry| assert!(audit.take(entry).is_ok()));
        audit
    };
    let audit = walk(&rotated(1, 3, Emitter::LEDGER), &[1]);
    assert_eq!(audit.keys(), &keys(&[1, 3]));
    let state = audit.remember(&signed(3, audit.head())).unwrap();
    let state = AuditState::parse(&state.to_bytes()).unwrap();
    // Whoever trusts the first key still, or the last one by now, goes on from there; the first one signs nothing more.
    assert_eq!(state.keys(&keys(&[1])), Ok(keys(&[3])));
    assert_eq!(state.keys(&keys(&[3, 5])), Ok(keys(&[3, 5])));
    assert!(matches!(state.keys(&keys(&[2])), Err(BadState::Key(_))));
    for (entries, given) in [
        (rotated(1, 3, "somebody"), [1]),
        (rotated(2, 3, Emitter::LEDGER), [1]),
        (rotated(1, 3, Emitter::LEDGER), [2]),
    ] {
        let audit = walk(&entries, &given);
        assert_eq!(audit.keys(), &keys(&given));
        assert_eq!(audit.remember(&signed(3, audit.head())), None);
    }
}

#[test]
fn a_key_that_was_given_and_not_used_yet_may_follow_where_the_log_led_away_from_the_other_one() {
    let audit = walked(&honest(5)).unwrap();
    // By key 1 first, then by key 2.
    let first = audit.remember(&signed(1, audit.head())).unwrap();
    let audit = Audit::from(Some(&first), &keys(&[1, 2]));
    let state = audit.remember(&signed(2, audit.head())).unwrap();
    assert_eq!(state.used(), keys(&[1, 2]).all());
    assert_eq!(state.keys(&keys(&[1, 9])), Ok(keys(&[2, 9])));
    assert_eq!(state.keys(&keys(&[9, 1])), Ok(keys(&[2, 9])));
    assert_eq!(state.keys(&keys(&[1])), Ok(keys(&[2])));
    assert!(matches!(state.keys(&keys(&[9, 8])), Err(BadState::Key(_))));
    assert_eq!(state.all_keys(&keys(&[1, 9])), keys(&[1, 9, 2]));
}

#[test]
fn however_often_the_key_is_changed_the_first_one_and_the_last_ones_are_remembered() {
    let seeds: Vec<u8> = (1..=150).collect();
    let mut audit = walked(&honest(5)).unwrap();
    let mut state = audit.remember(&signed(1, audit.head())).unwrap();
    for pair in seeds.windows(2) {
        audit = Audit::from(Some(&state), &keys(pair));
        state = audit.remember(&signed(pair[1], audit.head())).unwrap();
        assert_eq!(AuditState::parse(&state.to_bytes()).as_ref(), Ok(&state));
    }
    assert_eq!(state.used().len(), 64);
    assert_eq!(state.keys(&keys(&[1])), Ok(keys(&[150])));
    assert_eq!(state.keys(&keys(&[149])), Ok(keys(&[150])));
}

#[test]
fn no_bit_of_a_state_can_be_changed() {
    let audit = walked(&honest(21)).unwrap();
    let file = audit.remember(&signed(1, audit.head())).unwrap().to_bytes();
    for bit in 0..file.len() * 8 {
        let mut changed = file.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(AuditState::parse(&changed).is_err(), "bit {bit}");
    }
    for cut in 0..file.len() {
        assert!(AuditState::parse(&file[..cut]).is_err(), "cut at {cut}");
    }
    assert!(AuditState::parse(&[&file[..], b"\n"].concat()).is_err());
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_no_state_and_no_entry(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(AuditState::parse(&bytes).is_err());
        prop_assert!(Audit::from(None, &keys(&[1, 2])).take(&bytes).is_err());
    }

    #[test]
    fn lines_that_look_like_a_state_never_panic(text in "tokenledger/audit-state@v1\n(key|uid|link|recorded|epoch|check|[A-Za-z0-9+/=]{44})?[ \n0-9a-f=+/-]{0,200}") {
        prop_assert!(AuditState::parse(text.as_bytes()).is_err());
    }
}
