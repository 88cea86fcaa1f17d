//! Coordinators of transactions that fall in the middle: for some seconds, whoever has just written something of a
//! transaction into the ledger is killed or paused a moment later, wherever it is with the transaction by then.
//!
//! ```text
//! ledger       pending ─────────────── committed ─────────── gone
//! coordinator       prepares …   ┤✗              applies …  ┤✗
//! ```

use std::collections::BTreeMap;

use coordination::records::EntryRecord;
use model::TransactionId;

use super::deletion::Known;
use super::ledger::entries;
use crate::cluster::Cluster;
use crate::dice::Dice;
use crate::fabric::HostId;

/// Between two looks at the ledger, microseconds.
const LOOK: u64 = 4_000;
/// A transaction takes about so long: a coordinator is let alone for this at the most.
const PATIENCE: u64 = 60_000;

/// See the [module](self).
#[derive(Default)]
pub(super) struct Coordinators {
    /// The entries that were seen, and their versions then.
    seen: BTreeMap<TransactionId, i32>,
    /// Who is next, and when.
    next: Option<(u64, HostId)>,
    look: u64,
}

impl Coordinators {
    /// Looks at the ledger; names the coordinator whose time has come.
    pub(super) fn go_on(&mut self, cluster: &Cluster, dice: &mut Dice) -> Option<HostId> {
        let now = cluster.now_micros();
        if let Some((_, host)) = self.next.take_if(|(at, _)| *at <= now) {
            return Some(host);
        }
        if now < self.look || self.next.is_some() {
            return None;
        }
        self.look = now + LOOK;
        let changed = self.changed(cluster);
        let (transaction, record) = changed.into_iter().next()?;
        let host = Known::new(cluster).host_of_router(record.router)?;
        cluster.say(|| format!("host {} is hunted for transaction {transaction}", host.0));
        self.next = Some((now + dice.between(0, PATIENCE), host));
        None
    }

    /// Entries that are new, or say something else than at the last look.
    fn changed(&mut self, cluster: &Cluster) -> Vec<(TransactionId, EntryRecord)> {
        let entries = entries(&cluster.ensemble.tree());
        let before = std::mem::take(&mut self.seen);
        self.seen = entries
            .iter()
            .map(|(id, version, _)| (*id, *version))
            .collect();
        let changed = entries
            .into_iter()
            .filter(|(id, version, _)| before.get(id) != Some(version));
        changed.map(|(id, _, record)| (id, record)).collect()
    }
}
