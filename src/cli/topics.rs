//! Topics: those that a run reads, found before it begins, and watched while it goes on.
//!
//! Where each partition is read from is in the log before it is read. A thread a topic hears what its brokers say, says what
//! people should know, and looks whether there are more partitions.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::anyhow;
use crossbeam_channel::{Receiver, unbounded};

use super::Failure;
use super::clock::Clock;
use crate::engine::journal::Journal;
use crate::engine::live::far::Far;
use crate::engine::live::{Live, Stream};
use crate::engine::log::{Assigned, Log};
use crate::ingest::kafka::{TopicError, TopicReader};
use crate::ingest::live::Bell;
use crate::ingest::{Limits, Origin};
use crate::plan::catalog::Plan;
use crate::plan::pipeline::{Source, SourceKind, seconds};
use crate::plan::topic::{Start, Topic};
use crate::record::{Epoch, Millis};

/// How often groups are told how far their topics were taken.
const GROUPS_MS: Millis = 2_000;
/// How long a topic's thread listens before it looks at what else is due.
const LISTEN: Duration = Duration::from_millis(100);

/// The topics of a run.
pub(crate) struct Topics {
    all: Vec<Followed>,
    bell: Bell,
    /// Processes that read them.
    processes: usize,
    /// When groups were told.
    told: Millis,
}

struct Followed {
    name: String,
    topic: Box<Topic>,
    reader: Arc<TopicReader>,
    /// What its lanes need, once they are there.
    reading: Option<(Origin, Limits)>,
    partitions: u32,
    /// How many there are by now.
    more: Option<Receiver<u32>>,
}

impl Topics {
    /// Finds the topics of the plan; where one cannot be read, says why, within some seconds.
    pub(crate) fn find(specs: &[Source], plan: &Plan, bell: &Bell) -> Result<Topics, Failure> {
        let mut all = Vec::new();
        let folder: PathBuf = plan.path(std::path::Path::new(""));
        for spec in specs {
            let SourceKind::Kafka(topic) = &spec.kind else { continue };
            let (reader, partitions) = TopicReader::find(topic, &folder, bell).map_err(failed(&spec.name))?;
            let (name, topic, reader) = (spec.name.clone(), topic.clone(), Arc::new(reader));
            all.push(Followed { name, topic, reader, reading: None, partitions, more: None });
        }
        Ok(Topics { all, bell: bell.clone(), processes: 1, told: 0 })
    }

    /// Their partitions are read by so many processes; by this one alone where there are none.
    pub(crate) fn spread(&mut self, processes: usize) {
        self.processes = processes.max(1);
    }

    /// One partition, which is this process's, from an offset on.
    pub(crate) fn lane(
        &mut self,
        (name, partition): (&str, u32),
        from: u64,
        reading: (Origin, Limits),
    ) -> Result<Stream, Failure> {
        let followed = self.all.iter_mut().find(|followed| followed.name == name);
        let followed = followed.ok_or_else(|| anyhow!("the plan has no topic {name:?}"))?;
        followed.reading = Some(reading);
        followed.stream((partition, from), 1)
    }

    /// The partitions of a source, each read from behind what epochs through that one took, or from where a new one begins.
    pub(crate) fn streams(
        &mut self,
        origin: (Origin, Limits),
        name: &str,
        (log, through): (&mut Log, Epoch),
    ) -> Result<Vec<(Stream, Epoch)>, Failure> {
        let Some(followed) = self.all.iter_mut().find(|followed| followed.name == name) else {
            return Ok(Vec::new());
        };
        followed.reading = Some(origin);
        let processes = self.processes;
        let mut known = log.assigned()?;
        known.retain(|place| place.source == name);
        if let Some(gone) = known.iter().find(|place| place.partition >= followed.partitions) {
            let (there, topic) = (followed.partitions, &followed.topic.topic);
            return Err(anyhow!(
                "source {name:?}: topic {topic} has {there} partitions, and had partition {}: it was made anew; begin \
                 anew with --fresh, or name a new archive",
                gone.partition
            )
            .into());
        }
        // A partition that came while nobody looked is read from its beginning, as it would have been.
        let start = if known.is_empty() { followed.topic.start } else { Start::Earliest };
        let since = log.last_epoch()?;
        let is_new = |partition: &u32| known.iter().all(|place| place.partition != *partition);
        let new = (0..followed.partitions).filter(is_new);
        let new =
            new.map(|partition| followed.place(partition, start, since)).collect::<Result<Vec<_>, _>>()?;
        log.assign_partitions(&new)?;
        for place in &mut known {
            place.start = log.passed(name, place.partition, through)?.unwrap_or(place.start);
        }
        let streams = known
            .iter()
            .chain(&new)
            .map(|place| Ok((followed.stream((place.partition, place.start), processes)?, place.since)));
        streams.collect()
    }

    /// Starts to listen to the brokers.
    pub(crate) fn listen(&mut self) -> Result<(), Failure> {
        for followed in &mut self.all {
            let (tell, more) = unbounded();
            let (reader, bell) = (Arc::clone(&followed.reader), self.bell.clone());
            let look_ms = seconds(&followed.topic.look).unwrap_or(1) * 1_000;
            let mut partitions = followed.partitions;
            let name = followed.name.clone();
            thread::Builder::new().name("topic".into()).spawn(move || {
                let clock = Clock::start();
                let mut looked = clock.now();
                while !bell.stopped() {
                    let troubled = reader.hear(LISTEN);
                    if troubled || clock.now() - looked >= look_ms {
                        let now = reader.ask();
                        looked = clock.now();
                        if let Some(news) = reader.news() {
                            eprintln!("quell: source {name:?}: {news}");
                        }
                        if let Some(now) = now.filter(|now| *now > partitions) {
                            partitions = now;
                            let _ = tell.send(now);
                        }
                    }
                }
            })?;
            followed.more = Some(more);
        }
        Ok(())
    }

    /// New partitions are read from after `epoch` on; groups are told how far the log has it.
    pub(crate) fn look(
        &mut self,
        (live, journal): (&mut Live, &mut Journal),
        (epoch, now): (Epoch, Millis),
    ) -> Result<(), Failure> {
        for followed in &mut self.all {
            let Some(found) = followed.more.as_ref().and_then(|more| more.try_iter().last()) else {
                continue;
            };
            for partition in followed.partitions..found {
                let place = followed.place(partition, Start::Earliest, epoch)?;
                journal.assign_partition(&place)?;
                let stream = followed.stream((place.partition, place.start), self.processes)?;
                live.add(followed.origin(), stream, epoch, now);
                eprintln!(
                    "quell: source {:?}: topic {} has one partition more, {partition}",
                    followed.name, followed.topic.topic
                );
                followed.partitions = partition + 1;
            }
        }
        if now - self.told >= GROUPS_MS {
            self.told = now;
            self.tell_groups(journal.log())?;
        }
        Ok(())
    }

    /// Tells groups how far the log has their topics.
    pub(crate) fn tell_groups(&self, log: &Log) -> Result<(), Failure> {
        if self.all.iter().any(|followed| followed.topic.group.is_some()) {
            let places = log.assigned()?;
            for followed in &self.all {
                let own = places.iter().filter(|place| place.source == followed.name);
                followed.reader.tell_group(own.map(|place| (place.partition, place.next)));
            }
        }
        Ok(())
    }
}

impl Followed {
    fn origin(&self) -> crate::record::Sym {
        self.reading.map_or(crate::record::Sym::EMPTY, |(origin, _)| origin.source)
    }

    /// Where a new partition is read from on.
    fn place(&self, partition: u32, start: Start, since: Epoch) -> Result<Assigned, Failure> {
        let bounds = self.reader.bounds(partition).map_err(failed(&self.name))?;
        let start = match start {
            Start::Earliest => bounds.earliest,
            Start::Latest => bounds.latest,
        };
        Ok(Assigned { source: self.name.clone(), partition, start, next: start, since })
    }

    /// A partition from an offset on, which one of so many processes reads.
    fn stream(&self, (partition, from): (u32, u64), processes: usize) -> Result<Stream, Failure> {
        let Some((origin, limits)) = self.reading else { return Ok(Stream::Pushed) };
        let owner = partition as usize % processes;
        if owner > 0 {
            return Ok(Stream::Far(Far::new(owner, partition, from)));
        }
        let lane = self.reader.read(partition, from, origin, limits);
        let lane = lane.map_err(failed(&self.name))?;
        Ok(Stream::Lane(Box::new(lane), self.topic.on_lost))
    }
}

fn failed(name: &str) -> impl Fn(TopicError) -> Failure {
    let name = name.to_owned();
    move |error| anyhow!("source {name:?}: {error}").into()
}
