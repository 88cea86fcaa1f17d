//! What may be in flight on a node: bounds on operations and bytes, so that memory stays bounded whatever
//! callers do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use api::{Error, Reason};

/// Counts what is in flight.
#[derive(Debug, Clone)]
pub struct Admission {
    counters: Arc<Counters>,
    max_operations: usize,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct Counters {
    operations: AtomicUsize,
    bytes: AtomicUsize,
}

/// Room for one operation, given back when it is dropped.
#[derive(Debug)]
pub struct Permit {
    counters: Arc<Counters>,
    bytes: usize,
}

impl Admission {
    /// Bounds for a whole node.
    pub fn new(max_operations: usize, max_bytes: usize) -> Self {
        Self {
            counters: Arc::default(),
            max_operations,
            max_bytes,
        }
    }

    /// Operations in flight.
    pub fn in_flight(&self) -> usize {
        self.counters.operations.load(Ordering::Relaxed)
    }

    /// Room for an operation of so many bytes, or `OVERLOADED`.
    pub fn admit(&self, bytes: usize) -> Result<Permit, Error> {
        let operations = self.counters.operations.fetch_add(1, Ordering::Relaxed);
        let in_flight = self.counters.bytes.fetch_add(bytes, Ordering::Relaxed);
        let permit = Permit {
            counters: self.counters.clone(),
            bytes,
        };
        if operations < self.max_operations && in_flight < self.max_bytes {
            return Ok(permit);
        }
        Err(overloaded("the node has too much in flight"))
    }
}

/// Says that there is no room now.
pub fn overloaded(what: &str) -> Error {
    Error::new(Reason::Overloaded, format!("{what}; retry later"))
        .retry_after(Duration::from_millis(50))
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.counters.operations.fetch_sub(1, Ordering::Relaxed);
        self.counters.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_exceeds_a_bound_is_refused_and_what_ends_makes_room() {
        let admission = Admission::new(2, 100);
        let first = admission.admit(60).unwrap();
        let _second = admission.admit(60).unwrap();
        let refused = admission.admit(0).unwrap_err();
        assert_eq!(refused.reason, Reason::Overloaded);
        assert!(refused.retry_after.is_some());
        drop(first);
        assert!(admission.admit(0).is_ok());
    }
}
