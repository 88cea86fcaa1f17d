//! `KeyValue.Operate`: many operations over one stream, each as if it had been called alone.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use api::v1::operation::Kind as Question;
use api::v1::operation_result::Kind as Answer;
use api::{Error, Reason, v1};
use links::testing::{FakeNode, Fault};
use support::cluster::{Client, Cluster};
use support::{error, eventually};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Status, Streaming};

const SECOND: Duration = Duration::from_secs(1);

/// A caller's end of a stream.
struct Stream {
    requests: mpsc::UnboundedSender<v1::OperateRequest>,
    answers: Streaming<v1::OperateResponse>,
    results: BTreeMap<u64, Result<Answer, Error>>,
    closing: bool,
}

impl Stream {
    async fn open(client: &Client) -> Self {
        let (requests, receiver) = mpsc::unbounded_channel();
        let receiver = UnboundedReceiverStream::new(receiver);
        let answers = client.key_value().operate(receiver).await.unwrap();
        Self {
            requests,
            answers: answers.into_inner(),
            results: BTreeMap::new(),
            closing: false,
        }
    }

    fn send(&self, operations: impl IntoIterator<Item = (u64, Question)>) {
        let operation = |(correlation, question)| operation(correlation, question, 0);
        self.send_frame(v1::OperateRequest {
            operations: operations.into_iter().map(operation).collect(),
            cancelled: Vec::new(),
        });
    }

    fn send_frame(&self, frame: v1::OperateRequest) {
        self.requests.send(frame).unwrap();
    }

    /// Takes the next frame. False once the stream has ended.
    async fn receive(&mut self) -> Result<bool, Status> {
        let next = tokio::time::timeout(20 * SECOND, self.answers.message());
        let Some(frame) = next.await.expect("a frame")? else {
            return Ok(false);
        };
        self.closing |= frame.closing;
        for result in frame.results {
            let answer = match result.kind.unwrap() {
                Answer::Error(error) => Err(error.into()),
                answer => Ok(answer),
            };
            let earlier = self.results.insert(result.correlation, answer);
            assert_eq!(earlier, None, "each operation has one result");
        }
        Ok(true)
    }

    async fn until(&mut self, results: usize) {
        while self.results.len() < results {
            assert!(self.receive().await.unwrap(), "the stream has ended");
        }
    }

    fn reason(&self, correlation: u64) -> Reason {
        self.results[&correlation].clone().unwrap_err().reason
    }
}

fn operation(correlation: u64, question: Question, timeout_millis: u32) -> v1::Operation {
    v1::Operation {
        correlation,
        timeout_millis,
        kind: Some(question),
    }
}

fn put(key: &str, value: &str) -> Question {
    Question::Put(v1::PutRequest {
        table: "people".to_owned(),
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..v1::PutRequest::default()
    })
}

fn get_from(table: &str, key: &str) -> Question {
    Question::Get(v1::GetRequest {
        table: table.to_owned(),
        key: key.to_owned().into(),
        consistent: true,
    })
}

fn get(key: &str) -> Question {
    get_from("people", key)
}

async fn cluster() -> (Cluster, Client) {
    let cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    client.create("people", 3).await.unwrap();
    (cluster, client)
}

fn set_fault(cluster: &Cluster, fault: Fault) {
    for node in &cluster.nodes {
        node.set_fault(fault);
    }
}

fn sum(cluster: &Cluster, of: fn(&FakeNode) -> u64) -> u64 {
    cluster.nodes.iter().map(of).sum()
}

#[tokio::test]
async fn operations_of_every_kind_have_results_of_their_own() {
    let (_cluster, client) = cluster().await;
    let mut stream = Stream::open(&client).await;
    stream.send((0..100).map(|i| (i, put(&format!("key-{i}"), "v"))));
    stream.until(100).await;
    assert!(stream.results.values().all(Result::is_ok));
    let delete = v1::DeleteRequest {
        table: "people".to_owned(),
        key: "key-1".into(),
        ..v1::DeleteRequest::default()
    };
    let item = |key: &str| v1::TransactPutItem {
        table: "people".to_owned(),
        key: key.to_owned().into(),
        value: "w".into(),
        condition: None,
    };
    let transact_put = v1::TransactPutRequest {
        items: vec![item("key-2"), item("key-3"), item("key-4")],
        client_request_token: String::new(),
    };
    stream.send([
        (100, Question::Delete(delete)),
        (101, Question::TransactPut(transact_put)),
    ]);
    stream.until(102).await;
    assert!(matches!(stream.results[&100], Ok(Answer::Delete(_))));
    assert!(matches!(stream.results[&101], Ok(Answer::TransactPut(_))));
    let key = |key: &str| v1::KeyOf {
        table: "people".to_owned(),
        key: key.to_owned().into(),
    };
    let transact_get = v1::TransactGetRequest {
        keys: vec![key("key-1"), key("key-2"), key("key-5")],
    };
    stream.send([
        (102, get("key-0")),
        (103, get("key-1")),
        (104, Question::TransactGet(transact_get)),
    ]);
    stream.until(105).await;
    let Ok(Answer::Get(found)) = &stream.results[&102] else {
        panic!("{:?}", stream.results[&102]);
    };
    assert!(found.found && found.value == "v");
    let Ok(Answer::Get(absent)) = &stream.results[&103] else {
        panic!("{:?}", stream.results[&103]);
    };
    assert!(!absent.found);
    let Ok(Answer::TransactGet(items)) = &stream.results[&104] else {
        panic!("{:?}", stream.results[&104]);
    };
    let values: Vec<_> = items.items.iter().map(|item| &item.value[..]).collect();
    assert_eq!(values, [&b""[..], b"w", b"v"]);
    drop(stream.requests);
    assert!(stream.answers.message().await.unwrap().is_none());
}

#[tokio::test]
async fn errors_are_those_of_single_calls_and_concern_nobody_else() {
    let (_cluster, client) = cluster().await;
    let mut stream = Stream::open(&client).await;
    let nothing = v1::Operation {
        correlation: 3,
        ..v1::Operation::default()
    };
    stream.send_frame(v1::OperateRequest {
        operations: vec![
            operation(1, get(""), 0),
            operation(2, get_from("nobody", "k"), 0),
            nothing,
            operation(4, put("k", "v"), 0),
        ],
        cancelled: Vec::new(),
    });
    stream.until(4).await;
    let single = client.get("people", "").await.unwrap_err();
    assert_eq!(stream.results[&1], Err(error(&single)));
    assert_eq!(stream.reason(2), Reason::TableNotFound);
    assert_eq!(stream.reason(3), Reason::InvalidRequest);
    assert!(stream.results[&4].is_ok());
}

#[tokio::test]
async fn a_deadline_is_kept_for_each_operation() {
    let (cluster, client) = cluster().await;
    set_fault(&cluster, Fault::Silent);
    let mut stream = Stream::open(&client).await;
    stream.send_frame(v1::OperateRequest {
        operations: vec![
            operation(1, put("k", "v"), 20_000),
            operation(2, put("k", "v"), 300),
            operation(3, get("k"), 300),
        ],
        cancelled: Vec::new(),
    });
    let begin = std::time::Instant::now();
    stream.until(2).await;
    assert!(begin.elapsed() < 5 * SECOND, "{:?}", begin.elapsed());
    assert_eq!(stream.reason(2), Reason::OutcomeUnknown);
    assert!(stream.results[&3].is_err());
}

#[tokio::test]
async fn what_is_cancelled_is_cancelled_wherever_it_was_sent_and_has_a_result_all_the_same() {
    let (cluster, client) = cluster().await;
    let mut stream = Stream::open(&client).await;
    stream.send([(1, put("k", "before"))]);
    stream.until(1).await;
    set_fault(&cluster, Fault::Silent);
    let (sent, cancelled) = (
        sum(&cluster, FakeNode::operations),
        sum(&cluster, FakeNode::cancelled),
    );
    stream.send([(2, put("k", "after")), (3, put("k", "last"))]);
    eventually("nodes are asked", async || {
        sum(&cluster, FakeNode::operations) >= sent + 2
    })
    .await;
    stream.send_frame(v1::OperateRequest {
        operations: Vec::new(),
        cancelled: vec![2, 9],
    });
    stream.until(2).await;
    assert_eq!(stream.reason(2), Reason::OutcomeUnknown);
    eventually("the nodes hear of it", async || {
        sum(&cluster, FakeNode::cancelled) > cancelled
    })
    .await;
    assert!(!stream.results.contains_key(&3));
    drop(stream);
    eventually("the nodes hear of the other as well", async || {
        sum(&cluster, FakeNode::cancelled) >= cancelled + 2
    })
    .await;
    assert_eq!(cluster.world.applications(), 1);
}

#[tokio::test]
async fn what_is_under_way_beside_something_that_is_cancelled_goes_on() {
    let (cluster, client) = cluster().await;
    set_fault(&cluster, Fault::Silent);
    let mut stream = Stream::open(&client).await;
    let before = sum(&cluster, FakeNode::operations);
    stream.send((0..3).map(|number| (number, put(&number.to_string(), "v"))));
    eventually("nodes are asked", async || {
        sum(&cluster, FakeNode::operations) >= before + 3
    })
    .await;
    stream.send_frame(v1::OperateRequest {
        operations: Vec::new(),
        cancelled: vec![1],
    });
    stream.until(1).await;
    assert_eq!(stream.reason(1), Reason::OutcomeUnknown);
    set_fault(&cluster, Fault::None);
    stream.until(3).await;
    assert!(stream.results[&0].is_ok() && stream.results[&2].is_ok());
}

#[tokio::test]
async fn a_message_of_too_many_is_refused_with_its_field() {
    let (_cluster, client) = cluster().await;
    let most = model::limits::MAX_STREAM_OPERATIONS as u64;
    let too_many = || 0..=most;
    let frames = [
        (
            "operations",
            v1::OperateRequest {
                operations: too_many()
                    .map(|number| operation(number, get("k"), 0))
                    .collect(),
                cancelled: Vec::new(),
            },
        ),
        (
            "cancelled",
            v1::OperateRequest {
                operations: Vec::new(),
                cancelled: too_many().collect(),
            },
        ),
    ];
    for (field, frame) in frames {
        let mut stream = Stream::open(&client).await;
        stream.send_frame(frame);
        let refused = error(&stream.receive().await.unwrap_err());
        assert_eq!(refused.reason, Reason::InvalidRequest);
        assert_eq!(refused.metadata["field"], field);
    }
}

#[tokio::test]
async fn a_router_that_goes_down_says_so_and_leaves_nothing_without_a_result() {
    let (cluster, client) = cluster().await;
    let mut stream = Stream::open(&client).await;
    set_fault(&cluster, Fault::Slow(SECOND / 2));
    let before = sum(&cluster, FakeNode::operations);
    stream.send([(1, put("k", "1"))]);
    eventually("the write is on its way", async || {
        sum(&cluster, FakeNode::operations) > before
    })
    .await;
    let Client { router, channel } = client;
    let began = std::time::Instant::now();
    let address = router.address();
    let down = tokio::spawn(router.shutdown());
    while !stream.closing {
        assert!(stream.receive().await.unwrap());
    }
    // Who comes again must not be connected by the system and then be cut off.
    let refused = std::net::TcpStream::connect(address).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    // Sent before that was read, as it were.
    stream.send([(2, put("l", "2"))]);
    let (unused, _) = mpsc::unbounded_channel();
    drop(std::mem::replace(&mut stream.requests, unused));
    while stream.receive().await.unwrap() {}
    assert_eq!(stream.results.keys().collect::<Vec<_>>(), [&1, &2]);
    assert!(stream.results.values().all(Result::is_ok));
    drop(channel);
    down.await.unwrap();
    // The grace is three seconds.
    assert!(began.elapsed() < 5 * SECOND / 2, "{:?}", began.elapsed());
    assert_eq!(cluster.world.applications(), 2);
}

#[tokio::test]
async fn what_is_under_way_on_one_stream_is_bounded() {
    let (cluster, client) = cluster().await;
    set_fault(&cluster, Fault::Silent);
    let mut stream = Stream::open(&client).await;
    let silent = |correlation| operation(correlation, get("k"), 500);
    let most = model::limits::MAX_STREAM_OPERATIONS as u64;
    let all = 40 * 100;
    for frame in 0..40 {
        stream.send_frame(v1::OperateRequest {
            operations: (frame * 100..(frame + 1) * 100).map(silent).collect(),
            cancelled: Vec::new(),
        });
    }
    // Answered as soon as it is looked at.
    stream.send([(u64::MAX, get(""))]);
    while !stream.results.contains_key(&u64::MAX) {
        assert!(stream.receive().await.unwrap());
    }
    let ended_before = stream.results.len() as u64 - 1;
    assert!(ended_before >= all - most - 100, "{ended_before}");
}

#[tokio::test]
async fn a_message_over_the_limit_ends_the_stream_with_our_own_reason() {
    let (_cluster, client) = cluster().await;
    let mut stream = Stream::open(&client).await;
    let large = "v".repeat(model::limits::MAX_MESSAGE_BYTES);
    stream.send([(1, put("k", &large))]);
    let status = stream.receive().await.unwrap_err();
    assert_eq!(error(&status).reason, Reason::InvalidRequest);
}
