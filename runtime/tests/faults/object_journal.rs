//! Checks the order in which requests took effect at an S3 server against the commit protocol
//! (docs/adr/0012-commit-protocol-on-object-stores.md).

use std::collections::{BTreeMap, HashMap, HashSet};

use ingest_host::storage::object::PART_BYTES;
use serde_json::Value;

use crate::objects_fixture::{OUTPUTS, PRIVATE};
use crate::support::s3::script::Change;

/// Returns a text for each violation of the protocol. At the keys in `strange` are objects of another program.
pub(crate) fn violations(journal: &[Change], strange: &HashSet<String>) -> Vec<String> {
    let mut seen = Seen::default();
    for change in journal {
        seen.take(change, strange);
    }
    seen.check_parts();
    seen.violations
}

/// An upload that a decision to commit names.
struct Named {
    key: String,
    bytes: u64,
}

#[derive(Default)]
struct Seen<'a> {
    /// The decisions and the receipts.
    documents: HashSet<&'a str>,
    /// The decisions to commit, by the id of their request.
    commits: HashMap<String, Vec<Value>>,
    /// The uploads that decisions name, by their ids.
    named: HashMap<String, Named>,
    /// The uploads that were completed or aborted.
    completed: HashSet<&'a str>,
    aborted: HashSet<&'a str>,
    /// The objects that uploads have made.
    objects: HashSet<&'a str>,
    /// The length of each part, by the upload and the part's number.
    parts: HashMap<&'a str, BTreeMap<i32, u64>>,
    violations: Vec<String>,
}

impl<'a> Seen<'a> {
    fn take(&mut self, change: &'a Change, strange: &HashSet<String>) {
        match change {
            Change::Written { key, document } => self.take_object(key, document),
            Change::Part {
                upload,
                number,
                bytes,
            } => {
                let before = self.parts.entry(upload).or_default().insert(*number, *bytes);
                if before.is_some_and(|before| before != *bytes) {
                    self.violation(format!("part {number} of {upload} has two lengths"));
                }
            }
            Change::Completed { key, upload } => {
                self.take_completion(key, upload);
                if self.named.get(upload).is_none_or(|named| named.key != *key) {
                    self.violation(format!("{key} became visible, and no decision named its upload"));
                }
                if !self.objects.insert(key) {
                    self.violation(format!("{key} was made twice"));
                }
            }
            Change::Aborted { upload } => {
                self.aborted.insert(upload);
                // If another program's object has the name of the output, the upload can never be completed.
                if let Some(Named { key, .. }) = self.named.get(upload)
                    && !strange.contains(key)
                {
                    let what = format!("the upload of {key} was aborted, although a decision names it");
                    self.violation(what);
                }
            }
            Change::Removed { key } => {
                // The test plays the reaper, which removes a decision a week after it was carried out.
                if self.documents.remove(&**key) {
                    let id = key.rsplit('/').nth(1).unwrap();
                    self.commits.remove(id);
                }
            }
        }
    }

    fn take_object(&mut self, key: &'a str, document: &[u8]) {
        let Some(name) = key.strip_prefix(PRIVATE) else {
            if key.starts_with(OUTPUTS) {
                self.violation(format!("{key} was not uploaded in parts"));
            }
            return;
        };
        let is_decision = name.starts_with("decisions/");
        if !is_decision && !name.starts_with("receipts/") {
            return;
        }
        if !self.documents.insert(key) {
            self.violation(format!("{key} was written twice"));
        }
        let document: Value = serde_json::from_slice(document).unwrap();
        match is_decision {
            true => self.take_decision(key, document),
            false => self.take_receipt(key, &document),
        }
    }

    fn take_decision(&mut self, key: &str, decision: Value) {
        if decision["verdict"] != "commit" {
            return;
        }
        for upload in uploads_of(&decision) {
            let named = Named {
                key: text(&upload["key"]),
                bytes: upload["bytes"].as_u64().unwrap(),
            };
            self.named.insert(text(&upload["upload"]), named);
        }
        let before = self.commits.entry(text(&decision["id"])).or_default();
        let of_life = before
            .iter()
            .filter(|before| before["life_ms"] == decision["life_ms"]);
        let is_aborted = |upload: &Value| self.aborted.contains(upload["upload"].as_str().unwrap());
        let mut is_open = of_life.map(|before| !uploads_of(before).any(is_aborted));
        let is_extra = is_open.any(|is_open| is_open);
        before.push(decision);
        if is_extra {
            self.violation(format!(
                "{key} commits the request again, although an earlier round did"
            ));
        }
    }

    /// Checks that the rejects are visible before the output is.
    fn take_completion(&mut self, key: &str, upload: &'a str) {
        self.completed.insert(upload);
        let mut commits = self.commits.values().flatten();
        let commit = commits.find(|commit| commit["output"]["upload"] == upload);
        let is_complete = |upload: &Value| self.completed.contains(upload["upload"].as_str().unwrap());
        if !commit.into_iter().flat_map(uploads_of).all(is_complete) {
            self.violation(format!("{key} became visible before its rejects"));
        }
    }

    fn take_receipt(&mut self, key: &str, receipt: &Value) {
        let commits = self.commits.get(&text(&receipt["request"]["id"]));
        let commit = commits
            .into_iter()
            .flatten()
            .find(|commit| commit["receipt"] == *receipt);
        let Some(commit) = commit else {
            self.violation(format!("{key} is a receipt, and no decision has it"));
            return;
        };
        let is_complete = |upload: &Value| self.completed.contains(upload["upload"].as_str().unwrap());
        if !uploads_of(commit).all(is_complete) {
            self.violation(format!("{key} was created before the objects that it names"));
        }
    }

    /// Checks that each part of a committed upload, but the last, has the same length.
    fn check_parts(&mut self) {
        let mut wrong = Vec::new();
        for (upload, Named { key, bytes }) in &self.named {
            let parts = self.parts.get(&**upload);
            let lengths: Vec<u64> = parts.into_iter().flat_map(BTreeMap::values).copied().collect();
            let Some((last, others)) = lengths.split_last() else {
                wrong.push(format!("{key} has no parts"));
                continue;
            };
            let is_whole = |length: &u64| *length == PART_BYTES as u64;
            if !others.iter().all(is_whole)
                || *last > PART_BYTES as u64
                || lengths.iter().sum::<u64>() != *bytes
            {
                wrong.push(format!(
                    "{key} has {bytes} bytes, in parts of these lengths: {lengths:?}"
                ));
            }
        }
        self.violations.extend(wrong);
    }

    fn violation(&mut self, what: String) {
        self.violations.push(what);
    }
}

/// Returns the uploads that a decision to commit names.
fn uploads_of(decision: &Value) -> impl Iterator<Item = &Value> {
    let members = ["rejects", "output"].map(|member| &decision[member]);
    members.into_iter().filter(|upload| !upload.is_null())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
