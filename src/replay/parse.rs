//! Parsing on several threads, in the order of the files: one thread cuts records, the others make alerts of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, bounded};

use super::inputs::InputFile;
use crate::ingest::{Chunk, FileReader, Framed, IngestError, Limits, Origin};
use crate::normalize::{Normalizer, Parsed, SourceSettings};
use crate::plan::mapping::Mapping;
use crate::record::{Alert, Names, Observed, Reject};

/// What came of some records of one file, in order.
#[derive(Default)]
pub struct Piece {
    /// Which file.
    pub file: usize,
    /// Alerts; ticks are not given yet.
    pub alerts: Vec<Alert>,
    /// Rejects; ticks are not given yet.
    pub rejects: Vec<Reject>,
    /// Records of no concern.
    pub ignored: u64,
    /// What those name.
    pub observed: Vec<Observed>,
    /// All records.
    pub records: u64,
    /// Bytes of the records.
    pub bytes: u64,
}

/// What parsing needs.
#[derive(Clone)]
pub struct Parsing {
    /// The files, each with what is known of it.
    pub files: Arc<[(InputFile, SourceSettings)]>,
    /// How bytes become alerts.
    pub mappings: Arc<[Mapping]>,
    /// Strings.
    pub names: Arc<Names>,
    /// The longest record, in bytes.
    pub limits: Limits,
}

impl Parsing {
    /// The same for one of the files.
    #[must_use]
    pub fn of(&self, file: usize) -> Parsing {
        Parsing { files: Arc::new([self.files[file].clone()]), ..self.clone() }
    }

    /// Opens one of the files.
    pub fn reader(&self, file: usize) -> Result<FileReader, IngestError> {
        let (input, settings) = &self.files[file];
        let origin = Origin { source: settings.name, tenant: settings.tenant };
        FileReader::open(&input.path, origin, self.limits)
    }
}

enum Work {
    Chunk(Chunk),
    Reject(Box<Reject>),
}

type Result1 = (u64, Result<Piece, IngestError>);

/// The pieces of all files, in order; a file that cannot be opened is an error in its place.
pub struct Pieces {
    results: Receiver<Result1>,
    waiting: BTreeMap<u64, Result<Piece, IngestError>>,
    next: u64,
}

impl Pieces {
    /// Starts `threads` parsers.
    pub fn start(parsing: &Parsing, threads: usize) -> std::io::Result<Pieces> {
        let (work, queue) = bounded::<(u64, usize, Work)>(threads * 2);
        let (result, results) = bounded::<Result1>(threads * 4);
        for _ in 0..threads {
            let (parsing, queue, result) = (parsing.clone(), queue.clone(), result.clone());
            thread::Builder::new().name("parse".into()).spawn(move || {
                let mut parser = Parser::new(parsing);
                for (seq, file, work) in queue {
                    if result.send((seq, Ok(parser.piece(file, work)))).is_err() {
                        return;
                    }
                }
            })?;
        }
        let parsing = parsing.clone();
        thread::Builder::new().name("read".into()).spawn(move || {
            let mut seq = 0;
            for file in 0..parsing.files.len() {
                let reader = match parsing.reader(file) {
                    Ok(reader) => reader,
                    Err(error) => {
                        let _ = result.send((seq, Err(error)));
                        return;
                    }
                };
                for framed in reader {
                    let work_item = match framed {
                        Framed::Chunk(chunk) => Work::Chunk(chunk),
                        Framed::Reject(reject) => Work::Reject(Box::new(reject)),
                    };
                    if work.send((seq, file, work_item)).is_err() {
                        return;
                    }
                    seq += 1;
                }
            }
        })?;
        Ok(Pieces { results, waiting: BTreeMap::new(), next: 0 })
    }
}

impl Iterator for Pieces {
    type Item = Result<Piece, IngestError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(piece) = self.waiting.remove(&self.next) {
                self.next += 1;
                return Some(piece);
            }
            let (seq, piece) = self.results.recv().ok()?;
            self.waiting.insert(seq, piece);
        }
    }
}

/// One thread's parser: a normalizer for the file at hand.
pub struct Parser {
    parsing: Parsing,
    at: Option<(usize, Normalizer)>,
    parsed: Parsed,
}

impl Parser {
    /// A parser that has met no file.
    #[must_use]
    pub fn new(parsing: Parsing) -> Parser {
        Parser { parsing, at: None, parsed: Parsed::default() }
    }

    /// Parses what a reader framed.
    pub fn framed(&mut self, file: usize, framed: Framed) -> Piece {
        let work = match framed {
            Framed::Chunk(chunk) => Work::Chunk(chunk),
            Framed::Reject(reject) => Work::Reject(Box::new(reject)),
        };
        self.piece(file, work)
    }

    fn piece(&mut self, file: usize, work: Work) -> Piece {
        let chunk = match work {
            Work::Reject(reject) => {
                return Piece { file, rejects: vec![*reject], records: 1, ..Piece::default() };
            }
            Work::Chunk(chunk) => chunk,
        };
        if self.at.as_ref().is_none_or(|(at, _)| *at != file) {
            let settings = self.parsing.files[file].1.clone();
            let normalizer =
                Normalizer::new(&self.parsing.mappings, settings, Arc::clone(&self.parsing.names));
            self.at = Some((file, normalizer));
        }
        let Some((_, normalizer)) = &mut self.at else { return Piece::default() };
        normalizer.parse(&chunk, &mut self.parsed);
        Piece {
            file,
            alerts: std::mem::take(&mut self.parsed.alerts),
            rejects: std::mem::take(&mut self.parsed.rejects),
            ignored: self.parsed.ignored_count(),
            observed: std::mem::take(&mut self.parsed.observed),
            records: self.parsed.records,
            bytes: chunk.bytes.len() as u64,
        }
    }
}
