//! Bytes in, batches of records out. A record that is malformed is set aside in its batch, with its position and the reason;
//! an input that cannot be told into records is an error.

mod csv;
mod jsonl;

use std::io::Read;

use crate::batch::Batch;
use crate::config::Limits;
use crate::error::Result;
use crate::format::Format;
use crate::format::csv::Dialect;
use crate::request::InputOptions;

/// A stream of records.
pub trait Decoder: Send {
    /// The columns by name, in the order of the input: see `input.columns` in `wit/plugin.wit`.
    fn columns(&self) -> &[String];

    /// Chooses the columns whose fields go into [`Batch::fields`]: indices into [`Decoder::columns`] followed by `more`,
    /// the names of further members. Called once, before the first [`Decoder::next`].
    ///
    /// # Errors
    /// If an index does not exist or stands there twice, or the format does not allow `more`.
    fn project(&mut self, reads: &[usize], more: &[String]) -> Result<()>;

    /// Empties the batch and fills it with the next records. False at the end of the input.
    ///
    /// # Errors
    /// Those of the reader, unchanged if they are this crate's; a record beyond its limit; an input that ends within quotes.
    fn next(&mut self, batch: &mut Batch) -> Result<bool>;
}

/// What is known of an opened input.
pub struct Decoding {
    /// Its records.
    pub decoder: Box<dyn Decoder>,
    /// Its format.
    pub format: Format,
    /// How its CSV is written; the default dialect for other formats.
    pub dialect: Dialect,
}
