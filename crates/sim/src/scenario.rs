//! What a run is made of: a cluster, what its clients do, what goes wrong.

use crate::nemesis::Kind;
use crate::workload::{Churn, WorkTable, Workload};

/// See the [module](self).
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// Data nodes.
    pub nodes: u8,
    /// Routers.
    pub routers: u8,
    /// What the clients do.
    pub workload: Workload,
    /// What the clients do that create and delete tables.
    pub churn: Churn,
    /// How long things go wrong, simulated seconds.
    pub seconds: u64,
    /// What goes wrong, by weight.
    pub faults: Vec<(Kind, u64)>,
    /// Between two faults, milliseconds on average.
    pub fault_millis: u64,
}

/// All scenarios.
pub fn all() -> Vec<Scenario> {
    vec![
        everything(),
        elections(),
        compaction(),
        restarts(),
        cuts(),
        tables(),
        old_caches(),
        disks(),
        calm(),
    ]
}

/// The scenario of a name.
pub fn named(name: &str) -> Option<Scenario> {
    all().into_iter().find(|scenario| scenario.name == name)
}

fn base(name: &'static str, about: &'static str) -> Scenario {
    Scenario {
        name,
        about,
        nodes: 3,
        routers: 2,
        workload: Workload {
            tables: vec![WorkTable {
                name: "work".to_owned(),
                shards: 8,
            }],
            clients: 8,
            keys: 24,
            think_millis: 100,
            value_bytes: 400,
            deletes: 0.08,
            puts: 0.40,
            batches: 0.04,
            eventual: 0.25,
            churners: 0,
        },
        churn: Churn {
            shards: 3,
            names: 2,
        },
        seconds: 60,
        faults: Vec::new(),
        fault_millis: 800,
    }
}

fn everything() -> Scenario {
    let weight = |kind: &Kind| match kind {
        Kind::PowerAll | Kind::KillAll | Kind::CutMajority | Kind::StopCoordination => 1,
        _ => 3,
    };
    Scenario {
        faults: Kind::ALL.iter().map(|kind| (*kind, weight(kind))).collect(),
        ..base("everything", "puts, gets and deletes under every fault")
    }
}

fn elections() -> Scenario {
    Scenario {
        faults: vec![
            (Kind::KillNode, 3),
            (Kind::PowerNode, 3),
            (Kind::PauseNode, 6),
            (Kind::CutOffNode, 3),
            (Kind::CutOneWay, 6),
            (Kind::CutNodeFromNodes, 4),
            (Kind::LoseMessages, 4),
            (Kind::DoubleMessages, 4),
            (Kind::DelayMessages, 4),
            (Kind::SlowDisk, 4),
        ],
        fault_millis: 600,
        workload: Workload {
            keys: 6,
            ..base("", "").workload
        },
        ..base("elections", "leader changes under load on few keys")
    }
}

fn compaction() -> Scenario {
    Scenario {
        faults: vec![
            (Kind::KillNode, 4),
            (Kind::PowerNode, 6),
            (Kind::DoomDisk, 4),
            (Kind::CutNodeFromNodes, 6),
            (Kind::PauseNode, 2),
            (Kind::ResetConnections, 3),
            (Kind::SlowDisk, 2),
            (Kind::SlowApply, 3),
        ],
        workload: Workload {
            value_bytes: 8_000,
            puts: 0.6,
            think_millis: 60,
            ..base("", "").workload
        },
        ..base("compaction", "log compaction and snapshots racing restarts")
    }
}

fn restarts() -> Scenario {
    Scenario {
        faults: vec![
            (Kind::PowerAll, 4),
            (Kind::KillAll, 4),
            (Kind::PowerNode, 2),
            (Kind::DoomDisk, 2),
            (Kind::SlowDisk, 1),
        ],
        fault_millis: 1_500,
        ..base("restarts", "all nodes restarting at once, again and again")
    }
}

fn cuts() -> Scenario {
    Scenario {
        nodes: 5,
        faults: vec![
            (Kind::CutOneWay, 3),
            (Kind::CutBothWays, 3),
            (Kind::CutOffNode, 3),
            (Kind::CutNodeFromNodes, 3),
            (Kind::CutMajority, 1),
            (Kind::LossyNetwork, 2),
            (Kind::StallingNetwork, 2),
            (Kind::SlowNetwork, 2),
            (Kind::ResetConnections, 2),
            (Kind::ClockDrift, 1),
            (Kind::ClockJump, 1),
        ],
        ..base("cuts", "minorities and majorities cut off, five nodes")
    }
}

fn tables() -> Scenario {
    Scenario {
        workload: Workload {
            churners: 3,
            clients: 5,
            ..base("", "").workload
        },
        faults: vec![
            (Kind::KillNode, 3),
            (Kind::PowerNode, 2),
            (Kind::KillRouter, 5),
            (Kind::PauseRouter, 4),
            (Kind::PauseNode, 2),
            (Kind::CutCoordination, 4),
            (Kind::StopCoordination, 1),
            (Kind::FlakyCoordination, 4),
            (Kind::CutOneWay, 2),
            (Kind::CutBothWays, 2),
        ],
        ..base("tables", "tables created and deleted under faults")
    }
}

fn old_caches() -> Scenario {
    Scenario {
        routers: 3,
        workload: Workload {
            churners: 2,
            ..base("", "").workload
        },
        faults: vec![
            (Kind::PauseRouter, 6),
            (Kind::CutCoordination, 6),
            (Kind::FlakyCoordination, 3),
            (Kind::PauseNode, 2),
            (Kind::KillNode, 2),
            (Kind::ResetConnections, 3),
            (Kind::StallingNetwork, 3),
        ],
        ..base("old-caches", "routers whose caches are old")
    }
}

fn disks() -> Scenario {
    Scenario {
        faults: vec![
            (Kind::DoomDisk, 5),
            (Kind::DiskError, 4),
            (Kind::DiskFull, 3),
            (Kind::StoreError, 3),
            (Kind::PowerNode, 4),
            (Kind::PowerAll, 2),
            (Kind::SlowDisk, 3),
            (Kind::KillNode, 2),
        ],
        ..base("disks", "disks that fail, fill up and lose their power")
    }
}

fn calm() -> Scenario {
    base("calm", "nothing goes wrong")
}

/// The scenario that a seed stands for: most of them are `everything`.
pub fn of_seed(seed: u64) -> Scenario {
    const ORDER: [&str; 12] = [
        "everything",
        "elections",
        "everything",
        "compaction",
        "tables",
        "everything",
        "restarts",
        "cuts",
        "everything",
        "disks",
        "old-caches",
        "everything",
    ];
    let name = ORDER[(seed % ORDER.len() as u64) as usize];
    named(name).unwrap_or_else(everything)
}
