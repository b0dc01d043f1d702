//! Tests that a file's name and content type determine the format, the delimiter and the encoding.

use serde_json::Value;

use super::{assert_refused, assert_taken, ingest, output};
use crate::support::host::{Host, path_of};
use crate::support::http::Files;
use crate::support::inputs::gzip;

#[test]
fn a_name_tells_the_format_and_the_delimiter() {
    for (name, text) in [
        ("a.tsv", "id\tname\n1\tx, y\n"),
        ("A.TAB", "id\tname\n1\tx\n"),
        ("a.psv", "id|name\n1|x\n"),
        ("a.ssv", "id;name\n1;x\n"),
    ] {
        assert_taken(name, text, &[]);
    }
    let host = Host::embedded();
    host.write("a.tsv.gz", gzip(b"id\tname\n1\tx\n"));
    assert_eq!(output(&host, "a.tsv.gz", &[]), "id\tname\n1\tx\n");
    let host = Host::embedded();
    host.write("a.ndjson", "{\"a\":1}\n");
    assert_eq!(output(&host, "a.ndjson", &[]), "{\"a\":1}\n");

    assert_refused(
        "a.tsv",
        "id,name\n1,x\n",
        &[],
        "has one column by tabs, but 2 by commas: say --delimiter ','",
    );
    assert_taken("a.tsv", "id,name\n1,x\n", &["--delimiter", ","]);
    assert_refused(
        "a.tsv",
        "id\tname\n1\tx\n",
        &["--escape", "tab"],
        "its name or content type tells a delimiter that --escape uses, too",
    );
    assert_refused(
        "a.json",
        "id,name\n1,x\n",
        &[],
        "is JSON by its name or content type, but none of its first lines is an object",
    );
    assert_refused(
        "a.json",
        "{\"error\":\"x\"}",
        &[],
        "say --input-format jsonl if it is a record",
    );
    assert_refused(
        "a.jsonl",
        "id,name\n1,x\n",
        &[],
        "is JSONL by its name or content type",
    );
}

#[test]
fn a_content_type_tells_the_format_the_delimiter_and_the_encoding() {
    let files = Files::serve();
    let taken = |name: &str, content_type: &str, bytes: &[u8], more: &[&str]| {
        let url = files.put_as(name, content_type, bytes.to_vec());
        output(&Host::embedded(), &url, more)
    };
    assert_eq!(
        taken("a", "text/tab-separated-values", b"a\tb\n1\t2\n", &[]),
        "a\tb\n1\t2\n"
    );
    assert_eq!(
        taken("b", "application/x-ndjson", b"{\"a\":1}\n", &[]),
        "{\"a\":1}\n"
    );
    assert_eq!(
        taken("c", "text/csv; charset=ISO-8859-1", b"name\ncaf\xe9\n", &[]),
        "name\ncafé\n"
    );
    assert_eq!(
        taken("d", "text/csv; charset=windows-1251", b"name\n\xcf\n", &[]),
        "name\nП\n"
    );
    assert_eq!(
        taken("e", "text/csv; charset=us-ascii", "name\ncafé\n".as_bytes(), &[]),
        "name\ncafé\n"
    );
    assert_eq!(
        taken("f", "text/csv; charset=utf-8", "name\ncafé\n".as_bytes(), &[]),
        "name\ncafé\n"
    );
    assert_eq!(
        taken("g", "text/csv; charset=x-unknown", "name\ncafé\n".as_bytes(), &[]),
        "name\ncafé\n"
    );
    assert_eq!(
        taken("h", "text/csv; charset=iso-8859-1", b"a,b\n1,2\n", &[]),
        "a,b\n1,2\n"
    );
    let marked = "\u{feff}name\ncafé\n".as_bytes();
    assert_eq!(
        taken("i", "text/csv; charset=iso-8859-1", marked, &[]),
        "name\ncafé\n"
    );
    let utf8 = "name\ncafé\n".as_bytes();
    let told = ["--encoding", "utf-8"];
    assert_eq!(
        taken("j", "text/csv; charset=iso-8859-1", utf8, &told),
        "name\ncafé\n"
    );
    assert_eq!(
        taken("k", "text/csv; header=absent", b"1,2\n3,4\n", &[]),
        "column_1,column_2\n1,2\n3,4\n"
    );
    assert_eq!(
        taken("l.php", "text/html; charset=utf-8", b"a,b\n1,2\n", &[]),
        "a,b\n1,2\n"
    );
    assert_eq!(
        taken("m.csv", "application/vnd.ms-excel", b"a,b\n1,2\n", &[]),
        "a,b\n1,2\n"
    );

    let refused = |name: &str, content_type: &str, bytes: Vec<u8>, message: &str| {
        let url = files.put_as(name, content_type, bytes);
        let error = ingest(&Host::embedded(), &url, &[]).refused(1);
        assert!(error.contains(message), "{error}");
    };
    let contradiction = "the server calls it windows-1252, but its text is UTF-8";
    refused("n", "text/csv; charset=iso-8859-1", utf8.to_vec(), contradiction);
    // The contradiction is detected even if only the end of the file shows it.
    let late = format!("name\n{}café\n", "x\n".repeat(100_000));
    refused(
        "o",
        "text/csv; charset=iso-8859-1",
        late.into_bytes(),
        contradiction,
    );
    refused(
        "p",
        "application/json",
        b"{\"error\":\"not found\"}".to_vec(),
        "is a JSON object",
    );
    refused(
        "q",
        "application/json; charset=utf-8",
        b"a,b\n1,2\n".to_vec(),
        "is JSON by its name or content type",
    );
    refused(
        "r",
        "text/html",
        b"Down\n".to_vec(),
        "is HTML by its name or content type, and no table",
    );
    refused(
        "s",
        "application/pdf",
        b"a\n1\n".to_vec(),
        "is PDF by its name or content type",
    );
}

#[test]
fn a_dialect_is_told_named_or_an_error_but_never_guessed() {
    let host = Host::embedded();
    host.write("sep.csv", "sep=;\r\nid;name\r\n1;x,y\r\n2\r\n");
    for more in [&["--dialect", "auto"][..], &[]] {
        let said = [&["--json"][..], more].concat();
        let receipt = ingest(&host, "sep.csv", &said).json().remove(0);
        assert_eq!(receipt["input"]["columns"], serde_json::json!(["id", "name"]));
        let written = std::fs::read_to_string(path_of(&receipt["outputs"][0]["uri"])).unwrap();
        assert_eq!(written, "id;name\r\n1;x,y\r\n".replace('\r', ""));
        let example = &receipt["rejects"]["examples"]["ragged-row"][0];
        assert_eq!(example["line"], Value::from(4), "{receipt}");
    }
    let auto = ["--dialect", "auto"];
    assert_refused(
        "a.csv",
        "a,b;c\n1,2;3\n",
        &auto,
        "can be read in two ways, 2 fields by semicolons or by commas: say --delimiter ';' or --delimiter ','",
    );
    assert_taken("a.csv", "id,name,geo;pos\n1,x,2;3\n", &auto);
    assert_refused(
        "a.csv",
        "a~b\n1~2\n",
        &auto,
        "has 2 columns by \"~\", which has to be named: say --delimiter '~'",
    );
    assert_refused("a.csv", "a\u{1}b\n1\u{1}2\n", &auto, "say --delimiter 0x01");
    assert_refused("a.csv", "a   b\n1   2\n", &auto, "say --dialect spaces");
    let titled = "Sales report\nid;name;total\n1;x;1,50\n2;y;2,50\n";
    let message =
        "has one field in its first line, but 3 of the next 3 have 3 by semicolons: say --skip-lines 1 if";
    assert_refused("a.csv", titled, &auto, message);
    assert_refused(
        "a.csv",
        titled,
        &[&auto[..], &["--input-format", "csv"]].concat(),
        message,
    );
    assert_taken("a.csv", "a~b\n1~2\n", &["--delimiter", "~"]);
    assert_taken("a.csv", "a\u{1}b\n1\u{1}2\n", &["--delimiter", "\\x01"]);
    let host = Host::embedded();
    host.write("spaces.txt", "id    name\n1     x\n 22   \"y  z\"\n");
    assert_eq!(
        output(&host, "spaces.txt", &["--dialect", "spaces"]),
        "id\tname\n1\tx\n22\t\"y  z\"\n"
    );
}

#[test]
fn a_name_of_no_format_needs_a_whole_table() {
    for text in ["a,b\n1,2\n3\n4,5,6\n7,8\n", "a,b\n1,2\n3\n"] {
        for name in ["F.pdf", "F.html"] {
            assert_refused(name, text, &[], "and no table by its first records");
        }
    }
    assert_taken("F.pdf", "a,b\n1,2\n3,4\n", &[]);
}
