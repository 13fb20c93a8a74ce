use super::*;
use crate::cli::print::tests::{check_json, check_page};
use expect_test::expect;

/// Something that is only to be known.
fn known() -> pb::Conflict {
    pb::Conflict {
        reason: "revoked_before_the_group".into(),
        what: "token/t-1".into(),
        detail: "it was revoked before".into(),
        blocks: false,
    }
}

fn plan() -> pb::RestorePlan {
    let digest = vec![0x11; 32];
    let revoked = pb::Difference {
        what: "token/t-1".into(),
        reason: "revoked_before_the_group".into(),
        detail: "it was revoked before".into(),
    };
    let whole = pb::PlanItem {
        account: "bot-1".into(),
        handle: "deploy".into(),
        comes_back: vec!["account".into(), "token/t-2".into(), "grant/group/9".into()],
        stays_gone: vec![revoked],
        conflicts: vec![known(), known()],
        digest_before: digest.clone(),
        digest_after: digest,
        group: vec![1_204],
        ..Default::default()
    };
    let taken = pb::Conflict {
        reason: "handle_taken".into(),
        what: "handle".into(),
        detail: "bot-9 has it now".into(),
        blocks: true,
    };
    let blocked = pb::PlanItem {
        account: "bot-2".into(),
        conflicts: vec![taken],
        digest_before: vec![0x22; 32],
        digest_after: vec![0x33; 32],
        ..Default::default()
    };
    pb::RestorePlan {
        plan: "0b2ac0b0-0000-5000-8000-000000000001".into(),
        hash: vec![0xEE; 32],
        pinned_position: 1_300,
        planned_at: Some(prost_types::Timestamp { seconds: 1_726_040_000, nanos: 0 }),
        window_seconds: 60,
        items: vec![whole, blocked],
    }
}

fn receipt() -> pb::RestoreReceipt {
    let item = |account: &str, outcome: pb::RestoreOutcome| pb::RestoredItem {
        account: account.into(),
        outcome: outcome.into(),
        digest_before: vec![0x11; 32],
        digest_after: vec![0x11; 32],
        ..Default::default()
    };
    pb::RestoreReceipt {
        receipt: "5f0c".into(),
        plan: "0b2a".into(),
        hash: vec![0xEE; 32],
        items: vec![
            item("bot-1", pb::RestoreOutcome::Restored),
            item("bot-2", pb::RestoreOutcome::AlreadyLive),
            item("bot-3", pb::RestoreOutcome::Refused),
        ],
        proof: Some(pb::Receipt { position: 1_310, link: vec![0xAA; 32], ..Default::default() }),
    }
}

#[test]
fn the_json_of_a_plan_keeps_its_promise() {
    check_json(
        &RestorePlan::from(plan()),
        &expect![[r#"
            {"plan":"0b2ac0b0-0000-5000-8000-000000000001","hash":"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee","position":1300,"items":[{"account":"bot-1","comes_back":["account","token/t-2","grant/group/9"],"stays_gone":[{"what":"token/t-1","reason":"revoked_before_the_group","detail":"it was revoked before"}],"conflicts":[{"reason":"revoked_before_the_group","what":"token/t-1","detail":"it was revoked before","blocks":false},{"reason":"revoked_before_the_group","what":"token/t-1","detail":"it was revoked before","blocks":false}],"handle":"deploy","digest_before":"1111111111111111111111111111111111111111111111111111111111111111","digest_after":"1111111111111111111111111111111111111111111111111111111111111111","differences":[],"group":[1204]},{"account":"bot-2","comes_back":[],"stays_gone":[],"conflicts":[{"reason":"handle_taken","what":"handle","detail":"bot-9 has it now","blocks":true}],"handle":"","digest_before":"2222222222222222222222222222222222222222222222222222222222222222","digest_after":"3333333333333333333333333333333333333333333333333333333333333333","differences":[],"group":[]}],"planned_at":"2024-09-11T07:33:20Z","window_seconds":60}
        "#]],
    );
}

#[test]
fn people_see_what_comes_back_and_what_stands_against_it() {
    check_page(
        &RestorePlan::from(plan()),
        &expect![[r#"
            ACCOUNT  COMES BACK  TOKENS  STAY GONE  WILL BE    TO BE KNOWN
            bot-1    yes         1       1          as before  revoked_before_the_group
            bot-2    no          0       0                     handle_taken

            to be known:
            bot-2    handle_taken              bot-9 has it now
            2 times  revoked_before_the_group  it was revoked before
            1 of 2 accounts can come back, 1 of them exactly as before
            plan 0b2ac0b0-0000-5000-8000-000000000001, hash eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee
        "#]],
    );
}

#[test]
fn the_json_of_a_receipt_keeps_its_promise() {
    check_json(
        &RestoreReceipt::from(receipt()),
        &expect![[r#"
        {"receipt":"5f0c","items":[{"account":"bot-1","outcome":"restored","digest_before":"1111111111111111111111111111111111111111111111111111111111111111","digest_after":"1111111111111111111111111111111111111111111111111111111111111111","differences":[],"position":null},{"account":"bot-2","outcome":"already_live","digest_before":"1111111111111111111111111111111111111111111111111111111111111111","digest_after":"1111111111111111111111111111111111111111111111111111111111111111","differences":[],"position":null},{"account":"bot-3","outcome":"refused","digest_before":"1111111111111111111111111111111111111111111111111111111111111111","digest_after":"1111111111111111111111111111111111111111111111111111111111111111","differences":[],"position":null}],"plan":"0b2a","hash":"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee","position":1310,"link":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}
    "#]],
    );
}

#[test]
fn people_see_what_became_of_each_account() {
    check_page(
        &RestoreReceipt::from(receipt()),
        &expect![[r#"
        ACCOUNT  OUTCOME       IS
        bot-1    restored      as before
        bot-2    already_live
        bot-3    refused
        1 account restored, 1 of them exactly as before; 1 there already, 1 refused
        receipt 5f0c, position 1310
    "#]],
    );
}

#[test]
fn an_outcome_that_is_not_said_counts_as_refused() {
    let mut message = receipt();
    message.items[0].outcome = 0;
    assert_eq!(RestoreReceipt::from(message).refused(), 2);
}

#[test]
fn a_hash_is_32_bytes_of_hex() {
    assert!(hash(&"ab".repeat(32)).is_ok());
    assert!(hash(&"ab".repeat(31)).is_err());
    assert!(hash("hello").is_err());
}
