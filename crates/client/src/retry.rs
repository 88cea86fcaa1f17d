//! Carries a request through its attempts, within its deadline.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use api::v1::cluster_client::ClusterClient;
use api::v1::key_value_client::KeyValueClient;
use api::v1::tables_client::TablesClient;
use model::limits::MAX_MESSAGE_BYTES;
use tokio::time::{Instant, timeout_at};
use tonic::{Request, Response, Status};

use crate::Error;
use crate::address::Address;
use crate::connection::{Connection, Requests};
use crate::history::{Failure, History, Kind, Next};
use crate::routers::{Router, Routers};

/// One attempt: where it goes and until when it may take.
pub(crate) struct Attempt {
    pub(crate) connection: Connection,
    pub(crate) address: Arc<Address>,
    /// Until when the router may take. What the caller has is a little more.
    pub(crate) until: Instant,
}

macro_rules! stubs {
    ($($name:ident: $stub:ident,)*) => {$(
        pub(crate) fn $name(&self) -> $stub<Requests> {
            $stub::with_origin(self.connection.requests.clone(), self.address.origin.clone())
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES)
        }
    )*};
}

impl Attempt {
    stubs! {
        key_value: KeyValueClient,
        tables: TablesClient,
        cluster: ClusterClient,
    }

    /// A request that carries the deadline.
    pub(crate) fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        request.set_timeout(self.until.saturating_duration_since(Instant::now()));
        request
    }
}

/// An answer, and what is known of the attempts before the one that it answers.
pub(crate) struct Answered<T> {
    pub(crate) answer: T,
    /// An earlier attempt may have been applied. The answer to a single write settles that; one that consists of
    /// refusals of single items does not.
    pub(crate) earlier_may_be_applied: bool,
}

/// Makes a call until an answer ends it or its deadline passes.
pub(crate) async fn call<T, F, Answer>(
    routers: &Routers,
    kind: Kind,
    timeout: Duration,
    send: F,
) -> Result<Answered<T>, Error>
where
    F: Fn(Attempt) -> Answer,
    Answer: Future<Output = Result<Response<T>, Status>>,
{
    let send = |attempt: Attempt| {
        let address = Arc::clone(&attempt.address);
        let answer = send(attempt);
        async move {
            let answer = answer.await.map(Response::into_inner);
            answer.map_err(|status| Failure::of(&status, &address.to_string()))
        }
    };
    repeat(routers, kind, timeout, send).await
}

/// Sends a request, in whatever way, until an answer ends it or its deadline passes.
pub(crate) async fn repeat<T, F, Answer>(
    routers: &Routers,
    kind: Kind,
    timeout: Duration,
    send: F,
) -> Result<Answered<T>, Error>
where
    F: Fn(Attempt) -> Answer,
    Answer: Future<Output = Result<T, Failure>>,
{
    let started = Instant::now();
    let deadline = started + timeout;
    let mut history = History::new(kind, routers.len());
    loop {
        let (position, router) = routers.current();
        let failure = match attempt(router, deadline, &send).await {
            Ok(answer) => {
                return Ok(Answered {
                    answer,
                    earlier_may_be_applied: history.maybe_applied(),
                });
            }
            Err(failure) => failure,
        };
        let Next::Again { wait, elsewhere } = history.failed(failure) else {
            break;
        };
        if elsewhere {
            routers.leave(position);
        }
        if Instant::now() + wait >= deadline {
            break;
        }
        tokio::time::sleep(wait).await;
    }
    Err(history.into_error(&routers.addresses(), started.elapsed()))
}

async fn attempt<T, F, Answer>(router: &Router, deadline: Instant, send: &F) -> Result<T, Failure>
where
    F: Fn(Attempt) -> Answer,
    Answer: Future<Output = Result<T, Failure>>,
{
    let address = &router.address;
    let connection = match timeout_at(deadline, router.connection()).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(cause)) => return Err(Failure::NotConnected(cause)),
        Err(_) => {
            let cause = "no connection within the deadline".to_owned();
            return Err(Failure::NotConnected(cause));
        }
    };
    let now = Instant::now();
    let remaining = deadline.saturating_duration_since(now);
    if remaining.is_zero() {
        let cause = format!("{address}: the deadline passed before the request was sent");
        return Err(Failure::NotBegun(cause));
    }
    let answer = send(Attempt {
        connection,
        address: Arc::clone(address),
        until: now + server_timeout(remaining),
    });
    match timeout_at(deadline, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(Failure::Lost(format!(
            "{address}: no answer within the deadline"
        ))),
    }
}

/// The deadline that goes with a request ends a little before our own, so that the router's answer to it,
/// which knows more than we do, arrives in time.
fn server_timeout(remaining: Duration) -> Duration {
    remaining.saturating_sub((remaining / 10).min(Duration::from_millis(100)))
}
