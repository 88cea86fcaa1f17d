//! The one binary: every role of the cluster, and the command line that uses it.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// See `docs/decisions/0028-an-allocator-of-our-own-choice.md`.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    minidynamo::run(std::env::args_os())
}
