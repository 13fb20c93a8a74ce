//! A plan, as it is printed.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cli::moment::in_full;
use crate::cli::print::{Section, Shown, counted};
use crate::wire::pb;

/// A plan, as it is printed.
#[derive(Debug, Serialize)]
pub(super) struct RestorePlan {
    pub(super) plan: String,
    pub(super) hash: String,
    position: u64,
    items: Vec<PlanItem>,
    planned_at: Option<String>,
    window_seconds: u32,
}

#[derive(Debug, Serialize)]
struct PlanItem {
    account: String,
    comes_back: Vec<String>,
    stays_gone: Vec<Difference>,
    conflicts: Vec<Conflict>,
    handle: String,
    digest_before: String,
    digest_after: String,
    differences: Vec<Difference>,
    group: Vec<u64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Difference {
    what: String,
    reason: String,
    detail: String,
}

#[derive(Debug, Serialize)]
struct Conflict {
    reason: String,
    what: String,
    detail: String,
    blocks: bool,
}

impl From<pb::RestorePlan> for RestorePlan {
    fn from(plan: pb::RestorePlan) -> Self {
        Self {
            plan: plan.plan,
            hash: hex::encode(plan.hash),
            position: plan.pinned_position,
            items: plan.items.into_iter().map(PlanItem::from).collect(),
            planned_at: in_full(plan.planned_at.as_ref()),
            window_seconds: plan.window_seconds,
        }
    }
}

impl From<pb::PlanItem> for PlanItem {
    fn from(item: pb::PlanItem) -> Self {
        let conflict =
            |c: pb::Conflict| Conflict { reason: c.reason, what: c.what, detail: c.detail, blocks: c.blocks };
        Self {
            account: item.account,
            comes_back: item.comes_back,
            stays_gone: differences(item.stays_gone),
            conflicts: item.conflicts.into_iter().map(conflict).collect(),
            handle: item.handle,
            digest_before: hex::encode(item.digest_before),
            digest_after: hex::encode(item.digest_after),
            differences: differences(item.differences),
            group: item.group,
        }
    }
}

pub(super) fn differences(differences: Vec<pb::Difference>) -> Vec<Difference> {
    let difference = |d: pb::Difference| Difference { what: d.what, reason: d.reason, detail: d.detail };
    differences.into_iter().map(difference).collect()
}

impl PlanItem {
    fn is_blocked(&self) -> bool {
        self.conflicts.iter().any(|conflict| conflict.blocks)
    }

    fn row(&self) -> Vec<String> {
        let tokens = self.comes_back.iter().filter(|what| what.starts_with("token/")).count();
        let mut against: Vec<&str> = self.conflicts.iter().map(|conflict| conflict.reason.as_str()).collect();
        against.dedup();
        vec![
            self.account.clone(),
            if self.is_blocked() { "no" } else { "yes" }.to_owned(),
            tokens.to_string(),
            self.stays_gone.len().to_string(),
            if self.digest_before == self.digest_after {
                "as before".to_owned()
            } else {
                reasons(&self.differences)
            },
            against.join(", "),
        ]
    }
}

/// The reasons of differences, each once.
pub(super) fn reasons(differences: &[Difference]) -> String {
    let reasons: std::collections::BTreeSet<&str> = differences.iter().map(|d| d.reason.as_str()).collect();
    reasons.into_iter().collect::<Vec<_>>().join(", ")
}

impl RestorePlan {
    /// What stands against the plan: each blocking conflict by itself, of the others how many there are of a kind.
    fn to_be_known(&self) -> Vec<Vec<String>> {
        let (mut blocking, mut others) = (Vec::new(), BTreeMap::new());
        for item in &self.items {
            for conflict in &item.conflicts {
                let (reason, detail) = (conflict.reason.as_str(), conflict.detail.as_str());
                if conflict.blocks {
                    blocking.push([item.account.as_str(), reason, detail].map(str::to_owned).to_vec());
                } else {
                    *others.entry((reason, detail)).or_insert(0) += 1;
                }
            }
        }
        let counted = |((reason, detail), count): ((&str, &str), u64)| {
            vec![format!("{count} times"), reason.to_owned(), detail.to_owned()]
        };
        blocking.extend(others.into_iter().map(counted));
        blocking
    }

    pub(super) fn in_short(&self) -> String {
        let total = self.items.len();
        let blocked = self.items.iter().filter(|item| item.is_blocked()).count();
        let as_before = self
            .items
            .iter()
            .filter(|item| !item.is_blocked() && item.digest_before == item.digest_after)
            .count();
        format!(
            "{} of {} can come back, {as_before} of them exactly as before",
            total - blocked,
            counted(total as u64, "account")
        )
    }
}

const PLAN_COLUMNS: &[&str] = &["account", "comes back", "tokens", "stay gone", "will be", "to be known"];

impl Shown for RestorePlan {
    const FIELDS: &'static [&'static str] =
        &["plan", "hash", "position", "items", "planned_at", "window_seconds"];
    const COLUMNS: &'static [&'static str] = &["plan", "accounts"];

    fn row(&self) -> Vec<String> {
        vec![self.plan.clone(), self.items.len().to_string()]
    }

    fn page(&self) -> Vec<Section> {
        let rows = self.items.iter().map(PlanItem::row).collect();
        let mut page = vec![Section { title: String::new(), columns: PLAN_COLUMNS, rows }];
        let known = self.to_be_known();
        if !known.is_empty() {
            page.push(Section { title: "\nto be known:".to_owned(), columns: &[], rows: known });
        }
        page.push(Section::line(self.in_short()));
        page.push(Section::line(format!("plan {}, hash {}", self.plan, self.hash)));
        page
    }
}
