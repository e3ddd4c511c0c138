//! The webhook executor: an order as JSON by POST, its id as the `Idempotency-Key`.
//!
//! 2xx: done. 3xx and 4xx: refused for good (a redirect is never followed), but 408, 425 and 429 are tried again.
//! 5xx, a timeout or a broken connection: nobody knows; the order's class says whether to repeat, to read back
//! (`GET probe_url?action_id=...`: 200 done, 404 never arrived) or to leave it to a person. Tries are bounded.
//! Addresses are judged after resolution and at connection, so that no spelling and no change of DNS between two
//! look-ups reaches a cloud's metadata service.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use reqwest::dns::{Name, Resolve, Resolving};
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use reqwest::{Client, StatusCode, Url};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::answer::Answer;
use super::clock;
use super::ledger::{Grant, Lease, Moment};
use super::order::Order;
use super::secret::Secret;
use super::service::{Call, STILL_MS, Service, Tries, World, carry_out};
use crate::plan::address;
use crate::plan::webhook::{Refused, checked};

/// Where and how orders are sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    /// Where orders are posted.
    pub url: String,
    /// Where it can be read back whether an order was carried out.
    #[serde(default)]
    pub probe_url: Option<String>,
    /// The environment variable whose value is sent as `Authorization`: a bearer token, or a scheme and what it needs.
    #[serde(default)]
    pub authorization_env: Option<String>,
    /// Whether link-local, unspecified and metadata addresses may be called.
    #[serde(default)]
    pub allow_link_local: bool,
    /// Milliseconds that a call may take.
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
    /// Further tries after the first.
    #[serde(default = "retries_max")]
    pub retries_max: u32,
    /// Milliseconds before the first further try; doubled each time.
    #[serde(default = "backoff_ms")]
    pub backoff_ms: u64,
    /// Calls at a time.
    #[serde(default = "parallel_max")]
    pub parallel_max: u32,
}

fn timeout_ms() -> u64 {
    10_000
}

fn retries_max() -> u32 {
    3
}

fn backoff_ms() -> u64 {
    200
}

fn parallel_max() -> u32 {
    16
}

/// Why a webhook can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The address is not one that may be called.
    #[error("{0}; {cure}", cure = .0.cure)]
    Url(Refused),
    /// The secret is not there.
    #[error("webhook: {0}")]
    Secret(String),
    /// The client or its threads can't be made.
    #[error("webhook: the HTTP client can't be made")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A webhook, ready to call. It owns a runtime: call it from a plain thread only.
pub struct Webhook {
    service: Called,
}

/// What is called.
enum Called {
    Http { runtime: Runtime, caller: Arc<Caller> },
    World(Box<dyn World>),
}

struct Caller {
    client: Client,
    url: Url,
    probe_url: Option<Url>,
    authorization: Option<HeaderValue>,
    settings: WebhookSettings,
    turns: Semaphore,
}

impl Webhook {
    /// Checks the settings and makes the client.
    ///
    /// # Errors
    /// An address that may not be called, a secret that is not there.
    pub fn new(settings: WebhookSettings) -> Result<Webhook, WebhookError> {
        let checked = |url: &str| checked(url, settings.allow_link_local).map_err(WebhookError::Url);
        let url = checked(&settings.url)?;
        let probe_url = settings.probe_url.as_deref().map(checked).transpose()?;
        let authorization = match &settings.authorization_env {
            None => None,
            Some(name) => {
                let secret = Secret::from_env(name).map_err(WebhookError::Secret)?;
                let what =
                    format!("environment variable {name} holds what cannot be sent: a line's end, or worse");
                Some(authorization(secret.reveal()).ok_or(WebhookError::Secret(what))?)
            }
        };
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            // A proxy would resolve names on our behalf, behind the guard's back.
            .no_proxy()
            .dns_resolver(Arc::new(Guard { allow_link_local: settings.allow_link_local }))
            .connect_timeout(Duration::from_millis(settings.timeout_ms.min(5_000)))
            .build()
            .map_err(|error| WebhookError::Client(error.into()))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| WebhookError::Client(error.into()))?;
        let turns = Semaphore::new(settings.parallel_max.max(1) as usize);
        let caller = Caller { client, url, probe_url, authorization, settings, turns };
        Ok(Webhook { service: Called::Http { runtime, caller: Arc::new(caller) } })
    }

    /// One that calls a simulated world, order by order.
    #[must_use]
    pub fn simulated(world: Box<dyn World>) -> Webhook {
        Webhook { service: Called::World(world) }
    }

    /// Carries orders out, several at a time; answers in the order of `orders`.
    #[must_use]
    pub(super) fn call(&self, orders: &[Order], lease: &Arc<Lease>) -> Vec<Answer> {
        self.each(orders, lease, false)
    }

    /// Resolves orders in doubt: see [`super::Executor::resolve`].
    #[must_use]
    pub(super) fn resolve(&self, orders: &[Order], lease: &Arc<Lease>) -> Vec<Answer> {
        self.each(orders, lease, true)
    }

    /// The time.
    pub(super) fn now(&self) -> Moment {
        match &self.service {
            Called::Http { .. } => clock::now(),
            Called::World(world) => world.now(),
        }
    }

    fn each(&self, orders: &[Order], lease: &Arc<Lease>, in_doubt: bool) -> Vec<Answer> {
        // Before the first of them: where it turns out that the process stood still, it is so for all.
        let grant = lease.grant();
        match &self.service {
            Called::Http { runtime, caller } => runtime.block_on(together(caller, orders, &grant, in_doubt)),
            Called::World(world) => {
                let tries = Tries { retries_max: retries_max(), backoff_ms: 0, still_ms: STILL_MS };
                let one = |order| at_once(carry_out((world, grant.clone()), order, in_doubt, tries));
                orders.iter().map(one).collect()
            }
        }
    }
}

/// Several at a time.
async fn together(caller: &Arc<Caller>, orders: &[Order], grant: &Grant, in_doubt: bool) -> Vec<Answer> {
    let mut answers = vec![broken_off(); orders.len()];
    let mut tasks = JoinSet::new();
    for (at, order) in orders.iter().cloned().enumerate() {
        let (caller, grant) = (Arc::clone(caller), grant.clone());
        tasks.spawn(async move { (at, caller.carry_out(&order, grant, in_doubt).await) });
    }
    while let Some(joined) = tasks.join_next().await {
        // A call that panicked stays unknown.
        if let Ok((at, answer)) = joined {
            answers[at] = answer;
        }
    }
    answers
}

fn broken_off() -> Answer {
    Answer::Unknown { attempts: 0, what: "the call was broken off".to_owned() }
}

/// What waits for nothing: a simulated world answers at once.
fn at_once(answer: impl Future<Output = Answer>) -> Answer {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(answer).poll(&mut context) {
        Poll::Ready(answer) => answer,
        Poll::Pending => broken_off(),
    }
}

impl Caller {
    async fn carry_out(&self, order: &Order, grant: Grant, in_doubt: bool) -> Answer {
        let Ok(_turn) = self.turns.acquire().await else {
            return Answer::Unknown { attempts: 0, what: "shutting down".to_owned() };
        };
        let WebhookSettings { retries_max, backoff_ms, timeout_ms, .. } = self.settings;
        // A call, and reading back.
        let still_ms = STILL_MS.saturating_add_unsigned(timeout_ms.saturating_mul(2));
        carry_out((self, grant), order, in_doubt, Tries { retries_max, backoff_ms, still_ms }).await
    }

    fn timeout(&self, order: &Order) -> Duration {
        let ms = self.settings.timeout_ms;
        Duration::from_millis(order.timeout_ms.map_or(ms, |step| step.min(ms)).max(1))
    }
}

impl Service for Caller {
    async fn post(&self, order: &Order) -> Call {
        let mut request = self
            .client
            .post(self.url.clone())
            .timeout(self.timeout(order))
            .header(HeaderName::from_static("idempotency-key"), order.action_id.to_string())
            .json(order);
        if let Some(value) = &self.authorization {
            request = request.header(AUTHORIZATION, value);
        }
        match request.send().await {
            Ok(response) => judge(response.status()),
            Err(error) if error.is_connect() || error.is_builder() => Call::Again(plain(&error)),
            Err(error) => Call::Unknown(plain(&error)),
        }
    }

    async fn probe(&self, order: &Order) -> Option<bool> {
        let mut url = self.probe_url.clone()?;
        url.query_pairs_mut().append_pair("action_id", &order.action_id.to_string());
        let mut request = self.client.get(url).timeout(self.timeout(order));
        if let Some(value) = &self.authorization {
            request = request.header(AUTHORIZATION, value);
        }
        match request.send().await.ok()?.status() {
            StatusCode::OK => Some(true),
            StatusCode::NOT_FOUND => Some(false),
            _ => None,
        }
    }

    async fn pause(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    fn now(&self) -> Moment {
        clock::now()
    }
}

/// What is sent as `Authorization`: a bearer token (RFC 6750), or, where the secret names its scheme itself (a word, a space,
/// more), the secret as it is. None where no header can hold it. A dump of the request does not show it.
fn authorization(secret: &str) -> Option<HeaderValue> {
    let word = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte));
    let named = secret
        .split_once(' ')
        .is_some_and(|(scheme, rest)| !scheme.is_empty() && word(scheme) && !rest.trim().is_empty());
    let text = if named { secret.to_owned() } else { format!("Bearer {secret}") };
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn judge(status: StatusCode) -> Call {
    let what = format!("HTTP {}", status.as_u16());
    match status.as_u16() {
        200..300 => Call::Done,
        408 | 425 | 429 => Call::Again(what),
        300..400 => Call::Refused(format!("{what}: redirects are not followed")),
        400..500 => Call::Refused(what),
        _ => Call::Unknown(what),
    }
}

/// The error with its causes, without the address: that may hold a secret.
fn plain(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() { "timed out".to_owned() } else { String::new() };
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    if text.is_empty() { "the call failed".to_owned() } else { text }
}

/// Resolves names and refuses those that lead to an address that may not be called, even as one of several.
struct Guard {
    allow_link_local: bool,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let allow = self.allow_link_local;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if !allow && let Some(bad) = found.iter().find(|found| address::is_metadata(found.ip())) {
                return Err(format!("{} leads to {}, which is not called", name.as_str(), bad.ip()).into());
            }
            Ok(Box::new(found.into_iter()) as Box<dyn Iterator<Item = SocketAddr> + Send>)
        })
    }
}

#[cfg(test)]
mod tests;
