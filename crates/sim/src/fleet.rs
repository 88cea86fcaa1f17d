//! Many runs, each in a process of its own: a few libraries count in statics, and a run that hangs or panics
//! takes nothing with it.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sim::run::{Failure, Report};
use sim::scenario;

use crate::Arguments;
use crate::summary::{Outcome, Summary};

/// A run that goes on for longer hangs.
const LONGEST: Duration = Duration::from_secs(300);
/// Progress is shown so often.
const PROGRESS: Duration = Duration::from_secs(10);

/// Runs the seeds, several at a time, until one fails, if the arguments don't say to go on.
pub(crate) fn run(arguments: &Arguments, show: bool) -> Summary {
    let jobs = arguments
        .jobs
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    let begun = Instant::now();
    let end = arguments
        .minutes
        .map(|minutes| begun + Duration::from_secs(60 * minutes));
    let next = AtomicU64::new(0);
    let failed = AtomicBool::new(false);
    let summary = Mutex::new(Summary::new(arguments));
    let shown = Mutex::new(begun);
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let late = end.is_some_and(|end| Instant::now() >= end);
                    let stop = failed.load(Ordering::Relaxed) && !arguments.keep_going;
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if late || stop || number >= arguments.seeds {
                        return;
                    }
                    let seed = arguments.from.wrapping_add(number);
                    let mut outcome = one(arguments, seed);
                    outcome.fails_anyway = arguments.mutants
                        && outcome.report.failure.is_some()
                        && fails_without_mutant(arguments, seed);
                    if outcome.is_failure() {
                        failed.store(true, Ordering::Relaxed);
                    }
                    let Ok(mut summary) = summary.lock() else {
                        return;
                    };
                    // At once, and at the end once more: a command that goes on may take hours.
                    if show && arguments.keep_going && outcome.is_failure() {
                        eprint!("{}", summary.violation(&outcome));
                    }
                    summary.add(outcome, begun.elapsed());
                    if let Ok(mut shown) = shown.lock()
                        && show
                        && shown.elapsed() >= PROGRESS
                    {
                        *shown = Instant::now();
                        eprintln!("{}", summary.progress());
                    }
                }
            });
        }
    });
    summary
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Whether a seed fails also without the mutant: then it says nothing about it.
fn fails_without_mutant(arguments: &Arguments, seed: u64) -> bool {
    let without = Arguments {
        mutant: None,
        ..arguments.clone()
    };
    one(&without, seed).report.failure.is_some()
}

fn one(arguments: &Arguments, seed: u64) -> Outcome {
    let name = match &arguments.scenario {
        Some(name) => name.clone(),
        None => scenario::of_seed(seed).name.to_owned(),
    };
    let report = child(arguments, seed, &name).unwrap_or_else(|detail| Report {
        failure: Some(Failure {
            property: "runs-to-its-end".to_owned(),
            detail,
            micros: 0,
        }),
        ..Report::default()
    });
    Outcome {
        seed,
        scenario: name,
        report,
        fails_anyway: false,
    }
}

fn child(arguments: &Arguments, seed: u64, scenario: &str) -> Result<Report, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.args(["--one", "--from", &seed.to_string(), "--scenario", scenario]);
    if let Some(mutant) = &arguments.mutant {
        command.args(["--mutant", mutant]);
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let (stdout, stderr) = (read_all(child.stdout.take()), read_all(child.stderr.take()));
    let end = Instant::now() + LONGEST;
    let status = loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) => break status,
            None if Instant::now() >= end => {
                child.kill().map_err(|error| error.to_string())?;
                return Err(format!("it went on for {LONGEST:?}"));
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let (stdout, stderr) = (
        stdout.join().unwrap_or_default(),
        stderr.join().unwrap_or_default(),
    );
    serde_json::from_slice(&stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&stderr);
        let last: Vec<&str> = said.lines().rev().take(10).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        format!("{status}: {}", last.join("\n"))
    })
}

/// Reads a pipe to its end beside what else goes on.
fn read_all(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What could not be read is missing in the report, which then says so.
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}
