//! The kinds of faults.

/// Declares the kinds with their names.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)*) => {
        /// A kind of fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// What it is called in reports.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }
        }
    };
}

kinds! {
    /// A data node is killed and started again.
    KillNode = "node killed",
    /// A data node is asked to end, hands its leaderships over and is started again.
    StopNode = "node stopped",
    /// A data node's machine loses its power.
    PowerNode = "power of a node",
    /// All data nodes' machines lose their power.
    PowerAll = "power of all nodes",
    /// All data nodes and routers are killed and started again at once.
    KillAll = "all processes killed",
    /// The power goes in the middle of something that a disk does.
    DoomDisk = "power during a write",
    /// A data node's log is lost while it is down; its identity and its state stay. Once in a run.
    LoseLog = "log lost",
    /// For some seconds, whoever is elected to lead a shard is cut off from the other nodes soon afterwards,
    /// until the next one is.
    HuntLeaders = "leaders hunted",
    /// For some seconds, routers are killed or paused in the middle of transactions that they coordinate.
    HuntCoordinators = "coordinators hunted",
    /// For some seconds, the ledger loses the entries of transactions that some of their shards have committed and others
    /// have not yet, mostly together with their coordinators.
    LoseEntries = "ledger entries lost",
    /// A data node is stopped for a while, and goes on.
    PauseNode = "node paused",
    /// A data node is stopped for about as long as an election takes, and goes on before it hears what the others have said meanwhile.
    PauseBehindCut = "node paused behind a cut",
    /// A leader and another data node don't hear each other, until a third one is killed and started again at once, which
    /// the leader does not hear of.
    RestartBehindCut = "node restarted behind a cut",
    /// A data node is asked to end, and hands its leaderships over, while it hears no other one.
    StopBehindCut = "node stopped behind a cut",
    /// A router is killed and started again.
    KillRouter = "router killed",
    /// A router is asked to end and is started again.
    StopRouter = "router stopped",
    /// A router is stopped for a while, and goes on.
    PauseRouter = "router paused",
    /// One host does not hear another.
    CutOneWay = "one-way cut",
    /// Two hosts don't hear each other.
    CutBothWays = "two-way cut",
    /// A node hears nobody, the coordination store included.
    CutOffNode = "node cut off",
    /// A node hears no other node, but routers.
    CutNodeFromNodes = "node cut from nodes",
    /// No node hears another.
    CutMajority = "majority cut",
    /// Packets are lost and sent again.
    LossyNetwork = "lossy network",
    /// Packets are held up for seconds.
    StallingNetwork = "stalling network",
    /// Everything takes longer.
    SlowNetwork = "slow network",
    /// Everything takes longer to and from one router, and each packet another time.
    FarRouter = "router far away",
    /// Connections break.
    ResetConnections = "connections reset",
    /// Messages between replicas are lost.
    LoseMessages = "messages lost",
    /// Messages between replicas arrive twice.
    DoubleMessages = "messages doubled",
    /// Messages between replicas overtake each other.
    DelayMessages = "messages reordered",
    /// A node's disk takes its time.
    SlowDisk = "slow disk",
    /// A node applies slowly.
    SlowApply = "slow apply",
    /// A node's disk returns an error.
    DiskError = "disk error",
    /// A node's disk has no room for its log for a while, however often it starts meanwhile.
    DiskFull = "disk full",
    /// A node's state store can't be made durable.
    StoreError = "store error",
    /// A write to a node's state store fails.
    StoreWriteError = "store write error",
    /// A node's state store has no room for a while, however often it starts meanwhile.
    StoreFull = "store full",
    /// A wall clock is set.
    ClockJump = "clock jump",
    /// A node's wall clock is set so far ahead for some seconds that everything is older than what a shard remembers.
    ClockLeap = "clock leap",
    /// A node's wall clock is set an hour ahead, or back, for some seconds.
    NodeHour = "clock of a node an hour off",
    /// The same of a router.
    RouterHour = "clock of a router an hour off",
    /// A clock runs too fast or too slowly.
    ClockDrift = "clock drift",
    /// A clock runs a little too fast or too slowly, within what leases allow for.
    SlightDrift = "slight clock drift",
    /// A host does not hear the coordination store.
    CutCoordination = "coordination cut",
    /// A majority of the nodes and a router don't hear the coordination store for longer than sessions live.
    CutCoordinationWidely = "coordination cut widely",
    /// For a while, whenever a table has just been created, a router and majorities of its shards stop hearing the
    /// coordination store until it is deleted.
    DeleteBehindCut = "deletion behind a cut",
    /// The table that all clients work on is not listed in the coordination store for some seconds, as if that
    /// had been restored from an old backup.
    HideTable = "table not listed",
    /// The record of the table that all clients work on is what it was when the table was being created, as in an old
    /// backup, and the creation is undone. Later an operator lists the table again, as `keep-quarantined` does.
    UndoTable = "creation undone",
    /// The table that all clients work on is lost from the coordination store, and an operator keeps it.
    KeepTable = "table lost and kept",
    /// A table of an operator's own is lost, and dropped.
    DropTable = "table lost and dropped",
    /// An operator forgets a node, or tries to.
    ForgetNode = "node forgotten",
    /// The coordination store has no majority.
    StopCoordination = "coordination stopped",
    /// Requests to the coordination store, and their answers, get lost, writes land late, sessions end,
    /// servers lag.
    FlakyCoordination = "coordination flaky",
    /// Many writes to the coordination store seem lost, and land up to three seconds later.
    LateWrites = "coordination writes late",
}
