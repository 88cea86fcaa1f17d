//! Everything that the `minidynamo` command does.
//!
//! | part | what it is |
//! |---|---|
//! | [`cli`] | the arguments, and the one way in which commands fail |
//! | [`commands`] | the command line as a client, one file per command |
//! | [`output`] | what commands print: text for people, JSON for scripts |
//! | [`config`] | what roles are configured with: flag over environment over file over default |
//! | [`roles`] | the processes of a cluster: `dev`, `router`, `datanode` |
//! | [`mod@bench`] | the load generator |
//!
//! Standard output is for results only: what a command was asked for, or the one line by which a role
//! says that it can be used. Everything else goes to standard error.

pub mod bench;
pub mod cli;
pub mod commands;
pub mod config;
pub mod output;
pub mod roles;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command, Failure};
use commands::Context;

/// Runs a command line, the name of the program first, and returns the exit code of the process.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let result = match Cli::try_parse_from(arguments) {
        Ok(cli) => dispatch(cli),
        Err(error) => cli::usage::report(&error),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report();
            ExitCode::from(failure.exit)
        }
    }
}

fn dispatch(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Dev(args) => roles::dev::run(&args),
        Command::Router(args) => roles::router::run(&args),
        Command::Datanode(args) => roles::datanode::run(&args),
        Command::Bench(args) => bench::run(&args, &cli.client),
        Command::CreateTable(args) => Context::run(&cli.client, async |context| {
            commands::create_table::run(&args, &context).await
        }),
        Command::DeleteTable(args) => Context::run(&cli.client, async |context| {
            commands::delete_table::run(&args, &context).await
        }),
        Command::ListTables => Context::run(&cli.client, async |context| {
            commands::list_tables::run(&context).await
        }),
        Command::DescribeTable(args) => Context::run(&cli.client, async |context| {
            commands::describe_table::run(&args, &context).await
        }),
        Command::Put(args) => Context::run(&cli.client, async |context| {
            commands::put::run(args, &context).await
        }),
        Command::Get(args) => Context::run(&cli.client, async |context| {
            commands::get::run(args, &context).await
        }),
        Command::Delete(args) => Context::run(&cli.client, async |context| {
            commands::delete::run(args, &context).await
        }),
        Command::TransactPut(args) => Context::run(&cli.client, async |context| {
            commands::transact_put::run(args, &context).await
        }),
        Command::TransactGet(args) => Context::run(&cli.client, async |context| {
            commands::transact_get::run(args, &context).await
        }),
        Command::Status => Context::run(&cli.client, async |context| {
            commands::status::run(&context).await
        }),
        Command::ListNodes => Context::run(&cli.client, async |context| {
            commands::list_nodes::run(&context).await
        }),
        Command::ForgetNode(args) => Context::run(&cli.client, async |context| {
            commands::forget_node::run(&args, &context).await
        }),
        Command::ListQuarantined => Context::run(&cli.client, async |context| {
            commands::list_quarantined::run(&context).await
        }),
        Command::DropQuarantined(args) => Context::run(&cli.client, async |context| {
            commands::drop_quarantined::run(&args, &context).await
        }),
        Command::KeepQuarantined(args) => Context::run(&cli.client, async |context| {
            commands::keep_quarantined::run(&args, &context).await
        }),
    }
}
