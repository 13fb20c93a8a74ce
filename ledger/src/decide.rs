//! From what is asked to what is recorded: the rules and the policy together.

use crate::event::{Annotations, Event, Fact, Namespace, PolicyMode};
use crate::guard::{self, Findings};
use crate::state::{Slot, State, digest};
use crate::types::Time;

/// What becomes of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is recorded, with these remarks.
    Record(Annotations),
    /// It is refused for these reasons.
    Refuse(Findings),
}

/// Decides on an event. `strict` refuses whatever breaks a rule, whatever the policy: so the ledger treats its own
/// restores.
#[must_use]
pub fn decide(state: &State, event: &Event, now: Time, strict: bool) -> Decision {
    let slot = event.account.as_ref().and_then(|id| state.slot(id));
    let findings = guard::judge_slot(state, slot, event, now);
    let enforced = strict || state.mode(namespace_of(slot, event)) == PolicyMode::Enforce;
    if enforced && !findings.is_empty() {
        return Decision::Refuse(findings);
    }
    Decision::Record(annotate(slot, event, now, findings))
}

fn namespace_of<'a>(slot: Option<&'a Slot>, event: &'a Event) -> Option<&'a Namespace> {
    match (&event.fact, slot) {
        (Fact::AccountCreated { namespace, .. } | Fact::LegacyImported { namespace, .. }, _) => {
            namespace.as_ref()
        }
        (_, Some(slot)) => slot.current().namespace.as_ref(),
        _ => None,
    }
}

fn annotate(slot: Option<&Slot>, event: &Event, now: Time, findings: Findings) -> Annotations {
    let mut annotations = Annotations { violations: findings.violations, ..Annotations::default() };
    let Some(slot) = slot else { return annotations };
    annotations.late = event.occurred_at < slot.latest_occurred;
    if matches!(event.fact, Fact::AccountDeleted { .. }) {
        let account = slot.current();
        annotations.digest_before = Some(digest(account));
        annotations.active_tokens =
            u32::try_from(account.active_tokens(event.occurred_at.min(now)).len()).ok();
    }
    annotations
}
