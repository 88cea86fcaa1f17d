//! An operator with the cluster's own commands: `keep-quarantined`, `drop-quarantined`, `forget-node`.
//!
//! What the commands promise is looked after here, against what really stands in the coordination store:
//!
//! | property | violated by |
//! |---|---|
//! | dropped-for-good | a table that is listed although a drop of it was confirmed before |
//! | listed-is-not-dropped | a confirmed drop of a table that was listed all the time |
//! | only-the-dead-are-forgotten | a node that was forgotten and was registered by the same session before and after that |
//!
//! That a kept table has its data, and that nothing is left of a dropped one, the other invariants find.

use std::sync::Arc;
use std::time::Duration;

use client::{Client, Reason};
use coordination::simulated::Ensemble;
use coordination::tree::Node;
use coordination::{Connect, registry};
use environment::Environment;
use model::{NodeId, Table, TableId, TableName, TableState};
use tokio::time::sleep;

use super::operator::{LATE, PAUSE, hide_for_good, until_it_works};
use crate::host::Exit;
use crate::invariants::Invariants;

/// The operator's own table.
const SPARE: &str = "spare";

/// What an operator works with.
pub(super) struct Desk {
    pub(super) client: Client,
    pub(super) coordination: Arc<dyn Connect>,
    /// For the truth about what stands there.
    pub(super) ensemble: Ensemble,
    pub(super) invariants: Invariants,
}

/// A client of these routers.
pub(super) fn client(routers: Vec<String>, environment: Environment) -> Option<Client> {
    let options = client::Options {
        admin_timeout: Duration::from_secs(20),
        environment,
        ..client::Options::default()
    };
    Client::with_options(routers, &options).ok()
}

/// The table that all clients work on is lost and kept. Somebody else takes it for lost as soon as it is listed again.
pub(super) async fn lose_and_keep(desk: Desk, table: Table, exit: Exit) {
    let id = table.id;
    hide_for_good(&desk.coordination, table).await;
    // What was sent to take it away may land late, and would do so to what is kept.
    sleep(LATE).await;
    let id_text = id.to_string();
    let keeper = async {
        let mut kept = Duration::ZERO;
        while kept <= LATE {
            match desk.client.keep_quarantined(&id_text, None).await {
                Ok(_) => kept += PAUSE,
                Err(_) => kept = Duration::ZERO,
            }
            sleep(PAUSE).await;
        }
    };
    let mistaken = async {
        while !desk.is_listed(id) {
            sleep(PAUSE / 20).await;
        }
        for _ in 0..3 {
            if desk.client.drop_quarantined(&id_text, None).await.is_ok() {
                let detail = format!("table {id} was dropped while it was listed");
                desk.invariants.complain("listed-is-not-dropped", detail);
            }
        }
    };
    tokio::join!(keeper, mistaken);
    exit.with("the table is kept");
}

/// A table of the operator's own is lost, and then dropped, or kept and dropped at once, or one after the other, until nothing is left of it.
pub(super) async fn lose_and_drop(desk: Desk, rivalry: u64, exit: Exit) {
    let Ok(name) = SPARE.parse::<TableName>() else {
        return;
    };
    let table = desk.spare(&name).await;
    let (id, id_text) = (table.id, table.id.to_string());
    hide_for_good(&desk.coordination, table).await;
    sleep(LATE).await;
    let keep = desk.client.keep_quarantined(&id_text, None);
    let drop = desk.client.drop_quarantined(&id_text, None);
    let dropped = match rivalry % 3 {
        0 => drop.await,
        1 => tokio::join!(keep, drop).1,
        _ => {
            let _ = keep.await;
            drop.await
        }
    };
    let mut dropped = dropped.is_ok();
    let mut clean = Duration::ZERO;
    while clean <= LATE {
        if desk.is_listed(id) {
            if dropped {
                let detail = format!("table {id} is listed, and was dropped before");
                desk.invariants.complain("dropped-for-good", detail);
                break;
            }
            let _ = desk.client.delete_table(SPARE).await;
            clean = Duration::ZERO;
        } else {
            dropped |= desk.client.drop_quarantined(&id_text, None).await.is_ok();
            clean = desk.cleaned(clean).await;
        }
        sleep(PAUSE).await;
    }
    exit.with("the table is dropped");
}

/// A node is forgotten, which must not happen while it is alive. When it is back, what it has of tables that were deleted
/// meanwhile is dropped.
pub(super) async fn forget(desk: Desk, node: NodeId, exit: Exit) {
    let before = desk.session_of(node);
    let forgotten = desk.client.forget_node(&node.to_string()).await;
    let after = desk.session_of(node);
    if forgotten.is_ok_and(|done| !done.already) && before.is_some() && before == after {
        let detail = format!("data node {node} was forgotten, and is alive");
        desk.invariants
            .complain("only-the-dead-are-forgotten", detail);
    }
    let mut clean = Duration::ZERO;
    while clean <= LATE {
        clean = desk.cleaned(clean).await;
        sleep(PAUSE).await;
    }
    exit.with("nothing is left of the node that was forgotten");
}

impl Desk {
    fn is_listed(&self, table: TableId) -> bool {
        self.ensemble
            .tree()
            .contains_key(&Node::Table(table).path())
    }

    /// By which session a node is registered.
    fn session_of(&self, node: NodeId) -> Option<i64> {
        let tree = self.ensemble.tree();
        let live = tree.get(&Node::Live(node).path())?;
        Some(live.stat.ephemeral_owner)
    }

    /// The operator's own table, created.
    async fn spare(&self, name: &TableName) -> Table {
        loop {
            let created = self.client.create_table(SPARE, 2, 3).await;
            let there = match &created {
                Ok(_) => true,
                Err(error) => error.reason() == Some(Reason::TableAlreadyExists),
            };
            if there
                && let Some(table) = until_it_works(|| self.find(name)).await
                && table.state == TableState::Available
            {
                return table;
            }
            sleep(PAUSE).await;
        }
    }

    async fn find(&self, name: &TableName) -> Result<Option<Table>, registry::Error> {
        let store = self.coordination.connect().await?;
        store.sync("/").await?;
        let found = registry::find_table(&*store, name).await?;
        store.close().await;
        Ok(found.map(|found| found.value))
    }

    /// Drops whatever is quarantined. All data nodes must have answered that there is nothing, for so long.
    async fn cleaned(&self, clean: Duration) -> Duration {
        let Ok(found) = self.client.list_quarantined().await else {
            return Duration::ZERO;
        };
        for table in &found.tables {
            let _ = self.client.drop_quarantined(&table.id, None).await;
        }
        if found.tables.is_empty() && found.silent.is_empty() {
            clean + PAUSE
        } else {
            Duration::ZERO
        }
    }
}
