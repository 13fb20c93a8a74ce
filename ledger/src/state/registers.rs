//! What is not about one account: policies, runs, plans, and how far each emitter has counted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::event::{AccountId, Event, Fact, Namespace, PolicyMode, Recorded, RolloutStage, RunId, Text};
use crate::types::{Emitter, Position, Time};

/// One execution of an automated job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The job.
    pub job: Text,
    /// When it began.
    pub started_at: Time,
    /// When it ended.
    pub finished_at: Option<Time>,
}

/// A plan of a restore, as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Hash of everything that it says.
    pub hash: [u8; 32],
    /// The last position that it knows of.
    pub pinned: Position,
    /// The accounts.
    pub accounts: Vec<AccountId>,
    /// How far before a deletion its group may reach.
    pub window_seconds: u32,
    /// Where it was recorded.
    pub position: Position,
    /// Where it was completed.
    pub completed: Option<Position>,
}

/// How far an emitter has counted its events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmitterProgress {
    /// The highest number seen.
    pub last: u64,
    /// How many numbers below it have not been seen.
    pub missing: u64,
}

/// Policies, runs, roll-outs, plans and emitters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registers {
    policies: BTreeMap<Option<Namespace>, PolicyMode>,
    runs: BTreeMap<RunId, Run>,
    rollouts: BTreeMap<Text, RolloutStage>,
    plans: BTreeMap<Uuid, Plan>,
    emitters: BTreeMap<Emitter, EmitterProgress>,
}

/// Whether an event changes the registers at all.
pub(super) fn concerns(event: &Event) -> bool {
    event.account.is_none() || event.emitter_sequence.is_some()
}

impl Registers {
    /// How broken rules are treated in a namespace.
    #[must_use]
    pub fn mode(&self, namespace: Option<&Namespace>) -> PolicyMode {
        if self.policies.is_empty() {
            return PolicyMode::default();
        }
        let own = namespace.and_then(|n| self.policies.get(&Some(n.clone())));
        own.or_else(|| self.policies.get(&None)).copied().unwrap_or_default()
    }

    /// A run.
    #[must_use]
    pub fn run(&self, run: &RunId) -> Option<&Run> {
        self.runs.get(run)
    }

    /// How far a job may go; a job without a stage is not held back.
    #[must_use]
    pub fn rollout(&self, job: &Text) -> Option<&RolloutStage> {
        self.rollouts.get(job)
    }

    /// A plan.
    #[must_use]
    pub fn plan(&self, plan: &Uuid) -> Option<&Plan> {
        self.plans.get(plan)
    }

    /// How far each emitter that counts has counted.
    pub fn emitters(&self) -> impl Iterator<Item = (&Emitter, &EmitterProgress)> {
        self.emitters.iter()
    }

    pub(super) fn apply(&mut self, recorded: &Recorded) {
        self.count(&recorded.event);
        let at = recorded.event.occurred_at;
        match &recorded.event.fact {
            Fact::PolicyChanged { namespace, mode } => {
                self.policies.insert(namespace.clone(), *mode);
            }
            Fact::RolloutStageChanged { job, stage, .. } => {
                self.rollouts.insert(job.clone(), stage.clone());
            }
            Fact::RunStarted { run, job } => {
                self.runs.entry(run.clone()).or_insert_with(|| Run {
                    job: job.clone(),
                    started_at: at,
                    finished_at: None,
                });
            }
            Fact::RunFinished { run, .. } => {
                if let Some(run) = self.runs.get_mut(run) {
                    run.finished_at = Some(at);
                }
            }
            Fact::RestorePlanned { plan, hash, pinned, accounts, window_seconds } => {
                self.plans.insert(
                    *plan,
                    Plan {
                        hash: *hash,
                        pinned: *pinned,
                        accounts: accounts.clone(),
                        window_seconds: *window_seconds,
                        position: recorded.position,
                        completed: None,
                    },
                );
            }
            Fact::RestoreCompleted { plan, .. } => {
                if let Some(plan) = self.plans.get_mut(plan) {
                    plan.completed.get_or_insert(recorded.position);
                }
            }
            _ => {}
        }
    }

    fn count(&mut self, event: &Event) {
        let Some(number) = event.emitter_sequence else { return };
        match self.emitters.get_mut(&event.emitter) {
            None => {
                self.emitters.insert(event.emitter.clone(), EmitterProgress { last: number, missing: 0 });
            }
            Some(progress) if number > progress.last => {
                progress.missing = progress.missing.saturating_add(number - progress.last - 1);
                progress.last = number;
            }
            // An older number fills a gap: each number is sent once, since repeated events are recorded once.
            Some(progress) => progress.missing = progress.missing.saturating_sub(1),
        }
    }
}
