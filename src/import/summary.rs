//! What an import did, and what it could not do.

use std::collections::BTreeMap;

use ledger::event::{Kind, secrets};
use serde::{Serialize, Serializer};

/// The most problems that are listed one by one; the rest is counted, so that a directory of broken files cannot fill
/// the memory.
pub const PROBLEMS_MAX: usize = 1_000;

/// What an import did: `{"records":n,"duplicates":n,"failed_calls":n,"unmapped":n,"introduced":n,"already_present":n,
/// "appended":{"AccountCreated":n,…}}`, and `"problems":[…]` and `"problems_not_listed":n` where there are any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Records read, whatever became of them.
    pub records: u64,
    /// Records whose event id came earlier in the input.
    pub duplicates: u64,
    /// Calls that would have been recorded had they not failed.
    pub failed_calls: u64,
    /// Records that are about nothing the ledger records.
    pub unmapped: u64,
    /// `LegacyImported` events that were appended.
    pub introduced: u64,
    /// Events that the ledger already held.
    pub already_present: u64,
    /// Events that were appended, by kind, without the introductions.
    #[serde(serialize_with = "by_name")]
    pub appended: BTreeMap<Kind, u64>,
    /// What could not be read or was refused.
    #[serde(flatten)]
    pub problems: Problems,
}

impl Summary {
    /// Whether everything went well; else the exit code is 1.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.problems.count() == 0
    }
}

fn by_name<S: Serializer>(counts: &BTreeMap<Kind, u64>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(counts.iter().map(|(kind, count)| (kind.name(), count)))
}

/// Problems, the first [`PROBLEMS_MAX`] of them listed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Problems {
    #[serde(rename = "problems", skip_serializing_if = "Vec::is_empty")]
    listed: Vec<Problem>,
    #[serde(rename = "problems_not_listed", skip_serializing_if = "is_zero")]
    not_listed: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Problems {
    /// Notes a problem.
    pub fn add(&mut self, problem: Problem) {
        if self.listed.len() < PROBLEMS_MAX {
            self.listed.push(problem);
        } else {
            self.not_listed += 1;
        }
    }

    /// Those that are listed.
    #[must_use]
    pub fn listed(&self) -> &[Problem] {
        &self.listed
    }

    /// How many there are, listed or not.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.not_listed + self.listed.len() as u64
    }
}

/// Something that could not be imported, and where it stands. Never holds a value of the input but an event id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file; `None` for what the ledger refused of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The record in it, from 0 (CloudTrail).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<u64>,
    /// The line in it, from 1 (ndjson).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The id of the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// What is wrong.
    pub problem: String,
}

impl std::fmt::Display for Problem {
    /// One line for people: `FILE, record 7, event ID: what is wrong`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let record = self.record.map(|r| format!("record {r}"));
        let line = self.line.map(|l| format!("line {l}"));
        let event = self.event_id.as_ref().map(|id| format!("event {id}"));
        let place: Vec<String> = [self.file.clone(), record, line, event].into_iter().flatten().collect();
        if !place.is_empty() {
            write!(f, "{}: ", place.join(", "))?;
        }
        f.write_str(&self.problem)
    }
}

/// An event id of the input as far as it may be repeated: where it looks like an id, and like no secret.
pub(crate) fn shown_id(id: &str) -> Option<String> {
    let plain = id.len() <= 64 && id.bytes().all(|b| b.is_ascii_graphic());
    (plain && !id.is_empty() && secrets::looks_like(id).is_none()).then(|| id.to_owned())
}
