//! Door: where a process hears those of higher index, and turns everybody else away.
//!
//! In: connections. Out: links to processes that showed who they are. Whoever is turned away is counted by why, and told
//! when a count reaches a power of two: a flood of strangers writes no flood of lines.
//! State: [`UNDER_WAY_MAX`] handshakes at most, each of [`PATIENCE`] at most.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{CertificateError, Error as TlsError};

use super::hello::{Answer, Hello, No, hear, say};
use super::tls::{Identity, is_of};

/// Handshakes under way. One more, and the one that has taken longest is dropped: a process of the cluster takes
/// milliseconds, and comes again.
const UNDER_WAY_MAX: usize = 64;
/// How long a handshake and its hello may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// After the system refused a connection, it is asked again.
const AGAIN: Duration = Duration::from_millis(50);

/// A connection to another process, both sides known.
pub type Secure = tokio_rustls::TlsStream<TcpStream>;

/// Who was turned away, by why.
#[derive(Debug, Default)]
pub struct TurnedAway(Mutex<BTreeMap<&'static str, u64>>);

impl TurnedAway {
    /// Counts one, and tells it now and then.
    pub fn note(&self, who: SocketAddr, why: &'static str, more: &str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(why).or_default();
        *count += 1;
        if count.is_power_of_two() {
            eprintln!("quell: turned away {who}: {why}{more} ({count} so far)");
        }
    }

    /// All of them.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What the door is kept with.
#[derive(Clone)]
pub struct Keeper {
    /// Who we are.
    pub identity: Identity,
    /// What we are.
    pub hello: Arc<Hello>,
    /// Whether every process has its link.
    pub complete: Arc<AtomicBool>,
    /// Who was turned away.
    pub turned_away: Arc<TurnedAway>,
    /// Links, with the index of each.
    pub links: UnboundedSender<(usize, Secure)>,
}

impl Keeper {
    /// Hears who comes, for as long as the process lives.
    pub async fn keep(self, listener: TcpListener) {
        let mut under_way: VecDeque<(SocketAddr, AbortHandle)> = VecDeque::new();
        loop {
            let (stream, who) = match listener.accept().await {
                Ok(came) => came,
                Err(error) => {
                    eprintln!("quell: a connection cannot be taken: {error}");
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
            };
            under_way.retain(|(_, handshake)| !handshake.is_finished());
            if under_way.len() >= UNDER_WAY_MAX
                && let Some((longest, handshake)) = under_way.pop_front()
            {
                handshake.abort();
                self.turned_away.note(longest, "it was slow, and others came", "");
            }
            let keeper = self.clone();
            let handshake = tokio::spawn(async move {
                match timeout(PATIENCE, keeper.meet(stream)).await {
                    Ok(Ok(())) => {}
                    Ok(Err((why, more))) => keeper.turned_away.note(who, why, &more),
                    Err(_) => keeper.turned_away.note(who, "it was slow", ""),
                }
            });
            under_way.push_back((who, handshake.abort_handle()));
        }
    }

    /// Meets one; why it is turned away.
    async fn meet(&self, stream: TcpStream) -> Result<(), (&'static str, String)> {
        let plainly = |why| (why, String::new());
        let _ = stream.set_nodelay(true);
        let acceptor = TlsAcceptor::from(Arc::clone(&self.identity.server));
        let mut stream = acceptor.accept(stream).await.map_err(|error| plainly(kind(&error)))?;
        let hello: Hello = hear(&mut stream).await.map_err(|_| plainly("it said no hello"))?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        if !shown.is_some_and(|certificate| is_of(certificate, hello.process)) {
            return Err(("the certificate of another process", format!(" than {}", hello.process)));
        }
        let complete = self.complete.load(Ordering::SeqCst);
        let no = self.hello.objects(&hello).or_else(|| complete.then_some(No::Linked));
        if let Some(no) = no {
            let _ = say(&mut stream, &Answer::No(no.clone())).await;
            return Err((no.name(), format!("; process {}: {no}", hello.process)));
        }
        let welcome = Answer::Hello(Hello::clone(&self.hello));
        say(&mut stream, &welcome).await.map_err(|_| plainly("it hung up"))?;
        // Where nobody waits for links any more, the process is ending.
        let _ = self.links.send((hello.process, stream.into()));
        Ok(())
    }
}

/// Why there was no handshake.
fn kind(error: &io::Error) -> &'static str {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
    match tls {
        Some(TlsError::NoCertificatesPresented) => "no certificate",
        Some(TlsError::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        )) => "a certificate of another authority",
        Some(TlsError::InvalidCertificate(_)) => "a certificate that does not hold",
        Some(TlsError::AlertReceived(_)) => "it would not have us",
        Some(_) => "it speaks no TLS 1.3",
        None => "it hung up",
    }
}
