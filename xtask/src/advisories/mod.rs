//! Asks cargo-deny whether a dependency has a known flaw.
//!
//! This is apart from the checks of every change, for two reasons: it needs a network beyond the package registry, and
//! its answer changes from day to day though the code does not.

#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The release of cargo-deny whose configuration `deny.toml` is; `.ci/run` installs the same.
pub(crate) const CARGO_DENY_VERSION: &str = "0.20.2";

/// Whether the database of advisories may be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// Fetch the newest; without it nothing is judged.
    Fetch,
    /// Judge by what was fetched last time.
    Offline,
}

/// Why there is no "all is well".
#[derive(Debug)]
pub(crate) enum Problem {
    /// cargo-deny is not installed, or another release of it is.
    Missing,
    /// The database could not be fetched, so nothing was judged.
    NotFetched,
    /// cargo-deny found something, or had no database to judge by, and has said so.
    NotPassed,
    /// cargo-deny could not be started.
    Io(io::Error),
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing => write!(
                f,
                "cargo-deny {CARGO_DENY_VERSION} is not installed: \
                 cargo install --locked cargo-deny --version {CARGO_DENY_VERSION} --root target/tools"
            ),
            Self::NotFetched => f.write_str(
                "the database of advisories could not be fetched, so nothing was checked; \
                 `cargo xtask advisories --offline` judges by the one fetched last time, if there is one",
            ),
            Self::NotPassed => f.write_str(
                "the advisories were not passed: see above; an exception goes into deny.toml with its date and reason",
            ),
            Self::Io(error) => write!(f, "cargo-deny could not be started: {error}"),
        }
    }
}

/// Judges the dependencies of the workspace in `root`.
///
/// # Errors
/// [`Problem`]: never `Ok` unless the advisories were at hand and none applies.
pub(crate) fn check(root: &Path, network: Network) -> Result<(), Problem> {
    let search = std::env::var_os("PATH").unwrap_or_default();
    let program = candidates(root, &search).into_iter().find(|p| has_version(p)).ok_or(Problem::Missing)?;
    judge(network, |arguments| {
        let status = Command::new(&program).args(arguments).current_dir(root).status()?;
        Ok(status.success())
    })
}

/// Where cargo-deny may be, the one that `.ci/run` installs first.
fn candidates(root: &Path, search: &OsStr) -> Vec<PathBuf> {
    std::iter::once(root.join("target/tools/bin"))
        .chain(std::env::split_paths(search))
        .map(|directory| directory.join("cargo-deny"))
        .collect()
}

/// Whether the program is the release that `deny.toml` is written for.
fn has_version(program: &Path) -> bool {
    let output = Command::new(program).arg("--version").output();
    output.is_ok_and(|output| is_expected(&output.stdout))
}

fn is_expected(version: &[u8]) -> bool {
    String::from_utf8_lossy(version).trim() == format!("cargo-deny {CARGO_DENY_VERSION}")
}

/// Fetches where it may, then judges. `succeeds` runs cargo-deny with arguments and says whether it exited with 0.
fn judge(network: Network, mut succeeds: impl FnMut(&[&str]) -> io::Result<bool>) -> Result<(), Problem> {
    // A failed fetch and a found flaw have the same exit code, so they are two calls.
    if network == Network::Fetch && !succeeds(&["--locked", "fetch", "db", "index"]).map_err(Problem::Io)? {
        return Err(Problem::NotFetched);
    }
    match succeeds(&["--locked", "--offline", "check", "advisories"]).map_err(Problem::Io)? {
        true => Ok(()),
        false => Err(Problem::NotPassed),
    }
}
