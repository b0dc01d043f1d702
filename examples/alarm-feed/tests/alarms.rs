//! Tests the promises of the feed about its records.

#![expect(clippy::unwrap_used, reason = "functions that tests share")]

use alarm_feed::{Fault, HEADER, NOT_SET, Summary, write_alarms};

fn alarms(seed: u64, records: u64, bad_percent: u8) -> (String, Summary) {
    let mut csv = Vec::new();
    let summary = write_alarms(&mut csv, seed, records, bad_percent).unwrap();
    (String::from_utf8(csv).unwrap(), summary)
}

/// Finds the faults of a row, independently of the code that made the row.
fn faults(row: &str) -> Vec<Fault> {
    let fields: Vec<&str> = row.split(',').collect();
    let mut found = Vec::new();
    if fields.len() != 8 {
        return vec![Fault::Ragged];
    }
    if fields[0].parse::<u64>().is_err() {
        found.push(Fault::BadId);
    }
    let time = |text: &str| jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S", text).ok();
    match (time(fields[4]), time(fields[5])) {
        (Some(start), Some(end)) if end < start => found.push(Fault::EndBeforeStart),
        (Some(_), Some(_)) => {}
        _ => found.push(Fault::BadTime),
    }
    if fields[6].parse::<f64>().is_err() {
        found.push(Fault::BadValue);
    }
    found
}

#[test]
fn the_same_arguments_give_the_same_bytes() {
    assert_eq!(alarms(7, 500, 5), alarms(7, 500, 5));
    assert_ne!(alarms(7, 500, 5).0, alarms(8, 500, 5).0);
}

#[test]
fn the_bytes_stay_the_same_from_version_to_version() {
    let (csv, _) = alarms(7, 3, 40);
    assert_eq!(csv, GOLDEN);
}

const GOLDEN: &str = "\
id,station_id,alarm_id,parameter_id,start_time,end_time,value,threshold
10000001,1161114029,312,143,2017-10-23 00:00:00,2017-10-23 00:08:52,31.5,28
AL-10000002,1161115044,308,121,2017-10-23 00:00:15,2017-10-23 00:27:27,252,240
10000003,1161114012,303,116,2017-10-23 00:00:37,2017-10-23 00:08:57,999999,999999
";

#[test]
fn the_share_of_bad_records_is_exact_and_each_has_the_fault_it_counts_under() {
    let (csv, summary) = alarms(7, 2_000, 5);
    assert_eq!((summary.records, summary.bad()), (2_000, 100));
    assert_eq!(summary.bytes, csv.len() as u64);

    let mut found = [0; Fault::ALL.len()];
    for row in csv.lines().skip(1) {
        let faults = faults(row);
        assert!(faults.len() <= 1, "{row}: {faults:?}");
        for fault in faults {
            found[fault as usize] += 1;
        }
    }
    for fault in Fault::ALL {
        assert_eq!(summary.with(fault), 20, "{fault:?}");
        assert_eq!(found[fault as usize], 20, "{fault:?}");
    }
}

#[test]
fn alarms_that_measure_nothing_say_so_twice() {
    let (csv, summary) = alarms(7, 1_000, 0);
    let end = format!(",{NOT_SET},{NOT_SET}");
    let not_set = csv.lines().filter(|row| row.ends_with(&end)).count();
    assert_eq!(summary.not_set, not_set as u64);
    assert!((200..320).contains(&not_set), "{not_set} of 1,000");
}

#[test]
fn ids_are_unique_and_starts_never_go_back() {
    let (csv, _) = alarms(7, 1_000, 0);
    let rows: Vec<Vec<&str>> = csv.lines().skip(1).map(|row| row.split(',').collect()).collect();
    for pair in rows.windows(2) {
        assert!(pair[0][0] < pair[1][0], "{pair:?}");
        assert!(pair[0][4] <= pair[1][4], "{pair:?}");
    }
}

#[test]
fn the_edges_of_the_arguments_hold() {
    assert_eq!(alarms(7, 0, 50).0, format!("{HEADER}\n"));
    assert_eq!(alarms(7, 10, 9).1.bad(), 0);
    assert_eq!(alarms(7, 10, 100).1.bad(), 10);
    assert_eq!(alarms(7, 10, 255).1.bad(), 10);
}
