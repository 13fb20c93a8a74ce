//! Writes histories in a few words, and tells items in a few lines.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use uuid::Uuid;

use super::super::{Item, Neighbours, Order, Terms, execute, item};
use crate::event::{
    AccountId, AccountKind, Actor, ActorKind, Annotations, Cause, ConsumerId, Event, Expiry, Fact, FamilyId,
    GrantId, Handle, IssuedToken, Namespace, Recorded, RestoreOutcome, RevocationReason, Text, TokenDigest,
    TokenId,
};
use crate::state::{Account, Slot, Status};
use crate::testing::DAY;
use crate::types::{Emitter, Position, Time};

pub(super) const MINUTE: i64 = 60;
pub(super) const HOUR: i64 = 3_600;

pub(super) fn at(seconds: i64) -> Time {
    DAY.plus_seconds(seconds)
}

pub(super) fn bot() -> AccountId {
    AccountId(Text::own("bot"))
}

pub(super) fn terms() -> Terms {
    Terms { planned_at: at(HOUR), window_seconds: 60 }
}

pub(super) fn person(name: &str) -> Actor {
    Actor { kind: ActorKind::Human, id: Text::own(name) }
}

pub(super) fn plan_id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

/// What surrounds the account: who holds its handle, and which other accounts are how.
#[derive(Default)]
pub(super) struct Around {
    pub(super) holders: BTreeSet<AccountId>,
    pub(super) statuses: BTreeMap<AccountId, Status>,
}

impl Neighbours for Around {
    fn holders(&self, _: Option<&Namespace>, _: &Handle) -> Vec<AccountId> {
        self.holders.iter().cloned().collect()
    }

    fn status(&self, account: &AccountId) -> Option<Status> {
        self.statuses.get(account).copied()
    }
}

/// A history being written. Each event happens at `now` (seconds from [`DAY`]) by `who`.
#[derive(Clone)]
pub(super) struct Story {
    pub(super) history: Vec<Recorded>,
    now: i64,
    who: &'static str,
    correlation: Option<&'static str>,
}

impl Story {
    /// A bot of the platform, created a day before, with one grant.
    pub(super) fn of_a_bot() -> Self {
        let mut story = Self { history: Vec::new(), now: -24 * HOUR, who: "platform", correlation: None };
        story.created();
        story.then(grant("repo", "developer"))
    }

    /// Nothing yet.
    pub(super) fn of_nothing() -> Self {
        Self { history: Vec::new(), now: -24 * HOUR, who: "platform", correlation: None }
    }

    pub(super) fn created(&mut self) {
        self.push(Fact::AccountCreated {
            kind: AccountKind::Bot,
            handle: Handle(Text::own("deploy-bot")),
            owner: Some(AccountId(Text::own("ann"))),
            namespace: Some(Namespace(Text::own("shop"))),
            environment: None,
            protected: false,
            attributes: [(Text::own("team"), "payments".to_owned())].into_iter().collect(),
        });
    }

    /// From here on things happen so many seconds after [`DAY`].
    pub(super) fn at(mut self, seconds: i64) -> Self {
        self.now = seconds;
        self
    }

    /// From here on this actor does them.
    pub(super) fn by(mut self, who: &'static str) -> Self {
        self.who = who;
        self
    }

    /// From here on events carry this correlation id.
    pub(super) fn correlated(mut self, id: Option<&'static str>) -> Self {
        self.correlation = id;
        self
    }

    pub(super) fn then(mut self, fact: Fact) -> Self {
        self.push(fact);
        self
    }

    pub(super) fn deleted(self) -> Self {
        self.then(Fact::AccountDeleted { retain_until: None })
    }

    /// The story up to its event of this number.
    pub(super) fn until(&self, events: usize) -> Self {
        Self { history: self.history.iter().take(events).cloned().collect(), ..self.clone() }
    }

    fn push(&mut self, fact: Fact) {
        let number = self.history.len() + 1;
        let cause = Cause { correlation_id: self.correlation.map(Text::own), ..Cause::default() };
        self.append(Event {
            event_id: Uuid::from_u128(u128::try_from(number).unwrap()),
            emitter: "platform".parse().unwrap(),
            emitter_sequence: None,
            occurred_at: at(self.now),
            actor: Actor { kind: ActorKind::Automation, id: Text::own(self.who) },
            cause,
            account: Some(bot()),
            fact,
        });
    }

    fn append(&mut self, event: Event) {
        let number = u64::try_from(self.history.len()).unwrap();
        self.history.push(Recorded {
            event,
            annotations: Annotations::default(),
            // Other accounts' events stand between.
            position: Position(10 + 3 * number),
            recorded_at: at(self.now),
        });
    }

    pub(super) fn item(&self) -> Item {
        self.item_among(&Around::default())
    }

    pub(super) fn item_among(&self, around: &Around) -> Item {
        item(&bot(), &self.history, &terms(), around)
    }

    /// The account as it is now.
    pub(super) fn account(&self) -> Account {
        Slot::fold(&bot(), &self.history).unwrap().current().clone()
    }

    /// Plans and carries out a restore, and checks that the promised digest is met.
    pub(super) fn restored(mut self, plan: u128) -> Self {
        let planned = self.item();
        let order = order(plan, at(self.now));
        let done = execute(&planned, &self.history, &Around::default(), &order);
        assert_eq!(done.outcome, RestoreOutcome::Restored, "{planned:#?}");
        done.events.into_iter().for_each(|event| self.append(event));
        assert_eq!(Some(crate::state::digest(&self.account())), done.digest_after);
        self
    }
}

pub(super) fn order(plan: u128, now: Time) -> Order {
    Order { plan: plan_id(plan), terms: terms(), now, actor: person("responder"), cause: Cause::default() }
}

pub(super) fn emitted_by_ledger(event: &Event) -> bool {
    event.emitter == Emitter::ledger()
}

pub(super) fn token(name: &str) -> TokenId {
    TokenId(Text::own(name))
}

pub(super) fn token_of(name: &str, family: Option<&str>, expiry: Expiry) -> IssuedToken {
    let hex = format!("{:0<64}", hex::encode(name));
    IssuedToken {
        token: token(name),
        digest: Some(TokenDigest::new(&format!("sha256:{hex}")).unwrap()),
        family: family.map(|f| FamilyId(Text::own(f))),
        scopes: vec![Text::own("api"), Text::own("read_registry")],
        expiry,
    }
}

pub(super) fn issued(name: &str, expiry: Expiry) -> Fact {
    Fact::TokenIssued(token_of(name, None, expiry))
}

pub(super) fn rotated(old: &str, new: &str) -> Fact {
    Fact::TokenRotated { old: token(old), new: token_of(new, None, Expiry::Never), overlap_until: None }
}

pub(super) fn revoked(name: &str) -> Fact {
    revoked_because(name, RevocationReason::Unspecified)
}

pub(super) fn revoked_because(name: &str, reason: RevocationReason) -> Fact {
    Fact::TokenRevoked { token: token(name), reason }
}

pub(super) fn grant_id(name: &str) -> GrantId {
    GrantId(Text::own(name))
}

pub(super) fn grant(name: &str, access: &str) -> Fact {
    Fact::GrantAdded {
        grant: grant_id(name),
        resource: None,
        access: Some(Text::own(access)),
        expires_at: None,
    }
}

pub(super) fn ungrant(name: &str) -> Fact {
    Fact::GrantRemoved { grant: grant_id(name) }
}

pub(super) fn consumer(name: &str) -> Fact {
    Fact::ConsumerDeclared {
        consumer: ConsumerId(Text::own(name)),
        component: Some(Text::own("ci-runner")),
        location: None,
        environment: Some(Text::own("production")),
        token: Some(token("t1")),
    }
}

pub(super) fn released(name: &str) -> Fact {
    Fact::ConsumerReleased { consumer: ConsumerId(Text::own(name)) }
}

pub(super) fn renamed(handle: &str) -> Fact {
    Fact::AccountUpdated {
        handle: Some(Handle(Text::own(handle))),
        namespace: Some(Some(Namespace(Text::own("attic")))),
        environment: Some(Some(Text::own("none"))),
        protected: Some(true),
        attributes_set: [(Text::own("gone"), "yes".to_owned())].into_iter().collect(),
        attributes_removed: vec![Text::own("team")],
    }
}

/// An item in a few lines.
pub(super) fn told(item: &Item) -> String {
    let mut out = String::new();
    let digests = match (item.digest_before, item.digest_after) {
        (Some(before), Some(after)) if before == after => "same digest",
        (Some(_), Some(_)) => "other digest",
        (None, Some(_)) => "digest after only",
        _ => "no digest after",
    };
    writeln!(out, "{:?}, {digests}", item.outcome).unwrap();
    item.comes_back.iter().for_each(|what| writeln!(out, "+ {what}").unwrap());
    item.stays_gone.iter().for_each(|c| writeln!(out, "- {} {}", c.what, c.reason).unwrap());
    for conflict in &item.conflicts {
        let mark = if conflict.blocks() { '!' } else { '?' };
        writeln!(out, "{mark} {} {}", conflict.what, conflict.reason).unwrap();
    }
    item.differences.iter().for_each(|d| writeln!(out, "~ {} {}", d.what, d.reason).unwrap());
    item.facts.iter().for_each(|fact| writeln!(out, "> {}", brief(fact)).unwrap());
    out
}

fn brief(fact: &Fact) -> String {
    let kind = fact.kind().name();
    match fact {
        Fact::TokenReinstated { token, .. } | Fact::TokenExpired { token } => format!("{kind} {token}"),
        Fact::GrantAdded { grant, access, .. } => {
            format!("{kind} {grant} {}", access.as_ref().map_or("-", Text::as_str))
        }
        Fact::ConsumerDeclared { consumer, .. } => format!("{kind} {consumer}"),
        _ => kind.to_owned(),
    }
}

pub(super) fn check(story: &Story, expected: &expect_test::Expect) {
    expected.assert_eq(&told(&story.item()));
}
