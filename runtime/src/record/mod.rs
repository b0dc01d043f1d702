//! The data at the plugin boundary, as the host stores it. [`Batch`] holds the records that go to a plugin,
//! and [`Changes`] holds the plugin's verdicts on these records.

mod batch;
mod changes;

pub use self::batch::{
    Batch, Cells, ChunkError, ChunkOrigin, IN_PLACE, MalformedRecord, Position, Row, Used,
};
pub use self::changes::{Changes, ChangesReader, Edits, RowFields, Rows, Verdict};
