//! Reads the pipeline file, and tells all that is wrong with it, each on its line.

use std::path::Path;

use super::{ExecutorSpec, Pipeline, SourceKind, seconds};
use crate::plan::place::{Lines, Place};
use crate::plan::{Fault, text, webhook, yaml};
use crate::record::ContextTable;

/// The pipeline, where its file could be read: with faults or without.
pub fn read(flow: &Path, folder: &Path, faults: &mut Vec<Fault>) -> Option<Pipeline> {
    let text = text::read(flow).map_err(|error| {
        let cure = "name the pipeline file with --flow FILE";
        vec![Fault::of(flow, format!("cannot be read: {error}"), cure)]
    });
    let parsed = text.and_then(|text| {
        let cure = "see schemas/pipeline.json for what a pipeline file holds";
        Ok((yaml::parse::<Pipeline>(flow, &text, cure)?, text))
    });
    let (pipeline, text) = parsed.map_err(|more| faults.extend(more)).ok()?;
    let lines = Lines::of(&text);
    let top = Place::top(flow, &lines);
    settings(&top, &pipeline, faults);
    files(&top, folder, &pipeline, faults);
    sources(&top, folder, &pipeline, faults);
    faults.extend(pipeline.sinks.faults(&top.within("sinks"), folder));
    faults.extend(pipeline.words.faults(&top.within("words"), folder));
    let leaves = matches!(&pipeline.executor, ExecutorSpec::Kafka(_) | ExecutorSpec::Webhook { .. });
    faults.extend(pipeline.ledger.faults(&top.within("ledger"), folder, leaves));
    let executor = top.within("executor");
    match &pipeline.executor {
        ExecutorSpec::Kafka(kafka) => faults.extend(kafka.faults(&executor, folder, &pipeline.words)),
        ExecutorSpec::Webhook { url, .. } => {
            let refused = webhook::checked(url, false).err();
            faults.extend(
                refused.map(|refused| {
                    executor.within("url").fault(format!("executor: {refused}"), refused.cure)
                }),
            );
        }
        ExecutorSpec::DryRun | ExecutorSpec::Simulate { .. } => {}
    }
    Some(pipeline)
}

fn settings(top: &Place<'_>, pipeline: &Pipeline, faults: &mut Vec<Fault>) {
    for (name, text) in [
        ("lateness", &pipeline.lateness),
        ("dedup_window", &pipeline.dedup_window),
        ("future_max", &pipeline.future_max),
    ] {
        if seconds(text).is_none() {
            faults.push(top.within(name).fault(format!("`{name}` is {text:?}"), "write 30s, 5m, 1h or 1d"));
        }
    }
    if jiff::tz::TimeZone::get(&pipeline.zone).is_err() {
        let what = format!("`zone` is {:?}", pipeline.zone);
        faults.push(top.within("zone").fault(what, "write an IANA zone, as Europe/Vienna"));
    }
    let days = pipeline.sightings.days;
    if days > 366 {
        let what = format!("`sightings` looks {days} days back");
        let place = top.within("sightings").within("days");
        faults.push(place.fault(what, "write 366 at most; 0 looks nothing up"));
    }
}

/// What it names that is not there.
fn files(top: &Place<'_>, folder: &Path, pipeline: &Pipeline, faults: &mut Vec<Fault>) {
    let cure = "correct its path (it is relative to this file) or take it out";
    for table in ContextTable::ALL {
        let place = top.within("context").within(table.name());
        for (at, file) in pipeline.context.of(table).iter().enumerate() {
            if !folder.join(file).is_file() {
                let what = format!("the context table {} is not there", file.display());
                faults.push(place.item(at).fault(what, cure));
            }
        }
    }
    let place = top.within("sightings").within("archives");
    for (at, archive) in pipeline.sightings.archives.iter().enumerate() {
        if !folder.join(archive).is_dir() {
            let what = format!("`sightings` names the archive {}, which is not there", archive.display());
            faults.push(place.item(at).fault(what, cure));
        }
    }
}

fn sources(top: &Place<'_>, folder: &Path, pipeline: &Pipeline, faults: &mut Vec<Fault>) {
    let mut names: Vec<&str> = Vec::new();
    for (at, source) in pipeline.sources.iter().enumerate() {
        let place = top.within("sources").item(at);
        if let SourceKind::Kafka(topic) = &source.kind {
            faults.extend(topic.faults(&place, folder, &format!("source {:?}", source.name)));
        }
        if names.contains(&source.name.as_str()) {
            let what = format!("two sources are named {:?}", source.name);
            let cure = "give each its own name: it is part of its alerts' identity";
            faults.push(place.within("name").fault(what, cure));
        }
        names.push(&source.name);
    }
}
