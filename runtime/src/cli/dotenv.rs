//! Reads `.env`. The text of the file in the current folder goes in, and the values of the documented names come out.
//! The values stay in this program's configuration. They never enter the process's environment, where libraries could
//! find them.

use std::collections::HashMap;
use std::fs::Metadata;
use std::io::{self, Read};
use std::path::Path;

use super::environment::SERVER_NAMES;
use crate::document::open_regular;
use crate::error::{Code, Error, Result, Stage};
use crate::trust;

/// The only accepted name besides [`SERVER_NAMES`]. An accepted name must not select a trusted file, and must not
/// change which code runs.
const QUEUE_NAME: &str = "QUEUE_NAME";

const FILE: &str = ".env";
const BYTES_MAX: u64 = 64 << 10;

/// The maximum number of ignored names in a warning, and the maximum number of characters of each.
const IGNORED_SHOWN: usize = 8;
const NAME_SHOWN: usize = 64;

/// The values in `.env`.
#[derive(Default)]
pub(super) struct Dotenv {
    values: HashMap<String, String>,
    /// The reason why the file cannot be used.
    fault: Option<String>,
}

impl Dotenv {
    /// Reads the file if it exists, and lists the ignored names in a warning. If others can write to the file, or if it
    /// cannot be read or parsed, [`Dotenv::get`] fails: the program must not use another server than the file names.
    pub(super) fn load() -> Self {
        let (text, found) = match read(Path::new(FILE)) {
            Ok(Some(read)) => read,
            Ok(None) => return Self::default(),
            // A virtual environment of Python can have this name.
            Err(why) if Path::new(FILE).is_dir() => {
                tracing::warn!("{FILE} was not read: {why}");
                return Self::default();
            }
            Err(why) => {
                let fault = format!("is not used: {why}; --url (and --queue for `run`) does without it");
                return Self {
                    fault: Some(fault),
                    ..Self::default()
                };
            }
        };
        let entries = match parse(&text) {
            Ok(entries) => entries,
            Err(why) => {
                // Even a file that cannot be parsed may contain a password.
                let may_have_password = text.contains("REDIS_PASSWORD") || text.contains("REDIS_URL");
                warn_of_readers(&found, may_have_password);
                return Self {
                    fault: Some(why),
                    ..Self::default()
                };
            }
        };
        let mut ignored: Vec<String> = Vec::new();
        let mut values = HashMap::new();
        for (name, value) in entries {
            if is_taken(&name) {
                values.insert(name, value);
            } else if !ignored.contains(&name) {
                ignored.push(name);
            }
        }
        let has_password = |(name, value): (&String, &String)| match name.as_str() {
            "REDIS_PASSWORD" => !value.is_empty(),
            _ => name == "REDIS_URL" && value.contains('@'),
        };
        warn_of_readers(&found, values.iter().any(has_password));
        if !ignored.is_empty() {
            tracing::warn!(
                "{FILE}: ignored {}: it can set only {} and {QUEUE_NAME}; set others in the environment",
                list(&ignored),
                SERVER_NAMES.join(", ")
            );
        }
        Self { values, fault: None }
    }

    /// Returns the value of a name, or `None` if the name is not set or its value is empty.
    ///
    /// # Errors
    /// Fails if the file cannot be used, because the file might set this name. The error does not name the file.
    pub(super) fn get(&self, name: &str) -> Result<Option<String>> {
        if let Some(fault) = &self.fault {
            return Err(Error::permanent(
                Stage::Config,
                Code::SettingsInvalid,
                fault.clone(),
            ));
        }
        Ok(self.values.get(name).filter(|value| !value.is_empty()).cloned())
    }

    /// Returns the queues that a worker serves.
    ///
    /// # Errors
    /// Fails as [`Dotenv::get`] does. The error names the file.
    pub(super) fn queues(&self) -> Result<Vec<String>> {
        let names = self.get(QUEUE_NAME).map_err(in_file)?.unwrap_or_default();
        Ok(names
            .split(',')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect())
    }
}

/// Adds the file's name to an error about one of its values.
pub(super) fn in_file(error: Error) -> Error {
    error.about(FILE)
}

fn is_taken(name: &str) -> bool {
    name == QUEUE_NAME || SERVER_NAMES.contains(&name)
}

fn list(names: &[String]) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(IGNORED_SHOWN)
        .map(|name| name.chars().take(NAME_SHOWN).collect())
        .collect();
    match names.len().saturating_sub(IGNORED_SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Reads the file's text and its metadata. Returns `None` if the file does not exist.
fn read(path: &Path) -> Result<Option<(String, Metadata)>, String> {
    let opened = open_regular(path).and_then(|file| Ok((file.metadata()?, file)));
    let (found, file) = match opened {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    if let Some(why) = trust::changed_by_others(&found) {
        return Err(format!("{why}: make it yours, and `chmod go-w {FILE}`"));
    }
    let mut text = Vec::new();
    file.take(BYTES_MAX + 1)
        .read_to_end(&mut text)
        .map_err(|e| e.to_string())?;
    if text.len() as u64 > BYTES_MAX {
        return Err(format!("it has more than {BYTES_MAX} bytes"));
    }
    let text = String::from_utf8(text).map_err(|_| "it is not UTF-8".to_owned())?;
    Ok(Some((text, found)))
}

fn warn_of_readers(found: &Metadata, has_password: bool) {
    if has_password && trust::read_by_others(found) {
        tracing::warn!("{FILE} has a password and others can read it: `chmod go-rwx {FILE}`");
    }
}

/// Parses all names with their values, in the order of the file. Values are literal: `$` and `\` have no special
/// meaning. If values could refer to variables, a value could put a secret of the environment into the address of an
/// attacker's server.
///
/// # Errors
/// The error names the line that cannot be parsed. It never quotes the line, because the line may contain a password.
fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut entries = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Ok(entries);
        }
        let line = text[..text.len() - rest.len()].matches('\n').count() + 1;
        if rest.starts_with('#') {
            rest = rest.split_once('\n').map_or("", |(_, next)| next);
            continue;
        }
        let not_understood = || {
            format!(
                "line {line} is not NAME=VALUE; a value with blanks or quotes needs other quotes around it, 'like this'"
            )
        };
        let (name, value) = rest.split_once('=').ok_or_else(not_understood)?;
        let name = name.trim_end();
        let name = name
            .strip_prefix("export ")
            .map_or(name, |name| name.trim_start());
        if !is_name(name) {
            return Err(not_understood());
        }
        let taken = take_value(value);
        let value = value.trim_start_matches([' ', '\t']);
        if taken.is_none() && !is_taken(name) && !value.starts_with(['\'', '"']) {
            // Other programs may accept blanks in an unquoted value. This program ignores the name, so its value does
            // not matter.
            entries.push((name.to_owned(), String::new()));
            rest = value.split_once('\n').map_or("", |(_, next)| next);
            continue;
        }
        let (value, next) = taken.ok_or_else(not_understood)?;
        entries.push((name.to_owned(), value));
        rest = next;
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

/// Takes the value at the start of a text, after any blanks. Returns the value and the text after its line, or `None`
/// if the value cannot be parsed.
fn take_value(text: &str) -> Option<(String, &str)> {
    let begin = text.trim_start_matches([' ', '\t']);
    let (value, rest) = match begin.chars().next() {
        // An escaped quote also ends the value, so the text after this quote cannot be parsed.
        Some(quote @ ('\'' | '"')) => begin[1..].split_once(quote)?,
        _ => {
            // This branch keeps the blanks before the value, so that ` #` begins a comment even if the value is empty.
            let line = text.split('\n').next().unwrap_or_default();
            let value = line.split_once(" #").map_or(line, |(value, _)| value);
            let value = value.split_once("\t#").map_or(value, |(value, _)| value).trim();
            if value.contains(char::is_whitespace) {
                return None;
            }
            (value, &text[line.len()..])
        }
    };
    let (end, next) = rest.split_once('\n').unwrap_or((rest, ""));
    let end = end.trim();
    (end.is_empty() || end.starts_with('#')).then(|| (value.to_owned(), next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<(String, String)> {
        parse(text).expect(text)
    }

    #[test]
    fn values_are_read_as_they_are_written() {
        for (text, value) in [
            ("A=b", "b"),
            ("export A=b", "b"),
            ("\u{feff}A = b \r\n", "b"),
            ("# A=c\n\nA=b # not this", "b"),
            ("A=b#c", "b#c"),
            ("A='b c#$HOME'# x", "b c#$HOME"),
            (r#"A="b 'c' \n\\ $HOME ${HOME}""#, r"b 'c' \n\\ $HOME ${HOME}"),
            (r"A='b\n\\'", r"b\n\\"),
            (r"A=b\n\\$HOME$$", r"b\n\\$HOME$$"),
            (r#"A="C:\" # x"#, r"C:\"),
            ("A=%41", "%41"),
            ("A=\"b\nc\"\n", "b\nc"),
            ("A=", ""),
            ("A= # none", ""),
            ("A=\t# none\r\n", ""),
            ("A=  #", ""),
            ("A=#b", "#b"),
            ("A= '#b' # c", "#b"),
            ("A=b=c==", "b=c=="),
            ("A=$HOME", "$HOME"),
        ] {
            assert_eq!(parsed(text), [("A".into(), value.to_owned())], "{text:?}");
        }
        assert_eq!(parsed("A=1\nB='2'\n\nC=\"3\"").len(), 3);
        assert!(parsed("").is_empty());
    }

    #[test]
    fn what_is_not_understood_is_told_by_its_line_and_never_quoted() {
        for (text, why) in [
            ("A=1\ns3cret", "line 2"),
            ("A=1\n\nREDIS_HOST=s3cret s3cret", "line 3"),
            ("A='s3cret", "line 1"),
            ("A=\"s3cret", "line 1"),
            ("A='s3cret' s3cret", "line 1"),
            ("s3 cret=1", "line 1"),
            ("=s3cret", "line 1"),
            (r#"REDIS_PASSWORD="s3\"cret""#, "line 1"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(why) && !error.contains("s3"), "{text:?}: {error}");
        }
        assert_eq!(
            parsed("GREETING=hello world\nA=1"),
            [("GREETING".into(), String::new()), ("A".into(), "1".into())]
        );
        for text in ["'a$b'", "\"a$b\"", "a$b"] {
            let line = format!("REDIS_PASSWORD={text}");
            assert_eq!(parsed(&line), [("REDIS_PASSWORD".into(), "a$b".into())]);
        }
    }

    #[test]
    fn many_ignored_names_are_not_all_shown() {
        let names: Vec<String> = (0..20).map(|number| format!("N{number}")).collect();
        assert_eq!(list(&names), "N0, N1, N2, N3, N4, N5, N6, N7 and 12 more");
        assert_eq!(list(&["x".repeat(100)]).len(), NAME_SHOWN);
    }
}
