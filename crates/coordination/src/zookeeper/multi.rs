//! Writes. All of them are `multi`s, also those of one operation.

use zookeeper_client as zk;

use super::errors;
use crate::{CreateMode, Error, Operation, Outcome, Stat};

/// Sends a `multi` and waits for its answer.
pub(super) async fn multi(
    client: &zk::Client,
    acl: &[zk::Acl],
    operations: &[Operation],
) -> Result<Vec<Outcome>, Error> {
    let mut writer = client.new_multi_writer();
    for (index, operation) in operations.iter().enumerate() {
        add(&mut writer, acl, operation)
            .map_err(|error| errors::of_operation(&error, operation.path(), Some(index)))?;
    }
    match writer.commit().await {
        Ok(results) => Ok(results.into_iter().map(outcome).collect()),
        Err(zk::MultiWriteError::OperationFailed { index, source }) => {
            let path = operations.get(index).map_or("", Operation::path);
            Err(errors::of_operation(&source, path, Some(index)))
        }
        Err(zk::MultiWriteError::RequestFailed { source }) => {
            Err(errors::of_operation(&source, "", None))
        }
    }
}

fn add(
    writer: &mut zk::MultiWriter<'_>,
    acl: &[zk::Acl],
    operation: &Operation,
) -> Result<(), zk::Error> {
    match operation {
        Operation::Create { path, data, mode } => {
            let options = create_mode(*mode).with_acls(zk::Acls::new(acl));
            writer.add_create(path, data, &options)
        }
        // The client knows −1 as "any" too.
        Operation::Set {
            path,
            data,
            version,
        } => writer.add_set_data(path, data, Some(*version)),
        Operation::Delete { path, version } => writer.add_delete(path, Some(*version)),
        Operation::Check { path, version } => writer.add_check_version(path, *version),
    }
}

fn create_mode(mode: CreateMode) -> zk::CreateMode {
    match mode {
        CreateMode::Persistent => zk::CreateMode::Persistent,
        CreateMode::Ephemeral => zk::CreateMode::Ephemeral,
        CreateMode::PersistentSequential => zk::CreateMode::PersistentSequential,
        CreateMode::EphemeralSequential => zk::CreateMode::EphemeralSequential,
    }
}

fn outcome(result: zk::MultiWriteResult) -> Outcome {
    match result {
        // Its stat is not used: up to ZooKeeper 3.8.1 it is garbage (ZOOKEEPER-4026).
        zk::MultiWriteResult::Create { path, .. } => Outcome::Created { path },
        zk::MultiWriteResult::SetData { stat: new } => Outcome::Set(stat(&new)),
        zk::MultiWriteResult::Delete => Outcome::Deleted,
        // The enum is open; a check is all that is left of what we send.
        _ => Outcome::Checked,
    }
}

/// The part of ZooKeeper's stat that every store has.
pub(super) fn stat(stat: &zk::Stat) -> Stat {
    Stat {
        version: stat.version,
        created_zxid: stat.czxid,
        modified_zxid: stat.mzxid,
        ephemeral_owner: stat.ephemeral_owner,
    }
}
