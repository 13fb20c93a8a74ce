//! What the writer's state takes: memory for each token and account, time for each event however many came before, and
//! how long snapshots take to write and to load. `cargo bench --bench state -- [tokens|accounts] [COUNT]`: `tokens` folds
//! COUNT events of the workload that the benchmark has (5,000 accounts; of ten events one token issued, one rotated, six
//! used, two changes of grants); `accounts` as many accounts, each with a token and a grant.
#![allow(missing_docs, clippy::print_stdout, reason = "the figures are the purpose")]

use std::time::{Duration, Instant};

use ledger::disk::{Disk, RealDisk};
use ledger::event::{
    AccountId, AccountKind, Actor, ActorKind, Cause, Event, Expiry, Fact, GrantId, Handle, IssuedToken,
    Namespace, Recorded, Text, TokenDigest, TokenId,
};
use ledger::log::Tail;
use ledger::snapshot;
use ledger::state::State;
use ledger::types::{LedgerUid, Link, Position, Time};

const ACCOUNTS: u64 = 5_000;
const BEGAN: i64 = 1_726_012_800_000_000_000;

type Made<T> = Result<T, Box<dyn std::error::Error>>;

fn scattered(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn issued(token: &str, seed: u64) -> Made<IssuedToken> {
    let hex: String = (0..4).map(|part| format!("{:016x}", scattered(seed ^ part << 60))).collect();
    Ok(IssuedToken {
        token: TokenId::new(token)?,
        digest: Some(TokenDigest::new(&format!("sha256:{hex}"))?),
        family: None,
        scopes: Vec::new(),
        expiry: Expiry::Never,
    })
}

fn created(name: &str) -> Made<Fact> {
    Ok(Fact::AccountCreated {
        kind: AccountKind::Bot,
        handle: Handle::new(name)?,
        owner: None,
        namespace: Some(Namespace::new("bench")?),
        environment: None,
        protected: false,
        attributes: Default::default(),
    })
}

fn granted() -> Made<Fact> {
    let (resource, access) = (None, Some(Text::new("developer")?));
    Ok(Fact::GrantAdded { grant: GrantId::new("group/1")?, resource, access, expires_at: None })
}

/// Makes events one after the other.
struct Source {
    /// The number of each account's newest token.
    newest: Vec<u32>,
    position: u64,
}

impl Source {
    fn recorded(&mut self, account: &str, fact: Fact) -> Made<Recorded> {
        let at = Time(BEGAN + i64::try_from(self.position)? * 1_000);
        let event = Event {
            event_id: uuid::Uuid::from_u128(u128::from(self.position)),
            emitter: "bench".parse()?,
            emitter_sequence: None,
            occurred_at: at,
            actor: Actor { kind: ActorKind::Automation, id: Text::new("bench")? },
            cause: Cause::default(),
            account: Some(AccountId::new(account)?),
            fact,
        };
        let position = Position(self.position);
        self.position += 1;
        Ok(Recorded { event, annotations: Default::default(), position, recorded_at: at })
    }

    /// An account with a token and a grant.
    fn opening(&mut self, account: u64, name: &str) -> Made<[Recorded; 3]> {
        let token = Fact::TokenIssued(issued(&token_of(account, 1), account)?);
        Ok([
            self.recorded(name, created(name)?)?,
            self.recorded(name, token)?,
            self.recorded(name, granted()?)?,
        ])
    }

    /// The next event of the workload. Turns and accounts shift against each other, as with many clients.
    fn next(&mut self) -> Made<Recorded> {
        let (turn, account) = (self.position % 10, self.position / 10 * 7 % ACCOUNTS);
        let newest = self.newest.get_mut(usize::try_from(account)?).ok_or("no such account")?;
        let (old, new) = (token_of(account, *newest), token_of(account, *newest + 1));
        let seed = account << 32 | u64::from(*newest);
        let fact = match turn {
            0 => Fact::TokenIssued(issued(&new, seed)?),
            5 => {
                Fact::TokenRotated { old: TokenId::new(&old)?, new: issued(&new, seed)?, overlap_until: None }
            }
            3 | 8 => Fact::GrantChanged {
                grant: GrantId::new("group/1")?,
                access: Some(Some(Text::new(if turn == 3 { "maintainer" } else { "developer" })?)),
                expires_at: None,
            },
            _ => Fact::TokenUsed { token: TokenId::new(&old)?, uses: 1, consumer: None },
        };
        *newest += u32::from(matches!(turn, 0 | 5));
        self.recorded(&format!("bot-{account:04}"), fact)
    }
}

fn token_of(account: u64, number: u32) -> String {
    format!("tok-{account:04}-{number:06}")
}

/// Memory of this process, in bytes.
fn resident() -> Made<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = pages.split(' ').nth(1).ok_or("no resident size")?.parse()?;
    Ok(pages * 4096)
}

/// Time that this thread was on a core: what others do beside it does not count.
fn worked() -> Made<Duration> {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(Duration::from_nanos(times.split(' ').next().ok_or("no time")?.parse()?))
}

/// Folds many events, in bites that are made beforehand so that only the fold is timed; prints what each tenth took.
fn fold(state: &mut State, count: u64, mut make: impl FnMut() -> Made<Vec<Recorded>>) -> Made<()> {
    let (mut done, mut since, mut spent) = (0, 0, Duration::ZERO);
    let mut marks: Vec<u64> = (1..=10).map(|tenth| count * tenth / 10).rev().collect();
    marks.push(100_000.min(count));
    while done < count {
        let mut bite = Vec::new();
        while bite.len() < 500 {
            bite.extend(make()?);
        }
        let began = worked()?;
        bite.iter().for_each(|recorded| state.apply(recorded));
        spent += worked()?.saturating_sub(began);
        done += bite.len() as u64;
        since += bite.len() as u64;
        if marks.last().is_some_and(|mark| done >= *mark) {
            marks.pop();
            let nanos = spent.as_nanos() as f64 / since as f64;
            println!("{done:>10} events: {nanos:6.0} ns an event, {:4} MB", resident()? / 1_000_000);
            (since, spent) = (0, Duration::ZERO);
        }
    }
    Ok(())
}

/// Does something, and prints what it took: on the clock, and of a core.
fn timed<T>(what: &str, work: impl FnOnce() -> Made<T>) -> Made<T> {
    let (began, worked_before) = (Instant::now(), worked()?);
    let done = work()?;
    let (elapsed, worked) = (began.elapsed(), worked()?.saturating_sub(worked_before));
    println!("{what}: {elapsed:?}, of a core {worked:?}; {} MB resident", resident()? / 1_000_000);
    Ok(done)
}

fn snapshots(state: &State) -> Made<()> {
    let dir = tempfile::tempdir()?;
    let (next, link, uid) = (state.next(), Link([1; 32]), LedgerUid([7; 16]));
    let tail = Tail { next, link, uid, ..Tail::default() };
    let disk: &dyn Disk = &RealDisk;
    let frozen = timed("freeze", || Ok(state.freeze()))?;
    println!("root {}", timed("root", || Ok(frozen.root()))?);
    let bytes = timed("write, with the root", || Ok(snapshot::write(disk, dir.path(), &frozen, &tail)?))?;
    println!("{} MB written", bytes / 1_000_000);
    let newest = || Ok(snapshot::newest_first(disk, dir.path()).next().ok_or("not to be read")?);
    let read = timed("read", newest)?;
    println!("the same: {}", timed("compare", || Ok(read.state == *state))?);
    Ok(())
}

fn main() -> Made<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let count = arguments.get(1).map_or(Ok(1_000_000), |count| count.parse())?;
    let accounts = arguments.first().is_some_and(|what| what == "accounts");
    let mut source = Source { newest: Vec::new(), position: 0 };
    let mut state = State::default();
    println!("{:4} MB before", resident()? / 1_000_000);
    if accounts {
        let mut account = 0;
        fold(&mut state, count * 3, || {
            account += 1;
            // Not in order of their ids.
            let name = format!("bot-{:07}", account * 7_919 % (count + 1));
            Ok(source.opening(account, &name)?.into())
        })?;
    } else {
        for account in 0..ACCOUNTS {
            source.newest.push(1);
            source.opening(account, &format!("bot-{account:04}"))?.iter().for_each(|r| state.apply(r));
        }
        fold(&mut state, count, || Ok(vec![source.next()?]))?;
    }
    let tokens: usize = state.slots().map(|slot| slot.current().tokens.len()).sum();
    println!("{} accounts, {tokens} tokens", state.accounts());
    snapshots(&state)
}
