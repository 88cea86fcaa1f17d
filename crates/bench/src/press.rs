//! One run: load on one system, and what its servers and everybody else use meanwhile.

use std::io;
use std::time::{Duration, Instant};

use load::{Measured, Plan, Target, process};

use crate::Failure;
use crate::measurements::Run;

/// Presses on one system, and looks what others on this machine do meanwhile. The first `charged` of its servers are those
/// that an operation is charged with.
pub(crate) async fn press<T: Target>(
    mut plan: Plan,
    servers: Vec<u32>,
    charged: usize,
    targets: &[T],
) -> Result<Run, Failure> {
    let sample = || Sample::take(&servers).map_err(Failure::to("see what processes use"));
    plan.servers.clone_from(&servers);
    let before = sample()?;
    let measured = load::run(&plan, targets)
        .await
        .map_err(Failure::to("see what the servers use"))?;
    let after = sample()?;
    succeeded(&measured)?;
    Ok(Run {
        foreign: after.foreign_since(&before),
        ..Run::of(&measured, charged)
    })
}

/// Writes all keys.
pub(crate) async fn fill<T: Target>(plan: &Plan, targets: &[T]) -> Result<(), Failure> {
    let written = load::fill(plan, targets)
        .await
        .map_err(Failure::to("write the keys"))?;
    if written.first_error.is_some() {
        return Err(Failure::new(format!(
            "can't write the keys: {:?}",
            written.errors
        )));
    }
    succeeded(&written)
}

/// A run without a single success is none.
fn succeeded<E>(measured: &Measured<E>) -> Result<(), Failure> {
    if measured.operations() == 0 {
        return Err(Failure::new(format!(
            "no operation has succeeded; errors: {:?}",
            measured.errors
        )));
    }
    Ok(())
}

/// What processes have used at one moment.
struct Sample {
    at: Instant,
    machine: Duration,
    /// The servers that are under load, and this process.
    own: Duration,
}

impl Sample {
    fn take(servers: &[u32]) -> io::Result<Self> {
        Ok(Self {
            at: Instant::now(),
            machine: process::machine_cpu()?,
            own: process::cpu(servers)?.iter().sum::<Duration>() + process::own_cpu()?,
        })
    }

    /// The share of the machine's processors that others have used between two samples.
    fn foreign_since(&self, before: &Self) -> f64 {
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let busy = self.machine.saturating_sub(before.machine);
        let own = self.own.saturating_sub(before.own);
        let elapsed = self.at.duration_since(before.at).as_secs_f64().max(0.001);
        (busy.saturating_sub(own).as_secs_f64() / elapsed / cores).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_have_what_is_neither_the_servers_nor_ours() {
        let begin = Instant::now();
        let sample = |seconds: u64, machine: u64, own: u64| Sample {
            at: begin + Duration::from_secs(seconds),
            machine: Duration::from_secs(machine),
            own: Duration::from_secs(own),
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let foreign = sample(10, 18, 13).foreign_since(&sample(0, 0, 0));
        assert!((foreign - 0.5 / cores).abs() < 1e-9);
        let none = sample(10, 5, 6).foreign_since(&sample(0, 0, 0));
        assert!(none.abs() < 1e-9, "clocks of processes tick apart");
    }
}
