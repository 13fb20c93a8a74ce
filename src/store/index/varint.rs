//! Whole numbers in as few bytes as they need: LEB128, seven bits a byte, lowest first.

/// Appends `value`.
pub(super) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a number off the front of `bytes`; `None` where there is no whole one.
pub(super) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if (bits << shift) >> shift != bits {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Takes a number and as many bytes.
pub(super) fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(take(bytes)?).ok()?;
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

/// Appends the length of `part` and `part`.
pub(super) fn put_bytes(out: &mut Vec<u8>, part: &[u8]) {
    put(out, part.len() as u64);
    out.extend_from_slice(part);
}

#[cfg(test)]
mod tests {
    use super::{put, take};

    #[test]
    fn every_number_is_read_back_as_written_and_a_cut_one_is_not_read() {
        for shift in 0..64 {
            for value in [1_u64 << shift, (1_u64 << shift) - 1, u64::MAX >> shift] {
                let mut bytes = Vec::new();
                put(&mut bytes, value);
                assert_eq!(take(&mut bytes.as_slice()), Some(value));
                assert_eq!(take(&mut &bytes[..bytes.len() - 1]), None);
            }
        }
    }

    #[test]
    fn a_number_of_more_than_64_bits_is_not_read() {
        assert_eq!(take(&mut [0xff; 11].as_slice()), None);
        let mut too_large = [0xff; 10];
        too_large[9] = 0x02;
        assert_eq!(take(&mut too_large.as_slice()), None);
    }
}
