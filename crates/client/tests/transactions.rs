//! Conditions and transactions of the client, against routers that fail.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod fake;

use std::time::Duration;

use api::{Reason, v1};
use client::{CancellationReason, Client, Condition, Error, Options, TransactItem};
use fake::going_down::{End, GoingDown};
use fake::{Act, FakeRouter, LossyProxy, fail, fresh_address};

const ITEMS: [(&str, &str, &str); 2] = [("people", "ada", "v"), ("cities", "ada", "w")];

fn impatient(addresses: &[String], timeout: Duration) -> Client {
    let options = Options {
        data_timeout: timeout,
        ..Options::default()
    };
    Client::with_options(addresses, &options).unwrap()
}

fn of(condition: Condition) -> Option<v1::Condition> {
    api::convert::condition_message(condition)
}

#[tokio::test]
async fn conditions_travel_with_puts_and_deletes_and_so_do_identities() {
    let router = FakeRouter::start([]).await;
    let client = Client::connect([router.url()]).unwrap();
    let (absent, seven) = (Condition::NotExists, Condition::VersionIs(7));
    let version = client.put_if("people", "a", "1", absent).await.unwrap();
    assert_eq!(version, 8);
    client.put("people", "a", "1").await.unwrap();
    client.delete_if("people", "a", seven).await.unwrap();
    client.delete("people", "a").await.unwrap();
    let puts = router.script.puts.lock().unwrap();
    assert_eq!(puts[0].condition, of(absent));
    assert_eq!(puts[1].condition, None);
    assert!(puts.iter().all(|put| put.request_id.is_some()));
    let deletes = router.script.deletes.lock().unwrap();
    assert_eq!(deletes[0].condition, of(seven));
    assert_eq!(deletes[1].condition, None);
    assert!(deletes.iter().all(|delete| delete.request_id.is_some()));
}

#[tokio::test]
async fn a_condition_that_failed_after_a_lost_answer_does_not_say_that_nothing_was_written() {
    let acts = [Act::Answer, fail(Reason::ConditionFailed)];
    let router = FakeRouter::start(acts).await;
    let proxy = LossyProxy::start(&router, 1).await;
    let client = Client::connect([proxy.url()]).unwrap();
    let put = client.put_if("people", "ada", "v", Condition::NotExists);
    let error = put.await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::OutcomeUnknown), "{error}");
    let puts = router.script.puts.lock().unwrap();
    assert_eq!(puts[0], puts[1], "the same condition and identity");
}

#[tokio::test]
async fn items_conditions_and_token_of_a_transaction_travel() {
    let router = FakeRouter::start([]).await;
    let client = Client::connect([router.url()]).unwrap();
    let items = [
        TransactItem::new("people", "ada", "v").on(Condition::Exists),
        TransactItem::from(("cities", "ada", "w")),
    ];
    client.transact_put(items, Some("t-1")).await.unwrap();
    client.transact_put(ITEMS, None).await.unwrap();
    let sent = router.script.transactions.lock().unwrap();
    assert_eq!(sent[0].client_request_token, "t-1");
    assert_eq!(sent[0].items[0].condition, of(Condition::Exists));
    assert_eq!(sent[0].items[1].condition, None);
    assert_eq!(sent[1].client_request_token, "", "none is drawn");
    let keys: Vec<_> = sent[1].items.iter().map(|item| &*item.table).collect();
    assert_eq!(keys, ["people", "cities"]);
}

#[tokio::test]
async fn a_transaction_without_a_token_is_never_sent_again_after_its_answer_was_lost() {
    let router = FakeRouter::start([]).await;
    let proxy = LossyProxy::start(&router, 1).await;
    let client = Client::connect([proxy.url(), router.url()]).unwrap();
    let error = client.transact_put(ITEMS, None).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::OutcomeUnknown), "{error}");
    assert!(!error.certainly_not_applied());
    assert_eq!(router.script.transactions.lock().unwrap().len(), 1);

    let router = FakeRouter::start([fail(Reason::OutcomeUnknown)]).await;
    let client = Client::connect([router.url()]).unwrap();
    let error = client.transact_put(ITEMS, None).await.unwrap_err();
    assert_eq!(error.exit_code(), 6);
    assert_eq!(router.script.transactions.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_transaction_with_a_token_is_sent_again_to_another_router_as_it_is() {
    let router = FakeRouter::start([]).await;
    let proxy = LossyProxy::start(&router, 1).await;
    let client = Client::connect([proxy.url(), router.url()]).unwrap();
    client.transact_put(ITEMS, Some("token")).await.unwrap();
    let sent = router.script.transactions.lock().unwrap();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0], sent[1]);
}

#[tokio::test]
async fn a_transaction_that_was_certainly_not_sent_goes_to_the_next_router() {
    let nobody = format!("http://{}", {
        let listener = tokio::net::TcpListener::bind(fresh_address()).await;
        listener.unwrap().local_addr().unwrap()
    });
    let router = FakeRouter::start([]).await;
    for token in [None, Some("token")] {
        let client = Client::connect([nobody.clone(), router.url()]).unwrap();
        client.transact_put(ITEMS, token).await.unwrap();
        let client = Client::connect([&nobody]).unwrap();
        let error = client.transact_put(ITEMS, token).await.unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    }
    assert_eq!(router.script.transactions.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_transaction_that_a_router_refuses_because_it_goes_down_goes_to_the_next_one() {
    let down = GoingDown::start(End::GoAwayBefore).await;
    let router = FakeRouter::start([]).await;
    let client = Client::connect([down.url(), router.url()]).unwrap();
    client.transact_put(ITEMS, None).await.expect("refused");
    assert_eq!(router.script.transactions.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_transaction_that_a_router_may_have_taken_before_it_went_down_is_unknown() {
    for end in [End::GoAwayBehind, End::Refused, End::Broken] {
        let (down, router) = (GoingDown::start(end).await, FakeRouter::start([]).await);
        let client = Client::connect([down.url(), router.url()]).unwrap();
        let error = client.transact_put(ITEMS, None).await.unwrap_err();
        assert_eq!(error.reason(), Some(Reason::OutcomeUnknown), "{error}");
        assert_eq!(router.script.transactions.lock().unwrap().len(), 0);
    }
}

#[tokio::test]
async fn a_cancellation_after_a_lost_answer_does_not_say_that_nothing_was_written() {
    let acts = [Act::Answer, fail(Reason::TransactionCancelled)];
    let router = FakeRouter::start(acts).await;
    let proxy = LossyProxy::start(&router, 1).await;
    let client = Client::connect([proxy.url()]).unwrap();
    let put = client.transact_put(ITEMS, Some("token"));
    let error = put.await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::OutcomeUnknown), "{error}");
    assert_eq!(error.cancellation_reasons(), None);
}

#[tokio::test]
async fn a_cancelled_transaction_tells_the_reason_of_each_item() {
    use CancellationReason as Is;
    let reasons =
        "NONE,CONDITION_FAILED,TRANSACTION_CONFLICT,TIMESTAMP_TOO_OLD,INVALID_REQUEST,NEWS";
    let cancelled = || api::Error::new(Reason::TransactionCancelled, "said the router");
    let acts = [
        Act::Fail(cancelled().with("reasons", reasons)),
        Act::Fail(cancelled()),
        fail(Reason::TransactionConflict),
    ];
    let router = FakeRouter::start(acts).await;
    let client = Client::connect([router.url()]).unwrap();
    let error = client.transact_put(ITEMS, Some("t")).await.unwrap_err();
    assert_eq!(
        error.cancellation_reasons().unwrap(),
        [
            None,
            Some(Is::ConditionFailed),
            Some(Is::TransactionConflict),
            Some(Is::TimestampTooOld),
            Some(Is::InvalidRequest),
            Some(Is::Unrecognized),
        ]
    );
    assert!(error.certainly_not_applied());
    assert_eq!(error.exit_code(), 4);
    for said in [Reason::TransactionCancelled, Reason::TransactionConflict] {
        let error = client.transact_put(ITEMS, None).await.unwrap_err();
        assert_eq!(error.reason(), Some(said));
        assert_eq!(error.cancellation_reasons(), None);
    }
    assert_eq!(router.script.transactions.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn items_that_are_read_together_come_in_the_order_of_their_keys() {
    let router = FakeRouter::start([]).await;
    let client = Client::connect([router.url()]).unwrap();
    let keys = [("people", "b"), ("people", "absent"), ("cities", "a")];
    let items = client.transact_get(keys).await.unwrap();
    let values: Vec<_> = items
        .iter()
        .map(|item| {
            item.as_ref()
                .map(|item| (item.value.as_ref(), item.version))
        })
        .collect();
    assert_eq!(values, [Some((&b"b"[..], 7)), None, Some((&b"a"[..], 7))]);
}

#[tokio::test]
async fn reading_together_is_a_read_for_all_that_concerns_lost_answers() {
    let router = FakeRouter::start([]).await;
    let proxy = LossyProxy::start(&router, 1).await;
    let client = Client::connect([proxy.url(), router.url()]).unwrap();
    let items = client.transact_get([("people", "a")]).await.unwrap();
    assert_eq!(items.len(), 1);
    assert_eq!(router.script.transact_gets.lock().unwrap().len(), 2);

    let router = FakeRouter::start(vec![Act::Hang; 100]).await;
    let client = impatient(&[router.url()], Duration::from_millis(300));
    let error = client.transact_get([("people", "a")]).await.unwrap_err();
    assert!(matches!(error, Error::Unanswered { .. }), "{error}");
}

#[tokio::test]
async fn an_answer_with_too_few_items_is_not_taken_for_one() {
    let router = FakeRouter::start([]).await;
    let client = Client::connect([router.url()]).unwrap();
    let error = client.transact_get([("short", "a")]).await.unwrap_err();
    assert!(matches!(error, Error::Foreign { .. }), "{error}");
}

#[tokio::test]
async fn what_breaks_the_rules_is_refused_before_it_is_sent() {
    let router = FakeRouter::start([]).await;
    let client = Client::connect([router.url()]).unwrap();
    let refused = |error: Error, field: &str| match error {
        Error::Service(error) => {
            assert_eq!(error.reason, Reason::InvalidRequest);
            assert_eq!(error.metadata["field"], field);
        }
        other => panic!("{other}"),
    };
    let none: [(&str, &str, &str); 0] = [];
    refused(client.transact_put(none, None).await.unwrap_err(), "items");
    let twice = [ITEMS[0], ITEMS[1], ITEMS[0]];
    refused(client.transact_put(twice, None).await.unwrap_err(), "items");
    let many = (0..101).map(|n| ("people", format!("{n}"), "v"));
    refused(client.transact_put(many, None).await.unwrap_err(), "items");
    let large = (0..20).map(|n| ("people", format!("{n}"), vec![0; 300 * 1024]));
    refused(client.transact_put(large, None).await.unwrap_err(), "items");
    let empty = [("people", "", "v")];
    refused(client.transact_put(empty, None).await.unwrap_err(), "key");
    for token in ["", &"x".repeat(37)] {
        let put = client.transact_put(ITEMS, Some(token));
        refused(put.await.unwrap_err(), "client_request_token");
    }
    let twice = [("people", "a"), ("cities", "a"), ("people", "a")];
    refused(client.transact_get(twice).await.unwrap_err(), "keys");
    assert!(router.script.transactions.lock().unwrap().is_empty());
    assert!(router.script.transact_gets.lock().unwrap().is_empty());
    let longest = "x".repeat(36);
    client.transact_put(ITEMS, Some(&longest)).await.unwrap();
}
