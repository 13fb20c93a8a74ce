//! Which runs to merge: few runs to ask, at every moment, and each id written not too often.
//!
//! Tables are written in units of equal size. With N units, a row of at most [`SLOTS`] runs has the sizes of N in the
//! combinatorial number system: `N = C(a,3) + C(b,2) + C(c,1)` with a > b > c. Going from N to N + 1 only ever joins
//! neighbours at the new end: the k-binomial transform of J. L. Bentley and J. B. Saxe, "Decomposable searching
//! problems I", J. Algorithms 1, 1980. A run of 286 = C(13,3) units (37 million ids) is left alone for good, as its
//! merge would need its filter a second time in memory.
//!
//! While a large merge goes on its inputs are still asked, and a second row grows behind them. Hence 3 slots: more
//! would copy each id less often (6 slots 4 times, 3 slots 8 times), but 100 million ids must never stand in more
//! than 8 runs, merges under way included, nor take more than 200 MB.

use std::ops::Range;

use super::shelf::Span;

/// The most runs beside the full ones.
pub(super) const SLOTS: u64 = 3;
/// The units of a full run: C(13,3).
pub(super) const RUN_UNITS_MAX: u64 = 286;
/// The most ids of a unit: a full run's numbers must fit in 32 bits.
pub(super) const UNIT_ENTRIES_MAX: usize = 4 * 1024 * 1024;

/// The cheapest merge that is due: the runs to join. Runs within `busy` are being merged already.
///
/// Runs that do not keep to the units (the unit was changed) are left as they are where they cross a boundary of the
/// plan, which at worst doubles their number.
pub(super) fn next_merge(runs: &[Span], busy: &[Span], unit: u64) -> Option<Range<usize>> {
    let units = runs.last()?.last.next().0 / unit.max(1);
    let mut begin = 0;
    let mut due = Vec::new();
    for end in ends(units) {
        let group = within(runs, begin * unit..end * unit);
        begin = end;
        let idle = !runs[group.clone()].iter().any(|run| busy.iter().any(|b| b.contains(*run)));
        if group.len() >= 2 && idle {
            due.push(group);
        }
    }
    due.into_iter().min_by_key(|group| runs[group.clone()].iter().map(|run| run.entries()).sum::<u64>())
}

/// The runs that lie wholly in a stretch of positions.
fn within(runs: &[Span], positions: Range<u64>) -> Range<usize> {
    let first = runs.partition_point(|run| run.first.0 < positions.start);
    let end = runs.partition_point(|run| run.last.0 < positions.end);
    first..end.max(first)
}

/// Where the runs of `units` units should end, in units.
fn ends(units: u64) -> Vec<u64> {
    let full = units / RUN_UNITS_MAX;
    let mut ends: Vec<_> = (1..=full).map(|run| run * RUN_UNITS_MAX).collect();
    let (mut end, mut rest) = (full * RUN_UNITS_MAX, units % RUN_UNITS_MAX);
    for slot in (1..=SLOTS).rev() {
        if rest == 0 {
            break;
        }
        let size = largest_binomial(slot, rest);
        end += size;
        rest -= size;
        ends.push(end);
    }
    ends
}

/// The largest C(n, k) that is at most `limit`, for `limit` of at least 1.
fn largest_binomial(k: u64, limit: u64) -> u64 {
    let (mut n, mut value) = (k, 1);
    loop {
        // C(n+1, k) = C(n, k) · (n+1) / (n+1-k), without remainder.
        let next = value * (n + 1) / (n + 1 - k);
        if next > limit {
            return value;
        }
        (n, value) = (n + 1, next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Position;

    /// Sizes alone: units come in, and merges are done at a pace.
    #[derive(Default)]
    struct Row {
        runs: Vec<Span>,
        merging: Vec<(Span, u64)>,
        copied: u64,
    }

    impl Row {
        fn take_unit(&mut self, unit: u64) {
            let first = self.runs.last().map_or(0, |run| run.last.0 + 1);
            self.runs.push(Span { first: Position(first), last: Position(first + unit - 1) });
        }

        /// Copies at most `budget` records, the shortest merge first. Returns what is left of it.
        fn merge(&mut self, unit: u64, mut budget: u64) -> u64 {
            while budget > 0 {
                let busy: Vec<_> = self.merging.iter().map(|(span, _)| *span).collect();
                if let Some(group) = next_merge(&self.runs, &busy, unit) {
                    let span =
                        Span { first: self.runs[group.start].first, last: self.runs[group.end - 1].last };
                    self.merging.push((span, span.entries()));
                }
                self.merging.sort_by_key(|(_, left)| *left);
                let Some((span, left)) = self.merging.first_mut() else { break };
                let copied = budget.min(*left);
                (budget, *left, self.copied) = (budget - copied, *left - copied, self.copied + copied);
                if *left == 0 {
                    let whole = *span;
                    self.merging.remove(0);
                    let first = self.runs.partition_point(|run| run.first < whole.first);
                    let end = self.runs.partition_point(|run| run.last <= whole.last);
                    self.runs.splice(first..end, [whole]);
                }
            }
            budget
        }
    }

    const UNIT: u64 = 128 * 1024;
    const UNITS_OF_100_M: u64 = 100_000_000 / UNIT + 1;

    /// Brings in 100 million ids, copying at most so many records for each; the most runs, and the most ids in
    /// filters at any time, those of merges under way included.
    fn hundred_million(row: &mut Row, copied_per_id: u64) -> (usize, u64) {
        let (mut runs, mut filtered) = (0, 0);
        for _ in 0..UNITS_OF_100_M {
            row.take_unit(UNIT);
            row.merge(UNIT, copied_per_id.saturating_mul(UNIT));
            let merging: u64 = row.merging.iter().map(|(span, _)| span.entries()).sum();
            let standing: u64 = row.runs.iter().map(|run| run.entries()).sum();
            (runs, filtered) = (runs.max(row.runs.len()), filtered.max(standing + merging));
        }
        assert_eq!(row.runs.iter().map(|run| run.entries()).sum::<u64>(), UNITS_OF_100_M * UNIT);
        (runs, filtered)
    }

    #[test]
    fn a_hundred_million_ids_stand_in_at_most_5_runs_and_are_copied_8_times_on_average() {
        let mut row = Row::default();
        let (runs, _) = hundred_million(&mut row, u64::MAX);
        let copies = row.copied as f64 / (UNITS_OF_100_M * UNIT) as f64;
        println!("at most {runs} runs, each id copied {copies:.1} times");
        assert!(runs <= 5, "{runs} runs");
        assert!(copies <= 8.0, "copied {copies} times");
    }

    #[test]
    fn while_merges_go_on_there_are_at_most_8_runs_and_200_megabytes_of_filters() {
        for copied_per_id in [16, 24, 32, 64, 1000] {
            let (runs, filtered) = hundred_million(&mut Row::default(), copied_per_id);
            let bytes = filtered as f64 * 12.25 / 8.0;
            println!("{copied_per_id} records copied per new id: at most {runs} runs, {bytes:.0} bytes");
            assert!(runs <= 8, "{runs} runs at {copied_per_id}");
            assert!(bytes <= 200e6, "{bytes} bytes at {copied_per_id}");
        }
    }

    #[test]
    fn a_full_run_is_never_merged_again() {
        let mut row = Row::default();
        for _ in 0..RUN_UNITS_MAX * 3 + 100 {
            row.take_unit(1);
            row.merge(1, u64::MAX);
        }
        let sizes: Vec<_> = row.runs.iter().map(|run| run.entries()).collect();
        assert_eq!(sizes[..3], [RUN_UNITS_MAX; 3]);
        assert!(sizes.len() as u64 <= 3 + SLOTS);
    }

    #[test]
    fn the_plan_only_ever_joins_neighbours() {
        for units in 1..1500 {
            let (before, after) = (ends(units), ends(units + 1));
            assert_eq!(after.last(), Some(&(units + 1)));
            assert!(after[..after.len() - 1].iter().all(|end| before.contains(end)), "{before:?} {after:?}");
        }
    }

    #[test]
    fn runs_under_merge_are_left_alone() {
        let runs: Vec<_> = (0..4).map(|n| Span { first: Position(n), last: Position(n) }).collect();
        assert_eq!(next_merge(&runs, &[], 1), Some(0..4));
        let busy = Span { first: Position(0), last: Position(1) };
        assert_eq!(next_merge(&runs, &[busy], 1), None);
        assert_eq!(next_merge(&[], &[], 1), None);
    }
}
