//! What a router is started with.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use environment::Environment;

/// Everything that a router needs to know before it starts. All of it stays as it is until the end.
#[derive(Clone)]
pub struct Options {
    /// How to get a session with the coordination store; called again each time a session has expired.
    pub coordination: Arc<dyn coordination::Connect>,
    /// Where to listen for gRPC. Port 0 is any free port.
    pub listen: SocketAddr,
    /// `host:port` under which others reach this router. Without it: the address it listens on.
    pub advertise: Option<String>,
    /// Allow tables of one replica. Only for `dev --nodes 1`.
    pub allow_single_replica: bool,
    /// Times and patience.
    pub timing: Timing,
    /// Time and network. Wall-clock time is read only where other processes see it: when a write was issued
    /// and when a table was created.
    pub environment: Environment,
}

impl Options {
    /// A router that listens here, with defaults for the rest.
    pub fn new(coordination: Arc<dyn coordination::Connect>, listen: SocketAddr) -> Self {
        Self {
            coordination,
            listen,
            advertise: None,
            allow_single_replica: false,
            timing: Timing::default(),
            environment: Environment::default(),
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("listen", &self.listen)
            .field("advertise", &self.advertise)
            .field("allow_single_replica", &self.allow_single_replica)
            .field("timing", &self.timing)
            .finish_non_exhaustive()
    }
}

/// How long a router waits for what. The defaults fit the default election timeout of the data nodes
/// (500 to 1000 ms).
#[derive(Debug, Clone)]
pub struct Timing {
    /// For connections to data nodes.
    pub links: links::Timing,
    /// For an answer to an operation before another replica is asked as well. Doubles with each round over all of them.
    pub attempt_timeout: Duration,
    /// The same for an eventual get, which every replica can answer at once.
    pub eventual_attempt_timeout: Duration,
    /// Between two rounds over the replicas of a shard: at first, and at the most.
    pub round_backoff: (Duration, Duration),
    /// For one replica to come back into reach, when none can be reached.
    pub unreachable_patience: Duration,
    /// For a new table to get a leader for each shard, before it is given up.
    pub creating_timeout: Duration,
    /// Between two looks at the replicas of a table that is being created: at first, and at the most.
    pub creating_poll: (Duration, Duration),
    /// For the shards of a table that is being deleted to seal.
    pub seal_timeout: Duration,
    /// For a live data node to destroy its replicas of a table, before it is left a tombstone instead.
    pub destroy_timeout: Duration,
    /// For a data node to answer a question about what it holds.
    pub describe_timeout: Duration,
    /// Between attempts to connect to the coordination store: at first, and at the most.
    pub coordination_backoff: (Duration, Duration),
    /// For transactions.
    pub transactions: TransactionTiming,
    /// For requests in flight to finish at shutdown.
    pub shutdown_grace: Duration,
}

/// How long a router waits for what in transactions. With the defaults, and an ephemeral of its own that goes with the
/// 6 s of a session, nothing stays in doubt for more than 15 s after its coordinator has died.
#[derive(Debug, Clone)]
pub struct TransactionTiming {
    /// A transaction with a ledger entry whose caller gives it less time than this is not begun.
    pub least: Duration,
    /// For the shards to prepare, whatever time the caller gives: less than `undecided_after`, when the transaction is
    /// cancelled by others. Of a shorter time a part is kept for the decision.
    pub prepare_timeout: Duration,
    /// For the reasons of the other shards once one has refused.
    pub reasons_wait: Duration,
    /// For a shard to apply a decision or to answer an inquiry, before that counts as failed.
    pub decide_timeout: Duration,
    /// Between attempts to reach a shard or the ledger after the decision: at first, and at the most.
    pub backoff: (Duration, Duration),
    /// Between two rounds of a reading transaction that met a writing one: at first, and at the most.
    pub read_pause: (Duration, Duration),
    /// Between two looks at a token whose transaction is on its way elsewhere: at first, and at the most.
    pub token_poll: (Duration, Duration),
    /// Between two counts of all tokens.
    pub token_count_interval: Duration,
    /// After the end of another router, before its transactions are looked for: at the most.
    pub takeover_jitter: Duration,
    /// Between two looks of the controller at the ledger, and at what shards hold undecided.
    pub sweep_interval: Duration,
    /// For a shard to hold a transaction undecided, before the controller sees to it.
    pub undecided_after: Duration,
    /// For an entry to be in the ledger, before the controller looks whose it is.
    pub entry_after: Duration,
    /// For an entry of a living router to be pending, before the controller cancels it.
    pub pending_after: Duration,
    /// For one to be decided, before the controller lends a hand.
    pub decided_after: Duration,
    /// Between two sweeps of tokens.
    pub token_sweep_interval: Duration,
}

impl Default for TransactionTiming {
    fn default() -> Self {
        let millis = Duration::from_millis;
        Self {
            least: millis(100),
            prepare_timeout: millis(4000),
            reasons_wait: millis(300),
            decide_timeout: millis(2000),
            backoff: (millis(20), millis(1000)),
            read_pause: (millis(5), millis(200)),
            token_poll: (millis(20), millis(500)),
            token_count_interval: millis(5000),
            takeover_jitter: millis(1000),
            sweep_interval: millis(2000),
            undecided_after: millis(5000),
            entry_after: millis(5000),
            pending_after: millis(10_000),
            decided_after: millis(30_000),
            token_sweep_interval: millis(60_000),
        }
    }
}

impl Default for Timing {
    fn default() -> Self {
        let millis = Duration::from_millis;
        Self {
            links: links::Timing::default(),
            attempt_timeout: millis(500),
            eventual_attempt_timeout: millis(300),
            round_backoff: (millis(10), millis(200)),
            unreachable_patience: millis(1000),
            creating_timeout: millis(60_000),
            creating_poll: (millis(50), millis(500)),
            seal_timeout: millis(3000),
            destroy_timeout: millis(5000),
            describe_timeout: millis(2000),
            coordination_backoff: (millis(100), millis(2000)),
            transactions: TransactionTiming::default(),
            shutdown_grace: millis(10_000),
        }
    }
}

/// Why a router could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address can't be listened on: in use, not of this machine, not allowed.
    #[error("can't listen on {address}: {source}")]
    Listen {
        /// As given.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Others could not know where to find this router.
    #[error("listening on all addresses ({address}) needs an address to advertise (host:port)")]
    NoAdvertisedAddress {
        /// As given.
        address: SocketAddr,
    },
    /// Not of the form `host:port`.
    #[error("`{address}` can't be advertised: it must be host:port with a port other than 0")]
    InvalidAdvertisedAddress {
        /// As given.
        address: String,
    },
    /// The descriptors for server reflection are broken.
    #[error("server reflection can't be set up: {0}")]
    Reflection(String),
}
