//! `rebuild`: the answers to queries, built anew from the log.

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::Global;
use super::connect::Server;
use super::exit::{Exit, Failure};
use super::print::{Printer, Section, Shown};
use crate::wire::pb;

/// Builds what queries answer from anew, beside what serves them now
#[derive(Debug, Args)]
pub struct Rebuild {}

/// What was built, as it is printed.
#[derive(Debug, Serialize)]
struct Rebuilt {
    ledger: String,
    entries: u64,
    finished: bool,
}

impl Shown for Rebuilt {
    const FIELDS: &'static [&'static str] = &["ledger", "entries", "finished"];
    const COLUMNS: &'static [&'static str] = &["ledger", "entries", "finished"];
    fn row(&self) -> Vec<String> {
        vec![self.ledger.clone(), self.entries.to_string(), self.finished.to_string()]
    }
    fn page(&self) -> Vec<Section> {
        let became =
            if self.finished { "rebuilt from" } else { "not finished; what served before still serves, at" };
        vec![Section::line(format!("ledger {}: {became} {} entries", self.ledger, self.entries))]
    }
}

impl Rebuild {
    /// Carries it out.
    ///
    /// # Errors
    /// Where the server cannot be asked, or there is no such ledger.
    pub async fn run(self, global: &Global, printer: &mut Printer) -> Result<Exit, Failure> {
        let server = Server::reach(global).await?;
        let request = pb::RebuildProjectionRequest { ledger: server.ledger() };
        let answer = server.admin().rebuild_projection(request).await.map_err(|e| server.failure(e))?;
        let mut steps = answer.into_inner();
        let bar = bar("entries");
        let mut last = pb::RebuildProjectionResponse::default();
        while let Some(step) = steps.message().await.map_err(|e| server.failure(e))? {
            bar.set_length(step.total);
            bar.set_position(step.done);
            last = step;
        }
        bar.finish_and_clear();
        printer.one(&Rebuilt { ledger: server.ledger(), entries: last.done, finished: last.finished })?;
        Ok(if last.finished { Exit::Done } else { Exit::Failed })
    }
}

/// A progress bar on standard error; nothing where that is no terminal.
#[must_use]
pub fn bar(unit: &str) -> ProgressBar {
    let form = format!("{{wide_bar}} {{human_pos}}/{{human_len}} {unit}, {{eta}} left");
    let style = ProgressStyle::with_template(&form).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::print::tests::{check_json, check_page};
    use expect_test::expect;

    #[test]
    fn a_rebuild_that_did_not_finish_says_so() {
        let rebuilt = Rebuilt { ledger: "default".into(), entries: 7, finished: false };
        check_json(
            &rebuilt,
            &expect![[r#"
            {"ledger":"default","entries":7,"finished":false}
        "#]],
        );
        check_page(
            &rebuilt,
            &expect![[r#"
            ledger default: not finished; what served before still serves, at 7 entries
        "#]],
        );
    }
}
