//! The one macro by which product code names a [mutant](https://en.wikipedia.org/wiki/Mutation_testing).
//!
//! This file belongs to the crate `mutants` and is compiled into each crate that has sites, by its path:
//! a macro from a crate would make that crate a dependency of the product.

/// Whether this deliberate fault is wanted: asks the crate `mutants`, whose catalogue says what it is.
#[cfg(feature = "mutants")]
macro_rules! mutant {
    ($name:ident) => {
        mutants::is_active(mutants::Mutant::$name)
    };
}

/// Whether this deliberate fault is wanted: never, without the feature `mutants`. Nothing of it is compiled.
#[cfg(not(feature = "mutants"))]
macro_rules! mutant {
    ($name:ident) => {
        false
    };
}
