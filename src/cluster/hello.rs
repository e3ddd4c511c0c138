//! Hello: what two processes say to one another before anything else, and whether they can work together.
//!
//! The one that calls speaks first. Each word is a length (4 bytes, little-endian) and JSON.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::plan::policy::Act;

/// What a process is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// Its index.
    pub process: usize,
    /// The generation that it is of; none before it has heard of the first process.
    pub generation: Option<u64>,
    /// What must be the same everywhere.
    pub alike: Alike,
    /// What the first process says of the run; the others ask it.
    pub terms: Option<Terms>,
}

/// What must be the same at all processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alike {
    /// Quell's version.
    pub version: String,
    /// Processes of the cluster.
    pub processes: usize,
    /// Workers of each.
    pub workers: usize,
    /// Hash of the plan.
    pub plan: String,
    /// The model's version.
    pub model: String,
}

/// What the first process alone knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// When alerts are acted on.
    pub act: Act,
    /// Whether it judges for all, and the others ask no model.
    pub first_judges: bool,
    /// The longest record, in bytes, where the others read topics for it.
    pub reads: Option<usize>,
}

/// Why two processes cannot work together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum No {
    /// Something that must be the same is not: what, at the one that says no, and at the other.
    Differs(String, String, String),
    /// The other is of an older generation.
    Stale,
    /// The one that says no is of an older generation, and will be gone soon.
    Newer,
    /// Every process has its link, that index too.
    Linked,
    /// It is not its place to call.
    Place,
}

impl No {
    /// Whether it may be otherwise in a moment.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            No::Linked | No::Newer => true,
            No::Differs(..) | No::Stale | No::Place => false,
        }
    }

    /// What it is counted as.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            No::Differs(..) => "another plan, model, layout or version",
            No::Stale => "a stale generation",
            No::Newer => "a newer generation",
            No::Linked => "linked already",
            No::Place => "not its place to call",
        }
    }
}

impl fmt::Display for No {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            No::Differs(what, ours, theirs) => {
                write!(f, "its {what} is {ours}, the other's {theirs}; start all processes with the same")
            }
            No::Stale => f.write_str("the cluster has been restarted since; restart this process too"),
            No::Newer | No::Linked | No::Place => f.write_str(self.name()),
        }
    }
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Welcome.
    Hello(Hello),
    /// Turned away.
    No(No),
}

impl Alike {
    /// The first difference: what, here, and there.
    #[must_use]
    pub fn differs(&self, other: &Alike) -> Option<No> {
        let pairs = [
            ("version of quell", self.version.clone(), other.version.clone()),
            ("number of processes", self.processes.to_string(), other.processes.to_string()),
            ("number of workers", self.workers.to_string(), other.workers.to_string()),
            ("plan", self.plan.clone(), other.plan.clone()),
            ("model", self.model.clone(), other.model.clone()),
        ];
        let (what, ours, theirs) = pairs.into_iter().find(|(_, ours, theirs)| ours != theirs)?;
        Some(No::Differs(what.to_owned(), ours, theirs))
    }
}

impl Hello {
    /// Whether whoever calls with `other` can be worked with; `other` is known to be who it says.
    #[must_use]
    pub fn objects(&self, other: &Hello) -> Option<No> {
        // Who calls has the higher index, and asks the first process for the generation.
        if other.process <= self.process || other.process >= self.alike.processes {
            return Some(No::Place);
        }
        let generation = match (self.generation, other.generation) {
            (Some(ours), Some(theirs)) if theirs < ours => Some(No::Stale),
            (Some(ours), Some(theirs)) if theirs > ours => Some(No::Newer),
            (Some(_), None) if self.process > 0 => Some(No::Stale),
            (Some(_) | None, _) => None,
        };
        generation.or_else(|| self.alike.differs(&other.alike))
    }
}

/// Longer words are nobody's.
const WORD_MAX: u32 = 16 << 10;

/// Says a word.
pub async fn say<T: Serialize>(to: &mut (impl AsyncWrite + Unpin), word: &T) -> io::Result<()> {
    let text = serde_json::to_vec(word)?;
    let length = u32::try_from(text.len()).map_err(io::Error::other)?;
    to.write_all(&length.to_le_bytes()).await?;
    to.write_all(&text).await?;
    to.flush().await
}

/// Hears a word.
pub async fn hear<T: for<'a> Deserialize<'a>>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<T> {
    let length = from.read_u32_le().await?;
    if length > WORD_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it says no hello"));
    }
    let mut text = vec![0; length as usize];
    from.read_exact(&mut text).await?;
    Ok(serde_json::from_slice(&text)?)
}
