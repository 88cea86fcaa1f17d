//! Why a request failed, classed by what the caller has to do.

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
