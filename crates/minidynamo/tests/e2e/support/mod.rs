//! What the end-to-end tests are made of.
//!
//! A test asks for a [`Cluster`]: a ZooKeeper server of its own, data nodes and routers as separate processes
//! of the real binary, all on loopback. It talks to routers as any gRPC client does ([`Kv`]), to single
//! data nodes as a router does ([`Direct`]), or by the command line ([`Cli`]), and hurts processes with
//! signals ([`Process`]).
//!
//! | to check | use |
//! |---|---|
//! | something that becomes true | [`eventually`], with a deadline |
//! | that nothing confirmed is lost | [`Workload`], which remembers what each write was answered |
//! | time | [`ClusterOptions::alone`]: no other test runs meanwhile |
//!
//! When a test ends, its processes are killed by their ids and what they wrote to stderr is searched for
//! panics. When it fails, the tail of each stderr is printed; with `MINIDYNAMO_KEEP_LOGS=DIR` all of them are
//! kept under that directory. With `MINIDYNAMO_SOAK=1` tests run their long forms ([`Scale`]).

mod cli;
mod cluster;
mod directory;
mod eventually;
mod kv;
mod machine;
mod node;
mod ports;
mod process;
mod scale;
mod workload;
mod zookeeper;

pub(crate) use cli::{Cli, Output};
pub(crate) use cluster::{Cluster, ClusterOptions, Shards};
pub(crate) use directory::Directory;
pub(crate) use eventually::{eventually, now_and_then};
pub(crate) use kv::{Failure, Kv, Tables};
pub(crate) use machine::Machine;
pub(crate) use node::Direct;
pub(crate) use ports::free as free_port;
pub(crate) use process::{BINARY, Process};
pub(crate) use scale::Scale;
pub(crate) use workload::{Workload, WorkloadOptions};
pub(crate) use zookeeper::ZooKeeper;
