//! The night of 2024-09-11 in small: a job deletes bots whose tokens were rotated. No clock and no randomness: the same
//! events, with the same ids, every time.

use prost_types::Timestamp;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::wire::pb;
use pb::event::Fact;

/// The run that did it.
pub(super) const RUN: &str = "delete-inactive-bots/2024-09-11";
/// How many bots there are.
pub(super) const BOTS: usize = 400;
/// Bots with a rotated token: the job took the old token for the only one.
pub(super) const ROTATED: usize = 146;
/// The customers of these.
pub(super) const CUSTOMERS: usize = 22;
/// Bots whose tokens were all inactive for more than 30 days.
pub(super) const RIGHTLY_DELETED: usize = INACTIVE + TWICE_INACTIVE;
const INACTIVE: usize = 40;
const TWICE_INACTIVE: usize = 12;
/// Bots from before the ledger, with tokens of which nobody knows when they end.
const LEGACY: usize = 20;
const NAMESPACES: usize = 60;

const JOB: &str = "delete-inactive-bots";
/// 2024-09-11T00:00:00Z.
const MIDNIGHT: i64 = 1_726_012_800;
const DAY: i64 = 86_400;
/// 2035-01-01T00:00:00Z: the tokens that end must still work when this is tried.
const FAR: i64 = 2_051_222_400;
const IDS: Uuid = Uuid::from_u128(0x6f0d_6d0c_5a0b_4b1e_9a53_2f4e_93f2_7c11);

/// The id of the plan that the commands to be tried make.
pub(super) fn plan() -> Uuid {
    Uuid::new_v5(&IDS, b"plan")
}

/// The digest of a secret that a customer of a deleted bot holds.
pub(super) fn a_digest() -> String {
    digest_of(&token_of(0, 2))
}

/// The event by which the job deleted the first bot.
pub(super) fn a_deletion() -> String {
    let deletes = |event: &pb::Event| matches!(event.fact, Some(pb::event::Fact::AccountDeleted(_)));
    events().into_iter().find(deletes).map(|event| event.event_id).unwrap_or_default()
}

/// What kind of bot it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bot {
    Rotated,
    Inactive,
    TwiceInactive,
    Legacy,
    DeletedByAPerson,
    Healthy,
}

impl Bot {
    fn number(number: usize) -> Self {
        let mut left = number;
        for (bot, count) in [
            (Self::Rotated, ROTATED),
            (Self::Inactive, INACTIVE),
            (Self::TwiceInactive, TWICE_INACTIVE),
            (Self::Legacy, LEGACY),
            (Self::DeletedByAPerson, 1),
        ] {
            if left < count {
                return bot;
            }
            left -= count;
        }
        Self::Healthy
    }

    /// Whether the job, with its rule, deleted it.
    fn is_deleted_by_the_job(self) -> bool {
        matches!(self, Self::Rotated | Self::Inactive | Self::TwiceInactive)
    }
}

/// Everything that happened, in order of time.
pub(super) fn events() -> Vec<pb::Event> {
    let mut story = Story::default();
    (0..BOTS).for_each(|number| story.bot(number));
    story.night();
    story.events.sort_by_key(|event| event.occurred_at.map_or(0, |time| time.seconds));
    story.events
}

#[derive(Default)]
struct Story {
    events: Vec<pb::Event>,
}

impl Story {
    /// The life of a bot before the night.
    fn bot(&mut self, number: usize) {
        let spread = i64::try_from(number % 60).unwrap_or(0);
        let born = MIDNIGHT - (480 + spread) * DAY + i64::try_from(number).unwrap_or(0) * 60;
        let bot = Bot::number(number);
        self.introduce(number, bot, born);
        self.grant(number, born + 5);
        let first = issued(number, 1, first_expiry(number, bot));
        self.push("token-service", number, born + 10, Fact::TokenIssued(first));
        let later = MIDNIGHT - (95 - spread / 2) * DAY;
        match bot {
            Bot::Rotated => {
                let new_token = Some(issued(number, 2, kept_expiry(number)));
                let rotated =
                    pb::TokenRotated { old_token: token_of(number, 1), new_token, overlap_until: None };
                self.push("token-service", number, later, Fact::TokenRotated(rotated));
            }
            Bot::Inactive | Bot::TwiceInactive => {
                let reason = pb::RevocationReason::Unused.into();
                let revoked = pb::TokenRevoked { token: token_of(number, 1), reason };
                self.push("token-service", number, later, Fact::TokenRevoked(revoked));
                if bot == Bot::TwiceInactive {
                    let second = issued(number, 2, Some(at(later + 20 * DAY)));
                    self.push("token-service", number, later + DAY, Fact::TokenIssued(second));
                }
            }
            Bot::Legacy | Bot::DeletedByAPerson | Bot::Healthy => {}
        }
    }

    fn introduce(&mut self, number: usize, bot: Bot, born: i64) {
        let (kind, handle, namespace) =
            (pb::AccountKind::Bot.into(), handle_of(number), namespace_of(number, bot));
        let fact = if bot == Bot::Legacy {
            Fact::LegacyImported(pb::LegacyImported {
                kind,
                handle,
                namespace,
                source: "directory".to_owned(),
            })
        } else {
            let owner = format!("team-{namespace}");
            let environment = if number % 5 == 4 { "test" } else { "production" }.to_owned();
            Fact::AccountCreated(pb::AccountCreated {
                kind,
                handle,
                owner,
                namespace,
                environment,
                ..Default::default()
            })
        };
        self.push("directory", number, born, fact);
    }

    fn grant(&mut self, number: usize, time: i64) {
        let namespace = namespace_of(number, Bot::number(number));
        let access = ["developer", "maintainer", "reporter"].get(number % 3).copied().unwrap_or_default();
        let grants =
            [("group", namespace.clone(), access), ("project", format!("{namespace}/app"), "maintainer")];
        for (kind, resource, access) in grants.into_iter().take(1 + number % 2) {
            let grant = format!("{kind}/{resource}");
            let fact = pb::GrantAdded { grant, resource, access: access.to_owned(), expires_at: None };
            self.push("directory", number, time, Fact::GrantAdded(fact));
        }
    }

    /// The run, and the person who deletes one bot of their own accord.
    fn night(&mut self) {
        let started = pb::RunStarted { run: RUN.to_owned(), job: JOB.to_owned() };
        self.of_the_run("", MIDNIGHT, Fact::RunStarted(started));
        let deleted: Vec<usize> = (0..BOTS).filter(|n| Bot::number(*n).is_deleted_by_the_job()).collect();
        for (time, number) in (MIDNIGHT + 1..).zip(&deleted) {
            self.of_the_run(&account_of(*number), time, Fact::AccountDeleted(pb::AccountDeleted::default()));
        }
        let accounts_changed = deleted.len() as u64;
        let finished = pb::RunFinished { run: RUN.to_owned(), succeeded: true, accounts_changed };
        self.of_the_run("", MIDNIGHT + 300, Fact::RunFinished(finished));
        for number in (0..BOTS).filter(|n| Bot::number(*n) == Bot::DeletedByAPerson) {
            let fact = Fact::AccountDeleted(pb::AccountDeleted::default());
            self.push("directory", number, MIDNIGHT + 2 * 3_600 + 14 * 60, fact);
            if let Some(event) = self.events.last_mut() {
                event.actor = Some(pb::Actor { kind: pb::ActorKind::Human.into(), id: "dana".to_owned() });
                event.cause =
                    Some(pb::Cause { reason: "the customer moved away".to_owned(), ..Default::default() });
            }
        }
    }

    fn of_the_run(&mut self, account: &str, time: i64, fact: Fact) {
        self.event("cron-worker", account, time, fact);
        if let Some(event) = self.events.last_mut() {
            event.actor = Some(pb::Actor { kind: pb::ActorKind::Automation.into(), id: JOB.to_owned() });
            let reason = "its access token became inactive more than 30 days ago".to_owned();
            let reason = if account.is_empty() { String::new() } else { reason };
            event.cause = Some(pb::Cause { run: RUN.to_owned(), reason, ..Default::default() });
        }
    }

    fn push(&mut self, emitter: &str, number: usize, time: i64, fact: Fact) {
        self.event(emitter, &account_of(number), time, fact);
    }

    fn event(&mut self, emitter: &str, account: &str, time: i64, fact: Fact) {
        let id = Uuid::new_v5(&IDS, format!("event {}", self.events.len()).as_bytes());
        self.events.push(pb::Event {
            event_id: id.to_string(),
            emitter: emitter.to_owned(),
            occurred_at: Some(Timestamp { seconds: time, nanos: 0 }),
            actor: Some(pb::Actor { kind: pb::ActorKind::Automation.into(), id: emitter.to_owned() }),
            account: account.to_owned(),
            fact: Some(fact),
            ..Default::default()
        });
    }
}

fn account_of(number: usize) -> String {
    format!("bot-{number:03}")
}

fn token_of(number: usize, nth: usize) -> String {
    format!("token-{number:03}-{nth}")
}

fn handle_of(number: usize) -> String {
    let tasks = ["deploy", "release", "mirror", "scanner", "backup", "docs"];
    format!("{}-bot-{number:03}", tasks.get(number % tasks.len()).copied().unwrap_or_default())
}

/// The rotated ones belong to a few customers, the others to all.
fn namespace_of(number: usize, bot: Bot) -> String {
    let among = if bot == Bot::Rotated { CUSTOMERS } else { NAMESPACES };
    format!("customer-{:02}", number % among + 1)
}

/// The digest of the secret that the holder of a token of this story has.
fn digest_of(token: &str) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(format!("the secret of {token}"))))
}

fn issued(number: usize, nth: usize, expiry: Option<pb::expiry::Expiry>) -> pb::TokenIssued {
    let token = token_of(number, nth);
    let scopes = if number.is_multiple_of(2) { vec!["api"] } else { vec!["read_api", "read_repository"] };
    pb::TokenIssued {
        digest: digest_of(&token),
        token,
        family: String::new(),
        scopes: scopes.into_iter().map(str::to_owned).collect(),
        expiry: Some(pb::Expiry { expiry }),
    }
}

fn at(seconds: i64) -> pb::expiry::Expiry {
    pb::expiry::Expiry::At(Timestamp { seconds, nanos: 0 })
}

fn kept_expiry(number: usize) -> Option<pb::expiry::Expiry> {
    let never = pb::expiry::Expiry::Never(pb::expiry::Never {});
    Some(if number.is_multiple_of(3) { at(FAR) } else { never })
}

fn first_expiry(number: usize, bot: Bot) -> Option<pb::expiry::Expiry> {
    match bot {
        Bot::Legacy => Some(pb::expiry::Expiry::Unknown(pb::expiry::Unknown {})),
        _ => kept_expiry(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::event::{Kind, Recorded, parse};
    use ledger::state::State;
    use ledger::types::{Position, Time};
    use std::collections::{BTreeMap, BTreeSet, HashSet};

    #[test]
    fn every_event_can_be_recorded_and_no_id_comes_twice() {
        let mut ids = HashSet::new();
        for event in events() {
            assert!(parse(&event).is_ok(), "{:?}", parse(&event));
            assert!(ids.insert(event.event_id));
        }
        assert_eq!(events(), events());
    }

    #[test]
    fn the_night_is_as_the_story_tells_it() {
        let events: Vec<_> = events().iter().map(|event| parse(event).unwrap()).collect();
        let mut state = State::default();
        let (mut broken, mut hit) = (BTreeMap::new(), BTreeSet::new());
        for (position, event) in events.into_iter().enumerate() {
            let findings = ledger::guard::judge(&state, &event, event.occurred_at);
            for violation in findings.violations {
                *broken
                    .entry((event.fact.kind(), event.actor.id.to_string(), violation.rule))
                    .or_insert(0) += 1;
                hit.insert(event.account.clone());
            }
            state.apply(&Recorded {
                recorded_at: Time(1_800_000_000_000_000_000),
                annotations: Default::default(),
                position: Position(position as u64),
                event,
            });
        }
        let by = |actor: &str| (Kind::AccountDeleted, actor.to_owned(), "active_tokens".to_owned());
        assert_eq!(broken, BTreeMap::from([(by(JOB), ROTATED), (by("dana"), 1)]));
        assert_eq!(hit.len(), ROTATED + 1);
    }

    #[test]
    fn the_rotated_bots_belong_to_as_many_customers_as_told() {
        let namespaces: BTreeSet<String> = (0..ROTATED).map(|n| namespace_of(n, Bot::number(n))).collect();
        assert_eq!(namespaces.len(), CUSTOMERS);
        let all: BTreeSet<String> = (0..BOTS).map(|n| namespace_of(n, Bot::number(n))).collect();
        assert_eq!(all.len(), NAMESPACES);
    }
}
