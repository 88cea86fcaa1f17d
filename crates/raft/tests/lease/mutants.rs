//! The deliberate faults of leases, each of which shows in time.
//!
//! `cargo test -p raft --features mutants lease`

use std::panic::{AssertUnwindSafe, catch_unwind};

use mutants::Mutant;

use super::timed::{Start, run};

fn is_caught(mutant: Mutant) {
    let caught = mutants::with(mutant, || {
        (0..100).find_map(|seed| {
            let run = || run(3, seed, 60_000, Start::Bound).err();
            let reason = catch_unwind(AssertUnwindSafe(run)).unwrap_or_default();
            Some((seed, reason?))
        })
    });
    let (seed, reason) = caught.unwrap_or_else(|| panic!("{mutant} was not noticed"));
    println!("{mutant}: seed {seed}: {reason:.200}");
    assert!(reason.contains("Linearizable reads"), "{reason}");
}

#[test]
fn a_lease_from_the_receipt() {
    is_caught(Mutant::LeaseFromReceipt);
}

#[test]
fn a_lease_after_a_transfer() {
    is_caught(Mutant::LeaseAfterTransfer);
}
