//! Effects and messages in a few words.

use raft::{AppendResult, Body, Effects, Entry, EntryKind, Message, Persist, Role};

use crate::common::Node;

fn entry(entry: &Entry) -> String {
    let mark = if entry.kind == EntryKind::Noop {
        "-"
    } else {
        ""
    };
    format!("{}@{}{mark}", entry.index, entry.term)
}

fn entries(entries: &[Entry]) -> String {
    entries.iter().map(entry).collect::<Vec<_>>().join(" ")
}

fn round(sequence: u64) -> String {
    if sequence == 0 {
        String::new()
    } else {
        format!(", round {sequence}")
    }
}

fn yes(granted: bool) -> &'static str {
    if granted { "yes" } else { "no" }
}

fn body(body: &Body) -> String {
    match body {
        Body::RequestPreVote {
            last_index,
            last_term,
        } => {
            format!("RequestPreVote, last {last_index}@{last_term}")
        }
        Body::PreVote { granted } => format!("PreVote {}", yes(*granted)),
        Body::RequestVote {
            last_index,
            last_term,
            transfer,
        } => {
            let transfer = if *transfer { ", transfer" } else { "" };
            format!("RequestVote, last {last_index}@{last_term}{transfer}")
        }
        Body::Vote { granted } => format!("Vote {}", yes(*granted)),
        Body::Append {
            previous_index,
            previous_term,
            entries: new,
            committed,
            read_sequence,
        } => {
            let (new, round) = (entries(new), round(*read_sequence));
            format!(
                "Append after {previous_index}@{previous_term} [{new}], committed {committed}{round}"
            )
        }
        Body::Appended {
            result: AppendResult::Match(index),
            read_sequence,
        } => {
            format!("Appended up to {index}{}", round(*read_sequence))
        }
        Body::Appended {
            result:
                AppendResult::Reject {
                    rejected,
                    hint_index,
                    hint_term,
                },
            read_sequence,
        } => {
            let round = round(*read_sequence);
            format!("Appended nothing after {rejected}, try {hint_index}@{hint_term}{round}")
        }
        Body::Heartbeat {
            committed,
            read_sequence,
        } => {
            format!("Heartbeat, committed {committed}{}", round(*read_sequence))
        }
        Body::HeartbeatAck { read_sequence, .. } => {
            format!("HeartbeatAck{}", round(*read_sequence))
        }
        Body::TimeoutNow => "TimeoutNow".to_owned(),
        Body::Rest {
            last_index,
            last_term,
        } => format!("Rest, last {last_index}@{last_term}"),
        Body::Wake => "Wake".to_owned(),
    }
}

pub fn message(message: &Message) -> String {
    format!(
        "{}->{} in {}: {}",
        message.from,
        message.to,
        message.term,
        body(&message.body)
    )
}

fn persist(persist: &Persist) -> String {
    let mut parts = Vec::new();
    if let Some(hard) = persist.hard_state {
        let vote = hard
            .vote
            .map_or(String::new(), |vote| format!(" vote {vote}"));
        parts.push(format!("term {}{vote}", hard.term));
    }
    if let Some((index, term)) = persist.reset {
        parts.push(format!("log begins after {index}@{term}"));
    }
    if !persist.append.is_empty() {
        parts.push(format!("entries {}", entries(&persist.append)));
    }
    parts.join(", ")
}

pub fn effects(id: u64, effects: &Effects) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(change) = effects.role {
        let leader = change
            .leader
            .map_or("nobody".to_owned(), |leader| leader.to_string());
        lines.push(format!(
            "  {id} is {:?} in {}, led by {leader}",
            change.role, change.term
        ));
    }
    if let Some(write) = &effects.persist {
        lines.push(format!("  {id} writes {}", persist(write)));
    }
    if !effects.apply.is_empty() {
        lines.push(format!("  {id} applies {}", entries(&effects.apply)));
    }
    for (read, index) in &effects.reads {
        lines.push(format!("  {id} may serve read {read} at {index}"));
    }
    for read in &effects.reads_failed {
        lines.push(format!("  {id} fails read {read}"));
    }
    for fetch in &effects.fetch {
        lines.push(format!(
            "  {id} fetches from {} to {} for {}",
            fetch.after.next(),
            fetch.up_to,
            fetch.to
        ));
    }
    for to in &effects.snapshots {
        lines.push(format!("  {id} wants a snapshot for {to}"));
    }
    if let Some(broken) = &effects.broken {
        lines.push(format!("  {id} has stopped: {broken}"));
    }
    lines.extend(
        effects
            .send
            .iter()
            .map(|sent| format!("  {}", message(sent))),
    );
    lines
}

pub fn status(node: &Node) -> String {
    if !node.up {
        return format!("  {} is down", node.id());
    }
    let replica = &node.replica;
    let role = match replica.role() {
        Role::Leader => "leads",
        Role::Follower => "follows",
        Role::PreCandidate | Role::Candidate => "stands",
    };
    let log: Vec<Entry> = node.log.values().cloned().collect();
    format!(
        "  {} {role} in {}, log after {} [{}], committed {}, applied {}",
        node.id(),
        replica.term(),
        node.start.0,
        entries(&log),
        replica.committed(),
        node.store.index
    )
}
