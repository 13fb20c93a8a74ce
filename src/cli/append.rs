//! `append`: events in the product's JSON form, one a line, into a ledger.

mod receipts;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use ledger::event::to_message;
use serde::Serialize;
use tokio::sync::mpsc;

use super::Global;
use super::connect::Server;
use super::exit::{Exit, Failure};
use super::moment::in_full;
use super::print::{List, Printer, Shown, counted};
use super::token::some;
use crate::json::event_from_json;
use crate::wire::pb;
use receipts::Receipts;

/// The most events of one request.
const BATCH_EVENTS_MAX: usize = 500;
/// The most events that are all or nothing together.
const ATOMIC_EVENTS_MAX: usize = 1_000;
/// The longest line that can hold an event, in bytes.
const LINE_BYTES_MAX: u64 = 1024 * 1024;

/// Records events: JSON, one a line
#[derive(Debug, Args)]
pub struct Append {
    /// The file to read; `-`: the standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// All or nothing (at most 1,000 events)
    #[arg(long)]
    atomic: bool,
    /// Only say what would happen
    #[arg(long)]
    validate_only: bool,
    /// Also write into this directory the receipt of each event: the proof that a signed checkpoint covers it, as
    /// POSITION.tlog-proof (`tokenledger proof verify` checks it)
    #[arg(long, value_name = "DIR", conflicts_with = "validate_only")]
    receipts: Option<PathBuf>,
    /// The ledger's public key, or a file that has it: to check the signatures of the receipts at once as well
    #[arg(long, value_name = "KEY", requires = "receipts")]
    key: Vec<String>,
}

/// What became of an event, as it is printed.
#[derive(Debug, Serialize)]
struct Answer {
    event_id: String,
    emitter: String,
    position: Option<u64>,
    link: Option<String>,
    recorded_at: Option<String>,
    already_present: bool,
    refused: Option<Refused>,
    violations: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Refused {
    reason: String,
    message: String,
}

impl Shown for Answer {
    const FIELDS: &'static [&'static str] = &[
        "event_id",
        "emitter",
        "position",
        "link",
        "recorded_at",
        "already_present",
        "refused",
        "violations",
    ];
    const COLUMNS: &'static [&'static str] = &["event", "position", "answer", "link"];

    fn row(&self) -> Vec<String> {
        let answer = match &self.refused {
            Some(refused) => format!("refused: {}", refused.message),
            None if self.already_present => "was there already".to_owned(),
            None if self.position.is_none() => "would be recorded".to_owned(),
            None if self.violations.is_empty() => "recorded".to_owned(),
            None => format!("recorded, breaks {}", self.violations.join(", ")),
        };
        let position = self.position.map(|p| p.to_string()).unwrap_or_default();
        vec![self.event_id.clone(), position, answer, self.link.clone().unwrap_or_default()]
    }
}

impl Answer {
    fn new(event: &pb::Event, result: Option<pb::append_result::Result>) -> Self {
        let mut answer = Self {
            event_id: event.event_id.clone(),
            emitter: event.emitter.clone(),
            position: None,
            link: None,
            recorded_at: None,
            already_present: false,
            refused: None,
            violations: Vec::new(),
        };
        match result {
            Some(pb::append_result::Result::Accepted(accepted)) => answer.accept(accepted),
            Some(pb::append_result::Result::Refused(refusal)) => {
                answer.refused = Some(Refused { reason: refusal.reason, message: refusal.message });
            }
            None => {
                let message = "the server did not answer; send it again".to_owned();
                answer.refused = Some(Refused { reason: "unanswered".to_owned(), message });
            }
        }
        answer
    }

    fn accept(&mut self, accepted: pb::Accepted) {
        self.already_present = accepted.already_present;
        let violations = accepted.annotations.unwrap_or_default().violations;
        self.violations = violations.into_iter().map(|violation| violation.rule).collect();
        if let Some(receipt) = accepted.receipt {
            self.position = Some(receipt.position);
            self.link = some(hex::encode(receipt.link));
            self.recorded_at = in_full(receipt.recorded_at.as_ref());
        }
    }
}

impl Append {
    /// Carries it out.
    ///
    /// # Errors
    /// Where the file cannot be read, a line is no event, or the server cannot be asked. What stands before such a
    /// line is recorded, unless all or nothing was asked for.
    pub async fn run(self, global: &Global, printer: &mut Printer) -> Result<Exit, Failure> {
        let mut receipts =
            self.receipts.as_deref().map(|dir| Receipts::into(dir, &self.key, global)).transpose()?;
        let server = Server::reach(global).await?;
        let mut lines = lines_of(&self.file)?;
        let mut list = printer.list();
        let (mut number, mut refused) = (0, 0);
        let batch_max = if self.atomic { ATOMIC_EVENTS_MAX + 1 } else { BATCH_EVENTS_MAX };
        loop {
            let mut batch = Vec::new();
            let stopped = gather(&mut lines, &mut batch, batch_max, self.atomic, &mut number).await;
            if self.atomic && (stopped.is_err() || batch.len() > ATOMIC_EVENTS_MAX) {
                stopped?;
                return Err(Failure::Usage(format!(
                    "all or nothing takes at most {ATOMIC_EVENTS_MAX} events"
                )));
            }
            refused += self.send(&server, batch, &mut list, receipts.as_mut()).await?;
            if stopped? {
                break;
            }
        }
        list.end(|count| format!("{}, {refused} refused", counted(count, "event")))?;
        let receipts = receipts.map_or(Exit::Done, |receipts| receipts.end(printer));
        Ok(if refused == 0 || receipts == Exit::Unverified { receipts } else { Exit::Failed })
    }

    /// Sends a batch, prints what became of it, and counts what was refused.
    async fn send(
        &self,
        server: &Server,
        events: Vec<pb::Event>,
        list: &mut List<'_, Answer>,
        receipts: Option<&mut Receipts>,
    ) -> Result<u64, Failure> {
        if events.is_empty() {
            return Ok(0);
        }
        let proposal =
            |event: &pb::Event| pb::Proposal { event: Some(event.clone()), expected_version: None };
        let request = pb::AppendBatchRequest {
            ledger: server.ledger(),
            proposals: events.iter().map(proposal).collect(),
            atomic: self.atomic,
            validate_only: self.validate_only,
            from_export: false,
        };
        let answer = server.append().append_batch(request).await.map_err(|e| server.failure(e))?.into_inner();
        let mut results = answer.results.into_iter().map(|result| result.result);
        let (mut refused, mut recorded) = (0, Vec::new());
        for event in &events {
            let result = results.next().flatten();
            if let Some(pb::append_result::Result::Accepted(accepted)) = &result {
                recorded.extend(accepted.receipt.clone().map(|receipt| (event, receipt)));
            }
            let answer = Answer::new(event, result);
            refused += u64::from(answer.refused.is_some());
            list.push(&answer)?;
        }
        if let Some(receipts) = receipts {
            for (event, receipt) in recorded {
                receipts.fetch(server, event, &receipt).await;
            }
        }
        Ok(refused)
    }
}

/// A line, or why there is none.
type Line = std::io::Result<Vec<u8>>;

/// The lines of a file, read by a thread of their own, since reading may wait for somebody who types.
fn lines_of(path: &Path) -> Result<mpsc::Receiver<Line>, Failure> {
    let input: Box<dyn Read + Send> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(File::open(path).map_err(|e| Failure::at(path, &e))?)
    };
    let (sender, receiver) = mpsc::channel(BATCH_EVENTS_MAX);
    std::thread::spawn(move || send_lines(BufReader::new(input), &sender));
    Ok(receiver)
}

fn send_lines(mut input: impl BufRead, sender: &mpsc::Sender<Line>) {
    loop {
        let mut line = Vec::new();
        let line = match input.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line) {
            Ok(0) => return,
            Ok(_) => Ok(line),
            Err(e) => Err(e),
        };
        if sender.blocking_send(line).is_err() {
            return;
        }
    }
}

/// Reads events into a batch: those that are there, at least one; with `all`, until the end. Says whether it was the
/// end.
async fn gather(
    lines: &mut mpsc::Receiver<Line>,
    batch: &mut Vec<pb::Event>,
    batch_max: usize,
    all: bool,
    number: &mut u64,
) -> Result<bool, Failure> {
    while batch.len() < batch_max {
        let line = if all || batch.is_empty() { lines.recv().await } else { lines.try_recv().ok() };
        let Some(line) = line else { return Ok(all || batch.is_empty()) };
        *number += 1;
        if let Some(event) = read(line).map_err(|why| Failure::Failed(format!("line {number}: {why}")))? {
            batch.push(event);
        }
    }
    Ok(false)
}

/// The event of a line; `None` where it is blank.
fn read(line: Line) -> Result<Option<pb::Event>, String> {
    let line = line.map_err(|e| e.to_string())?;
    if line.len() as u64 > LINE_BYTES_MAX {
        return Err("is longer than 1 MiB, and so no event".to_owned());
    }
    let text = std::str::from_utf8(&line).map_err(|_| "is not UTF-8".to_owned())?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    event_from_json(text).map(|event| Some(to_message(&event))).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::print::tests::check_json;
    use expect_test::expect;

    const EVENT: &str = r#"{"event_id":"3b241101-e2bb-4255-8caf-4136c566a962","kind":"AccountDeleted","account":"bot-1","actor":"cleanup","actor_kind":"automation","occurred_at":"2024-09-11T00:00:00Z","emitter":"worker","data":{}}"#;

    async fn gathered(text: &str, max: usize, all: bool) -> (usize, Result<bool, Failure>) {
        let (sender, mut lines) = mpsc::channel(100);
        let text = text.to_owned();
        std::thread::spawn(move || send_lines(text.as_bytes(), &sender)).join().unwrap();
        let mut batch = Vec::new();
        let end = gather(&mut lines, &mut batch, max, all, &mut 0).await;
        (batch.len(), end)
    }

    #[tokio::test]
    async fn blank_lines_are_passed_over_and_the_last_needs_no_line_end() {
        assert_eq!(gathered(&format!("\n{EVENT}\n\n{EVENT}"), 500, true).await, (2, Ok(true)));
        assert_eq!(gathered("", 500, false).await, (0, Ok(true)));
    }

    #[tokio::test]
    async fn a_line_that_is_no_event_is_named_and_those_before_it_are_kept() {
        let (kept, end) = gathered(&format!("{EVENT}\n{{}}\n{EVENT}\n"), 500, false).await;
        assert_eq!(kept, 1);
        let why = end.unwrap_err().to_string();
        assert!(why.starts_with("line 2: "), "{why}");
    }

    #[tokio::test]
    async fn a_batch_has_an_end() {
        assert_eq!(gathered(&format!("{EVENT}\n{EVENT}\n{EVENT}\n"), 2, false).await, (2, Ok(false)));
    }

    #[test]
    fn a_receipt_and_a_refusal_keep_their_promise() {
        let event = pb::Event { event_id: "e".into(), emitter: "worker".into(), ..Default::default() };
        let receipt = pb::Receipt { position: 4, link: vec![9; 32], ..Default::default() };
        let accepted = pb::Accepted { receipt: Some(receipt), ..Default::default() };
        check_json(
            &Answer::new(&event, Some(pb::append_result::Result::Accepted(accepted))),
            &expect![[r#"
                {"event_id":"e","emitter":"worker","position":4,"link":"0909090909090909090909090909090909090909090909090909090909090909","recorded_at":null,"already_present":false,"refused":null,"violations":[]}
            "#]],
        );
        check_json(
            &Answer::new(&event, None),
            &expect![[r#"
            {"event_id":"e","emitter":"worker","position":null,"link":null,"recorded_at":null,"already_present":false,"refused":{"reason":"unanswered","message":"the server did not answer; send it again"},"violations":[]}
        "#]],
        );
    }
}
