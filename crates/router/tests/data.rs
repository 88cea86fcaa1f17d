//! Gets, puts and deletes through a router: exactly once, promptly, by whichever replica can.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::time::{Duration, Instant};

use api::{Reason, v1};
use links::testing::{FakeNode, Fault};
use model::NodeId;
use support::cluster::{Client, Cluster};
use support::flaky::Flaky;
use support::{error, reason, within};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn what_was_put_is_got_until_it_is_deleted() {
    let cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    client.create("people", 5).await.unwrap();
    for i in 0..50 {
        let key = format!("key-{i}");
        assert_eq!(client.get("people", &key).await.unwrap(), None);
        client.put("people", &key, &key).await.unwrap();
        assert_eq!(client.get("people", &key).await.unwrap(), Some(key.clone()));
        assert_eq!(
            client.get_eventual("people", &key).await.unwrap(),
            Some(key.clone())
        );
        client.delete("people", &key).await.unwrap();
        assert_eq!(client.get("people", &key).await.unwrap(), None);
    }
}

#[tokio::test]
async fn versions_grow_and_come_back_with_the_item() {
    let cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    client.create("people", 1).await.unwrap();
    let first = client.put("people", "k", "1").await.unwrap();
    let second = client.put("people", "k", "2").await.unwrap();
    assert!(second > first);
    let request = v1::GetRequest {
        table: "people".to_owned(),
        key: "k".into(),
        consistent: true,
    };
    let got = client.key_value().get(request).await.unwrap().into_inner();
    assert_eq!(got.version, second);
}

#[tokio::test]
async fn a_minute_of_steady_load_costs_the_store_no_read() {
    let cluster = Cluster::start(3).await;
    let way = Flaky::new(&cluster.store);
    let client = Client::start(Cluster::options_through(&way)).await;
    client.create("people", 4).await.unwrap();
    client.put("people", "warm", "up").await.unwrap();
    // The directory may be about to take the last changes in.
    support::eventually("the store is left alone", async || {
        let before = way.reads();
        tokio::time::sleep(Duration::from_millis(100)).await;
        way.reads() == before
    })
    .await;
    let before = way.reads();
    for i in 0..500 {
        client.put("people", &i.to_string(), "v").await.unwrap();
        client.get("people", &i.to_string()).await.unwrap();
    }
    assert_eq!(way.reads(), before);
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_sent_again_and_takes_effect_once() {
    let cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    client.create("people", 1).await.unwrap();
    client.put("people", "k", "before").await.unwrap();
    let before = cluster.world.applications();
    for node in &cluster.nodes {
        node.set_fault(Fault::CutAfterNext);
    }
    client.put("people", "k", "after").await.unwrap();
    assert_eq!(cluster.world.applications(), before + 1);
    assert_eq!(
        client.get("people", "k").await.unwrap(),
        Some("after".to_owned())
    );
}

#[tokio::test]
async fn a_caller_who_repeats_its_own_identity_writes_once() {
    let cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    client.create("people", 1).await.unwrap();
    let request = v1::PutRequest {
        table: "people".to_owned(),
        key: "k".into(),
        value: "v".into(),
        condition: None,
        request_id: Some(v1::RequestId {
            client_id: 7,
            sequence: 1,
            issued_at_millis: 1,
        }),
    };
    let mut versions = Vec::new();
    for _ in 0..2 {
        let answer = client.key_value().put(request.clone()).await.unwrap();
        versions.push(answer.into_inner().version);
    }
    assert_eq!(versions[0], versions[1]);
    assert_eq!(cluster.world.applications(), 1);
}

#[tokio::test]
async fn a_dead_leader_is_passed_over_and_the_next_one_remembered() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    client.create("people", 1).await.unwrap();
    client.put("people", "k", "1").await.unwrap();
    cluster.nodes[0].kill();
    cluster.world.set_leader(NodeId(2));
    client.put("people", "k", "2").await.unwrap();
    let before = cluster.nodes[1].operations();
    for _ in 0..20 {
        client.put("people", "k", "3").await.unwrap();
    }
    assert_eq!(cluster.nodes[1].operations(), before + 20);
}

#[tokio::test]
async fn a_node_that_comes_back_is_used_again() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    client.create("people", 1).await.unwrap();
    client.put("people", "k", "1").await.unwrap();
    for node in &mut cluster.nodes {
        node.kill();
    }
    let result = client
        .get_with("people", "k", true, Duration::from_millis(200))
        .await;
    assert_eq!(reason(result), Reason::NoQuorum);
    for node in &mut cluster.nodes {
        node.restart();
    }
    support::eventually("the value is there", async || {
        client.get("people", "k").await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_paused_leader_delays_a_write_by_one_patience() {
    let cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    client.create("people", 1).await.unwrap();
    client.put("people", "k", "1").await.unwrap();
    cluster.nodes[0].set_fault(Fault::Silent);
    cluster.world.set_leader(NodeId(3));
    for (put, most) in [("2", 2 * SECOND), ("3", SECOND / 5)] {
        let begin = Instant::now();
        client.put("people", "k", put).await.unwrap();
        assert!(begin.elapsed() < most, "{:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn no_quorum_is_said_promptly_and_eventual_gets_go_on() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    client.create("people", 1).await.unwrap();
    client.put("people", "k", "v").await.unwrap();
    cluster.nodes[0].kill();
    cluster.nodes[1].kill();
    cluster.nodes[2].set_fault(Fault::Refuse(Reason::NoQuorum));
    let begin = Instant::now();
    // The first may have been on its way to a dying node.
    let _ = client.put_within("people", "k", "w", 2 * SECOND).await;
    for _ in 0..3 {
        assert_eq!(
            reason(client.put("people", "k", "w").await),
            Reason::NoQuorum
        );
        assert_eq!(reason(client.get("people", "k").await), Reason::NoQuorum);
        assert_eq!(
            client.get_eventual("people", "k").await.unwrap(),
            Some("v".to_owned())
        );
    }
    assert!(begin.elapsed() < 5 * SECOND, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn an_election_is_waited_for_within_the_deadline() {
    let cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    client.create("people", 1).await.unwrap();
    for node in &cluster.nodes {
        node.set_fault(Fault::Refuse(Reason::NoLeader));
    }
    let short = client.put_within("people", "k", "v", SECOND / 2).await;
    assert_eq!(reason(short), Reason::NoLeader);
    let election = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        for node in &cluster.nodes {
            node.set_fault(Fault::None);
        }
    };
    let (put, ()) = tokio::join!(client.put("people", "k", "v"), election);
    put.unwrap();
}

#[tokio::test]
async fn a_write_that_nobody_answers_is_unknown_at_its_deadline_and_a_read_is_not() {
    let cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    client.create("people", 1).await.unwrap();
    for node in &cluster.nodes {
        node.set_fault(Fault::Silent);
    }
    let deadline = Duration::from_millis(1500);
    let (put, get, eventual) = tokio::join!(
        client.put_within("people", "k", "v", deadline),
        client.get_with("people", "k", true, deadline),
        client.get_with("people", "k", false, deadline),
    );
    let unknown = error(&put.unwrap_err());
    assert_eq!(unknown.reason, Reason::OutcomeUnknown);
    assert_eq!(unknown.metadata["table"], "people");
    assert_eq!(reason(get), Reason::NoQuorum);
    assert_eq!(reason(eventual), Reason::NoQuorum);
}

#[tokio::test]
async fn a_call_that_its_client_drops_is_cancelled_wherever_it_was_sent() {
    let cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    client.create("people", 1).await.unwrap();
    client.put("people", "k", "before").await.unwrap();
    for node in &cluster.nodes {
        node.set_fault(Fault::Silent);
    }
    let sum = |of: fn(&FakeNode) -> u64| cluster.nodes.iter().map(of).sum::<u64>();
    let (sent, cancelled) = (sum(FakeNode::operations), sum(FakeNode::cancelled));
    {
        // Its deadline is later than anything here is waited for.
        let call = client.put("people", "k", "after");
        let asked = support::eventually("two nodes are asked", async || {
            sum(FakeNode::operations) >= sent + 2
        });
        tokio::select! {
            answer = call => panic!("{answer:?}"),
            () = asked => {}
        }
    }
    support::eventually("the nodes hear of it", async || {
        sum(FakeNode::cancelled) - cancelled >= 2
    })
    .await;
    assert_eq!(cluster.world.applications(), 1);
}

#[tokio::test]
async fn eventual_gets_spread_over_all_replicas() {
    let cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    client.create("people", 1).await.unwrap();
    for _ in 0..200 {
        client.get_eventual("people", "k").await.unwrap();
    }
    for node in &cluster.nodes {
        assert!(node.operations() > 20, "{}", node.operations());
    }
}

#[tokio::test]
async fn many_at_once_each_get_their_own_answer() {
    let cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    client.create("people", 7).await.unwrap();
    let operations = (0..500).map(|i| {
        let client = &client;
        async move {
            let key = format!("key-{i}");
            client.put("people", &key, &key).await.unwrap();
            assert_eq!(client.get("people", &key).await.unwrap(), Some(key));
        }
    });
    futures::future::join_all(operations).await;
    assert_eq!(cluster.world.applications(), 500);
}

#[tokio::test]
async fn batches_have_a_result_for_each_item() {
    let cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    client.create("people", 3).await.unwrap();
    let item = |table: &str, key: &str| v1::PutRequest {
        table: table.to_owned(),
        key: key.to_owned().into(),
        value: key.to_owned().into(),
        request_id: None,
        condition: None,
    };
    let items = vec![item("people", "a"), item("nobody", "b"), item("people", "")];
    let answer = client
        .key_value()
        .batch_put(v1::BatchPutRequest { items })
        .await
        .unwrap();
    let reasons = answer
        .into_inner()
        .results
        .into_iter()
        .map(|r| match r.result.unwrap() {
            v1::batch_put_result::Result::Item(_) => "ok".to_owned(),
            v1::batch_put_result::Result::Error(error) => error.reason,
        });
    assert_eq!(
        reasons.collect::<Vec<_>>(),
        ["ok", "TABLE_NOT_FOUND", "INVALID_REQUEST"]
    );
    let key = |table: &str, key: &str| v1::KeyOf {
        table: table.to_owned(),
        key: key.to_owned().into(),
    };
    let keys = vec![key("people", "a"), key("people", "b"), key("nobody", "a")];
    let answer = client
        .key_value()
        .batch_get(v1::BatchGetRequest {
            keys,
            consistent: true,
        })
        .await
        .unwrap();
    let found = answer
        .into_inner()
        .results
        .into_iter()
        .map(|r| match r.result.unwrap() {
            v1::batch_get_result::Result::Item(item) => item.found.to_string(),
            v1::batch_get_result::Result::Error(error) => error.reason,
        });
    assert_eq!(
        found.collect::<Vec<_>>(),
        ["true", "false", "TABLE_NOT_FOUND"]
    );
}

#[tokio::test]
async fn an_answer_that_is_full_says_so_for_what_is_left_out() {
    let cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    client.create("people", 1).await.unwrap();
    let value = "x".repeat(400 * 1024);
    client.put("people", "k", &value).await.unwrap();
    let key = v1::KeyOf {
        table: "people".to_owned(),
        key: "k".into(),
    };
    let request = v1::BatchGetRequest {
        keys: vec![key; 12],
        consistent: false,
    };
    let answer = client.key_value().batch_get(request).await.unwrap();
    let overloaded = answer.into_inner().results.into_iter().filter(|r| {
        matches!(&r.result, Some(v1::batch_get_result::Result::Error(error)) if error.reason == "OVERLOADED")
    });
    assert_eq!(overloaded.count(), 2);
}

#[tokio::test]
async fn what_breaks_a_limit_is_refused_with_its_field() {
    let cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    client.create("people", 1).await.unwrap();
    let field = |status: tonic::Status| {
        let error = error(&status);
        assert_eq!(error.reason, Reason::InvalidRequest);
        error.metadata["field"].clone()
    };
    let key = client.put("people", "", "v").await.unwrap_err();
    assert_eq!(field(key), "key");
    let key = client.get("people", &"k".repeat(2049)).await.unwrap_err();
    assert_eq!(field(key), "key");
    let value = "v".repeat(400 * 1024 + 1);
    let value = client.put("people", "k", &value).await.unwrap_err();
    assert_eq!(field(value), "value");
    let table = client.put("no table", "k", "v").await.unwrap_err();
    assert_eq!(field(table), "table");
    let item = v1::PutRequest {
        table: "people".to_owned(),
        key: "k".into(),
        value: "v".repeat(100 * 1024).into(),
        request_id: None,
        condition: None,
    };
    let batch = |items: usize| {
        let items = vec![item.clone(); items];
        let mut client = client.key_value();
        async move { client.batch_put(v1::BatchPutRequest { items }).await }
    };
    assert_eq!(field(batch(0).await.unwrap_err()), "items");
    assert_eq!(field(batch(41).await.unwrap_err()), "items");
    assert_eq!(field(batch(90).await.unwrap_err()), "message");
}

#[tokio::test]
async fn a_callers_deadline_is_kept_and_a_malformed_one_refused() {
    let cluster = Cluster::start(3).await;
    let client = cluster.router().await;
    client.create("people", 1).await.unwrap();
    for node in &cluster.nodes {
        node.set_fault(Fault::Slow(2 * SECOND));
    }
    let begin = Instant::now();
    let late = client.put_within("people", "k", "v", SECOND / 2).await;
    assert_eq!(reason(late), Reason::OutcomeUnknown);
    assert!(begin.elapsed() < SECOND, "{:?}", begin.elapsed());
    let request = v1::GetRequest {
        table: "people".to_owned(),
        key: "k".into(),
        consistent: false,
    };
    let mut request = within(SECOND, request);
    request
        .metadata_mut()
        .insert("grpc-timeout", "soon".parse().unwrap());
    let refused = client.key_value().get(request).await;
    assert_eq!(reason(refused), Reason::InvalidRequest);
}
