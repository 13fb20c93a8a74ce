//! Plans, their hashes, and how they are carried out.

use super::super::{Item, Plan, Reason, Terms, execute, plan};
use super::story::*;
use crate::event::{
    AccountId, Difference, Expiry, Fact, Recorded, RestoreOutcome, RevocationReason, Text, encode_sent,
};
use crate::types::Position;

fn deleted_bot() -> Story {
    Story::of_a_bot().then(issued("t1", Expiry::Never)).at(0).by("cron").then(revoked("t1")).deleted()
}

fn named(name: &str, story: &Story) -> (AccountId, Vec<Recorded>) {
    let id = AccountId(Text::own(name));
    let mut history = story.history.clone();
    history.iter_mut().for_each(|recorded| recorded.event.account = Some(id.clone()));
    (id, history)
}

fn plan_of(accounts: &[(AccountId, Vec<Recorded>)], pinned: u64, terms: Terms) -> Plan {
    let accounts = accounts.iter().map(|(id, history)| (id, history.as_slice()));
    plan(accounts, Position(pinned), terms, &Around::default())
}

#[test]
fn items_stand_in_order_of_account_and_are_found() {
    let accounts = [named("zoe", &Story::of_a_bot()), named("amy", &Story::of_a_bot())];
    let plan = plan_of(&accounts, 1_000, terms());
    let names: Vec<&str> = plan.items.iter().map(|item| item.account.as_str()).collect();
    assert_eq!(names, ["amy", "zoe"]);
    assert_eq!(plan.item(&accounts[0].0), plan.items.get(1));
    assert_eq!(plan.item(&bot()), None);
}

#[test]
fn two_accounts_of_one_plan_cannot_both_have_a_handle() {
    let accounts = [named("zoe", &deleted_bot()), named("amy", &deleted_bot())];
    let plan = plan_of(&accounts, 1_000, terms());
    assert_eq!(plan.items[0].outcome, RestoreOutcome::Restored);
    assert_eq!(plan.items[1].outcome, RestoreOutcome::Refused);
    assert_eq!(plan.items[1].stays_gone[0].reason, Reason::HandleTaken);
    assert!(plan.items[1].facts.is_empty());
}

#[test]
fn a_plan_knows_nothing_behind_its_position_and_hashes_the_same_later() {
    let then = deleted_bot();
    let pinned = then.history.last().unwrap().position.0;
    let later = then.clone().at(MINUTE).by("admin").then(grant("wiki", "reader"));
    let hash =
        |story: &Story, pinned, terms| plan_of(&[(bot(), story.history.clone())], pinned, terms).hash();
    assert_eq!(hash(&then, pinned, terms()), hash(&later, pinned, terms()));
    assert_ne!(hash(&then, pinned, terms()), hash(&later, pinned + 3, terms()));
    // The event at the position itself is known.
    let outcome = |pinned| plan_of(&[(bot(), then.history.clone())], pinned, terms()).items[0].outcome;
    assert_eq!(outcome(pinned), RestoreOutcome::Restored);
    assert_eq!(outcome(pinned - 1), RestoreOutcome::AlreadyLive);
}

#[test]
fn the_hash_of_a_plan_is_the_same_in_every_release() {
    let plan = plan_of(&[(bot(), deleted_bot().history)], 1_000, terms());
    expect_test::expect!["6011d8d0021d361fb49bfa714d0fbe826d92e4c1b3f1040af5419146e6427ce0"]
        .assert_eq(&hex::encode(plan.hash()));
}

#[test]
fn the_hash_hangs_on_everything_that_a_plan_says() {
    let story = deleted_bot().at(MINUTE).by("scanner");
    let story = story.then(revoked_because("t1", RevocationReason::Leaked));
    let plan = plan_of(&[(bot(), story.history)], 1_000, terms());
    let mut others = vec![
        Plan { pinned: Position(999), ..plan.clone() },
        Plan { terms: Terms { window_seconds: 61, ..terms() }, ..plan.clone() },
        Plan { terms: Terms { planned_at: at(0), ..terms() }, ..plan.clone() },
        Plan { items: Vec::new(), ..plan.clone() },
    ];
    let changes: &[fn(&mut Item)] = &[
        |i| i.account = AccountId(Text::own("bit")),
        |i| i.version += 1,
        |i| i.incarnation += 1,
        |i| i.handle = None,
        |i| i.namespace = None,
        |i| i.group = None,
        |i| i.group.as_mut().unwrap().members.clear(),
        |i| i.group.as_mut().unwrap().deletion.0 += 1,
        |i| i.group.as_mut().unwrap().incarnation += 1,
        |i| i.group.as_mut().unwrap().digest_before = None,
        |i| i.outcome = RestoreOutcome::AlreadyLive,
        |i| i.comes_back.clear(),
        |i| i.stays_gone.clear(),
        |i| i.conflicts.clear(),
        |i| i.conflicts[0].detail.push('x'),
        |i| i.conflicts[0].what.push('x'),
        |i| i.conflicts[0].reason = Reason::OwnerLeft,
        |i| i.differences.clear(),
        |i| i.differences[0].reason.push('x'),
        |i| i.digest_before = None,
        |i| i.digest_after = None,
        |i| i.facts.clear(),
        |i| i.facts.push(grant("wiki", "owner")),
    ];
    for change in changes {
        let mut other = plan.clone();
        change(&mut other.items[0]);
        others.push(other);
    }
    let mut hashes: Vec<[u8; 32]> = others.iter().map(Plan::hash).chain([plan.hash()]).collect();
    let all = hashes.len();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), all);
}

#[test]
fn the_events_of_a_restore_are_the_ledgers_own_and_carry_the_plan() {
    let story = deleted_bot();
    let done = execute(&story.item(), &story.history, &Around::default(), &order(7, at(HOUR)));
    assert_eq!((done.outcome, done.version), (RestoreOutcome::Restored, 5));
    assert_eq!(done.events.len(), 2);
    assert!(done.events.iter().all(emitted_by_ledger));
    for event in &done.events {
        assert_eq!(event.cause.correlation_id, Some(Text::own(&plan_id(7).to_string())));
        assert_eq!((event.occurred_at, &event.actor), (at(HOUR), &person("responder")));
        assert_eq!(event.account, Some(bot()));
        match &event.fact {
            Fact::AccountRestored { plan, .. } | Fact::TokenReinstated { plan, .. } => {
                assert_eq!(*plan, Some(plan_id(7)));
            }
            fact => panic!("{fact:?}"),
        }
    }
    let ids: Vec<_> = done.events.iter().map(|event| event.event_id).collect();
    let named = |name: &str| uuid::Uuid::new_v5(&plan_id(7), name.as_bytes());
    assert_eq!(ids, [named("bot/0"), named("bot/1")]);
}

#[test]
fn carrying_a_plan_out_again_adds_nothing() {
    let before = deleted_bot();
    let planned = before.item();
    let story = before.clone().at(HOUR).restored(7);
    let again = execute(&planned, &story.history, &Around::default(), &order(7, at(2 * HOUR)));
    assert_eq!(again.outcome, RestoreOutcome::Restored);
    assert!(again.events.is_empty());
    assert_eq!((again.digest_before, again.digest_after), (planned.digest_before, planned.digest_after));
    // Whoever does not know of the first time makes the same ids.
    let first = execute(&planned, &before.history, &Around::default(), &order(7, at(HOUR)));
    let unaware = execute(&planned, &before.history, &Around::default(), &order(7, at(3 * HOUR)));
    let ids = |e: &super::super::Execution| e.events.iter().map(|e| e.event_id).collect::<Vec<_>>();
    assert_eq!(ids(&first), ids(&unaware));
}

#[test]
fn somebody_elses_claim_to_have_carried_a_plan_out_is_not_believed() {
    let before = deleted_bot();
    let planned = before.item();
    let claim = Fact::AccountRestored {
        plan: Some(plan_id(7)),
        incarnation: 0,
        digest_before: None,
        digest_after: None,
        differences: Vec::new(),
    };
    let story = before.at(MINUTE).then(claim);
    let done = execute(&planned, &story.history, &Around::default(), &order(7, at(HOUR)));
    assert_eq!(done.outcome, RestoreOutcome::AlreadyLive);
}

#[test]
fn an_account_that_changed_since_the_plan_is_left_alone() {
    let story = deleted_bot();
    let planned = story.item();
    let story = story.at(MINUTE).by("scanner").then(revoked_because("t1", RevocationReason::Leaked));
    let done = execute(&planned, &story.history, &Around::default(), &order(7, at(HOUR)));
    assert_eq!((done.outcome, done.events.len()), (RestoreOutcome::Refused, 0));
    assert_eq!(done.refusals[0].reason, Reason::ChangedSincePlan);
}

#[test]
fn an_event_that_changes_nothing_does_not_stop_a_plan() {
    let story = deleted_bot();
    let planned = story.item();
    let story = story.at(MINUTE).then(Fact::TokenUsed { token: token("t1"), uses: 3, consumer: None });
    let done = execute(&planned, &story.history, &Around::default(), &order(7, at(HOUR)));
    assert_eq!((done.outcome, done.version), (RestoreOutcome::Restored, 6));
}

#[test]
fn a_handle_taken_since_the_plan_is_noticed() {
    let story = deleted_bot();
    let around = Around { holders: [AccountId(Text::own("new"))].into(), ..Around::default() };
    let done = execute(&story.item(), &story.history, &around, &order(7, at(HOUR)));
    assert_eq!(done.outcome, RestoreOutcome::Refused);
    assert_eq!(done.refusals[0].reason, Reason::HandleTaken);
}

#[test]
fn an_owner_who_came_back_since_the_plan_does_not_stop_it() {
    let story = deleted_bot();
    let ann = AccountId(Text::own("ann"));
    let around = Around { statuses: [(ann, crate::state::Status::Deleted)].into(), ..Around::default() };
    let done = execute(&story.item_among(&around), &story.history, &Around::default(), &order(7, at(HOUR)));
    assert_eq!(done.outcome, RestoreOutcome::Restored);
}

#[test]
fn an_account_that_was_there_and_is_deleted_since_the_plan_is_not_told_to_be_there() {
    let story = Story::of_a_bot();
    let planned = story.item();
    assert_eq!(planned.outcome, RestoreOutcome::AlreadyLive);
    let story = story.at(0).deleted();
    let done = execute(&planned, &story.history, &Around::default(), &order(7, at(HOUR)));
    assert_eq!((done.outcome, done.refusals[0].reason), (RestoreOutcome::Refused, Reason::ChangedSincePlan));
}

#[test]
fn what_was_refused_in_the_plan_stays_refused() {
    let story = deleted_bot();
    let around = Around { holders: [AccountId(Text::own("new"))].into(), ..Around::default() };
    let done = execute(&story.item_among(&around), &story.history, &Around::default(), &order(7, at(HOUR)));
    assert_eq!((done.outcome, done.events.len()), (RestoreOutcome::Refused, 0));
}

#[test]
fn more_differences_than_an_event_can_hold_are_counted_in_it() {
    let mut story = Story::of_a_bot().at(0).by("cron").then(ungrant("repo"));
    for n in 0..600 {
        story = story.by("admin").then(grant(&format!("{n:0>60}"), "reader"));
    }
    let item = story.by("cron").deleted().item();
    assert_eq!(item.differences.len(), 600);
    let done = execute(&item, &item_history(), &Around::default(), &order(7, at(HOUR)));
    assert_eq!(done.outcome, RestoreOutcome::Refused);
    let Some(Fact::AccountRestored { differences, .. }) = item.facts.first() else { panic!() };
    let last: &Difference = differences.last().unwrap();
    assert_eq!(last.reason, "more_differences");
    assert!(last.detail.starts_with(&(600 - (differences.len() - 1)).to_string()));
    let mut event = story_event();
    event.fact = item.facts[0].clone();
    assert!(encode_sent(&event).len() < 60_000);
}

fn item_history() -> Vec<Recorded> {
    Vec::new()
}

fn story_event() -> crate::event::Event {
    Story::of_a_bot().history[0].event.clone()
}
