//! Plants bugs in a copy of what verifies, one at a time, and demands that a test catches each. A verifier that accepts too
//! much passes every test that shows it only what is sound; this shows that the others are there.
//!
//! All bugs are built into one copy of the tree, asleep until the environment names one of them: so the copy is compiled once,
//! and each bug costs only the run of a few tests.

mod bugs;
mod copy;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use bugs::{BUGS, Bug};

/// Names the bug that is awake, in the copy.
const AWAKE: &str = "TOKENLEDGER_PLANTED";
/// A bug with which a test goes on for ever is caught by nobody.
const TESTS_TIME_MAX: Duration = Duration::from_secs(120);
/// Tests that take seconds each, and catch nothing here that others do not.
const SLOW: &[&str] = &["garbled_frames_are_told_apart"];

/// Why nothing could be said about a bug.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The text that a bug changes is there no longer, or more than once.
    Anchor { bug: &'static str, file: &'static str, found: usize },
    /// Two bugs change the same text.
    Overlap { bug: &'static str, file: &'static str },
    /// The copy with all bugs in it does not compile.
    Build(String),
    /// With no bug awake, tests fail already.
    Unplanted(String),
    /// No such bug.
    Unknown(String),
    /// A file or a program failed.
    Io(io::Error),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Anchor { bug, file, found } => write!(
                f,
                "the bug `{bug}` changes a text that is {found} times in {file}, and must be there once: put it right in \
                 xtask/src/plant/bugs.rs"
            ),
            Self::Overlap { bug, file } => {
                write!(f, "the bug `{bug}` changes what another one does, in {file}")
            }
            Self::Build(said) => write!(f, "the copy with the bugs in it does not compile:\n{said}"),
            Self::Unplanted(said) => write!(f, "with no bug awake, tests fail already:\n{said}"),
            Self::Unknown(name) => write!(f, "there is no bug `{name}`"),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

/// Plants the bugs with these names, or all, says of each which test caught it, and whether all were caught.
///
/// # Errors
/// [`Problem`] where that cannot be said.
pub(crate) fn run(root: &Path, names: &[String], mut say: impl FnMut(&str)) -> Result<bool, Problem> {
    let chosen = chosen(names)?;
    let began = Instant::now();
    let program = Program::build(root)?;
    say(&format!("built in {} s\n", began.elapsed().as_secs()));
    let filters: Vec<&str> = chosen.iter().flat_map(|bug| bug.tests).copied().collect();
    match program.test(None, &filters)? {
        Outcome::Passed(tests) if tests > 0 => say(&format!("{:36} {tests} tests pass\n", "(no bug)")),
        Outcome::Caught(tests) => return Err(Problem::Unplanted(tests.join("\n"))),
        other => return Err(Problem::Unplanted(other.told())),
    }
    let mut survived = 0;
    for bug in &chosen {
        let outcome = program.test(Some(bug.name), bug.tests)?;
        survived += usize::from(!matches!(outcome, Outcome::Caught(_)));
        say(&format!("{:36} {}\n", bug.name, outcome.told()));
    }
    let (all, seconds) = (chosen.len(), began.elapsed().as_secs());
    say(&format!("{all} bugs planted, {} caught, {survived} survived, in {seconds} s\n", all - survived));
    Ok(survived == 0)
}

fn chosen(names: &[String]) -> Result<Vec<&'static Bug>, Problem> {
    let unknown = names.iter().find(|name| !BUGS.iter().any(|bug| bug.name == **name));
    match unknown {
        Some(name) => Err(Problem::Unknown(name.clone())),
        None if names.is_empty() => Ok(BUGS.iter().collect()),
        None => Ok(BUGS.iter().filter(|bug| names.iter().any(|name| name == bug.name)).collect()),
    }
}

/// What the tests said of a bug.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// They caught it: these failed.
    Caught(Vec<String>),
    /// So many were run, and passed.
    Passed(usize),
    /// One did not end.
    Hung,
    /// They ended without a word.
    Died,
}

impl Outcome {
    /// Reads what a test program printed.
    fn read(success: bool, printed: &str) -> Self {
        let tests = printed.lines().filter_map(|line| line.strip_prefix("test ")?.rsplit_once(" ... "));
        let (mut failed, mut passed) = (Vec::new(), 0);
        for (name, said) in tests {
            match said {
                "ok" => passed += 1,
                "FAILED" => failed.push(name.to_owned()),
                _ => {}
            }
        }
        match (success, failed.is_empty()) {
            (true, _) => Self::Passed(passed),
            (false, false) => Self::Caught(failed),
            (false, true) => Self::Died,
        }
    }

    fn told(&self) -> String {
        match self {
            Self::Caught(tests) => {
                let more =
                    if tests.len() > 1 { format!(" and {} more", tests.len() - 1) } else { String::new() };
                format!("caught by {}{more}", tests.first().map_or("", String::as_str))
            }
            Self::Passed(tests) => format!("SURVIVED {tests} tests"),
            Self::Hung => "SURVIVED: a test did not end".to_owned(),
            Self::Died => "SURVIVED: the tests died, and none of them failed".to_owned(),
        }
    }
}

/// The tests of crate `ledger`, with all bugs in it.
struct Program {
    tests: PathBuf,
    /// Where they run: the crate's directory in the copy.
    directory: PathBuf,
}

impl Program {
    fn build(root: &Path) -> Result<Self, Problem> {
        let scratch = root.join("target/plant");
        copy::make(root, &scratch, BUGS)?;
        // Beside the other builds, so that what the crate leans on is there already.
        let output = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
            .args(["test", "--package", "ledger", "--lib", "--no-run", "--locked", "--message-format=json"])
            .env("CARGO_TARGET_DIR", root.join("target"))
            // The bugs are tested for moments only: compiling is what takes time.
            .env("CARGO_PROFILE_DEV_OPT_LEVEL", "0")
            .current_dir(&scratch)
            .stdin(Stdio::null())
            .output()?;
        let messages = String::from_utf8_lossy(&output.stdout);
        match messages.lines().filter_map(executable).next_back() {
            Some(tests) if output.status.success() => Ok(Self { tests, directory: scratch.join("ledger") }),
            _ => Err(Problem::Build(errors(&messages, &output.stderr))),
        }
    }

    fn test(&self, awake: Option<&str>, filters: &[&str]) -> io::Result<Outcome> {
        let printed = self.directory.with_file_name("printed");
        let mut command = Command::new(&self.tests);
        command
            .args(filters)
            .args(SLOW.iter().flat_map(|slow| ["--skip", slow]))
            .current_dir(&self.directory)
            .env_remove(AWAKE);
        command.stdin(Stdio::null()).stdout(std::fs::File::create(&printed)?).stderr(Stdio::null());
        if let Some(bug) = awake {
            command.env(AWAKE, bug);
        }
        match status_within(&mut command, TESTS_TIME_MAX)? {
            Some(status) => Ok(Outcome::read(status.success(), &std::fs::read_to_string(printed)?)),
            None => Ok(Outcome::Hung),
        }
    }
}

/// How a program ended; `None` where it took longer than it may, and was ended.
fn status_within(command: &mut Command, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let (mut child, began) = (command.spawn()?, Instant::now());
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if began.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The program that one of cargo's messages tells of.
fn executable(message: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    message.get("executable")?.as_str().map(PathBuf::from)
}

/// What the compiler said, as it would print it.
fn errors(messages: &str, stderr: &[u8]) -> String {
    let rendered = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let message = message.get("message")?;
        (message.get("level")? == "error").then(|| message.get("rendered")?.as_str().map(str::to_owned))?
    };
    let rendered: Vec<String> = messages.lines().filter_map(rendered).collect();
    if rendered.is_empty() { String::from_utf8_lossy(stderr).into_owned() } else { rendered.concat() }
}
