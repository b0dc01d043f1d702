//! Measures the duration of a claim from a short queue and from a very long queue.

use std::path::Path;
use std::time::{Duration, Instant};

use ingest_host::queue::{Backend, ClaimOptions, OutputId};
use tokio::runtime::Runtime;

use crate::measure::median_of;
use crate::requests::submit;
use crate::support::redis::RedisServer;
use crate::tools::Tools;
use crate::{Result, Scale};

/// The median duration of a claim from a queue with `waiting` requests.
pub(crate) struct Row {
    pub(crate) backend: &'static str,
    pub(crate) waiting: u64,
    pub(crate) claim: Duration,
}

/// A queue filled with requests.
struct Line {
    server: Backend,
    queue: String,
    waiting: u64,
    claims: Vec<Duration>,
}

/// Claims from all queues of a backend in turn. Each claim is handed back, so the number of waiting requests stays the
/// same.
pub(crate) fn compare(tools: &Tools, scale: &Scale) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir_in(tools.disk())?;
    let redis = RedisServer::start();
    // Each queue has a file of its own. In a shared file, the long queue would also make the file of the short queue
    // large.
    let sqlite = |waiting: u64| format!("sqlite:{}", folder.path().join(waiting.to_string()).display());
    let urls: [(&str, &dyn Fn(u64) -> String); 2] = [("Redis", &|_| redis.url()), ("SQLite", &sqlite)];
    let runtime = Runtime::new()?;
    let mut rows = Vec::new();
    for (backend, url) in urls {
        let mut lines = Vec::new();
        for waiting in scale.waiting {
            scale.progress(format_args!(
                "claims: {waiting} requests go into a queue on {backend}"
            ));
            lines.push(runtime.block_on(Line::form(&url(waiting), waiting))?);
        }
        for _ in 0..scale.claims {
            for line in &mut lines {
                runtime.block_on(line.claim())?;
            }
        }
        for line in lines {
            let claim = median_of(line.claims.into_iter());
            scale.progress(format_args!(
                "claims: {} waiting on {backend}: {claim:?}",
                line.waiting
            ));
            rows.push(Row {
                backend,
                waiting: line.waiting,
                claim,
            });
        }
    }
    Ok(rows)
}

impl Line {
    async fn form(url: &str, waiting: u64) -> Result<Self> {
        let queue = format!("waiting-{waiting}");
        submit(url, &queue, Path::new("/none.csv"), waiting).await?;
        Ok(Self {
            server: Backend::connect(url).await?,
            queue,
            waiting,
            claims: Vec::new(),
        })
    }

    async fn claim(&mut self) -> Result {
        let options = ClaimOptions {
            worker: "bench".into(),
            nonce: uuid::Uuid::new_v4().to_string(),
            lease: Duration::from_secs(60),
            lost_max: 3,
            needs_binding: false,
            output: OutputId::default(),
            move_output: false,
        };
        let start = Instant::now();
        let claim = self.server.queue.claim(&self.queue, &options).await?;
        self.claims.push(start.elapsed());
        let claim = claim.ok_or("there was nothing to claim")?;
        Ok(self.server.queue.release(&claim.ticket).await?)
    }
}
