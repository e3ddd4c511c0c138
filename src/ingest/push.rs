//! Push: batches of alerts over HTTP. `POST /push/NAME` with newline-delimited JSON; answered once it is durable.
//!
//! In: requests. Out: batches, to whoever makes them durable (`Sink`). State: how many bytes wait to be taken, and how many are
//! under way: a body has room before it is read, and is given up where it does not come.
//! A source is one that the plan names: nothing in a request becomes a path. A content type that a web page of
//! somebody else may send unasked is refused.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Path, Request, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// A batch is no longer than this, in bytes.
pub const BODY_MAX: usize = 8 << 20;
/// Bytes that may wait to be taken.
const WAITING_MAX: u64 = 64 << 20;
/// Bytes of bodies that may be under way, over all requests.
const UNDER_WAY_MAX: usize = 64 << 20;
/// How long a request waits for room, and how long its body may take to come.
const ROOM_WAIT: Duration = Duration::from_secs(10);
const BODY_WAIT: Duration = Duration::from_secs(30);
/// An idempotency key is no longer than this, in bytes.
const KEY_MAX: usize = 200;

/// What came of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is durable.
    New,
    /// Its key is known: it is durable since it came first.
    Again,
    /// Its key is that of another batch: it is not taken.
    Other,
}

/// Makes a batch (source, text, key) durable; what came of it, or why it cannot be.
pub type Sink = Arc<dyn Fn(&str, &str, Option<&str>) -> Result<Stored, String> + Send + Sync>;

/// Room for bodies that are under way.
#[derive(Clone, Debug)]
pub struct Room {
    bytes: Arc<Semaphore>,
    patience: Duration,
    comes_within: Duration,
}

impl Default for Room {
    fn default() -> Self {
        let bytes = Arc::new(Semaphore::new(UNDER_WAY_MAX));
        Room { bytes, patience: ROOM_WAIT, comes_within: BODY_WAIT }
    }
}

/// What the requests of one address meet.
#[derive(Clone)]
pub struct Door {
    /// Names of the sources that may be pushed to here.
    pub sources: Arc<[String]>,
    /// Where batches go.
    pub sink: Sink,
    /// Bytes that wait to be taken; whoever takes them takes them off.
    pub waiting: Arc<AtomicU64>,
    /// Room that the requests of all addresses share.
    pub room: Room,
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

async fn push(State(door): State<Door>, Path(source): Path<String>, request: Request) -> Response {
    let headers = request.headers().clone();
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
    // The room is kept until the answer: until then the batch is in memory.
    let (body, _kept) = match received(&door.room, request).await {
        Ok(received) => received,
        Err(refused) => return *refused,
    };
    let Ok(text) = String::from_utf8(body.into()) else {
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
        return later("too much is waiting; send it again later");
    }
    let (sink, name) = (Arc::clone(&door.sink), source.clone());
    // The disk is waited for, so not on a thread that serves others.
    let done = tokio::task::spawn_blocking(move || sink(&name, &text, key.as_deref())).await;
    if !matches!(done, Ok(Ok(Stored::New))) {
        take_off(&door.waiting, length);
    }
    match done {
        Ok(Ok(Stored::Other)) => refused(
            StatusCode::UNPROCESSABLE_ENTITY,
            "another batch came with this Idempotency-Key; give each batch a key of its own",
        ),
        Ok(Ok(stored)) => {
            let duplicate = stored == Stored::Again;
            said(StatusCode::OK, &serde_json::json!({ "source": source, "duplicate": duplicate }))
        }
        Ok(Err(why)) => refused(StatusCode::INTERNAL_SERVER_ERROR, &why),
        Err(_) => refused(StatusCode::INTERNAL_SERVER_ERROR, "not taken; send it again"),
    }
}

/// The body, with the room that it takes; why there is none. What a request declares is believed, for it may send no more.
async fn received(room: &Room, request: Request) -> Result<(Bytes, OwnedSemaphorePermit), Box<Response>> {
    let too_large =
        || refused(StatusCode::PAYLOAD_TOO_LARGE, &format!("send at most {BODY_MAX} bytes at once"));
    let declared =
        request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let length: usize = declared.unwrap_or(BODY_MAX);
    let Some(bytes) = u32::try_from(length).ok().filter(|_| length <= BODY_MAX) else {
        return Err(Box::new(too_large()));
    };
    let Ok(Ok(kept)) = timeout(room.patience, Arc::clone(&room.bytes).acquire_many_owned(bytes)).await else {
        return Err(Box::new(later("too much is under way; send it again later")));
    };
    match timeout(room.comes_within, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => Ok((body, kept)),
        Ok(Err(error)) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(Box::new(too_large())),
        Ok(Err(error)) => Err(Box::new(refused(error.status(), "the body broke off; send it again"))),
        Err(_) => {
            let what = format!("the body took over {} s; send less at once", room.comes_within.as_secs());
            Err(Box::new(refused(StatusCode::REQUEST_TIMEOUT, &what)))
        }
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

/// Refused for now.
fn later(why: &str) -> Response {
    let mut response = refused(StatusCode::SERVICE_UNAVAILABLE, why);
    response.headers_mut().insert(RETRY_AFTER, axum::http::HeaderValue::from_static("1"));
    response
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

    fn door(room: Room) -> Door {
        let sink: Sink = Arc::new(|_, _, _| Ok(Stored::New));
        Door { sources: ["edge".to_owned()].into(), sink, waiting: Arc::default(), room }
    }

    #[test]
    fn what_is_too_much_is_refused_until_there_is_room() {
        let door = door(Room { patience: Duration::ZERO, ..Room::default() });
        let (waiting, bytes) = (Arc::clone(&door.waiting), Arc::clone(&door.room.bytes));
        let mut building = tokio::runtime::Builder::new_current_thread();
        let runtime = building.enable_time().build().unwrap();
        let send = || {
            let request = Request::post("/push/edge").header(CONTENT_TYPE, "application/x-ndjson");
            let request = request.header(CONTENT_LENGTH, 3).body(axum::body::Body::from("{}\n")).unwrap();
            runtime.block_on(push(State(door.clone()), Path("edge".to_owned()), request))
        };
        waiting.store(WAITING_MAX, Ordering::SeqCst);
        let refused = send();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(refused.headers().contains_key(RETRY_AFTER));
        assert_eq!(waiting.load(Ordering::SeqCst), WAITING_MAX, "what is refused does not wait");
        waiting.store(0, Ordering::SeqCst);
        assert_eq!(send().status(), StatusCode::OK);
        let taken = bytes.try_acquire_many(u32::try_from(UNDER_WAY_MAX).unwrap() - 2).unwrap();
        let refused = send();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(refused.headers().contains_key(RETRY_AFTER));
        drop(taken);
        assert_eq!(send().status(), StatusCode::OK);
        assert_eq!(bytes.available_permits(), UNDER_WAY_MAX, "who is answered takes no room");
    }

    #[test]
    fn bodies_that_do_not_come_are_bounded_and_given_up() {
        use std::io::{Read, Write};
        let room = Room {
            patience: Duration::from_millis(200),
            comes_within: Duration::from_secs(3),
            ..Room::default()
        };
        let bytes = Arc::clone(&room.bytes);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let at = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, router(door(room))).await });
        let begin = || {
            let mut stream = std::net::TcpStream::connect(at).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let head = "POST /push/edge HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n";
            write!(stream, "{head}Content-Length: {BODY_MAX}\r\n\r\n{{").unwrap();
            stream
        };
        let status = |mut stream: std::net::TcpStream| {
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).unwrap();
            String::from_utf8_lossy(&answer[9..]).into_owned()
        };
        // As many as have room, and one more once these have it.
        let first: Vec<_> = (0..UNDER_WAY_MAX / BODY_MAX).map(|_| begin()).collect();
        while bytes.available_permits() > 0 {
            std::thread::yield_now();
        }
        assert_eq!(status(begin()), "503");
        assert!(first.into_iter().all(|stream| status(stream) == "408"));
        while bytes.available_permits() < UNDER_WAY_MAX {
            std::thread::yield_now();
        }
    }
}
