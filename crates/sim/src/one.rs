//! One run in this process.

use std::process::ExitCode;

use sim::run::Report;
use sim::scenario;

use crate::Arguments;

/// Carries out the run of `--from` and prints its report.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let arguments = arguments.clone();
    let seed = arguments.from;
    let trace = arguments.trace;
    // On this thread, so that it draws nothing on the other.
    if let Some(filter) = &arguments.log {
        crate::log::print(filter);
    }
    // A thread that nothing was drawn on.
    let thread = std::thread::Builder::new()
        .stack_size(16 << 20)
        .spawn(move || simulate(&arguments));
    let report = thread.ok().and_then(|thread| thread.join().ok());
    let Some(report) = report else {
        eprintln!("the run of seed {seed} has panicked");
        return ExitCode::from(3);
    };
    if trace {
        print_readably(&report);
        return ExitCode::from(u8::from(report.failure.is_some()));
    }
    match serde_json::to_string(&report) {
        Ok(json) => {
            println!("{json}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(3)
        }
    }
}

fn simulate(arguments: &Arguments) -> Report {
    let seed = arguments.from;
    sim::system::seed(seed);
    // Both were checked before.
    let _ = mutants::activate(arguments.mutant.as_deref());
    let scenario = match &arguments.scenario {
        Some(name) => scenario::named(name),
        None => None,
    };
    let scenario = scenario.unwrap_or_else(|| scenario::of_seed(seed));
    sim::run::run(seed, &scenario, arguments.trace)
}

fn print_readably(report: &Report) {
    match &report.failure {
        Some(failure) => println!(
            "violated after {:.3} s: {}\n{}",
            failure.micros as f64 / 1e6,
            failure.property,
            failure.detail
        ),
        None => println!(
            "nothing was violated in {:.3} s",
            report.micros as f64 / 1e6
        ),
    }
    println!("trace {:016x}, {} events", report.digest.0, report.digest.1);
}
