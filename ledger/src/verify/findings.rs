//! What is wrong, in the order in which it was found.

use crate::log::Damage;
use crate::types::Position;

/// The most damages that are listed for one ledger; further ones are counted. A disk full of noise must not fill the
/// memory.
pub(super) const DAMAGE_LISTED_MAX: usize = 100_000;

/// One damage, and how far the log had been read when it was met.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) reached: Position,
    pub(super) damage: Damage,
}

/// The findings of one segment, or of one ledger.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    pub(super) listed: Vec<Finding>,
    pub(super) unlisted: u64,
}

impl Findings {
    pub(super) fn add(&mut self, reached: Position, damage: Damage) {
        if self.listed.len() < DAMAGE_LISTED_MAX {
            self.listed.push(Finding { reached, damage });
        } else {
            self.unlisted += 1;
        }
    }

    pub(super) fn extend(&mut self, other: Self) {
        for finding in other.listed {
            self.add(finding.reached, finding.damage);
        }
        self.unlisted += other.unlisted;
    }
}
