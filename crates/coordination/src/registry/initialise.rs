//! The first thing that every process does: agree on one cluster id and one tree.

use std::collections::BTreeSet;

use model::ClusterId;

use super::Error;
use super::attempts::Attempts;
use super::reading::read_cluster;
use crate::records::{ClusterRecord, FORMAT, Record as _};
use crate::tree::Node;
use crate::{Coordination, CreateMode, Operation, path};

/// Makes the tree where it is missing, and returns the cluster's id.
///
/// Any number of processes may do it at once, on an empty store or not: one of them creates `/cluster`
/// with the id that it has drawn, together with all parents, in one `multi`; the `multi`s of the others
/// fail because of it, and they read that id. Can be called again after any error.
pub async fn initialise(store: &dyn Coordination) -> Result<ClusterId, Error> {
    let drawn = ClusterId(rand::random());
    let mut attempts = Attempts::new();
    loop {
        let cluster = read_cluster(store)
            .await
            .map_err(|e| attempts.honest_read(e))?;
        let missing = missing_parents(store)
            .await
            .map_err(|e| attempts.honest(e))?;
        if let (Some(cluster), true) = (&cluster, missing.is_empty()) {
            return Ok(cluster.value.cluster_id);
        }
        let mut operations = missing;
        if cluster.is_none() {
            let record = ClusterRecord {
                cluster_id: drawn,
                format: FORMAT,
            };
            operations.push(create(&Node::Cluster, record.encode()));
        }
        // Whether it succeeds or not, what counts is what is there then.
        if let Err(error) = store.multi(operations).await {
            attempts.look(store, error).await?;
        }
    }
}

fn create(node: &Node, data: bytes::Bytes) -> Operation {
    Operation::create(node.path(), data, CreateMode::Persistent)
}

/// Creates of the parents that are not there.
async fn missing_parents(store: &dyn Coordination) -> Result<Vec<Operation>, crate::Error> {
    let mut present = BTreeSet::new();
    for parent in [path::ROOT.to_owned(), Node::Transactions.path()] {
        let names = store.children(&parent).await?.unwrap_or_default();
        present.extend(names.iter().map(|name| path::join(&parent, name)));
    }
    let missing = Node::parents().filter(|parent| !present.contains(&parent.path()));
    Ok(missing
        .map(|parent| create(&parent, bytes::Bytes::new()))
        .collect())
}
