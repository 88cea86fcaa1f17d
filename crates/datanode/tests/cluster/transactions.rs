//! Transactions as data nodes see them, over the wire and over restarts.

use std::time::{SystemTime, UNIX_EPOCH};

use api::internal::operation::Kind as Ask;
use api::internal::operation_result::Kind;
use api::internal::transaction_state_on_shard::State;
use api::internal::{
    Decide, Inquire, Participant, Prepare, Prepared, TransactRead, TransactReadKey, TransactionItem,
};
use bytes::Bytes;
use model::{TableId, Timestamp};

use super::support::{Cluster, get, put};

const ID: Bytes = Bytes::from_static(&[7; 16]);

fn timestamp() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    // Above every write that was confirmed before.
    Timestamp::from_millis(now.as_millis() as u64 + 1000).0
}

fn prepare(timestamp: u64, table: TableId, key: &str) -> Ask {
    let key = Bytes::copy_from_slice(key.as_bytes());
    Ask::Prepare(Prepare {
        transaction: ID,
        timestamp,
        items: vec![TransactionItem {
            key: key.clone(),
            value: Bytes::from_static(b"new"),
            condition: None,
        }],
        participants: vec![Participant {
            table: table.0,
            key,
        }],
    })
}

fn decide(timestamp: u64, commit: bool) -> Ask {
    Ask::Decide(Decide {
        transaction: ID,
        timestamp,
        commit,
    })
}

fn read(key: &str) -> Ask {
    let key = Bytes::copy_from_slice(key.as_bytes());
    Ask::TransactRead(TransactRead {
        keys: vec![TransactReadKey { key, known_lsn: 0 }],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_transaction_outlives_all_nodes_and_is_listed_until_it_is_decided() {
    for commit in [true, false] {
        let mut cluster = Cluster::start(3).await;
        let table = cluster.create_table("people", 1, 3).await;
        let (id, shard) = (table.table.id, table.shard_of("a"));
        let node = cluster.nodes()[0];
        cluster.operate(node, shard, put("a", "old")).await;
        let timestamp = timestamp();
        // Whoever leads: the others hand it on, and it is the same prepare each time.
        for node in cluster.nodes() {
            let prepared = cluster
                .operate(node, shard, prepare(timestamp, id, "a"))
                .await;
            assert_eq!(prepared, Kind::Prepared(Prepared {}));
        }
        cluster.restart().await;
        cluster.wait_for_leaders(&table).await;
        let undecided = cluster.wait_for_undecided(1).await.remove(0);
        assert_eq!(
            (undecided.transaction, undecided.timestamp),
            (ID, timestamp)
        );
        assert_eq!(undecided.participants[0].key, "a");
        let node = cluster.nodes()[1];
        let locked = cluster.operate(node, shard, read("a")).await;
        assert!(
            matches!(&locked, Kind::Items(items) if items.items[0].locked),
            "{locked:?}"
        );
        let decided = cluster
            .operate(node, shard, decide(timestamp, commit))
            .await;
        assert!(matches!(decided, Kind::Applied(_)), "{decided:?}");
        cluster.wait_for_undecided(0).await;
        for node in cluster.nodes() {
            let found = cluster.operate(node, shard, get("a", true)).await;
            let expected = if commit { "new" } else { "old" };
            assert!(
                matches!(&found, Kind::Found(found) if found.value == expected),
                "{found:?}"
            );
            let inquiry = Ask::Inquire(Inquire {
                transaction: ID,
                timestamp,
                keys: Vec::new(),
            });
            let state = cluster.operate(node, shard, inquiry).await;
            let expected = if commit {
                State::Committed
            } else {
                State::Cancelled
            };
            assert!(
                matches!(state, Kind::State(state) if state.state() == expected),
                "{state:?}"
            );
        }
    }
}
