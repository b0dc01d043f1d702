//! The work on a record, for each form in which records arrive. The benchmark also compiles this file natively. Every
//! method must give the same results as the native code.

pub(crate) const KEEP: u8 = 0;
pub(crate) const EDIT: u8 = 1;
pub(crate) const DROP: u8 = 3;

/// The output columns of the two edited cells.
pub(crate) const TIME_COLUMNS: [u32; 2] = [4, 5];

/// The offset of the separator between date and time, as in `2017-10-23 12:04:38`.
const SEPARATOR: usize = 10;

/// A batch, and the indexes of the fields that the guest works on.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) ends: &'a [u32],
    pub(crate) width: usize,
    pub(crate) id: usize,
    pub(crate) times: [usize; 2],
}

/// The changes of a batch, in the form of the plugin interface.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) verdicts: Vec<u8>,
    pub(crate) operands: Vec<u32>,
    pub(crate) bytes: Vec<u8>,
}

/// The changes of one row.
pub(crate) struct RowChanges<'a> {
    pub(crate) verdict: u8,
    pub(crate) operands: &'a [u32],
    pub(crate) bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    fn rows(self) -> usize {
        self.ends.len() / self.width
    }

    fn field(self, row: usize, field: usize) -> &'a [u8] {
        let at = row * self.width + field;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.bytes[start as usize..self.ends[at] as usize]
    }

    fn is_kept(self, row: usize) -> bool {
        is_number(self.field(row, self.id))
    }
}

pub(crate) fn strings(mut record: Vec<String>) -> Vec<String> {
    if !is_number(record[0].as_bytes()) {
        return Vec::new();
    }
    for column in TIME_COLUMNS {
        let time = &mut record[column as usize];
        if time.as_bytes().get(SEPARATOR) == Some(&b' ') {
            time.replace_range(SEPARATOR..=SEPARATOR, "T");
        }
    }
    record
}

pub(crate) fn whole_rows(fields: Fields<'_>) -> (Vec<u8>, Vec<u32>) {
    let mut bytes = Vec::with_capacity(fields.bytes.len());
    let mut ends = Vec::with_capacity(fields.ends.len());
    for row in 0..fields.rows() {
        if !fields.is_kept(row) {
            continue;
        }
        for field in 0..fields.width {
            let text = fields.field(row, field);
            if fields.times.contains(&field) {
                push_time(&mut bytes, text);
            } else {
                bytes.extend_from_slice(text);
            }
            ends.push(bytes.len() as u32);
        }
    }
    (bytes, ends)
}

pub(crate) fn edits(fields: Fields<'_>) -> Changes {
    let rows = fields.rows();
    let mut changes = Changes {
        verdicts: Vec::with_capacity(rows),
        operands: Vec::with_capacity(rows * 5),
        bytes: Vec::with_capacity(rows * 38),
    };
    for row in 0..rows {
        edit(fields, row, &mut changes);
    }
    changes
}

pub(crate) fn edits_by_row(fields: Fields<'_>, mut emit: impl FnMut(RowChanges<'_>)) {
    let mut changes = Changes::default();
    for row in 0..fields.rows() {
        let start = changes.bytes.len();
        changes.operands.clear();
        edit(fields, row, &mut changes);
        emit(RowChanges {
            verdict: changes.verdicts[row],
            operands: &changes.operands,
            bytes: &changes.bytes[start..],
        });
    }
}

pub(crate) fn verdicts(fields: Fields<'_>) -> Vec<u8> {
    (0..fields.rows())
        .map(|row| if fields.is_kept(row) { KEEP } else { DROP })
        .collect()
}

pub(crate) fn count_spaces(bytes: &[u8]) -> u32 {
    // The count of a piece fits into a byte. With vector instructions, the compiler can therefore add sixteen counts at
    // once.
    let pieces = bytes.chunks(u8::MAX as usize);
    pieces
        .map(|piece| u32::from(piece.iter().map(|&byte| u8::from(byte == b' ')).sum::<u8>()))
        .sum()
}

fn edit(fields: Fields<'_>, row: usize, changes: &mut Changes) {
    if !fields.is_kept(row) {
        changes.verdicts.push(DROP);
        return;
    }
    changes.verdicts.push(EDIT);
    changes.operands.push(TIME_COLUMNS.len() as u32);
    for (field, column) in fields.times.into_iter().zip(TIME_COLUMNS) {
        push_time(&mut changes.bytes, fields.field(row, field));
        changes
            .operands
            .extend_from_slice(&[column, changes.bytes.len() as u32]);
    }
}

fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

fn push_time(bytes: &mut Vec<u8>, text: &[u8]) {
    let start = bytes.len();
    bytes.extend_from_slice(text);
    if let Some(separator @ b' ') = bytes.get_mut(start + SEPARATOR) {
        *separator = b'T';
    }
}
