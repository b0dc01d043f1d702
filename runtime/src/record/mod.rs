//! The data at the plugin boundary, as the host stores it. [`Batch`] holds the records that go to a plugin,
//! [`Changes`] holds the plugin's verdicts on these records, and [`Origin`] says where the records come from.

mod batch;
mod changes;
mod origin;

pub use self::batch::{
    Batch, Cells, ChunkError, ChunkOrigin, IN_PLACE, MalformedRecord, Position, Row, Used,
};
pub use self::changes::{Changes, ChangesReader, Edits, Emission, EmittedRow, RowFields, Rows, Verdict};
pub use self::origin::Origin;
