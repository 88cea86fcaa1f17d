//! The arguments of `bench`.

use std::time::Duration;

use clap::ValueEnum;
use load::{Distribution, Placement, Plan, Workload};
use model::limits::{MAX_BATCH_ITEMS, MAX_VALUE_BYTES};

use crate::cli::duration;

/// Arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Table to work on: it writes keys of its own (user…) into it, so give it one of its own
    #[arg(long, value_name = "NAME")]
    pub table: String,
    /// Create the table first
    #[arg(long, num_args = 2, value_names = ["SHARDS", "REPLICAS"])]
    pub create: Option<Vec<u32>>,
    /// put, get, get-consistent, mixed (half gets, half puts), transact-put, transact-get, or YCSB's ycsb-a, ycsb-b, ycsb-c,
    /// ycsb-f
    #[arg(
        long,
        value_name = "MIX",
        default_value = "put",
        hide_possible_values = true
    )]
    pub workload: Workload,
    /// Make the reads of a mix linearizable
    #[arg(long)]
    pub consistent: bool,
    /// Requests in flight
    #[arg(long, value_name = "N", default_value_t = 64,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub clients: u32,
    /// Connections to each router
    #[arg(long, value_name = "N", default_value_t = 4,
        value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub connections: u32,
    /// How operations are sent: stream (those of a connection share one) or calls (each by a call of its own)
    #[arg(
        long,
        value_name = "HOW",
        default_value = "stream",
        hide_possible_values = true
    )]
    pub send: Sending,
    /// How long to measure
    #[arg(long, value_name = "DURATION", default_value = "10s",
        value_parser = duration::parse_positive)]
    pub duration: Duration,
    /// How long to run before measuring
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration::parse)]
    pub warmup: Duration,
    /// Number of different keys
    #[arg(long, value_name = "N", default_value_t = 100_000,
        value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub keys: u64,
    /// How keys are drawn: uniform or zipfian
    #[arg(
        long,
        value_name = "HOW",
        default_value = "uniform",
        hide_possible_values = true
    )]
    pub distribution: Distribution,
    /// Items of a transaction
    #[arg(long, value_name = "N", default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(1..=MAX_BATCH_ITEMS as i64))]
    pub transaction_items: u32,
    /// Bytes of a value
    #[arg(long, value_name = "BYTES", default_value_t = 128,
        value_parser = clap::value_parser!(u32).range(0..=MAX_VALUE_BYTES as i64))]
    pub value_size: u32,
    /// Write every key once before measuring
    #[arg(long)]
    pub load: bool,
    /// Write every key once, and nothing else
    #[arg(long, conflicts_with = "load")]
    pub load_only: bool,
    /// Operations per second, over all clients; without it, as many as possible
    #[arg(long, value_name = "RATE", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// How the keys of a transaction lie: any (as they come), one (all in one shard) or different (each in another one)
    #[arg(
        long,
        value_name = "HOW",
        default_value = "any",
        hide_possible_values = true
    )]
    pub transaction_shards: TransactionShards,
    /// Process of a server on this machine; the CPU time that all of them take for an operation is shown
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub server_pid: Vec<u32>,
}

/// How operations are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sending {
    /// Over a stream of each connection
    Stream,
    /// By a call for each
    Calls,
}

/// How the keys of a transaction lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TransactionShards {
    /// As they come
    Any,
    /// All in one shard
    One,
    /// Each in another shard
    Different,
}

impl Args {
    /// The load on a table of so many shards.
    pub(super) fn plan(&self, shards: u32) -> Plan {
        Plan {
            workload: self.workload,
            clients: self.clients,
            keys: self.keys,
            distribution: self.distribution,
            value_size: self.value_size as usize,
            transaction_items: self.transaction_items as usize,
            placement: match self.transaction_shards {
                TransactionShards::Any => Placement::Anywhere,
                TransactionShards::One => Placement::Together(shards),
                TransactionShards::Different => Placement::Apart(shards),
            },
            warmup: self.warmup,
            duration: self.duration,
            rate: self.rate,
            servers: self.server_pid.clone(),
            progress: true,
        }
    }
}
