//! Live byte streams: a file that grows, standard input. A thread each, which reads, waits, and knows nothing of records.
//!
//! In: bytes as they come. Out: the same bytes in pieces through a bounded channel: a reader that is ahead waits.
//! State: none beyond the piece at hand.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
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

/// What a stream says.
#[derive(Debug)]
pub enum Heard {
    /// The next bytes.
    Bytes(Vec<u8>),
    /// All that there is so far was read; said once.
    CaughtUp,
    /// There will be no more; with the reason, where that is not the end of the input.
    End(Option<String>),
}

/// What all readers of a run share.
#[derive(Clone, Debug)]
pub struct Bell {
    ring: Sender<()>,
    stop: Arc<AtomicBool>,
}

impl Bell {
    /// A bell, and where it is heard.
    #[must_use]
    pub fn new() -> (Bell, Receiver<()>) {
        let (ring, heard) = bounded(1);
        (Bell { ring, stop: Arc::new(AtomicBool::new(false)) }, heard)
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
        self.stop.load(Ordering::SeqCst)
    }
}

/// Follows the file at `path` from its beginning; where it is replaced or cut, goes on with the beginning of what stands
/// there then. A file that is not there yet is waited for.
pub fn follow(path: PathBuf, bell: Bell) -> io::Result<Receiver<Heard>> {
    let (out, heard) = bounded(WAITING_MAX);
    thread::Builder::new().name("tail".into()).spawn(move || {
        let mut reader = Follower { path, bell, out, caught_up: false };
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
                    tell(&out, &bell, Heard::End(None));
                    return;
                }
                Ok(length) if tell(&out, &bell, Heard::Bytes(buf[..length].to_vec())) => {}
                Ok(_) => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let why = format!("standard input cannot be read: {error}");
                    tell(&out, &bell, Heard::End(Some(why)));
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
}

impl Follower {
    fn run(&mut self) {
        let mut at: Option<(File, u64)> = None;
        let mut buf = vec![0; READ_BYTES];
        while !self.bell.stopped() {
            let Some((file, offset)) = &mut at else {
                at = File::open(&self.path).ok().map(|file| (file, 0));
                if at.is_none() {
                    self.rest();
                }
                continue;
            };
            match file.read(&mut buf) {
                Ok(0) => {
                    if is_replaced(file, *offset, &self.path) {
                        at = None;
                    } else {
                        self.rest();
                    }
                }
                Ok(length) => {
                    *offset += length as u64;
                    if !tell(&self.out, &self.bell, Heard::Bytes(buf[..length].to_vec())) {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let why = format!("{} cannot be read any more: {error}", self.path.display());
                    tell(&self.out, &self.bell, Heard::End(Some(why)));
                    return;
                }
            }
        }
    }

    fn rest(&mut self) {
        if !self.caught_up {
            self.caught_up = true;
            tell(&self.out, &self.bell, Heard::CaughtUp);
        }
        thread::sleep(REST);
    }
}

/// Whether another file stands at the path now, or this one was cut.
fn is_replaced(file: &File, offset: u64, path: &Path) -> bool {
    let Ok(own) = file.metadata() else { return true };
    if own.len() < offset {
        return true;
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        // While a file is being replaced there may be none: this one may still be written to.
        std::fs::metadata(path).is_ok_and(|now| (now.dev(), now.ino()) != (own.dev(), own.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}

/// Hands over when there is room; false where the run is stopping or over.
fn tell(out: &Sender<Heard>, bell: &Bell, mut heard: Heard) -> bool {
    loop {
        match out.send_timeout(heard, Duration::from_millis(50)) {
            Ok(()) => {
                bell.ring();
                return true;
            }
            Err(SendTimeoutError::Timeout(_)) if bell.stopped() => return false,
            Err(SendTimeoutError::Timeout(back)) => heard = back,
            Err(SendTimeoutError::Disconnected(_)) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn bytes(heard: &Receiver<Heard>) -> Vec<u8> {
        match heard.recv_timeout(Duration::from_secs(5)).expect("something is said") {
            Heard::Bytes(bytes) => bytes,
            Heard::CaughtUp => b"<caught up>".to_vec(),
            Heard::End(_) => b"<end>".to_vec(),
        }
    }

    #[test]
    fn a_file_that_grows_and_is_replaced_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "one\n").unwrap();
        let (bell, _rings) = Bell::new();
        let heard = follow(path.clone(), bell.clone()).unwrap();
        assert_eq!(bytes(&heard), b"one\n");
        assert_eq!(bytes(&heard), b"<caught up>");
        File::options().append(true).open(&path).unwrap().write_all(b"two").unwrap();
        assert_eq!(bytes(&heard), b"two");
        std::fs::write(folder.path().join("b"), "three\n").unwrap();
        std::fs::rename(folder.path().join("b"), &path).unwrap();
        assert_eq!(bytes(&heard), b"three\n");
        assert!(!bell.stop());
        assert!(heard.recv_timeout(Duration::from_secs(5)).is_err(), "a reader that is stopped says no more");
    }
}
