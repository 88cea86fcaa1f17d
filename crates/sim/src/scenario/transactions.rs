//! Scenarios of transactions.

use super::{Scenario, base};
use crate::nemesis::Kind;
use crate::workload::{Transactions, WorkTable, Workload};

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

/// Two keys that come and go, each in a shard of its own, and rounds of reads that lie far apart.
pub(super) fn absences() -> Scenario {
    let transactions = transactions();
    Scenario {
        name: "absences",
        about: "transactions that read keys which come and go, over links that stall",
        workload: Workload {
            tables: vec![table("work", 1), table("more", 1)],
            keys: 1,
            clients: 12,
            think_millis: 30,
            deletes: 0.25,
            puts: 0.25,
            batches: 0.0,
            eventual: 0.0,
            transactions: Transactions {
                puts: 0.1,
                gets: 0.4,
                items: 4,
                conditions: 0.0,
                tokens: 0.0,
            },
            ..transactions.workload
        },
        faults: vec![
            (Kind::StallingNetwork, 10),
            (Kind::SlowNetwork, 3),
            (Kind::PauseNode, 3),
            (Kind::CutOneWay, 2),
            (Kind::SlowApply, 3),
        ],
        fault_millis: 500,
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
            keys: 64,
            apart: true,
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
