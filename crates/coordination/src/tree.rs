//! Every path of ours, as one enum.
//!
//! | path | kind | content |
//! |---|---|---|
//! | `/cluster` | persistent | [`ClusterRecord`](crate::records::ClusterRecord); set again by whoever removes a table, so that its version moves |
//! | `/members/<node>` | persistent | [`MemberRecord`](crate::records::MemberRecord): a data node and its last known address |
//! | `/nodes/<node>` | ephemeral | [`LiveNodeRecord`](crate::records::LiveNodeRecord): the same node is alive |
//! | `/routers/<router>` | ephemeral | [`RouterRecord`](crate::records::RouterRecord) |
//! | `/names/<name>` | persistent | [`NameRecord`](crate::records::NameRecord): the table's id |
//! | `/tables/<table>` | persistent | [`model::Table`] |
//! | `/deleted/<table>` | persistent | [`DeletedRecord`](crate::records::DeletedRecord); goes with its last child |
//! | `/deleted/<table>/<node>` | persistent | the node has not confirmed yet that its replicas are destroyed |
//! | `/controller/<router>-<number>` | ephemeral, sequential | a candidate for controller; the lowest number leads |
//! | `/transactions/<bucket>/<transaction>` | persistent | [`EntryRecord`](crate::records::EntryRecord): a ledger entry; buckets keep the lists of children short |
//! | `/tokens/<hash>` | persistent | [`TokenRecord`](crate::records::TokenRecord): a client token that was used |
//!
//! Tables and transactions stand under their random ids, never under names: the version of a znode that is
//! removed and made again starts at 0, and a late write meant for the old one would hit the new one.

use std::fmt;
use std::str::FromStr;

use model::{NodeId, RouterId, TableId, TableName, TransactionId};

/// How many buckets the ledger is divided into.
pub const TRANSACTION_BUCKETS: u8 = 64;

/// A znode of ours.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Node {
    /// The cluster's identity.
    Cluster,
    /// Parent of the members.
    Members,
    /// A data node that has joined the cluster.
    Member(NodeId),
    /// Parent of the live nodes.
    Nodes,
    /// A data node that is alive.
    Live(NodeId),
    /// Parent of the routers.
    Routers,
    /// A router that is alive.
    Router(RouterId),
    /// Parent of the names.
    Names,
    /// A table's name.
    Name(TableName),
    /// Parent of the tables.
    Tables,
    /// A table.
    Table(TableId),
    /// Parent of the removed tables.
    Deleted,
    /// A removed table, parent of its tombstones.
    Tombstones(TableId),
    /// A data node that has replicas of a removed table.
    Tombstone(TableId, NodeId),
    /// Parent of the candidates.
    Controller,
    /// A candidate for controller.
    Candidate(Candidate),
    /// Parent of the ledger's buckets.
    Transactions,
    /// A bucket of the ledger, below [`TRANSACTION_BUCKETS`].
    Bucket(u8),
    /// A ledger entry, in the bucket of its id.
    Transaction(TransactionId),
    /// Parent of the tokens.
    Tokens,
    /// A client token.
    Token(TokenHash),
}

/// A router that stands for controller. Sorts by precedence: the lowest leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Candidate {
    /// Drawn by the store, growing.
    pub number: u32,
    /// The router.
    pub router: RouterId,
}

/// The hash that a client token is stored under: 128 bits, so that two tokens don't meet by chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenHash(pub u128);

/// A path that is none of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a path of this system")]
pub struct UnknownPath(pub String);

impl Node {
    /// The parents that must exist before anything else, in the order in which they can be created; the
    /// ledger's buckets are among them.
    pub fn parents() -> impl Iterator<Item = Self> {
        [
            Self::Members,
            Self::Nodes,
            Self::Routers,
            Self::Names,
            Self::Tables,
            Self::Deleted,
            Self::Controller,
            Self::Transactions,
            Self::Tokens,
        ]
        .into_iter()
        .chain((0..TRANSACTION_BUCKETS).map(Self::Bucket))
    }

    /// The bucket that a transaction's ledger entry stands in.
    pub fn bucket_of(transaction: TransactionId) -> Self {
        // Ids are random: any of their bits will do.
        Self::Bucket((transaction.0 % u128::from(TRANSACTION_BUCKETS)) as u8)
    }

    /// Where a candidate of this router is created; the store appends its number.
    pub fn candidate_prefix(router: RouterId) -> String {
        format!("{}/{router}-", Self::Controller)
    }

    /// The path.
    pub fn path(&self) -> String {
        self.to_string()
    }

    /// The znode at a path.
    pub fn parse(path: &str) -> Result<Self, UnknownPath> {
        path.parse()
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster => f.write_str("/cluster"),
            Self::Members => f.write_str("/members"),
            Self::Member(node) => write!(f, "/members/{node}"),
            Self::Nodes => f.write_str("/nodes"),
            Self::Live(node) => write!(f, "/nodes/{node}"),
            Self::Routers => f.write_str("/routers"),
            Self::Router(router) => write!(f, "/routers/{router}"),
            Self::Names => f.write_str("/names"),
            Self::Name(name) => write!(f, "/names/{name}"),
            Self::Tables => f.write_str("/tables"),
            Self::Table(table) => write!(f, "/tables/{table}"),
            Self::Deleted => f.write_str("/deleted"),
            Self::Tombstones(table) => write!(f, "/deleted/{table}"),
            Self::Tombstone(table, node) => write!(f, "/deleted/{table}/{node}"),
            Self::Controller => f.write_str("/controller"),
            Self::Candidate(candidate) => write!(
                f,
                "/controller/{}-{:010}",
                candidate.router, candidate.number
            ),
            Self::Transactions => f.write_str("/transactions"),
            Self::Bucket(bucket) => write!(f, "/transactions/{bucket:02x}"),
            Self::Transaction(transaction) => {
                write!(f, "{}/{transaction}", Self::bucket_of(*transaction))
            }
            Self::Tokens => f.write_str("/tokens"),
            Self::Token(TokenHash(hash)) => write!(f, "/tokens/{hash:032x}"),
        }
    }
}

impl FromStr for Node {
    type Err = UnknownPath;

    fn from_str(path: &str) -> Result<Self, UnknownPath> {
        let mut components = path.split('/');
        // The part before the first slash.
        let absolute = components.next() == Some("");
        let components: Vec<&str> = components.take(4).collect();
        let node = absolute.then(|| parse_components(&components)).flatten();
        // Whatever is lenient above, a number without its leading zeros say, is caught here.
        node.filter(|node| node.to_string() == path)
            .ok_or_else(|| UnknownPath(path.to_owned()))
    }
}

fn parse_components(components: &[&str]) -> Option<Node> {
    Some(match *components {
        ["cluster"] => Node::Cluster,
        ["members"] => Node::Members,
        ["members", node] => Node::Member(node.parse().ok()?),
        ["nodes"] => Node::Nodes,
        ["nodes", node] => Node::Live(node.parse().ok()?),
        ["routers"] => Node::Routers,
        ["routers", router] => Node::Router(router.parse().ok()?),
        ["names"] => Node::Names,
        ["names", name] => Node::Name(name.parse().ok()?),
        ["tables"] => Node::Tables,
        ["tables", table] => Node::Table(table.parse().ok()?),
        ["deleted"] => Node::Deleted,
        ["deleted", table] => Node::Tombstones(table.parse().ok()?),
        ["deleted", table, node] => Node::Tombstone(table.parse().ok()?, node.parse().ok()?),
        ["controller"] => Node::Controller,
        ["controller", candidate] => {
            let (router, number) = candidate.split_once('-')?;
            Node::Candidate(Candidate {
                number: number.parse().ok()?,
                router: router.parse().ok()?,
            })
        }
        ["transactions"] => Node::Transactions,
        ["transactions", bucket] => Node::Bucket(
            u8::from_str_radix(bucket, 16)
                .ok()
                .filter(|bucket| *bucket < TRANSACTION_BUCKETS)?,
        ),
        ["transactions", _, transaction] => Node::Transaction(transaction.parse().ok()?),
        ["tokens"] => Node::Tokens,
        ["tokens", hash] => Node::Token(TokenHash(u128::from_str_radix(hash, 16).ok()?)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node() -> impl Strategy<Value = Node> {
        let name = "[A-Za-z0-9_.-]{3,20}".prop_map(|name| name.parse().unwrap());
        prop_oneof![
            proptest::sample::select(Node::parents().chain([Node::Cluster]).collect::<Vec<_>>()),
            any::<u64>().prop_map(|id| Node::Member(NodeId(id))),
            any::<u64>().prop_map(|id| Node::Live(NodeId(id))),
            any::<u64>().prop_map(|id| Node::Router(RouterId(id))),
            name.prop_map(Node::Name),
            any::<u64>().prop_map(|id| Node::Table(TableId(id))),
            any::<u64>().prop_map(|id| Node::Tombstones(TableId(id))),
            any::<(u64, u64)>().prop_map(|(t, n)| Node::Tombstone(TableId(t), NodeId(n))),
            any::<(u32, u64)>().prop_map(|(number, router)| Node::Candidate(Candidate {
                number,
                router: RouterId(router)
            })),
            any::<u128>().prop_map(|id| Node::Transaction(TransactionId(id))),
            any::<u128>().prop_map(|hash| Node::Token(TokenHash(hash))),
        ]
    }

    proptest! {
        #[test]
        fn every_node_is_found_again_by_its_path(node in node()) {
            crate::path::validate_below_root(&node.path()).unwrap();
            prop_assert_eq!(Node::parse(&node.path()), Ok(node));
        }

        #[test]
        fn any_text_is_parsed_or_refused_but_never_panics(text in ".{0,60}") {
            if let Ok(node) = Node::parse(&text) {
                prop_assert_eq!(node.path(), text);
            }
        }

        #[test]
        fn candidates_sort_by_number_first(a: (u32, u64), b: (u32, u64)) {
            prop_assume!(a.0 != b.0);
            let [x, y] = [a, b].map(|(number, router)| Candidate { number, router: RouterId(router) });
            prop_assert_eq!(x < y, a.0 < b.0);
        }
    }

    #[test]
    fn paths_are_pinned_because_other_versions_read_them() {
        let cases = [
            (Node::Member(NodeId(1)), "/members/0000000000000001"),
            (Node::Live(NodeId(1)), "/nodes/0000000000000001"),
            (Node::Name("people".parse().unwrap()), "/names/people"),
            (
                Node::Tombstone(TableId(1), NodeId(2)),
                "/deleted/0000000000000001/0000000000000002",
            ),
            (
                Node::Candidate(Candidate {
                    number: 7,
                    router: RouterId(1),
                }),
                "/controller/0000000000000001-0000000007",
            ),
            (
                Node::Transaction(TransactionId(0x41)),
                "/transactions/01/00000000000000000000000000000041",
            ),
        ];
        for (node, path) in cases {
            assert_eq!(node.path(), path);
        }
    }

    #[test]
    fn paths_that_only_look_like_ours_are_refused() {
        for path in [
            "",
            "/",
            "cluster",
            "/cluster/",
            "/tables/1",
            "/transactions/40",
            "/transactions/02/00000000000000000000000000000041",
            "/tokens/1",
            "/controller/0000000000000001-7",
            "/deleted/0000000000000001/0000000000000002/x",
        ] {
            assert_eq!(Node::parse(path), Err(UnknownPath(path.to_owned())));
        }
    }
}
