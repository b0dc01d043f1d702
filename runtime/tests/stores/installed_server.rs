//! Starts a server that scripts/stores.sh has installed. All tests of this program share one server of each kind, because
//! a start takes seconds.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use object_store::client::{HttpRequest, HttpService};

use crate::support::object_client::PlainHttp;
use crate::support::redis::free_port;

/// The longest wait for a server's start.
const START: Duration = Duration::from_secs(60);

/// The number of ports that are tried. Another program could take a port before the server does.
const PORTS_MAX: usize = 3;

/// A running server. It ends soon after this process has ended, and its files are removed. A static variable is never
/// dropped, so a process besides this one does both.
pub(crate) struct InstalledServer {
    pub(crate) address: SocketAddr,
    /// The files of the server.
    folder: PathBuf,
    process: Child,
    /// A process that ends the server and removes its files when the standard input of that process is closed.
    _guard: Child,
}

/// Returns the folder into which scripts/stores.sh installs the servers.
fn installed() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("stores")
}

impl InstalledServer {
    /// Starts a program in the folder of the installed servers. `arguments` gets the port and a folder for the server's
    /// files, and returns the program's arguments.
    pub(crate) fn start(program: &str, arguments: impl Fn(u16, &Path) -> Vec<String>) -> Self {
        let path = installed().join(program);
        assert!(
            path.exists(),
            "{} is missing: `make test-all` installs it, with scripts/stores.sh",
            path.display()
        );
        let mut log = String::new();
        for _ in 0..PORTS_MAX {
            let folder = tempfile::tempdir().unwrap().keep();
            let port = free_port();
            let output = File::create(folder.join("log")).unwrap();
            let process = Command::new(&path)
                .args(arguments(port, &folder))
                .stdin(Stdio::null())
                .stdout(output.try_clone().unwrap())
                .stderr(output)
                .spawn()
                .unwrap();
            let mut server = Self {
                address: SocketAddr::from(([127, 0, 0, 1], port)),
                _guard: guard(&process, &folder),
                folder,
                process,
            };
            if server.accepts() {
                return server;
            }
            let _ = server.process.kill();
            let _ = server.process.wait();
            log = std::fs::read_to_string(server.folder.join("log")).unwrap();
        }
        panic!("{} does not start: {log}", path.display());
    }

    /// Waits until the server accepts connections. Returns false if it has ended, or does not accept one in time.
    fn accepts(&mut self) -> bool {
        let deadline = Instant::now() + START;
        while Instant::now() < deadline && self.process.try_wait().unwrap().is_none() {
            if TcpStream::connect(self.address).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Starts a process that ends the server and removes its files when this process has ended, also if it is killed.
fn guard(server: &Child, folder: &Path) -> Child {
    // The server may write its files until it has ended.
    let script =
        r#"read -r _; kill "$0"; for _ in 1 2 3 4 5; do kill -0 "$0" || break; sleep 1; done; rm -r "$1""#;
    Command::new("sh")
        .args(["-c", script])
        .arg(server.id().to_string())
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Sends a request that creates or changes a bucket. The bucket may exist already.
pub(crate) async fn create_bucket(request: HttpRequest) {
    let answer = PlainHttp::new().call(request).await.unwrap();
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&body);
    let is_done = head.status.is_success() || head.status == http::StatusCode::CONFLICT;
    assert!(is_done, "{}: {text}", head.status);
}
