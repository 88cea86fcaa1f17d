//! Row 9 of the known bugs of others: applied index and data in one atomic write, SIGKILL under load.
//!
//! A child process applies entries as fast as it can and says when it has persisted one. It is killed in the middle, over and
//! over, on the same directory. Whatever it has then must be the state of exactly one entry, and not of one before the last that
//! it called persisted.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs
)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use model::{Item, Key as ItemKey, Lsn, NodeId, ShardId, TableId, Timestamp};
use storage::keys::{self, Key};
use storage::meta::ShardMeta;
use storage::snapshot::{create_shard, load_meta, verify_shard};
use storage::state::{Batch, FjallOptions, FjallStore, StateStore};

const DIR: &str = "STORAGE_TEST_SIGKILL_DIR";
const SHARD: ShardId = ShardId {
    table: TableId(1),
    index: 0,
};
const ROUNDS: usize = 6;
/// Of what the child calls persisted, before it is killed: fewer or more, so that the moment differs.
const PERSISTS: [usize; ROUNDS] = [1, 3, 2, 5, 1, 4];

#[test]
fn applied_index_and_data_are_one_atomic_write_sigkill_under_load() {
    let dir = tempfile::tempdir().unwrap();
    let mut before = 0;
    for persists in PERSISTS {
        let mut child = Running(start_child(dir.path()));
        let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        // The test harness of the child writes lines as well.
        let mut numbers = lines.by_ref().filter_map(|line| {
            let line = line.ok()?;
            line.strip_prefix("persisted ")?.parse::<u64>().ok()
        });
        let persisted = numbers
            .by_ref()
            .take(persists)
            .last()
            .expect("the child ended early");
        child.0.kill().unwrap();
        child.0.wait().unwrap();
        // What was still in the pipe counts too.
        let persisted = numbers.last().unwrap_or(persisted);
        let applied = check(dir.path());
        assert!(persisted > before, "the child did not go on from {before}");
        assert!(
            applied >= persisted,
            "{persisted} was persisted, {applied} is there"
        );
        before = applied;
    }
}

fn check(dir: &Path) -> u64 {
    let store = FjallStore::open(dir, &FjallOptions::small()).unwrap();
    let view = store.view();
    let verified = verify_shard(&*view, SHARD).unwrap();
    assert!(verified.agrees(), "{verified:?}");
    // Each entry writes its index into the items, so the newest of them tells which entry the data is of.
    let newest = view
        .scan(&keys::items(SHARD, verified.generation))
        .map(|entry| {
            let (_, value) = entry.unwrap();
            Item::decode(&value).unwrap().lsn
        });
    assert_eq!(newest.max(), Some(Lsn(verified.applied_index)));
    verified.applied_index
}

fn start_child(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills the child if the test fails before it does.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "the child process of the test above"]
fn child() {
    let dir = std::env::var_os(DIR).expect("only for the test above");
    let store = FjallStore::open(Path::new(&dir), &FjallOptions::small()).unwrap();
    let (generation, mut meta) = load_meta(&*store.view(), SHARD)
        .unwrap()
        .unwrap_or_else(|| {
            let (mut batch, meta) = (Batch::new(), ShardMeta::new(vec![NodeId(1)]));
            let generation = create_shard(&mut batch, SHARD, &meta);
            store.write(batch).unwrap();
            (generation, meta)
        });
    loop {
        meta.applied_index += 1;
        let index = meta.applied_index;
        let mut batch = Batch::new();
        for n in 0..8 {
            let key =
                ItemKey::new(Bytes::from(format!("{}", (index * 31 + n * 97) % 700))).unwrap();
            let key = keys::item(SHARD, generation, &key);
            let item = Item {
                value: Some(Bytes::from(vec![index as u8; 300])),
                timestamp: Timestamp(index),
                lsn: Lsn(index),
                intent: None,
            };
            let new = item.encode();
            let earlier = batch.get(&key).map(Option::<&Bytes>::cloned);
            let old = earlier.unwrap_or_else(|| store.get(&key).unwrap());
            meta.replace_item(keys::item_part(&key), old.as_deref(), Some(&new));
            batch.put(key, new);
        }
        let shard = SHARD;
        batch.put(Key::Meta { shard, generation }.encode(), meta.encode());
        store.write(batch).unwrap();
        if index % 150 == 0 {
            store.persist().unwrap();
            println!("\npersisted {index}");
            std::io::stdout().flush().unwrap();
        }
    }
}
