//! `verify`: the offline judge. It asks no server, and may run beside one.

use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::ProgressBar;
use ledger::disk::RealDisk;
use ledger::verify::{CheckpointReport, LedgerReport, Progress, Report, verify_on};
use serde::Serialize;

use super::evidence::Given;
use super::exit::{Exit, Failure, say};
use super::print::{Printer, Section, Shown, counted};
use super::rebuild::bar;
use crate::priority;

/// Says whether every byte of every log is what was written; exit code 3: it is not
///
/// Every entry is hashed twice: into the chain, and into the tree. The hashes of the stored tree are compared, and each
/// checkpoint that is known of a ledger: the one in its directory, and those that you give. Only a checkpoint from outside of
/// the directory shows that a log was cut, put back to an older copy, or made anew with all its hashes.
#[derive(Debug, Args)]
pub struct Verify {
    /// The server's data directory, or a copy of it
    dir: PathBuf,
    /// On how many threads; without it, as many as there are processors, or beside a server one
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    #[command(flatten)]
    given: Given,
}

impl Verify {
    /// Carries it out.
    ///
    /// # Errors
    /// Where the directory cannot be read, or is none that a server has made: what is not there is not sound.
    pub fn run(&self, printer: &mut Printer) -> Result<Exit, Failure> {
        std::fs::read_dir(&self.dir).map_err(|e| Failure::at(&self.dir, &e))?;
        if !["ledgers", "lock"].iter().any(|name| self.dir.join(name).exists()) {
            let why = "is no data directory of a server, nor a copy of one: it holds no directory `ledgers`";
            return Err(Failure::Failed(format!("{} {why}", self.dir.display())));
        }
        let evidence = self.given.read()?;
        let bar = Bar(bar("bytes"));
        let report = verify_on(&RealDisk, &self.dir, self.threads(), &evidence, &bar)
            .map_err(|e| Failure::at(&self.dir, &e))?;
        bar.0.finish_and_clear();
        for stranger in &report.strangers {
            say(&format!("tokenledger: {stranger} in the data directory is none of the product's"));
        }
        for ledger in &report.ledgers {
            if ledger.checkpoints.is_empty() && !self.given.keys.is_empty() {
                say(&format!(
                    "tokenledger: no checkpoint of {} is known, so no key could check any",
                    ledger.ledger
                ));
            }
        }
        let ok = report.ok();
        printer.one(&Verdict::from(report))?;
        Ok(if ok { Exit::Done } else { Exit::Unverified })
    }

    /// How many threads judge. Whoever works beside a server stands back behind it.
    fn threads(&self) -> NonZeroUsize {
        let served = is_served(&self.dir);
        if served {
            priority::lower();
        }
        let processors = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        self.threads.unwrap_or_else(|| if served { NonZeroUsize::MIN } else { processors() })
    }
}

/// Whether a server runs on a data directory. Asks the operating system who holds a lock, instead of trying to take it,
/// which could keep a server from starting. Where it does not say, no server is assumed.
pub(super) fn is_served(data: &Path) -> bool {
    let Ok(lock) = std::fs::metadata(data.join("lock")) else { return false };
    let held = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    held.lines().any(|line| holds(line, lock.ino()))
}

/// Whether a line of `/proc/locks` says that somebody holds the file with this number for himself:
/// `1: FLOCK  ADVISORY  WRITE 4711 fe:00:262147 0 EOF`. The device is not compared, since some file systems name
/// another there; at worst a judge is too polite.
fn holds(line: &str, inode: u64) -> bool {
    let mut words = line.split_whitespace().skip(1);
    let (kind, _, mode, _, file) = (words.next(), words.next(), words.next(), words.next(), words.next());
    let held = file.and_then(|file| file.rsplit(':').next()?.parse().ok());
    kind == Some("FLOCK") && mode == Some("WRITE") && held == Some(inode)
}

/// Shows how many bytes were read.
pub(super) struct Bar(pub(super) ProgressBar);

impl Progress for Bar {
    fn bytes(&self, done: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(done);
    }
}

/// The judgement, as it is printed.
#[derive(Debug, Serialize)]
struct Verdict {
    ok: bool,
    ledgers: Vec<LedgerVerdict>,
}

#[derive(Debug, Serialize)]
struct LedgerVerdict {
    ledger: String,
    entries: u64,
    head: String,
    torn_bytes: u64,
    damage: Vec<Damage>,
    damage_unlisted: u64,
    uid: Option<String>,
    tree: Option<String>,
    checkpoints: Vec<Checkpoint>,
}

#[derive(Debug, Serialize)]
struct Checkpoint {
    source: String,
    size: Option<u64>,
    ok: bool,
    reason: Option<String>,
    signature: String,
}

#[derive(Debug, Serialize)]
struct Damage {
    position: u64,
    file: String,
    offset: u64,
    reason: String,
}

impl From<Report> for Verdict {
    fn from(report: Report) -> Self {
        Self { ok: report.ok(), ledgers: report.ledgers.into_iter().map(LedgerVerdict::from).collect() }
    }
}

impl From<LedgerReport> for LedgerVerdict {
    fn from(report: LedgerReport) -> Self {
        let damage = report.damage.into_iter().map(|damage| Damage {
            position: damage.position.0,
            file: damage.file,
            offset: damage.offset,
            reason: damage.reason,
        });
        Self {
            ledger: report.ledger,
            entries: report.entries.0,
            head: report.head.to_string(),
            torn_bytes: report.torn_bytes,
            damage: damage.collect(),
            damage_unlisted: report.damage_unlisted,
            uid: report.uid.map(|uid| uid.to_string()),
            tree: report.tree.map(hex::encode),
            checkpoints: report.checkpoints.into_iter().map(Checkpoint::from).collect(),
        }
    }
}

impl From<CheckpointReport> for Checkpoint {
    fn from(report: CheckpointReport) -> Self {
        Self {
            source: report.source.to_string(),
            size: report.size,
            ok: report.ok(),
            signature: report.signature.to_string(),
            reason: report.fault,
        }
    }
}

impl Checkpoint {
    fn row(&self) -> Vec<String> {
        let verdict = self.reason.as_deref().unwrap_or("ok");
        let size = self.size.map(|size| size.to_string()).unwrap_or_default();
        vec![self.source.clone(), size, self.signature.clone(), verdict.to_owned()]
    }
}

impl LedgerVerdict {
    fn faults(&self) -> usize {
        self.checkpoints.iter().filter(|checkpoint| !checkpoint.ok).count()
    }

    fn checkpoints(&self) -> Section {
        Section {
            title: format!("\ncheckpoints of {}:", self.ledger),
            columns: &["source", "size", "signature", "verdict"],
            rows: self.checkpoints.iter().map(Checkpoint::row).collect(),
        }
    }

    fn damages(&self) -> u64 {
        self.damage.len() as u64 + self.damage_unlisted
    }

    fn row(&self) -> Vec<String> {
        let verdict = match (self.damages(), self.faults()) {
            (0, 0) => "ok",
            (0, _) => "contradicted",
            _ => "damaged",
        };
        vec![
            self.ledger.clone(),
            verdict.to_owned(),
            self.entries.to_string(),
            self.torn_bytes.to_string(),
            self.damages().to_string(),
            self.head.clone(),
        ]
    }
}

/// How many damages of a ledger people are shown; the other forms hold all.
const DAMAGES_SHOWN_MAX: usize = 20;

impl Shown for Verdict {
    const FIELDS: &'static [&'static str] = &["ok", "ledgers"];
    const COLUMNS: &'static [&'static str] = &["ok", "ledgers"];

    fn row(&self) -> Vec<String> {
        vec![self.ok.to_string(), self.ledgers.len().to_string()]
    }

    fn page(&self) -> Vec<Section> {
        let columns = &["ledger", "verdict", "entries", "torn bytes", "damages", "head"];
        let rows = self.ledgers.iter().map(LedgerVerdict::row).collect();
        let mut page = vec![Section { title: String::new(), columns, rows }];
        for ledger in self.ledgers.iter().filter(|ledger| !ledger.damage.is_empty()) {
            let row = |d: &Damage| {
                vec![d.position.to_string(), d.file.clone(), d.offset.to_string(), d.reason.clone()]
            };
            let more = match ledger.damages() {
                n if n > DAMAGES_SHOWN_MAX as u64 => {
                    format!(" (the first {DAMAGES_SHOWN_MAX} of {n}; -o json lists more)")
                }
                _ => String::new(),
            };
            let title = format!("\ndamage of {}{more}:", ledger.ledger);
            let columns = &["position", "file", "offset", "reason"];
            page.push(Section {
                title,
                columns,
                rows: ledger.damage.iter().take(DAMAGES_SHOWN_MAX).map(row).collect(),
            });
        }
        page.extend(
            self.ledgers.iter().filter(|one| !one.checkpoints.is_empty()).map(LedgerVerdict::checkpoints),
        );
        let damages = self.ledgers.iter().map(LedgerVerdict::damages).sum();
        let faults = match self.ledgers.iter().map(LedgerVerdict::faults).sum::<usize>() as u64 {
            0 => String::new(),
            n => format!(", {} contradicted", counted(n, "checkpoint")),
        };
        let verdict = if self.ok { "every byte is what was written" } else { "NOT what was written" };
        page.push(Section::line(format!(
            "{}, {}{faults}: {verdict}",
            counted(self.ledgers.len() as u64, "ledger"),
            counted(damages, "damage")
        )));
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::print::Format;
    use crate::cli::print::tests::{check_json, check_page, printed};
    use expect_test::expect;
    use ledger::types::{LedgerUid, Link, Position};
    use ledger::verify::{Signature, Source};

    fn checkpoint(
        source: Source,
        size: Option<u64>,
        signature: Signature,
        fault: Option<&str>,
    ) -> CheckpointReport {
        CheckpointReport { source, size, signature, fault: fault.map(str::to_owned) }
    }

    fn report() -> Report {
        let damage = ledger::log::Damage {
            position: Position(4),
            file: "log/00000000000000000000.seg".into(),
            offset: 1_234,
            reason: "the entry's CRC does not hold".into(),
        };
        let ledger = LedgerReport {
            ledger: "default".into(),
            uid: Some(LedgerUid([1; 16])),
            entries: Position(12),
            head: Link([0xAB; 32]),
            torn_bytes: 0,
            torn_from: None,
            published: None,
            damage: vec![damage],
            damage_unlisted: 0,
            tree: Some([0xCD; 32]),
            checkpoints: vec![
                checkpoint(Source::Kept, Some(9), Signature::Unchecked, None),
                checkpoint(Source::Anchor, Some(14), Signature::Good, Some("the entries are missing")),
            ],
        };
        Report { ledgers: vec![ledger], strangers: Vec::new() }
    }

    #[test]
    fn the_json_of_a_verdict_keeps_its_promise() {
        check_json(
            &Verdict::from(report()),
            &expect![[r#"
            {"ok":false,"ledgers":[{"ledger":"default","entries":12,"head":"abababababababababababababababababababababababababababababababab","torn_bytes":0,"damage":[{"position":4,"file":"log/00000000000000000000.seg","offset":1234,"reason":"the entry's CRC does not hold"}],"damage_unlisted":0,"uid":"01010101-0101-0101-0101-010101010101","tree":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","checkpoints":[{"source":"kept","size":9,"ok":true,"reason":null,"signature":"not checked: no key of the ledger was given"},{"source":"anchor","size":14,"ok":false,"reason":"the entries are missing","signature":"good"}]}]}
        "#]],
        );
    }

    #[test]
    fn people_see_each_damage_with_its_place() {
        check_page(
            &Verdict::from(report()),
            &expect![[r#"
                LEDGER   VERDICT  ENTRIES  TORN BYTES  DAMAGES  HEAD
                default  damaged  12       0           1        abababababababababababababababababababababababababababababababab

                damage of default:
                POSITION  FILE                          OFFSET  REASON
                4         log/00000000000000000000.seg  1234    the entry's CRC does not hold

                checkpoints of default:
                SOURCE  SIZE  SIGNATURE                                    VERDICT
                kept    9     not checked: no key of the ledger was given  ok
                anchor  14    good                                         the entries are missing
                1 ledger, 1 damage, 1 checkpoint contradicted: NOT what was written
            "#]],
        );
    }

    #[test]
    fn people_are_not_drowned_in_damage_but_programs_get_all_of_it() {
        let mut many = report();
        let one = many.ledgers[0].damage[0].clone();
        many.ledgers[0].damage = vec![one; 50];
        let verdict = Verdict::from(many);
        let page = printed(Format::Table, |printer| printer.one(&verdict).unwrap());
        assert_eq!(page.matches("1234").count(), DAMAGES_SHOWN_MAX);
        assert!(page.contains("the first 20 of 50") && page.contains("50 damages"), "{page}");
        let json = printed(Format::Json, |printer| printer.one(&verdict).unwrap());
        assert_eq!(json.matches("1234").count(), 50);
    }

    fn run(dir: &std::path::Path) -> Result<Exit, Failure> {
        let mut printer = Printer::to(Format::Json, Box::new(std::io::sink()));
        Verify { dir: dir.to_owned(), threads: None, given: Given::default() }.run(&mut printer)
    }

    #[test]
    fn a_directory_that_is_not_there_is_a_failure_and_damage_has_an_exit_code_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        for nothing in [dir.path(), &dir.path().join("nowhere")] {
            assert!(matches!(run(nothing), Err(Failure::Failed(_))));
        }
        std::fs::write(dir.path().join("lock"), "").unwrap();
        assert_eq!(run(dir.path()), Ok(Exit::Done));
        std::fs::create_dir_all(dir.path().join("ledgers/NOT-A-NAME")).unwrap();
        assert_eq!(run(dir.path()), Ok(Exit::Unverified));
    }

    #[test]
    fn a_directory_is_served_while_somebody_holds_its_lock() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_served(dir.path()));
        let lock = std::fs::File::create(dir.path().join("lock")).unwrap();
        assert!(!is_served(dir.path()));
        lock.lock().unwrap();
        assert!(is_served(dir.path()));
        lock.unlock().unwrap();
        assert!(!is_served(dir.path()));
    }

    #[test]
    fn only_a_lock_of_the_whole_file_for_oneself_counts() {
        assert!(holds("1: FLOCK  ADVISORY  WRITE 4711 fe:00:77 0 EOF", 77));
        for other in [
            "1: FLOCK  ADVISORY  WRITE 4711 fe:00:78 0 EOF",
            "1: FLOCK  ADVISORY  READ 4711 fe:00:77 0 EOF",
            "1: POSIX  ADVISORY  WRITE 4711 fe:00:77 0 EOF",
            "1: -> FLOCK  ADVISORY  WRITE 4711 fe:00:77 0 EOF",
            "",
        ] {
            assert!(!holds(other, 77), "{other}");
        }
    }
}
