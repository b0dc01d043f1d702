//! The first records of a text in; out come why they are hardly a table: a title over the header, another delimiter, records of
//! another width, or another text in its place. It is a guess from a sample, which an option of the request overrules.

mod beginning;
mod delimiter;
mod table;
mod title;

pub(super) use self::beginning::CsvBeginning;
use self::beginning::Shape;
use self::delimiter::{another_delimiter, table_of_another_delimiter};
use self::title::{lines_over_header, other_widths};
use super::lines::lines;
use super::{log_lines, text_document};
use crate::format::{OtherType, clip};

/// Says why a file is hardly a table, and what to do. `other` is what it is called that is none: then it has to look like one.
pub(super) fn check(top: &CsvBeginning<'_>, other: Option<OtherType>) -> Result<(), String> {
    let shape = Shape::of(top);
    match (doubt(&shape), other) {
        (Some(doubt), _) => Err(doubt),
        (None, Some(OtherType::NoTable(what))) if !shape.is_table() => Err(format!(
            "is {what} by its name or content type, and no table by its first records: say --input-format csv if it is CSV"
        )),
        (None, _) => Ok(()),
    }
}

/// Says why a detected delimiter is hardly the one of the file, and what to do.
pub(super) fn check_delimiter(top: &CsvBeginning<'_>) -> Result<(), String> {
    let shape = Shape::of(top);
    let widths = other_widths(&shape);
    table_of_another_delimiter(&shape, widths.is_some()).map_or(Ok(()), Err)
}

/// Says what is hardly right, and what to do; the surest sign first.
fn doubt(shape: &Shape<'_>) -> Option<String> {
    let widths = other_widths(shape);
    text_with_beginning(shape)
        .or_else(|| another_delimiter(shape))
        .or_else(|| table_of_another_delimiter(shape, widths.is_some()))
        .or_else(|| lines_over_header(shape))
        .or(widths)
        .or_else(|| names_and_values(shape))
        .or_else(|| shape.notice())
}

/// A log, the answer of a program or a document that its beginning tells.
fn text_with_beginning(shape: &Shape<'_>) -> Option<String> {
    let (first, rest) = (&shape.first_line, shape.below());
    if log_lines::is_log(first, lines(rest)) {
        return Some(another_text(shape, "a log"));
    }
    let what =
        text_document::of_program(first, rest).or_else(|| text_document::with_beginning(first, rest))?;
    Some(another_text(shape, what))
}

fn names_and_values(shape: &Shape<'_>) -> Option<String> {
    let is_whole_table = shape.is_table() && shape.alike == shape.records.len();
    if is_whole_table {
        return None;
    }
    let what = text_document::of_names_and_values(&shape.first_line, shape.below())?;
    Some(another_text(shape, what))
}

fn another_text(shape: &Shape<'_>, what: &str) -> String {
    let first = clip(shape.first_line.as_bytes());
    format!(
        "is {what}, not a table (\"{first}\"): make a table of it, or say --input-format csv if its first line is a header"
    )
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use crate::config::Limits;
    use crate::decode::open;
    use crate::format::Format;
    use crate::request::{DialectFrom, InputOptions};

    fn auto() -> InputOptions {
        InputOptions {
            dialect: Some(DialectFrom::Auto),
            ..InputOptions::default()
        }
    }

    /// Opens a file; the columns, or the error without the name of the file.
    fn opened(text: &str, options: &InputOptions) -> Result<Vec<String>, String> {
        let reader = Box::new(Cursor::new(text.as_bytes().to_vec()));
        match open(reader, "a.csv", None, options, &Limits::default()) {
            Ok(decoding) => Ok(decoding.columns),
            Err(error) => Err(error.to_string().replace("a.csv: ", "")),
        }
    }

    #[track_caller]
    fn assert_refused(text: &str, options: &InputOptions, part: &str) {
        let start: String = text.chars().take(60).collect();
        match opened(text, options) {
            Ok(columns) => panic!("{start:?} has the columns {columns:?}"),
            Err(message) => assert!(message.contains(part), "{start:?}: {message}"),
        }
    }

    #[track_caller]
    fn assert_columns(text: &str, options: &InputOptions, columns: &[&str]) {
        let start: String = text.chars().take(60).collect();
        let columns = columns.iter().map(ToString::to_string).collect();
        assert_eq!(opened(text, options), Ok(columns), "{start:?}");
    }

    /// A table of so many rows, with whole numbers or with decimal commas.
    fn rows(number: usize, value: &str) -> String {
        (0..number)
            .map(|i| format!("{i};Kunde {i};{i}{value};Bern\n"))
            .collect()
    }

    const TITLE: &str = "Monthly report March 2024\n";
    const HEADER: &str = "datum;kunde;betrag;ort\n";

    #[test]
    fn odd_lines_do_not_hide_the_table_under_a_title() {
        for text in [
            format!("{TITLE}{HEADER}# imported\n{}", rows(300, "")),
            format!("{TITLE}{HEADER}{}Total: 30 rows\n", rows(30, "")),
            format!("{TITLE}{HEADER}# imported\n{}Total: 3\n", rows(4, "")),
            format!("{TITLE}{HEADER}# imported\n{}Total;;10;\n", rows(3, ",50")),
            format!("{TITLE}{HEADER}{}", rows(1, "")),
            format!("Report\n{HEADER}# imported\n{}", rows(300, ",50")),
            format!("Report\n{HEADER}{}Total: 4\n", rows(4, "")),
            "Report\ndatum;betrag\n1;2\n3;4\n".to_owned(),
            format!(
                "{}{HEADER}# imported\n{}Total;;10;\n",
                "Monthly report March 2024;;;\n",
                rows(3, ",50")
            ),
            format!(
                "{}{HEADER}# imported\n{}Total;;10;\n",
                "Monthly report March 2024;;;\n",
                rows(4, "")
            ),
        ] {
            let part =
                "by semicolons: say --skip-lines 1 and --delimiter ';' if there is a title over the header";
            assert_refused(&text, &InputOptions::default(), part);
        }
        let of_commas = rows(4, "").replace(';', ",");
        let text = format!("{TITLE}a,b,c,d\n# imported\n{of_commas}Total\n");
        assert_refused(
            &text,
            &InputOptions::default(),
            "is there a title over the header? say --skip-lines 1",
        );
        let text = format!("{HEADER}# imported\n{}Total\n", rows(3, ""));
        assert_refused(
            &text,
            &InputOptions::default(),
            "4 by semicolons: say --delimiter ';'",
        );
    }

    #[test]
    fn decimal_commas_are_no_fields_under_a_title() {
        let dated = "02.03.2024;Kunde 1;1,50;Bern\n".repeat(30);
        for text in [
            format!("{TITLE}{HEADER}{dated}"),
            format!("{TITLE}{HEADER}# imported\n{dated}"),
            format!("{TITLE}datum;betrag\n{}", "02.03.2024;1,50\n".repeat(30)),
            format!("Umsatz\ndatum;betrag\n{}", "02.03.2024;1,50\n".repeat(30)),
            format!(
                "{TITLE}datum;kunde\n{}",
                "02.03.2024;Kunde 1, Bern, x\n".repeat(30)
            ),
            format!(
                "{TITLE}datum;betrag\n# imported\n{}",
                "02.03.2024;1,50\n".repeat(3)
            ),
        ] {
            let part = "by semicolons: say --skip-lines 1 and --delimiter ';'";
            assert_refused(&text, &InputOptions::default(), part);
            assert_refused(&text, &auto(), "by semicolons: say --skip-lines 1");
            let skipped = InputOptions {
                skip_lines: Some(1),
                delimiter: Some(';'),
                ..InputOptions::default()
            };
            assert_eq!(opened(&text, &skipped).unwrap()[0], "datum");
        }
    }

    #[test]
    fn a_title_with_a_comma_makes_no_columns_of_decimal_commas() {
        for text in [
            format!("Report, March 2024\n{HEADER}{}", rows(300, ",50")),
            format!(
                "Report, March 2024\n{HEADER}# imported, by me\n{}",
                rows(30, ",50")
            ),
            format!("Report, March 2024\ndatum;betrag\n{}", "1;1,50\n".repeat(30)),
            format!("Report, March 2024\n{HEADER}{}", rows(30, "")),
            format!(
                "Report, March 2024\n{HEADER}{}",
                rows(30, "").replace("Kunde ", "Kunde, ")
            ),
        ] {
            let part = "2 fields by commas or, from line 2 on,";
            assert_refused(&text, &InputOptions::default(), part);
            assert_refused(
                &text,
                &InputOptions::default(),
                "say --delimiter ',' or --skip-lines 1 and --delimiter ';'",
            );
            let named = InputOptions {
                format: Some(Format::Csv),
                ..InputOptions::default()
            };
            assert_columns(&text, &named, &["Report", " March 2024"]);
        }
        let text = format!("Report, March 2024\n{HEADER}{}", rows(300, ",50"));
        assert_refused(&text, &auto(), "say --delimiter ',' or --skip-lines 1");
        let text = format!("datum;betrag, netto\n{}", "1;1,50\n".repeat(30));
        let both = "can be read in two ways, 2 fields by commas or 2 by semicolons: say --delimiter ',' or --delimiter ';'";
        assert_refused(&text, &InputOptions::default(), both);
    }

    #[test]
    fn a_dialect_that_is_to_be_detected_is_not_hidden_by_a_title() {
        let text = format!("{TITLE}{HEADER}{}", rows(4, ""));
        let part = "has one field in its first line, but 5 of the next 5 have 4 by semicolons: say --skip-lines 1 if";
        assert_refused(&text, &auto(), part);
        let named = InputOptions {
            format: Some(Format::Csv),
            ..auto()
        };
        assert_refused(&text, &named, part);
        let skipped = InputOptions {
            skip_lines: Some(1),
            ..auto()
        };
        assert_columns(&text, &skipped, &["datum", "kunde", "betrag", "ort"]);
    }

    #[test]
    fn texts_and_lists_in_a_field_are_legal() {
        for (text, columns) in [
            ("pair\n1;2\n3;4\n", &["pair"][..]),
            ("text\none; two\nthree\nfour; five\n", &["text"]),
            ("tags\na;b\nc\nd;e;f\ng;h\n", &["tags"]),
            ("tags\na;b;c;d\ne;f;g;h\ni;j;k;l\nm\n", &["tags"]),
            ("id,list\n1,x;y;z\nbad;row\n2,x;y;z\n3,x;y;z\n", &["id", "list"]),
            ("\"a, b\"\n\"1, 2\"\n\"3, 4\"\n", &["a, b"]),
            ("id,scores\n1,10;20;30\n2,11;21;31\n", &["id", "scores"]),
            ("id,name,geo;pos\n1,7,2;3\n2,8,4;5\n", &["id", "name", "geo;pos"]),
            ("id,note\n1,a;b\n2,c;d\n", &["id", "note"]),
            ("name\nDoe, Jane\nRoe, Rick\nPoe, Ed\nCher\n", &["name"]),
            ("key, value\n1,2\n3,4\n", &["key", " value"]),
            ("url\nhttp://a\nhttp://b\nhttp://c\n", &["url"]),
            ("time\n10:30\n10:31\n10:32\n", &["time"]),
            ("note\nWarning: a\nError: b\nInfo: c\n", &["note"]),
            ("\"a\nb\"\n1;2\n3;4\n", &["a\nb"]),
            ("list of tags\na;b;c\n", &["list of tags"]),
            ("text\none, two, three\n", &["text"]),
            ("full name,\nJohn,5\nJane,6\n", &["full name", "column_2"]),
            ("full name,\nJohn,x\n", &["full name", "column_2"]),
            ("id,\n1,2\n", &["id", "column_2"]),
        ] {
            assert_columns(text, &InputOptions::default(), columns);
        }
    }

    #[test]
    fn a_document_of_lines_is_a_guess() {
        for (text, what) in [
            (
                "---\nname: x\nage: 3\n",
                "is a YAML document, not a table (\"---\")",
            ),
            (
                "# Title\n\nSome prose, with commas, here.\nAnd, of course, more of it.\n",
                "is a text in Markdown",
            ),
            (
                "From: a@x\nTo: b@x\nSubject: hi, all\n\nHello,\nbye\n",
                "is a mail",
            ),
            ("name: x\nage: 3\ncity: y\n", "is made of lines `name: value`"),
            ("name: x, y\nage: 3\ncity: y\n", "is made of lines `name: value`"),
        ] {
            assert_refused(text, &InputOptions::default(), what);
            let named = InputOptions {
                format: Some(Format::Csv),
                ..InputOptions::default()
            };
            assert!(opened(text, &named).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn another_delimiter_is_named_where_there_is_one_column() {
        for (text, message) in [
            ("a;b\n1;2\n", "2 by semicolons: say --delimiter ';'"),
            ("a;b\n", "2 by semicolons: say --delimiter ';'"),
            ("a\tb\n1\t2\n", "2 by tabs: say --delimiter tab"),
            ("a~b\n1~2\n", "2 by \"~\": say --delimiter '~'"),
            ("a\u{1}b\n1\u{1}2\n", "2 by bytes 0x01: say --delimiter 0x01"),
            (
                "id    name  city\n1     x     y\n22    zz    y\n",
                "3 by several spaces: say --dialect spaces",
            ),
        ] {
            for text in [
                text.to_owned(),
                text.replace('\n', "\r"),
                text.replace('\n', "\r\n"),
            ] {
                assert_refused(
                    &text,
                    &InputOptions::default(),
                    &format!("has one column by commas, but {message}"),
                );
            }
        }
        for text in [
            "a\n1;2\n",
            "a;b\n1\n2\n",
            "full name\nJohn Smith\nJane Doe\n",
            "text\none; two\nthree\n",
            "a  b\n1\n2 3 4\n",
        ] {
            assert!(opened(text, &InputOptions::default()).is_ok(), "{text:?}");
        }
    }
}
