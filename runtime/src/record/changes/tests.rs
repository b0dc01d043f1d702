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
    assert_eq!(
        rows.iter().flat_map(|row| row.iter()).collect::<Vec<_>>(),
        [b"b", b"c", b"d"]
    );
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
    assert_eq!(
        rows.iter().flat_map(|row| row.iter()).collect::<Vec<_>>(),
        [b"h", b"i", b"j"]
    );
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
