//! The events of the benchmark: 5,000 accounts; of ten events one token issued, one rotated, six used, two changes of
//! grants. Every event is 229 bytes as sent.

use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;
use prost_types::Timestamp;
use uuid::Uuid;

use crate::wire::pb;
use pb::event::Fact;

/// Bytes of one event as sent.
pub const EVENT_BYTES: usize = 229;
/// Accounts of the workload.
pub(super) const ACCOUNTS: usize = 5_000;
const EMITTER: &str = "bench";
const GRANT: &str = "group/1";

/// A ledger of the benchmark's own, so that it never writes among anybody's events.
pub(super) fn ledger_name() -> String {
    let id = Uuid::new_v4().simple().to_string();
    format!("bench-{}", id.get(..8).unwrap_or_default())
}

/// What one client sends, in order. It has accounts of its own, so that no other client overtakes what its events
/// build on.
pub(super) struct Workload {
    /// The accounts and, for each, the number of its newest token.
    accounts: Vec<(usize, u32)>,
    serial: u64,
    seed: u64,
    began: Timestamp,
}

impl Workload {
    /// The share of client number `client` of `clients`.
    pub(super) fn new(client: usize, clients: usize) -> Self {
        let mut accounts: Vec<(usize, u32)> =
            (client..ACCOUNTS).step_by(clients.max(1)).map(|a| (a, 1)).collect();
        if accounts.is_empty() {
            accounts.push((client % ACCOUNTS, 1));
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let began = Timestamp { seconds: i64::try_from(since.as_secs()).unwrap_or(0), nanos: 0 };
        Self { accounts, serial: 0, seed: Uuid::new_v4().as_u64_pair().0, began }
    }

    /// What must be there before: each account with a token and a grant.
    pub(super) fn opening(&mut self) -> Vec<pb::Event> {
        let accounts: Vec<usize> = self.accounts.iter().map(|(account, _)| *account).collect();
        let facts = accounts.into_iter().flat_map(|account| {
            let handle = name_of(account);
            let created = pb::AccountCreated {
                kind: pb::AccountKind::Bot.into(),
                handle,
                namespace: "bench".to_owned(),
                ..Default::default()
            };
            let granted =
                pb::GrantAdded { grant: GRANT.into(), access: "developer".into(), ..Default::default() };
            [
                (account, Fact::AccountCreated(created)),
                (account, Fact::TokenIssued(issued(account, 1))),
                (account, Fact::GrantAdded(granted)),
            ]
        });
        let facts: Vec<(usize, Fact)> = facts.collect();
        facts.into_iter().map(|(account, fact)| self.event(account, fact)).collect()
    }

    /// The next event.
    pub(super) fn next(&mut self) -> pb::Event {
        let turn = self.serial % 10;
        let index = usize::try_from(self.serial).unwrap_or(0) % self.accounts.len();
        let (account, newest) = self.accounts.get(index).copied().unwrap_or((0, 1));
        let fact = match turn {
            0 => Fact::TokenIssued(issued(account, newest + 1)),
            5 => Fact::TokenRotated(pb::TokenRotated {
                old_token: token_of(account, newest),
                new_token: Some(issued(account, newest + 1)),
                overlap_until: None,
            }),
            3 | 8 => Fact::GrantChanged(pb::GrantChanged {
                grant: GRANT.to_owned(),
                access: Some(if turn == 3 { "maintainer" } else { "developer" }.to_owned()),
                expires_at: None,
            }),
            _ => Fact::TokenUsed(pb::TokenUsed {
                token: token_of(account, newest),
                uses: 1,
                ..Default::default()
            }),
        };
        if matches!(turn, 0 | 5)
            && let Some((_, newest)) = self.accounts.get_mut(index)
        {
            *newest += 1;
        }
        self.event(account, fact)
    }

    fn event(&mut self, account: usize, fact: Fact) -> pb::Event {
        self.serial += 1;
        let id = u128::from(scattered(self.seed ^ self.serial)) << 64
            | u128::from(scattered(self.serial ^ !self.seed));
        let nanos = i32::try_from(self.serial % 1_000_000 * 1_000).unwrap_or(0);
        let event = pb::Event {
            event_id: Uuid::from_u128(id).to_string(),
            emitter: EMITTER.to_owned(),
            occurred_at: Some(Timestamp { nanos, ..self.began }),
            actor: Some(pb::Actor { kind: pb::ActorKind::Automation.into(), id: "bench".to_owned() }),
            account: name_of(account),
            fact: Some(fact),
            ..Default::default()
        };
        padded(event)
    }
}

/// Fills the reason up until the event has its size.
fn padded(mut event: pb::Event) -> pb::Event {
    let missing = EVENT_BYTES.saturating_sub(event.encoded_len());
    // The tags and lengths of the cause and of the reason in it take two bytes each.
    let reason = "as planned ".repeat(missing / 11 + 1);
    let reason = reason.get(..missing.saturating_sub(4)).unwrap_or_default().to_owned();
    if !reason.is_empty() {
        event.cause = Some(pb::Cause { reason, ..Default::default() });
    }
    event
}

fn name_of(account: usize) -> String {
    format!("bot-{account:04}")
}

fn token_of(account: usize, number: u32) -> String {
    format!("tok-{account:04}-{number:06}")
}

fn issued(account: usize, number: u32) -> pb::TokenIssued {
    let hex: String = (0..4_u64)
        .map(|part| format!("{:016x}", scattered(account as u64 ^ u64::from(number) << 32 ^ part << 20)))
        .collect();
    pb::TokenIssued {
        token: token_of(account, number),
        digest: format!("sha256:{hex}"),
        expiry: Some(pb::Expiry { expiry: Some(pb::expiry::Expiry::Never(pb::expiry::Never {})) }),
        ..Default::default()
    }
}

/// Scatters numbers over all 64 bits (the finaliser of SplitMix64), as random ids would be.
fn scattered(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::event::{Kind, parse};
    use std::collections::{BTreeMap, HashSet};

    #[test]
    fn of_ten_events_one_is_issued_one_rotated_six_used_and_two_change_grants() {
        let mut workload = Workload::new(0, 8);
        workload.opening();
        let mut kinds: BTreeMap<Kind, u32> = BTreeMap::new();
        for _ in 0..1_000 {
            *kinds.entry(parse(&workload.next()).unwrap().fact.kind()).or_default() += 1;
        }
        let expected = [
            (Kind::TokenIssued, 100),
            (Kind::TokenRotated, 100),
            (Kind::TokenUsed, 600),
            (Kind::GrantChanged, 200),
        ];
        assert_eq!(kinds, BTreeMap::from(expected));
    }

    #[test]
    fn every_event_has_the_size_that_is_promised_and_an_id_of_its_own() {
        let (mut one, mut other) = (Workload::new(0, 2), Workload::new(1, 2));
        let mut ids = HashSet::new();
        for workload in [&mut one, &mut other] {
            workload.opening();
            for _ in 0..10_000 {
                let event = workload.next();
                assert_eq!(event.encoded_len(), EVENT_BYTES, "{event:?}");
                assert!(ids.insert(event.event_id));
            }
        }
    }

    #[test]
    fn clients_share_no_account_and_none_is_without_one() {
        let accounts = |client, clients| Workload::new(client, clients).accounts.into_iter().map(|(a, _)| a);
        let shared: HashSet<usize> = accounts(0, 3).chain(accounts(1, 3)).chain(accounts(2, 3)).collect();
        assert_eq!(shared.len(), ACCOUNTS);
        assert_eq!(accounts(ACCOUNTS + 1, ACCOUNTS + 2).count(), 1);
    }

    #[test]
    fn no_event_of_the_workload_breaks_a_rule() {
        use ledger::state::State;
        let mut workload = Workload::new(0, 500);
        let mut events = workload.opening();
        events.extend((0..200).map(|_| workload.next()));
        let mut state = State::default();
        for (position, event) in events.iter().enumerate() {
            let event = parse(event).unwrap();
            let findings = ledger::guard::judge(&state, &event, event.occurred_at);
            assert!(findings.is_empty(), "{findings:?} of {event:?}");
            state.apply(&ledger::event::Recorded {
                recorded_at: event.occurred_at,
                annotations: Default::default(),
                position: ledger::types::Position(position as u64),
                event,
            });
        }
    }
}
