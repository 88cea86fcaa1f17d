//! No intent and no undecided transaction is left at rest (X5): every transaction is finished, whoever has died on the way,
//! and the ledger has forgotten it.

use storage::keys;
use storage::snapshot::{load_meta, stored_shards};
use storage::state::{MemoryStore, StateStore as _};

use coordination::Znode;
use coordination::tree::Node;
use model::Item;
use std::collections::BTreeMap;

use super::{Invariant, Rest};

/// See the [module](self).
pub(super) struct NoIntents;

impl Invariant for NoIntents {
    fn name(&self) -> &'static str {
        "no-intents"
    }

    fn at_rest(&mut self, rest: &Rest<'_>) -> Result<(), String> {
        if let Some(entry) = ledger_entries(rest.tree).next() {
            return Err(format!("at rest {entry} is left in the ledger"));
        }
        for (disks, _) in rest.nodes {
            let host = disks.host;
            let without_log = |shard| rest.without_log.contains(&(host, shard));
            let left = intents(disks.store, without_log);
            if let Some(left) = left.map_err(|error| format!("host {}: {error}", host.0))? {
                return Err(format!("at rest host {} has {left}", host.0));
            }
        }
        Ok(())
    }
}

/// Paths of the transactions in the ledger.
pub(crate) fn ledger_entries(tree: &BTreeMap<String, Znode>) -> impl Iterator<Item = &String> {
    let entry = |path: &&String| matches!(Node::parse(path), Ok(Node::Transaction(_)));
    tree.keys().filter(entry)
}

/// Something of a transaction that a node holds.
pub(crate) fn intents(
    store: &MemoryStore,
    left_out: impl Fn(model::ShardId) -> bool,
) -> Result<Option<String>, String> {
    let view = store.view();
    for shard in stored_shards(&*view).map_err(|error| error.to_string())? {
        let loaded = load_meta(&*view, shard).map_err(|error| error.to_string())?;
        let Some((generation, _)) = loaded.filter(|_| !left_out(shard)) else {
            continue;
        };
        for entry in view.scan(&keys::items(shard, generation)) {
            let (_, value) = entry.map_err(|error| error.to_string())?;
            let item = Item::decode(&value).map_err(|error| error.to_string())?;
            if let Some(intent) = item.intent {
                let transaction = intent.transaction;
                return Ok(Some(format!("an intent of {transaction} in shard {shard}")));
            }
        }
        let prepared = keys::prepared(shard, generation);
        if view.scan(&prepared).next().is_some() {
            return Ok(Some(format!("a prepared transaction in shard {shard}")));
        }
    }
    Ok(None)
}
