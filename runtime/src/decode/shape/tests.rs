use std::io::Cursor;

use crate::config::Limits;
use crate::decode::open;
use crate::format::Format;
use crate::request::{BlankRows, DialectFrom, InputOptions, LongRows, ShortRows};

fn auto() -> InputOptions {
    InputOptions {
        dialect: Some(DialectFrom::Auto),
        ..InputOptions::default()
    }
}

/// Opens a file. Returns its columns, or the error without the name of the file.
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

/// Returns `number` rows. In each row, `value` follows the number of the row, for example as its decimals.
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
    let part =
        "has one field in its first line, but 5 of the next 5 have 4 by semicolons: say --skip-lines 1 if";
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
fn what_is_written_without_a_header_can_be_read() {
    for text in [
        "column_1,column_2,column_3\n1,2,3\n4,5,6\n",
        "column_1,column_2\nid,name\n1,2\n",
        "column_1\n1;2;3\n4;5;6\n7;8;9\n",
        "column_1\ndatum;betrag\n1;2\n3;4\n",
    ] {
        let names: Vec<_> = text.lines().next().unwrap().split(',').collect();
        assert_columns(text, &InputOptions::default(), &names);
    }
    let part = "names none of 3 columns: is it a title over the header? say --skip-lines 1";
    assert_refused(",,\nid,a,b\n1,2,3\n", &InputOptions::default(), part);
}

#[test]
fn a_title_of_several_lines_stands_over_two_columns() {
    let two = "id,name\n1,x\n2,y\n";
    for (text, lines) in [
        (format!("Monthly report 2024,\n,\n{two}"), 2),
        (format!("Sales report,\n,\n,\n{two}"), 3),
        (format!("Monthly report 2024,\nCreated by Bob,\n{two}"), 2),
        (format!("Monthly report 2024,\nBob,\n,\n{two}"), 3),
        ("月次報告2024年3月,\n番号,名前\n1,花子\n2,太郎\n".to_owned(), 1),
        ("月次報告2024年3月,\n番号,名前\n花子,東京\n".to_owned(), 1),
        ("月次売上報告書,\n,\n番号,名前\n1,花子\n2,太郎\n".to_owned(), 2),
        ("月次報告　３月,\n番号,名前\n1,花子\n2,太郎\n".to_owned(), 1),
        ("Umsatz_2024,\nid,name\n1,x\n2,y\n".to_owned(), 1),
    ] {
        let part = format!("say --skip-lines {lines}");
        assert_refused(&text, &InputOptions::default(), &part);
        let text = text.replace(',', ";");
        let part = format!("say --skip-lines {lines} and --delimiter ';'");
        assert_refused(&text, &InputOptions::default(), &part);
    }
    for (text, columns) in [
        ("full name,\n,\nJohn,5\nJane,6\n", ["full name", "column_2"]),
        ("full name,\nJohn,\nJane,x\nMary,y\n", ["full name", "column_2"]),
        ("名前,\n花子,東京\n太郎,大阪\n", ["名前", "column_2"]),
        ("sha256,\na,b\n1,2\n", ["sha256", "column_2"]),
    ] {
        assert_columns(text, &InputOptions::default(), &columns);
    }
}

#[test]
fn lines_of_metadata_are_no_table_however_short_the_table_is() {
    let metadata = [
        "Station,Hanoi",
        "Period,March",
        "Unit,mm",
        "Created,today",
        "Operator,me",
        "Serial,12",
        "Firmware,v2",
        "Checked,2024-01-02",
    ];
    for lines in 1..=metadata.len() {
        for rows in 1..=12 {
            let above = metadata[..lines].join("\n");
            let below = "2024-01-01,10:00,1\n".repeat(rows);
            let text = format!("{above}\ndate,time,value\n{below}");
            let part = format!("say --skip-lines {lines} if lines stand over the header");
            assert_refused(&text, &InputOptions::default(), &part);
            let text = format!("{above}\n\n\"date\",\"time\",\"value\"\n{below}");
            let part = format!("say --skip-lines {} if lines stand over the header", lines + 1);
            assert_refused(&text, &InputOptions::default(), &part);
        }
    }
    let text = "Station,Hanoi\nYear,2024\ndate,time,value\n2024-01-01,10:00,1\n";
    let part = "say --skip-lines 2 if lines stand over the header";
    assert_refused(text, &InputOptions::default(), part);
    let text = "Sales, 2024\nid,name,v\n1,a,2\n2,b,3\n";
    let part = "say --skip-lines 1 if lines stand over the header, else";
    assert_refused(text, &InputOptions::default(), part);
    let text = "a,b\n1,2,3\n4,5,6\n";
    let part = "say --skip-lines if lines stand over the header, else";
    assert_refused(text, &InputOptions::default(), part);
}

#[test]
fn wider_records_at_the_end_are_rejects_of_a_good_file() {
    for (header, record, wider) in [
        ("id,name", "1,Anna", "2,Doe,Jane\n3,Roe,Rick\n4,Poe,Ed\n"),
        (
            "name,city",
            "Anna,Bern",
            "Doe,Jane,Bern\nRoe,Rick,Rome\nPoe,Ed,Oslo\n",
        ),
        ("name,age", "Anna,25", "Doe,Jane,41\nRoe,Rick,50\n"),
        (
            "name,age",
            "Anna,25",
            "Doe,Jane,unknown\nRoe,Rick,50\nPoe,Ed,51\n",
        ),
        ("name,note", "Anna,good", "Carl,ok,thanks\nDan,5 stars,great\n"),
        ("name,note", "Anna,good", "Carl,ok, thanks\nDan,5,great\n"),
        ("date,value", "2024-01-02,5", "total,sum,x\n2024-01-03,1,2\n"),
    ] {
        for records in [4, 10, 18] {
            let text = format!("{header}\n{}{wider}", format!("{record}\n").repeat(records));
            let columns: Vec<_> = header.split(',').collect();
            assert_columns(&text, &InputOptions::default(), &columns);
        }
    }
}

#[test]
fn rules_for_rows_leave_the_other_rules() {
    let title = "Monthly report 2024\na,b\n1,2\n3,4\n";
    let with = |set: fn(&mut InputOptions)| {
        let mut options = InputOptions::default();
        set(&mut options);
        options
    };
    let drops = with(|options| options.blank_rows = Some(BlankRows::Drop));
    let fills = with(|options| options.short_rows = Some(ShortRows::Fill));
    let cuts = with(|options| options.long_rows = Some(LongRows::TrailingEmpty));
    for options in [&drops, &fills, &cuts] {
        assert_refused(title, options, "say --skip-lines 1");
        assert_refused("a,b\n1,2,3\n4,5,6\n", options, "2 of its first 2 records have 3");
    }
    assert_columns("a,b\n,,\n,,\n,,\n1,2\n", &drops, &["a", "b"]);
    assert_columns("a,b\n1\n2\n", &fills, &["a", "b"]);
    assert_columns("a,b\n1,2,\n3,,,\n4,5,,,\n", &cuts, &["a", "b"]);
    assert_columns("a\n1,\n3,\n4,\n", &cuts, &["a"]);
}

#[test]
fn a_table_of_what_looks_like_a_log_or_settings_is_one() {
    let by = |delimiter, header| InputOptions {
        delimiter: Some(delimiter),
        header: Some(header),
        ..InputOptions::default()
    };
    let events = "2024-01-01 10:00:00 | INFO | started\n2024-01-01 10:00:01 | INFO | ended\n";
    for (text, options, columns) in [
        (events, by('|', false), 3),
        ("INFO:root:started\nINFO:root:started\n", by(':', false), 3),
        ("Error:Count:Rate\n", by(':', true), 3),
        ("name=value\na=1\nb=2=3\nc=3\n", by('=', true), 2),
        ("key: value\nk: 1\nk: 1\nurl: http://x\n", by(':', true), 2),
        ("Warning: low,Warning: high\n", InputOptions::default(), 2),
    ] {
        let opened = opened(text, &options).map(|columns| columns.len());
        assert_eq!(opened, Ok(columns), "{text:?}");
    }
    let fractions = "2024-01-01 10:00:00,123 INFO started\n2024-01-01 10:00:01,456 INFO ended\n";
    for options in [by(',', true), by(',', false), InputOptions::default()] {
        assert_refused(fractions, &options, "is a log");
    }
    assert_refused(
        fractions,
        &by(',', false),
        "say --input-format csv if these are its records",
    );
    assert_refused(
        "name: x, y\nage: 3, 4\ncity: z\n",
        &InputOptions::default(),
        "name: value",
    );
}

#[test]
fn a_separator_line_is_not_lost_with_a_title() {
    for (text, part) in [
        (
            "sep=;\nTitle 2024 now\nid;b;c\n1;2;3\n4;5;6\n",
            "say --skip-lines 2 and --delimiter ';'",
        ),
        (
            "sep=;\nTitle;;\nid;b;c\n1;2;3\n4;5;6\n",
            "say --skip-lines 2 and --delimiter ';'",
        ),
        (
            "sep=;\nService unavailable\n",
            "say --skip-lines 2 and --delimiter ';' if",
        ),
    ] {
        assert_refused(text, &InputOptions::default(), part);
        assert_refused(text, &auto(), part);
    }
    assert_refused(
        "\nService unavailable\n",
        &InputOptions::default(),
        "say --skip-lines 2 if",
    );
}

#[test]
fn texts_and_lists_in_a_field_are_legal() {
    for (text, columns) in [
        ("pair\n1;2\n3;4\n", &["pair"][..]),
        ("text\none; two\nthree\nfour; five\n", &["text"]),
        ("tags\na;b\nc\nd;e;f\ng;h\n", &["tags"]),
        ("tags\na;b;c;d\ne;f;g;h\ni;j;k;l\nm\n", &["tags"]),
        ("id,list\n1,x;y;z\nbad;row\n2,x;y;z\n3,x;y;z\n", &["id", "list"]),
        ("\"Name; Vorname\"\n", &["Name; Vorname"]),
        ("\"Name   Vorname\"\n", &["Name   Vorname"]),
        ("\"Name; Vorname\"\n1;2\n", &["Name; Vorname"]),
        (
            "name,rgb\na,1;2;3,x\nb,1;2;3\nc,1;2;3\nd,1;2;3\n",
            &["name", "rgb"],
        ),
        ("name,rgb\n1;2;3\nb,1;2;3\nc,1;2;3\nd,1;2;3\n", &["name", "rgb"]),
        (",,value\nA,x,1\nB,y,2\n", &["column_1", "column_2", "value"]),
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
