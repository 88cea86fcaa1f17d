//! What processes of this machine have used, as `/proc` tells it.

use std::fs;
use std::io;
use std::time::Duration;

/// The CPU time that each of these processes has used since it began, all its threads together.
pub fn cpu(pids: &[u32]) -> io::Result<Vec<Duration>> {
    pids.iter().map(|pid| cpu_of(&pid.to_string())).collect()
}

/// The CPU time that this process has used.
pub fn own_cpu() -> io::Result<Duration> {
    cpu_of("self")
}

/// The time for which the processors of this machine were busy since it started, for whomever, added up.
pub fn machine_cpu() -> io::Result<Duration> {
    let text = fs::read_to_string("/proc/stat")?;
    let ticks = busy_ticks(&text).ok_or_else(|| unreadable("/proc/stat"))?;
    Ok(duration(ticks))
}

/// The memory of a process that is resident now, in bytes.
pub fn resident(pid: u32) -> io::Result<u64> {
    let path = format!("/proc/{pid}/status");
    resident_bytes(&fs::read_to_string(&path)?).ok_or_else(|| unreadable(&path))
}

fn cpu_of(process: &str) -> io::Result<Duration> {
    let path = format!("/proc/{process}/stat");
    let text = fs::read_to_string(&path)
        .map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))?;
    let ticks = process_ticks(&text).ok_or_else(|| unreadable(&path))?;
    Ok(duration(ticks))
}

fn unreadable(path: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{path} is not of the form that proc(5) describes"),
    )
}

fn duration(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// `utime` and `stime`, the fields 14 and 15. The second one, the name in parentheses, may contain anything.
fn process_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Of the first line all but `idle`, `iowait`, and the guests, which are in `user` already. What the hypervisor stole is
/// busy: somebody else had the processor.
fn busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let fields = line.split_ascii_whitespace().map(str::parse::<u64>);
    let fields = fields.collect::<Result<Vec<_>, _>>().ok()?;
    let busy = fields.iter().enumerate().take(8);
    let busy = busy.filter(|(index, _)| ![3, 4].contains(index));
    (fields.len() >= 8).then(|| busy.map(|(_, ticks)| ticks).sum())
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_process_is_read_behind_whatever_name_it_has() {
        let stat = "4711 (a) R 1 (b) S 1 4711 4711 0 -1 4194560 12 0 0 0 250 31 7 8 20 0 3 0 99";
        assert_eq!(process_ticks(stat), Some(281));
        assert_eq!(process_ticks("4711 (etcd) S 1 2 3"), None);
        assert_eq!(process_ticks(""), None);
    }

    #[test]
    fn the_machine_is_busy_with_all_but_waiting() {
        let stat =
            "cpu  10 20 300 4000 50000 600000 7000000 80000000 10 10\ncpu0 1 2 3 4 5 6 7 8 9 0\n";
        assert_eq!(
            busy_ticks(stat),
            Some(10 + 20 + 300 + 600_000 + 7_000_000 + 80_000_000)
        );
        assert_eq!(busy_ticks("cpu  1 2 3"), None);
        assert_eq!(busy_ticks("intr 1 2 3"), None);
    }

    #[test]
    fn resident_memory_is_in_bytes() {
        let status = "Name:\tx\nVmHWM:\t  9000 kB\nVmRSS:\t    2048 kB\nThreads:\t1\n";
        assert_eq!(resident_bytes(status), Some(2 << 20));
        assert_eq!(resident_bytes("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn this_process_and_this_machine_can_be_read() {
        let id = std::process::id();
        let before = cpu(&[id]).unwrap();
        let begin = std::time::Instant::now();
        while begin.elapsed() < Duration::from_millis(100) {
            std::hint::spin_loop();
        }
        let after = cpu(&[id]).unwrap();
        assert!(after > before, "{before:?} {after:?}");
        assert!(own_cpu().unwrap() <= machine_cpu().unwrap());
        assert!(resident(id).unwrap() > 100_000);
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error_that_names_it() {
        // Above the largest id that Linux gives.
        let error = cpu(&[4_194_305]).unwrap_err();
        assert!(error.to_string().contains("4194305"), "{error}");
    }
}
