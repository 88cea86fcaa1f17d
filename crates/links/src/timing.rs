//! How long a link waits for what.

use std::time::Duration;

/// How long a link waits for what.
#[derive(Debug, Clone)]
pub struct Timing {
    /// For a connection to be made.
    pub connect_timeout: Duration,
    /// Between HTTP/2 pings on a connection.
    pub keep_alive_interval: Duration,
    /// For the answer to such a ping; without it the connection counts as lost.
    pub keep_alive_timeout: Duration,
    /// Before a node that could not be reached is tried again: at first, and at the most.
    pub reconnect: (Duration, Duration),
    /// A node that owes answers and has given none for so long is suspect.
    pub patience: Duration,
}

impl Default for Timing {
    /// Fits the default election timeout of the data nodes (500 to 1000 ms).
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_millis(800),
            keep_alive_interval: Duration::from_secs(2),
            keep_alive_timeout: Duration::from_secs(2),
            reconnect: (Duration::from_millis(50), Duration::from_secs(1)),
            patience: Duration::from_millis(500),
        }
    }
}
