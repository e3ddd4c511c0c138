//! Reader: what a process does that reads partitions of topics for the first one.
//!
//! In: orders. Out: what waits, what came of an epoch's shares; alerts, to its own workers.
//! State: that of its partitions, and one epoch's alerts.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, select, unbounded};

use super::Live;
use super::far::{Order, Place, Word, heard, told};
use super::partition::Stream;
use crate::cluster::Talk;
use crate::engine::metrics::Metrics;
use crate::ingest::live::Bell;
use crate::record::{Alert, Epoch, Millis, Names};

/// How long nothing is looked at, at most.
const LOOK: Duration = Duration::from_millis(50);

/// How often it is noted how its partitions stand.
const SHOWN_MS: Millis = 1_000;

/// What a worker gets of an epoch.
pub type Fed = (Epoch, Vec<Arc<Alert>>);

/// What is read, and for whom.
pub struct Reader<O, N> {
    /// All sources, of no partitions yet.
    pub live: Live,
    /// The talk with the first process.
    pub talk: Talk,
    /// The workers.
    pub workers: Vec<Sender<Fed>>,
    /// Opens a partition from an offset on.
    pub open: O,
    /// The machine's clock.
    pub now: N,
    /// Rung where something came; told to stop where the first process ends.
    pub bell: Bell,
    /// Where that is heard.
    pub rings: Receiver<()>,
    /// Strings.
    pub names: Arc<Names>,
    /// What an operator sees.
    pub metrics: Metrics,
}

impl<O, N> Reader<O, N>
where
    O: FnMut(&Place, u64) -> Result<Stream, String>,
    N: Fn() -> Millis,
{
    /// Reads until there are no more epochs. Where it cannot go on, the first process hears why, and ends.
    pub fn run(mut self) -> std::io::Result<()> {
        let (orders, names, bell) = (self.talk.from.clone(), Arc::clone(&self.names), self.bell.clone());
        let (obeyed, listens) = unbounded();
        thread::Builder::new().name("orders".into()).spawn(move || {
            for bytes in orders {
                let order: Result<Order, String> = heard(&bytes, &names);
                // Whoever waits for a topic waits no longer.
                if matches!(order, Ok(Order::End) | Err(_)) {
                    let _ = bell.stop();
                }
                if obeyed.send(order).is_err() {
                    return;
                }
            }
        })?;
        if let Err(why) = self.read(&listens) {
            self.say(&Word::Failed(why));
            // The first process ends, and this one with it.
            while listens.recv().is_ok_and(|order| !matches!(order, Ok(Order::End))) {}
        }
        Ok(())
    }

    fn read(&mut self, orders: &Receiver<Result<Order, String>>) -> Result<(), String> {
        let (mut prepared, mut shown) = (Vec::new(), Millis::MIN);
        loop {
            select! {
                recv(orders) -> order => match order {
                    Ok(order) => if !self.obey(order?, &mut prepared)? {
                        return Ok(());
                    },
                    Err(_) => return Ok(()),
                },
                recv(self.rings) -> _ => {}
                default(LOOK) => {}
            }
            let now = (self.now)();
            self.live.pull(now)?;
            if self.metrics.is_on() && now.saturating_sub(shown) >= SHOWN_MS {
                shown = now;
                self.metrics.stand(self.live.standing(), (0, 0), self.names.bytes());
            }
            for word in self.live.news() {
                self.say(&word);
            }
        }
    }

    /// False where there will be no more.
    fn obey(&mut self, order: Order, prepared: &mut Vec<Alert>) -> Result<bool, String> {
        match order {
            Order::Open((source, partition), from) => {
                let place = (source, partition);
                let stream = (self.open)(&place, from)?;
                self.live.add(self.names.intern(&place.0), stream, 0, (self.now)());
            }
            Order::Take { as_of, floor, keeps_out, tells, shares } => {
                let asked = !shares.is_empty();
                let Some((mut took, batch)) = self.live.share((as_of, floor, keeps_out), shares)? else {
                    return Ok(false);
                };
                *prepared = batch.alerts;
                if tells {
                    took.alerts.clone_from(prepared);
                }
                if asked {
                    self.say(&Word::Took(Box::new(took)));
                }
            }
            Order::Feed(epoch) => return Ok(self.feed(epoch, std::mem::take(prepared))),
            Order::End => return Ok(false),
        }
        Ok(true)
    }

    /// Each worker gets a part; false where one has ended.
    fn feed(&self, epoch: Epoch, alerts: Vec<Alert>) -> bool {
        self.metrics.fed(epoch);
        let each = alerts.len().div_ceil(self.workers.len()).max(1);
        let mut alerts = alerts.into_iter().map(Arc::new);
        self.workers.iter().all(|worker| worker.send((epoch, alerts.by_ref().take(each).collect())).is_ok())
    }

    fn say(&self, word: &Word) {
        self.talk.say(told(word, &self.names));
    }
}
