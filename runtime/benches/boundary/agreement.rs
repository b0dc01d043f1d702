//! Checks before the measurements that all methods give the same results, for all settings and for several sizes of
//! batches.

use crate::input::{self, BATCH_BYTES, Batch, Layout};
use crate::sandbox::{Guest, Setting};
use crate::work::{self, Changes, DROP, EDIT, KEEP};

type Rows = Vec<Vec<String>>;

/// Checks that all methods give the same results.
///
/// # Panics
/// Panics if the results of two methods differ.
pub(crate) fn check() {
    let expected = expected();
    for setting in Setting::ALL {
        let mut guest = Guest::start(setting);
        strings_agree(&mut guest, &expected);
        arenas_agree(&mut guest, BATCH_BYTES, &expected);
        projections_agree(&mut guest, &expected);
    }
    for batch_bytes in [4 << 10, 1 << 20] {
        arenas_agree(&mut Guest::start(Setting::Shipped), batch_bytes, &expected);
    }
}

/// Returns the expected result for the records. The code is as simple as possible.
fn expected() -> Rows {
    let mut rows = Vec::new();
    for record in input::records() {
        if record[0].parse::<u64>().is_err() {
            continue;
        }
        let mut row: Vec<String> = record.iter().copied().map(str::to_owned).collect();
        for time in &mut row[4..=5] {
            if let Some((date, clock)) = time.split_once(' ') {
                *time = format!("{date}T{clock}");
            }
        }
        rows.push(row);
    }
    assert!(rows.len() < input::RECORDS, "some records are dropped");
    rows
}

fn strings_agree(guest: &mut Guest, expected: &Rows) {
    let records = input::records();
    let singly = records.iter().map(|record| guest.one_record(record));
    let singly: Rows = singly.filter(|row| !row.is_empty()).collect();
    assert!(singly == *expected);
    let lists = input::lists()
        .into_iter()
        .flat_map(|lists| guest.record_lists(&lists));
    let lists: Rows = lists.filter(|row| !row.is_empty()).collect();
    assert!(lists == *expected);
}

fn arenas_agree(guest: &mut Guest, batch_bytes: usize, expected: &Rows) {
    let layout = Layout::alarms();
    let (mut edited, mut whole) = (Rows::new(), Rows::new());
    for batch in &input::batches(&layout, batch_bytes) {
        let changes = guest.edits(&layout, batch);
        edited.extend(apply(&changes, batch));
        let (bytes, ends) = guest.whole_rows(&layout, batch);
        whole.extend(rows(&bytes, &ends, input::WIDTH));

        let keeps = |verdict: &u8| if *verdict == DROP { DROP } else { KEEP };
        let verdicts: Vec<u8> = changes.verdicts.iter().map(keeps).collect();
        assert!(guest.verdicts(&layout, batch) == verdicts);
        assert!(work::edits(layout.fields(batch)) == changes);
        assert!(guest.edits_checked(&layout, batch) == changes);
        assert!(guest.edits_of_text(&layout, batch) == changes);
        assert!(*guest.edits_by_row(&layout, batch) == changes);
        assert!(*guest.edits_by_batch(&layout, batch) == changes);
        assert!(*guest.edits_lent(&layout, batch) == changes);
        let spaces = batch.text.matches(' ').count();
        assert_eq!(guest.count_spaces(batch) as usize, spaces);
    }
    assert!(edited == *expected);
    assert!(whole == *expected);
}

/// Checks that the edits of a record do not depend on the number of columns that cross the boundary.
fn projections_agree(guest: &mut Guest, expected: &Rows) {
    for layout in [Layout::all(input::WIDE), Layout::four()] {
        let mut cells = Vec::new();
        for batch in &input::batches(&layout, BATCH_BYTES) {
            let changes = guest.edits(&layout, batch);
            let mut start = 0;
            for row in changes.operands.chunks_exact(5) {
                for cell in row[1..].chunks_exact(2) {
                    cells.push((cell[0], text(&changes.bytes[start..cell[1] as usize])));
                    start = cell[1] as usize;
                }
            }
        }
        let times = expected.iter().flat_map(|row| [(4, &row[4]), (5, &row[5])]);
        assert!(cells.iter().map(|(column, time)| (*column, time)).eq(times));
    }
}

/// Returns the rows of a batch after the changes.
fn apply(changes: &Changes, batch: &Batch) -> Rows {
    let mut kept = Rows::new();
    let (mut operands, mut start) = (changes.operands.iter().map(|&operand| operand as usize), 0);
    let mut operand = || operands.next().expect("an operand");
    for (verdict, mut row) in
        changes
            .verdicts
            .iter()
            .zip(rows(batch.text.as_bytes(), &batch.ends, input::WIDTH))
    {
        match *verdict {
            EDIT => {
                for _ in 0..operand() {
                    let (column, end) = (operand(), operand());
                    row[column] = text(&changes.bytes[start..end]);
                    start = end;
                }
                kept.push(row);
            }
            DROP => {}
            verdict => panic!("verdict {verdict}"),
        }
    }
    kept
}

fn rows(bytes: &[u8], ends: &[u32], width: usize) -> Rows {
    let mut start = 0;
    let fields = ends.iter().map(|&end| {
        let field = text(&bytes[start..end as usize]);
        start = end as usize;
        field
    });
    let fields: Vec<String> = fields.collect();
    fields.chunks_exact(width).map(<[String]>::to_vec).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}
