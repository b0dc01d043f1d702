//! Takes one input through all stages. The input is split. Its chunks are decoded, transformed and encoded in lanes.
//! The results are assembled in order and committed.

mod assembler;
mod attempt;
mod checkpoint;
mod finish;
mod in_order;
mod job;
mod lane;
mod lane_pool;
mod plugin_runner;
mod replay;
mod resume;
mod trap_budget;
mod trap_isolation;
mod watcher;

pub use self::attempt::run;
pub use self::job::{Execution, Job, Placement, ProgressCounters, Work};
pub use self::replay::{OpenRejects, ReplayedInput};
pub use self::watcher::{Fate, OpenedInput, RecordWatcher, WatchedRecord};
use crate::commit::Committed;
use crate::error::{Code, Error, Result, Stage};
use crate::fetch::{Identity, Source};
use crate::memory::ATTEMPT_BYTES;
use crate::plugin::timed_out_beside_others;

/// Opens a source and runs a job on it. Both steps block, perhaps for hours, so they run on a thread of the async
/// runtime's pool of blocking threads. At least one thread of this pool is usually idle, so a small job need not wait
/// until a thread is created.
///
/// # Errors
/// Returns the errors of `open` and [`run`].
pub async fn spawn(job: Job, open: impl FnOnce() -> Result<Source> + Send + 'static) -> Result<Committed> {
    on_a_thread(move || run(&job, open()?)).await
}

/// Opens a source and runs a job on it, as [`spawn`] does. If an earlier attempt at the same work has left a usable
/// checkpoint, the job resumes from there. `open(None)` opens the whole input. With an identity and a position, `open`
/// opens the rest of the input from this position on.
///
/// # Errors
/// Returns the errors of `open` and [`run`].
pub async fn spawn_or_resume(
    job: Job,
    open: impl Fn(Option<(&Identity, u64)>) -> Result<Source> + Send + 'static,
) -> Result<Committed> {
    on_a_thread(move || match within_memory(&job, || resume::run(&job, &open)) {
        // The plugin runner could not repeat the call alone, because the plugin keeps state, or because the call was
        // `finish`.
        Err(error) if timed_out_beside_others(&error) => {
            tracing::info!(
                why = error.report(),
                "the plugin took too long while other calls ran: starting again with its calls alone"
            );
            let plugin = job.work.plugin.alone();
            let work = Work { plugin, ..job.work };
            let job = Job { work, ..job };
            within_memory(&job, || resume::run(&job, &open))
        }
        result => result,
    })
    .await
}

/// Does a job's work within its share of memory.
///
/// In two cases, the work runs a second time, alone: memory was refused where the work cannot wait, or all lanes
/// together needed more memory than a request may hold. When the work runs alone, it has one lane, which can use all
/// the memory that a request may hold. So the result does not depend on other requests.
fn within_memory(job: &Job, work: impl Fn() -> Result<Committed>) -> Result<Committed> {
    let memory = &job.work.limits.memory;
    let begin = || -> Result<Committed> {
        let mut held = memory.hold();
        held.raise(ATTEMPT_BYTES + job.work.profile_bytes())?;
        work()
    };
    match begin() {
        Err(error) if memory.is_refused() => {
            job.execution.stop.check()?;
            tracing::info!(
                why = error.report(),
                "too little memory beside other requests: starting again alone"
            );
            memory.be_alone()?;
            begin()
        }
        result => result,
    }
}

async fn on_a_thread(work: impl FnOnce() -> Result<Committed> + Send + 'static) -> Result<Committed> {
    let span = tracing::Span::current();
    let running = tokio::task::spawn_blocking(move || span.in_scope(work));
    running.await.unwrap_or_else(|_| {
        let why = "the pipeline panicked: this is a bug of the host, its log says more";
        Err(Error::permanent(Stage::Worker, Code::HostFailure, why))
    })
}
