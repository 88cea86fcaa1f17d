//! The catalogue. One entry per mutant: the mistake, what should notice it, the faults that it takes, who made it once.

macro_rules! catalogue {
    ($($variant:ident $name:literal {
        mistake: $mistake:literal,
        caught_by: $caught_by:literal,
        needs: $needs:literal,
        $(seen_in: $seen_in:literal,)?
    })*) => {
        /// A deliberate fault in our own code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Mutant {
            $(#[doc = $mistake] #[doc = ""] #[doc = concat!("Noticed by ", $caught_by, "; needs ", $needs, ".")] $variant,)*
        }

        impl Mutant {
            /// All of them, layer by layer.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name, for command lines and reports.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The mistake, in a sentence.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => $mistake,)* }
            }

            /// The property that it violates.
            #[must_use]
            pub const fn caught_by(self) -> &'static str {
                match self { $(Self::$variant => $caught_by,)* }
            }

            /// What must go on for it to show: load, faults, circumstances.
            #[must_use]
            pub const fn needs(self) -> &'static str {
                match self { $(Self::$variant => $needs,)* }
            }

            /// Who made this mistake once, as far as we know.
            #[must_use]
            pub const fn seen_in(self) -> Option<&'static str> {
                match self { $(Self::$variant => seen!($($seen_in)?),)* }
            }
        }
    };
}

macro_rules! seen {
    () => {
        None
    };
    ($who:literal) => {
        Some($who)
    };
}

catalogue! {
    // Raft: terms and votes.
    VoteBeforeSync "vote-before-sync" {
        mistake: "A vote is answered before it is durable, and forgotten in a crash.",
        caught_by: "election safety; promises are durable",
        needs: "crashes that lose unsynced writes, during elections",
        seen_in: "hashicorp/raft, TiKV",
    }
    TermNotPersisted "term-not-persisted" {
        mistake: "A new term is written only together with a vote in it.",
        caught_by: "promises are durable; after a crash the log is ahead of the term, and the replica refuses to start",
        needs: "crashes of followers",
        seen_in: "PySyncObj",
    }
    StaleTermAppend "stale-term-append" {
        mistake: "An append of a leader of the past is taken like one of the present.",
        caught_by: "state machine safety; a replica stops with two leaders in a term",
        needs: "network cuts around leaders, delayed messages",
    }
    VoteForOlderLog "vote-for-older-log" {
        mistake: "A candidate gets the vote although its log is older than the voter's.",
        caught_by: "leader completeness; confirmed writes are lost",
        needs: "followers that lag, leaders that fall",
    }
    VoteTwice "vote-twice" {
        mistake: "A replica gives its vote to every candidate of a term.",
        caught_by: "election safety",
        needs: "candidates in the same term: slow or cut networks",
    }
    TermForgottenAtStart "term-forgotten-at-start" {
        mistake: "A replica that starts again takes the term of its last entry for its own, and has voted for nobody.",
        caught_by: "election safety; the term of a replica never falls",
        needs: "restarts during elections",
        seen_in: "PySyncObj",
    }

    // Raft: the log.
    CommitOfEarlierTerm "commit-of-earlier-term" {
        mistake: "A new leader commits entries of earlier terms by counting their copies, without an entry of its own (the paper's Figure 8).",
        caught_by: "leader completeness; confirmed writes are lost",
        needs: "leaders that fall again and again, each with entries that few have",
    }
    CommitWithoutMajority "commit-without-majority" {
        mistake: "An entry counts as committed once the leader alone has it durably.",
        caught_by: "leader completeness; confirmed writes are lost",
        needs: "leaders that are cut off or fall under load",
    }
    LeaderCountsUnsynced "leader-counts-unsynced" {
        mistake: "The leader counts its own copy of an entry before its log is synced.",
        caught_by: "leader completeness; confirmed writes are lost",
        needs: "crashes of leaders under load, with one follower behind",
    }
    AppendAckBeforeSync "append-ack-before-sync" {
        mistake: "A follower confirms entries before they are durable.",
        caught_by: "promises are durable; confirmed writes are lost",
        needs: "crashes of followers that lose unsynced writes, or of all nodes at once",
    }
    PreviousTermUnchecked "previous-term-unchecked" {
        mistake: "An append is taken by the index of the entry before it, whatever that entry's term.",
        caught_by: "log matching; state machine safety",
        needs: "deposed leaders with entries that nobody has",
    }
    ConflictKept "conflict-kept" {
        mistake: "An entry that contradicts the leader's is kept instead of cut off with all behind it.",
        caught_by: "log matching; state machine safety",
        needs: "deposed leaders with entries that nobody has",
    }
    CommitBeyondMatch "commit-beyond-match" {
        mistake: "A heartbeat carries the commit index as it is, and a follower believes it for whatever its log has there.",
        caught_by: "state machine safety",
        needs: "deposed leaders with entries that nobody has",
    }
    RestWithoutLastCommit "rest-without-last-commit" {
        mistake: "A follower rests although it lacks the news of the last commit, and nobody brings them.",
        caught_by: "who rests is level",
        needs: "lost messages after the last write, and nothing to do afterwards",
        seen_in: "TiKV, CockroachDB",
    }
    LostAppendNotResent "lost-append-not-resent" {
        mistake: "A leader trusts the network with what it has sent once.",
        caught_by: "at rest, replicas are equal",
        needs: "lost messages, and then no further writes",
    }
    SnapshotKeepsLog "snapshot-keeps-log" {
        mistake: "After a snapshot was installed, the entries behind it stay although they are of another history.",
        caught_by: "log matching; a replica stops because a leader contradicts what it calls committed",
        needs: "a deposed leader with many entries that nobody has, while the others compact their logs",
        seen_in: "Scylla #9551",
    }

    // Raft: reads.
    ReadWithoutRound "read-without-round" {
        mistake: "A leader serves a consistent read without asking whether it still is the leader.",
        caught_by: "linearizability",
        needs: "leaders that are cut off or paused, and clients that still reach them",
        seen_in: "etcd, jraft",
    }
    ReadBeforeOwnTerm "read-before-own-term" {
        mistake: "A new leader serves consistent reads before it has committed an entry of its own term.",
        caught_by: "linearizability",
        needs: "changes of leaders under load",
        seen_in: "etcd #7331, TiKV #6340",
    }
    ReadEchoOfAnyRound "read-echo-of-any-round" {
        mistake: "An answer to any round of reads confirms all rounds, later ones included.",
        caught_by: "linearizability",
        needs: "delayed messages to a leader that was replaced meanwhile",
        seen_in: "etcd #20418",
    }

    LeaseFromReceipt "lease-from-receipt" {
        mistake: "A leader's lease begins when a follower's answer arrives, not when the heartbeat that is answered was sent.",
        caught_by: "linearizability",
        needs: "leases; leaders that are paused or hear late, and find old answers when the followers' promises are over",
    }
    LeaseAfterTransfer "lease-after-transfer" {
        mistake: "A leader keeps its lease although it has told another one to stand, for whom followers vote in spite of their promises.",
        caught_by: "linearizability",
        needs: "leases; transfers to a follower whom the old leader does not hear any more",
    }
    LeaseCountedInTicks "lease-counted-in-ticks" {
        mistake: "A lease is measured in ticks, and those that a pause has swallowed are never made up for.",
        caught_by: "linearizability",
        needs: "leases; leaders that are paused and cut off",
    }

    // The log on disk.
    LogReportedBeforeSync "log-reported-before-sync" {
        mistake: "A batch of the log counts as durable once it is written, without a sync.",
        caught_by: "confirmed writes are lost; election safety",
        needs: "power cuts on a majority of a shard's nodes, at once or in a row",
    }
    FailedSyncIgnored "failed-sync-ignored" {
        mistake: "A failed sync is passed over, and the next one is believed.",
        caught_by: "confirmed writes are lost; a node with a failed disk goes on",
        needs: "failing syncs, and power cuts after them",
        seen_in: "PostgreSQL's fsync findings, seen here on ext4",
    }
    ChecksumSkipped "checksum-skipped" {
        mistake: "Recovery of the log takes records without looking at their checksums, so a torn end passes for whole.",
        caught_by: "log matching; a replica stops because an entry can't be decoded",
        needs: "power cuts that tear batches of several sectors, values of a few hundred bytes",
        seen_in: "etcd #6378",
    }
    SegmentNamedBeforeSync "segment-named-before-sync" {
        mistake: "A fresh segment of the log takes its place before its content is synced, what recovery has copied into it included.",
        caught_by: "a node can't start: its log is damaged; confirmed writes are lost",
        needs: "a power cut soon after a start",
    }
    RecoveryWithoutLog "recovery-without-log" {
        mistake: "A replica whose log is gone goes on under its old identity with an empty one.",
        caught_by: "election safety; confirmed writes are lost",
        needs: "a log directory that is lost while the rest of the data directory stays",
    }
    CompactionBeyondDurable "compaction-beyond-durable" {
        mistake: "The log is purged up to what is applied instead of what the store has made durable.",
        caught_by: "a replica can't start: the entries after its state are gone",
        needs: "a small bound of the log, and power cuts under load",
        seen_in: "TiKV #11746",
    }
    LogNeverCompacted "log-never-compacted" {
        mistake: "The log is never purged.",
        caught_by: "the size of the log is bounded",
        needs: "writes of several times the bound of the log",
    }

    // State and snapshots.
    AppliedIndexApart "applied-index-apart" {
        mistake: "The applied index is written in a batch of its own behind the data, so that a crash between the two has entries applied twice.",
        caught_by: "applied index and data agree; replicas are equal at the same index",
        needs: "crashes between two batches of the store, under load",
        seen_in: "etcd 3.5 post-mortem",
    }
    ApplyDependsOnBatching "apply-depends-on-batching" {
        mistake: "A timestamp depends on how many entries this replica applies at a time.",
        caught_by: "replicas are equal at the same index",
        needs: "load under which entries queue up before a replica, or a replay after a crash",
        seen_in: "etcd #11651",
    }
    RetryAppliedTwice "retry-applied-twice" {
        mistake: "A write that was applied already is applied again when it comes again.",
        caught_by: "linearizability; one version per write",
        needs: "lost or late answers, so that writes are sent again",
        seen_in: "TiDB 2.1.7 (Jepsen), TiDB #47060",
    }
    VersionsRestart "versions-restart" {
        mistake: "A key that was deleted begins with version 1 again when it is written anew.",
        caught_by: "versions of a key grow and are never used again",
        needs: "deletes and puts of the same keys",
    }
    DeleteLeavesPlaceholder "delete-leaves-placeholder" {
        mistake: "A delete leaves an item without a value behind, for ever.",
        caught_by: "nothing stands in the place of an absent key but an intent; at rest, the store has exactly the items that exist",
        needs: "deletes",
    }
    SealIgnored "seal-ignored" {
        mistake: "The seal of a shard whose table is being deleted goes through the log and changes nothing.",
        caught_by: "no router serves a table whose deletion was confirmed",
        needs: "a deletion while a majority of the shard is cut off from the controller and ZooKeeper but not from a router that is cut off as well",
    }
    SnapshotForgetsRequests "snapshot-forgets-requests" {
        mistake: "A snapshot is received without the memory of applied writes, so that a retry after it is applied again.",
        caught_by: "replicas are equal at the same index; one version per write",
        needs: "a follower that lags so far that it gets a snapshot",
    }
    SnapshotSwitchNotDurable "snapshot-switch-not-durable" {
        mistake: "The log is reset to a snapshot before the state that was made from it is durable.",
        caught_by: "a replica can't start: the entries after its state are gone",
        needs: "a power cut right after a snapshot was installed",
        seen_in: "TiKV #11746",
    }
    OldGenerationRead "old-generation-read" {
        mistake: "Readers stay with the generation of keys that a snapshot has replaced and that is removed.",
        caught_by: "linearizability: items are absent that were written; eventual reads never catch up",
        needs: "a follower that gets a snapshot and is read, or leads, afterwards",
    }

    // Transactions on a shard.
    TimestampFallsOnDelete "timestamp-falls-on-delete" {
        mistake: "A delete forgets the timestamp of what it removes, so that a key that is written anew may begin below it.",
        caught_by: "the timestamp of a key never falls; no transaction takes effect twice",
        needs: "deletes of items from the future: clocks that go back or differ",
    }
    LatePrepareAccepted "late-prepare-accepted" {
        mistake: "A prepare is accepted whatever its timestamp and whatever has become of its transaction.",
        caught_by: "no transaction takes effect twice; at rest, no intents",
        needs: "prepares that arrive after their transaction is finished",
    }
    OwnPrepareAConflict "own-prepare-a-conflict" {
        mistake: "A prepare that comes again is refused because of the intents that it has made itself.",
        caught_by: "a conflict has a cause",
        needs: "lost answers to prepares, or leaders that fall",
    }
    DecideWithoutWindow "decide-without-window" {
        mistake: "A shard does not remember how a transaction was decided, so that a prepare that comes after the cancellation is accepted.",
        caught_by: "at rest, no intents; a decision never changes",
        needs: "prepares that arrive after their transaction was cancelled, or a ledger that loses what is half applied",
    }
    CancelLeavesPlaceholder "cancel-leaves-placeholder" {
        mistake: "A cancelled transaction leaves an item without a value on a key that was absent.",
        caught_by: "nothing stands in the place of an absent key but an intent",
        needs: "cancelled transactions that put new keys",
    }
    IntentOverwritten "intent-overwritten" {
        mistake: "A plain put goes through although a transaction is prepared on the item, and the intent is gone.",
        caught_by: "strict serializability: a part of a transaction is missing",
        needs: "plain writes and transactions on the same keys",
    }
    SummaryOutlivesDelete "summary-outlives-delete" {
        mistake: "A machine still knows of an item that was deleted, and takes the next put for a change of it.",
        caught_by: "applied index and data agree",
        needs: "puts to keys that were deleted shortly before",
    }
    PrepareInPart "prepare-in-part" {
        mistake: "A prepare leaves out the items that there are objections to and is accepted for the rest.",
        caught_by: "strict serializability: a part of a transaction is missing",
        needs: "transactions that compete for keys",
    }
    IntentsNotInSnapshot "intents-not-in-snapshot" {
        mistake: "A snapshot is received without the records of prepared transactions, so that their decision finds nothing to do.",
        caught_by: "applied index and data agree; replicas are equal at the same index; at rest, no intents",
        needs: "a follower that gets a snapshot while transactions are prepared",
    }
    AbsentWithoutLsn "absent-without-lsn" {
        mistake: "An absent key always has the same sequence number, whatever it was meanwhile.",
        caught_by: "strict serializability: a reading transaction sees two states",
        needs: "transactional reads of keys that come and go",
    }

    // The data node.
    AnswersByIndex "answers-by-index" {
        mistake: "Who waits for an entry gets the answer of whatever was committed at its index, of whatever term.",
        caught_by: "confirmed writes are lost; versions don't fit",
        needs: "deposed leaders with writes that nobody has, and clients that wait long enough",
        seen_in: "seen here",
    }
    ConsistentReadAnywhere "consistent-read-anywhere" {
        mistake: "Any replica answers a consistent read from what it has applied, without waiting for the read index.",
        caught_by: "linearizability",
        needs: "routers that don't know the leader, or know a deposed one",
    }
    DeposedLeaderDenies "deposed-leader-denies" {
        mistake: "A leader that steps down says of the writes in its log that they certainly won't be applied.",
        caught_by: "what was reported as not applied is seen",
        needs: "changes of leaders under load, and deadlines that pass before a retry gets through",
    }
    AbsenceDestroys "absence-destroys" {
        mistake: "A replica whose table is not listed is destroyed without a tombstone.",
        caught_by: "a table is not served again after its record was put back",
        needs: "a coordination store that is restored from a backup, replaced, or read at a server that lags",
    }
    DestroyedReplicaRebuilt "destroyed-replica-rebuilt" {
        mistake: "A replica that was destroyed is made again, empty, by what comes late.",
        caught_by: "at rest, no replica without a table",
        needs: "deletions, while watches reach data nodes late",
        seen_in: "TiKV #1262, CockroachDB #21771",
    }

    LogNotForgotten "log-not-forgotten" {
        mistake: "A destroyed replica's entries stay in the node's log.",
        caught_by: "at rest, no group in a log without a replica",
        needs: "a deletion",
    }

    // The network between router and node.
    AnswersByOrder "answers-by-order" {
        mistake: "The answers of a stream are matched to its requests by their order instead of their numbers.",
        caught_by: "linearizability: reads see values of other keys",
        needs: "several requests in flight to one node",
    }

    // The router.
    RouterDenies "router-denies" {
        mistake: "A write whose answer was lost is reported as certainly not applied.",
        caught_by: "what was reported as not applied is seen",
        needs: "connections that break under load, and a shard without a leader until the deadline",
    }
    FreshIdentityPerCall "fresh-identity-per-call" {
        mistake: "A write that a client sends again gets another identity than the first time.",
        caught_by: "linearizability; one version per write",
        needs: "lost or late answers between client and router, so that writes are sent again",
        seen_in: "TiDB 2.1.7 (Jepsen)",
    }
    AbsenceFromCache "absence-from-cache" {
        mistake: "A router says that a table doesn't exist because it hasn't heard of it yet.",
        caught_by: "a table that was created through one router is usable through another at once",
        needs: "several routers, and watches that take their time",
    }
    DeleteAnsweredEarly "delete-answered-early" {
        mistake: "The deletion of a table is confirmed once it is decided, before anybody has heard of it.",
        caught_by: "a table is unreachable from every router once its deletion was confirmed",
        needs: "several routers, and operations on a table that is being deleted",
        seen_in: "TiDB, YugabyteDB (Jepsen)",
    }
    AvailableWithoutLeaders "available-without-leaders" {
        mistake: "A new table becomes available before each of its shards has had a leader.",
        caught_by: "what is available has had a leader in each shard",
        needs: "a table that is created",
    }
    TombstonesForgotten "tombstones-forgotten" {
        mistake: "A table is removed without a tombstone for the nodes that have not confirmed.",
        caught_by: "at rest, no replica without a table",
        needs: "a data node that is down while a table is deleted",
    }

    SealGivenUp "seal-given-up" {
        mistake: "A shard that can't be sealed for some time passes for one that serves nobody.",
        caught_by: "a table is unreachable from every router once its deletion was confirmed",
        needs: "a router and a majority of a shard's nodes that are cut off from the coordination store and from the controller",
    }
    UndoDestroysData "undo-destroys-data" {
        mistake: "A creation that is undone destroys what was written to the table.",
        caught_by: "data that were written are still there after a creation was undone",
        needs: "a coordination store that is restored from a backup of a moment when the table was being created",
    }
    SealSkipped "seal-skipped" {
        mistake: "A table's replicas are destroyed without a seal in the logs of its shards.",
        caught_by: "a table is unreachable from every router once its deletion was confirmed",
        needs: "routers and data nodes that hear of the deletion late, and still reach each other",
    }
    FailurePassesForDone "failure-passes-for-done" {
        mistake: "A node that was asked to destroy its replicas and could not counts as one that has.",
        caught_by: "at rest, no replica without a table",
        needs: "data nodes that are live and can't be reached, or fail, during a deletion",
    }
    ReconnectUnread "reconnect-unread" {
        mistake: "After a reconnect a router believes in its watches instead of reading again.",
        caught_by: "a table is unreachable from every router once its deletion was confirmed; it serves again",
        needs: "connections to the coordination store that break for less than a session, while tables change",
        seen_in: "zookeeper-client 0.11.2",
    }

    // Transactions.
    PrepareBeforeLedger "prepare-before-ledger" {
        mistake: "A transaction is prepared before its entry in the ledger is confirmed.",
        caught_by: "strict serializability; at rest, no intents",
        needs: "writes to the coordination store that land late or never, and routers that fall",
    }
    DecisionBeforeLedger "decision-before-ledger" {
        mistake: "Shards hear of a decision before it stands in the ledger.",
        caught_by: "all or nothing; strict serializability",
        needs: "routers that fall, or lose their session, while they decide",
    }
    DecisionUnchecked "decision-unchecked" {
        mistake: "A decision is written to the ledger whatever version the entry has, so that a transaction is decided twice.",
        caught_by: "all or nothing; a decision never changes",
        needs: "a router that is slow or cut off while others take its transactions over",
    }
    SuccessBeforeApplied "success-before-applied" {
        mistake: "A transaction is reported as done once it is decided, before every shard has applied it.",
        caught_by: "strict serializability: consistent reads after the answer",
        needs: "shards that are slow to be reached after a decision",
    }
    EntryRemovedEarly "entry-removed-early" {
        mistake: "A transaction's entry goes from the ledger before every shard has applied its decision.",
        caught_by: "all or nothing",
        needs: "a router that falls, and a shard that can't be reached, just after a decision",
    }
    TokenForgotten "token-forgotten" {
        mistake: "A transaction with a client's token leaves no trace of the token.",
        caught_by: "a transaction that is sent again takes effect once",
        needs: "lost answers between client and router, so that transactions with tokens are sent again",
    }
    RecoveryCommitsPending "recovery-commits-pending" {
        mistake: "Recovery commits a pending transaction without knowing that every shard has prepared it.",
        caught_by: "all or nothing; strict serializability",
        needs: "routers that fall between the first prepare and the decision",
    }
    MissingTakenForCancelled "missing-taken-for-cancelled" {
        mistake: "An intent whose transaction is not in the ledger is dropped, without asking the other participants.",
        caught_by: "all or nothing; a decision never changes",
        needs: "a coordination store that is restored or replaced while transactions are applied",
    }
    SecondRoundSkipped "second-round-skipped" {
        mistake: "A transaction's reads are believed after one round.",
        caught_by: "strict serializability: sums over several keys",
        needs: "transactions that write while others read",
    }
    SecondRoundAcceptsLocks "second-round-accepts-locks" {
        mistake: "A round of reads is believed although a transaction is prepared on one of the keys.",
        caught_by: "strict serializability: sums over several keys",
        needs: "transactions that are applied on one shard earlier than on another while others read",
    }

    // The coordination store.
    CreationUnfenced "creation-unfenced" {
        mistake: "A table is created without a check that no table was removed since the attempt began.",
        caught_by: "a table whose deletion was decided never comes back",
        needs: "writes to the coordination store that land late, and a deletion meanwhile",
        seen_in: "zookeeper-client 0.11.2: a write that timed out lands later",
    }
    ClusterNotMoved "cluster-not-moved" {
        mistake: "The removal of a table leaves the version of the cluster as it was, which a late creation checks.",
        caught_by: "a table whose deletion was decided never comes back",
        needs: "writes to the coordination store that land late, and a deletion meanwhile",
    }
    NameLeftBehind "name-left-behind" {
        mistake: "A table is removed and its name stays taken.",
        caught_by: "at rest, no residue in the coordination store",
        needs: "a deletion",
    }
    VersionUnchecked "version-unchecked" {
        mistake: "A table's state is written without a look at the version that was read, so that a late controller takes a deletion back.",
        caught_by: "a table whose deletion was decided never comes back",
        needs: "a deletion that races the creation",
        seen_in: "TiDB, YugabyteDB (Jepsen)",
    }

    ListedIsDropped "listed-is-dropped" {
        mistake: "Replicas that are quarantined are dropped without a look whether their table is listed.",
        caught_by: "a listed table is not dropped",
        needs: "a table that is listed again, and a node that has not heard of it",
    }
    KeepUnfenced "keep-unfenced" {
        mistake: "A lost table is listed again without a check that it was not dropped since its nodes were asked.",
        caught_by: "a table that was dropped is never listed again",
        needs: "a table that is kept and dropped at the same time",
    }
    AliveIsForgotten "alive-is-forgotten" {
        mistake: "A data node is forgotten without a look whether it is alive.",
        caught_by: "only nodes that are not alive are forgotten",
        needs: "an operator who is mistaken",
    }

    // The client.
    ClientDenies "client-denies" {
        mistake: "The client says of a write whose answer was lost that it was not applied.",
        caught_by: "what was reported as not applied is seen",
        needs: "routers that fall, or connections to them that break, under load",
    }
}
