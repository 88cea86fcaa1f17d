//! The arguments of the command line.

pub mod duration;
mod failure;
pub mod usage;

use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use failure::Failure;

use crate::{bench, commands, config};

/// Shown below the list of commands.
const EXAMPLES: &str = "\
Examples:
  minidynamo dev                            a whole cluster in one process, for trying it out
  minidynamo create-table people 12 3       12 shards, 3 replicas of each
  minidynamo put people ada 'Ada Lovelace'
  minidynamo get people ada --consistent
  minidynamo transact-put people ada 'Countess' people charles 'Mathematician'
  minidynamo status

Exit codes: 0 done, 1 other error, 2 usage or invalid request, 3 key not found, 4 conflict,
5 unavailable and certainly not applied, 6 outcome unknown, 7 no such table.";

/// A distributed key-value store: tables in shards, each shard replicated by Raft.
#[derive(Debug, Parser)]
#[command(
    name = "minidynamo",
    version,
    about,
    after_help = EXAMPLES,
    propagate_version = false,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub struct Cli {
    /// Where the cluster is and how to show its answers.
    #[command(flatten)]
    pub client: ClientArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of all commands that talk to a cluster.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options for commands that talk to a cluster")]
pub struct ClientArgs {
    /// Router to talk to; several, separated by commas, are tried in turn
    #[arg(
        long,
        global = true,
        value_name = "ADDR",
        env = "MINIDYNAMO_ROUTER",
        hide_env_values = true,
        default_value = "http://127.0.0.1:7400",
        value_delimiter = ','
    )]
    pub router: Vec<String>,
    /// text for people or json for scripts
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "text",
        hide_possible_values = true
    )]
    pub output: OutputFormat,
    /// Longest wait for an answer, like 500ms or 10s [default: 5s for data, 60s for administration]
    #[arg(long, global = true, value_name = "DURATION", value_parser = duration::parse_positive)]
    pub timeout: Option<Duration>,
}

impl ClientArgs {
    /// A client with these options.
    pub fn connect(&self) -> Result<client::Client, Failure> {
        self.connect_with(&self.router, 1, true)
    }

    /// A client of some of the routers.
    pub fn connect_with(
        &self,
        routers: &[String],
        connections: usize,
        streams: bool,
    ) -> Result<client::Client, Failure> {
        let mut options = client::Options {
            connections,
            streams,
            ..client::Options::default()
        };
        if let Some(timeout) = self.timeout {
            options.data_timeout = timeout;
            options.admin_timeout = timeout;
        }
        Ok(client::Client::with_options(routers, &options)?)
    }
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people
    Text,
    /// For scripts
    Json,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a whole cluster in this process
    Dev(config::dev::Args),
    /// Run a request router
    Router(config::router::Args),
    /// Run a data node
    Datanode(config::datanode::Args),
    /// Create a table and wait until it is available
    CreateTable(commands::create_table::Args),
    /// Delete a table with all its data
    DeleteTable(commands::delete_table::Args),
    /// List all tables
    ListTables,
    /// Show a table's shards: hash range, leader, nodes
    DescribeTable(commands::describe_table::Args),
    /// Write an item
    Put(commands::put::Args),
    /// Print an item's value
    Get(commands::get::Args),
    /// Remove an item; an absent one is no error
    Delete(commands::delete::Args),
    /// Write several items, all of them or none
    TransactPut(commands::transact_put::Args),
    /// Print several items as they were at one moment
    TransactGet(commands::transact_get::Args),
    /// Show routers, data nodes, and shards that can't serve
    Status,
    /// List all data nodes, those that are down included
    ListNodes,
    /// Forget a data node that will never return
    ForgetNode(commands::forget_node::Args),
    /// List replicas of tables that are neither listed nor deleted
    ListQuarantined,
    /// Destroy quarantined replicas for good
    DropQuarantined(commands::drop_quarantined::Args),
    /// Make a quarantined table usable again
    KeepQuarantined(commands::keep_quarantined::Args),
    /// Measure throughput and latency under load
    Bench(bench::Args),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_of_the_arguments_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_of_clients_may_stand_before_and_behind_the_command() {
        for line in [
            "minidynamo --output json --router a:1,b:2 list-tables",
            "minidynamo list-tables --router a:1,b:2 --output json",
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(cli.client.router, ["a:1", "b:2"]);
            assert_eq!(cli.client.output, OutputFormat::Json);
        }
    }

    #[test]
    fn help_has_a_line_for_every_command_and_ends_with_examples() {
        let help = Cli::command().render_help().to_string();
        for command in Cli::command().get_subcommands() {
            assert!(help.contains(command.get_name()));
            let about = command.get_about().unwrap().to_string();
            assert!(about.len() <= 60 && !about.ends_with('.'), "{about}");
        }
        assert!(help.contains("Examples:"));
        assert!(!help.contains("shell"), "it does not exist yet");
    }

    #[test]
    fn the_help_of_a_write_or_a_transaction_ends_with_examples() {
        for command in ["put", "delete", "transact-put", "transact-get"] {
            let mut cli = Cli::command();
            let found = cli.find_subcommand_mut(command).unwrap();
            let help = found.render_long_help().to_string();
            let (_, examples) = help.split_once("Examples:\n").unwrap();
            assert!(
                examples.contains(&format!("  minidynamo {command} ")),
                "{help}"
            );
        }
    }

    #[test]
    fn at_most_one_condition_can_be_given() {
        for (arguments, sound) in [
            ("put t k v --if-absent", true),
            ("put t k v --if-present", true),
            ("put t k v --if-version 7", true),
            ("delete t k --if-version 7", true),
            ("put t k v --if-absent --if-present", false),
            ("put t k v --if-absent --if-version 7", false),
            ("put t k v --if-present --if-version 7", false),
            ("put t k v --if-version seven", false),
            ("put t k v --if-version -1", false),
            ("delete t k --if-absent", false),
        ] {
            let line = format!("minidynamo {arguments}");
            let parsed = Cli::try_parse_from(line.split(' '));
            assert_eq!(parsed.is_ok(), sound, "{arguments}");
        }
    }
}
