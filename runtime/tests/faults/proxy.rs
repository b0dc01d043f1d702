//! A TCP proxy that does to connections what networks do.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long a stall is.
const STALL: Duration = Duration::from_secs(5);

/// What happens to a connection after some pieces went well.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// An answer is taken and not handed on, and the connection ends.
    AnswerDropped,
    /// Half of a question or an answer is handed on, and the connection ends.
    Halved,
    /// Nothing is handed on for a while.
    Stalled,
    /// The connection ends with what was sent left unread, so that the system resets it.
    Reset,
}

const FAULTS: [Fault; 4] = [Fault::AnswerDropped, Fault::Halved, Fault::Stalled, Fault::Reset];

/// A proxy before a server, until it is dropped.
pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    server: String,
    random: Mutex<fastrand::Rng>,
    /// Whether connections fare well.
    calm: AtomicBool,
    /// How many times each fault has happened.
    counts: [AtomicU64; 4],
}

impl Proxy {
    /// Before the server at `redis://HOST:PORT`.
    pub(crate) fn before(url: &str, random: fastrand::Rng) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            server: url.strip_prefix("redis://").unwrap().to_owned(),
            random: Mutex::new(random),
            calm: AtomicBool::new(false),
            counts: Default::default(),
        });
        let for_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // Without a server the connection just ends.
                if let Ok(server) = TcpStream::connect(&for_thread.server) {
                    for_thread.connect(client, server);
                }
            }
        });
        Self { port, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// From now on nothing happens to new connections.
    pub(crate) fn calm_down(&self) {
        self.shared.calm.store(true, Ordering::Relaxed);
    }

    /// How often each fault has happened.
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
        // Both directions count together, so that the fault may hit a question as well as an answer.
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

    /// Hands pieces on until the connection ends, by itself or by the fault.
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
