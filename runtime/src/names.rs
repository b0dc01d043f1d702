//! Checks names that become parts of keys and file names: ids of requests and names of queues. A text goes in. If it
//! breaks the rules, an error with the rules comes out.

use crate::error::{Code, Error, Result, Stage};

/// The maximum length of a request's id, in bytes.
const ID_BYTES_MAX: usize = 128;

/// The maximum length of a queue's name, in bytes.
const QUEUE_NAME_BYTES_MAX: usize = 64;

/// The names that no queue may have, because an output folder has subfolders with these names. The names of all other
/// subfolders that this program creates there begin with a dot or with `_`, and no queue that is in use has such a name.
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
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > bytes_max || name.starts_with('.') || !name.chars().all(allowed) {
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
    fn a_reserved_queue_can_be_looked_at_only() {
        for name in ["receipts", "Receipts", "rejects", "REJECTS"] {
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
