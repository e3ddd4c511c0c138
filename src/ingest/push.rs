//! Push: batches of alerts over HTTP. `POST /push/NAME` with newline-delimited JSON; answered once it is durable.
//!
//! In: requests. Out: batches, to whoever makes them durable (`Sink`). State: how many bytes wait to be taken.
//! A source is one that the plan names: nothing in a request becomes a path. A content type that a web page of
//! somebody else may send unasked is refused.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

/// A batch is no longer than this, in bytes.
pub const BODY_MAX: usize = 8 << 20;
/// Bytes that may wait to be taken.
const WAITING_MAX: u64 = 64 << 20;
/// An idempotency key is no longer than this, in bytes.
const KEY_MAX: usize = 200;

/// Makes a batch (source, text, key) durable; whether it is new, or why it cannot be.
pub type Sink = Arc<dyn Fn(&str, &str, Option<&str>) -> Result<bool, String> + Send + Sync>;

/// What the requests of one address meet.
#[derive(Clone)]
pub struct Door {
    /// Names of the sources that may be pushed to here.
    pub sources: Arc<[String]>,
    /// Where batches go.
    pub sink: Sink,
    /// Bytes that wait to be taken; whoever takes them takes them off.
    pub waiting: Arc<AtomicU64>,
}

/// The paths of an address.
pub fn router(door: Door) -> Router {
    Router::new()
        .route("/push/{source}", post(push))
        .route("/health", get(|| async { said(StatusCode::OK, &serde_json::json!({ "status": "ok" })) }))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(door)
}

/// An address to listen at; a port alone is one of loopback.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let whole = if text.parse::<u16>().is_ok() { format!("127.0.0.1:{text}") } else { text.to_owned() };
    let whole = whole.replace("localhost:", "127.0.0.1:");
    whole
        .parse()
        .map_err(|_| format!("{text:?} is no address to listen at; write 127.0.0.1:8080, or a port alone"))
}

async fn push(
    State(door): State<Door>,
    Path(source): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Response {
    if !door.sources.contains(&source) {
        return refused(
            StatusCode::NOT_FOUND,
            "no such source; the pipeline file names those that may be pushed to",
        );
    }
    if !is_json(&headers) {
        let what = "send application/x-ndjson or application/json, not compressed";
        return refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, what);
    }
    let body = match body {
        Ok(body) => body,
        Err(error) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            return refused(StatusCode::PAYLOAD_TOO_LARGE, &format!("send at most {BODY_MAX} bytes at once"));
        }
        Err(error) => return refused(error.status(), "the body broke off; send it again"),
    };
    let Ok(text) = String::from_utf8(body.to_vec()) else {
        return refused(StatusCode::BAD_REQUEST, "the body is not UTF-8, as JSON must be");
    };
    if text.trim().is_empty() {
        return refused(StatusCode::BAD_REQUEST, "the body is empty; send one JSON object a line");
    }
    let key = match headers.get("idempotency-key").map(|key| key.to_str()) {
        Some(Ok(key)) if !key.is_empty() && key.len() <= KEY_MAX => Some(key.to_owned()),
        Some(_) => {
            return refused(StatusCode::BAD_REQUEST, "Idempotency-Key is 1 to 200 characters of ASCII");
        }
        None => None,
    };
    let length = text.len() as u64;
    if door.waiting.fetch_add(length, Ordering::SeqCst) + length > WAITING_MAX {
        take_off(&door.waiting, length);
        let mut response =
            refused(StatusCode::SERVICE_UNAVAILABLE, "too much is waiting; send it again later");
        response.headers_mut().insert(RETRY_AFTER, axum::http::HeaderValue::from_static("1"));
        return response;
    }
    let (sink, name) = (Arc::clone(&door.sink), source.clone());
    // The disk is waited for, so not on a thread that serves others.
    let done = tokio::task::spawn_blocking(move || sink(&name, &text, key.as_deref())).await;
    if !matches!(done, Ok(Ok(true))) {
        take_off(&door.waiting, length);
    }
    match done {
        Ok(Ok(new)) => said(StatusCode::OK, &serde_json::json!({ "source": source, "duplicate": !new })),
        Ok(Err(why)) => refused(StatusCode::INTERNAL_SERVER_ERROR, &why),
        Err(_) => refused(StatusCode::INTERNAL_SERVER_ERROR, "not taken; send it again"),
    }
}

/// Whoever takes batches counts anew what waits, maybe between our adding and taking off: never below nothing.
fn take_off(waiting: &AtomicU64, length: u64) {
    let _ = waiting
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |waiting| Some(waiting.saturating_sub(length)));
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let plain = headers.get(CONTENT_ENCODING).is_none_or(|encoding| encoding == "identity");
    plain && matches!(kind.as_str(), "application/x-ndjson" | "application/json")
}

fn refused(status: StatusCode, why: &str) -> Response {
    said(status, &serde_json::json!({ "error": why }))
}

fn said(status: StatusCode, body: &serde_json::Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_of_loopback() {
        assert_eq!(address("0").unwrap().to_string(), "127.0.0.1:0");
        assert_eq!(address("localhost:80").unwrap().to_string(), "127.0.0.1:80");
        assert_eq!(address("[::1]:80").unwrap().to_string(), "[::1]:80");
        assert!(address("everywhere").is_err());
    }

    #[test]
    fn what_is_too_much_is_refused_until_there_is_room() {
        let waiting = Arc::new(AtomicU64::new(WAITING_MAX));
        let sink: Sink = Arc::new(|_, _, _| Ok(true));
        let door = Door { sources: ["edge".to_owned()].into(), sink, waiting: Arc::clone(&waiting) };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, axum::http::HeaderValue::from_static("application/x-ndjson"));
        let send = || {
            let body = Ok(Bytes::from_static(b"{}\n"));
            runtime.block_on(push(State(door.clone()), Path("edge".to_owned()), headers.clone(), body))
        };
        let refused = send();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(refused.headers().contains_key(RETRY_AFTER));
        assert_eq!(waiting.load(Ordering::SeqCst), WAITING_MAX, "what is refused does not wait");
        waiting.store(0, Ordering::SeqCst);
        assert_eq!(send().status(), StatusCode::OK);
    }
}
