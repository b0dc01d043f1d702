//! Tests that only regular files below an allowed folder are read, even if a file is replaced while it is opened.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ingest_host::error::{Class, Error};
use ingest_host::fetch::{Access, Fetcher, RequestedBy, Source};
use ingest_host::stop::Stop;
use rustix::fs::{CWD, FileType, Mode, OFlags, RenameFlags, ResolveFlags, mknodat, openat2, renameat_with};
use rustix::io::Errno;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use crate::support::inputs::{limits, read};

async fn open(roots: &[&Path], path: &Path) -> Result<Source, Error> {
    let roots: Vec<_> = roots.iter().map(|root| root.to_path_buf()).collect();
    let access = Access::new(&[], &roots).unwrap();
    Fetcher::new(access, &limits())
        .open(path.to_str().unwrap(), RequestedBy::Queued, &Stop::default())
        .await
}

async fn refused(root: &Path, path: &Path) -> Error {
    open(&[root], path)
        .await
        .err()
        .unwrap_or_else(|| panic!("{} was opened", path.display()))
}

/// Runs a test twice: first with the system call `openat2`, then on threads in a sandbox that forbids this call.
fn in_both_ways(test: impl AsyncFn() + Sync) {
    let run = || tokio::runtime::Runtime::new().unwrap().block_on(test());
    run();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let calls = BTreeMap::from([(libc::SYS_openat2, Vec::new())]);
            let forbidden = SeccompAction::Errno(libc::EPERM as u32);
            let machine = std::env::consts::ARCH.try_into().unwrap();
            let filter = SeccompFilter::new(calls, SeccompAction::Allow, forbidden, machine).unwrap();
            seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
            let denied = openat2(CWD, ".", OFlags::PATH, Mode::empty(), ResolveFlags::BENEATH);
            assert_eq!(denied.unwrap_err(), Errno::PERM);
            run();
        });
    });
}

/// Checks that only regular files are read. Other types of file must not block the worker. For example, a read of a
/// pipe would wait forever if no process writes to the pipe.
#[test]
fn only_regular_files_are_read() {
    in_both_ways(async || {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        mknodat(CWD, root.join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let _listener = UnixListener::bind(root.join("socket")).unwrap();
        fs::create_dir(root.join("folder")).unwrap();
        symlink("pipe", root.join("link-to-pipe")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink("missing", root.join("dangling")).unwrap();
        fs::write(root.join("file"), "a\n").unwrap();
        for (name, why) in [
            ("pipe", "is not a regular file"),
            ("link-to-pipe", "is not a regular file"),
            ("socket", "cannot be read"),
            ("folder", "is a folder"),
            (".", "is a folder"),
            ("loop", "cannot be opened"),
            ("dangling", "no such file"),
            ("file/below", "cannot be opened"),
            ("a\0b", "cannot be opened"),
        ] {
            let error = refused(root, &root.join(name)).await;
            assert!(error.to_string().contains(why), "{name}: {}", error.report());
        }
        let long = root.join("x".repeat(300));
        assert_eq!(refused(root, &long).await.class(), Class::Permanent);
        // An endless device in an allowed folder does not block the worker.
        for device in ["/dev/zero", "/dev/null", "/dev/tty"] {
            let error = refused(Path::new("/dev"), Path::new(device)).await;
            assert!(error.to_string().contains(device), "{}", error.report());
        }
    });
}

/// Checks that a link may lead from one allowed folder into another.
#[test]
fn a_link_may_lead_to_another_allowed_folder() {
    in_both_ways(async || {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("first"), folder.path().join("second"));
        fs::create_dir(&first).unwrap();
        fs::create_dir(&second).unwrap();
        fs::write(second.join("a.csv"), "a\n").unwrap();
        symlink("../second/a.csv", first.join("a.csv")).unwrap();
        let path = first.join("a.csv");
        open(&[&first, &second], &path).await.unwrap();
        let error = refused(&first, &path).await;
        assert!(
            error
                .to_string()
                .contains("a link on the way leads out of the allowed folders"),
            "{error}"
        );
    });
}

/// Checks that a magic link of /proc is refused. Such a link can lead out of any folder, and has no target name that
/// could be checked.
#[test]
fn a_link_of_proc_is_no_way_out() {
    in_both_ways(async || {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("secret"), "s\n").unwrap();
        let held = fs::File::open(folder.path().join("secret")).unwrap();
        let root = folder.path().join("root");
        fs::create_dir(&root).unwrap();
        let process = format!("/proc/{}", std::process::id());
        symlink(format!("{process}/cwd"), root.join("cwd")).unwrap();
        symlink(format!("{process}/root"), root.join("top")).unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&held);
        symlink(format!("{process}/fd/{fd}"), root.join("fd")).unwrap();
        symlink(format!("{process}/environ"), root.join("environ")).unwrap();
        for path in ["cwd/Cargo.toml", "top/etc/passwd", "fd", "environ"] {
            let error = refused(&root, &root.join(path)).await;
            assert!(
                error
                    .to_string()
                    .contains("a link on the way leads out of the allowed folders"),
                "{path}: {error}"
            );
        }
    });
}

/// In a busy loop, replaces a file and a folder with links to a secret. Each read must return data from below the
/// folder, or fail.
#[test]
fn a_race_for_a_link_is_lost() {
    in_both_ways(async || {
        let folder = tempfile::tempdir().unwrap();
        let (root, outside) = (folder.path().join("root"), folder.path().join("outside"));
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(root.join("sub/a.csv"), "open\n").unwrap();
        fs::write(outside.join("a.csv"), "secret\n").unwrap();
        symlink(&outside, root.join("other")).unwrap();
        fs::write(root.join("file"), "open\n").unwrap();
        symlink(outside.join("a.csv"), root.join("file-other")).unwrap();

        let over = Arc::new(AtomicBool::new(false));
        let swapper = std::thread::spawn({
            let (root, over) = (root.clone(), Arc::clone(&over));
            move || {
                while !over.load(Ordering::Relaxed) {
                    for (one, other) in [("sub", "other"), ("file", "file-other")] {
                        let (one, other) = (root.join(one), root.join(other));
                        renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
                    }
                }
            }
        });
        let (mut opened, mut failed) = (0, 0);
        for _ in 0..3_000 {
            for path in ["sub/a.csv", "file"] {
                match open(&[&root], &root.join(path)).await {
                    Ok(source) => {
                        let (bytes, _) = read(source).await.unwrap();
                        assert_eq!(String::from_utf8(bytes).unwrap(), "open\n", "{path}");
                        opened += 1;
                    }
                    Err(_) => failed += 1,
                }
            }
        }
        over.store(true, Ordering::Relaxed);
        swapper.join().unwrap();
        assert!(
            opened > 0 && failed > 0,
            "{opened} opened, {failed} refused: there was no race"
        );
    });
}
