//! The host of the benchmark: an instance of the guest with one of the settings, and a Rust method for each method of
//! passing records. Each setting differs from the product in at most one respect.

use std::fmt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use wasmtime::component::{Component, Linker, ResourceTable, WasmList};
use wasmtime::{Config, Engine, Store, StoreContextMut, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::components;
use crate::input::{Batch, Layout};
use crate::work::{self, Fields};
use bindings::AblationPre;
use bindings::exports::ingest::boundary::ways::{self as wit, Guest as Ways};

mod bindings {
    wasmtime::component::bindgen!({
        path: "benches/boundary/ablation.wit",
        world: "ablation",
        // Without this option, the methods that take strings would also copy the strings.
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

/// The interval between two epochs, as in the product.
const TICK: Duration = Duration::from_millis(10);

/// A setting: how guests are compiled, and how a guest that loops is ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Setting {
    /// The guest is compiled as in the product, with epochs and without vectors.
    Shipped,
    /// No mechanism can end a guest that loops.
    Endless,
    /// Fuel ends a guest that loops. There are no epochs.
    Fuel,
    /// The guest is compiled with epochs and with 128-bit vectors.
    Simd128,
}

impl Setting {
    pub(crate) const ALL: [Self; 4] = [Self::Shipped, Self::Endless, Self::Fuel, Self::Simd128];

    fn sandbox(self) -> &'static Sandbox {
        static SANDBOXES: [OnceLock<Sandbox>; 4] = [const { OnceLock::new() }; 4];
        SANDBOXES[self as usize].get_or_init(|| Sandbox::new(self).expect("the guest loads"))
    }

    fn has_epochs(self) -> bool {
        matches!(self, Self::Shipped | Self::Simd128)
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shipped => "epochs (shipped)",
            Self::Endless => "nothing",
            Self::Fuel => "fuel",
            Self::Simd128 => "epochs, simd128",
        })
    }
}

/// A compiled guest.
struct Sandbox {
    engine: Engine,
    pre: AblationPre<State>,
}

impl Sandbox {
    fn new(setting: Setting) -> wasmtime::Result<Self> {
        let mut config = Config::new();
        config.concurrency_support(false);
        config.epoch_interruption(setting.has_epochs());
        config.consume_fuel(matches!(setting, Setting::Fuel));
        let engine = Engine::new(&config)?;
        let component = Component::from_file(&engine, component(setting))?;
        let pre = AblationPre::new(link(&engine)?.instantiate_pre(&component)?)?;
        if setting.has_epochs() {
            let engine = engine.clone();
            // Like the sandbox, this thread lives until the process ends.
            std::thread::spawn(move || {
                loop {
                    std::thread::sleep(TICK);
                    engine.increment_epoch();
                }
            });
        }
        Ok(Self { engine, pre })
    }
}

fn component(setting: Setting) -> &'static Path {
    static PLAIN: OnceLock<std::path::PathBuf> = OnceLock::new();
    static SIMD128: OnceLock<std::path::PathBuf> = OnceLock::new();
    match setting {
        Setting::Simd128 => SIMD128.get_or_init(components::guest_with_simd128),
        _ => PLAIN.get_or_init(components::guest),
    }
}

/// The state of the host during the calls of a guest.
struct State {
    wasi: WasiCtx,
    table: ResourceTable,
    sink: work::Changes,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

fn link(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
    let mut sink = linker.instance("ingest:boundary/sink")?;
    type Lent = (WasmList<u8>, WasmList<u32>, WasmList<u8>);
    sink.func_wrap(
        "emit-row",
        |mut store: StoreContextMut<'_, State>,
         (verdict, operands, bytes): (u8, WasmList<u32>, WasmList<u8>)| {
            let mut sink = std::mem::take(&mut store.data_mut().sink);
            sink.verdicts.push(verdict);
            sink.operands.extend_from_slice(operands.as_le_slice(&store));
            sink.bytes.extend_from_slice(bytes.as_le_slice(&store));
            store.data_mut().sink = sink;
            Ok(())
        },
    )?;
    sink.func_wrap(
        "emit-batch",
        |mut store: StoreContextMut<'_, State>, (verdicts, operands, bytes): (Vec<u8>, Vec<u32>, Vec<u8>)| {
            store.data_mut().sink = work::Changes {
                verdicts,
                operands,
                bytes,
            };
            Ok(())
        },
    )?;
    sink.func_wrap(
        "lend-batch",
        |mut store: StoreContextMut<'_, State>, (verdicts, operands, bytes): Lent| {
            let mut sink = std::mem::take(&mut store.data_mut().sink);
            sink.verdicts.extend_from_slice(verdicts.as_le_slice(&store));
            sink.operands.extend_from_slice(operands.as_le_slice(&store));
            sink.bytes.extend_from_slice(bytes.as_le_slice(&store));
            store.data_mut().sink = sink;
            Ok(())
        },
    )?;
    Ok(linker)
}

/// An instance of the guest.
pub(crate) struct Guest {
    store: Store<State>,
    ways: Ways,
    has_epochs: bool,
}

impl Guest {
    /// Starts an instance of the guest.
    ///
    /// # Panics
    /// Panics if the guest does not start. Every method of `Guest` panics if the guest traps.
    pub(crate) fn start(setting: Setting) -> Self {
        let sandbox = setting.sandbox();
        let state = State {
            wasi: WasiCtx::builder().build(),
            table: ResourceTable::new(),
            sink: work::Changes::default(),
        };
        let mut store = Store::new(&sandbox.engine, state);
        if setting.has_epochs() {
            store.set_epoch_deadline(1);
            store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Continue(1)));
        }
        if matches!(setting, Setting::Fuel) {
            store.set_fuel(u64::MAX).expect("fuel is on");
        }
        let world = sandbox.pre.instantiate(&mut store).expect("the guest starts");
        Self {
            store,
            ways: world.ingest_boundary_ways().clone(),
            has_epochs: setting.has_epochs(),
        }
    }

    pub(crate) fn nothing(&mut self) {
        self.call(|ways, store| ways.call_nothing(store));
    }

    pub(crate) fn ignored(&mut self, layout: &Layout, batch: &Batch) {
        let fields = layout.fields(batch);
        self.call(|ways, store| ways.call_ignored(store, lowered(fields), arena(fields)));
    }

    pub(crate) fn one_record(&mut self, fields: &[&str]) -> Vec<String> {
        self.call(|ways, store| ways.call_one_record(store, fields))
    }

    pub(crate) fn record_lists(&mut self, records: &[&[&str]]) -> Vec<Vec<String>> {
        self.call(|ways, store| ways.call_record_lists(store, records))
    }

    pub(crate) fn whole_rows(&mut self, layout: &Layout, batch: &Batch) -> (Vec<u8>, Vec<u32>) {
        let fields = layout.fields(batch);
        let rows = self.call(|ways, store| ways.call_whole_rows(store, lowered(fields), arena(fields)));
        (rows.bytes, rows.ends)
    }

    pub(crate) fn edits(&mut self, layout: &Layout, batch: &Batch) -> work::Changes {
        let fields = layout.fields(batch);
        lifted(self.call(|ways, store| ways.call_edits(store, lowered(fields), arena(fields))))
    }

    pub(crate) fn verdicts(&mut self, layout: &Layout, batch: &Batch) -> Vec<u8> {
        let fields = layout.fields(batch);
        self.call(|ways, store| ways.call_verdicts(store, lowered(fields), arena(fields)))
    }

    pub(crate) fn edits_checked(&mut self, layout: &Layout, batch: &Batch) -> work::Changes {
        let fields = layout.fields(batch);
        lifted(self.call(|ways, store| ways.call_edits_checked(store, lowered(fields), arena(fields))))
    }

    pub(crate) fn edits_of_text(&mut self, layout: &Layout, batch: &Batch) -> work::Changes {
        let layout = lowered(layout.fields(batch));
        let changes =
            self.call(|ways, store| ways.call_edits_of_text(store, layout, &batch.text, &batch.ends));
        lifted(changes)
    }

    /// Returns the results, which are in a buffer of the host. The next call overwrites them.
    pub(crate) fn edits_by_row(&mut self, layout: &Layout, batch: &Batch) -> &work::Changes {
        let fields = layout.fields(batch);
        self.emptied();
        self.call(|ways, store| ways.call_edits_by_row(store, lowered(fields), arena(fields)));
        &self.store.data().sink
    }

    /// Returns the same results as [`Guest::edits_by_row`].
    pub(crate) fn edits_by_batch(&mut self, layout: &Layout, batch: &Batch) -> &work::Changes {
        let fields = layout.fields(batch);
        self.call(|ways, store| ways.call_edits_by_batch(store, lowered(fields), arena(fields)));
        &self.store.data().sink
    }

    /// Returns the same results as [`Guest::edits_by_row`].
    pub(crate) fn edits_lent(&mut self, layout: &Layout, batch: &Batch) -> &work::Changes {
        let fields = layout.fields(batch);
        self.emptied();
        self.call(|ways, store| ways.call_edits_lent(store, lowered(fields), arena(fields)));
        &self.store.data().sink
    }

    pub(crate) fn count_spaces(&mut self, batch: &Batch) -> u32 {
        self.call(|ways, store| ways.call_count_spaces(store, batch.text.as_bytes()))
    }

    fn call<T>(&mut self, call: impl FnOnce(&Ways, &mut Store<State>) -> wasmtime::Result<T>) -> T {
        if self.has_epochs {
            self.store.set_epoch_deadline(1);
        }
        call(&self.ways, &mut self.store).expect("the guest does not trap")
    }

    fn emptied(&mut self) {
        let sink = &mut self.store.data_mut().sink;
        sink.verdicts.clear();
        sink.operands.clear();
        sink.bytes.clear();
    }
}

fn lowered(fields: Fields<'_>) -> wit::Layout {
    wit::Layout {
        width: fields.width as u32,
        id: fields.id as u32,
        start: fields.times[0] as u32,
        end: fields.times[1] as u32,
    }
}

fn arena(fields: Fields<'_>) -> wit::ArenaParam<'_> {
    wit::ArenaParam {
        bytes: fields.bytes,
        ends: fields.ends,
    }
}

fn lifted(changes: wit::Changes) -> work::Changes {
    work::Changes {
        verdicts: changes.verdicts,
        operands: changes.operands,
        bytes: changes.bytes,
    }
}
