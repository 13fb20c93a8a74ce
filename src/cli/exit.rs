//! How a command ends: its exit code, and the one line that says why.

use std::io::{self, Write};
use std::process::ExitCode;

/// How a command ended that could say all it had to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything was done.
    Done,
    /// Something of it failed; the output says what.
    Failed,
    /// A log is not what was written.
    Unverified,
    /// What was asked for is not there.
    NotFound,
}

/// Why a command could not be carried out. The text is one line that says what to do next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It failed.
    #[error("{0}")]
    Failed(String),
    /// It was called in a wrong way.
    #[error("{0}")]
    Usage(String),
    /// What was given or found is not what was signed or written.
    #[error("{0}")]
    Unverified(String),
    /// What was asked for is not there.
    #[error("{0}")]
    NotFound(String),
    /// Whoever read the output has gone; that is not an error.
    #[error("the reader of the output is gone")]
    ReaderGone,
}

impl Failure {
    /// A failure that says why.
    #[must_use]
    pub fn because(why: impl ToString) -> Self {
        Self::Failed(why.to_string())
    }

    /// Something about a file or directory failed.
    #[must_use]
    pub fn at(path: &std::path::Path, why: &io::Error) -> Self {
        Self::Failed(format!("{}: {why}", path.display()))
    }
}

impl From<io::Error> for Failure {
    /// Of writing to the output.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::Failed(format!("the output cannot be written: {error}")),
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::from(io::Error::from(error))
    }
}

impl From<csv::Error> for Failure {
    fn from(error: csv::Error) -> Self {
        match error.into_kind() {
            csv::ErrorKind::Io(error) => Self::from(error),
            other => Self::Failed(format!("the output cannot be written as CSV: {other:?}")),
        }
    }
}

/// The exit code of a command; 0 done, 1 failed, 2 usage, 3 verification failed, 4 not found. Other people's scripts
/// hang on these.
#[must_use]
pub fn code(result: &Result<Exit, Failure>) -> u8 {
    match result {
        Ok(Exit::Done) | Err(Failure::ReaderGone) => 0,
        Ok(Exit::Failed) | Err(Failure::Failed(_)) => 1,
        Err(Failure::Usage(_)) => 2,
        Ok(Exit::Unverified) | Err(Failure::Unverified(_)) => 3,
        Ok(Exit::NotFound) | Err(Failure::NotFound(_)) => 4,
    }
}

/// Tells the reader why it failed, if it did, and ends with the right code.
#[must_use]
pub fn end(result: &Result<Exit, Failure>) -> ExitCode {
    match result {
        Ok(_) | Err(Failure::ReaderGone) => {}
        Err(failure) => say(&format!("tokenledger: {failure}")),
    }
    ExitCode::from(code(result))
}

/// Writes a line for the person in front of the terminal. Nobody may be there; that is no error.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::{Exit, Failure, code};
    use std::io;

    #[test]
    fn exit_codes_are_those_that_scripts_hang_on() {
        assert_eq!(code(&Ok(Exit::Done)), 0);
        assert_eq!(code(&Ok(Exit::Failed)), 1);
        assert_eq!(code(&Err(Failure::because("x"))), 1);
        assert_eq!(code(&Err(Failure::Usage(String::new()))), 2);
        assert_eq!(code(&Ok(Exit::Unverified)), 3);
        assert_eq!(code(&Err(Failure::Unverified(String::new()))), 3);
        assert_eq!(code(&Ok(Exit::NotFound)), 4);
        assert_eq!(code(&Err(Failure::NotFound(String::new()))), 4);
    }

    struct Gone;

    impl io::Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_broken_pipe_ends_quietly_and_a_full_disk_does_not() {
        let broken = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(code(&Err(broken)), 0);
        let full = Failure::from(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(code(&Err(full)), 1);
        assert_eq!(code(&Err(Failure::from(serde_json::to_writer(Gone, &1).unwrap_err()))), 0);
    }
}
