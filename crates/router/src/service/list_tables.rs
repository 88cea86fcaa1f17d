//! `Tables.ListTables`: always read from the coordination store.

use api::v1::{ListTablesRequest, ListTablesResponse, TableSummary};
use api::{Error, v1};
use model::limits::MAX_LIST_PAGE;
use model::{Table, TableName};
use tokio::time::{Instant, timeout_at};

use crate::directory::{read, unavailable};
use crate::state::{Session, State};

/// Lists a page of tables, by name.
pub(crate) async fn list_tables(
    state: &State,
    request: ListTablesRequest,
    deadline: Instant,
) -> Result<ListTablesResponse, Error> {
    let session = state.connected()?;
    let limit = match request.limit as usize {
        0 => MAX_LIST_PAGE,
        limit => limit.min(MAX_LIST_PAGE),
    };
    let read = read_page(state, &session, &request.after, limit);
    match timeout_at(deadline, read).await {
        Ok(page) => page.map_err(unavailable),
        Err(_) => Err(unavailable("it did not answer in time")),
    }
}

async fn read_page(
    state: &State,
    session: &Session,
    after: &str,
    limit: usize,
) -> Result<ListTablesResponse, coordination::registry::Error> {
    let store = &*session.store;
    read::sync(store).await?;
    let names: Vec<TableName> = read::names(store)
        .await?
        .into_iter()
        .filter(|name| name.as_str() > after)
        .collect();
    let more = names.len() > limit;
    let page: Vec<TableName> = names.into_iter().take(limit).collect();
    let next = page.last().filter(|_| more).map(ToString::to_string);
    let known = state.directory.snapshot();
    let tables = read::tables_of(store, page, &known).await?;
    Ok(ListTablesResponse {
        tables: tables.iter().map(|entry| summary(&entry.value)).collect(),
        next: next.unwrap_or_default(),
    })
}

/// What a list shows of a table.
pub(crate) fn summary(table: &Table) -> TableSummary {
    TableSummary {
        name: table.name.to_string(),
        id: table.id.to_string(),
        state: v1::TableState::from(table.state).into(),
        shards: table.shards.len() as u32,
        replicas: table.replicas,
        created_at_millis: table.created_millis,
    }
}
