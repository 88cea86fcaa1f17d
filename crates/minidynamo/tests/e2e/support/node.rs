//! Talking to one data node as a router does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use api::internal::data_node_client::DataNodeClient;
use api::internal::operation::Kind;
use api::internal::operation_result::Kind as ResultKind;
use api::internal::{
    DescribeRequest, DescribeResponse, Get, Operation, OperationBatch, OperationResult, Put,
};
use api::{Error, v1};
use bytes::Bytes;
use model::ShardId;
use tokio::task::JoinHandle;
use tonic::Request;
use tonic::transport::Channel;

use super::kv::channel;

static SEQUENCE: AtomicU64 = AtomicU64::new(1);

/// One data node's internal service.
#[derive(Clone)]
pub(crate) struct Direct {
    client: DataNodeClient<Channel>,
}

/// A question that is under way.
pub(crate) struct Asked(JoinHandle<Result<Option<String>, Error>>);

impl Asked {
    /// It is answered with this value, or with an error that says to try again.
    pub(crate) async fn assert_not_stale(self, value: &str) {
        match self.0.await.unwrap() {
            Ok(read) => assert_eq!(read.as_deref(), Some(value)),
            Err(error) => assert!(error.reason.is_retryable(), "{error}"),
        }
    }
}

impl Direct {
    pub(crate) fn new(address: &str) -> Self {
        Self {
            client: DataNodeClient::new(channel(address)).max_decoding_message_size(16 << 20),
        }
    }

    /// What the node holds.
    pub(crate) async fn describe(&self) -> Result<DescribeResponse, tonic::Status> {
        let mut request = Request::new(DescribeRequest::default());
        request.set_timeout(Duration::from_secs(5));
        let answer = self.client.clone().describe(request).await?;
        Ok(answer.into_inner())
    }

    /// How many transactions the node holds prepared and undecided.
    pub(crate) async fn undecided(&self) -> usize {
        let mut request = Request::new(DescribeRequest {
            undecided_after_millis: 1,
            ..DescribeRequest::default()
        });
        request.set_timeout(Duration::from_secs(5));
        let answer = self.client.clone().describe(request).await.unwrap();
        answer.into_inner().undecided.len()
    }

    /// Sends one operation on a stream of its own. `Err` is what the node refused it with.
    async fn operate(
        &self,
        shard: ShardId,
        kind: Kind,
    ) -> Result<(OperationResult, ResultKind), Error> {
        let operation = Operation {
            correlation: 7,
            table: shard.table.0,
            shard: shard.index,
            timeout_millis: 5_000,
            forwarded: false,
            kind: Some(kind),
        };
        let batch = OperationBatch {
            operations: vec![operation],
            cancelled: Vec::new(),
        };
        // The stream stays open until the answer is here, as a router's does.
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        sender.send(batch).await.unwrap();
        let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let exchange = async {
            let mut answers = self.client.clone().operate(stream).await?.into_inner();
            answers.message().await
        };
        let answer = tokio::time::timeout(Duration::from_secs(10), exchange).await;
        let answer = answer.expect("no answer within 10 s, the deadline being 5 s");
        let batch = answer.unwrap().expect("the node ended the stream");
        let [result] = <[OperationResult; 1]>::try_from(batch.results).unwrap();
        assert_eq!(result.correlation, 7);
        match result.kind.clone().expect("a result of some kind") {
            ResultKind::Failure(failure) => Err(failure.into()),
            kind => Ok((result, kind)),
        }
    }

    /// Writes, and returns the item's version.
    pub(crate) async fn put(&self, shard: ShardId, key: &str, value: &str) -> Result<u64, Error> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let put = Put {
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: Bytes::copy_from_slice(value.as_bytes()),
            condition: None,
            request_id: Some(v1::RequestId {
                client_id: u64::from(std::process::id()),
                sequence: SEQUENCE.fetch_add(1, Ordering::Relaxed),
                issued_at_millis: now.unwrap().as_millis() as u64,
            }),
        };
        match self.operate(shard, Kind::Put(put)).await?.1 {
            ResultKind::Applied(applied) => Ok(applied.version),
            other => panic!("a put was answered with {other:?}"),
        }
    }

    /// Asks for a consistent read and goes on: a node that is paused finds the question when it wakes.
    pub(crate) fn ask(&self, shard: ShardId, key: &'static str) -> Asked {
        let direct = self.clone();
        Asked(tokio::spawn(
            async move { direct.get(shard, key, true).await },
        ))
    }

    /// Reads from this very node if `consistent` is false.
    pub(crate) async fn get(
        &self,
        shard: ShardId,
        key: &str,
        consistent: bool,
    ) -> Result<Option<String>, Error> {
        let get = Get {
            key: Bytes::copy_from_slice(key.as_bytes()),
            consistent,
        };
        match self.operate(shard, Kind::Get(get)).await?.1 {
            ResultKind::Found(found) => {
                Ok(Some(String::from_utf8_lossy(&found.value).into_owned()))
            }
            ResultKind::Absent(_) => Ok(None),
            other => panic!("a get was answered with {other:?}"),
        }
    }
}
