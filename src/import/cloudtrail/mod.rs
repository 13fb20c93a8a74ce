//! `import cloudtrail`: the calls of AWS IAM and STS, as CloudTrail logs them, as events.
//!
//! Two steps: [`gather`] reads every file, one record at a time, and keeps only what is mapped; [`Gathered::deliver`]
//! puts that into the order of time and hands it to a ledger. Memory grows with the mapped calls (about 1 KiB each) and
//! the ids of the failed ones (some 40 bytes), not with the rest.
//!
//! - Account: `{aws account}:{user or role}:{name}`, handle `{name}`, namespace `{aws account}:{user or role}`. The AWS
//!   account is that of the trail (`recipientAccountId`, else the caller's); for a role that is assumed, that of its ARN.
//! - Event id: `eventID`, or the UUIDv5 of one that is no UUID. Emitter: `cloudtrail/{aws account}`, the trail's.
//! - An `eventID` that comes again, among the calls that are mapped or failed, is a duplicate. So is the second copy of
//!   a call that AWS logged in two accounts (`sharedEventID`): one token must not be issued twice. The copies of
//!   unmapped calls count as unmapped: remembering them would need memory without bound.
//! - A call that succeeded and yet cannot be recorded (a field is missing, or looks like a secret) is named, and the
//!   rest goes on.

mod call;
mod caller;
mod expiration;
mod files;
mod map;
mod order;
mod read;
mod record;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use ledger::event::{AccountId, Actor, ActorKind, BadText, Cause, Event, Fact, Kind, Text};
use uuid::Uuid;

use super::delivery::{Delivery, Origin};
use super::summary::shown_id;
use super::{BATCH_EVENTS_MAX, Problem, Progress, Show, Summary, Target};
use call::Call;
use caller::Subject;
use map::Mapped;
use order::Story;
use record::Record;

/// Name space of the ids of `LegacyImported` events: the UUIDv5 of the account's id in it.
pub const INTRODUCTIONS: Uuid = Uuid::from_u128(0x8a5f_2f52_6f0c_4c8e_b7d1_30a9_4e1d_5b26);

/// The source that introductions name.
const SOURCE: &str = "cloudtrail";
/// The actor of introductions: nobody did them, they are only told.
const IMPORTER: &str = "tokenledger-import";

/// A mapped call and where it stands.
struct Found {
    mapped: Mapped,
    file: usize,
    record: u64,
}

/// What the files hold: mapped calls in memory, the rest as numbers.
pub struct Gathered {
    files: Vec<PathBuf>,
    found: Vec<Found>,
    summary: Summary,
}

/// Reads files, and directories with all below them, of which only `*.json` and `*.json.gz`. A file that is not
/// CloudTrail, is cut off or cannot be read becomes a problem of the summary. Blocks while it reads.
#[must_use]
pub fn gather(paths: &[PathBuf], show: Show<'_>) -> Gathered {
    let mut gathering = Gathering::default();
    let files = files::find(paths, &mut gathering.summary.problems);
    for (number, path) in files.iter().enumerate() {
        gathering.file(number, path);
        show(Progress::Reading { files: number as u64 + 1, of: files.len() as u64 });
    }
    let Gathering { found, summary, .. } = gathering;
    Gathered { files, found, summary }
}

#[derive(Default)]
struct Gathering {
    found: Vec<Found>,
    summary: Summary,
    /// Event ids of mapped and failed calls.
    seen: HashSet<Uuid>,
    /// What was mapped of calls that AWS logs in two accounts.
    shared: HashSet<(Box<str>, Option<AccountId>, Kind)>,
}

impl Gathering {
    fn file(&mut self, number: usize, path: &Path) {
        let read = match files::open(path) {
            Ok(text) => read::records(text, &mut |index, record| self.record((number, path), index, &record)),
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Err(read::BadFile::CutOff(0)),
            Err(e) => Err(read::BadFile::Io(e.kind())),
        };
        if let Err(bad) = read {
            let file = Some(files::shown(path));
            self.summary.problems.add(Problem { file, problem: bad.to_string(), ..Problem::default() });
        }
    }

    fn record(&mut self, (number, path): (usize, &Path), index: u64, record: &Record) {
        self.summary.records += 1;
        let Some(call) = Call::of(record) else {
            self.summary.unmapped += 1;
            return;
        };
        if map::event_id(record).is_some_and(|id| !self.seen.insert(id)) {
            self.summary.duplicates += 1;
        } else if record.error_code.get().is_some() {
            self.summary.failed_calls += 1;
        } else {
            match map::map(call, record) {
                Ok(None) => self.summary.unmapped += 1,
                Ok(Some(mapped)) if self.is_second_copy(record, &mapped) => self.summary.duplicates += 1,
                Ok(Some(mapped)) => self.found.push(Found { mapped, file: number, record: index }),
                Err(e) => self.summary.problems.add(Problem {
                    file: Some(files::shown(path)),
                    record: Some(index),
                    line: None,
                    event_id: record.event_id.get().and_then(shown_id),
                    problem: format!("cannot be recorded: {e}"),
                }),
            }
        }
    }

    fn is_second_copy(&mut self, record: &Record, mapped: &Mapped) -> bool {
        let event = &mapped.event;
        record.shared_event_id.get().is_some_and(|shared| {
            !self.shared.insert((shared.into(), event.account.clone(), event.fact.kind()))
        })
    }
}

impl Gathered {
    /// What was counted while reading; nothing of it was delivered yet.
    #[must_use]
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Delivers the events in the order of time; those of the same second in the order in which the one needs the
    /// other, then of file and record. A subject that neither the input created before nor the ledger knows is
    /// introduced first, by `LegacyImported`.
    ///
    /// # Errors
    /// Those of the target. What was appended stays; the same import again adds the rest.
    pub async fn deliver<T: Target>(self, target: &mut T, show: Show<'_>) -> Result<Summary, T::Error> {
        let Self { files, mut found, summary } = self;
        sort(&mut found);
        let strangers = strangers(&found);
        let mut seen = known(target, strangers).await?;
        let of = Some(found.len() as u64);
        let mut delivery = Delivery::new(target, summary, of, show);
        for Found { mapped: Mapped { event, subject, .. }, file, record } in found {
            let origin = || Origin {
                file: files.get(file).map(|path| files::shown(path)),
                record: Some(record),
                line: None,
            };
            let created = matches!(event.fact, Fact::AccountCreated { .. });
            let new = event.account.as_ref().is_some_and(|account| seen.insert(account.clone()));
            // The parts of an introduction were checked with the event itself.
            if new
                && !created
                && let Ok(introduction) = introduction(&event, &subject)
            {
                delivery.push_own(introduction, origin()).await?;
            }
            delivery.push(event, origin()).await?;
        }
        delivery.finish().await
    }
}

/// Puts the calls into the order of time, and corrects each in the light of those before.
fn sort(found: &mut [Found]) {
    found.sort_by_key(|f| (f.mapped.event.occurred_at, f.mapped.rank, f.file, f.record));
    let mut story = Story::default();
    for Found { mapped, .. } in found {
        story.follow(&mut mapped.event, &mapped.subject);
    }
}

/// The accounts whose first event is not their creation, in the order in which they are met.
fn strangers(found: &[Found]) -> Vec<AccountId> {
    let mut seen = HashSet::new();
    let events = found.iter().map(|f| &f.mapped.event);
    let firsts = events.filter_map(|event| Some((event, event.account.as_ref()?)));
    firsts
        .filter(|(event, account)| {
            seen.insert(*account) && !matches!(event.fact, Fact::AccountCreated { .. })
        })
        .map(|(_, account)| account.clone())
        .collect()
}

/// Those of the accounts that the ledger knows.
async fn known<T: Target>(target: &mut T, accounts: Vec<AccountId>) -> Result<HashSet<AccountId>, T::Error> {
    let mut known = HashSet::new();
    for some in accounts.chunks(BATCH_EVENTS_MAX) {
        let answers = target.known(some).await?;
        known
            .extend(some.iter().zip(answers).filter(|(_, known)| *known).map(|(account, _)| account.clone()));
    }
    Ok(known)
}

/// The introduction of an event's subject, at the time of the event, by the same emitter.
fn introduction(event: &Event, subject: &Subject) -> Result<Event, BadText> {
    let account = event.account.as_ref().ok_or(BadText::Empty)?;
    Ok(Event {
        event_id: Uuid::new_v5(&INTRODUCTIONS, account.as_str().as_bytes()),
        emitter: event.emitter.clone(),
        emitter_sequence: None,
        occurred_at: event.occurred_at,
        actor: Actor { kind: ActorKind::Automation, id: Text::new(IMPORTER)? },
        cause: Cause::default(),
        account: Some(account.clone()),
        fact: Fact::LegacyImported {
            kind: subject.principal.account_kind(),
            handle: subject.handle()?,
            source: Text::new(SOURCE)?,
            namespace: Some(subject.namespace()?),
        },
    })
}
