//! Writes lines to stderr. A worker does not wait for a reader that has stopped reading: it loses lines instead.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The most bytes that a pipe with room takes at once, whatever it holds.
const CHUNK_BYTES: usize = 4096;

/// The longest wait for a reader that has not read before.
const PATIENCE: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

const AT_ONCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

static MAY_LOSE_LINES: AtomicBool = AtomicBool::new(false);
/// Set while the reader does not read.
static IS_STUCK: AtomicBool = AtomicBool::new(false);
static LOST_LINES: AtomicU64 = AtomicU64::new(0);

/// Lets lines be lost from now on if nobody reads them within a second. Work then goes on, and signals are heard.
pub(crate) fn lose_lines_if_stuck() {
    MAY_LOSE_LINES.store(true, Ordering::Relaxed);
}

/// A writer to stderr that takes whole lines.
pub(super) struct Lines;

impl Write for Lines {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        write(lines)?;
        if !IS_STUCK.load(Ordering::Relaxed) {
            let lost = LOST_LINES.swap(0, Ordering::Relaxed);
            if lost > 0 {
                tracing::warn!(
                    lines = lost,
                    "nobody read the log for a while, and lines of it were lost"
                );
            }
        }
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes lines to stderr, or loses them.
pub(crate) fn write(lines: &[u8]) -> io::Result<()> {
    let mut stderr = io::stderr().lock();
    if !MAY_LOSE_LINES.load(Ordering::Relaxed) {
        return stderr.write_all(lines);
    }
    for chunk in lines.chunks(CHUNK_BYTES) {
        if !has_room(&stderr) {
            LOST_LINES.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        stderr.write_all(chunk)?;
    }
    Ok(())
}

/// Waits until stderr takes a chunk. Once that has taken too long, does not wait again until it did.
fn has_room(stderr: &io::StderrLock<'_>) -> bool {
    let patience = match IS_STUCK.load(Ordering::Relaxed) {
        true => AT_ONCE,
        false => PATIENCE,
    };
    let mut stderr = [PollFd::new(stderr, PollFlags::OUT)];
    // A failing poll says nothing about the reader.
    let has_room = poll(&mut stderr, Some(&patience)).map_or(true, |ready| ready > 0);
    IS_STUCK.store(!has_room, Ordering::Relaxed);
    has_room
}
