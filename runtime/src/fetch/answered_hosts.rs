//! Remembers the hosts that have answered: hosts go in; those that are new come out once, so that a worker can report
//! them.

use std::collections::HashSet;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The most hosts that are remembered as reached. One more host empties the list; then all hosts are noted and reported
/// again.
const REACHED_MAX: usize = 10_000;

/// The hosts (`HOST:PORT`) that have answered. Several fetchers can share one list.
#[derive(Debug, Default)]
pub struct AnsweredHosts {
    hosts: Mutex<Hosts>,
    has_news: Notify,
}

#[derive(Debug, Default)]
struct Hosts {
    all: HashSet<String>,
    /// The hosts that have not been reported yet.
    news: Vec<String>,
}

impl Hosts {
    /// Notes that a host has answered; forgets all earlier ones if there are `max` already. Returns whether the host is
    /// new.
    fn note(&mut self, host: String, max: usize) -> bool {
        if self.all.contains(&host) {
            return false;
        }
        if self.all.len() >= max {
            self.all.clear();
        }
        self.all.insert(host.clone());
        self.news.push(host);
        true
    }
}

impl AnsweredHosts {
    /// Returns whether a host (`HOST:PORT`) has taken a connection lately.
    pub fn has(&self, host: &str) -> bool {
        self.hosts.lock().all.contains(host)
    }

    /// Waits until a host answers for the first time. If several callers wait, only one of them returns.
    pub async fn until_news(&self) {
        self.has_news.notified().await;
    }

    /// Returns the hosts that have answered for the first time since the last call.
    pub fn take_news(&self) -> Vec<String> {
        std::mem::take(&mut self.hosts.lock().news)
    }

    /// Takes back hosts that [`AnsweredHosts::take_news`] returned and that could not be noted; the next call returns
    /// them again.
    pub fn still_news(&self, hosts: Vec<String>) {
        let news = &mut self.hosts.lock().news;
        news.extend(hosts);
        news.truncate(REACHED_MAX);
    }

    pub(super) fn note(&self, host: String) {
        if self.hosts.lock().note(host, REACHED_MAX) {
            self.has_news.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_news_once_and_again_after_many_others() {
        let mut hosts = Hosts::default();
        let mut told = Vec::new();
        for host in ["a", "b", "a", "c", "c", "a", "a", "b", "d"] {
            if hosts.note(host.to_owned(), 2) {
                told.push(std::mem::take(&mut hosts.news));
            }
            assert!(hosts.all.contains(host) && hosts.all.len() <= 2 && hosts.news.is_empty());
        }
        assert_eq!(told, [["a"], ["b"], ["c"], ["a"], ["b"], ["d"]]);
    }
}
