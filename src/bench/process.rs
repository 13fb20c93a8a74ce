//! Servers, and other commands, as processes of their own: how they are started, watched and ended.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use ledger::checkpoint::{CheckpointError, PrivateKey};
use serde::Deserialize;
use tempfile::TempDir;

use super::BenchError;
use super::metrics_page::MetricsPage;
use crate::keyfile;

/// Ticks of a second in /proc, on every Linux that there is.
const TICKS_PER_S: f64 = 100.0;
/// How often it is looked whether a process has ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// What the names of logs begin with whose checkpoints are signed here.
const PREFIX: &str = "tokenledger.local";
/// How long a server may take to end in order.
const ENDING_MAX: Duration = Duration::from_secs(20);

/// A command that runs. Ends when it is dropped.
#[derive(Debug)]
pub(super) struct Process(Child);

impl Process {
    /// Starts it, without the settings of whoever measures.
    pub(super) fn start(command: &mut Command) -> std::io::Result<Self> {
        command.env_remove("TOKENLEDGER_CONFIG").stdin(Stdio::null()).spawn().map(Self)
    }

    /// Its number.
    #[cfg(test)]
    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Whether it has ended, and if so, whether it did well.
    pub(super) fn ended(&mut self) -> std::io::Result<Option<bool>> {
        Ok(self.0.try_wait()?.map(|status| status.success()))
    }

    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    fn proc(&self, file: &str) -> Option<String> {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.0.id())).ok()
    }

    /// Asks it to end in order, and waits.
    async fn terminate(&mut self) -> Result<(), BenchError> {
        let failed = |e: std::io::Error| BenchError::because("a server cannot be asked to end", e);
        let order = format!("kill -TERM {}", self.0.id());
        Command::new("sh").args(["-c", &order]).status().map_err(failed)?;
        let began = Instant::now();
        while self.ended().map_err(failed)?.is_none() {
            if began.elapsed() > ENDING_MAX {
                return Err(BenchError("a server did not end in order".to_owned()));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}

impl Drop for Process {
    /// Nothing of it is needed any more, so it need not end in order.
    fn drop(&mut self) {
        self.kill();
    }
}

/// A server on a directory of its own, or on one that is kept. Ends when it is dropped.
pub(super) struct ServerProcess {
    process: Process,
    ready: Ready,
    /// How long it took until it could serve.
    start: Duration,
    /// Held open, so that the server never writes to nobody.
    _stdout: BufReader<ChildStdout>,
}

/// The line that a server prints when it can serve.
#[derive(Debug, Deserialize)]
struct Ready {
    grpc: String,
    #[serde(default)]
    metrics: Option<String>,
}

/// A data directory, and where its server says what it does not like.
pub(super) struct DataDir {
    data: PathBuf,
    temp: TempDir,
    /// With which key the server on it signs checkpoints.
    key: Option<PathBuf>,
}

impl DataDir {
    /// The one to be kept, or else one that is removed when this is dropped.
    pub(super) fn at(kept: Option<&Path>) -> Result<Self, BenchError> {
        let failed = |e| BenchError::because("no directory can be made for the benchmark", e);
        let temp = tempfile::Builder::new().prefix("tokenledger-bench-").tempdir().map_err(failed)?;
        let data = kept.map_or_else(|| temp.path().join("data"), Path::to_path_buf);
        Ok(Self { data, temp, key: None })
    }

    /// The server on it signs with a key, which is kept beside a directory that is kept.
    pub(super) fn signed(mut self) -> Result<(Self, PrivateKey), BenchError> {
        let failed = |e| BenchError::because("there is no key for the benchmark", e);
        let mut path = self.data.clone().into_os_string();
        path.push(".key");
        let path = PathBuf::from(path);
        // A directory that is to be kept is made by its server, and so later than the key beside it.
        if let Some(beside) = path.parent() {
            let failed = |e| BenchError::because("no directory can be made for the benchmark", e);
            std::fs::create_dir_all(beside).map_err(failed)?;
        }
        let key = match path.exists() {
            true => keyfile::read(&path),
            false => keyfile::generate(PREFIX.parse().map_err(failed_prefix)?, &path),
        };
        let key = key.map_err(failed)?.key;
        self.key = Some(path);
        Ok((self, key))
    }

    /// The directory.
    pub(super) fn path(&self) -> &Path {
        &self.data
    }

    fn log(&self) -> PathBuf {
        self.temp.path().join("stderr")
    }
}

impl ServerProcess {
    /// Starts the product on a directory.
    pub(super) async fn serve(program: &Path, data: &DataDir) -> Result<Self, BenchError> {
        let key = data.key.as_deref().and_then(Path::to_str);
        let signed = key.into_iter().flat_map(|key| ["--key", key]);
        let words: Vec<&str> = ["serve", "--metrics", "127.0.0.1:0"].into_iter().chain(signed).collect();
        Self::start(program, &words, data).await
    }

    /// Starts the program with these arguments, on any port, and waits until it can serve.
    pub(super) async fn start(
        program: &Path,
        arguments: &[&str],
        data: &DataDir,
    ) -> Result<Self, BenchError> {
        let failed = |e| BenchError::because("a server for the benchmark cannot be started", e);
        let began = Instant::now();
        let mut command = Command::new(program);
        command.args(arguments).arg("--data").arg(data.path()).args(["--listen", "127.0.0.1:0"]);
        command.stdout(Stdio::piped()).stderr(File::create(data.log()).map_err(failed)?);
        let mut process = Process::start(&mut command).map_err(failed)?;
        let stdout = process.0.stdout.take().map(BufReader::new);
        let Some(stdout) = stdout else { return Err(BenchError("a server has no output".to_owned())) };
        let (line, stdout) = first_line(stdout).await?;
        let start = began.elapsed();
        match serde_json::from_str(&line) {
            Ok(ready) => Ok(Self { process, ready, start, _stdout: stdout }),
            Err(_) => {
                Err(BenchError::because("a server for the benchmark did not start", last_line(&data.log())))
            }
        }
    }

    /// Where it listens.
    pub(super) fn grpc(&self) -> &str {
        &self.ready.grpc
    }

    /// How long it took until it could serve.
    pub(super) fn start_time(&self) -> Duration {
        self.start
    }

    /// Its processor time so far, in seconds.
    pub(super) fn cpu(&self) -> Option<f64> {
        cpu_in(&self.process.proc("stat")?)
    }

    /// What it takes of the machine now.
    pub(super) fn memory(&self) -> Option<Memory> {
        Memory::in_status(&self.process.proc("status")?)
    }

    /// Its metrics.
    pub(super) async fn metrics(&self) -> Option<MetricsPage> {
        let address = self.ready.metrics.clone()?;
        tokio::task::spawn_blocking(move || MetricsPage::fetch(&address)).await.ok()?.ok()
    }

    /// Ends it in order.
    pub(super) async fn stop(mut self) -> Result<(), BenchError> {
        self.process.terminate().await
    }

    /// Ends it as a power cut would.
    pub(super) fn kill(mut self) {
        self.process.kill();
    }
}

async fn first_line(
    mut stdout: BufReader<ChildStdout>,
) -> Result<(String, BufReader<ChildStdout>), BenchError> {
    let read = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        let _ = stdout.read_line(&mut line);
        (line, stdout)
    });
    read.await.map_err(|e| BenchError::because("a server cannot be listened to", e))
}

fn failed_prefix(error: CheckpointError) -> BenchError {
    BenchError::because("there is no key for the benchmark", error)
}

fn last_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().last().unwrap_or("it said nothing").to_owned()
}

/// What a process takes of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Memory {
    /// Bytes of memory now.
    pub(super) rss_bytes: u64,
    /// The most that it ever was.
    pub(super) peak_bytes: u64,
    /// Threads now.
    pub(super) threads: u64,
}

impl Memory {
    fn in_status(status: &str) -> Option<Self> {
        let value = |name: &str| {
            let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
            rest.split_ascii_whitespace().next()?.parse::<u64>().ok()
        };
        Some(Self {
            rss_bytes: value("VmRSS:")? * 1_024,
            peak_bytes: value("VmHWM:")? * 1_024,
            threads: value("Threads:")?,
        })
    }
}

/// The processor time of this process so far, in seconds; 0 where it is not known.
pub(super) fn own_cpu() -> f64 {
    std::fs::read_to_string("/proc/self/stat").ok().and_then(|stat| cpu_in(&stat)).unwrap_or(0.0)
}

/// User and system time; the fields are counted behind the program's name, which may hold anything.
fn cpu_in(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let ticks = fields.next()?.parse::<f64>().ok()? + fields.next()?.parse::<f64>().ok()?;
    Some(ticks / TICKS_PER_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "42 (a ) b 9) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0";
        assert_eq!(cpu_in(stat), Some(3.0));
        assert_eq!(cpu_in("nonsense"), None);
        assert!(own_cpu() >= 0.0);
    }

    #[test]
    fn memory_and_threads_are_read_from_the_kernels_page() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nThreads:\t7\n";
        let memory = Memory { rss_bytes: 1 << 20, peak_bytes: 2 << 20, threads: 7 };
        assert_eq!(Memory::in_status(status), Some(memory));
        assert_eq!(Memory::in_status("VmRSS: 3 kB\n"), None);
    }

    #[test]
    fn a_process_that_is_dropped_has_ended() {
        let process = Process::start(Command::new("sleep").arg("60")).unwrap();
        let id = process.0.id();
        drop(process);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
    }

    #[tokio::test]
    async fn a_process_can_be_asked_to_end() {
        let mut process = Process::start(Command::new("sleep").arg("60")).unwrap();
        process.terminate().await.unwrap();
        assert_eq!(process.ended().unwrap(), Some(false));
    }

    #[tokio::test]
    async fn a_program_that_does_not_start_a_server_is_no_panic() {
        let data = DataDir::at(None).unwrap();
        let why = ServerProcess::start(Path::new("/bin/false"), &[], &data).await.map(drop).unwrap_err();
        assert_eq!(why.0, "a server for the benchmark did not start: it said nothing");
        assert!(ServerProcess::start(Path::new("/nowhere/program"), &[], &data).await.is_err());
    }
}
