//! Live byte streams: a file that grows, standard input. A thread each, which reads, waits, and knows nothing of records.
//!
//! In: bytes as they come. Out: the same bytes in pieces through a bounded channel: a reader that is ahead waits.
//! State: the piece at hand, and of a file the last bytes that were read.
//!
//! Rotation by renaming loses nothing: each file that stands at the path is held open from then on, and read until it has
//! been silent for `SILENT_RESTS`, since what writes to it may not know yet; then comes the next. A file that is copied and cut (`copytruncate`) loses what was
//! not read before the cut, as with any reader; that it was cut is told by its length, or by what stands before the
//! place reached, so that a file that has grown past that place already is not taken for the old one.

use std::collections::VecDeque;
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, bounded};

/// Bytes read at a time.
const READ_BYTES: usize = 256 << 10;
/// Pieces that may wait: with `READ_BYTES`, the memory of a source that is ahead.
const WAITING_MAX: usize = 4;
/// How long a reader rests at a file's end.
const REST: Duration = Duration::from_millis(10);

/// Rests without a byte after which a file that was replaced is given up.
const SILENT_RESTS: u32 = 100;
/// Files held open at once; so many rotations are not waited out in a reader's pause.
const FILES_MAX: usize = 64;
/// How many of the last bytes are remembered, to know a file by.
const KNOWN_BYTES: usize = 256;

/// What a stream says.
#[derive(Debug)]
pub enum Heard {
    /// The next bytes.
    Bytes(Vec<u8>),
    /// The file was replaced or cut: what follows begins one.
    Anew,
    /// All that there is so far was read; said once.
    CaughtUp,
    /// There will be no more; with the reason, where that is not the end of the input.
    End(Option<String>),
}

/// What all readers of a run share.
#[derive(Clone, Debug)]
pub struct Bell {
    ring: Sender<()>,
    /// Who is in charge wants an end.
    stop: Arc<AtomicBool>,
    /// These readers are to end, though the run may go on with others.
    rest: Arc<AtomicBool>,
    /// These readers do not end yet, whoever wants it.
    deaf: Arc<AtomicBool>,
}

impl Bell {
    /// A bell, and where it is heard.
    #[must_use]
    pub fn new() -> (Bell, Receiver<()>) {
        let (ring, heard) = bounded(1);
        (Bell { ring, stop: Arc::default(), rest: Arc::default(), deaf: Arc::default() }, heard)
    }

    /// The bell of readers that come after those who share this one. Who wants an end wants it of both, but these heed it only
    /// once they [`Bell::hear`].
    #[must_use]
    pub fn anew(&self) -> (Bell, Receiver<()>) {
        let (ring, heard) = bounded(1);
        let (stop, deaf) = (Arc::clone(&self.stop), Arc::new(AtomicBool::new(true)));
        (Bell { ring, stop, rest: Arc::default(), deaf }, heard)
    }

    /// From now on these readers heed who wants an end.
    pub fn hear(&self) {
        self.deaf.store(false, Ordering::SeqCst);
    }

    /// These readers are to stop; nobody wants the run to end.
    pub fn rest(&self) {
        self.rest.store(true, Ordering::SeqCst);
        self.ring();
    }

    /// Something came: whoever feeds the run looks.
    pub fn ring(&self) {
        // One ring is enough for all that came.
        let _ = self.ring.try_send(());
    }

    /// Readers are to stop; whether they were told before.
    #[must_use]
    pub fn stop(&self) -> bool {
        let before = self.stop.swap(true, Ordering::SeqCst);
        self.ring();
        before
    }

    /// Whether readers are to stop.
    #[must_use]
    pub fn stopped(&self) -> bool {
        let told = self.stop.load(Ordering::SeqCst) && !self.deaf.load(Ordering::SeqCst);
        told || self.rest.load(Ordering::SeqCst)
    }
}

/// Follows the file at `path` from its beginning; where it is replaced or cut, goes on with the beginning of what stands
/// there then. A file that is not there yet is waited for.
pub fn follow(path: PathBuf, bell: Bell) -> io::Result<Receiver<Heard>> {
    let (out, heard) = bounded(WAITING_MAX);
    thread::Builder::new().name("tail".into()).spawn(move || {
        let mut reader = Follower { path, bell, out, caught_up: false, files: VecDeque::new() };
        reader.run();
    })?;
    Ok(heard)
}

/// Reads standard input to its end.
pub fn standard_input(bell: Bell) -> io::Result<Receiver<Heard>> {
    let (out, heard) = bounded(WAITING_MAX);
    thread::Builder::new().name("stdin".into()).spawn(move || {
        let mut buf = vec![0; READ_BYTES];
        loop {
            match io::stdin().lock().read(&mut buf) {
                Ok(0) => {
                    tell(&out, &bell, Heard::End(None), || {});
                    return;
                }
                Ok(length) if tell(&out, &bell, Heard::Bytes(buf[..length].to_vec()), || {}) => {}
                Ok(_) => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let why = format!("standard input cannot be read: {error}");
                    tell(&out, &bell, Heard::End(Some(why)), || {});
                    return;
                }
            }
        }
    })?;
    Ok(heard)
}

struct Follower {
    path: PathBuf,
    bell: Bell,
    out: Sender<Heard>,
    caught_up: bool,
    /// Those that stood at the path, in this order, and are not read to their end.
    files: VecDeque<Followed>,
}

impl Follower {
    fn run(&mut self) {
        let mut buf = vec![0; READ_BYTES];
        while !self.bell.stopped() {
            self.look();
            let replaced = self.files.len() > 1;
            let Some(file) = self.files.front_mut() else {
                self.rest();
                continue;
            };
            let heard = match file.read(&mut buf) {
                Ok(Some(0)) if replaced && file.silent >= SILENT_RESTS => {
                    self.files.pop_front();
                    Heard::Anew
                }
                Ok(Some(0)) => {
                    file.silent = if replaced { file.silent + 1 } else { 0 };
                    self.rest();
                    continue;
                }
                Ok(Some(length)) => Heard::Bytes(buf[..length].to_vec()),
                Ok(None) => Heard::Anew,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    Heard::End(Some(format!("{} cannot be read any more: {error}", self.path.display())))
                }
            };
            let ended = matches!(heard, Heard::End(_));
            let (out, bell) = (self.out.clone(), self.bell.clone());
            if !tell(&out, &bell, heard, || self.look()) || ended {
                return;
            }
        }
    }

    /// Opens what stands at the path, if that is another file than before.
    fn look(&mut self) {
        // While a file is being replaced there may be none.
        let Ok(now) = std::fs::metadata(&self.path) else { return };
        if self.files.back().is_none_or(|last| last.id != id(&now))
            && self.files.len() < FILES_MAX
            && let Ok(file) = File::open(&self.path).and_then(Followed::new)
            && self.files.back().is_none_or(|last| last.id != file.id)
        {
            self.files.push_back(file);
        }
    }

    fn rest(&mut self) {
        if !self.caught_up {
            self.caught_up = true;
            tell(&self.out, &self.bell, Heard::CaughtUp, || {});
        }
        thread::sleep(REST);
    }
}

/// A file that is open, and how far it was read.
struct Followed {
    file: File,
    id: (u64, u64),
    offset: u64,
    /// The last bytes before `offset`.
    known: Vec<u8>,
    /// Whether its end was met, so that it may have been changed before it is read on.
    rested: bool,
    /// Rests since it was replaced.
    silent: u32,
}

impl Followed {
    fn new(file: File) -> io::Result<Followed> {
        let id = id(&file.metadata()?);
        Ok(Followed { file, id, offset: 0, known: Vec::new(), rested: false, silent: 0 })
    }

    /// The next bytes; none where it was cut, and is then at its beginning again.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        let now = self.file.metadata()?;
        // A pipe has no length, and its bytes are there once.
        if self.rested && now.is_file() {
            let length = now.len();
            if length < self.offset || (length > self.offset && !self.is_known()?) {
                self.file.rewind()?;
                (self.offset, self.rested) = (0, false);
                self.known.clear();
                return Ok(None);
            }
        }
        let length = self.file.read(buf)?;
        self.rested = length == 0;
        if length > 0 {
            self.silent = 0;
            self.offset += length as u64;
            self.known.extend_from_slice(&buf[length.saturating_sub(KNOWN_BYTES)..length]);
            self.known.drain(..self.known.len().saturating_sub(KNOWN_BYTES));
        }
        Ok(Some(length))
    }

    /// Whether the bytes that were read last still stand where they stood; the next to be read follow them.
    fn is_known(&mut self) -> io::Result<bool> {
        let mut now = vec![0; self.known.len()];
        self.file.seek(SeekFrom::Start(self.offset - now.len() as u64))?;
        match self.file.read_exact(&mut now) {
            Ok(()) => Ok(now == self.known),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// What a file is known by, whatever its name.
#[cfg(unix)]
fn id(file: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (file.dev(), file.ino())
}

/// Nothing tells files apart here: only that one was cut is noticed.
#[cfg(not(unix))]
fn id(_: &Metadata) -> (u64, u64) {
    (0, 0)
}

/// Hands over when there is room, and does `meanwhile` as long as there is none; false where the run is stopping or over.
fn tell(out: &Sender<Heard>, bell: &Bell, mut heard: Heard, mut meanwhile: impl FnMut()) -> bool {
    loop {
        match out.send_timeout(heard, Duration::from_millis(50)) {
            Ok(()) => {
                bell.ring();
                return true;
            }
            Err(SendTimeoutError::Timeout(_)) if bell.stopped() => return false,
            Err(SendTimeoutError::Timeout(back)) => {
                heard = back;
                meanwhile();
            }
            Err(SendTimeoutError::Disconnected(_)) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;

    use super::*;

    fn bytes(heard: &Receiver<Heard>) -> Vec<u8> {
        match heard.recv_timeout(Duration::from_secs(5)).expect("something is said") {
            Heard::Bytes(bytes) => bytes,
            Heard::Anew => b"<anew>".to_vec(),
            Heard::CaughtUp => b"<caught up>".to_vec(),
            Heard::End(_) => b"<end>".to_vec(),
        }
    }

    fn append(path: &Path, text: &str) {
        File::options().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn a_file_that_grows_and_is_replaced_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("a"), folder.path().join("a.1"));
        std::fs::write(&path, "one\n").unwrap();
        let (bell, _rings) = Bell::new();
        let heard = follow(path.clone(), bell.clone()).unwrap();
        assert_eq!(bytes(&heard), b"one\n");
        assert_eq!(bytes(&heard), b"<caught up>");
        append(&path, "two");
        assert_eq!(bytes(&heard), b"two");
        std::fs::rename(&path, &old).unwrap();
        std::fs::write(&path, "three\n").unwrap();
        // What wrote to the old file has not heard of it yet.
        thread::sleep(REST * (SILENT_RESTS / 4));
        append(&old, " and a half\n");
        assert_eq!(bytes(&heard), b" and a half\n");
        assert_eq!(bytes(&heard), b"<anew>");
        assert_eq!(bytes(&heard), b"three\n");
        assert!(!bell.stop());
        assert!(heard.recv_timeout(Duration::from_secs(5)).is_err(), "a reader that is stopped says no more");
    }

    #[test]
    fn a_file_that_is_cut_begins_anew_however_fast_it_grows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "one\ntwo\n").unwrap();
        let mut followed = Followed::new(File::open(&path).unwrap()).unwrap();
        let mut buf = [0; 100];
        assert_eq!(followed.read(&mut buf).unwrap(), Some(8));
        assert_eq!(followed.read(&mut buf).unwrap(), Some(0));
        append(&path, "three\n");
        assert_eq!(followed.read(&mut buf).unwrap(), Some(6));
        assert_eq!(followed.read(&mut buf).unwrap(), Some(0));
        for cut in ["four\n", "five\nsix\nseven\neight\n", ""] {
            std::fs::write(&path, cut).unwrap();
            assert_eq!(followed.read(&mut buf).unwrap(), None, "{cut:?}");
            assert_eq!(followed.read(&mut buf).unwrap(), Some(cut.len()));
            assert_eq!(followed.read(&mut buf).unwrap(), Some(0));
        }
    }
}
