//! `import`: the past of other sources, delivered to a ledger over the network.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use ledger::event::{AccountId, Event, to_message};
use tonic::Code;

use super::Global;
use super::connect::Server;
use super::exit::{Exit, Failure, say};
use super::print::{Printer, Section, Shown, counted};
use super::rebuild::bar;
use crate::import::{Outcome, Problem, Progress, Summary, Target, cloudtrail, ndjson};
use crate::wire::pb;

/// Brings in what other sources recorded; a second import adds nothing
#[derive(Debug, Args)]
pub struct Import {
    #[command(subcommand)]
    source: Source,
}

#[derive(Debug, Subcommand)]
enum Source {
    /// Calls of AWS IAM and STS, as CloudTrail logs them
    Cloudtrail {
        /// Files, or directories, of which only *.json and *.json.gz are read
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
    /// Events in the product's own JSON form, one a line; the inverse of `export ndjson`
    Ndjson {
        /// The files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

impl Import {
    /// Carries it out.
    ///
    /// # Errors
    /// Where the server cannot be asked, or a file of events cannot be opened. What was appended stays.
    pub async fn run(self, global: &Global, printer: &mut Printer) -> Result<Exit, Failure> {
        let mut target = Remote { server: Server::reach(global).await?, from_export: false };
        let bar = bar("done");
        let mut show = |progress: Progress| shown(&bar, progress);
        let summary = match self.source {
            Source::Cloudtrail { paths } => {
                cloudtrail::gather(&paths, &mut show).deliver(&mut target, &mut show).await?
            }
            Source::Ndjson { files } => {
                target.from_export = true;
                let mut whole = Summary::default();
                for file in &files {
                    let input = BufReader::new(File::open(file).map_err(|e| Failure::at(file, &e))?);
                    let part = ndjson::import(&name_of(file), input, &mut target, &mut show).await?;
                    add(&mut whole, part);
                }
                whole
            }
        };
        bar.finish_and_clear();
        tell(&summary);
        printer.one(&summary)?;
        Ok(if summary.is_clean() { Exit::Done } else { Exit::Failed })
    }
}

fn name_of(path: &Path) -> String {
    path.display().to_string()
}

fn shown(bar: &ProgressBar, progress: Progress) {
    let (done, of) = match progress {
        Progress::Reading { files, of } => (files, Some(of)),
        Progress::Delivering { events, of } => (events, of),
    };
    bar.set_length(of.unwrap_or(done));
    bar.set_position(done);
}

/// How many problems are told one by one on standard error; all that are kept are in the JSON.
const PROBLEMS_TOLD_MAX: usize = 20;

fn tell(summary: &Summary) {
    for problem in summary.problems.listed().iter().take(PROBLEMS_TOLD_MAX) {
        say(&format!("tokenledger: {problem}"));
    }
    let rest = summary.problems.count().saturating_sub(PROBLEMS_TOLD_MAX as u64);
    if rest > 0 {
        say(&format!("tokenledger: {} more", counted(rest, "problem")));
    }
}

/// Adds what another file of the same import did.
fn add(whole: &mut Summary, part: Summary) {
    whole.records += part.records;
    whole.duplicates += part.duplicates;
    whole.failed_calls += part.failed_calls;
    whole.unmapped += part.unmapped;
    whole.introduced += part.introduced;
    whole.already_present += part.already_present;
    for (kind, count) in part.appended {
        *whole.appended.entry(kind).or_default() += count;
    }
    let unlisted = part.problems.count() - part.problems.listed().len() as u64;
    part.problems.listed().iter().cloned().for_each(|problem| whole.problems.add(problem));
    if unlisted > 0 {
        let problem = format!("{} more in this file", counted(unlisted, "problem"));
        whole.problems.add(Problem { problem, ..Problem::default() });
    }
}

impl Shown for Summary {
    const FIELDS: &'static [&'static str] =
        &["records", "duplicates", "failed_calls", "unmapped", "introduced", "already_present", "appended"];
    const COLUMNS: &'static [&'static str] = &["appended", "introduced", "already there", "records"];

    fn row(&self) -> Vec<String> {
        let appended: u64 = self.appended.values().sum();
        [appended, self.introduced, self.already_present, self.records].map(|n| n.to_string()).to_vec()
    }

    fn page(&self) -> Vec<Section> {
        let appended: u64 = self.appended.values().sum();
        let kinds = self.appended.iter().map(|(kind, count)| vec![kind.name().to_owned(), count.to_string()]);
        let rest = [
            ("accounts introduced", self.introduced),
            ("already in the ledger", self.already_present),
            ("repeated in the input", self.duplicates),
            ("failed calls", self.failed_calls),
            ("about nothing that is recorded", self.unmapped),
            ("problems", self.problems.count()),
        ];
        let rest = rest.iter().filter(|(_, count)| *count > 0);
        let rows = kinds.chain(rest.map(|(name, count)| vec![(*name).to_owned(), count.to_string()]));
        let told =
            format!("{} read, {} appended", counted(self.records, "record"), counted(appended, "event"));
        vec![Section { title: String::new(), columns: &[], rows: rows.collect() }, Section::line(told)]
    }
}

/// A ledger behind a server.
struct Remote {
    server: Server,
    /// The events were exported from a ledger.
    from_export: bool,
}

impl Target for Remote {
    type Error = Failure;

    async fn known(&mut self, accounts: &[AccountId]) -> Result<Vec<bool>, Failure> {
        let mut known = Vec::with_capacity(accounts.len());
        for account in accounts {
            let ledger = self.server.ledger();
            let request =
                pb::GetAccountRequest { ledger, account: account.to_string(), ..Default::default() };
            known.push(match self.server.query().get_account(request).await {
                // A handle may have answered for an id that is not there.
                Ok(answer) => {
                    answer.into_inner().account.is_some_and(|found| found.account == account.as_str())
                }
                Err(status) if status.code() == Code::NotFound => false,
                Err(status) => return Err(self.server.failure(status)),
            });
        }
        Ok(known)
    }

    async fn append(&mut self, events: Vec<Event>) -> Result<Vec<Outcome>, Failure> {
        let proposal =
            |event: &Event| pb::Proposal { event: Some(to_message(event)), expected_version: None };
        let request = pb::AppendBatchRequest {
            ledger: self.server.ledger(),
            proposals: events.iter().map(proposal).collect(),
            atomic: false,
            validate_only: false,
            from_export: self.from_export,
        };
        let answer = self.server.append().append_batch(request).await.map_err(|e| self.server.failure(e))?;
        Ok(answer.into_inner().results.into_iter().map(outcome).collect())
    }
}

fn outcome(result: pb::AppendResult) -> Outcome {
    match result.result {
        Some(pb::append_result::Result::Accepted(accepted)) if accepted.already_present => {
            Outcome::AlreadyPresent
        }
        Some(pb::append_result::Result::Accepted(_)) => Outcome::Appended,
        Some(pb::append_result::Result::Refused(refusal)) => Outcome::Refused { reason: refusal.message },
        None => Outcome::Refused { reason: "was not answered".to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::print::tests::{check_json, check_page};
    use expect_test::expect;
    use ledger::event::Kind;

    fn summary() -> Summary {
        let mut summary =
            Summary { records: 9, duplicates: 1, failed_calls: 2, introduced: 1, ..Default::default() };
        summary.appended.insert(Kind::TokenIssued, 3);
        summary.appended.insert(Kind::AccountCreated, 2);
        summary
    }

    #[test]
    fn the_json_of_an_import_keeps_its_promise() {
        check_json(
            &summary(),
            &expect![[r#"
            {"records":9,"duplicates":1,"failed_calls":2,"unmapped":0,"introduced":1,"already_present":0,"appended":{"AccountCreated":2,"TokenIssued":3}}
        "#]],
        );
    }

    #[test]
    fn people_see_what_was_appended_and_what_was_not() {
        check_page(
            &summary(),
            &expect![[r#"
            AccountCreated         2
            TokenIssued            3
            accounts introduced    1
            repeated in the input  1
            failed calls           2
            9 records read, 5 events appended
        "#]],
        );
    }

    #[test]
    fn the_files_of_one_import_are_summed_up() {
        let mut whole = summary();
        let mut part = summary();
        part.problems.add(Problem { problem: "is none".into(), ..Problem::default() });
        add(&mut whole, part);
        assert_eq!((whole.records, whole.appended[&Kind::TokenIssued]), (18, 6));
        assert_eq!(whole.problems.count(), 1);
    }

    #[test]
    fn what_the_ledger_holds_already_is_not_counted_as_appended() {
        let accepted = |already_present| pb::AppendResult {
            result: Some(pb::append_result::Result::Accepted(pb::Accepted {
                already_present,
                ..Default::default()
            })),
        };
        assert_eq!(outcome(accepted(true)), Outcome::AlreadyPresent);
        assert_eq!(outcome(accepted(false)), Outcome::Appended);
        assert!(matches!(outcome(pb::AppendResult { result: None }), Outcome::Refused { .. }));
    }
}
