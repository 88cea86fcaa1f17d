//! The scheme of all writes: try, and when that fails or nobody knows, sync, look, try again.

use crate::{Coordination, Error, path};

/// Attempts of one write, at the most. Each takes as long as the store's request timeout at the worst.
const MAX_ATTEMPTS: u32 = 5;

/// The attempts of one write so far.
pub(super) struct Attempts {
    made: u32,
    /// An attempt was made whose outcome is not known.
    unsettled: bool,
}

impl Attempts {
    pub(super) fn new() -> Self {
        Self {
            made: 0,
            unsettled: false,
        }
    }

    /// After a failed attempt: returns when it makes sense to look at what is there now, or with the error
    /// to give up with.
    pub(super) async fn look(
        &mut self,
        store: &dyn Coordination,
        error: Error,
    ) -> Result<(), Error> {
        self.made += 1;
        self.unsettled |= error.outcome_unknown();
        let decided_by_reading = error.outcome_unknown()
            || matches!(
                error,
                Error::NoNode { .. }
                    | Error::NodeExists { .. }
                    | Error::BadVersion { .. }
                    | Error::NotEmpty { .. }
            );
        if !decided_by_reading || self.made >= MAX_ATTEMPTS {
            return Err(self.honest(error));
        }
        let synced = store.sync(path::ROOT).await;
        synced.map_err(|error| self.honest(error))
    }

    /// The error to give up with: once an attempt is unsettled, that a later one was refused or not sent
    /// says nothing about the first.
    pub(super) fn honest(&self, error: Error) -> Error {
        if self.unsettled {
            return Error::ConnectionLoss;
        }
        error
    }

    /// The same for what a look at the store has failed with.
    pub(super) fn honest_read(&self, error: super::Error) -> super::Error {
        match error {
            super::Error::Store(error) => self.honest(error).into(),
            other => other,
        }
    }
}
