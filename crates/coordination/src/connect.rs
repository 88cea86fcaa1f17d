//! Starting sessions: a role whose session has expired begins again with a new one.

use std::sync::Arc;

use async_trait::async_trait;

use crate::embedded::Embedded;
use crate::zookeeper::{ConnectOptions, ZooKeeper};
use crate::{Coordination, Error};

/// A way to get new sessions with one coordination store.
#[async_trait]
pub trait Connect: Send + Sync + 'static {
    /// Starts a new session. Each call starts another one. Fails with [`Error::Unavailable`] if the store
    /// can't be reached; the caller tries again.
    async fn connect(&self) -> Result<Arc<dyn Coordination>, Error>;
}

#[async_trait]
impl Connect for Embedded {
    async fn connect(&self) -> Result<Arc<dyn Coordination>, Error> {
        Ok(self.session())
    }
}

#[async_trait]
impl Connect for ConnectOptions {
    async fn connect(&self) -> Result<Arc<dyn Coordination>, Error> {
        let session = ZooKeeper::connect(self.clone()).await?;
        Ok(Arc::new(session))
    }
}
