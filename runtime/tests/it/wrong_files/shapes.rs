//! Tests that a text that is not a table is recognized by its shape. An unusual but valid table is accepted.

use super::{assert_refused, assert_taken, host_of, ingest, output, refused};
use crate::support::host::Host;

#[test]
fn a_header_that_nobody_sees_is_refused() {
    for text in [
        "\0".repeat(1_000),
        " ".repeat(100),
        "\0\0\n\0\0\n".into(),
        "\u{1},\u{2}\n1,2\n".into(),
        " ,\t\n1,2\n".into(),
    ] {
        let why = refused("a.csv", &text, &[]);
        assert!(why.contains("its header is only"), "{text:?}: {why}");
        assert!(why.contains("[header-invalid]"), "{text:?}: {why}");
    }
    for (text, more, expected) in [
        (
            "\u{1},\u{2}\n1,2\n",
            &["--no-header"][..],
            "column_1,column_2\n\u{1},\u{2}\n1,2\n",
        ),
        ("a, \n1,2\n", &[], "a, \n1,2\n"),
        ("\"\",\"\"\n1,2\n", &[], "column_1,column_2\n1,2\n"),
    ] {
        let host = Host::embedded();
        host.write("a.csv", text);
        assert_eq!(output(&host, "a.csv", more), expected);
    }
}

#[test]
fn what_is_odd_and_legal_is_taken_as_it_is() {
    for text in [
        "id\n1\n2\n",
        "full name\nJohn Smith\nJane Doe\n",
        "PK,name\n1,2\n",
        "PAR1,ORC\n1,2\n",
        "BM\n1\n",
        "GIF89a,b\n1,2\n",
        "BZh9,b\n1,2\n",
        "BM,b\0\n1,2\n",
        "12345678DUCK,\u{2}\u{3}\n1,2\n",
        "Insert into stock,Remove from stock\n1,2\n",
        "http/1.1 requests,http/2 requests\n1,2\n",
        "-----begin date,-----end date\n1,2\n",
        "#!/rank,b\n1,2\n",
        "id,body <html>\n1,x\n",
        "<b>,note\n1,\"bold </b>\"\n",
        "<name>\n<foo>\n<bar/>\n",
        "<https://example.com/>\n<https://example.org/>\n",
        "version,oid\n1,2\n",
        "<id>,<name>\n1,2\n",
        "<html-note>,b\n1,2\n",
        "<DATE>,<OPEN>,<CLOSE>\n20240102,1.5,1.6\n",
        "[id],[name]\n1,2\n",
        "{id},{name}\n1,2\n",
        "id,payload\n1,\"{\"\"a\"\": [1, 2]}\"\n2,\"[{\"\"a\"\": 1}]\"\n",
        "\"<p>,x\",b\n1,<html>\n",
        "a,b\n<html>,</html>\n",
        "a;b\n1;2\n".replace(';', ",").as_str(),
        "comment\n\"one, two\"\n\"three; four\"\n",
        "path\na/b\nc/d;e\n",
        "pair\n1;2\n3;4\n",
        "id,note\n1,a;b\n2,c;d\n",
        "timestamp\n2024-01-01 10:00:00\n2024-01-01 10:00:01\n",
        "time,level,message\n2024-01-01 10:00:00,INFO,started\n",
        "Error code,Error message\n1,x\n",
        "Maintenance,Cost\nroof,5\nwall,6\n",
        "Item name,Unit price,Serial No.\nx,1,2\ny,2,3\n",
        "forbidden,allowed\n1,2\n",
        "No records,Records\n1,2\n",
        "error\nx\n",
        "Date of birth\n2001-02-03\n",
        "a,b\n",
        "id\n",
        "\u{feff}a,b\n1,2\n",
        "#id,name\n1,2\n",
        "-- a,b\n1,2\n",
        "2023,2024\n1,2\n",
        "a,b\n\"x\ny\",2\n",
    ] {
        assert_taken("a.csv", text, &[]);
        assert_taken("export", text, &["--input-format", "csv"]);
    }
    for text in [
        "{\"a\":1}\n",
        "{\"a\":1}",
        "{\"a\":{\"b\":[1,2]}}\n{\"a\":2}\n",
        "\n{\"a\":\"<html>\"}\n",
    ] {
        let host = Host::embedded();
        host.write("a.jsonl", text);
        let written = output(&host, "a.jsonl", &[]);
        assert_eq!(written.trim(), text.trim(), "{text:?}");
    }
    let host = Host::embedded();
    host.write("a.csv", ",a,b\n0,1,2\n1,3,4\n");
    assert_eq!(
        output(&host, "a.csv", &[]),
        "column_1,a,b\n0,1,2\n1,3,4\n",
        "a column without a name"
    );
    let host = Host::embedded();
    host.write("a.json", "{\"a\":1}\n{\"a\":2}\n");
    assert_eq!(
        output(&host, "a.json", &[]),
        "{\"a\":1}\n{\"a\":2}\n",
        "lines of objects are JSONL"
    );
}

#[test]
fn few_ragged_records_are_rejects_as_they_were() {
    let text = format!("a,b\n{}1\n1,2,3\n", "1,2\n".repeat(18));
    let host = Host::embedded();
    host.write("a.csv", text);
    let receipt = ingest(&host, "a.csv", &["--json"]).json().remove(0);
    assert_eq!(receipt["records"]["rejected"], 2);
    let host = Host::embedded();
    host.write("a.csv", "names\nSmith\nDoe, Jane\nMiller\nJones\n");
    let receipt = ingest(&host, "a.csv", &["--json"]).json().remove(0);
    assert_eq!(receipt["records"]["rejected"], 1);
}

#[test]
fn a_text_that_is_no_table_is_told_by_its_shape() {
    for (text, message) in [
        (
            "Sales report 2024\nid,name,total\n1,x,5\n2,y,6\n",
            "is there a title over the header? say --skip-lines 1",
        ),
        (
            "Report: sales\nBy: me\n\nid,name\n1,x\n2,y\n",
            "say --skip-lines 3",
        ),
        ("Report 2024\nid,name,total\n", "say --skip-lines 1"),
        (
            "Report 2024,,,\nid,a,b,c\n1,2,3,4\n",
            "names 1 of 4 columns (\"Report 2024\")",
        ),
        (
            "Report,2024\nid,name,total\n1,x,5\n2,y,6\n",
            "3 of its first 3 records have 3",
        ),
        (
            "Report,Sales\nDate,2024\nid,a,b\n1,2,3\n4,5,6\n7,8,9\n",
            "4 of its first 5 records have 3: say --skip-lines",
        ),
        (
            "Sales report\nid;name\n1;x\n2;y\n",
            "3 of the next 3 have 2 by semicolons: say --skip-lines 1 and --delimiter ';'",
        ),
        (
            "Monthly report March 2024\ndatum;kunde;betrag;ort\n# imported\n1;K;2;Bern\n2;K;3;Bern\nTotal: 2\n",
            "3 of the next 5 have 4 by semicolons: say --skip-lines 1 and --delimiter ';'",
        ),
        (
            "Monthly report March 2024\ndatum;kunde;betrag;ort\n02.03.2024;K;1,50;Bern\n03.03.2024;K;2,50;Bern\n",
            "3 of the next 3 have 4 by semicolons: say --skip-lines 1 and --delimiter ';'",
        ),
        (
            "Report, March 2024\ndatum;kunde;betrag;ort\n1;K;1,50;Bern\n2;K;2,50;Bern\n",
            "can be read in two ways, 2 fields by commas or, from line 2 on, 4 by semicolons: say --delimiter ',' or --skip-lines 1 and \
             --delimiter ';'",
        ),
        (
            "datum;betrag, netto\n1;1,50\n2;2,50\n",
            "can be read in two ways, 2 fields by commas or 2 by semicolons",
        ),
        (
            "Monthly report March 2024;;;\ndatum;kunde;betrag;ort\n# imported\n1;K;1,50;Bern\n2;K;2,50;Bern\n3;K;3;Bern\nTotal;;10;\n",
            "have 4 by semicolons: say --skip-lines 1 and --delimiter ';'",
        ),
        (
            "---\nname: x\nsizes:\n  - 1, 2\n",
            "is a YAML document, not a table (\"---\"): make a table of it",
        ),
        (
            "# Title\n\nThis is a text, with commas in it.\nAnd this is more, of course.\n",
            "is a text in Markdown, not a table",
        ),
        (
            "From: a@x\nTo: b@x\nSubject: hi, all\n\nHello,\nthis is a text.\n",
            "is a mail, not a table",
        ),
        (
            "name: Smith, J\nage: 3\ncity: Bern\n",
            "is made of lines `name: value`, not a table",
        ),
        (
            "[main]\na = 1\nb = 2\n",
            "is made of lines `name=value`, not a table",
        ),
        (
            "Report\nBy: me\n\nid\tname\tx\n1\tx\t\n2\ty\t\n",
            "say --skip-lines 3 and --delimiter tab",
        ),
        (
            "id;name\n1;x\n2;y\n",
            "has one column by commas, but 2 by semicolons: say --delimiter ';'",
        ),
        ("id\tname\n1\tx\n", "2 by tabs: say --delimiter tab"),
        ("id~name\n1~x\n", "say --delimiter '~'"),
        ("id\u{1}name\n1\u{1}x\n", "say --delimiter 0x01"),
        (
            "id    name\n1     x\n22    y\n",
            "2 by several spaces: say --dialect spaces",
        ),
        ("a,b\n1,2,\n3,4,\n", "say --long-rows trailing-empty"),
        (
            "Service unavailable\n",
            "begins with a sentence, not with a header",
        ),
        (
            "Sorry, the export is not ready yet.\nPlease try again later, or write to us.\n",
            "begins with a sentence",
        ),
        ("No data\n", "begins with a sentence"),
        ("error code: 1020\n", "begins with a sentence"),
        ("no healthy upstream\n", "begins with a sentence"),
        ("NoSuchKey\n", "begins with a sentence"),
        ("Error, file not found\n", "begins with a sentence"),
        (
            "Your export is being prepared, please come back later\n",
            "begins with a sentence",
        ),
        ("404 page not found\n", "begins with a sentence"),
        (
            "The export has failed.\nPlease contact support.\n",
            "begins with a sentence",
        ),
        (
            "Dear customer,\nwe are closed.\nGoodbye.\n",
            "begins with a sentence",
        ),
        (
            "2024-01-01 10:00:00 INFO started\n2024-01-01 10:00:01 ERROR failed, retrying\n",
            "is a log, not a table",
        ),
        (
            "2024-01-01 10:00:00,123 INFO started\n2024-01-01 10:00:01,456 ERROR failed\n",
            "is a log",
        ),
        (
            "[2024-01-01T10:00:00Z] WARN: low\n[2024-01-01T10:00:05Z] WARN: low\n",
            "is a log",
        ),
        (
            "Jan  1 10:00:00 host sshd[12]: accepted\nJan  1 10:00:01 host cron: done\n",
            "is a log",
        ),
        (
            "10.0.0.1 - - [10/Oct/2000:13:55:36 -0700] x 200\n10.0.0.1 - - [10/Oct/2000:13:55:37 -0700] y 200\n",
            "is a log",
        ),
        ("INFO:root:started\nINFO:root:ended\n", "is a log"),
        ("ファイルが見つかりません。\n", "begins with a sentence"),
        (
            "Forbidden\nYou are not allowed to see this file.\n",
            "begins with a sentence",
        ),
    ] {
        assert_refused("a.csv", text, &[], message);
    }
}

/// Messages, each with texts that are not tables. Some texts are the first lines of another text in the list: a file
/// that ends early must be refused, too. Each text must be refused with each kind of line end.
const SHAPES: &[(&str, &[&str])] = &[
    (
        "say --skip-lines 1",
        &[
            "Sales report 2024\nid,name,total\n",
            "Sales report 2024\nid,name,total\n1,x,5\n2\n3,y,6\n",
            "Monthly report March 2024\nid,name\n",
            "Monthly report 2024,\nid,name\n",
            "Monthly report 2024,\nid,name\n1,x\n2,y\n",
            "Sales report,\nid,name\n1,x\n2\n3,y\n",
            "Report 2024,,,\nid,a,b,c\n",
            "Report 2024,,,\nid,a,b,c\n1,2\n3,4,5,6\n",
        ],
    ),
    (
        "say --skip-lines 1 and --delimiter ';'",
        &[
            "Sales report 2024\nid;name;total\n",
            "Sales report\nid;name\n1;x\n2\n3;y\n4;z\n",
            "Monthly report 2024;\nid;name\n1;x\n2;y\n",
            "Report 2024;;;\nid;a;b;c\n1;2;3;4\n5;6\n7;8;9;10\n",
        ],
    ),
    (
        "say --delimiter ';'",
        &[
            "id;name\n",
            "id;name\n1;x\n2;y\n",
            "error;message\n",
            "id;name;total\n1;x;5\n2;y\n3;z;6\n4;w;7\n",
        ],
    ),
    ("say --dialect spaces", &["id    name\n1     x\n22    y\n"]),
    (
        "is a log",
        &[
            "2024-01-01 10:00:00 INFO started\n",
            "2024-01-01 10:00:00,123 INFO started\n",
            "2024-01-01 10:00:00,123 INFO started\n\tat line 5\n2024-01-01 10:00:01,456 ERROR failed\n",
            "2024-01-01 10:00:00 INFO started; pid 5\n2024-01-01 10:00:01 WARN slow; very slow\n",
        ],
    ),
    (
        "not a table",
        &[
            "---\nname: x\n",
            "---\nname: x, y\nlist:\n  - a; b\n",
            "# Title\n\nSome prose, with commas, here.\n",
            "# Title\n\nSome prose; with semicolons; here.\n",
            "From: a@x\nTo: b@x\nSubject: hi, all\n",
            "From: a@x\nTo: b@x, c@x\nSubject: hi; all\n\nHello,\nthis is a text.\n",
            "name: Smith, J\nage: 3\ncity: Bern\n",
            "name: Smith; J\nage: 3\ncity: Bern\n",
            "[main]\na = 1\nb = 2\n",
            "{'error': 'not found', 'code': 3}\n",
            "{'error': 'not found', 'code': 3}\n{'error': 'gone', 'code': 4}\n",
            "[{'a': 1}, {'a': 2}]\n",
            ")]}',\n[{\"a\":1}]\n",
            "null\n",
            "true",
        ],
    ),
    (
        "begins with a sentence",
        &[
            "Service unavailable\n",
            "404: Not Found",
            "HTTP 502: Bad Gateway\nnginx\n",
            "Your export is being prepared\n",
            "Your export is being prepared; please come back later\n",
            "Access denied, please log in\n",
            "Error, file not found\n",
            "Sorry, the export is not ready yet.\nPlease wait.\n",
            "Sorry, the export is not ready yet.\nPlease try again later, or write to us.\n",
            "The export has failed; try again.\nContact support; thanks.\n",
            "Dear customer,\nwe are closed.\nGoodbye.\n",
        ],
    ),
    (
        "is a page of HTML",
        &[
            "<!DOCTYPE html>\n<html><body>Sign in; or go away, please</body></html>\n",
            "<html>\n",
        ],
    ),
];

#[test]
fn a_text_that_is_no_table_is_told_whatever_ends_its_lines() {
    let (mut texts, mut messages) = (vec![], vec![]);
    for (message, of_message) in SHAPES {
        for text in *of_message {
            for ends in ["\n", "\r\n", "\r"] {
                texts.push(text.replace('\n', ends));
                messages.push(message);
            }
        }
    }
    let (host, files) = host_with(&texts);
    let error = ingest(&host, "*.csv", &[]).refused(1);
    for ((file, text), message) in files.iter().zip(&texts).zip(messages) {
        let start = format!("error: {file}: ");
        let of_file = error.lines().find(|line| line.starts_with(&start));
        assert!(
            of_file.is_some_and(|error| error.contains(message)),
            "{text:?}: {of_file:?}"
        );
    }
}

#[test]
fn what_is_no_table_is_told_without_a_header_too() {
    let log = "2024-05-06 07:08:09 ERROR disk full\n2024-05-06 07:08:10 INFO retry\n";
    for (text, message) in [
        ("File not found\n", "is it a notice in place of the file?"),
        ("404 Not Found", "is it a notice in place of the file?"),
        (
            "Access denied, please log in.\n",
            "is it a notice in place of the file?",
        ),
        ("null\n", "is a single literal"),
        ("{'error': 'not found'}\n", "is a text of Python's objects"),
        (
            "From: a@example.com\nTo: b@example.com\nSubject: x\n\nHello.\n",
            "is a mail",
        ),
        (log, "is a log"),
    ] {
        assert_refused("a.csv", text, &["--no-header"], message);
        output(
            &host_of("a.csv", text),
            "a.csv",
            &["--no-header", "--input-format", "csv", "--max-rejects", "100%"],
        );
    }
    for text in [
        "It was good.\nNot found what I wanted.\nPlease send more.\n",
        "2024-05-06,x\n2024-05-07,y\n",
        "error,5\nwarning,6\n",
        "forbidden\nnot found\n",
        "7\n",
    ] {
        let written = output(&host_of("a.csv", text), "a.csv", &["--no-header"]);
        assert!(
            written.starts_with("column_1") && written.ends_with(text),
            "{written}"
        );
    }
}

#[test]
fn an_error_over_its_explanation_is_a_notice() {
    for text in [
        "Internal Server Error\nThe server encountered an internal error, and was unable to complete your request\n",
        "Not Found\nThe requested URL was not found on this server, sorry.\n",
        "no such file or directory\n",
    ] {
        assert_refused("a.csv", text, &[], "is it a notice in place of the file?");
    }
    assert_refused(
        "a.jsonl",
        "{'error': 'not found'}\n",
        &[],
        "is a text of Python's objects",
    );
    assert_refused("a.csv", "SELECT a, b FROM c;\n", &[], "is an SQL statement");
    assert_refused(
        "a.csv",
        "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-1\n+2\n",
        &[],
        "is a diff",
    );
    assert_taken("a.csv", "select,from\n1,2\n", &[]);
}

/// Returns a host with one file for each text, and the names of these files.
fn host_with(texts: &[String]) -> (Host, Vec<String>) {
    let host = Host::embedded();
    let files: Vec<_> = (0..texts.len()).map(|number| format!("f{number}.csv")).collect();
    for (file, text) in files.iter().zip(texts) {
        host.write(file, text);
    }
    (host, files)
}

#[test]
fn what_is_said_of_a_title_leads_to_the_table() {
    for (text, more) in [
        (
            "Monthly report 2024,\nid,name\n1,x\n2,y\n",
            &["--skip-lines", "1"][..],
        ),
        (
            "Monthly report 2024;\nid;name\n1;x\n2;y\n",
            &["--skip-lines", "1", "--delimiter", ";"],
        ),
        // A line end that is escaped also counts as the end of a line.
        (
            "Title\n1\\\n2\nid;b;c\n1;2;3\n4;5;6\n7;8;9\n",
            &["--escape", "\\", "--skip-lines", "3", "--delimiter", ";"],
        ),
        (
            "Title\r\"x\ry\"\rid,b,c\r1,2,3\r4,5,6\r7,8,9\r",
            &["--skip-lines", "3"],
        ),
    ] {
        let guessed = if text.contains('\\') { &more[..2] } else { &[] };
        let error = refused("a.csv", text, guessed);
        let lines = more[more.iter().position(|word| *word == "--skip-lines").unwrap() + 1];
        assert!(
            error.contains(&format!("say --skip-lines {lines}")),
            "{text:?}: {error}"
        );
        let host = Host::embedded();
        host.write("a.csv", text);
        let output = output(&host, "a.csv", more);
        assert!(output.starts_with("id"), "{text:?}: {output}");
    }
    // A user who sets only the delimiter also gets the hint about the title.
    assert_refused(
        "a.csv",
        "Monthly report 2024;\nid;name\n1;x\n2;y\n",
        &["--delimiter", ";"],
        "names 1 of 2 columns (\"Monthly report 2024\"): is it a title over the header? say --skip-lines 1",
    );
    assert_refused("a.csv", ",,\n1,2,3\n", &[], "names none of 3 columns: is it");
    assert_refused(
        "a.csv",
        ",total,\n1,2,3\n",
        &[],
        "names 1 of 3 columns (\"total\")",
    );
    // The index columns of a table can be without names.
    let written = output(&host_of("a.csv", ",,value\nA,x,1\nB,y,2\n"), "a.csv", &[]);
    assert_eq!(written, "column_1,column_2,value\nA,x,1\nB,y,2\n");
}

/// Headers that belong to tables, but look like other texts.
const ODD_HEADERS: &[&str] = &[
    "error,message",
    "error,count",
    "error, message",
    "forbidden,count",
    "forbidden,allowed",
    "No records,Records",
    "Maintenance,Cost",
    "maintenance,total cost",
    "Warning: limit,b",
    "404 Not Found,500 Internal Server Error",
    "How satisfied are you with it?,Comment",
    "id,What is your favourite colour and why?",
    "id,full name,tel no.",
    "id,\"Amount, in total.\"",
    "Item name,Unit price,Serial No.",
    "Error code,Error message",
    "Date of birth,Date of the last visit,Name of the doctor",
    "time,level,message",
    "host=a,level=1,msg=2",
    "setting: name,setting: default",
    "null,true",
    "{'a'},{'b'}",
    "#id,name",
    "full name,",
    "2023,2024",
    "id,geo;pos",
    "a b,c  d",
];

/// Headers of tables with one column. With each header stands a value for the column, and `true` if the header alone is
/// a valid file. Some of these headers look like messages of servers.
const ODD_COLUMNS: &[(&str, &str, bool)] = &[
    ("error", "x", true),
    ("no data", "1", false),
    ("404 Not Found", "12", false),
    ("Please rate us.", "5", false),
    ("How satisfied are you with it?", "very", true),
    ("Date of birth", "2001-02-03", true),
    ("full name", "John Smith", true),
    ("null", "1", false),
    ("comment", "I agree", true),
    ("url", "http://a/x?y=1", true),
];

#[test]
fn a_legal_table_is_taken_however_few_of_its_records_there_are() {
    let (mut of_commas, mut of_semicolons) = (vec![], vec![]);
    for header in ODD_HEADERS {
        let columns = match header.contains('"') {
            true => 2,
            false => header.split(',').count(),
        };
        let row = |value: &str| vec![value; columns].join(",");
        for (below, rejected) in [
            (String::new(), 0),
            (format!("{}\n", row("5")), 0),
            ("7\n".to_owned(), 1),
            (format!("{}\n7\n{}\n", row("5"), row("6")), 1),
            (format!("{}\n7\n", row("5")), 1),
        ] {
            let text = format!("{header}\n{below}");
            if !header.contains([';', '"']) {
                of_semicolons.push((text.replace(',', ";"), rejected));
            }
            of_commas.push((text, rejected));
        }
    }
    for &(header, value, is_legal_alone) in ODD_COLUMNS {
        if is_legal_alone {
            of_commas.push((format!("{header}\n"), 0));
        }
        of_commas.push((format!("{header}\n{value}\n"), 0));
        of_commas.push((format!("{header}\n{value}\n{value}, and more\n{value}\n"), 1));
    }
    for (tables, more) in [(of_commas, &[][..]), (of_semicolons, &["--delimiter", ";"])] {
        for ends in ["\n", "\r\n", "\r"] {
            assert_taken_each(&tables, ends, more);
        }
    }
}

/// Ingests the tables, and checks that each has the expected number of rejects.
#[track_caller]
fn assert_taken_each(tables: &[(String, u64)], ends: &str, more: &[&str]) {
    let texts: Vec<_> = tables.iter().map(|(text, _)| text.replace('\n', ends)).collect();
    let (host, files) = host_with(&texts);
    let receipts = ingest(&host, "*.csv", &[&["--json"][..], more].concat()).json();
    for ((file, text), (_, rejected)) in files.iter().zip(&texts).zip(tables) {
        let receipt = receipts
            .iter()
            .find(|receipt| receipt["request"]["uri"] == file.as_str());
        let found = &receipt.unwrap_or_else(|| panic!("{text:?} has no receipt"))["records"]["rejected"];
        assert_eq!(found, rejected, "{text:?} {more:?}");
    }
}

#[test]
fn what_is_said_goes_before_what_is_guessed() {
    // The options take precedence over a guess. The cases are a column that looks like two columns, a sentence as the
    // header, file names of another format, and a title as the header.
    assert_taken("a.csv", "a;b\n1;2\n", &["--delimiter", ","]);
    assert_taken("a.csv", "No data\n", &["--input-format", "csv"]);
    assert_taken("a.json", "a,b\n1,2\n", &["--input-format", "csv"]);
    assert_taken("a.json", "a;b\n1;2\n", &["--delimiter", ";"]);
    assert_taken("a.log", "a;b\n", &["--delimiter", ";"]);
    let host = Host::embedded();
    host.write("a.csv", "Report 2024\nid,name\n1,x\n");
    let receipt = ingest(&host, "a.csv", &["--json", "--input-format", "csv"])
        .json()
        .remove(0);
    assert_eq!(receipt["records"]["rejected"], 2);
}

#[test]
fn what_was_written_without_a_header_can_be_read_again() {
    for (text, more) in [
        ("1,2,3\n4,5,6\n", &["--no-header"][..]),
        ("1\n2\n", &["--no-header"]),
        ("1;2;3\n4;5;6\n7;8;9\n", &["--no-header", "--delimiter", ","]),
    ] {
        let written = output(&host_of("a.csv", text), "a.csv", more);
        assert_taken("a.csv", &written, &[]);
    }
}

#[test]
fn a_title_of_several_lines_is_told() {
    for (text, more, message) in [
        (
            "Monthly report 2024,\n,\nid,name\n1,x\n2,y\n",
            &[][..],
            "say --skip-lines 2",
        ),
        (
            "Monthly report 2024,\nCreated by Bob,\nid,name\n1,x\n2,y\n",
            &[],
            "say --skip-lines 2",
        ),
        (
            "Monthly report 2024;\n;\nid;name\n1;x\n2;y\n",
            &["--dialect", "auto"],
            "say --skip-lines 2",
        ),
        (
            "Monthly report 2024;\n;\nid;name\n1;x\n2;y\n",
            &["--delimiter", ";"],
            "say --skip-lines 2",
        ),
        (
            "月次報告2024年3月,\n番号,名前\n1,花子\n2,太郎\n",
            &[],
            "say --skip-lines 1",
        ),
        (
            "Monthly report 2024\na,b\n1,2\n3,4\n",
            &["--blank-rows", "drop"],
            "say --skip-lines 1",
        ),
        (
            "Monthly report 2024\na,b\n1,2\n3,4\n",
            &["--short-rows", "fill"],
            "say --skip-lines 1",
        ),
        (
            "Monthly report 2024\na,b\n1,2\n3,4\n",
            &["--long-rows", "trailing-empty"],
            "say --skip-lines 1",
        ),
    ] {
        assert_refused("a.csv", text, more, message);
    }
}
