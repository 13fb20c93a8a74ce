//! The seam to storage. The log, the snapshots and the index of event ids touch files only through here, so that
//! tests can fail any call, or pull the plug between any two.

mod real;
#[doc(hidden)]
pub mod testing;

use std::io;
use std::path::Path;
use std::sync::Arc;

pub use real::RealDisk;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// It exists, and is only read.
    Read,
    /// It exists, and is read and written.
    Write,
    /// It does not exist yet (`AlreadyExists` otherwise); it is made with mode 0600, and read and written.
    New,
}

/// A directory tree. Names become durable by [`Disk::sync_dir`], contents by [`DiskFile::sync`].
///
/// A failed call leaves open whether its effect happened, and whether it will survive a crash.
pub trait Disk: Send + Sync + 'static {
    /// Opens a file.
    ///
    /// # Errors
    /// As the operating system says.
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>>;
    /// The names in a directory, sorted; empty where there is no such directory.
    ///
    /// # Errors
    /// As the operating system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Makes a directory and those above it, with mode 0700, and makes their names durable; no error where it exists.
    ///
    /// # Errors
    /// As the operating system says.
    fn make_dir(&self, dir: &Path) -> io::Result<()>;
    /// Renames a file within its directory, over an older one if there is one.
    ///
    /// # Errors
    /// As the operating system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    ///
    /// # Errors
    /// As the operating system says.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// As the operating system says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// Replaces a whole file, or makes it: whoever reads it, also after a crash, finds the old contents or the new ones. It is
/// durable when this returns. A file beside it, named `*.tmp`, holds what is being written.
///
/// # Errors
/// As the operating system says; which of the contents it has then is not known.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut next = path.as_os_str().to_owned();
    next.push(".tmp");
    let next = Path::new(&next);
    match disk.remove(next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.open(next, Open::New)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    disk.rename(next, path)?;
    disk.sync_dir(dir)
}

/// An open file. Reads and writes name their offset; there is no cursor.
#[expect(clippy::len_without_is_empty, reason = "a file is asked for its length, never whether it has one")]
pub trait DiskFile: Send + Sync + 'static {
    /// Its length in bytes.
    ///
    /// # Errors
    /// As the operating system says.
    fn len(&self) -> io::Result<u64>;
    /// Reads up to `buffer.len()` bytes; fewer only at the end of the file.
    ///
    /// # Errors
    /// As the operating system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// As the operating system says; some of the bytes may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Cuts or extends the file.
    ///
    /// # Errors
    /// As the operating system says.
    fn set_len(&self, bytes: u64) -> io::Result<()>;
    /// Makes contents and length durable (`fdatasync`).
    ///
    /// # Errors
    /// As the operating system says; then nothing is known about what is durable.
    fn sync(&self) -> io::Result<()>;
}
