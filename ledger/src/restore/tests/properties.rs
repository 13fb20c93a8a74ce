//! Histories that nobody thought of.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::{Terms, deletions, execute, group, item};
use super::story::*;
use crate::decide::{Decision, decide};
use crate::event::{AccountId, Event, Fact, Recorded, RestoreOutcome, Text};
use crate::state::{Account, Slot, State, Status, TokenStatus, digest};
use crate::testing::{self, DAY};

/// Any events, all about one account, which exists.
fn life(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Event>> {
    let fact = prop_oneof![testing::taking_fact(), testing::giving_fact(), testing::giving_fact()];
    vec(testing::event_of(fact), length).prop_map(|events| {
        let created = Story::of_a_bot().history.remove(0).event;
        std::iter::once(created).chain(events.into_iter().map(of_the_bot)).collect()
    })
}

fn of_the_bot(event: Event) -> Event {
    Event { account: Some(bot()), ..event }
}

/// Events of one actor under one correlation id: a strip, and then the deletion.
fn end() -> impl Strategy<Value = Vec<Event>> {
    vec(testing::event_of(testing::taking_fact()), 0..8).prop_map(|mut events| {
        let deleted = Fact::AccountDeleted { retain_until: None };
        let last = Event { fact: deleted, ..Story::of_a_bot().history.remove(0).event };
        events.push(last);
        let under_one = |event: Event| {
            let mut event = of_the_bot(event);
            event.cause.correlation_id = Some(Text::own("the-end"));
            event
        };
        events.into_iter().map(under_one).collect()
    })
}

/// What stands between a life and its end, so that the window of the end does not reach into the life.
fn calm(mut events: Vec<Event>) -> Vec<Event> {
    for event in &mut events {
        event.occurred_at = event.occurred_at.plus_seconds(-100 * 24 * HOUR);
        event.cause.correlation_id = None;
    }
    events
}

fn account(history: &[Recorded]) -> Account {
    Slot::fold(&bot(), history).unwrap().current().clone()
}

fn joined(parts: &[&[Event]]) -> Vec<Recorded> {
    testing::record(parts.concat())
}

/// Restores, folds what was appended, and gives the account with what was promised of it.
fn restored(history: &[Recorded]) -> (Account, super::super::Execution) {
    let planned = item(&bot(), history, &terms(), &Around::default());
    let done = execute(&planned, history, &Around::default(), &order(1, at(HOUR)));
    let mut events: Vec<Event> = history.iter().map(|recorded| recorded.event.clone()).collect();
    events.extend(done.events.clone());
    (account(&testing::record(events)), done)
}

proptest! {
    #[test]
    fn what_was_deleted_comes_back_as_it_was(life in life(0..30), end in end()) {
        let life = calm(life);
        let before = account(&joined(&[&life]));
        let history = joined(&[&life, &end]);
        let (after, done) = restored(&history);
        prop_assert_eq!(done.outcome, RestoreOutcome::Restored);
        prop_assert_eq!(done.digest_before, Some(digest(&before)));
        prop_assert_eq!(done.digest_after, Some(digest(&after)));
        prop_assert_eq!(after.status, before.status);
        prop_assert_eq!(after.consumers(), before.consumers());
        let same = digest(&before) == digest(&after);
        prop_assert!(same || !done.differences.is_empty());
        for difference in &done.differences {
            prop_assert!(["leaked_since", "unknown_before"].contains(&difference.reason.as_str()), "{:?}", difference);
        }
        if done.differences.is_empty() {
            prop_assert!(same);
        }
        for (id, token) in before.tokens.iter() {
            let now = after.tokens.get(&id).unwrap();
            prop_assert!(now.leaked || now.status(DAY) == token.status(DAY), "{id}: {token:?} {now:?}");
        }
    }

    #[test]
    fn whatever_happens_around_a_deletion_is_told_and_kept(
        life in life(0..20), end in end(), mixed in vec(any::<bool>(), 30), others in life(0..8), later in life(0..8)
    ) {
        let life = calm(life);
        let others: Vec<Event> = others.into_iter().skip(1).collect();
        let later: Vec<Event> = later.into_iter().skip(1).collect();
        let history = joined(&[&life, &interleaved(&end, &others, &mixed), &later]);
        let planned = item(&bot(), &history, &terms(), &Around::default());
        let (after, done) = restored(&history);
        prop_assert_eq!(done.outcome, RestoreOutcome::Restored);
        prop_assert_eq!(done.digest_after, Some(digest(&after)));
        prop_assert_eq!(&done.differences, &planned.differences);
        prop_assert!(done.digest_before == done.digest_after || !done.differences.is_empty());
        prop_assert!(after.status != Status::Deleted);
        // What is promised to work, works; what is told to stay gone, is gone or does not work.
        for (id, token) in after.tokens.iter() {
            let active = token.status(terms().planned_at) == TokenStatus::Active;
            let what = format!("token/{id}");
            prop_assert!(!active || planned.comes_back.contains(&what));
            prop_assert!(!active || planned.stays_gone.iter().all(|gone| gone.what != what));
        }
        // Nothing that was there when the account was gone has been taken away.
        let gone = account(&history);
        prop_assert!(gone.grants.keys().all(|grant| after.grants.contains_key(&grant)));
        prop_assert!(gone.consumers().keys().all(|consumer| after.consumers().contains_key(&consumer)));
        for (id, token) in gone.tokens.iter().filter(|(_, token)| token.revoked.is_none()) {
            prop_assert!(after.tokens.get(&id).unwrap().revoked.is_none(), "{id}: {token:?}");
        }
    }

    #[test]
    fn what_others_did_last_is_not_overwritten(life in life(0..20), end in end(), later in life(1..8)) {
        let life = calm(life);
        let later: Vec<Event> = later.into_iter().skip(1).map(apart).collect();
        let history = joined(&[&life, &end, &later]);
        let gone = account(&history);
        let (after, _) = restored(&history);
        for event in &later {
            match &event.fact {
                Fact::GrantAdded { grant, .. } | Fact::GrantRemoved { grant } | Fact::GrantChanged { grant, .. } => {
                    prop_assert_eq!(after.grants.get(grant), gone.grants.get(grant));
                }
                Fact::TokenRevoked { token, .. } => prop_assert_eq!(
                    after.tokens.get(token).map(|t| t.revoked), gone.tokens.get(token).map(|t| t.revoked)
                ),
                Fact::OwnershipTransferred { .. } => prop_assert_eq!(&after.owner, &gone.owner),
                Fact::EnforcementChanged { rule, .. } => {
                    prop_assert_eq!(after.enforced().get(rule), gone.enforced().get(rule));
                }
                _ => {}
            }
        }
    }

    #[test]
    fn the_guards_let_every_event_of_a_restore_pass(life in life(0..30), end in end()) {
        let history = joined(&[&calm(life), &end]);
        let (_, done) = restored(&history);
        let mut state = State::default();
        history.iter().for_each(|recorded| state.apply(recorded));
        for event in &done.events {
            let decision = decide(&state, event, at(HOUR), true);
            prop_assert!(matches!(decision, Decision::Record(_)), "{:?}: {decision:?}", event.fact);
            let mut recorded = history[0].clone();
            recorded.event = event.clone();
            recorded.position = state.next();
            state.apply(&recorded);
        }
    }

    #[test]
    fn deleting_and_restoring_again_gives_the_same_account(life in life(0..30), end in end(), again in end()) {
        let history = joined(&[&calm(life), &end]);
        let (once, done) = restored(&history);
        let mut events: Vec<Event> = history.into_iter().map(|recorded| recorded.event).collect();
        events.extend(done.events);
        let later = |mut event: Event| {
            event.occurred_at = event.occurred_at.plus_seconds(5 * HOUR);
            event
        };
        events.extend(again.into_iter().map(later));
        let history = testing::record(events);
        let planned = item(&bot(), &history, &terms(), &Around::default());
        prop_assert_eq!(planned.digest_before, Some(digest(&once)));
        let told: Vec<&str> = planned.differences.iter().map(|d| d.reason.as_str()).collect();
        prop_assert!(told.iter().all(|reason| ["leaked_since", "unknown_before"].contains(reason)), "{told:?}");
        let second = execute(&planned, &history, &Around::default(), &order(2, at(9 * HOUR)));
        prop_assert_eq!(second.outcome, RestoreOutcome::Restored);
    }

    #[test]
    fn no_history_whatever_stops_the_restore(
        history in testing::history(0..60), window in any::<u32>(), planned_at in testing::any_time(), n in 0..4
    ) {
        let id = AccountId(Text::own(&format!("account-{n}")));
        let own = testing::of_account(&history, &id);
        let mut state = State::default();
        history.iter().for_each(|recorded| state.apply(recorded));
        let terms = Terms { planned_at, window_seconds: window };
        let planned = item(&id, &own, &terms, &state);
        let order = super::super::Order { terms, ..order(1, planned_at) };
        let done = execute(&planned, &own, &state, &order);
        prop_assert_eq!(done.outcome, planned.outcome);
        prop_assert_eq!(done.events.is_empty(), planned.facts.is_empty());
        prop_assert_eq!(group(&own, window).map(|g| g.deletion), deletions(&own, window).last().map(|d| d.position));
        for event in &done.events {
            let mut recorded = own[0].clone();
            recorded.event = event.clone();
            recorded.position = state.next();
            state.apply(&recorded);
        }
        if done.outcome == RestoreOutcome::Restored {
            let life = state.slot(&id).unwrap().current();
            prop_assert_eq!(done.digest_after, Some(digest(life)));
            prop_assert!(life.status != Status::Deleted);
        }
    }
}

/// By somebody, and for reasons, that no deletion shares.
fn apart(mut event: Event) -> Event {
    event.actor = person("apart");
    event.cause.correlation_id = Some(Text::own("apart"));
    if let Fact::TokenRevoked { reason, .. } = &mut event.fact {
        *reason = crate::event::RevocationReason::Unused;
    }
    event
}

/// Both, in some order that keeps the order of each.
fn interleaved(a: &[Event], b: &[Event], mixed: &[bool]) -> Vec<Event> {
    let (mut a, mut b, mut all) = (a.iter(), b.iter(), Vec::new());
    for first in mixed {
        all.extend(if *first { a.next() } else { b.next() }.cloned());
    }
    all.extend(a.chain(b).cloned());
    all
}
