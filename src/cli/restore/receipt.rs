//! A receipt, as it is printed.

use serde::Serialize;

use super::plan::{Difference, differences, reasons};
use crate::cli::print::{Section, Shown, counted};
use crate::wire::pb;

/// A receipt, as it is printed.
#[derive(Debug, Serialize)]
pub(super) struct RestoreReceipt {
    receipt: String,
    items: Vec<RestoredItem>,
    plan: String,
    hash: String,
    position: Option<u64>,
    link: Option<String>,
}

#[derive(Debug, Serialize)]
struct RestoredItem {
    account: String,
    outcome: &'static str,
    digest_before: String,
    digest_after: String,
    differences: Vec<Difference>,
    position: Option<u64>,
}

impl From<pb::RestoreReceipt> for RestoreReceipt {
    fn from(receipt: pb::RestoreReceipt) -> Self {
        Self {
            receipt: receipt.receipt,
            items: receipt.items.into_iter().map(RestoredItem::from).collect(),
            plan: receipt.plan,
            hash: hex::encode(receipt.hash),
            position: receipt.proof.as_ref().map(|proof| proof.position),
            link: receipt.proof.map(|proof| hex::encode(proof.link)),
        }
    }
}

impl From<pb::RestoredItem> for RestoredItem {
    fn from(item: pb::RestoredItem) -> Self {
        Self {
            outcome: outcome_name(item.outcome()),
            account: item.account,
            digest_before: hex::encode(item.digest_before),
            digest_after: hex::encode(item.digest_after),
            differences: differences(item.differences),
            position: item.position,
        }
    }
}

/// What is not said to be restored is refused.
fn outcome_name(outcome: pb::RestoreOutcome) -> &'static str {
    match outcome {
        pb::RestoreOutcome::Restored => "restored",
        pb::RestoreOutcome::AlreadyLive => "already_live",
        pb::RestoreOutcome::Refused | pb::RestoreOutcome::Unspecified => "refused",
    }
}

impl RestoreReceipt {
    fn count(&self, outcome: &str) -> usize {
        self.items.iter().filter(|item| item.outcome == outcome).count()
    }

    pub(super) fn refused(&self) -> usize {
        self.count("refused")
    }
}

impl RestoredItem {
    fn row(&self) -> Vec<String> {
        let same = self.outcome == "restored" && self.digest_before == self.digest_after;
        let is = if same { "as before".to_owned() } else { reasons(&self.differences) };
        vec![self.account.clone(), self.outcome.to_owned(), is]
    }
}

impl Shown for RestoreReceipt {
    const FIELDS: &'static [&'static str] = &["receipt", "items", "plan", "hash", "position", "link"];
    const COLUMNS: &'static [&'static str] = &["receipt", "accounts"];

    fn row(&self) -> Vec<String> {
        vec![self.receipt.clone(), self.items.len().to_string()]
    }

    fn page(&self) -> Vec<Section> {
        let rows = self.items.iter().map(RestoredItem::row).collect();
        let same = self
            .items
            .iter()
            .filter(|i| i.outcome == "restored" && i.digest_before == i.digest_after)
            .count();
        let short = format!(
            "{} restored, {same} of them exactly as before; {} there already, {} refused",
            counted(self.count("restored") as u64, "account"),
            self.count("already_live"),
            self.refused()
        );
        vec![
            Section { title: String::new(), columns: &["account", "outcome", "is"], rows },
            Section::line(short),
            Section::line(format!(
                "receipt {}, position {}",
                self.receipt,
                self.position.unwrap_or_default()
            )),
        ]
    }
}
