//! One test for each rule by which something does not come back as it was.

use expect_test::expect;

use super::super::{Reason, item};
use super::story::*;
use crate::event::{AccountId, Expiry, Fact, RevocationReason, Text};
use crate::state::{Status, digest};

fn account(name: &str) -> AccountId {
    AccountId(Text::own(name))
}

#[test]
fn a_token_that_expired_meanwhile_comes_back_expired() {
    let story = Story::of_a_bot().then(issued("t1", Expiry::At(at(MINUTE)))).at(0).deleted();
    check(
        &story,
        &expect![[r#"
            Restored, same digest
            + account
            + token/t1
            + grant/repo
            ? token/t1 expired_meanwhile
            > AccountRestored
        "#]],
    );
}

#[test]
fn a_token_reported_expired_meanwhile_is_told_so_once_more() {
    let story = Story::of_a_bot()
        .then(issued("t1", Expiry::Unknown))
        .at(0)
        .then(revoked("t1"))
        .deleted()
        .at(MINUTE)
        .by("janitor")
        .then(Fact::TokenExpired { token: token("t1") });
    check(
        &story,
        &expect![[r#"
            Restored, same digest
            + account
            + token/t1
            + grant/repo
            ? token/t1 expired_meanwhile
            > AccountRestored
            > TokenReinstated t1
            > TokenExpired t1
        "#]],
    );
}

#[test]
fn a_token_that_had_expired_before_stays_so() {
    let story =
        Story::of_a_bot().then(issued("t1", Expiry::At(at(-HOUR)))).at(0).then(revoked("t1")).deleted();
    check(
        &story,
        &expect![[r#"
            Restored, same digest
            + account
            + grant/repo
            - token/t1 expired_before_the_group
            ? token/t1 expired_before_the_group
            > AccountRestored
            > TokenReinstated t1
        "#]],
    );
}

#[test]
fn a_token_revoked_before_the_group_stays_revoked() {
    let story = Story::of_a_bot()
        .then(issued("t1", Expiry::Never))
        .at(-HOUR)
        .then(revoked("t1"))
        .at(0)
        .then(revoked("t1"))
        .deleted();
    check(
        &story,
        &expect![[r#"
            Restored, same digest
            + account
            + grant/repo
            - token/t1 revoked_before_the_group
            ? token/t1 revoked_before_the_group
            > AccountRestored
        "#]],
    );
}

#[test]
fn a_token_reported_leaked_after_the_deletion_never_comes_back() {
    let story = Story::of_a_bot()
        .then(issued("t1", Expiry::Never))
        .at(0)
        .then(revoked("t1"))
        .deleted()
        .at(MINUTE)
        .by("scanner")
        .then(revoked_because("t1", RevocationReason::Leaked));
    let told = expect![[r#"
        Restored, other digest
        + account
        + grant/repo
        - token/t1 leaked_since
        ? token/t1 leaked_since
        ~ token/t1 leaked_since
        > AccountRestored
    "#]];
    check(&story, &told);
}

#[test]
fn a_token_reported_leaked_by_the_group_itself_never_comes_back() {
    let story = Story::of_a_bot()
        .then(issued("t1", Expiry::Never))
        .at(0)
        .then(revoked_because("t1", RevocationReason::Leaked))
        .deleted();
    assert!(story.item().stays_gone.iter().any(|c| c.reason == Reason::LeakedSince && c.what == "token/t1"));
    assert!(!story.item().comes_back.contains(&"token/t1".to_owned()));
}

#[test]
fn a_handle_that_somebody_else_has_blocks() {
    let story = Story::of_a_bot().at(0).deleted();
    let around = Around { holders: [account("bot-2"), bot()].into(), ..Around::default() };
    let item = story.item_among(&around);
    expect![[r#"
        Refused, no digest after
        - handle handle_taken
        ! handle handle_taken
    "#]]
    .assert_eq(&told(&item));
    assert!(item.conflicts[0].detail.contains("bot-2"));
    assert!(!item.conflicts[0].detail.contains("bot,"));
}

#[test]
fn its_own_hold_on_the_handle_is_no_conflict() {
    let around = Around { holders: [bot()].into(), ..Around::default() };
    assert!(Story::of_a_bot().at(0).deleted().item_among(&around).conflicts.is_empty());
}

#[test]
fn an_id_that_was_created_again_blocks_its_older_life() {
    let mut story = Story::of_a_bot().at(0).deleted().at(MINUTE);
    story.created();
    check(
        &story,
        &expect![[r#"
            Refused, other digest
            - account handle_taken
            ! account handle_taken
        "#]],
    );
    assert_eq!(story.item().incarnation, 2);
}

#[test]
fn an_account_that_was_never_deleted_is_there_already() {
    check(
        &Story::of_a_bot(),
        &expect![[r#"
            AlreadyLive, digest after only
            ! account not_deleted
        "#]],
    );
}

#[test]
fn an_account_that_is_back_is_there_already() {
    check(
        &Story::of_a_bot().at(0).deleted().at(HOUR).restored(1),
        &expect![[r#"
            AlreadyLive, same digest
            ! account already_live
        "#]],
    );
}

#[test]
fn an_account_that_never_existed_is_refused() {
    check(
        &Story::of_nothing(),
        &expect![[r#"
            Refused, no digest after
            ! account never_existed
        "#]],
    );
}

#[test]
fn nothing_is_decided_on_what_cannot_be_read() {
    check(
        &Story::of_a_bot().then(Fact::Opaque).at(0).deleted(),
        &expect![[r#"
            Refused, no digest after
            - account incomplete
            ! account incomplete
        "#]],
    );
}

#[test]
fn what_was_done_after_the_deletion_is_kept() {
    let story = Story::of_a_bot()
        .then(issued("t1", Expiry::Never))
        .at(0)
        .by("cron")
        .then(ungrant("repo"))
        .then(revoked("t1"))
        .deleted()
        .at(MINUTE)
        .by("admin")
        .then(grant("repo", "guest"))
        .then(grant("wiki", "reader"))
        .then(issued("t2", Expiry::Never))
        .then(revoked("t1"));
    check(
        &story,
        &expect![[r#"
            Restored, other digest
            + account
            + token/t2
            + grant/repo
            + grant/wiki
            - token/t1 changed_since
            ? grant/repo changed_since
            ? grant/wiki changed_since
            ? token/t1 changed_since
            ? token/t2 changed_since
            ~ token/t1 changed_since
            ~ token/t2 changed_since
            ~ grant/repo changed_since
            ~ grant/wiki changed_since
            > AccountRestored
        "#]],
    );
    let account = story.at(HOUR).restored(1).account();
    assert_eq!(account.grants.get(&grant_id("repo")).unwrap().access, Some(Text::own("guest")));
    assert!(account.tokens.get(&token("t1")).unwrap().revoked.is_some());
}

#[test]
fn a_token_met_only_by_its_revocation_is_not_brought_back_by_guess() {
    let story = Story::of_a_bot().at(0).then(revoked("t9")).then(ungrant("g9")).deleted();
    check(
        &story,
        &expect![[r#"
            Restored, other digest
            + account
            + grant/repo
            - token/t9 unknown_before
            - grant/g9 unknown_before
            ? grant/g9 unknown_before
            ? token/t9 unknown_before
            ~ token/t9 unknown_before
            > AccountRestored
        "#]],
    );
}

#[test]
fn an_account_met_only_by_its_deletion_comes_back_as_little_as_is_known() {
    check(
        &Story::of_nothing().at(0).then(revoked("t1")).deleted(),
        &expect![[r#"
            Restored, digest after only
            + account
            - token/t1 unknown_before
            ? token/t1 unknown_before
            ~ token/t1 unknown_before
            > AccountRestored
        "#]],
    );
}

#[test]
fn an_owner_who_left_is_a_warning() {
    for (status, warned) in [(Status::Deleted, true), (Status::Disabled, true), (Status::Live, false)] {
        let around = Around { statuses: [(account("ann"), status)].into(), ..Around::default() };
        let item = Story::of_a_bot().at(0).deleted().item_among(&around);
        assert_eq!(item.conflicts.iter().any(|c| c.reason == Reason::OwnerLeft), warned, "{status:?}");
        assert!(!item.facts.is_empty());
    }
}

#[test]
fn an_account_that_answers_for_itself_has_not_left() {
    let owner = Some(bot());
    let around = Around { statuses: [(bot(), Status::Deleted)].into(), ..Around::default() };
    let story = Story::of_a_bot().then(Fact::OwnershipTransferred { owner }).at(0).deleted();
    assert!(story.item_among(&around).conflicts.is_empty());
}

#[test]
fn a_parent_that_is_deleted_is_a_warning() {
    let around = Around { statuses: [(account("shop"), Status::Deleted)].into(), ..Around::default() };
    let item = Story::of_a_bot().at(0).deleted().item_among(&around);
    assert_eq!(item.conflicts.iter().map(|c| c.reason).collect::<Vec<_>>(), [Reason::ParentGone]);
    assert!(!item.facts.is_empty());
}

#[test]
fn a_newer_token_of_the_family_is_a_warning() {
    let story = Story::of_a_bot()
        .then(issued("t1", Expiry::Never))
        .at(0)
        .by("cron")
        .then(revoked("t1"))
        .deleted()
        .at(MINUTE)
        .by("admin")
        .then(Fact::TokenIssued(token_of("t2", Some("t1"), Expiry::Never)));
    let item = story.item();
    let warned =
        |what: &str| item.conflicts.iter().any(|c| c.reason == Reason::NewerTokenInFamily && c.what == what);
    assert!(warned("token/t1"));
    assert!(!warned("token/t2"));
    assert!(item.comes_back.contains(&"token/t1".to_owned()));
}

#[test]
fn a_retention_that_is_over_is_a_warning() {
    let story = |until| Story::of_a_bot().at(0).then(Fact::AccountDeleted { retain_until: Some(at(until)) });
    assert_eq!(story(MINUTE).item().conflicts[0].reason, Reason::RetentionOver);
    assert!(story(2 * HOUR).item().conflicts.is_empty());
}

#[test]
fn the_second_coming_of_an_import_changes_nothing() {
    let imported = Fact::LegacyImported {
        kind: crate::event::AccountKind::Service,
        handle: crate::event::Handle(Text::own("other")),
        source: Text::own("cloudtrail"),
        namespace: None,
    };
    let story = Story::of_a_bot().at(0).deleted().at(MINUTE).by("importer").then(imported);
    assert!(story.item().conflicts.is_empty());
    assert_eq!(story.item().digest_after, story.item().digest_before);
}

#[test]
fn the_digest_after_is_that_of_the_account_after() {
    let story = Story::of_a_bot().then(issued("t1", Expiry::Never)).at(0).then(revoked("t1")).deleted();
    let promised = story.item().digest_after;
    assert_eq!(promised, Some(digest(&story.at(HOUR).restored(1).account())));
}

#[test]
fn the_names_of_reasons_are_for_ever() {
    let item = item(&bot(), &[], &terms(), &Around::default());
    assert_eq!(item.conflicts[0].reason.to_string(), "never_existed");
    assert_eq!(Reason::HandleTaken.name(), "handle_taken");
    assert_eq!(Reason::ChangedSincePlan.name(), "changed_since_plan");
}
