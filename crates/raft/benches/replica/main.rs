//! What the core costs: three replicas in one process, with a disk and a network that take no time.
//!
//! Where a row is about a group, its time is that of all three replicas together, from the call of the leader until nobody has
//! anything left to do.
//!
//! ```text
//! cargo bench --package raft --bench replica
//! ```

#![allow(clippy::unwrap_used)]

mod group;

use divan::Bencher;
use divan::counter::ItemsCount;
use raft::Role;

use group::{Group, replica};

/// About what the command of a put with a value of 128 B takes in an entry.
const COMMAND_BYTES: usize = 200;
/// Far enough away that a replica nobody talks to does nothing about it.
const NEVER: u32 = 1 << 30;

fn main() {
    divan::main();
}

/// One entry of so many commands: proposed, persisted by all, committed and applied. Items are commands.
#[divan::bench(args = [1, 32])]
fn commit_an_entry_of_commands(bencher: Bencher<'_, '_>, commands: usize) {
    let mut group = Group::new(COMMAND_BYTES * commands);
    let counted = bencher.counter(ItemsCount::new(commands));
    counted.bench_local(|| group.commit(1));
}

/// So many entries of one command that are proposed before the leader's effects are taken, and travel together. Items are entries.
#[divan::bench(args = [1, 8, 64])]
fn commit_entries_of_one_turn(bencher: Bencher<'_, '_>, entries: usize) {
    let mut group = Group::new(COMMAND_BYTES);
    let counted = bencher.counter(ItemsCount::new(entries));
    counted.bench_local(|| group.commit(entries));
}

/// So many consistent reads in one round of ReadIndex: asked, heartbeats there and back, confirmed. Items are reads.
#[divan::bench(args = [1, 64])]
fn confirm_reads(bencher: Bencher<'_, '_>, reads: u64) {
    let mut group = Group::new(COMMAND_BYTES);
    let counted = bencher.counter(ItemsCount::new(reads as usize));
    counted.bench_local(|| group.read(reads));
}

/// A tick of a leader that nobody asks for anything, its heartbeats taken out: to two followers, with every second tick.
#[divan::bench]
fn tick_an_idle_leader(bencher: Bencher<'_, '_>) {
    let mut leader = Group::with_election_ticks(COMMAND_BYTES, NEVER).into_leader();
    bencher.bench_local(|| {
        leader.tick();
        leader.has_effects().then(|| leader.effects())
    });
    assert_eq!(leader.role(), Role::Leader);
}

/// A tick of a follower that hears nothing, long before its election timeout.
#[divan::bench]
fn tick_an_idle_follower(bencher: Bencher<'_, '_>) {
    let mut follower = replica(1, NEVER);
    bencher.bench_local(|| {
        follower.tick();
        follower.has_effects().then(|| follower.effects())
    });
    assert_eq!(follower.role(), Role::Follower);
}
