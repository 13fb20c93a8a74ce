//! Servers as processes of their own: how they are started, watched and ended.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde::Deserialize;
use tempfile::TempDir;

use super::BenchError;

/// Ticks of a second in /proc, on every Linux that there is.
const TICKS_PER_S: f64 = 100.0;
const METRIC: &str = "tokenledger_log_syncs_total";
const PATIENCE: Duration = Duration::from_secs(5);

/// A server on a directory of its own. Ends, with its directory, when it is dropped.
pub(super) struct ServerProcess {
    child: Child,
    ready: Ready,
    /// Held open, so that the server never writes to nobody.
    _stdout: BufReader<ChildStdout>,
    _dir: TempDir,
}

/// The line that a server prints when it can serve.
#[derive(Debug, Deserialize)]
struct Ready {
    grpc: String,
    #[serde(default)]
    metrics: Option<String>,
}

impl ServerProcess {
    /// Starts the program with these arguments, on an empty directory and any port, and waits until it can serve.
    pub(super) async fn start(program: &Path, arguments: &[&str]) -> Result<Self, BenchError> {
        let failed = |e| BenchError::because("a server for the benchmark cannot be started", e);
        let dir = tempfile::Builder::new().prefix("tokenledger-bench-").tempdir().map_err(failed)?;
        let log = dir.path().join("stderr");
        let mut child = Command::new(program)
            .args(arguments)
            .arg("--data")
            .arg(dir.path().join("data"))
            .args(["--listen", "127.0.0.1:0"])
            .env_remove("TOKENLEDGER_CONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).map_err(failed)?)
            .spawn()
            .map_err(failed)?;
        let stdout = child.stdout.take().map(BufReader::new);
        let Some(stdout) = stdout else { return Err(BenchError("a server has no output".to_owned())) };
        let (line, stdout) = first_line(stdout).await;
        match serde_json::from_str(&line) {
            Ok(ready) => Ok(Self { child, ready, _stdout: stdout, _dir: dir }),
            Err(_) => {
                end(&mut child);
                Err(BenchError::because("a server for the benchmark did not start", last_line(&log)))
            }
        }
    }

    /// Where it listens.
    pub(super) fn grpc(&self) -> &str {
        &self.ready.grpc
    }

    /// Its processor time so far, in seconds.
    pub(super) fn cpu(&self) -> Option<f64> {
        cpu_of(&format!("/proc/{}/stat", self.child.id()))
    }

    /// How often it has made its log durable.
    pub(super) async fn syncs(&self) -> Option<u64> {
        let address = self.ready.metrics.clone()?;
        let page = tokio::task::spawn_blocking(move || page(&address)).await.ok()?.ok()?;
        counter(&page, METRIC)
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Nothing of it is needed any more, so it need not end in order.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

async fn first_line(mut stdout: BufReader<ChildStdout>) -> (String, BufReader<ChildStdout>) {
    let read = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        let _ = stdout.read_line(&mut line);
        (line, stdout)
    });
    match read.await {
        Ok(read) => read,
        Err(e) => std::panic::resume_unwind(e.into_panic()),
    }
}

fn last_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().last().unwrap_or("it said nothing").to_owned()
}

/// The processor time of this process so far, in seconds; 0 where it is not known.
pub(super) fn own_cpu() -> f64 {
    cpu_of("/proc/self/stat").unwrap_or(0.0)
}

fn cpu_of(stat: &str) -> Option<f64> {
    cpu_in(&std::fs::read_to_string(stat).ok()?)
}

/// User and system time; the fields are counted behind the program's name, which may hold anything.
fn cpu_in(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let ticks = fields.next()?.parse::<f64>().ok()? + fields.next()?.parse::<f64>().ok()?;
    Some(ticks / TICKS_PER_S)
}

/// The page of metrics at an address.
fn page(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    Ok(page)
}

/// The sum of a counter over all its labels; `None` where there is no such counter.
fn counter(page: &str, name: &str) -> Option<u64> {
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let labelled = rest.starts_with('{') || rest.starts_with(' ');
        labelled.then(|| rest.rsplit(' ').next()?.trim().parse::<f64>().ok()).flatten()
    };
    let mut values = page.lines().filter_map(value).peekable();
    values.peek()?;
    Some(values.sum::<f64>() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_the_sum_over_its_labels_and_of_no_longer_name() {
        let page = "HTTP/1.0 200 OK\n\n# TYPE tokenledger_log_syncs_total counter\n\
                    tokenledger_log_syncs_total{ledger=\"a b\"} 7\ntokenledger_log_syncs_total{ledger=\"c\"} 5\n\
                    tokenledger_log_syncs_total_created 99\n";
        assert_eq!(counter(page, METRIC), Some(12));
        assert_eq!(counter("other 3\n", METRIC), None);
    }

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "42 (a ) b 9) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0";
        assert_eq!(cpu_in(stat), Some(3.0));
        assert_eq!(cpu_in("nonsense"), None);
        assert!(cpu_of("/proc/self/stat").is_some());
    }

    #[tokio::test]
    async fn a_program_that_does_not_start_a_server_is_no_panic() {
        let why = ServerProcess::start(Path::new("/bin/false"), &[]).await.map(drop).unwrap_err();
        assert_eq!(why.0, "a server for the benchmark did not start: it said nothing");
        assert!(ServerProcess::start(Path::new("/nowhere/program"), &[]).await.is_err());
    }
}
