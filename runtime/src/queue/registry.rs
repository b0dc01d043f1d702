//! Stores the plugins of a server. Components are stored under their digest. The numbered bindings of each queue say
//! which component processes the queue's requests.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::config::LimitOverrides;
use crate::error::{Code, Error, Result, Stage};
use crate::gate::Gate;
use crate::request::InputOptions;

/// A component in the server's store. Members that a newer program has added are ignored, because only people read
/// them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// The SHA-256 of the component file, which is the component's key.
    pub sha256: String,
    /// The name that the plugin gives itself.
    pub name: String,
    /// The version that the plugin gives itself.
    pub version: String,
    /// The length of the component file in bytes.
    pub bytes: u64,
    /// The time at which the component was pushed, in milliseconds since 1970.
    pub pushed_ms: i64,
}

/// The plugin that processes a queue's requests, with its config and options. A binding with an unknown member is
/// refused, because the member may be an option that only newer programs know. If this program accepted the binding, it
/// would ignore the option.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "BindingRecord", try_from = "BindingRecord")]
pub struct Binding {
    /// The binding's number, counted from 1 within the queue.
    pub number: u64,
    /// The plugins that process the records, in order. This version makes and reads only bindings with one plugin: see
    /// [`Binding::step`].
    pub steps: Vec<Step>,
    /// Limits that replace a worker's own limits if they are lower.
    pub limits: LimitOverrides,
    /// The bounds on rejects and on the number of records. They apply in addition to the worker's own bounds.
    pub gate: Gate,
    /// The options for reading inputs. A request's own options override them.
    pub input: InputOptions,
    /// The time at which the binding was made, in milliseconds since 1970.
    pub bound_ms: i64,
    /// The number of the binding that this binding restored, or `None` if it restored none.
    pub rollback_of: Option<u64>,
}

/// A plugin of a binding, with its config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The SHA-256 of the component.
    pub sha256: String,
    /// The plugin's name, for people.
    pub name: String,
    /// The plugin's version, for people.
    pub version: String,
    /// The plugin's config, a JSON document.
    pub config: String,
    /// The reference data that the plugin can read, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, StepData>,
}

/// Reference data of a step. Its bytes are stored under their digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepData {
    /// The SHA-256 of the bytes, in lowercase hex.
    pub sha256: String,
    /// The number of bytes.
    pub bytes: u64,
    /// The URI or path from which `bind` read the data, without credentials, for people.
    pub uri: String,
}

impl Step {
    /// Returns the plugin's name and version as `NAME@VERSION`.
    pub fn plugin(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }
}

impl Binding {
    /// Returns the binding's only step.
    ///
    /// # Panics
    /// Panics if the binding does not have exactly one step. Every binding of this version has one step.
    pub fn step(&self) -> &Step {
        match self.steps.as_slice() {
            [step] => step,
            steps => panic!("a binding of this version has one step, not {}", steps.len()),
        }
    }
}

/// The stored form of a binding. A single step is stored as members of the binding, because version 0.1.0 reads it in
/// this form.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BindingRecord {
    number: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<String>,
    // Version 0.1.0 refuses a binding with this member, because it cannot give the data to the plugin.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    data: BTreeMap<String, StepData>,
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<Vec<Step>>,
    #[serde(default, skip_serializing_if = "LimitOverrides::is_empty")]
    limits: LimitOverrides,
    #[serde(default, skip_serializing_if = "Gate::is_default")]
    gate: Gate,
    #[serde(default, skip_serializing_if = "InputOptions::is_default")]
    input: InputOptions,
    bound_ms: i64,
    rollback_of: Option<u64>,
}

impl From<Binding> for BindingRecord {
    fn from(binding: Binding) -> Self {
        let step = binding.step().clone();
        Self {
            number: binding.number,
            sha256: Some(step.sha256),
            name: Some(step.name),
            version: Some(step.version),
            config: Some(step.config),
            data: step.data,
            steps: None,
            limits: binding.limits,
            gate: binding.gate,
            input: binding.input,
            bound_ms: binding.bound_ms,
            rollback_of: binding.rollback_of,
        }
    }
}

impl TryFrom<BindingRecord> for Binding {
    type Error = String;

    fn try_from(stored: BindingRecord) -> Result<Self, String> {
        let short = (stored.sha256, stored.name, stored.version, stored.config);
        let steps = match (stored.steps, short) {
            (Some(steps), _) if steps.len() != 1 => {
                return Err(format!("it has {} steps, and this version runs one", steps.len()));
            }
            (Some(steps), (None, None, None, None)) if stored.data.is_empty() => steps,
            (None, (Some(sha256), Some(name), Some(version), Some(config))) => vec![Step {
                sha256,
                name,
                version,
                config,
                data: stored.data,
            }],
            _ => return Err("it needs either steps, or sha256, name, version and config".to_owned()),
        };
        Ok(Self {
            number: stored.number,
            steps,
            limits: stored.limits,
            gate: stored.gate,
            input: stored.input,
            bound_ms: stored.bound_ms,
            rollback_of: stored.rollback_of,
        })
    }
}

/// Writes a binding as lists show it: its stored form, and its list of steps.
#[expect(clippy::borrowed_box, reason = "serde passes the field by reference")]
fn with_steps<S: Serializer>(binding: &Box<Binding>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct BindingDocument<'a> {
        #[serde(flatten)]
        binding: &'a Binding,
        steps: &'a [Step],
    }
    let steps = &binding.steps;
    BindingDocument { binding, steps }.serialize(serializer)
}

/// A binding in the list of a queue's bindings. The JSON form of a readable binding is its stored form, and its list of
/// steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ListedBinding {
    /// A binding that this host can read.
    Readable(#[serde(serialize_with = "with_steps")] Box<Binding>),
    /// A binding that this host cannot read, perhaps because a newer host made it.
    Unreadable(UnreadableBinding),
}

/// A stored binding that this host cannot read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnreadableBinding {
    /// The binding's number.
    pub number: u64,
    /// The number of the binding that this binding restored, or `None` if it restored none or the number cannot be
    /// read.
    pub rollback_of: Option<u64>,
    /// The code of `error`.
    pub code: Code,
    /// The reason why the binding cannot be read.
    pub error: String,
}

impl ListedBinding {
    /// Returns the list entry for a stored document. `read` is the result of reading the document.
    pub(super) fn new(number: u64, document: &str, read: Result<Binding>) -> Self {
        match read {
            Ok(binding) => Self::Readable(Box::new(binding)),
            Err(error) => Self::Unreadable(UnreadableBinding {
                number,
                rollback_of: serde_json::from_str::<Value>(document)
                    .ok()
                    .and_then(|document| document.get("rollback_of")?.as_u64()),
                code: error.code(),
                error: error.report(),
            }),
        }
    }

    /// Returns the binding's number.
    pub fn number(&self) -> u64 {
        match self {
            Self::Readable(binding) => binding.number,
            Self::Unreadable(binding) => binding.number,
        }
    }

    /// Returns the number of the binding from which the plugin, config and options come: the number of the restored
    /// binding if a rollback made this binding, otherwise this binding's own number.
    pub fn restored_number(&self) -> u64 {
        let rollback_of = match self {
            Self::Readable(binding) => binding.rollback_of,
            Self::Unreadable(binding) => binding.rollback_of,
        };
        let number = self.number();
        rollback_of
            .filter(|earlier| (1..number).contains(earlier))
            .unwrap_or(number)
    }
}

/// The plugins of one server: components by digest, and the numbered bindings of each queue.
#[async_trait]
pub trait Registry: Send + Sync {
    /// Stores a component under its digest. If the server already has the component, only the time of its push changes.
    /// If several components have the same name and version, `NAME@VERSION` means the one that was pushed last.
    async fn push_component(&self, component: &Component, bytes: &[u8]) -> Result<()>;

    /// Returns the bytes of a component, or `None` if the server does not have it. The caller checks the digest. If the
    /// component has more than `bytes_max` bytes, nothing is fetched, and this fails with
    /// [`crate::error::Class::Permanent`].
    async fn component(&self, sha256: &str, bytes_max: usize) -> Result<Option<Vec<u8>>>;

    /// Stores reference data under its digest, if the server does not have it.
    async fn push_data(&self, sha256: &str, bytes: &[u8]) -> Result<()>;

    /// Returns reference data, or `None` if the server does not have it. The caller checks the digest. If the data has
    /// more than `bytes_max` bytes, nothing is fetched, and this fails with [`crate::error::Class::Permanent`].
    async fn data(&self, sha256: &str, bytes_max: usize) -> Result<Option<Vec<u8>>>;

    /// Returns all components, the newest first.
    async fn components(&self) -> Result<Vec<Component>>;

    /// Puts a binding in force for every later claim, in one atomic step. Returns the new binding's number, which is
    /// one more than the number of the queue's last binding. Ignores `binding.number`. Fails with
    /// [`crate::error::Class::Permanent`] if `expected` is given and is not the number of the binding in force (0 if
    /// the queue has no binding).
    async fn bind(&self, queue: &str, binding: &Binding, expected: Option<u64>) -> Result<u64>;

    /// Returns a binding by its number, or `None` if there is no such binding.
    async fn binding(&self, queue: &str, number: u64) -> Result<Option<Binding>>;

    /// Returns all bindings of a queue, the newest first, including bindings that this host cannot read.
    async fn bindings(&self, queue: &str) -> Result<Vec<ListedBinding>>;

    /// Returns how often a claim has found that the server lost data. After a loss, the same number may mean another
    /// binding.
    fn losses_seen(&self) -> u64 {
        0
    }
}

/// Checks the size of stored reference data before the data is fetched.
pub(super) fn check_data_size(bytes: u64, bytes_max: usize) -> Result<()> {
    if bytes <= bytes_max as u64 {
        return Ok(());
    }
    let why = format!("the reference data has {bytes} bytes, more than the limit of {bytes_max}");
    Err(Error::permanent(Stage::Plugin, Code::PluginUnfit, why))
}

/// Checks the size of a stored component before the component is fetched.
pub(super) fn check_size(bytes: u64, bytes_max: usize) -> Result<()> {
    if bytes <= bytes_max as u64 {
        return Ok(());
    }
    let why = format!(
        "the component has {bytes} bytes, more than the limit of {bytes_max} (--limit component-bytes)"
    );
    Err(Error::permanent(Stage::Plugin, Code::PluginUnfit, why))
}
