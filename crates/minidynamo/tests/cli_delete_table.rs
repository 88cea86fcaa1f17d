//! `delete-table` against a router that can't finish within the deadline.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::VecDeque;
use std::process::Output;
use std::sync::{Arc, Mutex};

use api::v1::tables_server::{Tables, TablesServer};
use api::v1::{self, TableState};
use api::{Error, Reason};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// Answers that it is still deleting, and shows the table in these states, one after the other; then it
/// is gone.
#[derive(Clone)]
struct SlowRouter(Arc<Mutex<VecDeque<TableState>>>);

#[tonic::async_trait]
impl Tables for SlowRouter {
    async fn create_table(
        &self,
        _: Request<v1::CreateTableRequest>,
    ) -> Result<Response<v1::TableDescription>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn delete_table(
        &self,
        _: Request<v1::DeleteTableRequest>,
    ) -> Result<Response<v1::DeleteTableResponse>, Status> {
        Err(Error::new(Reason::TableNotReady, "the table is being deleted").into())
    }

    async fn describe_table(
        &self,
        _: Request<v1::DescribeTableRequest>,
    ) -> Result<Response<v1::TableDescription>, Status> {
        let Some(state) = self.0.lock().unwrap().pop_front() else {
            return Err(Error::new(Reason::TableNotFound, "gone").into());
        };
        Ok(Response::new(v1::TableDescription {
            summary: Some(v1::TableSummary {
                state: state as i32,
                ..Default::default()
            }),
            shards: Vec::new(),
            ..v1::TableDescription::default()
        }))
    }

    async fn list_tables(
        &self,
        _: Request<v1::ListTablesRequest>,
    ) -> Result<Response<v1::ListTablesResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

/// Runs the command; also tells how many of the states were not looked at.
async fn delete(
    states: impl IntoIterator<Item = TableState>,
    arguments: &[&str],
) -> (Output, usize) {
    let states = Arc::new(Mutex::new(states.into_iter().collect::<VecDeque<_>>()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let router = format!("http://{}", listener.local_addr().unwrap());
    let service = TablesServer::new(SlowRouter(Arc::clone(&states)));
    let server = tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_minidynamo"))
        .args(["delete-table", "people", "--router", &router])
        .args(arguments)
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    server.abort();
    let left = states.lock().unwrap().len();
    (output, left)
}

#[tokio::test]
async fn it_waits_on_until_the_table_is_gone() {
    let (output, left) = delete([TableState::Deleting; 3], &[]).await;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(left, 0);
    assert!(output.stdout.is_empty());
}

#[tokio::test]
async fn it_does_not_wait_for_a_table_that_is_not_being_deleted() {
    let (output, _) = delete([TableState::Creating], &[]).await;
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test]
async fn it_does_not_wait_beyond_the_limit_of_the_user() {
    let (output, left) = delete([TableState::Deleting; 3], &["--timeout", "5s"]).await;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.starts_with("error: TABLE_NOT_READY"), "{stderr}");
    assert_eq!(left, 3);
}
