//! A TCP proxy that breaks off answers: it stands between a client and a server that cannot be told to do so.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

/// A proxy in front of a server.
pub(crate) struct CuttingProxy {
    pub(crate) address: SocketAddr,
    /// The numbers of bytes after which the answers on the next connections break off. The last number is for the next
    /// connection.
    cuts: Arc<Mutex<Vec<usize>>>,
    gate: Arc<Gate>,
}

/// Holds up connections while it is closed.
#[derive(Default)]
struct Gate {
    is_closed: Mutex<bool>,
    changed: Condvar,
}

impl CuttingProxy {
    /// Starts a proxy. It breaks off the answers on the first connections after these numbers of bytes, and passes on
    /// all bytes of later connections.
    pub(crate) fn start(server: SocketAddr, cuts: &[usize]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let cuts = Arc::new(Mutex::new(cuts.iter().rev().copied().collect::<Vec<_>>()));
        let gate = Arc::<Gate>::default();
        let (remaining, entered) = (Arc::clone(&cuts), Arc::clone(&gate));
        std::thread::spawn(move || {
            for (number, client) in listener.incoming().map_while(Result::ok).enumerate() {
                if number > 0 {
                    let closed = entered.is_closed.lock().unwrap();
                    drop(entered.changed.wait_while(closed, |closed| *closed).unwrap());
                }
                let cut = remaining.lock().unwrap().pop();
                let server = TcpStream::connect(server).unwrap();
                connect(&client, &server, cut.unwrap_or(usize::MAX));
            }
        });
        Self { address, cuts, gate }
    }

    /// Holds up all connections but the first one.
    pub(crate) fn close(&self) {
        *self.gate.is_closed.lock().unwrap() = true;
    }

    /// Passes on the connections that are held up, and all later ones.
    pub(crate) fn open(&self) {
        *self.gate.is_closed.lock().unwrap() = false;
        self.gate.changed.notify_all();
    }

    /// Returns the number of connections that the proxy has not broken off yet, but is to break off.
    pub(crate) fn cuts_left(&self) -> usize {
        self.cuts.lock().unwrap().len()
    }
}

/// Passes on bytes in both directions, but at most `cut` bytes to the client.
fn connect(client: &TcpStream, server: &TcpStream, cut: usize) {
    let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    std::thread::spawn(move || pass_on(&from, &to, usize::MAX));
    let (from, to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    std::thread::spawn(move || pass_on(&from, &to, cut));
}

fn pass_on(mut from: &TcpStream, mut to: &TcpStream, mut left: usize) {
    let mut buffer = vec![0; 64 << 10];
    while left > 0 {
        let space = buffer.len().min(left);
        let Ok(length @ 1..) = from.read(&mut buffer[..space]) else {
            break;
        };
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
        left -= length;
    }
    for end in [from, to] {
        let _ = end.shutdown(Shutdown::Both);
    }
}
