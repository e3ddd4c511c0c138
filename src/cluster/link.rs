//! Link: all that crosses between two processes, over one connection.
//!
//! Timely writes into one end of a pair of sockets within the process; what it wrote crosses in frames, and what came is
//! written back. Before a frame of records goes one with the strings that are new since the last, so that whoever reads
//! the records knows them ([`Telling`]). A side that has nothing to say says that it is alive. A link ends in order when
//! each side has said goodbye, and in no other way.
//!
//! Beside timely's, words cross of those who read for one another ([`Talk`]).
//!
//! A frame: one byte of kind, 4 of length (little-endian), and so many bytes.
//!
//! State: buffers.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter, ReadHalf, WriteHalf,
};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::record::Names;
use crate::record::wire::{Telling, Tongues};

/// A side says that it is alive so often.
const ALIVE: Duration = Duration::from_secs(1);
/// One that says nothing for so long is taken for dead.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Bytes read of timely at a time.
const BUFFER: usize = 64 << 10;
/// Longer frames are nobody's.
const FRAME_MAX: u32 = 256 << 20;

const STRINGS: u8 = 1;
const RECORDS: u8 = 2;
const LIVING: u8 = 3;
const GOODBYE: u8 = 4;
const STOP: u8 = 5;
const WORD: u8 = 6;

/// Bytes that this process sent.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Of records, and of timely's own words.
    pub records: AtomicU64,
    /// Of strings.
    pub strings: AtomicU64,
}

/// Called where a link breaks, with the other process and why.
pub type Broken = Arc<dyn Fn(usize, &str) + Send + Sync>;

/// What both sides of a link share.
pub struct Between {
    /// The other process.
    pub peer: usize,
    /// Our strings.
    pub names: Arc<Names>,
    /// What is known of the others'.
    pub tongues: Arc<Tongues>,
    /// What was sent.
    pub traffic: Arc<Traffic>,
    /// Whether this process was told to stop: the first one is asked to end the run.
    pub stopping: watch::Receiver<bool>,
    /// Called when the other process asks for the run's end.
    pub asked: Arc<dyn Fn() + Send + Sync>,
    /// Called where it breaks.
    pub broken: Broken,
    /// Words to be sent, and where those go that come.
    pub words: Words,
}

/// Words that are to be sent, and where those go that come.
pub type Words = (UnboundedReceiver<Vec<u8>>, Sender<Vec<u8>>);

/// Words with another process; whoever talks bounds them.
pub struct Talk {
    /// Those that are said.
    pub to: UnboundedSender<Vec<u8>>,
    /// Those that came.
    pub from: Receiver<Vec<u8>>,
}

/// Both ends of a talk: of those who talk, and of the link.
pub(super) fn talk() -> (Talk, Words) {
    let ((to, sent), (came, from)) = (unbounded_channel(), unbounded());
    (Talk { to, from }, (sent, came))
}

impl Talk {
    /// Says a word. Where the link is broken, this process is about to end.
    pub fn say(&self, word: Vec<u8>) {
        let _ = self.to.send(word);
    }
}

/// Carries all that crosses, until both sides have said goodbye. Where the link breaks before, that is told first, and then
/// nothing is ever done again: timely, whose end stays open, would only panic.
pub async fn carry<S>(far: S, near: UnixStream, between: Between)
where
    S: AsyncRead + AsyncWrite + Send,
{
    let (far_in, far_out) = tokio::io::split(far);
    let (mut near_in, mut near_out) = near.into_split();
    let (left, leaves) = watch::channel(false);
    let Between { peer, names, tongues, traffic, stopping, asked, broken, words } = between;
    let (mut sent, came) = words;
    let out =
        Out { far: BufWriter::with_capacity(BUFFER, far_out), names, traffic, telling: Telling::default() };
    let receiving = async {
        let received = receive(far_in, &mut near_out, (peer, &tongues), (&*asked, &came)).await;
        left.send_replace(true);
        received
    };
    if let Err(error) = tokio::try_join!(out.send(&mut near_in, &mut sent, leaves, stopping), receiving) {
        let gone = error.kind() == io::ErrorKind::UnexpectedEof;
        broken(peer, &if gone { "it is gone".to_owned() } else { error.to_string() });
        std::future::pending::<()>().await;
    }
}

struct Out<S> {
    far: BufWriter<WriteHalf<S>>,
    names: Arc<Names>,
    traffic: Arc<Traffic>,
    telling: Telling,
}

impl<S: AsyncRead + AsyncWrite> Out<S> {
    async fn send(
        mut self,
        near: &mut OwnedReadHalf,
        words: &mut UnboundedReceiver<Vec<u8>>,
        mut leaves: watch::Receiver<bool>,
        mut stopping: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        let mut alive = interval(ALIVE);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asked = false;
        loop {
            let asks = tokio::select! {
                read = near.read(&mut buffer) => match read? {
                    0 => break,
                    n => {
                        self.records(&buffer[..n]).await?;
                        false
                    }
                },
                _ = alive.tick() => {
                    self.frame(LIVING, &[]).await?;
                    false
                }
                Some(word) = words.recv() => {
                    self.frame(WORD, &word).await?;
                    false
                }
                told = stopping.changed(), if !asked => told.is_ok(),
            };
            if asks {
                asked = true;
                self.frame(STOP, &[]).await?;
            }
            self.far.flush().await?;
        }
        self.frame(GOODBYE, &[]).await?;
        self.far.flush().await?;
        // The other side waits for our word as long as it has not said goodbye. Where it hears no more, it has, or its own
        // side of the link tells what is wrong.
        while !*leaves.borrow_and_update() {
            tokio::select! {
                _ = leaves.changed() => {}
                _ = alive.tick() => if self.frame(LIVING, &[]).await.and(self.far.flush().await).is_err() { break },
            }
        }
        let _ = self.far.shutdown().await;
        Ok(())
    }

    async fn records(&mut self, records: &[u8]) -> io::Result<()> {
        loop {
            let news = self.telling.news(&self.names);
            if news.is_empty() {
                break;
            }
            self.traffic.strings.fetch_add(news.len() as u64, Ordering::Relaxed);
            self.frame(STRINGS, &news).await?;
        }
        self.traffic.records.fetch_add(records.len() as u64, Ordering::Relaxed);
        self.frame(RECORDS, records).await
    }

    async fn frame(&mut self, kind: u8, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.far.write_u8(kind).await?;
        self.far.write_u32_le(length).await?;
        self.far.write_all(bytes).await
    }
}

fn garbled(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

async fn receive<S: AsyncRead + AsyncWrite>(
    far: ReadHalf<S>,
    near: &mut OwnedWriteHalf,
    (peer, tongues): (usize, &Tongues),
    (asked, came): (&(dyn Fn() + Send + Sync), &Sender<Vec<u8>>),
) -> io::Result<()> {
    let mut far = BufReader::with_capacity(BUFFER, far);
    let mut bytes = Vec::new();
    loop {
        let next = timeout(SILENCE_MAX, frame(&mut far, &mut bytes)).await;
        let silent = || io::Error::new(io::ErrorKind::TimedOut, "it has been silent for long");
        match next.map_err(|_| silent())?? {
            STRINGS => tongues.learn(peer, &bytes).map_err(|error| garbled(error.to_string()))?,
            RECORDS => near.write_all(&bytes).await?,
            LIVING => {}
            STOP => asked(),
            // Where nobody listens any more, nothing depends on it.
            WORD => drop(came.send(std::mem::take(&mut bytes))),
            GOODBYE => {
                // Timely has read all that it wants.
                let _ = near.shutdown().await;
                return Ok(());
            }
            other => return Err(garbled(format!("it says what nobody says: {other}"))),
        }
    }
}

/// Reads a frame; its kind. Memory is taken for what came, not for what is announced.
async fn frame(far: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>) -> io::Result<u8> {
    let kind = far.read_u8().await?;
    let length = far.read_u32_le().await?;
    if length > FRAME_MAX {
        return Err(garbled("it announces more than anybody says at once"));
    }
    bytes.clear();
    let read = far.take(u64::from(length)).read_to_end(bytes).await?;
    if read < length as usize { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(kind) }
}
