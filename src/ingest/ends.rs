//! Ends: a file for Parquet's readers that ends, however often it is asked for more.
//!
//! Its page headers name how many things follow, and whoever skips them asks for each, though the file has no more: two thousand
//! million times of a file of a kilobyte. Who asks on at its end is told that it has ended.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use bytes::Bytes;
use parquet::errors::Result;
use parquet::file::reader::{ChunkReader, Length};

/// How often somebody may ask for more where there is nothing.
const ASKED_MAX: u32 = 64;

/// See the head of this file.
pub(crate) struct Ends(pub(super) File);

impl Ends {
    /// A file that is there.
    pub(crate) fn open(path: &Path) -> io::Result<Ends> {
        File::open(path).map(Ends)
    }

    /// The same file once more.
    pub(super) fn try_clone(&self) -> io::Result<Ends> {
        self.0.try_clone().map(Ends)
    }
}

impl Length for Ends {
    fn len(&self) -> u64 {
        Length::len(&self.0)
    }
}

impl ChunkReader for Ends {
    type T = Reading;

    fn get_read(&self, start: u64) -> Result<Reading> {
        Ok(Reading { file: self.0.get_read(start)?, asked: 0 })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        self.0.get_bytes(start, length)
    }
}

/// The file from an offset on.
pub(crate) struct Reading {
    file: BufReader<File>,
    /// How often somebody asked where there was nothing.
    asked: u32,
}

impl Read for Reading {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into)?;
        if read == 0 && !into.is_empty() {
            self.asked += 1;
            if self.asked > ASKED_MAX {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends within a page"));
            }
        }
        Ok(read)
    }
}
