//! Transactions on real processes: money that never gets lost, coordinators that die, keys that everybody wants, and
//! requests that break a rule.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api::Reason;
use client::{Client, Condition, Consistency, Item, TransactItem};
use coordination::SharedCoordination;
use coordination::tree::Node;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::support::{Cluster, ClusterOptions, Direct, Process, Scale, eventually, now_and_then};

const TABLES: [&str; 3] = ["checking", "savings", "loans"];
/// Accounts that one transaction can read together.
const GROUP: usize = 50;
const GROUPS: usize = 20;
/// What each account has at first.
const BEGINNING: u64 = 100;
const CLIENTS: usize = 8;
/// A transaction is finished so long after the death of its coordinator.
pub(crate) const IN_DOUBT: Duration = Duration::from_secs(15);

pub(crate) fn client_of(routers: &[String], first: usize) -> Client {
    let mut routers = routers.to_vec();
    let places = routers.len();
    routers.rotate_left(first % places);
    let options = client::Options {
        data_timeout: Duration::from_secs(3),
        ..client::Options::default()
    };
    Client::with_options(routers, &options).unwrap()
}

/// The accounts of a group, over all tables.
fn group(number: usize) -> Vec<(String, String)> {
    let of = |account: usize| {
        let table = TABLES[account % TABLES.len()].to_owned();
        (table, format!("account-{number}-{account}"))
    };
    (0..GROUP).map(of).collect()
}

fn balance(item: Option<&Item>) -> u64 {
    let item = item.expect("the account is there");
    std::str::from_utf8(&item.value).unwrap().parse().unwrap()
}

fn assert_sum(number: usize, found: &[Option<Item>]) {
    let sum: u64 = found.iter().map(|item| balance(item.as_ref())).sum();
    assert_eq!(sum, BEGINNING * GROUP as u64, "group {number}: {found:?}");
}

async fn open_accounts(client: &Client) {
    for number in 0..GROUPS {
        let items = group(number).into_iter();
        let items: Vec<_> = items
            .map(|(table, key)| TransactItem::new(table, key, BEGINNING.to_string()))
            .collect();
        let within = Duration::from_secs(30);
        eventually("accounts are opened", within, || {
            client.transact_put(items.clone(), None)
        })
        .await;
    }
}

/// What a teller has seen.
#[derive(Debug, Default)]
struct Told {
    transferred: usize,
    audited: usize,
    refused: BTreeMap<String, usize>,
    unknown: usize,
}

/// Transfers and audits until the end.
async fn tell(client: Client, mut random: StdRng, end: Instant) -> Told {
    let mut told = Told::default();
    let mut ticks = now_and_then();
    while Instant::now() < end {
        let number = random.random_range(0..GROUPS);
        let accounts = group(number);
        if random.random_range(0..5) == 0 {
            if let Ok(found) = client.transact_get(accounts).await {
                assert_sum(number, &found);
                told.audited += 1;
            }
            continue;
        }
        let from = random.random_range(0..GROUP);
        let to = (from + random.random_range(1..GROUP)) % GROUP;
        let two = [accounts[from].clone(), accounts[to].clone()];
        let Ok(found) = client.transact_get(two.clone()).await else {
            ticks.tick().await;
            continue;
        };
        let (has, receives) = (balance(found[0].as_ref()), balance(found[1].as_ref()));
        let amount = random.random_range(0..=has.min(20));
        let after = [has - amount, receives + amount];
        let items = two.into_iter().zip(&found).zip(after);
        let items = items.map(|(((table, key), item), balance)| {
            let version = item.as_ref().unwrap().version;
            TransactItem::new(table, key, balance.to_string()).on(Condition::VersionIs(version))
        });
        match client.transact_put(items.collect::<Vec<_>>(), None).await {
            Ok(()) => told.transferred += 1,
            Err(error) if error.certainly_not_applied() => {
                let reason = error.reason().map_or("NONE", Reason::as_str);
                *told.refused.entry(reason.to_owned()).or_default() += 1;
                ticks.tick().await;
            }
            Err(_) => told.unknown += 1,
        }
    }
    told
}

/// Kills or pauses one after the other: a router, a data node, ZooKeeper's leader. All of them run in the end.
async fn kill_in_turn(cluster: &mut Cluster, mut random: StdRng, end: Instant) {
    let mut turn = 0;
    while Instant::now() < end {
        sleep(Duration::from_millis(random.random_range(300..1500))).await;
        match turn % 3 {
            0 => kill_one(&mut cluster.routers, &mut random).await,
            1 => kill_one(&mut cluster.nodes, &mut random).await,
            _ => {
                cluster.zookeeper.kill_leader().await;
                sleep(Duration::from_millis(random.random_range(0..2000))).await;
                cluster.zookeeper.start_again().await;
            }
        }
        turn += 1;
    }
}

async fn kill_one(processes: &mut [Process], random: &mut StdRng) {
    let victim = random.random_range(0..processes.len());
    processes[victim].kill();
    sleep(Duration::from_millis(random.random_range(0..3000))).await;
    processes[victim].start().await;
}

/// Transactions in the ledger.
pub(crate) async fn ledger(store: &SharedCoordination) -> Vec<String> {
    let mut found = Vec::new();
    for bucket in Node::parents().filter(|node| matches!(node, Node::Bucket(_))) {
        let entries = store.children(&bucket.path()).await.unwrap();
        found.extend(entries.unwrap_or_default());
    }
    found
}

/// Nothing of any transaction is left: in the ledger, or on a data node.
pub(crate) async fn assert_all_finished(cluster: &Cluster, within: Duration) {
    let store = cluster.session().await;
    eventually("every transaction is finished", within, || async {
        let left = ledger(&store).await;
        if !left.is_empty() {
            return Err(format!("in the ledger: {left:?}"));
        }
        for node in cluster.nodes.iter().filter(|node| node.is_running()) {
            let undecided = Direct::new(node.address()).undecided().await;
            if undecided != 0 {
                return Err(format!("{} has {undecided} prepared", node.name()));
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn money_is_never_lost_while_everything_dies_in_turn() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut fork = || StdRng::seed_from_u64(random.random());
    let options = ClusterOptions::new(3, 3).ensemble();
    let mut cluster = options.session_timeout("3s").start().await;
    for table in TABLES {
        cluster.tables(0).create(table, 4, 3).await.unwrap();
    }
    let routers = cluster.router_addresses();
    open_accounts(&client_of(&routers, 0)).await;

    let end = Instant::now() + Scale::from_environment().seconds(60, 300);
    let mut tellers = JoinSet::new();
    for number in 0..CLIENTS {
        tellers.spawn(tell(client_of(&routers, number), fork(), end));
    }
    kill_in_turn(&mut cluster, fork(), end).await;
    let mut transferred = 0;
    for told in tellers.join_all().await {
        println!("{told:?}");
        assert!(told.transferred > 10, "{told:?}");
        assert!(told.audited > 0, "{told:?}");
        transferred += told.transferred;
    }
    println!("{transferred} transfers");
    assert_all_finished(&cluster, IN_DOUBT).await;
    let client = client_of(&routers, 0);
    for number in 0..GROUPS {
        let found = client.transact_get(group(number)).await.unwrap();
        assert_sum(number, &found);
    }
    for table in TABLES {
        cluster.assert_verified(table).await;
    }
}

/// Routers die in the middle of transactions, nobody calls anybody, and all is finished in time.
#[tokio::test(flavor = "multi_thread")]
async fn transactions_of_a_dead_coordinator_are_finished_by_others() {
    let mut cluster = ClusterOptions::new(3, 2).start().await;
    cluster.tables(0).create("people", 6, 3).await.unwrap();
    let store = cluster.session().await;
    let survivor = client_of(&cluster.router_addresses()[1..], 0);
    for round in 0..Scale::from_environment().count(4, 20) {
        let doomed = client_of(&cluster.router_addresses()[..1], 0);
        let stop = Arc::new(AtomicBool::new(false));
        let mut writers = JoinSet::new();
        for writer in 0..8 {
            let (doomed, stop) = (doomed.clone(), stop.clone());
            writers.spawn(async move {
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let items = (0..4).map(|item| {
                        let key = format!("key-{writer}-{item}");
                        TransactItem::new("people", key, format!("{round}-{n}"))
                    });
                    let _ = doomed.transact_put(items.collect::<Vec<_>>(), None).await;
                }
            });
        }
        let busy = Duration::from_secs(20);
        eventually("transactions are under way", busy, || async {
            let found = ledger(&store).await;
            (!found.is_empty()).then_some(()).ok_or("none")
        })
        .await;
        cluster.routers[0].kill();
        let died = Instant::now();
        stop.store(true, Ordering::Relaxed);
        assert_all_finished(&cluster, IN_DOUBT).await;
        println!(
            "round {round}: all finished {:?} after the death",
            died.elapsed()
        );
        writers.shutdown().await;
        // The four keys of a writer are always written together, so they say the same.
        for writer in 0..8 {
            let keys = (0..4).map(|item| ("people", format!("key-{writer}-{item}")));
            let found = survivor
                .transact_get(keys.collect::<Vec<_>>())
                .await
                .unwrap();
            let values: Vec<_> = found
                .iter()
                .map(|item| item.as_ref().map(|i| &i.value))
                .collect();
            assert!(values.windows(2).all(|two| two[0] == two[1]), "{values:?}");
        }
        cluster.routers[0].start().await;
    }
}

/// Ten keys that 32 clients want: everybody gets a turn, and who only reads never fails because of them.
#[tokio::test(flavor = "multi_thread")]
async fn under_contention_everybody_commits_and_plain_reads_never_fail() {
    let cluster = ClusterOptions::new(3, 1).alone().start().await;
    cluster.tables(0).create("hot", 4, 3).await.unwrap();
    let routers = cluster.router_addresses();
    let stretch = Duration::from_secs(10);
    let stretches = Scale::from_environment().count(2, 12);
    let begin = Instant::now();
    let end = begin + stretch * stretches as u32;
    let mut clients = JoinSet::new();
    for number in 0..32 {
        let client = client_of(&routers, 0);
        clients.spawn(async move {
            let mut random = StdRng::seed_from_u64(number);
            let (mut commits, mut cancelled) = (vec![0_usize; stretches + 1], 0_usize);
            let mut pause = 1;
            while Instant::now() < end {
                let first = random.random_range(0..10);
                let second = (first + random.random_range(1..10)) % 10;
                let value = format!("{number}-{}", commits.iter().sum::<usize>());
                let items = [first, second]
                    .map(|key| TransactItem::new("hot", format!("key-{key}"), value.clone()));
                match client.transact_put(items, None).await {
                    Ok(()) => {
                        let place = begin.elapsed().as_secs() / stretch.as_secs();
                        commits[place as usize] += 1;
                        pause = 1;
                    }
                    Err(error) => {
                        assert!(error.certainly_not_applied(), "{error}");
                        cancelled += 1;
                        pause = (pause * 2).min(64);
                        let millis = random.random_range(0..=pause);
                        sleep(Duration::from_millis(millis)).await;
                    }
                }
            }
            (number, commits, cancelled)
        });
    }
    let reader = client_of(&routers, 0);
    let mut reads = 0;
    while Instant::now() < end {
        for key in 0..10 {
            let consistency = [Consistency::Strong, Consistency::Eventual][reads % 2];
            let read = reader.get("hot", format!("key-{key}"), consistency).await;
            assert!(read.is_ok(), "{read:?}");
            reads += 1;
        }
    }
    let (mut all_commits, mut all_cancelled) = (0, 0);
    for (number, commits, cancelled) in clients.join_all().await {
        for (place, count) in commits.iter().enumerate().take(stretches) {
            assert!(
                *count > 0,
                "client {number} got no turn in stretch {place}: {commits:?}"
            );
        }
        all_commits += commits.iter().sum::<usize>();
        all_cancelled += cancelled;
    }
    println!("{all_commits} commits, {all_cancelled} cancelled, {reads} reads, none failed");
}

mod requests {
    //! What is refused, and with which words.

    use super::*;
    use crate::support::Shards;
    use api::Error;

    async fn cluster() -> (Cluster, Client) {
        let cluster = ClusterOptions::new(3, 1).start().await;
        cluster.tables(0).create("people", 4, 3).await.unwrap();
        let client = client_of(&cluster.router_addresses(), 0);
        (cluster, client)
    }

    /// Through the generated client, so that nothing is checked before it is sent.
    async fn put(
        cluster: &Cluster,
        items: Vec<(&str, Vec<u8>, Vec<u8>)>,
        token: &str,
    ) -> Result<(), Error> {
        let items = items
            .into_iter()
            .map(|(table, key, value)| api::v1::TransactPutItem {
                table: table.to_owned(),
                key: key.into(),
                value: value.into(),
                condition: None,
            });
        let request = api::v1::TransactPutRequest {
            items: items.collect(),
            client_request_token: token.to_owned(),
        };
        let answer = cluster.kv(0).raw().transact_put(request).await;
        answer
            .map(drop)
            .map_err(|status| Error::try_from(&status).unwrap())
    }

    fn key(number: usize) -> Vec<u8> {
        format!("key-{number}").into_bytes()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn transactions_outside_the_limits_are_refused_and_change_nothing() {
        let (cluster, client) = cluster().await;
        let items = |count: usize, bytes: usize| -> Vec<_> {
            (0..count)
                .map(|n| ("people", key(n), vec![b'v'; bytes]))
                .collect()
        };
        put(&cluster, items(100, 1), "").await.unwrap();
        put(&cluster, items(10, 400 << 10), "").await.unwrap();
        let before = client.transact_get([("people", "key-0")]).await.unwrap();
        let mut twice = items(2, 1);
        twice[1].1 = twice[0].1.clone();
        let cases = [
            ("no items", items(0, 1), "", "items"),
            ("101 items", items(101, 1), "", "items"),
            ("more than 4 MiB", items(11, 400 << 10), "", "items"),
            ("a key twice", twice, "", "items"),
            (
                "an empty key",
                vec![("people", Vec::new(), Vec::new())],
                "",
                "key",
            ),
            ("a large value", items(1, (400 << 10) + 1), "", "value"),
            (
                "a long token",
                items(2, 1),
                &"t".repeat(37)[..],
                "client_request_token",
            ),
        ];
        for (what, items, token, field) in cases {
            let error = put(&cluster, items, token).await.unwrap_err();
            assert_eq!(error.reason, Reason::InvalidRequest, "{what}: {error}");
            let named = error.metadata.get("field").map(String::as_str);
            assert_eq!(named, Some(field), "{what}: {error}");
        }
        let mut missing = items(2, 1);
        missing[1].0 = "nobody";
        let error = put(&cluster, missing, "").await.unwrap_err();
        assert_eq!(error.reason, Reason::TableNotFound, "{error}");
        let after = client.transact_get([("people", "key-0")]).await.unwrap();
        assert_eq!(before, after, "nothing was half done");
        assert_all_finished(&cluster, IN_DOUBT).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_cancelled_transaction_tells_what_there_was_against_each_item() {
        let (cluster, client) = cluster().await;
        client.put("people", "bob", "there").await.unwrap();
        let items = [
            TransactItem::new("people", "alice", "a"),
            TransactItem::new("people", "bob", "b").on(Condition::NotExists),
            TransactItem::new("people", "carol", "c").on(Condition::Exists),
            TransactItem::new("people", "dave", "d").on(Condition::VersionIs(7)),
        ];
        let error = client.transact_put(items, None).await.unwrap_err();
        assert_eq!(
            error.reason(),
            Some(Reason::TransactionCancelled),
            "{error}"
        );
        let reasons = error.cancellation_reasons().unwrap();
        let failed = Some(client::CancellationReason::ConditionFailed);
        assert_eq!(reasons, [None, failed, failed, failed]);
        for key in ["alice", "carol", "dave"] {
            let read = client
                .get("people", key, Consistency::Strong)
                .await
                .unwrap();
            assert_eq!(read, None, "{key}");
        }
        assert_all_finished(&cluster, IN_DOUBT).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_token_takes_effect_once_through_whichever_router() {
        let mut cluster = ClusterOptions::new(3, 2).start().await;
        cluster.tables(0).create("people", 4, 3).await.unwrap();
        let routers = cluster.router_addresses();
        let (one, other) = (client_of(&routers, 0), client_of(&routers, 1));
        let items = |value: &str| {
            let value = value.to_owned();
            ["alice", "bob", "carol"].map(|key| TransactItem::new("people", key, value.clone()))
        };
        one.transact_put(items("first"), Some("token"))
            .await
            .unwrap();
        other.put("people", "alice", "later").await.unwrap();
        for client in [&one, &other] {
            client
                .transact_put(items("first"), Some("token"))
                .await
                .unwrap();
            let error = client
                .transact_put(items("second"), Some("token"))
                .await
                .unwrap_err();
            assert_eq!(error.reason(), Some(Reason::IdempotencyMismatch), "{error}");
        }
        cluster.routers[0].kill();
        cluster.routers[0].start().await;
        other
            .transact_put(items("first"), Some("token"))
            .await
            .unwrap();
        let alice = other
            .get("people", "alice", Consistency::Strong)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            &alice.value[..],
            b"later",
            "the transaction took effect once"
        );
        // A cancelled one gives its token back.
        let impossible = [TransactItem::new("people", "alice", "x").on(Condition::NotExists)];
        let error = one
            .transact_put(impossible, Some("other"))
            .await
            .unwrap_err();
        assert_eq!(
            error.reason(),
            Some(Reason::TransactionCancelled),
            "{error}"
        );
        one.transact_put(items("third"), Some("other"))
            .await
            .unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_zookeeper_transactions_over_shards_wait_and_those_in_one_shard_go_on() {
        let (mut cluster, client) = cluster().await;
        let described = cluster.tables(0).describe("people", false).await.unwrap();
        let shards = described.all();
        let in_one = [0, 1].map(|n| described.key_in(shards[0], n));
        let over_two = [
            described.key_in(shards[0], 2),
            described.key_in(shards[1], 3),
        ];
        cluster.zookeeper.kill();
        let items = |keys: &[String; 2]| {
            keys.clone()
                .map(|key| TransactItem::new("people", key, "v"))
        };
        let error = eventually(
            "coordination is missed",
            Duration::from_secs(20),
            || async {
                let put = client.transact_put(items(&over_two), None).await;
                put.err().ok_or("done all the same")
            },
        )
        .await;
        assert_eq!(
            error.reason(),
            Some(Reason::CoordinationUnavailable),
            "{error}"
        );
        client.transact_put(items(&in_one), None).await.unwrap();
        let keys = in_one.iter().map(|key| ("people", key.clone()));
        let found = client.transact_get(keys.collect::<Vec<_>>()).await.unwrap();
        assert!(found.iter().all(Option::is_some), "{found:?}");
        cluster.zookeeper.start_again().await;
        eventually("transactions go on", Duration::from_secs(30), || {
            client.transact_put(items(&over_two), None)
        })
        .await;
    }
}
