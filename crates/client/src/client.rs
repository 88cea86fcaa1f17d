//! The client and its operations on single items.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::v1::operation::Kind as Question;
use api::v1::operation_result::Kind as Answer;
use api::{convert, deadline, v1};
use bytes::Bytes;
use environment::{Clock, Environment};
use model::{Condition, RequestId, limits};

use crate::Error;
use crate::history::Kind;
use crate::retry::{Attempt, call};
use crate::routers::Routers;

/// How consistent a read is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Consistency {
    /// Any available replica answers, maybe with an older state. The default, and the cheapest.
    #[default]
    Eventual,
    /// Linearizable: shows every write that was confirmed before.
    Strong,
}

/// An item as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its value.
    pub value: Bytes,
    /// Grows with every change of the key, and is never used again for it, deletion included.
    pub version: u64,
}

/// How a client behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// For reads and writes of items, all attempts together. More than
    /// [`limits::MAX_DATA_DEADLINE_MILLIS`] counts as that.
    pub data_timeout: Duration,
    /// For tables and status, all attempts together.
    pub admin_timeout: Duration,
    /// Connections to a router, used in turn. One carries hundreds of requests at a time; a router works at what it does for
    /// one of them on one core at a time, so more help who asks for tens of thousands a second.
    pub connections: usize,
    /// Whether operations on a connection share one stream once there are several, which costs a fraction of a call for
    /// each. On by default; off is for comparing the two.
    pub streams: bool,
    /// Time and network.
    pub environment: Environment,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            data_timeout: deadline::DEFAULT_DATA,
            admin_timeout: deadline::DEFAULT_ADMIN,
            connections: 1,
            streams: true,
            environment: Environment::default(),
        }
    }
}

/// A client of one cluster. Clones share connections and identity. See the [crate](crate).
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
    data_timeout: Duration,
    admin_timeout: Duration,
}

#[derive(Debug)]
struct Shared {
    routers: Routers,
    clock: Arc<dyn Clock>,
    /// Names this client in the identities of its writes.
    id: u64,
    writes: AtomicU64,
}

impl Client {
    /// A client with the default [`Options`]. Addresses are `http://host:port` or `host:port`; the first
    /// is used as long as it serves. Connections are opened by the first request.
    pub fn connect<A: AsRef<str>>(addresses: impl IntoIterator<Item = A>) -> Result<Self, Error> {
        Self::with_options(addresses, &Options::default())
    }

    /// A client with given options.
    pub fn with_options<A: AsRef<str>>(
        addresses: impl IntoIterator<Item = A>,
        options: &Options,
    ) -> Result<Self, Error> {
        let addresses = addresses
            .into_iter()
            .map(|address| address.as_ref().trim().parse())
            .collect::<Result<Vec<_>, _>>()?;
        if addresses.is_empty() {
            return Err(Error::InvalidAddress {
                address: String::new(),
                why: "none is given".to_owned(),
            });
        }
        Ok(Self {
            shared: Arc::new(Shared {
                routers: Routers::new(
                    addresses,
                    options.connections,
                    options.streams,
                    &options.environment.network,
                ),
                clock: Arc::clone(&options.environment.clock),
                id: rand::random(),
                writes: AtomicU64::new(0),
            }),
            data_timeout: options.data_timeout.min(MAX_DATA_TIMEOUT),
            admin_timeout: options.admin_timeout,
        })
    }

    /// The same client with another deadline for each of its requests.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            data_timeout: timeout.min(MAX_DATA_TIMEOUT),
            admin_timeout: timeout,
        }
    }

    /// Reads an item; `None` where there is none.
    pub async fn get(
        &self,
        table: &str,
        key: impl Into<Bytes>,
        consistency: Consistency,
    ) -> Result<Option<Item>, Error> {
        let message = v1::GetRequest {
            table: table.to_owned(),
            key: key.into(),
            consistent: consistency == Consistency::Strong,
        };
        let answer = self.operate(Kind::Read, Question::Get(message), |answer| match answer {
            Answer::Get(answer) => Some(answer),
            _ => None,
        });
        Ok(item_of(answer.await?))
    }

    /// Writes an item, whether it exists or not, and returns its new version.
    pub async fn put(
        &self,
        table: &str,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
    ) -> Result<u64, Error> {
        self.put_if(table, key, value, Condition::Always).await
    }

    /// Writes an item if a condition holds of what is there, and returns its new version.
    ///
    /// [`Reason::ConditionFailed`](crate::Reason::ConditionFailed) means that it does not hold and nothing was written.
    pub async fn put_if(
        &self,
        table: &str,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
        condition: Condition,
    ) -> Result<u64, Error> {
        let message = self.put_request(table, key.into(), value.into(), condition)?;
        let answer = self.operate(Kind::Write, Question::Put(message), |answer| match answer {
            Answer::Put(answer) => Some(answer.version),
            _ => None,
        });
        answer.await
    }

    /// Removes an item. An absent one is no error.
    pub async fn delete(&self, table: &str, key: impl Into<Bytes>) -> Result<(), Error> {
        self.delete_if(table, key, Condition::Always).await
    }

    /// Removes an item if a condition holds of what is there.
    ///
    /// [`Reason::ConditionFailed`](crate::Reason::ConditionFailed) means that it does not hold and nothing was removed.
    pub async fn delete_if(
        &self,
        table: &str,
        key: impl Into<Bytes>,
        condition: Condition,
    ) -> Result<(), Error> {
        let message = v1::DeleteRequest {
            table: table.to_owned(),
            key: key.into(),
            condition: convert::condition_message(condition),
            request_id: Some(self.next_request_id().into()),
        };
        let answer = self.operate(
            Kind::Write,
            Question::Delete(message),
            |answer| match answer {
                Answer::Delete(_) => Some(()),
                _ => None,
            },
        );
        answer.await
    }

    /// A put with its identity. Too large a value is refused here, before it meets the limit of messages.
    pub(crate) fn put_request(
        &self,
        table: &str,
        key: Bytes,
        value: Bytes,
        condition: Condition,
    ) -> Result<v1::PutRequest, Error> {
        Ok(v1::PutRequest {
            table: table.to_owned(),
            key: convert::key(key)?.partition,
            value: convert::value(value)?,
            condition: convert::condition_message(condition),
            request_id: Some(self.next_request_id().into()),
        })
    }

    fn next_request_id(&self) -> RequestId {
        RequestId {
            client: self.shared.id,
            sequence: self.shared.writes.fetch_add(1, Ordering::Relaxed),
            issued_millis: self.shared.clock.now().wall_millis,
        }
    }

    pub(crate) fn data_timeout(&self) -> Duration {
        self.data_timeout
    }

    pub(crate) fn routers(&self) -> &Routers {
        &self.shared.routers
    }

    pub(crate) async fn admin<T, F, A>(&self, kind: Kind, send: F) -> Result<T, Error>
    where
        F: Fn(Attempt) -> A,
        A: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let answered = call(self.routers(), kind, self.admin_timeout, send).await?;
        Ok(answered.answer)
    }
}

const MAX_DATA_TIMEOUT: Duration = Duration::from_millis(limits::MAX_DATA_DEADLINE_MILLIS);

pub(crate) fn item_of(answer: v1::GetResponse) -> Option<Item> {
    answer.found.then_some(Item {
        value: answer.value,
        version: answer.version,
    })
}
