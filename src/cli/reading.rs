//! Reading: what another process than the first does about its share of the topics' partitions.

use std::sync::Arc;
use std::thread;

use anyhow::anyhow;
use crossbeam_channel::{Receiver, bounded};

use super::clock::Clock;
use super::topics::Topics;
use super::{Failure, setup};
use crate::cluster::Peers;
use crate::engine::live::far::Place;
use crate::engine::live::reader::{Fed, Reader};
use crate::engine::live::{Live, Source, Stream};
use crate::engine::metrics::Metrics;
use crate::engine::workers::QUEUED_MAX;
use crate::ingest::live::Bell;
use crate::ingest::{Limits, Origin};
use crate::plan::catalog::Plan;
use crate::plan::pipeline::{self, SourceKind};
use crate::record::Names;

/// Starts a thread that reads what the first process says; what each worker gets of it.
pub(super) fn start(
    plan: &Arc<Plan>,
    names: &Arc<Names>,
    peers: &mut Peers,
    (record_bytes, metrics): (usize, &Metrics),
) -> Result<Vec<Receiver<Fed>>, Failure> {
    let talk = peers.talks.first_mut().and_then(Option::take);
    let talk = talk.ok_or_else(|| anyhow!("there is no link to the first process"))?;
    let limits = Limits { record_bytes, ..Limits::default() };
    let (workers, fed) = (0..peers.workers).map(|_| bounded(QUEUED_MAX)).unzip();
    let (bell, rings) = Bell::new();
    let reader = Reader {
        live: Live::new(sources(plan, names), &plan.mappings(), names, plan.lateness_s, limits),
        talk,
        workers,
        open: opens((Arc::clone(plan), Arc::clone(names)), limits, bell.clone()),
        now: {
            let clock = Clock::start();
            move || clock.now()
        },
        bell,
        rings,
        names: Arc::clone(names),
        metrics: metrics.clone(),
    };
    thread::Builder::new().name("read".into()).spawn(move || {
        let _alarm = Alarm;
        if let Err(error) = reader.run() {
            eprintln!("quell: topics cannot be read here: {error}; check the limits on processes and memory");
            std::process::exit(1);
        }
    })?;
    Ok(fed)
}

/// A reader that panics takes the process with it: the first one would wait for it for ever.
struct Alarm;

impl Drop for Alarm {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!(
                "quell: the reader of topics failed, as told above: please report it; the run can be started again"
            );
            std::process::exit(1);
        }
    }
}

fn of_topics(plan: &Plan) -> impl Iterator<Item = &pipeline::Source> {
    plan.pipeline.sources.iter().filter(|spec| matches!(spec.kind, SourceKind::Kafka(_)))
}

/// The sources that are topics, of no partitions yet.
fn sources(plan: &Plan, names: &Names) -> Vec<Source> {
    let now = setup::now();
    let source = |spec: &pipeline::Source| Source {
        settings: setup::source(plan, &spec.name, now, names),
        // These are the first process's to know.
        wall: false,
        severe: false,
        streams: Vec::new(),
    };
    of_topics(plan).map(source).collect()
}

/// Opens partitions; brokers are asked when the first one is.
fn opens(
    (plan, names): (Arc<Plan>, Arc<Names>),
    limits: Limits,
    bell: Bell,
) -> impl FnMut(&Place, u64) -> Result<Stream, String> {
    let mut topics = None;
    move |(source, partition), from| {
        let mut open = || -> Result<Stream, Failure> {
            if topics.is_none() {
                let specs: Vec<_> = of_topics(&plan).cloned().collect();
                let mut found = Topics::find(&specs, &plan, &bell)?;
                found.listen()?;
                topics = Some(found);
            }
            let Some(topics) = &mut topics else { unreachable!("they were found") };
            eprintln!("quell: reading partition {partition} of the topic of {source}");
            let settings = setup::source(&plan, source, setup::now(), &names);
            let origin = Origin { source: settings.name, tenant: settings.tenant };
            topics.lane((source, *partition), from, (origin, limits))
        };
        open().map_err(|failure| match failure {
            Failure::Failed(error) => super::whole(&error),
            Failure::Usage(why) => why,
            Failure::Diverged(_) | Failure::Plan(_) => "its plan is another".to_owned(),
        })
    }
}
