//! How `quell run` starts: with its cluster, and with what an earlier run kept.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use crossbeam_channel::Sender;

use super::Args;
use super::unsaid::Unsaid;
use crate::act::Ledger;
use crate::archive::snapshots::{self, By, Snapshot};
use crate::cli::models::{Judged, Wanted, finder};
use crate::cli::{Failure, cluster, outside};
use crate::cluster::{Cluster, Talk, Terms};
use crate::engine::beginning::Beginning;
use crate::engine::feed::FeedError;
use crate::engine::live::SourceKept;
use crate::engine::log::{Log, STATE_FOLDER};
use crate::engine::metrics::Metrics;
use crate::engine::run::{Run, Settings};
use crate::engine::scribe::Scribe;
use crate::engine::sighter::Question;
use crate::engine::sinks::delivered;
use crate::engine::withdrawals::Withdrawer;
use crate::engine::workers::Crew;
use crate::flow::Turn;
use crate::flow::kept::Past;
use crate::ingest::live::Bell;
use crate::plan::catalog::Plan;
use crate::plan::pipeline::SourceKind;
use crate::plan::policy::Act;
use crate::rank::Ranker;
use crate::record::{Epoch, Names};

/// A run that was started.
pub(super) struct Started {
    pub(super) run: Run,
    pub(super) cluster: Option<Cluster>,
    /// Talks with those who read topics for this process; empty where nobody does.
    pub(super) talks: Vec<Option<Talk>>,
    /// Where it begins, and what the sources remembered there; none where it begins at the beginning.
    pub(super) begins: Option<(Turn, Vec<SourceKept>)>,
    /// Whether this process judges everything, so that another model can be put to use while it runs.
    pub(super) judges: bool,
}

/// Starts the run, once all processes of its cluster are there, with the model that judged where it begins.
pub(super) fn start(
    args: &Args,
    plan: &Arc<Plan>,
    (names, committed, metrics): (&Arc<Names>, Epoch, &Metrics),
    (asks, unsaid): (Option<Sender<Question>>, &Unsaid),
    (scribe, bell, wanted): (&Scribe, &Bell, &mut Wanted),
) -> Result<Started, Failure> {
    let wanted = wanted.ranker()?;
    let log = Log::open(&args.archive)?;
    let judged = Judged::of(&log)?;
    // Others have the wanted model alone: where another one judged what is computed again, this process does so.
    let oldest = snapshots::oldest(log.folder(), committed).unwrap_or(None).unwrap_or(0);
    let first_judges = !judged.is_all(oldest, &wanted.version());
    let first = cluster::First {
        plan,
        names,
        archive: &args.archive,
        model: wanted.version(),
        terms: Terms { act: plan.policy.act, first_judges, reads: spread(args, plan) },
    };
    let (mut crew, cluster) = args.spread.crew(args.workers, &first, Some(bell))?;
    let talks = match &mut crew {
        Crew::Cluster(peers) if first.terms.reads.is_some() => std::mem::take(&mut peers.talks),
        Crew::Cluster(_) | Crew::Alone(_) => Vec::new(),
    };
    if let Some(cluster) = &cluster {
        metrics.joins(cluster);
    }
    let judges = cluster.is_none() || first_judges;
    let beginning = beginning(args, plan, committed, &log)?;
    let begins = beginning.as_ref().map(|it| (it.turn, it.sources(names)));
    let ranker = ranker(plan, wanted, (&log, &judged), begins.as_ref().map_or(0, |(turn, _)| turn.epoch))?;
    let executor = outside::executor(plan, bell, names)?;
    let sinks = outside::sinks(plan, &args.archive, bell)?;
    let stopping = bell.clone();
    let ledger = outside::ledger(plan, (&args.archive, false), move || stopping.stopped())?;
    let settings = Settings {
        beginning,
        plan: Arc::clone(plan),
        names: Arc::clone(names),
        archive: args.archive.clone(),
        crew,
        ranker,
        recall: None,
        first_judges,
        // What is told or done outside is told or done once: nothing that comes later may come before it.
        journaled: plan.policy.act == Act::Early || sinks.is_some() || executor.is_outside(),
        executor,
        ledger,
        asks,
        withdrawals: (plan.policy.act == Act::Early).then(|| Withdrawer::new(scribe, bell)),
        act: plan.policy.act,
        committed,
        criers: unsaid.criers(args, names)?,
        sinks,
        metrics: metrics.clone(),
    };
    let run = Run::start(settings)?;
    if plan.pipeline.ledger.kafka.is_some() {
        tell_elsewhere(&args.archive)?;
    }
    Ok(Started { run, cluster, talks, begins, judges })
}

/// The model that judged after an epoch. Where it is gone, and nothing is to be judged by it again, the wanted one does.
fn ranker(
    plan: &Arc<Plan>,
    wanted: Ranker,
    (log, judged): (&Log, &Judged),
    after: Epoch,
) -> Result<Ranker, Failure> {
    let Some(model) = judged.after(after).filter(|model| *model != wanted.version()) else {
        return Ok(wanted);
    };
    match finder(plan)(model) {
        Ok(ranker) => Ok(ranker),
        Err(_) if log.last_epoch()? == after => Ok(wanted),
        Err(why) => Err(FeedError::Model { epoch: after, model: model.to_owned(), why }.into()),
    }
}

/// Tells what stands that another archive's run has done.
fn tell_elsewhere(archive: &Path) -> Result<(), Failure> {
    let ledger = Ledger::look(&archive.join(STATE_FOLDER)).context("ledger")?;
    let standing = ledger.map_or(Ok(0), |ledger| ledger.standing_elsewhere()).context("ledger")?;
    if standing > 0 {
        eprintln!(
            "quell: the ledger has {standing} effects that stand since runs of other archives; those whose records are read again \
             here end in their time, others when somebody ends them"
        );
    }
    Ok(())
}

/// The longest record, where other processes of a cluster read topics.
fn spread(args: &Args, plan: &Plan) -> Option<usize> {
    let topics = plan.pipeline.sources.iter().any(|source| matches!(source.kind, SourceKind::Kafka(_)));
    topics.then_some(args.record_bytes_max)
}

/// What an earlier run kept, as far as the archive is published.
fn beginning(args: &Args, plan: &Plan, committed: Epoch, log: &Log) -> Result<Option<Beginning>, Failure> {
    // What topics were not told of is said by computing it again.
    let since = log.plans()?.last().map_or(0, |(after, _)| *after);
    let told = match plan.pipeline.sinks.kafka {
        // Through the epoch after which this plan is gone by they were told by the one before, if that named any.
        Some(_) => delivered(log)?.max(since),
        None => Epoch::MAX,
    };
    let committed = committed.min(told);
    let complain = |why: String| eprintln!("quell: {why}");
    let by = By { plan: &plan.hash, since };
    let found = snapshots::latest(&args.archive.join(STATE_FOLDER), committed, by, complain);
    let found =
        found.with_context(|| format!("the snapshots of {} cannot be read", args.archive.display()))?;
    // What was taken by another plan is not computed again by this one.
    let folded = log.folded()?.max(since);
    if found.as_ref().map_or(0, |found| found.turn.epoch) < folded {
        return Err(anyhow!(
            "{} cannot be gone on with: epochs through {folded} are in its snapshots alone, and this program can begin with \
             none of them; go on with the version that wrote them, name a new archive, or set this one aside with --fresh",
            args.archive.display()
        )
        .into());
    }
    Ok(found.map(|Snapshot { turn, kept }| Beginning { turn, past: Past::of(kept) }))
}
