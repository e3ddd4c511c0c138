//! Files: read from beginning to end, whatever they are packed in, never as a whole in memory.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use super::framer::{Framed, Framer, Limits, Origin};
use super::gzip::{Gzip, Trailing};
use super::parquet::{ParquetReader, is_parquet};

/// Bytes read at a time of what is packed.
const PACKED_BYTES: usize = 64 << 10;

/// Why a file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// It is not there, or may not be read.
    #[error("cannot open {path}: {source}; check the path and that it may be read", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It is a folder.
    #[error("{path} is a folder; name the files in it, as with {path}/*.json", path = path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// Its first bytes could not be read.
    #[error("cannot read {path}: {source}; check the disk that it lies on", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// What a stream is packed in, told by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    Gzip,
    Zstd,
    None,
}

impl Packing {
    fn of(magic: &[u8]) -> Packing {
        if magic.starts_with(&[0x1f, 0x8b]) {
            Packing::Gzip
        } else if magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Packing::Zstd
        } else {
            Packing::None
        }
    }

    fn name(self) -> &'static str {
        match self {
            Packing::Gzip => "gzip stream",
            Packing::Zstd => "zstd stream",
            Packing::None => "file",
        }
    }
}

/// Reads one file as chunks and rejects, in its order.
pub struct FileReader(Reader);

enum Reader {
    Bytes(Box<Stream>),
    Parquet(Box<ParquetReader>),
}

/// A stream of bytes that is unpacked and cut into records.
struct Stream {
    bytes: Box<dyn Read + Send>,
    packing: Packing,
    framer: Framer,
    /// Bytes read so far, unpacked.
    offset: u64,
    ready: VecDeque<Framed>,
    done: bool,
}

impl FileReader {
    /// Opens the file at `path`, whose records are `origin`'s.
    pub fn open(path: &Path, origin: Origin, limits: Limits) -> Result<FileReader, IngestError> {
        let open = |source| IngestError::Open { path: path.to_owned(), source };
        let read = |source| IngestError::Read { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(open)?;
        let kind = file.metadata().map_err(open)?.file_type();
        if kind.is_dir() {
            return Err(IngestError::Folder { path: path.to_owned() });
        }
        // Parquet is read from its end: a pipe has none, and its first bytes are there once.
        if kind.is_file() && is_parquet(&mut file).map_err(read)? {
            return Ok(FileReader(Reader::Parquet(Box::new(ParquetReader::new(file, origin, limits)))));
        }
        FileReader::new(Box::new(file), origin, limits).map_err(read)
    }

    /// Reads any stream of bytes as if it were a file.
    pub fn new(mut bytes: Box<dyn Read + Send>, origin: Origin, limits: Limits) -> io::Result<FileReader> {
        let mut magic = Vec::with_capacity(4);
        bytes.by_ref().take(4).read_to_end(&mut magic)?;
        let packing = Packing::of(&magic);
        let whole = Cursor::new(magic).chain(bytes);
        let buffered = |whole| BufReader::with_capacity(PACKED_BYTES, whole);
        let bytes: Box<dyn Read + Send> = match packing {
            Packing::Gzip => Box::new(Gzip::new(buffered(whole))),
            Packing::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(buffered(whole))?),
            // It is read in large pieces.
            Packing::None => Box::new(whole),
        };
        let framer = Framer::new(origin, limits);
        Ok(FileReader(Reader::Bytes(Box::new(Stream {
            bytes,
            packing,
            framer,
            offset: 0,
            ready: VecDeque::new(),
            done: false,
        }))))
    }
}

impl Stream {
    fn read(&mut self) {
        let mut framed = Vec::new();
        let (length, read) = self.framer.feed_from(&mut self.bytes, &mut framed);
        self.offset += length as u64;
        match read {
            _ if self.framer.is_foreign() => self.done = true,
            Ok(()) if length == 0 => {
                self.done = true;
                self.framer.finish(&mut framed);
            }
            Ok(()) => {}
            Err(error) if is_trailing(&error) => {
                self.done = true;
                self.framer.finish(&mut framed);
                self.framer.cut(error.to_string(), &mut framed);
            }
            Err(error) => {
                self.done = true;
                let reason = format!(
                    "the {} breaks off after {} bytes of content: {error}; fetch the file again, its end is missing or damaged",
                    self.packing.name(),
                    self.offset
                );
                self.framer.cut(reason, &mut framed);
            }
        }
        self.ready.extend(framed);
    }
}

/// Whether the stream was whole before this.
fn is_trailing(error: &io::Error) -> bool {
    error.get_ref().and_then(|error| error.downcast_ref::<Trailing>()).is_some()
}

impl Iterator for FileReader {
    type Item = Framed;

    fn next(&mut self) -> Option<Framed> {
        match &mut self.0 {
            Reader::Bytes(bytes) => bytes.next(),
            Reader::Parquet(parquet) => parquet.next(),
        }
    }
}

impl Iterator for Stream {
    type Item = Framed;

    fn next(&mut self) -> Option<Framed> {
        while self.ready.is_empty() && !self.done {
            self.read();
        }
        self.ready.pop_front()
    }
}
