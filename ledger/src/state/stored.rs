//! A state as a stream of bytes: for snapshots. Small things are in postcard, each with its length before it; tables
//! are their blocks, as they are in memory. The form is a matter of one program with itself.

use std::io::{self, Write};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::accounts::Accounts;
use super::slot::Slot;
use super::table::bytes::put_number;
use super::{Frozen, State};

/// Where a stored state is read from.
pub trait Source {
    /// The next bytes, so many.
    ///
    /// # Errors
    /// Where there are not so many, or they can't be read.
    fn bytes(&mut self, count: usize) -> io::Result<&[u8]>;

    /// The next number: seven bits a byte, the lowest first.
    ///
    /// # Errors
    /// As [`Source::bytes`]; `InvalidData` where it is too large.
    fn number(&mut self) -> io::Result<usize> {
        let mut number = 0_usize;
        for shift in (0..usize::BITS).step_by(7) {
            let [byte] = *self.bytes(1)? else { return Err(malformed("a number")) };
            let bits = usize::from(byte & 0x7f);
            let moved = bits << shift;
            if moved >> shift != bits {
                break;
            }
            number |= moved;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(malformed("a number"))
    }
}

impl Source for &[u8] {
    fn bytes(&mut self, count: usize) -> io::Result<&[u8]> {
        let (bytes, rest) = self.split_at_checked(count).ok_or(io::ErrorKind::UnexpectedEof)?;
        *self = rest;
        Ok(bytes)
    }
}

/// The error of bytes that are not what they should be.
pub(super) fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the bytes are not those of {what}"))
}

fn put(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    let bytes = postcard::to_stdvec(value).map_err(io::Error::other)?;
    put_count(out, bytes.len())?;
    out.write_all(&bytes)
}

fn put_count(out: &mut dyn Write, count: usize) -> io::Result<()> {
    let mut number = Vec::new();
    put_number(&mut number, count);
    out.write_all(&number)
}

fn take<T: DeserializeOwned>(source: &mut impl Source) -> io::Result<T> {
    let length = source.number()?;
    postcard::from_bytes(source.bytes(length)?).map_err(|_| malformed("a part of a state"))
}

impl Frozen {
    /// Writes the state, bit by bit: never the whole of it is in memory twice.
    ///
    /// # Errors
    /// As `out` says.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        put(out, &self.next)?;
        put(out, self.registers.as_ref())?;
        put_count(out, self.accounts.len())?;
        for slot in self.accounts.iter() {
            put(out, slot)?;
            slot.lives().try_for_each(|life| life.write_tables(out))?;
        }
        Ok(())
    }
}

impl State {
    /// A state as [`Frozen::write`] wrote it.
    ///
    /// # Errors
    /// As `source` says; `InvalidData` where the bytes are not those of a state.
    pub fn read(source: &mut impl Source) -> io::Result<Self> {
        let next = take(source)?;
        let registers = Arc::new(take(source)?);
        let mut state = Self { next, registers, ..Self::default() };
        let mut accounts = Accounts::default();
        for _ in 0..source.number()? {
            let mut slot: Slot = take(source)?;
            slot.lives_mut().try_for_each(|life| life.read_tables(source))?;
            state.admit(&mut slot);
            if !accounts.push(slot) {
                return Err(malformed("accounts in order"));
            }
        }
        state.accounts = accounts;
        Ok(state)
    }
}
