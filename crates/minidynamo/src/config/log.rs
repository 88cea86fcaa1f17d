//! Logs.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// How a process logs, to standard error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[group(id = "log_settings")]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Form of the log on standard error: text or json [default: text]
    #[arg(
        long = "log-format",
        id = "log_format",
        value_name = "FORMAT",
        hide_possible_values = true,
        env = "MINIDYNAMO_LOG_FORMAT",
        hide_env = true
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// error, warn, info, debug, trace, or a filter like info,datanode=debug [default: info]
    #[arg(
        long = "log-level",
        id = "log_level",
        value_name = "LEVEL",
        env = "MINIDYNAMO_LOG_LEVEL",
        hide_env = true
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
}

impl Settings {
    /// What holds where nothing else is said.
    pub fn defaults() -> Self {
        Self {
            format: Some(Format::Text),
            level: Some("info".to_owned()),
        }
    }
}

/// The form of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A line for people
    Text,
    /// A JSON object per line
    Json,
}
