//! The command line as a client: one file per command.

pub mod condition;
pub mod create_table;
pub mod delete;
pub mod delete_table;
pub mod describe_table;
pub mod drop_quarantined;
pub mod forget_node;
pub mod get;
pub mod keep_quarantined;
pub mod list_nodes;
pub mod list_quarantined;
pub mod list_tables;
pub mod put;
pub mod status;
pub mod transact_get;
pub mod transact_put;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use bytes::Bytes;

use crate::cli::{ClientArgs, Failure, OutputFormat};

/// What every client command works with.
#[derive(Debug)]
pub struct Context {
    /// Connected to the routers of `--router`.
    pub client: client::Client,
    /// From `--output`.
    pub format: OutputFormat,
    /// From `--timeout`, if it was given.
    pub timeout: Option<Duration>,
}

impl Context {
    /// Runs a command. One thread suffices for one request, and starts sooner than several.
    pub fn run<F: Future<Output = Result<(), Failure>>>(
        args: &ClientArgs,
        command: impl FnOnce(Self) -> F,
    ) -> Result<(), Failure> {
        let context = Self {
            client: args.connect()?,
            format: args.output,
            timeout: args.timeout,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(format!("can't start: {error}")))?;
        runtime.block_on(command(context))
    }

    /// Whether results are printed as JSON.
    pub fn json(&self) -> bool {
        self.format == OutputFormat::Json
    }
}

/// The name of a table among arguments of which others need not be UTF-8.
pub(crate) fn table_of(argument: OsString) -> Result<String, Failure> {
    argument.into_string().map_err(|argument| {
        let shown = argument.to_string_lossy();
        Failure::usage(format!(
            "INVALID_REQUEST: table: `{shown}` is not a table's name: 3 to 255 of A-Z a-z 0-9 _ . -"
        ))
    })
}

/// An argument as the bytes that the shell passed, which need not be UTF-8.
pub(crate) fn bytes_of(argument: OsString) -> Bytes {
    Bytes::from(argument.into_vec())
}
