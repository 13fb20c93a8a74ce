//! The program `tokenledger`: parse, build, run.

use std::process::ExitCode;

fn main() -> ExitCode {
    tokenledger::cli::main(std::env::args_os())
}
