//! Scripts: what happens to a group, and the trace that it must leave.
//!
//! A file is a sequence of commands (`> …`), each followed by what comes of it, and comments (`# …`). Entries are written
//! `index@term`. The commands:
//!
//! | command | |
//! |---|---|
//! | `group 3` | a new group of so many replicas |
//! | `log 1 term 3 terms 1 1 2 applied 1` | replica 1 starts with a durable log of entries of these terms |
//! | `campaign 1`, `tick 1 [times]`, `propose 1 x`, `read 1 7`, `transfer 1 2` | an input to replica 1 |
//! | `rest 1` | replica 1 lets its group rest, if it may |
//! | `wake 1`, `unheard 1 10` | replica 1 is woken; it is told for how long nothing was heard of its leader's process |
//! | `sync 1` | everything that it has written so far is durable |
//! | `deliver [1->2]` | what is under way (there) arrives |
//! | `lose 1->2`, `double 1->2` | what is under way there is lost, or will arrive twice |
//! | `cut 1->2`, `mend` | nothing arrives there; everything does again |
//! | `settle` | syncs, deliveries, fetches, until nothing is left to do |
//! | `crash 1`, `restart 1` | everything that is not durable is lost; it starts again |
//! | `flush 1`, `compact 1 4` | its state is durable; its log is purged up to there |
//! | `snapshot 1->3` | the whole of a snapshot is sent and installed |
//! | `status` | a line for each replica |
//!
//! A command after `>>` says nothing of what comes of it. `RAFT_SCRIPTS=write` writes the traces anew: read what has changed.

mod runner;
mod trace;

use std::fs;
use std::path::Path;

use runner::Runner;

fn check(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/scripts")
        .join(name)
        .with_extension("txt");
    let expected = fs::read_to_string(&path).unwrap();
    let actual = run(&expected);
    if std::env::var("RAFT_SCRIPTS").is_ok_and(|value| value == "write") {
        fs::write(&path, &actual).unwrap();
    }
    for (number, (expected, actual)) in expected.lines().zip(actual.lines()).enumerate() {
        assert_eq!(
            expected,
            actual,
            "{name}, line {}; the whole trace:\n{actual}",
            number + 1
        );
    }
    assert_eq!(expected, actual);
}

/// The script again, with the traces that its commands leave.
fn run(script: &str) -> String {
    let mut runner = Runner::default();
    let mut out = Vec::new();
    for line in script.lines() {
        let (command, quiet) = match (line.strip_prefix(">> "), line.strip_prefix("> ")) {
            (Some(command), _) => (command, true),
            (_, Some(command)) => (command, false),
            _ if line.is_empty() || line.starts_with('#') => {
                out.push(line.to_owned());
                continue;
            }
            _ => continue,
        };
        let trace = runner.run(command);
        out.push(line.to_owned());
        out.extend(trace.into_iter().filter(|_| !quiet));
    }
    out.join("\n") + "\n"
}

macro_rules! scripts {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            check(stringify!($name));
        })*

        /// A script that nobody runs would be a test that cannot fail.
        #[test]
        fn every_script_is_run() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
            let mut files: Vec<String> = fs::read_dir(folder)
                .unwrap()
                .map(|file| file.unwrap().path())
                .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
                .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
                .collect();
            files.sort();
            let mut names = vec![$(stringify!($name)),*];
            names.sort_unstable();
            assert_eq!(files, names);
        }
    };
}

scripts! {
    a_candidate_with_a_majority_becomes_leader_and_commits_a_no_op
    a_deposed_leader_s_entries_are_replaced_a_term_at_a_time
    a_follower_beyond_the_log_gets_a_snapshot_which_drops_its_trailing_entries
    a_follower_that_was_cut_off_does_not_disturb_when_it_returns
    a_group_rests_and_wakes
    a_lagging_follower_is_fed_from_the_durable_log
    a_leader_cut_off_from_its_majority_steps_down_and_fails_its_reads
    a_leader_hands_over_to_a_follower_that_has_everything
    a_read_waits_for_the_leader_s_first_commit
    a_restart_of_all_loses_nothing_that_was_confirmed
    a_vote_is_answered_only_when_it_is_durable
    answers_to_an_earlier_read_round_do_not_confirm_a_later_one
    the_state_may_be_ahead_of_the_log_after_a_crash
}
