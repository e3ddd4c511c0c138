//! Service: what carries orders out when it is called, and how often it is called: by the order's class.
//!
//! In: an order, and whether it is in doubt. Out: an answer. State: none. Before each call the lease is looked at: see [`Grant`]. HTTP ([`super::webhook`]) is one kind of call, and a
//! simulated world ([`World`]) another: what is done after a call of which nobody knows the end is the same here for both.

use std::future::Future;
use std::time::Duration;

use super::answer::Answer;
use super::ledger::{Grant, Leave, Moment};
use super::order::Order;
use crate::record::{ActionClass, Millis};

/// How one call went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// It is done.
    Done,
    /// It is not done, for good.
    Refused(String),
    /// It never arrived, or was put off: may be repeated whatever its class.
    Again(String),
    /// Nobody knows.
    Unknown(String),
}

/// What can be called.
pub(super) trait Service: Sync {
    /// Gives the order, with its id as the key.
    fn post(&self, order: &Order) -> impl Future<Output = Call> + Send;
    /// Whether the order was carried out; none where that can't be told.
    fn probe(&self, order: &Order) -> impl Future<Output = Option<bool>> + Send;
    /// Lets time pass before the order is given again.
    fn pause(&self, time: Duration) -> impl Future<Output = ()> + Send;
    /// The time.
    fn now(&self) -> Moment;
}

/// A world that is simulated: what is called answers at once, and may be whatever a service can be.
pub trait World: Send + Sync {
    /// Gives the order, with its id as the key.
    fn post(&self, order: &Order) -> Call;
    /// Whether the order was carried out; none where that can't be told.
    fn probe(&self, order: &Order) -> Option<bool>;
    /// The time.
    fn now(&self) -> Moment;
}

impl Service for Box<dyn World> {
    async fn post(&self, order: &Order) -> Call {
        (**self).post(order)
    }

    async fn probe(&self, order: &Order) -> Option<bool> {
        (**self).probe(order)
    }

    async fn pause(&self, _: Duration) {}

    fn now(&self) -> Moment {
        (**self).now()
    }
}

/// How often an order is given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tries {
    /// Further tries after the first.
    pub(super) retries_max: u32,
    /// Milliseconds before the first further try; doubled each time.
    pub(super) backoff_ms: u64,
    /// Milliseconds without a call after which the process stood still.
    pub(super) still_ms: Millis,
}

/// Milliseconds without a call after which the process stood still, beside what two calls may take: more than any pause.
pub(super) const STILL_MS: Millis = 60_000;

/// Has an order carried out; what is `in_doubt` may have been, by a process that ended during the call.
pub(super) async fn carry_out(
    (service, mut grant): (&impl Service, Grant),
    order: &Order,
    in_doubt: bool,
    tries: Tries,
) -> Answer {
    let mut unknown = in_doubt.then(|| "the process ended during the call".to_owned());
    if in_doubt && let Some(answer) = settled_by_class(service, order, 0, &mut unknown).await {
        return answer;
    }
    let mut last = String::new();
    for attempts in 1..=tries.retries_max.saturating_add(1) {
        if attempts > 1 {
            service.pause(backoff(order, attempts, tries.backoff_ms)).await;
        }
        if let Some(answer) = left((service, &mut grant), order, (attempts - 1, tries), &mut unknown).await {
            return answer;
        }
        match service.post(order).await {
            Call::Done => return Answer::Done { attempts },
            Call::Refused(what) if unknown.is_none() => return Answer::Refused { attempts, what },
            // An earlier call may have been carried out, so this refusal proves nothing.
            Call::Refused(what) => return Answer::Unknown { attempts, what },
            Call::Again(what) => last = what,
            Call::Unknown(what) => {
                unknown = Some(what);
                if let Some(answer) = settled_by_class(service, order, attempts, &mut unknown).await {
                    return answer;
                }
            }
        }
    }
    let attempts = tries.retries_max.saturating_add(1);
    match unknown {
        Some(what) => Answer::Unknown { attempts, what },
        None => Answer::Refused { attempts, what: last },
    }
}

/// Right before a call: none where it may be made; else what is known of the order, which somebody else may have resolved.
async fn left(
    (service, grant): (&impl Service, &mut Grant),
    order: &Order,
    (attempts, tries): (u32, Tries),
    unknown: &mut Option<String>,
) -> Option<Answer> {
    loop {
        match grant.look(service.now(), tries.still_ms) {
            Leave::Granted => return None,
            Leave::StoodStill => {
                *unknown = Some("the process stood still before the call".to_owned());
                if let Some(answer) = settled_by_class(service, order, attempts, unknown).await {
                    return Some(answer);
                }
            }
            Leave::Lost => {
                let what = "another process has taken the ledger over".to_owned();
                return Some(Answer::Unknown { attempts, what });
            }
        }
    }
}

/// After a call that nobody knows the end of: an answer, or none where it may be called (again). A probe that
/// finds it never arrived clears the doubt.
async fn settled_by_class(
    service: &impl Service,
    order: &Order,
    attempts: u32,
    unknown: &mut Option<String>,
) -> Option<Answer> {
    match order.class {
        ActionClass::Idempotent | ActionClass::Keyed => None,
        ActionClass::Opaque => Some(Answer::Unknown { attempts, what: unknown.clone().unwrap_or_default() }),
        ActionClass::Probeable => match service.probe(order).await {
            Some(true) => Some(Answer::Done { attempts }),
            Some(false) => {
                *unknown = None;
                None
            }
            None => Some(Answer::Unknown { attempts, what: "reading back did not tell".to_owned() }),
        },
    }
}

/// Doubles each time, up to 30 s, plus up to half of it by the action's id: retries of many don't march in step.
fn backoff(order: &Order, attempts: u32, backoff_ms: u64) -> Duration {
    let base = backoff_ms.saturating_mul(1 << attempts.saturating_sub(2).min(16)).min(30_000);
    let jitter = base / 2 * u64::from(order.action_id.0[0]) / 255;
    Duration::from_millis(base + jitter)
}
