//! `quell replay`: a historical run over files, or over what an archive has recorded.

mod prepare;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::report::{Progress, Stopwatch, measured, tell, tell_difference};
use super::{Failure, Output, cluster, setup};
use crate::act::Executor;
use crate::archive::Reader;
use crate::cluster::Terms;
use crate::engine::crier::Criers;
use crate::engine::journal::{Effects, Said, recorded};
use crate::engine::log::{Log, STATE_FOLDER};
use crate::engine::metrics::Metrics;
use crate::engine::run::{Batch, Run, Settings};
use crate::engine::scores;
use crate::engine::summary::{Counts, Summary};
use crate::ingest::Limits;
use crate::plan::catalog::Plan;
use crate::plan::pipeline::{Context, ExecutorSpec};
use crate::plan::policy::Act;
use crate::rank::Recall;
use crate::record::{InputKind, Millis, NOTHING_SETTLED, Names, Sym};
use crate::replay::again;
use crate::replay::arrival::ArrivalFeed;
use crate::replay::diff::compare;
use crate::replay::epochs::{EARLY, Recorded, acts};
use crate::replay::inputs::{InputFile, files};
use crate::replay::parse::{Parsing, Pieces};
use crate::replay::set::{FeedError, SetFeed};
use crate::replay::sorted::Sorter;
use crate::replay::whole;

use prepare::{prepare, refuse};

/// Replay historical alerts from files into an archive.
///
/// Files may be JSON lines, JSON arrays, concatenated JSON objects or CSV, plain, gzip or zstd, in UTF-8 or UTF-16; or
/// Parquet (pages plain, or packed by zstd, snappy, gzip or lz4). What they are is told by content. A folder stands for
/// all files in it.
/// What reads them is in dataflows/mappings/. An archive of quell as the input is replayed from its own record, as it came
/// in then: with what people, context tables and the model said, unless --context or --rescore says otherwise. No executor
/// outside the process is ever called.
///
/// Example: quell replay --input alerts.jsonl.gz --archive archive/
/// What another plan would have done: quell replay --input archive/ --flow new/pipeline.yml --archive new-archive/
/// --diff archive/
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Files or folders of alerts, or one archive.
    #[arg(long, required = true, num_args = 1..)]
    input: Vec<PathBuf>,
    /// Where the archive is written.
    #[arg(long)]
    archive: PathBuf,
    /// The plan.
    #[arg(long, default_value = setup::FLOW)]
    flow: PathBuf,
    /// Dataflow workers; results do not depend on it.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
    #[command(flatten)]
    spread: cluster::Args,
    /// Records of an epoch; results do not depend on it.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    batch: u32,
    /// Keep the files' own order, and its lateness, instead of sorting by event time.
    #[arg(long)]
    arrival: bool,
    /// The source's name, where it should not be the file's.
    #[arg(long)]
    name: Option<String>,
    /// The time against which events are too far in the future; now, where it is not given.
    #[arg(long, value_parser = setup::parse_time)]
    as_of: Option<Millis>,
    /// Go on with a replay that was cut, to the same result.
    #[arg(long)]
    resume: bool,
    /// Another archive: tell what differs from it.
    #[arg(long, value_name = "ARCHIVE")]
    diff: Option<PathBuf>,
    /// A version of the model other than the promoted one.
    #[arg(long)]
    model: Option<String>,
    /// Ask the model again for everything: an archive's own scores are not taken from its record.
    #[arg(long)]
    rescore: bool,
    /// Let a simulated environment answer instead of the plan's executor: an environment.json of `quell generate`.
    #[arg(long, value_name = "FILE")]
    environment: Option<PathBuf>,
    /// What the simulated environment's alerts truly are: the truth.jsonl beside it.
    #[arg(long, value_name = "FILE", requires = "environment")]
    truth: Option<PathBuf>,
    /// Take the tables of context from a folder's assets.csv, identities.csv and indicators.csv, and its zones.csv and
    /// vulnerabilities.csv where they are there, not from the plan.
    #[arg(long, value_name = "DIR")]
    context: Option<PathBuf>,
    /// The longest record, in bytes; a longer one is a reject.
    #[arg(long, default_value_t = 16 << 20)]
    record_bytes_max: usize,
    /// How long what is written may stay unseen, and be done again after a crash.
    #[arg(long, default_value_t = 5_000, value_name = "MILLISECONDS", hide_short_help = true)]
    commit_every_ms: u64,
    /// How to report.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let Some(other) = args.spread.other() else { return first(args) };
    let plan = || setup::plan(&args.flow);
    cluster::serve(&args.spread, other, (plan, args.model.as_deref()), None)
}

/// What the first process does, which may be the only one.
fn first(args: &Args) -> Result<(), Failure> {
    let watch = Stopwatch::start();
    let mut plan = setup::plan(&args.flow)?;
    replace(&mut plan, args)?;
    let plan = Arc::new(plan);
    let input = input(args)?;
    let names = setup::names();
    // What can be refused is refused before anything is written.
    refuse(args)?;
    let ranker = setup::ranker(&plan, args.model.as_deref())?;
    let executor = executor(&plan, &input, &names)?;
    let tables = tables(&plan, &names)?;
    let act = input.acts(&plan)?;
    let recall = recall(args, &plan, &input, &names)?;
    let _lock = setup::lock(&args.archive)?;
    // It is held to the end: whoever closes it last waits for the disk.
    let Some((log, committed, as_of)) = prepare(args, &plan, &input)? else {
        return finished(args);
    };
    if act == Act::Early {
        log.set_meta(EARLY, "true")?;
    }
    let first = cluster::First {
        plan: &plan,
        names: &names,
        archive: &args.archive,
        model: ranker.version(),
        terms: Terms { act, first_judges: recall.is_some(), reads: None },
    };
    let (crew, cluster) = args.spread.crew(args.workers, &first, None)?;
    // Its threads read while the run's are started, and the ledger waits for the disk.
    let feeding = Feeding::begin(args, &plan, input, as_of, &names);
    let settings = Settings {
        ledger: None,
        beginning: None,
        plan: Arc::clone(&plan),
        names: Arc::clone(&names),
        archive: args.archive.clone(),
        crew,
        ranker,
        first_judges: recall.is_some(),
        recall,
        executor,
        // A replay looks nothing up and withdraws nothing: what the archive had then is in its log, and files have none.
        asks: None,
        withdrawals: None,
        act,
        // No executor outside the process is called.
        journaled: false,
        committed,
        criers: Criers::default(),
        sinks: None,
        metrics: Metrics::default(),
    };
    let mut run = Run::start_committing(settings, Duration::from_millis(args.commit_every_ms))?;
    let fed = feeding.and_then(|feeding| feed(args, feeding, tables.as_ref(), &mut run));
    let (summary, counts) = run.finish()?;
    cluster.into_iter().for_each(cluster::part);
    fed?;
    report(args, &log, (&measured(summary, &counts, &watch), &counts), &names)
}

/// Orders that would leave the process are answered as they were then; where files are replayed they are told, not done.
fn executor(plan: &Plan, input: &Input, names: &Arc<Names>) -> Result<Executor, Failure> {
    match (&plan.pipeline.executor, input) {
        (ExecutorSpec::Webhook { .. }, Input::Archive(archive)) => {
            Ok(Executor::Recorded(recorded(&Reader::open(archive, Arc::clone(names))?)?))
        }
        (ExecutorSpec::Kafka(kafka), Input::Archive(archive)) => Ok(Executor::Recorded(
            recorded(&Reader::open(archive, Arc::clone(names))?)?.of_topic(kafka.timeout_s()),
        )),
        (spec, _) => setup::executor(plan, spec, true, names),
    }
}

/// What an archive's models said, unless one is to be asked again.
fn recall(args: &Args, plan: &Plan, input: &Input, names: &Arc<Names>) -> Result<Option<Recall>, Failure> {
    let Input::Archive(archive) = input else { return Ok(None) };
    if args.rescore {
        return Ok(None);
    }
    if args.model.is_some() {
        eprintln!(
            "quell: --model is asked only for what the archive has no score of; --rescore asks it for everything"
        );
    }
    let reader = Reader::open(archive, Arc::clone(names))?;
    Ok(Some(scores::recall(&reader, &plan.playbooks)?))
}

/// Puts what the command line says in the place of the plan's executor and tables.
fn replace(plan: &mut Plan, args: &Args) -> Result<(), Failure> {
    if let Some(environment) = &args.environment {
        plan.pipeline.executor = ExecutorSpec::Simulate {
            environment: absolute(environment)?,
            truth: args.truth.as_deref().map(absolute).transpose()?,
        };
    }
    if let Some(folder) = &args.context {
        let table = |name: &str| absolute(&folder.join(name)).map(|path| vec![path]);
        let may = |name: &str| if folder.join(name).exists() { table(name) } else { Ok(Vec::new()) };
        plan.pipeline.context = Context {
            assets: table("assets.csv")?,
            identities: table("identities.csv")?,
            indicators: table("indicators.csv")?,
            never_link: Vec::new(),
            zones: may("zones.csv")?,
            vulnerabilities: may("vulnerabilities.csv")?,
        };
    }
    Ok(())
}

/// A path of the command line, which is of the working folder and not of the plan's.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    Ok(std::path::absolute(path)?)
}

/// What is replayed.
enum Input {
    Files(Vec<InputFile>),
    Archive(PathBuf),
}

impl Input {
    /// When its alerts are acted on.
    fn acts(&self, plan: &Plan) -> Result<Act, Failure> {
        match self {
            Input::Files(_) => Ok(Act::Settled),
            Input::Archive(archive) => Ok(acts(archive, plan.policy.act)?),
        }
    }
}

fn input(args: &Args) -> Result<Input, Failure> {
    if let Some(other) = args.diff.as_deref().filter(|other| !again::is_archive(other)) {
        return Err(anyhow::anyhow!(
            "{} is no archive of quell: --diff has nothing to compare with",
            other.display()
        )
        .into());
    }
    match again::archive_of(&args.input).map_err(Failure::Usage)? {
        None if args.rescore => Err(Failure::Usage(
            "--rescore is for an archive: where files are replayed the model is always asked".to_owned(),
        )),
        Some(_) if args.arrival || args.name.is_some() => Err(Failure::Usage(
            "--arrival and --name are for files: an archive is replayed in its own order, with its own sources".to_owned(),
        )),
        Some(archive) => {
            whole::check(archive)?;
            let plans = Log::look(archive).and_then(|log| log.plans()).unwrap_or_default().len();
            if plans > 0 {
                eprintln!("quell: the archive was made by {} plans one after the other; all of it is replayed by one", plans + 1);
            }
            Ok(Input::Archive(archive.clone()))
        }
        None => Ok(Input::Files(files(&args.input, args.name.as_deref())?)),
    }
}

/// What is replayed, files of so many bytes already being read.
enum Feeding {
    Archive(PathBuf),
    Arrival(ArrivalFeed, u64),
    Set(Pieces, Vec<Sym>, u64),
}

impl Feeding {
    /// Begins to read files.
    fn begin(
        args: &Args,
        plan: &Plan,
        input: Input,
        as_of: Millis,
        names: &Arc<Names>,
    ) -> Result<Feeding, FeedError> {
        let inputs = match input {
            Input::Archive(archive) => return Ok(Feeding::Archive(archive)),
            Input::Files(inputs) => inputs,
        };
        let bytes =
            inputs.iter().filter_map(|input| std::fs::metadata(&input.path).ok()).map(|m| m.len()).sum();
        let with = |input: InputFile| {
            let settings = setup::source(plan, &input.name, as_of, names);
            (input, settings)
        };
        let files: Arc<[_]> = inputs.into_iter().map(with).collect();
        let limits = Limits { record_bytes: args.record_bytes_max, ..Limits::default() };
        let parsing = Parsing { files, mappings: plan.mappings().into(), names: Arc::clone(names), limits };
        if args.arrival {
            // What was read is worked on at the same time; but to parse takes longest, and on a core less all else would wait for it.
            let feed = ArrivalFeed::open(&parsing, plan.lateness_s, args.batch as usize, setup::cores())?;
            return Ok(Feeding::Arrival(feed, bytes));
        }
        let sources = parsing.files.iter().map(|(_, settings)| settings.name).collect();
        let pieces = Pieces::start(&parsing, setup::cores()).map_err(FeedError::Thread)?;
        Ok(Feeding::Set(pieces, sources, bytes))
    }
}

fn feed(args: &Args, feeding: Feeding, tables: Option<&Said>, run: &mut Run) -> Result<(), FeedError> {
    match feeding {
        Feeding::Archive(archive) => feed_archive(args, tables, &archive, run),
        Feeding::Arrival(..) | Feeding::Set(..) if !feed_tables(tables, run) => Ok(()),
        Feeding::Arrival(feed, bytes) => feed_arrival(feed, run, &Progress::start(bytes)),
        Feeding::Set(pieces, sources, bytes) => feed_set(args, pieces, sources, run, &Progress::start(bytes)),
    }
}

fn feed_arrival(mut feed: ArrivalFeed, run: &mut Run, progress: &Progress) -> Result<(), FeedError> {
    while let Some(batch) = feed.next(|bytes, _| progress.at(bytes))? {
        if !run.take(batch) {
            break;
        }
    }
    progress.finish();
    Ok(())
}

fn feed_set(
    args: &Args,
    pieces: Pieces,
    sources: Vec<Sym>,
    run: &mut Run,
    progress: &Progress,
) -> Result<(), FeedError> {
    let sorter = Sorter::new(&args.archive.join(STATE_FOLDER));
    let mut feed = SetFeed::new(pieces, sorter, sources, args.batch as usize);
    let mut taken = 0;
    while let Some(batch) = feed.next(|bytes, _| progress.at(bytes))? {
        if taken == 0 && !batch.alerts.is_empty() {
            progress.phase("replaying", feed.read.1);
        }
        taken += batch.alerts.len() as u64;
        if !run.take(batch) {
            break;
        }
        progress.at(taken);
    }
    progress.finish();
    Ok(())
}

/// How the plan's tables stand; none where it names none.
fn tables(plan: &Plan, names: &Names) -> Result<Option<Said>, Failure> {
    if plan.pipeline.context.files().next().is_none() {
        return Ok(None);
    }
    let rows = setup::context(plan, names).map_err(Failure::Plan)?;
    Ok(Some(Said::context(&setup::all_new(&rows), true, names)))
}

/// The tables stand before the first alert comes; false where the run has failed.
fn feed_tables(tables: Option<&Said>, run: &mut Run) -> bool {
    let Some(tables) = tables else { return true };
    let mut batch = Batch { settled: NOTHING_SETTLED, ..Batch::default() };
    Effects::of(std::slice::from_ref(tables), run.names()).fill(&mut batch);
    run.take(batch)
}

fn feed_archive(args: &Args, tables: Option<&Said>, archive: &Path, run: &mut Run) -> Result<(), FeedError> {
    let (folder, own) = (args.archive.join(STATE_FOLDER), args.context.is_none());
    let how = (run.act(), args.batch as usize);
    let mut feed = Recorded::open(archive, &folder, run.names(), how, own)?;
    // What the archive recorded of tables goes before what the plan's files say by now.
    let recorded = own && feed.has_context();
    if !recorded && !feed_tables(tables, run) {
        return Ok(());
    }
    let progress = Progress::start(feed.records());
    progress.phase("replaying", feed.records());
    let mut taken = 0;
    while let Some(mut batch) = feed.pull()? {
        taken += batch.alerts.len() as u64;
        if args.rescore {
            // One model is asked for everything.
            batch.inputs.retain(|input| input.kind != InputKind::Promotion);
            batch.promotes = None;
        }
        let promotes = batch.promotes.take();
        if !run.take(batch) || !promotes.is_none_or(|model| run.recalls(&model)) {
            break;
        }
        progress.at(taken);
    }
    progress.finish();
    Ok(())
}

/// The run was finished before: nothing is done, and that is said.
fn finished(args: &Args) -> Result<(), Failure> {
    match args.output {
        Output::Json => {
            let said = Log::open(&args.archive)?.meta("summary")?;
            let summary = match said {
                Some(said) => serde_json::from_str(&said)?,
                None => serde_json::to_value(Summary::default())?,
            };
            with_difference(args, summary)
        }
        Output::Text => {
            say!("{} is finished; there is nothing to resume.", args.archive.display());
            with_difference(args, serde_json::Value::Null)
        }
    }
}

fn report(
    args: &Args,
    log: &Log,
    (summary, counts): (&Summary, &Counts),
    names: &Arc<Names>,
) -> Result<(), Failure> {
    log.set_metas(&[("summary", &serde_json::to_string(summary)?), ("finished", "true")])?;
    if args.output == Output::Text {
        tell(summary, counts, &args.archive, names);
    }
    with_difference(args, serde_json::to_value(summary)?)?;
    if summary.divergences > 0 { Err(Failure::Diverged(summary.divergences)) } else { Ok(()) }
}

/// Says what differs from the other archive, if there is one: as text, or within the summary's line.
fn with_difference(args: &Args, mut summary: serde_json::Value) -> Result<(), Failure> {
    let difference = args.diff.as_ref().map(|other| compare(&args.archive, other)).transpose()?;
    match args.output {
        Output::Text => {
            if let Some((difference, other)) = difference.zip(args.diff.as_ref()) {
                tell_difference(&difference, other);
            }
        }
        Output::Json => {
            if let Some(difference) = difference {
                summary["diff"] = serde_json::to_value(difference)?;
            }
            say!("{summary}");
        }
    }
    Ok(())
}
