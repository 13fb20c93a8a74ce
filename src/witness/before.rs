//! What witnesses know of ledgers, asked before a server starts with them. A witness that does not answer keeps no server
//! from starting: it is asked again with each checkpoint.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ledger::anchor::{Contradiction, Known};
use ledger::log::LogStore;
use ledger::tiles::TreeStore;
use ledger::types::LedgerName;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::courier::{Asked, Courier, Offer};
use super::policy::Witnesses;
use crate::metrics::Metrics;

/// How long all questions together may take.
const ASK_MAX: Duration = Duration::from_secs(5);

/// A ledger that is about to start.
pub(crate) struct Question {
    /// Its name.
    pub(crate) ledger: LedgerName,
    /// Its log, and the tree over it.
    pub(crate) log: (Arc<dyn LogStore>, Arc<TreeStore>),
    /// A signed checkpoint of it.
    pub(crate) known: Known,
}

/// A witness has cosigned what a ledger does not have.
pub(crate) struct Denial {
    /// The ledger.
    pub(crate) ledger: LedgerName,
    /// The witness' name.
    pub(crate) witness: Arc<str>,
    /// What it was asked to cosign, and refused.
    pub(crate) known: Known,
    /// What it knows instead.
    pub(crate) how: Contradiction,
}

/// Asks all witnesses about all ledgers.
pub(crate) async fn ask(witnesses: &Witnesses, metrics: &Metrics, questions: Vec<Question>) -> Vec<Denial> {
    let until = Instant::now() + ASK_MAX;
    let mut asking = JoinSet::new();
    for Question { ledger, log, known } in questions {
        let note: Arc<[u8]> = known.note.as_bytes().into();
        for (number, witness) in witnesses.all() {
            let name: Arc<str> = witness.key().name().into();
            let offer = Offer { tree: known.checkpoint.tree, note: Arc::clone(&note) };
            let (ledger, log, known) = (ledger.clone(), log.clone(), known.clone());
            let metrics = metrics.of(&ledger);
            let courier = Courier::new((number, witness), ledger.clone(), log, metrics, Some(offer.tree));
            asking.spawn(async move {
                let asked = tokio::time::timeout_at(until, courier.ask(&offer)).await;
                (ledger, name, known, asked.unwrap_or_else(|_| Asked::Silent("it takes too long".to_owned())))
            });
        }
    }
    let (mut denials, mut silent) = (Vec::new(), BTreeMap::<_, (String, usize)>::new());
    while let Some(asked) = asking.join_next().await {
        let Ok((ledger, witness, known, asked)) = asked else { continue };
        match asked {
            Asked::Agrees => {}
            Asked::Denies(how) => denials.push(Denial { ledger, witness, known, how }),
            Asked::Silent(why) => silent.entry(witness).or_insert((why, 0)).1 += 1,
        }
    }
    for (witness, (why, ledgers)) in silent {
        tracing::warn!(
            %witness, ledgers, error = why,
            "a witness could not say before the start what it knows; it is asked again with each checkpoint"
        );
    }
    denials.sort_by(|a, b| (&a.ledger, &a.witness).cmp(&(&b.ledger, &b.witness)));
    denials
}
