//! HTTP for operators and load balancers: `/health/live` and `/health/ready`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use super::health::{Health, Probes};
use crate::cli::Failure;
use crate::output::json;

/// For a request to arrive; connections that say nothing are closed.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// After an accept that failed, for example for lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Starts to listen; serves until the process ends.
pub(super) async fn start(listen: SocketAddr, probes: Arc<Probes>) -> Result<SocketAddr, Failure> {
    let failed = |error| {
        Failure::new(format!(
            "can't listen on {listen} for admin HTTP: {error}; choose another --admin-listen, port 0 is any \
             free one"
        ))
    };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(serve(stream, Arc::clone(&probes)))),
                Err(error) => {
                    tracing::warn!(%error, "admin HTTP can't accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    });
    Ok(address)
}

async fn serve(stream: TcpStream, probes: Arc<Probes>) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = answer(request.method(), request.uri().path(), &probes);
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    // A caller that breaks off is its own affair.
    let _ = connection.await;
}

fn answer(method: &Method, path: &str, probes: &Probes) -> Response<Full<Bytes>> {
    let (status, health) = match path {
        "/health/live" => {
            let health = Health {
                ready: true,
                reason: String::new(),
            };
            (StatusCode::OK, health)
        }
        "/health/ready" => {
            let health = probes.health();
            let status = if health.ready {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            (status, health)
        }
        _ => return plain(StatusCode::NOT_FOUND, "try /health/live or /health/ready\n"),
    };
    if method != Method::GET && method != Method::HEAD {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        let allowed = hyper::header::HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    let body = if path == "/health/live" {
        r#"{"live":true}"#.to_owned()
    } else {
        json::render(&health)
    };
    respond(status, "application/json", body + "\n")
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", text.to_owned())
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn ask(method: &Method, path: &str, probes: &Probes) -> (u16, String) {
        let response = answer(method, path, probes);
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    fn ready(reason: &'static str) -> Probes {
        let probes = Probes::default();
        let probe = move || Health {
            ready: reason.is_empty(),
            reason: reason.to_owned(),
        };
        probes.set(vec![("router".to_owned(), Box::new(probe))]);
        probes
    }

    #[tokio::test]
    async fn health_is_told_by_status_and_document() {
        for (path, probes, expected) in [
            (
                "/health/live",
                Probes::default(),
                (200, "{\"live\":true}\n"),
            ),
            (
                "/health/ready",
                Probes::default(),
                (503, "{\"ready\":false,\"reason\":\"starting\"}\n"),
            ),
            (
                "/health/ready",
                ready("no ZooKeeper"),
                (
                    503,
                    "{\"ready\":false,\"reason\":\"router: no ZooKeeper\"}\n",
                ),
            ),
            (
                "/health/ready",
                ready(""),
                (200, "{\"ready\":true,\"reason\":\"\"}\n"),
            ),
        ] {
            let (status, body) = ask(&Method::GET, path, &probes).await;
            assert_eq!((status, body.as_str()), expected);
        }
    }

    #[tokio::test]
    async fn other_paths_and_methods_are_refused() {
        let probes = Probes::default();
        assert_eq!(ask(&Method::GET, "/", &probes).await.0, 404);
        assert_eq!(ask(&Method::GET, "/health", &probes).await.0, 404);
        assert_eq!(ask(&Method::POST, "/health/live", &probes).await.0, 405);
        assert_eq!(ask(&Method::DELETE, "/health/ready", &probes).await.0, 405);
    }

    #[tokio::test]
    async fn it_listens_on_a_free_port_and_speaks_http() {
        let probes = Arc::new(Probes::default());
        let listen = "127.0.0.1:0".parse().unwrap();
        let address = start(listen, Arc::clone(&probes)).await.unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
        let taken = start(address, probes).await.unwrap_err();
        assert_eq!(taken.exit, 1);
        assert!(
            taken.message.contains("--admin-listen"),
            "{}",
            taken.message
        );
    }
}
