//! Tests that the host reads and writes the same data as Python's `csv` and `json` modules, for all options. `model.py`
//! is the Python program. It names each intended difference. To repeat a run, set `SEED` in the environment. `CASES`
//! sets the number of cases. `make fuzz` uses both.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Cursor, Read, Write};
use std::process::{Command, Stdio};

use fastrand::Rng;
use ingest_host::config::Limits;
use ingest_host::decode::{self, Decoding};
use ingest_host::encode::{self, Encoder};
use ingest_host::format::{ColumnType, Format, OutputColumn};
use ingest_host::record::{Batch, Changes, ChangesReader, Verdict};
use ingest_host::request::NewRequest;
use serde_json::{Map, Value, json};

/// The number of files of each format, unless `CASES` in the environment sets another number.
const CASES: usize = 3_000;
/// For each outcome and each property of a file: the minimum percentage of all files that must have it. If a whole file
/// is refused, its outcome is `refused`, and its properties do not count.
const OF_CSV: &[(&str, u64)] = &[
    ("read", 10),
    ("rejected", 10),
    ("read or rejected", 60),
    ("refused", 3),
    ("spaces", 4),
    ("auto", 3),
    ("unnamed", 10),
    ("legal and unnamed", 3),
    ("projected", 20),
    ("rewritten and edited", 10),
    ("edited", 20),
];
const OF_JSONL: &[(&str, u64)] = &[
    ("read", 10),
    ("rejected", 10),
    ("read or rejected", 80),
    ("refused", 3),
];

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/differential/model.py");

#[test]
fn csv_is_what_python_reads() {
    compare(csv_case, OF_CSV);
}

#[test]
fn json_lines_are_what_python_reads() {
    compare(jsonl_case, OF_JSONL);
}

/// A test case: the bytes of a file, and the members of a request with the options for reading it.
type Case = (Vec<u8>, Map<String, Value>);

fn compare(make: fn(&mut Rng) -> Case, floors: &[(&str, u64)]) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seed = number("SEED").unwrap_or_else(|| fastrand::u64(..));
    let cases = number("CASES").map_or(CASES, |cases| cases as usize);
    let mut random = Rng::with_seed(seed);
    let mut python = Command::new("python3")
        .args(["-S", MODEL])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!(
                "this test needs python3, 3.9 or newer ({error}): apt-get install python3, dnf install python3, \
                 pacman -S python, apk add python3, or brew install python3"
            )
        });
    let mut stdin = python.stdin.take().unwrap();
    for _ in 0..cases {
        let (input, options) = make(&mut random);
        let ours = read(&input, &options, &mut random);
        let case = json!({ "input": hex(&input), "options": options, "ours": ours });
        // The Python program ends after the first difference.
        if writeln!(stdin, "{case}").is_err() {
            break;
        }
    }
    drop(stdin);
    let mut said = String::new();
    python.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    let ended = python.wait().unwrap();
    assert!(
        ended.success(),
        "{said}\nthe same again: SEED={seed} CASES={cases} cargo test --workspace --test it differential::"
    );
    let counts: Value = serde_json::from_str(&said).unwrap();
    let count = |name: &str| counts[name].as_u64().unwrap_or(0);
    assert_eq!(
        count("read or rejected") + count("refused"),
        cases as u64,
        "{said}"
    );
    for (name, percent) in floors {
        assert!(count(name) >= cases as u64 * percent / 100, "{name}: {said}");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// Returns the header and the records that the host decodes from a file. Random sizes of chunks and reads are used.
fn read(input: &[u8], options: &Map<String, Value>, random: &mut Rng) -> Value {
    // The first batch determines the columns of JSONL, so it must hold the whole file. The first chunk determines the
    // format. If no format is named, the first chunk must hold the whole file.
    let is_auto = option(options, "dialect", "none") == "auto";
    let is_named = option(options, "format", "none") == "csv" && !is_auto;
    let limits = Limits {
        batch_bytes: *random
            .choice(&[16, 40, 100, 128 << 10][if is_named { 0 } else { 3 }..])
            .unwrap(),
        batch_records: *random
            .choice(&[1, 3, 16_384][if is_csv(options) { 0 } else { 2 }..])
            .unwrap(),
        ..Limits::default()
    };
    let piece = *random.choice(&[1, 7, usize::MAX]).unwrap();
    match try_read(input, options, &limits, piece, random) {
        Ok(ours) => ours,
        Err(error) => json!({ "error": error }),
    }
}

fn is_csv(options: &Map<String, Value>) -> bool {
    option(options, "format", "csv") == "csv"
}

/// Returns some of the numbers below `count`, in random order. Often, it returns all of these numbers.
fn some(random: &mut Rng, count: usize) -> Vec<usize> {
    let mut numbers = Vec::from_iter(0..count);
    if random.bool() {
        random.shuffle(&mut numbers);
        numbers.truncate(random.usize(..=count));
    }
    numbers
}

fn try_read(
    input: &[u8],
    options: &Map<String, Value>,
    limits: &Limits,
    piece: usize,
    random: &mut Rng,
) -> Result<Value, String> {
    let is_csv = is_csv(options);
    let mut document = options.clone();
    document.insert("uri".into(), "a".into());
    let options = NewRequest::parse(&Value::Object(document).to_string())
        .unwrap()
        .input;
    let reader = Box::new(Pieces(Cursor::new(input.to_vec()), piece));
    let opened = decode::open(reader, "input", None, &options, limits).map_err(|error| error.report())?;
    let Decoding {
        mut splitter,
        mut decoder,
        columns,
        format,
        dialect,
        ..
    } = opened;
    let all = Vec::from_iter(0..columns.len());
    // JSONL output also keeps the columns that the plugin does not read.
    let reads = if is_csv {
        some(random, all.len())
    } else {
        all.clone()
    };
    decoder.project(&reads, &[]).map_err(|error| error.report())?;
    let sources = if is_csv {
        some(random, all.len())
    } else {
        all.clone()
    };
    // An output needs at least one column.
    let sources = if sources.is_empty() { all } else { sources };
    let output: Vec<_> = sources
        .iter()
        .map(|&index| OutputColumn {
            name: columns[index].clone(),
            column_type: ColumnType::Inherit,
            source: Some(index),
        })
        .collect();
    let edits_max = if is_csv { output.len() } else { 0 };
    let encoder = |to: Format| encode::new(to, format, dialect, &columns, &reads, &output).unwrap();
    let mut writers = [Format::Csv, Format::Jsonl].map(|to| (encoder(to), Vec::new()));
    for (encoder, out) in &mut writers {
        encoder.begin(out);
    }
    let (mut batch, mut records) = (Batch::default(), Vec::new());
    let mut is_rewritten = false;
    let mut origin = splitter.origin();
    while let Some(chunk) = splitter
        .next(Vec::new())
        .map_err(|fault| fault.at(&origin).report())?
    {
        batch.load(chunk.raw);
        while decoder
            .next(&mut batch)
            .map_err(|fault| fault.at(&origin).report())?
        {
            is_rewritten |= !batch.lines.is_empty();
            let changes = Edits::of(&batch, edits_max, random);
            take(
                &mut batch,
                reads.len(),
                output.len(),
                &changes,
                &mut writers,
                &mut records,
            );
        }
        origin.advance(batch.used);
    }
    let [csv, jsonl] = writers.map(|(_, out)| String::from_utf8(out).unwrap());
    Ok(json!({
        "columns": columns,
        "reads": reads,
        "sources": sources,
        "is_rewritten": is_rewritten,
        "records": records,
        "csv": csv,
        "jsonl": jsonl,
        "delimiter": char::from(dialect.delimiter).to_string(),
        "quote": char::from(dialect.quote).to_string(),
    }))
}

/// The edits of some cells of a batch.
struct Edits {
    changes: Changes,
    /// For each row, the new texts by the index of the output column.
    texts: Vec<BTreeMap<usize, String>>,
}

impl Edits {
    fn of(batch: &Batch, columns: usize, random: &mut Rng) -> Self {
        let (mut changes, mut texts) = (Changes::default(), Vec::new());
        let pieces = [
            "", "x", "é", ",", ";", "\t", "\"", "'", "\n", "\\", "^", "#", " ", "\u{feff}",
        ];
        for _ in &batch.rows {
            let is_edited = random.u8(..3) == 0;
            let edited = Vec::from_iter((0..columns).filter(|_| is_edited && random.bool()));
            changes.verdicts.push(u8::from(!edited.is_empty()));
            if !edited.is_empty() {
                changes.operands.push(edited.len() as u32);
            }
            let mut of_row = BTreeMap::new();
            for column in edited {
                let count = random.usize(..3);
                let text = text(random, &pieces, count);
                changes.bytes.extend_from_slice(text.as_bytes());
                changes
                    .operands
                    .extend([column as u32, changes.bytes.len() as u32]);
                of_row.insert(column, text);
            }
            texts.push(of_row);
        }
        Self { changes, texts }
    }
}

/// Appends the records of a batch, with their edits, to `records`. Writes the well-formed records with each encoder.
fn take(
    batch: &mut Batch,
    width: usize,
    output_width: usize,
    edits: &Edits,
    writers: &mut [(Box<dyn Encoder>, Vec<u8>)],
    records: &mut Vec<Value>,
) {
    let mut found = Vec::new();
    let bytes = batch.lend();
    for (row, &start) in batch.starts.iter().enumerate() {
        let mut start = start as usize;
        let fields = batch.ends[row * width..][..width].iter().map(|&end| {
            let begin = std::mem::replace(&mut start, end as usize + 1);
            std::str::from_utf8(&bytes[begin..end as usize]).unwrap()
        });
        let record = json!({ "fields": Vec::from_iter(fields), "edits": edits.texts[row] });
        found.push((batch.rows[row].number, record));
    }
    batch.take_back(bytes);
    for (encoder, out) in writers.iter_mut() {
        encoder.expect(&edits.changes.bytes);
        let mut verdicts = ChangesReader::new(&edits.changes, batch.rows.len(), output_width).unwrap();
        for row in 0..batch.rows.len() {
            match verdicts.next_row().unwrap().0 {
                Verdict::Edit(edits) => encoder.edit(batch, row, edits, out).unwrap(),
                _ => encoder.keep(batch, row, out).unwrap(),
            }
        }
        verdicts.finish().unwrap();
    }
    found.extend(
        batch
            .malformed
            .iter()
            .map(|bad| (bad.row.number, json!(bad.code))),
    );
    found.sort_by_key(|(number, _)| *number);
    records.extend(found.into_iter().map(|(_, record)| record));
}

/// A reader that returns at most `self.1` bytes at each read.
struct Pieces(Cursor<Vec<u8>>, usize);

impl Read for Pieces {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let size = out.len().min(self.1);
        self.0.read(&mut out[..size])
    }
}

/// Returns a text that consists of `count` random items of `pieces`.
fn text(random: &mut Rng, pieces: &[&str], count: usize) -> String {
    (0..count).map(|_| *random.choice(pieces).unwrap()).collect()
}

fn csv_case(random: &mut Rng) -> Case {
    let mut options = Map::new();
    if random.u8(..3) > 0 {
        options.insert("format".into(), "csv".into());
    }
    let mut choose = |random: &mut Rng, name: &str, values: &[Value]| {
        if random.u8(..3) == 0 {
            options.insert(name.into(), random.choice(values).unwrap().clone());
        }
    };
    choose(
        random,
        "dialect",
        &["spaces".into(), "auto".into(), "auto".into()],
    );
    choose(random, "delimiter", &[",".into(), ";".into(), "\t".into()]);
    choose(random, "quote", &["none".into(), "'".into(), "\"".into()]);
    choose(random, "escape", &["\\".into(), "^".into(), "none".into()]);
    choose(random, "comment", &["#".into(), "none".into()]);
    choose(random, "trim", &[true.into(), false.into()]);
    choose(random, "header", &[true.into(), false.into()]);
    choose(random, "skip_lines", &[0.into(), 1.into(), 2.into()]);
    choose(random, "skip_footer", &[0.into(), 1.into(), 3.into()]);
    choose(random, "short_rows", &["fill".into(), "reject".into()]);
    choose(random, "long_rows", &["trailing-empty".into(), "reject".into()]);
    choose(random, "blank_rows", &["drop".into(), "keep".into()]);
    choose(random, "duplicate_columns", &["number".into(), "fail".into()]);
    let encodings = [
        "latin_1",
        "cp1252",
        "iso8859_15",
        "mac_roman",
        "utf_8_sig",
        "utf_16",
        "koi8_r",
    ];
    choose(random, "encoding", &encodings.map(Value::from));
    let dialect = option(&options, "dialect", "none").to_owned();
    if dialect == "spaces" {
        options.remove("delimiter");
    }
    let is_auto = dialect == "auto";
    let mut delimiter = option(&options, "delimiter", ",").to_owned();
    if dialect == "none" && !options.contains_key("delimiter") && random.u8(..5) == 0 {
        // The file has another delimiter than the default, and the options do not name it.
        (*random.choice(&[";", "\t", "|"]).unwrap()).clone_into(&mut delimiter);
    }
    if is_auto && random.u8(..4) > 0 {
        options.remove("delimiter");
        (*random.choice(&[",", ";", "\t", "|"]).unwrap()).clone_into(&mut delimiter);
    }
    let text = if random.u8(..3) > 0 {
        table(random, &options, &delimiter)
    } else {
        // The pieces include every character that has a meaning in CSV.
        let mut pieces = vec![
            "a", "b", "1", "x y", " ", "é", ",", ";", "\t", "\"", "\"\"", "'", "\n", "\r\n", "\r", "\\", "^",
            "#",
        ];
        pieces.extend([if dialect == "spaces" { "  " } else { &*delimiter }; 8]);
        pieces.extend(["\n"; 5]);
        let count = random.usize(..60);
        text(random, &pieces, count)
    };
    // Columns separated by spaces are detected only if each line ends with LF.
    let text = match is_auto {
        true => text.replace("\r\n", "\n").replace('\r', "\n"),
        false => text,
    };
    let text = if random.u8(..10) == 0 {
        format!("\u{feff}{text}")
    } else {
        text
    };
    (
        encoded(&text, options.get("encoding").and_then(Value::as_str)),
        options,
    )
}

fn option<'a>(options: &'a Map<String, Value>, name: &str, default: &'a str) -> &'a str {
    options.get(name).and_then(Value::as_str).unwrap_or(default)
}

/// Returns a table that follows the options. Unless the table is tidy, some of its rows and fields violate them.
fn table(random: &mut Rng, options: &Map<String, Value>, delimiter: &str) -> String {
    let is_spaced = option(options, "dialect", "none") == "spaces";
    // A tidy table has no errors.
    let is_tidy = random.u8(..3) == 0;
    let quote = option(options, "quote", "\"");
    let escape = option(options, "escape", "none");
    let width = random.usize(1..5);
    let end = *random.choice(&["\n", "\r\n", "\r"]).unwrap();
    let field = |random: &mut Rng| -> String {
        if is_tidy || is_spaced && random.bool() {
            return (*random.choice(&["a", "7", "é", "x1"]).unwrap()).into();
        }
        let pieces = ["a", "b", "7", "é", " ", "#"];
        let count = random.usize(..4);
        let plain = text(random, &pieces, count);
        let before = text(random, &[" ", ""], 2);
        match random.u8(..10) {
            0..5 => plain,
            5 if escape != "none" => {
                let escaped = [delimiter, "\n", "\r\n", "n", escape, "\"", " "];
                format!("{plain}{escape}{}", random.choice(&escaped).unwrap())
            }
            6 | 7 if quote != "none" => {
                let inner = text(
                    random,
                    &["x", delimiter, "\n", "\r\n", " ", &quote.repeat(2)],
                    count,
                );
                format!("{quote}{inner}{quote}")
            }
            8 if quote != "none" => format!("{before}{quote}{plain}{quote}{before}"),
            9 => format!("{before}{plain}{before}"),
            _ => String::new(),
        }
    };
    let titles = ["a title\n", "Report of March, 2024\n", "Error: not found\n"];
    let title = if is_tidy {
        ""
    } else {
        *random.choice(&titles).unwrap()
    };
    let mut table = text(random, &[title, "", ""], 1);
    let mut names = Vec::from_iter((0..width).map(|column| format!("c{column}")));
    if !is_tidy && random.u8(..8) == 0 {
        names[width - 1] = (*random.choice(&["c0", "", "c0_2"]).unwrap()).into();
    }
    let between = |random: &mut Rng| -> String {
        match is_spaced {
            true => text(random, &[" ", "  ", "\t", " "], 2),
            false => delimiter.to_owned(),
        }
    };
    table += &(names.join(&between(random)) + end);
    for _ in 0..random.usize(..12) {
        let delimiter = &*between(random);
        let row = match random.u8(..if is_tidy { 1 } else { 12 }) {
            _ if is_tidy => Vec::from_iter((0..width).map(|_| field(random))).join(delimiter),
            0 => text(random, &[delimiter, " "], width),
            1 => format!("#{}", field(random)),
            2 => text(random, &["", " "], 1),
            3 => vec![field(random); random.usize(1..6)].join(delimiter),
            4 => Vec::from_iter((0..width).map(|_| field(random))).join(delimiter) + &delimiter.repeat(2),
            _ => Vec::from_iter((0..width).map(|_| field(random))).join(delimiter),
        };
        table += &(row + end);
    }
    if random.u8(..4) == 0 {
        table.truncate(table.trim_end_matches(['\r', '\n']).len());
    }
    table
}

/// Returns the text in this encoding, without the characters that the encoding cannot represent.
fn encoded(text: &str, encoding: Option<&str>) -> Vec<u8> {
    match encoding {
        None => text.as_bytes().to_vec(),
        Some("utf_8_sig") => [b"\xef\xbb\xbf", text.trim_start_matches('\u{feff}').as_bytes()].concat(),
        Some("utf_16") => {
            let text = format!("\u{feff}{}", text.trim_start_matches('\u{feff}'));
            text.encode_utf16().flat_map(u16::to_le_bytes).collect()
        }
        Some(name) => {
            let name = ingest_host::request::parse_encoding(name).unwrap();
            let encoding = encoding_rs::Encoding::for_label(name.as_bytes()).unwrap();
            let has = |character: &char| !encoding.encode(character.encode_utf8(&mut [0; 4])).2;
            let text: String = text.chars().filter(has).collect();
            encoding.encode(&text).0.into_owned()
        }
    }
}

fn jsonl_case(random: &mut Rng) -> Case {
    let mut lines = String::new();
    if random.u8(..8) == 0 {
        let documents = [
            "[\"id\",\"name\"]\n",
            "[1,2]\n[3]\n",
            "[\n{\"a\":1},\n",
            "[{\"a\":1}]\n",
            "{\n\"a\":1\n}\n",
            "{\"a\":\n1}",
            "[1,\n",
            "[1] x\n",
            "\u{1e}",
            "[a\n",
        ];
        lines += random.choice(&documents).unwrap();
    }
    for _ in 0..random.usize(..8) {
        let odd = ["", " ", "\r", "[1]", "1", "{", "{}x", "null", "\u{a0}"];
        lines += &match random.u8(..12) {
            0 => (*random.choice(&odd).unwrap()).to_owned(),
            _ => object(random),
        };
        lines += *random.choice(&["\n", "\n", "\r\n", " \n"]).unwrap();
    }
    (
        lines.into_bytes(),
        Map::from_iter([("format".to_owned(), "jsonl".into())]),
    )
}

fn object(random: &mut Rng) -> String {
    let names = ["\"a\"", "\"b\"", "\"c\"", "\"\\u0061\"", "\"é\"", "\"\""];
    let mut members = Vec::new();
    let mut left = names.to_vec();
    for _ in 0..random.usize(..4) {
        // Each spelling occurs at most once, but two of the spellings stand for the name `a`.
        let name = left.remove(random.usize(..left.len()));
        let space = text(random, &["", " ", "\t"], 1);
        members.push(format!("{name}{space}:{space}{}", value(random, 2)));
    }
    format!("{{{}}}", members.join(","))
}

fn value(random: &mut Rng, depth: usize) -> String {
    let literals = [
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1.0",
        "1e2",
        "1E-2",
        "-12.50",
        "12345678901234567890123",
        "007",
        "+1",
        ".5",
        "NaN",
        "-Infinity",
        "\"\"",
        "\"a\"",
        "\"\\u00e9\\n\"",
        "\"\\ud83d\\ude00\"",
        "\"\\ud83d\"",
        "\"\\x\"",
        "\"é,\\\"\"",
        "\"null\"",
        "'a'",
    ];
    match random.u8(..12) {
        0 if depth > 0 => format!("[{},{}]", value(random, depth - 1), value(random, depth - 1)),
        1 if depth > 0 => object(random),
        2..8 => (*random
            .choice(&["1", "\"x\"", "true", "\"y, z\"", "null"])
            .unwrap())
        .into(),
        _ => (*random.choice(&literals).unwrap()).into(),
    }
}
