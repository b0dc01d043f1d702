//! Creates records from a seed. The benchmarks pass them through the plugin boundary. Each measured method gets the
//! fields in its own form.

use std::sync::LazyLock;

use crate::work::Fields;

/// The number of different records. They are enough for a batch of 1 MiB, and few enough to stay in the processor's
/// cache. In production, the records are also in the cache, because a decoder has just written them.
pub(crate) const RECORDS: usize = 20_000;
/// The number of columns of an alarm.
pub(crate) const WIDTH: usize = 8;
/// The number of columns of a wide record.
pub(crate) const WIDE: usize = 60;
/// The size of a batch in bytes, for benchmarks that do not compare sizes.
pub(crate) const BATCH_BYTES: usize = 256 << 10;
/// The maximum number of records in a list that [`lists`] returns.
const LIST_RECORDS: usize = 2_000;

const SEED: u64 = 7;
const BAD_PERCENT: u8 = 5;

/// The columns of a record that cross the boundary. `id` and `times` are indexes in `columns`: the guest works on these
/// columns only.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) columns: Vec<usize>,
    pub(crate) id: usize,
    pub(crate) times: [usize; 2],
}

/// Some records in the form of an arena: one text with all fields, and the end of each field.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) text: String,
    pub(crate) ends: Vec<u32>,
}

/// Returns the alarms. Malformed alarms are left out, as in the decoder. Alarms with other faults stay.
pub(crate) fn records() -> &'static [Vec<&'static str>] {
    static TEXT: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut csv = Vec::new();
        let more = RECORDS as u64 * 11 / 10;
        alarm_feed::write_alarms(&mut csv, SEED, more, BAD_PERCENT).expect("memory takes it");
        csv
    });
    static RECORD: LazyLock<Vec<Vec<&'static str>>> = LazyLock::new(|| {
        let text = std::str::from_utf8(&TEXT).expect("alarms are ASCII");
        let rows = text.lines().skip(1).map(|line| line.split(',').collect());
        let records: Vec<Vec<_>> = rows
            .filter(|row: &Vec<_>| row.len() == WIDTH)
            .take(RECORDS)
            .collect();
        assert_eq!(records.len(), RECORDS);
        records
    });
    &RECORD
}

/// Returns the records in lists of up to [`LIST_RECORDS`] records.
pub(crate) fn lists() -> Vec<Vec<&'static [&'static str]>> {
    let lists = records().chunks(LIST_RECORDS);
    lists
        .map(|records| records.iter().map(Vec::as_slice).collect())
        .collect()
}

/// Returns the records in batches. The fields that cross have at most `bytes_max` bytes in each batch. A column after
/// the eighth repeats one of the first eight columns.
pub(crate) fn batches(layout: &Layout, bytes_max: usize) -> Vec<Batch> {
    let mut batches = Vec::new();
    let mut batch = Batch::new();
    for record in records() {
        let fields = layout.columns.iter().map(|column| record[column % WIDTH]);
        if batch.text.len() + fields.clone().map(str::len).sum::<usize>() > bytes_max {
            batches.push(std::mem::replace(&mut batch, Batch::new()));
        }
        for field in fields {
            batch.text.push_str(field);
            batch.ends.push(batch.text.len() as u32);
        }
    }
    batches.push(batch);
    batches
}

impl Layout {
    /// Returns the layout of alarms. All their columns cross.
    pub(crate) fn alarms() -> Self {
        Self::all(WIDTH)
    }

    /// Returns the layout of records with `width` columns. All columns cross.
    pub(crate) fn all(width: usize) -> Self {
        Self {
            columns: (0..width).collect(),
            id: 0,
            times: [4, 5],
        }
    }

    /// Returns the layout of records with any number of columns. Only the id, the two times and the value cross.
    pub(crate) fn four() -> Self {
        Self {
            columns: vec![0, 4, 5, 6],
            id: 0,
            times: [1, 2],
        }
    }

    pub(crate) fn fields<'a>(&self, batch: &'a Batch) -> Fields<'a> {
        Fields {
            bytes: batch.text.as_bytes(),
            ends: &batch.ends,
            width: self.columns.len(),
            id: self.id,
            times: self.times,
        }
    }
}

impl Batch {
    fn new() -> Self {
        Self {
            text: String::new(),
            ends: Vec::new(),
        }
    }
}
