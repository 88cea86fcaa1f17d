//! The command behind `bench/compare`. See the library for what it does.

#![allow(clippy::print_stdout)] // It is a command.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bench::compare::{self, Options};
use bench::{Failure, Places, ceiling, plot, report};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

/// Compares Mini-DynamoDB with a three-node etcd and with the bare two hops of gRPC, all on this machine, loaded by the
/// same generator in turn. The goals beside what was measured are the last lines.
///
/// Writes nothing outside of the data directory, which is removed, and the two results.
#[derive(Debug, Parser)]
#[command(name = "compare", version)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// Under three minutes: fewer and shorter runs, without mixes, fixed rates and memory
    #[arg(long)]
    quick: bool,
    /// Where the result goes as JSON [default: bench/results/full.json or quick.json]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the picture goes [default: beside the JSON, with the ending svg]
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Runs of each system at each point [default: 5, quick 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Seconds that a run is measured, after a quarter of it to warm up [default: 6, quick 1.2]
    #[arg(long, value_name = "S", value_parser = positive_seconds)]
    seconds: Option<Duration>,
    /// Connections to each system; a multiple of three is spread evenly over etcd's members
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = connections)]
    connections: usize,
    /// Number of different keys
    #[arg(long, value_name = "N", default_value_t = 100_000,
        value_parser = clap::value_parser!(u64).range(1000..=10_000_000))]
    keys: u64,
    /// Measure only what has this in its name, like `Put, 64`; writes no files unless told where
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Below it the servers' data lie while they run; on a disk, so that syncs cost what they cost
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    directory: PathBuf,
    /// The program [default: beside this one]
    #[arg(long, value_name = "FILE")]
    minidynamo: Option<PathBuf>,
    /// The program
    #[arg(long, value_name = "FILE", default_value = "etcd")]
    etcd: PathBuf,
}

/// The processes of the ceiling, which this command starts itself.
#[derive(Debug, Subcommand)]
enum Role {
    #[command(hide = true)]
    CeilingNode,
    #[command(hide = true)]
    CeilingProxy {
        /// HOST:PORT of the node
        node: String,
    },
}

fn connections(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=1000).contains(count));
    count.ok_or_else(|| format!("`{text}` is not a number from 1 to 1000"))
}

fn positive_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text
        .parse()
        .ok()
        .filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| format!("`{text}` is not a number of seconds from 0.1 to 3600"))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match start(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: &Arguments) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("can't start: {error}")))?;
    match &arguments.role {
        Some(Role::CeilingNode) => runtime.block_on(ceiling::run_node()),
        Some(Role::CeilingProxy { node }) => runtime.block_on(ceiling::run_proxy(node)),
        None => runtime.block_on(run(arguments)),
    }
}

async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let options = options(arguments)?;
    let outcome = tokio::select! {
        outcome = compare::run(&options) => outcome?,
        // What has run until then is dropped, and with it every server ends.
        interrupted = interrupted() => return Err(interrupted),
    };
    let document = outcome.document();
    if let Some(path) = json_path(arguments) {
        let json = serde_json::to_string_pretty(&document)
            .map_err(|error| Failure::new(format!("can't write JSON: {error}")))?;
        write(&path, &(json + "\n"))?;
        let svg = arguments
            .svg
            .clone()
            .unwrap_or_else(|| path.with_extension("svg"));
        write(&svg, &plot::svg(&outcome))?;
        eprintln!("wrote {} and {}", path.display(), svg.display());
    }
    print!("\n{}", report::text(&document));
    Ok(())
}

fn options(arguments: &Arguments) -> Result<Options, Failure> {
    let own = std::env::current_exe()
        .map_err(|error| Failure::new(format!("can't find this program: {error}")))?;
    let beside = own.with_file_name("minidynamo");
    let minidynamo = arguments.minidynamo.clone().unwrap_or(beside);
    if !minidynamo.exists() {
        return Err(Failure::new(format!(
            "{} is missing: `cargo build --release -p minidynamo` makes it",
            minidynamo.display()
        )));
    }
    let (rounds, seconds) = if arguments.quick { (3, 1.2) } else { (5, 6.0) };
    let duration = arguments
        .seconds
        .unwrap_or(Duration::from_secs_f64(seconds));
    Ok(Options {
        quick: arguments.quick,
        rounds: arguments.rounds.unwrap_or(rounds),
        warmup: duration / 4,
        duration,
        connections: arguments.connections,
        keys: arguments.keys,
        only: arguments.only.clone(),
        directory: arguments.directory.clone(),
        places: Places {
            minidynamo,
            etcd: arguments.etcd.clone(),
            own,
        },
    })
}

/// Where the JSON goes. A part of a comparison does not replace a whole one.
fn json_path(arguments: &Arguments) -> Option<PathBuf> {
    let name = if arguments.quick {
        "quick.json"
    } else {
        "full.json"
    };
    let whole = arguments.only.is_none();
    let default = whole.then(|| Path::new("bench/results").join(name));
    arguments.json.clone().or(default)
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    parent
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(path, text))
        .map_err(|error| Failure::new(format!("can't write {}: {error}", path.display())))
}

/// Returns when somebody wants this process to end.
async fn interrupted() -> Failure {
    let wait = async |kind| match signal(kind) {
        Ok(mut signals) => {
            signals.recv().await;
        }
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        () = wait(SignalKind::interrupt()) => {}
        () = wait(SignalKind::terminate()) => {}
        () = wait(SignalKind::hangup()) => {}
    }
    Failure::new("interrupted; every server is ended")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Arguments {
        Arguments::try_parse_from(line.split(' ')).unwrap()
    }

    #[test]
    fn the_definition_of_the_arguments_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn results_go_where_they_are_wanted() {
        let path = |line| json_path(&parse(line));
        assert_eq!(
            path("compare").unwrap(),
            Path::new("bench/results/full.json")
        );
        assert_eq!(
            path("compare --quick").unwrap(),
            Path::new("bench/results/quick.json")
        );
        assert_eq!(
            path("compare --quick --json a/b.json").unwrap(),
            Path::new("a/b.json")
        );
        assert_eq!(path("compare --only Put"), None);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "compare --seconds 0",
            "compare --seconds x",
            "compare --connections 0",
            "compare --keys 1",
        ] {
            assert!(
                Arguments::try_parse_from(line.split(' ')).is_err(),
                "{line}"
            );
        }
        assert_eq!(
            parse("compare --seconds 1.5").seconds,
            Some(Duration::from_millis(1500))
        );
    }
}
