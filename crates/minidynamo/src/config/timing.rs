//! The times that decide how soon a failure is noticed, and what rests on them.

use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::cli::{Failure, duration};

/// Raft's times, and how it reads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub struct Raft {
    /// Time between heartbeats of a shard's leader [default: 100ms]
    #[arg(long, value_name = "DURATION", env = "MINIDYNAMO_HEARTBEAT", hide_env = true,
        value_parser = duration::parse_positive)]
    #[serde(with = "duration::text", skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<Duration>,
    /// Time without a leader before a follower stands for election, at most twice as much
    /// [default: 500ms]
    #[arg(long, value_name = "DURATION", env = "MINIDYNAMO_ELECTION_TIMEOUT", hide_env = true,
        value_parser = duration::parse_positive)]
    #[serde(with = "duration::text", skip_serializing_if = "Option::is_none")]
    pub election_timeout: Option<Duration>,
    /// How a leader makes sure that it still leads when it is read from: quorum or lease [default: quorum]
    #[arg(
        long,
        value_name = "MODE",
        hide_possible_values = true,
        env = "MINIDYNAMO_READ_MODE",
        hide_env = true
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_mode: Option<ReadMode>,
}

/// How a leader answers consistent reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ReadMode {
    /// It asks a majority
    Quorum,
    /// It has a majority's word, and relies on clocks
    Lease,
}

impl From<ReadMode> for datanode::ReadMode {
    fn from(mode: ReadMode) -> Self {
        match mode {
            ReadMode::Quorum => Self::Quorum,
            ReadMode::Lease => Self::Lease,
        }
    }
}

impl Raft {
    /// What holds where nothing else is said.
    pub fn defaults() -> Self {
        Self {
            heartbeat: Some(Duration::from_millis(100)),
            election_timeout: Some(Duration::from_millis(500)),
            read_mode: Some(ReadMode::Quorum),
        }
    }

    /// The settings as a data node wants them: in ticks of half a heartbeat.
    pub fn tuning(&self) -> Result<datanode::Tuning, Failure> {
        let defaults = Self::defaults();
        let millis = |duration: Option<Duration>, default: Option<Duration>| {
            duration.or(default).unwrap_or_default().as_millis() as u64
        };
        let heartbeat = millis(self.heartbeat, defaults.heartbeat);
        let election = millis(self.election_timeout, defaults.election_timeout);
        if heartbeat < 10 {
            return Err(Failure::usage("heartbeat: must be 10ms or more"));
        }
        if election < 3 * heartbeat || election > 600_000 {
            return Err(Failure::usage(
                "election-timeout: must be at least 3 heartbeats, so that one lost message is no reason \
                 for an election, and at most 10m",
            ));
        }
        let tick_millis = heartbeat / 2;
        let election_ticks = election.div_ceil(tick_millis) as u32;
        let usual = datanode::Tuning::default();
        let as_long = |ticks: u64| (ticks * usual.tick_millis).div_ceil(tick_millis);
        Ok(datanode::Tuning {
            tick_millis,
            heartbeat_ticks: 2,
            election_ticks,
            // As long as ever, but not before it is clear who leads.
            home_ticks: (as_long(usual.home_ticks.into()) as u32).max(2 * election_ticks),
            read_mode: self.read_mode.map_or(usual.read_mode, Into::into),
            rest_ticks: as_long(usual.rest_ticks).max(2 * u64::from(election_ticks)),
            ..usual
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raft(heartbeat: u64, election: u64) -> Raft {
        Raft {
            heartbeat: Some(Duration::from_millis(heartbeat)),
            election_timeout: Some(Duration::from_millis(election)),
            read_mode: None,
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_data_node() {
        let (ours, theirs) = (
            Raft::defaults().tuning().unwrap(),
            datanode::Tuning::default(),
        );
        assert_eq!(ours.tick_millis, theirs.tick_millis);
        assert_eq!(ours.heartbeat_ticks, theirs.heartbeat_ticks);
        assert_eq!(ours.election_ticks, theirs.election_ticks);
        assert_eq!(ours.home_ticks, theirs.home_ticks);
        assert_eq!(ours.rest_ticks, theirs.rest_ticks);
    }

    #[test]
    fn reads_go_by_a_quorum_unless_a_lease_is_wanted() {
        let mode = |read_mode| {
            let raft = Raft {
                read_mode,
                ..raft(100, 500)
            };
            raft.tuning().unwrap().read_mode
        };
        assert_eq!(mode(None), datanode::ReadMode::Quorum);
        assert_eq!(mode(Some(ReadMode::Lease)), datanode::ReadMode::Lease);
    }

    #[test]
    fn leaders_go_home_after_five_seconds_or_two_election_timeouts() {
        let ticks = |heartbeat, election| raft(heartbeat, election).tuning().unwrap().home_ticks;
        assert_eq!(ticks(20, 60), 500);
        assert_eq!(ticks(1000, 10_000), 40);
    }

    #[test]
    fn times_that_can_not_work_are_refused() {
        assert!(raft(20, 60).tuning().is_ok());
        for (heartbeat, election) in [(1, 500), (100, 299), (100, 600_001)] {
            assert_eq!(raft(heartbeat, election).tuning().unwrap_err().exit, 2);
        }
    }
}
