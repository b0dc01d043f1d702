//! Files as the world writes them, and what comes out of them.

use std::io::Read;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::error::{Class, Error, Stage};

/// Hands out a text in pieces of the given sizes, over and over.
struct Pieces {
    text: Vec<u8>,
    at: usize,
    sizes: Vec<usize>,
    next: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let size = self.sizes[self.next % self.sizes.len()]
            .min(buffer.len())
            .min(self.text.len() - self.at);
        self.next += 1;
        buffer[..size].copy_from_slice(&self.text[self.at..self.at + size]);
        self.at += size;
        Ok(size)
    }
}

/// All that was decoded.
#[derive(Debug, PartialEq)]
struct Decoded {
    columns: Vec<String>,
    records: Vec<Found>,
    /// The records of each batch, malformed ones included.
    batches: Vec<usize>,
}

/// A record, or a malformed one, in the order of the input.
#[derive(Debug, PartialEq)]
struct Found {
    position: crate::batch::Position,
    raw: Vec<u8>,
    /// The fields, or the code and the reason.
    fields: Result<Vec<String>, (&'static str, String)>,
}

fn small() -> Limits {
    Limits {
        batch_bytes: 64,
        batch_records: 5,
        record_bytes_max: 200,
        columns_max: 20,
        ..Limits::default()
    }
}

fn csv() -> InputOptions {
    InputOptions {
        format: Some(Format::Csv),
        ..InputOptions::default()
    }
}

fn jsonl() -> InputOptions {
    InputOptions {
        format: Some(Format::Jsonl),
        ..InputOptions::default()
    }
}

fn run(
    text: &[u8],
    options: &InputOptions,
    limits: &Limits,
    reads: Option<&[usize]>,
    sizes: &[usize],
) -> Result<Decoded> {
    let reader = Pieces {
        text: text.to_vec(),
        at: 0,
        sizes: sizes.to_vec(),
        next: 0,
    };
    let mut decoder = open(Box::new(reader), "orders.csv", None, options, limits)?.decoder;
    let columns = decoder.columns().to_vec();
    let every: Vec<usize> = (0..columns.len()).collect();
    let reads = reads.unwrap_or(&every);
    decoder.project(reads, &[])?;
    let (mut batch, mut decoded) = (
        Batch::default(),
        Decoded {
            columns,
            records: vec![],
            batches: vec![],
        },
    );
    let mut next = None;
    while decoder.next(&mut batch)? {
        let start = batch.offset as usize;
        let between = &text[next.unwrap_or(start)..start];
        assert!(
            between.iter().all(u8::is_ascii_whitespace),
            "only empty lines are in no batch"
        );
        assert_eq!(batch.raw, text[start..start + batch.raw.len()]);
        next = Some(start + batch.raw.len());
        assert_eq!(batch.ends.len(), batch.rows.len() * reads.len());
        assert_eq!(*batch.ends.last().unwrap_or(&0) as usize, batch.fields.len());
        let mut found = records(&batch, reads.len());
        for (number, record) in (batch.first_record..).zip(&found) {
            assert_eq!(record.position.record, number, "every record is there");
        }
        decoded.batches.push(found.len());
        decoded.records.append(&mut found);
    }
    assert!(
        batch.is_empty() && !decoder.next(&mut batch)?,
        "the end stays the end"
    );
    Ok(decoded)
}

fn records(batch: &Batch, width: usize) -> Vec<Found> {
    let mut starts = batch
        .ends
        .iter()
        .scan(0, |start, &end| Some(std::mem::replace(start, end)..end));
    let mut field = || {
        let range = starts.next().unwrap();
        String::from_utf8(batch.fields[range.start as usize..range.end as usize].to_vec()).unwrap()
    };
    let good = batch
        .rows
        .iter()
        .map(|&row| (row, Ok((0..width).map(|_| field()).collect())));
    let mut found: Vec<_> = good.collect();
    found.extend(
        batch
            .malformed
            .iter()
            .map(|bad| (bad.row, Err((bad.code, bad.reason.clone())))),
    );
    found.sort_by_key(|(row, _)| row.number);
    let found = found.into_iter();
    found
        .map(|(row, fields)| Found {
            position: batch.position(row),
            raw: batch.raw(row).to_vec(),
            fields,
        })
        .collect()
}

/// The fields of all records; `!code` for a malformed one.
fn table(decoded: &Decoded) -> Vec<Vec<&str>> {
    fn row(found: &Found) -> Vec<&str> {
        match &found.fields {
            Ok(fields) => fields.iter().map(String::as_str).collect(),
            Err((code, _)) => vec!["!", code],
        }
    }
    decoded.records.iter().map(row).collect()
}

fn decode(text: &str, options: &InputOptions) -> Decoded {
    run(text.as_bytes(), options, &Limits::default(), None, &[usize::MAX]).unwrap()
}

fn error(text: &[u8], options: &InputOptions) -> Error {
    run(text, options, &small(), None, &[usize::MAX]).expect_err("must be refused")
}

#[test]
fn csv_as_the_world_writes_it() {
    for (text, rows) in [
        ("a,b\n1,2\n", &[["1", "2"]] as &[[&str; 2]]),
        ("a,b\n1,2", &[["1", "2"]]),
        ("a,b\r\n1,2\r\n3,4\r\n", &[["1", "2"], ["3", "4"]]),
        ("a,b\r1,2\r3,4\r", &[["1", "2"], ["3", "4"]]),
        ("a,b\n1,2\r\n3,4\r5,6", &[["1", "2"], ["3", "4"], ["5", "6"]]),
        ("\u{feff}a,b\n1,2\n", &[["1", "2"]]),
        ("\u{feff}\"a\",b\n1,2\n", &[["1", "2"]]),
        ("a,b\n", &[]),
        ("a,b", &[]),
        ("\n\r\na,b\n\n\r\n1,2\n\n\n3,4\n\n", &[["1", "2"], ["3", "4"]]),
        ("a,b\n,\n", &[["", ""]]),
        ("a,b\n\"\",\"\"\n", &[["", ""]]),
        ("a,b\n\"1,5\",\"x\ny\"\n", &[["1,5", "x\ny"]]),
        ("a,b\n\"x\r\ny\",\"\r\"\r\n3,4", &[["x\r\ny", "\r"], ["3", "4"]]),
        ("a,b\n\"say \"\"hi\"\"\",\"\"\"\"\n", &[["say \"hi\"", "\""]]),
        ("a,b\n  1 ,\t2\n", &[["  1 ", "\t2"]]),
        ("a,b\nżółć,日本語\n", &[["żółć", "日本語"]]),
        ("a,b\n\0,\u{1}\u{b}\n", &[["\0", "\u{1}\u{b}"]]),
    ] {
        let decoded = decode(text, &csv());
        assert_eq!(decoded.columns, ["a", "b"], "{text:?}");
        assert_eq!(table(&decoded), rows, "{text:?}");
    }
}

#[test]
fn dialects_are_by_option() {
    for (delimiter, quote, text) in [
        (Some('\t'), None, "a\tb\n\"1\t,\"\t2\n"),
        (Some(';'), Some('\''), "a;b\n'1\t,';2\n"),
        (Some('|'), Some('\''), "'a'|b\n'1\t,'|'2'\n"),
        (Some('\u{1}'), None, "a\u{1}b\n1\t,\u{1}2\n"),
    ] {
        let decoded = decode(
            text,
            &InputOptions {
                delimiter,
                quote,
                ..csv()
            },
        );
        assert_eq!(table(&decoded), [["1\t,", "2"]], "{text:?}");
    }
    let decoded = decode(
        "1,2\n3,4\n",
        &InputOptions {
            header: Some(false),
            ..csv()
        },
    );
    assert_eq!(decoded.columns, ["column_1", "column_2"]);
    assert_eq!(table(&decoded), [["1", "2"], ["3", "4"]]);
    let refused = error(
        b"",
        &InputOptions {
            delimiter: Some('"'),
            ..csv()
        },
    );
    assert_eq!(refused.stage(), Stage::Config);
}

#[test]
fn columns_without_a_name_have_a_number() {
    assert_eq!(
        decode("id,,\n1,2,3\n", &csv()).columns,
        ["id", "column_2", "column_3"]
    );
    assert_eq!(
        decode("\"a \"\"b\"\"\",\"\"\n", &csv()).columns,
        ["a \"b\"", "column_2"]
    );
}

#[test]
fn a_malformed_record_is_set_aside_and_the_next_one_decoded() {
    for (record, code, reason) in [
        ("1", "ragged-row", "expected 2 fields, found 1"),
        ("1,2,", "ragged-row", "expected 2 fields, found 3"),
        ("1,\"x\ny\",2", "ragged-row", "expected 2 fields, found 3"),
        (
            "ab\"c,2",
            "stray-quote",
            "\" at byte 3 of the record, within a field that does not begin with one",
        ),
        (
            "1, \"2\"",
            "stray-quote",
            "\" at byte 4 of the record, within a field that does not begin with one",
        ),
        (
            "\"ab\"c,2",
            "stray-quote",
            "text at byte 5 of the record, after the \" that ends the field",
        ),
        (
            "\"ab\" ,2",
            "stray-quote",
            "text at byte 5 of the record, after the \" that ends the field",
        ),
        (
            "1,\"x\ny,\"z\",3",
            "stray-quote",
            "text at byte 9 of the record, after the \" that ends the field",
        ),
    ] {
        let text = format!("a,b\n{record}\r\n3,4\n");
        let decoded = decode(&text, &csv());
        assert_eq!(table(&decoded), [["!", code], ["3", "4"]], "{record:?}");
        let (bad, good) = (&decoded.records[0], &decoded.records[1]);
        assert_eq!(
            (&*bad.raw, bad.position.record, bad.position.line),
            (record.as_bytes(), 1, 2)
        );
        assert_eq!(bad.fields, Err((code, reason.to_owned())), "{record:?}");
        let lines = record.matches('\n').count() as u64;
        assert_eq!(
            (good.position.record, good.position.line),
            (2, 3 + lines),
            "{record:?}"
        );
        assert_eq!(good.position.offset, text.find("3,4").unwrap() as u64);
    }
}

#[test]
fn bytes_that_are_not_utf8_make_a_record_malformed() {
    for options in [csv(), jsonl()] {
        let (head, good): (&[u8], &[u8]) = match options.format {
            Some(Format::Csv) => (b"a,b\n", "é,2\n".as_bytes()),
            _ => (b"", "{\"a\":\"é\",\"b\":2}\n".as_bytes()),
        };
        for bad in [b"\xff,2\n".as_slice(), b"1,2\xe2\x82\n", b"\"\xc3\n\xa9\",2\n"] {
            let bad = if head.is_empty() {
                &bad.split(|&byte| byte == b'\n').next().unwrap()
            } else {
                bad
            };
            let text = [head, good, bad, b"\n", good, b"\xfe\n", good].concat();
            let decoded = run(&text, &options, &small(), None, &[3]).unwrap();
            assert_eq!(
                table(&decoded),
                [
                    ["é", "2"],
                    ["!", "not-utf8"],
                    ["é", "2"],
                    ["!", "not-utf8"],
                    ["é", "2"]
                ]
            );
            let Err((_, reason)) = &decoded.records[3].fields else {
                panic!("not malformed")
            };
            assert_eq!(reason, "byte 1 of the record, 0xfe, is not UTF-8");
        }
    }
}

#[test]
fn an_input_that_cannot_be_told_into_records_is_an_error() {
    let long = "x".repeat(201);
    let wide = vec!["x"; 21].join(",");
    for (text, message) in [
        (
            &b""[..],
            "orders.csv: is empty: expected a line that tells the columns",
        ),
        (
            b"\xef\xbb\xbf\r\n\n",
            "orders.csv: is empty: expected a line that tells the columns",
        ),
        (
            b"\xff\xfea\0",
            "orders.csv: is UTF-16, which is not read: convert it to UTF-8",
        ),
        (
            b"a,b,a\n",
            "orders.csv: header (line 1): columns 1 and 3 are both named \"a\"; each needs a name of its own",
        ),
        (
            b"a,column_3,\n",
            "orders.csv: header (line 1): columns 2 and 3 are both named \"column_3\"; each needs a name of its own",
        ),
        (
            b"\na,\"b\"c\n",
            "orders.csv: header (line 2): text at byte 6 of the record, after the \" that ends the field",
        ),
        (
            b"a,\xff\n",
            "orders.csv: header (line 1): byte 3 of the record, 0xff, is not UTF-8",
        ),
        (
            b"a,\"b\n",
            "orders.csv: header (line 1): the quote that opens on line 1 is never closed",
        ),
        (
            wide.as_bytes(),
            "orders.csv: header (line 1): has 21 columns, more than the 20 allowed",
        ),
        (
            b"a,b\n1,2\n\n\"x\ny\",\"z\n5,6\n",
            "orders.csv: record 2 (line 4): the quote that opens on line 5 is never closed",
        ),
        (
            long.as_bytes(),
            "orders.csv: header (line 1): is longer than the 200 bytes allowed",
        ),
        (
            &[b"a\n1\n", long.as_bytes()].concat(),
            "orders.csv: record 2 (line 3): is longer than the 200 bytes allowed",
        ),
        (
            &[b"a\n1\n\"", long.as_bytes(), b"\n\n"].concat(),
            "orders.csv: record 2 (line 3): is longer than the 200 bytes allowed",
        ),
    ] {
        let error = error(text, &csv());
        let (found, text) = (error.to_string(), String::from_utf8_lossy(text));
        assert!(
            found.starts_with(&format!("decode {message}")),
            "{text:?}: {found}"
        );
        assert_eq!(error.class(), Class::Permanent);
    }
}

#[test]
fn a_record_of_the_greatest_length_is_decoded() {
    for end in ["\n", "\r\n", "\r", ""] {
        let text = format!("a\n{}{end}", "x".repeat(200));
        assert_eq!(
            run(text.as_bytes(), &csv(), &small(), None, &[7])
                .unwrap()
                .records
                .len(),
            1,
            "{end:?}"
        );
    }
}

#[test]
fn a_failed_read_keeps_its_error() {
    struct Broken(Option<Error>);
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(self
                .0
                .take()
                .map_or_else(|| std::io::Error::other("gone"), Error::into_io))
        }
    }
    let open = |reader| {
        open(Box::new(reader), "a.csv", None, &csv(), &small())
            .err()
            .unwrap()
    };
    let own = open(Broken(Some(Error::permanent(Stage::Fetch, "http 404"))));
    assert_eq!(
        (own.stage(), own.class(), &*own.to_string()),
        (Stage::Fetch, Class::Permanent, "fetch http 404")
    );
    let other = open(Broken(None));
    assert_eq!(other.report(), "decode a.csv: reading failed after byte 0: gone");
    assert_eq!(other.class(), Class::Transient);
}

#[test]
fn a_projection_has_the_columns_in_the_order_asked_for() {
    let text = b"a,b,c,d,e,f,g,h,i,j\n0,1,\"2\",3,4,5,6,7,8,\"\"\"9\"\n";
    for reads in [&[][..], &[9], &[0, 9, 2], &[8, 7, 1, 0]] {
        let decoded = run(text, &csv(), &small(), Some(reads), &[usize::MAX]).unwrap();
        let expected: Vec<_> = reads
            .iter()
            .map(|&read| {
                if read == 9 {
                    "\"9".to_owned()
                } else {
                    read.to_string()
                }
            })
            .collect();
        assert_eq!(table(&decoded), [expected]);
    }
    for (reads, more, message) in [
        (&[2][..], &[][..], "column 2 is read, but there are only 2"),
        (&[1, 1], &[], "column 1 is read twice"),
        (&[], &["c".to_owned()], "column \"c\" cannot be looked for in CSV"),
    ] {
        let mut decoder = open(Box::new(&b"a,b\n"[..]), "a", None, &csv(), &small())
            .unwrap()
            .decoder;
        let error = decoder.project(reads, more).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn a_batch_is_closed_by_bytes_and_by_records() {
    let text = format!("a\n{}{}", "1\n".repeat(12), "123456789\n".repeat(12));
    let decoded = run(text.as_bytes(), &csv(), &small(), None, &[usize::MAX]).unwrap();
    assert_eq!(decoded.batches, [5, 5, 5, 5, 4]);
    let decoded = run(
        text.as_bytes(),
        &csv(),
        &Limits {
            batch_bytes: 20,
            ..small()
        },
        None,
        &[1],
    )
    .unwrap();
    assert_eq!(decoded.batches, [5, 5, 3, 2, 2, 2, 2, 2, 1]);
}

#[test]
fn jsonl_as_the_world_writes_it() {
    for (text, rows) in [
        (r#"{"a":1,"b":"x"}"#, &[["1", "x"]] as &[[&str; 2]]),
        (
            "{\"a\":1,\"b\":2}\r\n\n  \r\n{\"b\":4,\"a\":3}\n",
            &[["1", "2"], ["3", "4"]],
        ),
        (
            "\u{feff}{ \"a\" : -1.5e3 , \"b\" : true }\n",
            &[["-1.5e3", "true"]],
        ),
        (
            "{\"a\":null,\"b\":\"\"}\n{}\n{\"b\":1}\n",
            &[["", ""], ["", ""], ["", "1"]],
        ),
        (
            r#"{"a":{"x":["}",1]},"b":[ {}, "]\"" ]}"#,
            &[[r#"{"x":["}",1]}"#, r#"[ {}, "]\"" ]"#]],
        ),
        (
            r#"{"a":"\"\\\/\b\f\n\r\té","b":"\ud83d\ude00\u0000"}"#,
            &[["\"\\/\u{8}\u{c}\n\r\té", "😀\0"]],
        ),
        (r#"{"\u0061":1,"b":2}"#, &[["1", "2"]]),
        (r#"{"a":1,"b":{"a":2}}"#, &[["1", r#"{"a":2}"#]]),
    ] {
        let decoded = decode(text, &jsonl());
        assert_eq!(decoded.columns, ["a", "b"], "{text:?}");
        assert_eq!(table(&decoded), rows, "{text:?}");
    }
    assert_eq!(
        decode("", &jsonl()),
        Decoded {
            columns: vec![],
            records: vec![],
            batches: vec![]
        }
    );
}

#[test]
fn a_malformed_line_is_set_aside() {
    for (line, code, reason) in [
        (
            "{\"a\":1,}",
            "not-json",
            "key must be a string at byte 8 of the record",
        ),
        (
            "{\"a\":1} x",
            "not-json",
            "trailing characters at byte 9 of the record",
        ),
        ("{\"a\":01}", "not-json", "invalid number at byte 7 of the record"),
        ("id,name", "not-json", "expected value at byte 1 of the record"),
        ("[{\"a\":1}]", "not-json", "expected an object, found an array"),
        (" 7", "not-json", "expected an object, found a single value"),
        (
            "{\"a\":1,\"b\":2,\"\\u0061\":3}",
            "duplicate-member",
            "member \"\\u0061\" stands there more than once",
        ),
        (
            "{\"a\":\"\\ud800\"}",
            "not-json",
            "the string \"\\ud800\" has half of a surrogate pair, which is not a character",
        ),
        (
            "{\"a\":\"\\udc00\\ud800\"}",
            "not-json",
            "the string \"\\udc00\\ud800\" has half of a surrogate pair, which is not a character",
        ),
        (
            "{\"a\":\"\\ud83d\\u0041\"}",
            "not-json",
            "the string \"\\ud83d\\u0041\" has half of a surrogate pair, which is not a character",
        ),
    ] {
        let text = format!("{{\"a\":1,\"b\":2}}\n{line}\n{{\"a\":3,\"b\":4}}\n");
        let decoded = decode(&text, &jsonl());
        assert_eq!(table(&decoded), [["1", "2"], ["!", code], ["3", "4"]], "{line}");
        assert_eq!(
            decoded.records[1].fields,
            Err((code, reason.to_owned())),
            "{line}"
        );
        assert_eq!(
            (
                decoded.records[1].position.record,
                decoded.records[1].position.line
            ),
            (2, 2)
        );
    }
}

#[test]
fn members_that_are_not_read_are_let_alone() {
    let text = br#"{"a":1,"b":2,"b":3,"c":"\ud800"}"#;
    let decoded = run(text, &jsonl(), &small(), Some(&[0]), &[usize::MAX]).unwrap();
    assert_eq!(table(&decoded), [["1"]]);
}

#[test]
fn columns_of_jsonl_are_those_of_the_first_batch_and_more() {
    let text = b"\n\n{\"b\":1}\n{\"a\":2,\"b\":3}\nx\n\n{\"c\":4}\n{}\n{\"d\":5}\n";
    let mut decoder = open(Box::new(&text[..]), "a", None, &jsonl(), &small())
        .unwrap()
        .decoder;
    assert_eq!(decoder.columns(), ["b", "a", "c"]);
    let error = decoder.project(&[], &["a".to_owned()]).unwrap_err().to_string();
    assert!(
        error.contains("column \"a\" is asked for, but is there already"),
        "{error}"
    );
    decoder.project(&[3, 0], &["d".to_owned()]).unwrap();
    let mut batch = Batch::default();
    assert!(decoder.next(&mut batch).unwrap());
    assert!(decoder.next(&mut batch).unwrap());
    assert_eq!(batch.fields, b"5");
    let wide = (0..21)
        .map(|name| format!("{{\"{name}\":0}}\n"))
        .collect::<String>();
    let limits = Limits {
        batch_records: 100,
        batch_bytes: 1000,
        ..small()
    };
    let error = open(Box::new(std::io::Cursor::new(wide)), "a", None, &jsonl(), &limits)
        .err()
        .unwrap();
    assert_eq!(
        error.to_string(),
        "decode a: has 21 columns, more than the 20 allowed"
    );
}

/// Bytes that are likely to hit every rule of CSV and of JSON.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        6 => prop::sample::select(b",\"\n\r;' \\{}[]:abu0129.-".to_vec()),
        1 => any::<u8>(),
    ];
    vec(byte, 0..200)
}

fn csv_text(rows: &[Vec<String>], end: &[u8], quote_all: bool) -> Vec<u8> {
    let mut writer = ::csv::WriterBuilder::new();
    writer.terminator(if end == b"\r\n" {
        ::csv::Terminator::CRLF
    } else {
        ::csv::Terminator::Any(end[0])
    });
    writer.quote_style(if quote_all {
        ::csv::QuoteStyle::Always
    } else {
        ::csv::QuoteStyle::Necessary
    });
    let mut writer = writer.from_writer(vec![]);
    for row in rows {
        writer.write_record(row).unwrap();
    }
    writer.into_inner().unwrap()
}

fn rows() -> impl Strategy<Value = Vec<Vec<String>>> {
    (1..12_usize).prop_flat_map(|width| vec(vec("[a-cé日\",;\n\r '\\PC]{0,6}", width), 0..12))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn whatever_comes_in_the_pieces_do_not_matter(
        text in bytes(), is_csv: bool, header: bool, sizes in vec(1..40_usize, 1..4),
    ) {
        let options = InputOptions { header: Some(header), ..if is_csv { csv() } else { jsonl() } };
        let whole = run(&text, &options, &small(), None, &[usize::MAX]);
        let pieces = run(&text, &options, &small(), None, &sizes);
        match (whole, pieces) {
            (Ok(whole), Ok(pieces)) => prop_assert_eq!(whole, pieces),
            (Err(whole), Err(pieces)) => prop_assert_eq!(whole.to_string(), pieces.to_string()),
            (whole, pieces) => prop_assert!(false, "{:?} but {:?}", whole, pieces),
        }
    }

    #[test]
    fn what_the_crate_csv_writes_comes_out_as_it_went_in(
        rows in rows(), end in prop::sample::select(vec![&b"\n"[..], b"\r\n", b"\r"]), quote_all: bool, size in 1..40_usize,
    ) {
        let options = InputOptions { header: Some(false), ..csv() };
        let text = csv_text(&rows, end, quote_all);
        prop_assume!(!text.is_empty() && !text.starts_with("\u{feff}".as_bytes()));
        let limits = Limits { record_bytes_max: 10_000, ..small() };
        let decoded = run(&text, &options, &limits, None, &[size]).unwrap();
        prop_assert_eq!(table(&decoded), rows);
    }

    #[test]
    fn records_are_those_that_the_crate_csv_finds(text in bytes()) {
        let text: Vec<u8> = text.into_iter().filter(u8::is_ascii).collect();
        let options = InputOptions { header: Some(false), ..csv() };
        let Ok(decoded) = run(&text, &options, &small(), None, &[usize::MAX]) else { return Ok(()) };
        let mut reader = ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(&*text);
        let theirs: Vec<_> = reader.records().map(|record| record.unwrap()).collect();
        prop_assert_eq!(decoded.records.len(), theirs.len());
        for (ours, theirs) in decoded.records.iter().zip(&theirs) {
            if let Ok(fields) = &ours.fields {
                prop_assert_eq!(fields, &theirs.iter().collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_projection_is_a_part_of_the_whole(text in bytes(), pick in vec(any::<prop::sample::Index>(), 0..4)) {
        let options = InputOptions { header: Some(false), ..csv() };
        let Ok(whole) = run(&text, &options, &small(), None, &[usize::MAX]) else { return Ok(()) };
        let mut reads: Vec<usize> = vec![];
        for index in pick {
            let read = index.index(whole.columns.len());
            if !reads.contains(&read) {
                reads.push(read);
            }
        }
        let part = run(&text, &options, &small(), Some(&reads), &[usize::MAX]).unwrap();
        prop_assert_eq!(whole.records.len(), part.records.len());
        for (whole, part) in whole.records.iter().zip(&part.records) {
            let expected = whole.fields.clone().map(|fields| reads.iter().map(|&read| fields[read].clone()).collect());
            prop_assert_eq!(&expected, &part.fields);
        }
    }

    #[test]
    fn what_serde_json_writes_comes_out_as_it_went_in(values in vec(("\\PC{0,5}", "[\\x00-\\x7fé😀]{0,9}"), 1..20)) {
        let line = |(key, value): &(String, String)| {
            let object = serde_json::json!({ "a": value, format!("k{key}"): [value] });
            format!("{object}\n")
        };
        let text: String = values.iter().map(line).collect();
        let limits = Limits { columns_max: 100, ..Limits::default() };
        let decoded = run(text.as_bytes(), &jsonl(), &limits, Some(&[0]), &[11]).unwrap();
        let expected: Vec<_> = values.iter().map(|(_, value)| vec![value.as_str()]).collect();
        prop_assert_eq!(table(&decoded), expected);
    }
}
