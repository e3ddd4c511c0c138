//! What decoders must hold, whatever they are given: each function takes bytes and panics where one does not.
//!
//! `fuzz/run` feeds them by coverage, and `tests/decoders.rs` with the corpus on every build.

use std::cell::RefCell;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use quell::act::Page;
use quell::archive::snapshots::By;
use quell::archive::{RunStamp, snapshots};
use quell::cluster::ClusterFile;
use quell::cluster::hello::{Answer, Hello};
use quell::engine::journal::{Effects, Said};
use quell::engine::log::LoggedInput;
use quell::engine::run::Batch;
use quell::engine::words::judge::judged;
use quell::enrich::tables;
use quell::flow::Turn;
use quell::flow::kept::Kept;
use quell::ingest::file::FileReader;
use quell::ingest::{Chunk, Framed, Framer, Framing, Limits, Origin};
use quell::normalize::{Normalizer, Parsed, SourceSettings};
use quell::plan::catalog::{Parts, Plan};
use quell::plan::correlation::Correlations;
use quell::plan::mapping::{Mapping, load};
use quell::plan::outside::Word;
use quell::plan::rule::Rules;
use quell::plan::{playbook, policy};
use quell::record::pen::{of_bytes, reading};
use quell::record::wire::Tongues;
use quell::record::{Alert, ContextTable, Decision, Incident, Names, Sym};
use tempfile::TempDir;

/// Runs of a target after which what it interned is let go.
const FRESH: u32 = 20_000;
/// The most that a record may have; small, so that the bound is met.
const LIMITS: Limits = Limits { chunk_bytes: 512, record_bytes: 2_048 };
const AS_OF: i64 = 1_769_904_000_000;

/// Panics that a decoder catches itself are no findings; one that gets out of it still ends the process.
pub fn quiet() {
    std::panic::set_hook(Box::new(|panic| {
        if std::env::var_os("QUELL_FUZZ_PANICS").is_some() {
            eprintln!("{panic}");
        }
    }));
}

/// Any bytes of a source: records are the same however the bytes come, and each becomes an alert, a reject, or nothing that
/// is of concern.
pub fn records(data: &[u8]) {
    let Some((piece, bytes)) = data.split_first() else { return };
    let whole = framed(bytes, bytes.len().max(1));
    assert_eq!(flat(&whole), flat(&framed(bytes, usize::from(*piece) % 64 + 1)), "cut otherwise");
    conserved(&whole);
}

/// A file of any packing: its reader ends, and what it gives is conserved.
pub fn files(data: &[u8]) {
    let origin = Origin { source: Sym::EMPTY, tenant: Sym::EMPTY };
    let reader = if data.starts_with(b"PAR1") {
        FileReader::open(&file("it.parquet", data), origin, LIMITS).expect("it is there")
    } else {
        let Ok(reader) = FileReader::new(Box::new(Cursor::new(data.to_vec())), origin, LIMITS) else {
            return;
        };
        reader
    };
    // What is packed may be far more than what it is packed in.
    conserved(&reader.take(64).collect::<Vec<_>>());
}

/// A mapping is one, or its faults say why not; one that is takes any record of the shipped examples.
pub fn mapping(data: &[u8]) {
    let Ok(mapping) = load(&file("mapping.yml", data)) else { return };
    let records =
        mapping.examples.iter().map(|example| example.value.raw.to_string()).collect::<Vec<_>>().join("\n");
    let framed = framed(records.as_bytes(), records.len().max(1));
    world_with(&[mapping]).conserved(&framed);
}

/// Rules of Sigma, detections and correlations.
pub fn rules(data: &[u8]) {
    let path = file("rules/it.yml", data);
    let (rules, faults) = Rules::load(&[path.parent().expect("a folder").to_owned()]);
    assert!(faults.iter().all(|fault| !fault.what.is_empty() && !fault.cure.is_empty()));
    let mut faults = Vec::new();
    let mut correlations = Correlations::read(&[path], &mut faults);
    correlations.know(&rules);
}

/// Playbooks, policies, pipelines and clusters.
pub fn plans(data: &[u8]) {
    let Some((what, data)) = data.split_first() else { return };
    let path = file("plan/pipeline.yml", data);
    match (what % 4, std::str::from_utf8(data)) {
        (0, Ok(text)) => drop(playbook::read(&path, text)),
        (1, Ok(text)) => drop(policy::read(&path, text, None)),
        (2, _) => drop(Parts::read(&path).plan()),
        _ => drop(ClusterFile::read(&path)),
    }
}

/// Context tables.
pub fn context(data: &[u8]) {
    let Some((table, data)) = data.split_first() else { return };
    let table = ContextTable::ALL[usize::from(*table) % ContextTable::ALL.len()];
    let names = Names::default();
    if let Err(faults) = tables::read(table, &file("table", data), &names) {
        assert!(!faults.is_empty());
    }
    let _ = std::str::from_utf8(data).map(|text| tables::row_of(table, text, data, &names));
}

/// An input of the log.
pub fn log(data: &[u8]) {
    let Some((kind, body)) = data.split_first() else { return };
    let kinds = ["tick", "context", "sighting", "verdict", "approval", "receipt", "push", "score", "other"];
    let kind = kinds[usize::from(*kind) % kinds.len()].to_owned();
    let body = String::from_utf8_lossy(body).into_owned();
    let input = LoggedInput { id: 1, epoch: Some(1), kind, body, key: None };
    let Some(said) = Said::logged(input) else { return };
    let _ = (said.is_unlink(), said.stands_alone());
    Effects::of(&[said], &Names::default()).fill(&mut Batch::default());
}

/// A message of a topic of words: what the log is told of it can be taken from there.
pub fn words(data: &[u8]) {
    let Some((word, payload)) = data.split_first() else { return };
    let word = [Word::Approvals, Word::Verdicts, Word::Receipts][usize::from(*word) % 3];
    let payload = (!payload.is_empty()).then_some(payload);
    let (kind, body) = judged(word, payload, ("default", AS_OF), ("topic", 3, 7));
    let input = LoggedInput { id: 1, epoch: Some(1), kind: kind.to_owned(), body, key: None };
    let said = Said::logged(input).expect("a kind of the log");
    let effects = Effects::of(&[said], &Names::default());
    assert!(effects.strange.is_empty(), "taken, and then not understood: {:?}", effects.strange);
}

/// A page of a ledger's topic is none, or says the same when it is written again.
pub fn ledger(data: &[u8]) {
    let Ok(Some(page)) = Page::read(0, data) else { return };
    let again = page.written().expect("what was read is written");
    assert_eq!(Page::read(0, &again).expect("what was written is read"), Some(page));
}

/// What comes over a link of a cluster.
pub fn wire(data: &[u8]) {
    let Some((what, data)) = data.split_first() else { return };
    let names = Arc::new(Names::default());
    match what % 4 {
        0 => drop(Tongues::new(0, 2, names).learn(1, data)),
        1 => drop(serde_json::from_slice::<Hello>(data)),
        2 => drop(serde_json::from_slice::<Answer>(data)),
        _ => reading(&names, &[(1, "one".to_owned()), (2, "two".to_owned())], || {
            let _ = (of_bytes::<Alert>(data), of_bytes::<Incident>(data), of_bytes::<Decision>(data));
        }),
    }
}

/// A snapshot whose manifest is right and whose rows are anything: it is taken or passed over.
pub fn snapshot(data: &[u8]) {
    static TEMPLATE: OnceLock<String> = OnceLock::new();
    let stamp = RunStamp { plan_hash: "p".to_owned(), model_version: "m".to_owned() };
    let state = folder().join("state");
    let manifest = state.join("snapshots/3.json");
    let template = TEMPLATE.get_or_init(|| {
        let turn = Turn { epoch: 3, settled: 5, acts: 6, last: false, keeps: true };
        let kept =
            Kept { epoch: 3, operator: "o".to_owned(), worker: 0, items: vec![vec![1]], glossary: vec![] };
        snapshots::write(&state, (turn, turn.epoch), &stamp, &[kept]).expect("room");
        let text = fs::read_to_string(&manifest).expect("a manifest");
        let hash = blake3::hash(&fs::read(state.join("snapshots/3.parquet")).expect("rows")).to_hex();
        text.replace(hash.as_str(), "HASH")
    });
    fs::create_dir_all(state.join("snapshots")).expect("room");
    fs::write(state.join("snapshots/3.parquet"), data).expect("room");
    fs::write(&manifest, template.replace("HASH", blake3::hash(data).to_hex().as_str())).expect("room");
    let mut complaints = 0;
    let by = By { plan: &stamp.plan_hash, since: 0 };
    let found = snapshots::latest(&state, 9, by, |_| complaints += 1).expect("the folder can be read");
    assert_eq!(found.is_none(), complaints == 1);
}

fn framed(bytes: &[u8], piece: usize) -> Vec<Framed> {
    let mut framer = Framer::new(Origin { source: Sym::EMPTY, tenant: Sym::EMPTY }, LIMITS);
    let mut out = Vec::new();
    bytes.chunks(piece).for_each(|piece| framer.feed(piece, &mut out));
    framer.finish(&mut out);
    out
}

/// A record or a reject: position, ordinal, framing, and what it says.
type Flat = (u64, Option<u64>, Option<Framing>, Vec<u8>);

/// Records and rejects one by one: where chunks end is nobody's business.
fn flat(all: &[Framed]) -> Vec<Flat> {
    let mut flat = Vec::new();
    for framed in all {
        match framed {
            Framed::Chunk(chunk) => flat.extend(chunk.records().map(|(position, ordinal, bytes)| {
                (position, Some(ordinal), Some(chunk.framing.clone()), bytes.to_vec())
            })),
            Framed::Reject(reject) => {
                assert!(!reject.reason.is_empty());
                flat.push((
                    reject.position,
                    None,
                    None,
                    [reject.reason.as_bytes(), reject.raw.as_bytes()].concat(),
                ));
            }
        }
    }
    flat
}

/// The normaliser of all shipped mappings, and what it works with.
struct World {
    names: Arc<Names>,
    normalizer: Normalizer,
    parsed: Parsed,
    runs: u32,
}

fn world_with(mappings: &[Mapping]) -> World {
    let names = Arc::new(Names::default());
    let settings = SourceSettings {
        name: names.intern("src"),
        tenant: names.intern("default"),
        tenant_from_field: false,
        zone: jiff::tz::TimeZone::UTC,
        as_of: AS_OF,
        future_max_ms: 86_400_000,
    };
    let normalizer = Normalizer::new(mappings, settings, Arc::clone(&names));
    World { names, normalizer, parsed: Parsed::default(), runs: 0 }
}

impl World {
    fn conserved(&mut self, all: &[Framed]) {
        for chunk in all.iter().filter_map(|framed| match framed {
            Framed::Chunk(chunk) => Some(chunk),
            Framed::Reject(_) => None,
        }) {
            self.chunk(chunk);
        }
    }

    fn chunk(&mut self, chunk: &Chunk) {
        self.normalizer.parse(chunk, &mut self.parsed);
        let parsed = &self.parsed;
        assert_eq!(parsed.records, chunk.len() as u64);
        let alerts = parsed.alerts.iter().filter(|alert| !alert.further).count();
        let known = alerts as u64 + parsed.rejects.len() as u64 + parsed.ignored_count();
        assert_eq!(parsed.records, known, "a record is lost or twice");
        assert!(parsed.rejects.iter().all(|reject| !reject.reason.is_empty()));
        for alert in &parsed.alerts {
            assert!(alert.time <= AS_OF + 86_400_000, "too far in the future");
            assert!(!self.names.get(alert.rule).is_empty());
        }
    }
}

fn conserved(all: &[Framed]) {
    thread_local!(static WORLD: RefCell<Option<World>> = const { RefCell::new(None) });
    static SHIPPED: OnceLock<Vec<Mapping>> = OnceLock::new();
    let shipped = SHIPPED.get_or_init(|| {
        let mut flow =
            Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|it| it.join("dataflows/pipeline.yml"));
        Plan::load(&flow.find(|it| it.is_file()).expect("the shipped plan"))
            .expect("it has no faults")
            .mappings
    });
    WORLD.with_borrow_mut(|world| {
        // Strings are not forgotten.
        world.take_if(|world| world.runs >= FRESH);
        let world = world.get_or_insert_with(|| world_with(shipped));
        world.runs += 1;
        world.conserved(all);
    });
}

/// A folder of this thread's own.
fn folder() -> PathBuf {
    thread_local!(static FOLDER: TempDir = tempfile::tempdir().expect("a folder"));
    FOLDER.with(|folder| folder.path().to_owned())
}

fn file(name: &str, data: &[u8]) -> PathBuf {
    let path = folder().join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("room");
    fs::write(&path, data).expect("room");
    path
}
