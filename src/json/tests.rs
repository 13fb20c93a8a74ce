use std::collections::BTreeMap;

use ledger::event::{
    AccountId, AccountKind, Actor, ActorKind, Annotations, Cause, Difference, Event, Expiry, Fact,
    IssuedToken, Kind, NotRestored, PolicyMode, Recorded, RestoreOutcome, RevocationReason, RolloutStage,
    Text, TokenDigest, Violation,
};
use ledger::testing::{checkpoint_note, rotation_note};
use ledger::types::{AccountDigest, Emitter, Link, Position, Time};
use proptest::prelude::*;
use uuid::Uuid;

use super::{BadJson, event_from_json, event_to_json, sent_to_json};

fn id<T: From<Text>>(text: &str) -> T {
    Text::new(text).unwrap().into()
}

fn token(expiry: Expiry) -> IssuedToken {
    IssuedToken {
        token: id("t1"),
        digest: TokenDigest::new(&format!("sha256:{}", "ab".repeat(32))).ok(),
        family: Some(id("family")),
        scopes: vec![id("api"), id("read")],
        expiry,
    }
}

fn facts_about_accounts() -> Vec<Fact> {
    let attributes =
        BTreeMap::from([(id("arn"), "arn:aws:iam::1:user/a".to_owned()), (id("empty"), String::new())]);
    let differences = vec![Difference {
        what: "token/t1".into(),
        reason: "leaked_since".into(),
        detail: "reported".into(),
    }];
    vec![
        Fact::LedgerCreated { name: id("default") },
        Fact::AccountCreated {
            kind: AccountKind::Bot,
            handle: id("bot"),
            owner: Some(id("team")),
            namespace: Some(id("group")),
            environment: Some(id("production")),
            protected: true,
            attributes: attributes.clone(),
        },
        Fact::AccountUpdated {
            handle: Some(id("new")),
            namespace: Some(None),
            environment: Some(Some(id("test"))),
            protected: Some(false),
            attributes_set: attributes,
            attributes_removed: vec![id("old")],
        },
        Fact::OwnershipTransferred { owner: Some(id("other")) },
        Fact::OwnershipTransferred { owner: None },
        Fact::AccountDisabled,
        Fact::AccountEnabled,
        Fact::AccountDeleted { retain_until: Some(Time(1_700_000_000_123_000_000)) },
        Fact::AccountRestored {
            plan: Some(Uuid::from_u128(5)),
            incarnation: 2,
            digest_before: Some(AccountDigest([1; 32])),
            digest_after: None,
            differences,
        },
        Fact::LegacyImported {
            kind: AccountKind::Human,
            handle: id("old"),
            source: id("cloudtrail"),
            namespace: Some(id("1:user")),
        },
    ]
}

fn facts_about_tokens_and_grants() -> Vec<Fact> {
    vec![
        Fact::TokenIssued(token(Expiry::Never)),
        Fact::TokenIssued(token(Expiry::Unknown)),
        Fact::TokenRotated {
            old: id("t0"),
            new: token(Expiry::At(Time(1_700_000_000_000_000_001))),
            overlap_until: Some(Time(1_700_000_001_000_000_000)),
        },
        Fact::TokenExpired { token: id("t1") },
        Fact::TokenRevoked { token: id("t1"), reason: RevocationReason::Leaked },
        Fact::TokenReinstated { token: id("t1"), plan: Some(Uuid::from_u128(7)) },
        Fact::TokenUsed { token: id("t1"), uses: u64::MAX, consumer: Some(id("ci")) },
        Fact::GrantAdded {
            grant: id("g"),
            resource: Some(id("project/1")),
            access: Some(id("write")),
            expires_at: Some(Time(-1)),
        },
        Fact::GrantChanged { grant: id("g"), access: Some(None), expires_at: Some(Time(0)) },
        Fact::GrantChanged { grant: id("g"), access: None, expires_at: None },
        Fact::GrantRemoved { grant: id("g") },
        Fact::EnforcementChanged { rule: id("allowlist"), enforced: true },
        Fact::ConsumerDeclared {
            consumer: id("ci"),
            component: Some(id("ci-runner")),
            location: Some(id("host-1")),
            environment: Some(id("production")),
            token: Some(id("t1")),
        },
        Fact::ConsumerReleased { consumer: id("ci") },
    ]
}

fn facts_about_jobs_and_requests() -> Vec<Fact> {
    let job = |stage| Fact::RolloutStageChanged { job: id("reaper"), stage, approved_by: None };
    vec![
        Fact::RunStarted { run: id("r1"), job: id("reaper") },
        Fact::RunFinished { run: id("r1"), succeeded: true, accounts_changed: 3 },
        Fact::PolicyChanged { namespace: Some(id("group")), mode: PolicyMode::Enforce },
        Fact::RolloutStageChanged {
            job: id("reaper"),
            stage: RolloutStage::Namespaces(vec![id("a"), id("b")]),
            approved_by: Some(Actor { kind: ActorKind::Human, id: id("alice") }),
        },
        job(RolloutStage::Off),
        job(RolloutStage::DryRun),
        job(RolloutStage::Percentage(25)),
        job(RolloutStage::Everywhere),
        Fact::DeletionRequested { request: id("q1"), accounts: vec![id("a")], expires_at: Some(Time(5)) },
        Fact::DeletionApproved { request: id("q1") },
        Fact::DeletionRejected { request: id("q1"), reason: Some(id("still used")) },
        Fact::RequestRefused {
            refused_event_id: Uuid::from_u128(9),
            refused_emitter: "cron".parse().unwrap(),
            refused_kind: id("AccountDeleted"),
            refused_account: Some(id("a")),
            violations: vec![Violation { rule: "live_tokens".into(), message: "one is active".into() }],
            evidence: vec!["token/t1".into()],
        },
        Fact::RestorePlanned {
            plan: Uuid::from_u128(1),
            hash: [7; 32],
            pinned: Position(41),
            accounts: vec![id("a")],
            window_seconds: 60,
        },
        Fact::RestoreApproved { plan: Uuid::from_u128(1), hash: [8; 32] },
        Fact::RestoreCompleted {
            plan: Uuid::from_u128(1),
            hash: [9; 32],
            restored: 1,
            not_restored: vec![NotRestored {
                account: id("a"),
                outcome: RestoreOutcome::AlreadyLive,
                reason: "already_live".into(),
            }],
        },
        Fact::KeyRotated { note: rotation_note(1) },
        Fact::CheckpointOverridden { source: id("anchor"), note: checkpoint_note(7) },
    ]
}

fn facts() -> Vec<Fact> {
    [facts_about_accounts(), facts_about_tokens_and_grants(), facts_about_jobs_and_requests()].concat()
}

fn event(fact: Fact) -> Event {
    Event {
        event_id: Uuid::from_u128(0x3b24_1101),
        emitter: "cloudtrail/111122223333".parse().unwrap(),
        emitter_sequence: Some(u64::MAX),
        occurred_at: Time(1_688_990_987_000_000_000),
        actor: Actor { kind: ActorKind::Automation, id: id("reaper") },
        cause: Cause {
            run: Some(id("r1")),
            request: Some(id("q1")),
            reason: Some(id("older than 30 days")),
            correlation_id: Some(id("c1")),
        },
        account: fact.kind().has_subject().then(|| id("111122223333:user:alice")),
        fact,
    }
}

fn recorded(event: Event) -> Recorded {
    let annotations = Annotations {
        late: true,
        violations: vec![Violation { rule: "r".into(), message: "m".into() }],
        digest_before: Some(AccountDigest([2; 32])),
        active_tokens: Some(3),
    };
    Recorded { event, annotations, position: Position(7), recorded_at: Time(1_688_990_988_000_000_000) }
}

fn line(event: &Event) -> String {
    serde_json::to_string(&event_to_json(&recorded(event.clone()), &Link([5; 32]))).unwrap()
}

#[test]
fn every_kind_of_event_comes_back_from_its_json_as_it_was() {
    let facts = facts();
    for kind in Kind::ALL {
        assert!(
            *kind == Kind::Opaque || facts.iter().any(|f| f.kind() == *kind),
            "no example of {}",
            kind.name()
        );
    }
    for fact in facts {
        let event = event(fact);
        assert_eq!(event_from_json(&line(&event)).as_ref(), Ok(&event));
        let sent = serde_json::to_string(&sent_to_json(&event)).unwrap();
        assert_eq!(event_from_json(&sent).as_ref(), Ok(&event));
        let bare = Event { cause: Cause::default(), emitter_sequence: None, ..event };
        assert_eq!(event_from_json(&line(&bare)).as_ref(), Ok(&bare));
    }
}

#[test]
fn the_json_of_an_event_has_the_promised_names_in_a_stable_order() {
    let event = event(Fact::TokenIssued(IssuedToken { digest: None, ..token(Expiry::Never) }));
    let expected = concat!(
        r#"{"position":7,"event_id":"00000000-0000-0000-0000-00003b241101","kind":"TokenIssued","#,
        r#""account":"111122223333:user:alice","actor":"reaper","actor_kind":"automation","#,
        r#""occurred_at":"2023-07-10T12:09:47Z","recorded_at":"2023-07-10T12:09:48Z","#,
        r#""emitter":"cloudtrail/111122223333","#,
        r#""link":"0505050505050505050505050505050505050505050505050505050505050505","#,
        r#""emitter_sequence":18446744073709551615,"#,
        r#""cause":{"run":"r1","request":"q1","reason":"older than 30 days","correlation_id":"c1"},"#,
        r#""data":{"expiry":"never","family":"family","scopes":["api","read"],"token":"t1"},"#,
        r#""annotations":{"late":true,"violations":[{"rule":"r","message":"m"}],"#,
        r#""digest_before":"0202020202020202020202020202020202020202020202020202020202020202","active_tokens":3}}"#,
    );
    assert_eq!(line(&event), expected);
}

#[test]
fn an_event_about_no_account_says_so_with_null() {
    let line = line(&event(Fact::RunStarted { run: id("r1"), job: id("reaper") }));
    assert!(line.contains(r#""account":null,"#), "{line}");
}

fn edited(edit: impl FnOnce(&mut serde_json::Value)) -> Result<Event, BadJson> {
    let mut value = serde_json::from_str(&line(&event(Fact::TokenIssued(token(Expiry::Never))))).unwrap();
    edit(&mut value);
    event_from_json(&value.to_string())
}

#[test]
fn fields_that_are_not_known_are_refused_wherever_they_stand_and_named() {
    for place in ["", "/data", "/cause", "/annotations"] {
        let error = edited(|v| v.pointer_mut(place).unwrap()["surprise"] = 1.into()).unwrap_err();
        assert!(error.to_string().contains("field `surprise` is not known"), "{place}: {error}");
    }
}

#[test]
fn data_of_which_all_may_be_left_out_may_be_left_out() {
    let without = |kind: &str| {
        edited(|v| {
            v["kind"] = kind.into();
            drop(v.as_object_mut().unwrap().remove("data"));
        })
    };
    assert_eq!(without("AccountDeleted").unwrap().fact, Fact::AccountDeleted { retain_until: None });
    assert_eq!(without("AccountDisabled").unwrap().fact, Fact::AccountDisabled);
    for (kind, field) in [("TokenRevoked", "token"), ("TokenIssued", "token")] {
        let error = without(kind).unwrap_err();
        assert!(error.to_string().contains(&format!("missing field `{field}`")), "{kind}: {error}");
    }
}

#[test]
fn an_actor_that_is_not_said_to_be_a_person_or_a_program_is_unknown() {
    let event = edited(|v| drop(v.as_object_mut().unwrap().remove("actor_kind"))).unwrap();
    assert_eq!(event.actor.kind, ActorKind::Unknown);
}

#[test]
fn values_are_never_echoed() {
    let secret = concat!("glp", "at-AbCdEfGhIjKlMnOpQrSt");
    for place in ["position", "event_id", "kind", "account", "actor", "actor_kind", "occurred_at", "emitter"]
    {
        let given = if place == "emitter" { format!("{secret} ") } else { secret.to_owned() };
        let error = edited(|v| v[place] = given.into()).unwrap_err();
        assert!(!error.to_string().contains(secret), "{place}: {error}");
    }
    for place in ["token", "expiry", "scopes", "digest"] {
        let error = edited(|v| v["data"][place] = secret.into()).unwrap_err();
        assert!(!error.to_string().contains(secret), "{place}: {error}");
    }
    let error = edited(|v| v[secret] = 1.into()).unwrap_err();
    assert!(!error.to_string().contains(secret), "{error}");
}

#[test]
fn what_the_ledger_would_refuse_is_refused_with_the_name_of_the_field() {
    let error = edited(|v| v["data"]["token"] = "".into()).unwrap_err();
    assert!(error.to_string().contains("token_issued.token"), "{error}");
    let error = edited(|v| v["account"] = serde_json::Value::Null).unwrap_err();
    assert!(error.to_string().contains("`account` is missing"), "{error}");
    let error = edited(|v| v["data"]["expiry"] = "soon".into()).unwrap_err();
    assert!(error.to_string().contains("expiry"), "{error}");
}

#[test]
fn an_event_of_a_newer_kind_is_shown_but_cannot_be_read_back() {
    let mut opaque = event(Fact::TokenExpired { token: id("t1") });
    opaque.fact = Fact::Opaque;
    assert_eq!(event_from_json(&line(&opaque)), Err(BadJson::Opaque));
}

proptest! {
    #[test]
    fn any_printable_text_time_and_number_survives_the_round_trip(
        texts in prop::collection::vec("[^\\p{C}]{1,12}", 4),
        nanos in any::<i64>(),
        sequence in any::<Option<u64>>(),
        which in 0..facts().len(),
    ) {
        let mut event = event(facts().swap_remove(which));
        event.occurred_at = Time(nanos);
        event.emitter_sequence = sequence;
        event.actor.id = id(&texts[0]);
        event.cause.reason = Some(id(&texts[1]));
        event.account = event.account.map(|_| AccountId::new(&texts[2]).unwrap());
        if let Fact::TokenIssued(token) = &mut event.fact {
            token.scopes = vec![id(&texts[3])];
            token.expiry = Expiry::At(Time(nanos));
        }
        prop_assert_eq!(event_from_json(&line(&event)), Ok(event));
    }

    #[test]
    fn no_text_makes_the_reader_fail_otherwise_than_with_an_error(text in ".{0,200}") {
        prop_assert!(event_from_json(&text).is_err());
    }
}

#[test]
fn an_emitter_that_is_no_name_is_refused() {
    let error = edited(|v| v["emitter"] = "two words".into()).unwrap_err();
    assert!(error.to_string().contains("emitter"), "{error}");
    assert!("two words".parse::<Emitter>().is_err());
}
