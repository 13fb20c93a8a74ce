//! One line a rule: what happened before, what is asked, which rules it breaks, and what stands against it.

use uuid::Uuid;

use super::judge;
use crate::decide::{Decision, decide};
use crate::event::{
    AccountId, AccountKind, Actor, ActorKind, Annotations, Cause, ConsumerId, Event, Expiry, Fact, GrantId,
    Handle, IssuedToken, Namespace, PolicyMode, Recorded, RevocationReason, Text, TokenId,
};
use crate::state::State;
use crate::testing::DAY;
use crate::types::{Emitter, Position, Time};

fn event(account: &str, fact: Fact) -> Event {
    Event {
        event_id: Uuid::nil(),
        emitter: "tests".parse().unwrap(),
        emitter_sequence: None,
        occurred_at: DAY,
        actor: Actor { kind: ActorKind::Human, id: Text::own("ann") },
        cause: Cause::default(),
        account: (!account.is_empty()).then(|| AccountId(Text::own(account))),
        fact,
    }
}

fn state(story: &[(&str, Fact)]) -> State {
    let mut state = State::default();
    for (account, fact) in story {
        let recorded = Recorded {
            event: event(account, fact.clone()),
            annotations: Annotations::default(),
            position: state.next(),
            recorded_at: DAY,
        };
        state.apply(&recorded);
    }
    state
}

fn created_in(handle: &str, namespace: Option<&str>) -> Fact {
    Fact::AccountCreated {
        kind: AccountKind::Bot,
        handle: Handle(Text::own(handle)),
        owner: None,
        namespace: namespace.map(|n| Namespace(Text::own(n))),
        environment: None,
        protected: false,
        attributes: Default::default(),
    }
}

fn created(handle: &str) -> Fact {
    created_in(handle, None)
}

fn imported(handle: &str) -> Fact {
    let (handle, source) = (Handle(Text::own(handle)), Text::own("cloudtrail"));
    Fact::LegacyImported { kind: AccountKind::Bot, handle, source, namespace: None }
}

fn renamed(handle: &str) -> Fact {
    Fact::AccountUpdated {
        handle: Some(Handle(Text::own(handle))),
        namespace: None,
        environment: None,
        protected: None,
        attributes_set: Default::default(),
        attributes_removed: Vec::new(),
    }
}

fn restored(incarnation: u32) -> Fact {
    Fact::AccountRestored {
        plan: None,
        incarnation,
        digest_before: None,
        digest_after: None,
        differences: Vec::new(),
    }
}

fn id(token: &str) -> TokenId {
    TokenId(Text::own(token))
}

fn token(token: &str, expiry: Expiry) -> IssuedToken {
    IssuedToken { token: id(token), digest: None, family: None, scopes: Vec::new(), expiry }
}

fn issued(name: &str) -> Fact {
    Fact::TokenIssued(token(name, Expiry::Never))
}

fn rotated(old: &str, new: &str) -> Fact {
    Fact::TokenRotated { old: id(old), new: token(new, Expiry::Never), overlap_until: None }
}

fn revoked(token: &str) -> Fact {
    Fact::TokenRevoked { token: id(token), reason: RevocationReason::Unused }
}

fn leaked(token: &str) -> Fact {
    Fact::TokenRevoked { token: id(token), reason: RevocationReason::Leaked }
}

fn expired(token: &str) -> Fact {
    Fact::TokenExpired { token: id(token) }
}

fn reinstated(token: &str) -> Fact {
    Fact::TokenReinstated { token: id(token), plan: None }
}

fn used(token: &str) -> Fact {
    Fact::TokenUsed { token: id(token), uses: 1, consumer: None }
}

fn added(grant: &str) -> Fact {
    let grant = GrantId(Text::own(grant));
    Fact::GrantAdded { grant, resource: None, access: None, expires_at: None }
}

fn changed(grant: &str) -> Fact {
    Fact::GrantChanged { grant: GrantId(Text::own(grant)), access: None, expires_at: None }
}

fn removed(grant: &str) -> Fact {
    Fact::GrantRemoved { grant: GrantId(Text::own(grant)) }
}

fn declared(consumer: &str) -> Fact {
    Fact::ConsumerDeclared {
        consumer: ConsumerId(Text::own(consumer)),
        component: None,
        location: None,
        environment: None,
        token: None,
    }
}

fn released(consumer: &str) -> Fact {
    Fact::ConsumerReleased { consumer: ConsumerId(Text::own(consumer)) }
}

const DELETED: Fact = Fact::AccountDeleted { retain_until: None };

/// What is asked of account `a` after a story about `a` and `b`: the rules it breaks, and the evidence.
fn check(story: &[(&str, Fact)], asked: Fact, rules: &[&str], evidence: &[&str]) {
    let findings = judge(&state(story), &event("a", asked.clone()), DAY);
    let broken: Vec<&str> = findings.violations.iter().map(|v| v.rule.as_str()).collect();
    assert_eq!(broken, rules, "{asked:?} after {story:?}");
    assert_eq!(findings.evidence, evidence, "{asked:?} after {story:?}");
    assert_eq!(findings.is_empty(), rules.is_empty());
    assert!(findings.violations.iter().all(|v| v.message.len() > 10), "each says what it means");
}

#[test]
fn an_account_must_have_been_met() {
    for asked in [issued("t"), DELETED, added("g"), restored(1), Fact::AccountDisabled] {
        check(&[], asked, &["account_unknown"], &[]);
    }
    check(&[], created("h"), &[], &[]);
    check(&[], imported("h"), &[], &[]);
}

#[test]
fn an_account_is_created_once_in_a_life() {
    check(&[("a", created("h"))], created("h"), &["account_exists"], &[]);
    check(&[("a", imported("h"))], created("h"), &["account_exists"], &[]);
    check(&[("a", created("h")), ("a", DELETED)], created("h"), &[], &[]);
    // Facts that were recorded before the creation was known do not stand against it.
    check(&[("a", issued("t"))], created("h"), &[], &[]);
}

#[test]
fn a_deleted_account_takes_only_what_can_follow_its_deletion() {
    let gone = [("a", created("h")), ("a", issued("t")), ("a", DELETED)];
    for asked in [issued("u"), added("g"), DELETED, renamed("i"), Fact::AccountEnabled, used("t")] {
        check(&gone, asked, &["account_deleted"], &[]);
    }
    check(&gone, expired("t"), &[], &[]);
    check(&gone, imported("h"), &[], &[]);
    check(&gone, restored(1), &[], &[]);
    let revoked = Fact::TokenRevoked { token: id("t"), reason: RevocationReason::Leaked };
    check(&gone, revoked, &[], &[]);
}

#[test]
fn only_a_deleted_account_is_restored() {
    check(&[("a", created("h"))], restored(1), &["account_not_deleted"], &[]);
}

#[test]
fn an_account_with_an_active_token_is_not_deleted() {
    let with = |facts: Vec<Fact>| {
        let mut story = vec![("a", created("h"))];
        story.extend(facts.into_iter().map(|fact| ("a", fact)));
        story
    };
    let active = |evidence: &[&str], facts| check(&with(facts), DELETED, &["active_tokens"], evidence);
    active(&["token/t"], vec![issued("t")]);
    active(
        &["token/t", "token/u"],
        vec![issued("u"), revoked("u"), issued("v"), rotated("v", "t"), reinstated("u")],
    );
    active(&["token/t"], vec![Fact::TokenIssued(token("t", Expiry::Unknown))]);
    active(&["token/t"], vec![used("t")]);
    active(&["token/t"], vec![Fact::TokenIssued(token("t", Expiry::At(DAY.plus_seconds(1))))]);
    for ended in [revoked("t"), leaked("t"), expired("t")] {
        check(&with(vec![issued("t"), ended]), DELETED, &[], &[]);
    }
    check(&with(vec![Fact::TokenIssued(token("t", Expiry::At(DAY)))]), DELETED, &[], &[]);
    check(&with(vec![]), DELETED, &[], &[]);
}

#[test]
fn claiming_to_be_later_makes_no_token_old() {
    let end = DAY.plus_seconds(60);
    let state = state(&[("a", created("h")), ("a", Fact::TokenIssued(token("t", Expiry::At(end))))]);
    let asked = Event { occurred_at: end.plus_seconds(3600), ..event("a", DELETED) };
    assert_eq!(judge(&state, &asked, DAY).evidence, ["token/t"]);
    assert!(judge(&state, &asked, end).is_empty(), "once the ledger's own clock is there, it is over");
    let earlier = Event { occurred_at: DAY, ..asked };
    assert_eq!(judge(&state, &earlier, end).evidence, ["token/t"], "it was active when it was deleted");
}

#[test]
fn evidence_is_bounded() {
    let mut story = vec![("a", created("h"))];
    story.extend((0..150).map(|n| ("a", issued(&format!("t{n:03}")))));
    let findings = judge(&state(&story), &event("a", DELETED), DAY);
    assert_eq!(findings.evidence.len(), super::EVIDENCE_MAX);
    assert!(findings.violations[0].message.contains("150"), "but the count is of all of them");
}

#[test]
fn tokens_follow_their_own_life() {
    let none = [("a", created("h"))];
    let one = [("a", created("h")), ("a", issued("t"))];
    let ended = [("a", created("h")), ("a", issued("t")), ("a", revoked("t"))];
    let known = [("a", created("h")), ("a", issued("t")), ("a", leaked("t"))];
    check(&one, issued("t"), &["token_exists"], &[]);
    check(&[("a", created("h")), ("a", used("t"))], issued("t"), &[], &[]);
    check(&one, rotated("t", "t"), &["token_exists"], &[]);
    for asked in [rotated("t", "u"), reinstated("t"), revoked("t"), used("t"), expired("t")] {
        check(&none, asked.clone(), &["token_unknown"], &[]);
        check(&one, asked, &[], &[]);
    }
    for asked in [rotated("t", "u"), revoked("t"), used("t")] {
        check(&ended, asked, &["token_revoked"], &[]);
    }
    check(&ended, reinstated("t"), &[], &[]);
    check(&ended, leaked("t"), &[], &[]);
    check(&known, reinstated("t"), &["token_leaked"], &[]);
    check(&known, used("t"), &["token_revoked"], &[]);
    check(&known, rotated("t", "u"), &["token_revoked"], &[]);
    // A token of another account is not a token of this one.
    check(
        &[("a", created("h")), ("b", created("i")), ("b", issued("t"))],
        used("t"),
        &["token_unknown"],
        &[],
    );
}

#[test]
fn grants_and_consumers_must_be_there_to_go() {
    let with = [("a", created("h")), ("a", added("g")), ("a", declared("c"))];
    for (asked, rule) in [
        (changed("g"), "grant_unknown"),
        (removed("g"), "grant_unknown"),
        (released("c"), "consumer_unknown"),
    ] {
        check(&[("a", created("h"))], asked.clone(), &[rule], &[]);
        check(&with, asked, &[], &[]);
    }
}

#[test]
fn a_handle_is_taken_once_in_a_namespace() {
    let taken = [("b", created("h"))];
    check(&taken, created("h"), &["handle_taken"], &["account/b"]);
    check(&taken, imported("h"), &["handle_taken"], &["account/b"]);
    check(&taken, created("other"), &[], &[]);
    check(&taken, created_in("h", Some("elsewhere")), &[], &[]);
    check(&[("b", created("h")), ("b", DELETED)], created("h"), &[], &[]);
    let both = [("a", created("mine")), ("b", created("h"))];
    check(&both, renamed("h"), &["handle_taken"], &["account/b"]);
    check(&both, renamed("mine"), &[], &[]);
    let moved = Fact::AccountUpdated {
        handle: None,
        namespace: Some(None),
        environment: None,
        protected: None,
        attributes_set: Default::default(),
        attributes_removed: Vec::new(),
    };
    check(
        &[("a", created_in("h", Some("n"))), ("b", created("h"))],
        moved,
        &["handle_taken"],
        &["account/b"],
    );
    let lost = [("a", created("h")), ("a", DELETED), ("b", created("h"))];
    check(&lost, restored(1), &["handle_taken"], &["account/b"]);
    check(&lost, restored(0), &["handle_taken"], &["account/b"]);
}

#[test]
fn nothing_is_decided_on_what_cannot_be_read() {
    check(&[("a", created("h")), ("a", Fact::Opaque)], added("g"), &["account_incomplete"], &[]);
    check(&[("a", created("h")), ("b", Fact::Opaque)], added("g"), &[], &[]);
}

fn policy(namespace: Option<&str>, mode: PolicyMode) -> Fact {
    Fact::PolicyChanged { namespace: namespace.map(|n| Namespace(Text::own(n))), mode }
}

fn refuses(story: &[(&str, Fact)], asked: Fact) -> bool {
    matches!(decide(&state(story), &event("a", asked), DAY, false), Decision::Refuse(_))
}

#[test]
fn the_policy_of_the_namespace_goes_before_that_of_the_ledger() {
    let base = [("a", created_in("h", Some("n")))];
    let with = |policies: &[Fact]| {
        let mut story: Vec<(&str, Fact)> = policies.iter().map(|p| ("", p.clone())).collect();
        story.extend(base.clone());
        story
    };
    use PolicyMode::{Enforce, Observe};
    assert!(!refuses(&with(&[]), used("t")), "observe is the default");
    assert!(refuses(&with(&[policy(None, Enforce)]), used("t")));
    assert!(refuses(&with(&[policy(Some("n"), Enforce)]), used("t")));
    assert!(!refuses(&with(&[policy(Some("m"), Enforce)]), used("t")));
    assert!(!refuses(&with(&[policy(None, Enforce), policy(Some("n"), Observe)]), used("t")));
    assert!(!refuses(&with(&[policy(None, Enforce), policy(None, Observe)]), used("t")));
    assert!(!refuses(&with(&[policy(None, Enforce)]), issued("t")), "what breaks no rule is recorded");
}

#[test]
fn what_is_recorded_in_spite_of_a_rule_says_so() {
    let story = [("a", created("h")), ("a", issued("t"))];
    let asked = Event { occurred_at: Time(DAY.0 - 1), ..event("a", DELETED) };
    let Decision::Record(annotations) = decide(&state(&story), &asked, DAY, false) else { panic!() };
    assert_eq!(annotations.violations[0].rule, "active_tokens");
    assert_eq!(annotations.active_tokens, Some(1));
    assert!(annotations.late && annotations.digest_before.is_some());
    let strict = decide(&state(&story), &asked, DAY, true);
    assert!(matches!(strict, Decision::Refuse(findings) if findings.evidence == ["token/t"]));
    assert_eq!(state(&story).next(), Position(2));
    assert_ne!(asked.emitter, Emitter::ledger());
}
