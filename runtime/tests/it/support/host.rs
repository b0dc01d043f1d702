//! Runs the real program with real components, in a folder of its own for each test.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use ingest_host::plugin::Cache;
use serde_json::Value;

use super::process::{KillOnDrop, is_suspended, peak_bytes, send_signal};

/// The maximum time that a test waits for an event.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Returns the path of the component of a plugin in the folder `plugins`. The first call builds the components of all
/// these plugins.
pub(crate) fn component(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("the workspace");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(root).args([
            "build",
            "--release",
            "--target",
            "wasm32-wasip2",
            "--message-format=json",
        ]);
        let output = cargo
            .args(["-p", "clean", "-p", "alarms", "-p", "hostile", "-p", "by-hand"])
            .output()
            .expect("cargo runs");
        assert!(
            output.status.success(),
            "the plugins do not build; if the target is missing: rustup target add wasm32-wasip2\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let artifact = String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter_map(|message| Some(PathBuf::from(message["filenames"][0].as_str()?)))
            .find(|path| path.extension().is_some_and(|extension| extension == "wasm"));
        artifact
            .expect("cargo names the components")
            .parent()
            .expect("a folder")
            .to_owned()
    });
    folder.join(format!("{name}.wasm"))
}

/// Returns the cache of compiled plugins that all tests share.
pub(crate) fn cache() -> Cache {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ingest-host");
    Cache::open(&folder.join("components"), &folder).expect("a cache")
}

/// A folder for the program's files, and the URL of a queue server. Each command runs in this folder. The environment
/// of a command contains only the variables that [`Host::command`] sets.
pub(crate) struct Host {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) url: String,
    /// The folder of compiled plugins, which all tests share by default.
    pub(crate) cache: PathBuf,
}

/// The exit code of a command, and its output.
pub(crate) struct CommandOutput {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl CommandOutput {
    pub(crate) fn new(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Checks that the command succeeded, and returns its stdout.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(
            self.code,
            Some(0),
            "stdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        self.stdout
    }

    /// Checks that the command succeeded, and parses each line of its stdout as a JSON document.
    #[track_caller]
    pub(crate) fn json(self) -> Vec<Value> {
        self.ok()
            .lines()
            .map(|line| serde_json::from_str(line).expect(line))
            .collect()
    }

    /// Checks that the command failed with this exit code, and returns its error message.
    #[track_caller]
    pub(crate) fn refused(self, code: i32) -> String {
        assert_eq!(
            self.code,
            Some(code),
            "stdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        self.stderr
    }
}

impl Host {
    /// Creates a host with the embedded queue.
    pub(crate) fn embedded() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite:{}", folder.path().join("queue.db").display());
        Self {
            folder,
            url,
            cache: env!("CARGO_TARGET_TMPDIR").into(),
        }
    }

    /// Creates a host with the queue at this URL.
    pub(crate) fn on(url: &str) -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            url: url.to_owned(),
            cache: env!("CARGO_TARGET_TMPDIR").into(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into the folder and returns its path.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("the file is written");
        path
    }

    /// Returns a command that runs the program. The caller adds arguments.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ingest-host"));
        command
            .current_dir(self.folder.path())
            .env_clear()
            .env("HOME", self.folder.path())
            .env("XDG_CACHE_HOME", &self.cache)
            .env("XDG_STATE_HOME", &self.cache)
            .env("REDIS_URL", &self.url)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end. The words in `words` are separated by spaces.
    pub(crate) fn run(&self, words: &str) -> CommandOutput {
        self.run_with(words, &[])
    }

    /// Runs a command to its end. The words in `words` are separated by spaces, and the arguments in `more` are passed
    /// unchanged.
    pub(crate) fn run_with(&self, words: &str, more: &[&str]) -> CommandOutput {
        let output = self.command().args(words.split_whitespace()).args(more).output();
        CommandOutput::new(&output.expect("the program runs"))
    }

    /// Submits a request. Does not check the input, which a worker may reach and this host not.
    pub(crate) fn submit(&self, queue: &str, id: &str, uri: &str) {
        let words = format!("submit --no-check --queue {queue} --id {id} --uri");
        self.run_with(&words, &[uri]).ok();
    }

    /// Runs a script with `bash -e`. The program's folder is in `PATH`, and temporary files are written to the host's
    /// folder.
    pub(crate) fn bash(&self, script: &str) -> CommandOutput {
        let program = Path::new(env!("CARGO_BIN_EXE_ingest-host"));
        let program = program.parent().expect("a folder").display();
        let path = format!("{program}:{}", std::env::var("PATH").expect("a path"));
        let mut bash = Command::new("bash");
        bash.current_dir(self.folder.path())
            .env_clear()
            .envs(
                self.command()
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .env("PATH", path)
            .env("TMPDIR", self.path(""))
            .stdin(Stdio::null())
            .args(["-e", "-c", script]);
        CommandOutput::new(&bash.output().expect("bash runs"))
    }

    /// Starts a worker in the background.
    pub(crate) fn worker(&self, words: &str) -> Worker {
        self.faulty_worker(words, "")
    }

    /// Starts a worker in the background, with a fault that `runtime/src/fail_points.rs` injects.
    pub(crate) fn faulty_worker(&self, words: &str, fault: &str) -> Worker {
        let mut command = self.command();
        command.env("INGEST_HOST_FAULT", fault);
        command
            .args(["--log-format", "json", "run"])
            .args(words.split_whitespace());
        let mut child = command
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the program runs");
        let stderr = child.stderr.take().expect("piped");
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Worker {
            child: KillOnDrop(child),
            lines,
            log: String::new(),
        }
    }

    /// Returns the status of a request as JSON.
    pub(crate) fn status(&self, id: &str) -> Value {
        self.run(&format!("status {id} --json")).json().remove(0)
    }

    /// Changes the data in the queue so that the lease of a request has expired.
    pub(crate) fn expire_lease(&self, id: &str) {
        self.set_time("leased", id, 0);
    }

    /// Changes the data in the queue so that a delayed request is due.
    pub(crate) fn make_due(&self, id: &str) {
        self.set_time("delayed", id, 1);
    }

    /// Changes the data in the queue so that a done request ended years ago.
    pub(crate) fn end_long_ago(&self, id: &str) {
        self.set_time("done", id, 1);
    }

    fn open_redis(&self) -> redis::Connection {
        let client = redis::Client::open(self.url.as_str()).expect("a URL");
        client.get_connection().expect("a server")
    }

    fn set_time(&self, state: &str, id: &str, at_ms: u64) {
        if let Some(path) = self.url.strip_prefix("sqlite:") {
            let db = open_sqlite(path);
            let update = "UPDATE request SET at_ms = ?1 WHERE id = ?2 AND state = ?3";
            let changed = db.execute(update, (at_ms as i64, id, state));
            assert_eq!(changed.expect("an update"), 1);
        } else {
            let mut redis = self.open_redis();
            let mut add = redis::cmd("ZADD");
            let key = format!("ingest:{{q}}:{state}");
            add.arg(key).arg("XX").arg("CH").arg(at_ms).arg(id);
            assert_eq!(add.query::<u64>(&mut redis).expect("an answer"), 1);
        }
    }

    /// Changes the input options of a request in the queue, as a program of another version could store them.
    pub(crate) fn store_input(&self, id: &str, input: &str) {
        if let Some(path) = self.url.strip_prefix("sqlite:") {
            let db = open_sqlite(path);
            let changed = db.execute("UPDATE request SET input = ?1 WHERE id = ?2", (input, id));
            assert_eq!(changed.expect("an update"), 1);
        } else {
            let mut redis = self.open_redis();
            let key = format!("ingest:{{q}}:request:{id}");
            let set = redis::cmd("HSET").arg(key).arg("input").arg(input).to_owned();
            set.query::<u64>(&mut redis).expect("an answer");
        }
    }

    /// Removes all reference data from the queue's server.
    pub(crate) fn forget_data(&self) {
        if let Some(path) = self.url.strip_prefix("sqlite:") {
            let removed = open_sqlite(path).execute("DELETE FROM data", []);
            assert_eq!(removed.expect("a delete"), 1);
        } else {
            let mut redis = self.open_redis();
            let keys: Vec<String> = redis::cmd("KEYS")
                .arg("ingest:data:*")
                .query(&mut redis)
                .expect("an answer");
            let removed = redis::cmd("DEL").arg(&keys).query::<u64>(&mut redis);
            assert_eq!(removed.expect("an answer"), 1);
        }
    }

    /// Changes the data in the queue so that a delayed request is due, and has already waited `waited_ms` for retries.
    pub(crate) fn let_wait(&self, id: &str, waited_ms: u64) {
        if let Some(path) = self.url.strip_prefix("sqlite:") {
            let db = open_sqlite(path);
            let update = "UPDATE request SET waited_ms = ?1 WHERE id = ?2";
            let changed = db.execute(update, (waited_ms as i64, id));
            assert_eq!(changed.expect("an update"), 1);
        } else {
            let mut redis = self.open_redis();
            let key = format!("ingest:{{q}}:request:{id}");
            let set = redis::cmd("HSET")
                .arg(key)
                .arg("waited_ms")
                .arg(waited_ms)
                .to_owned();
            set.query::<u64>(&mut redis).expect("an answer");
        }
        self.set_time("delayed", id, 0);
    }

    /// Pushes a document to the intake list of queue `q`, like an external producer.
    pub(crate) fn push(&self, document: &str) {
        if let Some(path) = self.url.strip_prefix("sqlite:") {
            // If the file does not exist, a worker creates it with its tables.
            if !Path::new(path).exists() {
                let plugin = component("clean").display().to_string();
                self.run(&format!("run --queue q --burst --plugin {plugin}")).ok();
            }
            let db = open_sqlite(path);
            let insert = "INSERT INTO intake (queue, document) VALUES ('q', ?1)";
            db.execute(insert, [document]).expect("an insert");
        } else {
            let mut redis = self.open_redis();
            let push = redis::cmd("RPUSH").arg("ingest:{q}:in").arg(document).to_owned();
            push.query::<u64>(&mut redis).expect("an answer");
        }
    }

    /// Waits until a request is in this state.
    #[track_caller]
    pub(crate) fn wait_for_state(&self, id: &str, state: &str) -> Value {
        wait_for(&format!("request {id} to be {state}"), || {
            let status = self.status(id);
            (status["state"] == state).then_some(status)
        })
    }
}

fn open_sqlite(path: &str) -> rusqlite::Connection {
    let db = rusqlite::Connection::open(path).expect("the queue's file");
    db.busy_timeout(PATIENCE).expect("a time-out");
    db
}

/// Calls `ask` until it returns a value.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A worker in the background. Dropping this value kills the worker.
pub(crate) struct Worker {
    child: KillOnDrop,
    lines: std::sync::mpsc::Receiver<String>,
    log: String,
}

impl Worker {
    /// Waits until the worker logs a line with this text.
    #[track_caller]
    pub(crate) fn wait_for_log(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("waited in vain for {text:?} in the worker's log:\n{}", self.log)
            };
            self.log.push_str(&line);
            self.log.push('\n');
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Waits until the worker's log contains one of these texts.
    #[track_caller]
    pub(crate) fn wait_for_any_log(&mut self, texts: &[&str]) {
        while !texts.iter().any(|text| self.log.contains(text)) {
            self.wait_for_log("");
        }
    }

    /// Returns the worker's process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the process ids of the worker's running child processes.
    pub(crate) fn children(&self) -> Vec<u32> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let lists = threads
            .expect("it runs")
            .flatten()
            .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
        let pids = |list: String| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        lists
            .flat_map(pids)
            .map(|pid| pid.parse().expect("a number"))
            .collect()
    }

    /// Waits until a signal has suspended the process.
    #[track_caller]
    pub(crate) fn wait_until_stopped(&self) {
        wait_for("the worker to stand still", || {
            is_suspended(self.child.id()).then_some(())
        });
    }

    /// Returns the peak memory of the worker so far, in bytes. The memory of its child processes is not included.
    pub(crate) fn peak_bytes(&self) -> u64 {
        peak_bytes(self.child.id())
    }

    /// Sends the signal with this name to the worker.
    pub(crate) fn signal(&self, name: &str) {
        send_signal(self.child.id(), name);
    }

    /// Asks the worker to stop, and waits for its end. Returns the worker's exit code and its whole log.
    pub(crate) fn stop(mut self) -> (Option<i32>, String) {
        self.signal("TERM");
        self.ended()
    }

    /// Waits for the end of the worker. Returns the worker's exit code and its whole log.
    pub(crate) fn ended(&mut self) -> (Option<i32>, String) {
        let status = self.child.wait().expect("the worker ends");
        self.log.extend(self.lines.iter().map(|line| line + "\n"));
        (status.code(), std::mem::take(&mut self.log))
    }
}

/// Returns the SHA-256 digest of a file. The system's `sha256sum` computes it.
pub(crate) fn sha256sum(path: &Path) -> String {
    let output = Command::new("sha256sum")
        .arg(path)
        .output()
        .expect("sha256sum runs");
    let text = String::from_utf8(output.stdout).expect("text");
    text.split_whitespace().next().expect("a digest").to_owned()
}

/// Returns the path of a `file:` URI in a receipt.
pub(crate) fn path_of(uri: &Value) -> PathBuf {
    url::Url::parse(uri.as_str().expect("a URI"))
        .expect("a URI")
        .to_file_path()
        .expect("a path")
}
