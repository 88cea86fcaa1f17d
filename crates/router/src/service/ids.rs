//! Ids as operators write them.

use std::str::FromStr;

use api::Error;
use model::{NodeId, TableId};

/// A data node's id.
pub(crate) fn node(field: &str, text: &str) -> Result<NodeId, Error> {
    parse(field, text, "a data node's id, as list-nodes shows it,")
}

/// A table's id.
pub(crate) fn table(field: &str, text: &str) -> Result<TableId, Error> {
    parse(field, text, "a table's id, as list-quarantined shows it,")
}

fn parse<T: FromStr>(field: &str, text: &str, what: &str) -> Result<T, Error> {
    let invalid = |_| {
        let shown = text.escape_debug();
        Error::invalid(
            field,
            format!("{what} has 16 hexadecimal digits, `{shown}` has not"),
        )
    };
    text.parse().map_err(invalid)
}
