//! A TCP proxy that breaks connections like a bad network.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The duration of a stall.
const STALL: Duration = Duration::from_secs(5);

/// A fault that hits a connection after the proxy has forwarded a random number of pieces of data.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// The proxy drops an answer and closes the connection.
    AnswerDropped,
    /// The proxy forwards half of a request or an answer, and closes the connection.
    Halved,
    /// The proxy forwards nothing in one direction for the time [`STALL`].
    Stalled,
    /// The proxy closes the connection while data is unread, so the system resets the connection.
    Reset,
}

const FAULTS: [Fault; 4] = [Fault::AnswerDropped, Fault::Halved, Fault::Stalled, Fault::Reset];

/// A proxy in front of a server. Dropping this value stops the proxy.
pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    server: String,
    random: Mutex<fastrand::Rng>,
    /// True if new connections get no faults.
    calm: AtomicBool,
    /// The number of times that each fault has occurred.
    counts: [AtomicU64; 4],
}

impl Proxy {
    /// Starts a proxy in front of the server at `HOST:PORT`.
    pub(crate) fn before(server: &str, random: fastrand::Rng) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            server: server.to_owned(),
            random: Mutex::new(random),
            calm: AtomicBool::new(false),
            counts: Default::default(),
        });
        let for_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // If the server is down, the client's connection is closed.
                if let Ok(server) = TcpStream::connect(&for_thread.server) {
                    for_thread.connect(client, server);
                }
            }
        });
        Self { port, shared }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Stops the faults for new connections.
    pub(crate) fn calm_down(&self) {
        self.shared.calm.store(true, Ordering::Relaxed);
    }

    /// Returns a text that says how often each fault has occurred.
    pub(crate) fn counts(&self) -> String {
        let counts = self
            .shared
            .counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        let [dropped, halved, stalled, reset] = counts.collect::<Vec<_>>()[..] else {
            unreachable!()
        };
        format!("{dropped} answers dropped, {halved} halved, {stalled} stalls of 5 s, {reset} resets")
    }

    pub(crate) fn total(&self) -> u64 {
        self.shared
            .counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }
}

impl Shared {
    fn connect(self: &Arc<Self>, client: TcpStream, server: TcpStream) {
        let (fault, pieces) = {
            let mut random = self.random.lock().unwrap();
            (random.usize(..FAULTS.len()), random.u64(2..60))
        };
        let fault = (!self.calm.load(Ordering::Relaxed)).then_some(fault);
        // Both directions share the count of pieces that are left, so the fault can hit either a request or an answer.
        let left = Arc::new(AtomicU64::new(pieces));
        let streams = [
            (client.try_clone().unwrap(), server.try_clone().unwrap(), false),
            (server, client, true),
        ];
        for (from, to, is_answer) in streams {
            let (shared, left) = (Arc::clone(self), Arc::clone(&left));
            std::thread::spawn(move || {
                shared.pump(&from, &to, is_answer, fault, &left);
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
    }

    /// Forwards the data of one direction until the connection ends. The fault may end the connection.
    fn pump(
        &self,
        mut from: &TcpStream,
        mut to: &TcpStream,
        is_answer: bool,
        fault: Option<usize>,
        left: &AtomicU64,
    ) {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let is_due = left.load(Ordering::Relaxed) == 0;
            let now = fault.filter(|_| is_due);
            if let (Some(number), Ok(1..)) = (now, from.peek(&mut buffer)) {
                match FAULTS[number] {
                    Fault::AnswerDropped if !is_answer => {}
                    Fault::AnswerDropped | Fault::Reset => {
                        self.counts[number].fetch_add(1, Ordering::Relaxed);
                        return;
                    }
                    Fault::Halved => {
                        let Ok(length) = from.read(&mut buffer) else {
                            return;
                        };
                        self.counts[number].fetch_add(1, Ordering::Relaxed);
                        let _ = to.write_all(&buffer[..length / 2]);
                        return;
                    }
                    Fault::Stalled => {
                        self.counts[number].fetch_add(1, Ordering::Relaxed);
                        left.store(50, Ordering::Relaxed);
                        std::thread::sleep(STALL);
                    }
                }
            }
            match from.read(&mut buffer) {
                Ok(length @ 1..) if to.write_all(&buffer[..length]).is_ok() => {
                    let _ =
                        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
                }
                _ => return,
            }
        }
    }
}
