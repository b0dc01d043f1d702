//! Reloads the config file while a worker runs. SIGHUP comes in; new policies go to the worker, which uses them for new
//! claims.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::config_file::OF_PROGRAM;
use super::settings::{self, Resolved, Settings};
use super::signals::ReloadSignals;
use super::{policies, stores};
use crate::config::Limits;
use crate::document::refuse_pipes;
use crate::error::{Class, Code, Error, Result, Stage};
use crate::fetch::AnsweredHosts;
use crate::plugin::Engine;
use crate::stop::Stop;
use crate::storage::object::ObjectStores;
use crate::worker::Policies;

/// Makes the policies of a running worker anew.
pub(super) struct Reloader {
    /// The settings with which the worker was started.
    pub(super) settings: Settings,
    pub(super) worker: Resolved,
    pub(super) queues: Vec<String>,
    /// The queues whose present policy comes from a table of their own.
    pub(super) of_tables: BTreeSet<String>,
    pub(super) engine: Engine,
    pub(super) answered: Arc<AnsweredHosts>,
    pub(super) stores: ObjectStores,
    pub(super) changing: watch::Sender<Arc<Policies>>,
}

/// The task that reloads, until this value is dropped.
pub(super) struct Reloading {
    task: JoinHandle<()>,
    /// Ends the reload under way, which may wait for a store.
    stop: Arc<Mutex<Stop>>,
}

impl Drop for Reloading {
    fn drop(&mut self) {
        self.task.abort();
        self.stop.lock().request(Class::Cancelled, "the worker stops");
    }
}

/// The result of a reload: the names of what it has left as it was.
struct Unchanged {
    /// Changed settings that take effect only at the next start.
    settings: Vec<String>,
    /// Queues that have lost their table.
    queues: Vec<String>,
}

impl Reloader {
    /// Starts to reload the file at each signal. A new signal ends the reload under way, because the file may have
    /// changed since. Without signals, the policies stay as they are.
    pub(super) fn start(mut self, signals: Option<ReloadSignals>) -> Reloading {
        refuse_pipes();
        let stop = Arc::new(Mutex::new(Stop::default()));
        let latest = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let Some(mut signals) = signals else {
                return std::future::pending().await;
            };
            signals.next().await;
            loop {
                let stop = Stop::default();
                *latest.lock() = stop.clone();
                tokio::select! {
                    () = self.reload(&stop) => signals.next().await,
                    () = signals.next() => {
                        stop.request(Class::Cancelled, "a newer reload has begun");
                        tracing::info!("reload ended by a newer one");
                    }
                }
            }
        });
        Reloading { task, stop }
    }

    async fn reload(&mut self, stop: &Stop) {
        let file = self.settings.path.as_ref().map(|path| path.display().to_string());
        match self.reloaded(stop).await {
            Ok(unchanged) => {
                tracing::info!(file, "config file reloaded: it holds for new claims");
                if !unchanged.settings.is_empty() {
                    tracing::warn!(
                        file,
                        settings = unchanged.settings.join(", "),
                        "these settings have changed, but take effect only at the next start"
                    );
                }
                if !unchanged.queues.is_empty() {
                    tracing::warn!(
                        file,
                        queues = unchanged.queues.join(", "),
                        "these queues have no table in the config file any more: they keep their former settings until the next start"
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

    /// Reads the file and hands its policies to the worker. A queue that the worker will not serve after its next start
    /// keeps its former policy until then. So does a queue that has lost its table, because the settings of the worker may
    /// allow more.
    async fn reloaded(&mut self, stop: &Stop) -> Result<Unchanged> {
        let Some(path) = &self.settings.path else {
            return Ok(Unchanged {
                settings: Vec::new(),
                queues: Vec::new(),
            });
        };
        let (settings, worker, policies, staying, without_table) = tokio::task::block_in_place(|| {
            let file = settings::load(path)?;
            // An editor or a copy may be about to write the rest.
            if file.is_empty() && self.settings.file.as_ref().is_some_and(|file| !file.is_empty()) {
                let what = format!("{}: sets nothing: is it written completely?", path.display());
                return Err(Error::permanent(Stage::Config, Code::SettingsInvalid, what));
            }
            file.warn_of_others();
            let settings = self.settings.with_file(file);
            let worker = settings.resolve(None)?;
            let stores = stores::with_file(&self.stores, settings.file.as_ref())?;
            let served = settings.queues(&worker);
            let has_lost_table =
                |queue: &String| self.of_tables.contains(queue) && !settings.has_table(queue);
            let queues = self.queues.iter().cloned();
            let (changing, staying): (Vec<_>, Vec<_>) =
                queues.partition(|queue| served.contains(queue) && !has_lost_table(queue));
            let without_table: Vec<_> = staying
                .iter()
                .filter(|queue| served.contains(queue))
                .cloned()
                .collect();
            let mut policies = policies::of_queues(&settings, &worker, &changing, &self.answered, &stores)?;
            policies.retain(|(queues, _)| !queues.is_empty());
            for (_, policy) in &mut policies {
                let limits = Limits::clone(&policy.limits);
                policy.limits = Arc::new(limits.in_worker(&self.worker.limits));
            }
            Ok::<_, Error>((settings, worker, policies, staying, without_table))
        })?;
        let former = Arc::clone(&self.changing.borrow());
        let policies = Policies::anew(&self.engine, policies, stop).await?;
        self.changing
            .send_replace(Arc::new(policies.keeping(&former, &staying)));
        let with_table = self.queues.iter().filter(|queue| settings.has_table(queue));
        self.of_tables.extend(with_table.cloned());
        Ok(Unchanged {
            settings: self.fixed(&settings, &worker),
            queues: without_table,
        })
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
