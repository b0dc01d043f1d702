//! Stores what attempts produce: the bytes of attempts go in; for each request, one committed output with its receipt
//! comes out.
//!
//! A backend implements three traits, one for each state of an attempt's output:
//!
//! ```text
//! Storage  --begin-->  Attempt  --seal-->  SealedAttempt  --publish-->  output, rejects and receipt are visible
//!    ^                    |                     |
//!    |                    | checkpoint          | quarantine: output, rejects and a report, which no receipt names
//!    +---- resume --------+
//! ```
//! Each backend keeps these promises, even if attempts die, hang or run at the same time:
//!
//! - A reader that lists the outputs never sees rows of two attempts at one request, a part of an output, or an output
//!   that no receipt will name. In local folders, an output is visible shortly before its receipt. If there will be no
//!   receipt, the output is removed by its own attempt, or by the next worker that claims the request.
//! - Only one of all attempts at a request creates its receipt. Nothing changes the files that the receipt names.
//! - After [`Storage::conclude`] has ended a request without an output, no attempt of this life of the request can make
//!   an output visible. In object stores, this holds until the decision to end it is removed, which is about a week later
//!   by default.
//!
//! `runtime/tests/it/conformance` tests these promises on each kind of storage. `runtime/tests/it/storage` and
//! `runtime/tests/it/commit` test what only one kind has.
//!
//! All functions of this module block, so they must not be called within an async task.

mod checkpoint;
mod layout;
mod local;
mod memory;
pub mod object;
mod staged;

use std::fmt;
use std::io::Read;
use std::time::Duration;

pub use self::checkpoint::{StagedPart, StoredCheckpoint};
pub(crate) use self::layout::{earlier_receipt_uri, receipt_uri};
pub use self::local::LocalStorage;
pub use self::memory::{KeptFiles, MemoryStorage};
pub use self::staged::StagedWriter;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::format::Format;
use crate::memory::MemoryShare;
use crate::receipt::{Receipt, Report};
use crate::stop::Stop;

/// The attempt that an output belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owner {
    /// The queue of the request, or `None` outside a queue.
    pub queue: Option<String>,
    /// The request's id, or `None` if the id is not known before the input has been read.
    pub id: Option<String>,
    /// The fence of the claim; 0 outside a queue.
    pub fence: u64,
    /// The start of this life of the request, in milliseconds since 1970 by the server's clock: see
    /// [`crate::queue::Claim::life_ms`].
    pub life_ms: i64,
    /// True if an earlier attempt at the request was lost and can still be running.
    pub is_contested: bool,
}

/// The published files, as the receipt or the report describes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The output.
    pub output: Artifact,
    /// The rejects, or `None` if nothing was rejected.
    pub rejects: Option<Artifact>,
}

/// A published file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The file's URI.
    pub uri: String,
    /// The file's length in bytes.
    pub bytes: u64,
    /// The SHA-256 of the file's bytes, in lowercase hex.
    pub sha256: String,
}

/// The kind of records that a file of an attempt contains.
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
    /// This attempt has created the receipt. If outputs are passed on, the receipt is not stored.
    New(Box<Receipt>),
    /// There was already a receipt with this id. No file of this attempt is visible, unless `leaves_output` is set.
    Existing {
        /// The receipt found.
        existing: Box<Receipt>,
        /// The receipt that this attempt would have created.
        own: Box<Receipt>,
        /// The path or URI of the receipt found.
        place: String,
        /// True if files of this attempt can still be visible, because they could not be removed.
        leaves_output: bool,
    },
}

/// The result of [`SealedAttempt::quarantine`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Quarantined {
    /// The report at this URI was written. It names the files in quarantine.
    Report(String),
    /// This storage passes outputs on, so no report was written. The value is the URI of the rejects,
    /// or `None` if there are no rejects or no folder for them.
    Rejects(Option<String>),
}

/// The result of [`Storage::conclude`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Concluded {
    /// An attempt has committed the request, so the request is done.
    Committed(Box<Receipt>),
    /// No output of the request is visible, and no attempt that is still running can commit the request.
    Ended,
}

/// The reason why a checkpoint is not found.
#[derive(Debug)]
pub enum CheckpointFault {
    /// The checkpoint is not valid, for this reason.
    Invalid(String),
    /// The storage does not answer now. The checkpoint may be usable later.
    NoAnswer(Error),
}

/// The result of [`Storage::resume`].
pub enum Resumed {
    /// The new attempt, which has the bytes that the checkpoint covers.
    Ready(Box<dyn Attempt>),
    /// The checkpoint cannot be used. The text is the reason.
    Refused(String),
}

/// A request of a queue that a worker ends without another attempt.
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

/// A function that makes the receipt of an attempt from its published files.
pub type MakeReceipt<'a> = Box<dyn FnOnce(&Published) -> Receipt + 'a>;

/// A function that makes the report about a refused output from the files in quarantine.
pub type MakeReport<'a> = Box<dyn FnOnce(&Published) -> Report + 'a>;

/// A function that makes the text of the progress, which a checkpoint stores.
pub type MakeProgress<'a> = Box<dyn FnOnce() -> String + 'a>;

/// A reader of a published file.
pub type StoredReader = Box<dyn Read + Send>;

/// A place for outputs, rejects, receipts and checkpoints.
pub trait Storage: fmt::Debug + Send + Sync {
    /// Returns the id of this place. The id is a random text that is stored in the place itself. So the id is the same
    /// on every machine and under every path or URI of the place. Creates the id if there is none.
    ///
    /// # Errors
    /// Fails as [`Storage::begin`] does.
    fn identity(&self) -> Result<String>;

    /// Checks that each attempt has found the same id as [`Storage::identity`]. If an attempt has found another
    /// id, this worker must not claim any more requests, because its claims name the earlier id.
    ///
    /// # Errors
    /// Fails permanently, with stage commit, if an attempt has found another id: only a new worker can use the other
    /// place.
    fn check_identity(&self) -> Result<()>;

    /// Returns the URI of the folder or prefix with the outputs, for people.
    fn uri(&self) -> String;

    /// Checks that a queue can have its own folder in this place. [`Storage::begin`] checks this, too, but only after a
    /// claim. A worker that calls this function when it starts claims no requests that are certain to fail.
    ///
    /// # Errors
    /// Fails permanently, with stage config, if the queue's name is invalid. Also fails if the storage itself uses the
    /// folder of this name, for example for receipts.
    fn check_queue(&self, queue: &str) -> Result<()>;

    /// Prepares the place for the requests of a queue, and checks that it can be written. If `stop` is given, an object
    /// store has 10 s to answer, and the call ends when the stop is requested.
    ///
    /// # Errors
    /// Fails as [`Storage::begin`] does. Also fails transiently if a store does not answer in time, or if a stop is
    /// requested.
    fn prepare(&self, queue: &str, stop: Option<&Stop>) -> Result<()>;

    /// Begins an attempt, whose output will have this format.
    ///
    /// # Errors
    /// Fails with stage commit if the place cannot be written: permanently if a permission is missing, transiently if
    /// there is no space or the store does not answer. Fails with stage config if [`Storage::check_queue`] fails, or if
    /// the place or the owner is not suitable for this kind of storage.
    fn begin(&self, owner: Owner, format: Format) -> Result<Box<dyn Attempt>>;

    /// Begins an attempt that already has the bytes that an earlier attempt at the same request had written before its
    /// checkpoint. `part` describes these bytes. When the new attempt ends, the remaining bytes of the earlier attempt
    /// are removed. The owner must be a request of a queue. The buffers of the new attempt count as memory of `memory`:
    /// see [`Attempt::hold_in`].
    ///
    /// # Errors
    /// Fails as [`Storage::begin`] does. Also fails if a stop is requested, or if the buffers need too much memory.
    fn resume(
        &self,
        owner: Owner,
        format: Format,
        part: &StagedPart,
        stop: &Stop,
        memory: &MemoryShare,
    ) -> Result<Resumed>;

    /// Returns the last checkpoint of a request, or `None` if there is no checkpoint.
    ///
    /// # Errors
    /// Fails if the checkpoint is not valid or cannot be read now.
    fn find_checkpoint(&self, queue: &str, id: &str) -> Result<Option<StoredCheckpoint>, CheckpointFault>;

    /// Removes the last checkpoint of a request and the bytes that it covers, if there is a checkpoint.
    fn forget_checkpoint(&self, queue: &str, id: &str);

    /// Returns the receipt of a request, or `None` if no attempt has committed the request.
    ///
    /// # Errors
    /// Fails with stage commit if the receipt cannot be read.
    fn committed(&self, queue: &str, id: &str, submitted_at: &str) -> Result<Option<Receipt>>;

    /// Returns the receipt with the id of a request. The receipt can be for an earlier request with this id. Returns
    /// `None` if there is no receipt.
    ///
    /// # Errors
    /// Fails as [`Storage::committed`] does.
    fn receipt(&self, queue: &str, id: &str) -> Result<Option<Receipt>>;

    /// Returns whether the file to which `uri` in a receipt of this queue refers has the expected digest, or `None` if
    /// there is no such file.
    ///
    /// # Errors
    /// Fails with stage commit if the file cannot be read.
    fn has_bytes(&self, queue: &str, role: FileRole, uri: &str, expected: &Digest) -> Result<Option<bool>>;

    /// Opens the rejects to which `uri` in a receipt of this queue refers. Returns `None` if there is no such file. The
    /// reader blocks, and its errors wrap errors with stage commit. The reader does not check the bytes: the caller has
    /// to compare them with the receipt's digest.
    ///
    /// # Errors
    /// Fails with stage commit if the file cannot be read, or if it is at a place that this storage does not use.
    fn open_rejects(&self, queue: &str, uri: &str, stop: &Stop) -> Result<Option<StoredReader>>;

    /// Ends a request without another attempt. If an attempt has committed the request, returns its receipt. If no
    /// attempt has committed the request, removes all visible output of the request, and prevents attempts that are
    /// still running from committing it. A second call changes nothing, but if the request has a later life already, it
    /// can make a running attempt of that life fail transiently.
    ///
    /// # Errors
    /// Fails with stage commit. After an error, the caller must not treat the request as ended.
    fn conclude(&self, request: EndedRequest<'_>) -> Result<Concluded>;

    /// Removes the bytes of attempts that never ended: staged files and uploads that were last written longer ago than
    /// `older_than`. Returns the number of files and uploads that were removed.
    ///
    /// While an attempt waits for memory, it writes nothing, and this wait has no time limit. So a worker that calls
    /// this function passes the queue and the id of each request that it is working on (`at_work`). The bytes of these
    /// requests are kept, and are marked as written now, so that other workers keep them, too. The interval between two
    /// calls must be far shorter than `older_than`.
    ///
    /// # Errors
    /// Fails if the place cannot be read.
    fn reap(&self, older_than: Duration, at_work: &[(&str, &str)]) -> Result<usize>;
}

/// The output of a running attempt, which no reader sees. When this value is dropped, its bytes are removed.
pub trait Attempt: fmt::Debug + Send {
    /// Counts the attempt's large buffers as memory of `memory`, from now on. Then each writer waits if there is no
    /// memory for a buffer, and fails as [`Held::raise`](crate::memory::Held::raise) does. Must be called before bytes
    /// are written. A storage without large buffers need not do anything. From now on, calls to a store also end some
    /// seconds after the stop of `memory` is requested.
    fn hold_in(&mut self, _memory: &MemoryShare) {}

    /// Returns the writer of the output's bytes.
    fn output(&mut self) -> &mut dyn StagedWriter;

    /// Returns the writer of the rejects' bytes. The first call creates the writer.
    ///
    /// # Errors
    /// Fails as [`Storage::begin`] does.
    fn rejects(&mut self) -> Result<&mut dyn StagedWriter>;

    /// Opens the output for reading, beginning at the position `from`. The reader returns all bytes that were written
    /// so far.
    ///
    /// # Errors
    /// Fails with stage commit if the output cannot be read, or if the storage cannot read unpublished outputs.
    fn read_output(&mut self, from: u64) -> Result<Box<dyn Read + Send>>;

    /// Begins to write a checkpoint of all bytes that were written so far, with the progress that `progress` returns.
    /// Does nothing if the attempt is outside a queue, or if the previous checkpoint is still being written.
    ///
    /// # Errors
    /// Fails if bytes of the output or of the rejects cannot be written. If only the checkpoint cannot be written, the
    /// attempt continues.
    fn checkpoint(&mut self, progress: MakeProgress<'_>) -> Result<()>;

    /// Returns whether this attempt has written a checkpoint of its own.
    fn has_checkpoint(&mut self) -> bool;

    /// Ends the attempt, but keeps the last checkpoint and the bytes that it covers for the next attempt.
    fn keep(self: Box<Self>);

    /// Writes all buffered bytes, and makes all bytes of the attempt durable.
    ///
    /// # Errors
    /// Fails with stage commit: transiently if there is no space.
    fn seal(self: Box<Self>) -> Result<Box<dyn SealedAttempt>>;
}

/// The complete output of an attempt, which is durable but not visible yet. When this value is dropped before it is
/// published, the output is removed.
pub trait SealedAttempt: fmt::Debug + Send {
    /// Returns the digest of a file's bytes. Returns `None` for the rejects if nothing was rejected.
    fn digest(&self, role: FileRole) -> Option<&Digest>;

    /// Publishes output and rejects, then creates the receipt that `make_receipt` returns. Never replaces or changes an
    /// existing file.
    ///
    /// # Errors
    /// Fails with stage commit:
    ///
    /// - permanently if the request has ended without a receipt
    /// - with class lease lost if another attempt has taken over
    ///
    /// After an error, no file of this attempt is visible, unless [`crate::error::Error::leaves_output`] returns true.
    fn publish(&mut self, id: &str, make_receipt: MakeReceipt<'_>) -> Result<Recorded>;

    /// Returns the receipt with this id, or `None` if there is no such receipt.
    ///
    /// # Errors
    /// Fails with stage commit if the receipt cannot be read.
    fn receipt(&self, id: &str) -> Result<Option<Receipt>>;

    /// Returns whether the file to which `uri` in a receipt refers has the expected digest, or `None` if there is no
    /// such file.
    ///
    /// # Errors
    /// Fails with stage commit if the file cannot be read.
    fn has_bytes(&self, role: FileRole, uri: &str, expected: &Digest) -> Result<Option<bool>>;

    /// Puts the attempt's files into quarantine, and writes the report that `make_report` returns. Only this report
    /// names the files. The new report replaces the report of an earlier attempt. An object store keeps only the
    /// rejects, and discards the output. If outputs are passed on, the rejects are published instead, and no report is
    /// written.
    ///
    /// # Errors
    /// Fails with stage commit if a file cannot be written.
    fn quarantine(&mut self, id: &str, make_report: MakeReport<'_>) -> Result<Quarantined>;

    /// Ends the attempt without publishing, but keeps the last checkpoint and the bytes that it covers for the next
    /// attempt.
    fn keep(self: Box<Self>);
}
