//! The world outside: a service that takes orders over HTTP and counts them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Orders carried out, by `Idempotency-Key`.
pub type Done = Arc<Mutex<BTreeMap<String, u32>>>;

/// A system that does what it is told, slowly enough to be met in the middle.
pub fn world() -> (SocketAddr, Done) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("an address");
    let done = Done::default();
    let counts = Arc::clone(&done);
    // It lives as long as the test's process.
    thread::spawn(move || {
        for stream in listener.incoming().filter_map(Result::ok) {
            let counts = Arc::clone(&counts);
            thread::spawn(move || carry_out(&stream, &counts));
        }
    });
    (address, done)
}

fn carry_out(stream: &TcpStream, done: &Done) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let (mut key, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line).ok()? {
            // Whoever called was killed before it had said what it wants.
            0 => return None,
            1 | 2 => break,
            _ => {}
        }
        let (name, value) = line.split_once(':').unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "idempotency-key" => value.trim().clone_into(&mut key),
            "content-length" => length = value.trim().parse().ok()?,
            _ => {}
        }
    }
    reader.read_exact(&mut vec![0; length]).ok()?;
    *done.lock().ok()?.entry(key).or_default() += 1;
    thread::sleep(Duration::from_millis(2));
    let mut answer = stream;
    answer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").ok()
}

/// Lets a plan's orders be given to a service at this address.
pub fn calling(flow: &Path, address: SocketAddr) {
    let text = std::fs::read_to_string(flow).expect("the plan");
    let webhook = format!("executor: {{type: webhook, url: 'http://{address}/orders'}}");
    let lines = text.lines().map(|line| if line.starts_with("executor:") { webhook.as_str() } else { line });
    std::fs::write(flow, lines.collect::<Vec<_>>().join("\n") + "\n").expect("room for the plan");
}
