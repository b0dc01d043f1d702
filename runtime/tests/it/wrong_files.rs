//! A file that is no table is refused before its first record, with what it is and what to do; a legal one never is.

use serde_json::Value;

use crate::support::compress::gzip;
use crate::support::host::{Host, Said, component, path_of};
use crate::support::http::Files;
use crate::support::redis::RedisServer;

fn ingest(host: &Host, uri: &str, more: &[&str]) -> Said {
    let clean = component("clean").display().to_string();
    let id = if uri.contains('*') { "" } else { "--id in" };
    host.run_with(&format!("ingest {uri} {id} --plugin {clean}"), more)
}

/// Ingests a file in a folder of its own; the error. Nothing is published.
#[track_caller]
fn refused(name: &str, bytes: impl AsRef<[u8]>, more: &[&str]) -> String {
    let host = Host::embedded();
    host.write(name, bytes);
    let error = ingest(&host, name, more).refused(1);
    let published = std::fs::read_dir(host.path("out/receipts"));
    assert_eq!(published.map_or(0, Iterator::count), 0, "{error}");
    error
}

#[track_caller]
fn assert_refused(name: &str, bytes: impl AsRef<[u8]>, more: &[&str], message: &str) {
    let error = refused(name, bytes, more);
    assert!(error.contains(message), "{name} {more:?}: {error}");
}

/// Ingests what was written; the output.
#[track_caller]
fn output(host: &Host, uri: &str, more: &[&str]) -> String {
    let more = [&["--json"][..], more].concat();
    let receipt = ingest(host, uri, &more).json().remove(0);
    std::fs::read_to_string(path_of(&receipt["outputs"][0]["uri"])).unwrap()
}

#[track_caller]
fn assert_taken(name: &str, text: &str, more: &[&str]) {
    let host = Host::embedded();
    host.write(name, text);
    let (output, expected) = (output(&host, name, more), text.trim_start_matches('\u{feff}'));
    assert_eq!(output, expected, "{name} {more:?}");
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

/// What the tools write for `CSV`.
const XZ: &[u8] = b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4F\x02\0!\x01\x16\0\0\0t/\xe5\xa3\x01\0\x07a,b\n1,2\n\0\xbe\x9c\xbdI\xb5\x12*\xfe\0\x01 \x08\xbb\x19\xd9\xbb\x1f\xb6\xf3}\x01\0\0\0\0\x04YZ";
const BZ2: &[u8] = b"BZh91AY&SY\xbf\x87@\x7f\0\0\x03Y\0\0\x10\0\x040\x000\0 \x000\xc0\x08i\xb2\x88#'\x8b\xb9\"\x9c(H_\xc3\xa0?\x80";
const LZ4: &[u8] = b"\x04\"M\x18d@\xa7\x08\0\0\x80a,b\n1,2\n\0\0\0\0\x0e\xd9y\x98";

/// Files of other kinds: their usual names, their bytes, and what they are.
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

/// Texts that are no records, and what they are.
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

/// Texts that other kinds of files begin with, and tables could, too.
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

fn dead_letters(host: &Host) {
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
fn in_a_queue_it_is_a_dead_letter_on_a_file() {
    dead_letters(&Host::embedded());
}

#[test]
fn in_a_queue_it_is_a_dead_letter_on_redis() {
    let server = RedisServer::start();
    dead_letters(&Host::on(&server.url()));
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
    ] {
        assert_refused("a.csv", text, &[], message);
    }
}

/// Texts that are no tables, also without what follows their first records, and what is said of each.
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

/// A host with one file.
fn host_of(name: &str, text: &str) -> Host {
    let host = Host::embedded();
    host.write(name, text);
    host
}

/// A host with a file of each text, and their names.
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
        // An escaped line end is a line, too.
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
    // Also who follows the delimiter alone is led on.
    assert_refused(
        "a.csv",
        "Monthly report 2024;\nid;name\n1;x\n2;y\n",
        &["--delimiter", ";"],
        "names 1 of 2 columns (\"Monthly report 2024\"): is it a title over the header? say --skip-lines 1",
    );
    assert_refused("a.csv", ",,\n1,2,3\n", &[], "names none of 3 columns: is it");
    assert_refused(
        "a.csv",
        ",,total\n1,2,3\n",
        &[],
        "names 1 of 3 columns (\"total\")",
    );
}

/// Headers of tables that look like something else.
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

/// Headers of one column, a value of it, and whether the header is legal alone: some are what servers write.
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

/// Ingests texts, of each of which so many records are rejected.
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
    // One column that looks like two; a title that is a header; a sentence.
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
    // Also where only the end tells it.
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
