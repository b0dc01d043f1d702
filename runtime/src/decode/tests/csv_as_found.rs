//! Tests each row of the table in docs/formats.md. Each test has the name of its row.

use super::*;
use crate::request::{BlankRows, Character, DialectFrom, DuplicateColumns, LongRows, NewRequest, ShortRows};

/// Checks the columns and the records. `rows` has `!` and the code for a rejected record.
#[track_caller]
fn assert_read(text: impl AsRef<[u8]>, options: &InputOptions, columns: &[&str], rows: &[&[&str]]) {
    let text = text.as_ref();
    for sizes in [&[usize::MAX][..], &[1, 3, 2]] {
        let decoded = run(text, options, &Limits::default(), None, sizes).unwrap();
        assert_eq!(decoded.columns, columns);
        assert_eq!(table(&decoded), rows, "{:?}", String::from_utf8_lossy(text));
    }
}

#[track_caller]
fn assert_refused(text: impl AsRef<[u8]>, options: &InputOptions, message: &str) {
    let error = error(text.as_ref(), options);
    assert!(error.to_string().contains(message), "{error}");
    assert_eq!(error.class(), Class::Permanent);
}

fn from_first_records() -> InputOptions {
    InputOptions {
        dialect: Some(DialectFrom::Auto),
        ..as_csv()
    }
}

/// Returns the columns and the decoded text of the records. Here `assert_read` cannot be used: it compares positions
/// with the bytes of the file, and these are in another encoding.
#[track_caller]
fn transcoded(bytes: Vec<u8>, encoding: &str) -> (Vec<String>, Vec<u8>) {
    let options = InputOptions {
        encoding: Some(encoding.into()),
        ..as_csv()
    };
    let reader = Box::new(std::io::Cursor::new(bytes));
    let mut decoding = open(reader, "orders.csv", None, &options, &Limits::default()).unwrap();
    let chunk = decoding
        .splitter
        .next(Vec::new())
        .map_err(|_| "a fault")
        .unwrap()
        .unwrap();
    (decoding.columns, chunk.raw)
}

#[test]
fn each_row_of_the_page_has_its_test() {
    let page = include_str!("../../../../docs/formats.md");
    let tests = include_str!("csv_as_found.rs");
    let mut sections = page.split("\n## ");
    let section = sections.find(|section| section.starts_with("How unusual CSV is read\n"));
    let (table, _) = section.unwrap().split_once("\n### ").unwrap();
    let rows = table
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let rows: Vec<_> = rows.filter(|row| *row != "found").collect();
    assert_eq!(rows.len(), tests.matches("#[test]").count() - 2, "{rows:?}");
    for row in rows {
        let words: Vec<_> = row
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_ascii_lowercase)
            .collect();
        let test = format!("\nfn {}() {{", words.join("_"));
        assert!(tests.contains(&test), "no test {test:?}");
    }
}

#[test]
fn a_byte_order_mark() {
    assert_read("\u{feff}a,b\n1,2\n", &as_csv(), &["a", "b"], &[&["1", "2"]]);
    assert_read("\u{feff}\"a\",b\n1,2\n", &as_csv(), &["a", "b"], &[&["1", "2"]]);
    assert_read(
        "\u{feff}a;b\n1;2\n",
        &from_first_records(),
        &["a", "b"],
        &[&["1", "2"]],
    );
}

#[test]
fn lf_crlf_or_a_lone_cr_mixed_too() {
    assert_read(
        "a\n1\r\n2\r3\n4",
        &as_csv(),
        &["a"],
        &[&["1"], &["2"], &["3"], &["4"]],
    );
}

#[test]
fn a_line_end_within_quotes() {
    assert_read(
        "a,b\n\"1\n\",\"\r\n2\r\"\n3,4",
        &as_csv(),
        &["a", "b"],
        &[&["1\n", "\r\n2\r"], &["3", "4"]],
    );
}

#[test]
fn two_quotes_within_quotes() {
    assert_read(
        "a\n\"say \"\"hi\"\"\"\n\"\"\"\"\n",
        &as_csv(),
        &["a"],
        &[&["say \"hi\""], &["\""]],
    );
}

#[test]
fn a_quote_within_an_unquoted_field() {
    assert_read(
        "a,b\n5\" pipe,1\n3,4\n",
        &as_csv(),
        &["a", "b"],
        &[&["!", "stray-quote"], &["3", "4"]],
    );
}

#[test]
fn text_after_a_closing_quote() {
    assert_read(
        "a,b\n\"1\"x,2\n3,4\n",
        &as_csv(),
        &["a", "b"],
        &[&["!", "stray-quote"], &["3", "4"]],
    );
}

#[test]
fn a_quote_that_is_never_closed() {
    assert_refused(
        "a,b\n1,2\n3,\"4\n5,6\n",
        &as_csv(),
        "the quote that opens on line 3 is never closed",
    );
}

#[test]
fn nul_and_other_control_characters() {
    assert_read(
        "a,b\n\0,\u{1}\u{b}\u{1a}\n",
        &as_csv(),
        &["a", "b"],
        &[&["\0", "\u{1}\u{b}\u{1a}"]],
    );
    // The fields are padded with NULs.
    let padded = ["x\0\0\0\0\0\0\0", "y\0\0\0\0\0\0\0"];
    let text = "a,b\n".to_owned() + &format!("{},{}\n", padded[0], padded[1]).repeat(3);
    for options in [InputOptions::default(), as_csv()] {
        assert_read(&text, &options, &["a", "b"], &[&padded, &padded, &padded]);
    }
    let many: String = ('\u{2}'..='\u{9}').filter(|control| *control != '\t').collect();
    let text = format!("a\n{}\n", many.repeat(9));
    assert_read(&text, &as_csv(), &["a"], &[&[&many.repeat(9)]]);
    assert_refused(&text, &InputOptions::default(), "is binary data, not CSV");
}

#[test]
fn bytes_that_are_not_utf_8() {
    assert_read(
        b"a\ncaf\xe9\ncaf\xc3\xa9\n",
        &as_csv(),
        &["a"],
        &[&["!", "not-utf8"], &["café"]],
    );
    assert_refused(
        b"caf\xe9\n1\n",
        &as_csv(),
        "header (line 1): byte 4 of the record, 0xe9, is not UTF-8",
    );
}

#[test]
fn utf_16_without_a_declaration() {
    assert_refused(
        b"\xff\xfea\0\n\0",
        &as_csv(),
        "is UTF-16: say so, with --encoding utf-16",
    );
    assert_refused(
        b"\xfe\xff\0a\0\n",
        &as_csv(),
        "is UTF-16: say so, with --encoding utf-16",
    );
    // NULs beside the letters show that the text is UTF-16 without a byte order mark.
    for (to_bytes, encoding) in [
        (u16::to_le_bytes as fn(u16) -> [u8; 2], "utf-16le"),
        (u16::to_be_bytes, "utf-16be"),
    ] {
        let text: Vec<u8> = "a\né\n".encode_utf16().flat_map(to_bytes).collect();
        let message = format!("is UTF-16 without a byte order mark: say so, with --encoding {encoding}");
        assert_refused(&text, &as_csv(), &message);
        for text in [
            "番号,名前\n1,花子\n",
            "编号;名称\r\n1;上海\r\n",
            "номер,имя\n1,Анна\n",
            "αριθμός,όνομα\n1,Άννα\n",
            "رقم,اسم\n1,آنا\n",
            "מספר,שם\n1,חנה\n",
            "번호\t이름\r1\t가나\r",
        ] {
            let bytes: Vec<u8> = text.encode_utf16().flat_map(to_bytes).collect();
            let named = ["windows-1252", "windows-1251", "shift_jis"].map(|encoding| InputOptions {
                encoding: Some(encoding.into()),
                ..InputOptions::default()
            });
            for options in [InputOptions::default(), as_csv()].iter().chain(&named) {
                assert_refused(&bytes, options, &message);
            }
            let (columns, _) = transcoded(bytes, encoding);
            assert!(text.starts_with(&columns.join(",")), "{columns:?}");
        }
    }
}

#[test]
fn utf_16_or_latin_1_by_declaration() {
    let text = "name,\"what\n\"\nżółć,日本\r\n";
    let utf16 = |to_bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(to_bytes).collect::<Vec<_>>();
    for (bytes, encoding) in [
        (utf16(u16::to_le_bytes), "utf-16le"),
        (utf16(u16::to_be_bytes), "utf-16be"),
        (
            [b"\xff\xfe".to_vec(), utf16(u16::to_le_bytes)].concat(),
            "utf-16le",
        ),
        (
            [b"\xfe\xff".to_vec(), utf16(u16::to_be_bytes)].concat(),
            "utf-16le",
        ),
    ] {
        let (columns, raw) = transcoded(bytes, encoding);
        assert_eq!(columns, ["name", "what\n"]);
        assert_eq!(raw, "żółć,日本\r\n".as_bytes(), "{encoding}");
    }
    let (columns, raw) = transcoded(b"caf\xe9\n\x80 5\n".to_vec(), "windows-1252");
    assert_eq!(
        (columns[0].as_str(), raw.as_slice()),
        ("café", "€ 5\n".as_bytes())
    );
    for (named, made) in [
        ("utf-16le", utf16(u16::to_be_bytes)),
        ("utf-16be", utf16(u16::to_le_bytes)),
        (
            "windows-1252",
            "id,name\n1,x\n"
                .encode_utf16()
                .flat_map(u16::to_be_bytes)
                .collect(),
        ),
        (
            "us-ascii",
            "id,name\n1,x\n"
                .encode_utf16()
                .flat_map(u16::to_le_bytes)
                .collect(),
        ),
    ] {
        let label = if ["utf-16be", "us-ascii"].contains(&named) {
            "utf-16le"
        } else {
            "utf-16be"
        };
        let options = with(|options| options.encoding = Some(named.into()));
        assert_refused(made, &options, &format!(": say so, with --encoding {label}"));
    }
    let noise: Vec<u8> = (1..2_000_u32)
        .map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    for named in ["windows-1252", "iso-8859-15", "koi8-r"] {
        let options = with(|options| options.encoding = Some(named.into()));
        assert_refused(&noise, &options, "is binary data, not CSV");
    }
    let ascii = with(|options| options.encoding = Some("us-ascii".into()));
    assert_refused("a\n1\né\n", &ascii, "byte 4 of the file is no text in ASCII");
    let odd = InputOptions {
        encoding: Some("utf-16le".into()),
        ..as_csv()
    };
    assert_refused(b"a\0\n\0x", &odd, "byte 4 of the file is no text in UTF-16LE");
}

#[test]
fn an_empty_line() {
    assert_read("\n\r\na\n\n1\n\r\n\r2\n\n", &as_csv(), &["a"], &[&["1"], &["2"]]);
}

#[test]
fn more_or_fewer_fields_than_the_header() {
    let ragged: &[&str] = &["!", "ragged-row"];
    assert_read(
        "a,b\n1\n1,2\n1,2,3\n",
        &as_csv(),
        &["a", "b"],
        &[ragged, &["1", "2"], ragged],
    );
}

#[test]
fn a_delimiter_at_the_end_of_a_line() {
    assert_read(
        "a,b,\n1,2,\n",
        &as_csv(),
        &["a", "b", "column_3"],
        &[&["1", "2", ""]],
    );
    assert_read("a,b\n1,2,\n", &as_csv(), &["a", "b"], &[&["!", "ragged-row"]]);
}

#[test]
fn no_line_end_after_the_last_record() {
    assert_read("a,b\n1,2", &as_csv(), &["a", "b"], &[&["1", "2"]]);
    assert_read("a,b\n1,\"2\"", &as_csv(), &["a", "b"], &[&["1", "2"]]);
    assert_read("a,b\n1,", &as_csv(), &["a", "b"], &[&["1", ""]]);
}

#[test]
fn one_column() {
    assert_read("a\n1\n\n\"\"\n2\n", &as_csv(), &["a"], &[&["1"], &[""], &["2"]]);
}

#[test]
fn a_header_and_nothing_else() {
    for text in ["a,b", "a,b\n", "a,b\r\n\r\n"] {
        assert_read(text, &as_csv(), &["a", "b"], &[]);
    }
}

#[test]
fn an_empty_file() {
    for options in [
        as_csv(),
        from_first_records(),
        InputOptions {
            header: Some(false),
            ..as_csv()
        },
    ] {
        for text in ["", "\n\r\n", "\u{feff}"] {
            assert_refused(text, &options, "is empty: expected a line that tells the columns");
        }
    }
}

#[test]
fn another_kind_of_file_in_its_place() {
    for page in [
        "<!DOCTYPE html>\n<html lang=\"en\">\n".as_bytes(),
        b"\n  <html lang=\"en\">\n<head>\n",
        b"\xef\xbb\xbf<HTML>",
        b"<html",
        b"<!doctype html><title>caf\xe9</title><script>f(1,\"un;",
    ] {
        let without_header = InputOptions {
            header: Some(false),
            ..as_csv()
        };
        for options in [as_csv(), from_first_records(), without_header] {
            assert_refused(page, &options, "is a page of HTML, not CSV");
        }
    }
    assert_read(
        "<html-note>,b\n1,2\n",
        &as_csv(),
        &["<html-note>", "b"],
        &[&["1", "2"]],
    );
    assert_read(
        "a,<html>\n1,<html>\n",
        &as_csv(),
        &["a", "<html>"],
        &[&["1", "<html>"]],
    );
    for (file, message) in [
        (&b"PK\x03\x04\x14\0"[..], "is a ZIP archive, not CSV: unpack it"),
        (b"\x89PNG\r\n\x1a\n\0", "is a PNG image"),
        (b"[{\"a\":1}]", "is a JSON array"),
        (b"<Error><Code>x</Code></Error>", "is an XML document (<Error>)"),
    ] {
        assert_refused(file, &as_csv(), message);
    }
    // No option turns these texts into a table.
    let is = |character| Some(Character::Is(character));
    let trim = with(|options| options.trim = Some(true));
    let escape = with(|options| options.escape = is('\\'));
    let comment = with(|options| options.comment = is('#'));
    for (text, options, what) in [
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            &trim,
            "a Git LFS pointer",
        ),
        (
            "-----BEGIN CERTIFICATE-----\nabc\n",
            &trim,
            "a key or a certificate",
        ),
        ("-- MySQL dump 10\n--\n", &trim, "an SQL dump"),
        ("{\\rtf1\\ansi}\n", &escape, "an RTF document"),
        ("# by hand\n<html>\n<p>x\n", &comment, "a page of HTML"),
    ] {
        assert_refused(text, options, what);
    }
    // If a text could be a header, its kind is a guess.
    for (text, options, what, columns) in [
        (
            "CREATE TABLE a (b int);\n",
            &trim,
            "an SQL dump",
            &["CREATE TABLE a (b int);"][..],
        ),
        ("#!/bin/sh\necho a\n", &comment, "a script", &["echo a"]),
        (
            "# by hand\nINSERT INTO a VALUES (1);\n",
            &comment,
            "an SQL dump",
            &["INSERT INTO a VALUES (1);"],
        ),
        ("<body>\n", &trim, "a page of HTML", &["<body>"]),
        ("%PDF-1.4\n", &trim, "a PDF document", &["%PDF-1.4"]),
        ("[1, 2]\n", &trim, "a JSON array", &["[1", "2]"]),
        ("GIF89a,\u{2}\n", &as_csv(), "a GIF image", &["GIF89a", "\u{2}"]),
        (
            "PK\u{3}\u{4},b\n",
            &as_csv(),
            "a ZIP archive",
            &["PK\u{3}\u{4}", "b"],
        ),
    ] {
        assert_read(text, options, columns, &[]);
        let unnamed = InputOptions {
            format: None,
            ..options.clone()
        };
        assert_refused(text, &unnamed, what);
        assert_refused(text, &unnamed, " if it is CSV, say --input-format csv");
    }
    // Text in these encodings is not taken for a binary format.
    let of_letters: [(&[u8], &str, &str); 4] = [
        (b"\xff\xfb,b\n", "windows-1251", "яы"),
        (b"\xff\xd8\xff,b\n", "windows-1251", "яШя"),
        (b"\x93NUMPY,b\n", "windows-1251", "“NUMPY"),
        (b"\x1f\xa0,b\n", "windows-1252", "\u{1f}\u{a0}"),
    ];
    for (bytes, encoding, name) in of_letters {
        let (columns, _) = transcoded([bytes, b"1,2\n"].concat(), encoding);
        assert_eq!(columns, [name, "b"]);
    }
    for (text, columns) in [
        (
            "Insert into stock,Remove from stock\n",
            &["Insert into stock", "Remove from stock"][..],
        ),
        (
            "http/1.1 requests,http/2 requests\n",
            &["http/1.1 requests", "http/2 requests"],
        ),
        (
            "-----begin date,-----end date\n",
            &["-----begin date", "-----end date"],
        ),
        ("@relation name,b\n", &["@relation name", "b"]),
        ("diff --git a,b\n", &["diff --git a", "b"]),
        ("#!/rank,b\n", &["#!/rank", "b"]),
        ("id,body <html>\n", &["id", "body <html>"]),
        ("2024 <html> rewrite,done\n", &["2024 <html> rewrite", "done"]),
        ("<b>,note\n", &["<b>", "note"]),
        ("BM,b\0\n", &["BM", "b\0"]),
        ("12345678DUCK,\u{2}\u{3}\n", &["12345678DUCK", "\u{2}\u{3}"]),
    ] {
        let row: &[&str] = &["1", "2"];
        let text = text.to_owned() + "1,2\n";
        assert_read(&text, &as_csv(), columns, &[row]);
        assert_read(&text, &InputOptions::default(), columns, &[row]);
    }
}

#[test]
fn a_first_line_sep() {
    let bare = InputOptions::default();
    for options in [&bare, &as_csv(), &from_first_records()] {
        for text in [
            "sep=;\na;b\n1;2,3\n",
            "\u{feff}sep=;\r\n\na;b\r\n1;2,3\r\n",
            "\"sep=;\"\ra;b\r1;2,3",
        ] {
            assert_read(text, options, &["a", "b"], &[&["1", "2,3"]]);
        }
    }
    let given = InputOptions {
        delimiter: Some(','),
        ..as_csv()
    };
    assert_read("sep=;\na;b\n1;2\n", &given, &["a;b"], &[&["1;2"]]);
    let given = with(|options| (options.delimiter, options.comment) = (Some(';'), Some(Character::Is('#'))));
    assert_read("sep=#\na;b\n#1\n2;3\n", &given, &["a", "b"], &[&["2", "3"]]);
    // If a file names a delimiter that an option uses for something else, the file is refused.
    let is = |character| Some(Character::Is(character));
    for (text, option, options) in [
        (
            "sep=\\\na\\b\n",
            "--escape",
            with(|options| options.escape = is('\\')),
        ),
        (
            "sep=#\na#b\n",
            "--comment",
            with(|options| options.comment = is('#')),
        ),
        (
            "sep='\na'b\n",
            "--quote",
            with(|options| options.quote = is('\'')),
        ),
        (
            "sep= \na b\n",
            "--trim",
            with(|options| options.trim = Some(true)),
        ),
    ] {
        let auto = InputOptions {
            dialect: Some(DialectFrom::Auto),
            ..options.clone()
        };
        for options in [&options, &auto] {
            let message =
                format!("tells a delimiter that {option} uses, too: leave {option} out, or say --delimiter");
            assert_refused(text, options, &message);
        }
    }
    assert_refused(
        "sep=;\n",
        &as_csv(),
        "is empty: expected a line that tells the columns",
    );
    assert_refused(
        "sep=;",
        &as_csv(),
        "is empty: expected a line that tells the columns",
    );
}

#[test]
fn fields_separated_by_runs_of_spaces() {
    let options = InputOptions {
        dialect: Some(DialectFrom::Spaces),
        ..as_csv()
    };
    let reader = Box::new(std::io::Cursor::new(
        b"id    name\n 1     \"x  y\"\n22\tz  \n".to_vec(),
    ));
    let mut decoding = open(reader, "orders.txt", None, &options, &Limits::default()).unwrap();
    assert_eq!(decoding.columns, ["id", "name"]);
    assert!(decoding.is_transcoded);
    let chunk = decoding
        .splitter
        .next(Vec::new())
        .map_err(|_| "a fault")
        .unwrap()
        .unwrap();
    assert_eq!(chunk.raw, b"1\t\"x  y\"\n22\tz\n");
    let spaced = |change: fn(&mut InputOptions)| {
        with(|options| {
            options.dialect = Some(DialectFrom::Spaces);
            change(options);
        })
    };
    let fields = |text: &[u8], options: &InputOptions| {
        let reader = Box::new(std::io::Cursor::new(text.to_vec()));
        let mut decoding = open(reader, "orders.txt", None, options, &Limits::default()).unwrap();
        let mut batch = Batch::default();
        let reads: Vec<_> = (0..decoding.columns.len()).collect();
        decoding.decoder.project(&reads, &[]).unwrap();
        let chunk = decoding
            .splitter
            .next(Vec::new())
            .map_err(|_| "a fault")
            .unwrap()
            .unwrap();
        batch.load(chunk.raw);
        assert!(decoding.decoder.next(&mut batch).map_err(|_| "a fault").unwrap());
        let rows = read(&mut batch, reads.len());
        (decoding.columns, rows, batch.malformed.len())
    };
    let comment = spaced(|options| options.comment = Some(Character::Is('#')));
    let text = b"city pop\n# \"estimates\nOslo 7\n\"New York\" 8\nRome 3\n";
    let rows = [["Oslo", "7"], ["New York", "8"], ["Rome", "3"]]
        .map(|row| row.map(str::to_owned).to_vec())
        .to_vec();
    assert_eq!(
        fields(text, &comment),
        (vec!["city".into(), "pop".into()], rows, 0)
    );
    let escape = spaced(|options| options.escape = Some(Character::Is('\\')));
    let rows = vec![
        vec!["x y".to_owned(), "z".to_owned()],
        vec!["a\" b".to_owned(), "c".to_owned()],
    ];
    let text = b"a b\nx\\ y z\n\"a\\\" b\" c\n";
    assert_eq!(fields(text, &escape), (vec!["a".into(), "b".into()], rows, 0));
    let unquoted = spaced(|options| options.quote = Some(Character::None));
    let rows = vec![vec!["\"3".to_owned(), "4".to_owned()]];
    assert_eq!(
        fields(b"a b\n\xff1 2\n\"3 4\n", &unquoted),
        (vec!["a".into(), "b".into()], rows, 1)
    );
    // The first field can be quoted even after a byte order mark.
    let rows = vec![vec!["1".to_owned(), "2".to_owned()]];
    let text = "\u{feff}\"a  b\" c\n1 2\n".as_bytes();
    assert_eq!(fields(text, &options), (vec!["a  b".into(), "c".into()], rows, 0));
}

#[test]
fn two_columns_with_the_same_name() {
    assert_refused("a,b,a\n", &as_csv(), "columns 1 and 3 are both named \"a\"");
    let number = with(|options| options.duplicate_columns = Some(DuplicateColumns::Number));
    assert_read(
        "a,a,a_2,a,b,a_2,,column_7\n1,2,3,4,5,6,7,8\n",
        &number,
        &["a", "a_3", "a_2", "a_4", "b", "a_2_2", "column_7", "column_7_2"],
        &[&["1", "2", "3", "4", "5", "6", "7", "8"]],
    );
}

#[test]
fn a_column_without_a_name() {
    assert_read(
        "a,,\"\"\n1,2,3\n",
        &as_csv(),
        &["a", "column_2", "column_3"],
        &[&["1", "2", "3"]],
    );
}

#[test]
fn a_huge_field() {
    let huge = "x".repeat((16 << 20) - 2);
    let decoded = decode(&format!("a,b\n{huge},1\n"), &as_csv());
    assert_eq!(table(&decoded), [[huge.as_str(), "1"]]);
    let text = format!("a,b\n1,2\n{huge}xx,1\n");
    let error = run(
        text.as_bytes(),
        &as_csv(),
        &Limits::default(),
        None,
        &[usize::MAX],
    )
    .expect_err("too long");
    assert!(
        error
            .to_string()
            .contains("record 2 (line 3): is longer than the 16777216 bytes allowed"),
        "{error}"
    );
}

#[test]
fn white_space_around_a_field() {
    assert_read(" a ,b\n 1,2\t\n", &as_csv(), &[" a ", "b"], &[&[" 1", "2\t"]]);
    // A quote after such a space is a stray quote, because the field begins with the space.
    assert_read(
        "a,b\n1, \"2\"\n",
        &as_csv(),
        &["a", "b"],
        &[&["!", "stray-quote"]],
    );
}

#[test]
fn another_delimiter_or_quote() {
    let options = InputOptions {
        delimiter: Some('\t'),
        quote: Some(Character::Is('\'')),
        ..as_csv()
    };
    assert_read("a\tb\n'1\t,'\t\"2\n", &options, &["a", "b"], &[&["1\t,", "\"2"]]);
}

fn with(change: impl FnOnce(&mut InputOptions)) -> InputOptions {
    let mut options = as_csv();
    change(&mut options);
    options
}

#[test]
fn spaces_after_a_delimiter() {
    let trim = with(|options| options.trim = Some(true));
    assert_read(
        "a, b,  \"c\"\n1, \"x, \"\"y\"\"\" ,  3\n  \" z\"  , ,4 5 \n",
        &trim,
        &["a", "b", "c"],
        &[&["1", "x, \"y\"", "3"], &[" z", "", "4 5 "]],
    );
    // A tab does not count as a space, and text after a closing quote stays an error.
    assert_read(
        "a,b\n1,\t2\n\"x\" y,2\n",
        &trim,
        &["a", "b"],
        &[&["1", "\t2"], &["!", "stray-quote"]],
    );
    let auto = with(|options| (options.trim, options.dialect) = (Some(true), Some(DialectFrom::Auto)));
    assert_read("a; b\n1; \"2;3\"\n", &auto, &["a", "b"], &[&["1", "2;3"]]);
    let spaces = with(|options| (options.trim, options.delimiter) = (Some(true), Some(' ')));
    assert_refused(
        "a b\n",
        &spaces,
        "delimiter is a space, which trim would take off",
    );
}

#[test]
fn quotes_that_are_text() {
    let none = with(|options| options.quote = Some(Character::None));
    assert_read(
        "a,\"b\"\n\"1,2\"\n5\" pipe,\"\n",
        &none,
        &["a", "\"b\""],
        &[&["\"1", "2\""], &["5\" pipe", "\""]],
    );
    let auto =
        with(|options| (options.quote, options.dialect) = (Some(Character::None), Some(DialectFrom::Auto)));
    assert_read("a;b\n\"1;2\n", &auto, &["a", "b"], &[&["\"1", "2"]]);
    let quoted = with(|options| (options.quote, options.delimiter) = (Some(Character::None), Some('"')));
    assert_refused("a\"b\n", &quoted, "delimiter \" cannot be read with quote none");
}

#[test]
fn an_escape() {
    let escape = with(|options| options.escape = Some(Character::Is('\\')));
    assert_read(
        "a,b\n\"say \\\"hi\\\"\",\"\"\"\\\\\"\nx\\,y,\\\"z\\\nw\n1\\\r\n2,\\N\\n\n",
        &escape,
        &["a", "b"],
        &[&["say \"hi\"", "\"\\"], &["x,y", "\"z\nw"], &["1\r\n2", "Nn"]],
    );
    assert_read("a,b\n1,2\\", &escape, &["a", "b"], &[&["!", "stray-escape"]]);
    assert_refused(
        "a,b\\",
        &escape,
        "\\ at byte 4 of the record, with which the file ends",
    );
    assert_refused(
        "a\n\"1\\\"\n2\n",
        &escape,
        "the quote that opens on line 2 is never closed",
    );
    let unquoted = with(|options| {
        (options.escape, options.quote) = (Some(Character::Is('\\')), Some(Character::None));
    });
    assert_read(
        "a,b\n\"1\\,\"2\",3\n",
        &unquoted,
        &["a", "b"],
        &[&["\"1,\"2\"", "3"]],
    );
    let auto = with(|options| {
        (options.escape, options.dialect) = (Some(Character::Is('\\')), Some(DialectFrom::Auto));
    });
    assert_read("a;b\n\"1\\\";\\\"\";2\n", &auto, &["a", "b"], &[&["1\";\"", "2"]]);
    let same = with(|options| options.escape = Some(Character::Is('"')));
    assert_refused(
        "a\n",
        &same,
        "quote and escape are the same character: leave escape out",
    );
}

#[test]
fn lines_before_the_header() {
    let skip = |lines| with(|options| options.skip_lines = Some(lines));
    assert_read(
        "\u{feff}Report, \"2024\n\r\na,b\n1,2\n",
        &skip(2),
        &["a", "b"],
        &[&["1", "2"]],
    );
    let decoded = decode("Report\n\na\n1\n", &skip(2));
    assert_eq!(
        (
            decoded.records[0].position.line,
            decoded.records[0].position.offset
        ),
        (4, 10)
    );
    let without_header = with(|options| (options.skip_lines, options.header) = (Some(1), Some(false)));
    assert_read(
        "x\n1,2\n",
        &without_header,
        &["column_1", "column_2"],
        &[&["1", "2"]],
    );
    // A byte order mark counts only at the start of the file.
    assert_read(
        "x\n\u{feff}1,2\n",
        &without_header,
        &["column_1", "column_2"],
        &[&["\u{feff}1", "2"]],
    );
    let reject: &[&str] = &["!", "not-utf8"];
    assert_read(
        b"x\n\xff\xfe1\n2\n",
        &without_header,
        &["column_1"],
        &[reject, &["2"]],
    );
    let auto = with(|options| (options.skip_lines, options.dialect) = (Some(1), Some(DialectFrom::Auto)));
    assert_read(
        "Sales, all; \"net\na;b\n1,5;2\n",
        &auto,
        &["a", "b"],
        &[&["1,5", "2"]],
    );
    assert_refused(
        "a,b\n1,2\n",
        &skip(2),
        "has no line behind the 2 that are skipped",
    );
    assert_refused(
        "\n\n\n",
        &skip(1),
        "is empty: expected a line that tells the columns",
    );
}

#[test]
fn rows_after_the_last_record() {
    let skip = |rows| with(|options| options.skip_footer = Some(rows));
    let text = "a,b\n1,2\n3,4\nTotal: 2\n\n\"x\" y\n\n";
    assert_read(
        text,
        &skip(1),
        &["a", "b"],
        &[&["1", "2"], &["3", "4"], &["!", "ragged-row"]],
    );
    assert_read(text, &skip(2), &["a", "b"], &[&["1", "2"], &["3", "4"]]);
    assert_read(text, &skip(3), &["a", "b"], &[&["1", "2"]]);
    assert_read(text, &skip(9), &["a", "b"], &[]);
    assert_read("a\n1\n\"2\nx\"", &skip(1), &["a"], &[&["1"]]);
    assert_refused(
        "a\n1\n2\n\"Total\n",
        &skip(1),
        "the quote that opens on line 4 is never closed",
    );
    let comments =
        with(|options| (options.skip_footer, options.comment) = (Some(1), Some(Character::Is('#'))));
    assert_read("a\n1\nsum\n# end \"\n", &comments, &["a"], &[&["1"]]);
    // The result does not depend on the number of chunks.
    let limits = Limits {
        batch_bytes: 64,
        ..Limits::default()
    };
    let short = Limits {
        batch_bytes: 64,
        record_bytes_max: 256,
        ..Limits::default()
    };
    for (options, text, message) in [
        (
            skip(9),
            "x".repeat(60) + "\n",
            "record 1 (line 2): the 9 rows from here on may be the footer, and are longer together than the 256 bytes allowed",
        ),
        (
            skip(9),
            "x".repeat(300) + "\n",
            "record 1 (line 2): is longer than the 256 bytes allowed",
        ),
        (
            skip(1),
            "x".repeat(250) + "\n",
            "record 1 (line 2): the row from here on may be the footer, and is longer, together with what follows, than the 256 bytes allowed",
        ),
        (
            skip(1),
            format!("1\n\n2\n\"3{}", "4\n".repeat(200)),
            "record 3 (line 5): is longer than the 256 bytes allowed; is a quote never closed",
        ),
        (skip(2), "x".repeat(60) + "\n", ""),
    ] {
        let text = format!("a\n{}", text.repeat(12));
        match run(text.as_bytes(), &options, &short, None, &[3]) {
            Ok(decoded) => assert_eq!((table(&decoded).len(), message), (10, "")),
            Err(error) => assert!(
                !message.is_empty() && error.to_string().contains(message),
                "{error}"
            ),
        }
    }
    let rows = Vec::from_iter((0..500).map(|number| vec![format!("{number}")]));
    let text: String = rows.iter().map(|row| format!("{}\n", row[0])).collect();
    for footer in [1, 2, 40, 499, 500] {
        let text = format!("a\n{text}");
        let decoded = run(text.as_bytes(), &skip(footer), &limits, None, &[3]).unwrap();
        assert_eq!(table(&decoded), rows[..500 - footer as usize]);
    }
}

#[test]
fn comments() {
    let comment = with(|options| options.comment = Some(Character::Is('#')));
    assert_read(
        "# a \"title\n#\na,b\n1,#2\n# it's, \"not\r\"#3\",x#\n#last",
        &comment,
        &["a", "b"],
        &[&["1", "#2"], &["#3", "x#"]],
    );
    let decoded = decode("#\na\n#\n1\n", &comment);
    assert_eq!(decoded.records[0].position.line, 4);
    let auto = with(|options| {
        (options.comment, options.dialect) = (Some(Character::Is('#')), Some(DialectFrom::Auto));
    });
    assert_read("# a, b, \"c\na;b\n1;2\n", &auto, &["a", "b"], &[&["1", "2"]]);
    assert_refused(
        "# a\n",
        &comment,
        "is empty: expected a line that tells the columns",
    );
}

#[test]
fn rows_with_too_few_fields() {
    let fill = with(|options| options.short_rows = Some(ShortRows::Fill));
    assert_read(
        "a,b,c\n1\n1,2\n\"\"\n1,2,3\n1,2,3,4\n",
        &fill,
        &["a", "b", "c"],
        &[
            &["1", "", ""],
            &["1", "2", ""],
            &["", "", ""],
            &["1", "2", "3"],
            &["!", "ragged-row"],
        ],
    );
}

#[test]
fn rows_with_further_fields_that_are_empty() {
    let cut = with(|options| options.long_rows = Some(LongRows::TrailingEmpty));
    assert_read(
        "a,b\n1,2,\n1,2,\"\",,\n1,2,,3\n1\n1,\n",
        &cut,
        &["a", "b"],
        &[
            &["1", "2"],
            &["1", "2"],
            &["!", "ragged-row"],
            &["!", "ragged-row"],
            &["1", ""],
        ],
    );
}

#[test]
fn rows_of_delimiters_only() {
    assert_read("a,b\n,\n1,2\n", &as_csv(), &["a", "b"], &[&["", ""], &["1", "2"]]);
    let drop = with(|options| options.blank_rows = Some(BlankRows::Drop));
    assert_read(
        ",,\na,b\n,\n1,2\n,,,,\n\"\",\"\"\n,",
        &drop,
        &["a", "b"],
        &[&["1", "2"], &["", ""]],
    );
    let decoded = decode("a,b\n,\n1,2\n", &drop);
    assert_eq!(decoded.records[0].position.line, 3);
    let trim = with(|options| (options.blank_rows, options.trim) = (Some(BlankRows::Drop), Some(true)));
    assert_read("a,b\n , \n  \n1,2\n", &trim, &["a", "b"], &[&["1", "2"]]);
}

#[test]
fn more_columns_than_the_limit() {
    let wide = vec!["x"; 5_000].join(",") + "\n";
    let options = with(|options| options.header = Some(false));
    let limits = Limits::default();
    let read = |limits: &Limits| run(wide.as_bytes(), &options, limits, None, &[usize::MAX]);
    let error = read(&limits).expect_err("too many").to_string();
    assert!(
        error.contains("has 5000 columns, more than the 4096 allowed; --limit columns=5000 allows them"),
        "{error}"
    );
    let limits = limits.with(&["columns=5000".parse().unwrap()]);
    assert_eq!(read(&limits).unwrap().columns.len(), 5_000);
}

#[test]
fn utf_32() {
    for start in [
        &b"\xff\xfe\0\0a\0\0\0\n\0\0\0"[..],
        b"\0\0\xfe\xff\0\0\0a\0\0\0\n",
    ] {
        let declared = with(|options| options.encoding = Some("utf-16le".into()));
        for options in [as_csv(), declared, with(|options| options.skip_lines = Some(1))] {
            assert_refused(
                start,
                &options,
                "is UTF-32, which is not supported: make UTF-8 of it first",
            );
        }
    }
    for to_bytes in [u32::to_le_bytes as fn(u32) -> [u8; 4], u32::to_be_bytes] {
        let text: Vec<u8> = "id,név\n1,é\n".chars().flat_map(|c| to_bytes(c.into())).collect();
        let latin = with(|options| options.encoding = Some("windows-1252".into()));
        for options in [InputOptions::default(), as_csv(), latin] {
            assert_refused(&text, &options, "is UTF-32, which is not supported");
        }
    }
    let named = with(|options| options.encoding = Some("utf_32".into()));
    assert_refused(
        "a\n",
        &named,
        "encoding \"utf_32\" is not supported: make UTF-8 of the file first",
    );
}

#[test]
fn an_encoding_by_its_name_in_python() {
    for (label, bytes, text) in [
        ("latin_1", &b"caf\xe9\n"[..], "café"),
        ("cp1252", b"\x80\n", "€"),
        ("utf_8_sig", b"\xef\xbb\xbfcaf\xc3\xa9\n", "café"),
        ("utf-8-sig", b"caf\xc3\xa9\n", "café"),
        ("iso8859_15", b"\xa4\n", "€"),
        ("mac_roman", b"caf\x8e\n", "café"),
        ("utf_16_le", b"a\0\n\0", "a"),
    ] {
        let document = serde_json::json!({ "uri": "a.csv", "encoding": label }).to_string();
        let encoding = NewRequest::parse(&document).unwrap().input.encoding.unwrap();
        assert_eq!(
            transcoded([bytes, bytes].concat(), &encoding).0,
            [text],
            "{label}"
        );
    }
}

#[test]
fn an_unknown_dialect() {
    let auto = from_first_records();
    assert_read("a;b\n1,5;it's\n", &auto, &["a", "b"], &[&["1,5", "it's"]]);
    assert_read("a|b\n'1\n|'|2\n", &auto, &["a", "b"], &[&["1\n|", "2"]]);
    let apostrophes = "band,nick,n\n'N Sync,a,1\nThe Boys',b,2\nAbba,c,3\n";
    let rows: &[&[&str]] = &[
        &["'N Sync", "a", "1"],
        &["The Boys'", "b", "2"],
        &["Abba", "c", "3"],
    ];
    assert_read(apostrophes, &auto, &["band", "nick", "n"], rows);
    // Other options also apply during detection.
    let with_auto = |change: fn(&mut InputOptions)| {
        with(|options| {
            options.dialect = Some(DialectFrom::Auto);
            change(options);
        })
    };
    let footer = with_auto(|options| options.skip_footer = Some(1));
    let text = "a;b\n1;2\n3;4\nTotal: 2 rows\n";
    assert_read(text, &footer, &["a", "b"], &[&["1", "2"], &["3", "4"]]);
    let fill = with_auto(|options| options.short_rows = Some(ShortRows::Fill));
    let rows: &[&[&str]] = &[&["1", "2", "3"], &["4", "5", ""], &["6", "7", "8"]];
    assert_read("a;b;c\n1;2;3\n4;5\n6;7;8\n", &fill, &["a", "b", "c"], rows);
    let cut = with_auto(|options| options.long_rows = Some(LongRows::TrailingEmpty));
    assert_read("a;b;c\n1;2;3\n4;5;;;\n6;7;8\n", &cut, &["a", "b", "c"], rows);
    let comment = with_auto(|options| options.comment = Some(Character::Is('#')));
    let text = "a;b\n1;\"x\n# y\"\n# it's;2;3\n2;z\n";
    assert_read(text, &comment, &["a", "b"], &[&["1", "x\n# y"], &["2", "z"]]);
    let semicolon = with_auto(|options| options.comment = Some(Character::Is(';')));
    let message = "has 2 columns by semicolons, but --comment uses that character: say another one there, or --delimiter ','";
    assert_refused("a;b\n1;2\n;3\n4;5\n", &semicolon, message);
    let apostrophe = with_auto(|options| options.comment = Some(Character::Is('\'')));
    assert_read("a;b\n1;'2'\n'3;4\n", &apostrophe, &["a", "b"], &[&["1", "'2'"]]);
    let unquoted = with_auto(|options| options.quote = Some(Character::None));
    let reject: &[&str] = &["!", "not-utf8"];
    let bytes = b"a;b\n\xff1;2\n\xff3;4\n5;\"6\n";
    assert_read(bytes, &unquoted, &["a", "b"], &[reject, reject, &["5", "\"6"]]);
    assert_read("a\n1;2\n", &auto, &["a"], &[&["1;2"]]);
    assert_refused(
        "a;b\n1\n2;3;4\n",
        &auto,
        "say which it is, with --delimiter and --quote",
    );
    assert_refused(
        "a,b;c\n1,2;3\n",
        &auto,
        "can be read in two ways, 2 fields by semicolons or by commas",
    );
    // A delimiter that the request names is trusted.
    let given = InputOptions {
        delimiter: Some(','),
        ..auto
    };
    assert_read("a;b\n1;2\n", &given, &["a;b"], &[&["1;2"]]);
}

#[test]
fn no_header() {
    let options = InputOptions {
        header: Some(false),
        ..as_csv()
    };
    assert_read(
        "1,2\n3,4\n",
        &options,
        &["column_1", "column_2"],
        &[&["1", "2"], &["3", "4"]],
    );
}
