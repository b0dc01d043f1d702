//! One input through all stages: split, then decoded, transformed and encoded in lanes, put together again in order,
//! committed.

mod assembler;
mod attempt;
mod checkpoint;
mod finish;
mod in_order;
mod job;
mod lane;
mod lane_pool;
mod plugin_runner;
mod resume;
mod trap_budget;
mod trap_isolation;

pub use self::attempt::run;
pub use self::job::{Job, ProgressCounters};
use crate::commit::Committed;
use crate::error::{Code, Error, Result, Stage};
use crate::fetch::{Identity, Source};
use crate::memory::ATTEMPT_BYTES;
use crate::plugin::timed_out_beside_others;

/// Opens a source and runs a job on it, both on a thread of their own: they block, and may do so for hours. The
/// threads are those that the async runtime keeps for such work, so that a small job need not wait for a new one.
///
/// # Errors
/// Those of `open` and [`run`].
pub async fn spawn(job: Job, open: impl FnOnce() -> Result<Source> + Send + 'static) -> Result<Committed> {
    on_a_thread(move || run(&job, open()?)).await
}

/// The same, from the last checkpoint of an attempt at the same work that was lost, if there is one that can be used. `open`
/// opens the whole input or, of the one that it is given, the bytes from a position on.
///
/// # Errors
/// Those of `open` and [`run`].
pub async fn spawn_or_resume(
    job: Job,
    open: impl Fn(Option<(&Identity, u64)>) -> Result<Source> + Send + 'static,
) -> Result<Committed> {
    on_a_thread(move || match within_memory(&job, || resume::run(&job, &open)) {
        // Its calls could not be repeated singly: it keeps state, or was at its end.
        Err(error) if timed_out_beside_others(&error) => {
            tracing::info!(
                why = error.report(),
                "the plugin took too long while other calls ran: starting again with its calls alone"
            );
            let plugin = job.plugin.alone();
            let job = Job { plugin, ..job };
            within_memory(&job, || resume::run(&job, &open))
        }
        result => result,
    })
    .await
}

/// Does a job's work within its share of memory. If memory was refused where the work cannot wait, or it needs more than a
/// request may hold, the work is done again alone: in one lane, with all the memory that a request may hold. So its result does
/// not depend on the other requests.
fn within_memory(job: &Job, work: impl Fn() -> Result<Committed>) -> Result<Committed> {
    let memory = &job.limits.memory;
    let begin = || -> Result<Committed> {
        let mut held = memory.hold();
        held.raise(ATTEMPT_BYTES + job.profile_bytes())?;
        work()
    };
    match begin() {
        Err(error) if memory.is_refused() => {
            job.stop.check()?;
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
