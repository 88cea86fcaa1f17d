//! Opening a session, within a bounded time.

use tokio::time::{Instant, sleep, timeout_at};
use zookeeper_client as zk;

use super::{ConnectOptions, RETRY_PAUSE, errors};
use crate::{Error, path};

/// A client whose chroot exists.
pub(super) struct Connected {
    pub(super) client: zk::Client,
    /// Bytes of the chroot.
    pub(super) root_bytes: usize,
}

/// Connects and makes the chroot, trying again until the deadline.
pub(super) async fn connect(options: &ConnectOptions) -> Result<Connected, Error> {
    let (hosts, chroot) = options.split_hosts()?;
    let deadline = Instant::now() + options.connect_timeout;
    let mut last = "no server has answered".to_owned();
    match timeout_at(
        deadline,
        try_until_connected(options, hosts, chroot, &mut last),
    )
    .await
    {
        Ok(result) => result,
        Err(_) => Err(Error::Unavailable {
            reason: format!(
                "no session with ZooKeeper at {hosts} within {:?}: {last}",
                options.connect_timeout
            ),
        }),
    }
}

async fn try_until_connected(
    options: &ConnectOptions,
    hosts: &str,
    chroot: &str,
    last: &mut String,
) -> Result<Connected, Error> {
    loop {
        let connector = zk::Client::connector().with_session_timeout(options.session_timeout);
        match connector.connect(hosts).await {
            Ok(client) => match into_chroot(client, chroot).await {
                Ok(client) => {
                    let root_bytes = if chroot == path::ROOT {
                        0
                    } else {
                        chroot.len()
                    };
                    return Ok(Connected { client, root_bytes });
                }
                Err(error) if errors::is_definite(&error) => return Err(error),
                Err(error) => *last = error.to_string(),
            },
            Err(zk::Error::BadArguments(reason)) => {
                return Err(Error::InvalidOptions {
                    reason: format!("`{hosts}`: {reason}"),
                });
            }
            Err(error) => *last = error.to_string(),
        }
        sleep(RETRY_PAUSE).await;
    }
}

/// Makes the chroot and every znode above it, if they are missing, and goes there.
async fn into_chroot(client: zk::Client, chroot: &str) -> Result<zk::Client, Error> {
    let exists = client.check_stat(chroot).await;
    if exists
        .map_err(|error| errors::of_operation(&error, chroot, None))?
        .is_none()
    {
        make_all(&client, chroot).await?;
    }
    client.chroot(chroot).map_err(|_| Error::InvalidPath {
        path: chroot.to_owned(),
        reason: "ZooKeeper's client refuses it",
    })
}

async fn make_all(client: &zk::Client, chroot: &str) -> Result<(), Error> {
    let options = zk::CreateMode::Persistent.with_acls(zk::Acls::anyone_all());
    let ends = chroot.match_indices('/').map(|(slash, _)| slash).skip(1);
    for end in ends.chain([chroot.len()]) {
        let path = &chroot[..end];
        match client.create(path, b"", &options).await {
            // Another process was first, or an earlier attempt of ours.
            Ok(_) | Err(zk::Error::NodeExists) => {}
            Err(error) => return Err(errors::of_operation(&error, path, None)),
        }
    }
    Ok(())
}
