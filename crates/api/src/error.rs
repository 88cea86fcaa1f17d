//! The one error that crosses a process boundary.
//!
//! A [`Reason`] says what the caller must do: mend the request, retry, look first because the outcome is
//! unknown, or decide. The names are fixed; they are the only ones in code, docs and metrics.
//!
//! | reason | gRPC code | exit | the caller |
//! |---|---|---|---|
//! | `INVALID_REQUEST`, `IDEMPOTENCY_MISMATCH` | INVALID_ARGUMENT | 2 | mends the request |
//! | `TABLE_NOT_FOUND` | NOT_FOUND | 7 | decides |
//! | `TABLE_ALREADY_EXISTS` | ALREADY_EXISTS | 4 | decides |
//! | `TABLE_NOT_READY`, `TOO_FEW_NODES` | FAILED_PRECONDITION | 1 | waits or decides |
//! | `CONDITION_FAILED` | FAILED_PRECONDITION | 4 | decides |
//! | `NO_QUORUM`, `NO_LEADER`, `COORDINATION_UNAVAILABLE`, `SHARD_NOT_HOSTED` | UNAVAILABLE | 5 | retries: certainly not applied |
//! | `OVERLOADED` | RESOURCE_EXHAUSTED | 5 | retries later |
//! | `OUTCOME_UNKNOWN` | DEADLINE_EXCEEDED | 6 | looks first |
//! | `TRANSACTION_CANCELLED`, `TRANSACTION_CONFLICT` | ABORTED | 4 | retries the whole |
//! | `UNAUTHENTICATED`, `PERMISSION_DENIED` | the same | 1 | – |
//! | `CORRUPTION` | DATA_LOSS | 1 | the replica has stopped; others serve |

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{internal, v1};

/// The domain of every `google.rpc.ErrorInfo` from here.
pub const DOMAIN: &str = "minidynamo";

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $code:ident, $exit:literal;)*) => {
        /// Why a request was not answered as asked. See the table of the [module](self).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $($(#[$doc])* $variant,)*
        }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The fixed name, upper snake case.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The gRPC code of a status with this reason.
            pub fn code(self) -> Code {
                match self { $(Self::$variant => Code::$code,)* }
            }

            /// The exit code of the command line.
            pub fn exit_code(self) -> u8 {
                match self { $(Self::$variant => $exit,)* }
            }
        }
    };
}

reasons! {
    /// The request breaks a rule; the message names the field.
    InvalidRequest = "INVALID_REQUEST", InvalidArgument, 2;
    /// A token was used before with other contents.
    IdempotencyMismatch = "IDEMPOTENCY_MISMATCH", InvalidArgument, 2;
    /// There is no such table (for data: also one that is being deleted).
    TableNotFound = "TABLE_NOT_FOUND", NotFound, 7;
    /// The name is taken.
    TableAlreadyExists = "TABLE_ALREADY_EXISTS", AlreadyExists, 4;
    /// The table is being created or deleted.
    TableNotReady = "TABLE_NOT_READY", FailedPrecondition, 1;
    /// More replicas than live data nodes.
    TooFewNodes = "TOO_FEW_NODES", FailedPrecondition, 1;
    /// The condition of a write does not hold.
    ConditionFailed = "CONDITION_FAILED", FailedPrecondition, 4;
    /// A majority of the shard's replicas can't be reached, or can't be trusted.
    NoQuorum = "NO_QUORUM", Unavailable, 5;
    /// The shard has no leader at the moment.
    NoLeader = "NO_LEADER", Unavailable, 5;
    /// The coordination store can't be reached.
    CoordinationUnavailable = "COORDINATION_UNAVAILABLE", Unavailable, 5;
    /// The node does not hold the shard. Between router and node.
    ShardNotHosted = "SHARD_NOT_HOSTED", Unavailable, 5;
    /// More is in flight than there is room for.
    Overloaded = "OVERLOADED", ResourceExhausted, 5;
    /// The write may have been applied, or may yet be.
    OutcomeUnknown = "OUTCOME_UNKNOWN", DeadlineExceeded, 6;
    /// The transaction did not happen.
    TransactionCancelled = "TRANSACTION_CANCELLED", Aborted, 4;
    /// An item is part of another transaction.
    TransactionConflict = "TRANSACTION_CONFLICT", Aborted, 4;
    /// The caller did not say who it is.
    Unauthenticated = "UNAUTHENTICATED", Unauthenticated, 1;
    /// The caller may not do this.
    PermissionDenied = "PERMISSION_DENIED", PermissionDenied, 1;
    /// Stored data is damaged or replicas differ; the replica has stopped.
    Corruption = "CORRUPTION", DataLoss, 1;
}

impl Reason {
    /// The reason of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.as_str() == name)
    }

    /// Whether the same request may succeed a moment later, and sending it again can do no harm.
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::NoQuorum
                | Self::NoLeader
                | Self::CoordinationUnavailable
                | Self::ShardNotHosted
                | Self::Overloaded
        )
    }

    /// Whether the request certainly had no effect, as far as the attempt that this speaks of goes.
    pub fn certainly_not_applied(self) -> bool {
        self != Self::OutcomeUnknown
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What went wrong, in a form that survives the way from a data node to the user's terminal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Error {
    /// What the caller has to do.
    pub reason: Reason,
    /// One line: what happened and what to do.
    pub message: String,
    /// Details for programs (`field`, `table`, `shard`, …).
    pub metadata: BTreeMap<String, String>,
    /// How long to wait before a retry, where that is known.
    pub retry_after: Option<Duration>,
}

impl Error {
    /// An error without details.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            metadata: BTreeMap::new(),
            retry_after: None,
        }
    }

    /// A request that breaks a rule in one of its fields.
    pub fn invalid(field: &str, message: impl fmt::Display) -> Self {
        Self::new(Reason::InvalidRequest, format!("{field}: {message}")).with("field", field)
    }

    /// The answer to a write whose fate is not known.
    pub fn outcome_unknown(message: impl fmt::Display) -> Self {
        Self::new(
            Reason::OutcomeUnknown,
            format!(
                "{message}; the write may have been applied or may yet be: read before you retry"
            ),
        )
    }

    /// Adds a detail.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl fmt::Display) -> Self {
        self.metadata.insert(key.to_owned(), value.to_string());
        self
    }

    /// Adds a time to wait before a retry.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let metadata: HashMap<_, _> = error.metadata.into_iter().collect();
        let mut details = ErrorDetails::with_error_info(error.reason.as_str(), DOMAIN, metadata);
        if let Some(wait) = error.retry_after {
            details.set_retry_info(Some(wait));
        }
        Self::with_error_details(error.reason.code(), error.message, details)
    }
}

/// A status that does not come from this software: the transport's own, or a foreign server's.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{code:?}: {message}")]
pub struct ForeignStatus {
    /// The gRPC code.
    pub code: Code,
    /// The message.
    pub message: String,
}

impl TryFrom<&Status> for Error {
    type Error = ForeignStatus;

    fn try_from(status: &Status) -> Result<Self, ForeignStatus> {
        let foreign = || ForeignStatus {
            code: status.code(),
            message: status.message().to_owned(),
        };
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == DOMAIN);
        let info = info.ok_or_else(foreign)?;
        Ok(Self {
            reason: Reason::from_name(&info.reason).ok_or_else(foreign)?,
            message: status.message().to_owned(),
            metadata: info.metadata.clone().into_iter().collect(),
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
        })
    }
}

/// The messages by which an error travels outside of a status: both have the same fields.
macro_rules! carried_by {
    ($($message:ty),*) => {$(
        impl From<Error> for $message {
            fn from(error: Error) -> Self {
                let wait = error.retry_after.map_or(0, |wait| wait.as_millis());
                Self {
                    reason: error.reason.as_str().to_owned(),
                    message: error.message,
                    metadata: error.metadata.into_iter().collect(),
                    retry_after_millis: u32::try_from(wait).unwrap_or(u32::MAX),
                }
            }
        }

        impl From<$message> for Error {
            /// A reason that this version does not know is taken for an unknown outcome, which promises nothing.
            fn from(message: $message) -> Self {
                let wait = message.retry_after_millis;
                Self {
                    reason: Reason::from_name(&message.reason).unwrap_or(Reason::OutcomeUnknown),
                    message: message.message,
                    metadata: message.metadata.into_iter().collect(),
                    retry_after: (wait > 0).then(|| Duration::from_millis(wait.into())),
                }
            }
        }
    )*};
}

carried_by!(internal::Failure, v1::ItemError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_survives_the_way_through_a_status_a_failure_and_an_item() {
        for &reason in Reason::ALL {
            let error = Error::new(reason, "what happened")
                .with("field", "key")
                .retry_after(Duration::from_millis(50));
            let status = Status::from(error.clone());
            assert_eq!(status.code(), reason.code());
            assert_eq!(Error::try_from(&status).unwrap(), error);
            assert_eq!(Error::from(internal::Failure::from(error.clone())), error);
            assert_eq!(Error::from(v1::ItemError::from(error.clone())), error);
            assert_eq!(Reason::from_name(reason.as_str()), Some(reason));
        }
    }

    #[test]
    fn a_status_of_somebody_else_is_not_taken_for_ours() {
        assert!(Error::try_from(&Status::unavailable("connection refused")).is_err());
    }

    #[test]
    fn a_failure_of_an_unknown_reason_promises_nothing() {
        let failure = internal::Failure {
            reason: "NEWS".to_owned(),
            ..Default::default()
        };
        assert_eq!(Error::from(failure).reason, Reason::OutcomeUnknown);
    }
}
