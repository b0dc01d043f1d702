//! Stores what attempts produce: an attempt's bytes go in; one committed output for each request, with its receipt, comes
//! out.
//!
//! A backend implements three traits, one for each state of an attempt's output:
//!
//! ```text
//! Storage  --begin-->  Attempt  --seal-->  SealedAttempt  --publish-->  output, rejects and receipt are visible
//!    ^                    |                     |
//!    |                    | checkpoint          | quarantine: output, rejects and a report, which no receipt names
//!    +---- resume --------+
//! ```
//! Whatever happens to attempts, each backend keeps these promises. The suite in `runtime/tests/it/storage` tests them:
//!
//! - A reader that lists the outputs never sees rows of two attempts at one request, a part of an output, or an output
//!   that no receipt will name.
//! - Only one of all attempts at a request creates its receipt. Nothing changes the files that the receipt names.
//! - A request that [`Storage::conclude`] has ended stays without an output, whatever late attempts do.
//!
//! All functions block, so they must not be called within an async task.

mod local;
mod staged;

use std::fmt;
use std::io::Read;
use std::time::Duration;

pub use self::local::{LocalStorage, StagedPart, StoredCheckpoint};
pub use self::staged::StagedWriter;
use crate::digest::Digest;
use crate::error::Result;
use crate::format::Format;
use crate::receipt::{Receipt, Report};
use crate::stop::Stop;

/// The attempt that an output belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owner {
    /// The queue of the request; none outside a queue.
    pub queue: Option<String>,
    /// The request's id; none if it becomes known only when the input has been read.
    pub id: Option<String>,
    /// The fence of the claim; 0 outside a queue.
    pub fence: u64,
    /// The start of this life of the request, in ms since 1970 by the server's clock: see
    /// [`crate::queue::Claim::life_ms`].
    pub life_ms: i64,
    /// Set if an earlier attempt at the request was lost and may still be running.
    pub is_contested: bool,
}

/// The published files, for the receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The output.
    pub output: Artifact,
    /// The rejects; none if nothing was rejected.
    pub rejects: Option<Artifact>,
}

/// A published file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The file's URI.
    pub uri: String,
    /// The file's length.
    pub bytes: u64,
    /// The SHA-256 of the file's bytes, in lowercase hex.
    pub sha256: String,
}

/// The part of an attempt's output that a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileRole {
    /// The records that the plugin kept or made.
    Output,
    /// The rejected records.
    Rejects,
}

/// The result of [`SealedAttempt::publish`].
#[derive(Debug)]
pub enum Recorded {
    /// This attempt created the receipt.
    New(Box<Receipt>),
    /// There was a receipt under the id already; nothing of this attempt is visible.
    Existing {
        /// The receipt found.
        existing: Box<Receipt>,
        /// The receipt that this attempt would have created.
        own: Box<Receipt>,
        /// The path or URI of the receipt found.
        place: String,
        /// Set if files of this attempt may still be visible.
        leaves_output: bool,
    },
}

/// The result of [`SealedAttempt::quarantine`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Quarantined {
    /// Output and rejects were kept; the report at this URI names them.
    Report(String),
    /// The output was to be passed on, so only the rejects were kept, at this URI; none if they have no folder.
    Rejects(Option<String>),
}

/// The result of [`Storage::conclude`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Concluded {
    /// An attempt had committed the request: it is done.
    Committed(Box<Receipt>),
    /// No output of the request is visible, and no late attempt can commit it any more.
    Ended,
}

/// The result of [`Storage::resume`].
pub enum Resumed {
    /// The new attempt has the bytes of the checkpoint.
    Ready(Box<dyn Attempt>),
    /// The checkpoint cannot be used, for this reason.
    Refused(String),
}

/// A request of a queue that ends without another attempt.
#[derive(Debug, Clone, Copy)]
pub struct EndedRequest<'a> {
    /// The request's queue.
    pub queue: &'a str,
    /// The request's id.
    pub id: &'a str,
    /// The time at which the request was submitted, as in its receipt.
    pub submitted_at: &'a str,
    /// The start of the request's life: see [`Owner::life_ms`].
    pub life_ms: i64,
    /// The request's next state, for people: `cancelled` or `dead`.
    pub state: &'a str,
    /// The name of the worker that ends the request.
    pub worker: &'a str,
}

/// Makes the receipt of an attempt from its published files.
pub type MakeReceipt<'a> = Box<dyn FnOnce(&Published) -> Receipt + 'a>;

/// Makes the report of a refused attempt from the files in quarantine.
pub type MakeReport<'a> = Box<dyn FnOnce(&Published) -> Report + 'a>;

/// Makes the progress that a checkpoint stores.
pub type MakeProgress<'a> = Box<dyn FnOnce() -> String + 'a>;

/// A place for outputs, rejects, receipts and checkpoints.
pub trait Storage: fmt::Debug + Send + Sync {
    /// Returns the id of the place: a random word that is kept there, so that it is the same on every machine and under
    /// every path or URI that leads there. Creates the id if there is none.
    ///
    /// # Errors
    /// Fails as [`Storage::begin`] does.
    fn identity(&self) -> Result<String>;

    /// Checks that no attempt has found another place under the path than [`Storage::identity`] did. The claims of this
    /// worker name the earlier one, so it must make no more of them.
    ///
    /// # Errors
    /// Fails permanently, with stage commit, if one has: only a new worker can use the other place.
    fn check_identity(&self) -> Result<()>;

    /// Returns the URI of the outputs, for people.
    fn uri(&self) -> String;

    /// Checks that a queue can have a folder of its own here. [`Storage::begin`] does so too, but a worker that checks
    /// at its start does not claim requests that must fail.
    ///
    /// # Errors
    /// Fails permanently, with stage config, if the queue's name is invalid or is a name that the storage uses.
    fn check_queue(&self, queue: &str) -> Result<()>;

    /// Begins an attempt's output.
    ///
    /// # Errors
    /// Fails with stage commit if the place cannot be written: permanently if a permission is missing, transiently if
    /// there is no space or no answer. Fails with stage config if the queue's name cannot be used.
    fn begin(&self, owner: Owner) -> Result<Box<dyn Attempt>>;

    /// Begins an attempt's output with the bytes that an earlier attempt at the same request had written up to its
    /// checkpoint. What that attempt left is removed when this one ends. The owner must be a request of a queue.
    ///
    /// # Errors
    /// Fails as [`Storage::begin`] does, and if `stop` is requested.
    fn resume(&self, owner: Owner, part: &StagedPart, stop: &Stop) -> Result<Resumed>;

    /// Returns the last checkpoint of a request, or `None` if there is none.
    ///
    /// # Errors
    /// Returns the reason why a checkpoint that was found is not valid.
    fn find_checkpoint(&self, queue: &str, id: &str) -> Result<Option<StoredCheckpoint>, String>;

    /// Removes the last checkpoint of a request, if there is one, with the bytes that it covers.
    fn forget_checkpoint(&self, queue: &str, id: &str);

    /// Returns the receipt of a request, if an attempt at it has committed.
    ///
    /// # Errors
    /// Fails with stage commit if a receipt cannot be read.
    fn committed(&self, queue: &str, id: &str, submitted_at: &str) -> Result<Option<Receipt>>;

    /// Returns the receipt under the id of a request, also if it is for an earlier request with this id.
    ///
    /// # Errors
    /// Fails as [`Storage::committed`] does.
    fn receipt(&self, queue: &str, id: &str) -> Result<Option<Receipt>>;

    /// Ends a request without another attempt. If an attempt has committed it, it is done. Otherwise this removes all
    /// its visible output, and no attempt that is still running can commit it. A second call changes nothing.
    ///
    /// # Errors
    /// Fails with stage commit; then the request has not ended.
    fn conclude(&self, request: EndedRequest<'_>) -> Result<Concluded>;

    /// Removes what attempts that never ended have left and not written for `older_than`. Returns the number of files
    /// removed; skips those that cannot be removed.
    ///
    /// An attempt may write nothing for any length of time while it waits for memory. So each worker that reaps passes
    /// the requests that it is working on (`at_work`, by queue and id): their files are kept, and marked as written
    /// now, so that other workers keep them too. It must do so far more often than `older_than`.
    ///
    /// # Errors
    /// Fails if the place cannot be read.
    fn reap(&self, older_than: Duration, at_work: &[(&str, &str)]) -> Result<usize>;
}

/// The output of a running attempt, which no reader sees. Dropping it removes its bytes.
pub trait Attempt: fmt::Debug + Send {
    /// Returns the writer of the output's bytes.
    fn output(&mut self) -> &mut dyn StagedWriter;

    /// Returns the writer of the rejects' bytes; the first call creates it.
    ///
    /// # Errors
    /// Fails as [`Storage::begin`] does.
    fn rejects(&mut self) -> Result<&mut dyn StagedWriter>;

    /// Opens the bytes written to the output so far, from a position on, to read them again.
    ///
    /// # Errors
    /// Returns errors of stage commit.
    fn read_output(&mut self, from: u64) -> Result<Box<dyn Read + Send>>;

    /// Begins a checkpoint of all bytes written so far, with the progress that `progress` returns. Does nothing outside
    /// a queue, and while the previous checkpoint is still being written.
    ///
    /// # Errors
    /// Fails if the bytes cannot be written. If only the checkpoint cannot be written, the attempt goes on.
    fn checkpoint(&mut self, progress: MakeProgress<'_>) -> Result<()>;

    /// Returns whether this attempt has written a checkpoint of its own.
    fn has_checkpoint(&mut self) -> bool;

    /// Ends the attempt, but leaves the last checkpoint with its bytes to the next attempt.
    fn keep(self: Box<Self>);

    /// Writes all buffered bytes and makes them durable.
    ///
    /// # Errors
    /// Returns errors of stage commit: transient if there is no space.
    fn seal(self: Box<Self>) -> Result<Box<dyn SealedAttempt>>;
}

/// The complete output of an attempt, durable and not yet visible. Dropping it removes it.
pub trait SealedAttempt: fmt::Debug + Send {
    /// Returns the digest of the bytes of a file; none for rejects if nothing was rejected.
    fn digest(&self, role: FileRole) -> Option<&Digest>;

    /// Publishes output and rejects, then creates the receipt that `make_receipt` returns. Never replaces or changes an
    /// existing file.
    ///
    /// # Errors
    /// Fails with stage commit: permanently if the request was ended; with class lease lost if another attempt has
    /// taken over. If no receipt could be created, nothing of this attempt stays visible, unless the error says
    /// otherwise ([`crate::error::Error::leaves_output`]).
    fn publish(&mut self, id: &str, format: Format, make_receipt: MakeReceipt<'_>) -> Result<Recorded>;

    /// Returns the receipt under an id, if there is one.
    ///
    /// # Errors
    /// Fails with stage commit if a receipt cannot be read.
    fn receipt(&self, id: &str) -> Result<Option<Receipt>>;

    /// Returns whether the file that a receipt names by this URI has these bytes; none if the file does not exist.
    ///
    /// # Errors
    /// Fails with stage commit if the file cannot be read.
    fn has_bytes(&self, role: FileRole, uri: &str, expected: &Digest) -> Result<Option<bool>>;

    /// Puts output and rejects into quarantine, with the report that `make_report` returns, which alone names them. It
    /// replaces the report of an earlier attempt.
    ///
    /// # Errors
    /// Fails as [`SealedAttempt::publish`] does; then no new file stays.
    fn quarantine(&mut self, id: &str, format: Format, make_report: MakeReport<'_>) -> Result<Quarantined>;

    /// Ends the attempt without publishing, but leaves the last checkpoint with its bytes to the next attempt.
    fn keep(self: Box<Self>);
}
