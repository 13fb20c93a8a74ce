//! The events of the benchmark, W1: 5,000 accounts; of the ten events of each one token issued, one rotated, six used,
//! two changes of grants. Every event is 229 bytes as sent.

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
const NANOS_PER_S: u64 = 1_000_000_000;
const EMITTER: &str = "bench";
const GRANT: &str = "group/1";

/// What the events are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// Of ten events one token issued, one rotated, six used, two changes of grants.
    Whole,
    /// Only tokens issued, which all stay live.
    Tokens,
}

/// Whom the events are about, shared out among those who send them. Nobody has an account of another's, so that no one
/// overtakes what the events of another build on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cast {
    /// How many accounts there are.
    pub(super) accounts: usize,
    /// How many share them.
    pub(super) shares: usize,
    /// The accounts are there already, from an earlier run.
    pub(super) known: bool,
    /// Sets the tokens of this run apart from those of earlier ones.
    run: u32,
    mix: Mix,
}

impl Cast {
    /// A cast that is new on the stage.
    pub(super) fn new(accounts: usize, shares: usize, mix: Mix) -> Self {
        Self {
            accounts: accounts.max(1),
            shares: shares.max(1),
            known: false,
            run: Uuid::new_v4().as_fields().0,
            mix,
        }
    }

    /// The same for a ledger that knows so many accounts from earlier runs; 0: it is new.
    pub(super) fn returning(self, known: usize) -> Self {
        if known == 0 { self } else { Self { known: true, accounts: known.min(ACCOUNTS), ..self } }
    }
}

/// One account, and what was last said of it.
#[derive(Clone, Copy, Debug)]
struct Role {
    account: usize,
    newest: u32,
    turn: usize,
}

/// What one of them sends, in order.
pub(super) struct Workload {
    roles: Vec<Role>,
    cast: Cast,
    serial: u64,
    seed: u64,
    /// Nanoseconds since 1970.
    began: u64,
}

impl Workload {
    /// The share of number `share`.
    pub(super) fn new(cast: Cast, share: usize) -> Self {
        // Each account begins elsewhere in the ten, so that every moment has the same mix.
        let role = |account: usize| Role { account, newest: 1, turn: account / cast.shares % 10 };
        let mut roles: Vec<Role> = (share..cast.accounts).step_by(cast.shares).map(role).collect();
        if roles.is_empty() {
            roles.push(role(share % cast.accounts));
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let began = u64::try_from(since.as_nanos()).unwrap_or(0);
        Self { roles, cast, serial: 0, seed: Uuid::new_v4().as_u64_pair().0, began }
    }

    /// What must be there before: each account with a token and a grant.
    pub(super) fn opening(&mut self) -> Vec<pb::Event> {
        let accounts: Vec<usize> = self.roles.iter().map(|role| role.account).collect();
        accounts.into_iter().flat_map(|account| self.opening_of(account)).collect()
    }

    fn opening_of(&mut self, account: usize) -> Vec<pb::Event> {
        let issued = Fact::TokenIssued(self.issued(account, 1));
        let facts = if self.cast.known {
            vec![issued]
        } else {
            let created = pb::AccountCreated {
                kind: pb::AccountKind::Bot.into(),
                handle: name_of(account),
                namespace: "bench".to_owned(),
                ..Default::default()
            };
            let granted =
                pb::GrantAdded { grant: GRANT.into(), access: "developer".into(), ..Default::default() };
            vec![Fact::AccountCreated(created), issued, Fact::GrantAdded(granted)]
        };
        facts.into_iter().map(|fact| self.event(account, fact)).collect()
    }

    /// The next event.
    pub(super) fn next(&mut self) -> pb::Event {
        let index = usize::try_from(self.serial).unwrap_or(0) % self.roles.len();
        let Role { account, newest, turn } =
            self.roles.get(index).copied().unwrap_or(Role { account: 0, newest: 1, turn: 0 });
        let fact = match (self.cast.mix, turn) {
            (Mix::Tokens, _) | (Mix::Whole, 0) => Fact::TokenIssued(self.issued(account, newest + 1)),
            (Mix::Whole, 5) => Fact::TokenRotated(pb::TokenRotated {
                old_token: self.token_of(account, newest),
                new_token: Some(self.issued(account, newest + 1)),
                overlap_until: None,
            }),
            (Mix::Whole, 3 | 8) => Fact::GrantChanged(pb::GrantChanged {
                grant: GRANT.to_owned(),
                access: Some(if turn == 3 { "maintainer" } else { "developer" }.to_owned()),
                expires_at: None,
            }),
            (Mix::Whole, _) => Fact::TokenUsed(pb::TokenUsed {
                token: self.token_of(account, newest),
                uses: 1,
                ..Default::default()
            }),
        };
        if let Some(role) = self.roles.get_mut(index) {
            role.turn = (turn + 1) % 10;
            role.newest += u32::from(!matches!(fact, Fact::TokenUsed(_) | Fact::GrantChanged(_)));
        }
        self.event(account, fact)
    }

    /// The deletion of every account, with its tokens still live, as one incident.
    pub(super) fn deletions(&mut self, incident: &str) -> Vec<pb::Event> {
        let accounts: Vec<usize> = self.roles.iter().map(|role| role.account).collect();
        let delete = |account| {
            let cause = pb::Cause { correlation_id: format!("{incident}/{account}"), ..Default::default() };
            let fact = Fact::AccountDeleted(pb::AccountDeleted::default());
            pb::Event { cause: Some(cause), ..self.bare(account, fact) }
        };
        accounts.into_iter().map(delete).collect()
    }

    fn event(&mut self, account: usize, fact: Fact) -> pb::Event {
        padded(self.bare(account, fact))
    }

    fn bare(&mut self, account: usize, fact: Fact) -> pb::Event {
        self.serial += 1;
        let id = u128::from(scattered(self.seed ^ self.serial)) << 64
            | u128::from(scattered(self.serial ^ !self.seed));
        // Ten million a second, from now on: none lies before an earlier one of its account, nor far ahead.
        let at = self.began + self.serial * 100;
        let seconds = i64::try_from(at / NANOS_PER_S).unwrap_or(0);
        let nanos = i32::try_from(at % NANOS_PER_S).unwrap_or(0);
        pb::Event {
            event_id: Uuid::from_u128(id).to_string(),
            emitter: EMITTER.to_owned(),
            occurred_at: Some(Timestamp { seconds, nanos }),
            actor: Some(pb::Actor { kind: pb::ActorKind::Automation.into(), id: "bench".to_owned() }),
            account: name_of(account),
            fact: Some(fact),
            ..Default::default()
        }
    }

    fn token_of(&self, account: usize, number: u32) -> String {
        format!("{account:04}-{:08x}-{number}", self.cast.run)
    }

    fn issued(&self, account: usize, number: u32) -> pb::TokenIssued {
        let seed = scattered(u64::from(self.cast.run) << 32 | account as u64) ^ u64::from(number);
        let hex: String = (0..4_u64).map(|part| format!("{:016x}", scattered(seed ^ part << 62))).collect();
        pb::TokenIssued {
            token: self.token_of(account, number),
            digest: format!("sha256:{hex}"),
            expiry: Some(pb::Expiry { expiry: Some(pb::expiry::Expiry::Never(pb::expiry::Never {})) }),
            ..Default::default()
        }
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

/// The id of an account by its number.
pub(super) fn name_of(account: usize) -> String {
    format!("bot-{account:04}")
}

/// Scatters numbers over all 64 bits (the finaliser of SplitMix64), as random ids would be.
pub(super) fn scattered(number: u64) -> u64 {
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

    fn cast(shares: usize) -> Cast {
        Cast::new(ACCOUNTS, shares, Mix::Whole)
    }

    fn kinds(events: impl Iterator<Item = pb::Event>) -> BTreeMap<Kind, u32> {
        let mut kinds = BTreeMap::new();
        events.for_each(|event| *kinds.entry(parse(&event).unwrap().fact.kind()).or_default() += 1);
        kinds
    }

    #[test]
    fn of_ten_events_one_is_issued_one_rotated_six_used_and_two_change_grants() {
        let mut workload = Workload::new(cast(8), 0);
        workload.opening();
        let expected = [
            (Kind::TokenIssued, 100),
            (Kind::TokenRotated, 100),
            (Kind::TokenUsed, 600),
            (Kind::GrantChanged, 200),
        ];
        assert_eq!(kinds((0..1_000).map(|_| workload.next())), BTreeMap::from(expected));
    }

    #[test]
    fn every_account_goes_through_all_kinds_of_events() {
        for shares in [1, 8, 500] {
            let mut workload = Workload::new(cast(shares), 0);
            let laps = 10 * workload.roles.len();
            let first = name_of(0);
            let of_first = (0..laps).map(|_| workload.next()).filter(|event| event.account == first);
            assert_eq!(kinds(of_first).len(), 4, "{shares} shares");
        }
    }

    #[test]
    fn tokens_alone_are_all_issued_and_different() {
        let mut workload = Workload::new(Cast::new(3, 1, Mix::Tokens), 0);
        let mut seen = HashSet::new();
        for _ in 0..100 {
            let Some(Fact::TokenIssued(token)) = workload.next().fact else { panic!("another kind") };
            assert!(seen.insert(token.token) && seen.insert(token.digest));
        }
    }

    #[test]
    fn every_event_has_the_size_that_is_promised_and_an_id_of_its_own() {
        let cast = cast(2);
        let (mut one, mut other) = (Workload::new(cast, 0), Workload::new(cast, 1));
        let mut ids = HashSet::new();
        for workload in [&mut one, &mut other] {
            workload.opening();
            workload.serial += 40_000_000_000;
            for _ in 0..10_000 {
                let event = workload.next();
                assert_eq!(event.encoded_len(), EVENT_BYTES, "{event:?}");
                assert!(ids.insert(event.event_id));
            }
        }
    }

    #[test]
    fn those_who_send_share_no_account_and_none_is_without_one() {
        let accounts =
            |share, shares| Workload::new(cast(shares), share).roles.into_iter().map(|role| role.account);
        let shared: HashSet<usize> = accounts(0, 3).chain(accounts(1, 3)).chain(accounts(2, 3)).collect();
        assert_eq!(shared.len(), ACCOUNTS);
        assert_eq!(accounts(ACCOUNTS + 1, ACCOUNTS + 2).count(), 1);
    }

    #[test]
    fn no_event_breaks_a_rule_or_comes_late_not_even_in_a_second_run_on_the_same_ledger() {
        use ledger::state::State;
        let mut events = Vec::new();
        for cast in [cast(500), cast(500).returning(10), cast(500).returning(ACCOUNTS)] {
            let mut workload = Workload::new(cast, 0);
            events.extend(workload.opening());
            // As while the opening is sent.
            std::thread::sleep(std::time::Duration::from_millis(2));
            let mut workload = Workload::new(cast, 0);
            events.extend((0..200).map(|_| workload.next()));
        }
        let times: Vec<_> =
            events.iter().map(|event| event.occurred_at.map(|t| (t.seconds, t.nanos))).collect();
        assert!(times.is_sorted(), "a later event did not occur before an earlier one");
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
        assert_eq!(state.accounts(), 10, "a second run is about the accounts of the first");
    }
}
