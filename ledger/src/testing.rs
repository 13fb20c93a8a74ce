//! Made-up events and histories for property tests. Ids come from small pools, so that events meet: a token is issued,
//! used, revoked and revoked again, an account is deleted twice. Not for use outside tests.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use uuid::Uuid;

use crate::checkpoint::{LocalSigner, PrivateKey, Rotation, Signer};
use crate::event::{
    AccountId, AccountKind, Actor, ActorKind, Annotations, Cause, ConsumerId, Difference, Event, Expiry,
    Fact, FamilyId, GrantId, Handle, IssuedToken, Namespace, NotRestored, PolicyMode, Recorded,
    RestoreOutcome, RevocationReason, RolloutStage, Text, TokenDigest, TokenId, Violation,
};
use crate::tree::{SIZE_MAX, TreeHead};
use crate::types::{AccountDigest, Emitter, LedgerName, Position, Time};

/// The moment around which made-up histories happen, 2024-09-11T00:00:00Z.
pub const DAY: Time = Time(1_726_012_800_000_000_000);

/// A name like any other.
pub fn text() -> impl Strategy<Value = Text> {
    "[a-zA-Z0-9é/:._-]{1,20}".prop_map(|text| Text::own(&text))
}

/// One of a few names that begin with `prefix`.
fn few<T: From<Text> + Clone + std::fmt::Debug + 'static>(prefix: &'static str) -> impl Strategy<Value = T> {
    (0..4_u8).prop_map(move |n| T::from(Text::own(&format!("{prefix}{n}"))))
}

/// One of four accounts.
pub fn account_id() -> impl Strategy<Value = AccountId> {
    few("account-")
}

fn token_id() -> impl Strategy<Value = TokenId> {
    few("token-")
}

fn grant_id() -> impl Strategy<Value = GrantId> {
    few("grant-")
}

fn consumer_id() -> impl Strategy<Value = ConsumerId> {
    few("consumer-")
}

fn namespace() -> impl Strategy<Value = Namespace> {
    few("namespace-")
}

fn handle() -> impl Strategy<Value = Handle> {
    few("handle-")
}

/// Any moment that the ledger can hold.
pub fn any_time() -> impl Strategy<Value = Time> {
    prop_oneof![any::<i64>().prop_map(Time), Just(Time(i64::MIN)), Just(Time(i64::MAX)), near()]
}

/// A moment within some minutes of [`DAY`], in whole seconds, so that moments meet.
pub fn near() -> impl Strategy<Value = Time> {
    (-120..120_i64).prop_map(|seconds| DAY.plus_seconds(seconds))
}

fn uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn hash() -> impl Strategy<Value = [u8; 32]> {
    any::<[u8; 32]>()
}

fn account_kind() -> impl Strategy<Value = AccountKind> {
    select(vec![AccountKind::Bot, AccountKind::Service, AccountKind::Human])
}

fn expiry() -> impl Strategy<Value = Expiry> {
    prop_oneof![Just(Expiry::Never), Just(Expiry::Unknown), near().prop_map(Expiry::At)]
}

fn token_digest() -> impl Strategy<Value = TokenDigest> {
    prop_oneof![
        "sha256:[0-9a-f]{64}",
        "blake3:[0-9a-f]{64}",
        "sha384:[0-9a-f]{96}",
        "hmac-sha256:key-[0-9]:[0-9a-f]{64}"
    ]
    .prop_filter_map("a digest", |text| TokenDigest::new(&text).ok())
}

fn issued() -> impl Strategy<Value = IssuedToken> {
    (
        token_id(),
        option::of(token_digest()),
        option::of(few::<FamilyId>("family-")),
        vec(text(), 0..3),
        expiry(),
    )
        .prop_map(|(token, digest, family, scopes, expiry)| IssuedToken {
            token,
            digest,
            family,
            scopes,
            expiry,
        })
}

fn revocation_reason() -> impl Strategy<Value = RevocationReason> {
    select(vec![
        RevocationReason::Unspecified,
        RevocationReason::Superseded,
        RevocationReason::Unused,
        RevocationReason::Leaked,
        RevocationReason::AccountDeleted,
    ])
}

fn attributes() -> impl Strategy<Value = BTreeMap<Text, String>> {
    btree_map(few::<Text>("key-"), "[a-z ]{0,8}", 0..3)
}

fn difference() -> impl Strategy<Value = Difference> {
    (text(), text(), "[a-z ]{0,20}").prop_map(|(what, reason, detail)| Difference {
        what: what.to_string(),
        reason: reason.to_string(),
        detail,
    })
}

/// Any actor, of a few.
pub fn actor() -> impl Strategy<Value = Actor> {
    (select(vec![ActorKind::Unknown, ActorKind::Human, ActorKind::Automation]), few("actor-"))
        .prop_map(|(kind, id)| Actor { kind, id })
}

fn cause() -> impl Strategy<Value = Cause> {
    (
        option::of(few("run-")),
        option::of(few("request-")),
        option::of(text()),
        option::of(few("correlation-")),
    )
        .prop_map(|(run, request, reason, correlation_id)| Cause {
            run,
            request,
            reason,
            correlation_id,
        })
}

fn created() -> impl Strategy<Value = Fact> {
    (
        account_kind(),
        handle(),
        option::of(account_id()),
        option::of(namespace()),
        option::of(text()),
        any::<bool>(),
        attributes(),
    )
        .prop_map(|(kind, handle, owner, namespace, environment, protected, attributes)| {
            Fact::AccountCreated { kind, handle, owner, namespace, environment, protected, attributes }
        })
}

fn updated() -> impl Strategy<Value = Fact> {
    (
        option::of(handle()),
        option::of(option::of(namespace())),
        option::of(option::of(text())),
        option::of(any::<bool>()),
        attributes(),
        vec(few("key-"), 0..2),
    )
        .prop_map(|(handle, namespace, environment, protected, attributes_set, attributes_removed)| {
            Fact::AccountUpdated {
                handle,
                namespace,
                environment,
                protected,
                attributes_set,
                attributes_removed,
            }
        })
}

fn restored() -> impl Strategy<Value = Fact> {
    (option::of(uuid()), 0..4_u32, option::of(hash()), option::of(hash()), vec(difference(), 0..3)).prop_map(
        |(plan, incarnation, before, after, differences)| Fact::AccountRestored {
            plan,
            incarnation,
            digest_before: before.map(AccountDigest),
            digest_after: after.map(AccountDigest),
            differences,
        },
    )
}

/// A fact that takes something from an account, or changes it.
pub fn taking_fact() -> impl Strategy<Value = Fact> {
    prop_oneof![
        4 => grant_id().prop_map(|grant| Fact::GrantRemoved { grant }),
        4 => (token_id(), revocation_reason())
            .prop_map(|(token, reason)| Fact::TokenRevoked { token, reason }),
        2 => consumer_id().prop_map(|consumer| Fact::ConsumerReleased { consumer }),
        1 => Just(Fact::AccountDisabled),
        1 => updated(),
        1 => option::of(account_id()).prop_map(|owner| Fact::OwnershipTransferred { owner }),
        1 => token_id().prop_map(|token| Fact::TokenExpired { token }),
        1 => (grant_id(), option::of(option::of(text())), option::of(near()))
            .prop_map(|(grant, access, expires_at)| Fact::GrantChanged { grant, access, expires_at }),
        1 => (few("rule-"), any::<bool>())
            .prop_map(|(rule, enforced)| Fact::EnforcementChanged { rule, enforced }),
    ]
}

/// A fact that gives something to an account, or reports its use.
pub fn giving_fact() -> impl Strategy<Value = Fact> {
    prop_oneof![
        4 => issued().prop_map(Fact::TokenIssued),
        2 => (token_id(), issued(), option::of(near()))
            .prop_map(|(old, new, overlap_until)| Fact::TokenRotated { old, new, overlap_until }),
        1 => (token_id(), option::of(uuid())).prop_map(|(token, plan)| Fact::TokenReinstated { token, plan }),
        1 => (token_id(), 1..9_u64, option::of(consumer_id()))
            .prop_map(|(token, uses, consumer)| Fact::TokenUsed { token, uses, consumer }),
        3 => (grant_id(), option::of(text()), option::of(text()), option::of(near())).prop_map(
            |(grant, resource, access, expires_at)| Fact::GrantAdded { grant, resource, access, expires_at }
        ),
        2 => (consumer_id(), option::of(text()), option::of(text()), option::of(text()), option::of(token_id()))
            .prop_map(|(consumer, component, location, environment, token)| Fact::ConsumerDeclared {
                consumer, component, location, environment, token
            }),
        1 => Just(Fact::AccountEnabled),
    ]
}

/// Any fact about an account.
pub fn account_fact() -> impl Strategy<Value = Fact> {
    let imported = (account_kind(), handle(), text(), option::of(namespace())).prop_map(
        |(kind, handle, source, namespace)| Fact::LegacyImported { kind, handle, source, namespace },
    );
    prop_oneof![
        2 => created(),
        1 => imported,
        2 => option::of(near()).prop_map(|retain_until| Fact::AccountDeleted { retain_until }),
        1 => restored(),
        6 => taking_fact(),
        6 => giving_fact(),
    ]
}

fn stage() -> impl Strategy<Value = RolloutStage> {
    prop_oneof![
        Just(RolloutStage::Off),
        Just(RolloutStage::DryRun),
        Just(RolloutStage::Everywhere),
        (1..=99_u32).prop_map(RolloutStage::Percentage),
        vec(namespace(), 0..3).prop_map(RolloutStage::Namespaces),
    ]
}

fn job_fact() -> impl Strategy<Value = Fact> {
    prop_oneof![
        text().prop_map(|name| Fact::LedgerCreated { name }),
        (few("run-"), text()).prop_map(|(run, job)| Fact::RunStarted { run, job }),
        (few("run-"), any::<bool>(), any::<u64>()).prop_map(|(run, succeeded, accounts_changed)| {
            Fact::RunFinished { run, succeeded, accounts_changed }
        }),
        (option::of(namespace()), select(vec![PolicyMode::Observe, PolicyMode::Enforce]))
            .prop_map(|(namespace, mode)| Fact::PolicyChanged { namespace, mode }),
        (text(), stage(), option::of(actor()))
            .prop_map(|(job, stage, approved_by)| { Fact::RolloutStageChanged { job, stage, approved_by } }),
        (few("request-"), vec(account_id(), 0..3), option::of(any_time())).prop_map(
            |(request, accounts, expires_at)| Fact::DeletionRequested { request, accounts, expires_at }
        ),
        few("request-").prop_map(|request| Fact::DeletionApproved { request }),
        (few("request-"), option::of(text()))
            .prop_map(|(request, reason)| Fact::DeletionRejected { request, reason }),
    ]
}

fn ledgers_own_fact() -> impl Strategy<Value = Fact> {
    let violation = ("[a-z_]{1,9}", "[a-z ]{0,9}").prop_map(|(rule, message)| Violation { rule, message });
    let outcome =
        select(vec![RestoreOutcome::Restored, RestoreOutcome::AlreadyLive, RestoreOutcome::Refused]);
    let not_restored = (account_id(), outcome, "[a-z_]{0,9}")
        .prop_map(|(account, outcome, reason)| NotRestored { account, outcome, reason });
    prop_oneof![
        (uuid(), emitter(), text(), option::of(account_id()), vec(violation, 0..3), vec("[a-z/]{1,9}", 0..3))
            .prop_map(
                |(refused_event_id, refused_emitter, refused_kind, refused_account, violations, evidence)| {
                    Fact::RequestRefused {
                        refused_event_id,
                        refused_emitter,
                        refused_kind,
                        refused_account,
                        violations,
                        evidence,
                    }
                }
            ),
        (uuid(), hash(), any::<u64>(), vec(account_id(), 0..3), any::<u32>()).prop_map(
            |(plan, hash, pinned, accounts, window_seconds)| Fact::RestorePlanned {
                plan,
                hash,
                pinned: Position(pinned),
                accounts,
                window_seconds,
            }
        ),
        (uuid(), hash()).prop_map(|(plan, hash)| Fact::RestoreApproved { plan, hash }),
        (uuid(), hash(), any::<u32>(), vec(not_restored, 0..3)).prop_map(
            |(plan, hash, restored, not_restored)| Fact::RestoreCompleted {
                plan,
                hash,
                restored,
                not_restored,
            }
        ),
        any::<u8>().prop_map(|seed| Fact::KeyRotated { note: rotation_note(seed) }),
        (text(), 0..SIZE_MAX).prop_map(|(source, size)| {
            let note = checkpoint_note(size);
            Fact::CheckpointOverridden { source, note }
        }),
    ]
}

#[expect(clippy::unwrap_used, reason = "constants")]
fn private_key(seed: u8) -> PrivateKey {
    PrivateKey::new("ledger.example.org".parse().unwrap(), &[seed; 32])
}

/// The statement by which a key follows another.
#[expect(clippy::unwrap_used, reason = "two keys of one name")]
pub fn rotation_note(seed: u8) -> String {
    Rotation::sign(&private_key(seed), &private_key(seed.wrapping_add(1))).unwrap().note().to_owned()
}

/// A checkpoint of the ledger `default`.
#[expect(clippy::unwrap_used, reason = "a signer that has signed nothing yet")]
pub fn checkpoint_note(size: u64) -> String {
    let mut signer = LocalSigner::new(&private_key(1), &LedgerName::default(), None);
    String::from_utf8(signer.sign(TreeHead { size, root: [7; 32] }, &[]).unwrap()).unwrap()
}

/// Any fact that this program can write.
pub fn fact() -> impl Strategy<Value = Fact> {
    prop_oneof![4 => account_fact(), 2 => job_fact(), 1 => ledgers_own_fact()]
}

/// Any emitter.
pub fn emitter() -> impl Strategy<Value = Emitter> {
    "[!-~]{1,128}".prop_filter_map("an emitter", |name| name.parse().ok())
}

/// An event with a fact, about an account if facts of its kind are.
pub fn event_of(fact: impl Strategy<Value = Fact>) -> impl Strategy<Value = Event> {
    (uuid(), emitter(), option::of(0..50_u64), near(), actor(), cause(), account_id(), fact).prop_map(
        |(event_id, emitter, emitter_sequence, occurred_at, actor, cause, account, fact)| Event {
            event_id,
            emitter,
            emitter_sequence,
            occurred_at,
            actor,
            cause,
            account: fact.kind().has_subject().then_some(account),
            fact,
        },
    )
}

/// Any event that this program can write, at any time.
pub fn event() -> impl Strategy<Value = Event> {
    (event_of(fact()), any_time()).prop_map(|(event, occurred_at)| Event { occurred_at, ..event })
}

/// Any annotations.
pub fn annotations() -> impl Strategy<Value = Annotations> {
    let violation = ("[a-z_]{1,9}", "[a-z ]{0,9}").prop_map(|(rule, message)| Violation { rule, message });
    (any::<bool>(), vec(violation, 0..3), option::of(hash()), option::of(any::<u32>())).prop_map(
        |(late, violations, digest, active_tokens)| Annotations {
            late,
            violations,
            digest_before: digest.map(AccountDigest),
            active_tokens,
        },
    )
}

/// Events as a ledger records them, from position 0, in any order of occurrence; now and then one of a newer kind.
pub fn history(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Recorded>> {
    let fact =
        prop_oneof![60 => account_fact(), 12 => job_fact(), 3 => ledgers_own_fact(), 1 => Just(Fact::Opaque)];
    let opaque = |event: Event, account: AccountId| match event.fact {
        Fact::Opaque => Event { account: Some(account), ..event },
        _ => event,
    };
    vec((event_of(fact), account_id()).prop_map(move |(event, account)| opaque(event, account)), length)
        .prop_map(record)
}

/// Gives events positions from 0 and the times at which they were recorded.
#[must_use]
pub fn record(events: Vec<Event>) -> Vec<Recorded> {
    let at = |position: u64| Recorded {
        event: events[usize::try_from(position).unwrap_or_default()].clone(),
        annotations: Annotations::default(),
        position: Position(position),
        recorded_at: Time(DAY.0.saturating_add_unsigned(position)),
    };
    (0..u64::try_from(events.len()).unwrap_or_default()).map(at).collect()
}

/// The events of one account.
#[must_use]
pub fn of_account(history: &[Recorded], account: &AccountId) -> Vec<Recorded> {
    history.iter().filter(|recorded| recorded.event.account.as_ref() == Some(account)).cloned().collect()
}
