//! Recognizes a text document that is not a table, by its first lines. Such a document is a mail, YAML, Markdown,
//! settings or the answer of a program. The result is a guess, because a column of a CSV file can have such lines.

use std::borrow::Cow;
use std::collections::HashSet;

use super::lines::lines;

/// The maximum number of lines that are examined.
const LINES: usize = 100;

/// The literals that programs write for a missing value, for true or for false.
const LITERALS: &[&str] = &[
    "null",
    "true",
    "false",
    "None",
    "True",
    "False",
    "undefined",
    "NaN",
];

/// Texts that servers write before JSON, so that a web page cannot run the JSON as a script.
const GUARDS: &[&str] = &[")]}'", "while(1);", "while (1);", "for(;;);", "for (;;);"];

/// If the first line of a text is the answer of a program, returns the name of the answer's kind. Such an answer is a
/// Python dictionary, a list of Python dictionaries, JSON after a guard, or a single literal. In messages the name
/// follows "is".
pub(super) fn of_program(first: &str, rest: &[u8]) -> Option<&'static str> {
    let first = first.trim();
    let key = first.trim_start_matches(['[', '{', ' ']);
    let is_object =
        first.starts_with('{') || first.starts_with('[') && first[1..].trim_start().starts_with('{');
    if is_object && key.starts_with('\'') && key[1..].contains("':") {
        Some("a text of Python's objects")
    } else if GUARDS.iter().any(|guard| first.starts_with(guard)) {
        Some("JSON behind a guard against scripts")
    } else if LITERALS.contains(&first) && rest.trim_ascii().is_empty() {
        Some("a single literal")
    } else {
        None
    }
}

/// If a text is a mail, YAML or Markdown, returns the name of this kind. Each of these kinds has a typical beginning.
/// In messages the name follows "is".
pub(super) fn with_beginning(first: &str, rest: &[u8]) -> Option<&'static str> {
    let starts_mail = first.starts_with([' ', '\t']) || name_before(first).is_some();
    let starts_yaml = first.starts_with("---") || first.starts_with("# ");
    let starts_markdown = is_heading(first)
        || lines(rest)
            .find(|line| !line.is_empty())
            .is_some_and(is_underline);
    if !(starts_mail || starts_yaml || starts_markdown) {
        return None;
    }
    let lines = texts(first, rest);
    if is_mail(&lines) {
        Some("a mail")
    } else if is_yaml(&lines) {
        Some("a YAML document")
    } else if is_markdown(&lines) {
        Some("a text in Markdown")
    } else {
        None
    }
}

/// If the first line and most other lines of a text have a name and a value, returns a name for this kind of text. In
/// messages the name follows "is".
pub(super) fn of_names_and_values(first: &str, rest: &[u8]) -> Option<&'static str> {
    let first = first.trim_end();
    let is_section = |line: &str| line.starts_with('[') && line.ends_with(']') && line.len() > 2;
    let has_name = is_item(first) || name_before(first).is_some();
    if !has_name && !is_section(first) && setting(first).is_none() {
        return None;
    }
    let lines = texts(first, rest);
    if has_name && is_mostly(&lines, name_before, is_item) {
        return Some("made of lines `name: value`");
    }
    is_mostly(&lines, setting, is_section).then_some("made of lines `name=value`")
}

/// Returns the first lines of a text, each without the white space at its end.
fn texts<'a>(first: &'a str, rest: &'a [u8]) -> Vec<Cow<'a, str>> {
    let rest = lines(rest).map(String::from_utf8_lossy);
    let lines = std::iter::once(first.into()).chain(rest).take(LINES);
    lines
        .map(|line| match line {
            Cow::Borrowed(line) => line.trim_end().into(),
            Cow::Owned(line) => line.trim_end().to_owned().into(),
        })
        .collect()
}

/// Returns whether most lines count. A line counts if `name` returns its name, or if `belongs` says that it belongs to
/// a line with a name, as the items of a list do. Empty lines are ignored. All of these must hold:
///
/// - The first line counts.
/// - At least three lines count, and they are more than half of all lines.
/// - At least one line has a name.
/// - At least two names differ, or `belongs` is true for at least one line.
fn is_mostly(
    lines: &[Cow<'_, str>],
    name: impl Fn(&str) -> Option<&str>,
    belongs: impl Fn(&str) -> bool,
) -> bool {
    let lines: Vec<_> = lines
        .iter()
        .map(AsRef::as_ref)
        .filter(|line| !line.is_empty())
        .collect();
    let such = lines
        .iter()
        .filter(|line| name(line).is_some() || belongs(line))
        .count();
    let names: HashSet<_> = lines.iter().filter_map(|line| name(line)).collect();
    let Some(first) = lines.first() else {
        return false;
    };
    let has_others = names.len() >= 2 || lines.iter().any(|line| belongs(line));
    (name(first).is_some() || belongs(first))
        && !names.is_empty()
        && has_others
        && such >= 3
        && 2 * such > lines.len()
}

/// Returns the name in `name: value` or `name:`, or `None`. The line can be indented, and can be an item of a list. An
/// address (`http://`) and a time (`10:30`) have no name.
fn name_before(line: &str) -> Option<&str> {
    const WORDS: usize = 4;
    let line = line.trim_start();
    let line = line.strip_prefix("- ").unwrap_or(line);
    let (name, value) = line.split_once(':')?;
    let bare = name.trim_matches(['"', '\'']);
    let is_name = bare.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && bare
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ' | '/' | '(' | ')'))
        && bare.split(' ').count() <= WORDS;
    (is_name && (value.is_empty() || value.starts_with([' ', '\t']))).then_some(name)
}

/// Returns the name in `name=value`, or `None`. A line that ends with `=` has no name.
fn setting(line: &str) -> Option<&str> {
    let (name, value) = line.split_once('=')?;
    let name = name.trim();
    let name = name.strip_prefix("export ").unwrap_or(name);
    let is_name = name.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
    (is_name && !value.trim_start().is_empty() && !value.starts_with('=')).then_some(name)
}

fn is_item(line: &str) -> bool {
    line.trim_start().starts_with("- ")
}

/// Returns whether the lines begin with the header fields of a mail.
fn is_mail(lines: &[Cow<'_, str>]) -> bool {
    let head = || {
        lines
            .iter()
            .map(AsRef::as_ref)
            .take_while(|line: &&str| !line.is_empty())
    };
    // A long header field continues on an indented line.
    let is_head = |line: &str| line.starts_with([' ', '\t']) || name_before(line).is_some();
    let has = |names: &[&str]| {
        head()
            .filter_map(|line| name_before(line))
            .any(|found| names.iter().any(|name| found.eq_ignore_ascii_case(name)))
    };
    head().count() >= 3
        && head().all(is_head)
        && has(&["Subject", "Message-ID", "Received", "MIME-Version"])
        && has(&["From", "To", "Date", "Return-Path", "Delivered-To"])
}

/// Returns whether the lines are YAML: they begin with `---`, and the next line has a name or is an item of a list.
/// Comments and empty lines are skipped.
fn is_yaml(lines: &[Cow<'_, str>]) -> bool {
    let mut lines = lines
        .iter()
        .map(AsRef::as_ref)
        .skip_while(|line: &&str| line.is_empty() || line.starts_with("# "));
    lines.next() == Some("---")
        && lines
            .find(|line| !line.is_empty() && !line.starts_with('#'))
            .is_some_and(|line| is_item(line) || name_before(line).is_some())
}

/// Returns whether the lines begin with a heading, and most other lines are prose or have the syntax of Markdown.
fn is_markdown(lines: &[Cow<'_, str>]) -> bool {
    let lines: Vec<_> = lines.iter().map(AsRef::as_ref).collect();
    let mut rest = lines.iter().filter(|line| !line.is_empty());
    let Some(first) = rest.next() else {
        return false;
    };
    let is_apart =
        lines.get(1).is_some_and(|line| line.is_empty()) || rest.clone().any(|line| is_heading(line));
    if !(is_heading(first) && is_apart || lines.get(1).is_some_and(|line| is_underline(line.as_bytes()))) {
        return false;
    }
    let is_text = |line: &&&str| {
        let line = line.trim_start();
        is_heading(line)
            || is_prose(line)
            || ["- ", "* ", "> ", "```"]
                .iter()
                .any(|mark| line.starts_with(mark))
    };
    let rest: Vec<_> = rest.filter(|line| !is_underline(line.as_bytes())).collect();
    let texts = rest.iter().copied().filter(|line| is_text(line)).count();
    texts > 0 && 2 * texts > rest.len()
}

fn is_underline(line: &[u8]) -> bool {
    line.len() >= 3 && line.trim_ascii_end().iter().all(|byte| *byte == b'=')
}

fn is_heading(line: &str) -> bool {
    let text = line.trim_start_matches('#');
    (1..=6).contains(&(line.len() - text.len()))
        && text.starts_with(' ')
        && !text.contains([',', ';', '\t', '|'])
}

/// Returns whether a line is prose: it has at least four words or ends a sentence, and each comma and semicolon is
/// followed by a space. Fields of CSV usually have no such spaces.
fn is_prose(line: &str) -> bool {
    const WORDS: usize = 4;
    let words = line.split_whitespace().count();
    let is_end = words >= 2 && line.ends_with(['.', '!', '?', ':']);
    let follows = |(at, mark): (usize, &str)| {
        line[at + mark.len()..]
            .chars()
            .next()
            .is_none_or(char::is_whitespace)
    };
    (words >= WORDS || is_end) && !line.contains(['\t', '|']) && line.match_indices([',', ';']).all(follows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<&'static str> {
        let (first, rest) = text.split_at(text.find(['\n', '\r']).unwrap_or(text.len()));
        let rest = rest
            .strip_prefix("\r\n")
            .or(rest.get(1..))
            .unwrap_or_default()
            .as_bytes();
        with_beginning(first, rest)
            .or_else(|| of_names_and_values(first, rest))
            .or_else(|| of_program(first, rest))
    }

    #[test]
    fn a_document_of_lines_is_named() {
        for (text, what) in [
            ("---\nname: x\nage: 3\n", "a YAML document"),
            ("# by x\n---\n- a\n- b\n", "a YAML document"),
            ("---\n# a comment\nlist:\n  - a, b\n", "a YAML document"),
            (
                "# Title\n\nSome prose, with commas, and more.\nAnd a second line of it.\n",
                "a text in Markdown",
            ),
            ("# My project\n\nHello world.\n", "a text in Markdown"),
            ("Title\n=====\n\nSome prose with words.\n", "a text in Markdown"),
            ("## Title of it\n\n- one, two\n- three\n", "a text in Markdown"),
            (
                "From: a@x\nTo: b@x\nSubject: hi, all\n\nHello,\nthis is a text.\n",
                "a mail",
            ),
            (
                "Received: from a\n\tby b; Mon\nDate: Mon, 1 Jan 2024\n\nx\n",
                "a mail",
            ),
            ("name: x\nage: 3\ncity: y\n", "made of lines `name: value`"),
            (
                "Name: Smith, J\nStreet: 5\n\nName: Doe\nStreet: 6\nnote\n",
                "made of lines `name: value`",
            ),
            ("items:\n  - a\n  - b\n", "made of lines `name: value`"),
            ("- name: a\n- name: b\n- name: c\n", "made of lines `name: value`"),
            ("\"id\": 1\n\"name\": x\n'b': 2\n", "made of lines `name: value`"),
            ("[main]\na = 1\nb = 2\n", "made of lines `name=value`"),
            ("A=1\nexport B=2\nC=\"x, y\"\n", "made of lines `name=value`"),
            (
                "{'error': 'not found', 'code': 3}\n",
                "a text of Python's objects",
            ),
            ("{'a': 1}\n{'a': 2}\n", "a text of Python's objects"),
            ("[{'a': 1}, {'a': 2}]\n", "a text of Python's objects"),
            (")]}',\n[{\"a\":1}]\n", "JSON behind a guard against scripts"),
            ("for(;;);[1]\n", "JSON behind a guard against scripts"),
            ("null\n", "a single literal"),
            ("true", "a single literal"),
        ] {
            for ends in ["\n", "\r\n", "\r"] {
                let text = text.replace('\n', ends);
                assert_eq!(found(&text), Some(what), "{text:?}");
            }
        }
    }

    #[test]
    fn a_column_of_values_is_none() {
        for text in [
            "",
            "{'a'},{'b'}\n1,2\n",
            "['a']: x,b\n1,2\n",
            "null\n1\n2\n",
            "null,true\n",
            "url\nhttp://a\nhttps://b?c=d\nftp://e\n",
            "http://a\nhttp://b\nhttp://c\n",
            "10:30\n10:31\n10:32\n",
            "time\n10:30\n11:00\n12:00\n",
            "a: b\n1\n2\n3\n4\n",
            "note\nWarning: x\nWarning: y\nError: z\n",
            "Note: x\nNote: y\nNote: z\n",
            "key:value\na:b\nc:d\n",
            "urn:a:b\nurn:a:c\nurn:a:d\n",
            "C:/a\nC:/b\nD:/c\n",
            "YWI=\nYWJj\nYQ==\n",
            "dt=1\ndt=2\ndt=3\n",
            "---\n1\n2\n",
            "# name\n\nSmith\nJones\n",
            "# Report 2024\n\nid,name,remark\n1,x,this is a long text\n2,y,and another of them\n",
            "# id,name\n1,this is a long text\n",
            "From: 2024-01-01\nTo: 2024-02-01\n\nid,name\n1,x\n",
            "Name\n----\nSmith\nJones\n",
            "# comment\nThis is a long text.\nAnd this is another one.\n",
        ] {
            assert_eq!(found(text), None, "{text:?}");
        }
    }
}
