//! Mixes of operations.

use clap::ValueEnum;
use rand::{Rng, RngExt};

/// A mix of operations. The letters are those of YCSB (Cooper et al., SoCC 2010).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// Only puts
    Put,
    /// Only gets, from any replica
    Get,
    /// Only linearizable gets
    GetConsistent,
    /// Half gets, half puts
    Mixed,
    /// YCSB A: half reads, half updates
    YcsbA,
    /// YCSB B: 95 % reads, 5 % updates
    YcsbB,
    /// YCSB C: only reads
    YcsbC,
    /// YCSB F: half reads, half read-modify-writes
    YcsbF,
    /// Transactions that put several items (`--transaction-items`)
    TransactPut,
    /// Transactions that get several items
    TransactGet,
}

/// One operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Of one key.
    Get,
    /// Of one item.
    Put,
    /// A get and then a put of the same key, measured as one.
    ReadModifyWrite,
    /// Of several items.
    TransactPut,
    /// Of several keys.
    TransactGet,
}

impl Operation {
    pub(crate) const ALL: [Self; 5] = [
        Self::Get,
        Self::Put,
        Self::ReadModifyWrite,
        Self::TransactPut,
        Self::TransactGet,
    ];

    /// As in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
            Self::ReadModifyWrite => "read_modify_write",
            Self::TransactPut => "transact_put",
            Self::TransactGet => "transact_get",
        }
    }
}

impl Workload {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::GetConsistent => "get-consistent",
            Self::Mixed => "mixed",
            Self::YcsbA => "ycsb-a",
            Self::YcsbB => "ycsb-b",
            Self::YcsbC => "ycsb-c",
            Self::YcsbF => "ycsb-f",
            Self::TransactPut => "transact-put",
            Self::TransactGet => "transact-get",
        }
    }

    /// Whether its gets are linearizable without being asked.
    pub fn is_consistent(self) -> bool {
        self == Self::GetConsistent
    }

    /// Draws the next operation.
    pub(crate) fn draw(self, random: &mut impl Rng) -> Operation {
        let (reads, other) = match self {
            Self::Put => (0, Operation::Put),
            Self::Get | Self::GetConsistent | Self::YcsbC => (100, Operation::Get),
            Self::Mixed | Self::YcsbA => (50, Operation::Put),
            Self::YcsbB => (95, Operation::Put),
            Self::YcsbF => (50, Operation::ReadModifyWrite),
            Self::TransactPut => (0, Operation::TransactPut),
            Self::TransactGet => (0, Operation::TransactGet),
        };
        if random.random_range(0..100) < reads {
            Operation::Get
        } else {
            other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    #[test]
    fn the_names_are_those_of_the_command_line() {
        for workload in Workload::value_variants() {
            let shown = workload.to_possible_value().unwrap();
            assert_eq!(shown.get_name(), workload.name());
        }
    }

    #[test]
    fn mixes_have_the_shares_that_they_promise() {
        let mut random = SmallRng::seed_from_u64(1);
        for (workload, reads) in [
            (Workload::Put, 0),
            (Workload::Get, 100),
            (Workload::GetConsistent, 100),
            (Workload::Mixed, 50),
            (Workload::YcsbA, 50),
            (Workload::YcsbB, 95),
            (Workload::YcsbC, 100),
            (Workload::YcsbF, 50),
            (Workload::TransactPut, 0),
            (Workload::TransactGet, 0),
        ] {
            let drawn = (0..10_000).map(|_| workload.draw(&mut random));
            let gets = drawn
                .filter(|&operation| operation == Operation::Get)
                .count();
            assert!(gets.abs_diff(reads * 100) < 200, "{workload:?}: {gets}");
        }
    }
}
