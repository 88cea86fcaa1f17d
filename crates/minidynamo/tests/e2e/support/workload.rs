//! Writers that remember what every write was answered.
//!
//! Each key belongs to one writer, which writes it again and again with a value that is never used twice. So
//! what a key may hold is simple to say:
//!
//! | answer to the put of a value | the value may be read |
//! |---|---|
//! | confirmed, and no later one confirmed for this key | yes; if nothing of unknown outcome is, it must be |
//! | confirmed, and a later one too | no |
//! | outcome unknown | yes, at any later time |
//! | refused | never |

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use api::Reason;
use api::v1::TableDescription;
use futures::StreamExt;
use model::ShardId;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Failure, Kv, Shards, eventually, now_and_then};

/// What to write.
#[derive(Debug, Clone)]
pub(crate) struct WorkloadOptions {
    /// Each writer writes to all of them in turn.
    pub(crate) tables: Vec<String>,
    pub(crate) writers: usize,
    /// Of each writer, over all tables.
    pub(crate) keys: usize,
    /// Values are filled up to this many bytes.
    pub(crate) value_bytes: usize,
    /// The writers end after so many confirmed writes, all together.
    pub(crate) confirmed: usize,
}

/// What a write was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With this version.
    Confirmed(u64),
    /// Certainly not applied.
    Refused(Reason),
    /// `OUTCOME_UNKNOWN`, or the connection broke.
    Unknown,
}

impl Outcome {
    /// What the answer to a put says.
    pub(crate) fn of_put(answer: &Result<u64, Failure>) -> Self {
        match answer {
            Ok(version) => Self::Confirmed(*version),
            Err(Failure::Said(error)) if error.reason != Reason::OutcomeUnknown => {
                Self::Refused(error.reason)
            }
            Err(_) => Self::Unknown,
        }
    }
}

/// One write.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) table: String,
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) started: Instant,
    pub(crate) ended: Instant,
    pub(crate) outcome: Outcome,
}

impl Write {
    fn took(&self) -> Duration {
        self.ended - self.started
    }
}

/// Writers at work.
pub(crate) struct Workload {
    shared: Arc<Shared>,
    writers: JoinSet<()>,
}

struct Shared {
    options: WorkloadOptions,
    routers: Vec<String>,
    stop: AtomicBool,
    confirmed: watch::Sender<usize>,
    history: Mutex<Vec<Write>>,
}

impl Workload {
    /// Starts writing through routers at these addresses. A writer whose router does not answer moves on to the next.
    pub(crate) fn start(options: WorkloadOptions, routers: Vec<String>) -> Self {
        let shared = Arc::new(Shared {
            options,
            routers,
            stop: AtomicBool::new(false),
            confirmed: watch::Sender::new(0),
            history: Mutex::default(),
        });
        let mut writers = JoinSet::new();
        for writer in 0..shared.options.writers {
            writers.spawn(Arc::clone(&shared).write(writer));
        }
        Self { shared, writers }
    }

    /// Waits until so many writes are confirmed.
    pub(crate) async fn reach(&mut self, confirmed: usize, within: Duration) {
        let mut count = self.shared.confirmed.subscribe();
        let reached = count.wait_for(|&count| count >= confirmed);
        tokio::select! {
            reached = tokio::time::timeout(within, reached) => assert!(
                reached.is_ok(),
                "{} of {confirmed} writes confirmed within {within:?}; others: {:?}",
                self.confirmed(),
                self.history().unconfirmed()
            ),
            // A writer that failed an assertion fails the test now.
            Some(ended) = self.writers.join_next() => ended.unwrap(),
        }
    }

    /// How many writes are confirmed by now.
    pub(crate) fn confirmed(&self) -> usize {
        *self.shared.confirmed.borrow()
    }

    /// Every write that has ended by now.
    pub(crate) fn history(&self) -> History {
        History(self.shared.history.lock().clone())
    }

    /// Waits until the writers have confirmed what they were to write.
    pub(crate) async fn finish(mut self, within: Duration) -> History {
        self.reach(self.shared.options.confirmed, within).await;
        self.stop().await
    }

    /// Ends the writers after the writes that they are at.
    pub(crate) async fn stop(mut self) -> History {
        self.shared.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.writers.join_next().await {
            ended.unwrap();
        }
        History(std::mem::take(&mut *self.shared.history.lock()))
    }
}

impl Shared {
    async fn write(self: Arc<Self>, writer: usize) {
        let mut routers = (0..self.routers.len()).cycle().skip(writer);
        let mut kv = Kv::new(&self.routers[routers.next().unwrap()]);
        let mut keys: BTreeMap<(String, String), Expected> = BTreeMap::new();
        let mut ticks = now_and_then();
        for n in 0.. {
            let done = *self.confirmed.borrow() >= self.options.confirmed;
            if done || self.stop.load(Ordering::Relaxed) {
                return;
            }
            let table = self.options.tables[n % self.options.tables.len()].clone();
            let key = format!("writer{writer}-key{}", n % self.options.keys);
            let mut value = format!("writer{writer}-value{n}-");
            let fill = self.options.value_bytes.saturating_sub(value.len());
            value.extend(std::iter::repeat_n('.', fill));

            let started = Instant::now();
            let answer = kv.put(&table, key.as_str(), value.as_str()).await;
            let ended = Instant::now();
            let outcome = Outcome::of_put(&answer);
            let expected = keys.entry((table.clone(), key.clone())).or_default();
            expected.note(&value, outcome);
            if n % 8 == 0
                && let Ok(read) = kv.get(&table, key.as_str()).await
            {
                expected.check(&table, &key, read.as_deref());
            }
            self.history.lock().push(Write {
                table,
                key,
                value,
                started,
                ended,
                outcome,
            });
            if let Outcome::Confirmed(_) = outcome {
                self.confirmed.send_modify(|count| *count += 1);
            } else {
                // Refused at once, maybe: leave the processes some of the machine.
                ticks.tick().await;
            }
            if let Err(Failure::Silent(_)) = answer {
                kv = Kv::new(&self.routers[routers.next().unwrap()]);
            }
        }
    }
}

/// What a key may hold.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    confirmed: Option<String>,
    version: u64,
    unknown: HashSet<String>,
}

impl Expected {
    /// A write of a value was answered so.
    pub(crate) fn note(&mut self, value: &str, outcome: Outcome) {
        match outcome {
            Outcome::Confirmed(version) => {
                assert!(
                    version > self.version,
                    "version {version} after {}",
                    self.version
                );
                self.version = version;
                self.confirmed = Some(value.to_owned());
            }
            Outcome::Unknown => {
                self.unknown.insert(value.to_owned());
            }
            Outcome::Refused(_) => {}
        }
    }

    /// Checks what a consistent read has found.
    pub(crate) fn check(&self, table: &str, key: &str, read: Option<&str>) {
        let unknown = read.is_some_and(|read| self.unknown.contains(read));
        assert!(
            unknown || read == self.confirmed.as_deref(),
            "{table}/{key} is {read:?}, the last confirmed value is {:?}",
            self.confirmed
        );
    }
}

/// Writes that have ended, those of one key in the order in which they were made.
pub(crate) struct History(Vec<Write>);

impl History {
    /// How often each answer came that is not a confirmation.
    pub(crate) fn unconfirmed(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for write in &self.0 {
            let answer = match write.outcome {
                Outcome::Confirmed(_) => continue,
                Outcome::Refused(reason) => reason.to_string(),
                Outcome::Unknown => "unknown".to_owned(),
            };
            *counts.entry(answer).or_default() += 1;
        }
        counts
    }

    /// The longest that a write took, whatever its answer.
    pub(crate) fn slowest(&self) -> Duration {
        let longest = self.0.iter().map(Write::took).max();
        longest.unwrap_or_default()
    }

    /// The same of the writes that began after a moment.
    pub(crate) fn slowest_since(&self, moment: Instant) -> Duration {
        let since = self.0.iter().filter(|write| write.started >= moment);
        since.map(Write::took).max().unwrap_or_default()
    }

    /// Reads every key consistently and checks that nothing confirmed is lost and nothing refused is there.
    pub(crate) async fn assert_kept(&self, kv: &Kv) {
        let mut keys: BTreeMap<(&str, &str), Expected> = BTreeMap::new();
        for write in &self.0 {
            let expected = keys.entry((&write.table, &write.key)).or_default();
            expected.note(&write.value, write.outcome);
        }
        let reads = keys.into_iter().map(|((table, key), expected)| async move {
            let read = eventually("a consistent read", Duration::from_secs(20), || {
                kv.get(table, key)
            });
            expected.check(table, key, read.await.as_deref());
        });
        futures::stream::iter(reads)
            .buffer_unordered(32)
            .for_each(|()| async {})
            .await;
    }

    /// For every shard of the tables: how long after `moment` the first write was confirmed that began after it.
    pub(crate) fn first_confirmed_after(
        &self,
        moment: Instant,
        tables: &HashMap<String, TableDescription>,
    ) -> HashMap<ShardId, Option<Duration>> {
        let all = tables.values().flat_map(Shards::all);
        let mut first: HashMap<_, _> = all.map(|shard| (shard, None)).collect();
        for write in self.0.iter().filter(|write| write.started >= moment) {
            if let Outcome::Confirmed(_) = write.outcome {
                let shard = tables[&write.table].shard_of(&write.key);
                let took = write.ended - moment;
                let entry = first.get_mut(&shard).unwrap();
                *entry = Some(entry.map_or(took, |earlier: Duration| earlier.min(took)));
            }
        }
        first
    }
}
