//! What the end-to-end tests are made of.
//!
//! A test asks for a [`Cluster`]: a ZooKeeper of its own, of one server or of three, data nodes and routers as separate processes
//! of the real binary, all on loopback. It talks to routers as any gRPC client does ([`Kv`]), to single
//! data nodes as a router does ([`Direct`]), or by the command line ([`Cli`]), and hurts processes with
//! signals ([`Process`]).
//!
//! | to check | use |
//! |---|---|
//! | something that becomes true | [`eventually`], with a deadline |
//! | that nothing confirmed is lost | [`Workload`], which remembers what each write was answered |
//! | that no orphan and no residue is left | [`assert_nothing_left`]: tree and disks hold exactly what the tables say |
//! | time | [`ClusterOptions::alone`]: no other test runs meanwhile |
//!
//! When a test ends, its processes are killed by their ids and what they wrote to stderr is searched for
//! panics. When it fails, the tail of each stderr is printed; with `MINIDYNAMO_KEEP_LOGS=DIR` all of them are
//! kept under that directory. With `MINIDYNAMO_SOAK=1` tests run their long forms ([`Scale`]).

mod admin;
mod cli;
mod cluster;
mod directory;
mod eventually;
mod kv;
mod machine;
mod node;
mod ports;
mod process;
mod residue;
mod scale;
mod workload;
mod zookeeper;

pub(crate) use admin::{controller, create_until_there, delete_until_gone};
pub(crate) use cli::{Cli, Output};
pub(crate) use cluster::{Cluster, ClusterOptions, Shards};
pub(crate) use directory::Directory;
pub(crate) use eventually::{eventually, now_and_then};
pub(crate) use kv::{Failure, Kv, Tables};
pub(crate) use machine::Machine;
pub(crate) use node::Direct;
pub(crate) use ports::free as free_port;
pub(crate) use process::{BINARY, Process};
pub(crate) use residue::{OnDisk, assert_nothing_left, assert_settled, node_id_in, shards_on};
pub(crate) use scale::Scale;
pub(crate) use workload::{Expected, Outcome, Workload, WorkloadOptions};
pub(crate) use zookeeper::ZooKeeper;
