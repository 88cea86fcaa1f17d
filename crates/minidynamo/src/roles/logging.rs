//! Logs, to standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::cli::Failure;
use crate::config::log::{Format, Settings};

/// What the storage engine reports at `info` is of interest to its own developers.
const QUIET_ENGINE: &str = "info,fjall=warn,lsm_tree=warn";

/// Starts logging for the rest of the process's life.
pub(super) fn start(settings: &Settings) -> Result<(), Failure> {
    let level = settings.level.as_deref().unwrap_or("info");
    let directives = if level == "info" { QUIET_ENGINE } else { level };
    let filter = EnvFilter::try_new(directives).map_err(|error| {
        Failure::usage(format!(
            "`{level}` is not a log level: {error}; expected error, warn, info, debug, trace, or a filter \
             like info,datanode=debug"
        ))
    })?;
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours);
    let started = match settings.format {
        Some(Format::Json) => log.json().flatten_event(true).try_init(),
        _ => log.try_init(),
    };
    started.map_err(|error| Failure::new(format!("can't start logging: {error}")))
}
