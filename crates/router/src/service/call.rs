//! What every call has in common: a deadline on the way in, one mapping of errors on the way out.

use std::time::Duration;

use api::{Error, deadline};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

/// Serves a data operation.
pub(crate) async fn data<R, T, F>(
    request: Request<R>,
    handler: impl FnOnce(R, Instant) -> F,
) -> Result<Response<T>, Status>
where
    F: Future<Output = Result<T, Error>>,
{
    let time = deadline::of_data(request.metadata())?;
    serve(request, time, handler).await
}

/// Serves an administrative operation.
pub(crate) async fn admin<R, T, F>(
    request: Request<R>,
    handler: impl FnOnce(R, Instant) -> F,
) -> Result<Response<T>, Status>
where
    F: Future<Output = Result<T, Error>>,
{
    let time = deadline::of_admin(request.metadata())?;
    serve(request, time, handler).await
}

async fn serve<R, T, F>(
    request: Request<R>,
    time: Duration,
    handler: impl FnOnce(R, Instant) -> F,
) -> Result<Response<T>, Status>
where
    F: Future<Output = Result<T, Error>>,
{
    let deadline = Instant::now() + time;
    let answer = handler(request.into_inner(), deadline).await?;
    Ok(Response::new(answer))
}
