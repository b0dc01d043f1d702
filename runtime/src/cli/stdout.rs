//! Copies staged outputs to stdout, one after the other.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::oneshot;

use crate::error::{Code, Error, Result, Stage};
use crate::stop::Stop;

/// The exit code of a program whose reader is gone. By the convention of shells, it is 128 plus the number of SIGPIPE.
pub(super) const NO_READER: u8 = 141;

const BUFFER_BYTES: usize = 128 << 10;

/// Copies files to stdout, in order. Returns false if no process reads stdout any more.
///
/// # Errors
/// Fails if a file cannot be read, if stdout cannot be written, or if `stop` is requested. Before an error, a part of
/// the bytes may have been written.
pub(super) async fn copy(files: Vec<PathBuf>, stop: &Stop) -> Result<bool> {
    let (sender, copied) = oneshot::channel();
    // This thread does not belong to the async runtime. When the runtime ends, it waits for its own threads, and this
    // thread may never end: the reader of stdout may have stopped reading.
    std::thread::spawn(move || {
        let _ = sender.send(files.into_iter().try_for_each(copy_file));
    });
    let failed = |why: &str| {
        Error::permanent(
            Stage::Commit,
            Code::StdoutFailed,
            format!("stdout: {why}, and a part of the records may be written"),
        )
    };
    let copied = tokio::select! {
        biased;
        copied = copied => copied.map_err(|error| failed("writing has failed").because(error))?,
        () = stop.requested() => return Err(failed("writing was interrupted").because(stop.error())),
    };
    match copied {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(failed("writing has failed").because(error)),
    }
}

fn copy_file(path: PathBuf) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        write_all(&buffer[..read])?;
    }
}

/// Writes to stdout without Rust's buffer. If the pipe is non-blocking, waits until it can take more bytes.
fn write_all(mut bytes: &[u8]) -> io::Result<()> {
    let stdout = io::stdout();
    while !bytes.is_empty() {
        match rustix::io::write(&stdout, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::new(&stdout, PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
