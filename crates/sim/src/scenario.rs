//! What a run is made of: a cluster, what its clients do, what goes wrong.

mod transactions;

use datanode::ReadMode;

use crate::nemesis::Kind;
use crate::workload::{Churn, Transactions, WorkTable, Workload};

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
    /// The log of one group is compacted beyond so many bytes.
    pub group_log_bytes: u64,
    /// The state store is made durable so often, milliseconds.
    pub persist_millis: u64,
    /// Routers take up a transaction that others have not finished after so long, milliseconds; `None`: as in
    /// production.
    pub recovery_millis: Option<u64>,
    /// How leaders answer consistent reads.
    pub read_mode: ReadMode,
}

impl Scenario {
    /// Whether a leader's clock may be so far ahead that it forgets all that its shard remembers.
    pub fn clocks_leap(&self) -> bool {
        let leaps = |kind| matches!(kind, Kind::ClockLeap | Kind::NodeHour);
        self.faults
            .iter()
            .any(|(kind, weight)| *weight > 0 && leaps(*kind))
    }
}

/// All scenarios.
pub fn all() -> Vec<Scenario> {
    vec![
        everything(),
        elections(),
        compaction(),
        restarts(),
        cuts(),
        figure_8(),
        stale_leaders(),
        tables(),
        churn(),
        old_caches(),
        disks(),
        lost_log(),
        old_backup(),
        operators(),
        transactions::transactions(),
        transactions::bank(),
        transactions::impatient(),
        transactions::lost_entries(),
        transactions::snapshots(),
        transactions::absences(),
        transactions::apart(),
        transactions::dropped(),
        transactions::clocks(),
        idle(),
        calm(),
        leases(),
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
                replicas: 3,
            }],
            clients: 8,
            keys: 24,
            apart: false,
            think_millis: 100,
            value_bytes: 400,
            deletes: 0.08,
            puts: 0.40,
            batches: 0.04,
            eventual: 0.25,
            churners: 0,
            transactions: Transactions::default(),
            tellers: 0,
            accounts: 0,
            doors: 0,
            door_millis: 250,
        },
        churn: Churn {
            shards: 3,
            names: 2,
            races: 0.2,
            transactions: 0.0,
        },
        seconds: 60,
        faults: Vec::new(),
        fault_millis: 800,
        group_log_bytes: 96 << 10,
        persist_millis: 1_000,
        recovery_millis: None,
        read_mode: ReadMode::Quorum,
    }
}

fn everything() -> Scenario {
    let weight = |kind: &Kind| match kind {
        // For scenarios of their own: a node that serves nothing any more, a table that nobody can use, entries whose loss is
        // survived only while clocks are right, tokens that a clock which is far ahead forgets.
        Kind::LoseLog
        | Kind::HideTable
        | Kind::UndoTable
        | Kind::KeepTable
        | Kind::DropTable
        | Kind::ForgetNode
        | Kind::LoseEntries
        | Kind::RouterHour
        // For nodes with leases.
        | Kind::SlightDrift
        | Kind::PauseBehindCut
        | Kind::RestartBehindCut
        | Kind::StopBehindCut => 0,
        Kind::PowerAll
        | Kind::KillAll
        | Kind::CutMajority
        | Kind::HuntLeaders
        | Kind::CutCoordinationWidely
        | Kind::StopCoordination => 1,
        _ => 3,
    };
    Scenario {
        workload: Workload {
            churners: 1,
            puts: 0.36,
            think_millis: 70,
            transactions: Transactions {
                puts: 0.06,
                gets: 0.04,
                items: 3,
                conditions: 0.1,
                tokens: 0.2,
            },
            ..base("", "").workload
        },
        churn: Churn {
            transactions: 0.2,
            ..base("", "").churn
        },
        faults: Kind::ALL.iter().map(|kind| (*kind, weight(kind))).collect(),
        // Not every fault finds something to hit: one in a second is to.
        fault_millis: 680,
        ..base(
            "everything",
            "puts, gets, deletes, transactions and a table that comes and goes, under every fault",
        )
    }
}

fn elections() -> Scenario {
    Scenario {
        faults: vec![
            (Kind::KillNode, 3),
            (Kind::StopNode, 3),
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
            (Kind::HuntLeaders, 4),
        ],
        workload: Workload {
            tables: vec![WorkTable {
                name: "work".to_owned(),
                shards: 3,
                replicas: 3,
            }],
            value_bytes: 16_000,
            puts: 0.6,
            clients: 24,
            think_millis: 900,
            ..base("", "").workload
        },
        group_log_bytes: 6 << 10,
        persist_millis: 100,
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
            (Kind::ClockLeap, 1),
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
            (Kind::ClockLeap, 2),
        ],
        ..base("cuts", "minorities and majorities cut off, five nodes")
    }
}

fn figure_8() -> Scenario {
    Scenario {
        workload: Workload {
            tables: vec![WorkTable {
                name: "work".to_owned(),
                shards: 4,
                replicas: 3,
            }],
            keys: 16,
            think_millis: 150,
            value_bytes: 20,
            ..base("", "").workload
        },
        faults: vec![
            (Kind::HuntLeaders, 10),
            (Kind::PauseNode, 1),
            (Kind::KillNode, 1),
            (Kind::LoseMessages, 1),
            (Kind::DelayMessages, 1),
        ],
        fault_millis: 2_000,
        ..base(
            "figure-8",
            "leaders that are cut off one after the other, as soon as they are elected",
        )
    }
}

fn stale_leaders() -> Scenario {
    Scenario {
        routers: 4,
        workload: Workload {
            tables: vec![WorkTable {
                name: "work".to_owned(),
                shards: 2,
                replicas: 3,
            }],
            clients: 12,
            keys: 2,
            think_millis: 50,
            value_bytes: 20,
            eventual: 0.1,
            ..base("", "").workload
        },
        faults: vec![
            (Kind::PauseNode, 6),
            (Kind::CutNodeFromNodes, 4),
            (Kind::CutOneWay, 2),
            (Kind::ClockDrift, 4),
            (Kind::LoseMessages, 1),
            (Kind::DelayMessages, 2),
        ],
        fault_millis: 500,
        ..base(
            "stale-leaders",
            "leaders that were deposed while they were paused or cut off, and routers that still believe in them",
        )
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
            (Kind::StopRouter, 2),
            (Kind::StopNode, 2),
            (Kind::PauseRouter, 4),
            (Kind::PauseNode, 2),
            (Kind::CutCoordination, 4),
            (Kind::StopCoordination, 1),
            (Kind::FlakyCoordination, 4),
            (Kind::LateWrites, 4),
            (Kind::DeleteBehindCut, 4),
            (Kind::CutOneWay, 2),
            (Kind::CutBothWays, 2),
        ],
        ..base("tables", "tables created and deleted under faults")
    }
}

fn churn() -> Scenario {
    Scenario {
        nodes: 5,
        routers: 3,
        workload: Workload {
            churners: 10,
            clients: 1,
            ..base("", "").workload
        },
        churn: Churn {
            shards: 2,
            names: 1,
            races: 0.2,
            transactions: 0.0,
        },
        faults: vec![
            (Kind::KillNode, 4),
            (Kind::PowerNode, 4),
            (Kind::KillRouter, 3),
            (Kind::PauseRouter, 3),
            (Kind::PauseNode, 3),
            (Kind::CutCoordination, 5),
            (Kind::StopCoordination, 1),
            (Kind::FlakyCoordination, 4),
            (Kind::LateWrites, 6),
            (Kind::DeleteBehindCut, 5),
            (Kind::CutOffNode, 2),
            (Kind::CutOneWay, 2),
        ],
        fault_millis: 1_200,
        ..base(
            "churn",
            "many short-lived tables under few names, created and deleted under faults",
        )
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
            (Kind::CutCoordinationWidely, 2),
            (Kind::FlakyCoordination, 3),
            (Kind::DeleteBehindCut, 4),
            (Kind::PauseNode, 2),
            (Kind::KillNode, 2),
            (Kind::ResetConnections, 3),
            (Kind::StallingNetwork, 3),
        ],
        ..base("old-caches", "routers whose caches are old")
    }
}

fn lost_log() -> Scenario {
    Scenario {
        faults: vec![
            (Kind::LoseLog, 1),
            (Kind::KillNode, 3),
            (Kind::PowerNode, 3),
            (Kind::PauseNode, 3),
            (Kind::CutNodeFromNodes, 3),
            (Kind::CutOneWay, 2),
        ],
        fault_millis: 1_500,
        ..base(
            "lost-log",
            "a node whose log is lost while the rest of its data stays",
        )
    }
}

fn disks() -> Scenario {
    Scenario {
        faults: vec![
            (Kind::DoomDisk, 5),
            (Kind::DiskError, 4),
            (Kind::DiskFull, 3),
            (Kind::StoreError, 3),
            (Kind::StoreWriteError, 3),
            (Kind::StoreFull, 3),
            (Kind::PowerNode, 4),
            (Kind::PowerAll, 2),
            (Kind::SlowDisk, 3),
            (Kind::KillNode, 2),
        ],
        ..base("disks", "disks that fail, fill up and lose their power")
    }
}

fn old_backup() -> Scenario {
    Scenario {
        faults: vec![
            (Kind::HideTable, 4),
            (Kind::UndoTable, 4),
            (Kind::KillNode, 2),
            (Kind::KillRouter, 2),
            (Kind::CutCoordination, 2),
            (Kind::PauseNode, 1),
            (Kind::CutOneWay, 1),
        ],
        fault_millis: 1_500,
        ..base(
            "old-backup",
            "a coordination store in which a table is missing for a while, or being created once more and undone",
        )
    }
}

fn operators() -> Scenario {
    Scenario {
        nodes: 4,
        faults: vec![
            (Kind::KeepTable, 3),
            (Kind::DropTable, 5),
            (Kind::LateWrites, 4),
            (Kind::ForgetNode, 3),
            (Kind::KillNode, 3),
            (Kind::PowerNode, 2),
            (Kind::KillRouter, 1),
            (Kind::CutCoordination, 4),
            (Kind::PauseNode, 1),
            (Kind::CutOneWay, 1),
        ],
        fault_millis: 1_200,
        ..base(
            "operators",
            "tables that are lost and kept or dropped, nodes that are forgotten, by an operator's commands",
        )
    }
}

fn idle() -> Scenario {
    Scenario {
        workload: Workload {
            tables: vec![WorkTable {
                name: "work".to_owned(),
                shards: 16,
                replicas: 3,
            }],
            clients: 3,
            keys: 32,
            think_millis: 1_500,
            ..base("", "").workload
        },
        faults: vec![
            (Kind::KillNode, 3),
            (Kind::PowerNode, 2),
            (Kind::StopNode, 2),
            (Kind::PauseNode, 4),
            (Kind::KillAll, 1),
            (Kind::CutOffNode, 3),
            (Kind::CutOneWay, 4),
            (Kind::CutBothWays, 3),
            (Kind::CutNodeFromNodes, 3),
            (Kind::LossyNetwork, 3),
            (Kind::LoseMessages, 6),
            (Kind::DoubleMessages, 3),
            (Kind::DelayMessages, 4),
            (Kind::ResetConnections, 3),
            (Kind::DoomDisk, 1),
            (Kind::StoreFull, 1),
            (Kind::ClockDrift, 2),
        ],
        fault_millis: 3_000,
        ..base(
            "idle",
            "shards that hardly anybody uses, so that they rest and wake while all goes wrong",
        )
    }
}

/// Clocks drift here, but for as much as a lease allows for.
fn leases() -> Scenario {
    Scenario {
        routers: 4,
        workload: Workload {
            tables: vec![WorkTable {
                name: "work".to_owned(),
                shards: 6,
                replicas: 3,
            }],
            clients: 36,
            keys: 6,
            think_millis: 30,
            value_bytes: 20,
            // A node that lacks the latest write is not elected, and eventual reads tell routers of new leaders.
            puts: 0.1,
            deletes: 0.02,
            batches: 0.01,
            eventual: 0.3,
            ..base("", "").workload
        },
        faults: vec![
            (Kind::SlightDrift, 6),
            (Kind::PauseBehindCut, 6),
            (Kind::RestartBehindCut, 8),
            (Kind::StopBehindCut, 4),
            (Kind::PauseNode, 4),
            (Kind::KillNode, 2),
            (Kind::PowerNode, 1),
            (Kind::StopNode, 1),
            (Kind::CutNodeFromNodes, 2),
            (Kind::CutOneWay, 3),
            (Kind::SlowNetwork, 2),
            (Kind::StallingNetwork, 2),
            (Kind::LoseMessages, 2),
            (Kind::DoubleMessages, 1),
            (Kind::DelayMessages, 4),
            (Kind::ClockJump, 1),
        ],
        fault_millis: 500,
        read_mode: ReadMode::Lease,
        ..base(
            "leases",
            "leaders that read without asking, while clocks drift, nodes pause and start again, and messages come late",
        )
    }
}

fn calm() -> Scenario {
    base("calm", "nothing goes wrong")
}

/// The scenario that a seed stands for: `everything` more often than any other.
pub fn of_seed(seed: u64) -> Scenario {
    const ORDER: [&str; 32] = [
        "everything",
        "elections",
        "compaction",
        "tables",
        "everything",
        "restarts",
        "cuts",
        "churn",
        "disks",
        "old-caches",
        "everything",
        "figure-8",
        "stale-leaders",
        "compaction",
        "lost-log",
        "tables",
        "everything",
        "figure-8",
        "stale-leaders",
        "old-backup",
        "transactions",
        "bank",
        "operators",
        "transactions",
        "impatient",
        "lost-entries",
        "snapshots",
        "absences",
        "idle",
        "apart",
        "dropped",
        "clocks",
    ];
    let (round, place) = (seed / ORDER.len() as u64, seed % ORDER.len() as u64);
    let mut name = ORDER[place as usize];
    // It came later, and the other seeds are to stay what they were.
    if name == "stale-leaders" && round % 4 == 3 {
        name = "leases";
    }
    named(name).unwrap_or_else(everything)
}
