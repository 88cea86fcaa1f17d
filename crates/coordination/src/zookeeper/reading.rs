//! Reading many znodes with few requests.
//!
//! What a read costs ZooKeeper is the request: a thousand znodes, one by one, are some fifty milliseconds of its processor.

use zookeeper_client as zk;

use super::{Inner, errors, multi};
use crate::{Error, Znode};

/// Znodes of one request. Together they are an answer of some megabytes at the most, unless somebody fills them.
pub(super) const AT_ONCE: usize = 64;
/// Requests on the way.
pub(super) const IN_FLIGHT: usize = 4;

impl Inner {
    /// Reads these with one request.
    pub(super) async fn read_together(
        &self,
        paths: &[String],
    ) -> Result<Vec<Option<Znode>>, Error> {
        let Some(first) = paths.first() else {
            return Ok(Vec::new());
        };
        let call = |client: zk::Client| async move {
            let mut reader = client.new_multi_reader();
            for path in paths {
                reader.add_get_data(path)?;
            }
            reader.commit().await
        };
        let results = self.read(first, call).await?;
        if results.len() != paths.len() {
            // Nothing is known then of which is which.
            return Err(self.unavailable());
        }
        let results = paths.iter().zip(results);
        results.map(|(path, result)| one(path, result)).collect()
    }
}

fn one(path: &str, result: zk::MultiReadResult) -> Result<Option<Znode>, Error> {
    match result {
        zk::MultiReadResult::Data { data, stat } => Ok(Some(znode(data, &stat))),
        zk::MultiReadResult::Error { err } => match errors::of_operation(&err, path, None) {
            Error::NoNode { .. } => Ok(None),
            error => Err(error),
        },
        // The enum is open; nothing else was asked for.
        _ => Err(Error::ConnectionLoss),
    }
}

/// What the client has read.
pub(super) fn znode(data: Vec<u8>, stat: &zk::Stat) -> Znode {
    Znode {
        data: data.into(),
        stat: multi::stat(stat),
    }
}
