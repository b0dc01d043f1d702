//! Runs the tests' S3 server in a process of its own, so that its time and memory do not count as those of the
//! programs that are measured.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::support::s3::S3Server;
use crate::{Result, say, this_program};

/// The bucket that all runs use.
pub(crate) const BUCKET: &str = "lake";

/// The first line that the server prints.
#[derive(Serialize, Deserialize)]
struct Started {
    endpoint: String,
    folder: PathBuf,
}

/// Serves until standard input ends. Answers each line with the list of all parts that were uploaded, in their order.
pub(crate) fn serve() -> Result {
    let server = S3Server::start();
    server.create_bucket(BUCKET);
    let started = Started {
        endpoint: server.endpoint(),
        folder: server.folder().to_owned(),
    };
    say(serde_json::to_string(&started)?);
    for line in std::io::stdin().lock().lines() {
        line?;
        say(serde_json::to_string(&server.parts())?);
    }
    Ok(())
}

/// A server that runs as a process. Dropping this value ends the server, which removes its objects.
pub(crate) struct ServerProcess {
    pub(crate) endpoint: String,
    /// The objects are files: `FOLDER/BUCKET/KEY`.
    folder: PathBuf,
    process: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl ServerProcess {
    /// Starts a server that keeps its objects below `folder`.
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        let mut process = this_program()?
            .arg("serve")
            .env("TMPDIR", folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = process.stdin.take();
        let mut stdout = BufReader::new(process.stdout.take().ok_or("the server has no output")?);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let Started { endpoint, folder } =
            serde_json::from_str(&line).map_err(|error| format!("{line:?}: {error}"))?;
        Ok(Self {
            endpoint,
            folder,
            process,
            stdin,
            stdout,
        })
    }

    /// Returns the path of the file with an object's bytes.
    pub(crate) fn path(&self, key: &str) -> PathBuf {
        self.folder.join(BUCKET).join(key)
    }

    /// Returns each part that was uploaded so far: the upload's id and the part's number. A part that was uploaded
    /// twice is listed twice.
    pub(crate) fn parts(&mut self) -> Result<Vec<(String, u64)>> {
        let stdin = self.stdin.as_mut().ok_or("the server is ending")?;
        stdin.write_all(b"\n")?;
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        serde_json::from_str(&line).map_err(|error| format!("{line:?}: {error}").into())
    }

    /// Returns the processor time that the server has used so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // The name of the program, in parentheses, can have blanks.
        let fields = stat.rsplit_once(')').ok_or("a stat without a name")?.1;
        let ticks = |at: usize| {
            fields
                .split_whitespace()
                .nth(at)
                .and_then(|text| text.parse().ok())
        };
        let (user, system): (u64, u64) = ticks(11).zip(ticks(12)).ok_or("a stat without times")?;
        Ok(Duration::from_secs_f64(
            (user + system) as f64 / rustix::param::clock_ticks_per_second() as f64,
        ))
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // At the end of its input, the server removes its objects and ends.
        drop(self.stdin.take());
        let _ = self.process.wait();
    }
}
