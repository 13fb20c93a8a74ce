//! The table of promises of `docs/performance.md`: runs the product's own benchmark, every command of it in turn, round
//! after round, and says which promises hold.

mod promises;
mod runs;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use promises::{PROMISES, Promise};
use runs::{RUNS, Run, Scale};
use table::{Line, fill};

/// How to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// How often everything is measured; medians count.
    pub(super) rounds: usize,
    /// Only to see that everything works: short and small, and the page is left alone.
    pub(super) quick: bool,
    /// Also what takes ten million events.
    pub(super) long: bool,
    /// Only these promises; empty: all.
    pub(super) only: Vec<String>,
    /// The program to measure; `None`: what a release build makes.
    pub(super) program: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { rounds: 5, quick: false, long: false, only: Vec::new(), program: None }
    }
}

impl Options {
    /// Reads the arguments that follow `bench`; `None` where they make no sense.
    pub(super) fn parse(arguments: &[&str]) -> Option<Self> {
        let mut options = Self::default();
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            match *word {
                "--quick" => options.quick = true,
                "--long" => options.long = true,
                "--rounds" => {
                    options.rounds = words.next()?.parse().ok().filter(|rounds| *rounds > 0)?;
                }
                "--only" => options.only.extend(words.next()?.split(',').map(str::to_owned)),
                "--program" => options.program = Some(words.next()?.into()),
                _ => return None,
            }
        }
        let known = |name: &String| PROMISES.iter().any(|promise| promise.name == name);
        options.only.iter().all(known).then_some(options)
    }

    /// The promises to be measured.
    fn promises(&self) -> Vec<&'static Promise> {
        let chosen = |promise: &&Promise| {
            let named = self.only.iter().any(|name| name == promise.name);
            if self.only.is_empty() { self.long || !promise.long } else { named }
        };
        PROMISES.iter().filter(chosen).collect()
    }
}

/// What the runs of one round said, by name.
type Round = BTreeMap<&'static str, Value>;

/// Measures, and fills in the page. Whether every promise that was measured is kept.
///
/// # Errors
/// Where the product cannot be built, or a file cannot be written.
pub(super) fn run(workspace: &Path, options: &Options) -> Result<bool, String> {
    let program = match &options.program {
        Some(program) => program.clone(),
        None => built(workspace)?,
    };
    let dir = workspace.join("target").join("bench");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).map_err(|e| at(&dir, &e))?;
    let promises = options.promises();
    let rounds = measure(&program, &dir, options, &promises)?;
    let lines: Vec<Line> = promises.iter().map(|promise| promise.line(&rounds)).collect();
    let regime = table::regime(&rounds);
    tell(&format!("{}\n{regime}\n", table::told(&lines)));
    if !options.quick {
        let page = workspace.join("docs").join("performance.md");
        let text = fs::read_to_string(&page).map_err(|e| at(&page, &e))?;
        let order: Vec<&str> = PROMISES.iter().map(|promise| promise.name).collect();
        let text = fill(&text, &order, &lines, &regime)?;
        fs::write(&page, text).map_err(|e| at(&page, &e))?;
    }
    let _ = fs::remove_dir_all(dir.join("data"));
    Ok(lines.iter().all(|line| line.kept == Some(true)))
}

/// All rounds; each run in its turn, so that a slow moment of the machine hits all alike.
fn measure(
    program: &Path,
    dir: &Path,
    options: &Options,
    promises: &[&Promise],
) -> Result<Vec<Round>, String> {
    let needed = |run: &&Run| promises.iter().any(|promise| promise.runs.contains(&run.name));
    let runs: Vec<&Run> = RUNS.iter().filter(needed).collect();
    let scale = if options.quick { Scale::Quick } else { Scale::Whole };
    let mut rounds: Vec<Round> = Vec::new();
    for number in 0..options.rounds {
        let mut round = Round::new();
        for run in &runs {
            tell(&format!("round {} of {}: {}\n", number + 1, options.rounds, run.name));
            match (run.arguments)(scale, &dir.join("data"), &round).and_then(|words| said(program, &words)) {
                Ok(Some(value)) => drop(round.insert(run.name, value)),
                Ok(None) => {}
                Err(why) => tell(&format!("  failed: {why}\n")),
            }
        }
        rounds.push(round);
        save(dir, &runs, &rounds)?;
    }
    Ok(rounds)
}

/// What one run of the benchmark prints; nothing where it is left out.
fn said(program: &Path, words: &[String]) -> Result<Option<Value>, String> {
    if words.is_empty() {
        return Ok(None);
    }
    let mut command = Command::new(program);
    command.arg("bench").args(words).args(["-o", "json"]).stdin(Stdio::null());
    let output = command.output().map_err(|e| at(program, &e))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(why.lines().last().unwrap_or("it said nothing").to_owned());
    }
    serde_json::from_slice(&output.stdout).map(Some).map_err(|e| format!("what it printed is no JSON: {e}"))
}

/// Every run's results so far, one file each.
fn save(dir: &Path, runs: &[&Run], rounds: &[Round]) -> Result<(), String> {
    for run in runs {
        let results: Vec<&Value> = rounds.iter().filter_map(|round| round.get(run.name)).collect();
        let file = dir.join(format!("{}.json", run.name));
        let text = serde_json::to_string_pretty(&results).map_err(|e| e.to_string())?;
        fs::write(&file, text).map_err(|e| at(&file, &e))?;
    }
    Ok(())
}

/// Builds the product as it is released.
fn built(workspace: &Path) -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--locked", "-p", "tokenledger"]).current_dir(workspace);
    let built = command.status().map_err(|e| format!("cargo: {e}"))?.success();
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    if built { Ok(target.join("release").join("tokenledger")) } else { Err("the build failed".to_owned()) }
}

fn at(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

/// Progress is for people, so it goes to stderr.
fn tell(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests;
