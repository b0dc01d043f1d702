//! Tests JSONL files of all kinds.

use super::*;

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
        let decoded = decode(text, &as_jsonl());
        assert_eq!(decoded.columns, ["a", "b"], "{text:?}");
        assert_eq!(table(&decoded), rows, "{text:?}");
    }
    assert_eq!(
        decode("", &as_jsonl()),
        Decoded {
            columns: vec![],
            records: vec![],
            batches: vec![]
        }
    );
}

#[test]
fn blank_lines_are_passed_over_however_many_there_are() {
    let limits = small();
    for blank in ["\n", "\r\n", " \t\n", " \r\r\n"] {
        let padding = "\u{feff}".to_owned() + &blank.repeat(10 * limits.record_bytes_max);
        let text = format!("{padding}{{\"a\":1}}\n{}{{\"a\":2}}", &padding[3..]);
        let decoded = run(text.as_bytes(), &as_jsonl(), &limits, None, &[usize::MAX]).unwrap();
        assert_eq!(table(&decoded), [["1"], ["2"]], "{blank:?}");
    }
    // White space also counts toward the length of a record.
    let text = " ".repeat(2 * limits.record_bytes_max) + "\n{}";
    let message = error(text.as_bytes(), &as_jsonl()).to_string();
    assert!(
        message.contains("record 1 (line 1): is longer than the 200 bytes allowed"),
        "{message}"
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
        let decoded = decode(&text, &as_jsonl());
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
fn values_that_are_not_read_are_let_alone() {
    let text = br#"{"a":1,"b":2,"c":"\ud800"}"#;
    let decoded = run(text, &as_jsonl(), &small(), Some(&[0]), &[usize::MAX]).unwrap();
    assert_eq!(table(&decoded), [["1"]]);
}

#[test]
fn a_member_stands_there_once_wherever_it_is() {
    let known = "{\"a\":0,\"b\":0}\n".repeat(5);
    for (object, twice) in [
        (r#"{"a":1,"b":2,"a":1}"#, r#""a""#),
        // The plugin does not read the member.
        (r#"{"b":1,"a":2,"\u0062":1}"#, r#""\u0062""#),
        // The member is in no column.
        (r#"{"z":1,"y":1,"a":1,"\u007a":2}"#, r#""\u007a""#),
        (r#"{"a\"":1,"x":1,"a\u0022":1,"x":1}"#, r#""a\u0022""#),
        (r#"{"":1,"":1}"#, r#""""#),
        // Keys with escapes can be at any position. If two names occur twice, the first in the order of names is
        // reported.
        (r#"{"\u007a":1,"y":1,"z":2}"#, r#""z""#),
        (r#"{"w\n":1,"x":1,"\u0079":1,"v":1,"w\u000a":1}"#, r#""w\u000a""#),
        (r#"{"z":1,"\u0079":1,"z":2,"y":2,"z":3}"#, r#""y""#),
    ] {
        // The result does not depend on earlier records of the chunk.
        for before in ["{}\n", "{\"z\":1,\"y\":1,\"a\":1}\n", "{\"x\":1}\n"] {
            let text = format!("{known}{before}{object}\n{{\"a\":3}}\n");
            let decoded = run(text.as_bytes(), &as_jsonl(), &small(), Some(&[0]), &[usize::MAX]).unwrap();
            assert_eq!(decoded.columns, ["a", "b"]);
            let reason = format!("member {twice} stands there more than once");
            assert_eq!(
                decoded.records[6].fields,
                Err(("duplicate-member", reason)),
                "{object}"
            );
            assert_eq!(decoded.records[7].fields, Ok(vec!["3".to_owned()]), "{object}");
        }
    }
    // Each object is checked on its own. Members of nested objects are not checked, because nested objects are values.
    let text = format!("{known}{{\"z\":{{\"q\":1,\"q\":2}}}}\n{{\"z\":1,\"y\":1}}\n{{\"y\":1,\"z\":1}}\n");
    let decoded = run(text.as_bytes(), &as_jsonl(), &small(), None, &[usize::MAX]).unwrap();
    assert!(decoded.records.iter().all(|found| found.fields.is_ok()));
}

#[test]
fn a_member_stands_there_once_among_very_many() {
    let members = |twice: &str| {
        let members = (0..100_000).map(|number| format!(",\"{number}\":0"));
        format!("{{\"a\":1{},{twice}:1}}\n", members.collect::<String>())
    };
    let limits = Limits {
        record_bytes_max: 4 << 20,
        ..small()
    };
    for (key, is_twice) in [(r#""77777""#, true), (r#""7777\u0037""#, true), (r#""x""#, false)] {
        let text = "{\"a\":0}\n".repeat(5) + &members(key) + "{\"a\":2}\n";
        let decoded = run(text.as_bytes(), &as_jsonl(), &limits, None, &[usize::MAX]).unwrap();
        let reason = format!("member {key} stands there more than once");
        let expected = if is_twice {
            Err(("duplicate-member", reason))
        } else {
            Ok(vec!["1".to_owned()])
        };
        assert_eq!(decoded.records[5].fields, expected);
        assert_eq!(decoded.records[6].fields, Ok(vec!["2".to_owned()]));
    }
}

#[test]
fn columns_of_jsonl_are_those_of_the_first_batch_and_more() {
    let text = b"\n\n{\"b\":1}\n{\"a\":2,\"b\":3}\nx\n\n{\"c\":4}\n{}\n{\"d\":5}\n";
    let Decoding {
        mut splitter,
        mut decoder,
        columns,
        ..
    } = open(Box::new(&text[..]), "a", None, &as_jsonl(), &small()).unwrap();
    assert_eq!(columns, ["b", "a", "c"]);
    let error = decoder.project(&[], &["a".to_owned()]).unwrap_err().to_string();
    assert!(
        error.contains("column \"a\" is asked for, but is there already"),
        "{error}"
    );
    decoder.project(&[3, 0], &["d".to_owned()]).unwrap();
    let mut batch = Batch::default();
    batch.load(splitter.next(Vec::new()).unwrap().unwrap().raw);
    assert!(decoder.next(&mut batch).unwrap());
    assert!(decoder.next(&mut batch).unwrap());
    assert_eq!(super::read(&mut batch, 2), [["5", ""]]);
    let wide = (0..21)
        .map(|name| format!("{{\"{name}\":0}}\n"))
        .collect::<String>();
    let limits = Limits {
        batch_records: 100,
        batch_bytes: 1000,
        ..small()
    };
    let error = open(
        Box::new(std::io::Cursor::new(wide)),
        "a",
        None,
        &as_jsonl(),
        &limits,
    )
    .err()
    .unwrap();
    assert_eq!(
        error.to_string(),
        "decode a: has 21 columns, more than the 20 allowed; --limit columns=21 allows them"
    );
}

#[test]
fn a_batch_is_closed_by_cells() {
    let names: Vec<_> = (0..20).map(|name| format!("\"{name}\":0")).collect();
    let text = format!("{{{}}}\n{}", names.join(","), "{}\n".repeat(100));
    let limits = Limits {
        batch_bytes: 1_000,
        batch_records: 1_000,
        batch_cells: 200,
        ..small()
    };
    let decoded = run(text.as_bytes(), &as_jsonl(), &limits, None, &[usize::MAX]).unwrap();
    assert_eq!(decoded.batches, [[10; 10].as_slice(), &[1]].concat());
    // A single record is allowed to exceed the limit of cells.
    let limits = Limits {
        batch_cells: 1,
        ..limits
    };
    let decoded = run(text.as_bytes(), &as_jsonl(), &limits, None, &[7]).unwrap();
    assert_eq!(decoded.batches, [1; 101]);
}

#[test]
fn a_key_is_bounded_as_a_column_and_clipped_in_a_reason() {
    let limits = Limits {
        column_name_bytes_max: 100,
        ..Limits::default()
    };
    let object = |length| format!("{{\"{0}\":1,\"{0}\":2}}\n", "k".repeat(length));
    let decoded = run(object(100).as_bytes(), &as_jsonl(), &limits, None, &[7]).unwrap();
    let reason = format!("member \"{}… stands there more than once", "k".repeat(63));
    assert_eq!(decoded.records[0].fields, Err(("duplicate-member", reason)));
    let error = run(object(101).as_bytes(), &as_jsonl(), &limits, None, &[7]).unwrap_err();
    let clipped = "k".repeat(64);
    assert_eq!(
        error.to_string(),
        format!("decode orders.csv: the column name \"{clipped}…\" has 101 bytes, more than the 100 allowed")
    );
}

#[test]
fn jsonl_without_records_is_an_input_without_columns() {
    for text in ["", "\n", "\u{feff}", " \r\n\n"] {
        let decoded = decode(text, &as_jsonl());
        assert!(
            decoded.columns.is_empty() && decoded.records.is_empty(),
            "{text:?}"
        );
    }
}

#[test]
fn a_name_has_a_limit_whenever_it_comes() {
    let limits = Limits {
        column_name_bytes_max: 20,
        ..small()
    };
    let most = limits.column_name_bytes_max;
    let [longest, longer] = [most, most + 1].map(|bytes| "n".repeat(bytes));
    let read = |text: &str| run(text.as_bytes(), &as_jsonl(), &limits, None, &[usize::MAX]);
    let first = read(&format!("{{\"{longest}\":1}}\n")).unwrap();
    assert_eq!(first.columns, [longest.as_str()]);
    let error = read(&format!("{{\"{longer}\":1}}\n")).unwrap_err().to_string();
    assert!(
        error.contains(&format!("has {} bytes, more than the {most} allowed", most + 1)),
        "{error}"
    );
    let before = "{\"a\":1}\n".repeat(limits.batch_records + limits.batch_bytes);
    for (name, is_taken) in [
        (longest.as_str(), true),
        (&longest.replacen('n', "\\u006e", 1), true),
        (&longer, false),
        (&longer.replacen('n', "\\u006e", 1), false),
    ] {
        let text = format!("{before}{{\"{name}\":1}}\n{{\"a\":2}}\n");
        let decoded = read(&text).unwrap();
        let rejects: Vec<_> = decoded
            .records
            .iter()
            .filter_map(|record| record.fields.as_ref().err().map(|(code, _)| *code))
            .collect();
        assert_eq!(rejects.is_empty(), is_taken, "{rejects:?}");
        assert!(
            rejects.iter().all(|&code| code == "unexpected-member"),
            "{rejects:?}"
        );
    }
}

#[test]
fn more_columns_than_the_limit() {
    let object = |columns: usize| {
        let members: Vec<_> = (0..columns).map(|column| format!("\"c{column}\":1")).collect();
        format!("{{{}}}\n", members.join(","))
    };
    let limits = Limits::default();
    let read = |text: &str, limits: &Limits| run(text.as_bytes(), &as_jsonl(), limits, None, &[usize::MAX]);
    for (columns, message) in [
        (
            5_000,
            "has 5000 columns, more than the 4096 allowed; --limit columns=5000 allows them",
        ),
        (
            70_000,
            "has more than 65536 columns, and 4096 are allowed; --limit columns allows at most 65536",
        ),
    ] {
        let error = read(&object(columns), &limits).expect_err("too many").to_string();
        assert!(error.contains(message), "{error}");
    }
    let error = read(&("{\"x\":1}\n".to_owned() + &object(4_096)), &limits).expect_err("too many");
    assert!(error.to_string().contains("has 4097 columns"), "{error}");
    let limits = limits.with(&["columns=5000".parse().unwrap()]);
    assert_eq!(read(&object(5_000), &limits).unwrap().columns.len(), 5_000);
}
