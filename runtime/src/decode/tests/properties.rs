//! Tests properties that hold for every input.

use std::cell::Cell;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::request::{BlankRows, Character, DuplicateColumns, LongRows, ShortRows};

/// Generates bytes that are likely to test every rule of CSV and of JSON.
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

/// Generates options of CSV that do not contradict each other.
fn csv_options() -> impl Strategy<Value = InputOptions> {
    let character = |all: &'static [u8]| {
        let none = Just(Some(Character::None));
        let one = prop::sample::select(all).prop_map(|byte| Some(Character::Is(byte.into())));
        prop_oneof![2 => Just(None), 1 => none, 2 => one]
    };
    let characters = (character(b"'\"u"), character(b"\\bu"), character(b"#ab"));
    let flags = (any::<[Option<bool>; 4]>(), any::<bool>(), any::<bool>());
    let skipped = (0..4_u32, 0..4_u32);
    (characters, flags, skipped).prop_filter_map("a contradiction", |(characters, flags, skipped)| {
        let ([trim, header, fill, cut], drop, number) = flags;
        let options = InputOptions {
            quote: characters.0,
            escape: characters.1,
            comment: characters.2,
            trim,
            header,
            skip_lines: Some(skipped.0).filter(|lines| *lines > 0),
            skip_footer: Some(skipped.1).filter(|rows| *rows > 0),
            short_rows: fill.map(|fill| if fill { ShortRows::Fill } else { ShortRows::Reject }),
            long_rows: cut.map(|cut| {
                if cut {
                    LongRows::TrailingEmpty
                } else {
                    LongRows::Reject
                }
            }),
            blank_rows: drop.then_some(BlankRows::Drop),
            duplicate_columns: number.then_some(DuplicateColumns::Number),
            ..as_csv()
        };
        options.check().is_ok().then_some(options)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_the_crate_csv_writes_comes_out_as_it_went_in(
        rows in rows(),
        end in prop::sample::select(vec![&b"\n"[..], b"\r\n", b"\r"]),
        quote_all: bool,
        size in 1..40_usize,
    ) {
        let options = InputOptions { header: Some(false), ..as_csv() };
        let text = csv_text(&rows, end, quote_all);
        prop_assume!(!text.is_empty() && !text.starts_with("\u{feff}".as_bytes()));
        // A text such as `[]` is refused, because the whole text is JSON.
        let is_bracket = matches!(text.trim_ascii_start().first(), Some(b'{' | b'['));
        prop_assume!(!is_bracket || serde_json::from_slice::<serde::de::IgnoredAny>(&text).is_err());
        let limits = Limits { record_bytes_max: 10_000, ..small() };
        let decoded = run(&text, &options, &limits, None, &[size]).unwrap();
        prop_assert_eq!(table(&decoded), rows);
    }

    #[test]
    fn what_serde_json_writes_comes_out_as_it_went_in(
        values in vec(("\\PC{0,5}", "[\\x00-\\x7fé😀]{0,9}"), 1..20),
    ) {
        let line = |(key, value): &(String, String)| {
            let object = serde_json::json!({ "a": value, format!("k{key}"): [value] });
            format!("{object}\n")
        };
        let text: String = values.iter().map(line).collect();
        let limits = Limits { columns_max: 100, ..Limits::default() };
        let decoded = run(text.as_bytes(), &as_jsonl(), &limits, Some(&[0]), &[11]).unwrap();
        let expected: Vec<_> = values.iter().map(|(_, value)| vec![value.as_str()]).collect();
        prop_assert_eq!(table(&decoded), expected);
    }
}

#[test]
fn whatever_the_options_the_pieces_do_not_matter() {
    let read = Cell::new(0);
    proptest!(ProptestConfig::with_cases(2_000), |(
        text in bytes(), options in csv_options(), sizes in vec(1..40_usize, 1..4),
    )| {
        let whole = run(&text, &options, &small(), None, &[usize::MAX]);
        let pieces = run(&text, &options, &small(), None, &sizes);
        // The result does not depend on the number of chunks either.
        let large = Limits { batch_bytes: 128 << 10, ..small() };
        let one_chunk = run(&text, &options, &large, None, &[usize::MAX]);
        match (whole, pieces, one_chunk) {
            (Ok(whole), Ok(pieces), Ok(one_chunk)) => {
                read.set(read.get() + 1);
                prop_assert_eq!(&whole, &pieces);
                prop_assert_eq!(whole.records, one_chunk.records);
            }
            (Err(whole), Err(pieces), _) => prop_assert_eq!(whole.to_string(), pieces.to_string()),
            (whole, pieces, one_chunk) => prop_assert!(false, "{:?} but {:?}, {:?}", whole, pieces, one_chunk),
        }
    });
    assert!(read.get() >= 200, "read in {} of 2000 cases", read.get());
}

/// Checks that an escape or a comment character that the text does not contain does not change the result, including
/// each position and reason. Such an option only makes the program use the parser in place of the scanner: for all work
/// with an escape, and only to find the ends of records with a comment character.
#[test]
fn both_ways_to_read_a_dialect_are_one() {
    let read = Cell::new(0);
    proptest!(ProptestConfig::with_cases(2_000), |(
        text in bytes(), header: bool, quote: bool, comment: bool, drops_blank: bool, footer in 0..3_u32, large: bool,
    )| {
        let plain = InputOptions {
            header: Some(header),
            quote: quote.then_some(Character::Is('\'')),
            comment: comment.then_some(Character::Is('a')),
            blank_rows: drops_blank.then_some(BlankRows::Drop),
            skip_footer: Some(footer),
            ..as_csv()
        };
        // A large text is longer than a block of the scanner and a stretch of the index.
        let (text, limits) = if large { (text.repeat(100), Limits::default()) } else { (text, small()) };
        prop_assume!(!text.contains(&b'~'));
        for change in [
            |options: &mut InputOptions| options.escape = Some(Character::Is('~')),
            |options: &mut InputOptions| options.comment = options.comment.or(Some(Character::Is('~'))),
        ] {
            let mut options = plain.clone();
            change(&mut options);
            match (run(&text, &plain, &limits, None, &[3]), run(&text, &options, &limits, None, &[3])) {
                (Ok(scanned), Ok(parsed)) => {
                    read.set(read.get() + 1);
                    prop_assert_eq!(scanned, parsed);
                }
                (Err(scanned), Err(parsed)) => prop_assert_eq!(scanned.to_string(), parsed.to_string()),
                (scanned, parsed) => prop_assert!(false, "{:?} but {:?}", scanned, parsed),
            }
        }
    });
    assert!(read.get() >= 200, "read in {} of 2000 cases", read.get());
}

#[test]
fn whatever_comes_in_the_pieces_do_not_matter() {
    let read = Cell::new(0);
    proptest!(ProptestConfig::with_cases(2_000), |(
        text in bytes(), is_csv: bool, header: bool, sizes in vec(1..40_usize, 1..4),
    )| {
        let options = InputOptions { header: Some(header), ..if is_csv { as_csv() } else { as_jsonl() } };
        let whole = run(&text, &options, &small(), None, &[usize::MAX]);
        let pieces = run(&text, &options, &small(), None, &sizes);
        match (whole, pieces) {
            (Ok(whole), Ok(pieces)) => {
                read.set(read.get() + 1);
                prop_assert_eq!(whole, pieces);
            }
            (Err(whole), Err(pieces)) => prop_assert_eq!(whole.to_string(), pieces.to_string()),
            (whole, pieces) => prop_assert!(false, "{:?} but {:?}", whole, pieces),
        }
    });
    assert!(read.get() >= 200, "read in {} of 2000 cases", read.get());
}

#[test]
fn records_are_those_that_the_crate_csv_finds() {
    let compared = Cell::new(0);
    proptest!(ProptestConfig::with_cases(2_000), |(
        text in bytes(), times in prop::sample::select(vec![1, 1, 1, 150])
    )| {
        let text: Vec<u8> = text.into_iter().filter(u8::is_ascii).collect::<Vec<_>>().repeat(times);
        let options = InputOptions { header: Some(false), ..as_csv() };
        let limits = if times == 1 { small() } else { Limits::default() };
        let Ok(decoded) = run(&text, &options, &limits, None, &[usize::MAX]) else { return Ok(()) };
        let mut reader = ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(&*text);
        let theirs: Vec<_> = reader.records().map(|record| record.unwrap()).collect();
        prop_assert_eq!(decoded.records.len(), theirs.len());
        for (ours, theirs) in decoded.records.iter().zip(&theirs) {
            if let Ok(fields) = &ours.fields {
                compared.set(compared.get() + 1);
                prop_assert_eq!(fields, &theirs.iter().collect::<Vec<_>>());
            }
        }
    });
    assert!(
        compared.get() >= 200,
        "compared in {} of 2000 cases",
        compared.get()
    );
}

#[test]
fn a_projection_is_a_part_of_the_whole() {
    let compared = Cell::new(0);
    proptest!(ProptestConfig::with_cases(2_000), |(
        text in bytes(), pick in vec(any::<prop::sample::Index>(), 0..4)
    )| {
        let options = InputOptions { header: Some(false), ..as_csv() };
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
        compared.set(compared.get() + usize::from(!whole.records.is_empty()));
        for (whole, part) in whole.records.iter().zip(&part.records) {
            let pick = |fields: Vec<String>| reads.iter().map(|&read| fields[read].clone()).collect();
            let expected = whole.fields.clone().map(pick);
            prop_assert_eq!(&expected, &part.fields);
        }
    });
    assert!(
        compared.get() >= 200,
        "compared in {} of 2000 cases",
        compared.get()
    );
}
