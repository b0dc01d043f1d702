//! `run`: a worker.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::environment::Environment;
use super::options::{CredentialArgs, GateArgs, LimitArgs, OutputArgs, plugin_config};
use super::out;
use super::signals::Signals;
use crate::commit::Destination;
use crate::complaints::Complaints;
use crate::config::{LeasePolicy, Limits, Size};
use crate::error::{Class, Error, Result, Stage};
use crate::fetch::{Access, Fetcher};
use crate::queue::Server;
use crate::request::check_queue_name;
use crate::worker::{self, PluginSource, Shutdown, Summary, WorkerOptions};

/// How long a worker waits at its start for the queue's server, and how long between two looks.
const CONNECT_PATIENCE: Duration = Duration::from_secs(30);
const CONNECT_PAUSE: Duration = Duration::from_millis(500);

#[derive(clap::Args)]
pub(super) struct Args {
    /// May be given again: a queue to serve, each in its turn.
    #[arg(
        long,
        alias = "queuename",
        required = true,
        env = "QUEUE_NAME",
        hide_env_values = true,
        value_delimiter = ','
    )]
    queue: Vec<String>,
    /// Run every request through this component instead of the one that its queue is bound to.
    #[arg(long, value_name = "FILE")]
    plugin: Option<PathBuf>,
    /// Config of that component.
    #[arg(long, value_name = "JSON|@FILE", requires = "plugin")]
    plugin_config: Option<String>,
    /// Take up the component anew when its file changes.
    #[arg(long, requires = "plugin")]
    watch: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    gate: GateArgs,
    #[command(flatten)]
    limits: LimitArgs,
    /// Requests worked on at once. Most of the time of a small one is waiting: for its disk, its server, its queue.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: u16,
    /// Stop when the queues are empty, with exit code 1 if a request died. What other workers hold is not waited for.
    #[arg(long)]
    burst: bool,
    /// How long a claim lasts when nothing is heard of its worker any more, in seconds; then another worker takes the request up.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(5..=86_400))]
    lease: u32,
    /// Remove requests that have been done or cancelled for so many days; 0 keeps them for ever. Outputs, receipts and dead
    /// letters stay. Of several workers the shortest time counts.
    #[arg(long, value_name = "DAYS", default_value_t = 7, value_parser = clap::value_parser!(u16))]
    retention: u16,
    /// Write down how far a large input is, each time that so much of it was done: a successor of a worker that dies goes on
    /// there. 0 never does.
    #[arg(long, value_name = "SIZE", default_value_t = Size(Limits::default().checkpoint_bytes))]
    checkpoint: Size,
    /// Do not start if the queue's server may lose requests, or could not be checked for it. Without this the worker warns.
    #[arg(long)]
    strict: bool,
    /// May be given again: a host, address or network beside the public ones that requests may read from.
    #[arg(long, value_name = "HOST|CIDR")]
    allow_host: Vec<String>,
    /// May be given again: a folder that requests may read from.
    #[arg(long, value_name = "DIR")]
    allow_root: Vec<PathBuf>,
    #[command(flatten)]
    credentials: CredentialArgs,
}

pub(super) async fn run(args: Args, environment: &Environment) -> Result<ExitCode> {
    for name in &args.queue {
        check_queue_name(name)?;
    }
    let limits = Arc::new(Limits {
        checkpoint_bytes: args.checkpoint.0,
        ..args.limits.limits()
    });
    let plugin = match args.plugin {
        Some(path) => PluginSource::File {
            path,
            config: plugin_config(args.plugin_config.as_deref())?.canonical.into(),
            watch: args.watch,
        },
        None => PluginSource::Bindings,
    };
    let options = WorkerOptions {
        name: worker_name(),
        queues: args.queue,
        concurrency: args.concurrency.into(),
        burst: args.burst,
        plugin,
        output_format: args.output.format,
        profile: args.output.profile,
        gate: args.gate.gate(),
        limits: Arc::clone(&limits),
        policy: LeasePolicy {
            retention: days(args.retention),
            ..LeasePolicy::of_lease(Duration::from_secs(args.lease.into()))
        },
    };
    let shutdown = shutdown_on_signals()?;
    let destination = Destination::new(&args.output.output, args.output.rejects.as_deref())?;
    let access = Access::new(&args.allow_host, &args.allow_root)?;
    let fetcher = Fetcher::with_credentials(access, args.credentials.read()?, &limits);
    let engine = environment.engine(&limits)?;
    let server = connect(environment, shutdown.clone()).await?;
    check_settings(&server, args.strict).await?;
    tell_new_queues(&server, &options.queues).await;
    tracing::info!(
        worker = options.name,
        queues = options.queues.join(","),
        server = server.name,
        output = args.output.output,
        limits = %limits,
        "worker started"
    );
    tracing::debug!(?limits, policy = ?options.policy, "bounds");
    let burst = options.burst;
    let summary = worker::run(
        &environment.url,
        server,
        engine,
        fetcher,
        destination,
        options,
        shutdown,
    )
    .await?;
    let Summary {
        done,
        dead,
        retried,
        cancelled,
        released,
        lost,
    } = summary;
    tracing::info!(done, dead, retried, cancelled, released, lost, "worker stopped");
    if burst {
        out::line(format!(
            "{done} done, {dead} dead, {retried} retried, {cancelled} cancelled, {released} handed back, {lost} lost"
        ));
        if dead > 0 {
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits a while for a server that cannot be reached, which may start at the same time as its workers. An address that is
/// wrong shows by that, too.
async fn connect(environment: &Environment, mut shutdown: watch::Receiver<Shutdown>) -> Result<Server> {
    let (complaints, deadline) = (Complaints::default(), Instant::now() + CONNECT_PATIENCE);
    loop {
        let error = match environment.connect_or_create().await {
            Err(error) if error.class() == Class::Transient && Instant::now() < deadline => error,
            answer => return answer,
        };
        complaints.note(
            "the queue's server cannot be reached, trying again for half a minute",
            &error,
        );
        tokio::select! {
            () = tokio::time::sleep(CONNECT_PAUSE) => {}
            _ = shutdown.changed() => return Err(error),
        }
    }
}

/// Names those that may be mistyped. A server that does not answer is told of when the work begins.
async fn tell_new_queues(server: &Server, queues: &[String]) {
    let Ok(known) = server.queue.queues().await else {
        return;
    };
    for queue in queues.iter().filter(|queue| !known.contains(queue)) {
        tracing::info!(
            queue,
            server = server.name,
            "the server does not know this queue yet"
        );
    }
}

/// Warns of what is dangerous about the queue's server, or refuses it.
async fn check_settings(server: &Server, strict: bool) -> Result<()> {
    let dangers = super::queues::settings(server).await;
    if !strict || dangers.is_empty() {
        return Ok(());
    }
    let why = format!("{}: --strict: {}", server.name, dangers.join("; "));
    Err(Error::permanent(Stage::Queue, why))
}

/// A retention as people give it.
fn days(count: u16) -> Option<Duration> {
    (count > 0).then(|| Duration::from_secs(u64::from(count) * 86_400))
}

/// Who this worker is among all workers: host, process, and a random part for hosts that share a name.
fn worker_name() -> String {
    let uname = rustix::system::uname();
    format!(
        "{}-{}-{:04x}",
        uname.nodename().to_string_lossy(),
        std::process::id(),
        fastrand::u16(..)
    )
}

/// The first signal drains the worker; the second one makes it hand back at once.
fn shutdown_on_signals() -> Result<watch::Receiver<Shutdown>> {
    let mut signals = Signals::listen()?;
    let (sender, receiver) = watch::channel(Shutdown::No);
    tokio::spawn(async move {
        for next in [Shutdown::Drain, Shutdown::Now] {
            signals.next().await;
            sender.send_replace(next);
        }
        // The sender must live on: a closed channel would look like a signal.
        std::future::pending::<()>().await;
    });
    Ok(receiver)
}
