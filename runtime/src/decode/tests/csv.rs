//! Tests CSV files of all kinds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

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
        let decoded = decode(text, &as_csv());
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
                quote: quote.map(crate::request::Character::Is),
                ..as_csv()
            },
        );
        assert_eq!(table(&decoded), [["1\t,", "2"]], "{text:?}");
    }
    let decoded = decode(
        "1,2\n3,4\n",
        &InputOptions {
            header: Some(false),
            ..as_csv()
        },
    );
    assert_eq!(decoded.columns, ["column_1", "column_2"]);
    assert_eq!(table(&decoded), [["1", "2"], ["3", "4"]]);
    let refused = error(
        b"",
        &InputOptions {
            delimiter: Some('"'),
            ..as_csv()
        },
    );
    assert_eq!(refused.stage(), Stage::Config);
}

#[test]
fn columns_without_a_name_have_a_number() {
    assert_eq!(
        decode("id,,\n1,2,3\n", &as_csv()).columns,
        ["id", "column_2", "column_3"]
    );
    assert_eq!(
        decode("\"a \"\"b\"\"\",\"\"\n", &as_csv()).columns,
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
        let decoded = decode(&text, &as_csv());
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
    for options in [as_csv(), as_jsonl()] {
        let (head, good): (&[u8], &[u8]) = match options.format {
            Some(Format::Csv) => (b"a,b\n", "é,2\n".as_bytes()),
            _ => (b"", "{\"a\":\"é\",\"b\":2}\n".as_bytes()),
        };
        for bad in [b"\xff,2\n".as_slice(), b"1,2\xe2\x82\n", b"\"\xc3\n\xa9\",2\n"] {
            let bad = if head.is_empty() {
                bad.split(|&byte| byte == b'\n').next().unwrap()
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
fn an_input_that_cannot_be_split_into_records_is_an_error() {
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
            "orders.csv: is UTF-16: say so, with --encoding utf-16",
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
        let error = error(text, &as_csv());
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
            run(text.as_bytes(), &as_csv(), &small(), None, &[7])
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
        open(Box::new(reader), "a.csv", None, &as_csv(), &small())
            .err()
            .unwrap()
    };
    let own = open(Broken(Some(Error::permanent(
        Stage::Fetch,
        Code::HttpStatus,
        "http 404",
    ))));
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
        let decoded = run(text, &as_csv(), &small(), Some(reads), &[usize::MAX]).unwrap();
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
        let mut decoder = open(Box::new(&b"a,b\n"[..]), "a", None, &as_csv(), &small())
            .unwrap()
            .decoder;
        let error = decoder.project(reads, more).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn a_batch_is_closed_by_bytes_and_by_records() {
    let text = format!("a\n{}{}", "1\n".repeat(12), "123456789\n".repeat(12));
    let decoded = run(text.as_bytes(), &as_csv(), &small(), None, &[usize::MAX]).unwrap();
    // The first chunk of 64 bytes has 16 records, and the second has 6.
    assert_eq!(decoded.batches, [5, 5, 5, 1, 5, 1, 2]);
    let decoded = run(
        text.as_bytes(),
        &as_csv(),
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
fn a_batch_after_a_long_record_is_no_longer_than_the_others() {
    let long = "x".repeat(199);
    let text = format!("a\n{long}\n{}{long}\n\n1\n", "123456789\n".repeat(12));
    let limits = Limits {
        batch_records: 100,
        ..small()
    };
    for sizes in [&[usize::MAX][..], &[7]] {
        let decoded = run(text.as_bytes(), &as_csv(), &limits, None, sizes).unwrap();
        // To find the end of a long record, more bytes are read than usual. The batches after the record are not longer
        // because of this.
        assert_eq!(decoded.batches, [1, 6, 6, 2]);
    }
}

#[test]
fn a_name_in_a_header_is_bounded_and_clipped_in_errors() {
    let limits = Limits {
        column_name_bytes_max: 100,
        ..Limits::default()
    };
    let clipped = format!("{}…", "é".repeat(64));
    for (name, message) in [
        (
            "é".repeat(50),
            format!("columns 1 and 2 are both named {:?}; each", "é".repeat(50)),
        ),
        (
            "é".repeat(51),
            "the column name \"".to_owned() + &"é".repeat(51) + "\" has 102 bytes, more than the 100 allowed",
        ),
        (
            "é".repeat(1_000),
            format!("the column name {clipped:?} has 2000 bytes, more than the 100 allowed"),
        ),
    ] {
        let text = format!("{name},{name}\n");
        let error = run(text.as_bytes(), &as_csv(), &limits, None, &[usize::MAX]).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with(&format!("decode orders.csv: header (line 1): {message}")),
            "{error}"
        );
    }
}

#[test]
fn a_file_of_one_column_has_an_empty_field_only_within_quotes() {
    let decoded = decode("a\n1\n\n\"\"\n2\n", &as_csv());
    assert_eq!(table(&decoded), [["1"], [""], ["2"]]);
}

#[test]
fn a_delimiter_at_the_end_of_every_line_is_a_column() {
    let decoded = decode("a,b,\n1,2,\n", &as_csv());
    assert_eq!(decoded.columns, ["a", "b", "column_3"]);
    assert_eq!(table(&decoded), [["1", "2", ""]]);
    assert_eq!(table(&decode("a,b\n1,2,\n", &as_csv())), [["!", "ragged-row"]]);
}

#[test]
fn nothing_more_is_read_of_an_input_that_nobody_wants() {
    let text = "123456789\n".repeat(20_000).into_bytes();
    let (bytes, read) = (text.len(), Arc::new(AtomicUsize::new(0)));
    let reader = Counted(std::io::Cursor::new(text), Arc::clone(&read));
    let mut splitter = open(Box::new(reader), "a", None, &as_csv(), &small())
        .unwrap()
        .splitter;
    let origin = splitter.origin();
    assert!(splitter.next(Vec::new()).unwrap().is_some());
    splitter.abandoned().store(true, Ordering::Relaxed);
    let read_before = read.load(Ordering::Relaxed);
    assert!(read_before < bytes, "{read_before}");
    let error = loop {
        match splitter.next(Vec::new()) {
            Ok(chunk) => assert!(chunk.is_some(), "it came to its end"),
            Err(error) => break error.at(&origin),
        }
    };
    assert_eq!(error.to_string(), "decode nobody wants the rest of the input");
    assert_eq!(read.load(Ordering::Relaxed), read_before);
}

/// A reader that counts the bytes that are read from it.
struct Counted(std::io::Cursor<Vec<u8>>, Arc<AtomicUsize>);

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.0.read(buffer)?;
        self.1.fetch_add(read, Ordering::Relaxed);
        Ok(read)
    }
}

#[test]
fn fields_are_read_where_they_stand_unless_they_are_quoted_picked_or_reordered() {
    let text = b"a,b\n1,2\n\"x\",3\n4,5\n";
    for (reads, in_place, copied) in [
        (&[0, 1][..], true, &b"x\n3\n"[..]),
        (&[1], false, b"2\n3\n5\n"),
        (&[1, 0], false, b"2\n1\n3\nx\n5\n4\n"),
    ] {
        let (mut batch, mut decoding) = (
            Batch::default(),
            open(Box::new(&text[..]), "a", None, &as_csv(), &Limits::default()).unwrap(),
        );
        decoding.decoder.project(reads, &[]).unwrap();
        batch.load(decoding.splitter.next(Vec::new()).unwrap().unwrap().raw);
        assert!(decoding.decoder.next(&mut batch).unwrap());
        assert_eq!(
            (batch.in_place, &batch.fields[..]),
            (in_place, copied),
            "{reads:?}"
        );
        let raw = batch.raw.clone();
        let field = |record: [&str; 2]| reads.iter().map(|&read| record[read].to_owned()).collect();
        let expected: Vec<Vec<_>> = [["1", "2"], ["x", "3"], ["4", "5"]].map(field).into();
        assert_eq!(super::read(&mut batch, reads.len()), expected);
        assert_eq!(
            (&batch.fields[..], &batch.raw),
            (copied, &raw),
            "all is given back"
        );
    }
}

#[test]
fn a_long_chunk_does_not_cross_with_each_of_its_batches() {
    let limits = Limits {
        record_bytes_max: 4_000,
        ..small()
    };
    let mut text = b"a,b\n".to_vec();
    text.extend([b'x'; 1_000]);
    text.extend(b"\n1,2\n".repeat(40));
    let mut decoding = open(
        Box::new(std::io::Cursor::new(text)),
        "a",
        None,
        &as_csv(),
        &limits,
    )
    .unwrap();
    decoding.decoder.project(&[0, 1], &[]).unwrap();
    let (mut batch, mut is_long, mut records) = (Batch::default(), false, 0);
    while let Some(chunk) = decoding.splitter.next(Vec::new()).unwrap() {
        is_long |= chunk.raw.len() > 1_000;
        batch.load(chunk.raw);
        while decoding.decoder.next(&mut batch).unwrap() {
            records += super::read(&mut batch, 2).len();
            let lent = batch.lend();
            assert!(lent.len() <= 2 * limits.batch_bytes, "{}", lent.len());
            batch.take_back(lent);
        }
    }
    assert_eq!((is_long, records), (true, 40));
}

#[test]
fn empty_lines_before_the_first_record() {
    // The number of blank lines is greater than the maximum length of a record in bytes. Each kind of line end is
    // tested.
    let limits = small();
    for blank in ["\n", "\r", "\r\n", "\n\r\n\r"] {
        for mark in ["", "\u{feff}"] {
            let padding = mark.to_owned() + &blank.repeat(10 * limits.record_bytes_max);
            let lines = padding.replace("\r\n", "\n").replace('\r', "\n").lines().count() as u64;
            for header in [true, false] {
                let text = padding.clone() + if header { "a,b\n" } else { "" } + "1,2\n";
                let options = InputOptions {
                    header: Some(header),
                    ..as_csv()
                };
                // Reads of any size give the same result, even if a read ends within a CRLF.
                for sizes in [&[usize::MAX][..], &[1], &[7, 64]] {
                    let decoded = run(text.as_bytes(), &options, &limits, None, sizes).unwrap();
                    assert_eq!(decoded.columns.len(), 2);
                    assert_eq!(table(&decoded), [["1", "2"]], "{blank:?}");
                    let line = lines + 1 + u64::from(header);
                    assert_eq!(decoded.records[0].position.line, line, "{blank:?}");
                }
            }
            let message = error(padding.as_bytes(), &as_csv()).to_string();
            assert!(message.contains("is empty"), "{message}");
            let message = error((padding.clone() + "a,a\n").as_bytes(), &as_csv()).to_string();
            assert!(
                message.contains(&format!("header (line {}): ", lines + 1)),
                "{message}"
            );
            let message = error((padding + "<html>").as_bytes(), &as_csv()).to_string();
            assert!(message.contains("is a page of HTML"), "{message}");
        }
    }
}
