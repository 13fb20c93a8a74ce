//! What follows from events: the state, and each account alone.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{Account, DIGEST_CONTEXT, Slot, State, Status, TokenStatus, canonical, digest};
use crate::event::{
    AccountId, AccountKind, Expiry, Fact, IssuedToken, Recorded, RevocationReason, Text, TokenId,
};
use crate::testing::{self, DAY, of_account};
use crate::types::Position;

fn fold(history: &[Recorded]) -> State {
    let mut state = State::default();
    history.iter().for_each(|recorded| state.apply(recorded));
    state
}

fn ids(history: &[Recorded]) -> BTreeSet<AccountId> {
    history.iter().filter_map(|recorded| recorded.event.account.clone()).collect()
}

proptest! {
    #[test]
    fn an_account_follows_from_its_own_events_alone(history in testing::history(0..60)) {
        let state = fold(&history);
        for id in ids(&history) {
            let alone = Slot::fold(&id, &of_account(&history, &id));
            prop_assert_eq!(state.slot(&id), alone.as_ref());
        }
        prop_assert_eq!(state.accounts(), ids(&history).len());
        prop_assert_eq!(state.next(), Position(u64::try_from(history.len()).unwrap()));
    }

    #[test]
    fn a_state_that_was_put_away_goes_on_as_if_it_had_not(
        history in testing::history(0..60), cut in any::<prop::sample::Index>()
    ) {
        let cut = cut.index(history.len() + 1);
        let mut bytes = Vec::new();
        fold(&history[..cut]).freeze().write(&mut bytes).unwrap();
        let mut state = State::read(&mut bytes.as_slice()).unwrap();
        history[cut..].iter().for_each(|recorded| state.apply(recorded));
        let whole = fold(&history);
        prop_assert_eq!(state.root(), whole.root());
        prop_assert_eq!(state, whole);
    }

    #[test]
    fn an_event_that_is_taken_back_leaves_no_trace(history in testing::history(1..40)) {
        let (last, rest) = history.split_last().unwrap();
        let mut state = fold(rest);
        let undo = state.undo_of(&last.event);
        state.apply(last);
        state.undo(undo);
        prop_assert_eq!(state, fold(rest));
    }

    #[test]
    fn a_copy_does_not_change_with_its_original(history in testing::history(2..40)) {
        let (first, rest) = history.split_at(history.len() / 2);
        let mut state = fold(first);
        let copy = state.clone();
        rest.iter().for_each(|recorded| state.apply(recorded));
        prop_assert_eq!(copy, fold(first));
    }

    #[test]
    fn a_frozen_state_is_written_as_it_was_whatever_happens_meanwhile(history in testing::history(2..40)) {
        let (first, rest) = history.split_at(history.len() / 2);
        let mut state = fold(first);
        let frozen = state.freeze();
        rest.iter().for_each(|recorded| state.apply(recorded));
        let (mut then, mut later) = (Vec::new(), Vec::new());
        fold(first).freeze().write(&mut then).unwrap();
        frozen.write(&mut later).unwrap();
        prop_assert_eq!(then, later);
        prop_assert_eq!((frozen.next(), frozen.root()), (fold(first).next(), fold(first).root()));
    }

    #[test]
    fn whatever_bytes_are_read_a_state_comes_of_them_or_an_error(
        history in testing::history(1..30), at in any::<prop::sample::Index>(), byte in any::<u8>()
    ) {
        let mut bytes = Vec::new();
        fold(&history).freeze().write(&mut bytes).unwrap();
        let cut = &bytes[..at.index(bytes.len())];
        prop_assert!(State::read(&mut &*cut).is_err());
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(state) = State::read(&mut bytes.as_slice()) {
            // It can be asked like any other.
            prop_assert_eq!(state.slots().count(), state.accounts());
            let _ = state.root();
        }
    }

    #[test]
    fn a_handle_is_held_by_exactly_the_accounts_that_are_there(history in testing::history(0..60)) {
        let state = fold(&history);
        for slot in state.slots() {
            let life = slot.current();
            let holds = state.holders(life.namespace.as_ref(), &life.handle).any(|id| *id == life.id);
            prop_assert_eq!(holds, life.status != Status::Deleted);
        }
        let held = state.handles.len();
        let there = state.slots().filter(|slot| slot.current().status != Status::Deleted).count();
        prop_assert_eq!(held, there);
    }

    #[test]
    fn at_most_one_life_of_an_id_is_not_deleted(history in testing::history(0..60)) {
        for slot in fold(&history).slots() {
            let there = |life: &&Account| life.status != Status::Deleted;
            prop_assert!(slot.lives().filter(there).count() <= 1);
        }
    }

    #[test]
    fn what_is_leaked_never_works_again(history in testing::history(0..60)) {
        let mut state = State::default();
        let mut leaked = BTreeSet::new();
        for recorded in &history {
            state.apply(recorded);
            for (slot, life) in state.slots().flat_map(|slot| slot.lives().map(move |life| (slot, life))) {
                for (id, token) in life.tokens.iter() {
                    let key = (slot.current().id.clone(), life.incarnation, id.clone());
                    if token.leaked {
                        leaked.insert(key);
                    } else {
                        prop_assert!(!leaked.contains(&key));
                    }
                    prop_assert!(!token.leaked || token.status(DAY) == TokenStatus::Revoked);
                }
            }
        }
    }

    #[test]
    fn a_digest_is_that_of_the_encoding_which_the_format_draws(history in testing::history(1..60)) {
        for life in fold(&history).slots().flat_map(Slot::lives) {
            let drawn = drawn(life);
            prop_assert_eq!(&canonical(life), &drawn);
            prop_assert_eq!(digest(life).0, blake3::derive_key(DIGEST_CONTEXT, &drawn));
        }
    }

    #[test]
    fn use_status_and_clock_leave_the_digest_alone(history in testing::history(1..40)) {
        for slot in fold(&history).slots() {
            let life = slot.current();
            let mut other = life.clone();
            other.status = Status::Disabled;
            other.change_rare(|rare| rare.deletion = None);
            other.created_at = None;
            for id in life.tokens.keys() {
                other.tokens.update(&id, |token| {
                    token.last_used_at = Some(DAY);
                    token.issued_at = None;
                    token.scopes.reverse();
                });
            }
            prop_assert_eq!(digest(life), digest(&other));
        }
    }
}

fn token(name: &str) -> TokenId {
    TokenId(Text::own(name))
}

fn issued(name: &str) -> Fact {
    Fact::TokenIssued(IssuedToken {
        token: token(name),
        digest: None,
        family: None,
        scopes: Vec::new(),
        expiry: Expiry::Never,
    })
}

fn account_after(facts: Vec<Fact>) -> Account {
    let id = AccountId(Text::own("bot"));
    let event = |fact| crate::event::Event {
        event_id: uuid::Uuid::nil(),
        emitter: crate::types::Emitter::ledger(),
        emitter_sequence: None,
        occurred_at: DAY,
        actor: crate::event::Actor { kind: crate::event::ActorKind::Human, id: Text::own("ann") },
        cause: crate::event::Cause::default(),
        account: Some(id.clone()),
        fact,
    };
    let history = testing::record(facts.into_iter().map(event).collect());
    Slot::fold(&id, &history).unwrap().current().clone()
}

#[test]
fn a_token_whose_revocation_is_recorded_before_its_issue_stays_revoked() {
    let revoked = Fact::TokenRevoked { token: token("t"), reason: RevocationReason::Unspecified };
    let account = account_after(vec![revoked, issued("t")]);
    assert_eq!(account.tokens.get(&token("t")).unwrap().status(DAY), TokenStatus::Revoked);
    assert_eq!(account.tokens.get(&token("t")).unwrap().expiry, Expiry::Never);
}

#[test]
fn a_token_that_is_said_to_replace_itself_still_works() {
    let Fact::TokenIssued(new) = issued("t") else { unreachable!() };
    let rotated = Fact::TokenRotated { old: token("t"), new, overlap_until: None };
    assert_eq!(account_after(vec![issued("t"), rotated]).active_tokens(DAY).len(), 1);
}

#[test]
fn a_token_whose_overlap_is_recorded_before_its_issue_still_ends_with_the_overlap() {
    let Fact::TokenIssued(new) = issued("new") else { unreachable!() };
    let rotated = Fact::TokenRotated { old: token("old"), new, overlap_until: Some(DAY) };
    let account = account_after(vec![rotated, issued("old")]);
    assert_eq!(account.active_tokens(DAY), [token("new")]);
}

#[test]
fn an_unknown_expiry_counts_as_active() {
    let used = Fact::TokenUsed { token: token("t"), uses: 1, consumer: None };
    assert_eq!(account_after(vec![used]).active_tokens(DAY).len(), 1);
}

#[test]
fn a_rotated_token_with_an_overlap_works_until_its_end_and_not_longer() {
    let new = IssuedToken {
        token: token("new"),
        digest: None,
        family: None,
        scopes: vec![],
        expiry: Expiry::Never,
    };
    let end = DAY.plus_seconds(60);
    let rotated = Fact::TokenRotated { old: token("old"), new, overlap_until: Some(end) };
    let account = account_after(vec![issued("old"), rotated]);
    assert_eq!(account.active_tokens(DAY).len(), 2);
    assert_eq!(account.active_tokens(end), [token("new")]);
    let family = |name| account.tokens.get(&token(name)).unwrap().family;
    assert_eq!(family("new"), family("old"));
}

/// The encoding of an account as `docs/format.md` draws it, from its values one by one.
fn drawn(account: &Account) -> Vec<u8> {
    let count = |n: usize| u32::try_from(n).unwrap().to_le_bytes().to_vec();
    let text = |text: &str| [count(text.len()), text.as_bytes().to_vec()].concat();
    let optional = |value: Option<&str>| value.map_or(vec![0], |value| [vec![1], text(value)].concat());
    let mut out = text(account.id.as_str());
    out.push(match account.kind {
        AccountKind::Bot => 1,
        AccountKind::Service => 2,
        AccountKind::Human => 3,
    });
    out.extend(text(account.handle.as_str()));
    out.extend(optional(account.owner.as_ref().map(|owner| owner.as_str())));
    out.extend(optional(account.namespace.as_ref().map(|namespace| namespace.as_str())));
    out.extend(optional(account.environment.as_ref().map(Text::as_str)));
    out.push(u8::from(account.protected));
    out.extend(count(account.attributes().len()));
    account
        .attributes()
        .iter()
        .for_each(|(key, value)| out.extend([text(key.as_str()), text(&value)].concat()));
    out.extend(count(account.tokens.len()));
    for (id, token) in account.tokens.iter() {
        out.extend(text(id.as_str()));
        out.extend(text(token.family.as_str()));
        out.extend(optional(token.digest.as_ref().map(|digest| digest.as_str())));
        let mut scopes = token.scopes;
        scopes.sort();
        out.extend(count(scopes.len()));
        scopes.iter().for_each(|scope| out.extend(text(scope.as_str())));
        match token.expiry {
            Expiry::Never => out.push(0),
            Expiry::At(end) => out.extend([vec![1], end.0.to_le_bytes().to_vec()].concat()),
            Expiry::Unknown => out.push(2),
        }
        let ended = if token.revoked.is_some() { 1 } else { 0 };
        out.push(if token.leaked { 2 } else { ended });
    }
    out.extend(count(account.grants.len()));
    for (id, grant) in account.grants.iter() {
        out.extend(text(id.as_str()));
        out.extend(optional(grant.resource.as_ref().map(Text::as_str)));
        out.extend(optional(grant.access.as_ref().map(Text::as_str)));
        let end = grant.expires_at.map_or(vec![0], |end| [vec![1], end.0.to_le_bytes().to_vec()].concat());
        out.extend(end);
    }
    out
}
