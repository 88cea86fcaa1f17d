//! What is measured: kinds of work at a number of clients.

use load::{Distribution, Placement, Workload};
use serde::Serialize;

use crate::systems::System::{self, Calls, Ceiling, Etcd, Ours};

/// Bytes of a value where nothing else is said.
pub const SMALL: usize = 128;
/// Items of a transaction.
pub const ITEMS: usize = 3;

/// A kind of work, and what stands for it in each system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// An eventual Get; a serializable get of etcd.
    EventualGet,
    /// A consistent Get; a linearizable get of etcd.
    ConsistentGet,
    /// A Put.
    Put,
    /// A TransactGet of keys in different shards; a transaction of gets in etcd.
    TransactGet,
    /// A TransactPut of keys in different shards; a transaction of puts in etcd.
    TransactPut,
    /// A TransactPut of keys in one shard.
    TransactPutOneShard,
    /// YCSB A over zipfian keys, its reads consistent.
    YcsbA,
    /// YCSB B, likewise.
    YcsbB,
    /// YCSB C, likewise.
    YcsbC,
    /// YCSB F, likewise.
    YcsbF,
}

impl Work {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::EventualGet => "eventual Get",
            Self::ConsistentGet => "consistent Get",
            Self::Put => "Put",
            Self::TransactGet => "TransactGet",
            Self::TransactPut => "TransactPut",
            Self::TransactPutOneShard => "TransactPut, one shard",
            Self::YcsbA => "YCSB A",
            Self::YcsbB => "YCSB B",
            Self::YcsbC => "YCSB C",
            Self::YcsbF => "YCSB F",
        }
    }

    /// The generator's word for it.
    pub(crate) fn workload(self) -> Workload {
        match self {
            Self::EventualGet => Workload::Get,
            Self::ConsistentGet => Workload::GetConsistent,
            Self::Put => Workload::Put,
            Self::TransactGet => Workload::TransactGet,
            Self::TransactPut | Self::TransactPutOneShard => Workload::TransactPut,
            Self::YcsbA => Workload::YcsbA,
            Self::YcsbB => Workload::YcsbB,
            Self::YcsbC => Workload::YcsbC,
            Self::YcsbF => Workload::YcsbF,
        }
    }

    pub(crate) fn placement(self, shards: u32) -> Placement {
        match self {
            Self::TransactGet | Self::TransactPut => Placement::Apart(shards),
            Self::TransactPutOneShard => Placement::Together(shards),
            _ => Placement::Anywhere,
        }
    }

    pub(crate) fn distribution(self) -> Distribution {
        match self {
            Self::YcsbA | Self::YcsbB | Self::YcsbC | Self::YcsbF => Distribution::Zipfian,
            _ => Distribution::Uniform,
        }
    }
}

/// What one run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Point {
    /// What is done.
    pub work: Work,
    /// Requests in flight.
    pub clients: u32,
    /// Bytes of a value, and of a message of the ceiling.
    pub value_size: usize,
    /// Operations per second; as many as possible without.
    pub rate: Option<u32>,
}

impl Point {
    /// With small values, as many operations as possible.
    pub const fn new(work: Work, clients: u32) -> Self {
        Self {
            work,
            clients,
            value_size: SMALL,
            rate: None,
        }
    }

    /// The same with values of another size.
    #[must_use]
    pub const fn of_size(self, value_size: usize) -> Self {
        Self { value_size, ..self }
    }

    /// The same at a fixed rate.
    #[must_use]
    pub const fn at(self, rate: u32) -> Self {
        Self {
            rate: Some(rate),
            ..self
        }
    }

    /// For people: work, clients, size, rate.
    pub fn name(&self) -> String {
        let clients = match self.clients {
            1 => "1 client".to_owned(),
            clients => format!("{clients} clients"),
        };
        let rate = self.rate.map(|rate| format!(", {rate}/s"));
        format!(
            "{}, {clients}, {} B{}",
            self.work.name(),
            self.value_size,
            rate.unwrap_or_default()
        )
    }
}

/// One value of the size of all items of a transaction.
pub const TOGETHER: usize = ITEMS * SMALL;
/// The larger values.
pub const LARGE: usize = 1024;
/// What each system can do easily, where they are pressed equally.
pub const RATE: u32 = 2000;

/// As many clients as the throughput is measured with.
pub const CLIENTS: u32 = 256;
/// Four times as many as that.
pub const OVERLOAD: u32 = 4 * CLIENTS;

/// Every point, with the systems that take part, in the order of the runs.
pub fn all(quick: bool) -> Vec<(Point, Vec<System>)> {
    let both = || vec![Ours, Etcd];
    let mut points = Vec::new();
    for work in [Work::EventualGet, Work::ConsistentGet, Work::Put] {
        let all = vec![Ours, Etcd, Calls, Ceiling];
        points.push((Point::new(work, CLIENTS), all));
        points.push((Point::new(work, 64), both()));
        points.push((Point::new(work, 1), both()));
    }
    for work in [Work::ConsistentGet, Work::Put] {
        points.push((Point::new(work, OVERLOAD), vec![Ours]));
    }
    let large = Point::new(Work::Put, CLIENTS).of_size(LARGE);
    points.push((large, vec![Ours, Etcd, Calls]));
    points.push((Point::new(Work::Put, 64).of_size(TOGETHER), vec![Ours]));
    points.push((Point::new(Work::TransactPutOneShard, 64), vec![Ours]));
    points.push((Point::new(Work::TransactGet, 64), both()));
    points.push((Point::new(Work::TransactPut, 64), both()));
    if !quick {
        for work in [Work::YcsbA, Work::YcsbB, Work::YcsbC, Work::YcsbF] {
            points.push((Point::new(work, 64), both()));
        }
        for work in [Work::ConsistentGet, Work::Put] {
            points.push((Point::new(work, 64).at(RATE), both()));
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_have_names_of_their_own() {
        for quick in [true, false] {
            let points = all(quick);
            let names: std::collections::BTreeSet<_> =
                points.iter().map(|(point, _)| point.name()).collect();
            assert_eq!(names.len(), points.len());
        }
        let point = Point::new(Work::Put, 1).of_size(LARGE).at(10);
        assert_eq!(point.name(), "Put, 1 client, 1024 B, 10/s");
    }

    #[test]
    fn a_quick_comparison_leaves_no_goal_out() {
        let quick = all(true);
        let full = all(false);
        assert!(quick.iter().all(|point| full.contains(point)));
        assert!(quick.len() < full.len());
    }
}
