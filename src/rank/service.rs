//! Service: the thread on which a ranker runs, so that no worker of the dataflow waits inside an operator.
//!
//! In: requests, each some cases with an id, from any number of clients (one a worker). Out: each client's answers, by id, in
//! the order of its requests; its `wake` is called after each. What waits is judged together, up to [`BATCH`] cases at a time.
//! State: the ranker, and in a replay of a log what was said then. The thread ends when the service and all of its clients are gone.

use std::sync::{Arc, Mutex};
use std::thread;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::ranker::{Case, Ranker};
use super::recall::{Opinion, Recall};
use crate::record::{IncidentId, Sym};

/// Cases that are judged at once.
pub const BATCH: usize = 256;

/// Called on the ranker's thread when an answer lies ready.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// A handle from which clients are made and by which the model is replaced.
#[derive(Clone)]
pub struct RankService {
    door: Door,
}

/// To who answers.
#[derive(Clone)]
enum Door {
    Thread(Sender<Message>),
    /// Whoever asks has it answered at once.
    Hand(Arc<Mutex<Bench>>),
}

impl Door {
    fn send(&self, message: Message) -> Result<(), Gone> {
        match self {
            Door::Thread(messages) => messages.send(message).map_err(|_| Gone),
            Door::Hand(bench) => {
                let mut bench = bench.lock().map_err(|_| Gone)?;
                match message {
                    Message::Ask(request) => answer(&mut bench, &mut vec![request]),
                    Message::Promote(ranker, model) => bench.promote(*ranker, model),
                    Message::InForce(model) => bench.in_force = model,
                }
                Ok(())
            }
        }
    }
}

/// One worker's door to the ranker.
pub struct RankClient {
    door: Door,
    answers: Receiver<Answer>,
    reply: Sender<Answer>,
    wake: Wake,
}

/// What a request's cases are.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The request's id.
    pub id: u64,
    /// In the order of its cases.
    pub opinions: Vec<Opinion>,
}

/// The ranker's thread is gone: it panicked, and said so on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ranker's thread has ended; restart quell, and `quell replay --resume` goes on from here")]
pub struct Gone;

enum Message {
    Ask(Request),
    Promote(Box<Ranker>, Sym),
    InForce(Sym),
}

struct Request {
    id: u64,
    cases: Vec<(IncidentId, Case)>,
    reply: Sender<Answer>,
    wake: Wake,
}

impl RankService {
    /// Starts the thread. `model` is the ranker's version; what `recall` knows is not asked again.
    pub fn start(ranker: Ranker, model: Sym, recall: Option<Recall>) -> std::io::Result<RankService> {
        let (messages, inbox) = unbounded();
        let bench = Bench::new(ranker, model, recall);
        thread::Builder::new().name("rank".to_owned()).spawn(move || serve(bench, &inbox))?;
        Ok(RankService { door: Door::Thread(messages) })
    }

    /// One without a thread: what is asked is answered before `ask` returns.
    #[must_use]
    pub fn by_hand(ranker: Ranker, model: Sym, recall: Option<Recall>) -> RankService {
        RankService { door: Door::Hand(Arc::new(Mutex::new(Bench::new(ranker, model, recall)))) }
    }

    /// A client whose answers `wake` announces.
    #[must_use]
    pub fn client(&self, wake: Box<dyn Fn() + Send + Sync>) -> RankClient {
        let (reply, answers) = unbounded();
        RankClient { door: self.door.clone(), answers, reply, wake: Arc::from(wake) }
    }

    /// Replaces the model: requests sent from now on are judged by `ranker`, those sent before by the old one.
    pub fn promote(&self, ranker: Ranker, model: Sym) -> Result<(), Gone> {
        self.door.send(Message::Promote(Box::new(ranker), model))
    }

    /// What is recalled from now on was said by this model, where it has an answer; the ranker stays.
    pub fn recalls(&self, model: Sym) -> Result<(), Gone> {
        self.door.send(Message::InForce(model))
    }
}

impl RankClient {
    /// Asks, each case with whose it is; returns at once, but for one by hand. What is under way is bounded by the caller's epochs, so the channel
    /// is not.
    pub fn ask(&self, id: u64, cases: Vec<(IncidentId, Case)>) -> Result<(), Gone> {
        let request = Request { id, cases, reply: self.reply.clone(), wake: Arc::clone(&self.wake) };
        self.door.send(Message::Ask(request))
    }

    /// An answer if one lies ready.
    #[must_use]
    pub fn poll(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }
}

/// Who answers.
struct Bench {
    ranker: Ranker,
    model: Sym,
    /// Whose answers are recalled.
    in_force: Sym,
    recall: Option<Recall>,
}

impl Bench {
    fn new(ranker: Ranker, model: Sym, recall: Option<Recall>) -> Bench {
        let in_force = recall.as_ref().and_then(|recall| recall.began).unwrap_or(model);
        Bench { ranker, model, in_force, recall }
    }

    fn promote(&mut self, ranker: Ranker, model: Sym) {
        (self.ranker, self.model, self.in_force) = (ranker, model, model);
    }
}

fn serve(mut bench: Bench, inbox: &Receiver<Message>) {
    let mut waiting: Vec<Request> = Vec::new();
    while let Ok(message) = inbox.recv() {
        let mut next = Some(message);
        while let Some(message) = next {
            match message {
                Message::Ask(request) => waiting.push(request),
                Message::Promote(ranker, model) => {
                    answer(&mut bench, &mut waiting);
                    bench.promote(*ranker, model);
                }
                Message::InForce(model) => {
                    answer(&mut bench, &mut waiting);
                    bench.in_force = model;
                }
            }
            if waiting.iter().map(|request| request.cases.len()).sum::<usize>() >= BATCH {
                answer(&mut bench, &mut waiting);
            }
            next = inbox.try_recv().ok();
        }
        answer(&mut bench, &mut waiting);
    }
}

fn answer(bench: &mut Bench, waiting: &mut Vec<Request>) {
    let cases = waiting.iter().flat_map(|request| request.cases.iter().cloned());
    let (model, in_force) = (bench.model, bench.in_force);
    let opinions = if let Some(recall) = &bench.recall {
        recall.judge(&cases.collect::<Vec<_>>(), &mut bench.ranker, (model, in_force))
    } else {
        let judged = bench.ranker.judge(&cases.map(|(_, case)| case).collect::<Vec<_>>());
        judged.into_iter().map(|judgement| Opinion { judgement, model }).collect()
    };
    let mut opinions = opinions.into_iter();
    for Request { id, cases, reply, wake } in waiting.drain(..) {
        let opinions = opinions.by_ref().take(cases.len()).collect();
        // A client that has gone wants no answer.
        if reply.send(Answer { id, opinions }).is_ok() {
            wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::record::Features;
    use crate::record::features::{NUMERIC, TOKENS};

    #[test]
    fn every_client_gets_its_own_answers_in_order_and_is_woken() {
        let service = RankService::start(Ranker::untrained(&[]), Sym::EMPTY, None).expect("a thread");
        let woken = Arc::new(AtomicUsize::new(0));
        let clients: Vec<RankClient> = (0..3)
            .map(|_| {
                let woken = Arc::clone(&woken);
                service.client(Box::new(move || _ = woken.fetch_add(1, Ordering::SeqCst)))
            })
            .collect();
        let features = Features { numeric: [0.0; NUMERIC.len()], tokens: [0; TOKENS], history: [0; 3] };
        let case = Case { features: Arc::new(features), playbooks: Vec::new() };
        let cases = |id: u64| usize::try_from(id % 7).unwrap_or(0);
        for id in 0..100 {
            for client in &clients {
                client
                    .ask(id, vec![(IncidentId::default(), case.clone()); cases(id)])
                    .expect("the thread lives");
            }
            if id == 50 {
                service.promote(Ranker::untrained(&[]), Sym::EMPTY).expect("the thread lives");
            }
        }
        drop(service);
        for client in &clients {
            for id in 0..100 {
                let answer = client.answers.recv().expect("an answer");
                assert_eq!((answer.id, answer.opinions.len()), (id, cases(id)));
            }
            assert_eq!(client.poll(), None);
        }
        while woken.load(Ordering::SeqCst) < 300 {
            thread::yield_now();
        }
    }
}
