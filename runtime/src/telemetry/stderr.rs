//! Writes lines to stderr. If the reader of stderr stops reading, a worker waits for a second at most, and then loses
//! lines.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The number of bytes that a pipe always takes at once if poll reports room.
const CHUNK_BYTES: usize = 4096;

/// The maximum wait for the reader before it counts as stuck.
const PATIENCE: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

const AT_ONCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

static MAY_LOSE_LINES: AtomicBool = AtomicBool::new(false);
/// Set while the reader of stderr does not read.
static IS_STUCK: AtomicBool = AtomicBool::new(false);
static LOST_LINES: AtomicU64 = AtomicU64::new(0);

/// From now on, lines are dropped if no process reads stderr within a second. The work then continues, and the program
/// still reacts to signals.
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

/// Writes lines to stderr. If the reader is stuck and [`lose_lines_if_stuck`] was called before, drops the rest of the
/// lines.
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

/// Waits up to [`PATIENCE`] until stderr can take a chunk, and returns whether it can. If a wait was in vain, later
/// calls do not wait, until stderr can take a chunk again.
fn has_room(stderr: &io::StderrLock<'_>) -> bool {
    let patience = match IS_STUCK.load(Ordering::Relaxed) {
        true => AT_ONCE,
        false => PATIENCE,
    };
    let mut stderr = [PollFd::new(stderr, PollFlags::OUT)];
    // A failed poll says nothing about the reader, so the reader does not count as stuck.
    let has_room = poll(&mut stderr, Some(&patience)).map_or(true, |ready| ready > 0);
    IS_STUCK.store(!has_room, Ordering::Relaxed);
    has_room
}
