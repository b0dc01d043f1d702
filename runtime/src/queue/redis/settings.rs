//! Checks whether the server is set up to keep requests: reads the server's statements about itself, and returns a
//! sentence for each danger.

use std::collections::HashMap;

use redis::Cmd;

use super::connection::Connections;
use crate::error::Result;

/// The lowest server version with which the scripts work.
const VERSION_MIN: (u32, u32) = (6, 2);

/// The advice for a server that may lose data: the settings with which this program's promises hold.
const SET: &str = "set `appendonly yes` and `appendfsync always`";

/// The server's statements about itself. A field is `None` if this user may not ask for it.
#[derive(Debug, Default)]
struct Facts {
    info: Option<HashMap<String, String>>,
    config: Option<HashMap<String, String>>,
}

pub(super) async fn settings(connections: &Connections) -> Result<Vec<String>> {
    let info = connections
        .query_if_granted::<String>(&redis::cmd("INFO"))
        .await?;
    let mut facts = Facts {
        info: info.as_deref().map(fields),
        config: None,
    };
    for pattern in ["*append*", "save"] {
        let get = Cmd::new().arg("CONFIG").arg("GET").arg(pattern).to_owned();
        let found = connections
            .query_if_granted::<HashMap<String, String>>(&get)
            .await?;
        if let Some(found) = found {
            facts.config.get_or_insert_default().extend(found);
        }
    }
    Ok(facts.dangers())
}

/// Returns the fields in the answer to INFO.
fn fields(info: &str) -> HashMap<String, String> {
    let fields = info.lines().filter_map(|line| line.trim_end().split_once(':'));
    fields
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

impl Facts {
    fn info(&self, name: &str) -> Option<&str> {
        self.info.as_ref()?.get(name).map(String::as_str)
    }

    fn config(&self, name: &str) -> Option<&str> {
        self.config.as_ref()?.get(name).map(String::as_str)
    }

    fn dangers(&self) -> Vec<String> {
        if self.info.is_none() {
            let unknown = "this user may not run INFO, so that version, role, persistence and eviction could not be checked: \
                           allow it with `+info`";
            return vec![unknown.into()];
        }
        let found = [
            self.version(),
            self.role(),
            self.files(),
            self.syncs(),
            self.rewrites(),
            self.eviction(),
        ];
        found.into_iter().flatten().collect()
    }

    fn version(&self) -> Option<String> {
        let (major, minor) = VERSION_MIN;
        let Some(version) = self.info("redis_version") else {
            return Some("it does not tell its version, which could not be checked".into());
        };
        let mut numbers = version.split('.').map_while(|part| part.parse::<u32>().ok());
        let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        (found < VERSION_MIN).then(|| {
            format!("it is version {version}, and the queue's scripts need {major}.{minor}: use a newer one")
        })
    }

    fn role(&self) -> Option<String> {
        (self.info("role") == Some("slave"))
            .then(|| "it is a replica, which takes no writes: connect to its primary".into())
    }

    /// Returns the danger that a restart loses data, if there is one.
    fn files(&self) -> Option<String> {
        match self.info("aof_enabled") {
            Some("1") if self.info("aof_last_write_status") == Some("err") => Some(
                "it could not write its append-only file the last time: see its log, and give its disk room"
                    .into(),
            ),
            Some("1") => None,
            Some(_) => Some(match self.config("save") {
                Some("") => format!(
                    "it writes nothing to disk (`appendonly no`, no `save`), so that a restart loses every request and plugin: {SET}"
                ),
                Some(save) => format!(
                    "it writes snapshots only (`appendonly no`, `save {save}`), so that a crash loses what came after the last one: \
                     {SET}"
                ),
                None => format!(
                    "it has no append-only file (`appendonly no`), so that a crash loses all or what came after the last snapshot: \
                     {SET}"
                ),
            }),
            None => {
                Some("it does not tell whether it has an append-only file, which could not be checked".into())
            }
        }
    }

    /// Returns the danger that acknowledged data is not on disk yet, if there is one.
    fn syncs(&self) -> Option<String> {
        if self.info("aof_enabled") != Some("1") {
            return None;
        }
        let set = "set `appendfsync always` if none may be lost";
        match self.config("appendfsync") {
            Some("always") => None,
            Some("everysec") => Some(format!(
                "it syncs its append-only file once a second (`appendfsync everysec`), so that a crash of its machine may lose the \
                 last two seconds of what it acknowledged: {set}"
            )),
            Some(other) => Some(format!(
                "it leaves it to the system when its append-only file is synced (`appendfsync {other}`), so that a crash of its \
                 machine may lose the last half minute or more: {set}"
            )),
            None => Some(format!(
                "it does not let this user run CONFIG GET, so that `appendfsync` could not be checked: {set}"
            )),
        }
    }

    fn rewrites(&self) -> Option<String> {
        let is_off = self.info("aof_enabled") == Some("1")
            && self.config("appendfsync") != Some("no")
            && self.config("no-appendfsync-on-rewrite") == Some("yes");
        is_off.then(|| {
            "it does not sync its append-only file while it rewrites it (`no-appendfsync-on-rewrite yes`), so that a crash of its \
             machine then may lose more: set `no-appendfsync-on-rewrite no`"
                .into()
        })
    }

    /// Returns the danger that the server evicts keys, if there is one. Policies that evict only keys with an expiry
    /// (`volatile-...`) are harmless, because a queue's keys have no expiry.
    fn eviction(&self) -> Option<String> {
        let (Some(maxmemory), Some(policy)) = (self.info("maxmemory"), self.info("maxmemory_policy")) else {
            return Some(
                "it does not tell `maxmemory` and its policy, so that eviction could not be checked".into(),
            );
        };
        let evicts = maxmemory != "0" && policy != "noeviction" && !policy.starts_with("volatile-");
        evicts.then(|| {
            format!(
                "it evicts keys when its memory is full (`maxmemory {maxmemory}`, `maxmemory-policy {policy}`), so that requests \
                 vanish: set `maxmemory-policy noeviction`"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the dangers of a server whose settings are good except for the given ones.
    fn dangers(info: &[(&str, &str)], config: Option<&[(&str, &str)]>) -> Vec<String> {
        let mut facts = Facts {
            info: Some(fields(
                "# Server\r\nredis_version:7.2.4\r\nrole:master\r\naof_enabled:1\r\naof_last_write_status:ok\r\n\
                 maxmemory:0\r\nmaxmemory_policy:noeviction\r\n",
            )),
            config: config.map(|_| HashMap::from([("appendfsync".into(), "always".into())])),
        };
        let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs
                .iter()
                .map(|&(name, value)| (name.into(), value.into()))
                .collect()
        };
        facts.info.get_or_insert_default().extend(own(info));
        if let (Some(found), Some(config)) = (&mut facts.config, config) {
            found.extend(own(config));
        }
        facts.dangers()
    }

    #[test]
    fn a_server_as_it_should_be_has_no_dangers() {
        assert_eq!(dangers(&[], Some(&[])), Vec::<String>::new());
        for version in ["6.2.0", "6.2.14", "7.0", "8.0.1", "255.255.255"] {
            assert_eq!(
                dangers(&[("redis_version", version)], Some(&[])),
                Vec::<String>::new()
            );
        }
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        for version in ["6.0.16", "5.9", "2.8.4", "unstable"] {
            let found = dangers(&[("redis_version", version)], Some(&[]));
            assert!(found.len() == 1 && found[0].contains(version), "{found:?}");
        }
    }

    #[test]
    fn what_cannot_be_asked_is_said() {
        let found = dangers(&[], None);
        assert!(found.len() == 1 && found[0].contains("CONFIG GET"), "{found:?}");
        let found = dangers(&[("aof_enabled", "0")], None);
        assert!(
            found.len() == 1 && found[0].contains("no append-only file"),
            "{found:?}"
        );
        let nothing = Facts::default().dangers();
        assert!(nothing.len() == 1 && nothing[0].contains("+info"), "{nothing:?}");
        let silent = Facts {
            info: Some(HashMap::new()),
            config: None,
        };
        assert_eq!(silent.dangers().len(), 3);
    }

    #[test]
    fn a_full_disk_and_unsynced_rewrites_are_dangers() {
        let found = dangers(
            &[("aof_last_write_status", "err")],
            Some(&[("no-appendfsync-on-rewrite", "yes")]),
        );
        assert!(
            found.len() == 2 && found[0].contains("disk") && found[1].contains("rewrite"),
            "{found:?}"
        );
    }
}
