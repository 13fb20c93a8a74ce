//! What belongs to a deletion and what does not.

use expect_test::expect;

use super::super::{deletion, deletions, group};
use super::story::*;
use crate::event::{AccountId, Expiry, Fact, RevocationReason, Text};
use crate::state::{Status, digest};
use crate::types::Position;

/// How a platform without correlation ids deletes: first everything is taken off, within a second.
fn stripped_then_deleted() -> Story {
    Story::of_a_bot()
        .then(issued("t1", Expiry::Never))
        .then(consumer("ci"))
        .at(0)
        .by("console")
        .then(revoked("t1"))
        .then(ungrant("repo"))
        .then(released("ci"))
        .deleted()
}

#[test]
fn an_account_that_was_stripped_and_then_deleted_comes_back_with_everything() {
    let story = stripped_then_deleted();
    check(
        &story,
        &expect![[r#"
            Restored, same digest
            + account
            + token/t1
            + grant/repo
            + consumer/ci
            > AccountRestored
            > ConsumerDeclared ci
            > GrantAdded repo developer
            > TokenReinstated t1
        "#]],
    );
    let before = story.until(4).account();
    let after = story.at(HOUR).restored(1).account();
    assert_eq!(digest(&after), digest(&before));
    assert_eq!(after.tokens, before.tokens);
    assert_eq!((&after.grants, after.consumers()), (&before.grants, before.consumers()));
}

#[test]
fn a_group_says_what_is_in_it() {
    let group = group(&stripped_then_deleted().history, 60).unwrap();
    assert_eq!(group.members, [22, 25, 28, 31].map(Position));
    assert_eq!((group.deletion, group.incarnation), (Position(31), 1));
}

#[test]
fn what_another_actor_removed_in_the_same_minute_stays_gone() {
    let story = Story::of_a_bot()
        .then(grant("wiki", "reader"))
        .at(-10)
        .by("console")
        .then(ungrant("repo"))
        .by("somebody-else")
        .then(ungrant("wiki"))
        .at(0)
        .by("console")
        .deleted();
    check(
        &story,
        &expect![[r#"
            Restored, other digest
            + account
            + grant/repo
            - grant/wiki outside_the_group
            ? grant/wiki outside_the_group
            ~ grant/wiki outside_the_group
            > AccountRestored
            > GrantAdded repo developer
        "#]],
    );
}

#[test]
fn what_the_same_actor_removed_two_hours_before_stays_gone() {
    let story = Story::of_a_bot()
        .then(grant("wiki", "reader"))
        .at(-2 * HOUR)
        .by("console")
        .then(ungrant("wiki"))
        .at(0)
        .deleted();
    check(
        &story,
        &expect![[r#"
            Restored, same digest
            + account
            + grant/repo
            > AccountRestored
        "#]],
    );
}

#[test]
fn the_window_ends_where_it_says() {
    let story =
        |before: i64| Story::of_a_bot().by("console").at(-before).then(ungrant("repo")).at(0).deleted();
    assert_eq!(group(&story(60).history, 60).unwrap().members.len(), 2);
    assert_eq!(group(&story(61).history, 60).unwrap().members.len(), 1);
    assert_eq!(group(&story(61).history, 61).unwrap().members.len(), 2);
    assert_eq!(group(&story(0).history, 0).unwrap().members.len(), 2);
}

#[test]
fn a_correlation_id_joins_whoever_and_whenever() {
    let story = Story::of_a_bot()
        .then(issued("t1", Expiry::Never))
        .correlated(Some("job-7"))
        .at(-2 * HOUR)
        .by("token-service")
        .then(revoked("t1"))
        .at(0)
        .by("cron")
        .deleted()
        .at(MINUTE)
        .by("member-service")
        .then(ungrant("repo"));
    check(
        &story,
        &expect![[r#"
            Restored, same digest
            + account
            + token/t1
            + grant/repo
            > AccountRestored
            > GrantAdded repo developer
            > TokenReinstated t1
        "#]],
    );
}

#[test]
fn another_correlation_id_sets_a_removal_apart() {
    let story = Story::of_a_bot()
        .by("console")
        .correlated(Some("ticket-1"))
        .at(-1)
        .then(ungrant("repo"))
        .correlated(Some("ticket-2"))
        .at(0)
        .deleted();
    assert_eq!(group(&story.history, 60).unwrap().members.len(), 1);
}

#[test]
fn a_removal_that_is_recorded_late_belongs_by_the_time_it_happened() {
    let story = Story::of_a_bot()
        .then(issued("t1", Expiry::Never))
        .by("console")
        .at(0)
        .deleted()
        .at(-5)
        .then(revoked("t1"))
        .then(ungrant("repo"));
    check(
        &story,
        &expect![[r#"
            Restored, same digest
            + account
            + token/t1
            + grant/repo
            > AccountRestored
            > GrantAdded repo developer
            > TokenReinstated t1
        "#]],
    );
}

#[test]
fn a_token_revoked_because_its_account_was_deleted_comes_back_whoever_revoked_it() {
    let story = Story::of_a_bot()
        .then(issued("t1", Expiry::Never))
        .at(0)
        .by("cron")
        .deleted()
        .at(5 * MINUTE)
        .by("cascade")
        .then(revoked_because("t1", RevocationReason::AccountDeleted));
    check(
        &story,
        &expect![[r#"
            Restored, same digest
            + account
            + token/t1
            + grant/repo
            > AccountRestored
            > TokenReinstated t1
        "#]],
    );
}

#[test]
fn properties_that_the_group_changed_come_back() {
    let story = Story::of_a_bot()
        .correlated(Some("offboard"))
        .at(0)
        .then(Fact::OwnershipTransferred { owner: None })
        .then(renamed("ghost"))
        .then(Fact::AccountDisabled)
        .deleted();
    check(
        &story,
        &expect![[r#"
            Restored, same digest
            + account
            + status
            + handle
            + owner
            + namespace
            + environment
            + protected
            + attribute/team
            + grant/repo
            > AccountRestored
            > AccountEnabled
            > AccountUpdated
            > OwnershipTransferred
        "#]],
    );
    let account = story.at(HOUR).restored(1).account();
    assert_eq!(account.status, Status::Live);
    assert_eq!(account.handle.as_str(), "deploy-bot");
    assert_eq!(account.attributes().get(&Text::own("team")).as_deref(), Some("payments"));
}

#[test]
fn a_grant_that_was_lowered_and_then_removed_comes_back_as_it_was() {
    let lowered = Fact::GrantChanged {
        grant: grant_id("repo"),
        access: Some(Some(Text::own("guest"))),
        expires_at: Some(at(0)),
    };
    let story = Story::of_a_bot().correlated(Some("x")).at(0).then(lowered).then(ungrant("repo")).deleted();
    check(
        &story,
        &expect![[r#"
            Restored, same digest
            + account
            + grant/repo
            > AccountRestored
            > GrantAdded repo developer
        "#]],
    );
}

#[test]
fn an_account_that_was_disabled_long_before_comes_back_disabled() {
    let story = Story::of_a_bot().at(-HOUR).then(Fact::AccountDisabled).at(0).by("cron").deleted();
    assert_eq!(story.at(HOUR).restored(1).account().status, Status::Disabled);
}

#[test]
fn a_rotation_is_not_undone_and_its_successor_comes_back() {
    let story = Story::of_a_bot()
        .then(issued("t1", Expiry::Never))
        .correlated(Some("x"))
        .at(0)
        .then(ungrant("repo"))
        .then(rotated("t1", "t2"))
        .then(revoked("t2"))
        .deleted();
    check(
        &story,
        &expect![[r#"
            Restored, other digest
            + account
            + token/t2
            + grant/repo
            - token/t1 outside_the_group
            ? token/t1 outside_the_group
            ~ token/t1 outside_the_group
            ~ token/t2 outside_the_group
            > AccountRestored
            > TokenReinstated t2
            > GrantAdded repo developer
        "#]],
    );
}

#[test]
fn what_was_given_while_the_deletion_was_under_way_and_taken_by_it_comes_back() {
    let story = Story::of_a_bot()
        .by("console")
        .at(-50)
        .then(ungrant("repo"))
        .by("admin")
        .at(-30)
        .then(grant("repo", "maintainer"))
        .by("console")
        .at(-10)
        .then(ungrant("repo"))
        .at(0)
        .deleted();
    check(
        &story,
        &expect![[r#"
            Restored, other digest
            + account
            + grant/repo
            ~ grant/repo outside_the_group
            > AccountRestored
            > GrantAdded repo maintainer
        "#]],
    );
}

#[test]
fn a_deletion_tells_what_it_hit() {
    let story = stripped_then_deleted();
    let found = deletions(&story.history, 60);
    assert_eq!(found.len(), 1);
    let summary = deletion(&story.history, Position(31), 60).unwrap();
    assert_eq!(summary, found[0]);
    assert_eq!(summary.active_tokens, [token("t1")]);
    assert_eq!(summary.grants, [grant_id("repo")]);
    assert_eq!(summary.actor.id.as_str(), "console");
    assert_eq!(summary.owner, Some(AccountId(Text::own("ann"))));
    assert_eq!(summary.handle.as_str(), "deploy-bot");
    assert_eq!(Some(summary.digest_before), group(&story.history, 60).map(|g| g.digest_before));
    assert_eq!(deletion(&story.history, Position(28), 60), None);
}

#[test]
fn tokens_that_had_ended_by_the_deletion_are_not_told_as_active() {
    let story = Story::of_a_bot()
        .then(issued("over", Expiry::At(at(-HOUR))))
        .then(issued("unknown", Expiry::Unknown))
        .then(issued("later", Expiry::At(at(1))))
        .at(0)
        .deleted();
    let active = &deletions(&story.history, 60)[0].active_tokens;
    assert_eq!(*active, [token("later"), token("unknown")]);
}

#[test]
fn a_history_without_a_deletion_has_no_group() {
    assert_eq!(group(&Story::of_a_bot().history, 60), None);
    assert_eq!(group(&[], 60), None);
    assert!(deletions(&[], 60).is_empty());
}
