//! A component goes in; whether it can be compiled, linked and asked for its name within its limits comes out. A process of
//! its own finds out, because a hostile component may take hours, all memory, or the whole stack of the compiler.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use sha2::{Digest, Sha256};

use super::Engine;
use super::trap::short;
use crate::config::Limits;
use crate::error::{Error, Result, Stage};
use crate::request::hex;

/// The command of this program that [`compile`]s.
pub const COMMAND: &str = "compile-component";

/// The most that is read of what the process says.
const WORDS_BYTES_MAX: u64 = 16 << 10;

/// How the process ends whose component is unfit, with the reason on its standard output.
pub const UNFIT: u8 = 1;

/// Where components are compiled before this process takes them up: it then finds the outcome in the cache.
#[derive(Debug, Clone)]
pub(super) struct Compiler {
    /// This program.
    pub(super) program: PathBuf,
    pub(super) cache: Option<PathBuf>,
}

impl Compiler {
    /// Compiles a component in a process of its own, unless that has gone well before.
    ///
    /// # Errors
    /// As [`Engine::load`]; what the process died of.
    pub(super) fn compile(&self, component: &[u8], limits: &Limits) -> Result<()> {
        let mark = self.mark(component, limits);
        if mark.as_ref().is_some_and(|mark| mark.exists()) {
            return Ok(());
        }
        self.compile_apart(component, limits)?;
        // Without it the next process compiles apart once more.
        if let Some(mark) = mark
            && let Some(folder) = mark.parent()
        {
            let _ = fs::create_dir_all(folder).and_then(|()| fs::write(&mark, []));
        }
        Ok(())
    }

    /// The file that says that this version has compiled a component within these limits.
    fn mark(&self, component: &[u8], limits: &Limits) -> Option<PathBuf> {
        let mut digest = Sha256::new_with_prefix(env!("CARGO_PKG_VERSION"));
        digest.update(limits.to_string());
        digest.update(Sha256::digest(component));
        let name = hex(&digest.finalize());
        Some(self.cache.as_ref()?.join("fit").join(name))
    }

    fn compile_apart(&self, component: &[u8], limits: &Limits) -> Result<()> {
        tracing::info!(
            bytes = component.len(),
            "compiling a component in a process of its own"
        );
        // What it lacks, another moment may have.
        let failed = |e| {
            let what = "cannot run a process to compile the component in";
            Error::transient(Stage::Plugin, what).because(e)
        };
        let mut child = self.command(limits).spawn().map_err(failed)?;
        feed(&mut child, component);
        let said = read(child.stdout.take());
        let complained = read(child.stderr.take());
        let status = child.wait().map_err(failed)?;
        if status.success() {
            return Ok(());
        }
        if status.code() == Some(UNFIT.into()) {
            return Err(refused(said));
        }
        Err(death(status, limits).because(complained))
    }

    fn command(&self, limits: &Limits) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(COMMAND).args(limits.to_string().split(' '));
        if let Some(cache) = &self.cache {
            command.arg("--cache").arg(cache);
        }
        command
            .env_clear()
            .current_dir("/")
            // What a terminal sends to this program is not meant for it.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// What the process does: takes a component from standard input, within the limits. `cache` is where this program keeps what it
/// compiled.
///
/// # Errors
/// As [`Engine::load`].
pub fn compile(limits: &Limits, cache: Option<&Path>) -> Result<()> {
    confine(limits)?;
    let mut component = Vec::new();
    std::io::stdin()
        .take(limits.component_bytes_max as u64 + 1)
        .read_to_end(&mut component)
        .map_err(|e| refused("cannot read the component").because(e))?;
    Engine::without_pool(limits, cache)?.load(&component).map(drop)
}

/// Bounds this process, for good.
fn confine(limits: &Limits) -> Result<()> {
    let failed = |e: rustix::io::Errno| refused("cannot bound the compiler").because(e);
    // Not without its parent. If that cannot be asked for, the time is still bounded.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let seconds = limits.compile.as_secs().max(1);
    for (resource, soft, hard) in [
        (Resource::Core, 0, 0),
        (Resource::Cpu, seconds, seconds + 1),
        // What can be written to, unlike the address space: memories of plugins reserve much of that.
        (
            Resource::Data,
            limits.compile_memory_bytes,
            limits.compile_memory_bytes,
        ),
    ] {
        // Nobody may go beyond what this process was given.
        let at_most = |wanted: u64| {
            getrlimit(resource)
                .maximum
                .map_or(wanted, |given| wanted.min(given))
        };
        let limit = Rlimit {
            current: Some(at_most(soft)),
            maximum: Some(at_most(hard)),
        };
        setrlimit(resource, limit).map_err(failed)?;
    }
    Ok(())
}

fn feed(child: &mut Child, component: &[u8]) {
    if let Some(mut stdin) = child.stdin.take() {
        // If it is dead, its end says why.
        let _ = stdin.write_all(component);
    }
}

fn read(from: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        // What cannot be read is missing in a message.
        let _ = from.take(WORDS_BYTES_MAX).read_to_end(&mut bytes);
    }
    let text = String::from_utf8_lossy(&bytes);
    // A panic's note on an environment variable that it does not have.
    short(text.split("note: run with").next().unwrap_or_default())
}

fn death(status: ExitStatus, limits: &Limits) -> Error {
    let seconds = Duration::from_secs(limits.compile.as_secs().max(1));
    match status.signal().map(Signal::from_named_raw) {
        Some(Some(Signal::XCPU)) => refused(format!(
            "compiling the component took more than the limit of {seconds:?} of processor time"
        )),
        Some(Some(Signal::ABORT | Signal::SEGV | Signal::BUS)) => refused(format!(
            "compiling the component needed more than the limit of {} bytes of memory, or more stack than there is",
            limits.compile_memory_bytes
        )),
        // Somebody else's doing, which says nothing about the component.
        Some(_) => {
            let what = format!("the process that compiled the component was killed ({status})");
            Error::transient(Stage::Plugin, what)
        }
        None => refused(format!("the compiler failed on the component ({status})")),
    }
}

fn refused(message: impl Into<String>) -> Error {
    Error::permanent(Stage::Plugin, message)
}
