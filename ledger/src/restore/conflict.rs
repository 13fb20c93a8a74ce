//! The rules by which a restore does not do what it was asked, each with a stable name.

use std::fmt;

/// Why something does not come back, comes back changed, or deserves a look. The names are stable: other people's
/// scripts hang on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The ledger has no event of this account.
    NeverExisted,
    /// The account was never deleted.
    NotDeleted,
    /// The account was deleted, and is back.
    AlreadyLive,
    /// There are events about it that this program cannot read.
    Incomplete,
    /// Another account, or a newer life of the same id, has its place.
    HandleTaken,
    /// The account's history, or its neighbours, changed after the plan was made.
    ChangedSincePlan,
    /// The token's secret was reported as known to others.
    LeakedSince,
    /// The token was revoked before the deletion began.
    RevokedBeforeTheGroup,
    /// The token had ended before the deletion.
    ExpiredBeforeTheGroup,
    /// The token or grant has ended since the deletion.
    ExpiredMeanwhile,
    /// Somebody did something to it after the deletion, which is kept.
    ChangedSince,
    /// Somebody did something to it while the deletion was under way, which is not part of it and is kept.
    OutsideTheGroup,
    /// The ledger met it only when it was taken away, and does not guess what it was.
    UnknownBefore,
    /// The account that answers for it is deleted or disabled.
    OwnerLeft,
    /// What it lives in is deleted.
    ParentGone,
    /// A newer token of the family exists.
    NewerTokenInFamily,
    /// The platform said that it keeps what is needed to undo the deletion only until a time that is over.
    RetentionOver,
}

impl Reason {
    /// The name, such as `leaked_since`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NeverExisted => "never_existed",
            Self::NotDeleted => "not_deleted",
            Self::AlreadyLive => "already_live",
            Self::Incomplete => "incomplete",
            Self::HandleTaken => "handle_taken",
            Self::ChangedSincePlan => "changed_since_plan",
            Self::LeakedSince => "leaked_since",
            Self::RevokedBeforeTheGroup => "revoked_before_the_group",
            Self::ExpiredBeforeTheGroup => "expired_before_the_group",
            Self::ExpiredMeanwhile => "expired_meanwhile",
            Self::ChangedSince => "changed_since",
            Self::OutsideTheGroup => "outside_the_group",
            Self::UnknownBefore => "unknown_before",
            Self::OwnerLeft => "owner_left",
            Self::ParentGone => "parent_gone",
            Self::NewerTokenInFamily => "newer_token_in_family",
            Self::RetentionOver => "retention_over",
        }
    }

    /// Whether an account does not come back at all for this reason.
    #[must_use]
    pub fn blocks(self) -> bool {
        matches!(
            self,
            Self::NeverExisted
                | Self::NotDeleted
                | Self::AlreadyLive
                | Self::Incomplete
                | Self::HandleTaken
                | Self::ChangedSincePlan
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A rule that applies to a restore.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// Which rule.
    pub reason: Reason,
    /// What it is about: `account`, `token/ID`, `grant/ID`, `consumer/ID`, `handle`, ...
    pub what: String,
    /// A sentence for people: what it means, and what to do where something can be done.
    pub detail: String,
}

impl Conflict {
    pub(super) fn new(reason: Reason, what: impl fmt::Display, detail: impl Into<String>) -> Self {
        Self { reason, what: what.to_string(), detail: detail.into() }
    }

    /// Whether the account does not come back at all.
    #[must_use]
    pub fn blocks(&self) -> bool {
        self.reason.blocks()
    }
}
