//! Handles the signals that ask the program to stop: SIGTERM (from a service manager), SIGINT (Ctrl-C), and SIGHUP
//! (from a terminal that is closed). For a worker with a config file, SIGHUP asks to reload that file instead.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{Code, Error, Result, Stage};

pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// SIGHUP, or `None` if SIGHUP was ignored when the process started, for example because of `nohup`.
    hangup: Option<Signal>,
}

/// The signals that ask a worker to reload its config file: SIGHUP.
pub(super) struct ReloadSignals(Signal);

impl ReloadSignals {
    /// Starts to handle SIGHUP. From now on, it does not end the process, whether or not it was ignored before. A signal
    /// that [`hold_hangup`] has held arrives.
    pub(super) fn listen() -> Result<Self> {
        let signals = listen(SignalKind::hangup()).map(Self);
        release_hangup();
        signals
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) {
        self.0.recv().await;
    }
}

impl Signals {
    /// Starts to handle the signals. From now on, they do not end the process by themselves.
    pub(super) fn listen() -> Result<Self> {
        let is_ignored = is_ignored(SignalKind::hangup());
        Ok(Self {
            hangup: (!is_ignored).then(|| listen(SignalKind::hangup())).transpose()?,
            ..Self::listen_without_hangup()?
        })
    }

    /// Starts to handle SIGTERM and SIGINT only.
    pub(super) fn listen_without_hangup() -> Result<Self> {
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: None,
        })
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = hangup => {}
        }
    }
}

/// Holds SIGHUP back until [`release_hangup`]: until the program knows whether the signal asks to reload. It must be
/// called before the process has a second thread.
pub(super) fn hold_hangup() {
    mask_hangup(libc::SIG_BLOCK);
}

/// Lets SIGHUP arrive. The thread that has held it back must call this.
pub(super) fn release_hangup() {
    mask_hangup(libc::SIG_UNBLOCK);
}

fn mask_hangup(how: libc::c_int) {
    #[expect(unsafe_code, reason = "no library in use sets the mask")]
    // SAFETY: the set is initialized by `sigemptyset`, and all pointers are valid for the calls.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGHUP);
        libc::pthread_sigmask(how, &raw const set, std::ptr::null_mut());
    }
}

/// Makes a write beyond the limit on file sizes (`ulimit -f`) fail. Without this, the write would end the program.
pub(super) fn survive_file_size_limit() -> Result<()> {
    // The signal stays handled when the returned value is dropped.
    listen(SignalKind::from_raw(libc::SIGXFSZ)).map(drop)
}

fn listen(kind: SignalKind) -> Result<Signal> {
    signal(kind).map_err(|e| {
        Error::permanent(Stage::Worker, Code::HostFailure, "cannot listen for signals").because(e)
    })
}

/// Returns whether a signal was ignored when the process started: see `SigIgn` in proc(5).
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (kind.as_raw_value() - 1) & 1 == 1)
}
