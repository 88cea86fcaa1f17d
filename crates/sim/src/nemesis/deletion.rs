//! A table that is deleted while a router and majorities of its shards hear nothing of it: they go on with what
//! they know, and only the seals in the shards' logs keep them from serving a table that is gone.
//!
//! ```text
//! table     created, found by all routers    deleting    sealed    gone
//! router A  hears ──────────┤ cut off: knows the table as available ────────── asks the cut-off nodes ─┤ joined
//! nodes     hear  ──────────┤ cut off: hold the shards, elect leaders ────────────────────────────────┤ joined
//! ```
//!
//! In half of the cases the controller and these nodes don't hear each other either, for a while. Then nobody can seal
//! anything, and the deletion must wait until they do.
//!
//! The cut comes right after the creation: who hears of the deletion in time serves nothing any more.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use coordination::records::{MemberRecord, RouterRecord, decode_at};
use coordination::tree::Node;
use model::{NodeId, RouterId, Table, TableId, TableState};

use crate::cluster::{Cluster, tables_of};
use crate::dice::Dice;
use crate::fabric::HostId;

/// Between two looks at the tables, microseconds.
const LOOK: u64 = 20_000;
/// For clients to try a table that is gone, before those who don't know are joined again.
const TRIED: u64 = 2_500_000;
/// A table that is not deleted by then will not be soon.
const PATIENCE: u64 = 20_000_000;
/// How long the controller does not hear the nodes: longer than it takes to seal and to destroy what can be.
const APART: u64 = 12_000_000;

/// See the [module](self).
pub(super) struct Deletion {
    /// The tables that were there before.
    known: BTreeSet<TableId>,
    /// The table to come, and when its turn is.
    next: Option<(u64, TableId)>,
    behind: Option<Behind>,
    look: u64,
}

/// Who is cut off, on whose account and until when.
struct Behind {
    table: TableId,
    hosts: BTreeSet<HostId>,
    /// The nodes that the controller does not hear, and the controller.
    apart: Vec<(HostId, HostId)>,
    until: u64,
    gone: bool,
}

impl Deletion {
    /// Waits for a table that is created from now on.
    pub(super) fn new(cluster: &Cluster) -> Self {
        let tables = Known::new(cluster).tables;
        Self {
            known: tables
                .iter()
                .filter(|table| is_available(table))
                .map(|table| table.id)
                .collect(),
            next: None,
            behind: None,
            look: 0,
        }
    }

    /// Looks at the tables, cuts off and joins.
    pub(super) fn go_on(&mut self, cluster: &Cluster, dice: &mut Dice) {
        let now = cluster.now_micros();
        if now < self.look {
            return;
        }
        self.look = now + LOOK;
        let known = Known::new(cluster);
        let tables = &known.tables;
        if let Some(behind) = &mut self.behind {
            if !behind.gone && tables.iter().all(|table| table.id != behind.table) {
                behind.gone = true;
                behind.until = now + TRIED;
            }
            if behind.until <= now {
                self.end(cluster);
            }
            return;
        }
        for table in tables.iter().filter(|table| is_available(table)) {
            if self.known.insert(table.id) {
                // All routers are to find it before.
                self.next = Some((now + dice.between(0, 150_000), table.id));
            }
        }
        if let Some((at, id)) = self.next
            && at <= now
        {
            self.next = None;
            if let Some(table) = tables.iter().find(|table| table.id == id) {
                self.begin(cluster, dice, &known, table);
            }
        }
    }

    fn begin(&mut self, cluster: &Cluster, dice: &mut Dice, known: &Known, table: &Table) {
        let Some(&router) = dice.pick(&known.other_routers()) else {
            return;
        };
        let mut hosts = BTreeSet::from([router]);
        for (id, shard) in table.shard_ids() {
            // The leader first: the others would have to elect a new one.
            let hosts_of = shard.nodes.iter().filter_map(|node| known.nodes.get(node));
            let mut replicas: Vec<_> = hosts_of.copied().collect();
            let leader = cluster.leaders.of(id).map(|(_, host)| host);
            replicas.sort_by_key(|host| (Some(*host) != leader, *host));
            hosts.extend(replicas.into_iter().take(shard.nodes.len() / 2 + 1));
        }
        cluster.say(|| {
            format!(
                "table {} is to be deleted behind the backs of {hosts:?}",
                table.name
            )
        });
        for host in &hosts {
            cluster.ensemble.cut(u64::from(host.0), true);
        }
        let controller = known.controller.and_then(|id| known.routers.get(&id));
        let apart: Vec<_> = match controller {
            Some(&controller) if dice.chance(0.5) => hosts
                .iter()
                .filter(|host| **host != router)
                .flat_map(|host| [(*host, controller), (controller, *host)])
                .collect(),
            _ => Vec::new(),
        };
        for (from, to) in &apart {
            cluster.fabric.cut(*from, *to, true);
        }
        let patience = if apart.is_empty() { PATIENCE } else { APART };
        self.behind = Some(Behind {
            table: table.id,
            hosts,
            apart,
            until: cluster.now_micros() + patience,
            gone: false,
        });
    }

    /// Joins who is cut off.
    pub(super) fn end(&mut self, cluster: &Cluster) {
        let Some(behind) = self.behind.take() else {
            return;
        };
        for host in behind.hosts {
            cluster.ensemble.cut(u64::from(host.0), false);
        }
        for (from, to) in behind.apart {
            cluster.fabric.cut(from, to, false);
        }
    }
}

/// What the coordination store says of tables and of who is where.
pub(super) struct Known {
    tables: Vec<Table>,
    nodes: BTreeMap<NodeId, HostId>,
    routers: BTreeMap<RouterId, HostId>,
    /// The router that drives deletions.
    controller: Option<RouterId>,
}

impl Known {
    pub(super) fn new(cluster: &Cluster) -> Self {
        let tree = cluster.ensemble.tree();
        let servers = cluster.servers();
        let host_of = |address: &str| {
            let address: SocketAddr = address.parse().ok()?;
            servers
                .iter()
                .copied()
                .find(|host| host.ip() == address.ip())
        };
        let (mut nodes, mut routers, mut candidates) = (BTreeMap::new(), BTreeMap::new(), vec![]);
        for (path, znode) in &tree {
            match Node::parse(path) {
                Ok(node @ Node::Member(id)) => {
                    let record = decode_at::<MemberRecord>(&node, &znode.data).ok();
                    nodes.extend(record.and_then(|record| Some((id, host_of(&record.address)?))));
                }
                Ok(node @ Node::Router(id)) => {
                    let record = decode_at::<RouterRecord>(&node, &znode.data).ok();
                    routers.extend(record.and_then(|record| Some((id, host_of(&record.address)?))));
                }
                Ok(Node::Candidate(candidate)) => candidates.push(candidate),
                _ => {}
            }
        }
        Self {
            tables: tables_of(&tree).unwrap_or_default(),
            nodes,
            routers,
            controller: candidates.into_iter().min().map(|leader| leader.router),
        }
    }

    /// Where a router of this id is, if it is registered.
    pub(super) fn host_of_router(&self, router: RouterId) -> Option<HostId> {
        self.routers.get(&router).copied()
    }

    /// The routers that may be cut off without the deletion waiting for another controller.
    fn other_routers(&self) -> Vec<HostId> {
        let others = self.routers.iter();
        let others = others.filter(|(id, _)| Some(**id) != self.controller);
        others.map(|(_, host)| *host).collect()
    }
}

fn is_available(table: &Table) -> bool {
    table.state == TableState::Available
}
