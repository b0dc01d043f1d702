//! Defines replays: requests that process the rejects of an earlier request again.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The scheme of the URI of a replay. No worker fetches it. So a worker of a version without replays refuses the request.
const SCHEME: &str = "replay:";

/// The maximum number of codes that one replay can select.
pub const REPLAY_CODES_MAX: usize = 100;

/// The maximum length of a code, in bytes.
const CODE_BYTES_MAX: usize = 1_024;

/// The maximum number of replays of one request.
pub const REPLAYS_MAX: u32 = 1_000;

/// A request that processes the rejects of an earlier request again.
///
/// The replays of a request have the numbers 1, 2, 3, and so on. A replay reads the rejects of the last replay before it
/// that has committed, or, if there is none, those of the first request. Rejects that stay rejects are in its own rejects.
/// So the rejects of the last receipt are always all rejects that are left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// The id of the first request.
    pub parent: String,
    /// The number of this replay.
    pub number: u32,
    /// The codes of the rejects to process. Empty for all rejects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<String>,
}

impl Replay {
    /// Returns the id of a request's replay with this number.
    pub fn id_of(parent: &str, number: u32) -> String {
        format!("{parent}.replay-{number}")
    }

    /// Returns the URI that a replay has in place of an input.
    pub fn uri(&self) -> String {
        format!("{SCHEME}{}", self.parent)
    }

    /// Returns the ids of the requests whose rejects this replay can read: its predecessors, the last one first.
    pub fn predecessors(&self) -> impl Iterator<Item = String> {
        let replays = (1..self.number).rev();
        let ids = replays.map(|number| Self::id_of(&self.parent, number));
        ids.chain([self.parent.clone()])
    }

    /// Returns whether this replay processes rejects with every one of these codes. An empty list stands for all codes.
    pub fn covers(&self, codes: &[String]) -> bool {
        self.codes.is_empty() || !codes.is_empty() && codes.iter().all(|code| self.codes.contains(code))
    }

    /// Checks the number and the codes against their bounds. `refused` makes the error from a sentence.
    pub(super) fn check(&self, refused: impl FnOnce(String) -> Error) -> Result<()> {
        if !(1..=REPLAYS_MAX).contains(&self.number) {
            return Err(refused(format!(
                "replay {} is not between 1 and {REPLAYS_MAX}",
                self.number
            )));
        }
        if self.codes.len() > REPLAY_CODES_MAX {
            return Err(refused(format!(
                "{} codes are more than the {REPLAY_CODES_MAX} that a replay can select",
                self.codes.len()
            )));
        }
        if self.codes.iter().any(|code| code.len() > CODE_BYTES_MAX) {
            return Err(refused(format!("a code has more than {CODE_BYTES_MAX} bytes")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replay(number: u32, codes: &[&str]) -> Replay {
        Replay {
            parent: "a".into(),
            number,
            codes: codes.iter().map(|&code| code.to_owned()).collect(),
        }
    }

    #[test]
    fn a_replay_reads_the_rejects_of_the_last_one_before_it() {
        let predecessors = |number| replay(number, &[]).predecessors().collect::<Vec<_>>();
        assert_eq!(predecessors(1), ["a"]);
        assert_eq!(predecessors(3), ["a.replay-2", "a.replay-1", "a"]);
    }

    #[test]
    fn all_codes_cover_each_code_and_no_code_covers_all() {
        let codes = |codes: &[&str]| replay(1, codes).codes;
        assert!(replay(1, &[]).covers(&[]) && replay(1, &[]).covers(&codes(&["x"])));
        assert!(replay(1, &["x", "y"]).covers(&codes(&["y"])));
        assert!(!replay(1, &["x"]).covers(&codes(&["x", "y"])));
        assert!(!replay(1, &["x"]).covers(&[]));
    }
}
