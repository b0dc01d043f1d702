//! The beginning of a text in; out comes whether it is a page, a document or a pointer to another file. A header may begin
//! with a tag: `<id>,<name>` is legal.

use memchr::memmem;

use super::{Advice, Kind, Sample};
use crate::format::clip;

use Advice::{Convert, FetchContent, FetchPage, TakeTheFile};

/// How texts begin that are no tables.
const BEGINNINGS: &[(&str, &str, Advice)] = &[
    (
        "version https://git-lfs.github.com/spec/",
        "a Git LFS pointer",
        FetchContent,
    ),
    (
        "version https://hawser.github.com/spec/",
        "a Git LFS pointer",
        FetchContent,
    ),
    ("/annex/objects/", "a git-annex pointer", FetchContent),
    ("../.git/annex/objects/", "a git-annex pointer", FetchContent),
    (".git/annex/objects/", "a git-annex pointer", FetchContent),
    ("[InternetShortcut]", "a shortcut to a page", FetchContent),
    ("{\\rtf", "an RTF document", Advice::SaveSheet),
    ("%!PS", "a PostScript file", TakeTheFile),
    ("-----BEGIN PGP MESSAGE-----", "encrypted by PGP", Advice::Decrypt),
    (
        "-----BEGIN AGE ENCRYPTED FILE-----",
        "encrypted by age",
        Advice::Decrypt,
    ),
    ("age-encryption.org/", "encrypted by age", Advice::Decrypt),
    ("-----BEGIN ", "a key or a certificate", TakeTheFile),
    ("-- MySQL dump", "an SQL dump", Convert),
    ("-- MariaDB dump", "an SQL dump", Convert),
    ("/*M!999999", "an SQL dump", Convert),
    ("-- PostgreSQL database dump", "an SQL dump", Convert),
    ("--\n-- PostgreSQL database dump", "an SQL dump", Convert),
    ("-- phpMyAdmin SQL Dump", "an SQL dump", Convert),
    ("PRAGMA foreign_keys=", "an SQL dump", Convert),
    ("INSERT INTO ", "an SQL dump", Convert),
    ("CREATE TABLE ", "an SQL dump", Convert),
    ("BEGIN:VCARD", "a vCard file", Convert),
    ("BEGIN:VCALENDAR", "a calendar (iCalendar)", Convert),
    ("%YAML", "a YAML document", Convert),
    ("@relation ", "an ARFF file", Convert),
    ("@RELATION ", "an ARFF file", Convert),
    ("diff --git ", "a diff", TakeTheFile),
    ("<<<<<<< ", "a file with conflicts of a merge", Advice::Resolve),
    ("#!/", "a script", TakeTheFile),
    ("HTTP/1.0 ", "an HTTP response with its head", FetchContent),
    ("HTTP/1.1 ", "an HTTP response with its head", FetchContent),
];

pub(super) fn of(sample: &Sample) -> Option<Kind> {
    // The lines before the first record are passed over if they are blank.
    let text = sample.text().trim_ascii_start();
    let begins = |(start, ..): &&(&str, &str, Advice)| starts_with(text, start.as_bytes());
    if let Some((_, what, advice)) = BEGINNINGS.iter().find(begins) {
        return Some(Kind::new(*what, advice.clone()));
    }
    if let [b'%', b'P', b'D', b'F', b'-', b'0'..=b'9', b'.', ..] = text {
        return Some(Kind::new("a PDF document", Advice::SaveSheet));
    }
    if is_multipart(text) {
        return Some(Kind::new("the body of a form (multipart)", FetchContent));
    }
    markup(text, sample.whole)
}

/// Whether a text begins with a boundary and the head of a part: a form as it was sent.
fn is_multipart(text: &[u8]) -> bool {
    let lines = || text.split(|byte| *byte == b'\n');
    let is_head = |line: &[u8]| {
        line.get(..8)
            .is_some_and(|name| name.eq_ignore_ascii_case(b"content-"))
    };
    text.starts_with(b"--") && lines().nth(1).is_some_and(is_head)
}

/// A page of HTML or an XML document.
fn markup(text: &[u8], whole: bool) -> Option<Kind> {
    let html = || Kind::new("a page of HTML", FetchPage);
    if begins_in_the_middle(text) || has_page_on_its_first_line(text) {
        return Some(html());
    }
    if starts_with(text, b"<?xml")
        && text
            .get(5)
            .is_some_and(|next| next.is_ascii_whitespace() || *next == b'?')
    {
        return Some(xml(text));
    }
    let (element, is_behind_comment) = behind_comments(text);
    let Some(element) = element else {
        // A comment that is longer than the sample.
        return Some(html());
    };
    if starts_with(element, b"<!doctype") {
        let root = element[9..].trim_ascii_start();
        let is_html = starts_with(root, b"html") || starts_with(root, b"svg");
        return Some(if is_html { html() } else { xml(element) });
    }
    let tag = Tag::read(element)?;
    let is_page = PAGE_TAGS.iter().any(|page| tag.name.eq_ignore_ascii_case(page));
    let Some(behind) = tag.behind else {
        // A tag whose end is missing, which nothing but white space or the end of the text follows.
        return (is_page && (whole || tag.has_attributes)).then(html);
    };
    let content = behind.trim_ascii_start();
    let is_alone = behind.first().is_none_or(|next| matches!(next, b'\n' | b'\r'));
    let is_whole_page = WHOLE_PAGE_TAGS
        .iter()
        .any(|page| tag.name.eq_ignore_ascii_case(page));
    let is_part = is_known(tag.name);
    // HTML needs no end tags.
    let is_tag = |line: &[u8]| Tag::read(line).is_some_and(|tag| tag.behind.is_some_and(<[u8]>::is_empty));
    let has_part = is_part
        && Tag::read(content).is_some_and(|next| is_known(next.name))
        // A list of tags may be one column.
        && !content.split(|byte| *byte == b'\n').all(|line| line.trim_ascii().is_empty() || is_tag(line.trim_ascii()));
    let is_field = behind
        .first()
        .is_none_or(|next| next.is_ascii_whitespace() || next.is_ascii_punctuation());
    let is_heading = HEADINGS.iter().any(|name| tag.name.eq_ignore_ascii_case(name)) && !is_field;
    // Values in angle brackets have no end tags.
    let has_ends = memmem::find(content, b"</").is_some() || memmem::find(content, b"/>").is_some();
    let is_document = content.starts_with(b"<") && has_ends
        || has_part
        || is_heading
        || tag.has_quotes
        || is_behind_comment && !content.is_empty()
        || tag.is_empty && content.is_empty()
        || has_end(behind, tag.name)
        || is_page && tag.has_attributes
        || is_alone && is_whole_page;
    if !is_document {
        return None;
    }
    Some(if is_part { html() } else { xml(element) })
}

/// Whether a tag is one of pages.
fn is_known(name: &[u8]) -> bool {
    let mut tags = PAGE_TAGS.iter().chain(PARTS_OF_PAGES);
    tags.any(|tag| name.eq_ignore_ascii_case(tag))
}

/// Whether a text begins with the end of a page's tag or comment.
fn begins_in_the_middle(text: &[u8]) -> bool {
    if let Some(rest) = text.strip_prefix(b"-->") {
        return Tag::read(rest.trim_ascii_start()).is_some_and(|tag| is_known(tag.name));
    }
    let Some(name) = text.strip_prefix(b"</") else {
        return false;
    };
    let is_end = |tag: Tag<'_>| {
        let is_field = |behind: &[u8]| matches!(behind.first(), Some(b',' | b';' | b'|' | b'\t'));
        is_known(tag.name) && tag.behind.is_some_and(|behind| !is_field(behind))
    };
    Tag::read(&[b"<", name].concat()).is_some_and(is_end)
}

/// Whether a page begins behind the first words, as in `Error 500 <html>`.
fn has_page_on_its_first_line(text: &[u8]) -> bool {
    let line = &text[..memchr::memchr2(b'\n', b'\r', text)
        .unwrap_or(text.len())
        .min(1 << 10)];
    let mut tags = memchr::memchr_iter(b'<', line);
    tags.any(|at| {
        let is_page = ["<html>", "<html ", "<!doctype html"]
            .iter()
            .any(|tag| starts_with(&line[at..], tag.as_bytes()));
        // A field may be called so.
        let is_field = at == 0 || matches!(line[at - 1], b',' | b';' | b'|' | b'\t');
        is_page && !is_field && !line[..at].contains(&b'"')
    })
}

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
        if let Some(tag) = Tag::read(element) {
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
struct Tag<'a> {
    name: &'a [u8],
    has_attributes: bool,
    /// Whether their values stand in quotes, which no field has that does not begin with one.
    has_quotes: bool,
    /// Whether it is an element without content.
    is_empty: bool,
    /// What follows it, if it has an end.
    behind: Option<&'a [u8]>,
}

impl<'a> Tag<'a> {
    fn read(text: &'a [u8]) -> Option<Self> {
        let inner = text.strip_prefix(b"<")?;
        let is_name =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'_' | b'-' | b'.' | 0x80..);
        let name_bytes = inner
            .iter()
            .position(|byte| !is_name(byte))
            .unwrap_or(inner.len());
        let (name, rest) = inner.split_at(name_bytes);
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

/// Whether the element of this name ends somewhere.
fn has_end(text: &[u8], name: &[u8]) -> bool {
    memmem::find_iter(text, b"</").any(|at| {
        let rest = &text[at + 2..];
        rest.get(..name.len())
            .is_some_and(|end| end.eq_ignore_ascii_case(name))
            && rest.get(name.len()) == Some(&b'>')
    })
}

fn starts_with(text: &[u8], start: &[u8]) -> bool {
    text.get(..start.len())
        .is_some_and(|text| text.eq_ignore_ascii_case(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Option<String> {
        of(&Sample::of(text)).map(|kind| kind.what.into_owned())
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

    #[test]
    fn each_beginning_is_told() {
        for &(start, what, _) in BEGINNINGS {
            assert_eq!(told(&format!("{start}x\n")).as_deref(), Some(what), "{start:?}");
        }
        for text in [
            "\n\nversion https://git-lfs.github.com/spec/v1\n",
            "insert into a values (1,2);\n",
        ] {
            assert!(told(text).is_some(), "{text:?}");
        }
        assert_eq!(told("%PDF-1.4\n").as_deref(), Some("a PDF document"));
        assert_eq!(
            told("--xyz\r\nContent-Disposition: form-data; name=\"f\"\r\n\r\na,b\r\n").as_deref(),
            Some("the body of a form (multipart)")
        );
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
        ] {
            assert_eq!(told(text), None, "{text:?}");
        }
    }
}
