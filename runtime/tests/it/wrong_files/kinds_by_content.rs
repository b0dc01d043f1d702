//! Tests that a file of another type is recognized by its content, whatever its name is.

use super::{assert_refused, assert_taken, host_of, ingest, output, refused};
use crate::support::host::{Host, component};
use crate::support::inputs::gzip;

on_both_queues! {
    in_a_queue_it_is_a_dead_letter
}

fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, content) in entries {
        bytes.extend(b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        bytes.extend((name.len() as u16).to_le_bytes());
        bytes.extend([0, 0]);
        bytes.extend(name.as_bytes());
        bytes.extend(*content);
    }
    bytes.extend(b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    bytes
}

fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = [0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..107].copy_from_slice(b"0000644");
    header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut bytes = header.to_vec();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512) + 1_024, 0);
    bytes
}

const CSV: &[u8] = b"a,b\n1,2\n";

/// The bytes of `CSV` in the form that compression tools write.
const XZ: &[u8] = b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4F\x02\0!\x01\x16\0\0\0t/\xe5\xa3\x01\0\x07a,b\n1,2\n\0\xbe\x9c\xbdI\xb5\x12*\xfe\0\x01 \x08\xbb\x19\xd9\xbb\x1f\xb6\xf3}\x01\0\0\0\0\x04YZ";
const BZ2: &[u8] = b"BZh91AY&SY\xbf\x87@\x7f\0\0\x03Y\0\0\x10\0\x040\x000\0 \x000\xc0\x08i\xb2\x88#'\x8b\xb9\"\x9c(H_\xc3\xa0?\x80";
const LZ4: &[u8] = b"\x04\"M\x18d@\xa7\x08\0\0\x80a,b\n1,2\n\0\0\0\0\x0e\xd9y\x98";

/// Returns files of other types. Each has a usual name, its bytes and the expected message.
fn binaries() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let sheet = b"application/vnd.oasis.opendocument.spreadsheet";
    vec![
        (
            "a.zip",
            zip(&[("orders.csv", CSV)]),
            "is a ZIP archive (of \"orders.csv\"), not CSV: unpack it",
        ),
        (
            "a.xlsx",
            zip(&[("[Content_Types].xml", b"<"), ("xl/workbook.xml", b"<")]),
            "is an Excel workbook (XLSX), not CSV: save the table in it as CSV",
        ),
        (
            "a.docx",
            zip(&[("word/document.xml", b"<")]),
            "is a Word document (DOCX)",
        ),
        ("a.ods", zip(&[("mimetype", sheet)]), "is a spreadsheet (ODS)"),
        (
            "a.xls",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0".to_vec(),
            "is an Office file (XLS, DOC)",
        ),
        (
            "a.tar",
            tar("orders.csv", CSV),
            "is a tar archive (of \"orders.csv\")",
        ),
        (
            "a.tar.gz",
            gzip(&tar("orders.csv", CSV)),
            "is a tar archive (of \"orders.csv\")",
        ),
        ("a.csv.gz.gz", gzip(&gzip(CSV)), "is compressed twice, by gzip"),
        (
            "a.xz",
            XZ.to_vec(),
            "is compressed by xz, not CSV: decompress it, or compress it by gzip or zstd",
        ),
        ("a.bz2", BZ2.to_vec(), "is compressed by bzip2"),
        ("a.lz4", LZ4.to_vec(), "is compressed by lz4"),
        ("a.7z", b"7z\xbc\xaf\x27\x1c\0\x04".to_vec(), "is a 7z archive"),
        ("a.rar", b"Rar!\x1a\x07\x01\0".to_vec(), "is a RAR archive"),
        (
            "a.parquet",
            b"PAR1\x15\x04\x15\x10,\0\nPAR1".to_vec(),
            "is a Parquet file, not CSV: convert it to CSV or JSONL",
        ),
        ("a.orc", b"ORC\x08\x03\x10\0".to_vec(), "is an ORC file"),
        (
            "a.avro",
            b"Obj\x01\x04\x16avro.schema\0".to_vec(),
            "is an Avro file",
        ),
        (
            "a.arrow",
            b"ARROW1\0\0\xff\xff\xff\xff".to_vec(),
            "is an Arrow file",
        ),
        (
            "a.sqlite",
            b"SQLite format 3\0\x10\0".to_vec(),
            "is an SQLite database",
        ),
        (
            "a.png",
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec(),
            "is a PNG image",
        ),
        (
            "a.jpg",
            b"\xff\xd8\xff\xe0\0\x10JFIF\0".to_vec(),
            "is a JPEG image",
        ),
        ("a.gif", b"GIF89a\x01\0\x01\0".to_vec(), "is a GIF image"),
        (
            "a.pdf",
            b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n".to_vec(),
            "is a PDF document",
        ),
    ]
}

#[test]
fn another_kind_of_file_is_named_whatever_it_is_called() {
    for (name, bytes, message) in binaries() {
        assert_refused(name, &bytes, &[], message);
        assert_refused("orders.csv", &bytes, &["--input-format", "csv"], message);
        let in_jsonl = message.replace("not CSV", "not JSONL");
        assert_refused("orders.jsonl", &bytes, &[], &in_jsonl);
    }
}

/// Texts that contain no records. Each has the expected message.
const TEXTS: &[(&str, &str)] = &[
    (
        "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "is a Git LFS pointer, not CSV: fetch the file that it stands for",
    ),
    (
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>AccessDenied</Code></Error>",
        "is an XML document (<Error>), not CSV",
    ),
    (
        "<Error><Code>NoSuchKey</Code>\n</Error>\n",
        "is an XML document (<Error>)",
    ),
    (
        "<rows>\n  <row a=\"1\"/>\n</rows>\n",
        "is an XML document (<rows>), not CSV: convert it",
    ),
    (
        "<!-- made by x -->\n<html>\n",
        "is a page of HTML, not CSV: is this the address of the file itself?",
    ),
    (
        "<head><title>Sign in, please</title></head>\n",
        "is a page of HTML",
    ),
    ("<script>location = \"/login\";</script>\n", "is a page of HTML"),
    (
        "<?xml version=\"1.0\"?>\n<!DOCTYPE html>\n<html>\n",
        "is a page of HTML",
    ),
    ("<div>Not found</div>\n", "is a page of HTML"),
    (
        "[{\"id\": 1}, {\"id\": 2}]\n",
        "is a JSON array, not CSV: write one object a line",
    ),
    ("[\n{\"id\": 1},\n{\"id\": 2}\n]\n", "is a JSON array"),
    (
        "{\n  \"rows\": [\n    1\n  ]\n}\n",
        "is a JSON object over several lines",
    ),
];

#[test]
fn a_page_or_a_document_is_named_in_both_formats() {
    for (text, message) in TEXTS {
        for more in [
            &[][..],
            &["--input-format", "csv"],
            &["--dialect", "auto"],
            &["--no-header"],
        ] {
            assert_refused("a.csv", text, more, message);
        }
        assert_refused("a.jsonl", text, &[], &message.replace("not CSV", "not JSONL"));
        assert_refused("a.json", text, &[], &message.replace("not CSV", "not JSONL"));
    }
    assert_refused(
        "a.csv",
        "{\"error\": \"not found\"}",
        &[],
        "is a JSON object, not CSV",
    );
    for name in ["a.csv", "a.jsonl", "a.json"] {
        assert_refused(
            name,
            "{\"id\":1}\r{\"id\":2}\r",
            &[],
            "is JSON lines that end with a CR alone",
        );
    }
    assert_refused(
        "a.csv",
        "{\"id\":1}\n{\"id\":2}\n",
        &[],
        "is JSON lines, not CSV: read it with --input-format jsonl",
    );
}

/// The first lines of files of other types. A table could begin with the same lines.
const GUESSES: &[(&str, &str)] = &[
    (
        "CREATE TABLE a (\n  b int,\n  c int\n);\n",
        "is an SQL dump, not CSV: convert it",
    ),
    ("#!/bin/sh\necho a\n", "is a script"),
    ("HTTP/1.1 404 Not Found\n", "is an HTTP response with its head"),
    ("@relation a\n@attribute b numeric\n", "is an ARFF file"),
    ("Error 500 <html><body>Oops</body></html>\n", "is a page of HTML"),
    ("<table>\n<tr><td>1<td>2\n", "is a page of HTML"),
    ("<table>\n", "is a page of HTML"),
    ("<pre>Cannot GET /x\n", "is a page of HTML"),
    ("<p>\nAn error occurred.\n", "is a page of HTML"),
    ("<br/>\nfoo\n", "is a page of HTML"),
    (
        "<Error>\n<Code>NoSuchKey\n",
        "is an XML document (<Error>), not CSV: is this the address of the file itself?",
    ),
    ("<error>", "is an XML document (<error>)"),
    ("[1, 2]\n", "is a JSON array"),
];

#[test]
fn what_could_be_a_table_is_one_if_the_format_is_named() {
    for (text, message) in GUESSES {
        assert_refused("a.csv", text, &[], message);
        assert_refused("a.csv", text, &[], " if it is CSV, say --input-format csv");
        let host = Host::embedded();
        host.write("a.csv", text);
        ingest(&host, "a.csv", &["--input-format", "csv"]).ok();
        assert_refused(
            "a.jsonl",
            text,
            &["--input-format", "jsonl"],
            &message.replace("not CSV", "not JSONL"),
        );
    }
}

#[test]
fn any_tag_is_refused_in_place_of_jsonl() {
    for (text, message) in [
        ("<p>\n1\n2\n", "is a page of HTML, not JSONL"),
        ("<row>\n1\n", "is an XML document (<row>), not JSONL: convert it"),
        ("</row>\n", "is an XML document (<row>)"),
        ("<error>,x\n", "is an XML document (<error>)"),
    ] {
        assert_refused("a.jsonl", text, &["--input-format", "jsonl"], message);
    }
    let host = host_of("a.jsonl", "<p>\n{\"a\":1}\n");
    assert_eq!(
        output(&host, "a.jsonl", &[]),
        "{\"a\":1}\n",
        "one line is rejected"
    );
}

#[test]
fn utf_16_of_any_script_is_named_and_never_read_as_latin_1() {
    for text in ["番号,名前\n1,花子\n", "номер,имя\n1,Анна\n", "رقم,اسم\n1,آنا\n"]
    {
        for (to_bytes, label) in [
            (u16::to_le_bytes as fn(u16) -> [u8; 2], "utf-16le"),
            (u16::to_be_bytes, "utf-16be"),
        ] {
            let bytes: Vec<u8> = text.encode_utf16().flat_map(to_bytes).collect();
            let message = format!("is UTF-16 without a byte order mark: say so, with --encoding {label}");
            for more in [
                &[][..],
                &["--encoding", "latin-1"],
                &["--encoding", "cp1251", "--input-format", "csv"],
            ] {
                assert_refused("a.csv", &bytes, more, &message);
            }
            let host = Host::embedded();
            host.write("a.csv", bytes);
            assert_eq!(output(&host, "a.csv", &["--encoding", label]), text);
        }
    }
}

#[test]
fn a_list_in_an_object_and_an_answer_in_place_of_the_file_are_named() {
    let list = "its member `data` is a list: `jq -c '.data[]'` writes its elements one a line";
    let answer = "({\"error\":\"unauthorized\"}): is it an answer in place of the file?";
    for name in ["a.csv", "a.json"] {
        assert_refused(name, "{\"data\": [{\"id\": 1}, {\"id\": 2}]}\n", &[], list);
        assert_refused(
            name,
            "{\n  \"n\": 1,\n  \"data\": [\n    {\"id\": 1}\n  ]\n}\n",
            &[],
            list,
        );
        assert_refused(name, "{\"error\":\"unauthorized\"}", &[], answer);
    }
}

#[test]
fn latin_1_is_named_where_a_text_is_not_utf_8() {
    let hint = "if it is Latin-1 or Windows-1252, say --encoding latin-1";
    assert_refused("a.csv", b"id,gr\xe4\xdfe\n1,2\n", &[], hint);
    let rows = b"\xe9\n".repeat(30);
    let closed = refused("a.csv", [b"name\n", &rows[..]].concat(), &[]);
    assert!(
        closed.contains("most rejects are not UTF-8") && closed.contains(hint),
        "{closed}"
    );
    assert!(!closed.contains("--max-rejects"), "{closed}");
    let host = Host::embedded();
    host.write("a.csv", b"name\n\xe9\nx\n");
    let said = ingest(&host, "a.csv", &[]);
    assert!(said.stderr.contains(hint), "{}", said.stderr);
}

#[test]
fn the_decoded_text_is_looked_at() {
    let page = "<!DOCTYPE html>\n<html>é</html>\n";
    let utf16: Vec<u8> = page.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_refused("a.csv", &utf16, &["--encoding", "utf-16le"], "is a page of HTML");
    assert_refused(
        "a.csv",
        &utf16,
        &[],
        "is UTF-16 without a byte order mark: say so, with --encoding utf-16le",
    );
    assert_refused(
        "a.csv",
        gzip(page.as_bytes()),
        &["--encoding", "latin-1"],
        "is a page of HTML",
    );
    assert_refused(
        "a.csv",
        zip(&[("a", b"b")]),
        &["--encoding", "utf-16"],
        "is a ZIP archive",
    );
    assert_refused(
        "a.csv",
        CSV,
        &["--encoding", "utf-16"],
        "--encoding says UTF-16LE, but its text is UTF-8",
    );
}

fn in_a_queue_it_is_a_dead_letter(host: &Host) {
    let clean = component("clean").display().to_string();
    let (mut files, mut expected) = (vec![], vec![]);
    for (name, bytes, message) in binaries() {
        files.push((name.to_owned(), bytes));
        expected.push(message);
    }
    for (number, (text, message)) in TEXTS.iter().enumerate() {
        files.push((format!("text{number}.csv"), text.as_bytes().to_vec()));
        expected.push(message);
    }
    for (name, bytes) in &files {
        host.write(name, bytes);
        host.run(&format!("submit --queue q --id {name} --uri {name}"))
            .ok();
    }
    let said = host.run(&format!("run --queue q --burst --allow-root . --plugin {clean}"));
    let told = format!("0 done, {} dead, 0 retried", files.len());
    assert!(said.stdout.starts_with(&told), "{}\n{}", said.stdout, said.stderr);
    assert_eq!(said.code, Some(1));
    for ((name, _), message) in files.iter().zip(expected) {
        let status = host.status(name);
        assert_eq!(status["state"], "dead", "{status}");
        let error = status["error"].as_str().unwrap();
        assert!(error.contains(message), "{name}: {error}");
        assert_eq!(status["attempts"], 1, "it is not tried again: {status}");
    }
}

#[test]
fn markup_and_json_that_may_be_a_column_are_taken_if_the_format_is_named() {
    let csv = ["--input-format", "csv"];
    for text in [
        "<b>Name</b>\nAnna\n",
        "<b>id</b> (nr),<b>name</b> (text)\n1,2\n",
        "<B>\n1\n</B>\n",
    ] {
        assert_refused("a.csv", text, &[], "if it is CSV, say --input-format csv");
        assert_taken("a.csv", text, &csv);
    }
    assert_taken("a.csv", "<b>id</b>^<b>name</b>\n1^2\n", &["--delimiter", "^"]);
    for (text, quote) in [
        ("<a>1</a>\n<a>2</a>\n", "\""),
        ("<p>Hello</p>\n<p>World</p>\n", "\""),
        ("[1]\n[2]\n\"[3,4]\"\n", "\""),
        ("<img src=\"x.png\"/> note,b\n", "none"),
    ] {
        let more = [&csv[..], &["--no-header", "--quote", quote]].concat();
        let written = output(&host_of("a.csv", text), "a.csv", &more);
        assert_eq!(written.lines().count(), text.lines().count() + 1, "{written}");
    }
}
