use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::binary_harness::{Mortal, program, say};

const ROTATED: usize = 146;
const RIGHTLY_DELETED: usize = 52;

#[test]
fn the_commands_that_dev_prints_bring_the_rotated_bots_back_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let words = ["dev", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    let dev = program().args(words).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut dev = Mortal(dev);
    let mut lines = BufReader::new(dev.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut printed = Vec::new();
    for line in lines.by_ref() {
        printed.push(line.clone());
        if line.contains("Ctrl-C") {
            break;
        }
    }
    let commands: Vec<&str> = printed.iter().filter_map(|l| l.trim().strip_prefix("tokenledger ")).collect();
    // Those begin with a verb and name the server; the line of the story does not.
    let commands: Vec<&str> = commands.into_iter().filter(|c| c.contains("--server")).collect();
    let starting =
        |verb: &str| commands.iter().find(|c| c.starts_with(verb)).unwrap_or_else(|| panic!("{printed:?}"));

    let found = as_printed(starting("deletions find"));
    assert_eq!(found.as_array().unwrap().len(), ROTATED + RIGHTLY_DELETED);
    let hit = |d: &&Value| d["active_tokens"].as_u64().unwrap() > 0;
    let gone: Vec<&Value> = found.as_array().unwrap().iter().filter(hit).collect();
    assert_eq!(gone.len(), ROTATED);
    let customers: std::collections::BTreeSet<&str> =
        gone.iter().map(|d| d["namespace"].as_str().unwrap()).collect();
    assert_eq!(customers.len(), 22);

    let plan = as_printed(starting("restore plan"));
    assert_eq!(plan["items"].as_array().unwrap().len(), ROTATED, "those rightly deleted stay gone");

    let lookup = starting("token lookup");
    assert_eq!(usable(&as_printed(lookup)), json!(false), "the customer's secret does not work yet");
    let receipt = as_printed(starting("restore apply"));
    let items = receipt["items"].as_array().unwrap();
    assert_eq!(items.len(), ROTATED);
    for item in items {
        assert_eq!((&item["outcome"], &item["differences"]), (&json!("restored"), &json!([])), "{item}");
        assert_eq!(item["digest_before"], item["digest_after"]);
    }
    assert_eq!(usable(&as_printed(lookup)), json!(true), "the secret that a customer holds works again");
    assert_eq!(as_printed(starting("proof get"))["kind"], "AccountDeleted");
    assert_eq!(as_printed(starting("proof verify"))["ok"], true);
}

/// Runs a command as it was printed, by a shell's rules of words; only the form of output is added.
fn as_printed(command: &str) -> Value {
    assert!(!command.contains(['\'', '"', '\\', '$']), "plain words: {command}");
    let words: Vec<&str> = command.split(' ').chain(["-o", "json"]).collect();
    say(&words).ends(0).json()
}

fn usable(found: &Value) -> Value {
    let token = if found.is_array() { &found[0] } else { found };
    token["usable"].clone()
}

#[test]
fn the_tour_runs_from_nothing_to_the_restore_by_itself() {
    let said = say(&["dev", "--tour", "--listen", "127.0.0.1:0"]).ends(0);
    for told in [
        "198 of 400",
        "146 bots of 22 customers",
        "$ tokenledger deletions find",
        "$ tokenledger restore apply",
        "$ tokenledger proof verify",
    ] {
        assert!(said.stdout.contains(told), "{told}: {}", said.stdout);
    }
}

#[test]
fn dev_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let words = ["dev", "--tour", "--listen", "127.0.0.1:0"];
    crate::binary_harness::finish(program().args(words).env("TMPDIR", dir.path()), "").ends(0);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
