//! The program as people run it: a server process on a directory, and commands that ask it.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Clients, check_ledger, roots};

/// The longest that a command takes on a slow machine.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(90);

/// The program, without the settings of whoever runs the tests.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tokenledger"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("TOKENLEDGER_") || matches!(&*text, "NO_COLOR" | "RUST_LOG" | "CLICOLOR_FORCE") {
            command.env_remove(&name);
        }
    }
    command
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    /// It ended with this code.
    #[track_caller]
    pub fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    /// The one value on its standard output.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The values on its standard output, one a line.
    #[track_caller]
    pub fn lines(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect()
    }
}

/// Runs a command to its end.
pub fn say(words: &[&str]) -> Said {
    feed(words, "")
}

/// Runs a command with something on its standard input.
pub fn feed(words: &[&str], input: &str) -> Said {
    finish(program().args(words), input)
}

/// Runs a prepared command to its end.
pub fn finish(command: &mut Command, input: &str) -> Said {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // A command that does not read its input ends first; that is no error.
    let feeding = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let ended = end_in_time(child.id());
    let output = child.wait_with_output().unwrap();
    drop(ended);
    feeding.join().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Kills a command that does not end in time, such as a server that should have refused to start; not once this is
/// dropped.
fn end_in_time(process: u32) -> mpsc::Sender<()> {
    let (ended, wait) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        if wait.recv_timeout(COMMAND_TIME_MAX) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("a command did not end within {COMMAND_TIME_MAX:?}");
            signal("KILL", process);
        }
    });
    ended
}

fn signal(name: &str, process: u32) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {process}")]).status();
    assert!(sent.unwrap().success());
}

/// A server process, on a directory that is removed at the end.
pub struct Served {
    /// Where it answers, as its ready line says.
    pub address: String,
    /// Its ready line.
    pub ready: Value,
    child: Option<Child>,
    stdout: BufReader<ChildStdout>,
    dir: Option<TempDir>,
}

impl Served {
    /// Starts one on a directory of its own.
    pub fn start() -> Self {
        Self::on(tempfile::tempdir().unwrap())
    }

    /// Starts one on the directory of one that is gone.
    pub fn on(dir: TempDir) -> Self {
        let data = data_of(&dir);
        Self::run(dir, &["serve", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()])
    }

    /// Starts one with these words, which serve the data directory within `dir`.
    pub fn run(dir: TempDir, words: &[&str]) -> Self {
        Self::spawn(dir, program().args(words))
    }

    /// Starts one by a prepared command, which serves the data directory within `dir`.
    pub fn spawn(dir: TempDir, command: &mut Command) -> Self {
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(dir.path().join("serve.log")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let log = || std::fs::read_to_string(dir.path().join("serve.log")).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}\n{}", log()));
        assert_eq!(ready["ready"], true, "{line}");
        let address = ready["grpc"].as_str().unwrap().to_owned();
        Self { address, ready, child: Some(child), stdout, dir: Some(dir) }
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        data_of(self.dir.as_ref().unwrap())
    }

    /// What it wrote to its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.as_ref().unwrap().path().join("serve.log")).unwrap()
    }

    pub async fn clients(&self) -> Clients {
        Clients::connect(self.address.parse().unwrap()).await
    }

    /// Asks it by a command, with what is on the standard input.
    pub fn feed(&self, words: &[&str], input: &str) -> Said {
        finish(program().args(words).args(["--server", &format!("http://{}", self.address)]), input)
    }

    /// Asks it by a command.
    pub fn ask(&self, words: &[&str]) -> Said {
        self.feed(words, "")
    }

    /// Asks it by a command that succeeds and prints JSON, and nothing else.
    #[track_caller]
    pub fn json(&self, words: &[&str]) -> Value {
        self.ask(&[words, &["-o", "json"]].concat()).ends(0).json()
    }

    /// Kills it without a warning, as a power cut would.
    pub fn kill(mut self) -> TempDir {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        self.dir.take().unwrap()
    }

    /// Asks it to stop, and waits; says how it ended, and after what time.
    pub fn terminate(&mut self) -> (ExitStatus, Duration) {
        let mut child = self.child.take().unwrap();
        let began = Instant::now();
        signal("TERM", child.id());
        let ended = child.wait().unwrap();
        (ended, began.elapsed())
    }

    /// Asks it to stop; it stops in order and has printed nothing after its ready line.
    pub fn stop(mut self) -> TempDir {
        self.end_in_order();
        self.dir.take().unwrap()
    }

    fn end_in_order(&mut self) {
        let (ended, _) = self.terminate();
        assert!(ended.success(), "{ended}: {}", self.log());
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "nothing but the ready line is on the standard output");
    }

    /// The oracle that ends every test: see [`check_ledger`].
    pub async fn check(mut self) {
        let live = roots(&self.clients().await).await;
        self.end_in_order();
        check_ledger(&self.data(), Some(live)).await;
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.child.take().map(Mortal));
    }
}

/// A process that does not outlive the test that started it, not even one that fails.
pub struct Mortal(pub Child);

impl Drop for Mortal {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The data directory within the one that is removed at the end.
pub fn data_of(dir: &TempDir) -> PathBuf {
    dir.path().join("data")
}

/// Every file below a directory.
pub fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}
