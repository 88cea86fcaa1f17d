//! All randomness and all time of a run follow from its seed.
//!
//! Product code draws from the thread's generator (`rand::random`), and hash maps and the runtime draw the
//! keys that decide their orders. All of them get their seed from the C library's `getrandom`. Some
//! libraries read the system's clocks: hyper for the `date` of its answers, h2 for how long it remembers a
//! stream. This program has a `getrandom` and a `clock_gettime` of its own, which the linker prefers: on a
//! thread that has called [`seed`] they answer from that seed and from [`set_time`]; on every other they
//! ask the kernel.
//!
//! # Caveats
//!
//! A few libraries draw once per process, or count in statics (tokio counts its runtimes). So a process
//! does one run, on a thread that calls [`seed`] before it does anything else.

#![allow(unsafe_code)]

use std::cell::Cell;

thread_local! {
    static STATE: Cell<Option<u64>> = const { Cell::new(None) };
    static MICROS: Cell<u64> = const { Cell::new(0) };
}

/// Where the clocks of a run begin, seconds since the Unix epoch: 2026-01-01.
pub const EPOCH_SECONDS: u64 = 1_767_225_600;

/// Lets everything that this thread draws from now on follow from `seed`. To be called before anything
/// was drawn on this thread.
pub fn seed(seed: u64) {
    STATE.with(|state| state.set(Some(seed)));
}

/// What the system's clocks say on this thread, as microseconds since the beginning of its run.
pub fn set_time(micros: u64) {
    MICROS.with(|time| time.set(micros));
}

/// Steele, Lea and Flood's SplitMix64.
fn next(state: u64) -> (u64, u64) {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (state, z ^ (z >> 31))
}

fn fill(bytes: &mut [u8]) -> bool {
    STATE
        .try_with(|cell| {
            let Some(mut state) = cell.get() else {
                return false;
            };
            for chunk in bytes.chunks_mut(8) {
                let (following, value) = next(state);
                state = following;
                chunk.copy_from_slice(&value.to_le_bytes()[..chunk.len()]);
            }
            cell.set(Some(state));
            true
        })
        .unwrap_or(false)
}

/// Stands in for the C library's function of the same name, with its contract: fills `length` bytes at
/// `buffer` and returns their number, or -1.
///
/// # Safety
///
/// `buffer` must be valid for writes of `length` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, flags: u32) -> isize {
    if length > 0 {
        // SAFETY: the caller promises so; zeroed first because the memory may be uninitialised.
        let bytes = unsafe {
            std::ptr::write_bytes(buffer, 0, length);
            std::slice::from_raw_parts_mut(buffer, length)
        };
        if fill(bytes) {
            return length.cast_signed();
        }
    }
    // SAFETY: the caller promises so.
    unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) as isize }
}

/// Stands in for the C library's function of the same name, with its contract: writes a clock's reading to
/// `time` and returns 0, or -1.
///
/// # Safety
///
/// `time` must be valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(
    clock: libc::clockid_t,
    time: *mut libc::timespec,
) -> libc::c_int {
    let simulated = STATE
        .try_with(|state| state.get().is_some())
        .unwrap_or(false);
    if !simulated {
        // SAFETY: the caller promises so.
        return unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) as libc::c_int };
    }
    let micros = MICROS.try_with(Cell::get).unwrap_or(0);
    let reading = libc::timespec {
        tv_sec: (EPOCH_SECONDS + micros / 1_000_000).cast_signed(),
        tv_nsec: (micros % 1_000_000 * 1000).cast_signed(),
    };
    // SAFETY: the caller promises so.
    unsafe { time.write(reading) };
    0
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// What a thread draws: from the thread's generator, and as the order of a hash set.
    fn drawn(seed_of_thread: u64) -> (u64, Vec<u32>) {
        let thread = std::thread::spawn(move || {
            seed(seed_of_thread);
            let numbers: HashSet<u32> = (0..100).collect();
            (rand::random(), numbers.into_iter().collect())
        });
        thread.join().unwrap()
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1).0, drawn(2).0);
        assert_ne!(drawn(1).1, drawn(2).1);
    }

    #[test]
    fn the_clocks_stand_still_until_they_are_moved() {
        let thread = std::thread::spawn(|| {
            seed(1);
            let begin = (std::time::Instant::now(), std::time::SystemTime::now());
            set_time(1_500);
            (begin.0.elapsed(), begin.1.elapsed())
        });
        let (monotonic, wall) = thread.join().unwrap();
        let passed = std::time::Duration::from_micros(1_500);
        assert_eq!((monotonic, wall.unwrap()), (passed, passed));
    }

    #[test]
    fn a_thread_without_a_seed_draws_from_the_system() {
        let draw = || std::thread::spawn(rand::random::<u64>).join().unwrap();
        assert_ne!(draw(), draw());
    }
}
