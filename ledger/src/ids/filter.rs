//! A run's filter: 12¼ bits a key in memory, which say "certainly not here", or which records to read.
//!
//! Keys are uniform hashes and a run is sorted, so the filter is the sorted list of the keys' leading bits, stored as
//! Elias and Fano store such lists (P. Elias, "Efficient storage and retrieval by content and address of static
//! files", J. ACM 21, 1974). With n keys, `key · n · 2^10 / 2^64` keeps the order; its upper part is one of n buckets,
//! its lower 10 bits are the *remainder*. The buckets are written in unary (a 1 for each key, a 0 behind each bucket),
//! the remainders one after the other. A key that is not in the run shares its bucket with one key on average, and
//! so its remainder by chance with 1 in 1,024. A Bloom filter that errs as rarely takes 14½ bits a key and is filled at
//! random; this one is filled front to back while a merge streams by, and as a hit is the number of a record, a run
//! needs no fences to find its page.

use crate::entry::IdKey;

/// The bits of a remainder: a key that is not there is taken for one that may be with a chance of 2^-10.
pub(super) const REMAINDER_BITS: u32 = 10;
/// How many buckets share one entry in `ranks`.
const BLOCK_BUCKETS: u64 = 128;

/// The words of the remainders and of the buckets of `entries` keys.
pub(super) fn words(entries: u64) -> (usize, usize) {
    let remainders = (entries * u64::from(REMAINDER_BITS)).div_ceil(64);
    (remainders as usize, (2 * entries).div_ceil(64) as usize)
}

/// Bucket and remainder of a key among `entries` keys.
pub(super) fn place(key: IdKey, entries: u64) -> (u64, u64) {
    let value = (u128::from(key.0) * (u128::from(entries) << REMAINDER_BITS)) >> 64;
    let value = value as u64;
    (value >> REMAINDER_BITS, value & ((1 << REMAINDER_BITS) - 1))
}

/// A filter as it is being built, by pushing keys in ascending order.
#[derive(Debug)]
pub(super) struct FilterBuilder {
    entries: u64,
    pushed: u64,
    remainders: Vec<u64>,
    buckets: Vec<u64>,
}

impl FilterBuilder {
    pub(super) fn new(entries: u64) -> Self {
        let (remainders, buckets) = words(entries);
        Self { entries, pushed: 0, remainders: vec![0; remainders], buckets: vec![0; buckets] }
    }

    /// Takes the next key; one too many is left out, which [`FilterBuilder::finish`] notices.
    pub(super) fn push(&mut self, key: IdKey) {
        if self.pushed < self.entries {
            let (bucket, remainder) = place(key, self.entries);
            let bit = bucket + self.pushed;
            self.buckets[(bit / 64) as usize] |= 1 << (bit % 64);
            put_remainder(&mut self.remainders, self.pushed, remainder);
        }
        self.pushed += 1;
    }

    /// The words as they are stored: remainders, then buckets.
    pub(super) fn words(&self) -> impl Iterator<Item = u64> + '_ {
        self.remainders.iter().chain(&self.buckets).copied()
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        8 * (self.remainders.len() + self.buckets.len()) as u64
    }

    /// The filter; `None` if the keys were not as many as announced.
    pub(super) fn finish(self) -> Option<Filter> {
        if self.pushed != self.entries {
            return None;
        }
        Filter::new(self.entries, self.remainders, self.buckets)
    }
}

fn put_remainder(words: &mut [u64], index: u64, remainder: u64) {
    let bit = index * u64::from(REMAINDER_BITS);
    let (word, shift) = ((bit / 64) as usize, bit % 64);
    words[word] |= remainder << shift;
    if shift + u64::from(REMAINDER_BITS) > 64 {
        words[word + 1] |= remainder >> (64 - shift);
    }
}

/// A filter in memory.
#[derive(Debug)]
pub(super) struct Filter {
    entries: u64,
    remainders: Vec<u64>,
    buckets: Vec<u64>,
    /// For every block of buckets, how many keys come before it.
    ranks: Vec<u32>,
}

impl Filter {
    /// From its words; `None` where they are no filter of `entries` keys. Reading them is then safe in bounds.
    pub(super) fn new(entries: u64, remainders: Vec<u64>, buckets: Vec<u64>) -> Option<Self> {
        let ones: u64 = buckets.iter().map(|w| u64::from(w.count_ones())).sum();
        let sized = (remainders.len(), buckets.len()) == words(entries);
        if !sized || ones != entries || u32::try_from(entries).is_err() {
            return None;
        }
        let mut filter = Self { entries, remainders, buckets, ranks: Vec::new() };
        filter.ranks = filter.count_ranks()?;
        Some(filter)
    }

    /// The numbers of the records that may have this key; none: it is certainly not here.
    pub(super) fn matches(&self, key: IdKey) -> std::ops::Range<u64> {
        let (bucket, remainder) = place(key, self.entries);
        let (mut first, end) = self.bucket(bucket);
        while first < end && self.remainder(first) < remainder {
            first += 1;
        }
        let mut last = first;
        while last < end && self.remainder(last) == remainder {
            last += 1;
        }
        first..last
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        8 * (self.remainders.len() + self.buckets.len()) as u64 + 4 * self.ranks.len() as u64
    }

    /// The numbers of the first record of a bucket and of the first behind it.
    fn bucket(&self, bucket: u64) -> (u64, u64) {
        let block = bucket / BLOCK_BUCKETS;
        let rank = self.ranks.get(block as usize).copied().unwrap_or(0);
        let block_bit = u64::from(rank) + block * BLOCK_BUCKETS;
        let first_bit = self.behind_zeros(block_bit, bucket % BLOCK_BUCKETS);
        let zero_bit = self.behind_zeros(first_bit, 1) - 1;
        (first_bit - bucket, (zero_bit - bucket).min(self.entries))
    }

    /// The bit behind the next `zeros` zeros from `bit` on. Beyond the last word are zeros without end.
    fn behind_zeros(&self, mut bit: u64, mut zeros: u64) -> u64 {
        while zeros > 0 {
            let word = self.buckets.get((bit / 64) as usize).copied().unwrap_or(0);
            let mut rest = !word >> (bit % 64);
            let here = u64::from(rest.count_ones());
            if here < zeros {
                zeros -= here;
                bit += 64 - bit % 64;
                continue;
            }
            // Halves the stretch in which the last of them stands until it is one bit.
            let mut width = 32;
            while width > 0 {
                let low = u64::from((rest & ((1 << width) - 1)).count_ones());
                if low < zeros {
                    zeros -= low;
                    rest >>= width;
                    bit += width;
                }
                width /= 2;
            }
            return bit + 1;
        }
        bit
    }

    /// `None` where the buckets do not end where they must.
    fn count_ranks(&self) -> Option<Vec<u32>> {
        let mut ranks = Vec::with_capacity(self.entries.div_ceil(BLOCK_BUCKETS) as usize);
        let (mut bit, mut bucket) = (0, 0);
        while bucket < self.entries {
            ranks.push(u32::try_from(bit - bucket).ok()?);
            let zeros = BLOCK_BUCKETS.min(self.entries - bucket);
            bit = self.behind_zeros(bit, zeros);
            bucket += zeros;
        }
        (bit == 2 * self.entries).then_some(ranks)
    }

    fn remainder(&self, index: u64) -> u64 {
        let bit = index * u64::from(REMAINDER_BITS);
        let (word, shift) = ((bit / 64) as usize, bit % 64);
        let low = self.remainders.get(word).copied().unwrap_or(0) >> shift;
        let high = match shift + u64::from(REMAINDER_BITS) > 64 {
            true => self.remainders.get(word + 1).copied().unwrap_or(0) << (64 - shift),
            false => 0,
        };
        (low | high) & ((1 << REMAINDER_BITS) - 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::key;
    use super::*;

    fn filter(keys: &[IdKey]) -> Filter {
        let mut builder = FilterBuilder::new(keys.len() as u64);
        keys.iter().for_each(|key| builder.push(*key));
        builder.finish().unwrap()
    }

    fn sorted(mut keys: Vec<IdKey>) -> Vec<IdKey> {
        keys.sort_unstable();
        keys
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_filter_names_exactly_the_records_that_share_the_place_of_a_key(
            spread in prop::collection::vec(any::<u64>(), 0..300),
            crowded in prop::collection::vec(0..4000_u64, 0..300),
            asked in any::<u64>(),
        ) {
            // Crowded keys all fall into the first bucket: hundreds of ones without a zero between.
            let keys = sorted(spread.into_iter().chain(crowded).chain([u64::MAX]).map(IdKey).collect());
            let entries = keys.len() as u64;
            let filter = filter(&keys);
            for key in keys.iter().copied().chain([IdKey(asked)]) {
                let here = |i: &u64| place(keys[*i as usize], entries) == place(key, entries);
                let expected: Vec<_> = (0..entries).filter(here).collect();
                prop_assert_eq!(filter.matches(key).collect::<Vec<_>>(), expected);
            }
        }
    }

    #[test]
    fn a_filter_of_many_blocks_names_every_key() {
        let keys = sorted((0..20_000).map(key).collect());
        let filter = filter(&keys);
        for (i, key) in (0..).zip(&keys) {
            assert!(filter.matches(*key).contains(&i));
        }
    }

    #[test]
    fn fewer_keys_or_more_than_announced_make_no_filter() {
        for pushed in [0, 1, 3, 70] {
            let mut builder = FilterBuilder::new(2);
            (0..pushed).for_each(|_| builder.push(IdKey(5)));
            assert!(builder.finish().is_none(), "{pushed} of 2");
        }
    }

    #[test]
    fn words_that_are_no_filter_are_refused() {
        assert!(Filter::new(2, vec![0; 1], vec![0b0101]).is_some());
        for (remainders, buckets) in [
            (vec![0; 1], vec![0b1001]),
            (vec![0; 3], vec![0b1001]),
            (vec![0; 1], vec![0b0101, 0]),
            (vec![0; 1], vec![0b0001]),
            (vec![0; 1], vec![0b0111]),
            (vec![0; 1], vec![0b10_0001]),
            (vec![0; 1], vec![0b1_0101]),
        ] {
            assert!(Filter::new(2, remainders, buckets).is_none());
        }
    }
}
