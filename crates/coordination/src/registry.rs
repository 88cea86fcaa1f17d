//! What every role does with the tree, written once over the trait.
//!
//! | who | what |
//! |---|---|
//! | everyone, first | [`initialise`]: agree on one cluster id and one tree |
//! | router | [`register_router`], [`read_tables`], [`create_table`], stand for controller with [`Election`] |
//! | data node | [`read_member`], [`change_member`], [`register_live_node`], [`read_tombstones`], [`confirm_destroyed`], [`sweep_tombstones`] |
//! | controller | [`set_table_state`], [`remove_table`] |
//! | router, for transactions | [`begin_transaction`], [`decide_transaction`], [`create_cancelled`], [`finish_transaction`], [`sweep_tokens`] |
//! | router, for an operator | [`forget_node`], [`restore_table`], [`condemn_table`] |
//!
//! # How a write is carried out
//!
//! All writes here follow one scheme. They are conditional; when one fails, or its answer is lost, the
//! writer syncs, reads what is there, and either has what it wanted, or knows that it can't have it, or
//! tries again. So each of these functions may be called again after any error, and an error that says
//! that the outcome is unknown ([`Error::outcome_unknown`]) is given only when reading was not possible
//! either.
//!
//! A create that meets a lost answer, for example:
//!
//! | attempt | answer | after `sync`, the name belongs to | so |
//! |---|---|---|---|
//! | 1 | lost | our table | [`Creation::Created`] |
//! | 1 | lost | another table | [`Creation::NameTaken`] |
//! | 1 | lost | nobody, `/cluster` unchanged | attempt 2, with the same id: at most one of the two can succeed |
//! | 1 | lost | nobody, `/cluster` has moved | [`Creation::ClusterMoved`]: attempt 1 can't land any more; start over with a new id |

mod attempts;
mod creation;
mod election;
mod forget;
mod initialise;
mod ledger;
mod nodes;
mod quarantine;
mod reading;
mod removal;
mod routers;
mod state;
mod tokens;

use model::{NodeId, TableId, TableState};

pub use creation::{Creation, create_table};
pub use election::{Election, Leadership};
pub use forget::{Forgotten, forget_node};
pub use initialise::initialise;
pub use ledger::{
    Beginning, Decided, begin_transaction, create_cancelled, decide_transaction,
    finish_transaction, list_tokens, list_transactions, read_token, read_transaction,
    read_transactions,
};
pub use nodes::{change_member, read_member, register_live_node, register_member};
pub use quarantine::{Restoration, condemn_table, is_removed, removal_of, restore_table};
pub use reading::{
    Found, Listing, Versioned, find_table, is_undone, read_cluster, read_each_table,
    read_live_nodes, read_members, read_routers, read_table, read_tables, read_tombstones,
    tombstones_of,
};
pub use removal::{confirm_destroyed, remove_table, sweep_tombstones};
pub use routers::register_router;
pub use state::set_table_state;
pub use tokens::sweep_tokens;

use crate::records::RecordError;

/// Why an operation of the registry failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The store.
    #[error(transparent)]
    Store(#[from] crate::Error),
    /// A record that this process can't use.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The tree is not there: [`initialise`] comes first.
    #[error("the coordination store has no {path}: it was never initialised, or it was replaced")]
    NotInitialised {
        /// What is missing.
        path: String,
    },
    /// Somebody else has changed the table since it was read.
    #[error("table {table} was changed or removed by somebody else")]
    Changed {
        /// The table.
        table: TableId,
    },
    /// A table's state only moves forward.
    #[error("a table can't go from {from} to {to}")]
    Backwards {
        /// Its state.
        from: TableState,
        /// The state that was asked for.
        to: TableState,
    },
    /// The same node id is alive elsewhere: one of the two has a copy of the other's data directory.
    #[error(
        "data node {node} is alive on {host} with {data_dir}: is this a copy of its directory?"
    )]
    NodeAlive {
        /// The id that both have.
        node: NodeId,
        /// Where the other one runs.
        host: String,
        /// Its data directory.
        data_dir: String,
    },
    /// The node was taken for forgotten and is not.
    #[error("data node {node} is a member, or is alive, so it may still serve")]
    NotForgotten {
        /// The node.
        node: NodeId,
    },
    /// The node is alive, so it can't be forgotten.
    #[error("data node {node} is alive on {host} with {data_dir}: stop it first")]
    StillAlive {
        /// The node.
        node: NodeId,
        /// Where it runs.
        host: String,
        /// Its data directory.
        data_dir: String,
    },
}

impl Error {
    /// Whether the write may have happened or may still happen.
    pub fn outcome_unknown(&self) -> bool {
        matches!(self, Self::Store(error) if error.outcome_unknown())
    }

    /// Whether trying again in a while, on the same session, can help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_transient())
    }
}
