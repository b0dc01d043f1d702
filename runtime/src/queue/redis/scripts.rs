//! Loads the scripts that run on the Redis server. Each script is a file in `lua/`, which documents its arguments and
//! its result.

use std::sync::LazyLock;

use redis::Script;

/// A script that is hashed when it is used for the first time. A command uses only a few of the scripts.
pub(super) type LazyScript = LazyLock<Script>;

/// The scripts that run on the server. The server caches each script under its hash, so that only the hash is sent.
pub(super) struct Scripts {
    pub(super) submit: LazyScript,
    pub(super) intake: LazyScript,
    pub(super) import: LazyScript,
    pub(super) claim: LazyScript,
    pub(super) renew: LazyScript,
    pub(super) settle: LazyScript,
    pub(super) fail: LazyScript,
    pub(super) release: LazyScript,
    pub(super) cancel: LazyScript,
    pub(super) retry_dead: LazyScript,
    pub(super) purge_dead: LazyScript,
    pub(super) reap: LazyScript,
    pub(super) pause: LazyScript,
    pub(super) elsewhere: LazyScript,
    pub(super) status: LazyScript,
    pub(super) requests: LazyScript,
    pub(super) after: LazyScript,
    pub(super) group: LazyScript,
    pub(super) counts: LazyScript,
    pub(super) bind: LazyScript,
    pub(super) audit: LazyScript,
    pub(super) audit_nonces: LazyScript,
    pub(super) note_reached: LazyScript,
}

macro_rules! script {
    ($name:literal) => {
        LazyLock::new(|| {
            Script::new(concat!(
                include_str!("lua/prelude.lua"),
                include_str!(concat!("lua/", $name, ".lua"))
            ))
        })
    };
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            submit: script!("submit"),
            intake: script!("intake"),
            import: script!("import"),
            claim: script!("claim"),
            renew: script!("renew"),
            settle: script!("settle"),
            fail: script!("fail"),
            release: script!("release"),
            cancel: script!("cancel"),
            retry_dead: script!("retry_dead"),
            purge_dead: script!("purge_dead"),
            reap: script!("reap"),
            pause: script!("pause"),
            elsewhere: script!("elsewhere"),
            status: script!("status"),
            requests: script!("requests"),
            after: script!("after"),
            group: script!("group"),
            counts: script!("counts"),
            bind: script!("bind"),
            audit: script!("audit"),
            audit_nonces: script!("audit_nonces"),
            note_reached: script!("note_reached"),
        }
    }
}
