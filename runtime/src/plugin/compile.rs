//! Compiles components. A component goes in. If the component can be compiled and linked within the limits, and answers
//! with its name, its code comes out. This happens in a separate process, because a hostile component can take hours,
//! all memory, or the compiler's whole stack.

use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

use super::Engine;
use super::trap::without_controls;
use crate::config::Limits;
use crate::error::{Code, Error, Result, Stage};

/// The name of the subcommand that runs [`compile`].
pub const COMMAND: &str = "compile-component";

/// The maximum number of bytes that are read from the process's stderr.
const WORDS_BYTES_MAX: u64 = 16 << 10;

/// The exit code if the component is unfit. The code and the reason of the error are on standard output.
pub const UNFIT: u8 = 1;

/// The exit code for a failure after which another process may succeed. The code and the reason of the error are on
/// standard output.
pub const PASSING: u8 = 75;

/// Compiles components in separate processes.
#[derive(Debug, Clone)]
pub(super) struct Compiler {
    /// The path of this program.
    program: PathBuf,
}

impl Compiler {
    pub(super) fn new(program: PathBuf) -> Self {
        Self { program }
    }

    /// Compiles a component and returns its code.
    ///
    /// # Errors
    /// Fails as [`Engine::load`] does, and if the process dies.
    pub(super) fn compile(&self, component: &[u8], limits: &Limits) -> Result<Vec<u8>> {
        tracing::info!(
            bytes = component.len(),
            "compiling a component in a process of its own"
        );
        // The error is transient, because the machine may lack a resource now and have it later.
        let failed = |e| {
            let what = "cannot run a process to compile the component in";
            Error::transient(Stage::Plugin, Code::MachineBusy, what).because(e)
        };
        let mut child = self.command(limits).spawn().map_err(failed)?;
        feed(&mut child, component);
        let complaints = child.stderr.take();
        let complained = thread::Builder::new().spawn(move || read(complaints, WORDS_BYTES_MAX));
        let bytes_max = limits.compile_memory_bytes;
        let said = read(child.stdout.take(), bytes_max + 1);
        // If stderr cannot be read, the message is shorter.
        let complained = complained.and_then(|reading| reading.join().unwrap_or_else(|_| Ok(Vec::new())));
        let complained = complained.unwrap_or_default();
        let status = child.wait().map_err(failed)?;
        let said = said.map_err(failed)?;
        if said.len() as u64 > bytes_max {
            return Err(refused(format!(
                "the component compiles to more than {bytes_max} bytes (--limit compile-memory)"
            )));
        }
        if status.success() {
            return Ok(said);
        }
        if status.code() == Some(UNFIT.into()) {
            let (code, why) = told(&said);
            return Err(Error::permanent(Stage::Plugin, code, why));
        }
        if status.code() == Some(PASSING.into()) {
            let (code, why) = told(&said);
            return Err(Error::transient(Stage::Plugin, code, why));
        }
        Err(death(status, limits).because(words(&complained)))
    }

    fn command(&self, limits: &Limits) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg(COMMAND)
            .args(limits.to_string().split(' '))
            .env_clear()
            .current_dir("/")
            // The signals that a terminal sends to this program must not reach the compiler.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// Runs in the compiling process. Reads a component from standard input, applies the limits, and returns the compiled
/// code.
///
/// # Errors
/// Fails as [`Engine::load`] does.
pub fn compile(limits: &Limits) -> Result<Vec<u8>> {
    confine(limits)?;
    let mut component = Vec::new();
    std::io::stdin()
        .take(limits.component_bytes_max as u64 + 1)
        .read_to_end(&mut component)
        .map_err(|e| {
            Error::transient(Stage::Plugin, Code::MachineBusy, "cannot read the component").because(e)
        })?;
    Engine::without_pool(limits)?.load(&component)?.code()
}

/// Sets resource limits for this process. The process cannot raise them again.
fn confine(limits: &Limits) -> Result<()> {
    let failed = |e: rustix::io::Errno| {
        Error::transient(Stage::Plugin, Code::MachineBusy, "cannot bound the compiler").because(e)
    };
    // The process must not outlive its parent. If this call fails, the process's time is still limited.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let seconds = limits.compile.as_secs().max(1);
    for (resource, soft, hard) in [
        (Resource::Core, 0, 0),
        (Resource::Cpu, seconds, seconds + 1),
        // This limits writable memory, not the address space. A plugin's memories reserve a lot of address space.
        (
            Resource::Data,
            limits.compile_memory_bytes,
            limits.compile_memory_bytes,
        ),
    ] {
        // A process cannot raise the hard limits that it inherits.
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
        // If the process is dead, its exit status gives the reason.
        let _ = stdin.write_all(component);
    }
}

fn read(from: Option<impl Read>, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        from.take(bytes_max).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

fn words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    // A panic's message ends with a note about the variable `RUST_BACKTRACE`. The note is useless here, because the
    // process has no environment variables.
    without_controls(text.split("note: run with").next().unwrap_or_default())
}

fn death(status: ExitStatus, limits: &Limits) -> Error {
    let seconds = Duration::from_secs(limits.compile.as_secs().max(1));
    match status.signal().map(Signal::from_named_raw) {
        Some(Some(Signal::XCPU)) => refused(format!(
            "compiling the component took more than the limit of {seconds:?} of processor time (--limit compile-time)"
        )),
        Some(Some(Signal::ABORT | Signal::SEGV)) => refused(format!(
            "compiling the component needed more than the limit of {} bytes of memory (--limit compile-memory), or more stack than there is",
            limits.compile_memory_bytes
        )),
        // Another cause killed the process, so the component may be fine.
        Some(_) => {
            let what = format!("the process that compiled the component was killed ({status})");
            Error::transient(Stage::Plugin, Code::MachineBusy, what)
        }
        // The compiler panicked because of the component, or because no thread could be started.
        None => Error::transient(
            Stage::Plugin,
            Code::PluginCompile,
            format!("the compiler failed on the component ({status})"),
        ),
    }
}

/// Reads the code and the reason of the error from the standard output of a failed process. `cli/compile.rs` writes
/// them.
fn told(said: &[u8]) -> (Code, String) {
    let mut parts = said.splitn(2, |&byte| byte == b'\n');
    let word = parts.next().and_then(|word| str::from_utf8(word).ok());
    let code = word.and_then(|word| word.parse().ok());
    (
        code.unwrap_or(Code::PluginCompile),
        words(parts.next().unwrap_or_default()),
    )
}

fn refused(message: impl Into<String>) -> Error {
    Error::permanent(Stage::Plugin, Code::PluginCompile, message)
}
