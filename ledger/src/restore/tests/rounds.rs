//! Whole incidents in small, and the same account more than once.

use super::super::{deletions, group};
use super::story::*;
use crate::event::{Expiry, Fact};
use crate::state::{Slot, Status, TokenStatus, digest};

/// A bot whose token was rotated in July and that the nightly job deletes in September.
fn rotated_bot() -> Story {
    Story::of_a_bot()
        .then(issued("old", Expiry::At(at(-HOUR))))
        .at(-20 * HOUR)
        .then(rotated("old", "new"))
        .at(0)
        .by("cron")
}

#[test]
fn a_rotated_bot_comes_back_with_its_working_token_and_without_its_old_one() {
    let before = rotated_bot();
    let account = before.account();
    let story = before.deleted();
    let item = story.item();
    assert_eq!(item.comes_back, ["account", "token/new", "grant/repo"]);
    assert_eq!(item.stays_gone.iter().map(|c| c.what.as_str()).collect::<Vec<_>>(), ["token/old"]);
    assert!(item.differences.is_empty());
    let after = story.at(HOUR).restored(1).account();
    assert_eq!(digest(&after), digest(&account));
    assert_eq!(
        (&after.tokens, &after.grants, &after.handle),
        (&account.tokens, &account.grants, &account.handle)
    );
    assert_eq!(after.tokens.get(&token("new")).unwrap().status(at(HOUR)), TokenStatus::Active);
    assert_eq!(after.tokens.get(&token("old")).unwrap().status(at(HOUR)), TokenStatus::Revoked);
}

#[test]
fn deleting_again_and_restoring_again_works() {
    let once = rotated_bot().deleted().at(HOUR).restored(1);
    let before = digest(&once.account());
    let twice = once.at(HOUR + 5).by("cron").then(revoked("new")).deleted();
    let item = twice.item();
    assert_eq!(item.digest_before, Some(before));
    let back = twice.at(2 * HOUR).restored(2);
    assert_eq!(digest(&back.account()), before);
    assert_eq!(back.account().status, Status::Live);
    assert_eq!(deletions(&back.history, 60).len(), 2);
}

#[test]
fn a_restore_is_undone_by_a_deletion_and_that_by_a_restore() {
    // The responder deletes again within a minute what was restored by mistake: what the restore gave is no removal.
    let story = Story::of_a_bot()
        .at(0)
        .by("cron")
        .then(ungrant("repo"))
        .deleted()
        .at(HOUR)
        .restored(1)
        .by("responder")
        .at(HOUR + 10)
        .deleted();
    assert_eq!(group(&story.history, 60).unwrap().members.len(), 1);
    let account = story.at(2 * HOUR).restored(2).account();
    assert!(account.grants.contains_key(&grant_id("repo")));
}

#[test]
fn a_group_does_not_reach_across_a_restore() {
    // The same job, with the same correlation id, deletes twice.
    let story = Story::of_a_bot()
        .then(grant("wiki", "reader"))
        .correlated(Some("job"))
        .at(0)
        .then(ungrant("wiki"))
        .deleted()
        .correlated(None)
        .at(MINUTE)
        .then(Fact::AccountRestored {
            plan: None,
            incarnation: 0,
            digest_before: None,
            digest_after: None,
            differences: Vec::new(),
        })
        .correlated(Some("job"))
        .then(ungrant("repo"))
        .deleted();
    let group = group(&story.history, 60).unwrap();
    assert_eq!(group.members.len(), 2);
    assert_eq!(story.item().comes_back, ["account", "grant/repo"]);
}

#[test]
fn a_newer_life_that_was_deleted_comes_back_as_itself() {
    let mut story = Story::of_a_bot().at(0).deleted().at(MINUTE);
    story.created();
    let story = story.then(issued("t2", Expiry::Never)).at(2 * MINUTE).deleted();
    let item = story.item();
    assert_eq!((item.incarnation, item.group.as_ref().unwrap().incarnation), (2, 2));
    assert_eq!(item.comes_back, ["account", "token/t2"]);
    let story = story.at(HOUR).restored(1);
    let slot = Slot::fold(&bot(), &story.history).unwrap();
    let statuses: Vec<Status> = slot.lives().map(|life| life.status).collect();
    assert_eq!(statuses, [Status::Deleted, Status::Live]);
}

#[test]
fn a_second_report_of_a_deletion_is_no_second_deletion() {
    let story = Story::of_a_bot().at(0).deleted().at(MINUTE).by("echo").deleted();
    assert_eq!(deletions(&story.history, 60).len(), 1);
    assert!(story.item().conflicts.is_empty());
}
