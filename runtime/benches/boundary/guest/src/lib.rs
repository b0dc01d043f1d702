//! The guest of the boundary benchmark. It receives records by one of the methods of `ablation.wit`, and returns the
//! results of the work by the same method.

// Native linkers refuse the names of the exports, and a native build is never run.
#![cfg(target_arch = "wasm32")]

mod bindings {
    #![expect(unsafe_code, reason = "generated code")]

    wit_bindgen::generate!({
        path: "../ablation.wit",
        world: "ablation",
    });

    export!(Ways with_types_in self);
    use super::Ways;
}
mod work;

use bindings::exports::ingest::boundary::ways::{Arena, Changes, Guest, Layout};
use bindings::ingest::boundary::sink;
use work::Fields;

struct Ways;

impl Guest for Ways {
    fn nothing() {}

    fn ignored(_: Layout, _: Arena) {}

    fn one_record(fields: Vec<String>) -> Vec<String> {
        work::strings(fields)
    }

    fn record_lists(records: Vec<Vec<String>>) -> Vec<Vec<String>> {
        records.into_iter().map(work::strings).collect()
    }

    fn whole_rows(layout: Layout, batch: Arena) -> Arena {
        let (bytes, ends) = work::whole_rows(fields(layout, &batch.bytes, &batch.ends));
        Arena { bytes, ends }
    }

    fn edits(layout: Layout, batch: Arena) -> Changes {
        returned(work::edits(fields(layout, &batch.bytes, &batch.ends)))
    }

    fn verdicts(layout: Layout, batch: Arena) -> Vec<u8> {
        work::verdicts(fields(layout, &batch.bytes, &batch.ends))
    }

    fn edits_by_row(layout: Layout, batch: Arena) {
        work::edits_by_row(fields(layout, &batch.bytes, &batch.ends), |row| {
            sink::emit_row(row.verdict, row.operands, row.bytes);
        });
    }

    fn edits_by_batch(layout: Layout, batch: Arena) {
        let changes = work::edits(fields(layout, &batch.bytes, &batch.ends));
        sink::emit_batch(&changes.verdicts, &changes.operands, &changes.bytes);
    }

    fn edits_lent(layout: Layout, batch: Arena) {
        let changes = work::edits(fields(layout, &batch.bytes, &batch.ends));
        sink::lend_batch(&changes.verdicts, &changes.operands, &changes.bytes);
    }

    fn edits_checked(layout: Layout, batch: Arena) -> Changes {
        let text = std::str::from_utf8(&batch.bytes).expect("the host sends UTF-8");
        returned(work::edits(fields(layout, text.as_bytes(), &batch.ends)))
    }

    fn edits_of_text(layout: Layout, bytes: String, ends: Vec<u32>) -> Changes {
        returned(work::edits(fields(layout, bytes.as_bytes(), &ends)))
    }

    fn count_spaces(bytes: Vec<u8>) -> u32 {
        work::count_spaces(&bytes)
    }
}

fn fields<'a>(layout: Layout, bytes: &'a [u8], ends: &'a [u32]) -> Fields<'a> {
    Fields {
        bytes,
        ends,
        width: layout.width as usize,
        id: layout.id as usize,
        times: [layout.start as usize, layout.end as usize],
    }
}

fn returned(changes: work::Changes) -> Changes {
    Changes {
        verdicts: changes.verdicts,
        operands: changes.operands,
        bytes: changes.bytes,
    }
}
