//! When the table of a participant counts as deleted, so that its part of a transaction is nobody's business any more.
//!
//! That a record is missing proves nothing: the coordination store may have been restored from before the table was made, and
//! its data nodes keep the replicas, until an operator lists the table again. Then a part that
//! was skipped meanwhile would be lost.
//!
//! | found, after a `sync` | so the table is |
//! |---|---|
//! | a record that says `deleting` | deleted, unless it says as well that the table was never available: such data is kept |
//! | another record | there |
//! | no record, and a note that it was deleted | deleted |
//! | no record, and no node has a replica of it | deleted: so few nodes have not answered that they could not bring a shard back |
//! | else | not known: neither is concluded |

use coordination::registry::{self, is_removed, read_members, read_table};
use model::{Table, TableId, TableState};
use tokio::time::{Instant, timeout_at};

use crate::directory::read;
use crate::state::{Session, State};

/// Nodes that need not have answered, where a shard has three replicas or more: what they alone have is no majority.
const SILENT: usize = 1;

/// What is known of a table.
pub(crate) enum Standing {
    /// It has this record, which does not say that it is deleted.
    Listed,
    /// It is deleted for good.
    Deleted,
    /// It is not listed.
    Unclear,
}

impl State {
    /// Finds out what is proven of a table; nothing, if the coordination store can't be asked in time.
    pub(crate) async fn standing(&self, table: TableId, deadline: Instant) -> Standing {
        let Ok(session) = self.connected() else {
            return Standing::Unclear;
        };
        match timeout_at(deadline, self.ask_for_standing(&session, table)).await {
            Ok(Ok(standing)) => standing,
            Ok(Err(_)) | Err(_) => Standing::Unclear,
        }
    }

    async fn ask_for_standing(
        &self,
        session: &Session,
        table: TableId,
    ) -> Result<Standing, registry::Error> {
        let store = &*session.store;
        read::sync(store).await?;
        if let Some(record) = read_table(store, table).await? {
            return Ok(of_record(&record.value));
        }
        if is_removed(store, table).await? || self.nobody_has(session, table).await? {
            return Ok(Standing::Deleted);
        }
        Ok(Standing::Unclear)
    }

    /// Whether no data node has a replica of it, as far as it matters.
    async fn nobody_has(&self, session: &Session, table: TableId) -> Result<bool, registry::Error> {
        let members = read_members(&*session.store).await?;
        if !members.unreadable.is_empty() {
            return Ok(false);
        }
        let answers = self
            .survey(members.entries.into_keys().collect(), Some(table))
            .await;
        let silent = answers.values().filter(|answer| answer.is_err()).count();
        let bearable = if answers.len() > 2 { SILENT } else { 0 };
        let nothing = answers.values().flatten().all(|answer| {
            let replicas = answer.replicas.iter().map(|replica| replica.table);
            let kept_out = answer.quarantined_replicas.iter();
            let mut all = replicas.chain(kept_out.map(|replica| replica.table));
            all.all(|other| other != table.0)
        });
        Ok(nothing && silent <= bearable)
    }
}

/// Of a table with this record.
fn of_record(table: &Table) -> Standing {
    match table.state {
        TableState::Deleting if table.never_available => Standing::Unclear,
        TableState::Deleting => Standing::Deleted,
        TableState::Creating | TableState::Available => Standing::Listed,
    }
}
