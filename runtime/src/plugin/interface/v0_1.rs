//! Adapts version 0.1 of the interface: `wit/0.1/plugin.wit`.

use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::{Component, HasSelf, InstancePre, Linker};

use self::bindings::exports::ingest::plugin::transform as wit;
use self::bindings::ingest::plugin::host::{Host, Level};
use self::bindings::{Plugin, PluginPre};
use super::{Exports, FlatBatch, InputColumns, Prepared, UncheckedColumn, UncheckedPlan, Version};
use crate::format::{ColumnType, Format};
use crate::plugin::Emitted;
use crate::plugin::state::StoreState;
use crate::record::Changes;

/// The code that is generated from the interface at compile time.
mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit/0.1",
        world: "plugin",
    });
}

pub(super) const VERSION: Version = Version {
    number: "0.1.0",
    add_to_linker,
    prepare,
};

fn add_to_linker(linker: &mut Linker<StoreState>) -> wasmtime::Result<()> {
    Plugin::add_to_linker::<_, HasSelf<_>>(linker, |state: &mut StoreState| state)
}

fn prepare(linked: InstancePre<StoreState>) -> wasmtime::Result<Arc<dyn Prepared>> {
    Ok(Arc::new(PluginPre::new(linked)?))
}

impl Prepared for PluginPre<StoreState> {
    fn instantiate(&self, store: &mut Store<StoreState>) -> wasmtime::Result<Box<dyn Exports>> {
        Ok(Box::new(PluginPre::instantiate(self, store)?))
    }

    fn component(&self) -> &Component {
        self.instance_pre().component()
    }
}

impl Host for StoreState {
    fn log(&mut self, level: Level, message: String) {
        let level = match level {
            Level::Trace => tracing::Level::TRACE,
            Level::Debug => tracing::Level::DEBUG,
            Level::Info => tracing::Level::INFO,
            Level::Warn => tracing::Level::WARN,
            Level::Error => tracing::Level::ERROR,
        };
        self.write_log(level, &message);
    }

    fn count(&mut self, name: String, delta: u64) {
        self.add_count(name, delta);
    }
}

impl Exports for Plugin {
    fn describe(&self, store: &mut Store<StoreState>) -> wasmtime::Result<(String, String)> {
        let description = self.ingest_plugin_transform().call_describe(store)?;
        Ok((description.name, description.version))
    }

    fn config_schema(&self, _: &mut Store<StoreState>) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }

    fn check(&self, store: &mut Store<StoreState>, config: &str) -> wasmtime::Result<Result<(), String>> {
        self.ingest_plugin_transform().call_check(store, config)
    }

    fn open(
        &self,
        store: &mut Store<StoreState>,
        input: &InputColumns<'_>,
        config: &str,
    ) -> wasmtime::Result<Result<UncheckedPlan, String>> {
        let columns = input.names.to_vec();
        let input = wit::Input {
            columns,
            format: match input.format {
                Format::Csv => wit::Format::Csv,
                Format::Jsonl => wit::Format::Jsonl,
            },
        };
        let plan = self.ingest_plugin_transform().call_open(store, &input, config)?;
        Ok(plan.map(|plan| UncheckedPlan {
            reads: plan.reads,
            more_columns: plan.more_columns,
            output: plan.output.into_iter().map(unchecked).collect(),
            stateful: plan.stateful,
        }))
    }

    fn process(
        &self,
        store: &mut Store<StoreState>,
        batch: &mut FlatBatch,
    ) -> wasmtime::Result<Result<Changes, String>> {
        let FlatBatch { bytes, starts, ends } = std::mem::take(batch);
        let lent = wit::Batch { bytes, starts, ends };
        let changes = self.ingest_plugin_transform().call_process(store, &lent);
        let wit::Batch { bytes, starts, ends } = lent;
        *batch = FlatBatch { bytes, starts, ends };
        Ok(changes?.map(|changes| Changes {
            verdicts: changes.verdicts,
            operands: changes.operands,
            bytes: changes.bytes,
        }))
    }

    fn finish(&self, store: &mut Store<StoreState>) -> wasmtime::Result<Result<Emitted, String>> {
        let emitted = self.ingest_plugin_transform().call_finish(store)?;
        Ok(emitted.map(|emitted| Emitted {
            rows: emitted.rows,
            bytes: emitted.bytes,
            ends: emitted.ends,
        }))
    }
}

fn unchecked(column: wit::OutputColumn) -> UncheckedColumn {
    UncheckedColumn {
        name: column.name,
        column_type: match column.column_type {
            wit::ColumnType::Inherit => ColumnType::Inherit,
            wit::ColumnType::Text => ColumnType::Text,
            wit::ColumnType::Integer => ColumnType::Integer,
            wit::ColumnType::Number => ColumnType::Number,
            wit::ColumnType::Boolean => ColumnType::Boolean,
            wit::ColumnType::Timestamp => ColumnType::Timestamp,
        },
        source: column.source,
    }
}
