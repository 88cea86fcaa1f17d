//! Scenarios of transactions.

use super::{Scenario, base};
use crate::nemesis::Kind;
use crate::workload::{Churn, Transactions, WorkTable, Workload};

fn table(name: &str, shards: u32) -> WorkTable {
    WorkTable {
        name: name.to_owned(),
        shards,
        replicas: 3,
    }
}

pub(super) fn transactions() -> Scenario {
    Scenario {
        routers: 3,
        workload: Workload {
            tables: vec![table("work", 3), table("more", 2)],
            clients: 8,
            keys: 5,
            think_millis: 60,
            value_bytes: 40,
            deletes: 0.08,
            puts: 0.14,
            batches: 0.02,
            transactions: Transactions {
                puts: 0.34,
                gets: 0.22,
                items: 4,
                conditions: 0.25,
                tokens: 0.2,
            },
            ..base("", "").workload
        },
        faults: coordinators_die(),
        ..base(
            "transactions",
            "transactions, puts, gets and deletes on few keys while all who take part die",
        )
    }
}

pub(super) fn bank() -> Scenario {
    let transactions = transactions();
    Scenario {
        name: "bank",
        about: "transfers between accounts whose sum never changes, while all who take part die",
        workload: Workload {
            clients: 2,
            tellers: 6,
            accounts: 4,
            ..transactions.workload.clone()
        },
        ..transactions
    }
}

/// What goes wrong where transactions are: most of it hits those who coordinate them.
fn coordinators_die() -> Vec<(Kind, u64)> {
    vec![
        (Kind::KillRouter, 5),
        (Kind::StopRouter, 1),
        (Kind::PauseRouter, 5),
        (Kind::HuntCoordinators, 6),
        (Kind::KillNode, 3),
        (Kind::PowerNode, 2),
        (Kind::PauseNode, 3),
        (Kind::KillAll, 1),
        (Kind::CutOneWay, 2),
        (Kind::CutBothWays, 3),
        (Kind::CutOffNode, 1),
        (Kind::CutNodeFromNodes, 2),
        (Kind::ResetConnections, 4),
        (Kind::StallingNetwork, 3),
        (Kind::LossyNetwork, 2),
        (Kind::LoseMessages, 1),
        (Kind::DoubleMessages, 1),
        (Kind::ClockJump, 2),
        (Kind::ClockDrift, 1),
        (Kind::CutCoordination, 5),
        (Kind::StopCoordination, 1),
        (Kind::FlakyCoordination, 4),
        (Kind::LateWrites, 4),
        (Kind::SlowApply, 2),
    ]
}

/// Recoverers race living coordinators all the time: the decision is written twice, and one of the two must fail.
pub(super) fn impatient() -> Scenario {
    Scenario {
        name: "impatient",
        about: "routers that take transactions up while their coordinators are still at them",
        recovery_millis: Some(200),
        faults: vec![
            (Kind::SlowNetwork, 5),
            (Kind::StallingNetwork, 5),
            (Kind::LateWrites, 8),
            (Kind::FlakyCoordination, 4),
            (Kind::CutCoordination, 3),
            (Kind::PauseRouter, 4),
            (Kind::PauseNode, 3),
            (Kind::SlowApply, 3),
            (Kind::SlowDisk, 3),
            (Kind::KillRouter, 2),
            (Kind::CutBothWays, 2),
        ],
        ..transactions()
    }
}

/// What is lost in the ledger the participants still know. Their clocks are right: what they know they know for a time.
pub(super) fn lost_entries() -> Scenario {
    Scenario {
        name: "lost-entries",
        about: "a ledger that loses transactions which are half applied",
        faults: vec![
            (Kind::LoseEntries, 10),
            (Kind::KillRouter, 2),
            (Kind::KillNode, 3),
            (Kind::PauseNode, 4),
            (Kind::CutBothWays, 4),
            (Kind::CutNodeFromNodes, 3),
            (Kind::StallingNetwork, 4),
            (Kind::SlowNetwork, 2),
            (Kind::SlowDisk, 3),
            (Kind::SlowApply, 2),
            (Kind::CutCoordination, 2),
            (Kind::ResetConnections, 2),
        ],
        fault_millis: 600,
        ..transactions()
    }
}

/// Followers that are cut off get snapshots with intents in them.
pub(super) fn snapshots() -> Scenario {
    let transactions = transactions();
    Scenario {
        name: "snapshots",
        about: "snapshots of shards that hold intents",
        workload: Workload {
            value_bytes: 6_000,
            keys: 12,
            puts: 0.3,
            transactions: Transactions {
                items: 3,
                ..transactions.workload.transactions
            },
            ..transactions.workload
        },
        faults: vec![
            (Kind::HuntCoordinators, 8),
            (Kind::KillRouter, 3),
            (Kind::CutNodeFromNodes, 8),
            (Kind::HuntLeaders, 3),
            (Kind::KillNode, 4),
            (Kind::PowerNode, 3),
            (Kind::PauseNode, 4),
            (Kind::SlowApply, 2),
        ],
        group_log_bytes: 6 << 10,
        persist_millis: 100,
        ..transactions
    }
}

/// Doors that come and go, and rounds of reads that lie far apart.
pub(super) fn absences() -> Scenario {
    let transactions = transactions();
    Scenario {
        name: "absences",
        about: "transactions that read keys which come and go, through routers that are far away",
        workload: Workload {
            tables: vec![table("work", 1), table("more", 1)],
            keys: 2,
            doors: 3,
            door_millis: 60,
            clients: 18,
            think_millis: 200,
            deletes: 0.03,
            puts: 0.03,
            batches: 0.0,
            eventual: 0.5,
            transactions: Transactions {
                puts: 0.03,
                gets: 0.85,
                conditions: 0.0,
                tokens: 0.0,
                ..transactions.workload.transactions
            },
            ..transactions.workload
        },
        faults: vec![
            (Kind::FarRouter, 12),
            (Kind::PauseNode, 2),
            (Kind::SlowApply, 1),
            (Kind::StallingNetwork, 1),
            (Kind::KillNode, 1),
        ],
        ..transactions
    }
}

/// Nobody is in anybody's way but by what was left behind.
pub(super) fn apart() -> Scenario {
    let transactions = transactions();
    Scenario {
        name: "apart",
        about: "transactions of clients that have keys of their own, whose messages are lost and come twice",
        workload: Workload {
            keys: 40,
            apart: true,
            think_millis: 150,
            transactions: Transactions {
                puts: 0.6,
                tokens: 0.05,
                conditions: 0.05,
                ..transactions.workload.transactions
            },
            ..transactions.workload
        },
        faults: vec![
            (Kind::ResetConnections, 8),
            (Kind::DoubleMessages, 2),
            (Kind::LossyNetwork, 2),
            (Kind::StopNode, 3),
            (Kind::KillNode, 2),
            (Kind::HuntLeaders, 1),
            (Kind::CutOneWay, 2),
        ],
        fault_millis: 1_500,
        ..transactions
    }
}

/// Tables go while transactions write to them, and to others that stay.
pub(super) fn dropped() -> Scenario {
    let transactions = transactions();
    Scenario {
        name: "dropped",
        about: "tables that are deleted while transactions write to them and to others",
        workload: Workload {
            clients: 4,
            churners: 5,
            ..transactions.workload
        },
        churn: Churn {
            shards: 2,
            names: 2,
            races: 0.0,
            transactions: 0.8,
        },
        faults: vec![
            (Kind::KillRouter, 4),
            (Kind::PauseRouter, 4),
            (Kind::HuntCoordinators, 3),
            (Kind::KillNode, 3),
            (Kind::PauseNode, 3),
            (Kind::CutOneWay, 2),
            (Kind::CutBothWays, 2),
            (Kind::CutCoordination, 4),
            (Kind::FlakyCoordination, 3),
            (Kind::LateWrites, 3),
            (Kind::DeleteBehindCut, 3),
            (Kind::SlowApply, 2),
        ],
        fault_millis: 1_000,
        ..transactions
    }
}

/// Clocks that are further off than shards remember anything. Without tokens, which a controller forgets whose clock is far
/// ahead (decision 24).
pub(super) fn clocks() -> Scenario {
    let transactions = transactions();
    Scenario {
        name: "clocks",
        about: "transactions under clocks that jump, drift and are an hour off",
        workload: Workload {
            transactions: Transactions {
                tokens: 0.0,
                ..transactions.workload.transactions
            },
            ..transactions.workload
        },
        faults: vec![
            (Kind::NodeHour, 5),
            (Kind::RouterHour, 5),
            (Kind::ClockLeap, 4),
            (Kind::ClockJump, 4),
            (Kind::ClockDrift, 3),
            (Kind::KillNode, 3),
            (Kind::StopNode, 2),
            (Kind::KillRouter, 3),
            (Kind::PauseRouter, 2),
            (Kind::PauseNode, 3),
            (Kind::ResetConnections, 3),
            (Kind::CutCoordination, 2),
        ],
        fault_millis: 700,
        ..transactions
    }
}
