//! The list of tables.

use api::v1::{TableState, TableSummary};

use super::table::{self, Column, cell};
use super::units;

/// A line per table.
pub fn tables(tables: &[TableSummary]) -> String {
    let mut shown = table::new(&[
        Column::Text("TABLE"),
        Column::Text("STATE"),
        Column::Number("SHARDS"),
        Column::Number("REPLICAS"),
        Column::Text("CREATED"),
    ]);
    for table in tables {
        shown.add_row([
            cell(&table.name),
            cell(state(table.state())),
            cell(table.shards),
            cell(table.replicas),
            cell(units::time(table.created_at_millis)),
        ]);
    }
    table::render(&shown)
}

/// A table's state in a word.
pub(super) fn state(state: TableState) -> &'static str {
    match state {
        TableState::Unspecified => "unknown",
        TableState::Creating => "creating",
        TableState::Available => "available",
        TableState::Deleting => "deleting",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_stand_in_columns() {
        let table = |name: &str, state: TableState, shards| TableSummary {
            name: name.to_owned(),
            id: "00000000000000ab".to_owned(),
            state: state as i32,
            shards,
            replicas: 3,
            created_at_millis: 0,
        };
        let text = tables(&[
            table("people", TableState::Available, 12),
            table("old", TableState::Deleting, 4096),
        ]);
        assert_eq!(
            text,
            "\
TABLE   STATE      SHARDS  REPLICAS  CREATED
people  available      12         3  1970-01-01 00:00:00 UTC
old     deleting     4096         3  1970-01-01 00:00:00 UTC
"
        );
    }
}
