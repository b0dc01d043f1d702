//! The signals that ask for an end: SIGTERM, as service managers send it, and Ctrl-C.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{Error, Result, Stage};

pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes the signals over: from now on they do not end the process by themselves.
    pub(super) fn listen() -> Result<Self> {
        let listen = |kind| {
            signal(kind).map_err(|e| Error::permanent(Stage::Worker, "cannot listen for signals").because(e))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
