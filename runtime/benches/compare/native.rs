//! Native versions of the jobs, without a sandbox. Each job reads an input file, and writes an output file and a file
//! of rejects. The jobs use one thread, and handle one record at a time. For most good records, they allocate no
//! memory.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use csv::{Reader, ReaderBuilder, StringRecord, Writer, WriterBuilder};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::Result;
use crate::jobs::Job;

const BUFFER_BYTES: usize = 64 << 10;
const NOT_SET: &str = "999999";

/// The numbers of read and rejected records.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) read: u64,
    pub(crate) rejected: u64,
}

/// Runs a job on files.
pub(crate) fn run(job: Job, input: &Path, output: &Path, rejects: &Path) -> Result<Counts> {
    match job {
        Job::Alarms => alarms(Files::open(input, output, rejects)?),
        Job::Wide => wide(Files::open(input, output, rejects)?),
        Job::Quoted => quoted(Files::open(input, output, rejects)?),
        Job::AlarmsJsonl => alarms_jsonl(input, output, rejects),
    }
}

/// The CSV files of a job.
struct Files {
    reader: Reader<File>,
    writer: Writer<File>,
    rejects: Writer<File>,
    header: StringRecord,
    counts: Counts,
}

impl Files {
    fn open(input: &Path, output: &Path, rejects: &Path) -> Result<Self> {
        let mut reader = ReaderBuilder::new()
            .flexible(true)
            .buffer_capacity(BUFFER_BYTES)
            .from_path(input)?;
        let header = reader.headers()?.clone();
        Ok(Self {
            reader,
            writer: WriterBuilder::new()
                .buffer_capacity(BUFFER_BYTES)
                .from_path(output)?,
            rejects: WriterBuilder::new().flexible(true).from_path(rejects)?,
            header,
            counts: Counts::default(),
        })
    }

    fn column(&self, name: &str) -> Result<usize> {
        let found = self.header.iter().position(|column| column == name);
        found.ok_or_else(|| format!("there is no column {name:?}").into())
    }

    /// Reads records until one has the right number of fields. Each record with another number of fields becomes a
    /// reject. Returns false at the end of the input.
    fn next(&mut self, record: &mut StringRecord) -> Result<bool> {
        while self.reader.read_record(record)? {
            self.counts.read += 1;
            if record.len() == self.header.len() {
                return Ok(true);
            }
            self.reject(record, "ragged-row")?;
        }
        Ok(false)
    }

    fn reject(&mut self, record: &StringRecord, code: &str) -> Result {
        self.counts.rejected += 1;
        self.rejects.write_field(self.counts.read.to_string())?;
        self.rejects.write_field(code)?;
        self.rejects.write_record(record)?;
        Ok(())
    }

    fn finish(mut self) -> Result<Counts> {
        self.writer.flush()?;
        self.rejects.flush()?;
        Ok(self.counts)
    }
}

fn alarms(mut files: Files) -> Result<Counts> {
    let expected: Vec<&str> = alarm_feed::HEADER.split(',').collect();
    if files.header != expected {
        return Err("the input does not have the columns of alarms".into());
    }
    files
        .writer
        .write_record(expected.into_iter().chain(["duration_s"]))?;
    let mut record = StringRecord::new();
    let mut duration_s = itoa::Buffer::new();
    while files.next(&mut record)? {
        match alarm(&record) {
            Ok(alarm) => {
                let writer = &mut files.writer;
                for id in record.iter().take(4) {
                    writer.write_field(id)?;
                }
                writer.write_field(alarm.start)?;
                writer.write_field(alarm.end.as_ref().map_or(&b""[..], |end| end))?;
                writer.write_field(alarm.value)?;
                writer.write_field(alarm.threshold)?;
                writer.write_field(alarm.duration_s.map_or("", |seconds| duration_s.format(seconds)))?;
                writer.write_record(None::<&[u8]>)?;
            }
            Err(code) => files.reject(&record, code)?,
        }
    }
    files.finish()
}

/// The code of a reject.
type Code = &'static str;

/// The new values of an alarm's fields.
struct Alarm<'a> {
    start: [u8; 19],
    end: Option<[u8; 19]>,
    value: &'a str,
    threshold: &'a str,
    duration_s: Option<u64>,
}

fn alarm(record: &StringRecord) -> std::result::Result<Alarm<'_>, Code> {
    if !record.iter().take(4).all(is_id) {
        return Err("bad-id");
    }
    let (start, end, duration_s) = span(&record[4], &record[5])?;
    Ok(Alarm {
        start,
        end,
        value: measured(&record[6])?,
        threshold: measured(&record[7])?,
        duration_s,
    })
}

/// Returns the start and the end in ISO 8601, and the seconds between them. The end can be empty.
#[expect(clippy::type_complexity, reason = "a name would say no more")]
fn span(start: &str, end: &str) -> std::result::Result<([u8; 19], Option<[u8; 19]>, Option<u64>), Code> {
    let (start, from) = time(start).ok_or("bad-time")?;
    if end.is_empty() {
        return Ok((start, None, None));
    }
    let (end, to) = time(end).ok_or("bad-time")?;
    let duration_s = to.checked_sub(from).ok_or("ends-before-start")?;
    Ok((start, Some(end), Some(duration_s)))
}

fn measured(text: &str) -> std::result::Result<&str, Code> {
    match text {
        NOT_SET => Ok(""),
        text if text.is_empty() || is_decimal(text) => Ok(text),
        _ => Err("bad-number"),
    }
}

fn is_id(text: &str) -> bool {
    matches!(text.as_bytes(), [b'1'..=b'9', rest @ ..] if rest.len() < 18 && rest.iter().all(u8::is_ascii_digit))
}

fn is_decimal(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_part = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    is_part(whole) && is_part(fraction)
}

/// Parses a time in the form `YYYY-MM-DD HH:MM:SS`. Returns it in ISO 8601, and as the number of seconds since the year
/// 0.
fn time(text: &str) -> Option<([u8; 19], u64)> {
    let text: [u8; 19] = text.as_bytes().try_into().ok()?;
    if [text[4], text[7], text[10], text[13], text[16]] != *b"-- ::" {
        return None;
    }
    let pair = |at: usize| {
        let (tens, ones) = (text[at].wrapping_sub(b'0'), text[at + 1].wrapping_sub(b'0'));
        (tens < 10 && ones < 10).then_some(u64::from(tens) * 10 + u64::from(ones))
    };
    let (year, month, day) = (pair(0)? * 100 + pair(2)?, pair(5)?, pair(8)?);
    let (hour, minute, second) = (pair(11)?, pair(14)?, pair(17)?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in_month = match month {
        2 => 28 + u64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if year == 0 || day == 0 || day > days_in_month || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // The formula uses years that begin in March, because their leap day is the last day.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day;
    let mut iso = text;
    iso[10] = b'T';
    Some((iso, ((days * 24 + hour) * 60 + minute) * 60 + second))
}

/// Does the work of the plugin `clean` with [`Job::config`] of this job.
fn wide(files: Files) -> Result<Counts> {
    clean(
        files,
        ["order_id", "status", "quantity", "discount"],
        |[id, status, quantity, discount]| {
            Ok([
                integer(required(id)?, 1..=i64::MAX)?,
                one_of(required(status)?, &["open", "paid", "shipped", "returned"])?,
                integer(required(quantity)?, 1..=1_000)?,
                percentage(discount)?,
            ])
        },
    )
}

/// Does the work of the plugin `clean` with [`Job::config`] of this job.
fn quoted(files: Files) -> Result<Counts> {
    clean(
        files,
        ["id", "author", "title", "score"],
        |[id, author, title, score]| {
            Ok([
                integer(required(id)?, 1..=i64::MAX)?,
                required(author.trim())?.into(),
                required(title)?.into(),
                match score {
                    "" | "n/a" => "".into(),
                    score => integer(score, -1_000..=1_000)?,
                },
            ])
        },
    )
}

/// Writes each record with its four `columns` changed, or rejects the record. `columns` must be in the order of the
/// input.
fn clean(
    mut files: Files,
    columns: [&str; 4],
    change: impl for<'a> Fn([&'a str; 4]) -> std::result::Result<[Cow<'a, str>; 4], Code>,
) -> Result<Counts> {
    let mut indices = [0; 4];
    for (index, name) in indices.iter_mut().zip(columns) {
        *index = files.column(name)?;
    }
    files.writer.write_record(&files.header)?;
    let mut record = StringRecord::new();
    while files.next(&mut record)? {
        match change(indices.map(|index| &record[index])) {
            Ok(cells) => write_with(&mut files.writer, &record, indices, &cells)?,
            Err(code) => files.reject(&record, code)?,
        }
    }
    files.finish()
}

fn write_with(
    writer: &mut Writer<File>,
    record: &StringRecord,
    indices: [usize; 4],
    cells: &[Cow<'_, str>; 4],
) -> Result {
    let mut cells = indices.iter().zip(cells).peekable();
    for (index, field) in record.iter().enumerate() {
        match cells.next_if(|(changed, _)| **changed == index) {
            Some((_, cell)) => writer.write_field(&**cell)?,
            None => writer.write_field(field)?,
        }
    }
    writer.write_record(None::<&[u8]>)?;
    Ok(())
}

fn required(text: &str) -> std::result::Result<&str, Code> {
    if text.is_empty() {
        Err("required")
    } else {
        Ok(text)
    }
}

fn integer(text: &str, range: std::ops::RangeInclusive<i64>) -> std::result::Result<Cow<'_, str>, Code> {
    let value: i64 = text.parse().map_err(|_| "not-integer")?;
    if !range.contains(&value) {
        return Err("out-of-range");
    }
    let is_plain = matches!(text.as_bytes(), b"0" | [b'1'..=b'9', ..]);
    Ok(if is_plain {
        text.into()
    } else {
        value.to_string().into()
    })
}

fn one_of<'a>(text: &'a str, allowed: &[&str]) -> std::result::Result<Cow<'a, str>, Code> {
    if allowed.contains(&text) {
        Ok(text.into())
    } else {
        Err("not-allowed")
    }
}

fn percentage(text: &str) -> std::result::Result<Cow<'_, str>, Code> {
    if matches!(text, "" | "N/A") {
        return Ok("".into());
    }
    let value: f64 = text.parse().map_err(|_| "not-number")?;
    if !(0.0..=100.0).contains(&value) {
        return Err("out-of-range");
    }
    let is_plain = is_decimal(text) && !matches!(text.as_bytes(), [b'0', b'0'..=b'9', ..]);
    Ok(if is_plain {
        text.into()
    } else {
        value.to_string().into()
    })
}

/// An alarm from a JSONL file. Numbers that are only copied keep their original text.
#[derive(Deserialize)]
struct AlarmObject<'a> {
    id: u64,
    station_id: u64,
    alarm_id: u64,
    parameter_id: u64,
    #[serde(borrow)]
    start_time: Cow<'a, str>,
    #[serde(borrow)]
    end_time: Cow<'a, str>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    #[serde(borrow)]
    threshold: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct AlarmObjectOut<'a> {
    id: u64,
    station_id: u64,
    alarm_id: u64,
    parameter_id: u64,
    start_time: &'a str,
    end_time: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Option<&'a RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold: Option<Option<&'a RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_s: Option<u64>,
}

fn alarms_jsonl(input: &Path, output: &Path, rejects: &Path) -> Result<Counts> {
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, File::open(input)?);
    let mut writer = BufWriter::with_capacity(BUFFER_BYTES, File::create(output)?);
    let mut rejects = BufWriter::new(File::create(rejects)?);
    let mut counts = Counts::default();
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        counts.read += 1;
        if let Err(code) = alarm_object(&line, &mut writer)? {
            counts.rejected += 1;
            write!(rejects, "{}\t{code}\t", counts.read)?;
            rejects.write_all(&line)?;
        }
        line.clear();
    }
    writer.flush()?;
    rejects.flush()?;
    Ok(counts)
}

fn alarm_object(line: &[u8], out: &mut impl Write) -> Result<std::result::Result<(), Code>> {
    let Ok(alarm) = serde_json::from_slice::<AlarmObject<'_>>(line) else {
        return Ok(Err("malformed"));
    };
    let ids = [alarm.id, alarm.station_id, alarm.alarm_id, alarm.parameter_id];
    if !ids.iter().all(|id| (1..1_000_000_000_000_000_000).contains(id)) {
        return Ok(Err("bad-id"));
    }
    let (start, end, duration_s) = match span(&alarm.start_time, &alarm.end_time) {
        Ok(span) => span,
        Err(code) => return Ok(Err(code)),
    };
    let (Ok(value), Ok(threshold)) = (number(alarm.value), number(alarm.threshold)) else {
        return Ok(Err("bad-number"));
    };
    let alarm = AlarmObjectOut {
        id: alarm.id,
        station_id: alarm.station_id,
        alarm_id: alarm.alarm_id,
        parameter_id: alarm.parameter_id,
        start_time: str::from_utf8(&start)?,
        end_time: end.as_ref().map_or(Ok(""), |end| str::from_utf8(end))?,
        value,
        threshold,
        duration_s,
    };
    serde_json::to_writer(&mut *out, &alarm)?;
    out.write_all(b"\n")?;
    Ok(Ok(()))
}

/// Returns `None` if the member is missing, and `Some(None)` if its number stands for a missing value.
fn number(value: Option<&RawValue>) -> std::result::Result<Option<Option<&RawValue>>, Code> {
    let Some(value) = value else { return Ok(None) };
    Ok(Some((!measured(value.get())?.is_empty()).then_some(value)))
}
