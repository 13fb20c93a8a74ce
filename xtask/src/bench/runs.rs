//! The commands of the benchmark that one round consists of.

use std::path::Path;

use super::Round;

/// How large everything is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// As the promises have it.
    Whole,
    /// Only to see that it works.
    Quick,
}

impl Scale {
    /// So many events.
    fn events(self, events: u64) -> String {
        let events = if self == Self::Quick { (events / 200).max(1_000) } else { events };
        events.to_string()
    }

    /// How long a load goes on.
    fn time(self) -> &'static str {
        if self == Self::Quick { "500ms" } else { "5s" }
    }

    /// How long a server of ten million events has to pack what is sealed, and to give back what it no longer needs.
    fn settle(self) -> &'static str {
        if self == Self::Quick { "1s" } else { "30s" }
    }

    fn ledgers(self) -> &'static str {
        if self == Self::Quick { "20" } else { "1000" }
    }
}

/// One command: its name, and its arguments, which may hang on what others have said in the same round. Without
/// arguments, it is left out of this round.
pub(super) struct Run {
    pub(super) name: &'static str,
    pub(super) arguments: fn(Scale, &Path, &Round) -> Result<Vec<String>, String>,
}

/// A line of arguments, at blanks.
fn words(line: &str) -> Result<Vec<String>, String> {
    Ok(line.split_ascii_whitespace().map(str::to_owned).collect())
}

/// The same, on a directory that is kept from round to round.
fn kept(line: &str, data: &Path, name: &str) -> Result<Vec<String>, String> {
    let mut words = words(line)?;
    words.extend(["--data".to_owned(), data.join(name).display().to_string()]);
    Ok(words)
}

/// A load beside its floors.
macro_rules! load {
    ($name:literal, $line:literal) => {
        Run {
            name: $name,
            arguments: |scale, _, _| words(&format!("append {} --floor --duration {}", $line, scale.time())),
        }
    };
}

/// The same events into a directory of 100,000 events or of 10 million, which was filled in an earlier run.
fn growth(scale: Scale, data: &Path, name: &str) -> Result<Vec<String>, String> {
    kept(&format!("append --clients 64 --events {}", scale.events(20_000)), data, name)
}

fn filled(scale: Scale, data: &Path, name: &str, events: u64) -> Result<Vec<String>, String> {
    kept(&format!("query history --duration 1s --events {}", scale.events(events)), data, name)
}

/// All commands, in the order in which they take their turns.
pub(super) const RUNS: &[Run] = &[
    load!("unary-1", "--clients 64 --connections 1"),
    load!("unary-4", "--clients 64 --connections 4"),
    load!("batch-100", "--clients 8 --batch 100"),
    load!("batch-1000", "--clients 8 --batch 1000"),
    Run {
        name: "stream",
        arguments: |scale, _, _| words(&format!("append --stream --clients 800 --duration {}", scale.time())),
    },
    load!("alone", "--clients 1"),
    Run {
        name: "half-peak",
        arguments: |scale, _, round| {
            let peak = round.get("unary-1").and_then(|said| said["events_per_s"].as_f64());
            let rate = peak.ok_or("half of the peak is not known, since unary-1 failed")? / 2.0;
            words(&format!("append --rate {rate:.0} --duration {}", scale.time()))
        },
    },
    Run {
        name: "rebuild",
        arguments: |scale, data, _| {
            kept(&format!("rebuild --events {}", scale.events(1_000_000)), data, "million")
        },
    },
    Run {
        name: "verify",
        arguments: |scale, data, _| {
            kept(&format!("verify --rounds 1 --events {}", scale.events(1_000_000)), data, "million")
        },
    },
    Run {
        name: "tail",
        arguments: |scale, data, _| {
            kept(&format!("tail --events {}", scale.events(1_000_000)), data, "million")
        },
    },
    Run {
        name: "history",
        arguments: |scale, data, _| {
            let line =
                format!("query history --duration {} --events {}", scale.time(), scale.events(250_000));
            kept(&line, data, "quarter")
        },
    },
    Run {
        name: "million",
        arguments: |scale, _, _| {
            words(&format!(
                "append --clients 8 --batch 100 --settle 40s --events {}",
                scale.events(1_000_000)
            ))
        },
    },
    Run {
        name: "tokens",
        arguments: |scale, _, _| {
            words(&format!(
                "append --mix tokens --clients 8 --batch 100 --events {}",
                scale.events(1_000_000)
            ))
        },
    },
    Run {
        name: "restart",
        arguments: |scale, data, _| {
            let line = format!("restart --rounds 1 --tail 10000 --events {}", scale.events(3_600_000));
            kept(&line, data, "restart")
        },
    },
    Run {
        name: "proof",
        arguments: |scale, data, _| {
            let events = scale.events(1_000_000);
            let line = format!("proof --rounds 1 --duration {} --events {events}", scale.time());
            kept(&line, data, "signed")
        },
    },
    Run {
        name: "proof-10m",
        arguments: |scale, data, _| {
            let line = format!("proof --rounds 1 --duration 500ms --events {}", scale.events(10_000_000));
            kept(&line, data, "signed-10m")
        },
    },
    Run {
        name: "restore",
        arguments: |scale, _, _| {
            words(&format!("restore --accounts {}", if scale == Scale::Quick { 20 } else { 1_000 }))
        },
    },
    Run {
        name: "audit",
        arguments: |scale, _, _| {
            let line =
                format!("audit --rounds 1 --duration {} --events {}", scale.time(), scale.events(1_000_000));
            words(&line)
        },
    },
    Run {
        name: "ledgers",
        arguments: |scale, _, _| words(&format!("ledgers --ledgers {}", scale.ledgers())),
    },
    // The directory of ten million is made once; what is measured on it adds little.
    Run {
        name: "ten-million",
        arguments: |scale, data, _| {
            if data.join("large").exists() {
                return Ok(Vec::new());
            }
            let line = format!(
                "append --clients 8 --batch 1000 --settle {} --events {}",
                scale.settle(),
                scale.events(10_000_000)
            );
            kept(&line, data, "large")
        },
    },
    Run {
        name: "history-small",
        arguments: |scale, data, _| {
            // Anew in each round, so that it does not grow with the rounds.
            let _ = std::fs::remove_dir_all(data.join("small"));
            filled(scale, data, "small", 100_000)
        },
    },
    Run { name: "history-large", arguments: |scale, data, _| filled(scale, data, "large", 1) },
    Run { name: "growth-small", arguments: |scale, data, _| growth(scale, data, "small") },
    Run { name: "growth-large", arguments: |scale, data, _| growth(scale, data, "large") },
];
