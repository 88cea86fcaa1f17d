//! The table of the mutants: which property caught each, and how many seeds that took.

use std::process::ExitCode;

use mutants::Mutant;

use crate::fleet;
use crate::{Arguments, summary::Summary};

/// Runs the seeds with each mutant until it is caught.
pub(crate) fn mutants(arguments: &Arguments) -> ExitCode {
    let mut missed = 0;
    println!("| mutant | caught by | scenario | seeds |\n|---|---|---|---|");
    for mutant in Mutant::ALL {
        let arguments = Arguments {
            mutant: Some(mutant.name().to_owned()),
            ..arguments.clone()
        };
        let summary = fleet::run(&arguments, false);
        let row = row(&arguments, &summary);
        missed += usize::from(row.is_none());
        let row = row.unwrap_or_else(|| format!("**not caught** | | {}", summary.runs()));
        println!("| {} | {row} |", mutant.name());
    }
    println!(
        "{} of {} mutants caught",
        Mutant::ALL.len() - missed,
        Mutant::ALL.len()
    );
    ExitCode::from(u8::from(missed > 0))
}

fn row(arguments: &Arguments, summary: &Summary) -> Option<String> {
    let caught = summary.first_failure()?;
    let property = &caught.report.failure.as_ref()?.property;
    let seeds = caught.seed.wrapping_sub(arguments.from) + 1;
    Some(format!("{property} | {} | {seeds}", caught.scenario))
}
