//! Creates the inputs. The same seed and number of records always give a file with the same bytes.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use csv::{ReaderBuilder, StringRecord, Writer};
use fastrand::Rng;

use crate::Result;
use crate::jobs::{Input, Job};

const SEED: u64 = 20_260_101;
const WIDE_COLUMNS: usize = 60;

/// Writes the input of a job into a folder. About `bad_percent` percent of the records have a fault for which they must
/// be rejected.
pub(crate) fn write(job: Job, folder: &Path, records: u64, bad_percent: u8) -> Result<Input> {
    let path = folder.join(format!("{}-{records}.{}", job.name(), job.extension()));
    match job {
        Job::Alarms => {
            alarm_feed::write_alarms(File::create(&path)?, SEED, records, bad_percent)?;
        }
        Job::AlarmsJsonl => alarms_jsonl(&path, records, bad_percent)?,
        Job::Wide => wide(&path, records, bad_percent)?,
        Job::Quoted => quoted(&path, records, bad_percent)?,
    }
    let bytes = path.metadata()?.len();
    Ok(Input {
        job,
        path,
        records,
        bytes,
    })
}

/// Writes the alarms of the CSV file as JSONL, with a member for each field.
fn alarms_jsonl(path: &Path, records: u64, bad_percent: u8) -> Result {
    let csv_path = path.with_extension("csv");
    alarm_feed::write_alarms(File::create(&csv_path)?, SEED, records, bad_percent)?;
    let mut reader = ReaderBuilder::new().flexible(true).from_path(&csv_path)?;
    let header = reader.headers()?.clone();
    let mut out = BufWriter::new(File::create(path)?);
    let mut record = StringRecord::new();
    while reader.read_record(&mut record)? {
        for (index, (name, text)) in header.iter().zip(&record).enumerate() {
            let is_number = serde_json::from_str::<serde_json::Number>(text).is_ok();
            let quote = if is_number { "" } else { "\"" };
            let before = if index == 0 { '{' } else { ',' };
            write!(out, "{before}\"{name}\":{quote}{text}{quote}")?;
        }
        out.write_all(b"}\n")?;
    }
    out.flush()?;
    std::fs::remove_file(csv_path)?;
    Ok(())
}

/// Writes orders of about 480 bytes each. Most of their columns are not checked.
fn wide(path: &Path, records: u64, bad_percent: u8) -> Result {
    let mut random = Rng::with_seed(SEED);
    let mut out = Writer::from_path(path)?;
    for column in 0..WIDE_COLUMNS {
        match column {
            0 => out.write_field("order_id")?,
            17 => out.write_field("status")?,
            33 => out.write_field("quantity")?,
            52 => out.write_field("discount")?,
            _ => out.write_field(format!("attribute_{column}"))?,
        }
    }
    out.write_record(None::<&[u8]>)?;
    for id in 1..=records {
        let bad = (random.u8(..100) < bad_percent).then(|| random.u8(..4));
        for column in 0..WIDE_COLUMNS {
            let field = match column {
                0 if bad == Some(0) => format!("order {id}"),
                0 => (7_000_000 + id).to_string(),
                17 if bad == Some(1) => "lost".into(),
                17 => pick(&mut random, &["open", "paid", "shipped", "returned"]).into(),
                33 if bad == Some(2) => "0".into(),
                33 => random.u32(1..=1_000).to_string(),
                52 if bad == Some(3) => "some".into(),
                52 if random.u8(..10) == 0 => "N/A".into(),
                52 => format!("{}.{}", random.u8(..100), random.u8(1..10)),
                _ if column % 3 == 0 => random.u32(..).to_string(),
                _ => pick(&mut random, &WORDS).into(),
            };
            out.write_field(field)?;
        }
        out.write_record(None::<&[u8]>)?;
    }
    Ok(out.flush()?)
}

/// Writes reviews. About a third of the titles contain quotes, and most texts contain line ends, quotes and commas.
fn quoted(path: &Path, records: u64, bad_percent: u8) -> Result {
    let mut random = Rng::with_seed(SEED);
    let mut out = Writer::from_path(path)?;
    out.write_record(["id", "author", "title", "score", "text", "language"])?;
    for id in 1..=records {
        let bad = (random.u8(..100) < bad_percent).then(|| random.u8(..4));
        let author = match bad {
            Some(0) => " ".into(),
            _ if random.u8(..10) == 0 => format!(" {} ", words(&mut random, 2)),
            _ => words(&mut random, 2),
        };
        let title = match bad {
            Some(1) => String::new(),
            _ if random.u8(..3) == 0 => format!("The \"{}\", again", words(&mut random, 2)),
            _ => words(&mut random, 4),
        };
        let score = match bad {
            Some(2) => "1001".into(),
            _ if random.u8(..10) == 0 => "n/a".into(),
            _ => random.i32(-1_000..=1_000).to_string(),
        };
        let id = if bad == Some(3) {
            "0".into()
        } else {
            id.to_string()
        };
        let text = text(&mut random);
        out.write_record([
            &id,
            &author,
            &title,
            &score,
            &text,
            pick(&mut random, &["de", "en", "vi"]),
        ])?;
    }
    Ok(out.flush()?)
}

fn text(random: &mut Rng) -> String {
    let mut text = String::new();
    for _ in 0..random.u8(1..=5) {
        let (before, after) = (random.usize(2..6), random.usize(2..6));
        let (before, after) = (words(random, before), words(random, after));
        text += &format!("{before}, \"{after}\".");
        text.push(if random.bool() { '\n' } else { ' ' });
    }
    text
}

fn words(random: &mut Rng, count: usize) -> String {
    let words: Vec<_> = (0..count).map(|_| pick(random, &WORDS)).collect();
    words.join(" ")
}

fn pick<'a>(random: &mut Rng, words: &[&'a str]) -> &'a str {
    words[random.usize(..words.len())]
}

const WORDS: [&str; 16] = [
    "amber", "brook", "cinder", "dune", "ember", "fjord", "glacier", "harbour", "island", "jasmine", "kelp",
    "lantern", "meadow", "northern", "orchard", "pebble",
];
