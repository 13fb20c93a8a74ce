//! The table in the page: lines between two markers.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::Round;
use super::promises::Bound;

/// Where the table begins and ends in the page.
pub(super) const BEGIN: &str = "<!-- filled in by `cargo xtask bench`: begin -->";
pub(super) const END: &str = "<!-- filled in by `cargo xtask bench`: end -->";
const HEAD: &str = "| name | what | promised | measured | lowest to highest | rounds | kept |\n|---|---|---|---|---|---|---|\n";
/// What the line about the disk begins with.
const REGIME: &str = "The disk in these rounds";

/// One promise, and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    pub(super) bound: Bound,
    pub(super) median: Option<f64>,
    pub(super) range: Option<(f64, f64)>,
    pub(super) rounds: usize,
    /// `None`: not measured.
    pub(super) kept: Option<bool>,
}

/// Three digits that count; no more are known.
fn number(value: f64) -> String {
    if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else if value.abs() >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

impl Line {
    fn text(&self) -> String {
        let bound = match self.bound {
            Bound::AtLeast(bound) => format!(">= {bound}"),
            Bound::AtMost(bound) => format!("<= {bound}"),
        };
        let range = self.range.map(|(low, high)| format!("{} to {}", number(low), number(high)));
        let kept = match self.kept {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "not measured",
        };
        format!(
            "| {} | {} | {bound} | {} | {} | {} | {kept} |",
            self.name,
            self.what,
            self.median.map(number).unwrap_or_default(),
            range.unwrap_or_default(),
            self.rounds
        )
    }
}

/// The lines, for a terminal.
pub(super) fn told(lines: &[Line]) -> String {
    lines.iter().fold(HEAD.to_owned(), |mut text, line| {
        let _ = writeln!(text, "{}", line.text());
        text
    })
}

/// In which state the disk was in each round: the median of a write and sync of 4 KiB.
pub(super) fn regime(rounds: &[Round]) -> String {
    let of = |round: &Round| {
        let mut times: Vec<f64> = round
            .values()
            .filter_map(|said| said.pointer("/floor/fdatasync_p50_us").and_then(Value::as_f64))
            .collect();
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).map_or_else(|| "not known".to_owned(), |time| format!("{time:.0}"))
    };
    let times: Vec<String> = rounds.iter().map(of).collect();
    format!("{REGIME}, write and sync of 4 KiB, p50 in us: {}.", times.join(", "))
}

/// The page with these lines in its table; lines of other promises stay as they are.
///
/// # Errors
/// Where the page has not exactly one place for the table.
pub(super) fn fill(page: &str, order: &[&str], lines: &[Line], regime: &str) -> Result<String, String> {
    let (before, rest) = once(page, BEGIN)?;
    let (table, after) = once(rest, END)?;
    let mut by_name: BTreeMap<&str, String> = BTreeMap::new();
    for line in table.lines() {
        let name = line.split('|').nth(1).map_or("", str::trim);
        if order.contains(&name) {
            by_name.insert(name, line.to_owned());
        }
    }
    for line in lines {
        by_name.insert(line.name, line.text());
    }
    // Rounds in which nothing asked the disk say nothing about those in which most figures were measured.
    let asked = regime.rsplit(':').next().is_some_and(|times| times.contains(char::is_numeric));
    let earlier = table.lines().find(|line| line.starts_with(REGIME));
    let regime = earlier.filter(|_| !asked).unwrap_or(regime);
    let mut text = format!("{before}{BEGIN}\n{HEAD}");
    for line in order.iter().filter_map(|name| by_name.get(name)) {
        let _ = writeln!(text, "{line}");
    }
    let _ = write!(text, "\n{regime}\n{END}{after}");
    Ok(text)
}

/// What stands before and behind a marker that stands once.
fn once<'a>(page: &'a str, marker: &str) -> Result<(&'a str, &'a str), String> {
    match page.split_once(marker) {
        Some((before, after)) if !after.contains(marker) => Ok((before, after)),
        Some(_) => Err(format!("the page has the marker `{marker}` more than once")),
        None => Err(format!("the page has no marker `{marker}`")),
    }
}
