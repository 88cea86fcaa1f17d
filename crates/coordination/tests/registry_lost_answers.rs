//! Every write of the registry, with each of its answers lost: before, after and long before it is carried
//! out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use coordination::embedded::Embedded;
use coordination::records::{
    ContentsHash, EntryRecord, EntryState, LiveNodeRecord, MemberRecord, RouterRecord, TokenRecord,
};
use coordination::registry::{
    self, Beginning, Creation, Decided, Restoration, Versioned, begin_transaction, condemn_table,
    confirm_destroyed, create_cancelled, create_table, decide_transaction, find_table,
    finish_transaction, forget_node, initialise, list_transactions, read_cluster, read_live_nodes,
    read_members, read_routers, read_table, read_token, read_tombstones, read_transaction,
    register_live_node, register_member, register_router, remove_table, restore_table,
    set_table_state, sweep_tokens,
};
use coordination::tree::TokenHash;
use coordination::{Coordination, Joined, SharedCoordination};
use model::limits::TOKEN_MILLIS;
use model::{
    Decision, HashRange, Key, NodeId, Participant, RouterId, Shard, Table, TableId, TableState,
    TransactionId,
};
use support::{Fate, Lossy};

/// Up to three writes that go wrong, one after the other, in every combination.
fn scripts() -> Vec<Vec<Fate>> {
    let bad = [Fate::LostAnswer, Fate::LostRequest, Fate::Late];
    let mut scripts = vec![vec![]];
    let mut longest = scripts.clone();
    for _ in 0..3 {
        longest = longest
            .iter()
            .flat_map(|script| bad.map(|fate| [script.as_slice(), &[fate]].concat()))
            .collect();
        scripts.extend(longest.clone());
    }
    // And one that goes wrong only at its second step.
    scripts.extend(bad.map(|fate| vec![Fate::Fine, fate]));
    scripts
}

struct Stage {
    _directory: tempfile::TempDir,
    store: SharedCoordination,
    lossy: Lossy,
}

/// A store that was initialised, and a session with it that meets the script.
async fn stage(script: &[Fate]) -> Stage {
    let directory = tempfile::tempdir().unwrap();
    let store = Embedded::open(directory.path()).unwrap().session();
    initialise(&*store).await.unwrap();
    let lossy = Lossy::new(store.clone(), script);
    Stage {
        _directory: directory,
        store,
        lossy,
    }
}

fn table(id: u64) -> Table {
    Table {
        id: TableId(id),
        name: "people".parse().unwrap(),
        state: TableState::Creating,
        never_available: false,
        replicas: 3,
        created_millis: 0,
        shards: HashRange::divide(2)
            .into_iter()
            .map(|range| Shard {
                range,
                nodes: vec![NodeId(1), NodeId(2), NodeId(3)],
            })
            .collect(),
    }
}

async fn created(store: &dyn Coordination, id: u64) -> Versioned<Table> {
    let cluster = read_cluster(store).await.unwrap().unwrap();
    let creation = create_table(store, &table(id), cluster.version).await;
    assert_eq!(creation, Ok(Creation::Created));
    read_table(store, TableId(id)).await.unwrap().unwrap()
}

/// Nodes 1 to 3 have joined.
async fn members(store: &dyn Coordination) {
    for id in 1..=3 {
        let member = MemberRecord {
            id: NodeId(id),
            address: format!("h:{id}"),
            zone: None,
            tenure: None,
            void_to: None,
        };
        register_member(store, &member).await.unwrap();
    }
}

async fn removed(store: &dyn Coordination, table: &Versioned<Table>) {
    let deleting = set_table_state(store, table, TableState::Deleting)
        .await
        .unwrap();
    remove_table(store, &deleting, &BTreeSet::new(), &BTreeSet::new())
        .await
        .unwrap();
}

#[tokio::test]
async fn initialise_ends_with_one_cluster() {
    for script in scripts() {
        let directory = tempfile::tempdir().unwrap();
        let store = Embedded::open(directory.path()).unwrap().session();
        let lossy = Lossy::new(store.clone(), &script);
        let id = initialise(&lossy).await.unwrap();
        lossy.land().await;
        assert_eq!(initialise(&*store).await, Ok(id), "{script:?}");
    }
}

#[tokio::test]
async fn create_ends_with_one_table_of_its_own_id() {
    for script in scripts() {
        let stage = stage(&script).await;
        let cluster = read_cluster(&*stage.store).await.unwrap().unwrap();
        let creation = create_table(&stage.lossy, &table(7), cluster.version).await;
        assert_eq!(creation, Ok(Creation::Created), "{script:?}");
        // What lands late finds its place taken.
        assert!(stage.lossy.land().await.iter().all(Result::is_err));
        let found = find_table(&*stage.store, &table(7).name)
            .await
            .unwrap()
            .unwrap();
        assert_eq!((found.value, found.version), (table(7), 0));
    }
}

#[tokio::test]
async fn an_attempt_to_create_that_lands_late_does_not_raise_a_table_that_was_deleted() {
    let stage = stage(&[Fate::Late]).await;
    let cluster = read_cluster(&*stage.store).await.unwrap().unwrap();
    let creation = create_table(&stage.lossy, &table(7), cluster.version).await;
    assert_eq!(creation, Ok(Creation::Created));
    let table = read_table(&*stage.store, TableId(7))
        .await
        .unwrap()
        .unwrap();
    removed(&*stage.store, &table).await;
    assert!(stage.lossy.land().await.iter().all(Result::is_err));
    assert_eq!(find_table(&*stage.store, &table.value.name).await, Ok(None));
}

#[tokio::test]
async fn after_a_removal_a_create_starts_over_with_a_new_id() {
    for script in scripts() {
        let stage = stage(&script).await;
        let cluster = read_cluster(&*stage.store).await.unwrap().unwrap();
        let other = created(&*stage.store, 1).await;
        removed(&*stage.store, &other).await;
        let creation = create_table(&stage.lossy, &table(7), cluster.version).await;
        assert_eq!(creation, Ok(Creation::ClusterMoved), "{script:?}");
        stage.lossy.land().await;
        assert_eq!(find_table(&*stage.store, &other.value.name).await, Ok(None));
        created(&*stage.store, 8).await;
    }
}

#[tokio::test]
async fn a_name_that_another_table_has_is_taken() {
    for script in scripts() {
        let stage = stage(&script).await;
        created(&*stage.store, 1).await;
        let cluster = read_cluster(&*stage.store).await.unwrap().unwrap();
        let creation = create_table(&stage.lossy, &table(7), cluster.version).await;
        assert_eq!(creation, Ok(Creation::NameTaken(TableId(1))), "{script:?}");
        stage.lossy.land().await;
        assert_eq!(read_table(&*stage.store, TableId(7)).await, Ok(None));
    }
}

#[tokio::test]
async fn a_state_is_set_once() {
    for script in scripts() {
        let stage = stage(&script).await;
        let creating = created(&*stage.store, 7).await;
        let available = set_table_state(&stage.lossy, &creating, TableState::Available).await;
        let available = available.unwrap();
        assert_eq!(
            (available.value.state, available.version),
            (TableState::Available, 1)
        );
        stage.lossy.land().await;
        let read = read_table(&*stage.store, TableId(7)).await;
        assert_eq!(read, Ok(Some(available)), "{script:?}");
    }
}

#[tokio::test]
async fn a_removal_leaves_its_tombstones_and_moves_the_cluster_once() {
    for script in scripts() {
        let stage = stage(&script).await;
        members(&*stage.store).await;
        let creating = created(&*stage.store, 7).await;
        let deleting = set_table_state(&*stage.store, &creating, TableState::Deleting).await;
        let deleting = deleting.unwrap();
        let unconfirmed = BTreeSet::from([NodeId(1), NodeId(2)]);
        remove_table(&stage.lossy, &deleting, &unconfirmed, &BTreeSet::new())
            .await
            .unwrap();
        stage.lossy.land().await;
        assert_eq!(find_table(&*stage.store, &table(7).name).await, Ok(None));
        assert_eq!(read_table(&*stage.store, TableId(7)).await, Ok(None));
        let tombstones = read_tombstones(&*stage.store).await.unwrap();
        assert_eq!(tombstones, [(TableId(7), unconfirmed)].into(), "{script:?}");
        let cluster = read_cluster(&*stage.store).await.unwrap().unwrap();
        assert_eq!(cluster.version, 1);
    }
}

#[tokio::test]
async fn the_last_confirmation_leaves_nothing_behind() {
    for script in scripts() {
        let stage = stage(&script).await;
        members(&*stage.store).await;
        let creating = created(&*stage.store, 7).await;
        let deleting = set_table_state(&*stage.store, &creating, TableState::Deleting).await;
        let unconfirmed = BTreeSet::from([NodeId(1), NodeId(2)]);
        remove_table(
            &*stage.store,
            &deleting.unwrap(),
            &unconfirmed,
            &BTreeSet::new(),
        )
        .await
        .unwrap();
        confirm_destroyed(&*stage.store, TableId(7), NodeId(1))
            .await
            .unwrap();
        confirm_destroyed(&stage.lossy, TableId(7), NodeId(2))
            .await
            .unwrap();
        // Again: it is gone already.
        confirm_destroyed(&*stage.store, TableId(7), NodeId(2))
            .await
            .unwrap();
        stage.lossy.land().await;
        let left = stage.store.children("/deleted").await;
        assert_eq!(left, Ok(Some(vec![])), "{script:?}");
    }
}

#[tokio::test]
async fn nodes_and_routers_are_registered_once() {
    for script in scripts() {
        let member = MemberRecord {
            id: NodeId(1),
            address: "h:1".into(),
            zone: None,
            tenure: None,
            void_to: None,
        };
        let live = LiveNodeRecord {
            id: NodeId(1),
            address: "h:1".into(),
            incarnation: 1,
            started_millis: 0,
            host: "h".into(),
            data_dir: "/d".into(),
        };
        let router = RouterRecord {
            address: "h:2".into(),
        };
        let old = LiveNodeRecord {
            incarnation: 0,
            ..live.clone()
        };
        let Stage { store, lossy, .. } = stage(&script).await;
        register_member(&lossy, &member).await.unwrap();
        lossy.land().await;
        let members = read_members(&*store).await.unwrap();
        assert_eq!(members.entries[&NodeId(1)].value, member);

        let Stage { store, lossy, .. } = stage(&script).await;
        register_router(&lossy, RouterId(5), &router).await.unwrap();
        lossy.land().await;
        let routers = read_routers(&*store).await.unwrap();
        assert_eq!(routers.entries[&RouterId(5)].value, router);

        // In the place of an old znode of its own.
        let Stage { store, lossy, .. } = stage(&script).await;
        register_live_node(&*store, &old, Duration::ZERO)
            .await
            .unwrap();
        register_live_node(&lossy, &live, Duration::ZERO)
            .await
            .unwrap();
        lossy.land().await;
        let nodes = read_live_nodes(&*store).await.unwrap();
        assert_eq!(nodes.entries[&NodeId(1)].value, live, "{script:?}");
    }
}

/// An attempt that was certainly not sent says nothing about the one before it.
#[tokio::test]
async fn a_lost_answer_before_an_outage_leaves_the_outcome_unknown() {
    for (script, unknown) in [
        (vec![Fate::Down], false),
        (vec![Fate::Late, Fate::Down], true),
        (vec![Fate::LostAnswer, Fate::Down], false),
    ] {
        let stage = stage(&script).await;
        let cluster = read_cluster(&*stage.store).await.unwrap().unwrap();
        match create_table(&stage.lossy, &table(7), cluster.version).await {
            Ok(creation) => assert_eq!(creation, Creation::Created),
            Err(error) => assert_eq!(error.outcome_unknown(), unknown, "{script:?}"),
        }
    }
}

#[tokio::test]
async fn five_lost_answers_leave_the_outcome_unknown() {
    for fate in [Fate::LostRequest, Fate::Late] {
        let stage = stage(&[fate; 5]).await;
        let cluster = read_cluster(&*stage.store).await.unwrap().unwrap();
        let creation = create_table(&stage.lossy, &table(7), cluster.version).await;
        let error: registry::Error = creation.unwrap_err();
        assert!(error.outcome_unknown(), "{error}");
    }
}

#[tokio::test]
async fn a_node_is_forgotten_with_all_that_waits_for_it() {
    for script in scripts() {
        let stage = stage(&script).await;
        members(&*stage.store).await;
        for (id, unconfirmed) in [(7, vec![1]), (8, vec![1, 2]), (9, vec![2])] {
            let creating = created(&*stage.store, id).await;
            let deleting = set_table_state(&*stage.store, &creating, TableState::Deleting).await;
            let unconfirmed = unconfirmed.into_iter().map(NodeId).collect();
            remove_table(
                &*stage.store,
                &deleting.unwrap(),
                &unconfirmed,
                &BTreeSet::new(),
            )
            .await
            .unwrap();
        }
        let forgotten = forget_node(&stage.lossy, NodeId(1)).await.unwrap();
        assert!(forgotten.member, "{script:?}");
        assert_eq!(forgotten.tombstones, [TableId(7), TableId(8)].into());
        stage.lossy.land().await;
        let again = forget_node(&*stage.store, NodeId(1)).await.unwrap();
        assert_eq!(again, registry::Forgotten::default());
        let left = read_members(&*stage.store).await.unwrap().entries;
        assert_eq!(left.into_keys().collect::<Vec<_>>(), [NodeId(2), NodeId(3)]);
        let left = read_tombstones(&*stage.store).await.unwrap();
        let of_two: BTreeSet<_> = [NodeId(2)].into();
        let expected = [
            (TableId(7), BTreeSet::new()),
            (TableId(8), of_two.clone()),
            (TableId(9), of_two),
        ];
        assert_eq!(left, expected.into(), "{script:?}");
    }
}

#[tokio::test]
async fn a_restoration_that_lands_late_raises_nothing_that_was_deleted_since() {
    for script in scripts() {
        let stage = stage(&script).await;
        let cluster = read_cluster(&*stage.store).await.unwrap().unwrap();
        let end = restore_table(&stage.lossy, &table(7), cluster.version).await;
        assert_eq!(end, Ok(Restoration::Restored), "{script:?}");
        let restored = read_table(&*stage.store, TableId(7)).await;
        removed(&*stage.store, &restored.unwrap().unwrap()).await;
        stage.lossy.land().await;
        assert_eq!(read_table(&*stage.store, TableId(7)).await, Ok(None));
        assert_eq!(find_table(&*stage.store, &table(7).name).await, Ok(None));
    }
}

#[tokio::test]
async fn what_was_dropped_is_not_restored_and_what_was_restored_is_not_dropped() {
    for script in scripts() {
        let stage = stage(&script).await;
        members(&*stage.store).await;
        let cluster = read_cluster(&*stage.store).await.unwrap().unwrap();
        let nodes = BTreeSet::from([NodeId(1), NodeId(2), NodeId(9)]);
        let name = table(7).name;
        let condemned = condemn_table(&stage.lossy, TableId(7), &name, &nodes).await;
        let two = BTreeSet::from([NodeId(1), NodeId(2)]);
        assert_eq!(condemned, Ok(Some(two.clone())), "{script:?}");
        stage.lossy.land().await;
        let left = read_tombstones(&*stage.store).await.unwrap();
        assert_eq!(left, [(TableId(7), two.clone())].into(), "{script:?}");
        let refused = restore_table(&*stage.store, &table(7), cluster.version).await;
        assert_eq!(refused, Ok(Restoration::Removed(two.clone())));
        // The last one is no member, so it has no tombstone, but it was noted.
        for node in nodes.clone() {
            confirm_destroyed(&*stage.store, TableId(7), node)
                .await
                .unwrap();
        }
        // Asked for before the drop, it comes after it.
        let late = restore_table(&*stage.store, &table(7), cluster.version).await;
        assert_eq!(late, Ok(Restoration::ClusterMoved), "{script:?}");

        let cluster = read_cluster(&*stage.store).await.unwrap().unwrap();
        let restored = restore_table(&*stage.store, &table(8), cluster.version).await;
        assert_eq!(restored, Ok(Restoration::Restored));
        let refused = condemn_table(&*stage.store, TableId(8), &name, &nodes).await;
        assert_eq!(refused, Ok(None));
        assert_eq!(read_tombstones(&*stage.store).await, Ok([].into()));
    }
}

const FIRST: TransactionId = TransactionId(1);
const SECOND: TransactionId = TransactionId(2);
const TOKEN: TokenHash = TokenHash(7);
/// When transactions end.
const END: u64 = 5000;

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

/// Begins a transaction with the token.
async fn begin(store: &dyn Coordination, id: TransactionId) -> Result<Beginning, registry::Error> {
    let token = TokenRecord {
        transaction: id,
        contents: ContentsHash(1),
        started_millis: 1000,
        ended_millis: None,
    };
    begin_transaction(store, id, &entry(Some(TOKEN)), Some(&token)).await
}

async fn decide(
    store: &dyn Coordination,
    id: TransactionId,
    decision: Decision,
) -> Result<Decided, registry::Error> {
    decide_transaction(store, id, &entry(Some(TOKEN)), decision, None).await
}

async fn finish(store: &dyn Coordination, id: TransactionId, decision: Decision, now: u64) {
    let decided = EntryRecord {
        state: decision.into(),
        ..entry(Some(TOKEN))
    };
    finish_transaction(store, id, &decided, now).await.unwrap();
}

async fn token(store: &dyn Coordination) -> Option<(TransactionId, Option<u64>)> {
    let record = read_token(store, TOKEN).await.unwrap();
    record.map(|record| (record.value.transaction, record.value.ended_millis))
}

/// A create is sent once: it has happened, or its id is lost, and what lands then is an orphan that can be cancelled.
#[tokio::test]
async fn an_entry_is_there_or_its_id_is_given_up() {
    for fate in [Fate::Fine, Fate::LostAnswer, Fate::LostRequest, Fate::Late] {
        let stage = stage(&[fate]).await;
        let begun = begin(&stage.lossy, FIRST).await;
        let there = matches!(fate, Fate::Fine | Fate::LostAnswer);
        let expected = if there {
            Beginning::Begun
        } else {
            Beginning::Lost
        };
        assert_eq!(begun, Ok(expected), "{fate:?}");
        if there {
            continue;
        }
        // The next id has the token for itself, unless the first one lands in between.
        stage.lossy.land().await;
        let second = begin(&stage.lossy, SECOND).await;
        if fate == Fate::LostRequest {
            assert_eq!(second, Ok(Beginning::Begun));
            continue;
        }
        assert_eq!(second, Ok(Beginning::TokenTaken));
        let orphan = decide(&stage.lossy, FIRST, Decision::Cancelled).await;
        assert_eq!(orphan, Ok(Decided::Written));
        assert_eq!(begin(&stage.lossy, SECOND).await, Ok(Beginning::Begun));
    }
    let stage = stage(&[Fate::Down]).await;
    let error = begin(&stage.lossy, FIRST).await.unwrap_err();
    assert!(!error.outcome_unknown());
}

/// And if the late one lands after the second has begun, it finds the token taken.
#[tokio::test]
async fn an_entry_that_lands_late_does_not_take_the_token_of_its_successor() {
    let stage = stage(&[Fate::Late]).await;
    assert_eq!(begin(&stage.lossy, FIRST).await, Ok(Beginning::Lost));
    assert_eq!(begin(&stage.lossy, SECOND).await, Ok(Beginning::Begun));
    assert!(stage.lossy.land().await.iter().all(Result::is_err));
    assert_eq!(token(&*stage.store).await, Some((SECOND, None)));
    let there = list_transactions(&*stage.store).await.unwrap();
    assert_eq!(there, [SECOND].into());
}

/// Runs a test that the test of a mutant runs as well, on a thread without a runtime.
fn block_on(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(test);
}

fn a_decision_stands_whatever_lands_late() {
    block_on(async {
        for script in scripts() {
            for first in [Decision::Committed, Decision::Cancelled] {
                let stage = stage(&script).await;
                begin(&*stage.store, FIRST).await.unwrap();
                let decided = decide(&stage.lossy, FIRST, first).await;
                assert_eq!(decided, Ok(Decided::Written), "{script:?}");
                stage.lossy.land().await;
                let other = match first {
                    Decision::Committed => Decision::Cancelled,
                    Decision::Cancelled => Decision::Committed,
                };
                let late = decide(&*stage.store, FIRST, other).await;
                assert_eq!(late, Ok(Decided::Otherwise(first)), "{script:?}");
                let read = read_transaction(&*stage.store, FIRST).await.unwrap();
                assert_eq!(read.unwrap().version, 1, "{script:?}");
                let freed = first == Decision::Cancelled;
                let expected = (!freed).then_some((FIRST, None));
                assert_eq!(token(&*stage.store).await, expected, "{script:?}");
            }
        }
    });
}

#[test]
fn a_transaction_is_decided_once() {
    a_decision_stands_whatever_lands_late();
}

#[tokio::test]
async fn a_decision_that_lands_after_recovery_has_finished_changes_nothing() {
    for script in scripts() {
        let stage = stage(&script).await;
        begin(&*stage.store, FIRST).await.unwrap();
        let slow = decide(&stage.lossy, FIRST, Decision::Committed).await;
        let stands = slow == Ok(Decided::Written);
        assert!(stands, "{script:?}");
        finish(&*stage.store, FIRST, Decision::Committed, END).await;
        stage.lossy.land().await;
        assert_eq!(read_transaction(&*stage.store, FIRST).await, Ok(None));
        assert_eq!(token(&*stage.store).await, Some((FIRST, Some(END))));
    }
}

/// Someone else decides while the answer to our own set is lost.
#[tokio::test]
async fn the_other_s_decision_is_found() {
    for fate in [Fate::LostRequest, Fate::Late] {
        let stage = stage(&[fate; 5]).await;
        begin(&*stage.store, FIRST).await.unwrap();
        let error = decide(&stage.lossy, FIRST, Decision::Committed).await;
        assert!(error.unwrap_err().outcome_unknown());
        decide(&*stage.store, FIRST, Decision::Cancelled)
            .await
            .unwrap();
        stage.lossy.land().await;
        let found = decide(&stage.lossy, FIRST, Decision::Committed).await;
        assert_eq!(found, Ok(Decided::Otherwise(Decision::Cancelled)));
        // The next one with the token keeps it.
        begin(&*stage.store, SECOND).await.unwrap();
        finish(&stage.lossy, FIRST, Decision::Cancelled, END).await;
        assert_eq!(token(&*stage.store).await, Some((SECOND, None)));
    }
}

#[tokio::test]
async fn a_finished_transaction_leaves_its_token_and_nothing_else() {
    for script in scripts() {
        let stage = stage(&script).await;
        begin(&*stage.store, FIRST).await.unwrap();
        decide(&*stage.store, FIRST, Decision::Committed)
            .await
            .unwrap();
        finish(&stage.lossy, FIRST, Decision::Committed, END).await;
        stage.lossy.land().await;
        assert_eq!(list_transactions(&*stage.store).await, Ok([].into()));
        assert_eq!(
            token(&*stage.store).await,
            Some((FIRST, Some(END))),
            "{script:?}"
        );
    }
}

#[tokio::test]
async fn a_missing_entry_is_cancelled_once_and_never_pending() {
    for script in scripts() {
        let stage = stage(&script).await;
        let made = create_cancelled(&stage.lossy, FIRST, &entry(None)).await;
        assert_eq!(made, Ok(Decided::Written), "{script:?}");
        stage.lossy.land().await;
        let late = decide(&*stage.store, FIRST, Decision::Committed).await;
        assert_eq!(late, Ok(Decided::Otherwise(Decision::Cancelled)));
    }
    // What lands after the entry was removed again is decided as well.
    let stage = stage(&[Fate::Late]).await;
    create_cancelled(&stage.lossy, FIRST, &entry(None))
        .await
        .unwrap();
    finish(&*stage.store, FIRST, Decision::Cancelled, END).await;
    stage.lossy.land().await;
    let late = decide(&*stage.store, FIRST, Decision::Committed).await;
    assert_eq!(late, Ok(Decided::Otherwise(Decision::Cancelled)));
}

#[tokio::test]
async fn a_token_is_swept_once() {
    for script in scripts() {
        let stage = stage(&script).await;
        begin(&*stage.store, FIRST).await.unwrap();
        decide(&*stage.store, FIRST, Decision::Committed)
            .await
            .unwrap();
        finish(&*stage.store, FIRST, Decision::Committed, END).await;
        let left = sweep_tokens(&stage.lossy, &[], END + TOKEN_MILLIS).await;
        assert_eq!(left, Ok(0), "{script:?}");
        // A delete that lands late does not hit the token while it is used again: it has another version then.
        begin(&*stage.store, SECOND).await.unwrap();
        stage.lossy.land().await;
        assert_eq!(
            token(&*stage.store).await,
            Some((SECOND, None)),
            "{script:?}"
        );
    }
}

/// The same scripts with the writes of several transactions in one `multi`.
#[tokio::test]
async fn joined_writes_survive_lost_answers_as_single_ones_do() {
    for script in scripts() {
        let Stage { store, lossy, .. } = &stage(&script).await;
        let ids: Vec<_> = (1..=5).map(TransactionId).collect();
        let begin = async |store: &dyn Coordination, id: TransactionId| {
            begin_transaction(store, id, &entry(None), None).await
        };
        for id in &ids {
            begin(&**store, *id).await.unwrap();
        }
        let lossy = Arc::new(lossy.clone());
        let joined = Joined::new(lossy.clone());
        let decide = async |id: TransactionId| {
            let decision = if id.0.is_multiple_of(2) {
                Decision::Committed
            } else {
                Decision::Cancelled
            };
            decide_transaction(&joined, id, &entry(None), decision, None).await
        };
        let decided = futures::future::join_all(ids.iter().map(|id| decide(*id))).await;
        for decided in decided {
            assert_eq!(decided, Ok(Decided::Written), "{script:?}");
        }
        lossy.land().await;
        for id in ids {
            let read = read_transaction(&**store, id).await.unwrap().unwrap();
            let committed = read.value.state == EntryState::Committed;
            assert_eq!((committed, read.version), (id.0.is_multiple_of(2), 1));
        }
    }
}

/// A token that was used is found by whoever comes with it again.
fn a_token_is_remembered() {
    block_on(async {
        let stage = stage(&[]).await;
        assert_eq!(begin(&*stage.store, FIRST).await, Ok(Beginning::Begun));
        assert_eq!(
            begin(&*stage.store, SECOND).await,
            Ok(Beginning::TokenTaken)
        );
    });
}

#[test]
fn a_token_is_taken_once() {
    a_token_is_remembered();
}

#[cfg(feature = "mutants")]
#[test]
fn the_mutants_of_the_ledger_are_noticed() {
    use mutants::{Mutant, is_noticed};
    let unchecked = a_decision_stands_whatever_lands_late;
    assert!(is_noticed(Mutant::DecisionUnchecked, unchecked));
    assert!(is_noticed(Mutant::TokenForgotten, a_token_is_remembered));
}
