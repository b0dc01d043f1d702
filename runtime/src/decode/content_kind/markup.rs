//! Recognizes a page of HTML or an XML document by the beginning of a text. A CSV header can have the same tags:
//! `<id>,<name>` is legal. So the lines below the first are examined, too.

use std::borrow::Cow;

use memchr::memmem;

use super::super::notice::{NoticeCandidate, is_notice};
use super::text::{first_line, is_delimiter, lines, starts_with};
use super::{Advice, Kind, Sample};
use crate::format::clip;

use Advice::{Convert, FetchPage};

/// Returns the kind of a text that is a page of HTML or an XML document, or `None`. `delimiter` is the delimiter that
/// the request names for CSV, and `is_quoted` is true if fields can be within `"`.
pub(super) fn of(sample: &Sample, delimiter: Option<u8>, is_quoted: bool) -> Option<Kind> {
    let text = sample.text().trim_ascii_start();
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
    let (element, is_after_comment) = after_comments(text);
    let Some(element) = element else {
        // The comment is longer than the sample.
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
        let after = [Some(name_bytes), end.map(|end| end + 1)].map(|at| root.get(at?));
        return match end {
            // A delimiter follows, so this is the name of a column.
            _ if after.into_iter().flatten().any(is_delimiter) => None,
            None => Some(kind.guessed()),
            Some(_) => Some(kind),
        };
    }
    let tag = MarkupTag::read(element)?;
    let is_page = is_page_tag(tag.name);
    let Some(after) = tag.after else {
        // The end of this tag is missing. After its name comes white space, a slash or the end of the text.
        let kind = if tag.name.eq_ignore_ascii_case(b"html") {
            html()
        } else {
            html().guessed()
        };
        let is_cut_off = is_page && (sample.whole || tag.has_attributes) || is_cut_off(element, &tag, sample);
        return is_cut_off.then_some(kind);
    };
    // The names in a CSV header can be tags (`<id>,<name>`), or be within tags (`<b>id</b>,<b>name</b>`).
    if after.first().is_some_and(is_delimiter) || has_field_after_end(after, tag.name, is_delimiter) {
        return None;
    }
    let content = after.trim_ascii_start();
    let is_part = is_known(tag.name);
    // A CSV file with one column can be a list of values in angle brackets. Such values have no end tags.
    let is_tag = |line: &[u8]| {
        MarkupTag::read(line)
            .is_some_and(|tag| !tag.has_attributes && tag.after.is_some_and(<[u8]>::is_empty))
    };
    let is_list = lines(content).all(is_tag);
    let is_document = || {
        let after_root = root_end(element, tag.name).map(|end| element[end..].trim_ascii_start());
        match after_root {
            Some(rest) => {
                let is_next_of_page = || MarkupTag::read(rest).is_some_and(|next| is_page_tag(next.name));
                rest.is_empty() || is_page && is_next_of_page()
            }
            // If each line is a whole element, the lines can be the values of a column. A tag of HTML proves nothing
            // here, because its end tag can be missing.
            None => !sample.whole && !is_part && !lines(content).take(ELEMENTS).all(is_element),
        }
    };
    let is_proved = is_one_of(tag.name, WHOLE_PAGE_TAGS) && has_end(after, tag.name)
        || (has_end(first_line(after), tag.name)
            || content.starts_with(b"<") && memmem::find(content, b"</").is_some())
            && is_document()
        || tag.has_quotes && is_quoted
        || is_after_comment && !content.is_empty()
        || is_after_comment && is_page
        || tag.name.eq_ignore_ascii_case(b"html")
            && (content.is_empty() || content.starts_with(b"<") && !is_list);
    // In HTML, end tags can be missing.
    let has_part = is_part && MarkupTag::read(content).is_some_and(|next| is_known(next.name)) && !is_list;
    let is_guessed = content.starts_with(b"<") && memmem::find(content, b"/>").is_some() && !is_list
        || has_part
        || tag.is_empty
        || tag.has_attributes
        || has_end(after, tag.name)
        || content.starts_with(b"<") && memmem::find(content, b"</").is_some()
        || match first_line(after).is_empty() {
            true => is_fragment_below(&tag, after, is_delimiter),
            false => is_fragment_beside(&tag, after, is_delimiter),
        };
    if !is_proved && !is_guessed {
        return None;
    }
    let kind = if is_part { html() } else { xml(element) };
    Some(if is_proved { kind } else { kind.guessed() })
}

/// Returns the kind of a text that begins with any tag, if no line of the text can be an object. No line of JSONL begins
/// with a tag, so a tag needs no further proof here.
pub(super) fn of_jsonl(sample: &Sample) -> Option<Kind> {
    let text = sample.text().trim_ascii_start();
    let tag = match text.strip_prefix(b"</") {
        Some(rest) => [b"<", rest].concat().into(),
        None => Cow::from(text),
    };
    let name = MarkupTag::read(&tag)?.name;
    let has_object = || lines(text).any(|line| line.starts_with(b"{"));
    (!has_object()).then(|| match is_known(name) {
        true => Kind::new("a page of HTML", FetchPage),
        false => xml(&tag),
    })
}

/// Returns whether a text is the beginning of a tag whose end is missing: `<table border=0`, or `<table` alone.
fn is_cut_off(text: &[u8], tag: &MarkupTag<'_>, sample: &Sample) -> bool {
    let line = first_line(text);
    let is_alone = sample.whole && text.trim_ascii_end().len() == b"<".len() + tag.name.len();
    let has_attributes = tag.has_attributes && line.contains(&b'=') && !line.iter().any(is_delimiter);
    is_known(tag.name) && (is_alone || has_attributes)
}

/// Returns whether a text after a tag, on the same line, makes the tag the beginning of a page or a document whose end
/// is missing: `<h1>Not Found`, `<p> An error occurred.`
fn is_fragment_beside(tag: &MarkupTag<'_>, after: &[u8], is_delimiter: impl Fn(&u8) -> bool) -> bool {
    let line = first_line(after);
    // The name of a column can continue after a tag, but then a blank or a mark usually follows the tag: `<p> [Pa]`.
    let is_field = line[0].is_ascii_whitespace() || line[0].is_ascii_punctuation();
    if is_field {
        return is_known(tag.name) && begins_notice(after, is_delimiter);
    }
    is_one_of(tag.name, HEADINGS) || !is_over_values(line, &after[line.len()..], is_delimiter)
}

/// Returns whether the lines below a tag, which is alone on its line, make the tag the beginning of a page or a document
/// whose end is missing. A CSV file with one column can have the tag as its header, above values.
fn is_fragment_below(tag: &MarkupTag<'_>, after: &[u8], is_delimiter: impl Fn(&u8) -> bool) -> bool {
    let content = after.trim_ascii_start();
    let is_of_error = is_one_of(tag.name, TAGS_OF_ERRORS);
    let Some(line) = lines(content).next() else {
        return true;
    };
    let begins_text = |next: &MarkupTag<'_>| {
        let text = next.after.map_or(&[][..], first_line);
        let is_beside = text.first().is_some_and(|byte| !is_delimiter(byte));
        is_beside && !text[0].is_ascii_whitespace()
    };
    let is_indented = after.trim_ascii_start().len() < after.len()
        && matches!(after[after.len() - content.len() - 1], b' ' | b'\t');
    MarkupTag::read(content).is_some_and(|next| is_indented || is_of_error || begins_text(&next))
        || is_one_of(tag.name, STRUCTURE)
        || is_of_error && line.iter().any(u8::is_ascii_alphabetic) && line.contains(&b' ')
        || (is_of_error || is_known(tag.name)) && begins_notice(content, is_delimiter)
}

/// Returns whether a text begins with a sentence or with the words of an error, alone or over lines that hold no values.
fn begins_notice(text: &[u8], is_delimiter: impl Fn(&u8) -> bool) -> bool {
    let mut lines = lines(text);
    let line = String::from_utf8_lossy(lines.next().unwrap_or_default());
    let delimiter = line.bytes().find(|byte| is_delimiter(byte)).map(char::from);
    let names: Vec<_> = line.split(|c| Some(c) == delimiter).collect();
    let records: Vec<_> = lines.take(ELEMENTS).collect();
    is_notice(&NoticeCandidate {
        line: &line,
        names: &names,
        records: &records,
        is_table: false,
    })
}

/// Returns whether a line can be a header above the lines below it: each of them begins like a number, or has as many
/// delimiters as the header.
fn is_over_values(line: &[u8], below: &[u8], is_delimiter: impl Fn(&u8) -> bool) -> bool {
    let delimiter = line.iter().find(|byte| is_delimiter(byte));
    let count = |line: &[u8]| delimiter.map_or(0, |delimiter| memchr::memchr_iter(*delimiter, line).count());
    let columns = count(line);
    let is_value = |line: &[u8]| match columns {
        0 => matches!(line[0], b'0'..=b'9' | b'+' | b'-' | b'.'),
        _ => count(line) == columns,
    };
    let mut below = lines(below).take(ELEMENTS).peekable();
    below.peek().is_some() && below.all(is_value)
}

/// Returns whether a tag has one of these names.
fn is_one_of(name: &[u8], names: &[&[u8]]) -> bool {
    names.iter().any(|one| name.eq_ignore_ascii_case(one))
}

/// Returns whether a page can begin with the tag of this name.
fn is_page_tag(name: &[u8]) -> bool {
    is_one_of(name, PAGE_TAGS)
}

/// Returns whether a tag of this name belongs to HTML.
fn is_known(name: &[u8]) -> bool {
    [PAGE_TAGS, PARTS_OF_PAGES, STRUCTURE]
        .iter()
        .any(|tags| is_one_of(name, tags))
}

/// Returns whether a text begins with an end tag of HTML, or with the end of a comment in a page.
fn begins_in_the_middle(text: &[u8]) -> bool {
    if let Some(rest) = text.strip_prefix(b"-->") {
        return MarkupTag::read(rest.trim_ascii_start()).is_some_and(|tag| is_known(tag.name));
    }
    let Some(name) = text.strip_prefix(b"</") else {
        return false;
    };
    let is_end = |tag: MarkupTag<'_>| {
        let is_field = |after: &[u8]| after.first().is_some_and(is_delimiter);
        is_known(tag.name) && tag.after.is_some_and(|after| !is_field(after))
    };
    MarkupTag::read(&[b"<", name].concat()).is_some_and(is_end)
}

/// Returns whether a page begins on the first line after other words, as in `Error 500 <html><body>`.
fn has_page_on_its_first_line(text: &[u8]) -> bool {
    let line = first_line(text);
    let line = &line[..line.len().min(1 << 10)];
    let mut tags = memchr::memchr_iter(b'<', line);
    tags.any(|at| {
        let is_page = at > 0
            && ["<html>", "<html ", "<!doctype html"]
                .iter()
                .any(|tag| starts_with(&line[at..], tag.as_bytes()));
        let after = memchr::memchr(b'>', &text[at..]).map_or(&[][..], |end| &text[at + end + 1..]);
        // If text follows the tag, or if a delimiter or a quote is before it, the tag is a word in a field.
        is_page
            && after.trim_ascii_start().first().is_none_or(|next| *next == b'<')
            && !line[..at].iter().any(|byte| is_delimiter(byte) || *byte == b'"')
    })
}

/// The maximum number of lines of a long document that are examined.
const ELEMENTS: usize = 100;

/// The tags of headings. Text follows such a tag.
const HEADINGS: &[&[u8]] = &[b"h1", b"h2", b"h3", b"h4", b"h5", b"h6", b"title", b"center"];

/// Tags that contain a script or a whole page.
const WHOLE_PAGE_TAGS: &[&[u8]] = &[b"html", b"body", b"script"];

/// If a text begins with one of these tags, the text is probably a page, even if the tag is alone on its line: hardly a
/// column has such a name.
const STRUCTURE: &[&[u8]] = &[
    b"html",
    b"body",
    b"script",
    b"noscript",
    b"iframe",
    b"frameset",
    b"div",
    b"span",
    b"pre",
    b"center",
    b"blockquote",
    b"table",
    b"thead",
    b"tbody",
    b"tr",
    b"td",
    b"ul",
    b"ol",
    b"li",
    b"br",
    b"hr",
];

/// The names of XML documents with an error.
const TAGS_OF_ERRORS: &[&[u8]] = &[b"error", b"errors", b"fault", b"exception", b"errorresponse"];

/// The tags that pages begin with.
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

/// The other tags of pages and of parts of pages, except those in [`STRUCTURE`].
const PARTS_OF_PAGES: &[&[u8]] = &[
    b"title", b"p", b"h1", b"h2", b"h3", b"h4", b"h5", b"h6", b"form", b"img", b"a", b"b", b"i", b"u", b"em",
    b"tt", b"code", b"small", b"strong", b"font", b"section", b"main", b"article", b"header", b"base", b"th",
    b"dl", b"dt", b"dd", b"nav", b"footer",
];

/// Returns the kind of an XML document, named after its first element.
fn xml(text: &[u8]) -> Kind {
    let mut rest = text;
    // Declarations and comments can come before the first element.
    while let Some(at) = memchr::memchr(b'<', rest) {
        let element = &rest[at..];
        if let Some(tag) = MarkupTag::read(element) {
            if is_page_tag(tag.name) {
                return Kind::new("a page of HTML", FetchPage);
            }
            let name = clip(tag.name);
            let advice = match tag.name {
                name if is_one_of(name, TAGS_OF_ERRORS) => FetchPage,
                name if name.eq_ignore_ascii_case(b"workbook") => Advice::SaveSheet,
                _ => Convert,
            };
            return Kind::new(format!("an XML document (<{name}>)"), advice);
        }
        let (after, is_comment) = after_comments(element);
        rest = match after {
            Some(after) if is_comment => after,
            Some(_) => &element[1..],
            None => break,
        };
    }
    Kind::new("an XML document", Convert)
}

/// Returns the text after the comments at its beginning, and whether there are such comments. Returns `None` for the
/// text if a comment has no end.
fn after_comments(mut text: &[u8]) -> (Option<&[u8]>, bool) {
    let mut has_comment = false;
    while text.starts_with(b"<!--") {
        has_comment = true;
        let Some(end) = memmem::find(text, b"-->") else {
            return (None, true);
        };
        text = text[end + 3..].trim_ascii_start();
    }
    (Some(text), has_comment)
}

/// The tag at the beginning of a text.
struct MarkupTag<'a> {
    name: &'a [u8],
    has_attributes: bool,
    /// True if values of attributes are quoted. In CSV, a field that does not begin with a quote has no quotes.
    has_quotes: bool,
    /// True if the tag ends with `/>`.
    is_empty: bool,
    /// The text after the tag, or `None` if the end of the tag is missing.
    after: Option<&'a [u8]>,
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
        // A name that ends with a colon is the scheme of an address.
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
            after: end.map(|end| &rest[end + 1..]),
        })
    }
}

/// Returns the position after each end tag of this name.
fn ends<'a>(text: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    memmem::find_iter(text, b"</").filter_map(move |at| {
        let end = at + 2 + name.len();
        let is_end = starts_with(&text[at + 2..], name) && text.get(end) == Some(&b'>');
        is_end.then_some(end + 1)
    })
}

/// Returns whether an end tag of this name is in the first line, or at the beginning of a line. Elsewhere the end tag
/// can be in a field.
fn has_end(text: &[u8], name: &[u8]) -> bool {
    let first_bytes = first_line(text).len();
    ends(text, name).any(|end| {
        let before = &text[..end - name.len() - "</>".len()];
        let last = before.iter().rev().find(|byte| !matches!(byte, b' ' | b'\t'));
        end <= first_bytes || last.is_none_or(|byte| matches!(byte, b'\n' | b'\r'))
    })
}

/// Returns the end of the element at the beginning of a text, or `None` if its end is missing. Takes nested elements of
/// the same name into account.
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

/// Returns whether a line consists of exactly one element.
fn is_element(line: &[u8]) -> bool {
    MarkupTag::read(line).is_some_and(|tag| {
        tag.is_empty && tag.after.is_some_and(<[u8]>::is_empty)
            || root_end(line, tag.name) == Some(line.len())
    })
}

/// Returns whether an element of this name ends in the first line, and a delimiter follows it.
fn has_field_after_end(text: &[u8], name: &[u8], is_delimiter: impl Fn(&u8) -> bool) -> bool {
    let line = first_line(text);
    ends(line, name).any(|end| line.get(end).is_some_and(&is_delimiter))
}

#[cfg(test)]
mod tests {
    use super::super::of_beginning;
    use super::*;

    fn kind_of(text: &str) -> Option<String> {
        of_beginning(&Sample::of(text), None, true).map(|kind| kind.what.into_owned())
    }

    #[test]
    fn a_page_is_recognized_whatever_it_begins_with() {
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
            assert_eq!(kind_of(page).as_deref(), Some("a page of HTML"), "{page:?}");
        }
    }

    #[test]
    fn an_xml_document_is_named_after_its_first_element() {
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
                kind_of(text),
                Some(format!("an XML document (<{name}>)")),
                "{text:?}"
            );
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
            "<table>\n",
            "<div>\n",
            "<error>",
            "<rows>\n",
            "<pre>\nCannot GET /x\n",
            "<pre>Cannot GET /x\n",
            "<pre>Cannot GET /x, /y\n",
            "<Error>\n<Code>NoSuchKey\n",
            "<Error>\n<Code>\nNoSuchKey\n",
            "<Error>\r\n  <Code>\r\n    NoSuchKey\r\n",
            "<error>\nNo such key\n",
            "<error>not found\n",
            "<Message>Access Denied\n",
            "<p>An error occurred\n",
            "<p> An error occurred.\n",
            "<p>\nAn error occurred.\n",
            "<h4>\nNot Found\n",
            "<i>\nAccess denied, please log in.\n",
            "<br/>\nfoo\n",
            "<br>\nfoo\n",
            "<hr>\n1,2\n",
            "<rows/>\n<row/>\n",
            "<table border=0>\n1\n",
            "<font size=2>Not found\n",
            "<table border=0",
            "<table",
            "<div\n",
        ] {
            assert!(
                of_beginning(&Sample::of(text), None, true).is_some_and(|kind| kind.is_guess),
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
                of_beginning(&Sample::of(text), None, true).is_some_and(|kind| !kind.is_guess),
                "{text:?}"
            );
        }
    }

    #[test]
    fn named_delimiters_and_quotes_count() {
        let caret = Sample::of("<b>id</b>^<b>name</b>\n1^2\n");
        assert_eq!(of_beginning(&caret, Some(b'^'), true), None);
        let image = Sample::of("<img src=\"x.png\"/> note,b\n");
        assert!(of_beginning(&image, None, true).is_some_and(|kind| !kind.is_guess));
        assert!(of_beginning(&image, None, false).is_some_and(|kind| kind.is_guess));
    }

    #[test]
    fn a_long_document_is_proved_by_elements_that_are_no_values() {
        let nested = "<row>\n<id>1</id>\n</row>\n".repeat(5_000);
        let kind = of_beginning(&Sample::of(format!("<rows>\n{nested}</rows>\n")), None, true);
        assert!(kind.is_some_and(|kind| !kind.is_guess));
        let values = "<a>1</a>\n".repeat(10_000);
        let kind = of_beginning(&Sample::of(format!("<id>\n{values}")), None, true);
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
            "<b>,note\n1,\"bold </b>\"\n",
            "<b> x,note\n1,\"bold </b>\"\n",
            "<b>\nbold </b>\n",
            "<b>Name</b>,<b>Age</b>\n1,2\n",
            "<https://example.com/>\n<https://example.org/>\n",
            "<name>\n<foo>\n<bar/>\n",
            "<!doctype html>,b\n1,2\n",
            "id,body <html>\n1,x\n",
            "1,see <html> tag,x\n",
            "2024 <html> rewrite,done\n",
            "<p>Pa\n101325\n101310.5\n",
            "<v>avg\n-1\n+2\n.5\n",
            "<b>Name,<b>Age\nAnna,5\n",
            "<p> [Pa]\n1\n",
            "<p>_mean\n1\n",
            "<p>(x),b\n1,2\n",
            "<city>\nNew York\nBoston\n",
            "<comment>\nThis one is good.\nI do not like it.\n",
            "<error>\n0.5\n0.25\n",
            "<error>\ntimeout\n",
            "<p>\nx\ny\n",
            "<a>\n Anna\n",
            "<pad>\n<unk>\nthe\nof\n",
            "<name>\n<foo>\nbar\n",
            "<table>,<rows>\na,1\n",
            "<table>\t<rows>\na\t1\n",
            "<DATE> <TIME>\n1 2\n",
            "<table\nusers\n",
            "<p\n1=2\n",
        ] {
            assert_eq!(kind_of(text), None, "{text:?}");
        }
    }
}
