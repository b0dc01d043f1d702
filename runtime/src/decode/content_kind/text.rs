//! The beginning of a text in; out comes whether it is a page, a document or a pointer to another file. A header may have the same
//! words and tags: `<id>,<name>` is legal. What stands in the lines below tells more.

use memchr::memmem;

use super::{Advice, Kind, Sample};
use crate::format::clip;

use Advice::{Convert, FetchContent, FetchPage, TakeTheFile};

/// How a text begins; what it is and what to do if what comes behind that says so, too; and what proves it.
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

/// What a text is. `delimiter` is the one that somebody has named for CSV, and `is_quoted` says that its fields may stand in `"`.
pub(super) fn of(sample: &Sample, delimiter: Option<u8>, is_quoted: bool) -> Option<Kind> {
    // The lines before the first record are passed over if they are blank.
    let text = sample.text().trim_ascii_start();
    let found = |(start, what, advice, is_so, is_proved): &TextBeginning| {
        let rest = starts_with(text, start.as_bytes()).then(|| &text[start.len()..])?;
        let kind = || Kind::new(*what, advice.clone());
        match is_proved(rest) {
            true => Some(kind()),
            false => is_so(rest).then(|| kind().guessed()),
        }
    };
    BEGINNINGS
        .iter()
        .find_map(found)
        .or_else(|| markup(text, sample.whole, delimiter, is_quoted))
}

fn anything(_: &[u8]) -> bool {
    true
}

fn nothing(_: &[u8]) -> bool {
    false
}

/// The lines of a text that are not empty, without the white space around them.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| matches!(byte, b'\n' | b'\r'))
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty())
}

/// The rest of the line.
fn first_line(text: &[u8]) -> &[u8] {
    &text[..memchr::memchr2(b'\n', b'\r', text).unwrap_or(text.len())]
}

/// The next line that is not empty.
fn line_below(text: &[u8]) -> &[u8] {
    lines(&text[first_line(text).len()..]).next().unwrap_or_default()
}

fn is_line_end(text: &[u8]) -> bool {
    first_line(text).trim_ascii().is_empty()
}

fn begins_with_digit(text: &[u8]) -> bool {
    text.first().is_some_and(u8::is_ascii_digit)
}

/// Whether a byte is a delimiter that needs no name.
fn is_delimiter(byte: &u8) -> bool {
    matches!(byte, b',' | b';' | b'|' | b'\t')
}

/// Whether a statement of SQL ends its first line, and has a word in it.
fn is_statement(rest: &[u8], word: &str) -> bool {
    let line = first_line(rest).trim_ascii().to_ascii_uppercase();
    // Another one stands between fields.
    line.iter().position(|byte| *byte == b';') == line.len().checked_sub(1)
        && memmem::find(&line, word.as_bytes()).is_some()
}

fn is_one_field(text: &[u8]) -> bool {
    !first_line(text).iter().any(is_delimiter)
}

/// The digest of the file, or an extension.
fn is_pointer(text: &[u8]) -> bool {
    let below = line_below(text);
    below.starts_with(b"oid ") || below.starts_with(b"ext-")
}

fn is_version_of_pdf(text: &[u8]) -> bool {
    matches!(text, [b'0'..=b'9', b'.', b'0'..=b'9', rest @ ..] if is_line_end(rest))
}

/// The rest of a label such as `PRIVATE KEY-----`.
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

/// Whether a statement goes on with the name of a table and one of these words.
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

/// A property of a vCard or a calendar, such as `VERSION:4.0`.
fn has_property_below(text: &[u8]) -> bool {
    let below = line_below(text);
    let name_bytes = below
        .iter()
        .take_while(|byte| byte.is_ascii_uppercase() || **byte == b'-')
        .count();
    name_bytes > 0 && matches!(below.get(name_bytes), Some(b':' | b';'))
}

/// What stands below the names of the files.
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

/// A version, and a number of three digits.
fn is_status(text: &[u8]) -> bool {
    let rest = ["1.0 ", "1.1 ", "2 ", "3 "]
        .iter()
        .find_map(|version| text.strip_prefix(version.as_bytes()));
    matches!(rest, Some([b'1'..=b'5', b'0'..=b'9', b'0'..=b'9', rest @ ..]) if rest.first().is_none_or(u8::is_ascii_whitespace))
}

/// A field of a head, such as `Content-Type: text/csv`.
fn is_header(line: &[u8]) -> bool {
    let name_bytes = line
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-')
        .count();
    name_bytes > 0 && line.get(name_bytes) == Some(&b':')
}

/// A boundary and the head of a part: a form as it was sent.
fn is_part(text: &[u8]) -> bool {
    let below = line_below(text);
    !is_line_end(text) && starts_with(below, b"content-") && is_header(below)
}

/// A page of HTML or an XML document.
fn markup(text: &[u8], whole: bool, delimiter: Option<u8>, is_quoted: bool) -> Option<Kind> {
    let is_delimiter = |byte: &u8| is_delimiter(byte) || Some(*byte) == delimiter;
    let html = || Kind::new("a page of HTML", FetchPage);
    if begins_in_the_middle(text) || !text.starts_with(b"<") && has_page_on_its_first_line(text) {
        return Some(html().guessed());
    }
    if let Some(rest) = text.strip_prefix(b"<?xml") {
        let is_space = rest.first().is_some_and(u8::is_ascii_whitespace);
        return match is_space && rest.trim_ascii_start().starts_with(b"version") {
            true => Some(xml(text)),
            false => (is_space || rest.starts_with(b"?")).then(|| xml(text).guessed()),
        };
    }
    let (element, is_behind_comment) = behind_comments(text);
    let Some(element) = element else {
        // A comment that is longer than the sample.
        return Some(html().guessed());
    };
    if starts_with(element, b"<!doctype") {
        let root = element[9..].trim_ascii_start();
        let is_html = starts_with(root, b"html") || starts_with(root, b"svg");
        let kind = if is_html { html() } else { xml(element) };
        let name_bytes = root
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric())
            .count();
        let end = memchr::memchr(b'>', root);
        let behind = [Some(name_bytes), end.map(|end| end + 1)].map(|at| root.get(at?));
        return match end {
            // The name of a column.
            _ if behind.into_iter().flatten().any(is_delimiter) => None,
            None => Some(kind.guessed()),
            Some(_) => Some(kind),
        };
    }
    let tag = MarkupTag::read(element)?;
    let is_one_of = |names: &[&[u8]]| names.iter().any(|name| tag.name.eq_ignore_ascii_case(name));
    let is_page = is_page_tag(tag.name);
    let Some(behind) = tag.behind else {
        // A tag whose end is missing, which nothing but white space or the end of the text follows.
        let kind = if tag.name.eq_ignore_ascii_case(b"html") {
            html()
        } else {
            html().guessed()
        };
        return (is_page && (whole || tag.has_attributes)).then_some(kind);
    };
    // A header may stand between tags, too.
    if behind.first().is_some_and(is_delimiter) || has_field_behind_end(behind, tag.name, is_delimiter) {
        return None;
    }
    let content = behind.trim_ascii_start();
    let is_alone = behind.first().is_none_or(|next| matches!(next, b'\n' | b'\r'));
    let is_part = is_known(tag.name);
    // Values in angle brackets have no end tags, and a list of them may be one column.
    let is_tag = |line: &[u8]| {
        MarkupTag::read(line)
            .is_some_and(|tag| !tag.has_attributes && tag.behind.is_some_and(<[u8]>::is_empty))
    };
    let is_list = lines(content).all(is_tag);
    let is_document = || {
        let behind_root = root_end(element, tag.name).map(|end| element[end..].trim_ascii_start());
        match behind_root {
            Some(rest) => {
                let is_next_of_page = || MarkupTag::read(rest).is_some_and(|next| is_page_tag(next.name));
                rest.is_empty() || is_page && is_next_of_page()
            }
            // Values of a column are elements that end on their line, and pages are made of many parts.
            None => !whole && !is_part && !lines(content).take(ELEMENTS).all(is_element),
        }
    };
    let is_proved = is_one_of(WHOLE_PAGE_TAGS) && has_end(behind, tag.name)
        || (has_end(first_line(behind), tag.name)
            || content.starts_with(b"<") && memmem::find(content, b"</").is_some())
            && is_document()
        || tag.has_quotes && is_quoted
        || is_behind_comment && !content.is_empty()
        || is_behind_comment && is_page
        || tag.name.eq_ignore_ascii_case(b"html")
            && (content.is_empty() || content.starts_with(b"<") && !is_list);
    // HTML needs no end tags.
    let has_part = is_part && MarkupTag::read(content).is_some_and(|next| is_known(next.name)) && !is_list;
    let is_field = behind
        .first()
        .is_none_or(|next| next.is_ascii_whitespace() || next.is_ascii_punctuation());
    let is_guessed = content.starts_with(b"<") && memmem::find(content, b"/>").is_some() && !is_list
        || has_part
        || is_one_of(HEADINGS) && !is_field
        || tag.is_empty && content.is_empty()
        || tag.has_quotes
        || has_end(behind, tag.name)
        || content.starts_with(b"<") && memmem::find(content, b"</").is_some()
        || is_page && tag.has_attributes
        || is_alone && is_one_of(WHOLE_PAGE_TAGS);
    if !is_proved && !is_guessed {
        return None;
    }
    let kind = if is_part { html() } else { xml(element) };
    Some(if is_proved { kind } else { kind.guessed() })
}

/// Whether a page may begin with a tag.
fn is_page_tag(name: &[u8]) -> bool {
    PAGE_TAGS.iter().any(|tag| name.eq_ignore_ascii_case(tag))
}

/// Whether a tag is one of pages.
fn is_known(name: &[u8]) -> bool {
    let mut tags = PAGE_TAGS.iter().chain(PARTS_OF_PAGES);
    tags.any(|tag| name.eq_ignore_ascii_case(tag))
}

/// Whether a text begins with the end of a page's tag or comment.
fn begins_in_the_middle(text: &[u8]) -> bool {
    if let Some(rest) = text.strip_prefix(b"-->") {
        return MarkupTag::read(rest.trim_ascii_start()).is_some_and(|tag| is_known(tag.name));
    }
    let Some(name) = text.strip_prefix(b"</") else {
        return false;
    };
    let is_end = |tag: MarkupTag<'_>| {
        let is_field = |behind: &[u8]| behind.first().is_some_and(is_delimiter);
        is_known(tag.name) && tag.behind.is_some_and(|behind| !is_field(behind))
    };
    MarkupTag::read(&[b"<", name].concat()).is_some_and(is_end)
}

/// Whether a page begins behind the first words, as in `Error 500 <html><body>`.
fn has_page_on_its_first_line(text: &[u8]) -> bool {
    let line = first_line(text);
    let line = &line[..line.len().min(1 << 10)];
    let mut tags = memchr::memchr_iter(b'<', line);
    tags.any(|at| {
        let is_page = at > 0
            && ["<html>", "<html ", "<!doctype html"]
                .iter()
                .any(|tag| starts_with(&line[at..], tag.as_bytes()));
        let behind = memchr::memchr(b'>', &text[at..]).map_or(&[][..], |end| &text[at + end + 1..]);
        // Otherwise it is a word in a field.
        is_page
            && behind.trim_ascii_start().first().is_none_or(|next| *next == b'<')
            && !line[..at].iter().any(|byte| is_delimiter(byte) || *byte == b'"')
    })
}

/// How many lines of a long document are looked at.
const ELEMENTS: usize = 100;

/// Tags that a text follows.
const HEADINGS: &[&[u8]] = &[b"h1", b"h2", b"h3", b"title", b"center"];

/// Tags that nothing but pages begin with, also if they are alone on their line.
const WHOLE_PAGE_TAGS: &[&[u8]] = &[b"html", b"body", b"script"];

/// Tags that pages begin with.
const PAGE_TAGS: &[&[u8]] = &[
    b"html",
    b"head",
    b"body",
    b"script",
    b"meta",
    b"style",
    b"link",
    b"iframe",
    b"noscript",
];

/// Tags that pages and parts of them have.
const PARTS_OF_PAGES: &[&[u8]] = &[
    b"title",
    b"div",
    b"span",
    b"p",
    b"table",
    b"center",
    b"h1",
    b"h2",
    b"h3",
    b"form",
    b"br",
    b"hr",
    b"img",
    b"a",
    b"b",
    b"pre",
    b"font",
    b"ul",
    b"ol",
    b"section",
    b"main",
    b"article",
    b"header",
    b"base",
    b"frameset",
    b"tr",
    b"td",
    b"th",
    b"thead",
    b"tbody",
    b"li",
    b"dl",
    b"nav",
    b"footer",
];

/// An XML document, by the name of its first element.
fn xml(text: &[u8]) -> Kind {
    let mut rest = text;
    // Declarations and comments come before it.
    while let Some(at) = memchr::memchr(b'<', rest) {
        let element = &rest[at..];
        if let Some(tag) = MarkupTag::read(element) {
            if PAGE_TAGS.iter().any(|page| tag.name.eq_ignore_ascii_case(page)) {
                return Kind::new("a page of HTML", FetchPage);
            }
            let name = clip(tag.name);
            let advice = match tag.name.to_ascii_lowercase().as_slice() {
                b"error" | b"errors" | b"fault" | b"exception" | b"errorresponse" => FetchPage,
                b"workbook" => Advice::SaveSheet,
                _ => Convert,
            };
            return Kind::new(format!("an XML document (<{name}>)"), advice);
        }
        let (behind, is_comment) = behind_comments(element);
        rest = match behind {
            Some(behind) if is_comment => behind,
            Some(_) => &element[1..],
            None => break,
        };
    }
    Kind::new("an XML document", Convert)
}

/// What follows the comments at the beginning, and whether there are any; nothing if one has no end.
fn behind_comments(mut text: &[u8]) -> (Option<&[u8]>, bool) {
    let mut is_behind = false;
    while text.starts_with(b"<!--") {
        is_behind = true;
        let Some(end) = memmem::find(text, b"-->") else {
            return (None, true);
        };
        text = text[end + 3..].trim_ascii_start();
    }
    (Some(text), is_behind)
}

/// The tag at the beginning of a text.
struct MarkupTag<'a> {
    name: &'a [u8],
    has_attributes: bool,
    /// Whether their values stand in quotes, which no field has that does not begin with one.
    has_quotes: bool,
    /// Whether it is an element without content.
    is_empty: bool,
    /// What follows it, if it has an end.
    behind: Option<&'a [u8]>,
}

impl<'a> MarkupTag<'a> {
    fn read(text: &'a [u8]) -> Option<Self> {
        let inner = text.strip_prefix(b"<")?;
        let is_name =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'_' | b'-' | b'.' | 0x80..);
        let name_bytes = inner
            .iter()
            .position(|byte| !is_name(byte))
            .unwrap_or(inner.len());
        let (name, rest) = inner.split_at(name_bytes);
        // Such as the scheme of an address.
        if name.ends_with(b":") {
            return None;
        }
        if !name
            .first()
            .is_some_and(|first| first.is_ascii_alphabetic() || matches!(first, b'_' | 0x80..))
        {
            return None;
        }
        let has_attributes =
            rest.first().is_some_and(u8::is_ascii_whitespace) && memchr::memchr(b'=', rest).is_some();
        if !rest
            .first()
            .is_none_or(|next| next.is_ascii_whitespace() || matches!(next, b'>' | b'/'))
        {
            return None;
        }
        let end = memchr::memchr(b'>', rest);
        Some(Self {
            name,
            has_attributes: has_attributes && end.is_none_or(|end| rest[..end].contains(&b'=')),
            has_quotes: has_attributes && end.is_some_and(|end| memmem::find(&rest[..end], b"=\"").is_some()),
            is_empty: end.is_some_and(|end| rest[..end].ends_with(b"/")),
            behind: end.map(|end| &rest[end + 1..]),
        })
    }
}

/// The places behind the ends of the elements of this name.
fn ends<'a>(text: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    memmem::find_iter(text, b"</").filter_map(move |at| {
        let end = at + 2 + name.len();
        let is_end = starts_with(&text[at + 2..], name) && text.get(end) == Some(&b'>');
        is_end.then_some(end + 1)
    })
}

/// Whether the element of this name ends in the first line, or where a line begins. Elsewhere the end may be in a field.
fn has_end(text: &[u8], name: &[u8]) -> bool {
    let first_bytes = first_line(text).len();
    ends(text, name).any(|end| {
        let before = &text[..end - name.len() - "</>".len()];
        let last = before.iter().rev().find(|byte| !matches!(byte, b' ' | b'\t'));
        end <= first_bytes || last.is_none_or(|byte| matches!(byte, b'\n' | b'\r'))
    })
}

/// Returns where the element at the beginning of a text ends, with those of its name in it.
fn root_end(text: &[u8], name: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    for at in memchr::memchr_iter(b'<', text) {
        let here = &text[at..];
        let end = at + 2 + name.len();
        if here.starts_with(b"</") && starts_with(&here[2..], name) && text.get(end) == Some(&b'>') {
            depth = depth.checked_sub(1)?;
            if depth == 0 {
                return Some(end + 1);
            }
        } else if starts_with(&here[1..], name)
            && here
                .get(1 + name.len())
                .is_some_and(|next| next.is_ascii_whitespace() || matches!(next, b'>' | b'/'))
        {
            let end = memchr::memchr(b'>', here)?;
            depth += usize::from(here[end - 1] != b'/');
        }
    }
    None
}

/// Whether a line is an element from its beginning to its end.
fn is_element(line: &[u8]) -> bool {
    MarkupTag::read(line).is_some_and(|tag| {
        tag.is_empty && tag.behind.is_some_and(<[u8]>::is_empty)
            || root_end(line, tag.name) == Some(line.len())
    })
}

/// Whether the element ends in the first line, and a delimiter follows it.
fn has_field_behind_end(text: &[u8], name: &[u8], is_delimiter: impl Fn(&u8) -> bool) -> bool {
    let line = first_line(text);
    ends(line, name).any(|end| line.get(end).is_some_and(&is_delimiter))
}

fn starts_with(text: &[u8], start: &[u8]) -> bool {
    text.get(..start.len())
        .is_some_and(|text| text.eq_ignore_ascii_case(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Option<String> {
        of(&Sample::of(text), None, true).map(|kind| kind.what.into_owned())
    }

    #[test]
    fn a_page_is_told_whatever_it_begins_with() {
        for page in [
            "<!DOCTYPE html>\n<html lang=\"en\">\n",
            "\n  <html lang=\"en\">\n<head>\n",
            "\u{feff}<HTML>",
            "<html",
            "<!doctype html><title>x</title>",
            "<!-- saved from url=(0014)about:internet -->\n<html>\n",
            "<!-- one -->\n<!-- two, three -->\n<body>\n",
            "<!-- a comment without an end, a,b\n1,2\n",
            "<head>\n<title>x</title>\n",
            "<head><title>x</title></head>",
            "<script>\nf(1, 2);\n</script>\n",
            "<script src=\"a.js\"></script>",
            "<meta charset=\"utf-8\">\n",
            "<title>404, not found</title>\n",
            "<h1>Bad gateway, sorry</h1>",
            "<center>Down</center>",
            "<div class=\"a\"><p>x</p></div>",
            "<p>Not found</p>",
            "<table><tr><td>1</td></tr></table>",
            "<?xml version=\"1.0\"?>\n<!DOCTYPE html PUBLIC \"x\" \"y\">\n<html xmlns=\"x\">\n",
            "<?xml version=\"1.0\"?><html>",
            "<table>\n<tr><td>1<td>2\n<tr><td>3<td>4\n",
            "</div>\n<p>Service unavailable</p>\n</body></html>\n",
            "<div>\n<p>Not found\n",
            "<center><h1>403 Forbidden\n",
            "<h1>Not Found\n",
            "Error 500 <html><body>Oops, sorry</body></html>\n",
            "-->\n<html>\n",
            "<ul>\n<li>a\n<li>b\n",
        ] {
            assert_eq!(told(page).as_deref(), Some("a page of HTML"), "{page:?}");
        }
    }

    #[test]
    fn an_xml_document_is_told_by_its_first_element() {
        for (text, name) in [
            ("<?xml version=\"1.0\"?>\n<rows><row a=\"1,2\"/></rows>", "rows"),
            ("<?xml version=\"1.0\"?>\n<?pi x?>\n<!-- <b> -->\n<rows>", "rows"),
            ("<Error><Code>AccessDenied</Code></Error>", "Error"),
            ("<Error>\n  <Code>AccessDenied</Code>\n", "Error"),
            ("<error>not found, sorry</error>\n", "error"),
            ("<soap:Envelope xmlns:soap=\"x\">\n<soap:Body>", "soap:Envelope"),
            ("<rows/>\n", "rows"),
            ("<!-- by x -->\n<rows>\n1", "rows"),
            ("<!DOCTYPE rows SYSTEM \"rows.dtd\">\n<rows>\n", "rows"),
        ] {
            assert_eq!(
                told(text),
                Some(format!("an XML document (<{name}>)")),
                "{text:?}"
            );
        }
    }

    /// Texts as tools write them, what they are, and whether that is proved.
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
    fn each_beginning_is_told_by_what_comes_behind_it() {
        for &(text, what, is_proved) in TEXTS {
            let kind = of(&Sample::of(text), None, true).unwrap_or_else(|| panic!("{text:?}"));
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
                let kind = of(&Sample::of(&text), None, true);
                assert!(kind.is_none_or(|kind| kind.is_guess), "{text:?}");
            }
        }
    }

    #[test]
    fn what_may_be_a_table_is_a_guess_or_nothing() {
        for text in [
            "</div>\n<p>Service unavailable</p>\n",
            "Error 500 <html><body>Oops, sorry</body></html>\n",
            "-->\n<html>\n",
            "<!-- a comment without an end, a,b\n1,2\n",
            "<head",
            "<html>\n1\n2\n",
            "<body>\n1,2\n",
            "<table>\n<tr><td>1<td>2\n<tr><td>3<td>4\n",
            "<h1>Not Found\n",
            "<rows/>\n",
            "<meta charset=utf-8>\n",
            "<b>Name</b>\nAnna\n",
            "<b><i>Name</i></b>\nAnna\n",
            "<b>id</b> (nr),<b>name</b> (text)\n1,2\n",
            "<b>id</b>^<b>name</b>\n1^2\n",
            "<a>1</a>\n<a>2</a>\n",
            "<a><b>1</b></a>\n<a><b>2</b></a>\n",
            "<p>Hello</p>\n<p>World</p>\n",
            "<B>\n1\n</B>\n",
            "<id>\n<a>1</a>\n<b>2</b>\n",
        ] {
            assert!(
                of(&Sample::of(text), None, true).is_some_and(|kind| kind.is_guess),
                "{text:?}"
            );
        }
        for text in [
            "<?xml version=\"1.0\"?>\n<rows>\n",
            "<!doctype html>\n<title>x\n",
            "<html>\n<p>Not found\n",
            "<html",
            "<HTML>\n",
            "<html lang=\"en\">\n",
            "<!-- x -->\n<html>\n",
            "<!-- x --><html><body>x</body></html>",
            "<Error><Code>AccessDenied</Code></Error>",
            "<rows>\n  <row a=\"1\"/>\n</rows>\n",
            "<rows>\n<row>1</row>\n</rows>\n",
            "<div><div>a</div>\n<div>b</div></div>\n",
            "<head><title>x</title></head>\n<body>x</body>\n",
            "<head><title>x</title>\n</head>\n",
            "<div>Not found</div>\n",
            "<script>\nf(1, 2);\n</script>\n",
        ] {
            assert!(
                of(&Sample::of(text), None, true).is_some_and(|kind| !kind.is_guess),
                "{text:?}"
            );
        }
    }

    #[test]
    fn what_is_said_of_delimiters_and_quotes_counts() {
        let caret = Sample::of("<b>id</b>^<b>name</b>\n1^2\n");
        assert_eq!(of(&caret, Some(b'^'), true), None);
        let image = Sample::of("<img src=\"x.png\"/> note,b\n");
        assert!(of(&image, None, true).is_some_and(|kind| !kind.is_guess));
        assert!(of(&image, None, false).is_some_and(|kind| kind.is_guess));
    }

    #[test]
    fn a_long_document_is_told_by_what_are_no_values() {
        let nested = "<row>\n<id>1</id>\n</row>\n".repeat(5_000);
        let kind = of(&Sample::of(format!("<rows>\n{nested}</rows>\n")), None, true);
        assert!(kind.is_some_and(|kind| !kind.is_guess));
        let values = "<a>1</a>\n".repeat(10_000);
        let kind = of(&Sample::of(format!("<id>\n{values}")), None, true);
        assert!(kind.is_some_and(|kind| kind.is_guess));
    }

    #[test]
    fn a_header_may_begin_with_a_tag() {
        for text in [
            "<html-note>,b\n1,2\n",
            "<id>,<name>\n1,2\n",
            "<id>;<name>\n<1>;<2>\n",
            "<head>,<tail>\n1,2\n",
            "<p>\n1\n2\n",
            "<p>\n<a>\n<b>\n",
            "<h1>,<h2>\n1,2\n",
            "</p>,x\n1,2\n",
            "<id>\n<1>\n<2>\n",
            "<name>\n<foo>\n<bar>\n",
            "<head>\n1\n2\n",
            "<link>\n1\n2\n",
            "<!-- x -->,b\n1,2\n",
            "<a>\tb\n1\t2\n",
            "<id\n1\n",
            "<5,b\n1,2\n",
            "<,>\n1,2\n",
            "a,<html>\n1,<html>\n",
            "<DATE>,<TIME>,<OPEN>\n20240101,0930,1.5\n",
            "version,b\n1,2\n",
            "--\n1\n",
            "%PDF,b\n",
            "#id,name\n1,2\n",
            "<b>,note\n1,\"bold </b>\"\n",
            "<b> x,note\n1,\"bold </b>\"\n",
            "<b>\nbold </b>\n",
            "<b>Name</b>,<b>Age</b>\n1,2\n",
            "<https://example.com/>\n<https://example.org/>\n",
            "<name>\n<foo>\n<bar/>\n",
            "Select item from list;Amount;\n1;2;\n",
            "Update due; Set by;\n1;2;\n",
            "<!doctype html>,b\n1,2\n",
            "id,body <html>\n1,x\n",
            "1,see <html> tag,x\n",
            "2024 <html> rewrite,done\n",
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
            assert_eq!(told(text), None, "{text:?}");
        }
    }
}
