//! `restore`: a plan that says what comes back, and its execution.

use std::io::{BufRead, IsTerminal, Write};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::Global;
use super::connect::{PAGE_MAX, Server};
use super::deletions::{Filter, Search, quoted, same_place};
use super::exit::{Exit, Failure, say};
use super::print::{Printer, Section, Shown, counted};
use crate::wire::pb;

/// Brings deleted accounts back
#[derive(Debug, Args)]
pub struct Restore {
    #[command(subcommand)]
    step: Step,
}

#[derive(Debug, Subcommand)]
enum Step {
    /// Works out what a restore would do; changes no account
    Plan(Plan),
    /// Carries a plan out; asked again, it goes on where it stopped
    Apply(Apply),
}

#[derive(Debug, Args)]
struct Plan {
    /// The accounts, by id, or by handle where only one has it
    #[arg(value_name = "ACCOUNT")]
    accounts: Vec<String>,
    #[command(flatten)]
    filter: Filter,
    /// With a filter, also those that had no active token: they may have been deleted rightly
    #[arg(long)]
    all: bool,
    /// How far before a deletion, in seconds, removals by the same actor belong to it
    #[arg(long, value_name = "SECONDS")]
    window: Option<u32>,
    /// The plan's id: the same id gives the same plan; without it, the ledger chooses
    #[arg(long, value_name = "UUID")]
    id: Option<uuid::Uuid>,
    #[command(flatten)]
    by: By,
}

#[derive(Debug, Args)]
struct Apply {
    /// The plan's id
    plan: String,
    /// Only if the plan still has this hash
    #[arg(long, value_name = "HEX", value_parser = hash)]
    hash: Option<Hash>,
    #[command(flatten)]
    by: By,
    /// Do not ask on a terminal
    #[arg(long, short)]
    yes: bool,
}

/// Who does it.
#[derive(Debug, Args)]
struct By {
    /// Who does it; without it, the name of the user who runs this
    #[arg(long, value_name = "ACTOR", env = "TOKENLEDGER_BY")]
    by: Option<String>,
}

impl By {
    fn actor(self) -> pb::Actor {
        let user = || std::env::var("USER").ok().filter(|user| !user.is_empty());
        match self.by.or_else(user) {
            Some(id) => pb::Actor { kind: pb::ActorKind::Human.into(), id },
            None => pb::Actor { kind: pb::ActorKind::Unspecified.into(), id: "unknown".to_owned() },
        }
    }
}

#[derive(Clone, Debug)]
struct Hash(Vec<u8>);

fn hash(text: &str) -> Result<Hash, &'static str> {
    let bytes = hex::decode(text).ok().filter(|bytes| bytes.len() == 32);
    bytes.map(Hash).ok_or("not a hash: 64 digits of hex, as the plan printed them")
}

impl Restore {
    /// Carries it out.
    ///
    /// # Errors
    /// Where the server cannot be asked, knows no such account or plan, or the plan no longer holds.
    pub async fn run(self, global: &Global, printer: &mut Printer) -> Result<Exit, Failure> {
        let server = Server::reach(global).await?;
        match self.step {
            Step::Plan(plan) => plan.run(&server, global, printer).await,
            Step::Apply(apply) => apply.run(&server, printer).await,
        }
    }
}

impl Plan {
    async fn run(self, server: &Server, global: &Global, printer: &mut Printer) -> Result<Exit, Failure> {
        let accounts = self.chosen(server).await?;
        let request = pb::PlanRestoreRequest {
            ledger: server.ledger(),
            accounts,
            window_seconds: self.window,
            actor: Some(self.by.actor()),
            validate_only: false,
            request_id: self.id.map(|id| id.to_string()).unwrap_or_default(),
        };
        let answer =
            server.restore().plan_restore(request).await.map_err(|e| server.failure(e))?.into_inner();
        let plan = RestorePlan::from(answer.plan.unwrap_or_default());
        printer.one(&plan)?;
        let next = format!("{} --hash {}{}", quoted(&plan.plan), plan.hash, same_place(global));
        printer.hint(&format!("next: tokenledger restore apply {next}"));
        Ok(Exit::Done)
    }

    /// The accounts that are named, and those of the deletions that the filter leaves.
    async fn chosen(&self, server: &Server) -> Result<Vec<String>, Failure> {
        let mut accounts = self.accounts.clone();
        if !self.filter.is_empty() {
            accounts.extend(found(server, &self.filter, self.all).await?);
        } else if accounts.is_empty() {
            return Err(Failure::Usage(
                "name the accounts, or the run that deleted them with --run".to_owned(),
            ));
        }
        let mut seen = std::collections::BTreeSet::new();
        accounts.retain(|account| seen.insert(account.clone()));
        match accounts.len() {
            0 => Err(Failure::NotFound(
                "no account that the filter leaves is gone and had active tokens".to_owned(),
            )),
            n if n > PAGE_MAX as usize => Err(Failure::Usage(format!(
                "a plan takes at most {PAGE_MAX} accounts, these are {n}: narrow it with --from and --to"
            ))),
            _ => Ok(accounts),
        }
    }
}

async fn found(server: &Server, filter: &Filter, all: bool) -> Result<Vec<String>, Failure> {
    let mut search = Search::new(server, filter);
    let mut accounts = Vec::new();
    while let Some(page) = search.next_page().await? {
        let wanted = page.into_iter().filter(|deletion| {
            let gone = deletion.status_now() == pb::AccountStatus::Deleted;
            gone && (all || !deletion.active_tokens.is_empty())
        });
        accounts.extend(wanted.map(|deletion| deletion.account));
    }
    Ok(accounts)
}

impl Apply {
    async fn run(self, server: &Server, printer: &mut Printer) -> Result<Exit, Failure> {
        if !self.yes && self.hash.is_none() {
            confirm(server, &self.plan).await?;
        }
        let request = pb::ApplyRestoreRequest {
            ledger: server.ledger(),
            plan: self.plan,
            hash: self.hash.map(|hash| hash.0).unwrap_or_default(),
            actor: Some(self.by.actor()),
        };
        let answer =
            server.restore().apply_restore(request).await.map_err(|e| server.failure(e))?.into_inner();
        let receipt = RestoreReceipt::from(answer.receipt.unwrap_or_default());
        printer.one(&receipt)?;
        Ok(if receipt.refused() == 0 { Exit::Done } else { Exit::Failed })
    }
}

/// Asks the person at the terminal, if there is one: neither hash nor flag says that the plan was read.
async fn confirm(server: &Server, plan: &str) -> Result<(), Failure> {
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Ok(());
    }
    let request = pb::GetPlanRequest { ledger: server.ledger(), plan: plan.to_owned() };
    let answer = server.restore().get_plan(request).await.map_err(|e| server.failure(e))?.into_inner();
    let plan = RestorePlan::from(answer.plan.unwrap_or_default());
    let _ = write!(std::io::stderr(), "{}. Carry it out? [y/N] ", plan.in_short());
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(Failure::because)?;
    if matches!(line.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    say("nothing was changed");
    Err(Failure::Failed("the plan was not carried out".to_owned()))
}

/// A plan, as it is printed.
#[derive(Debug, Serialize)]
pub struct RestorePlan {
    plan: String,
    hash: String,
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
struct Difference {
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
            planned_at: super::moment::in_full(plan.planned_at.as_ref()),
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

fn differences(differences: Vec<pb::Difference>) -> Vec<Difference> {
    let difference = |d: pb::Difference| Difference { what: d.what, reason: d.reason, detail: d.detail };
    differences.into_iter().map(difference).collect()
}

impl PlanItem {
    fn is_blocked(&self) -> bool {
        self.conflicts.iter().any(|conflict| conflict.blocks)
    }

    fn row(&self) -> Vec<String> {
        let tokens = self.comes_back.iter().filter(|what| what.starts_with("token/")).count();
        let against: Vec<&str> = self.conflicts.iter().map(|conflict| conflict.reason.as_str()).collect();
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
fn reasons(differences: &[Difference]) -> String {
    let reasons: std::collections::BTreeSet<&str> = differences.iter().map(|d| d.reason.as_str()).collect();
    reasons.into_iter().collect::<Vec<_>>().join(", ")
}

impl RestorePlan {
    fn in_short(&self) -> String {
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
        let against = self.items.iter().flat_map(|item| {
            item.conflicts
                .iter()
                .filter(|c| !c.detail.is_empty())
                .map(|c| vec![item.account.clone(), c.reason.clone(), c.what.clone(), c.detail.clone()])
        });
        let against: Vec<Vec<String>> = against.collect();
        let mut page = vec![Section { title: String::new(), columns: PLAN_COLUMNS, rows }];
        if !against.is_empty() {
            page.push(Section::line("\nto be known:"));
            page.push(Section { title: String::new(), columns: &[], rows: against });
        }
        page.push(Section::line(self.in_short()));
        page.push(Section::line(format!("plan {}, hash {}", self.plan, self.hash)));
        page
    }
}

/// A receipt, as it is printed.
#[derive(Debug, Serialize)]
pub struct RestoreReceipt {
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

    fn refused(&self) -> usize {
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

#[cfg(test)]
#[path = "restore_tests.rs"]
mod tests;
