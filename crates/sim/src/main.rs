//! The simulation's command line. See the library for what it is.

#![allow(clippy::print_stdout, clippy::print_stderr)] // It is a command.

mod fleet;
mod log;
mod one;
mod summary;
mod table;

use std::process::ExitCode;

use clap::Parser;

/// Simulates whole clusters under faults, one run for each seed, and checks what must hold.
///
/// Without --scenario the seed decides which one a run is. Exits with 1 if a property was violated, 2 if the
/// arguments make no sense.
#[derive(Debug, Clone, Parser)]
#[allow(clippy::struct_excessive_bools)] // Flags.
#[command(name = "sim", version)]
pub(crate) struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// The first seed; the others follow it.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Run only this scenario; see --list.
    #[arg(long)]
    scenario: Option<String>,
    /// Switch this deliberate fault on; see --list.
    #[arg(long)]
    mutant: Option<String>,
    /// Run the seeds with each mutant in turn until it is caught, and print the table.
    #[arg(long, conflicts_with_all = ["mutant", "trace"])]
    mutants: bool,
    /// Print faults and operations as they happen; one seed only.
    #[arg(long)]
    trace: bool,
    /// With --trace: also print what the processes log, as far as this filter lets it through, for example
    /// `debug` or `info,router=debug`. The run stays the same.
    #[arg(long, requires = "trace")]
    log: Option<String>,
    /// Runs at the same time; as many as there are processors by default.
    #[arg(long)]
    jobs: Option<usize>,
    /// Go on after a failure and report all of them.
    #[arg(long)]
    keep_going: bool,
    /// End after so many minutes, whatever seeds are left.
    #[arg(long)]
    minutes: Option<u64>,
    /// List scenarios and mutants.
    #[arg(long)]
    list: bool,
    /// Carry out one run in this process and print its report as JSON: what the command does in child processes.
    #[arg(long, hide = true)]
    one: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(complaint) = check(&arguments) {
        eprintln!("{complaint}");
        return ExitCode::from(2);
    }
    if arguments.list {
        list();
        return ExitCode::SUCCESS;
    }
    if arguments.one || arguments.trace {
        return one::run(&arguments);
    }
    if arguments.mutants {
        return table::mutants(&arguments);
    }
    let summary = fleet::run(&arguments, true);
    print!("{summary}");
    ExitCode::from(u8::from(summary.failures() > 0))
}

fn check(arguments: &Arguments) -> Result<(), String> {
    if let Some(name) = &arguments.scenario
        && sim::scenario::named(name).is_none()
    {
        return Err(format!("there is no scenario `{name}`; --list shows them"));
    }
    if let Some(filter) = &arguments.log {
        log::valid(filter)?;
    }
    if let Some(name) = &arguments.mutant {
        name.parse::<mutants::Mutant>()
            .map_err(|unknown| unknown.to_string())?;
    }
    Ok(())
}

fn list() {
    println!("scenarios:");
    for scenario in sim::scenario::all() {
        println!("  {:<14} {}", scenario.name, scenario.about);
    }
    println!("mutants:");
    for mutant in mutants::Mutant::ALL {
        println!("  {:<40} {}", mutant.name(), mutant.description());
    }
}
