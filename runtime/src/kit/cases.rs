//! Runs the cases of a plugin. A case is an input with the expected output and the expected rejects beside it. A folder
//! of cases goes in, and the differences between what is expected and what the plugin does come out.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::differences::{Difference, difference};
use super::run::Run;
use crate::admin::plugin_config::PluginConfig;
use crate::config::Limits;
use crate::document::{read_named, read_named_text, without_mark};
use crate::error::{Class, Code, Error, Result, Stage};
use crate::format::Format;
use crate::location::path_uri;
use crate::plugin::Plugin;
use crate::request::InputOptions;
use crate::stop::Stop;
use crate::storage::{KeptFiles, MemoryStorage};

/// The maximum size of the output of a case with its rejects, and of a file with an expectation, in bytes.
const CASE_BYTES_MAX: u64 = 64 << 20;

/// The endings of the files of a case, after its name and a dot. The input's ending is its format.
const CONFIG: &str = "config.json";
const REJECTS: &str = "rejects.csv";
const ERROR: &str = "error.txt";

/// A case: an input, and the files beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// The name, which is the beginning of the names of all its files.
    pub name: String,
    folder: PathBuf,
    format: Format,
    /// The format of the expected output, or `None` if no output is expected.
    output: Option<Format>,
    has_config: bool,
    has_rejects: bool,
    has_error: bool,
}

/// The result of a case.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CaseResult {
    /// The name of the case.
    pub name: String,
    /// True if the plugin did what is expected, or if its work is now what is expected.
    pub passed: bool,
    /// The number of records in the input. `None` if the run failed.
    pub records: Option<u64>,
    /// The number of records that were rejected. `None` if the run failed.
    pub rejected: Option<u64>,
    /// The files that differ from what is expected. Empty after `--bless`.
    pub differences: Vec<Difference>,
    /// The names of the files that `--bless` wrote or removed.
    pub blessed: Vec<String>,
}

/// Finds the cases in a folder, sorted by name.
///
/// # Errors
/// Fails permanently, with stage config, if the folder cannot be read or has no case, if two inputs have one name, or
/// if an expectation has no input.
pub fn find(folder: &Path) -> Result<Vec<Case>> {
    let refused = |what: String| Error::permanent(Stage::Config, Code::Usage, what);
    let cannot_read = |error| {
        refused(format!(
            "{}: the folder of the cases cannot be read",
            folder.display()
        ))
        .because(error)
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(cannot_read)? {
        let name = entry.map_err(cannot_read)?.file_name();
        names.extend(
            name.to_str()
                .filter(|name| !name.starts_with('.'))
                .map(str::to_owned),
        );
    }
    names.sort_unstable();
    let mut cases = BTreeMap::new();
    for name in &names {
        let Some((case, format)) = input(name) else {
            continue;
        };
        let is_there = |ending: &str| names.iter().any(|name| *name == format!("{case}.{ending}"));
        let outputs = Format::ALL.iter().copied();
        let mut outputs = outputs.filter(|format| is_there(&output_ending(*format)));
        let (output, second) = (outputs.next(), outputs.next());
        let found = Case {
            name: case.to_owned(),
            folder: folder.to_owned(),
            format,
            output,
            has_config: is_there(CONFIG),
            has_rejects: is_there(REJECTS),
            has_error: is_there(ERROR),
        };
        if cases.insert(case, found).is_some() || second.is_some() {
            let what = format!(
                "{}: the case {case} has two inputs or two outputs",
                folder.display()
            );
            return Err(refused(what));
        }
    }
    let of_case = |name: &&String| input(name).is_none() && is_beside_input(name);
    if let Some(orphan) = names.iter().filter(of_case).find(|name| !belongs(name, &cases)) {
        let what = format!("{}: {orphan} belongs to no input", folder.display());
        return Err(refused(what).with_hint("the input of the case NAME is NAME.csv or NAME.jsonl"));
    }
    if cases.is_empty() {
        let what = format!("{}: has no case", folder.display());
        return Err(refused(what).with_hint(
            "write an input NAME.csv or NAME.jsonl there; --bless writes what the plugin makes of it beside it",
        ));
    }
    Ok(cases.into_values().collect())
}

/// Returns the name of a case and the format of its input, if a file is the input of a case.
fn input(file: &str) -> Option<(&str, Format)> {
    let (name, ending) = file.rsplit_once('.')?;
    let format = Format::ALL
        .iter()
        .copied()
        .find(|format| format.name() == ending)?;
    let is_expectation = name.ends_with(".out") || name.ends_with(".rejects");
    (!name.is_empty() && !is_expectation).then_some((name, format))
}

fn output_ending(format: Format) -> String {
    format!("out.{}", format.name())
}

/// Returns whether a file has the ending of a file beside an input.
fn is_beside_input(file: &str) -> bool {
    let outputs = Format::ALL.iter().map(|format| output_ending(*format));
    let mut endings = outputs.chain([CONFIG, REJECTS, ERROR].map(str::to_owned));
    endings.any(|ending| file.ends_with(&format!(".{ending}")))
}

fn belongs(file: &str, cases: &BTreeMap<&str, Case>) -> bool {
    let mut cases = cases.keys();
    cases.any(|name| file.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

/// The result of running a plugin on the input of a case.
struct Outcome {
    /// The files that the plugin's work gives, by their endings. `None` stands for a file that must not exist.
    files: Vec<(String, Option<Vec<u8>>)>,
    records: Option<(u64, u64)>,
}

impl Case {
    /// Runs the case and compares. With `bless`, writes what the plugin did as what is expected, instead.
    ///
    /// # Errors
    /// Fails permanently, with stage config, if a file of the case cannot be read or written. Fails if the run was
    /// stopped. Other failures of the run are its result: a case can expect them.
    pub fn run(&self, plugin: &Plugin, limits: &Arc<Limits>, stop: &Stop, bless: bool) -> Result<CaseResult> {
        let outcome = self.outcome(plugin, limits, stop)?;
        let (mut differences, mut blessed) = (Vec::new(), Vec::new());
        for (ending, is) in &outcome.files {
            let file = format!("{}.{ending}", self.name);
            let path = self.folder.join(&file);
            let expected = self.read_if_there(&path)?;
            let is = is.as_deref();
            if expected.as_deref() == is {
                continue;
            }
            if bless {
                write(&path, is)?;
                blessed.push(file);
            } else {
                let [expected, is] = [expected.as_deref(), is].map(Option::unwrap_or_default);
                differences.push(difference(file, expected, is));
            }
        }
        Ok(CaseResult {
            name: self.name.clone(),
            passed: differences.is_empty(),
            records: outcome.records.map(|(read, _)| read),
            rejected: outcome.records.map(|(_, rejected)| rejected),
            differences,
            blessed,
        })
    }

    fn outcome(&self, plugin: &Plugin, limits: &Arc<Limits>, stop: &Stop) -> Result<Outcome> {
        let output = self.output.unwrap_or(self.format);
        let kept = Arc::new(Mutex::new(KeptFiles::default()));
        let file = format!("{}.{}", self.name, self.format.name());
        let input = self.folder.join(&file);
        let limits = Limits {
            output_bytes_max: limits.output_bytes_max.min(CASE_BYTES_MAX),
            ..Limits::clone(limits)
        };
        let run = Run {
            plugin,
            config: &self.config()?,
            uri: &path_uri(&input),
            // The path of the folder can differ from machine to machine.
            origin_uri: &file,
            input: InputOptions::default(),
            output_format: Some(output),
            limits: &Arc::new(limits),
            stop,
        };
        let result = run.to(MemoryStorage::keeping(Arc::clone(&kept)), None);
        let others = Format::ALL.iter().filter(|format| **format != output);
        let mut files: Vec<_> = others.map(|format| (output_ending(*format), None)).collect();
        let (own, rejects, error, records) = match result {
            Ok(receipt) => {
                let KeptFiles { output, rejects } = std::mem::take(&mut *kept.lock());
                let rejects = (!rejects.is_empty()).then_some(rejects);
                let counts = (receipt.records.read, receipt.records.rejected);
                (Some(output), rejects, None, Some(counts))
            }
            Err(error) if error.class() == Class::Cancelled => return Err(error),
            Err(error) => (None, None, Some(self.report(&error)), None),
        };
        files.extend([
            (output_ending(output), own),
            (REJECTS.to_owned(), rejects),
            (ERROR.to_owned(), error),
        ]);
        Ok(Outcome { files, records })
    }

    /// Returns the text of a failure: its code and its report. The report does not name the folder of the cases,
    /// because the folder's path can differ from machine to machine.
    fn report(&self, error: &Error) -> Vec<u8> {
        let folder = format!("{}/", self.folder.display());
        let report = error.report().replace(&folder, "");
        format!("{}: {report}\n", error.code()).into_bytes()
    }

    fn config(&self) -> Result<PluginConfig> {
        if !self.has_config {
            return Ok(PluginConfig::default());
        }
        let path = self.folder.join(format!("{}.{CONFIG}", self.name));
        let refused = |what: &str| {
            let what = format!("{}: {what}", path.display());
            Error::permanent(Stage::Config, Code::SettingsInvalid, what)
        };
        let text = read_named_text(&path, CASE_BYTES_MAX)
            .map_err(|error| refused("cannot be read").because(error))?;
        PluginConfig::parse(without_mark(&text))
            .map_err(|error| refused("is not a JSON object").because(error))
    }

    /// Returns the bytes of an expectation, or `None` if there is none.
    fn read_if_there(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        match read_named(path, CASE_BYTES_MAX) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                let what = format!("{}: cannot be read", path.display());
                Err(Error::permanent(Stage::Config, Code::SettingsInvalid, what).because(error))
            }
        }
    }
}

/// Writes an expectation, or removes it.
fn write(path: &Path, bytes: Option<&[u8]>) -> Result<()> {
    let written = match bytes {
        Some(bytes) => fs::write(path, bytes),
        None => fs::remove_file(path),
    };
    written.map_err(|error| {
        let what = format!("{}: cannot be written", path.display());
        Error::permanent(Stage::Config, Code::SettingsInvalid, what).because(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[&str]) -> Result<Vec<String>> {
        let folder = tempfile::tempdir().expect("a folder");
        for file in files {
            fs::write(folder.path().join(file), "").expect("a file");
        }
        let describe = |case: Case| {
            let beside = [case.has_config, case.has_rejects, case.has_error].map(u8::from);
            let output = case.output.map_or("none", Format::name);
            format!("{} {} {output} {beside:?}", case.name, case.format.name())
        };
        Ok(find(folder.path())?.into_iter().map(describe).collect())
    }

    #[test]
    fn a_case_is_an_input_with_files_beside_it() {
        let files = [
            "b.jsonl",
            "b.out.csv",
            "a.csv",
            "a.out.csv",
            "a.rejects.csv",
            "a.config.json",
            "c.2.csv",
            "c.2.error.txt",
            "README.md",
            ".hidden.csv",
        ];
        let expected = [
            "a csv csv [1, 1, 0]",
            "b jsonl csv [0, 0, 0]",
            "c.2 csv none [0, 0, 1]",
        ];
        assert_eq!(found(&files).expect("cases"), expected);
    }

    #[test]
    fn what_cannot_be_a_case_is_refused() {
        for files in [
            &[][..],
            &["README.md"],
            &["a.csv", "a.jsonl"],
            &["a.csv", "a.out.csv", "a.out.jsonl"],
            &["a.csv", "b.out.csv"],
            &["a.csv", "b.config.json"],
        ] {
            let error = found(files).expect_err("no cases");
            assert_eq!(
                (error.code(), error.stage()),
                (Code::Usage, Stage::Config),
                "{files:?}"
            );
        }
    }
}
