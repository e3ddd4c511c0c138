//! What stands where a replay is to be written: nothing, or a replay that was cut, which goes on with what it was begun with.

use serde_json::json;

use super::{Args, Input};
use crate::archive::recover;
use crate::cli::begun::differences;
use crate::cli::{Failure, setup};
use crate::engine::answers::EXECUTOR;
use crate::engine::log::Log;
use crate::engine::run::has_log;
use crate::plan::catalog::Plan;
use crate::record::{Epoch, Millis};
use crate::replay::again;
use crate::replay::fingerprint::fingerprint;
use crate::replay::inputs::InputFile;

/// An error where something stands there that is not to be gone on with.
pub(super) fn refuse(args: &Args) -> Result<(), Failure> {
    let stands = has_log(&args.archive);
    let used = stands || setup::is_used(&args.archive);
    if used && !args.resume {
        return Err(anyhow::anyhow!(
            "{} already holds something; name a new folder, or go on with a replay that was cut with --resume",
            args.archive.display()
        )
        .into());
    }
    if used && !stands {
        return Err(anyhow::anyhow!(
            "{} holds something that is not an archive of quell; name another folder",
            args.archive.display()
        )
        .into());
    }
    Ok(())
}

/// Looks at what stands in the archive; its log, the epoch through which it is published and the time as of which the run
/// judges, or none where the run is finished already.
pub(super) fn prepare(
    args: &Args,
    plan: &Plan,
    input: &Input,
) -> Result<Option<(Log, Epoch, Millis)>, Failure> {
    // Another process may have begun meanwhile, and be over.
    refuse(args)?;
    let what = identity(args, plan, input)?;
    let as_of = args.as_of.unwrap_or_else(setup::now);
    let begins = [("run", &*what.to_string()), ("as_of", &*as_of.to_string())];
    Log::begin(&args.archive, &begins)?;
    let log = Log::open(&args.archive)?;
    match log.meta("run")? {
        None => log.set_meta("run", &what.to_string())?,
        Some(before) => {
            let differ = differences(&before, &what);
            if !differ.is_empty() {
                return Err(anyhow::anyhow!(
                    "{} was begun otherwise: {}; resume with the same inputs, options and plan, or name a new folder",
                    args.archive.display(),
                    differ.join("; ")
                )
                .into());
            }
        }
    }
    if args.environment.is_some() {
        log.set_meta(EXECUTOR, &serde_json::to_string(&plan.pipeline.executor)?)?;
    }
    let as_of = match log.meta("as_of")?.and_then(|as_of| as_of.parse().ok()) {
        Some(as_of) => as_of,
        None => {
            log.set_meta("as_of", &as_of.to_string())?;
            as_of
        }
    };
    if log.meta("finished")?.is_some() {
        return Ok(None);
    }
    let committed = log.committed()?;
    recover(&args.archive, committed)?;
    Ok(Some((log, committed.map_or(0, |(epoch, _)| epoch), as_of)))
}

/// What must be the same for a resumed run to come to the same result.
fn identity(args: &Args, plan: &Plan, input: &Input) -> Result<serde_json::Value, Failure> {
    let inputs = match input {
        Input::Files(files) => files.iter().map(file).collect::<Result<_, Failure>>()?,
        Input::Archive(archive) => vec![again::identity(archive)?],
    };
    Ok(json!({
        "plan": plan.hash,
        "inputs": inputs,
        "arrival": args.arrival,
        "batch": args.batch,
        "model": args.model,
        "rescore": args.rescore,
        "record_bytes_max": args.record_bytes_max,
        "environment": args.environment,
        "truth": args.truth,
        "context": args.context,
    }))
}

/// A file's name, size and fingerprint; a pipe has neither.
fn file(input: &InputFile) -> Result<serde_json::Value, Failure> {
    let size = std::fs::metadata(&input.path).map_or(0, |file| file.len());
    let fingerprint = fingerprint(&input.path)
        .map_err(|error| anyhow::anyhow!("{} cannot be read: {error}", input.path.display()))?;
    Ok(json!([input.name, size, fingerprint]))
}
