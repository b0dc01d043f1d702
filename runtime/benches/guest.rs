//! Measures the plugin SDK. The host calls the plugins `alarms` and `by-hand` with the same batches. `by-hand` does the
//! same work without the SDK, in a loop over the interface's lists.
//!
//! One iteration is 100,000 records. So **1 ms per iteration is 10 ns per record**. The times include the host's call,
//! the transfer to the guest, the work and the transfer back. The benchmark `arena_ignored` in `boundary` measures the
//! same without the work. Before the measurements, the results of both plugins are compared. They must be the same.
//! `cargo test` runs each benchmark once. Both `cargo test` and `cargo bench` build the plugins.

#![expect(clippy::unwrap_used, reason = "a benchmark may panic")]

#[path = "boundary/components.rs"]
#[expect(dead_code, reason = "the other benchmark uses more of it")]
mod components;

use divan::Bencher;
use divan::counter::ItemsCount;
use ingest_host::config::Limits;
use ingest_host::format::Format;
use ingest_host::plugin::{Engine, Instance};
use ingest_host::record::{Batch, IN_PLACE, Row};
use ingest_host::stop::Stop;

/// The number of different records. They are few enough to stay in the processor's cache. In production, the records
/// are also in the cache, because a decoder has just written them.
const RECORDS: usize = 20_000;
/// The number of records in a batch. Such a batch has about 256 KiB.
const BATCH_RECORDS: usize = 3_300;
const SEED: u64 = 7;
const BAD_PERCENT: u8 = 5;

fn main() {
    check_agreement();
    divan::main();
}

#[divan::bench(args = ["alarms", "by_hand"], sample_count = 100, sample_size = 1)]
fn guest(bencher: Bencher<'_, '_>, plugin: &str) {
    let mut instance = start(plugin);
    let mut batches = batches(0);
    let is_measured = std::env::args().any(|argument| argument == "--bench");
    let passes = if is_measured { 100_000 / RECORDS } else { 1 };
    bencher
        .counter(ItemsCount::new(passes * RECORDS))
        .bench_local(|| {
            for _ in 0..passes {
                for batch in &mut batches {
                    divan::black_box(instance.process(batch).unwrap());
                }
            }
        });
}

/// Checks that both plugins give the same results, also for records with faults.
fn check_agreement() {
    let [mut alarms, mut by_hand] = ["alarms", "by_hand"].map(start);
    for mut batch in batches(BAD_PERCENT) {
        let answer = alarms.process(&mut batch).unwrap();
        let rejects = answer.verdicts.iter().filter(|&&verdict| verdict == 4).count();
        assert!(rejects > 0 && answer.verdicts.len() == batch.rows.len());
        assert_eq!(answer, by_hand.process(&mut batch).unwrap());
    }
}

fn start(plugin: &str) -> Instance {
    let component = components::guest().with_file_name(format!("{plugin}.wasm"));
    let plugin = Engine::new(&Limits::default(), None)
        .and_then(|engine| engine.load_file(&component))
        .unwrap();
    let columns: Vec<String> = alarm_feed::HEADER.split(',').map(str::to_owned).collect();
    plugin
        .open(&columns, Format::Csv, "{}", Stop::default())
        .unwrap()
        .0
}

/// Creates batches of alarms. About `bad_percent` percent of the alarms have a fault. As in the decoder, ragged records
/// are left out.
fn batches(bad_percent: u8) -> Vec<Batch> {
    let mut csv = Vec::new();
    alarm_feed::write_alarms(&mut csv, SEED, RECORDS as u64, bad_percent).unwrap();
    let text = String::from_utf8(csv).unwrap();
    let width = alarm_feed::HEADER.split(',').count();
    let rows = text.lines().skip(1).map(|line| line.split(',').collect());
    let rows: Vec<Vec<&str>> = rows.filter(|row: &Vec<_>| row.len() == width).collect();
    rows.chunks(BATCH_RECORDS).map(batch).collect()
}

fn batch(rows: &[Vec<&str>]) -> Batch {
    let offset = |at: usize| u32::try_from(at).unwrap();
    let mut batch = Batch {
        in_place: true,
        ..Batch::default()
    };
    for (number, fields) in (0..).zip(rows) {
        let start = offset(batch.raw.len());
        batch.starts.push(start);
        for field in fields {
            batch.raw.extend_from_slice(field.as_bytes());
            batch.ends.push(offset(batch.raw.len()));
            batch.raw.push(b',');
        }
        batch.rows.push(Row {
            start,
            end: offset(batch.raw.len() - 1),
            number,
            line: number,
            cells: IN_PLACE,
        });
    }
    batch
}
