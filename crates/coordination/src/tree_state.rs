//! The tree in memory, and how a `multi` changes it: the state machine of every store of our own.
//!
//! A `multi` is first *staged*: its operations are checked and carried out one after the other on the
//! writer's copy of the tree, and taken back if one of them fails. What remains is a [`Transaction`], a
//! list of [`Edit`]s that hold no conditions any more. It can be written down, and is applied to every
//! other copy: those that readers see, and the one that a restart begins with. Applying is
//! deterministic, so that versions and stats need not be written down.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{ANY_VERSION, CreateMode, Error, Operation, Outcome, Stat, Znode, path};

/// A change without conditions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Edit {
    /// A new znode, at its final path. `owner` is its session, 0 for a persistent one.
    Create {
        path: String,
        data: Bytes,
        owner: i64,
    },
    Set {
        path: String,
        data: Bytes,
    },
    Delete {
        path: String,
    },
}

/// The changes of one `multi`, or of one session's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Transaction {
    /// Counts the transactions, without gaps.
    pub(super) zxid: i64,
    pub(super) edits: Vec<Edit>,
}

/// A transaction that does not fit the tree that it is applied to: one of the two is damaged.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Misfit(pub(super) String);

/// A znode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Node {
    data: Bytes,
    version: i32,
    created_zxid: i64,
    modified_zxid: i64,
    owner: i64,
    /// How many znodes were ever created under this one: the next sequential one's number.
    creations: u32,
    /// Names. Follow from the other znodes' paths, so they are not written down.
    #[serde(skip)]
    children: BTreeSet<String>,
}

/// The tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    nodes: HashMap<String, Node>,
    /// The paths of each session's ephemeral znodes.
    ephemerals: BTreeMap<i64, BTreeSet<String>>,
    /// Of the last transaction.
    zxid: i64,
}

/// What takes a staged edit back.
enum Undo {
    Create { path: String },
    Set { path: String, before: Node },
    Delete { path: String, before: Node },
}

impl State {
    /// Only the root.
    pub(super) fn new() -> Self {
        let root = Node::new(Bytes::new(), 0, 0);
        Self {
            nodes: HashMap::from([(path::ROOT.to_owned(), root)]),
            ephemerals: BTreeMap::new(),
            zxid: 0,
        }
    }

    pub(super) fn zxid(&self) -> i64 {
        self.zxid
    }

    pub(super) fn get(&self, path: &str) -> Option<Znode> {
        self.nodes.get(path).map(|node| Znode {
            data: node.data.clone(),
            stat: node.stat(),
        })
    }

    pub(super) fn children(&self, path: &str) -> Option<Vec<String>> {
        let node = self.nodes.get(path)?;
        Some(node.children.iter().cloned().collect())
    }

    /// The sessions that own a znode.
    pub(super) fn sessions(&self) -> Vec<i64> {
        self.ephemerals.keys().copied().collect()
    }

    /// Checks and carries out a `multi`; nothing is changed if it fails.
    pub(super) fn stage(
        &mut self,
        session: i64,
        operations: Vec<Operation>,
    ) -> Result<(Transaction, Vec<Outcome>), Error> {
        let zxid = self.zxid + 1;
        let mut staging = Staging {
            state: self,
            zxid,
            session,
            edits: Vec::new(),
            undo: Vec::new(),
        };
        let mut outcomes = Vec::with_capacity(operations.len());
        for (index, operation) in operations.into_iter().enumerate() {
            match staging.operation(index, operation) {
                Ok(outcome) => outcomes.push(outcome),
                Err(error) => {
                    staging.take_back();
                    return Err(error);
                }
            }
        }
        let edits = staging.edits;
        if !edits.is_empty() {
            self.zxid = zxid;
        }
        Ok((Transaction { zxid, edits }, outcomes))
    }

    /// Deletes all of a session's ephemeral znodes.
    pub(super) fn stage_end(&mut self, session: i64) -> Transaction {
        let zxid = self.zxid + 1;
        let paths = self.ephemerals.get(&session).cloned().unwrap_or_default();
        let edits: Vec<Edit> = paths
            .into_iter()
            .map(|path| Edit::Delete { path })
            .collect();
        for edit in &edits {
            // They exist and have no children, so they can be deleted.
            let _ = self.edit(zxid, edit);
        }
        if !edits.is_empty() {
            self.zxid = zxid;
        }
        Transaction { zxid, edits }
    }

    /// Carries out a transaction that was staged elsewhere.
    pub(super) fn apply(&mut self, transaction: &Transaction) -> Result<(), Misfit> {
        if transaction.zxid != self.zxid + 1 {
            return Err(Misfit(format!(
                "transaction {} follows {}",
                transaction.zxid, self.zxid
            )));
        }
        for edit in &transaction.edits {
            self.edit(transaction.zxid, edit)?;
        }
        self.zxid = transaction.zxid;
        Ok(())
    }

    fn edit(&mut self, zxid: i64, edit: &Edit) -> Result<(), Misfit> {
        let misfit = |path: &str| Misfit(format!("{path} is not as transaction {zxid} needs it"));
        match edit {
            Edit::Create { path, data, owner } => {
                let node = Node::new(data.clone(), zxid, *owner);
                self.link(path, node, 1).ok_or_else(|| misfit(path))
            }
            Edit::Set { path, data } => {
                let node = self.nodes.get_mut(path).ok_or_else(|| misfit(path))?;
                node.data = data.clone();
                node.version = node.version.wrapping_add(1).max(0);
                node.modified_zxid = zxid;
                Ok(())
            }
            Edit::Delete { path } => {
                let childless = self.nodes.get(path).is_some_and(|n| n.children.is_empty());
                childless
                    .then(|| self.unlink(path))
                    .flatten()
                    .map(drop)
                    .ok_or_else(|| misfit(path))
            }
        }
    }

    /// Puts a znode under its parent; `None` if the parent is missing or the place is taken.
    fn link(&mut self, path: &str, node: Node, creations: u32) -> Option<()> {
        let (parent, name) = path::split(path)?;
        if self.nodes.contains_key(path) {
            return None;
        }
        let parent = self.nodes.get_mut(parent)?;
        parent.children.insert(name.to_owned());
        parent.creations = parent.creations.wrapping_add(creations);
        if node.owner != 0 {
            let paths = self.ephemerals.entry(node.owner).or_default();
            paths.insert(path.to_owned());
        }
        self.nodes.insert(path.to_owned(), node);
        Some(())
    }

    /// Takes a znode from its parent.
    fn unlink(&mut self, path: &str) -> Option<Node> {
        let (parent, name) = path::split(path)?;
        let node = self.nodes.remove(path)?;
        if let Some(parent) = self.nodes.get_mut(parent) {
            parent.children.remove(name);
        }
        if let Some(paths) = self.ephemerals.get_mut(&node.owner) {
            paths.remove(path);
            if paths.is_empty() {
                self.ephemerals.remove(&node.owner);
            }
        }
        Some(node)
    }

    /// All znodes, parents before children.
    pub(super) fn export(&self) -> Vec<(&String, &Node)> {
        let mut nodes: Vec<_> = self.nodes.iter().collect();
        nodes.sort_unstable_by_key(|(path, _)| *path);
        nodes
    }

    /// The inverse of [`State::export`]. `None` if these znodes don't make a tree.
    pub(super) fn import(zxid: i64, nodes: Vec<(String, Node)>) -> Option<Self> {
        let mut state = Self::new();
        state.zxid = zxid;
        for (path, node) in nodes {
            if path == path::ROOT {
                state.nodes.insert(path, node);
            } else {
                state.link(&path, node, 0)?;
            }
        }
        Some(state)
    }
}

impl Node {
    fn new(data: Bytes, zxid: i64, owner: i64) -> Self {
        Self {
            data,
            version: 0,
            created_zxid: zxid,
            modified_zxid: zxid,
            owner,
            creations: 0,
            children: BTreeSet::new(),
        }
    }

    fn stat(&self) -> Stat {
        Stat {
            version: self.version,
            created_zxid: self.created_zxid,
            modified_zxid: self.modified_zxid,
            ephemeral_owner: self.owner,
        }
    }

    /// All but the children, which a set leaves alone and a deleted znode does not have.
    fn without_children(&self) -> Self {
        Self {
            data: self.data.clone(),
            children: BTreeSet::new(),
            ..*self
        }
    }
}

/// A `multi` while it is being carried out.
struct Staging<'a> {
    state: &'a mut State,
    zxid: i64,
    session: i64,
    edits: Vec<Edit>,
    undo: Vec<Undo>,
}

impl Staging<'_> {
    fn operation(&mut self, index: usize, operation: Operation) -> Result<Outcome, Error> {
        let operation_index = Some(index);
        match operation {
            Operation::Create { path, data, mode } => self.create(path, data, mode, index),
            Operation::Set {
                path,
                data,
                version,
            } => {
                let before = self.expect(&path, version, index)?.without_children();
                self.undo.push(Undo::Set {
                    path: path.clone(),
                    before,
                });
                self.carry_out(Edit::Set {
                    path: path.clone(),
                    data,
                });
                let node = self.state.nodes.get(&path).ok_or(Error::NoNode {
                    path,
                    operation: operation_index,
                })?;
                Ok(Outcome::Set(node.stat()))
            }
            Operation::Delete { path, version } => {
                let node = self.expect(&path, version, index)?;
                if !node.children.is_empty() {
                    return Err(Error::NotEmpty {
                        path,
                        operation: operation_index,
                    });
                }
                let before = node.without_children();
                self.undo.push(Undo::Delete {
                    path: path.clone(),
                    before,
                });
                self.carry_out(Edit::Delete { path });
                Ok(Outcome::Deleted)
            }
            Operation::Check { path, version } => {
                self.expect(&path, version, index)?;
                Ok(Outcome::Checked)
            }
        }
    }

    /// In the order of ZooKeeper's checks: parent there, place free, parent not ephemeral.
    fn create(
        &mut self,
        path: String,
        data: Bytes,
        mode: CreateMode,
        index: usize,
    ) -> Result<Outcome, Error> {
        let operation = Some(index);
        let parent = path::split(&path).and_then(|(parent, _)| self.state.nodes.get(parent));
        let Some(parent) = parent else {
            return Err(Error::NoNode { path, operation });
        };
        let actual = if mode.is_sequential() {
            format!("{path}{:010}", parent.creations)
        } else {
            path.clone()
        };
        if self.state.nodes.contains_key(&actual) {
            return Err(Error::NodeExists { path, operation });
        }
        if parent.owner != 0 {
            return Err(Error::NoChildrenForEphemerals { path, operation });
        }
        self.undo.push(Undo::Create {
            path: actual.clone(),
        });
        self.carry_out(Edit::Create {
            path: actual.clone(),
            data,
            owner: if mode.is_ephemeral() { self.session } else { 0 },
        });
        Ok(Outcome::Created { path: actual })
    }

    fn expect(&self, path: &str, version: i32, index: usize) -> Result<&Node, Error> {
        let operation = Some(index);
        let path = || path.to_owned();
        match self.state.nodes.get(&path()) {
            None => Err(Error::NoNode {
                path: path(),
                operation,
            }),
            Some(node) if version != ANY_VERSION && version != node.version => {
                Err(Error::BadVersion {
                    path: path(),
                    operation,
                })
            }
            Some(node) => Ok(node),
        }
    }

    fn carry_out(&mut self, edit: Edit) {
        // Its conditions were checked, so it fits.
        let _ = self.state.edit(self.zxid, &edit);
        self.edits.push(edit);
    }

    fn take_back(self) {
        let state = self.state;
        for undo in self.undo.into_iter().rev() {
            match undo {
                Undo::Create { path } => {
                    state.unlink(&path);
                    let parent = path::split(&path).map(|(parent, _)| parent);
                    if let Some(parent) = parent.and_then(|parent| state.nodes.get_mut(parent)) {
                        parent.creations = parent.creations.wrapping_sub(1);
                    }
                }
                Undo::Set { path, before } => {
                    if let Some(node) = state.nodes.get_mut(&path) {
                        node.data = before.data;
                        node.version = before.version;
                        node.modified_zxid = before.modified_zxid;
                    }
                }
                Undo::Delete { path, before } => {
                    let _ = state.link(&path, before, 0);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn operation() -> impl Strategy<Value = Operation> {
        let path = proptest::sample::select(vec!["/a", "/b", "/a/x", "/a/y", "/b/x", "/b/x/z"]);
        let mode = proptest::sample::select(vec![
            CreateMode::Persistent,
            CreateMode::Ephemeral,
            CreateMode::PersistentSequential,
            CreateMode::EphemeralSequential,
        ]);
        let version = -1i32..3;
        (path, mode, version, 0u8..4).prop_map(|(path, mode, version, kind)| match kind {
            0 => Operation::create(path, path, mode),
            1 => Operation::set(path, format!("{version}"), version),
            2 => Operation::delete(path, version),
            _ => Operation::check(path, version),
        })
    }

    proptest! {
        /// The three ways to a state agree: staging, applying, and loading what was exported; and a
        /// `multi` that fails leaves no trace.
        #[test]
        fn staging_applying_and_loading_agree(
            multis in proptest::collection::vec(
                proptest::collection::vec(operation(), 1..5), 0..60),
            ends in proptest::collection::vec(any::<bool>(), 60),
        ) {
            let mut staged = State::new();
            let mut applied = State::new();
            for (multi, ends) in multis.into_iter().zip(ends) {
                let before = staged.clone();
                let Ok((transaction, _)) = staged.stage(7, multi) else {
                    prop_assert_eq!(&staged, &before);
                    continue;
                };
                let mut transactions = vec![transaction];
                if ends {
                    transactions.push(staged.stage_end(7));
                }
                for transaction in transactions.iter().filter(|t| !t.edits.is_empty()) {
                    applied.apply(transaction).unwrap();
                }
                prop_assert_eq!(&applied, &staged);
            }
            let nodes = staged.export().into_iter().map(|(p, n)| (p.clone(), Node {
                children: BTreeSet::new(),
                ..n.clone()
            })).collect();
            prop_assert_eq!(State::import(staged.zxid(), nodes), Some(staged));
        }
    }

    #[test]
    fn a_transaction_that_skips_one_or_does_not_fit_is_refused() {
        let mut state = State::new();
        let create = |zxid, path: &str| Transaction {
            zxid,
            edits: vec![Edit::Create {
                path: path.to_owned(),
                data: Bytes::new(),
                owner: 0,
            }],
        };
        assert!(state.apply(&create(2, "/a")).is_err());
        assert!(state.apply(&create(1, "/a/b")).is_err());
        assert!(state.apply(&create(1, "/a")).is_ok());
        assert!(state.apply(&create(2, "/a")).is_err());
    }
}
