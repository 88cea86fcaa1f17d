//! The client against routers that fail in every way that the table in its documentation names.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod fake;

use std::sync::Arc;
use std::time::{Duration, Instant};

use api::Reason;
use client::{Client, Consistency, Error, Options};
use environment::{Clock, Environment, Incoming, Network, Now, Socket, Tcp};
use fake::{Act, FakeRouter, LossyProxy, fail, fresh_address};
use futures::future::BoxFuture;

/// An address where nobody listens: it was free a moment ago.
async fn nobody() -> String {
    let listener = tokio::net::TcpListener::bind(fresh_address())
        .await
        .unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn impatient(addresses: &[&str], timeout: Duration) -> Client {
    let options = Options {
        data_timeout: timeout,
        admin_timeout: timeout,
        ..Options::default()
    };
    Client::with_options(addresses, &options).unwrap()
}

#[tokio::test]
async fn items_and_tables_travel_there_and_back() {
    let router = FakeRouter::start([]).await;
    let client = Client::connect([router.url()]).unwrap();
    assert_eq!(client.put("people", "ada", "v").await.unwrap(), 8);
    let item = client.get("people", "ada", Consistency::Strong).await;
    let item = item.unwrap().unwrap();
    assert_eq!((item.value.as_ref(), item.version), (&b"v"[..], 7));
    client.delete("people", "ada").await.unwrap();
    client.create_table("people", 12, 3).await.unwrap();
    client.delete_table("people").await.unwrap();
    let names = client.list_tables().await.unwrap();
    let names: Vec<_> = names.into_iter().map(|table| table.name).collect();
    assert_eq!(names, ["aaa", "bbb", "ccc"], "all pages, in order");
}

#[tokio::test]
async fn writes_of_one_client_have_different_identities() {
    let router = FakeRouter::start([]).await;
    let client = Client::connect([router.url()]).unwrap();
    client.put("people", "a", "1").await.unwrap();
    client.clone().put("people", "a", "1").await.unwrap();
    let puts = router.script.puts.lock().unwrap();
    let [first, second] = [&puts[0], &puts[1]].map(|put| put.request_id.unwrap());
    assert_eq!(first.client_id, second.client_id);
    assert_ne!(first.sequence, second.sequence);
    assert!(first.issued_at_millis > 0);
}

/// A clock that stands still.
#[derive(Debug)]
struct Stopped(Now);

impl Clock for Stopped {
    fn now(&self) -> Now {
        self.0
    }
}

/// TCP, to one place whatever the address.
#[derive(Debug)]
struct Redirect(std::net::SocketAddr);

impl Network for Redirect {
    fn connect(&self, _: &str) -> BoxFuture<'static, std::io::Result<Socket>> {
        Tcp.connect(&self.0.to_string())
    }

    fn listen(
        &self,
        address: std::net::SocketAddr,
    ) -> BoxFuture<'static, std::io::Result<Incoming>> {
        Tcp.listen(address)
    }
}

#[tokio::test]
async fn time_and_network_are_those_of_the_environment() {
    let router = FakeRouter::start([]).await;
    let options = Options {
        environment: Environment {
            clock: Arc::new(Stopped(Now {
                monotonic_millis: 1,
                wall_millis: 2,
            })),
            network: Arc::new(Redirect(router.address)),
            ..Environment::default()
        },
        ..Options::default()
    };
    let client = Client::with_options(["elsewhere:1"], &options).unwrap();
    client.put("people", "ada", "v").await.unwrap();
    let puts = router.script.puts.lock().unwrap();
    assert_eq!(puts[0].request_id.unwrap().issued_at_millis, 2);
}

#[tokio::test]
async fn a_put_whose_answer_was_lost_is_sent_again_with_the_same_identity() {
    let router = FakeRouter::start([Act::Answer]).await;
    let proxy = LossyProxy::start(&router, 1).await;
    let client = Client::connect([proxy.url()]).unwrap();
    assert_eq!(client.put("people", "ada", "v").await.unwrap(), 8);
    let puts = router.script.puts.lock().unwrap();
    assert_eq!(puts.len(), 2);
    assert_eq!(puts[0].request_id, puts[1].request_id);
}

#[tokio::test]
async fn a_put_whose_answers_are_all_lost_ends_as_unknown_at_the_deadline() {
    let router = FakeRouter::start([]).await;
    let proxy = LossyProxy::start(&router, usize::MAX).await;
    let client = impatient(&[&proxy.url()], Duration::from_millis(1500));
    let error = client.put("people", "ada", "v").await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::OutcomeUnknown), "{error}");
    assert!(!error.certainly_not_applied());
    assert!(router.script.puts.lock().unwrap().len() > 1);
}

#[tokio::test]
async fn a_table_whose_creation_was_not_confirmed_is_not_created_again() {
    let router = FakeRouter::start([]).await;
    let proxy = LossyProxy::start(&router, 1).await;
    let client = Client::connect([proxy.url(), router.url()]).unwrap();
    let error = client.create_table("people", 12, 3).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::OutcomeUnknown), "{error}");
    assert_eq!(router.script.creates.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_refused_connection_leads_to_the_next_router_even_for_tables() {
    let router = FakeRouter::start([]).await;
    let client = Client::connect([nobody().await, router.url()]).unwrap();
    client.create_table("people", 12, 3).await.unwrap();
    client.put("people", "ada", "v").await.unwrap();
}

#[tokio::test]
async fn routers_that_all_refuse_are_reported_at_once_as_not_sent() {
    let client = Client::connect([nobody().await, nobody().await]).unwrap();
    let started = Instant::now();
    let error = client.put("people", "ada", "v").await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert_eq!(error.exit_code(), 5);
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn a_lost_put_followed_by_refused_connections_is_unknown_not_unreachable() {
    let router = FakeRouter::start([Act::Hang]).await;
    let client = impatient(&[&router.url()], Duration::from_secs(1));
    let put = tokio::spawn(async move { client.put("people", "ada", "v").await });
    while router.script.puts.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    drop(router);
    let error = put.await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::OutcomeUnknown), "{error}");
}

#[tokio::test]
async fn a_put_is_tried_again_while_there_is_no_leader() {
    let acts = [fail(Reason::NoLeader), fail(Reason::Overloaded)];
    let router = FakeRouter::start(acts).await;
    let client = Client::connect([router.url()]).unwrap();
    assert_eq!(client.put("people", "ada", "v").await.unwrap(), 8);
    assert_eq!(router.script.puts.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn errors_that_the_caller_must_mend_are_reported_as_they_are() {
    for reason in [
        Reason::TableNotFound,
        Reason::InvalidRequest,
        Reason::ConditionFailed,
        Reason::NoQuorum,
    ] {
        let router = FakeRouter::start([fail(reason)]).await;
        let client = Client::connect([router.url()]).unwrap();
        let error = client.put("people", "ada", "v").await.unwrap_err();
        assert_eq!(error.reason(), Some(reason));
        assert_eq!(router.script.puts.lock().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn after_an_unknown_outcome_no_error_claims_that_nothing_was_applied() {
    let acts = [fail(Reason::OutcomeUnknown), fail(Reason::TableNotFound)];
    let router = FakeRouter::start(acts).await;
    let client = Client::connect([router.url()]).unwrap();
    let error = client.put("people", "ada", "v").await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::OutcomeUnknown), "{error}");
    assert!(error.to_string().contains("TABLE_NOT_FOUND"), "{error}");
}

#[tokio::test]
async fn the_deadline_travels_with_the_request_and_holds_on_this_side_too() {
    let router = FakeRouter::start(vec![Act::Hang; 100]).await;
    let timeout = Duration::from_millis(400);
    let client = impatient(&[&router.url()], timeout);
    let started = Instant::now();
    let error = client.put("people", "ada", "v").await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::OutcomeUnknown));
    let error = client
        .with_timeout(timeout)
        .get("people", "ada", Consistency::Eventual)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unanswered { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(4));
    for sent in router.script.timeouts.lock().unwrap().iter() {
        assert!(*sent <= timeout && !sent.is_zero(), "{sent:?}");
    }
}

#[tokio::test]
async fn a_foreign_error_is_told_from_one_of_the_cluster() {
    let code = tonic::Code::Unimplemented;
    let router = FakeRouter::start([Act::Foreign(code)]).await;
    let client = Client::connect([router.url()]).unwrap();
    let read = client.get("people", "ada", Consistency::Eventual).await;
    assert!(matches!(read, Err(Error::Foreign { code: c, .. }) if c == code));
}

#[tokio::test]
async fn only_the_items_of_a_batch_that_failed_for_a_while_are_sent_again() {
    let acts = [
        Act::Answer,
        fail(Reason::NoLeader),
        fail(Reason::TableNotFound),
        fail(Reason::OutcomeUnknown),
    ];
    let router = FakeRouter::start(acts).await;
    let client = Client::connect([router.url()]).unwrap();
    let items = ["a", "b", "c", "d"].map(|key| ("people", key, "v"));
    let results = client.batch_put(items).await.unwrap();
    let exits: Vec<_> = results
        .iter()
        .map(|result| result.as_ref().map_err(Error::exit_code).copied())
        .collect();
    assert_eq!(exits, [Ok(8), Ok(8), Err(7), Ok(8)]);
    let batches = router.script.batches.lock().unwrap();
    let again: Vec<_> = batches[1].iter().map(|put| put.key.as_ref()).collect();
    assert_eq!(again, [b"b", b"d"]);
    assert_eq!(batches[0][3].request_id, batches[1][1].request_id);
}

#[tokio::test]
async fn an_item_of_a_batch_whose_first_answer_was_lost_is_never_certainly_not_applied() {
    let acts = std::iter::once(Act::Answer).chain(std::iter::repeat_n(fail(Reason::NoLeader), 100));
    let router = FakeRouter::start(acts).await;
    let proxy = LossyProxy::start(&router, 1).await;
    let client = impatient(&[&proxy.url()], Duration::from_millis(700));
    let results = client.batch_put([("people", "a", "v")]).await.unwrap();
    let error = results[0].as_ref().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::OutcomeUnknown));
    assert!(router.script.batches.lock().unwrap().len() > 1);
}

#[tokio::test]
async fn what_breaks_the_limits_is_refused_before_it_is_sent() {
    let client = Client::connect([nobody().await]).unwrap();
    let invalid = |error: Error| assert_eq!(error.reason(), Some(Reason::InvalidRequest));
    invalid(client.put("people", "", "v").await.unwrap_err());
    let large = vec![0; 400 * 1024 + 1];
    invalid(client.put("people", "k", large).await.unwrap_err());
    let half = || vec![0; 300 * 1024];
    let items: Vec<_> = (0..20)
        .map(|i| ("people", format!("{i}"), half()))
        .collect();
    invalid(client.batch_put(items).await.unwrap_err());
    let none: [(&str, &str); 0] = [];
    invalid(
        client
            .batch_get(none, Consistency::Eventual)
            .await
            .unwrap_err(),
    );
}

#[tokio::test]
async fn many_requests_at_once_share_a_few_connections() {
    let router = FakeRouter::start([]).await;
    let options = Options {
        connections: 3,
        ..Options::default()
    };
    let client = Client::with_options([router.url()], &options).unwrap();
    let puts = (0..200).map(|i| client.put("people", format!("{i}"), "v"));
    for result in futures::future::join_all(puts).await {
        result.unwrap();
    }
}
