//! What the attempts of one request ended in, and what follows from that: try again, or report what.
//!
//! This is the whole retry policy, without I/O. The table in the [crate's documentation](crate) is its
//! summary.

use std::time::Duration;

use api::Reason;
use tonic::{Code, Status};

use crate::Error;
use crate::connection::SendError;

/// What may be done with a request whose answer was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Changes nothing: sent again freely.
    Read,
    /// Carries its identity: sent again freely, but it may have been applied.
    Write,
    /// A change without identity: never sent again.
    Once,
}

/// How one attempt ended, other than by the answer that was asked for.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// No connection.
    NotConnected(String),
    /// The router has certainly not begun with the request.
    NotBegun(String),
    /// No answer; the request may have been carried out.
    Lost(String),
    /// The cluster's answer.
    Service(api::Error),
    /// Somebody else's answer.
    Foreign {
        router: String,
        code: Code,
        message: String,
    },
}

impl Failure {
    /// What a status that did not say OK tells.
    pub(crate) fn of(status: &Status, router: &str) -> Self {
        if let Ok(error) = api::Error::try_from(status) {
            return Self::Service(error);
        }
        let source = std::error::Error::source(status);
        if let Some(error) = source.and_then(|source| source.downcast_ref::<SendError>()) {
            let message = format!("{router}: {error}");
            return if error.maybe_begun {
                Self::Lost(message)
            } else {
                Self::NotBegun(message)
            };
        }
        let ended = matches!(
            status.code(),
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled
        );
        // A status with a source was made on this side: the answer broke off.
        if ended || source.is_some() {
            return Self::Lost(format!("{router}: {}", status.message()));
        }
        Self::Foreign {
            router: router.to_owned(),
            code: status.code(),
            message: status.message().to_owned(),
        }
    }

    /// A refusal because of what was left of the deadline.
    fn is_lack_of_time(&self) -> bool {
        matches!(self, Self::Service(error) if error.reason == Reason::InvalidRequest
            && error.metadata.get("field").is_some_and(|field| field == "deadline"))
    }

    fn certainly_not_applied(&self) -> bool {
        match self {
            Self::NotConnected(_) | Self::NotBegun(_) => true,
            Self::Lost(_) => false,
            Self::Service(error) => error.reason.certainly_not_applied(),
            Self::Foreign { code, .. } => *code == Code::Unimplemented,
        }
    }
}

/// What to do after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Report it.
    End,
    /// Send again after a while, within the deadline.
    Again {
        wait: Duration,
        /// To another router, if there is one.
        elsewhere: bool,
    },
}

/// Reads end after this many answers lost in a row, times the number of routers: whoever accepts
/// connections and never answers is no router.
const LOST_READS: usize = 3;
const FIRST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// The attempts of one request so far.
#[derive(Debug)]
pub(crate) struct History {
    kind: Kind,
    routers: usize,
    /// Some attempt may have been applied. Never falls back to `false`.
    maybe_applied: bool,
    /// Some attempt was sent and not answered.
    unanswered: bool,
    last: Option<Failure>,
    unconnected_in_a_row: usize,
    lost_in_a_row: usize,
    /// Answers that only another router could better.
    unavailable: usize,
    waits: u32,
}

impl History {
    pub(crate) fn new(kind: Kind, routers: usize) -> Self {
        Self {
            kind,
            routers,
            maybe_applied: false,
            unanswered: false,
            last: None,
            unconnected_in_a_row: 0,
            lost_in_a_row: 0,
            unavailable: 0,
            waits: 0,
        }
    }

    /// Whether some attempt may have been applied.
    pub(crate) fn maybe_applied(&self) -> bool {
        self.maybe_applied
    }

    /// Takes note of attempts elsewhere, one of which may have been applied.
    pub(crate) fn doubt(&mut self) {
        self.maybe_applied = self.kind != Kind::Read;
    }

    /// Takes note of an attempt.
    pub(crate) fn failed(&mut self, failure: Failure) -> Next {
        if self.kind != Kind::Read && !failure.certainly_not_applied() {
            self.maybe_applied = !mutant!(ClientDenies);
        }
        self.count(&failure);
        let next = self.after(&failure);
        // That too little time was left for one more attempt is not what the request has failed of.
        if self.last.is_none() || !failure.is_lack_of_time() {
            self.last = Some(failure);
        }
        next
    }

    fn count(&mut self, failure: &Failure) {
        self.unanswered |= matches!(failure, Failure::Lost(_));
        match failure {
            Failure::NotConnected(_) => self.unconnected_in_a_row += 1,
            _ => self.unconnected_in_a_row = 0,
        }
        match failure {
            Failure::Lost(_) | Failure::NotBegun(_) => self.lost_in_a_row += 1,
            _ => self.lost_in_a_row = 0,
        }
    }

    fn after(&mut self, failure: &Failure) -> Next {
        // A write that may have been applied is sent on, until the deadline, for a clear answer.
        let unresolved = self.maybe_applied && self.kind == Kind::Write;
        if self.maybe_applied && !unresolved {
            return Next::End;
        }
        match failure {
            Failure::NotConnected(_) if self.unconnected_in_a_row < self.routers => Next::Again {
                wait: Duration::ZERO,
                elsewhere: true,
            },
            Failure::NotConnected(_) if unresolved => self.again(None, true),
            Failure::NotConnected(_) | Failure::Foreign { .. } => Next::End,
            Failure::Lost(_) | Failure::NotBegun(_) => {
                if unresolved || self.lost_in_a_row < LOST_READS * self.routers {
                    self.again(None, self.routers > 1)
                } else {
                    Next::End
                }
            }
            Failure::Service(error) => self.after_answer(error, unresolved),
        }
    }

    fn after_answer(&mut self, error: &api::Error, unresolved: bool) -> Next {
        match error.reason {
            Reason::NoLeader | Reason::ShardNotHosted | Reason::Overloaded => {
                self.again(error.retry_after, false)
            }
            Reason::NoQuorum | Reason::CoordinationUnavailable => {
                self.unavailable += 1;
                if unresolved || self.unavailable < self.routers {
                    self.again(error.retry_after, true)
                } else {
                    Next::End
                }
            }
            Reason::OutcomeUnknown => self.again(None, false),
            _ => Next::End,
        }
    }

    /// Exponential backoff with jitter, so that clients which failed together don't come back together.
    fn again(&mut self, at_least: Option<Duration>, elsewhere: bool) -> Next {
        let wait = FIRST_WAIT
            .saturating_mul(1 << self.waits.min(10))
            .min(LONGEST_WAIT)
            .mul_f64(rand::random_range(0.5..1.0));
        self.waits += 1;
        Next::Again {
            wait: wait.max(at_least.unwrap_or_default()),
            elsewhere,
        }
    }

    /// What to report when no answer came that ends the request.
    pub(crate) fn into_error(self, routers: &str, waited: Duration) -> Error {
        let routers = routers.to_owned();
        if self.maybe_applied {
            return Error::Service(match self.last {
                Some(Failure::Service(error)) if error.reason == Reason::OutcomeUnknown => error,
                last => api::Error::outcome_unknown(no_confirmation(last)),
            });
        }
        match self.last {
            // The outcome of a read is never unknown: it has none.
            Some(Failure::Service(error)) if error.reason == Reason::OutcomeUnknown => {
                Error::Unanswered {
                    routers,
                    waited,
                    cause: error.message,
                }
            }
            Some(Failure::Service(error)) => Error::Service(error),
            Some(Failure::NotConnected(cause) | Failure::NotBegun(cause)) if !self.unanswered => {
                Error::Unreachable { routers, cause }
            }
            Some(Failure::Foreign {
                router,
                code,
                message,
            }) => Error::Foreign {
                router,
                code,
                message,
            },
            Some(
                Failure::Lost(cause) | Failure::NotConnected(cause) | Failure::NotBegun(cause),
            ) => Error::Unanswered {
                routers,
                waited,
                cause,
            },
            None => Error::Unreachable {
                routers,
                cause: "the deadline passed first".to_owned(),
            },
        }
    }
}

fn no_confirmation(last: Option<Failure>) -> String {
    match last {
        None => "no confirmation came".to_owned(),
        Some(Failure::NotConnected(cause) | Failure::NotBegun(cause) | Failure::Lost(cause)) => {
            format!("no confirmation came ({cause})")
        }
        Some(Failure::Service(error)) => format!("no confirmation came (last answer: {error})"),
        Some(Failure::Foreign {
            router,
            code,
            message,
        }) => format!("no confirmation came ({router} answered {code:?}: {message})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAITED: Duration = Duration::from_secs(5);

    fn lost() -> Failure {
        Failure::Lost("cut".to_owned())
    }

    fn refused() -> Failure {
        Failure::NotConnected("refused".to_owned())
    }

    fn answer(reason: Reason) -> Failure {
        Failure::Service(api::Error::new(reason, "said the router"))
    }

    fn is_again(next: Next) -> bool {
        matches!(next, Next::Again { .. })
    }

    #[test]
    fn a_last_attempt_without_time_does_not_hide_what_the_others_failed_of() {
        let short = || Failure::Service(api::Error::invalid("deadline", "too short"));
        let mut history = History::new(Kind::Once, 1);
        assert!(is_again(history.failed(answer(Reason::NoLeader))));
        assert_eq!(history.failed(short()), Next::End);
        let error = history.into_error("r", WAITED);
        assert_eq!(error.reason(), Some(Reason::NoLeader), "{error}");
        // Where it is all that is known, the caller has to mend it.
        let mut history = History::new(Kind::Once, 1);
        assert_eq!(history.failed(short()), Next::End);
        let error = history.into_error("r", WAITED);
        assert_eq!(error.reason(), Some(Reason::InvalidRequest), "{error}");
    }

    #[test]
    fn refused_connections_end_once_every_router_has_refused() {
        for kind in [Kind::Read, Kind::Write, Kind::Once] {
            let mut history = History::new(kind, 2);
            assert!(matches!(
                history.failed(refused()),
                Next::Again {
                    elsewhere: true,
                    ..
                }
            ));
            assert_eq!(history.failed(refused()), Next::End);
            let error = history.into_error("r", WAITED);
            assert!(matches!(error, Error::Unreachable { .. }), "{error}");
            assert!(error.certainly_not_applied());
            assert_eq!(error.exit_code(), 5);
        }
    }

    #[test]
    fn after_a_lost_answer_a_write_never_ends_as_certainly_not_applied() {
        for later in [
            refused(),
            answer(Reason::NoQuorum),
            answer(Reason::TableNotFound),
            answer(Reason::InvalidRequest),
        ] {
            let mut history = History::new(Kind::Write, 1);
            assert!(is_again(history.failed(lost())));
            history.failed(later);
            let error = history.into_error("r", WAITED);
            assert_eq!(error.reason(), Some(Reason::OutcomeUnknown), "{error}");
            assert_eq!(error.exit_code(), 6);
        }
    }

    #[cfg(feature = "mutants")]
    #[test]
    fn the_mutant_is_noticed() {
        let test = after_a_lost_answer_a_write_never_ends_as_certainly_not_applied;
        assert!(mutants::is_noticed(mutants::Mutant::ClientDenies, test));
    }

    #[test]
    fn an_unresolved_write_goes_on_where_others_would_end() {
        let mut history = History::new(Kind::Write, 1);
        assert!(is_again(history.failed(lost())));
        for _ in 0..20 {
            assert!(is_again(history.failed(refused())));
            assert!(is_again(history.failed(answer(Reason::NoQuorum))));
            assert!(is_again(history.failed(answer(Reason::OutcomeUnknown))));
        }
    }

    #[test]
    fn what_carries_no_identity_ends_with_the_first_lost_answer() {
        for failure in [lost(), answer(Reason::OutcomeUnknown)] {
            let mut history = History::new(Kind::Once, 3);
            assert_eq!(history.failed(failure), Next::End);
            let error = history.into_error("r", WAITED);
            assert_eq!(error.reason(), Some(Reason::OutcomeUnknown));
        }
    }

    #[test]
    fn what_carries_no_identity_is_sent_again_while_it_is_certainly_not_applied() {
        let mut history = History::new(Kind::Once, 1);
        assert!(is_again(history.failed(answer(Reason::Overloaded))));
        assert!(is_again(history.failed(answer(Reason::NoLeader))));
        let error = history.into_error("r", WAITED);
        assert_eq!(error.reason(), Some(Reason::NoLeader));
    }

    #[test]
    fn a_read_has_no_unknown_outcome() {
        let mut history = History::new(Kind::Read, 1);
        assert!(is_again(history.failed(lost())));
        assert!(is_again(history.failed(lost())));
        assert_eq!(history.failed(lost()), Next::End);
        let error = history.into_error("r", WAITED);
        assert!(matches!(error, Error::Unanswered { .. }), "{error}");
        assert_eq!(error.exit_code(), 5);

        let mut history = History::new(Kind::Read, 1);
        assert!(is_again(history.failed(answer(Reason::OutcomeUnknown))));
        assert_eq!(history.into_error("r", WAITED).exit_code(), 5);
    }

    #[test]
    fn not_sent_is_said_only_if_no_attempt_was_sent() {
        let mut history = History::new(Kind::Read, 1);
        assert!(is_again(history.failed(lost())));
        assert_eq!(history.failed(refused()), Next::End);
        let error = history.into_error("r", WAITED);
        assert!(matches!(error, Error::Unanswered { .. }), "{error}");
    }

    #[test]
    fn a_missing_quorum_is_reported_once_every_router_has_said_so() {
        let mut history = History::new(Kind::Write, 2);
        assert!(is_again(history.failed(answer(Reason::NoQuorum))));
        assert_eq!(history.failed(answer(Reason::NoQuorum)), Next::End);
        let error = history.into_error("r", WAITED);
        assert_eq!(error.reason(), Some(Reason::NoQuorum));
    }

    #[test]
    fn an_overloaded_router_is_given_the_time_that_it_asks_for() {
        let mut history = History::new(Kind::Read, 1);
        let wait = Duration::from_millis(1234);
        let error = api::Error::new(Reason::Overloaded, "busy").retry_after(wait);
        assert_eq!(
            history.failed(Failure::Service(error)),
            Next::Again {
                wait,
                elsewhere: false
            }
        );
    }

    #[test]
    fn a_foreign_answer_to_a_write_promises_nothing_unless_the_call_is_not_known_there() {
        let foreign = |code| Failure::Foreign {
            router: "r".to_owned(),
            code,
            message: String::new(),
        };
        let mut history = History::new(Kind::Write, 1);
        history.failed(foreign(Code::Internal));
        assert_eq!(history.into_error("r", WAITED).exit_code(), 6);
        let mut history = History::new(Kind::Write, 1);
        assert_eq!(history.failed(foreign(Code::Unimplemented)), Next::End);
        assert_eq!(history.into_error("r", WAITED).exit_code(), 1);
    }
}
