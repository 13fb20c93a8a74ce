//! Entry bundles of C2SP's `tlog-tiles`: up to 256 entries, as they are stored, each behind its length in two bytes, the
//! high one first. The leaf of an entry in the tree is `SHA-256(0x00 || entry)`.

use super::path::WIDTH;

/// No bundle is longer.
pub const BUNDLE_BYTES_MAX: usize = WIDTH as usize * (2 + u16::MAX as usize);

/// Why something is no bundle, or can't be in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBundle {
    /// An entry whose length does not fit into two bytes.
    #[error("an entry of {0} bytes can't stand in a bundle: 65535 is the most")]
    TooLong(usize),
    /// It ends within an entry.
    #[error("the bundle ends within the entry number {0}")]
    Ends(usize),
    /// It has more than 256 entries.
    #[error("the bundle has more than {WIDTH} entries")]
    TooMany,
}

/// Puts an entry behind those of a bundle.
///
/// # Errors
/// [`BadBundle::TooLong`]; the bundle is as it was.
pub fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> Result<(), BadBundle> {
    let length = u16::try_from(entry.len()).map_err(|_| BadBundle::TooLong(entry.len()))?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    Ok(())
}

/// The entries of a bundle.
///
/// # Errors
/// [`BadBundle`] where it is not whole entries, at most 256.
pub fn entries(mut bundle: &[u8]) -> Result<Vec<&[u8]>, BadBundle> {
    let mut entries = Vec::new();
    while !bundle.is_empty() {
        if entries.len() == usize::from(WIDTH) {
            return Err(BadBundle::TooMany);
        }
        let (entry, rest) = first(bundle).ok_or(BadBundle::Ends(entries.len()))?;
        entries.push(entry);
        bundle = rest;
    }
    Ok(entries)
}

fn first(bundle: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bundle.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::ENTRY_BYTES_MAX;

    #[test]
    fn a_bundle_is_its_entries_each_behind_its_length_the_high_byte_first() {
        let mut bundle = Vec::new();
        for entry in [&b"one"[..], b"", &[7; 258]] {
            push_entry(&mut bundle, entry).unwrap();
        }
        assert_eq!(bundle[..7], *b"\x00\x03one\x00\x00");
        assert_eq!(bundle[7..10], [1, 2, 7]);
        assert_eq!(entries(&bundle).unwrap(), [&b"one"[..], b"", &[7; 258]]);
        assert_eq!(entries(b""), Ok(Vec::new()));
    }

    #[test]
    fn every_entry_that_a_ledger_takes_fits_and_a_longer_one_is_refused() {
        let mut bundle = Vec::new();
        push_entry(&mut bundle, &vec![1; ENTRY_BYTES_MAX]).unwrap();
        assert_eq!(bundle.len(), 2 + ENTRY_BYTES_MAX);
        assert_eq!(push_entry(&mut bundle, &vec![1; 65_536]), Err(BadBundle::TooLong(65_536)));
        assert_eq!(bundle.len(), 2 + ENTRY_BYTES_MAX, "nothing was added");
        assert_eq!(entries(&bundle).unwrap()[0].len(), 65_535);
    }

    #[test]
    fn what_ends_within_an_entry_or_has_too_many_is_no_bundle() {
        let mut bundle = Vec::new();
        push_entry(&mut bundle, b"one").unwrap();
        push_entry(&mut bundle, b"two").unwrap();
        for cut in 1..bundle.len() {
            let whole = usize::from(cut >= 5);
            let expected = if cut == 5 { Ok(vec![&b"one"[..]]) } else { Err(BadBundle::Ends(whole)) };
            assert_eq!(entries(&bundle[..cut]), expected, "{cut}");
        }
        assert_eq!(entries(&[0; 2 * 256]).unwrap().len(), 256);
        assert_eq!(entries(&[0; 2 * 257]), Err(BadBundle::TooMany));
    }
}
