use proptest::prelude::*;

use super::*;
use crate::receipt::{ColumnQuality, Inferred};

fn profiler(format: Format, columns: &[&str]) -> Profiler {
    let layout = Layout {
        format,
        columns: columns.iter().map(|&name| name.to_owned()).collect(),
        dialect: Dialect::default(),
    };
    Profiler::new(layout, &Limits::default()).unwrap()
}

fn of(format: Format, columns: &[&str], rows: &str) -> QualityPart {
    let mut profiler = profiler(format, columns);
    let back = profiler.add(rows.as_bytes().to_vec()).unwrap();
    assert_eq!(back, rows.as_bytes());
    profiler.quality()
}

/// Returns the profile of a column with these cells. The cells must not need quotes.
fn column(cells: &[&str]) -> ColumnQuality {
    let rows: String = cells.iter().map(|cell| format!("{cell},\n")).collect();
    of(Format::Csv, &["a", "b"], &rows).columns.swap_remove(0)
}

fn ends(column: &ColumnQuality) -> (&str, &str) {
    (column.min.as_deref().unwrap(), column.max.as_deref().unwrap())
}

#[test]
fn a_column_has_the_narrowest_type_of_its_filled_cells() {
    use Inferred::{Boolean, Date, Integer, Number, Text, Timestamp};
    for (cells, inferred) in [
        (&["1", "-20", "", "0"][..], Some(Integer)),
        (&["1", "2.5", "1e9"], Some(Number)),
        (&["1", "007"], Some(Text)),
        (&["+1"], Some(Text)),
        (&["1."], Some(Text)),
        (&["true", "false"], Some(Boolean)),
        (&["True"], Some(Text)),
        (&["true", "1"], Some(Text)),
        (&["2017-10-23", "2024-02-29"], Some(Date)),
        (&["2017-10-23", "2023-02-29"], Some(Text)),
        (&["2017-10-23 12:00:25"], Some(Timestamp)),
        (
            &["2017-10-23T12:00:25.5Z", "2017-10-23T12:00:25+07:00"],
            Some(Timestamp),
        ),
        (
            &["2017-10-23T12:00:25+07", "2017-10-23T12:00:25-0730"],
            Some(Timestamp),
        ),
        (
            &["2017-10-23T12:00:25+7", "2017-10-23T12:00:25+24:00"],
            Some(Text),
        ),
        (&["2017-10-23 25:00:00"], Some(Text)),
        (&["2017-10-23 23:59:60"], Some(Text)),
        (&["2017-10-23 12:00"], Some(Text)),
        (&["2017-10-23 12:00:25."], Some(Text)),
        (&["2017-10-23 12:00:25 UTC"], Some(Text)),
        (&["2017-10-23_12:00:25"], Some(Text)),
        (&["2017-1x-23"], Some(Text)),
        (&["-017-10-23"], Some(Text)),
        (&["2017-10-23", "2017-10-23 12:00:25"], Some(Text)),
        (&["", ""], None),
        (&[], None),
    ] {
        assert_eq!(column(cells).inferred, inferred, "{cells:?}");
    }
}

#[test]
fn numbers_are_compared_as_numbers_unless_a_cell_is_none() {
    assert_eq!(ends(&column(&["9", "10", "-3", "-20"])), ("-20", "10"));
    assert_eq!(ends(&column(&["9", "10.5", "1e3"])), ("9", "1e3"));
    // Two whole numbers can differ even if their floats are equal.
    for (min, max) in [
        ("9999999999999999999", "10000000000000000000"),
        ("9007199254740992", "9007199254740993"),
        ("-9007199254740993", "-9007199254740992"),
        ("-10000000000000000000", "-9999999999999999999"),
    ] {
        assert_eq!(ends(&column(&[min, max])), (min, max));
        assert_eq!(ends(&column(&[max, min])), (min, max));
    }
    assert_eq!(ends(&column(&["9", "10", "x"])), ("10", "x"));
    assert_eq!(ends(&column(&["x", "9", "10"])), ("10", "x"));
    let times = ["2017-10-23 12:00:25", "2017-10-22 23:59:59"];
    assert_eq!(ends(&column(&times)), (times[1], times[0]));
}

#[test]
fn empty_cells_count_as_rows_only() {
    let quality = of(Format::Csv, &["a", "b"], "1,\n,\"x, y\"\n3,\n");
    assert_eq!(quality.records, 3);
    let [a, b] = quality.columns.as_slice() else {
        panic!("two columns");
    };
    assert_eq!((a.filled, a.distinct, ends(a)), (2, 2, ("1", "3")));
    assert_eq!((b.filled, b.distinct, ends(b)), (1, 1, ("x, y", "x, y")));
    assert_eq!((b.min_length, b.max_length), (Some(4), Some(4)));
    let empty = column(&[""]);
    assert_eq!((empty.filled, empty.min, empty.min_length), (0, None, None));
}

#[test]
fn members_are_read_as_their_texts() {
    let rows = "{\"a\":1,\"b\":\"x\\ny\"}\n{\"b\":null,\"a\":2.5}\n{\"c\":0}\n";
    let quality = of(Format::Jsonl, &["a", "b"], rows);
    assert_eq!(quality.records, 3);
    let [a, b] = quality.columns.as_slice() else {
        panic!("two columns");
    };
    assert_eq!(
        (a.inferred, a.filled, ends(a)),
        (Some(Inferred::Number), 2, ("1", "2.5"))
    );
    assert_eq!(
        (b.inferred, b.filled, ends(b)),
        (Some(Inferred::Text), 1, ("x\ny", "x\ny"))
    );
}

#[test]
fn of_a_long_cell_only_its_beginning_is_kept() {
    let long = "é".repeat(1 << 20);
    let column = column(&[&long]);
    let kept = "é".repeat(64) + "…";
    assert_eq!(ends(&column), (kept.as_str(), kept.as_str()));
    assert_eq!(column.max_length, Some(1 << 20));
}

#[test]
fn a_row_may_be_longer_than_a_record_of_the_input() {
    let limits = Limits {
        batch_bytes: 64,
        record_bytes_max: 64,
        ..Limits::default()
    };
    let layout = profiler(Format::Csv, &["a", "b"]).layout;
    let rows = format!("{},1\n2,3\n", "x".repeat(1_000));
    let mut profiler = Profiler::new(layout, &limits).unwrap();
    profiler.add(rows.clone().into_bytes()).unwrap();
    profiler
        .add_all(std::io::Cursor::new(rows), &Stop::default())
        .unwrap();
    assert_eq!(profiler.records, 4);
}

fn cell() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9]{1,3}",
        "-?[0-9]{1,2}\\.[0-9]{1,2}",
        "(true|false)",
        "2017-1[0-2]-[0-3][0-9]( 1[0-9]:00:00)?",
        "[a-c\"é,]{0,5}",
        Just(String::new()),
    ]
}

proptest! {
    #[test]
    fn it_does_not_matter_how_rows_are_dealt(
        rows in prop::collection::vec((cell(), cell()), 0..60),
        lanes in 1_usize..4,
    ) {
        let quoted = |cell: &str| format!("\"{}\"", cell.replace('"', "\"\""));
        let lines: Vec<_> = rows.iter().map(|(a, b)| format!("{},{}\n", quoted(a), quoted(b))).collect();
        let whole = of(Format::Csv, &["a", "b"], &lines.concat());
        let mut dealt: Vec<_> = (0..lanes).map(|_| profiler(Format::Csv, &["a", "b"])).collect();
        for (number, line) in lines.iter().enumerate() {
            dealt[number % lanes].add(line.clone().into_bytes()).unwrap();
        }
        let merged = dealt.into_iter().rev().reduce(Profiler::merge).unwrap();
        prop_assert_eq!(&merged.quality(), &whole);

        // The test computes the expected numbers itself.
        let cells: Vec<_> = rows.iter().map(|(a, _)| a).filter(|a| !a.is_empty()).collect();
        let a = &whole.columns[0];
        prop_assert_eq!(a.filled, cells.len() as u64);
        let distinct = cells.iter().collect::<std::collections::HashSet<_>>().len() as u64;
        prop_assert_eq!(a.distinct, distinct);
        let lengths = cells.iter().map(|cell| cell.chars().count() as u64);
        prop_assert_eq!(a.min_length, lengths.clone().min());
        prop_assert_eq!(a.max_length, lengths.max());
    }
}
