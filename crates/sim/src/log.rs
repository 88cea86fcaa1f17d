//! What the processes of a run log, on standard error between the lines of its trace.

use std::fmt;
use std::io::stderr;
use std::time::{SystemTime, UNIX_EPOCH};

use sim::system::EPOCH_SECONDS;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// Why a filter makes no sense.
pub(crate) fn valid(filter: &str) -> Result<(), String> {
    let parsed = EnvFilter::try_new(filter);
    parsed
        .map(drop)
        .map_err(|error| format!("the filter `{filter}`: {error}"))
}

/// Prints what the filter lets through from now on.
pub(crate) fn print(filter: &str) {
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_timer(Simulated)
        .with_ansi(false)
        .with_writer(stderr);
    // An error means that another one was set before, and nothing else here sets one.
    let _ = subscriber.try_init();
}

/// The simulated time, as the trace writes it.
struct Simulated;

impl FormatTime for Simulated {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        // On the thread of a run the system's clocks are simulated.
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs_f64() - EPOCH_SECONDS as f64;
        write!(writer, "{now:>12.6}")
    }
}
