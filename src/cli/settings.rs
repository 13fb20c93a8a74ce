//! Where settings come from: flags, then the environment, then a file, then what the program takes by itself.
//!
//! The file's values become the flags' defaults before the command line is read, so that the order holds by itself and
//! `--help` shows what would be used.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory};
use serde::Serialize;

use super::Cli;
use super::exit::{Exit, Failure};
use super::print::{Printer, Shown};

/// The environment variable that names the file.
const FILE_VARIABLE: &str = "TOKENLEDGER_CONFIG";

/// What may stand in the file, and the subcommand that it is for; `None`: every one.
const NAMES: &[(&str, Option<&str>)] = &[
    ("server", None),
    ("ledger", None),
    ("output", None),
    ("color", None),
    ("data", Some("serve")),
    ("listen", Some("serve")),
    ("metrics", Some("serve")),
    ("log-format", Some("serve")),
    ("scrub-rate", Some("serve")),
    ("pack", Some("serve")),
    ("key", Some("serve")),
    ("checkpoint-every", Some("serve")),
    ("anchor", Some("serve")),
];

/// A file's settings: names and values, as they would stand behind a flag.
pub type FileValues = Vec<(String, String)>;

/// The settings of the file that the command line or the environment names; none where neither does.
///
/// # Errors
/// Where it cannot be read, is no TOML, or holds a name that is not known.
pub fn from_file(arguments: &[OsString]) -> Result<FileValues, Failure> {
    match file(arguments).or_else(|| std::env::var_os(FILE_VARIABLE).map(PathBuf::from)) {
        Some(path) if !path.as_os_str().is_empty() => read(&path),
        _ => Ok(Vec::new()),
    }
}

/// The file behind `--config`. Found before the command line is read, since it decides how that is read.
fn file(arguments: &[OsString]) -> Option<PathBuf> {
    flag(arguments, "--config").map(PathBuf::from)
}

/// What stands behind a flag on the command line itself, if it stands there.
#[must_use]
pub fn flag(arguments: &[OsString], name: &str) -> Option<OsString> {
    let mut words = arguments.iter().take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        if word == name {
            return words.next().cloned();
        }
        let value = word.to_str().and_then(|word| word.strip_prefix(name)?.strip_prefix('='));
        if let Some(value) = value {
            return Some(value.into());
        }
    }
    None
}

fn read(path: &Path) -> Result<FileValues, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| Failure::Usage(format!("{}: {e}; name another with --config", path.display())))?;
    parse(&text).map_err(|why| Failure::Usage(format!("{}: {why}", path.display())))
}

fn parse(text: &str) -> Result<FileValues, String> {
    let table: toml::Table = toml::from_str(text).map_err(|e| e.message().replace('\n', " "))?;
    table.into_iter().map(|(name, value)| setting(name, &value)).collect()
}

fn setting(name: String, value: &toml::Value) -> Result<(String, String), String> {
    let known: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
    if !known.contains(&name.as_str()) {
        return Err(format!("`{name}` is no setting; there are {}", known.join(", ")));
    }
    match value {
        toml::Value::String(text) => Ok((name, text.clone())),
        _ => Err(format!("`{name}` must be a text in quotes")),
    }
}

/// The command line with the file's values as defaults.
#[must_use]
pub fn command(values: &FileValues) -> clap::Command {
    let mut command = Cli::command();
    for (name, value) in values {
        let scope = NAMES.iter().find(|(known, _)| known == name).and_then(|(_, scope)| *scope);
        let preset = |arg: clap::Arg| arg.default_value(value.clone()).required(false);
        command = match scope {
            None => command.mut_arg(id_of(name), preset),
            Some(scope) => command.mut_subcommand(scope, |sub| sub.mut_arg(id_of(name), preset)),
        };
    }
    command
}

/// Under which name the flag of a setting is known to the parser.
fn id_of(name: &str) -> String {
    name.replace('-', "_")
}

/// Shows the settings that hold, and where each comes from
#[derive(Debug, Args)]
pub struct Config {}

/// A setting that holds.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its name, in the file and (as `--name`) on the command line.
    name: &'static str,
    /// Its value; null where there is none.
    value: Option<String>,
    /// `flag`, `environment`, `file` or `default`.
    source: &'static str,
}

impl Shown for Setting {
    const FIELDS: &'static [&'static str] = &["name", "value", "source"];
    const COLUMNS: &'static [&'static str] = &["setting", "value", "from"];
    fn row(&self) -> Vec<String> {
        vec![self.name.to_owned(), self.value.clone().unwrap_or_default(), self.source.to_owned()]
    }
}

impl Config {
    /// Carries it out.
    ///
    /// # Errors
    /// Where a value is not valid.
    pub fn run(&self, arguments: &[OsString], printer: &mut Printer) -> Result<Exit, Failure> {
        let values = from_file(arguments)?;
        let mut list = printer.list();
        for setting in effective(&values, arguments)? {
            list.push(&setting)?;
        }
        list.end(|_| String::new())?;
        Ok(Exit::Done)
    }
}

fn effective(values: &FileValues, arguments: &[OsString]) -> Result<Vec<Setting>, Failure> {
    let wrong = |e: clap::Error| Failure::Usage(e.to_string().lines().next().unwrap_or_default().to_owned());
    let asked = command(values).try_get_matches_from(arguments).map_err(wrong)?;
    let serve = command(values)
        .mut_subcommand("serve", |serve| serve.mut_arg("data", |data| data.required(false)))
        .try_get_matches_from([OsStr::new("tokenledger"), OsStr::new("serve")])
        .map_err(wrong)?;
    let serve = serve.subcommand_matches("serve");
    let matches = |scope: Option<&str>| if scope.is_none() { Some(&asked) } else { serve };
    Ok(NAMES
        .iter()
        .map(|(name, scope)| found(name, matches(*scope), values.iter().any(|(known, _)| known == name)))
        .collect())
}

fn found(name: &'static str, matches: Option<&ArgMatches>, in_file: bool) -> Setting {
    let id = id_of(name);
    let raw = matches.and_then(|m| m.get_raw(&id)).and_then(|mut values| values.next());
    let source = match matches.and_then(|m| m.value_source(&id)) {
        Some(ValueSource::CommandLine) => "flag",
        Some(ValueSource::EnvVariable) => "environment",
        _ if in_file => "file",
        _ => "default",
    };
    Setting { name, value: raw.map(|value| value.to_string_lossy().into_owned()), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    fn setting_of(name: &str, file: &str, line: &str) -> (Option<String>, &'static str) {
        let values = parse(file).unwrap();
        let settings = effective(&values, &words(line)).unwrap();
        let setting = settings.into_iter().find(|s| s.name == name).unwrap();
        (setting.value, setting.source)
    }

    #[test]
    fn a_flag_beats_the_file_and_the_file_beats_the_default() {
        let file = "server = \"http://file:1\"";
        let flag = setting_of("server", file, "tokenledger --server http://flag:1 config");
        assert_eq!(flag, (Some("http://flag:1".to_owned()), "flag"));
        let from_file = setting_of("server", file, "tokenledger config");
        assert_eq!(from_file, (Some("http://file:1".to_owned()), "file"));
        let default = setting_of("server", "", "tokenledger config");
        assert_eq!(default, (Some("http://127.0.0.1:7420".to_owned()), "default"));
    }

    #[test]
    fn the_servers_directory_can_come_from_the_file() {
        let matches = command(&parse("data = \"/srv/x\"\nlog-format = \"json\"").unwrap())
            .try_get_matches_from(["tokenledger", "serve"])
            .unwrap();
        let serve = matches.subcommand_matches("serve").unwrap();
        assert_eq!(serve.get_one::<PathBuf>("data"), Some(&PathBuf::from("/srv/x")));
        assert_eq!(serve.get_raw("log_format").unwrap().next().unwrap(), "json");
    }

    #[test]
    fn a_name_that_is_no_setting_is_refused_with_those_that_are() {
        let why = parse("serverr = \"x\"").unwrap_err();
        assert!(why.starts_with("`serverr` is no setting; there are server, ledger"), "{why}");
        assert!(parse("listen = 7420").unwrap_err().contains("text in quotes"));
        assert!(parse("= 3").is_err());
    }

    #[test]
    fn the_file_is_found_wherever_its_flag_stands() {
        let path = Some(PathBuf::from("a.toml"));
        assert_eq!(file(&words("tokenledger --config a.toml serve")), path);
        assert_eq!(file(&words("tokenledger serve --config=a.toml")), path);
        assert_eq!(file(&words("tokenledger append -- --config a.toml")), None);
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let why = from_file(&words("tokenledger --config /nowhere/a.toml")).unwrap_err();
        assert!(matches!(&why, Failure::Usage(line) if line.starts_with("/nowhere/a.toml: ")), "{why}");
    }
}
