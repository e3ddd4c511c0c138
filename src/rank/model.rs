//! Model: a ranker as it lies on disk, and what is checked before it is believed.
//!
//! ```text
//! models/ranker/promoted.toml            which version is in use, its hash, who promoted it, when
//! models/ranker/promotions.toml          what was in use before, for a rollback
//! models/ranker/v1/weights.safetensors   the network, in PyTorch's names and layout: data, never code
//! models/ranker/v1/config.toml           the features that it was learned on, its temperature
//! models/ranker/v1/history.json          analysts' verdicts counted by rule and tenant
//! models/ranker/v1/metrics.json          how it did on data that it had not seen
//! models/ranker/v1/CARD.md               what it is for, what it was learned from, where it fails
//! ```
//!
//! The hash covers weights, config and history: everything that an answer depends on.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::prelude::*;
use burn::store::{BurnToPyTorchAdapter, ModuleSnapshot, PyTorchToBurnAdapter, SafetensorsStore};
use serde::{Deserialize, Serialize};

use super::history::History;
use super::network::{MEMBERS, Network};
use crate::record::features::{BUCKETS, NUMERIC, TOKENS};

/// The layout of the folder and the meaning of the features; a model of another format is refused.
pub const FORMAT: u32 = 1;
const HASHED: [&str; 3] = ["weights.safetensors", "config.toml", "history.json"];
/// Bytes that a file of a model may have: a hundred times what one has.
const BYTES_MAX: u64 = 64 << 20;

/// Why a model is not used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file cannot be had.
    #[error("{}: {source}: train a model into this folder (`quell train`) or name another in the pipeline", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {reason}: restore it, or train the model again (`quell train`)", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The model is of another format, or was learned on other features than this binary makes.
    #[error("{}: {what} {theirs}, this build {ours}: train it again with this build (`quell train`)", path.display())]
    Other {
        /// Which file says so.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// The model's.
        theirs: String,
        /// This binary's.
        ours: String,
    },
    /// A weight is infinite or no number.
    #[error("{}: a weight is not a finite number: the training diverged or the file was tampered with; keep the model in use", path.display())]
    NotFinite {
        /// The weights.
        path: PathBuf,
    },
    /// The files are not those that were promoted.
    #[error("{}: hash {found}, but {promoted} was promoted: restore the files, or promote this model anew (`quell model promote`)", path.display())]
    Tampered {
        /// The version's folder.
        path: PathBuf,
        /// Of the files.
        found: String,
        /// Of `promoted.toml`.
        promoted: String,
    },
    /// A version's name would lead out of the registry.
    #[error("{version:?} is not a model version: use letters, digits, `.`, `-` and `_`, as in `v1`")]
    Name {
        /// The name.
        version: String,
    },
}

/// `config.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// See [`FORMAT`].
    pub format: u32,
    /// Members of the ensemble.
    pub members: usize,
    /// Buckets of hashed names.
    pub buckets: u16,
    /// Hashed names a row.
    pub tokens: usize,
    /// What the triage's logits are divided by.
    pub temperature: f32,
    /// Seed that it was trained from.
    pub seed: u64,
    /// Names of the numeric features, in order.
    pub features: Vec<String>,
}

impl Config {
    /// The config of a model that this binary trains.
    #[must_use]
    pub fn new(seed: u64, temperature: f32) -> Config {
        Config {
            format: FORMAT,
            members: MEMBERS,
            buckets: BUCKETS,
            tokens: TOKENS,
            temperature,
            seed,
            features: NUMERIC.map(str::to_owned).to_vec(),
        }
    }
}

/// `promoted.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promoted {
    /// The version in use: a folder beside this file.
    pub version: String,
    /// BLAKE3 of that folder's weights, config and history, in hex: [`hash`].
    pub blake3: String,
    /// Who promoted it.
    pub by: String,
    /// When, RFC 3339.
    pub at: String,
}

/// `history.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryFile {
    total: [u32; 3],
    counts: BTreeMap<u32, [u32; 3]>,
}

/// A model in memory.
#[derive(Clone)]
pub struct Model {
    /// Its version: the folder's name.
    pub version: String,
    /// See [`hash`].
    pub hash: String,
    /// Its network, on the CPU.
    pub network: Network,
    /// Its history.
    pub history: History,
    /// Its config.
    pub config: Config,
}

impl Model {
    /// The model of a registry (`models/ranker`): the version that is named, or else the promoted one, whose hash must be
    /// the promoted one.
    pub fn load(registry: &Path, version: Option<&str>) -> Result<Model, ModelError> {
        let promoted = version.map_or_else(|| promoted(registry).map(Some), |_| Ok(None))?;
        let version = match (version, &promoted) {
            (Some(version), _) => version.to_owned(),
            (None, Some(promoted)) => promoted.version.clone(),
            (None, None) => String::new(),
        };
        let path = folder(registry, &version)?;
        let model = Model::read(&path, version)?;
        match promoted {
            Some(promoted) if promoted.blake3 != model.hash => {
                Err(ModelError::Tampered { path, found: model.hash, promoted: promoted.blake3 })
            }
            _ => Ok(model),
        }
    }

    /// One that has learned nothing: its network is as it was drawn from `seed`.
    #[must_use]
    pub fn drawn(seed: u64, history: History) -> Model {
        Model {
            version: format!("drawn-{seed}"),
            hash: "0".to_owned(),
            network: Network::drawn(seed, &Device::flex()),
            history,
            config: Config::new(seed, 1.0),
        }
    }

    fn read(path: &Path, version: String) -> Result<Model, ModelError> {
        // Each file is read once: what was hashed is what is used.
        let [weights, config, history] = HASHED.map(|name| file(&path.join(name)));
        let (weights, config, history) = (weights?, config?, history?);
        let hash = hash_of([&weights, &config, &history]);
        let config = parse_config(&path.join(HASHED[1]), &config)?;
        let HistoryFile { total, counts } = serde_json::from_slice(&history)
            .map_err(|error| content(&path.join(HASHED[2]), error.to_string()))?;
        let network = parse_weights(&path.join(HASHED[0]), weights)?;
        Ok(Model { version, hash, network, history: History::new(counts, total), config })
    }

    /// Writes weights, config and history into `path`, which is made where it is missing.
    pub fn write(&self, path: &Path) -> Result<(), ModelError> {
        fs::create_dir_all(path).map_err(|source| ModelError::File { path: path.to_owned(), source })?;
        let (counts, total) = self.history.counts();
        let history = serde_json::to_string(&HistoryFile { total, counts: counts.clone() })
            .map_err(|error| content(&path.join(HASHED[2]), error.to_string()))?;
        let config = toml::to_string(&self.config)
            .map_err(|error| content(&path.join(HASHED[1]), error.to_string()))?;
        let weights = bytes_of(&self.network).map_err(|reason| content(&path.join(HASHED[0]), reason))?;
        for (name, bytes) in HASHED.iter().zip([weights, config.into_bytes(), history.into_bytes()]) {
            save(&path.join(name), &bytes)?;
        }
        Ok(())
    }
}

/// What `promoted.toml` says.
pub fn promoted(registry: &Path) -> Result<Promoted, ModelError> {
    let path = registry.join("promoted.toml");
    let text = String::from_utf8(file(&path)?).map_err(|error| content(&path, error.to_string()))?;
    toml::from_str(&text).map_err(|error| content(&path, error.to_string()))
}

/// The folder of a version.
pub fn folder(registry: &Path, version: &str) -> Result<PathBuf, ModelError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if version.is_empty() || version.starts_with('.') || !version.bytes().all(plain) {
        return Err(ModelError::Name { version: version.to_owned() });
    }
    Ok(registry.join(version))
}

/// BLAKE3, in hex, of a version's weights, config and history.
pub fn hash(folder: &Path) -> Result<String, ModelError> {
    let [weights, config, history] = HASHED.map(|name| file(&folder.join(name)));
    Ok(hash_of([&weights?, &config?, &history?]))
}

fn hash_of(files: [&[u8]; 3]) -> String {
    let mut hasher = blake3::Hasher::new();
    for bytes in files {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    }
    hasher.finalize().to_hex().to_string()
}

/// Writes a file whole or not at all: a reader never meets half a model.
pub fn save(path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
    let part = path.with_extension("part");
    fs::write(&part, bytes)
        .and_then(|()| fs::File::open(&part)?.sync_all())
        .and_then(|()| fs::rename(&part, path))
        .map_err(|source| ModelError::File { path: path.to_owned(), source })
}

fn file(path: &Path) -> Result<Vec<u8>, ModelError> {
    let told = |source| ModelError::File { path: path.to_owned(), source };
    if fs::metadata(path).map_err(told)?.len() > BYTES_MAX {
        return Err(content(path, format!("more than {} MiB, so not a model of this kind", BYTES_MAX >> 20)));
    }
    fs::read(path).map_err(told)
}

fn content(path: &Path, reason: String) -> ModelError {
    ModelError::Content { path: path.to_owned(), reason }
}

fn parse_config(path: &Path, bytes: &[u8]) -> Result<Config, ModelError> {
    let text = std::str::from_utf8(bytes).map_err(|error| content(path, error.to_string()))?;
    let config: Config = toml::from_str(text).map_err(|error| content(path, error.to_string()))?;
    let ours = Config::new(config.seed, config.temperature);
    let other = |what, theirs: String, ours: String| {
        Err(ModelError::Other { path: path.to_owned(), what, theirs, ours })
    };
    if config.format != ours.format {
        return other("has format", config.format.to_string(), ours.format.to_string());
    }
    if config.features != ours.features {
        let differing: Vec<&str> =
            NUMERIC.into_iter().filter(|name| !config.features.iter().any(|known| known == name)).collect();
        return other(
            "was learned on",
            format!("{} features", config.features.len()),
            format!("makes {} ({} are unknown to it)", ours.features.len(), differing.join(", ")),
        );
    }
    let shape = |config: &Config| format!("{} x {} x {}", config.members, config.buckets, config.tokens);
    if shape(&config) != shape(&ours) {
        return other("has members, buckets, tokens", shape(&config), shape(&ours));
    }
    // NaN is in no range, so it is turned away too.
    if !(0.05..=20.0).contains(&config.temperature) {
        return Err(content(path, format!("temperature {} is not in 0.05..=20", config.temperature)));
    }
    Ok(config)
}

fn parse_weights(path: &Path, bytes: Vec<u8>) -> Result<Network, ModelError> {
    let told = |reason| content(path, reason);
    let mut network = Network::zero(&Device::flex());
    // Names, types and shapes are compared before burn sees the file: it takes a module apart to fill it, and a panic
    // within that ends the process.
    let ours = tensors(&bytes_of(&network).map_err(told)?).map_err(told)?;
    let theirs = tensors(&bytes).map_err(told)?;
    for (name, shape) in &ours {
        if theirs.get(name) != Some(shape) {
            let theirs = theirs.get(name).cloned().unwrap_or_else(|| "missing".to_owned());
            return Err(ModelError::Other {
                path: path.to_owned(),
                what: "has a tensor",
                theirs: format!("{name} {theirs}"),
                ours: shape.clone(),
            });
        }
    }
    let mut store = SafetensorsStore::from_bytes(Some(bytes)).with_from_adapter(PyTorchToBurnAdapter);
    let read = network.load_from(&mut store).map_err(|error| content(path, error.to_string()))?;
    if !read.missing.is_empty() || !read.errors.is_empty() || read.applied.len() != ours.len() {
        return Err(content(path, format!("does not fit the network: {read}")));
    }
    if !network.is_finite() {
        return Err(ModelError::NotFinite { path: path.to_owned() });
    }
    Ok(network)
}

/// Type and shape of each tensor of a safetensors file: 8 bytes of length, then that much JSON.
fn tensors(bytes: &[u8]) -> Result<BTreeMap<String, String>, String> {
    let (length, rest) = bytes.split_first_chunk().ok_or("too short to be safetensors")?;
    let header = usize::try_from(u64::from_le_bytes(*length)).ok().and_then(|length| rest.get(..length));
    let header = header.ok_or("too short for its header: a safetensors file that was cut")?;
    let header: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(header).map_err(|error| format!("no safetensors header: {error}"))?;
    let tensors = header.into_iter().filter(|(name, _)| name != "__metadata__");
    Ok(tensors.map(|(name, of)| (name, format!("{} {}", of["dtype"], of["shape"]))).collect())
}

/// The weights as safetensors, in the names and layout of `PyTorch`.
fn bytes_of(network: &Network) -> Result<Vec<u8>, String> {
    let mut store = SafetensorsStore::from_bytes(None)
        .clear_metadata()
        .metadata("format", "pt")
        .with_to_adapter(BurnToPyTorchAdapter);
    network.save_into(&mut store).map_err(|error| error.to_string())?;
    store.get_bytes().map_err(|error| error.to_string())
}
