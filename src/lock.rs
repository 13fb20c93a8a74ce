//! Files that one process at a time holds.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

use ledger::disk::{Disk, Open};

/// Holds a file, which is made where it is not there, until what is returned is dropped. `None` where another process holds
/// it.
///
/// # Errors
/// As the operating system says.
pub fn hold(disk: &dyn Disk, path: &Path) -> io::Result<Option<File>> {
    // Made through the disk, for its mode; locked as a file, since a lock is not storage.
    match disk.open(path, Open::New) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let file = File::open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
