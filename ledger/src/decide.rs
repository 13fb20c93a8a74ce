//! From what is asked to what is recorded: the rules and the policy together.

use crate::event::{Annotations, Event, Fact, Namespace, PolicyMode};
use crate::guard::{self, Findings};
use crate::state::{State, digest};
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
    let findings = guard::judge(state, event, now);
    let enforced = strict || state.mode(namespace_of(state, event).as_ref()) == PolicyMode::Enforce;
    if enforced && !findings.is_empty() {
        return Decision::Refuse(findings);
    }
    Decision::Record(annotate(state, event, now, findings))
}

fn namespace_of(state: &State, event: &Event) -> Option<Namespace> {
    let known = event.account.as_ref().and_then(|id| state.slot(id));
    match (&event.fact, known) {
        (Fact::AccountCreated { namespace, .. } | Fact::LegacyImported { namespace, .. }, _) => {
            namespace.clone()
        }
        (_, Some(slot)) => slot.current().namespace.clone(),
        _ => None,
    }
}

fn annotate(state: &State, event: &Event, now: Time, findings: Findings) -> Annotations {
    let mut annotations = Annotations { violations: findings.violations, ..Annotations::default() };
    let Some(slot) = event.account.as_ref().and_then(|id| state.slot(id)) else { return annotations };
    annotations.late = event.occurred_at < slot.latest_occurred;
    if matches!(event.fact, Fact::AccountDeleted { .. }) {
        let account = slot.current();
        annotations.digest_before = Some(digest(account));
        annotations.active_tokens =
            u32::try_from(account.active_tokens(event.occurred_at.min(now)).len()).ok();
    }
    annotations
}
