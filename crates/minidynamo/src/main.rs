//! The one binary: every role of the cluster, and the command line that uses it.

use std::process::ExitCode;

fn main() -> ExitCode {
    minidynamo::run(std::env::args_os())
}
