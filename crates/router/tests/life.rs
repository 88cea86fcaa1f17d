//! A router's own life: start, loss of the coordination store, end.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::time::{Duration, Instant};

use api::Reason;
use links::testing::{FakeNode, Fault};
use router::{Options, StartError};
use support::cluster::{Client, Cluster};
use support::flaky::Flaky;
use support::{eventually, reason};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_port_in_use_and_an_address_that_nobody_could_find_are_errors() {
    let cluster = Cluster::start(0).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let start = async |change: &dyn Fn(&mut Options)| {
        let mut options = cluster.options();
        change(&mut options);
        router::start(options)
            .await
            .err()
            .map(|error| error.to_string())
    };
    let address = taken.local_addr().unwrap();
    let error = start(&|options| options.listen = address).await.unwrap();
    assert!(error.contains(&address.to_string()), "{error}");
    let error = start(&|options| options.listen = "0.0.0.0:0".parse().unwrap()).await;
    assert!(error.unwrap().contains("advertise"));
    for bad in ["nowhere", "host:", ":80", "host:0", "host:99999"] {
        let error = start(&|options| options.advertise = Some(bad.to_owned())).await;
        assert!(error.unwrap().contains(bad), "{bad}");
    }
    let error = StartError::NoAdvertisedAddress { address };
    assert!(error.to_string().contains("host:port"));
}

#[tokio::test]
async fn it_starts_before_the_store_can_be_reached_and_says_why_it_is_not_ready() {
    let cluster = Cluster::start(3).await;
    let way = Flaky::new(&cluster.store);
    way.cut();
    let router = router::start(Cluster::options_through(&way)).await.unwrap();
    let mut health = router.health();
    let waiting = health.wait_for(|health| health.reason.contains("cut"));
    assert!(!waiting.await.unwrap().ready);
    assert_eq!(router.id(), None);
    way.mend();
    router.ready().await.unwrap();
    assert!(router.id().is_some());
    router.shutdown().await;
}

#[tokio::test]
async fn without_the_store_data_is_served_and_administration_refused_promptly() {
    let cluster = Cluster::start(3).await;
    let way = Flaky::new(&cluster.store);
    let client = Client::start(Cluster::options_through(&way)).await;
    client.create("people", 2).await.unwrap();
    way.cut();
    let begin = Instant::now();
    client.put("people", "k", "v").await.unwrap();
    assert_eq!(
        client.get("people", "k").await.unwrap(),
        Some("v".to_owned())
    );
    let refused = Reason::CoordinationUnavailable;
    assert_eq!(reason(client.create("others", 1).await), refused);
    assert_eq!(reason(client.drop_table("people").await), refused);
    assert_eq!(reason(client.describe("people", false).await), refused);
    assert_eq!(reason(client.list("", 0).await), refused);
    assert_eq!(reason(client.status().await), refused);
    // Whether there is such a table nobody can tell.
    assert_eq!(reason(client.get("nobody", "k").await), refused);
    assert!(begin.elapsed() < SECOND, "{:?}", begin.elapsed());
    let health = client.router.health().borrow().clone();
    assert!(health.ready);
    assert!(health.reason.contains("lost"), "{}", health.reason);
    way.mend();
    client.create("others", 1).await.unwrap();
    assert_eq!(client.router.health().borrow().reason, "ready");
}

#[tokio::test]
async fn a_change_missed_during_a_short_disconnect_is_caught_up_with() {
    let cluster = Cluster::start(3).await;
    // The first router is the controller, and stays in touch.
    let other = cluster.router().await;
    other.create("first", 1).await.unwrap();
    let way = Flaky::new(&cluster.store);
    let client = Client::start(Cluster::options_through(&way)).await;
    way.cut();
    other.create("people", 2).await.unwrap();
    assert_eq!(
        reason(client.put("people", "k", "v").await),
        Reason::CoordinationUnavailable
    );
    way.mend();
    client.put("people", "k", "v").await.unwrap();
}

#[tokio::test]
async fn an_expired_session_is_followed_by_a_new_one_under_a_new_id() {
    let cluster = Cluster::start(3).await;
    let way = Flaky::new(&cluster.store);
    let client = Client::start(Cluster::options_through(&way)).await;
    client.create("people", 2).await.unwrap();
    let first = client.router.id().unwrap();
    way.expire().await;
    client.put("people", "k", "v").await.unwrap();
    eventually("there is a new session", async || {
        client.router.id().is_some_and(|id| id != first)
    })
    .await;
    // The controller's work goes on as well.
    eventually("administration works", async || {
        client.create("others", 1).await.is_ok()
    })
    .await;
    let status = client.status().await.unwrap();
    assert_eq!(status.routers.len(), 1);
    assert_eq!(
        status.routers[0].id,
        client.router.id().unwrap().to_string()
    );
    assert_eq!(
        status.routers[0].address,
        client.router.address().to_string()
    );
}

#[tokio::test]
async fn a_shutdown_finishes_what_is_in_flight_and_frees_the_port() {
    let cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    client.create("people", 1).await.unwrap();
    client.put("people", "k", "1").await.unwrap();
    for node in &cluster.nodes {
        node.set_fault(Fault::Slow(SECOND / 2));
    }
    let before = cluster.nodes.iter().map(FakeNode::operations).sum::<u64>();
    let Client { router, channel } = client;
    let address = router.address();
    let request = api::v1::PutRequest {
        table: "people".to_owned(),
        key: "k".into(),
        value: "2".into(),
        request_id: None,
        condition: None,
    };
    let mut key_value = api::v1::key_value_client::KeyValueClient::new(channel);
    let put = tokio::spawn(async move { key_value.put(request).await });
    eventually("the write is on its way", async || {
        cluster.nodes.iter().map(FakeNode::operations).sum::<u64>() > before
    })
    .await;
    router.shutdown().await;
    put.await.unwrap().unwrap();
    std::net::TcpListener::bind(address).unwrap();
}

#[tokio::test]
async fn a_shut_down_router_is_gone_from_the_store_and_another_leads() {
    let cluster = Cluster::start(3).await;
    let one = cluster.router().await;
    let two = cluster.router().await;
    one.router.shutdown().await;
    eventually("one router is left, and is the controller", async || {
        let routers = two.status().await.unwrap().routers;
        routers.len() == 1 && routers[0].controller
    })
    .await;
    two.create("people", 1).await.unwrap();
}

#[tokio::test]
async fn health_and_reflection_are_served_to_generic_clients() {
    let cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    for service in ["", "minidynamo.v1.KeyValue"] {
        eventually("it serves", async || {
            let mut health = HealthClient::new(client.channel.clone());
            let service = service.to_owned();
            let answer = health.check(HealthCheckRequest { service }).await.unwrap();
            answer.into_inner().status() == ServingStatus::Serving
        })
        .await;
    }
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(client.channel.clone());
    let answers = reflection
        .server_reflection_info(tokio_stream::once(request))
        .await
        .unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("{answer:?}");
    };
    let services: Vec<_> = list.service.into_iter().map(|s| s.name).collect();
    for service in ["KeyValue", "Tables", "Cluster"] {
        assert!(services.contains(&format!("minidynamo.v1.{service}")));
    }
}
