//! Development tasks that a shell line is too little for: `cargo xtask TASK`.

mod advisories;
mod bench;
mod plant;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use advisories::Network;

const USAGE: &str = "\
Development tasks.

Usage: cargo xtask advisories [--offline]
       cargo xtask bench [--rounds N] [--quick] [--long] [--only NAME,...] [--program PATH]
       cargo xtask plant [NAME...]

  advisories   asks whether a dependency has a known flaw, was yanked or is unmaintained
    --offline  judges by the advisories fetched last time, and fetches none
  bench        measures every promise of docs/performance.md, and fills in its table
    --rounds   how often everything is measured, in turns; medians count (5)
    --quick    only to see that everything works; the page is left alone
    --long     also what takes ten million events
    --only     only these promises, by their names in the table
    --program  measures this program, instead of a release build
  plant        builds bugs into a copy of what verifies, and demands that a test catches each; NAME: only these
";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Task {
    Advisories(Network),
    Bench(bench::Options),
    Plant(Vec<String>),
    Usage,
}

impl Task {
    /// Reads the arguments that follow the program's name; `None` where they ask for nothing that exists.
    fn parse(arguments: &[&str]) -> Option<Self> {
        match arguments {
            ["advisories"] => Some(Self::Advisories(Network::Fetch)),
            ["advisories", "--offline"] => Some(Self::Advisories(Network::Offline)),
            ["bench", options @ ..] => bench::Options::parse(options).map(Self::Bench),
            ["plant", names @ ..] if names.iter().all(|name| !name.starts_with('-')) => {
                Some(Self::Plant(names.iter().map(ToString::to_string).collect()))
            }
            ["help" | "-h" | "--help"] => Some(Self::Usage),
            _ => None,
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match Task::parse(&arguments) {
        Some(Task::Advisories(network)) => advisories(network),
        Some(Task::Bench(options)) => measure(&options),
        Some(Task::Plant(names)) => plant(&names),
        Some(Task::Usage) => say(USAGE, ExitCode::SUCCESS),
        None => say(USAGE, ExitCode::from(2)),
    }
}

fn advisories(network: Network) -> ExitCode {
    match advisories::check(workspace(), network) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => say(&format!("{problem}\n"), ExitCode::FAILURE),
    }
}

/// Fails also where a promise is not kept.
fn measure(options: &bench::Options) -> ExitCode {
    match bench::run(workspace(), options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => say(&format!("{problem}\n"), ExitCode::FAILURE),
    }
}

/// Fails also where a bug survives.
fn plant(names: &[String]) -> ExitCode {
    let told = |text: &str| {
        say(text, ExitCode::SUCCESS);
    };
    match plant::run(workspace(), names, told) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => say(&format!("{problem}\n"), ExitCode::FAILURE),
    }
}

/// The root of the workspace, whatever directory the task is called in.
fn workspace() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// Says it on stderr, for stdout belongs to the tools that a task runs.
fn say(text: &str, exit: ExitCode) -> ExitCode {
    // A closed stderr is no reason to change the answer.
    let _ = std::io::stderr().write_all(text.as_bytes());
    exit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advisories_are_fetched_unless_told_otherwise() {
        assert_eq!(Task::parse(&["advisories"]), Some(Task::Advisories(Network::Fetch)));
        assert_eq!(Task::parse(&["advisories", "--offline"]), Some(Task::Advisories(Network::Offline)));
    }

    #[test]
    fn bugs_are_planted_all_or_by_name() {
        assert_eq!(Task::parse(&["plant"]), Some(Task::Plant(vec![])));
        assert_eq!(Task::parse(&["plant", "a", "b"]), Some(Task::Plant(vec!["a".into(), "b".into()])));
        assert_eq!(Task::parse(&["plant", "--all"]), None);
    }

    #[test]
    fn a_task_or_an_option_that_does_not_exist_is_a_usage_error() {
        for arguments in
            [&[][..], &["advisory"], &["advisories", "--ofline"], &["advisories", "--offline", "x"]]
        {
            assert_eq!(Task::parse(arguments), None, "{arguments:?}");
        }
    }
}
