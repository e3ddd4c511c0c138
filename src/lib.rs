//! Quell: a streaming dataflow processor for security incident response.
//!
//! Alerts flow through incremental dataflows that correlate them into incidents; a model triages these and ranks
//! responses; a policy decides; actions go to executors, once; what came of them is written to Parquet, from which the
//! next model is trained. This page is the map; the modules stand in the order in which data travels.
//!
//! ```text
//!  files, streams, HTTP          +---------------- one timely dataflow, W workers ----------------+
//!        |                       |                                                                |
//!     ingest --> normalize ----> | dedup --> findings --> incidents --> facts --> judge --> ruling | --+
//!     records    alerts          |  (correlate: timely)   (link)       (enrich:    (rank:  (decide) |   |
//!        |       or rejects      |                                   differential)  burn)           |   |
//!        |                       +----------------------------------------------------------------+   v
//!        |                                                                                      act, settle
//!        +------------------- the log: what was taken in, epoch by epoch ------ archive <------ actions,
//!                                                                                  |            outcomes
//!                                            models <------- learn <---------------+
//! ```
//!
//! | folder | does |
//! |---|---|
//! | `record` | the nouns: Alert, Incident, Decision, Action, Outcome... Plain data |
//! | `plan` | reads `dataflows/`, checks everything together, tells every fault at once |
//! | `flow` | what operators stand on: turns (work per closed epoch), tails (replay of what late records disturb) |
//! | `kafka` | what all who write topics share |
//! | `ingest` | bytes with a position: files of any packing, growing files, standard input, HTTP push |
//! | `normalize` | bytes to alerts or rejects, by mapping files; raw events by Sigma rules |
//! | `correlate` | duplicates apart; correlation rules; alerts to incidents by evidence; what is unusual at a tenant |
//! | `enrich` | incidents joined with assets, identities, indicators, zones, vulnerabilities and sightings, as these change |
//! | `featurize` | what the model sees of an incident |
//! | `rank` | proposes playbooks, and has the network triage and score, off the worker's thread |
//! | `decide` | rulings: floors, guards, budgets, approvals, each with its reason |
//! | `act` | steps to actions, the ledger, executors |
//! | `settle` | receipts and verdicts to outcomes, with who says so |
//! | `archive` | records to Parquet and back |
//! | `learn` | archive to model: train, evaluate, promote |
//! | `cluster` | one run as several processes: who is who, links in mutual TLS, one fate |
//! | `engine` | the stages wired ([`engine::dataflow`] is the journey on one screen), workers, log, threads |
//! | `replay` | historical runs; synthetic days |
//! | `cli` | one file a command |
//!
//! What holds everywhere, and is tested:
//!
//! - A stage knows nothing of later ones; from `correlate` to `decide` nobody reads a clock, does IO or rolls dice.
//! - The dataflow's timestamp is the *epoch*, one turn of ingest; event time is data. An operator does its work once
//!   per epoch on all of its records, sorted: neither workers nor batches show in a result.
//! - Numbers of interned strings never order, hash into or appear in a result.
//! - What is decided is durable before an executor sees it; an action is called once, whatever crashes.
//! - Failure is a stream: what cannot become an alert is a reject with its reason, and sums are checked at the end.

pub mod record;
pub mod plan;
pub mod kafka;
pub mod flow;
pub mod ingest;
pub mod normalize;
pub mod correlate;
pub mod enrich;
pub mod featurize;
pub mod rank;
pub mod decide;
pub mod act;
pub mod settle;
pub mod archive;
pub mod learn;
pub mod cluster;
pub mod engine;
pub mod replay;
pub mod cli;
