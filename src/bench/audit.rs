//! Auditing while appending: the same load alone, and beside a full verify.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinHandle;

use super::append::measured;
use super::process::Process;
use super::site::{Place, Site};
use super::{BenchError, Load, blocking, median, ratio, rounded};

/// How often it is looked whether a verify has ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where.
    pub place: Place,
    /// Events that the ledger is filled up to before.
    pub events: u64,
    /// The load.
    pub load: Load,
    /// How often each is measured, in turns.
    pub rounds: usize,
}

/// What was measured, medians. Other people's scripts hang on the names.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Events a second beside a full verify, as a part of those without.
    pub audited_of_alone: f64,
    /// Events acknowledged, a second, without a verify.
    pub alone_events_per_s: f64,
    /// Beside one that begins anew whenever it has ended.
    pub audited_events_per_s: f64,
    /// How many verifies ended meanwhile.
    pub verifies: u64,
    /// Entries of the ledger at first.
    pub entries: u64,
    /// How often each was measured.
    pub rounds: usize,
}

/// Loads a server, with and without a verify beside it.
///
/// # Errors
/// Where a server cannot be started, refuses an event, or its log is not what was written.
pub async fn run(options: &Options) -> Result<Report, BenchError> {
    let site = Site::open(&options.place).await?;
    let channel = site.channel().await?;
    let entries = site.fill(&channel, options.events).await?.entries;
    let Some(data) = site.data().map(Path::to_path_buf) else {
        return Err(BenchError("this verifies a directory, so it needs a server of its own".to_owned()));
    };
    let (mut alone, mut audited, mut verifies) = (Vec::new(), Vec::new(), 0);
    for _ in 0..options.rounds {
        alone.push(measured(&site, &options.load, Duration::ZERO).await?.tally.events_per_s());
        let auditor = Auditor::begin(options.place.program.clone(), data.clone());
        audited.push(measured(&site, &options.load, Duration::ZERO).await?.tally.events_per_s());
        verifies += auditor.end().await?;
    }
    site.close().await?;
    let (alone, audited) = (median(alone), median(audited));
    Ok(Report {
        audited_of_alone: ratio(audited, alone),
        alone_events_per_s: rounded(alone),
        audited_events_per_s: rounded(audited),
        verifies,
        entries,
        rounds: options.rounds,
    })
}

/// One verify after the other, as processes of their own. Ends, with the one that runs, when it is dropped.
struct Auditor {
    now: Arc<Now>,
    running: JoinHandle<Result<(), BenchError>>,
}

/// What the auditor does at the moment.
#[derive(Default)]
struct Now {
    over: AtomicBool,
    ended: AtomicU64,
    verify: Mutex<Option<Process>>,
}

impl Now {
    fn verify(&self) -> MutexGuard<'_, Option<Process>> {
        self.verify.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is over; no verify is begun any more then.
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

impl Auditor {
    fn begin(program: PathBuf, data: PathBuf) -> Self {
        let now = Arc::new(Now::default());
        let told = Arc::clone(&now);
        let running = tokio::spawn(blocking(move || {
            while !told.is_over() {
                audit(&program, &data, &told)?;
            }
            Ok(())
        }));
        Self { now, running }
    }

    /// How many verifies ended, all of them well.
    async fn end(mut self) -> Result<u64, BenchError> {
        self.now.over.store(true, Ordering::Relaxed);
        let outcome = (&mut self.running).await;
        outcome.map_err(|e| BenchError::because("the verify stopped", e))??;
        Ok(self.now.ended.load(Ordering::Relaxed))
    }
}

impl Drop for Auditor {
    fn drop(&mut self) {
        let mut verify = self.now.verify();
        self.now.over.store(true, Ordering::Relaxed);
        // Dropped, it is ended.
        verify.take();
    }
}

/// One verify, to its end or until it is over.
fn audit(program: &Path, data: &Path, now: &Now) -> Result<(), BenchError> {
    let failed = |e: std::io::Error| BenchError::because("a verify cannot be started", e);
    let mut command = Command::new(program);
    command.arg("verify").arg(data).stdout(Stdio::null()).stderr(Stdio::null());
    {
        let mut verify = now.verify();
        if now.is_over() {
            return Ok(());
        }
        *verify = Some(Process::start(&mut command).map_err(failed)?);
    }
    loop {
        let mut verify = now.verify();
        let Some(process) = verify.as_mut() else { return Ok(()) };
        match process.ended().map_err(failed)? {
            Some(true) => break,
            Some(false) => return Err(BenchError("a verify beside the load found damage".to_owned())),
            None if now.is_over() => {
                verify.take();
                return Ok(());
            }
            None => {}
        }
        drop(verify);
        std::thread::sleep(LOOK_EVERY);
    }
    now.ended.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_verify_that_fails_is_told_and_not_counted() {
        let auditor = Auditor::begin("/bin/false".into(), "x".into());
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(auditor.end().await.unwrap_err().0.contains("found damage"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_that_is_dropped_leaves_no_process_behind() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("slow");
        std::fs::write(&script, "#!/bin/sh\nexec sleep 60\n").unwrap();
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let auditor = Auditor::begin(script, "x".into());
        let id = loop {
            if let Some(id) = auditor.now.verify().as_ref().map(Process::id) {
                break id;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        drop(auditor);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_verify_follows_another_until_the_end() {
        let auditor = Auditor::begin("/bin/true".into(), "x".into());
        while auditor.now.ended.load(Ordering::Relaxed) < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(auditor.end().await.unwrap() >= 2);
    }
}
