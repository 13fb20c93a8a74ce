use clap::CommandFactory;

use super::*;

fn commands(command: &clap::Command, path: &str, all: &mut Vec<String>) {
    let subcommands: Vec<&clap::Command> =
        command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help").collect();
    if subcommands.is_empty() {
        all.push(path.to_owned());
    }
    for sub in subcommands {
        commands(sub, &format!("{path} {}", sub.get_name()), all);
    }
}

fn parsed(line: &str) -> Result<Cli, clap::Error> {
    let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
    parse(&Vec::new(), &words)
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn the_handbook_names_every_subcommand_and_every_flag() {
    let book = include_str!("../../docs/cli.md");
    let mut all = Vec::new();
    commands(&Cli::command(), "tokenledger", &mut all);
    assert!(all.len() > 20, "{all:?}");
    for command in &all {
        assert!(book.contains(&format!("`{command}")), "docs/cli.md does not tell of `{command}`");
    }
    for flag in flags(&Cli::command()) {
        assert!(book.contains(&format!("--{flag}")), "docs/cli.md does not tell of --{flag}");
    }
}

fn flags(command: &clap::Command) -> Vec<String> {
    let own = command.get_arguments().filter(|arg| !arg.is_hide_set()).filter_map(|arg| arg.get_long());
    let own: Vec<String> = own.map(ToOwned::to_owned).collect();
    let visible = command.get_subcommands().filter(|sub| !sub.is_hide_set());
    own.into_iter().chain(visible.flat_map(flags)).collect()
}

#[test]
fn the_commands_that_scripts_call_are_understood() {
    for line in [
        "tokenledger serve --data d --listen 127.0.0.1:0",
        "tokenledger serve --data d --listen 127.0.0.1:0 --metrics 127.0.0.1:0 --log-format json --pack off",
        "tokenledger import cloudtrail a b -o json --server http://x:1 --ledger audit",
        "tokenledger import ndjson a.ndjson",
        "tokenledger export ndjson --out a.ndjson",
        "tokenledger append --atomic -",
        "tokenledger events list --account a --actor b --run c --kind d --from 2024-09-11T00:00:00Z --to 2024-09-12T00:00:00Z",
        "tokenledger events get 7",
        "tokenledger events get --emitter e --event-id 3b241101-e2bb-4255-8caf-4136c566a962",
        "tokenledger events tail --from 0",
        "tokenledger account show a --at 7",
        "tokenledger account show a --at 2024-09-11T00:00:00Z --known-at 2024-09-12T00:00:00Z",
        "tokenledger account list",
        "tokenledger account history a",
        "tokenledger token show t",
        "tokenledger deletions find --run r --actor a --from 2024-09-11T00:00:00Z --to 2024-09-12T00:00:00Z",
        "tokenledger restore plan a b --window 30 --by me",
        "tokenledger restore apply p --by me --yes",
        "tokenledger ledgers list",
        "tokenledger ledgers describe",
        "tokenledger health",
        "tokenledger rebuild --ledger audit",
        "tokenledger verify d -o json",
        "tokenledger proof get --ledger l --event 3b241101-e2bb-4255-8caf-4136c566a962 --server http://x:1 --out f",
        "tokenledger proof get --position 7 --out f --key k",
        "tokenledger proof sequence --emitter e --from 1 --to 9 --out f --overwrite",
        "tokenledger proof verify f --key k -o json",
        "tokenledger audit --server http://x:1 --ledger l --state f --key k --key l --evidence e",
        "tokenledger append --receipts d -",
        "tokenledger log inspect d 7 --ledger audit",
        "tokenledger completions bash",
        "tokenledger bench append --clients 64 --connections 4 --batch 100 --duration 5s --floor",
        "tokenledger bench append --clients 64 --stream --duration 5s --server http://x:1",
        "tokenledger config",
        "tokenledger dev --tour",
    ] {
        if let Err(e) = parsed(line) {
            panic!("{line}: {e}");
        }
    }
}

#[test]
fn what_is_called_wrongly_is_a_matter_of_usage() {
    for line in [
        "tokenledger",
        "tokenledger nonsense",
        "tokenledger serve --data d --listen nowhere",
        "tokenledger events list --from yesterday",
        "tokenledger events get",
        "tokenledger account show a --at sometime",
        "tokenledger restore apply p --hash 12",
        "tokenledger bench append --clients 0",
        "tokenledger bench append --batch 10 --stream",
        "tokenledger events list --ledger NOT-A-NAME",
        "tokenledger import cloudtrail",
    ] {
        assert_eq!(parsed(line).unwrap_err().exit_code(), 2, "{line}");
    }
}
