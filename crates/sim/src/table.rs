//! The table of the mutants: which property caught each, and how many seeds that took.

use std::process::ExitCode;

use mutants::Mutant;

use crate::fleet;
use crate::{Arguments, summary::Summary};

/// Runs the seeds with each mutant until it is caught.
///
/// A seed that fails without the mutant too has caught nothing, and is a failure of its own.
pub(crate) fn mutants(arguments: &Arguments) -> ExitCode {
    let (mut missed, mut blamed) = (0, 0);
    println!("| mutant | caught by | scenario | seeds |\n|---|---|---|---|");
    for mutant in Mutant::ALL {
        let arguments = Arguments {
            mutant: Some(mutant.name().to_owned()),
            ..arguments.clone()
        };
        let summary = fleet::run(&arguments, false);
        let row = row(arguments.from, &summary);
        missed += usize::from(row.is_none());
        blamed += summary.failed_anyway().len();
        let row = row.unwrap_or_else(|| format!("**not caught** | | {}", summary.runs()));
        println!("| {} | {row} |", mutant.name());
        for line in anyway(&summary) {
            println!("{line}");
        }
    }
    println!(
        "{} of {} mutants caught",
        Mutant::ALL.len() - missed,
        Mutant::ALL.len()
    );
    ExitCode::from(u8::from(missed + blamed > 0))
}

fn row(from: u64, summary: &Summary) -> Option<String> {
    let caught = summary.first_failure()?;
    let property = &caught.report.failure.as_ref()?.property;
    let seeds = caught.seed.wrapping_sub(from) + 1;
    Some(format!("{property} | {} | {seeds}", caught.scenario))
}

/// A row for each seed that fails without the mutant too.
fn anyway(summary: &Summary) -> Vec<String> {
    let outcomes = summary.failed_anyway().iter();
    let rows = outcomes.map(|outcome| {
        let (seed, scenario) = (outcome.seed, &outcome.scenario);
        let failure = outcome.report.failure.as_ref();
        let property = failure.map_or("", |failure| &failure.property);
        format!("| | {property}, but seed {seed} **fails without it too** | {scenario} | |")
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser as _;
    use sim::run::{Failure, Report};

    use super::*;
    use crate::summary::Outcome;

    fn outcome(seed: u64, property: Option<&str>, fails_anyway: bool) -> Outcome {
        let failure = property.map(|property| Failure {
            property: property.to_owned(),
            detail: String::new(),
            micros: 1,
        });
        Outcome {
            seed,
            scenario: "cuts".to_owned(),
            report: Report {
                failure,
                ..Report::default()
            },
            fails_anyway,
        }
    }

    fn summary(outcomes: impl IntoIterator<Item = Outcome>) -> Summary {
        let mut summary = Summary::new(&Arguments::parse_from(["sim", "--mutants"]));
        for outcome in outcomes {
            summary.add(outcome, Duration::ZERO);
        }
        summary
    }

    #[test]
    fn a_seed_that_fails_without_the_mutant_too_has_caught_nothing() {
        let anyway_only = summary([outcome(5, Some("versions"), true), outcome(6, None, false)]);
        assert_eq!(row(5, &anyway_only), None);
        assert_eq!(anyway_only.failures(), 0);
        let said = anyway(&anyway_only);
        let expected = "| | versions, but seed 5 **fails without it too** | cuts | |";
        assert_eq!(said, [expected]);
    }

    #[test]
    fn the_lowest_seed_that_only_the_mutant_fails_is_the_one_that_caught_it() {
        let caught = [
            outcome(5, Some("versions"), true),
            outcome(9, Some("bounded"), false),
            outcome(7, Some("no-orphans"), false),
        ];
        let row = row(5, &summary(caught));
        assert_eq!(row.as_deref(), Some("no-orphans | cuts | 3"));
    }
}
