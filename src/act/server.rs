//! A small HTTP server on loopback, for tests: it counts calls by their key and answers, hangs or dies as told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What it does with a call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    Status(u16),
    /// To another path of this server.
    Redirect,
    /// Says nothing for longer than anybody waits.
    Hang,
    /// Closes the connection after the request was read.
    Die,
}

/// A call as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) key: String,
    pub(crate) authorization: String,
    pub(crate) body: String,
}

pub(crate) struct Server {
    address: std::net::SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Server {
    /// Starts one; `script` is told the call and how many of its method came before.
    pub(crate) fn start(script: impl Fn(&Call, usize) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("an address");
        let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
        let (seen, script) = (Arc::clone(&calls), Arc::new(script));
        // The thread lives as long as the test's process: it waits for connections and holds nothing else.
        std::thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                let (seen, script) = (Arc::clone(&seen), Arc::clone(&script));
                std::thread::spawn(move || answer(stream, &seen, &*script));
            }
        });
        Server { address, calls }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn posts(&self) -> usize {
        self.calls.lock().expect("no panic").iter().filter(|call| call.method == "POST").count()
    }

    pub(crate) fn calls_of(&self, key: &str) -> Vec<Call> {
        self.calls.lock().expect("no panic").iter().filter(|call| call.key == key).cloned().collect()
    }

    /// The most posts of one key.
    pub(crate) fn posts_of_one_max(&self) -> usize {
        let calls = self.calls.lock().expect("no panic");
        calls.iter().map(|call| calls.iter().filter(|other| other.key == call.key).count()).max().unwrap_or(0)
    }
}

fn answer(mut stream: TcpStream, seen: &Mutex<Vec<Call>>, script: &dyn Fn(&Call, usize) -> Reply) {
    let Some(call) = read(&stream) else { return };
    let nth = {
        let mut seen = seen.lock().expect("no panic");
        let nth = seen.iter().filter(|other| other.method == call.method).count();
        seen.push(call.clone());
        nth
    };
    let head = match script(&call, nth) {
        Reply::Status(status) => format!("HTTP/1.1 {status} Said"),
        Reply::Redirect => "HTTP/1.1 302 Found\r\nLocation: /elsewhere".to_owned(),
        Reply::Hang => return std::thread::sleep(Duration::from_secs(5)),
        Reply::Die => return,
    };
    // The client may have gone: that is its affair.
    _ = stream.write_all(format!("{head}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes());
}

fn read(stream: &TcpStream) -> Option<Call> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let mut call = Call {
        method: words.next()?.to_owned(),
        path: words.next()?.split('?').next()?.to_owned(),
        ..Call::default()
    };
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? <= 2 {
            break;
        }
        let (name, value) = line.trim().split_once(':')?;
        let value = value.trim().to_owned();
        match name.to_ascii_lowercase().as_str() {
            "idempotency-key" => call.key = value,
            "authorization" => call.authorization = value,
            "content-length" => length = value.parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    call.body = String::from_utf8(body).ok()?;
    Some(call)
}
