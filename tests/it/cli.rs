use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use crate::binary_harness::{Said, Served, feed, finish, program, say};

/// The lines of a small story, each an event in the product's JSON form: a bot with a token that was rotated, deleted
/// by a job; and a token that somebody else has.
fn story() -> String {
    let event = |number: u32, second: u32, kind: &str, account: &str, data: Value| {
        let mut event = json!({
            "event_id": format!("00000000-0000-4000-8000-{number:012}"), "kind": kind, "account": account,
            "actor": "alice", "actor_kind": "human", "occurred_at": format!("2024-09-11T00:00:{second:02}Z"),
            "emitter": "directory", "emitter_sequence": number,
        });
        if !data.is_null() {
            event["data"] = data;
        }
        event
    };
    let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
    let mut deleted = event(6, 30, "AccountDeleted", "bot-1", Value::Null);
    deleted["actor"] = "cleaner".into();
    deleted["actor_kind"] = "automation".into();
    deleted["cause"] = json!({"run": "nightly/1", "reason": "inactive"});
    let bot = json!({"kind": "bot", "handle": "deploy", "owner": "team-1", "namespace": "group-1",
        "environment": "production"});
    let rotated = json!({"old_token": "t1", "new_token": {"token": "t2", "digest": digest("2"), "scopes": ["api"],
        "expiry": "2035-01-01T00:00:00Z"}});
    let events = [
        event(1, 1, "AccountCreated", "bot-1", bot),
        event(
            2,
            2,
            "TokenIssued",
            "bot-1",
            json!({"token": "t1", "digest": digest("1"), "scopes": ["api"],
            "expiry": "never"}),
        ),
        event(
            3,
            3,
            "GrantAdded",
            "bot-1",
            json!({"grant": "project/app", "resource": "app", "access": "developer"}),
        ),
        event(4, 4, "TokenRotated", "bot-1", rotated),
        event(5, 5, "AccountCreated", "bot-2", json!({"kind": "service", "handle": "mirror"})),
        deleted,
    ];
    events.map(|event| event.to_string()).join("\n") + "\n"
}

fn told() -> Served {
    let server = Served::start();
    server.feed(&["append", "-o", "json"], &story()).ends(0);
    server
}

/// What differs from run to run, by the name of its field, becomes the name of its form.
fn still(value: &mut Value) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(still),
        Value::Object(fields) => fields.iter_mut().for_each(|(name, value)| match &**name {
            "link" | "head" | "hash" if is_hex(value) => *value = "HEX".into(),
            "recorded_at" | "last_recorded_at" | "planned_at" if is_time(value) => *value = "TIME".into(),
            "uid" | "plan" | "receipt" if is_uuid(value) => *value = "UUID".into(),
            _ => still(value),
        }),
        _ => {}
    }
}

fn is_hex(value: &Value) -> bool {
    value
        .as_str()
        .is_some_and(|text| text.len() == 64 && text.bytes().all(|b| b"0123456789abcdef".contains(&b)))
}

fn is_time(value: &Value) -> bool {
    value
        .as_str()
        .is_some_and(|text| text.ends_with('Z') && chrono::DateTime::parse_from_rfc3339(text).is_ok())
}

fn is_uuid(value: &Value) -> bool {
    value.as_str().is_some_and(|text| uuid::Uuid::parse_str(text).is_ok() && text.len() == 36)
}

fn check(mut value: Value, expected: &Expect) {
    still(&mut value);
    expected.assert_eq(&format!("{value:#}\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn append_says_what_became_of_each_event() {
    let server = Served::start();
    let first = server.feed(&["append", "-o", "json"], &story()).ends(0).json();
    assert_eq!(first.as_array().unwrap().len(), 6);
    check(
        first[5].clone(),
        &expect![[r#"
        {
          "already_present": false,
          "emitter": "directory",
          "event_id": "00000000-0000-4000-8000-000000000006",
          "link": "HEX",
          "position": 6,
          "recorded_at": "TIME",
          "refused": null,
          "violations": [
            "active_tokens"
          ]
        }
    "#]],
    );
    let again = server.feed(&["append", "-o", "ndjson"], &story()).ends(0).lines();
    for (first, again) in first.as_array().unwrap().iter().zip(&again) {
        assert_eq!(again["already_present"], true);
        for same in ["event_id", "position", "link", "recorded_at"] {
            assert_eq!(first[same], again[same], "{same}");
        }
    }
    let other = story().replace("\"mirror\"", "\"another\"");
    let refused = server.feed(&["append", "-o", "json"], &other).ends(1).json();
    assert_eq!(refused[4]["position"], Value::Null);
    assert!(refused[4]["refused"]["reason"].is_string() && refused[3]["refused"].is_null(), "{refused}");
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_have_their_promised_shape() {
    let server = told();
    let listed = server.json(&["events", "list", "--account", "bot-1"]);
    check(
        listed,
        &expect![[r#"
        [
          {
            "account": "bot-1",
            "actor": "alice",
            "actor_kind": "human",
            "data": {
              "environment": "production",
              "handle": "deploy",
              "kind": "bot",
              "namespace": "group-1",
              "owner": "team-1",
              "protected": false
            },
            "emitter": "directory",
            "emitter_sequence": 1,
            "event_id": "00000000-0000-4000-8000-000000000001",
            "kind": "AccountCreated",
            "link": "HEX",
            "occurred_at": "2024-09-11T00:00:01Z",
            "position": 1,
            "recorded_at": "TIME"
          },
          {
            "account": "bot-1",
            "actor": "alice",
            "actor_kind": "human",
            "data": {
              "digest": "sha256:1111111111111111111111111111111111111111111111111111111111111111",
              "expiry": "never",
              "scopes": [
                "api"
              ],
              "token": "t1"
            },
            "emitter": "directory",
            "emitter_sequence": 2,
            "event_id": "00000000-0000-4000-8000-000000000002",
            "kind": "TokenIssued",
            "link": "HEX",
            "occurred_at": "2024-09-11T00:00:02Z",
            "position": 2,
            "recorded_at": "TIME"
          },
          {
            "account": "bot-1",
            "actor": "alice",
            "actor_kind": "human",
            "data": {
              "access": "developer",
              "grant": "project/app",
              "resource": "app"
            },
            "emitter": "directory",
            "emitter_sequence": 3,
            "event_id": "00000000-0000-4000-8000-000000000003",
            "kind": "GrantAdded",
            "link": "HEX",
            "occurred_at": "2024-09-11T00:00:03Z",
            "position": 3,
            "recorded_at": "TIME"
          },
          {
            "account": "bot-1",
            "actor": "alice",
            "actor_kind": "human",
            "data": {
              "new_token": {
                "digest": "sha256:2222222222222222222222222222222222222222222222222222222222222222",
                "expiry": "2035-01-01T00:00:00Z",
                "scopes": [
                  "api"
                ],
                "token": "t2"
              },
              "old_token": "t1"
            },
            "emitter": "directory",
            "emitter_sequence": 4,
            "event_id": "00000000-0000-4000-8000-000000000004",
            "kind": "TokenRotated",
            "link": "HEX",
            "occurred_at": "2024-09-11T00:00:04Z",
            "position": 4,
            "recorded_at": "TIME"
          },
          {
            "account": "bot-1",
            "actor": "cleaner",
            "actor_kind": "automation",
            "annotations": {
              "active_tokens": 1,
              "digest_before": "82b25d68a59197232b71099958b79397840e76bc93251a36fb7d6ac57bcd0e4f",
              "late": false,
              "violations": [
                {
                  "message": "the account has 1 active token(s)",
                  "rule": "active_tokens"
                }
              ]
            },
            "cause": {
              "reason": "inactive",
              "run": "nightly/1"
            },
            "data": {},
            "emitter": "directory",
            "emitter_sequence": 6,
            "event_id": "00000000-0000-4000-8000-000000000006",
            "kind": "AccountDeleted",
            "link": "HEX",
            "occurred_at": "2024-09-11T00:00:30Z",
            "position": 6,
            "recorded_at": "TIME"
          }
        ]
    "#]],
    );
    let kinds = |words: &[&str]| -> Vec<u64> {
        let all = server.ask(&[&["events", "list", "-o", "ndjson"], words].concat()).ends(0).lines();
        all.iter().map(|event| event["position"].as_u64().unwrap()).collect()
    };
    assert_eq!(kinds(&[]), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(kinds(&["--desc"]), [6, 5, 4, 3, 2, 1, 0]);
    assert_eq!(kinds(&["--kind", "AccountCreated"]), [1, 5]);
    assert_eq!(kinds(&["--actor", "cleaner"]), [6]);
    assert_eq!(kinds(&["--run", "nightly/1"]), [6]);
    assert_eq!(kinds(&["--token", "t1"]), [2, 4]);
    let window = ["--from", "2024-09-11T00:00:03Z", "--to", "2024-09-11T00:00:05Z"];
    assert_eq!(kinds(&window), [3, 4], "from: at or after; to: before");
    assert_eq!(kinds(&["--account", "deploy"]), [1, 2, 3, 4, 6], "by the handle that only one account has");
    assert_eq!(server.json(&["events", "list", "--kind", "TokenExpired"]), json!([]));
    let got = server.json(&["events", "get", "2"]);
    assert_eq!(got["event_id"], "00000000-0000-4000-8000-000000000002");
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_have_their_promised_shape_at_any_moment() {
    let server = told();
    check(
        server.json(&["account", "show", "deploy", "--at", "5"]),
        &expect![[r#"
        {
          "account": "bot-1",
          "attributes": {},
          "consumers": [],
          "created_at": "2024-09-11T00:00:01Z",
          "deleted_at": null,
          "digest": "82b25d68a59197232b71099958b79397840e76bc93251a36fb7d6ac57bcd0e4f",
          "environment": "production",
          "grants": [
            {
              "access": "developer",
              "expires_at": null,
              "grant": "project/app",
              "resource": "app"
            }
          ],
          "handle": "deploy",
          "incarnation": 1,
          "kind": "bot",
          "namespace": "group-1",
          "owner": "team-1",
          "position": 5,
          "protected": false,
          "status": "live",
          "tokens": [
            {
              "digest": "sha256:1111111111111111111111111111111111111111111111111111111111111111",
              "expiry": "never",
              "family": "t1",
              "issued_at": "2024-09-11T00:00:02Z",
              "last_used_at": null,
              "leaked": false,
              "replaced_by": "t2",
              "revocation_reason": "superseded",
              "revoked_at": "2024-09-11T00:00:04Z",
              "scopes": [
                "api"
              ],
              "status": "revoked",
              "token": "t1"
            },
            {
              "digest": "sha256:2222222222222222222222222222222222222222222222222222222222222222",
              "expiry": "2035-01-01T00:00:00Z",
              "family": "t1",
              "issued_at": "2024-09-11T00:00:04Z",
              "last_used_at": null,
              "leaked": false,
              "replaced_by": null,
              "revocation_reason": null,
              "revoked_at": null,
              "scopes": [
                "api"
              ],
              "status": "active",
              "token": "t2"
            }
          ],
          "version": 4
        }
    "#]],
    );
    let status = |words: &[&str]| {
        let account = server.json(&[&["account", "show", "bot-1"], words].concat());
        let tokens =
            account["tokens"].as_array().unwrap().iter().map(|t| t["status"].as_str().unwrap().to_owned());
        (account["status"].as_str().unwrap().to_owned(), tokens.collect::<Vec<_>>().join(" "))
    };
    let is = |status: &str, tokens: &str| (status.to_owned(), tokens.to_owned());
    assert_eq!(status(&["--at", "1"]), is("live", ""));
    assert_eq!(status(&["--at", "2024-09-11T00:00:02Z"]), is("live", "active"));
    assert_eq!(status(&["--at", "2024-09-11T00:00:04Z"]), is("live", "revoked active"));
    assert_eq!(status(&[]).0, "deleted");
    let early =
        server.ask(&["account", "show", "bot-1", "--at", "2024-09-10T00:00:00Z", "-o", "json"]).ends(4);
    assert!(early.stdout.is_empty() && early.stderr.contains("bot-1"), "{early:?}");
    server.ask(&["account", "show", "bot-1", "--known-at", "2024-09-11T00:00:05Z"]).ends(4);
    server.ask(&["account", "show", "nobody"]).ends(4);
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_found_by_id_and_by_digest_never_by_secret() {
    let server = told();
    check(
        server.json(&["token", "show", "t2", "--at", "5"]),
        &expect![[r#"
        [
          {
            "account": "bot-1",
            "account_status": "live",
            "digest": "sha256:2222222222222222222222222222222222222222222222222222222222222222",
            "expiry": "2035-01-01T00:00:00Z",
            "family": "t1",
            "handle": "deploy",
            "issued_at": "2024-09-11T00:00:04Z",
            "last_used_at": null,
            "leaked": false,
            "replaced_by": null,
            "revocation_reason": null,
            "revoked_at": null,
            "scopes": [
              "api"
            ],
            "status": "active",
            "token": "t2",
            "usable": true
          }
        ]
    "#]],
    );
    let digest = format!("sha256:{}", "2".repeat(64));
    assert_eq!(server.json(&["token", "lookup", &digest, "--at", "5"])[0]["usable"], true);
    assert_eq!(server.json(&["token", "lookup", &digest])[0]["usable"], false);
    server.ask(&["token", "lookup", &format!("sha256:{}", "3".repeat(64))]).ends(4);
    let secret = "glpat-ABCDEFGHIJ0123456789";
    let said = server.ask(&["token", "lookup", secret]);
    assert_ne!(said.code, Some(0));
    assert!(!said.stderr.contains(secret), "a secret is never repeated: {said:?}");
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_is_found_planned_and_undone_in_the_promised_shapes() {
    let server = told();
    check(
        server.json(&["deletions", "find", "--run", "nightly/1"]),
        &expect![[r#"
        [
          {
            "account": "bot-1",
            "active_tokens": 1,
            "actor": "cleaner",
            "actor_kind": "automation",
            "correlation_id": null,
            "digest_before": "82b25d68a59197232b71099958b79397840e76bc93251a36fb7d6ac57bcd0e4f",
            "grants": [
              "project/app"
            ],
            "handle": "deploy",
            "namespace": "group-1",
            "occurred_at": "2024-09-11T00:00:30Z",
            "owner": "team-1",
            "position": 6,
            "reason": "inactive",
            "request": null,
            "run": "nightly/1",
            "status_now": "deleted",
            "tokens": [
              "t2"
            ]
          }
        ]
    "#]],
    );
    let plan = server.json(&["restore", "plan", "--run", "nightly/1", "--by", "responder"]);
    check(
        plan.clone(),
        &expect![[r#"
        {
          "hash": "HEX",
          "items": [
            {
              "account": "bot-1",
              "comes_back": [
                "account",
                "token/t2",
                "grant/project/app"
              ],
              "conflicts": [
                {
                  "blocks": false,
                  "detail": "it was revoked before the deletion began, and stays so",
                  "reason": "revoked_before_the_group",
                  "what": "token/t1"
                }
              ],
              "differences": [],
              "digest_after": "82b25d68a59197232b71099958b79397840e76bc93251a36fb7d6ac57bcd0e4f",
              "digest_before": "82b25d68a59197232b71099958b79397840e76bc93251a36fb7d6ac57bcd0e4f",
              "group": [
                6
              ],
              "handle": "deploy",
              "stays_gone": [
                {
                  "detail": "it was revoked before the deletion began, and stays so",
                  "reason": "revoked_before_the_group",
                  "what": "token/t1"
                }
              ]
            }
          ],
          "plan": "UUID",
          "planned_at": "TIME",
          "position": 6,
          "window_seconds": 60
        }
    "#]],
    );
    let id = plan["plan"].as_str().unwrap();
    let wrong = server.ask(&["restore", "apply", id, "--hash", &"0".repeat(64)]).ends(1);
    assert_eq!(wrong.stdout, "");
    assert_eq!(
        server.json(&["account", "show", "bot-1"])["status"],
        "deleted",
        "another hash changes nothing"
    );
    let words = ["restore", "apply", id, "--hash", plan["hash"].as_str().unwrap(), "--by", "responder"];
    let receipt = server.json(&words);
    check(
        receipt.clone(),
        &expect![[r#"
        {
          "hash": "HEX",
          "items": [
            {
              "account": "bot-1",
              "differences": [],
              "digest_after": "82b25d68a59197232b71099958b79397840e76bc93251a36fb7d6ac57bcd0e4f",
              "digest_before": "82b25d68a59197232b71099958b79397840e76bc93251a36fb7d6ac57bcd0e4f",
              "outcome": "restored",
              "position": 8
            }
          ],
          "link": "HEX",
          "plan": "UUID",
          "position": 9,
          "receipt": "UUID"
        }
    "#]],
    );
    assert_eq!(server.json(&words), receipt, "applied again it says the same");
    assert_eq!(server.json(&["account", "show", "bot-1"])["digest"], receipt["items"][0]["digest_before"]);
    server.ask(&["restore", "plan", "--run", "nightly/1"]).ends(4);
    server.ask(&["restore", "apply", "00000000-0000-4000-8000-000000000000"]).ends(4);
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ledgers_are_listed_described_and_rebuilt() {
    let server = told();
    server.feed(&["append", "--ledger", "other"], story().lines().next().unwrap()).ends(0);
    // A question waits for the index; a list only tells how far it is.
    for ledger in ["default", "other"] {
        server.json(&["events", "list", "--ledger", ledger]);
    }
    check(
        server.json(&["ledgers", "list"]),
        &expect![[r#"
        [
          {
            "entries": 7,
            "head": "HEX",
            "last_recorded_at": "TIME",
            "ledger": "default",
            "projected": 7,
            "stopped": null,
            "uid": "UUID"
          },
          {
            "entries": 2,
            "head": "HEX",
            "last_recorded_at": "TIME",
            "ledger": "other",
            "projected": 2,
            "stopped": null,
            "uid": "UUID"
          }
        ]
    "#]],
    );
    check(
        server.json(&["ledgers", "describe"]),
        &expect![[r#"
        {
          "accounts": 2,
          "checkpoint": null,
          "damage": [],
          "emitters": [
            {
              "emitter": "directory",
              "last_sequence": 6,
              "missing": 0
            }
          ],
          "entries": 7,
          "head": "HEX",
          "last_recorded_at": "TIME",
          "ledger": "default",
          "projected": 7,
          "stopped": null,
          "uid": "UUID"
        }
    "#]],
    );
    let before = server.json(&["account", "list"]);
    check(
        server.json(&["rebuild"]),
        &expect![[r#"
        {
          "entries": 7,
          "finished": true,
          "ledger": "default"
        }
    "#]],
    );
    assert_eq!(server.json(&["account", "list"]), before);
    for words in [
        &["ledgers", "describe", "nowhere"][..],
        &["events", "list", "--ledger", "nowhere"],
        &["rebuild", "--ledger", "nowhere"],
    ] {
        server.ask(words).ends(4);
    }
    assert_eq!(server.json(&["ledgers", "list"]).as_array().unwrap().len(), 2, "a question makes no ledger");
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_goes_into_another_ledger_with_equal_events_and_state() {
    let from = told();
    // What it restored goes along, but not what it wrote of itself: its genesis, a refusal, a plan and its completion.
    let policy = json!({"event_id": "00000000-0000-4000-8000-0000000000a1", "kind": "PolicyChanged", "actor": "alice",
        "actor_kind": "human", "occurred_at": "2024-09-11T00:00:40Z", "emitter": "directory",
        "data": {"mode": "enforce"}});
    from.feed(&["append"], &policy.to_string()).ends(0);
    let plan = from.json(&["restore", "plan", "bot-1"]);
    from.json(&["restore", "apply", plan["plan"].as_str().unwrap()]);
    let again = story().lines().next().unwrap().replace("000000000001", "0000000000a2");
    from.feed(&["append"], &again).ends(1);
    let exported = from.ask(&["export", "ndjson"]).ends(0);

    let to = Served::start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ledger.ndjson");
    from.ask(&["export", "ndjson", "--out", file.to_str().unwrap()]).ends(0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), exported.stdout);
    let imported = to.json(&["import", "ndjson", file.to_str().unwrap()]);
    assert_eq!((&imported["already_present"], &imported["unmapped"]), (&json!(0), &json!(4)), "{imported}");
    let second = to.json(&["import", "ndjson", file.to_str().unwrap()]);
    assert_eq!(second["appended"], json!({}), "{second}");

    let events =
        |said: Said| said.ends(0).lines().into_iter().filter_map(as_sent).collect::<BTreeMap<_, _>>();
    assert_eq!(events(to.ask(&["export", "ndjson"])), events(exported));
    let accounts = |server: &Served| {
        let mut accounts = server.json(&["account", "list"]);
        for account in accounts.as_array_mut().unwrap() {
            assert!(account["position"].take().is_u64());
        }
        accounts
    };
    assert_eq!(accounts(&to), accounts(&from));
    assert_eq!(accounts(&to)[0]["status"], "live");
    from.check().await;
    to.check().await;
}

/// An event without what the ledger adds, by its emitter and id. What a ledger writes of itself is its own.
fn as_sent(mut event: Value) -> Option<((String, String), Value)> {
    let own = ["LedgerCreated", "RequestRefused", "RestorePlanned", "RestoreCompleted", "KeyRotated"];
    if own.iter().any(|kind| event["kind"] == *kind) {
        return None;
    }
    for added in ["link", "position", "recorded_at"] {
        assert!(!event[added].take().is_null(), "{added}");
    }
    let key = |name: &str| event[name].as_str().unwrap().to_owned();
    Some(((key("emitter"), key("event_id")), event))
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_has_a_heading_and_a_row_for_each_thing() {
    let server = told();
    let said = server.ask(&["events", "list", "--account", "bot-1", "-o", "csv"]).ends(0);
    let mut reader = csv::Reader::from_reader(said.stdout.as_bytes());
    let names = reader.headers().unwrap().clone();
    for name in
        ["position", "event_id", "kind", "account", "actor", "occurred_at", "recorded_at", "emitter", "link"]
    {
        assert!(names.iter().any(|n| n == name), "{name}: {names:?}");
    }
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 5);
    let data = names.iter().position(|name| name == "data").unwrap();
    let within: Value = serde_json::from_str(&rows[1][data]).unwrap();
    assert_eq!(within["token"], "t1");
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_for_people_and_have_no_colours_where_nobody_wants_them() {
    let server = told();
    let url = format!("http://{}", server.address);
    let words = ["account", "show", "deploy", "--server", &url, "--color"];
    let colours = |words: &[&str]| {
        finish(program().args(words).env("NO_COLOR", "1"), "").ends(0).stdout.contains('\u{1b}')
    };
    assert!(colours(&[&words[..], &["always"]].concat()), "a flag beats the environment");
    assert!(!colours(&[&words[..], &["auto"]].concat()));
    assert!(!colours(&[&words[..], &["never"]].concat()));
    let json = server.ask(&["account", "show", "deploy", "-o", "json", "--color", "always"]).ends(0);
    assert!(!json.stdout.contains('\u{1b}'));
    server.check().await;
}

#[test]
fn a_wrong_call_ends_with_2_and_says_so_on_standard_error() {
    for words in [
        &["nonsense"][..],
        &[],
        &["serve", "--data"],
        &["serve", "--data", "x", "--listen", "not an address"],
        &["events", "list", "--from", "yesterday"],
        &["account", "show"],
        &["account", "show", "a", "--at", "whenever"],
        &["events", "list", "-o", "yaml"],
        &["events", "list", "--ledger", "Not A Ledger"],
        &["restore", "apply", "p", "--hash", "xyz"],
        &["verify"],
        &["bench", "append", "--clients", "0"],
    ] {
        let said = say(words).ends(2);
        assert!(said.stdout.is_empty() && !said.stderr.is_empty(), "{words:?}: {said:?}");
    }
}

#[test]
fn a_server_that_is_not_there_is_named_with_code_1() {
    for words in
        [&["events", "list"][..], &["account", "show", "a"], &["ledgers", "list"], &["restore", "plan", "a"]]
    {
        let said = say(&[words, &["--server", "http://127.0.0.1:1", "-o", "json"]].concat()).ends(1);
        assert_eq!(said.stdout, "");
        assert!(
            said.stderr.contains("127.0.0.1:1") && said.stderr.trim_end().lines().count() == 1,
            "{said:?}"
        );
    }
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("settings.toml");
    std::fs::write(&file, "server = \"http://file:1\"\nledger = \"of-file\"\noutput = \"json\"\n").unwrap();
    let config = |ledger: Option<&str>, words: &[&str]| {
        let mut command = program();
        command.args(["config", "--config", file.to_str().unwrap()]).args(words);
        if let Some(ledger) = ledger {
            command.env("TOKENLEDGER_LEDGER", ledger);
        }
        let settings = finish(&mut command, "").ends(0).json();
        let find = |name: &str| {
            let found = settings.as_array().unwrap().iter().find(|s| s["name"] == name).unwrap();
            (found["value"].as_str().unwrap().to_owned(), found["source"].as_str().unwrap().to_owned())
        };
        (find("ledger"), find("server"))
    };
    let is = |value: &str, source: &str| (value.to_owned(), source.to_owned());
    let server = is("http://file:1", "file");
    assert_eq!(config(None, &[]), (is("of-file", "file"), server.clone()));
    assert_eq!(config(Some("of-env"), &[]), (is("of-env", "environment"), server.clone()));
    assert_eq!(config(Some("of-env"), &["--ledger", "of-flag"]), (is("of-flag", "flag"), server));
    std::fs::write(&file, "unknown = 1\n").unwrap();
    let said = say(&["config", "--config", file.to_str().unwrap()]);
    assert!(said.code != Some(0) && said.stderr.contains("unknown"), "{said:?}");
}

#[test]
fn a_shell_can_complete_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let said = say(&["completions", shell]).ends(0);
        assert!(said.stdout.contains("tokenledger") && said.stdout.contains("deletions"), "{shell}");
    }
    let syntax = say(&["completions", "bash"]).stdout;
    let bash = std::process::Command::new("bash").args(["-n", "-c", &syntax]).status();
    assert!(bash.is_err() || bash.unwrap().success(), "bash understands it");
}

#[test]
fn the_benchmark_measures_itself_in_the_promised_shape() {
    let said =
        say(&["bench", "append", "--clients", "8", "--duration", "1s", "--floor", "-o", "json"]).ends(0);
    let mut measured = said.json();
    for name in ["events_per_s", "p50_us", "p99_us", "p999_us", "fsyncs", "events_per_cpu_s", "client_cpu_s"]
    {
        assert!(measured[name].as_f64().unwrap() > 0.0, "{name}: {measured}");
    }
    for name in ["noop_events_per_s", "raw_events_per_s", "raw_p50_us", "fdatasync_p50_us"] {
        assert!(measured["floor"][name].as_f64().unwrap() > 0.0, "{name}: {measured}");
    }
    assert_eq!((measured["clients"].take(), measured["batch"].take()), (json!(8), json!(1)));
    assert!(measured["p50_us"].as_f64() <= measured["p99_us"].as_f64(), "{measured}");
    let (events, fsyncs) = (measured["events"].as_u64(), measured["fsyncs"].as_u64());
    assert!(
        fsyncs <= events && fsyncs > Some(0),
        "each acknowledged event was synced, many at once: {measured}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_benchmark_of_a_server_writes_to_a_ledger_of_its_own() {
    let server = told();
    // A question waits until the projection is there, which the description tells of.
    server.json(&["events", "list"]);
    let before = server.json(&["ledgers", "describe"]);
    let measured = server.json(&["bench", "append", "--clients", "4", "--duration", "300ms"]);
    assert!(measured["floor"].is_null() && measured["fsyncs"].is_null(), "{measured}");
    assert_eq!(server.json(&["ledgers", "describe"]), before);
    let ledgers = server.json(&["ledgers", "list"]);
    let names: Vec<&str> =
        ledgers.as_array().unwrap().iter().map(|l| l["ledger"].as_str().unwrap()).collect();
    assert!(names.len() == 2 && names[0].starts_with("bench-"), "{names:?}");
    server.check().await;
}

#[test]
fn a_line_that_is_no_event_is_named_and_what_stands_before_is_recorded() {
    let server = Served::start();
    let input = story().lines().take(2).map(|line| format!("{line}\n")).collect::<String>() + "{\"kind\":\n";
    let said = server.feed(&["append", "-o", "json"], &input);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("line 3"), "{said:?}");
    assert_eq!(server.json(&["events", "list"]).as_array().unwrap().len(), 3);
    let said = feed(
        &["append", "--atomic", "--server", &format!("http://{}", server.address), "--ledger", "other"],
        &input,
    );
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(server.json(&["ledgers", "list"]).as_array().unwrap().len(), 1, "all or nothing: nothing");
}
