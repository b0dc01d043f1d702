//! Defines the codes of errors. They are short, stable words for programs that distinguish errors, and for people who
//! look errors up.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// An error code: a stable word in kebab-case that names what went wrong.
        ///
        /// A code never changes its meaning, but new codes can be added. Documents store codes as text. So a code of
        /// another version is shown as it is. `docs/troubleshooting.md` has a section for each code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Code {
            $($(#[doc = $doc])+ #[serde(rename = $name)] $variant,)+
        }

        impl Code {
            /// All codes, in the order of the stages that an input passes.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Returns the code as a word.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

codes! {
    /// An argument or option of the command line is wrong.
    Usage = "usage",
    /// The environment, `.env`, or a file that an option names is wrong.
    SettingsInvalid = "settings-invalid",
    /// The name of a queue or the id of a request breaks the rules for names.
    NameInvalid = "name-invalid",
    /// Other users can change a folder that must be private.
    FolderUnsafe = "folder-unsafe",
    /// The folder for outputs or rejects cannot be used.
    OutputFolder = "output-folder",
    /// A URI is malformed, or its scheme is not supported.
    AddressInvalid = "address-invalid",
    /// The options of an input contradict each other or are out of range.
    OptionsInvalid = "options-invalid",
    /// A document is not a valid request.
    RequestInvalid = "request-invalid",

    /// The queue's server cannot be reached.
    QueueUnreachable = "queue-unreachable",
    /// The queue's server refuses a command, a user or a password.
    QueueRefused = "queue-refused",
    /// The queue's server or file cannot hold queues.
    QueueUnsupported = "queue-unsupported",
    /// The file of a SQLite queue cannot be used.
    QueueFile = "queue-file",
    /// The queue contains data that this program never writes.
    QueueDamaged = "queue-damaged",
    /// The queue does not exist, or the file with the queues does not exist.
    QueueUnknown = "queue-unknown",
    /// The queue's server may lose data that it has acknowledged, and `--strict` forbids such a server.
    QueueUnsafe = "queue-unsafe",
    /// Stored data has a newer version than this program supports.
    HostOutdated = "host-outdated",
    /// The request does not exist.
    RequestUnknown = "request-unknown",
    /// The request's state does not allow the operation.
    RequestState = "request-state",
    /// The id belongs to another request.
    RequestConflict = "request-conflict",
    /// The queue's server has lost the content of a request.
    RequestLost = "request-lost",
    /// Several workers were lost while they worked on the request.
    Poison = "poison",
    /// The lease of a claim has expired, or another worker has taken over the request.
    LeaseLost = "lease-lost",
    /// The request has no report, or the report cannot be read from this machine.
    ReportMissing = "report-missing",

    /// The input file does not exist.
    InputMissing = "input-missing",
    /// The input cannot be opened or read to its end.
    InputUnreadable = "input-unreadable",
    /// The path names a folder, a pipe or a device.
    NotAFile = "not-a-file",
    /// The file is not below an allowed folder.
    PathRefused = "path-refused",
    /// A queued URL contains credentials, or its host has no public address.
    AddressRefused = "address-refused",
    /// A queued URI names an object of a bucket that the operator has not allowed.
    BucketRefused = "bucket-refused",
    /// No credentials for an object store can be found or obtained.
    CredentialsFailed = "credentials-failed",
    /// The object store refuses the credentials, or refuses the object to them.
    StoreRefused = "store-refused",
    /// The input's host cannot be found, or no connection to it can be made.
    HostUnreachable = "host-unreachable",
    /// TLS cannot be used or fails.
    TlsFailed = "tls-failed",
    /// The input's host does not answer in time, or closes the connection before it answers.
    HttpNoAnswer = "http-no-answer",
    /// The server answers with a status other than success.
    HttpStatus = "http-status",
    /// A redirect has no usable target or a forbidden target, or there are too many redirects.
    HttpRedirect = "http-redirect",
    /// The server's response breaks the rules of HTTP.
    HttpInvalid = "http-invalid",
    /// The transfer broke off.
    TransferBroken = "transfer-broken",
    /// The input has changed since it was opened or since the checkpoint.
    InputChanged = "input-changed",
    /// The input is not the version that was submitted.
    InputReplaced = "input-replaced",
    /// The input is larger than its limit.
    InputTooLarge = "input-too-large",
    /// The input's SHA-256 differs from the digest in the request.
    DigestMismatch = "digest-mismatch",
    /// The input's checksum differs from the checksum that the server sends.
    ChecksumMismatch = "checksum-mismatch",
    /// The content encoding is not supported, or differs from the encoding that the server names.
    ContentEncoding = "content-encoding",
    /// The compressed data is corrupt or incomplete, or other bytes follow it.
    CompressionCorrupt = "compression-corrupt",
    /// The input's zstd window or its compression ratio is larger than its limit.
    CompressionLimit = "compression-limit",

    /// The input is empty where a header is expected.
    InputEmpty = "input-empty",
    /// The input is a binary file.
    BinaryContent = "binary-content",
    /// The input is a text, but not a table.
    NotATable = "not-a-table",
    /// The text is not in the encoding that was given or assumed.
    EncodingMismatch = "encoding-mismatch",
    /// The CSV's delimiter or quote cannot be detected, contradicts an option, or is probably wrong.
    CsvSyntax = "csv-syntax",
    /// The header or the columns' names cannot be used, or do not fit the records.
    HeaderInvalid = "header-invalid",
    /// A quote is never closed.
    QuoteUnclosed = "quote-unclosed",
    /// A record is longer than its limit.
    RecordTooLong = "record-too-long",

    /// The queue has no plugin, or the component cannot be found.
    PluginMissing = "plugin-missing",
    /// The queue's binding is not the expected binding, or there is no binding to restore.
    BindingConflict = "binding-conflict",
    /// A program or a library that is needed to build the plugin is not installed.
    ToolchainMissing = "toolchain-missing",
    /// The plugin's source does not build.
    BuildFailed = "build-failed",
    /// The component is not a plugin that this program can run.
    PluginUnfit = "plugin-unfit",
    /// The component cannot be compiled within the limits.
    PluginCompile = "plugin-compile",
    /// The plugin refuses its config.
    PluginConfig = "plugin-config",
    /// The plugin refuses the input, usually because a column is missing.
    InputRefused = "input-refused",
    /// The plugin plans to read columns that cannot be read.
    PluginPlan = "plugin-plan",
    /// The plugin fails the request with its own reason.
    PluginFailed = "plugin-failed",
    /// The plugin breaks the interface.
    PluginContract = "plugin-contract",
    /// The plugin traps.
    PluginTrap = "plugin-trap",
    /// The plugin takes longer than its limit.
    PluginTimeout = "plugin-timeout",
    /// The plugin needs more memory than its limit.
    PluginMemory = "plugin-memory",
    /// The plugin makes more rows or more reject codes than its limit.
    PluginLimit = "plugin-limit",
    /// The plugin needs more fuel for a record than its author allows.
    PluginCost = "plugin-cost",
    /// The machine lacks memory, a processor or threads at the moment.
    MachineBusy = "machine-busy",

    /// The output has columns that cannot be written.
    OutputColumns = "output-columns",
    /// The output is larger than its limit.
    OutputTooLarge = "output-too-large",
    /// The rejects are larger than their limit.
    RejectsTooLarge = "rejects-too-large",
    /// The gate refuses the output.
    GateExceeded = "gate-exceeded",
    /// The rejects of a request cannot be replayed.
    ReplayRefused = "replay-refused",
    /// The receipt under this id is for other work.
    OutputConflict = "output-conflict",
    /// The output that a receipt names is missing or changed.
    OutputMissing = "output-missing",
    /// A file or folder of the output cannot be read or written.
    OutputUnwritable = "output-unwritable",
    /// A document in the output folder is damaged.
    OutputDamaged = "output-damaged",
    /// The output folder was replaced by a different folder.
    OutputReplaced = "output-replaced",
    /// The rejects that a decision or a receipt names are in a bucket that this worker does not use.
    RejectsElsewhere = "rejects-elsewhere",
    /// An object of the output's name exists that no attempt at the request made.
    OutputExists = "output-exists",
    /// The object store lacks a promise that the commit needs.
    StoreUnsuitable = "store-unsuitable",
    /// Another process holds a lock of the output folder for too long.
    OutputLocked = "output-locked",
    /// The request has ended, so an earlier attempt must not commit it.
    RequestEnded = "request-ended",
    /// Standard output cannot be written to.
    StdoutFailed = "stdout-failed",

    /// The attempt took longer than its limit.
    AttemptTimeout = "attempt-timeout",
    /// The work was stopped or cancelled.
    Stopped = "stopped",
    /// The request needs more memory than the worker can give to one request.
    MemoryExceeded = "memory-exceeded",
    /// The program cannot start a part of itself, or has a bug.
    HostFailure = "host-failure",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The error for a word that is not a code of this version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownCode(String);

impl fmt::Display for UnknownCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no code of an error", self.0)
    }
}

impl std::error::Error for UnknownCode {}

impl FromStr for Code {
    type Err = UnknownCode;

    fn from_str(word: &str) -> Result<Self, UnknownCode> {
        let known = Self::ALL.iter().find(|code| code.as_str() == word);
        known.copied().ok_or_else(|| UnknownCode(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_code_has_a_word_of_its_own_in_kebab_case() {
        let words: HashSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(words.len(), Code::ALL.len());
        for word in words {
            let is_part = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase());
            assert!(word.split('-').all(is_part), "{word}");
        }
    }

    #[test]
    fn a_word_is_read_as_it_is_written() {
        for &code in Code::ALL {
            let word = code.to_string();
            assert_eq!(word.parse(), Ok(code));
            assert_eq!(serde_json::to_string(&code).unwrap(), format!("\"{word}\""));
            assert_eq!(
                serde_json::from_str::<Code>(&format!("\"{word}\"")).unwrap(),
                code
            );
        }
        assert_eq!("no-such".parse::<Code>(), Err(UnknownCode("no-such".into())));
    }
}
