//! The program `tokenledger`: parse, build, run.

use std::process::ExitCode;

/// An event's texts are allocated by the thread that reads the socket and freed by the one that writes the log, which
/// the system's allocator pays for with locks and with memory that it does not give back. This one gives memory back
/// within ten seconds, by a thread of its own, also when nothing happens any more (docs/performance.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // Many systems give huge pages to whoever does not refuse. Each of them is zeroed whole when its first byte is used,
    // on the way of a request, and takes 2 MiB of memory from then on. Where this can't be refused, it is only that.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    tokenledger::cli::main(std::env::args_os())
}
