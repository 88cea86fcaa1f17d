//! Free ports.

use std::net::TcpListener;

/// A port of the loopback interface that nobody listens on. It lies below the range that the system hands
/// out to outgoing connections, so that nobody takes it while a server is down.
pub(super) fn free_port() -> u16 {
    (0..1000)
        .map(|_| rand::random_range(15_000..32_000))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port between 15000 and 32000")
}
