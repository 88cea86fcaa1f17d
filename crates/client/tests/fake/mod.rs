//! A router on loopback that does what a test tells it, and a proxy that loses answers.

// Each file of tests uses a part of it.
#![allow(dead_code)]

pub(crate) mod going_down;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::v1;
use api::v1::key_value_server::{KeyValue, KeyValueServer};
use api::v1::tables_server::{Tables, TablesServer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

/// Any port of a loopback address that nobody else here uses. Tests run at the same time, and some of them need that a
/// port refuses connections after its listener has gone: another test must not get it.
pub(crate) fn fresh_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    SocketAddr::from(([127, 1, high, low], 0))
}

/// What the router does with the next request.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    Answer,
    Fail(api::Error),
    Foreign(tonic::Code),
    /// Takes note of it and never answers.
    Hang,
    /// Ends the stream instead of answering.
    Break,
    /// Says first that the router goes down.
    AnswerAfterClosing,
}

/// Fails for this reason.
pub(crate) fn fail(reason: api::Reason) -> Act {
    Act::Fail(api::Error::new(reason, "said the router"))
}

#[derive(Debug, Default)]
pub(crate) struct Script {
    acts: Mutex<VecDeque<Act>>,
    pub(crate) puts: Mutex<Vec<v1::PutRequest>>,
    pub(crate) creates: Mutex<Vec<v1::CreateTableRequest>>,
    pub(crate) gets: Mutex<usize>,
    pub(crate) batches: Mutex<Vec<Vec<v1::PutRequest>>>,
    pub(crate) deletes: Mutex<Vec<v1::DeleteRequest>>,
    pub(crate) transactions: Mutex<Vec<v1::TransactPutRequest>>,
    pub(crate) transact_gets: Mutex<Vec<v1::TransactGetRequest>>,
    pub(crate) timeouts: Mutex<Vec<Duration>>,
    knows_streams: AtomicBool,
    opens_no_streams: AtomicBool,
    pub(crate) counts: Counts,
}

/// Of streams.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    asked_for: AtomicUsize,
    operations: AtomicUsize,
    cancelled: AtomicUsize,
    ended_by_client: AtomicUsize,
}

impl Script {
    /// How often a stream was asked for.
    pub(crate) fn streams(&self) -> usize {
        self.counts.asked_for.load(Ordering::SeqCst)
    }

    /// How many operations have come over streams.
    pub(crate) fn streamed(&self) -> usize {
        self.counts.operations.load(Ordering::SeqCst)
    }

    /// How many operations were cancelled over streams.
    pub(crate) fn cancelled(&self) -> usize {
        self.counts.cancelled.load(Ordering::SeqCst)
    }

    /// How many streams their clients have ended.
    pub(crate) fn ended(&self) -> usize {
        self.counts.ended_by_client.load(Ordering::SeqCst)
    }

    /// What is done with the next requests.
    pub(crate) fn will(&self, acts: impl IntoIterator<Item = Act>) {
        self.acts.lock().unwrap().extend(acts);
    }

    /// Streams are taken and never opened.
    pub(crate) fn open_no_streams(&self) {
        self.opens_no_streams.store(true, Ordering::SeqCst);
    }

    /// How many requests but deletes have arrived so far, by calls and over streams.
    pub(crate) fn requests(&self) -> usize {
        self.puts.lock().unwrap().len()
            + self.creates.lock().unwrap().len()
            + *self.gets.lock().unwrap()
            + self.batches.lock().unwrap().len()
            + self.transactions.lock().unwrap().len()
            + self.transact_gets.lock().unwrap().len()
    }

    async fn act<M>(&self, request: &Request<M>) -> Result<(), Status> {
        let timeout = api::deadline::of_admin(request.metadata()).unwrap();
        self.timeouts.lock().unwrap().push(timeout);
        match self.next_act() {
            Act::Answer | Act::Break | Act::AnswerAfterClosing => Ok(()),
            Act::Fail(error) => Err(error.into()),
            Act::Foreign(code) => Err(Status::new(code, "somebody else")),
            Act::Hang => std::future::pending().await,
        }
    }

    fn next_act(&self) -> Act {
        let act = self.acts.lock().unwrap().pop_front();
        act.unwrap_or(Act::Answer)
    }
}

/// Its connections end with it, because it has a runtime of its own.
pub(crate) struct FakeRouter {
    pub(crate) address: SocketAddr,
    pub(crate) script: Arc<Script>,
    runtime: Option<Runtime>,
}

impl Drop for FakeRouter {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl FakeRouter {
    pub(crate) async fn start(acts: impl IntoIterator<Item = Act>) -> Self {
        Self::start_with(acts, false).await
    }

    /// One that knows streams.
    pub(crate) async fn with_streams(acts: impl IntoIterator<Item = Act>) -> Self {
        Self::start_with(acts, true).await
    }

    async fn start_with(acts: impl IntoIterator<Item = Act>, streams: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listening = runtime.spawn(TcpListener::bind(fresh_address()));
        let listener = listening.await.unwrap().unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Script::default());
        script.knows_streams.store(streams, Ordering::SeqCst);
        script.will(acts);
        let service = Service(Arc::clone(&script));
        runtime.spawn(async move {
            tonic::transport::Server::builder()
                .add_service(KeyValueServer::new(service.clone()))
                .add_service(TablesServer::new(service))
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        Self {
            address,
            script,
            runtime: Some(runtime),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

#[derive(Clone)]
struct Service(Arc<Script>);

impl Script {
    /// Takes note of an operation that has come over a stream, and says what the answer would be.
    fn note(&self, kind: &v1::operation::Kind) -> v1::operation_result::Kind {
        use v1::operation::Kind as Question;
        use v1::operation_result::Kind as Answer;
        match kind {
            Question::Get(_) => {
                *self.gets.lock().unwrap() += 1;
                Answer::Get(found())
            }
            Question::Put(put) => {
                self.puts.lock().unwrap().push(put.clone());
                Answer::Put(v1::PutResponse { version: 8 })
            }
            Question::Delete(delete) => {
                self.deletes.lock().unwrap().push(delete.clone());
                Answer::Delete(v1::DeleteResponse {})
            }
            Question::TransactPut(put) => {
                self.transactions.lock().unwrap().push(put.clone());
                Answer::TransactPut(v1::TransactPutResponse {})
            }
            Question::TransactGet(get) => {
                self.transact_gets.lock().unwrap().push(get.clone());
                Answer::TransactGet(all_but_absent(get.clone()))
            }
        }
    }

    /// Serves a stream until it ends.
    async fn serve(&self, mut requests: Streaming<v1::OperateRequest>, answers: &Answers) {
        while let Ok(Some(request)) = requests.message().await {
            let counts = &self.counts;
            counts
                .cancelled
                .fetch_add(request.cancelled.len(), Ordering::SeqCst);
            for operation in request.operations {
                counts.operations.fetch_add(1, Ordering::SeqCst);
                let answer = self.note(&operation.kind.unwrap());
                let mut closing = false;
                let kind = match self.next_act() {
                    Act::Answer => answer,
                    Act::Fail(error) => v1::operation_result::Kind::Error(error.into()),
                    Act::Break | Act::Foreign(_) => return,
                    Act::Hang => continue,
                    Act::AnswerAfterClosing => {
                        closing = true;
                        answer
                    }
                };
                if closing {
                    send(answers, Vec::new(), true).await;
                }
                let correlation = operation.correlation;
                let kind = Some(kind);
                let result = v1::OperationResult { correlation, kind };
                send(answers, vec![result], false).await;
            }
        }
        self.counts.ended_by_client.fetch_add(1, Ordering::SeqCst);
    }
}

type Answers = mpsc::Sender<Result<v1::OperateResponse, Status>>;

async fn send(answers: &Answers, results: Vec<v1::OperationResult>, closing: bool) {
    // The client may be gone.
    let _ = answers
        .send(Ok(v1::OperateResponse { results, closing }))
        .await;
}

fn found() -> v1::GetResponse {
    v1::GetResponse {
        found: true,
        value: "v".into(),
        version: 7,
    }
}

/// Finds every key but `absent`; its value is the key. Forgets the keys of the table `short`.
fn all_but_absent(request: v1::TransactGetRequest) -> v1::TransactGetResponse {
    let item = |key: v1::KeyOf| match key.key.as_ref() {
        b"absent" => v1::GetResponse::default(),
        _ => v1::GetResponse {
            value: key.key,
            ..found()
        },
    };
    let keys = request.keys.into_iter();
    v1::TransactGetResponse {
        items: keys.filter(|key| key.table != "short").map(item).collect(),
    }
}

#[tonic::async_trait]
impl KeyValue for Service {
    type OperateStream = ReceiverStream<Result<v1::OperateResponse, Status>>;

    async fn operate(
        &self,
        request: Request<Streaming<v1::OperateRequest>>,
    ) -> Result<Response<Self::OperateStream>, Status> {
        let script = Arc::clone(&self.0);
        script.counts.asked_for.fetch_add(1, Ordering::SeqCst);
        if !script.knows_streams.load(Ordering::SeqCst) {
            return Err(Status::unimplemented("an earlier version"));
        }
        if script.opens_no_streams.load(Ordering::SeqCst) {
            let (answers, _results) = mpsc::channel(1);
            script.serve(request.into_inner(), &answers).await;
            return Err(Status::cancelled("ended by the client"));
        }
        let (answers, results) = mpsc::channel(16);
        tokio::spawn(async move { script.serve(request.into_inner(), &answers).await });
        Ok(Response::new(ReceiverStream::new(results)))
    }

    async fn get(
        &self,
        request: Request<v1::GetRequest>,
    ) -> Result<Response<v1::GetResponse>, Status> {
        *self.0.gets.lock().unwrap() += 1;
        self.0.act(&request).await?;
        Ok(Response::new(found()))
    }

    async fn put(
        &self,
        request: Request<v1::PutRequest>,
    ) -> Result<Response<v1::PutResponse>, Status> {
        self.0.puts.lock().unwrap().push(request.get_ref().clone());
        self.0.act(&request).await?;
        Ok(Response::new(v1::PutResponse { version: 8 }))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        let deletes = &self.0.deletes;
        deletes.lock().unwrap().push(request.get_ref().clone());
        self.0.act(&request).await?;
        Ok(Response::new(v1::DeleteResponse {}))
    }

    async fn batch_get(
        &self,
        _: Request<v1::BatchGetRequest>,
    ) -> Result<Response<v1::BatchGetResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    /// Each act is for one item.
    async fn batch_put(
        &self,
        request: Request<v1::BatchPutRequest>,
    ) -> Result<Response<v1::BatchPutResponse>, Status> {
        use v1::batch_put_result::Result as One;
        let items = request.into_inner().items;
        let mut acts = self.0.acts.lock().unwrap();
        let result = |_: &v1::PutRequest| v1::BatchPutResult {
            result: Some(match acts.pop_front() {
                Some(Act::Fail(error)) => One::Error(error.into()),
                _ => One::Item(v1::PutResponse { version: 8 }),
            }),
        };
        let results = items.iter().map(result).collect();
        self.0.batches.lock().unwrap().push(items);
        Ok(Response::new(v1::BatchPutResponse { results }))
    }

    async fn transact_put(
        &self,
        request: Request<v1::TransactPutRequest>,
    ) -> Result<Response<v1::TransactPutResponse>, Status> {
        let transactions = &self.0.transactions;
        transactions.lock().unwrap().push(request.get_ref().clone());
        self.0.act(&request).await?;
        Ok(Response::new(v1::TransactPutResponse {}))
    }

    async fn transact_get(
        &self,
        request: Request<v1::TransactGetRequest>,
    ) -> Result<Response<v1::TransactGetResponse>, Status> {
        let gets = &self.0.transact_gets;
        gets.lock().unwrap().push(request.get_ref().clone());
        self.0.act(&request).await?;
        Ok(Response::new(all_but_absent(request.into_inner())))
    }
}

#[tonic::async_trait]
impl Tables for Service {
    async fn create_table(
        &self,
        request: Request<v1::CreateTableRequest>,
    ) -> Result<Response<v1::TableDescription>, Status> {
        let creates = &self.0.creates;
        creates.lock().unwrap().push(request.get_ref().clone());
        self.0.act(&request).await?;
        Ok(Response::new(v1::TableDescription::default()))
    }

    async fn delete_table(
        &self,
        request: Request<v1::DeleteTableRequest>,
    ) -> Result<Response<v1::DeleteTableResponse>, Status> {
        self.0.act(&request).await?;
        Ok(Response::new(v1::DeleteTableResponse {}))
    }

    async fn describe_table(
        &self,
        request: Request<v1::DescribeTableRequest>,
    ) -> Result<Response<v1::TableDescription>, Status> {
        self.0.act(&request).await?;
        Ok(Response::new(v1::TableDescription::default()))
    }

    /// Three tables, two to a page.
    async fn list_tables(
        &self,
        request: Request<v1::ListTablesRequest>,
    ) -> Result<Response<v1::ListTablesResponse>, Status> {
        let table = |name: &str| v1::TableSummary {
            name: name.to_owned(),
            ..Default::default()
        };
        Ok(Response::new(match request.get_ref().after.as_str() {
            "" => v1::ListTablesResponse {
                tables: vec![table("aaa"), table("bbb")],
                next: "bbb".to_owned(),
            },
            _ => v1::ListTablesResponse {
                tables: vec![table("ccc")],
                next: String::new(),
            },
        }))
    }
}

/// Forwards to a router, but drops the first connections once a request has arrived over them: its answer is
/// lost.
pub(crate) struct LossyProxy {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for LossyProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl LossyProxy {
    /// Loses the answers on that many connections.
    pub(crate) async fn start(router: &FakeRouter, lose: usize) -> Self {
        let listener = TcpListener::bind(fresh_address()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (target, script) = (router.address, Arc::clone(&router.script));
        let task = tokio::spawn(async move {
            for connection in 0.. {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(target).await.unwrap();
                tokio::spawn(pipe(
                    client,
                    server,
                    (connection < lose).then(|| script.clone()),
                ));
            }
        });
        Self { address, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// With a script: nothing of what the server says gets through once it has seen a request from here.
async fn pipe(client: TcpStream, server: TcpStream, lossy: Option<Arc<Script>>) {
    let before = lossy.as_ref().map_or(0, |script| script.requests());
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
    });
    let mut buffer = [0; 16 * 1024];
    while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
        let seen = lossy
            .as_ref()
            .is_some_and(|script| script.requests() > before);
        if seen || to_client.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    up.abort();
}
