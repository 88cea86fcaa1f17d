//! Operations over a stream: when it is used, and what becomes of them when it ends.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod fake;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use api::{Reason, v1};
use client::{Client, Consistency, Options};
use fake::{Act, FakeRouter, fail};
use futures::future::join_all;

/// A client of a router with a stream that stands.
async fn streaming(router: &FakeRouter) -> Client {
    let client = Client::connect([router.url()]).unwrap();
    let begin = Instant::now();
    while router.script.streamed() == 0 {
        client.put("people", "k", "v").await.unwrap();
        assert!(begin.elapsed() < Duration::from_secs(20));
    }
    client
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Drives an operation that is not answered until it has come over the stream.
async fn until_sent(
    router: &FakeRouter,
    operation: impl Future<Output = Result<u64, client::Error>>,
) {
    let before = router.script.streamed();
    let sent = eventually("it is there", || router.script.streamed() > before);
    tokio::select! {
        answer = operation => panic!("{answer:?}"),
        () = sent => {}
    }
}

#[tokio::test]
async fn a_lone_operation_is_a_call_and_several_share_a_stream() {
    let router = FakeRouter::with_streams([]).await;
    let client = Client::connect([router.url()]).unwrap();
    client.put("people", "k", "v").await.unwrap();
    assert_eq!(router.script.streams(), 0);
    drop(client);
    let client = streaming(&router).await;
    let before = (router.script.streamed(), router.script.requests());
    let puts = (0..100).map(|i| client.put("people", format!("key-{i}"), "v"));
    for version in join_all(puts).await {
        assert_eq!(version.unwrap(), 8);
    }
    let item = client.get("people", "k", Consistency::Strong).await;
    assert_eq!(item.unwrap().unwrap().version, 7);
    client.delete("people", "k").await.unwrap();
    client
        .transact_put([("people", "k", "v")], None)
        .await
        .unwrap();
    let items = client.transact_get([("people", "k"), ("people", "absent")]);
    assert_eq!(items.await.unwrap().iter().flatten().count(), 1);
    assert_eq!(router.script.streamed(), before.0 + 104);
    // Deletes are not among them.
    assert_eq!(router.script.requests(), before.1 + 103);
    assert_eq!(router.script.streams(), 1);
    let puts = router.script.puts.lock().unwrap();
    let identity = |put: &v1::PutRequest| {
        let id = put.request_id.unwrap();
        (id.client_id, id.sequence)
    };
    let identities: BTreeSet<_> = puts.iter().map(identity).collect();
    assert_eq!(identities.len(), puts.len());
}

#[tokio::test]
async fn a_router_that_knows_no_stream_is_called_and_asked_for_one_once() {
    let router = FakeRouter::start([]).await;
    let client = Client::connect([router.url()]).unwrap();
    for _ in 0..20 {
        client.put("people", "k", "v").await.unwrap();
    }
    eventually("it was asked", || router.script.streams() > 0).await;
    for _ in 0..20 {
        client.put("people", "k", "v").await.unwrap();
    }
    assert_eq!((router.script.streams(), router.script.streamed()), (1, 0));
}

#[tokio::test]
async fn streams_can_be_turned_off() {
    let router = FakeRouter::with_streams([]).await;
    let options = Options {
        streams: false,
        ..Options::default()
    };
    let client = Client::with_options([router.url()], &options).unwrap();
    let puts = (0..50).map(|_| client.put("people", "k", "v"));
    join_all(puts).await;
    client.put("people", "k", "v").await.unwrap();
    assert_eq!(router.script.streams(), 0);
}

#[tokio::test]
async fn errors_over_a_stream_mean_what_they_mean_to_a_call() {
    let router = FakeRouter::with_streams([]).await;
    let client = streaming(&router).await;
    let before = router.script.streamed();
    router
        .script
        .will([fail(Reason::NoLeader), fail(Reason::ConditionFailed)]);
    let error = client.put("people", "k", "v").await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::ConditionFailed));
    assert_eq!(router.script.streamed(), before + 2, "the first is no end");
    let overloaded = api::Error::new(Reason::Overloaded, "full");
    let wait = Duration::from_millis(300);
    router
        .script
        .will([Act::Fail(overloaded.retry_after(wait))]);
    let begin = Instant::now();
    client.put("people", "k", "v").await.unwrap();
    assert!(begin.elapsed() >= wait, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_write_whose_stream_has_ended_is_sent_again_as_the_same_or_unknown() {
    let router = FakeRouter::with_streams([]).await;
    let client = streaming(&router).await;
    router.script.will([Act::Break]);
    client.put("people", "k", "v").await.unwrap();
    {
        let puts = router.script.puts.lock().unwrap();
        let [.., first, second] = &puts[..] else {
            panic!("{puts:?}");
        };
        assert_eq!(first.request_id, second.request_id);
    }
    let router = FakeRouter::with_streams([]).await;
    let client = streaming(&router).await;
    router.script.will([Act::Break]);
    let put = client.transact_put([("people", "k", "v")], None).await;
    assert_eq!(put.unwrap_err().reason(), Some(Reason::OutcomeUnknown));
    assert_eq!(router.script.transactions.lock().unwrap().len(), 1);
    // The connection is as good as before, for calls.
    let item = client.get("people", "k", Consistency::Strong).await;
    assert!(item.unwrap().is_some());
}

#[tokio::test]
async fn a_router_that_goes_down_gets_nothing_more_over_the_stream_and_answers_what_it_has() {
    let router = FakeRouter::with_streams([]).await;
    let client = streaming(&router).await;
    let before = router.script.streamed();
    router.script.will([Act::AnswerAfterClosing]);
    assert_eq!(client.put("people", "k", "v").await.unwrap(), 8);
    assert_eq!(router.script.streamed(), before + 1);
    client.put("people", "k", "v").await.unwrap();
    assert_eq!(router.script.streamed(), before + 1, "that was a call");
    eventually("it has ended", || router.script.ended() == 1).await;
}

#[tokio::test]
async fn another_stream_is_begun_after_a_while_if_the_connection_outlives_one() {
    let router = FakeRouter::with_streams([]).await;
    let client = streaming(&router).await;
    router.script.will([Act::Break]);
    client.put("people", "k", "v").await.unwrap();
    let begin = Instant::now();
    let before = router.script.streamed();
    while router.script.streamed() == before {
        client.put("people", "k", "v").await.unwrap();
        assert!(begin.elapsed() < Duration::from_secs(20));
    }
    assert_eq!(router.script.streams(), 2);
}

#[tokio::test]
async fn what_no_message_has_room_for_concerns_nobody_else() {
    let router = FakeRouter::with_streams([]).await;
    let client = streaming(&router).await;
    router.script.will([Act::Hang]);
    let before = router.script.streamed();
    let other = client.put("people", "k", "v");
    tokio::pin!(other);
    until_sent(&router, &mut other).await;
    let large = vec![b'k'; 9 << 20];
    client.delete("people", large).await.unwrap_err();
    // The stream is as it was.
    client.put("people", "k", "v").await.unwrap();
    assert_eq!(router.script.streamed(), before + 2);
    assert!(futures::poll!(&mut other).is_pending());
}

#[tokio::test]
async fn the_stream_ends_with_the_client_while_it_is_being_opened_as_well() {
    let router = FakeRouter::with_streams([]).await;
    router.script.open_no_streams();
    let client = Client::connect([router.url()]).unwrap();
    for _ in 0..3 {
        client.put("people", "k", "v").await.unwrap();
    }
    eventually("it is being opened", || router.script.streams() == 1).await;
    drop(client);
    eventually("it has ended", || router.script.ended() == 1).await;
}

#[tokio::test]
async fn the_stream_ends_with_the_client() {
    let router = FakeRouter::with_streams([]).await;
    let client = streaming(&router).await;
    let clone = client.clone();
    drop(client);
    clone.put("people", "k", "v").await.unwrap();
    assert_eq!(router.script.ended(), 0);
    drop(clone);
    eventually("it has ended", || router.script.ended() == 1).await;
}

#[tokio::test]
async fn a_caller_that_has_gone_is_told_to_the_router() {
    let router = FakeRouter::with_streams([]).await;
    let client = streaming(&router).await;
    router.script.will([Act::Hang]);
    until_sent(&router, client.put("people", "k", "v")).await;
    eventually("it hears of it", || router.script.cancelled() == 1).await;
}
