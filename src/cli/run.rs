//! `quell run`: live, from the sources of the pipeline file.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::anyhow;
use crossbeam_channel::Receiver;

use super::clock::Clock;
use super::doors::{Doors, open_to_all};
use super::models::{Wanted, finder};
use super::renewal::{Ended, Renewal};
use super::report::{Stopwatch, measured, tell};
use super::sightings::Sightings;
use super::topics::Topics;
use super::turning::{Swap, Turning};
use super::watch::Watch;
use super::{Failure, Output, cluster, outside, setup};
use crate::archive::recover;
use crate::engine::answers::LIVE;
use crate::engine::caution::Caution;
use crate::engine::feed::{Feed, Keeping, Parts};
use crate::engine::journal::Journal;
use crate::engine::live::far::Others;
use crate::engine::live::{Live, Source, Stream};
use crate::engine::log::{Log, STATE_FOLDER};
use crate::engine::metrics::Metrics;
use crate::engine::run::{RunError, has_log};
use crate::engine::scribe::Scribe;
use crate::engine::summary::{Counts, Summary};
use crate::ingest::live::{Bell, follow, standard_input};
use crate::ingest::push::address;
use crate::ingest::{Limits, Origin};
use crate::plan::catalog::Plan;
use crate::plan::pipeline::{self, SourceKind};
use crate::record::{Epoch, Names};
use crate::replay::inputs::files;

mod args;
mod begin;
mod start;
mod unsaid;

pub(crate) use args::Args;
use args::OnStop;
use begin::begin_or_go_on;
use start::{Started, start};
use unsaid::Unsaid;

/// The name of what comes in through `--listen` where the plan has no source of its own for it.
const PUSH: &str = "push";

/// What this process does where the run is another's.
fn elsewhere(args: &Args) -> Option<Result<(), Failure>> {
    if let Some(other) = args.spread.other() {
        let made = (|| begin::plan(args), args.model.as_deref());
        return Some(cluster::serve(&args.spread, other, made, args.metrics));
    }
    args.supervise.map(|processes| {
        if args.fresh {
            set_aside(&args.archive)?;
        }
        cluster::supervise((processes, args.workers), args.restarts_max, &args.archive, args.metrics)
    })
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if let Some(done) = elsewhere(args) {
        return done;
    }
    let watch = Stopwatch::start();
    let mut heard = Bell::new();
    let mut doors = Doors::start(&heard.0)?;
    args.spread.obey(&heard.0)?;
    let plan = Arc::new(begin::plan(args)?);
    let specs = specs(args, &plan)?;
    // Where there is no such model, or topics cannot be read, nothing is begun.
    setup::ranker(&plan, args.model.as_deref())?;
    let mut topics = Topics::find(&specs, &plan, &heard.0)?;
    if args.fresh {
        set_aside(&args.archive)?;
    }
    let _lock = setup::lock(&args.archive)?;
    let metrics = doors.show(args.metrics, "", || Metrics::of(&args.archive))?;
    let job = Job { args, watch, plan, specs, metrics, unsaid: Unsaid::default() };
    while let Ended::Anew = once(&job, topics, &heard, &mut doors)? {
        eprintln!("quell: {} MB of names were met; going on with those that are needed", args.names_max);
        heard = heard.0.anew();
        topics = Topics::find(&job.specs, &job.plan, &heard.0)?;
    }
    job.unsaid.told()
}

/// What stays the same when a run goes on with new names.
struct Job<'a> {
    args: &'a Args,
    watch: Stopwatch,
    plan: Arc<Plan>,
    specs: Vec<pipeline::Source>,
    metrics: Metrics,
    unsaid: Unsaid,
}

/// From the archive as it stands to an end.
fn once(
    job: &Job<'_>,
    topics: Topics,
    heard: &(Bell, Receiver<()>),
    doors: &mut Doors,
) -> Result<Ended, Failure> {
    let args = job.args;
    let (mut log, committed) = prepare(args, &job.plan, &job.specs)?;
    let tell = |what: String| eprintln!("quell: {what}");
    let epochs = (args.batch as usize, job.plan.policy.act);
    let caution = Caution::begin(&mut log, committed, epochs, tell)?;
    let done = attended(job, (topics, committed, caution.clone()), (heard, &log), doors);
    match &done {
        Ok(Ended::InOrder | Ended::Left | Ended::Anew | Ended::Promoted(_)) | Err(Failure::Diverged(_)) => {
            Caution::end(&log)?;
        }
        Err(Failure::Failed(error)) if is_defect(error) => {}
        Ok(Ended::Early) | Err(_) => caution.withdraw(&log)?,
    }
    done
}

/// Whether this is how it would end again, whoever starts it.
fn is_defect(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| matches!(cause.downcast_ref(), Some(RunError::Worker(_))))
}

fn attended(
    job: &Job<'_>,
    (mut topics, committed, caution): (Topics, Epoch, Caution),
    ((bell, rings), own): (&(Bell, Receiver<()>), &Log),
    doors: &mut Doors,
) -> Result<Ended, Failure> {
    let Job { args, plan, specs, metrics, unsaid, .. } = job;
    let names = setup::names();
    let sightings = Sightings::start(plan, &args.archive, &names)?;
    metrics.goes_on(committed);
    let known = (&names, committed, metrics);
    let says = (sightings.asks(), unsaid);
    let mut wanted = Wanted::new(plan, args.model.as_deref());
    let scribe = Scribe::start(&args.archive)?;
    let started = start(args, plan, known, says, (&scribe, bell, &mut wanted))?;
    let Started { run, cluster, begins, talks, judges } = started;
    topics.spread(talks.len());
    let mut log = Log::open(&args.archive)?;
    let through = begins.as_ref().map_or(0, |(turn, _)| turn.epoch);
    let mut live = live(args, plan, specs, &names, (bell, &mut topics, (&mut log, through)))?;
    live.quarantined = log.quarantined()?;
    if !talks.is_empty() {
        live.spread(Others::new(talks, bell, plan.policy.act)?);
    }
    topics.listen()?;
    let clock = Clock::start();
    let feed = Feed::new(Parts {
        run,
        live,
        journal: Journal::new(log, scribe.clone(), Arc::clone(&names)),
        caution,
        begins,
        keeping: Keeping::every(args.snapshot_every_ms.into()),
        models: finder(plan),
        bell: bell.clone(),
        pushed_bytes: Arc::clone(&doors.waiting),
        clock: Box::new(move || clock.now()),
        tell: Box::new(|what| eprintln!("quell: {what}")),
    });
    let mut turning = Turning {
        feed,
        watch: Watch::new(plan, &names, outside::tables(plan, &names, (&scribe, bell))?),
        sightings,
        topics,
        models: (wanted, Swap::of(judges, args.snapshot_every_ms)),
        words: outside::words(plan, &args.archive, (&scribe, bell))?,
        bell: bell.clone(),
        rings: rings.clone(),
        looked: 0,
        renewal: Renewal::at(names_max(args, specs)),
        leaves: args.on_stop == OnStop::Keep,
        plan: (args.flow.clone(), plan.hash.clone()),
        metrics: metrics.clone(),
    };
    let gone_on = go((args, specs, own), &mut turning, doors, (&scribe, bell));
    doors.close();
    let (summary, counts) = turning.feed.finish()?;
    let several = cluster.is_some();
    if let Some(cluster) = cluster {
        cluster::part(cluster);
    }
    let gone_on = gone_on?;
    told(job, &gone_on, (&summary, &counts, &names), several)?;
    Ok(gone_on)
}

/// Tells how it ended; why it failed, where it was to go on and cannot.
fn told(
    job: &Job<'_>,
    ended: &Ended,
    (summary, counts, names): (&Summary, &Counts, &Arc<Names>),
    several: bool,
) -> Result<(), Failure> {
    let args = job.args;
    match ended {
        Ended::Early => {
            eprintln!("quell: stopped while the log was read again; the next run goes on with it");
        }
        Ended::InOrder => {
            Log::open(&args.archive)?.set_meta("finished", "true")?;
            report(job, summary, counts, names)?;
        }
        Ended::Left => {
            eprintln!("quell: left as it stands; the next run goes on as though this one had not ended");
            report(job, summary, counts, names)?;
        }
        Ended::Anew | Ended::Promoted(_) if summary.divergences > 0 => {
            return Err(Failure::Diverged(summary.divergences));
        }
        Ended::Anew if several => {
            return Err(anyhow!(
                "{} MB of names were met; what is remembered is kept: start all processes again, and they go on with \
                 the names that are needed",
                args.names_max
            )
            .into());
        }
        Ended::Anew => {}
        Ended::Promoted(model) => {
            return Err(anyhow!(
                "the model {model} is put to use, and what is remembered is kept: start all processes again, and they go on with it"
            )
            .into());
        }
    }
    Ok(())
}

/// Bytes of names that are enough; 0 where it could not go on with others.
fn names_max(args: &Args, specs: &[pipeline::Source]) -> usize {
    let again = args.snapshot_every_ms > 0 && specs.iter().all(|spec| spec.kind != SourceKind::Stdin);
    if again { args.names_max as usize * 1_000_000 } else { 0 }
}

/// Tells how it went.
fn report(job: &Job<'_>, summary: &Summary, counts: &Counts, names: &Arc<Names>) -> Result<(), Failure> {
    let (args, summary) = (job.args, &measured(summary.clone(), counts, &job.watch));
    let line = serde_json::to_string(summary)?;
    Log::open(&args.archive)?.set_meta("summary", &line)?;
    match args.output {
        Output::Text => tell(summary, counts, &args.archive, names),
        Output::Json => say!("{line}"),
    }
    if summary.divergences > 0 { Err(Failure::Diverged(summary.divergences)) } else { Ok(()) }
}

/// Reads the log again, listens, and turns.
fn go(
    (args, specs, own): (&Args, &[pipeline::Source], &Log),
    turning: &mut Turning,
    doors: &mut Doors,
    (scribe, bell): (&Scribe, &Bell),
) -> Result<Ended, Failure> {
    // Whoever took the log over meanwhile has it: what was opened since would write in its name.
    own.held()?;
    if !turning.again()? {
        return Ok(Ended::Early);
    }
    bell.hear();
    if let epoch @ 1.. = turning.feed.run().epoch() {
        eprintln!("quell: going on after epoch {epoch}");
    }
    let listening = doors.open(addresses(args, specs)?, (&args.archive, scribe), bell)?;
    for spec in specs {
        match &spec.kind {
            SourceKind::File { path } => eprintln!("quell: following {} as {}", path.display(), spec.name),
            SourceKind::Stdin => eprintln!("quell: reading standard input as {}", spec.name),
            SourceKind::Http { .. } => {}
            SourceKind::Kafka(topic) => {
                eprintln!("quell: reading topic {} of {} as {}", topic.topic, topic.brokers, spec.name);
            }
        }
    }
    for (at, sources) in listening {
        for source in sources {
            eprintln!("quell: listening at http://{at}/push/{source}");
        }
        open_to_all(at);
    }
    eprintln!("quell: archive {}; Ctrl-C ends the run in order", args.archive.display());
    turning.turn(doors)
}

/// The plan's sources, and those of the command line.
fn specs(args: &Args, plan: &Plan) -> Result<Vec<pipeline::Source>, Failure> {
    let more = |name: String, kind: SourceKind| pipeline::Source {
        name,
        kind,
        tenant: None,
        tenant_from_field: false,
        clock: None,
    };
    let mut specs = plan.pipeline.sources.clone();
    for spec in &mut specs {
        if let SourceKind::File { path } = &mut spec.kind {
            *path = plan.path(path);
        }
    }
    for file in files(&args.input, None)? {
        specs.push(more(file.name, SourceKind::File { path: file.path }));
    }
    if args.stdin {
        specs.push(more("stdin".to_owned(), SourceKind::Stdin));
    }
    let pushed = specs.iter().any(|spec| matches!(spec.kind, SourceKind::Http { .. }));
    if let (false, Some(listen)) = (pushed, args.listen.first()) {
        let kind = SourceKind::Http { listen: listen.to_string() };
        specs.push(more(PUSH.to_owned(), kind));
    }
    if specs.is_empty() {
        return Err(Failure::Usage(format!(
            "there is nothing to read: list `sources:` in {}, or give --input FILE, --stdin or --listen PORT",
            args.flow.display()
        )));
    }
    for (at, spec) in specs.iter().enumerate() {
        if specs[..at].iter().any(|other| other.name == spec.name) {
            return Err(Failure::Usage(format!(
                "two sources are named {:?}; give each its own name",
                spec.name
            )));
        }
        let stdin = |spec: &pipeline::Source| spec.kind == SourceKind::Stdin;
        if stdin(spec) && args.spread.is_supervised() {
            return Err(Failure::Usage(
                "standard input cannot be read again, and so not be supervised".to_owned(),
            ));
        }
        if stdin(spec) && specs[..at].iter().any(stdin) {
            return Err(Failure::Usage("two sources read standard input; leave one out".to_owned()));
        }
    }
    Ok(specs)
}

/// Looks at what stands in the archive, and takes its log over; the epoch through which it is published.
fn prepare(args: &Args, plan: &Plan, specs: &[pipeline::Source]) -> Result<(Log, Epoch), Failure> {
    let dir = args.archive.display();
    if !has_log(&args.archive) && setup::is_used(&args.archive) {
        return Err(
            anyhow!("{dir} holds something that is not an archive of quell; name another folder").into()
        );
    }
    let ranker = setup::ranker(plan, args.model.as_deref())?;
    let mut log = Log::open(&args.archive)?;
    log.claim()?;
    begin_or_go_on(args, plan, specs, (&log, ranker.version()))?;
    log.set_meta(LIVE, "true")?;
    log.unset_meta("finished")?;
    let committed = log.committed()?;
    let begun = log.parts_through(Epoch::MAX)?.iter().any(|part| part.records > 0);
    if begun && specs.iter().any(|spec| spec.kind == SourceKind::Stdin) {
        let through = committed.map_or(0, |(epoch, _)| epoch);
        return Err(anyhow!(
            "{dir} has records of standard input, which cannot be read again: those through epoch {through} are in it; \
             name a new archive, or set this one aside with --fresh"
        )
        .into());
    }
    recover(&args.archive, committed)?;
    Ok((log, committed.map_or(0, |(epoch, _)| epoch)))
}

/// Renames an archive that stands there.
fn set_aside(archive: &Path) -> Result<(), Failure> {
    if !archive.join(STATE_FOLDER).is_dir() {
        return Ok(());
    }
    // Nobody may be writing it.
    drop(setup::lock(archive)?);
    let aside =
        |n: u32| archive.with_file_name(format!("{}.{n}", archive.file_name().unwrap_or_default().display()));
    let free = (1..=9_999).map(aside).find(|path| !path.exists());
    let free = free.ok_or_else(|| anyhow!("too many archives lie beside {}", archive.display()))?;
    std::fs::rename(archive, &free)?;
    eprintln!("quell: what stood in {} is in {} now", archive.display(), free.display());
    Ok(())
}

fn live(
    args: &Args,
    plan: &Plan,
    specs: &[pipeline::Source],
    names: &Arc<Names>,
    (bell, topics, (log, through)): (&Bell, &mut Topics, (&mut Log, Epoch)),
) -> Result<Live, Failure> {
    let now = setup::now();
    let limits = Limits { record_bytes: args.record_bytes_max, ..Limits::default() };
    let mut sources = Vec::new();
    for spec in specs {
        let mut settings = setup::source(plan, &spec.name, now, names);
        settings.tenant_from_field = spec.tenant_from_field;
        if let Some(tenant) = &spec.tenant {
            settings.tenant = names.intern(tenant);
        }
        let streams = match &spec.kind {
            SourceKind::File { path } => vec![Stream::Bytes(follow(plain(path)?, bell.clone())?)],
            SourceKind::Stdin => vec![Stream::Bytes(standard_input(bell.clone())?)],
            SourceKind::Http { .. } => vec![Stream::Pushed],
            SourceKind::Kafka(_) => Vec::new(),
        };
        let mut streams: Vec<_> = streams.into_iter().map(|stream| (stream, 0)).collect();
        let origin = Origin { source: settings.name, tenant: settings.tenant };
        streams.extend(topics.streams((origin, limits), &spec.name, (&mut *log, through))?);
        let severe = matches!(&spec.kind, SourceKind::Kafka(topic) if topic.severe);
        let wall = spec.clock() == pipeline::Clock::Wall;
        sources.push(Source { settings, wall, severe, streams });
    }
    Ok(Live::new(sources, &plan.mappings(), names, plan.lateness_s, limits))
}

/// A file that can be followed: one that is packed does not grow.
fn plain(path: &Path) -> Result<PathBuf, Failure> {
    use std::io::Read;
    let mut magic = [0; 4];
    let read = std::fs::File::open(path).and_then(|mut file| file.read(&mut magic)).unwrap_or(0);
    if magic[..read].starts_with(&[0x1f, 0x8b]) || magic[..read] == [0x28, 0xb5, 0x2f, 0xfd] {
        return Err(Failure::Usage(format!(
            "{} is packed, and so cannot grow; use quell replay",
            path.display()
        )));
    }
    if !path.exists() {
        eprintln!("quell: {} is not there yet; it is waited for", path.display());
    }
    Ok(path.to_owned())
}

/// Where to listen, and for which sources.
fn addresses(args: &Args, specs: &[pipeline::Source]) -> Result<BTreeMap<SocketAddr, Vec<String>>, Failure> {
    let mut addresses: BTreeMap<SocketAddr, Vec<String>> = BTreeMap::new();
    let mut all = Vec::new();
    for spec in specs {
        if let SourceKind::Http { listen } = &spec.kind {
            addresses.entry(address(listen).map_err(Failure::Usage)?).or_default().push(spec.name.clone());
            all.push(spec.name.clone());
        }
    }
    for listen in &args.listen {
        addresses.insert(*listen, all.clone());
    }
    Ok(addresses)
}
