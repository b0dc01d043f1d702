//! Reloads the config file while a worker runs. SIGHUP comes in; new policies go to the worker, which uses them for new
//! claims.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::config_file::OF_PROGRAM;
use super::settings::{self, Resolved, Settings};
use super::signals::ReloadSignals;
use super::{policies, stores};
use crate::config::Limits;
use crate::error::{Error, Result};
use crate::fetch::AnsweredHosts;
use crate::plugin::Engine;
use crate::storage::object::ObjectStores;
use crate::worker::Policies;

/// Makes the policies of a running worker anew.
pub(super) struct Reloader {
    /// The settings with which the worker was started.
    pub(super) settings: Settings,
    pub(super) worker: Resolved,
    pub(super) queues: Vec<String>,
    pub(super) engine: Engine,
    pub(super) answered: Arc<AnsweredHosts>,
    pub(super) stores: ObjectStores,
    pub(super) changing: watch::Sender<Arc<Policies>>,
}

/// The task that reloads, until this value is dropped.
pub(super) struct Reloading(JoinHandle<()>);

impl Drop for Reloading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Reloader {
    /// Starts to reload the file at each signal. Without signals, the policies stay as they are.
    pub(super) fn start(self, signals: Option<ReloadSignals>) -> Reloading {
        Reloading(tokio::spawn(async move {
            let Some(mut signals) = signals else {
                return std::future::pending().await;
            };
            loop {
                signals.next().await;
                self.reload().await;
            }
        }))
    }

    async fn reload(&self) {
        let file = self.settings.path.as_ref().map(|path| path.display().to_string());
        match self.reloaded().await {
            Ok(fixed) => {
                tracing::info!(file, "config file reloaded: it holds for new claims");
                if !fixed.is_empty() {
                    tracing::warn!(
                        file,
                        settings = fixed.join(", "),
                        "these settings have changed, but take effect only at the next start"
                    );
                }
            }
            Err(error) => tracing::error!(
                file,
                error = error.report(),
                code = %error.code(),
                "config file not reloaded: the worker keeps the former settings"
            ),
        }
    }

    /// Reads the file and hands its policies to the worker. Returns the names of changed settings that a running worker
    /// cannot change. A queue that the worker will not serve after its next start keeps its former policy until then.
    async fn reloaded(&self) -> Result<Vec<String>> {
        let Some(path) = &self.settings.path else {
            return Ok(Vec::new());
        };
        let (settings, worker, policies, staying) = tokio::task::block_in_place(|| {
            let file = settings::load(path)?;
            file.warn_of_others();
            let settings = self.settings.with_file(file);
            let worker = settings.resolve(None)?;
            let stores = stores::with_file(&self.stores, settings.file.as_ref())?;
            let served = settings.queues(&worker);
            let queues = self.queues.iter().cloned();
            let (changing, staying): (Vec<_>, Vec<_>) = queues.partition(|queue| served.contains(queue));
            let mut policies = policies::of_queues(&settings, &worker, &changing, &self.answered, &stores)?;
            policies.retain(|(queues, _)| !queues.is_empty());
            for (_, policy) in &mut policies {
                let limits = Limits::clone(&policy.limits);
                policy.limits = Arc::new(limits.in_worker(&self.worker.limits));
            }
            Ok::<_, Error>((settings, worker, policies, staying))
        })?;
        let former = Arc::clone(&self.changing.borrow());
        let policies = Policies::new(&self.engine, policies).await?;
        self.changing
            .send_replace(Arc::new(policies.keeping(&former, &staying)));
        Ok(self.fixed(&settings, &worker))
    }

    fn fixed(&self, settings: &Settings, worker: &Resolved) -> Vec<String> {
        let of_program = OF_PROGRAM
            .iter()
            .filter(|name| settings.in_file(name) != self.settings.in_file(name))
            .map(|name| (*name).to_owned());
        let mut fixed = Vec::from_iter(of_program);
        if settings.queues(worker) != self.queues {
            fixed.push("queue".to_owned());
        }
        let before = self.worker.settings.iter().filter(|setting| !setting.is_of_queue);
        let now = worker.settings.iter().filter(|setting| !setting.is_of_queue);
        let changed = before
            .zip(now)
            .filter(|(before, now)| now.name != "queue" && before.value != now.value);
        fixed.extend(changed.map(|(_, now)| now.name.clone()));
        fixed
    }
}
