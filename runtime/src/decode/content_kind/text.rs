//! Recognizes a document, a dump, a script or a pointer to another file by the beginning of a text. A CSV header can
//! have the same words. So the lines below the first are examined, too.

use memchr::memmem;

use super::{Advice, Kind, Sample};

use Advice::{Convert, FetchContent, TakeTheFile};

/// The first bytes of a kind of text, with the name of the kind, the advice, and two checks of the text after these
/// bytes. If the first check succeeds, the kind is a guess. If the second check succeeds, the kind is proved.
type TextBeginning = (&'static str, &'static str, Advice, FollowCheck, FollowCheck);

type FollowCheck = fn(&[u8]) -> bool;

const BEGINNINGS: &[TextBeginning] = &[
    (
        "version https://git-lfs.github.com/spec/",
        "a Git LFS pointer",
        FetchContent,
        anything,
        is_pointer,
    ),
    (
        "version https://hawser.github.com/spec/",
        "a Git LFS pointer",
        FetchContent,
        anything,
        is_pointer,
    ),
    (
        "/annex/objects/",
        "a git-annex pointer",
        FetchContent,
        is_one_field,
        nothing,
    ),
    (
        "../.git/annex/objects/",
        "a git-annex pointer",
        FetchContent,
        is_one_field,
        nothing,
    ),
    (
        ".git/annex/objects/",
        "a git-annex pointer",
        FetchContent,
        is_one_field,
        nothing,
    ),
    (
        "[InternetShortcut]",
        "a shortcut to a page",
        FetchContent,
        is_line_end,
        nothing,
    ),
    (
        "{\\rtf",
        "an RTF document",
        Advice::SaveSheet,
        begins_with_digit,
        |rest| matches!(rest, [b'0'..=b'9', b'\\', ..]),
    ),
    (
        "%!PS",
        "a PostScript file",
        TakeTheFile,
        |rest| is_line_end(rest) || rest.starts_with(b"-Adobe-"),
        nothing,
    ),
    (
        "%PDF-",
        "a PDF document",
        Advice::SaveSheet,
        is_version_of_pdf,
        |rest| {
            is_version_of_pdf(rest)
                && (memmem::find(rest, b" obj").is_some()
                    || matches!(line_below(rest), [b'%', 0x80..=0xff, ..]))
        },
    ),
    (
        "-----BEGIN PGP MESSAGE-----",
        "encrypted by PGP",
        Advice::Decrypt,
        is_line_end,
        is_line_end,
    ),
    (
        "-----BEGIN AGE ENCRYPTED FILE-----",
        "encrypted by age",
        Advice::Decrypt,
        is_line_end,
        is_line_end,
    ),
    (
        "age-encryption.org/v1",
        "encrypted by age",
        Advice::Decrypt,
        is_line_end,
        |rest| line_below(rest).starts_with(b"-> "),
    ),
    (
        "-----BEGIN ",
        "a key or a certificate",
        TakeTheFile,
        is_label,
        is_label,
    ),
    (
        "-- MySQL dump ",
        "an SQL dump",
        Convert,
        begins_with_digit,
        has_comment_below,
    ),
    (
        "-- MariaDB dump ",
        "an SQL dump",
        Convert,
        begins_with_digit,
        has_comment_below,
    ),
    ("/*M!999999", "an SQL dump", Convert, anything, nothing),
    (
        "-- PostgreSQL database dump",
        "an SQL dump",
        Convert,
        is_line_end,
        has_comment_below,
    ),
    (
        "--",
        "an SQL dump",
        Convert,
        is_comment_of_postgres,
        is_comment_of_postgres,
    ),
    (
        "-- phpMyAdmin SQL Dump",
        "an SQL dump",
        Convert,
        is_line_end,
        has_comment_below,
    ),
    (
        "PRAGMA foreign_keys=",
        "an SQL dump",
        Convert,
        |rest| is_statement(rest, ""),
        |rest| line_below(rest) == b"BEGIN TRANSACTION;",
    ),
    (
        "INSERT INTO ",
        "an SQL dump",
        Convert,
        |rest| names_table(rest, &["(", "VALUES", "SELECT", "DEFAULT"]),
        nothing,
    ),
    (
        "CREATE TABLE ",
        "an SQL dump",
        Convert,
        |rest| names_table(without(rest, "IF NOT EXISTS "), &["(", "AS "]),
        nothing,
    ),
    (
        "BEGIN:VCARD",
        "a vCard file",
        Convert,
        is_line_end,
        has_property_below,
    ),
    (
        "BEGIN:VCALENDAR",
        "a calendar (iCalendar)",
        Convert,
        is_line_end,
        has_property_below,
    ),
    ("%YAML ", "a YAML document", Convert, begins_with_digit, |rest| {
        line_below(rest).starts_with(b"---")
    }),
    (
        "@relation ",
        "an ARFF file",
        Convert,
        |rest| lines(rest).any(|line| starts_with(line, b"@attribute ")),
        nothing,
    ),
    (
        "diff --git a/",
        "a diff",
        TakeTheFile,
        |rest| memmem::find(first_line(rest), b" b/").is_some(),
        is_of_diff,
    ),
    (
        "--- ",
        "a diff",
        TakeTheFile,
        |rest| line_below(rest).starts_with(b"+++ "),
        |rest| {
            line_below(rest).starts_with(b"+++ ")
                && lines(rest).nth(2).is_some_and(|line| line.starts_with(b"@@ -"))
        },
    ),
    (
        "SELECT ",
        "an SQL statement",
        Convert,
        |rest| is_statement(rest, " FROM "),
        nothing,
    ),
    (
        "UPDATE ",
        "an SQL statement",
        Convert,
        |rest| is_statement(rest, " SET "),
        nothing,
    ),
    (
        "DELETE FROM ",
        "an SQL statement",
        Convert,
        |rest| is_statement(rest, ""),
        nothing,
    ),
    (
        "COPY ",
        "an SQL dump",
        Convert,
        |rest| is_statement(rest, " FROM STDIN"),
        nothing,
    ),
    (
        "<<<<<<< ",
        "a file with conflicts of a merge",
        Advice::Resolve,
        |rest| lines(rest).any(|line| line == b"======="),
        |rest| lines(rest).any(|line| line.starts_with(b">>>>>>> ")),
    ),
    ("#!/bin/", "a script", TakeTheFile, is_one_field, nothing),
    ("#!/usr/", "a script", TakeTheFile, is_one_field, nothing),
    (
        "HTTP/",
        "an HTTP response with its head",
        FetchContent,
        is_status,
        |rest| is_status(rest) && is_header(line_below(rest)),
    ),
    (
        "--",
        "the body of a form (multipart)",
        FetchContent,
        is_part,
        is_part,
    ),
];

/// Returns the kind of a text by its first bytes, or `None`.
pub(super) fn of(sample: &Sample) -> Option<Kind> {
    // Blank lines before the first record are skipped.
    let text = sample.text().trim_ascii_start();
    let found = |(start, what, advice, is_so, is_proved): &TextBeginning| {
        let rest = starts_with(text, start.as_bytes()).then(|| &text[start.len()..])?;
        let kind = || Kind::new(*what, advice.clone());
        match is_proved(rest) {
            true => Some(kind()),
            false => is_so(rest).then(|| kind().guessed()),
        }
    };
    BEGINNINGS.iter().find_map(found)
}

fn anything(_: &[u8]) -> bool {
    true
}

fn nothing(_: &[u8]) -> bool {
    false
}

/// Returns the lines of a text that are not empty, without the white space around them.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| matches!(byte, b'\n' | b'\r'))
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty())
}

/// Returns the text up to the first line end.
pub(super) fn first_line(text: &[u8]) -> &[u8] {
    &text[..memchr::memchr2(b'\n', b'\r', text).unwrap_or(text.len())]
}

/// Skips the first line of a text, and returns the first line below it that is not empty.
fn line_below(text: &[u8]) -> &[u8] {
    lines(&text[first_line(text).len()..]).next().unwrap_or_default()
}

fn is_line_end(text: &[u8]) -> bool {
    first_line(text).trim_ascii().is_empty()
}

fn begins_with_digit(text: &[u8]) -> bool {
    text.first().is_some_and(u8::is_ascii_digit)
}

/// Returns whether a byte is a delimiter that can be detected.
pub(super) fn is_delimiter(byte: &u8) -> bool {
    matches!(byte, b',' | b';' | b'|' | b'\t')
}

/// Returns whether an SQL statement ends with its first line and contains `word`.
fn is_statement(rest: &[u8], word: &str) -> bool {
    let line = first_line(rest).trim_ascii().to_ascii_uppercase();
    // If the line had another semicolon, the semicolons could separate fields.
    line.iter().position(|byte| *byte == b';') == line.len().checked_sub(1)
        && memmem::find(&line, word.as_bytes()).is_some()
}

fn is_one_field(text: &[u8]) -> bool {
    !first_line(text).iter().any(is_delimiter)
}

/// Returns whether the next line has the digest of a file or an extension, as in a Git LFS pointer.
fn is_pointer(text: &[u8]) -> bool {
    let below = line_below(text);
    below.starts_with(b"oid ") || below.starts_with(b"ext-")
}

fn is_version_of_pdf(text: &[u8]) -> bool {
    matches!(text, [b'0'..=b'9', b'.', b'0'..=b'9', rest @ ..] if is_line_end(rest))
}

/// Returns whether a text is the rest of a label such as `PRIVATE KEY-----`.
fn is_label(text: &[u8]) -> bool {
    let label = first_line(text).trim_ascii_end().strip_suffix(b"-----");
    label.is_some_and(|label| {
        label
            .iter()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b' ')
    })
}

fn has_comment_below(text: &[u8]) -> bool {
    line_below(text).starts_with(b"--")
}

fn is_comment_of_postgres(text: &[u8]) -> bool {
    is_line_end(text) && line_below(text) == b"-- PostgreSQL database dump"
}

/// Returns whether a statement continues with the name of a table and then one of `words`.
fn names_table(text: &[u8], words: &[&str]) -> bool {
    let name_bytes = text
        .iter()
        .position(|byte| byte.is_ascii_whitespace() || matches!(byte, b'(' | b','));
    let rest = text[name_bytes.unwrap_or(text.len())..].trim_ascii_start();
    words.iter().any(|word| starts_with(rest, word.as_bytes()))
}

fn without<'a>(text: &'a [u8], start: &str) -> &'a [u8] {
    if starts_with(text, start.as_bytes()) {
        &text[start.len()..]
    } else {
        text
    }
}

/// Returns whether the next line is a property of a vCard or a calendar, such as `VERSION:4.0`.
fn has_property_below(text: &[u8]) -> bool {
    let below = line_below(text);
    let name_bytes = below
        .iter()
        .take_while(|byte| byte.is_ascii_uppercase() || **byte == b'-')
        .count();
    name_bytes > 0 && matches!(below.get(name_bytes), Some(b':' | b';'))
}

/// Returns whether the next line is one of the lines that follow the names of the files in a diff.
fn is_of_diff(text: &[u8]) -> bool {
    let below = line_below(text);
    [
        "index ",
        "new file mode ",
        "deleted file mode ",
        "old mode ",
        "similarity index ",
        "--- a/",
    ]
    .iter()
    .any(|start| below.starts_with(start.as_bytes()))
}

/// Returns whether a text is a version of HTTP and a status of three digits.
fn is_status(text: &[u8]) -> bool {
    let rest = ["1.0 ", "1.1 ", "2 ", "3 "]
        .iter()
        .find_map(|version| text.strip_prefix(version.as_bytes()));
    matches!(rest, Some([b'1'..=b'5', b'0'..=b'9', b'0'..=b'9', rest @ ..]) if rest.first().is_none_or(u8::is_ascii_whitespace))
}

/// Returns whether a line is a header field, such as `Content-Type: text/csv`.
fn is_header(line: &[u8]) -> bool {
    let name_bytes = line
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-')
        .count();
    name_bytes > 0 && line.get(name_bytes) == Some(&b':')
}

/// Returns whether a text is a boundary followed by the header of a part, as in the body of a form.
fn is_part(text: &[u8]) -> bool {
    let below = line_below(text);
    !is_line_end(text) && starts_with(below, b"content-") && is_header(below)
}

pub(super) fn starts_with(text: &[u8], start: &[u8]) -> bool {
    text.get(..start.len())
        .is_some_and(|text| text.eq_ignore_ascii_case(start))
}

#[cfg(test)]
mod tests {
    use super::super::of_beginning;
    use super::*;

    fn kind_of(text: &str) -> Option<String> {
        of_beginning(&Sample::of(text), None, true).map(|kind| kind.what.into_owned())
    }

    /// Texts as tools write them, with the name of the kind, and whether the text proves the kind.
    const TEXTS: &[(&str, &str, bool)] = &[
        ("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-1\n+2\n", "a diff", true),
        ("--- a\n+++ b\n", "a diff", false),
        ("SELECT a, b FROM c;\n", "an SQL statement", false),
        ("update c set a = 1;\n", "an SQL statement", false),
        ("DELETE FROM c;\n", "an SQL statement", false),
        ("COPY c (a) FROM stdin;\n1\n", "an SQL dump", false),
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1\n",
            "a Git LFS pointer",
            true,
        ),
        (
            "\n\nversion https://git-lfs.github.com/spec/v1\r\next-0-x sha256:4d7a\r\n",
            "a Git LFS pointer",
            true,
        ),
        (
            "version https://hawser.github.com/spec/v1\noid sha256:4d7a\n",
            "a Git LFS pointer",
            true,
        ),
        (
            "version https://git-lfs.github.com/spec/v1\n",
            "a Git LFS pointer",
            false,
        ),
        ("/annex/objects/MD5E-s10--abc.csv\n", "a git-annex pointer", false),
        (
            "../.git/annex/objects/Zx/MD5E-s10--abc.csv\n",
            "a git-annex pointer",
            false,
        ),
        (
            ".git/annex/objects/Zx/MD5E-s10--abc.csv\n",
            "a git-annex pointer",
            false,
        ),
        (
            "[InternetShortcut]\r\nURL=https://x\r\n",
            "a shortcut to a page",
            false,
        ),
        ("{\\rtf1\\ansi x}", "an RTF document", true),
        ("%!PS-Adobe-3.0\n", "a PostScript file", false),
        ("%PDF-1.4\n%\u{e2}\n1 0 obj\n", "a PDF document", true),
        ("%PDF-1.4\n", "a PDF document", false),
        ("-----BEGIN PGP MESSAGE-----\n\nhQ\n", "encrypted by PGP", true),
        (
            "-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n",
            "encrypted by age",
            true,
        ),
        ("age-encryption.org/v1\n-> X25519 x\n", "encrypted by age", true),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n",
            "a key or a certificate",
            true,
        ),
        (
            "-- MySQL dump 10.13  Distrib 8.0, for Linux\n--\n",
            "an SQL dump",
            true,
        ),
        ("-- MariaDB dump 10.19\n--\n", "an SQL dump", true),
        (
            "/*M!999999\\- enable the sandbox mode */ \n",
            "an SQL dump",
            false,
        ),
        ("-- PostgreSQL database dump\n--\n", "an SQL dump", true),
        ("--\r\n-- PostgreSQL database dump\r\n--\r\n", "an SQL dump", true),
        ("-- phpMyAdmin SQL Dump\n-- version 5\n", "an SQL dump", true),
        (
            "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n",
            "an SQL dump",
            true,
        ),
        ("insert into a values (1,2);\n", "an SQL dump", false),
        ("INSERT INTO `a` (`x`, `y`) VALUES\n", "an SQL dump", false),
        ("CREATE TABLE a (\n  id int,\n", "an SQL dump", false),
        (
            "CREATE TABLE IF NOT EXISTS a(id int, b int);\n",
            "an SQL dump",
            false,
        ),
        ("BEGIN:VCARD\nVERSION:4.0\n", "a vCard file", true),
        (
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\n",
            "a calendar (iCalendar)",
            true,
        ),
        ("%YAML 1.2\n---\na: 1\n", "a YAML document", true),
        (
            "@RELATION iris\n\n@ATTRIBUTE a NUMERIC\n@DATA\n1,2\n",
            "an ARFF file",
            false,
        ),
        ("diff --git a/x.csv b/x.csv\nindex 1..2 100644\n", "a diff", true),
        (
            "<<<<<<< HEAD\n1,2\n=======\n1,3\n>>>>>>> b\n",
            "a file with conflicts of a merge",
            true,
        ),
        ("#!/bin/sh\necho a,b\n", "a script", false),
        ("#!/usr/bin/env python\n", "a script", false),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\n\r\na,b\r\n",
            "an HTTP response with its head",
            true,
        ),
        (
            "HTTP/2 200\r\ncontent-type: text/csv\r\n",
            "an HTTP response with its head",
            true,
        ),
        (
            "HTTP/1.1 404 Not Found\n",
            "an HTTP response with its head",
            false,
        ),
        (
            "--xyz\r\nContent-Disposition: form-data; name=\"f\"\r\n\r\na,b\r\n",
            "the body of a form (multipart)",
            true,
        ),
    ];

    #[test]
    fn each_beginning_is_recognized_by_the_text_after_it() {
        for &(text, what, is_proved) in TEXTS {
            let kind = of_beginning(&Sample::of(text), None, true).unwrap_or_else(|| panic!("{text:?}"));
            assert_eq!((&*kind.what, !kind.is_guess), (what, is_proved), "{text:?}");
        }
        for (start, what, ..) in BEGINNINGS {
            let mut texts = TEXTS.iter().map(|(text, ..)| text.trim_ascii_start());
            assert!(
                texts.any(|text| starts_with(text.as_bytes(), start.as_bytes())),
                "{what}: {start}"
            );
            for rest in ["a,b\n1,2\n", ",b\n1,2\n", "a;b\n1;2\n"] {
                let text = format!("{start}{rest}");
                let kind = of_beginning(&Sample::of(&text), None, true);
                assert!(kind.is_none_or(|kind| kind.is_guess), "{text:?}");
            }
        }
    }

    #[test]
    fn a_header_may_have_the_words_of_a_beginning() {
        for text in [
            "version,b\n1,2\n",
            "--\n1\n",
            "%PDF,b\n",
            "#id,name\n1,2\n",
            "Select item from list;Amount;\n1;2;\n",
            "Update due; Set by;\n1;2;\n",
            "Insert into stock,Remove from stock\n1,2\n",
            "Create table bookings,Cancelled\n1,2\n",
            "http/1.1 requests,http/2 requests\n1,2\n",
            "-----begin date,-----end date\n1,2\n",
            "-----BEGIN,-----END\n1,2\n",
            "@relation name,b\n1,2\n",
            "diff --git a,b\n1,2\n",
            "#!/rank,b\n1,2\n",
            "BEGIN:VCARD,b\n1,2\n",
            "%PDF-1.4,b\n1,2\n",
            "--a\ncontent-type\n",
            "<<<<<<< a,b\n1,2\n",
        ] {
            assert_eq!(kind_of(text), None, "{text:?}");
        }
    }
}
