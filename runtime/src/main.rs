//! The program `ingest-host`: see [`ingest_host::cli`].

fn main() -> std::process::ExitCode {
    ingest_host::cli::main()
}
