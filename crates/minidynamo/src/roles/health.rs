//! Whether a process can be used: all its parts together.

use std::sync::Mutex;

use serde::Serialize;

/// What `/health/ready` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Health {
    /// Every part can be used.
    pub(super) ready: bool,
    /// What is missing, or worth knowing. Empty when all is well.
    pub(super) reason: String,
}

/// Asks one part how it is.
pub(super) type Probe = Box<dyn Fn() -> Health + Send>;

/// The parts of a process.
#[derive(Default)]
pub(super) struct Probes {
    /// None until they have been started.
    parts: Mutex<Option<Vec<(String, Probe)>>>,
}

impl Probes {
    /// From now on these parts decide.
    pub(super) fn set(&self, parts: Vec<(String, Probe)>) {
        *self.lock() = Some(parts);
    }

    /// All parts together.
    pub(super) fn health(&self) -> Health {
        let parts = self.lock();
        let Some(parts) = parts.as_ref() else {
            return Health {
                ready: false,
                reason: "starting".to_owned(),
            };
        };
        let mut ready = true;
        let mut reasons = Vec::new();
        for (name, probe) in parts {
            let part = probe();
            ready &= part.ready;
            if !part.reason.is_empty() {
                reasons.push(format!("{name}: {}", part.reason));
            }
        }
        Health {
            ready,
            reason: reasons.join("; "),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Vec<(String, Probe)>>> {
        self.parts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, ready: bool, reason: &'static str) -> (String, Probe) {
        let probe = move || Health {
            ready,
            reason: reason.to_owned(),
        };
        (name.to_owned(), Box::new(probe))
    }

    #[test]
    fn a_process_is_ready_when_all_its_parts_are() {
        let probes = Probes::default();
        assert!(!probes.health().ready);
        probes.set(vec![part("a", true, ""), part("b", false, "waits")]);
        let expected = Health {
            ready: false,
            reason: "b: waits".to_owned(),
        };
        assert_eq!(probes.health(), expected);
        probes.set(vec![part("a", true, ""), part("b", true, "")]);
        let expected = Health {
            ready: true,
            reason: String::new(),
        };
        assert_eq!(probes.health(), expected);
    }
}
