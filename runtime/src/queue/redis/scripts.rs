//! Loads the scripts that run on the Redis server. Each script is a file in `lua/`, which documents its arguments and
//! its result.

use redis::Script;

/// The scripts that run on the server. The server caches each script under its hash, so that only the hash is sent.
pub(super) struct Scripts {
    pub(super) submit: Script,
    pub(super) intake: Script,
    pub(super) import: Script,
    pub(super) claim: Script,
    pub(super) renew: Script,
    pub(super) settle: Script,
    pub(super) fail: Script,
    pub(super) release: Script,
    pub(super) cancel: Script,
    pub(super) retry_dead: Script,
    pub(super) purge_dead: Script,
    pub(super) reap: Script,
    pub(super) pause: Script,
    pub(super) elsewhere: Script,
    pub(super) status: Script,
    pub(super) requests: Script,
    pub(super) after: Script,
    pub(super) group: Script,
    pub(super) counts: Script,
    pub(super) bind: Script,
    pub(super) audit: Script,
    pub(super) audit_nonces: Script,
    pub(super) note_reached: Script,
}

macro_rules! script {
    ($name:literal) => {
        Script::new(concat!(
            include_str!("lua/prelude.lua"),
            include_str!(concat!("lua/", $name, ".lua"))
        ))
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
