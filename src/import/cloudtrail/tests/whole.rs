//! Whole imports: order, duplicates, introductions, names that change, and what the summary says.

use ledger::event::{Event, Fact, Kind};
use proptest::prelude::*;

use super::super::{Gathered, INTRODUCTIONS};
use super::*;
use crate::import::{Problem, Problems};

fn at(second: u32) -> String {
    format!("2024-01-01T00:00:{second:02}Z")
}

fn about(name: &str, second: u32, request: Value) -> Value {
    call(name, &at(second), request, Value::Null)
}

fn bob(name: &str, second: u32) -> Value {
    about(name, second, json!({"userName": "bob", "groupName": "g", "accessKeyId": "AKIAEXAMPLE"}))
}

fn kinds(ledger: &FakeLedger) -> Vec<&'static str> {
    ledger.events.iter().map(|e| e.fact.kind().name()).collect()
}

#[tokio::test]
async fn calls_come_in_the_order_of_time_whatever_the_files() {
    let directory = directory(&[
        ("1.json", &log(&[bob("DeleteUser", 3), bob("AddUserToGroup", 2)])),
        ("2.json", &log(&[bob("CreateUser", 1)])),
    ]);
    let mut ledger = FakeLedger::default();
    import(&[directory.path()], &mut ledger).await;
    assert_eq!(kinds(&ledger), ["AccountCreated", "GrantAdded", "AccountDeleted"]);
}

#[tokio::test]
async fn calls_of_the_same_second_come_in_the_order_in_which_one_needs_the_other() {
    let role =
        |name: &str| about(name, 1, json!({"roleName": "r", "instanceProfileName": "p", "policyName": "p"}));
    let status = |status: &str| {
        about(
            "UpdateAccessKey",
            1,
            json!({"userName": "bob", "accessKeyId": "AKIAEXAMPLE", "status": status}),
        )
    };
    let calls = [
        bob("DeleteUser", 1),
        bob("DeleteLoginProfile", 1),
        bob("RemoveUserFromGroup", 1),
        role("RemoveRoleFromInstanceProfile"),
        status("Inactive"),
        bob("CreateLoginProfile", 1),
        bob("AddUserToGroup", 1),
        role("AddRoleToInstanceProfile"),
        status("Active"),
        about("UpdateUser", 1, json!({"userName": "bob", "newPath": "/x/"})),
        bob("CreateUser", 1),
        role("CreateRole"),
    ];
    let mut ledger = FakeLedger::default();
    import_records(&calls, &mut ledger).await;
    assert_eq!(
        kinds(&ledger),
        [
            "AccountCreated",
            "AccountCreated",
            "AccountUpdated",
            "TokenIssued",
            "GrantAdded",
            "ConsumerDeclared",
            "TokenReinstated",
            "TokenRevoked",
            "GrantRemoved",
            "ConsumerReleased",
            "TokenRevoked",
            "AccountDeleted",
        ]
    );
}

#[tokio::test]
async fn failed_unmapped_and_repeated_calls_are_counted_and_not_recorded() {
    let copy = bob("CreateUser", 1);
    let calls = [
        copy.clone(),
        failed(bob("DeleteUser", 2)),
        failed(bob("DeleteUser", 2)),
        failed(about("ListUsers", 3, Value::Null)),
        about("ListUsers", 4, Value::Null),
        with(bob("DeleteUser", 5), "eventSource", "signin.amazonaws.com".into()),
        copy,
        with(bob("AddUserToGroup", 6), "errorCode", Value::Null),
    ];
    let mut ledger = FakeLedger::default();
    let summary = import_records(&calls, &mut ledger).await;
    assert_eq!(
        serde_json::to_string(&summary).unwrap(),
        concat!(
            r#"{"records":8,"duplicates":2,"failed_calls":1,"unmapped":3,"introduced":0,"already_present":0,"#,
            r#""appended":{"AccountCreated":1,"GrantAdded":1}}"#
        )
    );
}

#[tokio::test]
async fn a_second_import_adds_nothing_and_introduces_nobody() {
    let calls = [bob("AddUserToGroup", 1), bob("DeleteUser", 2), bob("CreateUser", 3)];
    let mut ledger = FakeLedger::default();
    let first = import_records(&calls, &mut ledger).await;
    assert_eq!((first.introduced, first.already_present, first.appended.values().sum::<u64>()), (1, 0, 3));
    let events = ledger.events.clone();
    let second = import_records(&calls, &mut ledger).await;
    assert_eq!((second.introduced, second.already_present, second.appended.len()), (0, 3, 0));
    assert!(second.is_clean());
    assert_eq!(ledger.events, events);
}

#[tokio::test]
async fn a_subject_that_was_not_seen_created_is_introduced_right_before_its_first_event() {
    let calls =
        [bob("CreateUser", 1), about("DeleteRole", 2, json!({"roleName": "r"})), bob("DeleteUser", 3)];
    let mut ledger = FakeLedger::default();
    let summary = import_records(&calls, &mut ledger).await;
    let told = told(&ledger);
    assert_eq!(told[1..3], [format!("LegacyImported {AWS}:role:r"), format!("AccountDeleted {AWS}:role:r")]);
    assert_eq!((told.len(), summary.introduced), (4, 1));
    let introduction = &ledger.events[1];
    let id = uuid::Uuid::new_v5(&INTRODUCTIONS, format!("{AWS}:role:r").as_bytes());
    assert_eq!((introduction.event_id, introduction.emitter.as_str()), (id, "cloudtrail/111122223333"));
    assert_eq!(introduction.occurred_at, ledger.events[2].occurred_at);
    let Fact::LegacyImported { handle, source, namespace, .. } = &introduction.fact else {
        panic!("{introduction:?}")
    };
    assert_eq!((handle.as_str(), source.as_str()), ("r", "cloudtrail"));
    assert_eq!(namespace.as_ref().unwrap().as_str(), format!("{AWS}:role"));
}

#[tokio::test]
async fn an_account_that_the_ledger_knows_is_not_introduced() {
    let mut ledger = FakeLedger::knowing(&format!("{AWS}:user:bob"));
    let summary = import_records(
        &[bob("DeleteUser", 1), about("DeleteRole", 2, json!({"roleName": "r"}))],
        &mut ledger,
    )
    .await;
    assert_eq!(kinds(&ledger), ["AccountDeleted", "LegacyImported", "AccountDeleted"]);
    assert_eq!((summary.introduced, ledger.asked), (1, vec![2]));
}

#[tokio::test]
async fn an_account_created_only_later_in_the_input_is_introduced_by_what_came_before() {
    let mut ledger = FakeLedger::default();
    import_records(&[bob("CreateUser", 2), bob("DeleteUser", 1)], &mut ledger).await;
    assert_eq!(kinds(&ledger), ["LegacyImported", "AccountDeleted", "AccountCreated"]);
}

#[tokio::test]
async fn callers_are_not_introduced() {
    let mut ledger = FakeLedger::default();
    let summary = import_records(&[bob("CreateUser", 1)], &mut ledger).await;
    assert_eq!((kinds(&ledger), summary.introduced), (vec!["AccountCreated"], 0));
}

#[tokio::test]
async fn the_two_copies_of_a_call_between_accounts_are_one() {
    let role = about("AssumeRole", 1, json!({"roleArn": "arn:aws:iam::9:role/r"}));
    let shared =
        |record: Value, id: &str| with(with(record, "sharedEventID", "s-1".into()), "eventID", id.into());
    let theirs = with(shared(role.clone(), "b"), "recipientAccountId", "9".into());
    let other = with(shared(role.clone(), "c"), "sharedEventID", "s-2".into());
    let mut ledger = FakeLedger::default();
    let summary = import_records(&[shared(role, "a"), theirs, other], &mut ledger).await;
    assert_eq!((summary.duplicates, summary.appended[&Kind::TokenIssued]), (1, 2));
}

#[tokio::test]
async fn a_user_who_is_renamed_stays_the_same_account_until_deleted() {
    let rename = |from: &str, to: &str, second| {
        about("UpdateUser", second, json!({"userName": from, "newUserName": to}))
    };
    let about =
        |name: &str, user: &str, second| about(name, second, json!({"userName": user, "groupName": "g"}));
    let by_rob = json!({"type": "IAMUser", "accountId": AWS, "userName": "rob"});
    let calls = [
        about("CreateUser", "bob", 1),
        rename("bob", "rob", 2),
        about("AddUserToGroup", "rob", 3),
        with(about("CreateUser", "x", 4), "userIdentity", by_rob),
        rename("rob", "bert", 5),
        about("AddUserToGroup", "rob", 6),
        about("DeleteUser", "bert", 7),
        about("CreateUser", "bert", 8),
    ];
    let mut ledger = FakeLedger::default();
    import_records(&calls, &mut ledger).await;
    let told: Vec<String> = told(&ledger).iter().map(|t| t.replace(&format!("{AWS}:user:"), "")).collect();
    assert_eq!(
        told,
        [
            "AccountCreated bob",
            "AccountUpdated bob",
            "GrantAdded bob",
            "AccountCreated x",
            "AccountUpdated bob",
            "LegacyImported rob",
            "GrantAdded rob",
            "AccountDeleted bob",
            "AccountCreated bert",
        ]
    );
    assert_eq!(ledger.events[3].actor.id.as_str(), format!("{AWS}:user:bob"), "also as an actor");
}

#[tokio::test]
async fn a_password_that_is_set_again_is_a_token_of_its_own() {
    let calls = [
        bob("CreateLoginProfile", 1),
        bob("DeleteLoginProfile", 2),
        bob("CreateLoginProfile", 3),
        bob("DeleteLoginProfile", 4),
        bob("DeleteUser", 5),
        bob("CreateUser", 6),
        bob("CreateLoginProfile", 7),
    ];
    let token = |event: &Event| match &event.fact {
        Fact::TokenIssued(issued) => Some(issued.token.to_string()),
        Fact::TokenRevoked { token, .. } => Some(token.to_string()),
        _ => None,
    };
    let mut ledger = FakeLedger::default();
    import_records(&calls, &mut ledger).await;
    let tokens: Vec<String> = ledger.events.iter().filter_map(token).collect();
    let again = "login-profile/2024-01-01T00:00:03Z";
    assert_eq!(tokens, ["login-profile", "login-profile", again, again, "login-profile"]);
}

#[tokio::test]
async fn what_cannot_be_recorded_is_named_with_file_record_and_id_and_the_rest_goes_on() {
    let secret = concat!("glp", "at-AbCdEfGhIjKlMnOpQrSt");
    let bad = about("DeleteUser", 1, json!({ "userName": secret }));
    let no_id = with(with(bob("DeleteRole", 1), "eventID", secret.into()), "requestParameters", Value::Null);
    let mut ledger = FakeLedger::default();
    let summary = import_records(&[bob("CreateUser", 1), bad.clone(), no_id], &mut ledger).await;
    assert_eq!(kinds(&ledger), ["AccountCreated"]);
    let [first, second] = summary.problems.listed() else { panic!("{:?}", summary.problems) };
    assert_eq!((first.record, first.event_id.as_deref()), (Some(1), bad["eventID"].as_str()));
    assert!(first.file.as_ref().unwrap().ends_with("log.json"));
    assert_eq!(second.event_id, None, "an id that looks like a secret is not repeated");
    assert!(!serde_json::to_string(&summary).unwrap().contains(secret));
    assert!(!summary.is_clean());
}

#[tokio::test]
async fn what_the_ledger_refuses_is_named_and_the_rest_goes_on() {
    let mut ledger = FakeLedger::default();
    ledger.refuses = Some(Kind::AccountDeleted);
    let calls = [bob("CreateUser", 1), bob("DeleteUser", 2), bob("AddUserToGroup", 3)];
    let summary = import_records(&calls, &mut ledger).await;
    assert_eq!(kinds(&ledger), ["AccountCreated", "GrantAdded"]);
    let [problem] = summary.problems.listed() else { panic!("{:?}", summary.problems) };
    assert_eq!((problem.record, problem.event_id.as_deref()), (Some(1), calls[1]["eventID"].as_str()));
    assert!(problem.problem.contains("refused this AccountDeleted: the policy says no"), "{problem}");
    assert!(!summary.is_clean());
}

#[test]
fn calls_that_are_not_mapped_leave_nothing_in_memory() {
    let noise: Vec<Value> = (0..5_000).map(|n| about("ListUsers", 1, json!({"n": n}))).collect();
    let directory = directory(&[("1.json", &log(&noise))]);
    let mut gathering = super::super::Gathering::default();
    gathering.file(0, &directory.path().join("1.json"));
    assert_eq!((gathering.summary.records, gathering.summary.unmapped), (5_000, 5_000));
    assert_eq!(
        (gathering.found.capacity(), gathering.seen.capacity(), gathering.shared.capacity()),
        (0, 0, 0)
    );
}

#[test]
fn problems_beyond_the_limit_are_counted_but_not_kept() {
    let mut problems = Problems::default();
    (0..1_500).for_each(|_| problems.add(Problem::default()));
    assert_eq!((problems.listed().len(), problems.count()), (1_000, 1_500));
    let shown = serde_json::to_value(Summary { problems, ..Summary::default() }).unwrap();
    assert_eq!(
        (shown["problems"].as_array().unwrap().len(), &shown["problems_not_listed"]),
        (1_000, &500.into())
    );
}

#[tokio::test]
async fn progress_tells_files_and_events() {
    let directory = directory(&[("1.json", &log(&[bob("CreateUser", 1)])), ("2.json", b"[]")]);
    let mut shown = Vec::new();
    let mut show = |progress| shown.push(progress);
    let mut ledger = FakeLedger::default();
    let gathered = gather(&[directory.path().to_owned()], &mut show);
    assert_eq!(gathered.summary().records, 1);
    gathered.deliver(&mut ledger, &mut show).await.unwrap();
    assert_eq!(
        shown,
        [
            Progress::Reading { files: 1, of: 2 },
            Progress::Reading { files: 2, of: 2 },
            Progress::Delivering { events: 1, of: Some(1) },
        ]
    );
}

#[test]
fn an_import_can_be_driven_from_any_thread() {
    fn is_send<T: Send>(_: &T) {}
    fn delivery(gathered: Gathered, ledger: &mut FakeLedger) {
        let mut nothing = |_: Progress| {};
        is_send(&gathered.deliver(ledger, &mut nothing));
    }
    delivery(gather(&[], &mut |_: Progress| {}), &mut FakeLedger::default());
}

proptest! {
    /// Whatever is done to a log, it is read to an end, and what is counted adds up.
    #[test]
    fn no_bytes_make_the_reader_fail_otherwise_than_with_a_problem(
        cut in 0_usize..4_000,
        noise in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 0..8),
    ) {
        let mut bytes = log(&[bob("CreateUser", 1), bob("AddUserToGroup", 2), about("ListUsers", 3, Value::Null)]);
        for (index, byte) in noise {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut);
        let directory = directory(&[("1.json", &bytes)]);
        let summary = gather(&[directory.path().to_owned()], &mut |_: Progress| {});
        let found = summary.found.len() as u64;
        let summary = summary.summary();
        let problems = summary.problems.count();
        let counted = found + summary.unmapped + summary.duplicates + summary.failed_calls;
        prop_assert!(counted <= summary.records && summary.records <= counted + problems);
    }
}
