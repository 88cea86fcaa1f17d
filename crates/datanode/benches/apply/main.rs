//! Applying: entries of puts into a shard of 100,000 items of 128 B under keys of 16 B, on the store in memory and on that of a data node.
//!
//! ```text
//! entry ─ decode ─▶ commands ─ look the old items up ─▶ batch ─ write ─▶ store
//!         decode            stage (with decode)                 write
//!         ╰────────────────────────── apply ──────────────────────────╯
//! ```
//!
//! Items are puts, or look-ups. Nothing waits for a sync: the store does that now and then, beside the rows or in them, as in a data node.
//!
//! ```text
//! cargo bench --package datanode --bench apply
//! ```

#![allow(clippy::unwrap_used)]

mod shard;

use std::cell::RefCell;
use std::sync::Arc;

use datanode::applier::Applier;
use datanode::hosted::Hosted;
use datanode::machine::CommandBatch;
use datanode::worker::ApplyJob;
use divan::Bencher;
use divan::counter::ItemsCount;
use environment::SystemClock;

use shard::{Fjall, Keys, Kind, Memory, Shard, Source, directory, machine, shard_id};

fn main() {
    divan::main();
}

/// The commands of an entry from its bytes.
#[divan::bench(args = [1, 6, 64])]
fn decode(bencher: Bencher<'_, '_>, puts: usize) {
    let payload = Source::new(shard_id(0)).entry(puts, Keys::New).payload;
    let counted = bencher.counter(ItemsCount::new(puts));
    counted.bench_local(|| CommandBatch::decode(&payload));
}

/// One entry of so many puts, to keys that the shard does not have.
#[divan::bench(types = [Memory, Fjall], args = [1, 6, 64])]
fn apply_to_new_keys<K: Kind>(bencher: Bencher<'_, '_>, puts: usize) {
    apply::<K>(bencher, puts, Keys::New);
}

/// One entry of so many puts, to keys that it has.
#[divan::bench(types = [Memory, Fjall], args = [1, 6, 64])]
fn apply_to_existing_keys<K: Kind>(bencher: Bencher<'_, '_>, puts: usize) {
    apply::<K>(bencher, puts, Keys::Existing);
}

/// One entry of so many puts, to a few of its keys that are written all the time.
#[divan::bench(types = [Memory, Fjall], args = [1, 6, 64])]
fn apply_to_recent_keys<K: Kind>(bencher: Bencher<'_, '_>, puts: usize) {
    apply::<K>(bencher, puts, Keys::Recent);
}

/// One entry at a time in each sample: the next one is made while the clock stands.
fn apply<K: Kind>(bencher: Bencher<'_, '_>, puts: usize, keys: Keys) {
    let shard = RefCell::new(Shard::new::<K>());
    let counted = bencher.counter(ItemsCount::new(puts));
    let entries = || shard.borrow_mut().entry(puts, keys);
    counted.with_inputs(entries).bench_local_refs(|entry| {
        let machine = &mut shard.borrow_mut().machine;
        machine.apply(std::slice::from_ref(entry)).unwrap()
    });
}

/// The first half of applying, to keys that the shard has: the entry decoded, the old items looked up, the batch made.
#[divan::bench(types = [Memory, Fjall], args = [1, 6, 64], sample_size = 1)]
fn stage<K: Kind>(bencher: Bencher<'_, '_>, puts: usize) {
    let shard = RefCell::new(Shard::new::<K>());
    let staged = RefCell::new(None);
    let counted = bencher.counter(ItemsCount::new(puts));
    // Ends what the sample before has begun.
    let entries = || {
        let mut shard = shard.borrow_mut();
        if let Some((staged, batch)) = staged.take() {
            let written = shard.store.write(batch);
            shard.machine.end(staged, &written).unwrap();
        }
        shard.entry(puts, Keys::Existing)
    };
    counted.with_inputs(entries).bench_local_values(|entry| {
        let machine = &mut shard.borrow_mut().machine;
        *staged.borrow_mut() = Some(machine.stage(&[entry]).unwrap());
    });
}

/// The second half: the batch of an entry into the store. Of each entry the batch has the items, the shard's meta and what is remembered of the requests.
#[divan::bench(types = [Memory, Fjall], args = [1, 6, 64], sample_size = 1)]
fn write<K: Kind>(bencher: Bencher<'_, '_>, puts: usize) {
    let shard = RefCell::new(Shard::new::<K>());
    let store = Arc::clone(&shard.borrow().store);
    let staged = RefCell::new(None);
    let counted = bencher.counter(ItemsCount::new(puts));
    let batches = || {
        let mut shard = shard.borrow_mut();
        if let Some(staged) = staged.take() {
            shard.machine.end(staged, &Ok(())).unwrap();
        }
        let entry = shard.entry(puts, Keys::Existing);
        let (next, batch) = shard.machine.stage(&[entry]).unwrap();
        *staged.borrow_mut() = Some(next);
        batch
    };
    counted
        .with_inputs(batches)
        .bench_local_values(|batch| store.write(batch).unwrap());
}

/// An item that is there, as an eventual get looks it up.
#[divan::bench(types = [Memory, Fjall])]
fn look_up_existing<K: Kind>(bencher: Bencher<'_, '_>) {
    look_up::<K>(bencher, Keys::Existing);
}

/// One of those that were written last.
#[divan::bench(types = [Memory, Fjall])]
fn look_up_recent<K: Kind>(bencher: Bencher<'_, '_>) {
    look_up::<K>(bencher, Keys::Recent);
}

/// An item that is not there.
#[divan::bench(types = [Memory, Fjall])]
fn look_up_absent<K: Kind>(bencher: Bencher<'_, '_>) {
    look_up::<K>(bencher, Keys::New);
}

fn look_up<K: Kind>(bencher: Bencher<'_, '_>, keys: Keys) {
    let mut shard = Shard::new::<K>();
    let reader = shard.machine.reader();
    bencher
        .counter(ItemsCount::new(1usize))
        .with_inputs(|| shard.source.key(keys))
        .bench_local_refs(|key| reader.get(key).unwrap());
}

/// What an applier does in one go when each of so many groups has an entry of six puts to new keys: one write of the store.
#[divan::bench(types = [Memory, Fjall], args = [1, 12])]
fn applier<K: Kind>(bencher: Bencher<'_, '_>, groups: u32) {
    const PUTS: usize = 6;
    let directory = directory();
    let store = K::open(&directory);
    let clock = Arc::new(SystemClock::default());
    let mut applier = Applier::new(Arc::clone(&store), Hosted::default(), clock);
    applier.run((0..groups).map(|index| ApplyJob::Open {
        machine: Box::new(machine(&store, shard_id(index))),
    }));
    let mut sources: Vec<_> = (0..groups).map(|i| Source::new(shard_id(i))).collect();
    let jobs = || {
        let jobs = sources.iter_mut().map(|source| source.job(PUTS));
        jobs.collect::<Vec<_>>()
    };
    bencher
        .counter(ItemsCount::new(PUTS * groups as usize))
        .with_inputs(jobs)
        .bench_local_values(|jobs| applier.run(jobs));
}
