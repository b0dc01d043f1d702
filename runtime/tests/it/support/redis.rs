//! Starts a real redis-server for one test, on a free port and with a temporary folder.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::process::send_signal;

const START: Duration = Duration::from_secs(20);

/// A running server. Dropping this value ends the server, even if the test panics.
pub(crate) struct RedisServer {
    folder: TempDir,
    port: u16,
    options: Vec<String>,
    process: Child,
}

impl RedisServer {
    /// Starts a server that stores nothing on disk.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with additional options of redis-server, such as `["--appendonly", "yes"]`.
    pub(crate) fn start_with(options: &[&str]) -> Self {
        let options: Vec<String> = options.iter().map(ToString::to_string).collect();
        let folder = tempfile::tempdir().expect("a temporary folder");
        // Another program could take the port before the server starts.
        for _ in 0..10 {
            let port = free_port();
            let mut process = spawn(&folder, port, &options);
            if answers(&mut process, port) {
                return Self {
                    folder,
                    port,
                    options,
                    process,
                };
            }
        }
        panic!("redis-server does not start: {}", log(&folder));
    }

    /// Returns the URL of the server.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Returns the URL of the server with a password.
    pub(crate) fn url_with_password(&self, password: &str) -> String {
        format!("redis://:{password}@127.0.0.1:{}", self.port)
    }

    /// Kills the server, without a clean shutdown.
    pub(crate) fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Kills the server and starts it again at the same address. It loads the data that it had stored on disk.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.process = spawn(&self.folder, self.port, &self.options);
        assert!(
            answers(&mut self.process, self.port),
            "redis-server does not restart: {}",
            log(&self.folder)
        );
    }

    /// Suspends the server's process: connections stay open, and no request is answered.
    pub(crate) fn freeze(&self) {
        send_signal(self.process.id(), "STOP");
    }

    /// Resumes the process of a suspended server.
    pub(crate) fn thaw(&self) {
        send_signal(self.process.id(), "CONT");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns a port of this machine that is not in use.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

fn spawn(folder: &TempDir, port: u16, options: &[String]) -> Child {
    Command::new("redis-server")
        .args([
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--logfile",
            "log",
            "--port",
            &port.to_string(),
        ])
        .arg("--dir")
        .arg(folder.path())
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("these tests need redis-server: `apt-get install redis-server` or `brew install redis`")
}

/// Waits until the server answers. Returns false if its process has ended, or if it does not answer in time.
fn answers(process: &mut Child, port: u16) -> bool {
    let deadline = Instant::now() + START;
    while Instant::now() < deadline {
        if process.try_wait().expect("the state of a child").is_some() {
            return false;
        }
        // A server that answers with NOAUTH requires a password, and has also started.
        if ping(port).is_ok_and(|answer| answer.starts_with("+PONG") || answer.starts_with("-NOAUTH")) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = process.kill();
    let _ = process.wait();
    false
}

fn ping(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 64];
    let length = stream.read(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

fn log(folder: &TempDir) -> String {
    std::fs::read_to_string(folder.path().join("log")).unwrap_or_default()
}
