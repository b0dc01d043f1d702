//! Stores components on the queue's server, and binds queues to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::plugin_config::PluginConfig;
use super::queues::{NewQueue, check_known};
use crate::config::{LimitValue, Limits};
use crate::error::{Code, Error, Result, Stage};
use crate::gate::Gate;
use crate::names::check_usable_queue_name;
use crate::plugin::{DATA_BYTES_MAX, Description, Engine, ReferenceData, data_missing};
use crate::queue::{Backend, Binding, Component, ListedBinding, Registry, Step, StepData, UnreadableBinding};
use crate::request::InputOptions;

/// The maximum number of bytes of a stored component that is to be bound. It is the highest value that `--limit
/// component-bytes` may have.
const COMPONENT_BYTES_MAX: usize = 1 << 30;

/// The minimum similarity, from 0 to 1, of two plugins' names that a person can confuse.
const NEAR: f64 = 0.7;

/// The result of a push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pushed {
    /// The component as it is stored.
    pub component: Component,
    /// The SHA-256 of the component that had the same name and version before. `None` if there was none, or if it was
    /// the same component.
    pub replaced: Option<String>,
}

/// The plugin to which a queue is to be bound, with its config and options.
#[derive(Debug, Clone)]
pub struct BindRequest {
    /// The queue. It need not exist.
    pub queue: String,
    /// The plugin: `NAME@VERSION` or `sha256:HEX`.
    pub plugin: String,
    /// The plugin's config.
    pub config: PluginConfig,
    /// The reference data that the plugin can read.
    pub data: Vec<BindData>,
    /// The limits that the binding lowers.
    pub limits: Vec<LimitValue>,
    /// The gate: the bounds on rejects and on the number of records.
    pub gate: Gate,
    /// The options for reading inputs. A request's own options override them.
    pub input: InputOptions,
}

/// Reference data for a binding.
#[derive(Debug, Clone)]
pub struct BindData {
    /// The name under which the plugin reads the data.
    pub name: String,
    /// The URI or path from which the data was read, without credentials, for people.
    pub uri: String,
    /// The data.
    pub bytes: Arc<[u8]>,
}

/// The result of a bind or a rollback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bound {
    /// The queue.
    pub queue: String,
    /// The binding that is in force now.
    pub binding: Binding,
    /// Set if the queue is new.
    pub new_queue: Option<NewQueue>,
    /// The binding that was in force before a bind. `None` if there was none, or if this host cannot read it.
    pub replaced: Option<Box<Binding>>,
    /// The bindings that a rollback has passed over because this host cannot read them, the newest first. The first one
    /// may be the binding that was in force before the rollback.
    pub passed_over: Vec<UnreadableBinding>,
}

/// Stores a component that this host has loaded.
///
/// # Errors
/// Fails if the server fails.
pub async fn push(backend: &Backend, description: &Description, bytes: &[u8]) -> Result<Pushed> {
    let Description {
        name,
        version,
        sha256,
        ..
    } = description.clone();
    let registry = &*backend.registry;
    let before = find(registry, &format!("{name}@{version}")).await.ok();
    let replaced = before
        .map(|before| before.sha256)
        .filter(|before| *before != sha256);
    let component = Component {
        sha256,
        name,
        version,
        bytes: bytes.len() as u64,
        pushed_ms: Timestamp::now().as_millisecond(),
    };
    registry.push_component(&component, bytes).await?;
    Ok(Pushed { component, replaced })
}

/// Binds a queue to a stored plugin, from the queue's next claim on. `engine` creates the engine that checks the plugin
/// and its config.
///
/// # Errors
/// Fails if the queue's name or an option breaks a rule, or if the plugin does not run here or refuses its config.
/// Fails with [`Code::PluginMissing`] if the server does not have the plugin.
pub async fn bind(
    backend: &Backend,
    request: BindRequest,
    engine: impl FnOnce(&Limits) -> Result<Engine>,
) -> Result<Bound> {
    let BindRequest {
        queue,
        plugin,
        config,
        data,
        limits,
        gate,
        input,
    } = request;
    check_usable_queue_name(&queue)?;
    input.check()?;
    let known = backend.queue.queues().await?;
    let component = find(&*backend.registry, &plugin).await?;
    let replaced = in_force(backend, &queue).await;
    let data = push_data(&*backend.registry, data).await?;
    let binding = Binding {
        number: 0,
        steps: vec![Step {
            sha256: component.sha256,
            name: component.name,
            version: component.version,
            config: config.canonical,
            data,
        }],
        limits: limits.iter().map(|setting| setting.parts()).collect(),
        gate,
        input,
        bound_ms: Timestamp::now().as_millisecond(),
        rollback_of: None,
    };
    let binding = put_in_force(&queue, binding, &config.as_written, None, backend, engine).await?;
    Ok(Bound {
        new_queue: NewQueue::unless_known(&queue, &known),
        queue,
        binding,
        replaced: replaced.map(Box::new),
        passed_over: Vec::new(),
    })
}

/// Restores the binding before the one in force. If the binding in force is itself the result of a rollback, restores
/// the binding before the one that the earlier rollback restored. Passes over bindings that this host cannot read.
///
/// # Errors
/// Fails with [`Code::BindingConflict`] if there is no binding to restore, or if the queue was bound meanwhile. Also
/// fails as [`bind`] does.
pub async fn rollback(
    backend: &Backend,
    queue: &str,
    engine: impl FnOnce(&Limits) -> Result<Engine>,
) -> Result<Bound> {
    let bindings = history(backend, queue).await?;
    let (in_force, target, passed_over) = rollback_target(queue, &bindings)?;
    let binding = Binding {
        bound_ms: Timestamp::now().as_millisecond(),
        rollback_of: Some(target.rollback_of.unwrap_or(target.number)),
        ..target.clone()
    };
    let config = binding.step().config.clone();
    let binding = put_in_force(queue, binding, &config, Some(in_force), backend, engine).await?;
    Ok(Bound {
        queue: queue.to_owned(),
        binding,
        new_queue: None,
        replaced: None,
        passed_over,
    })
}

/// Returns the number of the binding in force, the binding that a rollback restores, and the bindings that the rollback
/// passes over.
fn rollback_target<'a>(
    queue: &str,
    bindings: &'a [ListedBinding],
) -> Result<(u64, &'a Binding, Vec<UnreadableBinding>)> {
    let mut passed_over = Vec::new();
    let refused = |why: String| {
        let what = format!("{queue}: {why}");
        Err(Error::permanent(Stage::Queue, Code::BindingConflict, what))
    };
    let Some(in_force) = bindings.first() else {
        return refused("has no plugin bound to it".into());
    };
    let mut last = in_force;
    loop {
        if let ListedBinding::Unreadable(unreadable) = last {
            passed_over.push(unreadable.clone());
        }
        let before = last.restored_number().saturating_sub(1);
        match bindings.iter().find(|binding| binding.number() == before) {
            Some(ListedBinding::Readable(target)) => return Ok((in_force.number(), target, passed_over)),
            Some(unreadable) => last = unreadable,
            None if passed_over.is_empty() => {
                return refused(
                    "has no binding before the one in force: `plugin history` lists its bindings, `plugin bind` makes a new one"
                        .into(),
                );
            }
            None => {
                let numbers: Vec<_> = passed_over.iter().map(|one| one.number.to_string()).collect();
                return refused(format!(
                    "has no binding to go back to that this host can read (it cannot read {}): `plugin history` says why, \
                     `plugin bind` makes a new one",
                    numbers.join(", ")
                ));
            }
        }
    }
}

/// Returns the binding in force. Returns `None` if there is none, or if it cannot be read.
async fn in_force(backend: &Backend, queue: &str) -> Option<Binding> {
    let number = backend.queue.counts(queue).await.ok()?.binding?;
    backend.registry.binding(queue, number).await.ok()?
}

/// Lists the bindings of a queue, the newest first.
///
/// # Errors
/// Fails as [`check_known`] does.
pub async fn history(backend: &Backend, queue: &str) -> Result<Vec<ListedBinding>> {
    check_known(backend, queue).await?;
    backend.registry.bindings(queue).await
}

/// Checks that the plugin runs here and accepts its config. Then makes this binding the one in force, in one atomic
/// step, and returns it with its number.
async fn put_in_force(
    queue: &str,
    binding: Binding,
    config_as_written: &str,
    expected: Option<u64>,
    backend: &Backend,
    engine: impl FnOnce(&Limits) -> Result<Engine>,
) -> Result<Binding> {
    let registry = &*backend.registry;
    let step = binding.step();
    let bytes = registry
        .component(&step.sha256, COMPONENT_BYTES_MAX)
        .await?
        .ok_or_else(|| {
            Error::permanent(
                Stage::Plugin,
                Code::PluginMissing,
                format!("the server does not have component {}", step.sha256),
            )
        })?;
    let candidate = step.plugin();
    let data = stored_data(registry, step).await?;
    // The limit is raised to the component's size, which was accepted when the component was pushed.
    let limits = Limits {
        component_bytes_max: bytes.len().max(Limits::default().component_bytes_max),
        ..Limits::default().with_overrides(&binding.limits)?
    };
    let plugin = engine(&limits)?.load(&bytes).map_err(|e| e.about(&candidate))?;
    let plugin = plugin.with_data(data);
    plugin.check(config_as_written).map_err(|e| e.about(&candidate))?;
    // A schema that cannot be shown is a fault of the plugin, which its author can still repair now.
    plugin.config_schema().map_err(|e| e.about(&candidate))?;
    let number = registry.bind(queue, &binding, expected).await?;
    Ok(Binding { number, ..binding })
}

/// Stores reference data on the server. Returns its digests by name.
///
/// # Errors
/// Fails as [`ReferenceData::new`] does, and if the server fails.
async fn push_data(registry: &dyn Registry, data: Vec<BindData>) -> Result<BTreeMap<String, StepData>> {
    let named = data
        .iter()
        .map(|data| (data.name.clone(), Arc::clone(&data.bytes)));
    let digests = ReferenceData::new(named)?.digests();
    let mut pushed = BTreeMap::new();
    for BindData { name, uri, bytes } in data {
        let sha256 = digests[&name].clone();
        registry.push_data(&sha256, &bytes).await?;
        let bytes = bytes.len() as u64;
        pushed.insert(name, StepData { sha256, bytes, uri });
    }
    Ok(pushed)
}

/// Returns the reference data of a step from the server.
async fn stored_data(registry: &dyn Registry, step: &Step) -> Result<ReferenceData> {
    let mut named = Vec::with_capacity(step.data.len());
    for (name, StepData { sha256, .. }) in &step.data {
        let bytes = registry.data(sha256, DATA_BYTES_MAX).await?;
        let bytes = bytes.ok_or_else(|| data_missing(name, sha256))?;
        named.push((name.clone(), bytes.into()));
    }
    let data = ReferenceData::new(named)?;
    let expected = step.data.iter();
    data.expect(expected.map(|(name, data)| (name.as_str(), data.sha256.as_str())))?;
    Ok(data)
}

/// Finds a stored component by `NAME@VERSION` or by `sha256:` and at least 8 hex digits.
async fn find(registry: &dyn Registry, reference: &str) -> Result<Component> {
    let refused = |why: String| Error::permanent(Stage::Plugin, Code::PluginMissing, why);
    let components = registry.components().await?;
    if let Some(sha256) = reference.strip_prefix("sha256:") {
        let mut found = components
            .into_iter()
            .filter(|component| component.sha256.starts_with(sha256));
        return match (sha256.len() >= 8, found.next(), found.next()) {
            (true, Some(component), None) => Ok(component),
            (true, Some(_), Some(_)) => Err(refused(format!(
                "{reference}: is the beginning of several components"
            ))),
            (true, None, _) => Err(refused(format!(
                "{reference}: is not on the server: push it first"
            ))),
            (false, ..) => Err(Error::permanent(
                Stage::Config,
                Code::Usage,
                format!("{reference}: give at least 8 digits"),
            )),
        };
    }
    let Some((name, version)) = reference.split_once('@') else {
        return Err(Error::permanent(
            Stage::Config,
            Code::Usage,
            not_a_name(reference, &components),
        ));
    };
    let known = names(&components, |_| true);
    let near = near_name(reference, &known);
    components
        .into_iter()
        .find(|component| component.name == name && component.version == version)
        .ok_or_else(|| {
            let known = if known.is_empty() {
                "none".into()
            } else {
                known.join(", ")
            };
            let near = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
            refused(format!(
                "{reference}: is not on the server: push it first (it has: {known}){near}"
            ))
        })
}

/// Returns the `NAME@VERSION` of each wanted component, sorted and without duplicates.
fn names(components: &[Component], is_wanted: impl Fn(&Component) -> bool) -> Vec<String> {
    let wanted = components.iter().filter(|component| is_wanted(component));
    let mut names: Vec<_> = wanted.map(|c| format!("{}@{}", c.name, c.version)).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Returns the name that is most similar to a reference, or `None` if none is similar.
fn near_name(reference: &str, known: &[String]) -> Option<String> {
    let likeness = |name: &String| strsim::normalized_damerau_levenshtein(reference, name);
    let near = known.iter().map(|name| (likeness(name), name));
    let nearest = near
        .filter(|(likeness, _)| *likeness >= NEAR)
        .max_by(|(one, _), (other, _)| one.total_cmp(other));
    nearest.map(|(_, name)| name.clone())
}

/// Returns the message for a reference without a version: the correct form, and the names that the server has.
fn not_a_name(reference: &str, components: &[Component]) -> String {
    let versions = names(components, |component| component.name == reference);
    if let [only] = versions.as_slice() {
        return format!("\"{reference}\" has no version: write {only}");
    }
    let known = match versions.is_empty() {
        true => names(components, |_| true),
        false => versions,
    };
    let has = match known.is_empty() {
        true => String::new(),
        false => format!(" (the server has {})", known.join(", ")),
    };
    format!("\"{reference}\" names no plugin: write NAME@VERSION or sha256:HEX{has}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readable(number: u64, rollback_of: Option<u64>) -> ListedBinding {
        ListedBinding::Readable(Box::new(Binding {
            number,
            steps: vec![Step {
                sha256: String::new(),
                name: "clean".into(),
                version: "0.1.0".into(),
                config: "{}".into(),
                data: Default::default(),
            }],
            limits: Default::default(),
            gate: Gate::default(),
            input: InputOptions::default(),
            bound_ms: 0,
            rollback_of,
        }))
    }

    fn unreadable(number: u64, rollback_of: Option<u64>) -> ListedBinding {
        ListedBinding::Unreadable(UnreadableBinding {
            number,
            rollback_of,
            code: Code::HostOutdated,
            error: String::new(),
        })
    }

    /// Returns the number of the restored binding and the numbers of the bindings that are passed over, or `None` if
    /// the rollback is refused.
    fn target(oldest_first: &[ListedBinding]) -> Option<(u64, Vec<u64>)> {
        let bindings: Vec<_> = oldest_first.iter().rev().cloned().collect();
        let (in_force, target, passed_over) = rollback_target("q", &bindings)
            .inspect_err(|error| assert_eq!(error.code(), Code::BindingConflict))
            .ok()?;
        assert_eq!(in_force, oldest_first.len() as u64);
        let passed_over = passed_over.iter().map(|binding| binding.number).collect();
        Some((target.number, passed_over))
    }

    #[test]
    fn a_rollback_goes_one_step_back() {
        let [one, two, three] = [1, 2, 3].map(|number| readable(number, None));
        assert_eq!(target(&[]), None);
        assert_eq!(target(std::slice::from_ref(&one)), None);
        assert_eq!(target(&[one.clone(), two.clone()]), Some((1, vec![])));
        let twice = [one, two, three, readable(4, Some(2))];
        assert_eq!(target(&twice), Some((1, vec![])));
        assert_eq!(target(&[&twice[..], &[readable(5, Some(1))]].concat()), None);
    }

    #[test]
    fn a_rollback_goes_past_what_cannot_be_read() {
        let (one, two) = (readable(1, None), readable(2, None));
        // First the binding in force is unreadable, then the binding before it, then both.
        assert_eq!(target(&[one.clone(), unreadable(2, None)]), Some((1, vec![2])));
        let before = [one.clone(), unreadable(2, None), readable(3, None)];
        assert_eq!(target(&before), Some((1, vec![2])));
        let both = [one.clone(), unreadable(2, None), unreadable(3, None)];
        assert_eq!(target(&both), Some((1, vec![3, 2])));
        // An unreadable binding still counts as a rollback if it says which binding it restored (`rollback_of`). A
        // number that makes no sense is ignored.
        let three = readable(3, None);
        let rollback = [one.clone(), two.clone(), three.clone(), unreadable(4, Some(2))];
        assert_eq!(target(&rollback), Some((1, vec![4])));
        for number in [0, 4, u64::MAX] {
            let wrong = [
                one.clone(),
                two.clone(),
                three.clone(),
                unreadable(4, Some(number)),
            ];
            assert_eq!(target(&wrong), Some((3, vec![4])));
        }
        assert_eq!(target(&[unreadable(1, None)]), None);
        assert_eq!(target(&[unreadable(1, None), readable(2, None)]), None);
    }
}
