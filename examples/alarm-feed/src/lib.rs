//! Alarms of base stations as CSV, for demos, tests and measurements: a seed comes in, rows go out. The same arguments
//! always give the same bytes.
//!
//! ```
//! let mut csv = Vec::new();
//! let summary = alarm_feed::write_alarms(&mut csv, 7, 1_000, 5)?;
//! assert_eq!(summary.records, 1_000);
//! assert_eq!(summary.bad(), 50);
//! assert!(csv.starts_with(alarm_feed::HEADER.as_bytes()));
//! # Ok::<(), std::io::Error>(())
//! ```

mod random;

use std::io::{self, Write};

use jiff::{Timestamp, tz::Offset};

use random::Random;

/// The first line of the CSV, without its line end.
pub const HEADER: &str = "id,station_id,alarm_id,parameter_id,start_time,end_time,value,threshold";

/// The text that means "not set". An alarm without a measurement has it in `value` and `threshold`.
pub const NOT_SET: &str = "999999";

const FLUSH_BYTES: usize = 64 << 10;
const FIRST_ID: u64 = 10_000_001;
/// The time 2017-10-23 00:00:00, in seconds since 1970-01-01. The first alarm starts less than [`GAP_SECONDS`] after
/// this time, and each later alarm starts less than [`GAP_SECONDS`] after the start of the alarm before it.
const FIRST_START: i64 = 1_508_716_800;
const GAP_SECONDS: u64 = 37;

/// A fault of a record. Each bad record has exactly one fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `id` is empty or has letters.
    BadId,
    /// `start_time` is not a valid time.
    BadTime,
    /// `end_time` is before `start_time`.
    EndBeforeStart,
    /// `value` is a word.
    BadValue,
    /// The row has one field more or one field less than the header.
    Ragged,
}

impl Fault {
    /// All faults. The bad records of a feed have these faults in turn, in this order.
    pub const ALL: [Self; 5] = [
        Self::BadId,
        Self::BadTime,
        Self::EndBeforeStart,
        Self::BadValue,
        Self::Ragged,
    ];
}

/// A summary of the records that [`write_alarms`] wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// The number of records, including bad records. The header does not count.
    pub records: u64,
    /// The number of bytes, including the header.
    pub bytes: u64,
    /// The number of good records with [`NOT_SET`] in `value` and `threshold`.
    pub not_set: u64,
    faults: [u64; Fault::ALL.len()],
}

impl Summary {
    /// Returns the number of records with a fault.
    pub fn bad(&self) -> u64 {
        self.faults.iter().sum()
    }

    /// Returns the number of records with the fault `fault`.
    pub fn with(&self, fault: Fault) -> u64 {
        self.faults[fault as usize]
    }
}

/// Writes the header and `records` alarms, and returns a summary of them.
///
/// `bad_percent` percent of the alarms, rounded down, have a fault. A percentage above 100 counts as 100. Bad records
/// are at random positions. The faults take turns, so the numbers of records per fault differ by at most one. About one
/// good record in four has no measurement: its `value` and `threshold` are [`NOT_SET`].
///
/// Except for bad fields, ids are unique and start times never decrease. The function keeps at most about 64 KiB of
/// rows in memory.
///
/// # Errors
/// Returns the error of `out`.
pub fn write_alarms(mut out: impl Write, seed: u64, records: u64, bad_percent: u8) -> io::Result<Summary> {
    let mut random = Random::new(seed);
    let mut summary = Summary::default();
    let mut bad_left = records / 100 * u64::from(bad_percent.min(100))
        + records % 100 * u64::from(bad_percent.min(100)) / 100;
    let mut faults = Fault::ALL.iter().cycle();
    let mut start = FIRST_START;
    let mut rows = Vec::with_capacity(FLUSH_BYTES + 256);
    writeln!(rows, "{HEADER}")?;

    for done in 0..records {
        // This is selection sampling (Knuth, The Art of Computer Programming 2, 3.4.2, algorithm S). Every choice of
        // positions is equally likely, and the number of chosen positions is the initial value of `bad_left`.
        let bad = random.below(records - done) < bad_left;
        let fault = if bad { faults.next().copied() } else { None };
        bad_left -= u64::from(bad);
        start += random.below(GAP_SECONDS).cast_signed();

        let alarm = Alarm::draw(&mut random, FIRST_ID + done, start);
        alarm.write(&mut rows, &mut random, fault)?;

        summary.records += 1;
        match fault {
            Some(fault) => summary.faults[fault as usize] += 1,
            None => summary.not_set += u64::from(alarm.reading.is_none()),
        }
        if rows.len() >= FLUSH_BYTES {
            summary.bytes += rows.len() as u64;
            out.write_all(&rows)?;
            rows.clear();
        }
    }
    summary.bytes += rows.len() as u64;
    out.write_all(&rows)?;
    out.flush()?;
    Ok(summary)
}

/// A kind of alarm. Of every [`WEIGHTS`] alarms, on average `weight` alarms are of this kind.
struct Kind {
    weight: u64,
    alarm_id: u32,
    parameter_id: u32,
    /// The threshold of the measurement, and the largest distance of a value from the threshold (negative if the values
    /// are below the threshold). Both are in halves of the unit. `None` means that the alarm has no measurement.
    measures: Option<(i64, i64)>,
}

const fn kind(weight: u64, alarm_id: u32, parameter_id: u32, measures: Option<(i64, i64)>) -> Kind {
    Kind {
        weight,
        alarm_id,
        parameter_id,
        measures,
    }
}

const KINDS: [Kind; 8] = [
    kind(30, 308, 121, Some((480, 24))),  // mains voltage above 240 V
    kind(20, 309, 121, Some((400, -40))), // mains voltage below 200 V
    kind(18, 323, 1, None),               // mains lost
    kind(8, 303, 116, None),              // door open
    kind(8, 319, 153, Some((2, 8))),      // rectifier modules failed
    kind(7, 312, 143, Some((56, 12))),    // shelter temperature above 28 °C
    kind(5, 310, 122, Some((60, 16))),    // battery temperature above 30 °C
    kind(4, 304, 114, Some((94, -12))),   // battery voltage below 47 V
];

impl Kind {
    fn draw(random: &mut Random) -> &'static Self {
        let mut ticket = random.below(WEIGHTS);
        for kind in &KINDS {
            if ticket < kind.weight {
                return kind;
            }
            ticket -= kind.weight;
        }
        unreachable!("a ticket is less than the sum of the weights")
    }
}

const WEIGHTS: u64 = {
    let (mut sum, mut i) = (0, 0);
    while i < KINDS.len() {
        sum += KINDS[i].weight;
        i += 1;
    }
    sum
};

/// The values of a record, before a fault is added.
struct Alarm {
    id: u64,
    station_id: u64,
    alarm_id: u32,
    parameter_id: u32,
    start: i64,
    end: i64,
    /// The value and the threshold in halves of the unit, or `None` if the alarm has no measurement.
    reading: Option<(i64, i64)>,
}

impl Alarm {
    fn draw(random: &mut Random, id: u64, start: i64) -> Self {
        let kind = Kind::draw(random);
        let reading = kind.measures.map(|(threshold, reach)| {
            let beyond = 1 + random.below(reach.unsigned_abs()).cast_signed();
            (threshold + beyond * reach.signum(), threshold)
        });
        // Some stations have more alarms than others, and most alarms are short.
        let station = random.below(120).min(random.below(120));
        let length = random.below(60) * random.below(60);
        Self {
            id,
            station_id: 1_161_114_000 + station / 60 * 1_000 + station % 60,
            alarm_id: kind.alarm_id,
            parameter_id: kind.parameter_id,
            start,
            end: start + length.cast_signed(),
            reading,
        }
    }

    fn write(&self, rows: &mut Vec<u8>, random: &mut Random, fault: Option<Fault>) -> io::Result<()> {
        match fault {
            Some(Fault::BadId) if random.below(2) == 0 => {}
            Some(Fault::BadId) => write!(rows, "AL-{}", self.id)?,
            _ => write!(rows, "{}", self.id)?,
        }
        write!(
            rows,
            ",{},{},{},",
            self.station_id, self.alarm_id, self.parameter_id
        )?;
        match fault {
            Some(Fault::BadTime) => rows.extend_from_slice(random.pick(&BAD_TIMES).as_bytes()),
            _ => push_time(rows, self.start),
        }
        rows.push(b',');
        match fault {
            Some(Fault::EndBeforeStart) => push_time(rows, self.start - 1 - random.below(600).cast_signed()),
            _ => push_time(rows, self.end),
        }
        rows.push(b',');
        let (value, threshold) = self.reading.unzip();
        match fault {
            Some(Fault::BadValue) => rows.extend_from_slice(random.pick(&BAD_VALUES).as_bytes()),
            _ => push_halves(rows, value)?,
        }
        match fault {
            Some(Fault::Ragged) if random.below(2) == 0 => {}
            Some(Fault::Ragged) => write!(rows, ",{NOT_SET},retry")?,
            _ => {
                rows.push(b',');
                push_halves(rows, threshold)?;
            }
        }
        rows.push(b'\n');
        Ok(())
    }
}

const BAD_TIMES: [&str; 3] = ["2017-10-32 09:15:00", "2017-10-23 25:61:07", "yesterday"];
const BAD_VALUES: [&str; 3] = ["n/a", "high", "#ERR"];

/// Appends a time without a time zone, in the form that stations send: `2017-10-23 12:04:38`.
fn push_time(rows: &mut Vec<u8>, second: i64) {
    let time = Timestamp::from_second(second).unwrap_or(Timestamp::MAX);
    let time = Offset::UTC.to_datetime(time);
    let century = time.year().unsigned_abs() / 100;
    push_pair(rows, century as u8);
    push_pair(rows, (time.year().unsigned_abs() % 100) as u8);
    for (separator, part) in [
        (b'-', time.month()),
        (b'-', time.day()),
        (b' ', time.hour()),
        (b':', time.minute()),
        (b':', time.second()),
    ] {
        rows.push(separator);
        push_pair(rows, part.unsigned_abs());
    }
}

fn push_pair(rows: &mut Vec<u8>, number: u8) {
    rows.extend_from_slice(&[b'0' + number / 10 % 10, b'0' + number % 10]);
}

fn push_halves(rows: &mut Vec<u8>, halves: Option<i64>) -> io::Result<()> {
    match halves {
        Some(halves) if halves % 2 == 0 => write!(rows, "{}", halves / 2),
        Some(halves) => write!(rows, "{}.5", halves / 2),
        None => rows.write_all(NOT_SET.as_bytes()),
    }
}
