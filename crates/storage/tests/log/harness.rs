//! A log and its model, driven together.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::ShardId;
use proptest::prelude::*;
use storage::disk::SimDisk;
use storage::log::{Log, LogError, LogOptions, Record};

use crate::model::{GroupModel, Model, entry, group};

pub(crate) const DIR: &str = "/node/log";

pub(crate) fn small() -> LogOptions {
    LogOptions {
        segment_bytes: 16 << 10,
        spare_segments: 1,
        memory_tail_bytes: 500,
        salt: 42,
    }
}

pub(crate) fn dir() -> &'static Path {
    Path::new(DIR)
}

pub(crate) fn segment_path(segment: u64) -> PathBuf {
    dir().join(format!("{segment:016x}.log"))
}

/// Opens the log of a disk and reads all of it.
pub(crate) fn open(disk: &SimDisk) -> Result<(Log, Model), LogError> {
    let (log, recovered) = Log::open(Arc::new(disk.clone()), dir(), small())?;
    let model = Model::read_back(&log, &recovered);
    Ok((log, model))
}

/// One thing to do. Numbers are bent to what is possible at the time.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Append {
        group: u32,
        /// How many of the last entries are replaced.
        back: u64,
        count: u64,
        size: usize,
    },
    Vote(u32),
    /// Purges this many percent of the entries.
    Purge(u32, u64),
    /// A snapshot this far ahead of the last entry.
    Reset(u32, u64),
    Forget(u32),
    /// Ends the batch.
    Write,
    /// Ends the batch and syncs.
    Sync,
    /// The process dies and starts again.
    Restart,
    /// The power is cut.
    Crash(u64),
    /// The process dies, and during the next start the power is cut at the n-th change of the disk.
    BrokenStart(u64, u64),
}

pub(crate) fn ops() -> impl Strategy<Value = Op> {
    let group = 0u32..4;
    prop_oneof![
        8 => (group.clone(), 0u64..4, 1u64..12, 0usize..400)
            .prop_map(|(group, back, count, size)| Op::Append { group, back, count, size }),
        1 => (group.clone(), 0u64..2, 1u64..6, 2000usize..9000)
            .prop_map(|(group, back, count, size)| Op::Append { group, back, count, size }),
        3 => group.clone().prop_map(Op::Vote),
        3 => (group.clone(), 0u64..=100).prop_map(|(g, percent)| Op::Purge(g, percent)),
        1 => (group.clone(), 0u64..5).prop_map(|(g, ahead)| Op::Reset(g, ahead)),
        1 => group.prop_map(Op::Forget),
        6 => Just(Op::Write),
        6 => Just(Op::Sync),
        1 => Just(Op::Restart),
        1 => any::<u64>().prop_map(Op::Crash),
        1 => (1u64..20, any::<u64>()).prop_map(|(cut, seed)| Op::BrokenStart(cut, seed)),
    ]
}

/// A log, and what it may hold after a crash.
pub(crate) struct Harness {
    pub(crate) disk: SimDisk,
    pub(crate) log: Option<Log>,
    batch: Vec<Record>,
    /// With the batch that is not written yet.
    pub(crate) model: Model,
    /// After each written batch since the last start; the last one may have been written in part.
    pub(crate) history: Vec<Model>,
    /// Which of these is durable.
    pub(crate) synced: usize,
    made: u64,
}

impl Harness {
    /// A fresh log.
    pub(crate) fn new(disk: SimDisk) -> Result<Self, LogError> {
        let (log, model) = open(&disk)?;
        assert_eq!(model, Model::default());
        Ok(Self {
            disk,
            log: Some(log),
            batch: Vec::new(),
            history: vec![model.clone()],
            model,
            synced: 0,
            made: 0,
        })
    }

    /// Does one thing. After an error the log is as good as gone.
    pub(crate) fn step(&mut self, op: &Op) -> Result<(), LogError> {
        match op {
            Op::Write => self.write()?,
            Op::Sync => {
                self.write()?;
                self.log.as_mut().unwrap().sync()?;
                self.synced = self.history.len() - 1;
            }
            Op::Restart => {
                self.log = None;
                self.start()?;
                assert_eq!(Some(&self.model), self.history.last());
                self.history = vec![self.model.clone()];
                self.synced = 0;
            }
            Op::Crash(seed) => {
                self.log = None;
                self.disk = self.disk.crash(*seed);
                self.start()?;
                self.check(&self.model);
                self.history = vec![self.model.clone()];
                self.synced = 0;
            }
            Op::BrokenStart(cut, seed) => {
                self.log = None;
                let disk = self.disk.copy();
                disk.cut_power_at(disk.changes() + cut);
                if let Ok((log, found)) = open(&disk) {
                    // It got through, so what it found must stay.
                    drop(log);
                    self.history = vec![found];
                    self.synced = 0;
                }
                self.disk = disk;
                self.step(&Op::Crash(*seed))?;
            }
            other => {
                let record = self.record(other);
                self.model.apply(&record);
                self.batch.push(record);
            }
        }
        Ok(())
    }

    fn start(&mut self) -> Result<(), LogError> {
        self.batch.clear();
        let (log, model) = open(&self.disk)?;
        self.log = Some(log);
        self.model = model;
        Ok(())
    }

    fn write(&mut self) -> Result<(), LogError> {
        // Pushed first: a batch whose write fails may still be there after a crash.
        self.history.push(self.model.clone());
        let batch = std::mem::take(&mut self.batch);
        self.log.as_mut().unwrap().write(&batch)
    }

    /// Fails unless this is the last synced state or a later one.
    pub(crate) fn check(&self, found: &Model) {
        assert!(
            self.history[self.synced..].contains(found),
            "recovered what never was, or lost what was synced ({} of {}): {found:?}",
            self.synced,
            self.history.len()
        );
    }

    fn group(&self, index: u32) -> (ShardId, GroupModel) {
        let id = group(index);
        (id, self.model.groups.get(&id).cloned().unwrap_or_default())
    }

    fn record(&mut self, op: &Op) -> Record {
        self.made += 1;
        match *op {
            Op::Append {
                group,
                back,
                count,
                size,
            } => {
                let (group, state) = self.group(group);
                let first = (state.last() + 1)
                    .saturating_sub(back)
                    .max(state.point.0 + 1);
                let term = state.term.max(state.term_of(state.last()));
                let entries = (first..first + count).map(|index| {
                    let mut payload = format!("{}:{index}:", self.made).into_bytes();
                    payload.resize(payload.len() + size, index as u8);
                    // Terms change within one append, too.
                    entry(index, term + u64::from(index % 5 == 0), payload)
                });
                Record::Append {
                    group,
                    entries: entries.collect(),
                }
            }
            Op::Vote(group) => {
                let (group, state) = self.group(group);
                Record::HardState {
                    group,
                    term: state.term + 1,
                    vote: (!self.made.is_multiple_of(3)).then_some(self.made),
                }
            }
            Op::Purge(group, percent) => {
                let (group, state) = self.group(group);
                let index = state.point.0 + (state.last() - state.point.0) * percent / 100;
                Record::Purge {
                    group,
                    index,
                    term: state.term_of(index),
                }
            }
            Op::Reset(group, ahead) => {
                let (group, state) = self.group(group);
                Record::Reset {
                    group,
                    index: state.last() + ahead,
                    term: state.term + 1,
                }
            }
            Op::Forget(index) => Record::Forget {
                group: group(index),
            },
            _ => unreachable!(),
        }
    }
}

/// A workload that goes through everything: rolls, reuse, rewriting for an idle group, truncations.
pub(crate) fn script() -> Vec<Op> {
    let append = |group, back, count, size| Op::Append {
        group,
        back,
        count,
        size,
    };
    let mut ops = vec![
        Op::Vote(3),
        append(3, 0, 3, 100),
        Op::Sync,
        Op::Vote(0),
        append(0, 0, 4, 50),
        Op::Sync,
    ];
    for round in 0..14 {
        ops.extend([
            append(0, 0, 5, 300),
            append(1, 0, 8, 200),
            Op::Write,
            Op::Vote(1),
            append(1, 3, 5, 250),
            Op::Write,
            append(2, 0, 1, 3000),
            Op::Sync,
            Op::Purge(1, 90),
            Op::Purge(2, 100),
            Op::Purge(0, 70),
            append(0, 2, 6, 300),
            Op::Sync,
        ]);
        match round {
            2 => ops.extend([Op::Reset(1, 7), append(1, 0, 2, 10), Op::Write]),
            3 => ops.extend([Op::Forget(2), Op::Vote(2), Op::Write]),
            4 => ops.extend([append(2, 0, 2, 9000), Op::Write, Op::Restart]),
            5 => ops.extend([append(1, 1, 3, 20), Op::Write, append(0, 0, 1, 1)]),
            _ => {}
        }
    }
    ops.push(Op::Sync);
    ops
}
