//! etcd as a target, by its gRPC interface of version 3.

use bytes::Bytes;
use load::{Item, Target};
use tonic::Status;

use crate::Failure;
use crate::connection::{Connection, answer, origin, request};
use proto::kv_client::KvClient;
use proto::maintenance_client::MaintenanceClient;
use proto::{
    PutRequest, RangeRequest, RequestOp, StatusRequest, TxnRequest, TxnResponse, request_op,
    response_op,
};

/// What is spoken: `proto/etcd.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub(crate) mod proto {
    tonic::include_proto!("etcdserverpb");
}

/// One connection to one member.
#[derive(Debug, Clone)]
pub struct Member {
    kv: KvClient<Connection>,
    maintenance: MaintenanceClient<Connection>,
    /// Of single gets: answered by this member from what it has applied.
    serializable: bool,
}

/// What a member says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its version.
    pub version: String,
    /// It leads.
    pub leads: bool,
    /// It knows who leads.
    pub knows_leader: bool,
}

impl Member {
    /// Connects to a member at `host:port`; its gets are linearizable.
    pub async fn connect(address: &str) -> Result<Self, Failure> {
        let connection = Connection::open(address).await?;
        let origin = origin(address)?;
        Ok(Self {
            kv: KvClient::with_origin(connection.clone(), origin.clone()),
            maintenance: MaintenanceClient::with_origin(connection, origin),
            serializable: false,
        })
    }

    /// The same connection for serializable gets.
    #[must_use]
    pub fn serializable(&self) -> Self {
        Self {
            serializable: true,
            ..self.clone()
        }
    }

    /// What the member says of itself.
    pub async fn status(&self) -> Result<MemberStatus, Status> {
        let mut client = self.maintenance.clone();
        let status = answer(client.status(request(StatusRequest {}))).await?;
        let id = status.header.map_or(0, |header| header.member_id);
        Ok(MemberStatus {
            version: status.version,
            leads: id != 0 && status.leader == id,
            knows_leader: status.leader != 0,
        })
    }

    fn range(&self, key: Bytes) -> RangeRequest {
        RangeRequest {
            key,
            serializable: self.serializable,
        }
    }

    async fn transact(&self, requests: Vec<request_op::Request>) -> Result<TxnResponse, Status> {
        let mut client = self.kv.clone();
        answer(client.txn(request(transaction(requests)))).await
    }
}

/// A transaction without a condition.
fn transaction(requests: Vec<request_op::Request>) -> TxnRequest {
    let operations = requests.into_iter().map(|request| RequestOp {
        request: Some(request),
    });
    TxnRequest {
        success: operations.collect(),
    }
}

/// Whether every one of so many ranges has found something.
fn found_all(response: &TxnResponse, asked: usize) -> bool {
    let found = response.responses.iter().filter(|operation| {
        matches!(&operation.response, Some(response_op::Response::ResponseRange(range)) if !range.kvs.is_empty())
    });
    found.count() == asked
}

impl Target for Member {
    type Error = Status;

    fn reason(error: &Status) -> String {
        format!("{:?}", error.code())
    }

    async fn get(&self, key: Bytes) -> Result<bool, Status> {
        let mut client = self.kv.clone();
        let range = answer(client.range(request(self.range(key)))).await?;
        Ok(!range.kvs.is_empty())
    }

    async fn put(&self, (key, value): Item) -> Result<(), Status> {
        let mut client = self.kv.clone();
        let put = PutRequest { key, value };
        answer(client.put(request(put))).await.map(|_| ())
    }

    async fn transact_get(&self, keys: Vec<Bytes>) -> Result<bool, Status> {
        let asked = keys.len();
        let ranges = keys.into_iter().map(|key| self.range(key));
        let ranges = ranges.map(request_op::Request::RequestRange).collect();
        Ok(found_all(&self.transact(ranges).await?, asked))
    }

    async fn transact_put(&self, items: Vec<Item>) -> Result<(), Status> {
        let puts = items
            .into_iter()
            .map(|(key, value)| PutRequest { key, value });
        let puts = puts.map(request_op::Request::RequestPut).collect();
        self.transact(puts).await.map(|_| ())
    }

    async fn put_many(&self, items: Vec<Item>) -> Result<(), Status> {
        self.transact_put(items).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use proto::{KeyValue, PutResponse, RangeResponse, ResponseOp, StatusResponse};

    /// Written down by hand from etcd's definition: tag byte `field << 3 | wire type`.
    #[test]
    fn requests_have_the_bytes_that_etcd_reads() {
        let range = RangeRequest {
            key: Bytes::from_static(b"k"),
            serializable: true,
        };
        assert_eq!(range.encode_to_vec(), [0x0a, 1, b'k', 0x38, 1]);
        let put = PutRequest {
            key: Bytes::from_static(b"k"),
            value: Bytes::from_static(b"vw"),
        };
        assert_eq!(put.encode_to_vec(), [0x0a, 1, b'k', 0x12, 2, b'v', b'w']);
        let txn = transaction(vec![request_op::Request::RequestPut(put)]);
        assert_eq!(
            txn.encode_to_vec(),
            [0x12, 9, 0x12, 7, 0x0a, 1, b'k', 0x12, 2, b'v', b'w']
        );
    }

    #[test]
    fn answers_are_read_with_all_that_is_not_looked_at() {
        // header { cluster_id 1, member_id 2, revision 3 }, kvs { key k, version 4, value v }, count 1
        let bytes = [
            0x0a, 6, 0x08, 1, 0x10, 2, 0x18, 3, 0x12, 8, 0x0a, 1, b'k', 0x20, 4, 0x2a, 1, b'v',
            0x20, 1,
        ];
        let range = RangeResponse::decode(&bytes[..]).unwrap();
        assert_eq!(range.kvs.len(), 1);
        assert_eq!(
            (&*range.kvs[0].key, &*range.kvs[0].value),
            (&b"k"[..], &b"v"[..])
        );
        // header { member_id 2 }, version "3", dbSize 9, leader 2, raftIndex 7
        let bytes = [0x0a, 2, 0x10, 2, 0x12, 1, b'3', 0x18, 9, 0x20, 2, 0x28, 7];
        let status = StatusResponse::decode(&bytes[..]).unwrap();
        assert_eq!((&*status.version, status.leader), ("3", 2));
        assert_eq!(status.header.unwrap().member_id, 2);
    }

    #[test]
    fn a_transaction_has_found_all_only_if_each_range_has() {
        let range = |count| ResponseOp {
            response: Some(response_op::Response::ResponseRange(RangeResponse {
                kvs: vec![KeyValue::default(); count],
            })),
        };
        let response = |responses| TxnResponse { responses };
        assert!(found_all(&response(vec![range(1), range(1)]), 2));
        assert!(!found_all(&response(vec![range(1), range(0)]), 2));
        assert!(!found_all(&response(vec![range(1)]), 2));
        // What a put is answered with is unknown here and read as nothing.
        let other = PutResponse {};
        assert_eq!(other.encoded_len(), 0);
        assert!(!found_all(
            &response(vec![ResponseOp { response: None }]),
            1
        ));
    }
}
