//! The plugins of a server: components go in under their digest, and each queue's numbered bindings say which one its
//! requests go through.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::config::LimitOverrides;
use crate::error::{Code, Error, Result, Stage};
use crate::gate::Gate;
use crate::request::InputOptions;

/// A component in the server's store. What a newer program may say of it beside this is for people, and passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// Of the component file; its key.
    pub sha256: String,
    /// The name that the plugin gives itself.
    pub name: String,
    /// The version that the plugin gives itself.
    pub version: String,
    /// Of the component file.
    pub bytes: u64,
    /// When it was pushed, in milliseconds since 1970.
    pub pushed_ms: i64,
}

/// Which plugin a queue's requests go through, with which config. A member that this program does not know is refused: a newer
/// program has bound more than this one would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// Counted from 1 within the queue.
    pub number: u64,
    /// The component.
    pub sha256: String,
    /// The plugin's name, for people.
    pub name: String,
    /// The plugin's version, for people.
    pub version: String,
    /// The JSON document that the plugin is opened with.
    pub config: String,
    /// Limits that are lower than a worker's own.
    #[serde(default, skip_serializing_if = "LimitOverrides::is_empty")]
    pub limits: LimitOverrides,
    /// Which outputs may be published, whatever else the worker demands. The default is left out.
    #[serde(default, skip_serializing_if = "Gate::is_default")]
    pub gate: Gate,
    /// How to read the inputs of requests that do not say it.
    #[serde(default, skip_serializing_if = "InputOptions::is_default")]
    pub input: InputOptions,
    /// When it was made, in milliseconds since 1970.
    pub bound_ms: i64,
    /// The binding whose plugin and config this one brought back.
    pub rollback_of: Option<u64>,
}

/// The plugins of one server: components by digest, and each queue's numbered bindings.
#[async_trait]
pub trait Registry: Send + Sync {
    /// Stores a component under its digest. Storing it again changes only when it was pushed, so `NAME@VERSION` then
    /// means this one.
    async fn push_component(&self, component: &Component, bytes: &[u8]) -> Result<()>;

    /// The bytes of a component; none if the server does not have it. The caller checks the digest. An error of class
    /// [`crate::error::Class::Permanent`] if it has more than `bytes_max`, none of which is fetched.
    async fn component(&self, sha256: &str, bytes_max: usize) -> Result<Option<Vec<u8>>>;

    /// All components, the newest first.
    async fn components(&self) -> Result<Vec<Component>>;

    /// Puts a binding in force in one step, for every claim from then on. `binding.number` is ignored: the number is one
    /// more than that of the queue's last binding, and is returned. An error of class
    /// [`crate::error::Class::Permanent`] if `expected` is given and is not the number in force (0 for none).
    async fn bind(&self, queue: &str, binding: &Binding, expected: Option<u64>) -> Result<u64>;

    /// One binding by its number; none if there is no such binding.
    async fn binding(&self, queue: &str, number: u64) -> Result<Option<Binding>>;

    /// All bindings of a queue, the newest first.
    async fn bindings(&self, queue: &str) -> Result<Vec<Binding>>;

    /// Grows when a claim finds that the server has lost data. Numbers of bindings may then name others than before.
    fn losses_seen(&self) -> u64 {
        0
    }
}

/// Checks what a server has before it is fetched.
pub(super) fn check_size(bytes: u64, bytes_max: usize) -> Result<()> {
    if bytes <= bytes_max as u64 {
        return Ok(());
    }
    let why = format!(
        "the component has {bytes} bytes, more than the limit of {bytes_max} (--limit component-bytes)"
    );
    Err(Error::permanent(Stage::Plugin, Code::PluginUnfit, why))
}
