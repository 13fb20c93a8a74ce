//! `ledgers`: which there are, and one in detail.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::Global;
use super::connect::{PAGE_MAX, Server};
use super::exit::{Exit, Failure};
use super::moment::in_full;
use super::print::{Printer, Section, Shown, counted};
use super::token::some;
use crate::wire::pb;
use crate::wire::pb::proof_service_client::ProofServiceClient;

/// Looks after ledgers
#[derive(Debug, Args)]
pub struct Ledgers {
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, Subcommand)]
enum Question {
    /// Lists the ledgers
    List,
    /// Shows one ledger in detail
    Describe {
        /// Its name; without it, the one of --ledger
        name: Option<ledger::types::LedgerName>,
    },
}

impl Ledgers {
    /// Carries it out.
    ///
    /// # Errors
    /// Where the server cannot be asked, or there is no such ledger.
    pub async fn run(self, global: &Global, printer: &mut Printer) -> Result<Exit, Failure> {
        let server = Server::reach(global).await?;
        match self.question {
            Question::List => list(&server, printer).await,
            Question::Describe { name } => {
                let ledger = name.map_or_else(|| server.ledger(), |name| name.to_string());
                let request = pb::DescribeLedgerRequest { ledger: ledger.clone() };
                let answer = server.admin().describe_ledger(request).await.map_err(|e| server.failure(e))?;
                let mut description = Description::from(answer.into_inner());
                let request = pb::GetCheckpointRequest { ledger, min_size: None };
                // Where there is none yet, or nobody signs any, everything else is shown all the same.
                description.checkpoint = ProofServiceClient::new(server.channel())
                    .get_checkpoint(request)
                    .await
                    .ok()
                    .map(|answer| answer.into_inner().into());
                printer.one(&description)?;
                Ok(Exit::Done)
            }
        }
    }
}

async fn list(server: &Server, printer: &mut Printer) -> Result<Exit, Failure> {
    let mut page_token = String::new();
    let mut list = printer.list();
    loop {
        let request = pb::ListLedgersRequest { page_size: PAGE_MAX, page_token };
        let page = server.admin().list_ledgers(request).await.map_err(|e| server.failure(e))?.into_inner();
        for ledger in page.ledgers {
            list.push(&Ledger::from(ledger))?;
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    list.end(|count| counted(count, "ledger"))?;
    Ok(Exit::Done)
}

/// A ledger, as it is printed.
#[derive(Debug, Serialize)]
struct Ledger {
    ledger: String,
    uid: String,
    entries: u64,
    head: String,
    last_recorded_at: Option<String>,
    projected: u64,
    stopped: Option<String>,
}

impl From<pb::Ledger> for Ledger {
    fn from(ledger: pb::Ledger) -> Self {
        Self {
            last_recorded_at: in_full(ledger.last_recorded_at.as_ref()),
            ledger: ledger.ledger,
            uid: ledger.uid,
            entries: ledger.entries,
            head: hex::encode(ledger.head),
            projected: ledger.projected,
            stopped: some(ledger.stopped),
        }
    }
}

impl Shown for Ledger {
    const FIELDS: &'static [&'static str] =
        &["ledger", "uid", "entries", "head", "last_recorded_at", "projected", "stopped"];
    const COLUMNS: &'static [&'static str] = &["ledger", "entries", "last recorded", "appends"];

    fn row(&self) -> Vec<String> {
        let appends = self.stopped.as_ref().map_or("ok".to_owned(), |why| format!("stopped: {why}"));
        vec![
            self.ledger.clone(),
            self.entries.to_string(),
            self.last_recorded_at.clone().unwrap_or_default(),
            appends,
        ]
    }
}

/// A ledger in detail, as it is printed.
#[derive(Debug, Serialize)]
struct Description {
    #[serde(flatten)]
    ledger: Ledger,
    accounts: u64,
    emitters: Vec<Emitter>,
    damage: Vec<Damage>,
    checkpoint: Option<Checkpoint>,
}

#[derive(Debug, Serialize)]
struct Checkpoint {
    size: u64,
    witnessed: bool,
    witnesses: Vec<String>,
}

impl From<pb::GetCheckpointResponse> for Checkpoint {
    fn from(answer: pb::GetCheckpointResponse) -> Self {
        Self { size: answer.size, witnessed: answer.witnessed, witnesses: answer.witnesses }
    }
}

impl Checkpoint {
    fn told(&self) -> String {
        match self.witnesses.len() {
            0 => format!("{} entries, unwitnessed", self.size),
            _ => format!("{} entries, cosigned by {}", self.size, self.witnesses.join(", ")),
        }
    }
}

#[derive(Debug, Serialize)]
struct Emitter {
    emitter: String,
    last_sequence: u64,
    missing: u64,
}

#[derive(Debug, Serialize)]
struct Damage {
    position: u64,
    file: String,
    offset: u64,
    reason: String,
}

impl From<pb::DescribeLedgerResponse> for Description {
    fn from(answer: pb::DescribeLedgerResponse) -> Self {
        let emitter = |e: pb::EmitterProgress| Emitter {
            emitter: e.emitter,
            last_sequence: e.last_sequence,
            missing: e.missing,
        };
        let damage =
            |d: pb::Damage| Damage { position: d.position, file: d.file, offset: d.offset, reason: d.reason };
        Self {
            ledger: answer.ledger.unwrap_or_default().into(),
            accounts: answer.accounts,
            emitters: answer.emitters.into_iter().map(emitter).collect(),
            damage: answer.damage.into_iter().map(damage).collect(),
            checkpoint: None,
        }
    }
}

impl Shown for Description {
    const FIELDS: &'static [&'static str] =
        &["ledger", "uid", "entries", "head", "last_recorded_at", "projected", "stopped", "accounts"];
    const COLUMNS: &'static [&'static str] = Ledger::COLUMNS;

    fn row(&self) -> Vec<String> {
        self.ledger.row()
    }

    fn page(&self) -> Vec<Section> {
        let facts = Section::facts(&[
            ("ledger", self.ledger.ledger.clone()),
            ("entries", self.ledger.entries.to_string()),
            ("accounts", self.accounts.to_string()),
            ("appends", self.ledger.row().pop().unwrap_or_default()),
            ("last recorded", self.ledger.last_recorded_at.clone().unwrap_or_default()),
            ("queries reflect", self.ledger.projected.to_string()),
            ("checkpoint", self.checkpoint.as_ref().map_or("none".to_owned(), Checkpoint::told)),
            ("head", self.ledger.head.clone()),
            ("uid", self.ledger.uid.clone()),
        ]);
        let emitters = self.emitters.iter();
        let emitters =
            emitters.map(|e| vec![e.emitter.clone(), e.last_sequence.to_string(), e.missing.to_string()]);
        let damage = self.damage.iter();
        let damage = damage
            .map(|d| vec![d.position.to_string(), d.file.clone(), d.offset.to_string(), d.reason.clone()]);
        let columns = &["emitter that counts", "last", "missing"];
        vec![
            facts,
            Section { title: String::new(), columns, rows: emitters.collect() },
            Section {
                title: String::new(),
                columns: &["damage at", "file", "offset", "reason"],
                rows: damage.collect(),
            },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::print::tests::{check_json, check_page};
    use expect_test::expect;

    fn answer() -> pb::DescribeLedgerResponse {
        let ledger = pb::Ledger {
            name: "ledgers/default".into(),
            ledger: "default".into(),
            uid: "3b241101-e2bb-4255-8caf-4136c566a962".into(),
            entries: 12,
            head: vec![7; 32],
            projected: 11,
            stopped: "damaged".into(),
            ..Default::default()
        };
        let damage = pb::Damage { position: 3, file: "log/0.seg".into(), offset: 700, reason: "CRC".into() };
        let emitter = pb::EmitterProgress { emitter: "hr".into(), last_sequence: 9, missing: 1 };
        pb::DescribeLedgerResponse {
            ledger: Some(ledger),
            accounts: 4,
            emitters: vec![emitter],
            damage: vec![damage],
        }
    }

    fn described() -> Description {
        let witnesses = vec!["w1".into(), "w2".into()];
        let checkpoint =
            pb::GetCheckpointResponse { size: 11, witnessed: true, witnesses, ..Default::default() };
        Description { checkpoint: Some(checkpoint.into()), ..answer().into() }
    }

    #[test]
    fn the_json_of_a_ledger_names_its_damage() {
        check_json(
            &described(),
            &expect![[r#"
            {"ledger":"default","uid":"3b241101-e2bb-4255-8caf-4136c566a962","entries":12,"head":"0707070707070707070707070707070707070707070707070707070707070707","last_recorded_at":null,"projected":11,"stopped":"damaged","accounts":4,"emitters":[{"emitter":"hr","last_sequence":9,"missing":1}],"damage":[{"position":3,"file":"log/0.seg","offset":700,"reason":"CRC"}],"checkpoint":{"size":11,"witnessed":true,"witnesses":["w1","w2"]}}
        "#]],
        );
    }

    #[test]
    fn people_see_why_a_ledger_takes_no_appends() {
        check_page(
            &described(),
            &expect![[r#"
            ledger           default
            entries          12
            accounts         4
            appends          stopped: damaged
            queries reflect  11
            checkpoint       11 entries, cosigned by w1, w2
            head             0707070707070707070707070707070707070707070707070707070707070707
            uid              3b241101-e2bb-4255-8caf-4136c566a962
            EMITTER THAT COUNTS  LAST  MISSING
            hr                   9     1
            DAMAGE AT  FILE       OFFSET  REASON
            3          log/0.seg  700     CRC
        "#]],
        );
    }
}
