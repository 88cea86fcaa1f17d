//! Data nodes join the cluster and tell that they are alive.

use std::time::Duration;

use model::NodeId;
use tokio::time::{Instant, timeout_at};

use super::Error;
use super::attempts::Attempts;
use super::reading::{Versioned, read};
use crate::records::{LiveNodeRecord, MemberRecord, Record as _, decode_at};
use crate::tree::Node;
use crate::{Coordination, CreateMode, Operation, Znode};

/// Records a data node and its address among the members, which outlive its sessions.
pub async fn register_member(store: &dyn Coordination, record: &MemberRecord) -> Result<(), Error> {
    change_member(store, record.id, |current| {
        (current != Some(record)).then(|| record.clone())
    })
    .await
}

/// Brings a member's record to what `decide` makes of the one that stands there, and returns once it wants nothing else.
/// It is asked again whenever the record has changed meanwhile or an answer was lost, so nothing is overwritten that it has
/// not seen.
pub async fn change_member(
    store: &dyn Coordination,
    node: NodeId,
    mut decide: impl FnMut(Option<&MemberRecord>) -> Option<MemberRecord>,
) -> Result<(), Error> {
    let node = Node::Member(node);
    let path = node.path();
    let mut attempts = Attempts::new();
    loop {
        let current: Option<Versioned<MemberRecord>> = read(store, &node)
            .await
            .map_err(|error| attempts.honest_read(error))?;
        let Some(record) = decide(current.as_ref().map(|current| &current.value)) else {
            return Ok(());
        };
        let written = if let Some(current) = current {
            let set = store.set(&path, record.encode(), current.version);
            set.await.map(drop)
        } else {
            let create = store.create(&path, record.encode(), CreateMode::Persistent);
            create.await.map(drop)
        };
        match written {
            Ok(()) => return Ok(()),
            Err(error) => attempts.look(store, error).await?,
        }
    }
}

/// What is recorded of a data node, as of now.
pub async fn read_member(
    store: &dyn Coordination,
    node: NodeId,
) -> Result<Option<MemberRecord>, Error> {
    let node = Node::Member(node);
    store.sync(&node.path()).await?;
    let found: Option<Versioned<MemberRecord>> = read(store, &node).await?;
    Ok(found.map(|found| found.value))
}

/// Registers a data node as alive for as long as its session lives.
///
/// | what stands there | then |
/// |---|---|
/// | nothing | it is created |
/// | a record of the same host and data directory | it is replaced at once: the directory is locked while it is in use, so its process is dead, and only its session lives on |
/// | a record of another place | someone has copied the directory, or moved it: we wait up to `patience` for that session's end, and then fail with [`Error::NodeAlive`] |
///
/// `patience` should be longer than a session timeout.
pub async fn register_live_node(
    store: &dyn Coordination,
    record: &LiveNodeRecord,
    patience: Duration,
) -> Result<(), Error> {
    let node = Node::Live(record.id);
    let deadline = Instant::now() + patience;
    let mut attempts = Attempts::new();
    // Before the first look, so that the end of another session is not missed.
    let mut watch = store.watch(&node.path()).await?;
    loop {
        let current = store.get(&node.path()).await;
        let current = current.map_err(|error| attempts.honest(error))?;
        let session = store.session().borrow().connected();
        match standing(&node, record, current, session)? {
            Standing::Us => return Ok(()),
            Standing::Replaceable(operations) => match store.multi(operations).await {
                Ok(_) => return Ok(()),
                Err(error) => attempts.look(store, error).await?,
            },
            Standing::Elsewhere(other) => match timeout_at(deadline, watch.changed()).await {
                Ok(changed) => drop(changed?),
                Err(_) => {
                    return Err(Error::NodeAlive {
                        node: other.id,
                        host: other.host,
                        data_dir: other.data_dir,
                    });
                }
            },
        }
    }
}

/// What stands at the place of a live node.
enum Standing {
    /// What we would write.
    Us,
    /// Nothing, or what we may replace: by these operations.
    Replaceable(Vec<Operation>),
    /// The same node at another place.
    Elsewhere(LiveNodeRecord),
}

fn standing(
    node: &Node,
    record: &LiveNodeRecord,
    current: Option<Znode>,
    session: Option<i64>,
) -> Result<Standing, Error> {
    let create = Operation::create(node.path(), record.encode(), CreateMode::Ephemeral);
    let Some(current) = current else {
        return Ok(Standing::Replaceable(vec![create]));
    };
    let other: LiveNodeRecord = decode_at(node, &current.data)?;
    // A znode of an earlier session of this process is not ours to rely on: it goes with that session.
    if other == *record && session == Some(current.stat.ephemeral_owner) {
        return Ok(Standing::Us);
    }
    if other.same_place(record) {
        // The old session is dead, so its znode does not change any more; but it may go by itself.
        let delete = Operation::delete(node.path(), current.stat.version);
        return Ok(Standing::Replaceable(vec![delete, create]));
    }
    Ok(Standing::Elsewhere(other))
}
