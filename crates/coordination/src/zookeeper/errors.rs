//! The one mapping from the client's errors to ours.

use zookeeper_client as zk;

use crate::Error;

/// The meaning of an error that the client reports for an operation.
///
/// Only what the server says before it does anything counts as a refusal. Everything that is not known to
/// be one leaves the outcome open.
pub(super) fn of_operation(error: &zk::Error, path: &str, operation: Option<usize>) -> Error {
    let path = path.to_owned();
    match error {
        zk::Error::NoNode => Error::NoNode { path, operation },
        zk::Error::NodeExists => Error::NodeExists { path, operation },
        zk::Error::BadVersion => Error::BadVersion { path, operation },
        zk::Error::NotEmpty => Error::NotEmpty { path, operation },
        zk::Error::NoChildrenForEphemerals => Error::NoChildrenForEphemerals { path, operation },
        zk::Error::SessionExpired | zk::Error::ClientClosed => Error::SessionExpired,
        zk::Error::NoAuth => Error::Refused {
            reason: format!(
                "ZooKeeper does not let us use {path} (NoAuth), it belongs to another user or has another \
                 password: check --zookeeper-auth-file"
            ),
        },
        zk::Error::InvalidAcl
        | zk::Error::AuthFailed
        | zk::Error::NotReadOnly
        | zk::Error::QuotaExceeded
        | zk::Error::Throttled
        | zk::Error::MarshallingError
        | zk::Error::Unimplemented
        | zk::Error::BadArguments(_) => Error::Refused {
            reason: format!("{path}: {error}"),
        },
        _ => {
            tracing::debug!(%error, path, "an answer of ZooKeeper was lost");
            Error::ConnectionLoss
        }
    }
}

/// Whether trying again with a new session can't help.
pub(super) fn is_definite(error: &Error) -> bool {
    !error.is_transient() && *error != Error::SessionExpired
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_to_be_a_refusal_leaves_the_outcome_open() {
        for error in [
            zk::Error::ConnectionLoss,
            zk::Error::Timeout,
            zk::Error::SessionMoved,
            zk::Error::RuntimeInconsistent,
            zk::Error::UnexpectedErrorCode(-4),
            zk::Error::UnexpectedError("?".into()),
        ] {
            assert!(
                of_operation(&error, "/a", None).outcome_unknown(),
                "{error}"
            );
        }
        let refused = of_operation(&zk::Error::BadVersion, "/a", Some(2));
        assert_eq!(refused.operation(), Some(2));
        assert!(!refused.outcome_unknown());
    }
}
