//! The command line: one file per subcommand. `docs/cli.md` is its handbook; shapes and exit codes are a promise.

pub mod connect;
pub mod exit;
pub mod moment;
pub mod print;
pub mod settings;
pub mod vkeys;

pub mod account;
pub mod append;
pub mod audit;
pub mod bench;
pub mod completions;
pub mod deletions;
pub mod dev;
pub mod events;
pub mod export;
pub mod health;
pub mod import;
pub mod key;
pub mod ledgers;
pub mod log;
pub mod proof;
pub mod rebuild;
pub mod restore;
pub mod serve;
pub mod token;
pub mod verify;
pub mod witness;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, FromArgMatches, Parser, Subcommand};
use ledger::types::LedgerName;

use exit::{Exit, Failure};
use print::{ColorWhen, Format, Printer};

/// An event-sourced audit ledger for machine credentials.
///
/// Records the life of tokens, bots and service accounts, answers questions about any moment of it, and brings deleted
/// accounts back. To see it work: `tokenledger dev`.
#[derive(Debug, Parser)]
#[command(name = "tokenledger", version, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 usage, 3 verification failed, 4 not found.";

/// What holds for every subcommand.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// The server to ask
    #[arg(long, global = true, value_name = "URL", env = "TOKENLEDGER_SERVER", default_value = connect::DEFAULT_SERVER)]
    pub server: String,
    /// The ledger to ask for
    #[arg(long, global = true, value_name = "NAME", env = "TOKENLEDGER_LEDGER", default_value = "default")]
    pub ledger: LedgerName,
    /// In which form to print
    #[arg(short, long, global = true, value_enum, env = "TOKENLEDGER_OUTPUT", default_value = "table")]
    pub output: Format,
    /// When to use colours
    #[arg(long, global = true, value_enum, env = "TOKENLEDGER_COLOR", default_value = "auto")]
    pub color: ColorWhen,
    /// A file with settings, in TOML
    #[arg(long, global = true, value_name = "FILE", env = "TOKENLEDGER_CONFIG")]
    pub config: Option<PathBuf>,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
enum Command {
    Dev(dev::Dev),
    Serve(serve::Serve),
    Import(import::Import),
    Append(append::Append),
    Export(export::Export),
    Events(events::Events),
    Account(account::Accounts),
    Token(token::Tokens),
    Deletions(deletions::Deletions),
    Restore(restore::Restore),
    Verify(verify::Verify),
    Proof(proof::Proofs),
    Audit(audit::Audit),
    Key(key::Keys),
    Witness(witness::Witness),
    Ledgers(ledgers::Ledgers),
    Log(log::Log),
    Rebuild(rebuild::Rebuild),
    Bench(bench::Bench),
    Health(health::Health),
    Config(settings::Config),
    Completions(completions::Completions),
}

/// Reads the command line, carries it out, and says how it ended.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let parsed = settings::from_file(&arguments).map(|values| parse(&values, &arguments));
    match parsed {
        Err(failure) => exit::end(&Err(failure)),
        Ok(Err(usage)) => told(&usage),
        Ok(Ok(cli)) => exit::end(&block_on(cli, &arguments)),
    }
}

/// Reads a command line.
///
/// # Errors
/// What is wrong with it; also where only help was asked for.
pub fn parse(values: &settings::FileValues, arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let matches = settings::command(values).try_get_matches_from(arguments)?;
    Cli::from_arg_matches(&matches)
}

/// Help goes to the standard output, complaints to standard error; nobody may be there to read them.
fn told(usage: &clap::Error) -> ExitCode {
    let _ = usage.print();
    ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2))
}

fn block_on(cli: Cli, arguments: &[OsString]) -> Result<Exit, Failure> {
    let one_thread = matches!(&cli.command, Command::Bench(bench) if bench.on_one_thread());
    let mut runtime = match one_thread {
        true => tokio::runtime::Builder::new_current_thread(),
        false => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = runtime
        .enable_all()
        .build()
        .map_err(|e| Failure::Failed(format!("the program cannot start its threads: {e}")))?;
    let mut printer = Printer::stdout(&cli.global);
    let result = runtime.block_on(run(cli, arguments, &mut printer));
    // A thread may wait for input that never comes.
    runtime.shutdown_background();
    result
}

/// Carries a command out.
///
/// # Errors
/// Why it could not be.
pub async fn run(cli: Cli, arguments: &[OsString], printer: &mut Printer) -> Result<Exit, Failure> {
    let Cli { global, command } = cli;
    match command {
        Command::Dev(dev) => Box::pin(dev.run(&global, printer)).await,
        Command::Serve(serve) => serve.run().await,
        Command::Import(import) => import.run(&global, printer).await,
        Command::Append(append) => append.run(&global, printer).await,
        Command::Export(export) => export.run(&global).await,
        Command::Events(events) => events.run(&global, printer).await,
        Command::Account(account) => account.run(&global, printer).await,
        Command::Token(token) => token.run(&global, printer).await,
        Command::Deletions(deletions) => deletions.run(&global, printer).await,
        Command::Restore(restore) => restore.run(&global, printer).await,
        Command::Verify(verify) => verify.run(printer),
        Command::Proof(proof) => proof.run(&global, printer).await,
        Command::Audit(audit) => audit.run(&global, printer).await,
        Command::Key(key) => key.run(&global, printer),
        Command::Witness(witness) => witness.run().await,
        Command::Ledgers(ledgers) => ledgers.run(&global, printer).await,
        Command::Log(log) => log.run(&global, printer),
        Command::Rebuild(rebuild) => rebuild.run(&global, printer).await,
        Command::Bench(bench) => bench.run(&global, arguments, printer).await,
        Command::Health(health) => health.run(&global, printer).await,
        Command::Config(config) => config.run(arguments, printer),
        Command::Completions(completions) => completions.run(printer),
    }
}

#[cfg(test)]
mod tests;
