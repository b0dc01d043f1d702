//! Remembers the hosts that have answered: hosts go in; those that are new come out once, so that a worker can report
//! them.

use std::collections::HashSet;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The maximum number of hosts that are remembered as reached. If one more host answers, the list is emptied. After
/// that, each host is noted and reported again at its next answer.
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
    /// Notes that a host has answered. If `max` hosts are already noted, forgets all of them first. Returns whether the
    /// host is new.
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
    /// Returns whether a host (`HOST:PORT`) is remembered as reached: it has accepted a connection.
    pub fn has(&self, host: &str) -> bool {
        self.hosts.lock().all.contains(host)
    }

    /// Waits until a host answers for the first time. If several callers wait, only one of the calls returns.
    pub async fn until_news(&self) {
        self.has_news.notified().await;
    }

    /// Returns the hosts that have answered for the first time since the last call of this function.
    pub fn take_news(&self) -> Vec<String> {
        std::mem::take(&mut self.hosts.lock().news)
    }

    /// Takes back hosts that [`AnsweredHosts::take_news`] has returned, if the caller could not record them. The next
    /// call of [`AnsweredHosts::take_news`] returns them again.
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
