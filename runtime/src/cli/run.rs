//! Implements `run`, which runs a worker.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::data::DataArgs;
use super::environment::Environment;
use super::input_options::InputOptionArgs;
use super::options::{CredentialArgs, GateArgs, LimitArgs, OutputArgs, heading, number, number_or_time};
use super::reload::Reloader;
use super::settings::Settings;
use super::signals::{ReloadSignals, Signals};
use super::{policies, print, stores};
use crate::admin::queues::NewQueue;
use crate::config::{LeasePolicy, Limits, RETRY_FOR, RETRY_FOR_MAX};
use crate::error::{Class, Code, Error, Result, Stage};
use crate::fetch::AnsweredHosts;
use crate::memory::{self, MemoryBudget, TOTAL_MIN};
use crate::queue::{Backend, Counts, State};
use crate::telemetry::repeated_errors::RepeatedErrors;
use crate::units::{ByteSize, HumanDuration};
use crate::worker::{
    self, LeftRequests, PluginSource, Policies, PolicyOptions, Shutdown, Summary, WorkerOptions,
};

/// The maximum time that a starting worker waits for the queue's server, and the pause between two tries.
const CONNECT_PATIENCE: Duration = Duration::from_secs(30);
const CONNECT_PAUSE: Duration = Duration::from_millis(500);

const DAY: Duration = Duration::from_secs(86_400);

#[derive(clap::Args)]
pub(super) struct Args {
    /// A queue to serve, in turn with the others (repeatable).
    #[arg(
        long,
        alias = "queuename",
        env = "QUEUE_NAME",
        hide_env_values = true,
        value_delimiter = ','
    )]
    pub(super) queue: Vec<String>,
    /// Run every request through this component file instead of the plugin that its queue is bound to.
    #[arg(long, value_name = "FILE", help_heading = heading::PLUGIN)]
    pub(super) plugin: Option<PathBuf>,
    /// Config of the plugin in --plugin.
    #[arg(long, value_name = "JSON|@FILE", help_heading = heading::PLUGIN)]
    pub(super) plugin_config: Option<String>,
    #[command(flatten)]
    pub(super) data: DataArgs,
    /// Reload the component file when it changes.
    #[arg(long, help_heading = heading::PLUGIN)]
    pub(super) watch: bool,
    #[command(flatten)]
    pub(super) output: OutputArgs,
    /// The input options for requests if neither the request nor its binding sets them.
    #[command(flatten)]
    pub(super) input: InputOptionArgs,
    #[command(flatten)]
    pub(super) gate: GateArgs,
    #[command(flatten)]
    pub(super) limits: LimitArgs,
    /// The number of requests to process at the same time. Small requests mostly wait for disk, server and queue.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = number::<u16>(1..=256), help_heading = heading::WORKER)]
    concurrency: u16,
    /// Stop when there is nothing to do and nothing is due within --burst-wait. A list shows the requests that are
    /// left. They are in a queue that is paused or has no plugin, wait for a retry, or are with another worker. The
    /// exit code is 1 if requests are left, a request died, or a document was not a valid request. Requests that
    /// producers have delayed for longer than --burst-wait do not count.
    #[arg(long, help_heading = heading::WORKER)]
    burst: bool,
    /// The maximum time that an idle burst waits. It waits for delayed requests that are due within this time, and for
    /// requests of other workers, which come back if their worker dies. This is also the limit on the sum of its waits
    /// for retries. With 0s, a burst does not wait.
    #[arg(long, value_name = "DURATION", default_value = "5m", help_heading = heading::WORKER)]
    burst_wait: HumanDuration,
    /// The time for which to retry a request after failures that may pass (server down or busy, connection broken, disk
    /// full). This time limits the sum of the request's waits, and is at most 30 days. When it is used up, the request
    /// becomes a dead letter. The waits grow up to five minutes. If a server asks for a longer wait (Retry-After), the
    /// worker waits that long, within the remaining time. If no connection to a host has ever succeeded, the limit is
    /// two minutes. With 0s, a request is never retried.
    #[arg(long, value_name = "DURATION", default_value_t = HumanDuration(RETRY_FOR), value_parser = retry_for, help_heading = heading::WORKER)]
    retry_for: HumanDuration,
    /// The time without a heartbeat after which another worker may take the request: a number of seconds, or a time
    /// such as 90s or 5m.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = number_or_time::<u32>(5..=86_400, Duration::from_secs(1), "seconds"), help_heading = heading::WORKER)]
    lease: u32,
    /// Remove requests that have been done or cancelled for this many days, such as 7 or 7d. With 0, they are kept
    /// forever. Outputs, receipts and dead letters stay. If workers have different settings, the shortest retention
    /// applies.
    #[arg(long, value_name = "DAYS", default_value_t = 7, value_parser = number_or_time::<u16>(0..=65_535, DAY, "days"), help_heading = heading::WORKER)]
    retention: u16,
    /// Write a checkpoint after every SIZE of input, so that another worker can resume there; 0 disables checkpoints.
    #[arg(long, value_name = "SIZE", default_value_t = ByteSize(Limits::default().checkpoint_bytes), help_heading = heading::WORKER)]
    pub(super) checkpoint: ByteSize,
    /// The memory that all requests of this worker may use together. One request may use up to three quarters of it. A
    /// request waits while other requests use too much [default: half of the memory of the machine or the control
    /// group, at least 64MiB].
    #[arg(long, value_name = "SIZE", value_parser = memory_total, help_heading = heading::WORKER)]
    memory_total: Option<ByteSize>,
    /// Refuse to start unless the durability settings of the queue's server are known and safe. Without this option,
    /// the worker only warns.
    #[arg(long, help_heading = heading::WORKER)]
    strict: bool,
    /// Also take requests whose last worker was lost and had another output folder. Files that this worker may have
    /// published there stay, so use this option only if that folder is gone for good.
    #[arg(long, help_heading = heading::WORKER)]
    move_output: bool,
    /// A host, address or network that requests may read from, in addition to public ones (repeatable).
    #[arg(long, value_name = "HOST|CIDR", help_heading = heading::ACCESS)]
    pub(super) allow_host: Vec<String>,
    /// A folder that requests may read files from (repeatable).
    #[arg(long, value_name = "DIR", help_heading = heading::ACCESS)]
    pub(super) allow_root: Vec<PathBuf>,
    /// A bucket that requests may read from, or a part of it: s3://BUCKET or s3://BUCKET/PREFIX/, also with gs: and az:
    /// (repeatable).
    #[arg(long, value_name = "URI", help_heading = heading::ACCESS)]
    pub(super) allow_bucket: Vec<String>,
    #[command(flatten)]
    pub(super) credentials: CredentialArgs,
}

/// Runs a worker, which reloads its config file at each signal of `reloads`.
pub(super) async fn run(
    settings: Settings,
    reloads: Option<ReloadSignals>,
    environment: &Environment,
) -> Result<ExitCode> {
    let worker = settings.resolve(None)?;
    let queues = settings.queues(&worker);
    if queues.is_empty() {
        let why = "say which queues to serve: --queue NAME, QUEUE_NAME in the environment or in .env, or a table [queues.NAME] in \
                   the config file";
        return Err(Error::permanent(Stage::Config, Code::Usage, why));
    }
    Settings::check_names(&worker, &queues)?;
    let answered = Arc::new(AnsweredHosts::default());
    let stores = stores::with_file(&stores::object_stores()?, settings.file.as_ref())?;
    let policies = policies::of_queues(&settings, &worker, &queues, &answered, &stores)?;
    let (args, limits) = (&worker.args, &worker.limits);
    let memory_total = args
        .memory_total
        .map_or_else(memory::default_total, |size| size.0);
    let options = WorkerOptions {
        name: worker_name(),
        queues: queues.clone(),
        concurrency: args.concurrency.into(),
        burst: args.burst,
        answered_hosts: Arc::clone(&answered),
        move_output: args.move_output,
        memory: MemoryBudget::new(memory_total),
        policy: LeasePolicy {
            retention: days(args.retention),
            burst_wait: args.burst_wait.0,
            retry_for: args.retry_for.0,
            ..LeasePolicy::of_lease(Duration::from_secs(args.lease.into()))
        },
    };
    let shutdown = shutdown_on_signals(reloads.is_some())?;
    let engine = environment.engine(limits)?;
    let backend = connect(environment, shutdown.clone()).await?;
    check_settings(&backend, args.strict).await?;
    let new_queues = new_queues(&backend, &options.queues).await;
    for (queue, near) in &new_queues {
        let (server, text) = (&backend.name, "the server does not know this queue yet");
        // A burst warns, because it usually ends before anybody can submit a request to the new queue.
        match options.burst {
            true => tracing::warn!(queue, server, near, "{text}"),
            false => tracing::info!(queue, server, near, "{text}"),
        }
    }
    warn_of_bindings(&backend, &policies).await;
    let outputs: BTreeSet<_> = policies
        .iter()
        .map(|(_, policy)| policy.destination.storage().uri())
        .collect();
    let (changing, policies) = watch::channel(Arc::new(Policies::new(&engine, policies).await?));
    tracing::info!(
        worker = options.name,
        queues = options.queues.join(","),
        server = backend.name,
        output = Vec::from_iter(outputs).join(", "),
        limits = limits.changed(),
        memory_total = %ByteSize(memory_total),
        "worker started"
    );
    tracing::debug!(named = %limits, ?limits, policy = ?options.policy, "bounds");
    let (burst, after) = (options.burst, backend.clone());
    let reloader = Reloader {
        worker,
        queues: queues.clone(),
        engine: engine.clone(),
        answered,
        stores,
        changing,
        of_tables: queues
            .iter()
            .filter(|queue| settings.has_table(queue))
            .cloned()
            .collect(),
        settings,
    };
    let reloading = reloader.start(reloads);
    let summary = worker::run(&environment.url()?, backend, engine, policies, options, shutdown).await;
    drop(reloading);
    let Summary {
        done,
        dead,
        retried,
        cancelled,
        released,
        lost,
        left,
    } = summary?;
    tracing::info!(
        done,
        dead,
        retried,
        cancelled,
        released,
        lost,
        left = left.count,
        for_later = left.later,
        invalid = left.invalid,
        "worker stopped"
    );
    if burst {
        let rest = left_summary(&left);
        print::line(format!(
            "{done} done, {dead} dead, {retried} retried, {cancelled} cancelled, {released} handed back, {lost} lost{rest}"
        ));
        if dead > 0 {
            let what = if dead == 1 { "it" } else { "them" };
            print::line(format!("{dead} died: {} {what}", dead_list_commands(&queues)));
        }
        print_left(&left, &queues);
        for (queue, near) in new_queues {
            if is_empty(&after, &queue).await {
                let near = near.map_or(String::new(), |near| format!("; near it: {near}"));
                print::note(format!("{queue}: {} did not know this queue{near}", after.name));
            }
        }
        if dead > 0 || !left.is_clean() {
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the part of a burst's summary about the requests that are left. Returns an empty text if none are left.
fn left_summary(left: &LeftRequests) -> String {
    let mut text = String::new();
    if left.count > 0 {
        text += &format!(", {} left", left.count);
    }
    if left.later > 0 {
        let from = left.later_from_ms.map(time).unwrap_or_default();
        text += &format!(", {} for later (from {from} on)", left.later);
    }
    if left.invalid > 0 {
        text += &format!(", {} invalid", left.invalid);
    }
    text
}

/// Prints the first few requests that are left after a burst.
fn print_left(left: &LeftRequests, queues: &[String]) {
    if left.invalid > 0 {
        let lists = dead_list_commands(queues);
        print::line(format!(
            "documents that are not valid requests were set aside: {lists} them"
        ));
    }
    if left.shown.is_empty() {
        return;
    }
    let rows: Vec<_> = left
        .shown
        .iter()
        .map(|request| {
            vec![
                request.id.clone().unwrap_or_else(|| "(documents)".into()),
                request.queue.clone(),
                request.state.map_or("intake", State::name).into(),
                request.at_ms.map(time).unwrap_or_default(),
                request.why.into(),
            ]
        })
        .collect();
    print::table(&["ID", "QUEUE", "STATE", "UNTIL", "LEFT BECAUSE"], &rows);
    if left.count > left.shown.len() as u64 {
        let (shown, count) = (left.shown.len(), left.count);
        print::line(format!(
            "the first {shown} of {count}; `ingest-host requests --queue QUEUE` lists them"
        ));
    }
}

/// Returns the commands that list the dead letters of these queues, with their verb.
fn dead_list_commands(queues: &[String]) -> String {
    let command = |queue: &String| format!("`ingest-host dead list --queue {queue}`");
    let commands = queues.iter().map(command).collect::<Vec<_>>().join(", ");
    let verb = if queues.len() == 1 { "shows" } else { "show" };
    format!("{commands} {verb}")
}

fn time(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms).map_or_else(|_| at_ms.to_string(), |at| at.to_string())
}

/// Connects to the queue's server. If the server cannot be reached, waits up to [`CONNECT_PATIENCE`], because the
/// server may be starting at the same time as its workers. The wait is short, so that a wrong address is reported soon.
async fn connect(environment: &Environment, mut shutdown: watch::Receiver<Shutdown>) -> Result<Backend> {
    let (repeated_errors, deadline) = (RepeatedErrors::default(), Instant::now() + CONNECT_PATIENCE);
    loop {
        let error = match environment.connect_or_create().await {
            Err(error) if error.class() == Class::Transient && Instant::now() < deadline => error,
            answer => return answer,
        };
        repeated_errors.failed(
            "the queue's server cannot be reached, trying again for half a minute",
            &error,
        );
        tokio::select! {
            () = tokio::time::sleep(CONNECT_PAUSE) => {}
            _ = shutdown.changed() => return Err(error),
        }
    }
}

/// Returns the queues that the server does not know, each with similar names, because their names may be mistyped.
/// Returns no queues if the server does not answer: the worker itself reports this failure.
async fn new_queues(backend: &Backend, queues: &[String]) -> Vec<(String, Option<String>)> {
    let Ok(known) = backend.queue.queues().await else {
        return Vec::new();
    };
    let new = queues
        .iter()
        .filter_map(|queue| NewQueue::unless_known(queue, &known));
    new.map(|NewQueue { queue, near }| (queue, Some(near.join(", ")).filter(|near| !near.is_empty())))
        .collect()
}

/// Warns of each queue whose binding is not used, because the worker runs a plugin file. Does not warn if the server
/// does not answer: the worker itself reports this failure.
async fn warn_of_bindings(backend: &Backend, policies: &[(Vec<String>, PolicyOptions)]) {
    let with_file = policies
        .iter()
        .filter(|(_, policy)| matches!(policy.plugin, PluginSource::File { .. }));
    for queue in with_file.flat_map(|(queues, _)| queues) {
        let Ok(Some(number)) = backend.queue.counts(queue).await.map(|counts| counts.binding) else {
            continue;
        };
        let binding = backend.registry.binding(queue, number).await.ok().flatten();
        let bound_to = binding.map(|binding| binding.step().plugin());
        tracing::warn!(
            queue,
            bound_to,
            binding = number,
            "--plugin overrides the queue's binding, with its config, limits and options"
        );
    }
}

/// Returns whether a queue contains no requests and no documents.
async fn is_empty(backend: &Backend, queue: &str) -> bool {
    let counts = backend.queue.counts(queue).await;
    counts.is_ok_and(|counts| {
        let Counts {
            intake,
            ready,
            delayed,
            leased,
            done,
            dead,
            cancelled,
            invalid,
            ..
        } = counts;
        intake + ready + delayed + leased + done + dead + cancelled + invalid == 0
    })
}

/// Warns of dangerous settings of the queue's server. If `strict` is true, fails if there are any.
async fn check_settings(backend: &Backend, strict: bool) -> Result<()> {
    let dangers = super::queues::warn_of_dangers(backend).await;
    if !strict || dangers.is_empty() {
        return Ok(());
    }
    let why = format!("{}: --strict: {}", backend.name, dangers.join("; "));
    Err(Error::permanent(Stage::Queue, Code::QueueUnsafe, why))
}

fn memory_total(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse()?;
    if size.0 < TOTAL_MIN {
        return Err(format!("{} is the least", ByteSize(TOTAL_MIN)));
    }
    Ok(size)
}

fn retry_for(text: &str) -> Result<HumanDuration, String> {
    let span: HumanDuration = text.parse()?;
    if span.0 > RETRY_FOR_MAX {
        return Err(format!("{} is the most", HumanDuration(RETRY_FOR_MAX)));
    }
    Ok(span)
}

/// Returns the retention for a number of days. Returns `None` for 0, which means that requests are kept forever.
fn days(count: u16) -> Option<Duration> {
    (count > 0).then(|| DAY * u32::from(count))
}

/// Returns this worker's name: the host name, the process id and a random part. The random part distinguishes hosts
/// with the same name.
fn worker_name() -> String {
    let uname = rustix::system::uname();
    format!(
        "{}-{}-{:04x}",
        uname.nodename().to_string_lossy(),
        std::process::id(),
        fastrand::u16(..)
    )
}

/// Listens for signals. After the first signal, the worker claims no more requests, and finishes the requests that it
/// has. After the second signal, it hands its requests back at once.
fn shutdown_on_signals(hangup_reloads: bool) -> Result<watch::Receiver<Shutdown>> {
    let mut signals = match hangup_reloads {
        true => Signals::listen_without_hangup()?,
        false => Signals::listen()?,
    };
    let (sender, receiver) = watch::channel(Shutdown::No);
    tokio::spawn(async move {
        for next in [Shutdown::Drain, Shutdown::Now] {
            signals.next().await;
            sender.send_replace(next);
        }
        // The sender must stay alive, because the worker would take a closed channel for a signal.
        std::future::pending::<()>().await;
    });
    Ok(receiver)
}
