//! Transactions through real routers, with data nodes that only pretend.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::{Error, Reason, v1};
use coordination::registry::{list_tokens, list_transactions};
use coordination::tree::Node;
use links::testing::{Fault, Phase};
use model::limits::{MAX_BATCH_BYTES, MAX_VALUE_BYTES};
use model::{HashRange, Key, TableId, Timestamp};
use router::{Options, TransactionTiming};
use support::cluster::{Client, Cluster};
use support::flaky::Flaky;
use support::{error, eventually, reason, within};
use tonic::Status;

const DEADLINE: Duration = Duration::from_secs(10);
const SHARDS: u32 = 4;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Recovery in a hurry.
fn hurried(options: Options) -> Options {
    let mut options = options;
    options.timing.transactions = TransactionTiming {
        decide_timeout: millis(300),
        backoff: (millis(10), millis(50)),
        takeover_jitter: millis(20),
        sweep_interval: millis(50),
        undecided_after: millis(200),
        entry_after: millis(300),
        pending_after: millis(3000),
        decided_after: millis(3000),
        ..TransactionTiming::default()
    };
    options
}

/// A key of this shard.
fn key(shard: u32) -> String {
    key_of(shard, 0)
}

fn key_of(shard: u32, number: usize) -> String {
    let range = HashRange::divide(SHARDS)[shard as usize];
    let keys = (0..).map(|n| format!("key {n}"));
    let hash = |key: &String| Key::new(key.clone().into_bytes().into()).unwrap().hash();
    keys.filter(|key| range.contains(hash(key)))
        .nth(number)
        .unwrap()
}

fn item(shard: u32, value: &str) -> v1::TransactPutItem {
    v1::TransactPutItem {
        table: "people".to_owned(),
        key: key(shard).into(),
        value: value.to_owned().into(),
        condition: None,
    }
}

fn only_if_absent(item: v1::TransactPutItem) -> v1::TransactPutItem {
    let kind = v1::condition::Kind::NotExists(v1::condition::NotExists {});
    let condition = Some(v1::Condition { kind: Some(kind) });
    v1::TransactPutItem { condition, ..item }
}

async fn transact(client: &Client, items: Vec<v1::TransactPutItem>) -> Result<(), Status> {
    transact_with(client, items, "", DEADLINE).await
}

async fn transact_with(
    client: &Client,
    items: Vec<v1::TransactPutItem>,
    token: &str,
    deadline: Duration,
) -> Result<(), Status> {
    let request = v1::TransactPutRequest {
        items,
        client_request_token: token.to_owned(),
    };
    let request = within(deadline, request);
    client.key_value().transact_put(request).await.map(drop)
}

async fn read(client: &Client, shards: &[u32]) -> Result<Vec<Option<String>>, Status> {
    read_within(client, shards, DEADLINE).await
}

async fn read_within(
    client: &Client,
    shards: &[u32],
    deadline: Duration,
) -> Result<Vec<Option<String>>, Status> {
    let keys = shards.iter().map(|&shard| v1::KeyOf {
        table: "people".to_owned(),
        key: key(shard).into(),
    });
    let request = v1::TransactGetRequest {
        keys: keys.collect(),
    };
    let answer = client
        .key_value()
        .transact_get(within(deadline, request))
        .await?;
    let items = answer.into_inner().items.into_iter();
    let text = |item: v1::GetResponse| {
        let value = String::from_utf8(item.value.to_vec()).unwrap();
        item.found.then_some(value)
    };
    Ok(items.map(text).collect())
}

fn reasons(result: Result<(), Status>) -> String {
    let error = error(&result.unwrap_err());
    assert_eq!(error.reason, Reason::TransactionCancelled, "{error}");
    error.metadata["reasons"].clone()
}

struct Stage {
    cluster: Cluster,
    way: Flaky,
    client: Client,
    table: u64,
}

async fn stage() -> Stage {
    stage_with(|_| {}).await
}

async fn stage_with(change: impl FnOnce(&mut TransactionTiming)) -> Stage {
    let cluster = Cluster::start(3).await;
    let way = Flaky::new(&cluster.store);
    let mut options = hurried(Cluster::options_through(&way));
    change(&mut options.timing.transactions);
    let client = Client::start(options).await;
    let table = client.create("people", SHARDS).await.unwrap();
    let table: TableId = table.summary.unwrap().id.parse().unwrap();
    Stage {
        cluster,
        way,
        client,
        table: table.0,
    }
}

impl Stage {
    /// Another router.
    async fn another(&self) -> Client {
        let client = Client::start(hurried(self.cluster.options())).await;
        eventually("it knows the table", async || {
            client.get("people", "any").await.is_ok()
        })
        .await;
        client
    }

    /// A table whose shard can't be told decisions, and an item of it.
    async fn another_table(&self) -> (TableId, v1::TransactPutItem) {
        let other = self.client.create("others", 1).await.unwrap();
        let other: TableId = other.summary.unwrap().id.parse().unwrap();
        self.cluster.world.hold(other.0, 0, Phase::Decide, true);
        let elsewhere = v1::TransactPutItem {
            table: "others".to_owned(),
            ..item(0, "x")
        };
        (other, elsewhere)
    }

    async fn ledger(&self) -> usize {
        let store = self.cluster.store.session();
        list_transactions(&*store).await.unwrap().len()
    }

    async fn tokens(&self) -> usize {
        let store = self.cluster.store.session();
        list_tokens(&*store).await.unwrap().len()
    }

    fn hold(&self, shard: u32, phase: Phase) {
        self.cluster.world.hold(self.table, shard, phase, true);
    }

    fn release(&self, shard: u32, phase: Phase) {
        self.cluster.world.hold(self.table, shard, phase, false);
    }

    fn prepared(&self) -> usize {
        let world = &self.cluster.world;
        (0..SHARDS)
            .map(|shard| world.prepared(self.table, shard))
            .sum()
    }

    /// Waits until no transaction is on its way.
    async fn at_rest(&self) {
        eventually("nothing is left of transactions", async || {
            self.prepared() == 0 && self.ledger().await == 0
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_items_are_written_over_all_shards_and_the_ledger_is_empty_again() {
    let stage = stage().await;
    let items: Vec<_> = (0..SHARDS).map(|shard| item(shard, "new")).collect();
    transact(&stage.client, items).await.unwrap();
    let new = Some("new".to_owned());
    let values = read(&stage.client, &[3, 0, 1, 2]).await.unwrap();
    assert_eq!(values, vec![new; 4]);
    stage.at_rest().await;
    let counters = stage.client.status().await.unwrap().transactions.unwrap();
    let counts = (counters.started, counters.committed, counters.in_doubt);
    assert_eq!(counts, (1, 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_that_does_not_hold_cancels_all_and_is_named_by_position() {
    let stage = stage().await;
    stage.client.put("people", &key(2), "old").await.unwrap();
    let items = vec![
        item(0, "new"),
        only_if_absent(item(2, "new")),
        item(1, "new"),
    ];
    let cancelled = transact(&stage.client, items).await;
    assert_eq!(reasons(cancelled), "NONE,CONDITION_FAILED,NONE");
    let values = read(&stage.client, &[0, 2, 1]).await.unwrap();
    assert_eq!(values, [None, Some("old".to_owned()), None]);
    stage.at_rest().await;
    let counters = stage.client.status().await.unwrap().transactions.unwrap();
    assert_eq!(counters.cancelled["CONDITION_FAILED"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn within_one_shard_no_ledger_is_needed_and_no_coordination_store() {
    let stage = stage().await;
    stage.way.cut();
    let in_one = |value: &str| {
        let other = v1::TransactPutItem {
            key: key_of(1, 1).into(),
            ..item(1, value)
        };
        vec![item(1, value), other]
    };
    transact(&stage.client, in_one("one")).await.unwrap();
    let refused = in_one("two").into_iter().map(only_if_absent).collect();
    let cancelled = transact(&stage.client, refused).await;
    assert_eq!(reasons(cancelled), "CONDITION_FAILED,CONDITION_FAILED");
    // A lost answer: what comes again is known by its identity.
    let before = stage.cluster.world.applications();
    for node in &stage.cluster.nodes {
        node.set_fault(Fault::CutAfterNext);
    }
    transact(&stage.client, in_one("three")).await.unwrap();
    assert_eq!(stage.cluster.world.applications(), before + 2);
    assert_eq!(stage.cluster.world.prepares(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_coordination_store_nothing_is_begun_over_several_shards() {
    let stage = stage().await;
    stage.way.cut();
    let refused = transact(&stage.client, vec![item(0, "x"), item(1, "x")]).await;
    assert_eq!(reason(refused), Reason::CoordinationUnavailable);
    let refused = transact_with(&stage.client, vec![item(0, "x")], "token", DEADLINE).await;
    assert_eq!(reason(refused), Reason::CoordinationUnavailable);
    assert_eq!(stage.cluster.world.prepares(), 0);
    stage.way.mend();
    transact(&stage.client, vec![item(0, "x"), item(1, "x")])
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_locked_is_refused_to_transactions_and_waited_for_by_puts() {
    let stage = stage().await;
    stage.hold(1, Phase::Decide);
    let (client, items) = (&stage.client, vec![item(0, "one"), item(1, "one")]);
    let one = transact_with(client, items, "", millis(1000));
    let others = async {
        eventually("it is prepared", async || stage.prepared() > 0).await;
        eventually("shard 0 has applied it", async || stage.prepared() == 1).await;
        let conflict = transact(client, vec![item(2, "two"), item(1, "two")]).await;
        assert_eq!(reasons(conflict), "NONE,TRANSACTION_CONFLICT");
        let put = client
            .put_within("people", &key(1), "two", millis(300))
            .await;
        assert_eq!(reason(put), Reason::TransactionConflict);
        // A plain get shows what is applied, a reading transaction waits.
        assert_eq!(client.get("people", &key(1)).await.unwrap(), None);
        let conflict = read_within(client, &[0, 1], millis(300)).await;
        assert_eq!(reason(conflict), Reason::TransactionConflict);
    };
    let (one, ()) = tokio::join!(one, others);
    let unknown = error(&one.unwrap_err());
    assert_eq!(unknown.reason, Reason::OutcomeUnknown);
    assert_eq!(unknown.metadata["transaction"], "committed");
    // That of the other one as well: the shard that has refused it is told, and nobody waits for that.
    assert_eq!(
        stage.ledger().await,
        2,
        "entries stay until all have applied"
    );
    let locked = key(1);
    let put = client.put("people", &locked, "three");
    let read = read(client, &[0, 1]);
    let (put, read, ()) = tokio::join!(put, read, async {
        tokio::time::sleep(millis(50)).await;
        stage.release(1, Phase::Decide);
    });
    put.unwrap();
    assert_eq!(read.unwrap()[0], Some("one".to_owned()));
    stage.at_rest().await;
    assert_eq!(
        client.get("people", &key(1)).await.unwrap(),
        Some("three".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_without_a_majority_is_named_and_nothing_is_left_behind() {
    let stage = stage().await;
    for node in &stage.cluster.nodes {
        node.set_fault(Fault::Refuse(Reason::NoQuorum));
    }
    let refused = transact(&stage.client, vec![item(0, "x"), item(1, "x")]).await;
    assert_eq!(reason(refused), Reason::NoQuorum);
    stage.at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timestamp_that_is_too_old_is_mended_without_the_caller() {
    let stage = stage().await;
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_millis() as u64;
    let later = Timestamp::from_millis(now + 5000);
    let world = &stage.cluster.world;
    world.set_timestamp(stage.table, 1, &key(1), later);
    transact(&stage.client, vec![item(0, "x"), item(1, "x")])
        .await
        .unwrap();
    // One that no clock of ours may follow is reported.
    let never = Timestamp::from_millis(now + 500_000);
    world.set_timestamp(stage.table, 1, &key(1), never);
    let cancelled = transact(&stage.client, vec![item(0, "x"), item(1, "x")]).await;
    assert_eq!(reasons(cancelled), "NONE,TIMESTAMP_TOO_OLD");
    stage.at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_token_takes_effect_once() {
    let stage = stage().await;
    let items = |value: &str| vec![item(0, value), item(1, value)];
    let client = &stage.client;
    transact_with(client, items("one"), "token", DEADLINE)
        .await
        .unwrap();
    client.put("people", &key(0), "later").await.unwrap();
    let other = stage.another().await;
    for client in [client, &other] {
        transact_with(client, items("one"), "token", DEADLINE)
            .await
            .unwrap();
        let mismatch = transact_with(client, items("two"), "token", DEADLINE).await;
        assert_eq!(reason(mismatch), Reason::IdempotencyMismatch);
    }
    let value = client.get("people", &key(0)).await.unwrap();
    assert_eq!(value, Some("later".to_owned()));
    stage.at_rest().await;
    assert_eq!(stage.tokens().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_cancelled_transaction_is_free() {
    let stage = stage().await;
    stage.client.put("people", &key(0), "old").await.unwrap();
    let items = || vec![only_if_absent(item(0, "new"))];
    let cancelled = transact_with(&stage.client, items(), "token", DEADLINE).await;
    assert_eq!(reasons(cancelled), "CONDITION_FAILED");
    stage.at_rest().await;
    assert_eq!(stage.tokens().await, 0);
    stage.client.delete("people", &key(0)).await.unwrap();
    transact_with(&stage.client, items(), "token", DEADLINE)
        .await
        .unwrap();
    assert_eq!(stage.tokens().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_with_a_token_that_is_on_its_way_waits_for_its_end() {
    let stage = stage().await;
    let other = stage.another().await;
    let items = || vec![item(0, "x"), item(1, "x")];
    stage.hold(1, Phase::Decide);
    let first = transact_with(&stage.client, items(), "token", millis(500)).await;
    assert_eq!(reason(first), Reason::OutcomeUnknown);
    let second = transact_with(&other, items(), "token", millis(300)).await;
    assert_eq!(reason(second), Reason::OutcomeUnknown);
    let third = transact_with(&other, items(), "token", DEADLINE);
    let (third, ()) = tokio::join!(third, async {
        tokio::time::sleep(millis(50)).await;
        stage.release(1, Phase::Decide);
    });
    third.unwrap();
    stage.at_rest().await;
    assert_eq!(stage.cluster.world.prepares(), 2);
}

/// The router falls between prepare and decision.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_fallen_router_has_prepared_is_cancelled_by_another() {
    let stage = stage().await;
    let other = stage.another().await;
    stage.hold(1, Phase::Prepare);
    let items = vec![item(0, "x"), item(1, "x")];
    let mut client = stage.client.key_value();
    let call = tokio::spawn(async move {
        let request = v1::TransactPutRequest {
            items,
            client_request_token: "token".to_owned(),
        };
        client
            .transact_put(within(DEADLINE, request))
            .await
            .map(drop)
    });
    eventually("it is prepared", async || stage.prepared() == 1).await;
    let Stage {
        cluster,
        client,
        table,
        way,
    } = stage;
    drop(client.router);
    drop(way);
    let store = cluster.store.session();
    eventually("the other has cancelled it", async || {
        list_transactions(&*store).await.unwrap().is_empty()
    })
    .await;
    assert_eq!(cluster.world.prepared(table, 0), 0);
    assert!(list_tokens(&*store).await.unwrap().is_empty());
    assert!(call.await.unwrap().is_err());
    cluster.world.hold(table, 1, Phase::Prepare, false);
    transact(&other, vec![item(0, "y"), item(1, "y")])
        .await
        .unwrap();
    let counters = other.status().await.unwrap().transactions.unwrap();
    assert!(counters.recovered >= 1);
}

/// The router's session ends between prepare and decision: it stops, and comes back as another.
#[tokio::test(flavor = "multi_thread")]
async fn a_router_without_its_session_stops_and_does_not_know() {
    let stage = stage().await;
    stage.hold(1, Phase::Prepare);
    let call = transact(&stage.client, vec![item(0, "x"), item(1, "x")]);
    let (unknown, ()) = tokio::join!(call, async {
        eventually("it is prepared", async || stage.prepared() == 1).await;
        stage.way.expire().await;
    });
    assert_eq!(reason(unknown), Reason::OutcomeUnknown);
    stage.release(1, Phase::Prepare);
    stage.at_rest().await;
    assert_eq!(read(&stage.client, &[0, 1]).await.unwrap(), [None, None]);
}

/// The router falls after the decision, one shard has applied it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_fallen_router_has_decided_is_driven_by_another() {
    let stage = stage().await;
    let other = stage.another().await;
    stage.hold(1, Phase::Decide);
    let items = vec![item(0, "x"), item(1, "x")];
    let unknown = transact_with(&stage.client, items, "", millis(500)).await;
    assert_eq!(reason(unknown), Reason::OutcomeUnknown);
    let Stage {
        cluster,
        client,
        table,
        ..
    } = stage;
    drop(client.router);
    cluster.world.hold(table, 1, Phase::Decide, false);
    let x = Some("x".to_owned());
    eventually("the other has applied it", async || {
        read(&other, &[0, 1])
            .await
            .is_ok_and(|values| values == vec![x.clone(); 2])
    })
    .await;
}

/// The ledger is restored from before the transaction, with intents on the shards.
#[tokio::test(flavor = "multi_thread")]
async fn an_intent_without_an_entry_is_decided_by_what_the_others_know() {
    for committed in [true, false] {
        let stage = stage().await;
        let phase = if committed {
            Phase::Decide
        } else {
            Phase::Prepare
        };
        stage.hold(1, phase);
        let items = vec![item(0, "x"), item(1, "x")];
        let call = transact_with(&stage.client, items, "", millis(2000));
        let store = stage.cluster.store.session();
        let (unknown, ()) = tokio::join!(call, async {
            eventually("it is on its way", async || {
                stage.cluster.world.prepares() == 1 + u64::from(committed) && stage.prepared() == 1
            })
            .await;
            for id in list_transactions(&*store).await.unwrap() {
                store
                    .delete(&Node::Transaction(id).path(), -1)
                    .await
                    .unwrap();
            }
        });
        assert_eq!(reason(unknown), Reason::OutcomeUnknown);
        stage.release(1, phase);
        stage.at_rest().await;
        let expected = committed.then(|| "x".to_owned());
        let values = read(&stage.client, &[0, 1]).await.unwrap();
        assert_eq!(values, vec![expected; 2]);
    }
}

/// A participant's table is deleted while its shard can't be told the decision.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_table_holds_no_transaction_up() {
    let stage = stage().await;
    let (other, elsewhere) = stage.another_table().await;
    let call = transact(&stage.client, vec![item(0, "x"), elsewhere]);
    let (done, ()) = tokio::join!(call, async {
        eventually("it is decided", async || {
            stage.cluster.world.prepares() == 2 && stage.prepared() == 0
        })
        .await;
        stage.client.drop_table("others").await.unwrap();
        // Held up no more, its replicas are gone.
        stage.cluster.world.hold(other.0, 0, Phase::Decide, false);
    });
    done.unwrap();
    eventually("the ledger is empty", async || stage.ledger().await == 0).await;
}

/// The record of a participant's table is lost, as in a coordination store that was restored; its replicas are there and do
/// not know the decision. That is no deletion: whoever took it for one would lose half of the transaction.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_not_listed_does_not_count_as_deleted() {
    let stage = stage().await;
    let (other, elsewhere) = stage.another_table().await;
    let items = vec![item(0, "x"), elsewhere];
    let call = transact_with(&stage.client, items, "", millis(2000));
    let store = stage.cluster.store.session();
    let paths = [Node::Table(other), Node::Name("others".parse().unwrap())].map(|n| n.path());
    let (unknown, lost) = tokio::join!(call, async {
        eventually("it is decided", async || {
            stage.cluster.world.prepares() == 2 && stage.prepared() == 0
        })
        .await;
        let mut lost = Vec::new();
        for path in &paths {
            lost.push(store.get(path).await.unwrap().unwrap().data);
            store.delete(path, -1).await.unwrap();
        }
        lost
    });
    let unknown = error(&unknown.unwrap_err());
    assert_eq!(unknown.reason, Reason::OutcomeUnknown);
    assert_eq!(unknown.metadata["transaction"], "committed");
    assert_eq!(stage.ledger().await, 1, "what is not applied stays");
    // An operator lists it again.
    for (path, data) in paths.iter().zip(lost) {
        let mode = coordination::CreateMode::Persistent;
        store.create(path, data, mode).await.unwrap();
    }
    stage.cluster.world.hold(other.0, 0, Phase::Decide, false);
    eventually("the ledger is empty", async || stage.ledger().await == 0).await;
    let found = stage.client.get("others", &key(0)).await.unwrap();
    assert_eq!(found, Some("x".to_owned()));
}

/// A shard without a leader does not keep the items of a transaction that can't happen any more locked on all others.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_does_not_wait_for_a_shard_that_says_nothing() {
    // Nobody else takes it up meanwhile.
    let stage = stage_with(|timing| timing.undecided_after = DEADLINE).await;
    stage.client.put("people", &key(0), "there").await.unwrap();
    stage.hold(1, Phase::Prepare);
    let items = vec![only_if_absent(item(0, "x")), item(1, "x"), item(2, "x")];
    // With the wait for all votes it would take 4 s, and longer than this.
    let refused = transact_with(&stage.client, items, "", millis(3000)).await;
    assert_eq!(reasons(refused), "CONDITION_FAILED,NONE,NONE");
    eventually("what was prepared is free", async || stage.prepared() == 0).await;
    stage.client.put("people", &key(2), "y").await.unwrap();
    stage.release(1, Phase::Prepare);
    stage.at_rest().await;
}

/// Who hangs up before the ledger has the entry asks somebody else with the token: nothing may come of the first attempt then.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_comes_of_a_transaction_whose_caller_hung_up_before_it_was_begun() {
    let stage = stage().await;
    stage.way.hold_writes(true);
    let before = stage.way.writes();
    let items = vec![item(0, "x"), item(1, "x")];
    let call = transact_with(&stage.client, items, "token", DEADLINE);
    let begun = eventually("its entry is on its way", async || {
        stage.way.writes() > before
    });
    tokio::select! {
        answer = call => panic!("{answer:?}"),
        () = begun => {}
    }
    // What follows on the connection is behind the end of that call.
    for _ in 0..20 {
        stage.client.get("people", "any").await.unwrap();
    }
    stage.way.hold_writes(false);
    // Its entry is made, cancelled and removed.
    eventually("it is over", async || stage.way.writes() >= before + 3).await;
    stage.at_rest().await;
    assert_eq!(stage.cluster.world.prepares(), 0);
    assert_eq!(stage.tokens().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_outside_of_the_limits_is_refused_before_anything_is_begun() {
    let stage = stage().await;
    let client = &stage.client;
    let field = |result: Result<(), Status>| {
        let error: Error = error(&result.unwrap_err());
        assert_eq!(error.reason, Reason::InvalidRequest, "{error}");
        error.metadata["field"].clone()
    };
    assert_eq!(field(transact(client, vec![]).await), "items");
    assert_eq!(
        field(transact(client, vec![item(0, "x"); 101]).await),
        "items"
    );
    assert_eq!(
        field(transact(client, vec![item(0, "x"), item(0, "y")]).await),
        "items"
    );
    let large = |number: usize| v1::TransactPutItem {
        key: key_of(0, number).into(),
        value: vec![0; MAX_VALUE_BYTES].into(),
        ..item(0, "")
    };
    let many = (0..=MAX_BATCH_BYTES / MAX_VALUE_BYTES).map(large).collect();
    assert_eq!(field(transact(client, many).await), "items");
    let long = "x".repeat(37);
    let refused = transact_with(client, vec![item(0, "x")], &long, DEADLINE).await;
    assert_eq!(field(refused), "client_request_token");
    let hasty = vec![item(0, "x"), item(1, "x")];
    let refused = transact_with(client, hasty, "", millis(80)).await;
    assert_eq!(field(refused), "deadline");
    let absent = v1::TransactPutItem {
        table: "absent".to_owned(),
        ..item(0, "x")
    };
    let refused = transact(client, vec![item(1, "x"), absent]).await;
    assert_eq!(reason(refused), Reason::TableNotFound);
    let twice = read(client, &[0, 0]).await;
    assert_eq!(reason(twice), Reason::InvalidRequest);
    assert_eq!(
        (stage.cluster.world.prepares(), stage.ledger().await),
        (0, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn puts_and_deletes_have_conditions() {
    let stage = stage().await;
    let client = &stage.client;
    let put = async |value: &str, kind: v1::condition::Kind| {
        let request = v1::PutRequest {
            table: "people".to_owned(),
            key: key(0).into(),
            value: value.to_owned().into(),
            condition: Some(v1::Condition { kind: Some(kind) }),
            request_id: None,
        };
        client.key_value().put(within(DEADLINE, request)).await
    };
    let absent = v1::condition::Kind::NotExists(v1::condition::NotExists {});
    let version = put("one", absent).await.unwrap().into_inner().version;
    assert_eq!(reason(put("two", absent).await), Reason::ConditionFailed);
    let is = v1::condition::Kind::VersionIs(version);
    put("two", is).await.unwrap();
    let request = v1::DeleteRequest {
        table: "people".to_owned(),
        key: key(0).into(),
        condition: Some(v1::Condition { kind: Some(is) }),
        request_id: None,
    };
    let refused = client.key_value().delete(within(DEADLINE, request)).await;
    assert_eq!(reason(refused), Reason::ConditionFailed);
    assert_eq!(
        client.get("people", &key(0)).await.unwrap(),
        Some("two".to_owned())
    );
}

/// Transfers between accounts on all shards, while sums are read.
#[tokio::test(flavor = "multi_thread")]
async fn money_is_neither_made_nor_lost() {
    let stage = stage().await;
    let client = Arc::new(stage.another().await);
    let opening = (0..SHARDS).map(|shard| item(shard, "100")).collect();
    transact(&client, opening).await.unwrap();
    let shards: Vec<u32> = (0..SHARDS).collect();
    let transfers = (0..4u32).map(|worker| {
        let client = Arc::clone(&client);
        tokio::spawn(async move {
            let mut done = 0;
            for n in 0..40 {
                let (from, to) = ((worker + n) % SHARDS, (worker + n + 1 + n % 3) % SHARDS);
                if transfer(&client, from, to).await {
                    done += 1;
                }
            }
            done
        })
    });
    let transfers: Vec<_> = transfers.collect();
    let mut sums = BTreeMap::new();
    while !transfers.iter().all(tokio::task::JoinHandle::is_finished) {
        if let Ok(values) = read(&client, &shards).await {
            let values = values.into_iter().flatten();
            let sum: i64 = values.map(|value| value.parse::<i64>().unwrap()).sum();
            *sums.entry(sum).or_insert(0) += 1;
        }
    }
    let mut done = 0;
    for transfer in transfers {
        done += transfer.await.unwrap();
    }
    assert!(done > 10, "{done} transfers have succeeded");
    assert_eq!(sums.into_keys().collect::<Vec<_>>(), [400]);
    stage.at_rest().await;
}

/// Moves 1 from one account to the other, if neither has changed since they were read.
async fn transfer(client: &Client, from: u32, to: u32) -> bool {
    let mut items = Vec::new();
    for (shard, change) in [(from, -1i64), (to, 1)] {
        let request = v1::GetRequest {
            table: "people".to_owned(),
            key: key(shard).into(),
            consistent: true,
        };
        let read = client.key_value().get(within(DEADLINE, request)).await;
        let read = read.unwrap().into_inner();
        let value: i64 = std::str::from_utf8(&read.value).unwrap().parse().unwrap();
        let kind = Some(v1::condition::Kind::VersionIs(read.version));
        items.push(v1::TransactPutItem {
            condition: Some(v1::Condition { kind }),
            ..item(shard, &(value + change).to_string())
        });
    }
    match transact(client, items).await {
        Ok(()) => true,
        Err(status) => {
            assert_eq!(error(&status).reason, Reason::TransactionCancelled);
            false
        }
    }
}
