//! Checks names that become parts of keys and file names: ids of requests and names of queues and groups. A text goes in.
//! If it breaks the rules, an error with the rules comes out. Also derives ids from inputs.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::error::{Code, Error, Result, Stage};

/// The maximum length of a request's id, in bytes.
const ID_BYTES_MAX: usize = 128;

/// The maximum length of a queue's name, in bytes.
const QUEUE_NAME_BYTES_MAX: usize = 64;

/// The maximum length of a group's name, in bytes.
const GROUP_NAME_BYTES_MAX: usize = 64;

/// The maximum number of characters of an input's name in a derived id.
const STEM_CHARS_MAX: usize = 64;

/// The names that no queue may have, because version 0.1.0 creates subfolders with these names in an output folder. The
/// names of all other subfolders that the program creates there begin with a dot or with `_`, and no queue that is in use
/// has such a name.
const RESERVED: [&str; 2] = ["receipts", "rejects"];

/// Checks the id of a request.
///
/// # Errors
/// Fails if the id is empty, is longer than 128 characters, has characters other than ASCII letters, digits, `.`, `_`
/// and `-`, or starts with a dot.
pub fn check_id(id: &str) -> Result<()> {
    check("id", id, ID_BYTES_MAX)
}

/// Checks the name of a queue.
///
/// # Errors
/// Fails as [`check_id`] does, but the maximum is 64 characters.
pub fn check_queue_name(name: &str) -> Result<()> {
    check("queue", name, QUEUE_NAME_BYTES_MAX)
}

/// Checks the name of a group of requests.
///
/// # Errors
/// Fails as [`check_queue_name`] does.
pub fn check_group_name(name: &str) -> Result<()> {
    check("group", name, GROUP_NAME_BYTES_MAX)
}

/// Returns an id that is the same whenever the arguments are the same: the name of the input at `uri` without its
/// extensions, a hyphen, and the first `digest_chars` hexadecimal digits of the SHA-256 of `content`, at most 63. Hyphens
/// at the beginning of the stem are left out, because they would make the id an option.
pub fn derived_id(uri: &str, content: &str, digest_chars: usize) -> String {
    let name = uri.rsplit('/').next().unwrap_or_default();
    let stem = name.split(['.', '?', '#']).next().unwrap_or_default();
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let stem = stem.chars().filter(allowed).skip_while(|c| *c == '-');
    let stem: String = stem.take(STEM_CHARS_MAX).collect();
    let stem = if stem.is_empty() { "input" } else { &stem };
    let digest = HEXLOWER.encode(&Sha256::digest(content));
    format!("{stem}-{}", &digest[..digest_chars])
}

/// Checks the name of a queue before a command or a worker uses it for new work. Earlier versions allowed the reserved
/// names. If a queue has such a name, its requests can still be viewed, cancelled and purged.
///
/// # Errors
/// Fails as [`check_queue_name`] does. Also fails if the name begins with `_`, or is reserved, in upper or lower
/// case, because some file systems do not distinguish `Receipts` from `receipts`.
pub fn check_usable_queue_name(name: &str) -> Result<()> {
    check_queue_name(name)?;
    if name.starts_with('_')
        || RESERVED
            .iter()
            .any(|reserved| name.eq_ignore_ascii_case(reserved))
    {
        let why = format!(
            "queue {name:?}: this name is reserved for a folder of outputs, so no worker can serve it: choose another one"
        );
        return Err(Error::permanent(Stage::Config, Code::NameInvalid, why));
    }
    Ok(())
}

fn check(what: &str, name: &str, bytes_max: usize) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > bytes_max || name.starts_with('.') || !name.bytes().all(allowed) {
        return Err(Error::permanent(
            Stage::Config,
            Code::NameInvalid,
            format!(
                "{what} \"{name}\" must have 1 to {bytes_max} ASCII letters, digits, '.', '_' or '-', not starting with '.'"
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_derived_id_is_a_name_and_a_digest() {
        let id = derived_id("/data/alarm-2017.csv.gz", "a b", 12);
        assert!(id.starts_with("alarm-2017-") && id.len() == 23, "{id}");
        assert_eq!(
            id,
            derived_id("https://example.com/alarm-2017.csv?x=1", "a b", 12)
        );
        assert_ne!(id, derived_id("/data/alarm-2017.csv", "a c", 12));
        assert!(derived_id("/", "", 12).starts_with("input-"));
        for uri in ["/data/alarm 2017.csv", &"x".repeat(500), "/data/.hidden", "é"] {
            check_id(&derived_id(uri, uri, 63)).unwrap();
        }
        for (uri, stem) in [
            ("/data/--wait.csv", "wait-"),
            ("/data/-.csv", "input-"),
            ("a-b", "a-b-"),
        ] {
            assert!(derived_id(uri, "a b", 12).starts_with(stem), "{uri}");
        }
    }

    #[test]
    fn a_reserved_queue_can_be_looked_at_only() {
        for name in ["receipts", "Receipts", "rejects", "REJECTS", "_ingest", "_"] {
            check_queue_name(name).unwrap();
            let why = check_usable_queue_name(name).expect_err(name).to_string();
            assert!(why.contains("reserved"), "{why}");
        }
        for name in [".staging", ".quarantine", ".", "..", "", "a/b"] {
            check_queue_name(name).expect_err(name);
        }
        for name in ["receipt", "receipts2", "q"] {
            check_usable_queue_name(name).unwrap();
        }
    }
}
