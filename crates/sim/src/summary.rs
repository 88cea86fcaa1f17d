//! What many runs came to.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use sim::nemesis::Kind;
use sim::run::Report;

use crate::Arguments;

/// One run.
pub(crate) struct Outcome {
    pub(crate) seed: u64,
    pub(crate) scenario: String,
    pub(crate) report: Report,
    /// It fails also without the mutant that it was run with, which has not caught anything then.
    pub(crate) fails_anyway: bool,
}

impl Outcome {
    /// Whether something was violated, and by the mutant if there is one.
    pub(crate) fn is_failure(&self) -> bool {
        self.report.failure.is_some() && !self.fails_anyway
    }
}

/// See the [module](self).
pub(crate) struct Summary {
    mutant: Option<String>,
    from: u64,
    runs: u64,
    micros: u64,
    operations: u64,
    confirmed: u64,
    begun: u64,
    /// The longest that a run took to serve everything again after the last fault, and to come to rest, with its seed.
    worst_served: (u64, u64),
    worst_rested: (u64, u64),
    faults: BTreeMap<String, u64>,
    failed: Vec<Outcome>,
    failed_anyway: Vec<Outcome>,
    took: Duration,
}

impl Summary {
    pub(crate) fn new(arguments: &Arguments) -> Self {
        Self {
            mutant: arguments.mutant.clone(),
            from: arguments.from,
            runs: 0,
            micros: 0,
            operations: 0,
            confirmed: 0,
            begun: 0,
            worst_served: (0, 0),
            worst_rested: (0, 0),
            // Those that never happened are shown, too.
            faults: Kind::ALL
                .iter()
                .map(|kind| (kind.name().to_owned(), 0))
                .collect(),
            failed: Vec::new(),
            failed_anyway: Vec::new(),
            took: Duration::ZERO,
        }
    }

    pub(crate) fn add(&mut self, outcome: Outcome, took: Duration) {
        let report = &outcome.report;
        self.runs += 1;
        self.micros += report.micros;
        self.operations += report.operations;
        self.confirmed += report.confirmed;
        self.begun += report.begun;
        let worse = |worst: &mut (u64, u64), micros| *worst = (*worst).max((micros, outcome.seed));
        worse(&mut self.worst_served, report.served_after);
        worse(&mut self.worst_rested, report.rested_after);
        for (name, count) in &report.faults {
            *self.faults.entry(name.clone()).or_default() += count;
        }
        if outcome.fails_anyway {
            self.failed_anyway.push(outcome);
        } else if outcome.is_failure() {
            self.failed.push(outcome);
        }
        self.took = took;
    }

    pub(crate) fn failures(&self) -> usize {
        self.failed.len()
    }

    pub(crate) fn runs(&self) -> u64 {
        self.runs
    }

    /// The failure of the lowest seed.
    pub(crate) fn first_failure(&self) -> Option<&Outcome> {
        self.failed.iter().min_by_key(|outcome| outcome.seed)
    }

    /// The runs that have failed, and do so without the mutant too.
    pub(crate) fn failed_anyway(&self) -> &[Outcome] {
        &self.failed_anyway
    }

    /// What a run has violated, and the command that repeats it. Empty if nothing.
    pub(crate) fn violation(&self, outcome: &Outcome) -> String {
        let Some(failure) = &outcome.report.failure else {
            return String::new();
        };
        let mutant = match &self.mutant {
            Some(mutant) => format!(" --mutant {mutant}"),
            None => String::new(),
        };
        format!(
            "seed {} ({}) violates {} after {:.3} s\n{}\nagain: cargo run -p sim --release -- --from {} --scenario {}{mutant} --trace\n\n",
            outcome.seed,
            outcome.scenario,
            failure.property,
            failure.micros as f64 / 1e6,
            failure.detail,
            outcome.seed,
            outcome.scenario,
        )
    }

    pub(crate) fn progress(&self) -> String {
        let seconds = self.micros as f64 / 1e6;
        let per_minute = seconds / self.took.as_secs_f64().max(0.001) * 60.0;
        format!(
            "{} seeds from {}, {:.2} simulated hours ({per_minute:.0} simulated seconds a minute), {} operations, \
             {} faults, {} failures, serving again after {:.1} s at the most (seed {}), at rest after {:.1} s (seed {})",
            self.runs,
            self.from,
            seconds / 3600.0,
            self.operations,
            self.begun,
            self.failed.len(),
            self.worst_served.0 as f64 / 1e6,
            self.worst_served.1,
            self.worst_rested.0 as f64 / 1e6,
            self.worst_rested.1
        )
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for outcome in &self.failed {
            f.write_str(&self.violation(outcome))?;
        }
        if self.failed.is_empty() {
            writeln!(f, "what went wrong, and how often:")?;
            for (name, count) in &self.faults {
                writeln!(f, "  {count:>9}  {name}")?;
            }
        }
        let seconds = self.micros as f64 / 1e6;
        writeln!(
            f,
            "{}; {:.1} operations ({:.1} confirmed) and {:.2} faults per simulated second",
            self.progress(),
            self.operations as f64 / seconds.max(1.0),
            self.confirmed as f64 / seconds.max(1.0),
            self.begun as f64 / seconds.max(1.0)
        )
    }
}
