//! The ledger and the joined writes, over both stores.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use coordination::embedded::Embedded;
use coordination::records::{ContentsHash, EntryRecord, EntryState, TokenRecord};
use coordination::registry::{
    Beginning, Decided, begin_transaction, create_cancelled, decide_transaction,
    finish_transaction, initialise, list_tokens, list_transactions, read_token, read_transaction,
    read_transactions, sweep_tokens,
};
use coordination::testing::ZooKeeperServer;
use coordination::tree::{Node, TokenHash};
use coordination::zookeeper::{ConnectOptions, ZooKeeper};
use coordination::{
    Coordination, CreateMode, Error, Joined, Operation, Outcome, SessionState, SharedCoordination,
    Watch, Znode,
};
use futures::future::join_all;
use model::limits::TOKEN_MILLIS;
use model::{Decision, Key, Participant, RouterId, TableId, Timestamp, TransactionId};
use tokio::sync::{Semaphore, watch};

/// Runs a test against both kinds of stores, each initialised.
async fn on_both<F: Future<Output = ()>>(test: impl Fn(SharedCoordination) -> F) {
    let directory = tempfile::tempdir().unwrap();
    let embedded = Embedded::open(directory.path()).unwrap().session();
    initialise(&*embedded).await.unwrap();
    test(embedded).await;
    let server = ZooKeeperServer::start().await;
    let options = ConnectOptions::new(format!("{}/ledger", server.hosts()));
    let zookeeper = Arc::new(ZooKeeper::connect(options).await.unwrap());
    initialise(&*zookeeper).await.unwrap();
    test(zookeeper).await;
}

fn entry(token: Option<TokenHash>) -> EntryRecord {
    EntryRecord {
        state: EntryState::Pending,
        router: RouterId(5),
        started_millis: 1000,
        timestamp: None,
        token,
        participants: vec![Participant {
            table: TableId(7),
            key: Key::new(Bytes::from_static(b"k")).unwrap(),
        }],
    }
}

fn token_of(transaction: u128) -> TokenRecord {
    TokenRecord {
        transaction: TransactionId(transaction),
        contents: ContentsHash(1),
        started_millis: 1000,
        ended_millis: None,
    }
}

async fn begin(store: &dyn Coordination, id: u128, token: Option<u128>) -> Beginning {
    let entry = entry(token.map(TokenHash));
    let record = token_of(id);
    let begun = begin_transaction(store, TransactionId(id), &entry, Some(&record));
    begun.await.unwrap()
}

async fn decide(store: &dyn Coordination, id: u128, token: Option<u128>, to: Decision) -> Decided {
    let entry = entry(token.map(TokenHash));
    let decided = decide_transaction(store, TransactionId(id), &entry, to, Some(Timestamp(9)));
    decided.await.unwrap()
}

async fn finish(store: &dyn Coordination, id: u128, now: u64) {
    let id = TransactionId(id);
    let entry = read_transaction(store, id).await.unwrap().unwrap();
    finish_transaction(store, id, &entry.value, now)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_transaction_is_decided_once_and_its_token_stays() {
    on_both(|store| async move {
        let store = &*store;
        assert_eq!(begin(store, 1, Some(7)).await, Beginning::Begun);
        assert_eq!(begin(store, 2, Some(7)).await, Beginning::TokenTaken);
        let committed = decide(store, 1, Some(7), Decision::Committed).await;
        assert_eq!(committed, Decided::Written);
        let late = decide(store, 1, Some(7), Decision::Cancelled).await;
        assert_eq!(late, Decided::Otherwise(Decision::Committed));
        let id = TransactionId(1);
        let read = read_transaction(store, id).await.unwrap().unwrap();
        assert_eq!(
            (read.version, read.value.timestamp),
            (1, Some(Timestamp(9)))
        );
        assert_eq!(list_transactions(store).await.unwrap(), [id].into());
        finish(store, 1, 5000).await;
        finish_transaction(store, id, &read.value, 6000)
            .await
            .unwrap();
        assert_eq!(read_transaction(store, id).await, Ok(None));
        let token = read_token(store, TokenHash(7)).await.unwrap().unwrap();
        assert_eq!(token.value.ended_millis, Some(5000));
        let gone = decide(store, 1, Some(7), Decision::Committed).await;
        assert_eq!(gone, Decided::Gone);
    })
    .await;
}

#[tokio::test]
async fn a_cancellation_frees_its_token() {
    on_both(|store| async move {
        let store = &*store;
        assert_eq!(begin(store, 1, Some(7)).await, Beginning::Begun);
        let cancelled = decide(store, 1, Some(7), Decision::Cancelled).await;
        assert_eq!(cancelled, Decided::Written);
        assert_eq!(list_tokens(store).await.unwrap(), [].into());
        // The next one with the token is not disturbed by what comes late for the first.
        assert_eq!(begin(store, 2, Some(7)).await, Beginning::Begun);
        decide(store, 1, Some(7), Decision::Cancelled).await;
        finish(store, 1, 5000).await;
        let token = read_token(store, TokenHash(7)).await.unwrap().unwrap();
        assert_eq!(token.value, token_of(2));
    })
    .await;
}

#[tokio::test]
async fn a_missing_entry_is_made_cancelled_so_that_no_late_decision_finds_it_pending() {
    on_both(|store| async move {
        let store = &*store;
        let made = create_cancelled(store, TransactionId(1), &entry(None)).await;
        assert_eq!(made, Ok(Decided::Written));
        let late = decide(store, 1, None, Decision::Committed).await;
        assert_eq!(late, Decided::Otherwise(Decision::Cancelled));
        let read = read_transaction(store, TransactionId(1)).await.unwrap();
        assert_eq!(read.unwrap().version, 1);
        finish(store, 1, 0).await;
        // One that is there is decided, or was.
        begin(store, 2, None).await;
        let made = create_cancelled(store, TransactionId(2), &entry(None)).await;
        assert_eq!(made, Ok(Decided::Written));
        begin(store, 3, None).await;
        decide(store, 3, None, Decision::Committed).await;
        let made = create_cancelled(store, TransactionId(3), &entry(None)).await;
        assert_eq!(made, Ok(Decided::Otherwise(Decision::Committed)));
        let both = [2, 3].map(TransactionId);
        let entries = read_transactions(store, both.into()).await.unwrap();
        let states: Vec<_> = entries.iter().map(|(_, entry)| entry.value.state).collect();
        assert_eq!(states, [EntryState::Cancelled, EntryState::Committed]);
    })
    .await;
}

#[tokio::test]
async fn tokens_go_when_their_time_is_up_and_not_before() {
    on_both(|store| async move {
        let store = &*store;
        for (id, token) in [(1, 7), (2, 8)] {
            begin(store, id, Some(token)).await;
            decide(store, id, Some(token), Decision::Committed).await;
        }
        finish(store, 1, 5000).await;
        // A token that a restored store has without its transaction.
        let orphan = Node::Token(TokenHash(9)).path();
        let record = coordination::records::Record::encode(&token_of(3));
        store
            .create(&orphan, record, CreateMode::Persistent)
            .await
            .unwrap();
        let left = sweep_tokens(store, &[], 999 + TOKEN_MILLIS).await;
        assert_eq!(left, Ok(3));
        // The second has not ended, however old it is.
        let left = sweep_tokens(store, &[], 5000 + TOKEN_MILLIS).await;
        assert_eq!(left, Ok(1));
        assert_eq!(list_tokens(store).await.unwrap(), [TokenHash(8)].into());
        // Who is not the controller any more sweeps nothing.
        finish(store, 2, 5000).await;
        let deposed = [Operation::check("/controller/gone", -1)];
        assert!(sweep_tokens(store, &deposed, u64::MAX).await.is_err());
        assert_eq!(list_tokens(store).await.unwrap().len(), 1);
    })
    .await;
}

/// A router whose clock is slow, or was set back, finishes what another one has begun.
#[tokio::test]
async fn a_slow_clock_does_not_shorten_the_life_of_a_token() {
    on_both(|store| async move {
        let store = &*store;
        for (id, token) in [(1, 7), (2, 8)] {
            begin(store, id, Some(token)).await;
            decide(store, id, Some(token), Decision::Committed).await;
        }
        let id = TransactionId(1);
        let entry = read_transaction(store, id).await.unwrap().unwrap().value;
        let entry = EntryRecord {
            timestamp: Some(Timestamp::from_millis(70_000)),
            ..entry
        };
        finish_transaction(store, id, &entry, 0).await.unwrap();
        // Without a timestamp in its entry the token says when it began.
        finish(store, 2, 0).await;
        let ends = [7, 8].map(|token| async move {
            let record = read_token(store, TokenHash(token)).await.unwrap();
            record.unwrap().value.ended_millis
        });
        let ends = futures::future::join_all(ends).await;
        assert_eq!(ends, [Some(70_000), Some(1000)]);
        let left = sweep_tokens(store, &[], 69_999 + TOKEN_MILLIS).await;
        assert_eq!(left, Ok(1));
    })
    .await;
}

/// Counts the writes that reach a store, and lets none through while it is closed.
struct Gate {
    store: SharedCoordination,
    open: Semaphore,
    writes: AtomicU64,
}

impl Gate {
    fn closed(store: &SharedCoordination) -> Arc<Self> {
        Arc::new(Self {
            store: Arc::clone(store),
            open: Semaphore::new(0),
            writes: AtomicU64::new(0),
        })
    }

    fn open(&self) {
        self.open.add_permits(1000);
    }

    fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Coordination for Gate {
    async fn get(&self, path: &str) -> Result<Option<Znode>, Error> {
        self.store.get(path).await
    }

    async fn children(&self, path: &str) -> Result<Option<Vec<String>>, Error> {
        self.store.children(path).await
    }

    async fn multi(&self, operations: Vec<Operation>) -> Result<Vec<Outcome>, Error> {
        let open = self.open.acquire().await;
        drop(open.unwrap());
        self.writes.fetch_add(1, Ordering::SeqCst);
        self.store.multi(operations).await
    }

    async fn sync(&self, path: &str) -> Result<(), Error> {
        self.store.sync(path).await
    }

    fn session(&self) -> watch::Receiver<SessionState> {
        self.store.session()
    }

    async fn watch(&self, root: &str) -> Result<Watch, Error> {
        self.store.watch(root).await
    }

    async fn close(&self) {
        self.store.close().await;
    }
}

#[tokio::test]
async fn concurrent_writes_are_joined_and_each_gets_its_own_outcome() {
    on_both(|store| async move {
        // One of them will be refused: its token is taken.
        begin(&*store, 1000, Some(1000)).await;
        let gate = Gate::closed(&store);
        let joined = Joined::new(gate.clone());
        let beginnings = (0..200).map(|id| {
            let token = (id == 150).then_some(1000);
            let joined = &joined;
            async move { begin(joined, id, token).await }
        });
        let all = tokio::join!(join_all(beginnings), async {
            // All of them have asked when this runs.
            tokio::task::yield_now().await;
            gate.open();
        });
        for (id, beginning) in all.0.into_iter().enumerate() {
            let expected = if id == 150 {
                Beginning::TokenTaken
            } else {
                Beginning::Begun
            };
            assert_eq!(beginning, expected, "{id}");
        }
        assert_eq!(list_transactions(&*store).await.unwrap().len(), 200);
        assert!(gate.writes() < 30, "{} writes for 200", gate.writes());

        let decisions = (0..200).map(|id| {
            let joined = &joined;
            // Half of them are too late.
            async move { decide(joined, id, None, Decision::Committed).await }
        });
        for id in (0..200).step_by(2) {
            decide(&*store, id, None, Decision::Cancelled).await;
        }
        for (id, decided) in join_all(decisions).await.into_iter().enumerate() {
            let expected = match (id, id % 2) {
                (150, _) => Decided::Gone,
                (_, 0) => Decided::Otherwise(Decision::Cancelled),
                _ => Decided::Written,
            };
            assert_eq!(decided, expected, "{id}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_joined_stays_below_what_the_store_takes() {
    on_both(|store| async move {
        let gate = Gate::closed(&store);
        let joined = Joined::new(gate.clone());
        let large = Bytes::from(vec![b'x'; 200 * 1024]);
        let writes = (0..12).map(|id| {
            let path = format!("/transactions/00/{id}");
            let create = Operation::create(path, large.clone(), CreateMode::Persistent);
            joined.multi(vec![create])
        });
        let all = tokio::join!(join_all(writes), async {
            tokio::task::yield_now().await;
            gate.open();
        });
        for outcome in all.0 {
            assert!(matches!(outcome.unwrap()[..], [Outcome::Created { .. }]));
        }
        assert!(gate.writes() < 12);
        // One that is too large by itself hears of it; the one beside it does not.
        let huge = Bytes::from(vec![b'x'; 1024 * 1024]);
        let create = |name: &str, data| {
            let path = format!("/transactions/00/{name}");
            joined.multi(vec![Operation::create(path, data, CreateMode::Persistent)])
        };
        let (small, huge) = tokio::join!(create("small", Bytes::new()), create("huge", huge));
        assert!(small.is_ok());
        assert!(matches!(huge, Err(Error::TooLarge { .. })));
    })
    .await;
}

#[tokio::test]
async fn who_joined_and_is_refused_gets_the_error_of_its_own_operation() {
    on_both(|store| async move {
        let joined = Joined::new(store);
        let refused = joined.multi(vec![
            Operation::create("/transactions/00/a", "", CreateMode::Persistent),
            Operation::set("/transactions/00/absent", "", 3),
        ]);
        let others = (0..20).map(|id| {
            let path = format!("/transactions/01/{id}");
            joined.multi(vec![Operation::create(path, "", CreateMode::Persistent)])
        });
        let (refused, others) = tokio::join!(refused, join_all(others));
        let error = refused.unwrap_err();
        assert_eq!(error.operation(), Some(1), "{error}");
        assert!(others.iter().all(Result::is_ok));
    })
    .await;
}
