//! The copy of the tree in which bugs are planted.

use std::io;
use std::path::Path;
use std::process::Command;

use super::bugs::{Bug, Change};
use super::{AWAKE, Problem};

/// Where in the copy a bug asks whether it is awake.
const SWITCH_FILE: &str = "ledger/src/lib.rs";
const SWITCH: &str = "
pub(crate) fn planted(name: &str) -> bool {
    std::env::var_os(\"NAME\").is_some_and(|awake| awake == name)
}
";

/// Copies what git tracks, as it stands in the directory now, and builds bugs into it, all of them asleep.
pub(super) fn make(root: &Path, scratch: &Path, bugs: &[Bug]) -> Result<(), Problem> {
    for name in tracked(root)? {
        let from = root.join(&name);
        if !from.is_file() {
            continue;
        }
        let inside: Vec<&Bug> = bugs.iter().filter(|bug| bug.file == name).collect();
        let mut bytes = std::fs::read(from)?;
        if !inside.is_empty() {
            let text = String::from_utf8(bytes).map_err(io::Error::other)?;
            bytes = planted(&text, &inside)?.into_bytes();
        }
        if name == SWITCH_FILE {
            bytes.extend(SWITCH.replace("NAME", AWAKE).into_bytes());
        }
        put(&scratch.join(name), &bytes)?;
    }
    Ok(())
}

fn tracked(root: &Path) -> io::Result<Vec<String>> {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output()?;
    if !output.status.success() {
        return Err(io::Error::other("git does not say what belongs to the tree"));
    }
    let names = String::from_utf8(output.stdout).map_err(io::Error::other)?;
    Ok(names.split_terminator('\0').map(str::to_owned).collect())
}

/// A file that is as it was is left alone, so that nothing is compiled again for it.
fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if std::fs::read(path).is_ok_and(|before| before == bytes) {
        return Ok(());
    }
    path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
    std::fs::write(path, bytes)
}

/// A file's text with bugs in it.
pub(super) fn planted(text: &str, bugs: &[&Bug]) -> Result<String, Problem> {
    let mut places = Vec::new();
    for bug in bugs {
        let found: Vec<usize> = text.match_indices(bug.anchor).map(|(at, _)| at).collect();
        match found[..] {
            [at] => places.push((at, *bug)),
            _ => return Err(Problem::Anchor { bug: bug.name, file: bug.file, found: found.len() }),
        }
    }
    places.sort_unstable_by_key(|(at, _)| *at);
    let (mut changed, mut behind) = (String::new(), 0);
    for (at, bug) in places {
        let between = text.get(behind..at).ok_or(Problem::Overlap { bug: bug.name, file: bug.file })?;
        changed.push_str(between);
        changed.push_str(&change(bug));
        behind = at + bug.anchor.len();
    }
    changed.push_str(text.get(behind..).unwrap_or_default());
    Ok(changed)
}

fn change(bug: &Bug) -> String {
    let (awake, anchor) = (format!("crate::planted({:?})", bug.name), bug.anchor);
    match bug.change {
        Change::Says(other) => format!("(if {awake} {{ {other} }} else {{ {anchor} }})"),
        Change::LeftOut => format!("if !{awake} {{ {anchor} }}"),
        Change::Reads(other) => other.replace("PLANTED", &awake),
    }
}
