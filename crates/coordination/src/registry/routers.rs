//! Routers tell that they are alive.

use model::RouterId;

use super::Error;
use super::attempts::Attempts;
use crate::records::{Record as _, RouterRecord};
use crate::tree::Node;
use crate::{Coordination, CreateMode};

/// Registers a router for as long as its session lives. Its id is random and drawn anew for each session,
/// so nothing can stand in its place but an earlier attempt of this same call.
pub async fn register_router(
    store: &dyn Coordination,
    id: RouterId,
    record: &RouterRecord,
) -> Result<(), Error> {
    let path = Node::Router(id).path();
    let mut attempts = Attempts::new();
    loop {
        let created = store.create(&path, record.encode(), CreateMode::Ephemeral);
        let Err(error) = created.await else {
            return Ok(());
        };
        attempts.look(store, error).await?;
        let znode = store.get(&path).await.map_err(|e| attempts.honest(e))?;
        if znode.is_some_and(|znode| znode.data == record.encode()) {
            return Ok(());
        }
    }
}
