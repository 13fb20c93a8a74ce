//! The program `tokenledger`: parse, build, run.

use std::process::ExitCode;

/// An event's texts are allocated by the thread that reads the socket and freed by the one that writes the log, which
/// the system's allocator pays for with locks and with memory that it does not give back (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tokenledger::cli::main(std::env::args_os())
}
