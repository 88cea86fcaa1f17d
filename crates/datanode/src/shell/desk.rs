//! A worker with its ticks, and the ways out of it.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use environment::Clock;
use model::ShardId;
use raft::{Fetch, Index};

use super::combining::{Turned, Work};
use super::log_write::LogWork;
use super::pressure::Pressure;
use super::{Outside, Workers};
use crate::hosted::Hosted;
use crate::log_writer::LogJob;
use crate::options::Probe;
use crate::worker::{Input, LogWrite, Outputs, Worker};

/// See the [module](self).
pub(super) struct Desk {
    pub(super) number: usize,
    pub(super) worker: Worker,
    pub(super) pressure: Pressure,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tick_millis: u64,
    pub(super) next_tick_millis: u64,
    pub(super) probe: Option<Arc<dyn Probe>>,
    pub(super) hosted: Hosted,
    pub(super) workers: Workers,
    pub(super) log: Sender<Option<LogWork>>,
    pub(super) fetches: Sender<(ShardId, Fetch)>,
    pub(super) syncs: Sender<Vec<(ShardId, Index)>>,
    pub(super) outside: Arc<dyn Outside>,
}

impl Work for Desk {
    type Item = Input;
    const TURN: usize = 4096;

    fn turn(&mut self, mut inputs: Vec<Input>) -> Turned {
        let now = self.clock.now();
        if now.monotonic_millis >= self.next_tick_millis {
            inputs.push(Input::Tick);
            self.pressure.ticked();
            // Ticks that were missed, by a pause for one, are not made up for.
            self.next_tick_millis = now.monotonic_millis + self.tick_millis;
        }
        if inputs.is_empty() {
            return Turned::Idle;
        }
        let mut outputs = self.worker.turn(inputs, now);
        if let Some(probe) = &self.probe {
            probe.turned(&self.worker, &mut outputs);
        }
        self.carry_out(outputs)
    }

    fn due_in(&self) -> Option<Duration> {
        let now = self.clock.now().monotonic_millis;
        let left = self.next_tick_millis.saturating_sub(now);
        Some(Duration::from_millis(left))
    }

    fn is_for_thread(&mut self, inputs: &[Input]) -> bool {
        if inputs.iter().any(Input::brings_entries) {
            self.pressure.entries_came(self.worker.waits_for_log());
        }
        self.pressure.is_on()
    }
}

impl Desk {
    fn carry_out(&self, outputs: Outputs) -> Turned {
        if let Some(write) = outputs.log {
            self.write(write);
        }
        for (to, messages) in outputs.send {
            self.outside.send(to, messages);
        }
        for to in outputs.signs {
            self.outside.send(to, Vec::new());
        }
        let to_apply = !outputs.apply.is_empty();
        if to_apply {
            self.workers.seats[self.number].applier.leave(outputs.apply);
        }
        for fetch in outputs.fetch {
            let _ = self.fetches.send(fetch);
        }
        for (to, request) in outputs.forward {
            self.outside.forward(to, request);
        }
        for snapshot in outputs.snapshots {
            self.outside.send_snapshot(snapshot);
        }
        if let Some(points) = outputs.persist_store {
            let _ = self.syncs.send(points);
        }
        for (shard, detail) in outputs.stopped {
            crate::applier::show_stopped(&self.hosted, shard, &detail);
        }
        if !to_apply {
            return Turned::Worked;
        }
        if self.pressure.is_on() {
            self.workers.seats[self.number].applier.hand_over();
            return Turned::Worked;
        }
        let (workers, number) = (self.workers.clone(), self.number);
        Turned::Then(Box::new(move || workers.seats[number].applier.attend()))
    }

    fn write(&self, write: LogWrite) {
        let job = LogJob::Worker {
            worker: self.number,
            write,
        };
        let _ = self.log.send(Some(LogWork { job, done: None }));
    }
}
