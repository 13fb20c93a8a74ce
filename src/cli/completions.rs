//! `completions`: what a shell needs to complete commands.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use super::exit::{Exit, Failure};
use super::print::Printer;

/// Prints what a shell needs to complete commands and flags
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    /// Carries it out.
    ///
    /// # Errors
    /// Where it cannot be printed.
    pub fn run(&self, printer: &mut Printer) -> Result<Exit, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "tokenledger", &mut script);
        printer.text(String::from_utf8_lossy(&script).trim_end())?;
        Ok(Exit::Done)
    }
}
