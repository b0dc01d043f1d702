//! Tests that the program does not trust its surroundings:
//! - files that other users can write,
//! - files in the current folder that a stranger could have written,
//! - compiled code that this user's program has not written,
//! - a wrong clock,
//! - files that vanish.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ingest_host::queue::Backend;
use ingest_host::request::NewRequest;
use tokio::signal::unix::{SignalKind, signal};

use crate::support::host::{CommandOutput, Host, component, wait_for};
use crate::support::process::{KillOnDrop, is_own, send_signal};

const CSV: &str = "n\n1\n2\n";

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

/// Ingests a file. The compiled code, and the secret that signs it, are below the host's own folder.
fn ingest(host: &Host, more: &[&str]) -> CommandOutput {
    let clean = component("clean");
    host.write("in.csv", CSV);
    let mut command = host.command();
    command
        .env_remove("XDG_CACHE_HOME")
        .env_remove("XDG_STATE_HOME")
        .args(["ingest", "in.csv", "--json", "--plugin", clean.to_str().unwrap()])
        .args(more);
    CommandOutput::new(&command.output().unwrap())
}

fn without_url(host: &Host, words: &str) -> CommandOutput {
    let mut command = host.command();
    command.env_remove("REDIS_URL").args(words.split_whitespace());
    CommandOutput::new(&command.output().unwrap())
}

#[test]
fn dotenv_changes_neither_code_nor_trust() {
    let host = Host::embedded();
    let names = [
        "XDG_CACHE_HOME",
        "XDG_STATE_HOME",
        "XDG_DATA_HOME",
        "HOME",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "INGEST_HOST_CREDENTIALS",
        "RUST_LOG",
    ];
    let theirs = |name: &&str| format!("{name}=./theirs\n");
    host.write(".env", names.iter().map(theirs).collect::<String>());
    let said = ingest(&host, &[]);
    let ignored = format!(".env: ignored {}: it can set only", names.join(", "));
    assert_eq!(said.stderr.matches(&ignored).count(), 1, "{}", said.stderr);
    assert_eq!(said.stderr.lines().count(), 1, "{}", said.stderr);
    said.ok();
    assert!(!host.path("theirs").exists());
    assert!(host.path(".cache/ingest-host/components/code").exists());
    assert_eq!(mode(&host.path(".local/state/ingest-host/cache.key")), 0o600);
    // A malformed `.env` is an error only for commands that need the queue.
    host.write(".env", "s3cret s3cret\n");
    ingest(&host, &["--id", "again"]).ok();
    let said = without_url(&host, "queue list").refused(2);
    assert!(
        said.contains(".env: line 1 is not NAME=VALUE") && !said.contains("s3cret"),
        "{said}"
    );
}

#[test]
fn dotenv_is_read_here_only_and_only_if_nobody_else_wrote_it() {
    let host = Host::embedded();
    host.run("submit --no-check --queue q --uri a.csv --id one").ok();
    host.write(".env", format!("REDIS_URL='{}'\n", host.url));
    without_url(&host, "status one").ok();
    // The program does not read a `.env` in a parent folder.
    fs::create_dir(host.path("below")).unwrap();
    let mut command = host.command();
    command
        .current_dir(host.path("below"))
        .env_remove("REDIS_URL")
        .args(["status", "one"]);
    CommandOutput::new(&command.output().unwrap()).refused(1);
    let not_read = |why: &str| {
        // Without the file's server, a submit would go to another one.
        for words in [
            "status one",
            "submit --no-check --queue q --uri a.csv",
            "run --queue q --burst",
        ] {
            let said = without_url(&host, words).refused(2);
            assert!(said.starts_with("error: .env: is not used: "), "{said}");
            assert!(said.contains(why), "{said}");
            assert!(!host.path(".local").exists(), "{said}");
        }
        // Nothing is wrong if the server is named elsewhere, or if the command uses none.
        let named = host.run("status one");
        assert_eq!(named.stderr, "");
        named.ok();
        let with_option = without_url(&host, &format!("--url {} status one", host.url));
        with_option.ok();
    };
    for shared in [0o666, 0o620, 0o602] {
        set_mode(&host.path(".env"), shared);
        not_read("others can write to it");
    }
    set_mode(&host.path(".env"), 0o600);
    without_url(&host, "status one").ok();
    fs::rename(host.path(".env"), host.path("env")).unwrap();
    std::os::unix::fs::symlink(host.path("env"), host.path(".env")).unwrap();
    not_read("symbolic link");
    fs::remove_file(host.path(".env")).unwrap();
    let made = Command::new("mkfifo").arg(host.path(".env")).status().unwrap();
    assert!(made.success());
    not_read("regular file");
    fs::remove_file(host.path(".env")).unwrap();
    // A folder of this name, such as a virtual environment of Python, names no server.
    fs::create_dir(host.path(".env")).unwrap();
    let said = without_url(&host, "submit --no-check --queue q --uri a.csv");
    assert_eq!(
        said.stderr.matches(".env was not read: is a folder").count(),
        1,
        "{}",
        said.stderr
    );
    said.ok();
    fs::remove_dir(host.path(".env")).unwrap();
    fs::remove_dir_all(host.path(".local")).unwrap();
    if rustix::process::geteuid().is_root() {
        fs::rename(host.path("env"), host.path(".env")).unwrap();
        std::os::unix::fs::chown(host.path(".env"), Some(12_345), None).unwrap();
        not_read("another user");
    }
}

#[test]
fn dotenv_names_a_queue_and_takes_nothing_from_the_environment() {
    let host = Host::embedded();
    host.write("in.csv", CSV);
    let url = &host.url;
    host.write(
        ".env",
        format!("export REDIS_URL=\"{url}\" # here\nQUEUE_NAME=q\n"),
    );
    without_url(&host, "submit --queue q --uri in.csv --id one").ok();
    let clean = component("clean");
    let run = format!("run --burst --allow-root . --plugin {}", clean.display());
    let said = without_url(&host, &run);
    assert!(said.stdout.contains("1 done"), "{}{}", said.stdout, said.stderr);
    // A variable of the environment is not inserted into a host name.
    host.write(".env", "REDIS_HOST=$HOME.example\n");
    let said = without_url(&host, "queue list").refused(2);
    let told = "REDIS_HOST is not the name or address of a host";
    assert!(
        said.contains(told) && !said.contains(host.folder.path().to_str().unwrap()),
        "{said}"
    );
    // A password from the environment is not sent to the server that `.env` names.
    host.write(".env", "REDIS_HOST=theirs.example\n");
    let mut command = host.command();
    command
        .env_remove("REDIS_URL")
        .env("REDIS_PASSWORD", "s3cret")
        .args(["queue", "list"]);
    let said = CommandOutput::new(&command.output().unwrap()).refused(2);
    assert!(
        said.contains("name the server and its password in one of them"),
        "{said}"
    );
    let said = host.run("run --burst").refused(2);
    assert!(said.contains("--queue"), "{said}");
}

#[test]
fn a_password_in_a_dotenv_that_others_can_read_is_told() {
    let host = Host::embedded();
    for (text, file_mode, told) in [
        (
            "REDIS_HOST=127.0.0.1\nREDIS_PORT=1\nREDIS_PASSWORD=s3cret\n",
            0o644,
            true,
        ),
        ("REDIS_URL=redis://:s3cret@127.0.0.1:1\n", 0o640, true),
        ("REDIS_URL=redis://:s3cret@127.0.0.1:1\n", 0o600, false),
        ("REDIS_URL=redis://127.0.0.1:1\n", 0o644, false),
    ] {
        host.write(".env", text);
        set_mode(&host.path(".env"), file_mode);
        let said = without_url(&host, "queue list").refused(1);
        assert_eq!(said.contains("others can read it"), told, "{text}: {said}");
        assert!(!said.contains("s3cret"), "{said}");
    }
}

/// Returns the path of the only file with compiled code in a host's cache.
fn compiled(host: &Host) -> PathBuf {
    let folder = host.path(".cache/ingest-host/components/code");
    let mut files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let file = files.next().unwrap();
    assert_eq!(files.next(), None);
    file
}

#[test]
fn compiled_code_that_is_not_this_users_is_compiled_again() {
    const WARNING: &str = "it is not run, but compiled again";
    let host = Host::embedded();
    let run = |id: &str| {
        let said = ingest(&host, &["--id", id]);
        let warned = said.stderr.matches(WARNING).count();
        let receipt = said.json().remove(0);
        (warned, receipt["output"]["sha256"].clone())
    };
    let (warned, sha256) = run("first");
    assert_eq!(warned, 0);
    let file = compiled(&host);
    assert_eq!(run("second"), (0, sha256.clone()));
    let whole = fs::read(&file).unwrap();
    // The planted files are a file with a flipped bit, the code that another user's program compiled from the same
    // component, and an empty file.
    let mut turned = whole.clone();
    turned[whole.len() / 2] ^= 1;
    let other = Host::embedded();
    ingest(&other, &[]).ok();
    let foreign = fs::read(compiled(&other)).unwrap();
    assert_eq!(compiled(&other).file_name(), file.file_name());
    for (number, planted) in [turned, foreign, Vec::new()].into_iter().enumerate() {
        fs::write(&file, planted).unwrap();
        assert_eq!(run(&format!("planted-{number}")), (1, sha256.clone()));
        assert_eq!(run(&format!("mended-{number}")), (0, sha256.clone()));
    }
    // Here, the planted file is the compiled code of another component.
    let alarms = component("alarms");
    let inspect = ["plugin", "inspect", alarms.to_str().unwrap()];
    let mut command = host.command();
    command
        .env_remove("XDG_CACHE_HOME")
        .env_remove("XDG_STATE_HOME")
        .args(inspect);
    CommandOutput::new(&command.output().unwrap()).ok();
    for entry in fs::read_dir(file.parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        if path != file {
            fs::copy(path, &file).unwrap();
        }
    }
    assert_eq!(run("swapped"), (1, sha256));
}

#[test]
fn a_cache_that_others_can_change_is_not_used() {
    let host = Host::embedded();
    ingest(&host, &["--id", "first"]).ok();
    let base = host.path(".cache/ingest-host");
    let state = host.path(".local/state/ingest-host");
    for (number, folder) in [
        base.clone(),
        base.join("components"),
        base.join("components/code"),
        state.clone(),
    ]
    .into_iter()
    .enumerate()
    {
        set_mode(&folder, 0o777);
        let said = ingest(&host, &["--id", &format!("n{number}")]);
        let told = said.stderr.matches("compiling without a cache").count();
        assert_eq!(told, 1, "{}: {}", folder.display(), said.stderr);
        said.ok();
        set_mode(&folder, 0o700);
    }
    set_mode(&state.join("cache.key"), 0o644);
    let said = ingest(&host, &["--id", "key"]);
    assert!(
        said.stderr.contains("remove it, and a new one is made"),
        "{}",
        said.stderr
    );
    said.ok();
    fs::remove_file(state.join("cache.key")).unwrap();
    let said = ingest(&host, &["--id", "new-key"]);
    assert!(!said.stderr.contains("without a cache"), "{}", said.stderr);
    said.ok();
}

#[test]
fn credentials_that_are_not_this_users_alone_are_told() {
    let host = Host::embedded();
    let file = host.write(
        "credentials.json",
        r#"{"https://a.example": {"x-key": "s3cret"}}"#,
    );
    for (number, (file_mode, told)) in [
        (0o600, ""),
        (0o400, ""),
        (0o640, "others can read it"),
        (0o644, "others can read it"),
        (0o666, "others can write to it"),
        (0o602, "others can write to it"),
    ]
    .into_iter()
    .enumerate()
    {
        set_mode(&file, file_mode);
        let id = format!("n{number}");
        let said = ingest(&host, &["--id", &id, "--credentials", "credentials.json"]);
        assert_eq!(
            said.stderr.contains("the file of credentials"),
            !told.is_empty(),
            "{}",
            said.stderr
        );
        assert!(
            said.stderr.contains(told) && !said.stderr.contains("s3cret"),
            "{}",
            said.stderr
        );
        said.ok();
    }
    if rustix::process::geteuid().is_root() {
        set_mode(&file, 0o600);
        std::os::unix::fs::chown(&file, Some(12_345), None).unwrap();
        let said = ingest(&host, &["--id", "owner", "--credentials", "credentials.json"]);
        assert!(said.stderr.contains("another user"), "{}", said.stderr);
    }
}

#[test]
fn the_queues_files_are_this_users_alone() {
    let host = Host::embedded();
    let shell = |words: &str| {
        let script = format!("umask 000; exec {} {words}", env!("CARGO_BIN_EXE_ingest-host"));
        let mut command = Command::new("sh");
        command
            .current_dir(host.folder.path())
            .env_clear()
            .env("HOME", host.folder.path())
            .env("XDG_CACHE_HOME", &host.cache)
            .env("XDG_STATE_HOME", &host.cache)
            .stdin(Stdio::null())
            .args(["-c", &script]);
        command
    };
    let url = format!("sqlite:{}", host.path("new/folder/queue.db").display());
    let submit = "submit --queue q --uri 'http://h/?sig=s3cret'";
    CommandOutput::new(&shell(submit).output().unwrap()).ok();
    let own_folder = host.path(".local/share/ingest-host");
    assert_eq!(mode(&own_folder), 0o700);
    assert_eq!(mode(&own_folder.join("queue.db")), 0o600);
    fs::create_dir_all(host.path("new/folder")).unwrap();
    CommandOutput::new(&shell(&format!("--url {url} {submit}")).output().unwrap()).ok();
    assert_eq!(mode(&host.path("new/folder/queue.db")), 0o600);
    // SQLite's other files exist only while the queue is open.
    let clean = component("clean");
    let run = format!(
        "--url {url} --log-format json run --queue q --plugin {}",
        clean.display()
    );
    let worker = KillOnDrop(shell(&run).stderr(Stdio::null()).spawn().unwrap());
    for suffix in ["-wal", "-shm"] {
        let path = host.path(&format!("new/folder/queue.db{suffix}"));
        wait_for("a file of the queue's", || path.exists().then_some(()));
        assert_eq!(mode(&path), 0o600, "{suffix}");
    }
    drop(worker);
    for (file_mode, why) in [
        (0o644, "everybody can read it"),
        (0o666, "everybody can write to it"),
    ] {
        set_mode(&host.path("new/folder/queue.db"), file_mode);
        let run = format!(
            "--url {url} run --strict --queue q --burst --plugin {}",
            clean.display()
        );
        let said = CommandOutput::new(&shell(&run).output().unwrap()).refused(1);
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn a_file_of_another_programs_is_no_queue() {
    let host = Host::embedded();
    let path = host.path("other.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch("CREATE TABLE theirs (a)").unwrap();
    let url = format!("sqlite:{}", path.display());
    let said = host
        .run(&format!("--url {url} submit --no-check --queue q --uri a.csv"))
        .refused(1);
    assert!(said.contains("is a file of another program"), "{said}");
    let tables = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| {
        row.get::<_, i64>(0)
    });
    assert_eq!(tables.unwrap(), 1);
}

#[test]
fn a_hangup_drains_a_worker_unless_it_is_to_be_ignored() {
    if !is_own() {
        return;
    }
    // If this process ignored SIGHUP, as under `nohup`, the programs that it starts would ignore it, too. A signal that
    // this process handles has its default effect in the programs that it starts.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _handled = runtime.block_on(async { signal(SignalKind::hangup()).unwrap() });
    let host = Host::embedded();
    let plugin = component("clean").display().to_string();
    let mut worker = host.worker(&format!("--queue q --plugin {plugin}"));
    worker.wait_for_log("worker started");
    worker.signal("HUP");
    let (code, log) = worker.ended();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("worker stopped"), "{log}");

    let host_command = host.command();
    let script = r#"trap "" HUP; exec "$0" --log-format json run --queue q --plugin "$1""#;
    let mut command = Command::new("sh");
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null());
    for (name, value) in host_command.get_envs() {
        value.map(|value| command.env(name, value));
    }
    let log = host.path("log");
    command
        .current_dir(host.folder.path())
        .stderr(fs::File::create(&log).unwrap())
        .args(["-c", script, env!("CARGO_BIN_EXE_ingest-host"), &plugin]);
    let mut worker = KillOnDrop(command.spawn().unwrap());
    let has = |text: &str| fs::read_to_string(&log).unwrap().contains(text).then_some(());
    wait_for("the start", || has("worker started"));
    send_signal(worker.id(), "HUP");
    // If the worker had drained its work and stopped, it would not claim this request.
    host.write("in.csv", CSV);
    host.run("submit --queue q --uri in.csv --id after").ok();
    host.wait_for_state("after", "dead");
    send_signal(worker.id(), "TERM");
    assert!(worker.wait().unwrap().success());
}

/// Builds a library that shifts the clock for the program that loads it. Returns the library's path.
fn clock(host: &Host, seconds: i64) -> PathBuf {
    let source = host.write(
        "clock.c",
        format!(
            r#"#define _GNU_SOURCE
#include <time.h>
#include <unistd.h>
#include <sys/syscall.h>
int clock_gettime(clockid_t id, struct timespec *at) {{
    int failed = syscall(SYS_clock_gettime, id, at);
    if (id == CLOCK_REALTIME && !failed) at->tv_sec += {seconds}L;
    return failed;
}}
"#
        ),
    );
    let library = host.path(&format!("clock{seconds}.so"));
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &source])
        .status()
        .expect("a C compiler: CONTRIBUTING.md");
    assert!(compiled.success());
    library
}

#[test]
fn a_clock_before_1970_or_long_after_stops_nothing() {
    const YEAR: i64 = 31_557_600;
    let plugin = component("clean").display().to_string();
    for (years, id) in [(-100, "early"), (200, "late")] {
        let host = Host::embedded();
        host.write("in.csv", CSV);
        let library = clock(&host, years * YEAR);
        let run = |words: &str| {
            let mut command = host.command();
            command.env("LD_PRELOAD", &library).args(words.split_whitespace());
            let said = CommandOutput::new(&command.output().unwrap());
            assert!(!said.stderr.contains("panicked"), "{words}: {}", said.stderr);
            said
        };
        run("submit --queue q --uri in.csv").ok();
        run(&format!("submit --queue q --uri in.csv --id {id}")).ok();
        run(&format!("plugin push {plugin}")).ok();
        run("plugin bind --queue q clean@0.1.0").ok();
        let said = run("run --queue q --burst --allow-root .");
        assert!(
            said.stdout.contains("2 done"),
            "{years}: {}{}",
            said.stdout,
            said.stderr
        );
        run(&format!("ingest in.csv --plugin {plugin}")).ok();
        for words in [
            "status early",
            "requests --queue q",
            "plugin history --queue q",
            "queue list",
            "dead list",
        ] {
            let words = words.replace("early", id);
            run(&words).ok();
        }
        // If the clock is before 1970, TLS cannot check a certificate, and the errors name the clock.
        let said = run(&format!("ingest https://127.0.0.1:1/a.csv --plugin {plugin}")).refused(1);
        let said = said + &run("--url rediss://127.0.0.1:1 queue list").refused(1);
        if years < 0 {
            assert_eq!(said.matches("the machine's clock").count(), 2, "{said}");
        }
    }
}

#[test]
fn a_queue_whose_files_vanish_under_an_idle_connection_loses_nothing_unsaid() {
    let ways: [(&str, &[&str]); 4] = [
        ("wal", &["queue.db-wal"]),
        ("shm", &["queue.db-shm"]),
        ("both", &["queue.db-wal", "queue.db-shm"]),
        ("all", &["queue.db", "queue.db-wal", "queue.db-shm"]),
    ];
    for (way, files) in ways {
        let host = Host::embedded();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let idle = runtime.block_on(Backend::connect(&host.url)).unwrap();
        // A worker has two connections as well: one for its claims and one for its leases.
        let second = runtime.block_on(Backend::connect(&host.url)).unwrap();
        let submit = |server: &Backend, id: &str| {
            let mut request = NewRequest::new("a.csv");
            request.id = id.into();
            runtime.block_on(server.queue.submit("q", &[request]))
        };
        submit(&idle, "before").unwrap();
        submit(&second, "before-too").unwrap();
        for file in files {
            fs::remove_file(host.path(file)).unwrap();
        }
        // Meanwhile, another process submits a request. The submit can be refused.
        let meanwhile = || host.run("submit --no-check --queue q --uri a.csv --id meanwhile");
        let said = meanwhile();
        let is_refused = said.code == Some(1);
        if is_refused {
            assert!(
                said.stderr.contains("stop all that use it"),
                "{way}: {}",
                said.stderr
            );
        }
        assert_eq!(is_refused, way == "wal", "{way}: {}", said.stderr);
        let error = submit(&idle, "refused").unwrap_err().report();
        assert!(
            error.contains("its files were changed under this program") && error.contains("submit again"),
            "{way}: {error}"
        );
        submit(&idle, "after").unwrap();
        if is_refused {
            meanwhile().ok();
        }
        // The second connection detects the change by itself, or its first submit is refused. Every request that the
        // second connection acknowledges after that must be kept.
        if submit(&second, "after-too").is_err() {
            submit(&second, "after-too").unwrap();
        }
        drop((idle, second));
        for id in ["meanwhile", "after", "after-too"] {
            assert_eq!(host.status(id)["state"], "ready", "{way}: {id}");
        }
        assert_eq!(host.run("status refused").code, Some(1), "{way}");
        let audit = host.run("queue audit").ok();
        assert_eq!(audit, "q  no findings\n", "{way}");
    }
}

#[test]
fn a_queue_that_is_truncated_under_a_connection_says_so() {
    let host = Host::embedded();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Backend::connect(&host.url)).unwrap();
    let submit = |id: &str| {
        let mut request = NewRequest::new("a.csv");
        request.id = id.into();
        runtime.block_on(server.queue.submit("q", &[request]))
    };
    submit("before").unwrap();
    // A queue's file that was compacted counts as unchanged.
    let db = rusqlite::Connection::open(host.path("queue.db")).unwrap();
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    db.execute_batch("VACUUM").unwrap();
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    drop(db);
    submit("tidied").unwrap();
    assert_eq!(host.status("tidied")["state"], "ready");
    let file = fs::File::options()
        .write(true)
        .open(host.path("queue.db"))
        .unwrap();
    file.set_len(0).unwrap();
    let error = submit("refused").unwrap_err().report();
    assert!(
        error.contains("its files were changed under this program"),
        "{error}"
    );
    submit("after").unwrap();
    assert_eq!(host.status("after")["state"], "ready");
}

#[test]
fn an_idle_worker_whose_log_vanishes_takes_what_comes_later() {
    let host = Host::embedded();
    host.write("in.csv", CSV);
    let plugin = component("clean").display().to_string();
    let mut worker = host.worker(&format!("--queue q --allow-root . --plugin {plugin}"));
    host.run("submit --queue q --uri in.csv --id before").ok();
    host.wait_for_state("before", "done");
    for file in ["queue.db-wal", "queue.db-shm"] {
        fs::remove_file(host.path(file)).unwrap();
    }
    host.run("submit --queue q --uri in.csv --id after").ok();
    worker.wait_for_log("the queue's file was removed or replaced");
    host.wait_for_state("after", "done");
    let (code, log) = worker.stop();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(host.status("after")["state"], "done");
    assert_eq!(host.run("queue audit").ok(), "q  no findings\n");
}
