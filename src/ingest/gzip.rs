//! Gzip: members one after the other, as one stream. What follows the last is told apart from damage within one.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// What follows the last member is none; all content before it is whole.
#[derive(Debug, thiserror::Error)]
#[error("what follows the gzip stream is no gzip, and was not read; see what was appended to the file")]
pub(super) struct Trailing;

/// See the head of this file. State: the member under way.
pub(super) struct Gzip<R>(State<R>);

enum State<R> {
    Member(Box<GzDecoder<R>>),
    /// Behind all that is gzip; whether nothing but zeros follows, which tapes and disks add, is not known yet.
    Behind(R),
    Done,
}

impl<R: BufRead> Gzip<R> {
    pub(super) fn new(bytes: R) -> Gzip<R> {
        Gzip(State::Member(Box::new(GzDecoder::new(bytes))))
    }
}

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match std::mem::replace(&mut self.0, State::Done) {
                State::Done => return Ok(0),
                State::Member(mut member) => {
                    let read = member.read(buf);
                    self.0 = match read {
                        Ok(0) => after(member.into_inner())?,
                        Ok(_) | Err(_) => State::Member(member),
                    };
                    if !matches!(read, Ok(0)) {
                        return read;
                    }
                }
                State::Behind(mut bytes) => {
                    let rest = bytes.fill_buf()?;
                    if rest.iter().any(|byte| *byte != 0) {
                        return Err(io::Error::other(Trailing));
                    }
                    let length = rest.len();
                    bytes.consume(length);
                    if length > 0 {
                        self.0 = State::Behind(bytes);
                    }
                }
            }
        }
    }
}

/// What follows a member.
fn after<R: BufRead>(mut bytes: R) -> io::Result<State<R>> {
    Ok(match bytes.fill_buf()?.first() {
        None => State::Done,
        Some(0x1f) => State::Member(Box::new(GzDecoder::new(bytes))),
        Some(_) => State::Behind(bytes),
    })
}
