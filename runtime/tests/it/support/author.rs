//! An author's machine: a host whose commands find cargo, and a cargo that takes the crate `ingest-plugin` from this
//! repository.

use std::path::Path;
use std::process::Command;

use super::documents;
use super::host::{CommandOutput, Host};

pub(crate) struct Author {
    pub(crate) host: Host,
}

impl Author {
    /// Returns a machine whose cargo uses the crate of this repository in place of a published one.
    pub(crate) fn new() -> Self {
        let host = Host::embedded();
        let sdk = documents::root().join("plugins/sdk");
        let config =
            format!("[patch.crates-io]\ningest-plugin = {{ path = {sdk:?} }}\n[net]\noffline = true\n");
        std::fs::create_dir(host.path(".cargo")).unwrap();
        host.write(".cargo/config.toml", config);
        Self { host }
    }

    /// Makes a project that cargo can build.
    pub(crate) fn project(&self, name: &str) {
        self.run(&format!("plugin new {name}")).ok();
        self.finish_project(name);
    }

    /// Adds what the tests need to a new project. With the lock file of the repository, cargo needs no other versions of
    /// the dependencies. The folder for what cargo builds is kept between runs, so cargo does not compile the dependencies
    /// again.
    pub(crate) fn finish_project(&self, name: &str) {
        let lock = documents::root().join("Cargo.lock");
        std::fs::copy(lock, self.host.path(&format!("{name}/Cargo.lock"))).unwrap();
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("author");
        std::fs::create_dir_all(&target).unwrap();
        std::os::unix::fs::symlink(target, self.host.path(&format!("{name}/target"))).unwrap();
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, words: &str) -> CommandOutput {
        let mut command = self.host.command();
        self.with_cargo(&mut command);
        let output = command.args(words.split_whitespace()).output();
        CommandOutput::new(&output.expect("the program runs"))
    }

    /// Runs cargo in a folder of the host.
    pub(crate) fn cargo(&self, folder: &str, words: &str) -> CommandOutput {
        let mut command = Command::new(env!("CARGO"));
        command.current_dir(self.host.path(folder));
        self.with_cargo(&mut command);
        let output = command.args(words.split_whitespace()).output();
        CommandOutput::new(&output.expect("cargo runs"))
    }

    /// Runs a script with `bash -e` in the folder of the host. `ingest-host` and cargo are in its `PATH`.
    pub(crate) fn bash(&self, script: &str) -> CommandOutput {
        let program = Path::new(env!("CARGO_BIN_EXE_ingest-host"))
            .parent()
            .expect("a folder");
        let path = format!("{}:{}", program.display(), std::env::var("PATH").expect("a path"));
        let mut command = Command::new("bash");
        command.current_dir(self.host.folder.path()).env_clear();
        let own = self.host.command();
        command.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
        self.with_cargo(&mut command);
        let output = command.env("PATH", path).args(["-e", "-c", script]).output();
        CommandOutput::new(&output.expect("bash runs"))
    }

    /// Lets a command find cargo.
    fn with_cargo(&self, command: &mut Command) {
        for name in ["PATH", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        if let (Some(home), None) = (std::env::var_os("HOME"), std::env::var_os("CARGO_HOME")) {
            command.env("CARGO_HOME", Path::new(&home).join(".cargo"));
        }
        if let (Some(home), None) = (std::env::var_os("HOME"), std::env::var_os("RUSTUP_HOME")) {
            command.env("RUSTUP_HOME", Path::new(&home).join(".rustup"));
        }
        // The folder of the project decides: see `finish_project`.
        command.env_remove("CARGO_TARGET_DIR");
    }
}
