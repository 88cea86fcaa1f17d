//! Why a request failed, classed by what the caller has to do.

use std::fmt;
use std::time::Duration;

use api::Reason;
use tonic::Code;

/// Why a request failed. See [`Error::reason`] and [`Error::certainly_not_applied`].
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The cluster answered with an error, or a write ended without a confirmation
    /// ([`Reason::OutcomeUnknown`]).
    #[error(transparent)]
    Service(#[from] api::Error),
    /// No router could be reached: not a byte of the request was sent.
    #[error(
        "no router can be reached at {routers} ({cause}); nothing was sent: check that a router runs there (`minidynamo dev` starts one) and the address (--router)"
    )]
    Unreachable {
        /// The addresses that were tried.
        routers: String,
        /// What the last attempt ran into.
        cause: String,
    },
    /// A read was not answered in time, or not at all. A read changes nothing, so it can be sent again.
    #[error(
        "{routers} did not answer the read within {waited:?}: {cause}; try again, or allow more time"
    )]
    Unanswered {
        /// The addresses that were tried.
        routers: String,
        /// How long this client tried.
        waited: Duration,
        /// What the last attempt ran into.
        cause: String,
    },
    /// An answer that is none of this software's: the address is not a router's, or it runs another
    /// version.
    #[error(
        "{router} does not answer like a router of this version ({code:?}: {message}): check the address and the versions"
    )]
    Foreign {
        /// Who answered.
        router: String,
        /// The gRPC code.
        code: Code,
        /// The message.
        message: String,
    },
    /// Not the address of a router.
    #[error("`{address}` is not a router's address: {why}, for example http://127.0.0.1:7400")]
    InvalidAddress {
        /// As given.
        address: String,
        /// What is wrong with it.
        why: String,
    },
}

/// What there was against one item of a cancelled transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CancellationReason {
    /// Its condition does not hold.
    ConditionFailed,
    /// Another transaction was writing it: try again.
    TransactionConflict,
    /// It was written at the same time or later than this transaction would have: try again.
    TimestampTooOld,
    /// It breaks a rule, or can't be part of any transaction: its table is gone, say.
    InvalidRequest,
    /// Something that this version of the library does not know.
    Unrecognized,
}

impl CancellationReason {
    /// The fixed name, upper snake case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConditionFailed => "CONDITION_FAILED",
            Self::TransactionConflict => "TRANSACTION_CONFLICT",
            Self::TimestampTooOld => "TIMESTAMP_TOO_OLD",
            Self::InvalidRequest => "INVALID_REQUEST",
            Self::Unrecognized => "UNRECOGNIZED",
        }
    }

    fn read(name: &str) -> Option<Self> {
        let known = [
            Self::ConditionFailed,
            Self::TransactionConflict,
            Self::TimestampTooOld,
            Self::InvalidRequest,
        ];
        match name.trim() {
            "NONE" => None,
            name => Some(
                known
                    .into_iter()
                    .find(|reason| reason.as_str() == name)
                    .unwrap_or(Self::Unrecognized),
            ),
        }
    }
}

impl fmt::Display for CancellationReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Error {
    /// The reason that the cluster gave, if it was the cluster that answered.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Service(error) => Some(error.reason),
            _ => None,
        }
    }

    /// Whether the request certainly had and will have no effect, by every attempt that was made.
    pub fn certainly_not_applied(&self) -> bool {
        self.reason().is_none_or(Reason::certainly_not_applied)
    }

    /// Of a cancelled transaction: what there was against each item, in the order of the request; `None` for an item that
    /// could have been written. `None` altogether for any other error, or if the cluster did not say.
    pub fn cancellation_reasons(&self) -> Option<Vec<Option<CancellationReason>>> {
        match self {
            Self::Service(error) if error.reason == Reason::TransactionCancelled => {
                let reasons = error.metadata.get("reasons")?.split(',');
                Some(reasons.map(CancellationReason::read).collect())
            }
            _ => None,
        }
    }

    /// The exit code of the command line: see [`api::error`].
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Service(error) => error.reason.exit_code(),
            Self::Unreachable { .. } | Self::Unanswered { .. } => 5,
            Self::Foreign { .. } => 1,
            Self::InvalidAddress { .. } => 2,
        }
    }
}
