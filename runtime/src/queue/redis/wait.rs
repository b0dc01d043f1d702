//! Waits for wake tokens: takes the key of a list, and returns when the wait is over. All waiters of a list share one
//! blocking command.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::Cmd;
use tokio::sync::watch;

use super::connection::Connections;
use crate::error::{Code, Error, Result, Stage};

/// The shortest time for which a command blocks. The server's clock for blocking commands is coarse, and a timeout of
/// zero would block forever.
const BLOCK_MIN: Duration = Duration::from_millis(10);
/// The longest time for which a command blocks. It bounds how long a command goes on after all its waiters have left.
const BLOCK_MAX: Duration = Duration::from_secs(30);

/// The blocking commands that are running. If a waiter leaves, its command goes on, and the next waiter joins it. The
/// command is not dropped with the waiter, because a dropped command closes its connection, and waiters leave often. If
/// a token arrives when there is no waiter, the token is put back. A token is lost only if its waiter leaves between
/// the token's arrival and the waiter's next step.
pub(super) struct Waits {
    connections: Arc<Connections>,
    running: Arc<Mutex<Running>>,
}

type Running = HashMap<String, watch::Receiver<Option<End>>>;

#[derive(Clone)]
enum End {
    Token,
    Nothing,
    Failed(Arc<Error>),
}

impl Waits {
    pub(super) fn new(connections: Arc<Connections>) -> Self {
        Self {
            connections,
            running: Arc::default(),
        }
    }

    /// Returns when there is a token in the list, and after `timeout` at the latest.
    pub(super) async fn wait(&self, list: &str, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let mut running = self.join(list, left);
            let Ok(end) = tokio::time::timeout(left, running.wait_for(Option::is_some)).await else {
                return Ok(());
            };
            match end.ok().and_then(|end| end.clone()) {
                Some(End::Token) => return Ok(()),
                Some(End::Nothing) => {}
                Some(End::Failed(error)) => {
                    let message = format!("{}: wait", self.connections.name());
                    return Err(
                        Error::new(error.stage(), error.class(), error.code(), message).because(error)
                    );
                }
                None => {
                    let message = format!("{}: this program is ending", self.connections.name());
                    return Err(Error::transient(Stage::Queue, Code::Stopped, message));
                }
            }
        }
    }

    /// Joins the running command that blocks on the list, or starts such a command. Returns the channel on which the
    /// end of the command is announced.
    fn join(&self, list: &str, block: Duration) -> watch::Receiver<Option<End>> {
        let mut running = self.running.lock();
        // If the sender is gone, the command has ended together with the async runtime in which it ran.
        if let Some(one) = running.get(list).filter(|one| one.has_changed().is_ok()) {
            return one.clone();
        }
        let (ended, end) = watch::channel(None);
        running.insert(list.into(), end.clone());
        let block = block.clamp(BLOCK_MIN, BLOCK_MAX);
        tokio::spawn(run(
            Arc::clone(&self.connections),
            Arc::clone(&self.running),
            list.into(),
            block,
            ended,
        ));
        end
    }
}

async fn run(
    connections: Arc<Connections>,
    running: Arc<Mutex<Running>>,
    list: String,
    block: Duration,
    ended: watch::Sender<Option<End>>,
) {
    let pop = Cmd::new()
        .arg("BLPOP")
        .arg(&list)
        .arg(block.as_secs_f64())
        .to_owned();
    let answer = connections
        .query_apart::<Option<(String, String)>>(&pop, block)
        .await;
    // After this, no waiter can join this command, which already has its answer.
    running.lock().remove(&list);
    let end = match answer {
        Ok(Some(_)) => End::Token,
        Ok(None) => End::Nothing,
        Err(error) => End::Failed(Arc::new(error)),
    };
    if let Err(watch::error::SendError(Some(End::Token))) = ended.send(Some(end)) {
        // No waiter is left, so the token is put back. If this fails, another worker finds the new work a little later,
        // when its own wait is over.
        let push = Cmd::new().arg("RPUSH").arg(&list).arg("1").to_owned();
        let _ = connections.query::<()>(&push).await;
    }
}
