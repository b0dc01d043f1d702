//! Reads standard input: its bytes come out as they arrive.

use std::io::{self, Read};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::error::Error;
use crate::stop::Stop;

/// The interval at which a read that waits for bytes checks for a stop.
const LOOK_EVERY: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// A reader of standard input. If a stop is requested, a read that waits for bytes ends.
pub(super) struct Stdin {
    stop: Stop,
    /// True after the end of the input. On a terminal, another read would wait for more input.
    has_ended: bool,
}

impl Stdin {
    pub(super) fn new(stop: Stop) -> Self {
        Self {
            stop,
            has_ended: false,
        }
    }
}

impl Read for Stdin {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let stdin = io::stdin();
        if self.has_ended {
            return Ok(0);
        }
        loop {
            self.stop.check().map_err(Error::into_io)?;
            match poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&LOOK_EVERY)) {
                Ok(0) | Err(Errno::INTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
            match rustix::io::read(&stdin, &mut *out) {
                // Another process that shares the pipe may have made the pipe non-blocking.
                Err(Errno::INTR | Errno::AGAIN) => {}
                result => {
                    let read = result?;
                    self.has_ended = read == 0 && !out.is_empty();
                    return Ok(read);
                }
            }
        }
    }
}
