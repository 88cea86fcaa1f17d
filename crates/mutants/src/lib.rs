//! Deliberate faults in our own code, each a mistake that somebody has made or could make.
//!
//! A simulation that has never found anything may be perfect, or blind. So the product can be built with
//! its *mutants*: small changes for the worse, all of them off, one of which a test switches on. A simulation
//! that does not find it within a bounded number of seeds is blind in that place.
//!
//! ```text
//! raft/src/replica/replication.rs
//!     let own = if mutant!(LeaderCountsUnsynced) { last } else { self.log.persisted };
//!                          └── is_active(Mutant::LeaderCountsUnsynced), or `false` in every product build
//! ```
//!
//! | where | what |
//! |---|---|
//! | [`Mutant`] | the catalogue: what each of them is, what should notice it, which faults that takes |
//! | `site.rs` | the macro `mutant!`, which each crate with sites compiles in by its path |
//! | the feature `mutants` of those crates | turns the sites on; without it the macro is `false` and nothing is compiled |
//! | [`activate`], [`with`] | one mutant for this thread |
//!
//! # One thread, one mutant
//!
//! What is active is kept per thread. A simulation runs wholly on one thread: all its nodes, routers and
//! clients have the fault, like a cluster in which the faulty version was rolled out; and several
//! simulations on several threads don't disturb each other. Code on threads of its own (a running node
//! with its shell, a thread pool) sees no mutant at all.
//!
//! # Caveats
//!
//! * No product binary may have the feature: `minidynamo` has none of that name, a test looks at what it depends
//!   on, and `scripts/test` looks into the binary for what only this crate brings.
//! * A mutant is one change at a time. Two at once could hide each other.

mod catalogue;

use std::cell::Cell;
use std::fmt;
use std::str::FromStr;

pub use catalogue::Mutant;

thread_local! {
    static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// No mutant has this name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownMutant(String);

impl fmt::Display for UnknownMutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no mutant `{}`; there are", self.0)?;
        for mutant in Mutant::ALL {
            write!(f, " {mutant}")?;
        }
        Ok(())
    }
}

impl std::error::Error for UnknownMutant {}

/// Switches the mutant of this name on for the calling thread, and every other one off; `None` switches all off.
///
/// # Errors
/// If there is none of this name. Then nothing has changed.
pub fn activate(name: Option<&str>) -> Result<(), UnknownMutant> {
    ACTIVE.set(name.map(str::parse).transpose()?);
    Ok(())
}

/// The mutant that is on for the calling thread.
#[must_use]
pub fn active() -> Option<Mutant> {
    ACTIVE.get()
}

/// Whether this mutant is on for the calling thread: what `mutant!` asks at every site.
#[must_use]
pub fn is_active(mutant: Mutant) -> bool {
    ACTIVE.get() == Some(mutant)
}

/// Runs something on the calling thread with this mutant on. Afterwards what was on before is on again, even
/// if it panics.
pub fn with<T>(mutant: Mutant, run: impl FnOnce() -> T) -> T {
    struct Restore(Option<Mutant>);
    impl Drop for Restore {
        fn drop(&mut self) {
            ACTIVE.set(self.0);
        }
    }
    let _restore = Restore(ACTIVE.replace(Some(mutant)));
    run()
}

/// For the tests of the crates that have sites: runs a test that passes otherwise with this mutant on, and says
/// whether it failed.
pub fn is_noticed(mutant: Mutant, test: fn()) -> bool {
    std::panic::catch_unwind(|| with(mutant, test)).is_err()
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mutant {
    type Err = UnknownMutant;

    fn from_str(name: &str) -> Result<Self, UnknownMutant> {
        let found = Mutant::ALL.iter().find(|mutant| mutant.name() == name);
        found.copied().ok_or_else(|| UnknownMutant(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_in_kebab_case() {
        let names: BTreeSet<_> = Mutant::ALL.iter().map(|mutant| mutant.name()).collect();
        assert_eq!(names.len(), Mutant::ALL.len());
        for name in names {
            let plain = |c: char| c.is_ascii_lowercase() || c == '-';
            assert!(name.chars().all(plain) && name.len() > 5, "{name}");
        }
    }

    #[test]
    fn each_has_a_sentence_that_is_its_own() {
        let sentences: BTreeSet<_> = Mutant::ALL.iter().map(|m| m.description()).collect();
        assert_eq!(sentences.len(), Mutant::ALL.len());
        for mutant in Mutant::ALL {
            assert!(mutant.description().ends_with('.'), "{mutant}");
            assert!(!mutant.caught_by().is_empty(), "{mutant}");
            assert!(!mutant.needs().is_empty(), "{mutant}");
        }
    }

    #[test]
    fn one_at_a_time_and_for_one_thread_only() {
        activate(Some("vote-before-sync")).unwrap();
        assert!(is_active(Mutant::VoteBeforeSync) && !is_active(Mutant::VoteTwice));
        let elsewhere = std::thread::spawn(active).join().unwrap();
        assert_eq!(elsewhere, None);
        assert!(activate(Some("vote-before")).is_err());
        assert_eq!(active(), Some(Mutant::VoteBeforeSync));
        activate(None).unwrap();
        assert_eq!(active(), None);
    }

    #[test]
    fn what_was_on_before_is_on_again_even_after_a_panic() {
        let inner = || with(Mutant::VoteTwice, || panic!("for the test"));
        let outer = with(Mutant::VoteBeforeSync, || {
            assert!(std::panic::catch_unwind(inner).is_err());
            active()
        });
        assert_eq!((outer, active()), (Some(Mutant::VoteBeforeSync), None));
    }
}
