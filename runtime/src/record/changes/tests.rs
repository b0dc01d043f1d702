use super::*;

fn changes(verdicts: &[u8], operands: &[u32], bytes: &str) -> Changes {
    Changes {
        verdicts: verdicts.to_vec(),
        operands: operands.to_vec(),
        bytes: bytes.as_bytes().to_vec(),
    }
}

fn error(changes: &Changes, rows: usize) -> String {
    let walk = || {
        let mut reader = ChangesReader::new(changes, rows, 3)?;
        for _ in 0..rows {
            reader.next_row()?;
        }
        reader.finish()
    };
    walk().expect_err("must be refused").to_string()
}

/// Returns the texts of each row. All rows must be new.
fn texts<'a>(rows: &Emission<'a>) -> Vec<Vec<&'a [u8]>> {
    let row = |row| match row {
        EmittedRow::New(fields) => fields.iter().collect(),
        EmittedRow::Copy(_) => panic!("a copy"),
    };
    rows.iter().map(row).collect()
}

#[test]
fn new_rows_and_copies_keep_their_order() {
    const NEW: u32 = u32::MAX;
    let changes = changes(
        &[16, 17, 18],
        &[
            /* keep */ 2, /* copy */ 1, 2, 1, /* new */ NEW, 2, 3, 4, /* edit */ 1, 0, 5,
            /* rows */ 1, /* copy */ 0, /* replace */ 2, /* new */ NEW, 5, 5, 6,
            /* copy */ 2, 0, 7, 1, 8,
        ],
        "abcdefgh",
    );
    let mut reader = ChangesReader::new(&changes, 3, 3).unwrap();
    let mut found = Vec::new();
    for _ in 0..3 {
        let (verdict, rows) = reader.next_row().unwrap();
        let rows = rows.unwrap();
        assert!(rows.has_copies());
        let shown = rows.iter().map(|row| match row {
            EmittedRow::New(fields) => {
                let fields: Vec<_> = fields.iter().map(String::from_utf8_lossy).collect();
                format!("new {}", fields.join(","))
            }
            EmittedRow::Copy(edits) => {
                let edits = edits.iter();
                let edits =
                    edits.map(|(column, text)| format!(" {column}={}", String::from_utf8_lossy(text)));
                format!("copy{}", edits.collect::<String>())
            }
        });
        let before = found.len();
        found.extend(shown);
        assert_eq!(found.len() - before, rows.len());
        let expected = [
            matches!(verdict, Verdict::Keep),
            matches!(verdict, Verdict::Edit(_)),
            matches!(verdict, Verdict::Replace),
        ];
        assert_eq!(expected.iter().filter(|&&is| is).count(), 1);
    }
    reader.finish().unwrap();
    assert_eq!(
        found,
        ["copy 2=a", "new b,c,d", "copy", "new ,,f", "copy 0=g 1=h"]
    );
}

#[test]
fn rows_that_say_too_little_or_too_much_are_refused() {
    for (operands, bytes, why) in [
        (&[0][..], "", "an emitting verdict with no rows"),
        (&[1], "", "1 operands needed"),
        (&[u32::MAX], "", "1 operands needed"),
        (&[1, u32::MAX, 0, 0], "", "4 operands needed"),
        (&[1, 4], "", "4 edits in a row of 3 columns"),
        (&[1, 1, 3, 0], "", "edit of column 3"),
        (&[1, 2, 1, 0, 0, 0], "", "edit of column 0"),
        (&[1, 1, 0, 2], "a", "a text from 0 to 2 in 1 bytes"),
        (&[1, 0], "a", "1 bytes after the last row"),
        (&[1, 0, 0], "", "1 operands after the last row"),
    ] {
        for verdict in [16, 18] {
            let error = error(&changes(&[verdict], operands, bytes), 1);
            assert!(error.contains(why), "expected {why:?}: {error}");
        }
    }
}

#[test]
fn every_verdict_takes_its_operands() {
    let changes = changes(
        &[0, 1, 2, 3, 4, 9],
        &[
            /* edit */ 1, 2, 1, /* replace */ 1, 2, 3, 4, /* reject */ 5, 6,
            /* edit, emit */ 1, 0, 7, 1, 8, 9, 10,
        ],
        "abcdefghij",
    );
    let mut reader = ChangesReader::new(&changes, 6, 3).unwrap();
    assert_eq!(reader.next_row().unwrap().0, Verdict::Keep);
    let (Verdict::Edit(edits), _) = reader.next_row().unwrap() else {
        panic!("not an edit")
    };
    assert_eq!(edits.iter().collect::<Vec<_>>(), [(2, &b"a"[..])]);
    let (verdict, rows) = reader.next_row().unwrap();
    let rows = rows.unwrap();
    assert_eq!((verdict, rows.len()), (Verdict::Replace, 1));
    assert_eq!(texts(&rows), [[b"b", b"c", b"d"]]);
    assert_eq!(reader.next_row().unwrap().0, Verdict::Drop);
    assert_eq!(
        reader.next_row().unwrap().0,
        Verdict::Reject {
            code: "e",
            reason: "f"
        }
    );
    let (Verdict::Edit(edits), Some(rows)) = reader.next_row().unwrap() else {
        panic!("not an edit")
    };
    assert_eq!(edits.iter().collect::<Vec<_>>(), [(0, &b"g"[..])]);
    assert_eq!(texts(&rows), [[b"h", b"i", b"j"]]);
    reader.finish().unwrap();
}

#[test]
fn no_verdicts_keep_every_row() {
    let changes = Changes::default();
    let mut reader = ChangesReader::new(&changes, 2, 3).unwrap();
    assert_eq!(reader.next_row().unwrap().0, Verdict::Keep);
    assert_eq!(reader.next_row().unwrap().0, Verdict::Keep);
    reader.finish().unwrap();
}

#[test]
fn what_breaks_the_interface_is_refused() {
    assert!(error(&changes(&[0], &[], ""), 2).contains("1 verdicts for 2 rows"));
    assert!(error(&changes(&[7], &[], ""), 1).contains("verdict 7 does not exist"));
    assert!(error(&changes(&[1], &[1, 3, 0], ""), 1).contains("edit of column 3"));
    assert!(error(&changes(&[1], &[2, 1, 0, 1, 0], ""), 1).contains("edit of column 1"));
    assert!(error(&changes(&[1], &[1, u32::MAX, 0], ""), 1).contains("edit of column 4294967295"));
    assert!(error(&changes(&[1], &[2, 0, 1, 1, 0], "a"), 1).contains("from 1 to 0 in 1 bytes"));
    assert!(error(&changes(&[1], &[9], ""), 1).contains("9 edits in a row of 3 columns"));
    assert!(error(&changes(&[1], &[1, 0], ""), 1).contains("2 operands needed"));
    assert!(error(&changes(&[1], &[1, 0, 2], "a"), 1).contains("from 0 to 2 in 1 bytes"));
    assert!(error(&changes(&[1], &[1, 0, 1], "é"), 1).contains("from 0 to 1 in 2 bytes"));
    assert!(error(&changes(&[2], &[0], ""), 1).contains("with no rows"));
    assert!(error(&changes(&[2], &[u32::MAX], ""), 1).contains("operands needed"));
    assert!(error(&changes(&[4], &[1, 2], "A!"), 1).contains("reject code \"A\""));
    assert!(error(&changes(&[0], &[1], ""), 1).contains("1 operands after the last row"));
    assert!(error(&changes(&[0], &[], "x"), 1).contains("1 bytes after the last row"));
}

#[test]
fn rows_made_at_the_end_are_checked() {
    let rows = Rows::check(2, &[1, 2, 2, 3], b"abc", 2).unwrap();
    let rows: Vec<Vec<_>> = rows.iter().map(|row| row.iter().collect()).collect();
    assert_eq!(rows, [[&b"a"[..], b"b"], [b"", b"c"]]);
    assert!(Rows::check(2, &[1, 2, 3], b"abc", 2).is_err());
    assert!(Rows::check(1, &[2, 1], b"ab", 2).is_err());
    assert!(Rows::check(1, &[1, 2], b"abc", 2).is_err());
    assert!(Rows::check(1, &[1], b"\xff", 1).is_err());
}
