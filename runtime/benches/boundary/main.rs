//! Compares methods of passing records between host and plugin. For each method, a guest does the same trivial work on
//! the same records, and the time is measured.
//!
//! One iteration is 100,000 records or calls. So **1 ms per iteration is 10 ns per record or call**. The exception is
//! the group `start`: there, one iteration is a single start. On a busy machine, compare the column `fastest`. A time
//! includes the host's call, the transfer to the guest, the work, and the transfer back into the host's own memory. The
//! time for creating the batches is not included. `cargo test` runs each benchmark once, with fewer records. Both
//! `cargo test` and `cargo bench` build the guests that they need.

#![expect(clippy::unwrap_used, reason = "a benchmark may panic")]

mod agreement;
mod components;
mod input;
mod sandbox;
#[expect(dead_code, reason = "the guest uses more of it")]
#[path = "guest/src/work.rs"]
mod work;

use divan::Bencher;
use divan::counter::ItemsCount;

use input::{BATCH_BYTES, Batch, Layout, RECORDS};
use sandbox::{Guest, Setting};

fn main() {
    agreement::check();
    divan::main();
}

/// Measures the methods of passing records.
#[divan::bench_group(sample_count = 100, sample_size = 1)]
mod ways {
    use super::*;

    #[divan::bench(sample_count = 20)]
    fn list_of_strings(bencher: Bencher<'_, '_>) {
        let mut guest = Guest::start(Setting::Shipped);
        passes(bencher, || {
            for record in input::records() {
                divan::black_box(guest.one_record(record));
            }
        });
    }

    #[divan::bench(sample_count = 20)]
    fn lists_of_2000_lists(bencher: Bencher<'_, '_>) {
        let mut guest = Guest::start(Setting::Shipped);
        let lists = input::lists();
        passes(bencher, || {
            for lists in &lists {
                divan::black_box(guest.record_lists(lists));
            }
        });
    }

    #[divan::bench]
    fn arena_to_rows(bencher: Bencher<'_, '_>) {
        crossing(bencher, Setting::Shipped, |guest, layout, batch| {
            divan::black_box(guest.whole_rows(layout, batch));
        });
    }

    #[divan::bench]
    fn arena_to_edits(bencher: Bencher<'_, '_>) {
        crossing(bencher, Setting::Shipped, |guest, layout, batch| {
            divan::black_box(guest.edits(layout, batch));
        });
    }

    #[divan::bench]
    fn arena_to_verdicts(bencher: Bencher<'_, '_>) {
        crossing(bencher, Setting::Shipped, |guest, layout, batch| {
            divan::black_box(guest.verdicts(layout, batch));
        });
    }

    /// Measures the transfer of a batch without the work.
    #[divan::bench]
    fn arena_ignored(bencher: Bencher<'_, '_>) {
        crossing(bencher, Setting::Shipped, |guest, layout, batch| {
            guest.ignored(layout, batch);
        });
    }

    /// Measures the work without a transfer.
    #[divan::bench]
    fn native_edits(bencher: Bencher<'_, '_>) {
        let layout = Layout::alarms();
        let batches = input::batches(&layout, BATCH_BYTES);
        passes(bencher, || {
            for batch in &batches {
                divan::black_box(work::edits(divan::black_box(layout.fields(batch))));
            }
        });
    }
}

/// Measures the methods of returning results: as the return value of the call, or through calls into the host.
#[divan::bench_group(sample_count = 100, sample_size = 1)]
mod results {
    use super::*;

    #[divan::bench]
    fn returned(bencher: Bencher<'_, '_>) {
        crossing(bencher, Setting::Shipped, |guest, layout, batch| {
            divan::black_box(guest.edits(layout, batch));
        });
    }

    #[divan::bench]
    fn imported_by_batch(bencher: Bencher<'_, '_>) {
        crossing(bencher, Setting::Shipped, |guest, layout, batch| {
            divan::black_box(guest.edits_by_batch(layout, batch));
        });
    }

    #[divan::bench]
    fn imported_by_batch_lent(bencher: Bencher<'_, '_>) {
        crossing(bencher, Setting::Shipped, |guest, layout, batch| {
            divan::black_box(guest.edits_lent(layout, batch));
        });
    }

    #[divan::bench]
    fn imported_by_row(bencher: Bencher<'_, '_>) {
        crossing(bencher, Setting::Shipped, |guest, layout, batch| {
            divan::black_box(guest.edits_by_row(layout, batch));
        });
    }
}

/// Measures batches of different sizes.
#[divan::bench_group(sample_count = 100, sample_size = 1)]
mod batch_kib {
    use super::*;

    #[divan::bench(args = [4, 16, 64, 256, 1024])]
    fn edits(bencher: Bencher<'_, '_>, kib: usize) {
        crossing_as(
            bencher,
            Setting::Shipped,
            &Layout::alarms(),
            kib << 10,
            |guest, layout, batch| {
                divan::black_box(guest.edits(layout, batch));
            },
        );
    }
}

/// Measures how much each mechanism that can stop an endless guest slows down a normal guest.
#[divan::bench_group(sample_count = 100, sample_size = 1)]
mod ended_by {
    use super::*;

    const SETTINGS: [Setting; 3] = [Setting::Endless, Setting::Shipped, Setting::Fuel];

    #[divan::bench(args = SETTINGS)]
    fn edits(bencher: Bencher<'_, '_>, setting: Setting) {
        crossing(bencher, setting, |guest, layout, batch| {
            divan::black_box(guest.edits(layout, batch));
        });
    }

    /// Measures the worst case, a loop over bytes.
    #[divan::bench(args = SETTINGS)]
    fn count_spaces(bencher: Bencher<'_, '_>, setting: Setting) {
        crossing(bencher, setting, |guest, _, batch| {
            divan::black_box(guest.count_spaces(batch));
        });
    }
}

/// Measures a guest with and without 128-bit vectors.
#[divan::bench_group(sample_count = 100, sample_size = 1)]
mod vectors {
    use super::*;

    const SETTINGS: [Setting; 2] = [Setting::Shipped, Setting::Simd128];

    #[divan::bench(args = SETTINGS)]
    fn edits(bencher: Bencher<'_, '_>, setting: Setting) {
        crossing(bencher, setting, |guest, layout, batch| {
            divan::black_box(guest.edits(layout, batch));
        });
    }

    /// Measures the best case, a loop over bytes.
    #[divan::bench(args = SETTINGS)]
    fn count_spaces(bencher: Bencher<'_, '_>, setting: Setting) {
        crossing(bencher, setting, |guest, _, batch| {
            divan::black_box(guest.count_spaces(batch));
        });
    }
}

/// Measures the methods of ensuring that fields are UTF-8.
#[divan::bench_group(sample_count = 100, sample_size = 1)]
mod utf8 {
    use super::*;

    #[divan::bench]
    fn trusted_bytes(bencher: Bencher<'_, '_>) {
        crossing(bencher, Setting::Shipped, |guest, layout, batch| {
            divan::black_box(guest.edits(layout, batch));
        });
    }

    #[divan::bench(args = [Setting::Shipped, Setting::Simd128])]
    fn checked_bytes(bencher: Bencher<'_, '_>, setting: Setting) {
        crossing(bencher, setting, |guest, layout, batch| {
            divan::black_box(guest.edits_checked(layout, batch));
        });
    }

    #[divan::bench]
    fn string(bencher: Bencher<'_, '_>) {
        crossing(bencher, Setting::Shipped, |guest, layout, batch| {
            divan::black_box(guest.edits_of_text(layout, batch));
        });
    }
}

/// Measures how the time depends on the number of columns that cross the boundary. The guest works on three columns of
/// a wide record.
#[divan::bench_group(sample_count = 100, sample_size = 1)]
mod projection {
    use super::*;

    #[divan::bench]
    fn all_60_columns(bencher: Bencher<'_, '_>) {
        crossing_as(
            bencher,
            Setting::Shipped,
            &Layout::all(input::WIDE),
            BATCH_BYTES,
            |guest, layout, batch| {
                divan::black_box(guest.edits(layout, batch));
            },
        );
    }

    #[divan::bench]
    fn columns_4_of_60(bencher: Bencher<'_, '_>) {
        crossing_as(
            bencher,
            Setting::Shipped,
            &Layout::four(),
            BATCH_BYTES,
            |guest, layout, batch| {
                divan::black_box(guest.edits(layout, batch));
            },
        );
    }
}

/// Measures a call without arguments and results.
#[divan::bench_group(sample_count = 100, sample_size = 1)]
mod call {
    use super::*;

    #[divan::bench(args = [Setting::Shipped, Setting::Endless])]
    fn nothing(bencher: Bencher<'_, '_>, setting: Setting) {
        let mut guest = Guest::start(setting);
        passes(bencher, || {
            for _ in 0..RECORDS {
                guest.nothing();
            }
        });
    }
}

/// Measures the start of an instance.
mod start {
    use super::*;
    use ingest_host::config::Limits;
    use ingest_host::format::Format;
    use ingest_host::plugin::Engine;
    use ingest_host::stop::Stop;

    #[divan::bench]
    fn bare_guest() -> Guest {
        Guest::start(Setting::Shipped)
    }

    /// Measures the start of the plugin `alarms`, as at the beginning of a request, including `open`.
    #[divan::bench]
    fn alarms_and_open(bencher: Bencher<'_, '_>) {
        let plugin = Engine::new(&Limits::default(), None)
            .and_then(|engine| engine.load_file(&components::alarms()))
            .unwrap();
        let columns: Vec<String> = alarm_feed::HEADER.split(',').map(str::to_owned).collect();
        bencher.bench_local(|| plugin.open(&columns, Format::Csv, "{}", Stop::default()).unwrap());
    }
}

/// Measures one method with alarms in batches of [`BATCH_BYTES`] bytes.
fn crossing(bencher: Bencher<'_, '_>, setting: Setting, way: impl FnMut(&mut Guest, &Layout, &Batch)) {
    crossing_as(bencher, setting, &Layout::alarms(), BATCH_BYTES, way);
}

fn crossing_as(
    bencher: Bencher<'_, '_>,
    setting: Setting,
    layout: &Layout,
    batch_bytes: usize,
    mut way: impl FnMut(&mut Guest, &Layout, &Batch),
) {
    let mut guest = Guest::start(setting);
    let batches = input::batches(layout, batch_bytes);
    passes(bencher, || {
        for batch in &batches {
            way(&mut guest, layout, batch);
        }
    });
}

/// Measures passes over all records. With `--bench`, an iteration has as many passes as are needed for 100,000 records.
/// Without `--bench`, it has one pass.
fn passes(bencher: Bencher<'_, '_>, mut pass: impl FnMut()) {
    let is_measured = std::env::args().any(|argument| argument == "--bench");
    let passes = if is_measured { 100_000 / RECORDS } else { 1 };
    bencher
        .counter(ItemsCount::new(passes * RECORDS))
        .bench_local(|| {
            for _ in 0..passes {
                pass();
            }
        });
}
