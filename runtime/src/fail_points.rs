//! Defines points at which a test can kill or pause a worker, and shortens time limits that a test cannot wait for. The
//! test then checks that the guarantees hold. Builds without debug assertions, such as releases, contain no fail points
//! and no shorter limits.

use std::time::Duration;

/// Must be called where the worker passes the point `place`. `id` is the id of the request that it works on.
///
/// If the environment has `INGEST_HOST_FAULT=PLACE:SIGNAL:COUNT`, the process sends the signal `KILL` or `STOP` to
/// itself when it passes `PLACE` for the `COUNT`th time. With `PLACE:SIGNAL:=ID`, it sends the signal each time that it
/// passes `PLACE` for the request `ID`.
#[cfg(debug_assertions)]
pub(crate) fn pass(place: &str, id: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    /// The pause during which the signal arrives.
    const DELIVERY_PAUSE: Duration = Duration::from_millis(100);
    static FAULT: OnceLock<Option<String>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);

    let Some(fault) = FAULT.get_or_init(|| std::env::var("INGEST_HOST_FAULT").ok()) else {
        return;
    };
    let mut words = fault.splitn(3, ':');
    let [Some(at), Some(signal), Some(when)] = [words.next(), words.next(), words.next()] else {
        return;
    };
    if at != place {
        return;
    }
    let is_now = match when.strip_prefix('=') {
        Some(wanted) => id == wanted,
        None => when.parse() == Ok(PASSED.fetch_add(1, Ordering::Relaxed) + 1),
    };
    if is_now {
        let signal = if signal == "STOP" {
            Signal::STOP
        } else {
            Signal::KILL
        };
        let _ = kill_process(getpid(), signal);
        // Another thread may receive the signal. This thread must not continue before the signal takes effect.
        std::thread::sleep(DELIVERY_PAUSE);
    }
}

#[cfg(not(debug_assertions))]
pub(crate) fn pass(_: &str, _: &str) {}

/// Returns a time limit. If the environment has `INGEST_HOST_LIMITS_DIVIDED_BY=NUMBER`, the limit is divided by this
/// number.
#[cfg(debug_assertions)]
pub(crate) fn limit(limit: Duration) -> Duration {
    use std::sync::OnceLock;

    static DIVISOR: OnceLock<Option<u32>> = OnceLock::new();

    let number = || {
        let number = std::env::var("INGEST_HOST_LIMITS_DIVIDED_BY").ok()?;
        number.parse().ok().filter(|number| *number > 0)
    };
    limit / DIVISOR.get_or_init(number).unwrap_or(1)
}

#[cfg(not(debug_assertions))]
pub(crate) fn limit(limit: Duration) -> Duration {
    limit
}
