//! `restore`: a plan that says what comes back, and its execution.

mod plan;
mod receipt;

use std::io::{BufRead, IsTerminal, Write};

use clap::{Args, Subcommand};

use super::Global;
use super::connect::{PAGE_MAX, Server};
use super::deletions::{Filter, Search, quoted, same_place};
use super::exit::{Exit, Failure, say};
use super::print::Printer;
use crate::wire::pb;
use plan::RestorePlan;
use receipt::RestoreReceipt;

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

#[cfg(test)]
mod tests;
