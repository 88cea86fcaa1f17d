//! Talking to a router as any gRPC client does.

use std::fmt;
use std::time::Duration;

use api::v1::cluster_client::ClusterClient;
use api::v1::key_value_client::KeyValueClient;
use api::v1::tables_client::TablesClient;
use api::v1::{
    CreateTableRequest, DeleteRequest, DeleteTableRequest, DescribeTableRequest, GetRequest,
    GetResponse, ListTablesRequest, PutRequest, StatusRequest, StatusResponse, TableDescription,
};
use api::{Error, Reason};
use bytes::Bytes;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// What came instead of an answer.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// The system said why.
    Said(Error),
    /// The transport failed: a router that is not there or went away, or the deadline of this side.
    Silent(Status),
}

impl Failure {
    /// The reason, where the system gave one.
    pub(crate) fn reason(&self) -> Option<Reason> {
        match self {
            Self::Said(error) => Some(error.reason),
            Self::Silent(_) => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Said(error) => write!(f, "{error}"),
            Self::Silent(status) => write!(f, "{:?}: {}", status.code(), status.message()),
        }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        match Error::try_from(&status) {
            Ok(error) => Self::Said(error),
            Err(_) => Self::Silent(status),
        }
    }
}

/// A channel that connects when it is first used, and again whenever it has to.
pub(crate) fn channel(address: &str) -> Channel {
    Endpoint::from_shared(address.to_owned())
        .unwrap()
        .connect_timeout(Duration::from_secs(2))
        .connect_lazy()
}

/// Reads and writes through one router.
#[derive(Clone)]
pub(crate) struct Kv {
    client: KeyValueClient<Channel>,
    timeout: Duration,
}

impl Kv {
    /// To the router at an address, each call with a deadline of 5 s.
    pub(crate) fn new(address: &str) -> Self {
        Self {
            client: KeyValueClient::new(channel(address))
                .max_decoding_message_size(16 << 20)
                .max_encoding_message_size(16 << 20),
            timeout: Duration::from_secs(5),
        }
    }

    /// With another deadline for each call.
    #[must_use]
    pub(crate) fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The generated client, for what the methods here can't express.
    pub(crate) fn raw(&self) -> KeyValueClient<Channel> {
        self.client.clone()
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        request
    }

    /// Writes, and returns the item's version.
    pub(crate) async fn put(
        &self,
        table: &str,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
    ) -> Result<u64, Failure> {
        let request = self.request(PutRequest {
            table: table.to_owned(),
            key: Bytes::from(key.into()),
            value: Bytes::from(value.into()),
            condition: None,
            request_id: None,
        });
        let answer = self.client.clone().put(request).await?;
        Ok(answer.into_inner().version)
    }

    pub(crate) async fn delete(&self, table: &str, key: impl Into<Vec<u8>>) -> Result<(), Failure> {
        let request = self.request(DeleteRequest {
            table: table.to_owned(),
            key: Bytes::from(key.into()),
            condition: None,
            request_id: None,
        });
        self.client.clone().delete(request).await?;
        Ok(())
    }

    async fn get_answer(
        &self,
        table: &str,
        key: impl Into<Vec<u8>>,
        consistent: bool,
    ) -> Result<GetResponse, Failure> {
        let request = self.request(GetRequest {
            table: table.to_owned(),
            key: Bytes::from(key.into()),
            consistent,
        });
        Ok(self.client.clone().get(request).await?.into_inner())
    }

    /// A linearizable read.
    pub(crate) async fn get(
        &self,
        table: &str,
        key: impl Into<Vec<u8>>,
    ) -> Result<Option<String>, Failure> {
        let answer = self.get_answer(table, key, true).await?;
        Ok(value(&answer))
    }

    /// A read from any replica.
    pub(crate) async fn get_eventual(
        &self,
        table: &str,
        key: impl Into<Vec<u8>>,
    ) -> Result<Option<String>, Failure> {
        let answer = self.get_answer(table, key, false).await?;
        Ok(value(&answer))
    }
}

fn value(answer: &GetResponse) -> Option<String> {
    answer
        .found
        .then(|| String::from_utf8_lossy(&answer.value).into_owned())
}

/// Administration through one router.
#[derive(Clone)]
pub(crate) struct Tables {
    client: TablesClient<Channel>,
    cluster: ClusterClient<Channel>,
    timeout: Duration,
}

impl Tables {
    pub(crate) fn new(address: &str) -> Self {
        let channel = channel(address);
        Self {
            client: TablesClient::new(channel.clone()).max_decoding_message_size(16 << 20),
            cluster: ClusterClient::new(channel),
            timeout: Duration::from_secs(60),
        }
    }

    /// With another deadline for each creation and deletion.
    #[must_use]
    pub(crate) fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub(crate) async fn create(
        &self,
        name: &str,
        shards: u32,
        replicas: u32,
    ) -> Result<TableDescription, Failure> {
        let mut request = Request::new(CreateTableRequest {
            name: name.to_owned(),
            shards,
            replicas,
        });
        request.set_timeout(self.timeout);
        let answer = self.client.clone().create_table(request).await?;
        Ok(answer.into_inner())
    }

    pub(crate) async fn delete(&self, name: &str) -> Result<(), Failure> {
        let mut request = Request::new(DeleteTableRequest {
            name: name.to_owned(),
        });
        request.set_timeout(self.timeout);
        self.client.clone().delete_table(request).await?;
        Ok(())
    }

    pub(crate) async fn describe(
        &self,
        name: &str,
        verify: bool,
    ) -> Result<TableDescription, Failure> {
        let mut request = Request::new(DescribeTableRequest {
            name: name.to_owned(),
            verify,
        });
        request.set_timeout(Duration::from_secs(60));
        let answer = self.client.clone().describe_table(request).await?;
        Ok(answer.into_inner())
    }

    /// The names of all tables.
    pub(crate) async fn list(&self) -> Result<Vec<String>, Failure> {
        let mut request = Request::new(ListTablesRequest::default());
        request.set_timeout(Duration::from_secs(20));
        let answer = self.client.clone().list_tables(request).await?;
        let tables = answer.into_inner().tables;
        Ok(tables.into_iter().map(|table| table.name).collect())
    }

    pub(crate) async fn status(&self) -> Result<StatusResponse, Failure> {
        let mut request = Request::new(StatusRequest {});
        request.set_timeout(Duration::from_secs(20));
        let answer = self.cluster.clone().status(request).await?;
        Ok(answer.into_inner())
    }
}
