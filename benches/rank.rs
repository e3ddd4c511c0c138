//! Speed of the ranker on the CPU, of its memo, and of a turn of training: `cargo bench --bench rank`.

use std::hint::black_box;
use std::sync::Arc;

use burn::prelude::*;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use quell::learn::dataset::Slices;
use quell::learn::{Example, TrainConfig, train};
use quell::rank::history::History;
use quell::rank::model::Config;
use quell::rank::network::{Dice, Network, WIDTH, pack};
use quell::rank::{Case, Model, PlaybookTraits, Ranker};
use quell::record::features::{NUMERIC, TOKENS};
use quell::record::{EntityKind, Features, IncidentId, Triage, Verb};

fn features(seed: u64) -> Features {
    let mut dice = Dice(seed);
    let mut features =
        Features { numeric: std::array::from_fn(|_| dice.unit()), tokens: [0; TOKENS], history: [1, 2, 3] };
    for token in features.tokens.iter_mut().take(8) {
        *token = u16::try_from(dice.roll() % 2047 + 1).unwrap_or(1);
    }
    assert_eq!(features.numeric.len(), NUMERIC.len());
    features
}

fn playbooks() -> Vec<PlaybookTraits> {
    let of = |impact| PlaybookTraits::of(&[Verb::Contain], &[EntityKind::Host], &[], impact);
    (0..20).map(of).collect()
}

fn ranker() -> Ranker {
    let network = Network::drawn(7, &Device::flex());
    let (history, config) = (History::default(), Config::new(7, 1.0));
    Ranker::of(Model { version: "v0".into(), hash: String::new(), network, history, config }, &playbooks())
}

fn forward(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("forward");
    let network = Network::drawn(3, &Device::flex());
    let playbooks = network.playbooks(&playbooks(), &Device::flex());
    for rows in [1usize, 32, 256, 1024] {
        let mut input = Vec::new();
        for seed in 0..rows as u64 {
            pack(&features(seed), &mut input);
        }
        group.throughput(Throughput::Elements(rows as u64));
        group.bench_function(rows.to_string(), |bencher| {
            bencher.iter(|| {
                let input = TensorData::new(input.clone(), [rows, WIDTH]);
                let input = Tensor::from_data(input, &Device::flex());
                black_box(network.judge(&input, &playbooks).into_data())
            });
        });
    }
}

fn judge(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("judge");
    let cases: Vec<Case> =
        (0..4096).map(|seed| Case { features: Arc::new(features(seed)), playbooks: vec![0, 5, 9] }).collect();
    group.throughput(Throughput::Elements(cases.len() as u64));
    group.sample_size(10);
    group.bench_function("asked", |bencher| {
        bencher.iter_batched_ref(ranker, |ranker| black_box(ranker.judge(&cases)), BatchSize::PerIteration);
    });
    let mut known = ranker();
    known.judge(&cases);
    group.bench_function("remembered", |bencher| bencher.iter(|| black_box(known.judge(&cases))));
}

fn training(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("train");
    let example = |at: u64| Example {
        features: features(at),
        triage: Some(Triage::ALL[(at % 3) as usize]),
        labelled: i64::try_from(at).unwrap_or(0) * 1000,
        success: vec![(playbooks()[0].clone(), at.is_multiple_of(2))],
        next: None,
        weight: 1.0,
        group: IncidentId::of(&[&at.to_le_bytes()]),
        time: i64::try_from(at).unwrap_or(0) * 1000,
        slices: Slices::default(),
    };
    let examples: Vec<Example> = (0..4000).map(example).collect();
    let config = TrainConfig { turns_max: 1, ..TrainConfig::default() };
    group.throughput(Throughput::Elements(2800));
    group.sample_size(10);
    group.bench_function("turn", |bencher| {
        bencher.iter(|| train(examples.clone(), &config).map(|trained| trained.turns));
    });
}

criterion_group!(benches, forward, judge, training);
criterion_main!(benches);
