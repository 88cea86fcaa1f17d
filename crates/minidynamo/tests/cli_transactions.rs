//! Conditions and transactions on the command line, against a router that does what a test tells it.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::process::Output;
use std::sync::{Arc, Mutex};

use api::v1::key_value_server::{KeyValue, KeyValueServer};
use api::v1::{self, condition::Kind};
use api::{Error, Reason};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, Streaming};

#[derive(Debug, Default)]
struct Script {
    /// What writes and reads end in.
    error: Option<Error>,
    /// What a read of several items finds.
    items: Vec<v1::GetResponse>,
    seen: Mutex<Seen>,
}

/// What has arrived.
#[derive(Debug, Default)]
struct Seen {
    conditions: Vec<Option<v1::Condition>>,
    transactions: Vec<v1::TransactPutRequest>,
    keys: Vec<v1::KeyOf>,
}

#[derive(Clone)]
struct Router(Arc<Script>);

impl Router {
    fn end<T>(&self, answer: T) -> Result<Response<T>, Status> {
        match &self.0.error {
            Some(error) => Err(error.clone().into()),
            None => Ok(Response::new(answer)),
        }
    }
}

#[tonic::async_trait]
impl KeyValue for Router {
    type OperateStream = BoxStream<v1::OperateResponse>;

    async fn operate(
        &self,
        _: Request<Streaming<v1::OperateRequest>>,
    ) -> Result<Response<Self::OperateStream>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn get(&self, _: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn put(
        &self,
        request: Request<v1::PutRequest>,
    ) -> Result<Response<v1::PutResponse>, Status> {
        let condition = request.into_inner().condition;
        self.0.seen.lock().unwrap().conditions.push(condition);
        self.end(v1::PutResponse { version: 8 })
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        let condition = request.into_inner().condition;
        self.0.seen.lock().unwrap().conditions.push(condition);
        self.end(v1::DeleteResponse {})
    }

    async fn batch_get(
        &self,
        _: Request<v1::BatchGetRequest>,
    ) -> Result<Response<v1::BatchGetResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn batch_put(
        &self,
        _: Request<v1::BatchPutRequest>,
    ) -> Result<Response<v1::BatchPutResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn transact_put(
        &self,
        request: Request<v1::TransactPutRequest>,
    ) -> Result<Response<v1::TransactPutResponse>, Status> {
        let mut seen = self.0.seen.lock().unwrap();
        seen.transactions.push(request.into_inner());
        self.end(v1::TransactPutResponse {})
    }

    async fn transact_get(
        &self,
        request: Request<v1::TransactGetRequest>,
    ) -> Result<Response<v1::TransactGetResponse>, Status> {
        self.0.seen.lock().unwrap().keys = request.into_inner().keys;
        let items = self.0.items.clone();
        self.end(v1::TransactGetResponse { items })
    }
}

/// Runs a command against such a router; returns what the command said and what the router saw.
async fn run(script: Script, arguments: &[&str]) -> (Output, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let script = Arc::new(script);
    let server = tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(KeyValueServer::new(Router(Arc::clone(&script))))
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_minidynamo"))
        .args(arguments)
        .args(["--router", &address])
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    server.abort();
    let seen = std::mem::take(&mut *script.seen.lock().unwrap());
    (output, seen)
}

fn failing(error: Error) -> Script {
    Script {
        error: Some(error),
        ..Script::default()
    }
}

fn finding(items: &[Option<&'static [u8]>]) -> Script {
    let item = |value: Option<&'static [u8]>| match value {
        None => v1::GetResponse::default(),
        Some(value) => v1::GetResponse {
            found: true,
            value: value.into(),
            version: 7,
        },
    };
    Script {
        items: items.iter().copied().map(item).collect(),
        ..Script::default()
    }
}

fn done(output: &Output) -> &str {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.is_empty(), "{stderr}");
    std::str::from_utf8(&output.stdout).unwrap()
}

/// One line on standard error, nothing on standard output.
fn failed(output: &Output, exit: i32) -> &str {
    let stderr = std::str::from_utf8(&output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(exit), "{stderr}");
    assert!(output.stdout.is_empty());
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    stderr.strip_prefix("error: ").unwrap()
}

#[tokio::test]
async fn the_condition_of_an_option_travels_with_the_write() {
    use v1::condition::{Exists, NotExists};
    for (arguments, expected) in [
        (&["put", "people", "ada", "v"][..], None),
        (
            &["put", "people", "ada", "v", "--if-absent"],
            Some(Kind::NotExists(NotExists {})),
        ),
        (
            &["put", "people", "ada", "v", "--if-present"],
            Some(Kind::Exists(Exists {})),
        ),
        (
            &["put", "people", "ada", "v", "--if-version", "7"],
            Some(Kind::VersionIs(7)),
        ),
        (&["delete", "people", "ada"], None),
        (
            &["delete", "people", "ada", "--if-version", "7"],
            Some(Kind::VersionIs(7)),
        ),
    ] {
        let (output, seen) = run(Script::default(), arguments).await;
        assert_eq!(done(&output), "", "{arguments:?}");
        let [condition] = <[_; 1]>::try_from(seen.conditions).unwrap();
        assert_eq!(condition.and_then(|c| c.kind), expected, "{arguments:?}");
    }
}

#[tokio::test]
async fn a_condition_that_does_not_hold_has_exit_code_4() {
    for arguments in [
        &["put", "people", "ada", "v", "--if-absent"][..],
        &["delete", "people", "ada", "--if-version", "7"],
    ] {
        let error = Error::new(Reason::ConditionFailed, "it does not hold");
        let (output, _) = run(failing(error), arguments).await;
        let said = failed(&output, 4);
        assert!(said.starts_with("CONDITION_FAILED: "), "{said}");
    }
}

#[tokio::test]
async fn a_transaction_is_sent_as_it_stands_on_the_command_line() {
    let arguments = ["transact-put", "people", "ada", "v", "cities", "-1", "w"];
    let options = ["--token", "t-1", "--if-absent", "2", "--if-version", "1=7"];
    let (output, seen) = run(Script::default(), &[&arguments[..], &options].concat()).await;
    assert_eq!(done(&output), "");
    let [sent] = <[_; 1]>::try_from(seen.transactions).unwrap();
    assert_eq!(sent.client_request_token, "t-1");
    let items: Vec<_> = sent
        .items
        .iter()
        .map(|item| (&*item.table, &*item.key, &*item.value))
        .collect();
    let expected = [("people", &b"ada"[..], &b"v"[..]), ("cities", b"-1", b"w")];
    assert_eq!(items, expected);
    let conditions = sent.items.into_iter().map(|item| item.condition.unwrap());
    let conditions: Vec<_> = conditions
        .map(|condition| condition.kind.unwrap())
        .collect();
    let absent = Kind::NotExists(v1::condition::NotExists {});
    assert_eq!(conditions, [Kind::VersionIs(7), absent]);

    let (output, seen) = run(Script::default(), &arguments).await;
    assert_eq!(done(&output), "");
    assert_eq!(seen.transactions[0].client_request_token, "");
}

#[tokio::test]
async fn a_cancelled_transaction_names_each_items_reason_and_has_exit_code_4() {
    let error = Error::new(Reason::TransactionCancelled, "nothing was written")
        .with("reasons", "CONDITION_FAILED,NONE,TRANSACTION_CONFLICT");
    let items = ["people", "a", "v", "people", "b", "v", "cities", "a", "v"];
    let arguments = [&["transact-put"][..], &items].concat();
    let (output, _) = run(failing(error), &arguments).await;
    assert_eq!(
        failed(&output, 4),
        "TRANSACTION_CANCELLED: nothing was written [item 1 (people a): CONDITION_FAILED, \
         item 2: NONE, item 3 (cities a): TRANSACTION_CONFLICT]\n"
    );
}

#[tokio::test]
async fn other_errors_of_transactions_have_the_exit_codes_of_the_contract() {
    for (reason, exit) in [
        (Reason::TransactionConflict, 4),
        (Reason::IdempotencyMismatch, 2),
        (Reason::TableNotFound, 7),
        (Reason::OutcomeUnknown, 6),
        (Reason::CoordinationUnavailable, 5),
    ] {
        let arguments = ["transact-put", "people", "ada", "v"];
        let error = Error::new(reason, "said the router");
        let (output, _) = run(failing(error.clone()), &arguments).await;
        failed(&output, exit);
        if reason != Reason::OutcomeUnknown {
            let arguments = ["transact-get", "people", "ada"];
            let (output, _) = run(failing(error), &arguments).await;
            failed(&output, exit);
        }
    }
}

#[tokio::test]
async fn items_that_are_read_together_are_one_line_each_in_order() {
    let found = [Some(&b"a\nb\\"[..]), None, Some(b"(nil)"), Some(b"")];
    let arguments = [
        "transact-get",
        "people",
        "a",
        "people",
        "b",
        "cities",
        "a",
        "cities",
        "b",
    ];
    let (output, seen) = run(finding(&found), &arguments).await;
    assert_eq!(done(&output), "a\\nb\\\\\n(nil)\n\\(nil)\n\n");
    let keys: Vec<_> = seen
        .keys
        .iter()
        .map(|key| (&*key.table, &*key.key))
        .collect();
    let key = |table, key: &'static [u8; 1]| (table, &key[..]);
    assert_eq!(
        keys,
        [
            key("people", b"a"),
            key("people", b"b"),
            key("cities", b"a"),
            key("cities", b"b")
        ]
    );
}

#[tokio::test]
async fn items_that_are_read_together_are_one_json_line_each() {
    let found = [Some(&b"a\nb"[..]), None, Some(b"\xff")];
    let arguments = [
        "transact-get",
        "people",
        "a",
        "people",
        "b",
        "cities",
        "a",
        "--output",
        "json",
    ];
    let (output, _) = run(finding(&found), &arguments).await;
    assert_eq!(
        done(&output),
        concat!(
            r#"{"table":"people","key":"a","found":true,"value":"a\nb","version":7}"#,
            "\n",
            r#"{"table":"people","key":"b","found":false}"#,
            "\n",
            r#"{"table":"cities","key":"a","found":true,"value_base64":"/w==","version":7}"#,
            "\n",
        )
    );
}
