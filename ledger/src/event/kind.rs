//! The kinds of events by name.

use super::Fact;

macro_rules! kinds {
    ($($name:ident: $pattern:pat,)*) => {
        /// The kind of an event; its name is the same everywhere: in the API, the command line and the exports.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "documented at `Fact`")]
        pub enum Kind { $($name),* }

        impl Kind {
            /// All kinds, in the order of the list.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The name, such as `TokenIssued`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

            /// The kind of a name.
            #[must_use]
            pub fn of_name(name: &str) -> Option<Self> {
                match name { $(stringify!($name) => Some(Self::$name),)* _ => None }
            }
        }

        impl Fact {
            /// Its kind.
            #[must_use]
            pub fn kind(&self) -> Kind {
                match self { $($pattern => Kind::$name),* }
            }
        }
    };
}

kinds! {
    LedgerCreated: Fact::LedgerCreated { .. },
    AccountCreated: Fact::AccountCreated { .. },
    AccountUpdated: Fact::AccountUpdated { .. },
    OwnershipTransferred: Fact::OwnershipTransferred { .. },
    AccountDisabled: Fact::AccountDisabled,
    AccountEnabled: Fact::AccountEnabled,
    AccountDeleted: Fact::AccountDeleted { .. },
    AccountRestored: Fact::AccountRestored { .. },
    LegacyImported: Fact::LegacyImported { .. },
    TokenIssued: Fact::TokenIssued(_),
    TokenRotated: Fact::TokenRotated { .. },
    TokenExpired: Fact::TokenExpired { .. },
    TokenRevoked: Fact::TokenRevoked { .. },
    TokenReinstated: Fact::TokenReinstated { .. },
    TokenUsed: Fact::TokenUsed { .. },
    GrantAdded: Fact::GrantAdded { .. },
    GrantChanged: Fact::GrantChanged { .. },
    GrantRemoved: Fact::GrantRemoved { .. },
    EnforcementChanged: Fact::EnforcementChanged { .. },
    ConsumerDeclared: Fact::ConsumerDeclared { .. },
    ConsumerReleased: Fact::ConsumerReleased { .. },
    RunStarted: Fact::RunStarted { .. },
    RunFinished: Fact::RunFinished { .. },
    PolicyChanged: Fact::PolicyChanged { .. },
    RolloutStageChanged: Fact::RolloutStageChanged { .. },
    DeletionRequested: Fact::DeletionRequested { .. },
    DeletionApproved: Fact::DeletionApproved { .. },
    DeletionRejected: Fact::DeletionRejected { .. },
    RequestRefused: Fact::RequestRefused { .. },
    RestorePlanned: Fact::RestorePlanned { .. },
    RestoreApproved: Fact::RestoreApproved { .. },
    RestoreCompleted: Fact::RestoreCompleted { .. },
    KeyRotated: Fact::KeyRotated { .. },
    CheckpointOverridden: Fact::CheckpointOverridden { .. },
    Opaque: Fact::Opaque,
}

impl Kind {
    /// Whether such events are about one account.
    #[must_use]
    pub fn has_subject(self) -> bool {
        (Self::AccountCreated..=Self::ConsumerReleased).contains(&self)
    }

    /// Whether only the ledger itself writes such events.
    #[must_use]
    pub fn is_ledgers_own(self) -> bool {
        matches!(
            self,
            Self::LedgerCreated
                | Self::RequestRefused
                | Self::RestorePlanned
                | Self::RestoreCompleted
                | Self::KeyRotated
                | Self::CheckpointOverridden
                | Self::Opaque
        )
    }
}
