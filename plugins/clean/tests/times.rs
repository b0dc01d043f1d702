//! Tests that no digit, offset, weekday or half of the day in the text of a time is ignored.

use clean::Clean;
use ingest_plugin::testing;
use jiff::civil::{Date, DateTime};
use jiff::{SignedDuration, fmt::strtime};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

/// Returns the output for each value in a column of timestamps, or `None` if the value is rejected.
fn read(formats: &[&str], values: &[&str]) -> Vec<Option<String>> {
    let config = json!({ "columns": { "v": { "type": "timestamp", "formats": formats } } });
    let csv: String = values.iter().map(|value| format!("1,\"{value}\"\n")).collect();
    let report = testing::run::<Clean>(config, &format!("n,v\n{csv}")).expect("the formats are accepted");
    let mut written = report.column("v").into_iter();
    let rejected = |at: usize| {
        report
            .rejects
            .iter()
            .find(|reject| reject.record == at as u64 + 1)
    };
    let output = |at| match rejected(at) {
        Some(reject) => {
            assert_eq!(reject.code, "bad-timestamp");
            None
        }
        None => Some(written.next().expect("a row for each record").to_owned()),
    };
    (0..values.len()).map(output).collect()
}

#[track_caller]
fn assert_read(formats: &[&str], cases: &[(&str, &str)]) {
    let values: Vec<_> = cases.iter().map(|case| case.0).collect();
    for (found, (value, expected)) in read(formats, &values).into_iter().zip(cases) {
        assert_eq!(
            found.as_deref().unwrap_or("-"),
            *expected,
            "{value:?} by {formats:?}"
        );
    }
}

fn refusal(format: &str) -> String {
    let config = json!({ "columns": { "v": { "type": "timestamp", "formats": [format] } } });
    let refusal = testing::check::<Clean>(config).expect_err(format).to_string();
    assert!(
        refusal.starts_with(r#"config: column "v": "formats": "#),
        "{refusal}"
    );
    refusal
}

#[test]
fn adjacent_digits_need_full_width() {
    assert_read(
        &["%Y-%m-%d %H%M"],
        &[
            ("2024-05-06 1105", "2024-05-06T11:05:00"),
            ("2024-05-06 0115", "2024-05-06T01:15:00"),
            ("2024-05-06 115", "-"),
            ("2024-05-06 11050", "-"),
        ],
    );
    assert_read(
        &["%d%m%Y"],
        &[("01112024", "2024-11-01T00:00:00"), ("1112024", "-")],
    );
    assert_read(
        &["%Y%m%d"],
        &[
            ("20240601", "2024-06-01T00:00:00"),
            ("2024061", "-"),
            ("202406", "-"),
        ],
    );
    assert_read(
        &["%y%m%d"],
        &[
            ("240601", "2024-06-01T00:00:00"),
            ("700601", "1970-06-01T00:00:00"),
            ("24061", "-"),
        ],
    );
    assert_read(&["%Y%j"], &[("2024060", "2024-02-29T00:00:00"), ("202460", "-")]);
    assert_read(
        &["%Y%m%d%H%M%S%f"],
        &[
            ("20240715123059123", "2024-07-15T12:30:59.123"),
            ("2024071512305", "-"),
            ("20240715123059", "-"),
        ],
    );
    assert_read(
        &["%Y%m%d%H%M%S%3f%z"],
        &[
            ("20240715123059123+0200", "2024-07-15T10:30:59.123Z"),
            ("2024071512305912+0200", "-"),
        ],
    );
    // White space is required, because it can be the only separator of two numbers.
    assert_read(
        &["%Y-%m-%d %H:%M"],
        &[
            ("2024-07-1  12:00", "2024-07-01T12:00:00"),
            ("2024-07-112:00", "-"),
        ],
    );
    // If a character separates two numbers, a leading zero can be missing.
    assert_read(
        &["%d.%m.%Y %H:%M"],
        &[
            ("1.2.2024 3:04", "2024-02-01T03:04:00"),
            ("01.02.2024 03:4", "2024-02-01T03:04:00"),
            ("001.02.2024 03:04", "-"),
            (" 1.02.2024 03:04", "-"),
            ("1. 2.2024 03:04", "-"),
        ],
    );
    assert_read(
        &["%b %e %Y %k:%M"],
        &[("Jul  5 2024  3:04", "2024-07-05T03:04:00")],
    );
    assert_read(
        &["%e/%m/%Y", "%_d/%m/%Y"],
        &[(" 5/07/2024", "2024-07-05T00:00:00"), ("  5/07/2024", "-")],
    );
    assert_read(
        &["%-d/%-m/%Y %-j"],
        &[
            ("5/7/2024 187", "2024-07-05T00:00:00"),
            ("05/07/2024 187", "2024-07-05T00:00:00"),
        ],
    );
    assert_read(
        &["%Y%_m%_d"],
        &[("2024 7 5", "2024-07-05T00:00:00"), ("202475", "-")],
    );
}

#[test]
fn a_year_has_four_digits_and_no_sign() {
    assert_read(
        &["%d/%m/%Y"],
        &[
            ("01/02/2024", "2024-02-01T00:00:00"),
            ("01/02/0001", "0001-02-01T00:00:00"),
            ("01/02/9999", "9999-02-01T00:00:00"),
            ("01/02/0000", "-"),
            ("01/02/24", "-"),
            ("01/02/024", "-"),
            ("01/02/-2024", "-"),
            ("01/02/+2024", "-"),
            ("01/02/12024", "-"),
        ],
    );
    assert_read(
        &[],
        &[
            ("2024-02-29", "2024-02-29T00:00:00"),
            ("20240229", "2024-02-29T00:00:00"),
            ("0000-01-01", "-"),
            ("-000001-01-01", "-"),
            ("+002024-01-01", "-"),
            ("24-01-01", "-"),
            ("2024-1-1", "-"),
            ("2024-02-2912:00", "-"),
        ],
    );
}

#[test]
fn the_half_of_the_day_agrees_with_the_hour() {
    assert_read(
        &["%Y-%m-%d %I:%M %p"],
        &[
            ("2024-01-01 12:30 AM", "2024-01-01T00:30:00"),
            ("2024-01-01 12:30 pm", "2024-01-01T12:30:00"),
            ("2024-01-01 5:30 PM", "2024-01-01T17:30:00"),
            ("2024-01-01 11:59 Am", "2024-01-01T11:59:00"),
            ("2024-01-01 12:30 a.m.", "2024-01-01T00:30:00"),
            ("2024-01-01 5:30 P.M.", "2024-01-01T17:30:00"),
            ("2024-01-01 5:30 p.m", "-"),
            ("2024-01-01 5:30 p", "-"),
            ("2024-01-01 13:00 PM", "-"),
            ("2024-01-01 0:00 AM", "-"),
        ],
    );
    assert_read(
        &["%Y-%m-%d %H:%M %p"],
        &[
            ("2024-01-01 15:00 PM", "2024-01-01T15:00:00"),
            ("2024-01-01 00:30 AM", "2024-01-01T00:30:00"),
            ("2024-01-01 12:30 PM", "2024-01-01T12:30:00"),
            ("2024-01-01 15:00 AM", "-"),
            ("2024-01-01 03:00 PM", "-"),
            ("2024-01-01 12:30 AM", "-"),
        ],
    );
}

#[test]
fn a_time_that_no_clock_or_calendar_has_is_a_reject() {
    for formats in [&["%Y-%m-%dT%H:%M:%S"][..], &[]] {
        assert_read(
            formats,
            &[
                ("2024-02-29T23:59:59", "2024-02-29T23:59:59"),
                ("2024-02-29T23:59:60", "-"),
                ("2016-12-31T23:59:60", "-"),
                ("2024-02-29T23:60:00", "-"),
                ("2024-02-29T24:00:00", "-"),
                ("2023-02-29T00:00:00", "-"),
                ("2024-13-01T00:00:00", "-"),
                ("2024-00-01T00:00:00", "-"),
                ("2024-01-00T00:00:00", "-"),
                ("2024-01-01T00:00:00 ", "-"),
                (" 2024-01-01T00:00:00", "-"),
                ("\u{662}024-01-01T00:00:00", "-"),
            ],
        );
    }
    assert_read(
        &[],
        &[("2016-12-31T23:59:60Z", "-"), ("2016-12-31T23:59:60+00:00", "-")],
    );
    assert_read(
        &["%Y-%j"],
        &[
            ("2024-366", "2024-12-31T00:00:00"),
            ("2023-366", "-"),
            ("2023-000", "-"),
        ],
    );
    assert_read(
        &["%G-W%V-%u"],
        &[
            ("2024-W01-1", "2024-01-01T00:00:00"),
            ("2020-W53-7", "2021-01-03T00:00:00"),
            ("2024-W53-1", "-"),
            ("2024-W00-1", "-"),
            ("2024-W01-0", "-"),
        ],
    );
}

#[test]
fn redundant_fields_must_agree() {
    assert_read(
        &["%a %Y-%m-%d", "%A, %Y-%m-%d"],
        &[
            ("Thu 2024-02-29", "2024-02-29T00:00:00"),
            ("thursday, 2024-02-29", "2024-02-29T00:00:00"),
            ("Fri 2024-02-29", "-"),
        ],
    );
    assert_read(
        &["%Y-%m-%d (%j)"],
        &[
            ("2024-02-29 (060)", "2024-02-29T00:00:00"),
            ("2024-02-29 (061)", "-"),
        ],
    );
    assert_read(
        &["%Y-%m-%d W%V"],
        &[("2024-02-29 W09", "2024-02-29T00:00:00"), ("2024-02-29 W10", "-")],
    );
    assert_read(
        &["%w %Y-%m-%d"],
        &[("0 2024-03-03", "2024-03-03T00:00:00"), ("1 2024-03-03", "-")],
    );
    // If a week gives the date, the year must match this date.
    assert_read(
        &["%G-W%V-%u (%Y)"],
        &[
            ("2024-W02-1 (2024)", "2024-01-08T00:00:00"),
            ("2024-W02-1 (1999)", "-"),
            ("2025-W01-1 (2024)", "2024-12-30T00:00:00"),
            ("2025-W01-1 (2025)", "-"),
        ],
    );
    assert_read(
        &["%G-W%V-%u '%y"],
        &[("2024-W02-1 '24", "2024-01-08T00:00:00"), ("2024-W02-1 '25", "-")],
    );
    assert_read(
        &["%G %Y-%j"],
        &[("2025 2024-366", "2024-12-31T00:00:00"), ("2024 2024-366", "-")],
    );
}

/// The parser only checks that a value has the literal text of the format. It would lose a zone, a time or other data
/// in that text.
#[test]
fn meaningful_literal_text_is_refused() {
    let word = "would lose what it says: write %z for a zone";
    let offset = "would lose an offset: write %z";
    let half = "would lose the half of the day: write %p, which reads AM, PM, a.m. and p.m., with %I";
    let digits = "would lose them: write the directives that read them";
    let year = "directly before the year, and would lose it: write %Y";
    let short = "a year of four digits would pass: write %Y";
    let sign = "would lose its sign";
    for (format, why) in [
        // Time zones in upper or lower case, after the hour or in a format without an hour.
        ("%Y-%m-%dT%H:%M[Europe/Paris]", word),
        ("%Y-%m-%d %H:%M Europe/Paris", word),
        ("%Y-%m-%d %H:%M MEST", word),
        ("%Y-%m-%d %H:%M NST", word),
        ("%Y-%m-%d %H:%M trt", word),
        ("%Y-%m-%dT%H:%M:%SZ", word),
        ("%Y-%m-%dT%H:%M:%S.000Z", word),
        ("%Y-%m-%dT%H:%M:%Sz", word),
        ("%Y-%m-%d %H:%M U.T.C.", word),
        ("%Y-%m-%d %H:%M (Central European Time)", word),
        ("%Y-%m-%d %H:%M МСК", word),
        ("%Y-%m-%d %H:%M 日本標準時", word),
        ("%Y-%m-%d %H:%M local", word),
        ("%Y-%m-%d %H:%M Zulu", word),
        ("%Y-%m-%d %H:%M A", word),
        ("UTC: %Y-%m-%d %H:%M", word),
        ("%Y-%m-%d Z", word),
        ("%y-%m-%d Z", word),
        ("%Y-%m-%dZ", word),
        ("%Y-%m-%d 00:00:00 UTC", word),
        ("%Y-%m-%dT00:00:00Z", word),
        ("%s UTC", word),
        ("%Y-%m-%d %H:%M:%S UTC+2", word),
        ("%Y-%m-%d %H:%M:%S Etc/GMT-5", word),
        // Words that are allowed at other positions.
        ("%Y-%m-%d %H:%M AT", word),
        ("%Y-%m-%d %H:%M T", word),
        ("%Y-%m-%d %H:%MT", word),
        ("%Y-%m-%d %H:%M ST", word),
        ("%Y-%m-%d %H:%M S", word),
        ("%Y-%m-%d %H M", word),
        ("%Y-%m-%d %H:%M W", word),
        ("h %Y-%m-%d %H:%M", word),
        ("%Y-%m-%d UTC %H:%M%z", word),
        ("%s ms", word),
        // Eras and other names.
        ("%Y-%m-%d BC", word),
        ("%d.%m.%Y v. Chr.", word),
        ("令和%y年%m月%d日", word),
        ("Montag, %d.%m.%Y", word),
        // Offsets.
        ("%Y-%m-%d %H:%M+2", offset),
        ("%Y-%m-%d %H:%M-2", offset),
        ("%Y-%m-%d %H:%M +02", offset),
        ("%Y-%m-%d %H:%M - 02", offset),
        ("%Y-%m-%d %H:%M:%S+0200", offset),
        ("%FT%T-05:00", offset),
        ("%FT%T+00:00", offset),
        ("%FT%T-00:00", offset),
        ("%Y-%m-%d %H:%M+00:00:00", offset),
        ("%Y-%m-%d %H:%M\u{2212}02:00", offset),
        ("%Y-%m-%d %H:%M\u{2013}02:00", offset),
        ("%Y-%m-%d %H:%M\u{ff0b}02:00", offset),
        ("%Y-%m-%d %H:%M\u{ff0d}02:00", offset),
        ("%Y-%m-%d %H:%M±00", offset),
        ("%Y-%m-%d 00:00:00+02:00", offset),
        ("%Y-%m-%d 00:00:00-02:00", offset),
        ("%Y-%m-%d+02:00", offset),
        ("%H:%M+%j %Y", offset),
        // Halves of the day.
        ("%Y-%m-%d %H:%M p.m.", half),
        ("%Y-%m-%d %H:%M P.M", half),
        ("%Y-%m-%d %H:%M PM", half),
        ("%Y-%m-%d %H:%Mam", half),
        ("%Y-%m-%d AM", half),
        ("%Y-%m-%d 午後%H:%M", half),
        ("%Y年%m月%d日午後%H時", half),
        ("%Y-%m-%d 오전 %H:%M", half),
        // Digits other than zero, and zeros that belong to a number or could be an offset.
        ("%Y-%m-%d 12:30", digits),
        ("%Y-%m-%d %H:30", digits),
        ("%Y-%m-%d %H:%M:59", digits),
        ("%Y-%m-%d %H:%M:%S.5", digits),
        ("%Y-%m-%d %H:%M:%S 0000", digits),
        ("%Y-%m-%d 00:00:00 0000", digits),
        ("%Y-%m-%d %H:%M:%S0", digits),
        ("%Y-%m-%d 0%H:%M", digits),
        ("%Y-%m-%d \u{661}", digits),
        ("%Y-%m-%d ½", digits),
        ("%s000", digits),
        // A part of a year.
        ("20%y-%m-%d", year),
        ("19%y-%m-%d", year),
        ("%d.%m.20%y", year),
        ("%m/%d/2%y", year),
        ("%d%m20%y", year),
        ("0%Y-%m-%d", year),
        ("20 %y-%m-%d", digits),
        ("19'%y-%m-%d", digits),
        ("%y00-%m-%d", digits),
        ("%C%y-%m-%d", "write %Y"),
        ("%H%y-%m-%d", short),
        ("%m/%d%y", short),
        ("%y%m/%d", short),
        ("%b%d%y", short),
        ("%b %d%y %T", short),
        // Signs.
        ("-%Y-%m-%d", sign),
        ("%d/%m/-%Y", sign),
        ("-%s", sign),
        ("@-%s", sign),
        ("+%s", offset),
        ("%Y-%m-%d %H:%M 🌙", "may say something of the time"),
    ] {
        let refusal = refusal(format);
        assert!(refusal.contains(why), "{format}: {refusal}");
    }
    assert_eq!(
        refusal("%Y-%m-%d %H:%M+2"),
        "config: column \"v\": \"formats\": \"%Y-%m-%d %H:%M+2\" has \"+2\" as a text, and would lose an offset: \
         write %z, which reads +02, +0200, +02:00 and Z, or %H:%M:%S for a time of day"
    );
}

#[test]
fn harmless_literal_text_is_accepted() {
    for (format, text, expected) in [
        ("Stand: %d.%m.%Y", "Stand: 06.05.2024", "2024-05-06T00:00:00"),
        (
            "Last updated on: %Y-%m-%d",
            "Last updated on: 2024-05-06",
            "2024-05-06T00:00:00",
        ),
        ("%Y-%m-%dT%H:%M:%S", "2024-05-06T07:08:09", "2024-05-06T07:08:09"),
        (
            "%Y-%m-%dt%H:%M:%S.000",
            "2024-05-06t07:08:09.000",
            "2024-05-06T07:08:09",
        ),
        (
            "%Y-%m-%d %H:%M:00,0",
            "2024-05-06 07:08:00,0",
            "2024-05-06T07:08:00",
        ),
        ("%Y-%m-%d %Hh00", "2024-05-06 7h00", "2024-05-06T07:00:00"),
        ("%Y-%m-%dT00:00:00", "2024-05-06T00:00:00", "2024-05-06T00:00:00"),
        (
            "%Y-%m-%d 00:00:00.000",
            "2024-05-06 00:00:00.000",
            "2024-05-06T00:00:00",
        ),
        (
            "%Y-%m-%dT00:00:00%z",
            "2024-05-06T00:00:00+02:00",
            "2024-05-05T22:00:00Z",
        ),
        (
            "%d.%m.%Y 00:00 Uhr",
            "06.05.2024 00:00 Uhr",
            "2024-05-06T00:00:00",
        ),
        (
            "%d.%m.%Y, %H:%M Uhr",
            "06.05.2024, 07:08 Uhr",
            "2024-05-06T07:08:00",
        ),
        (
            "%d.%m.%Y um %H.%M h",
            "06.05.2024 um 07.08 h",
            "2024-05-06T07:08:00",
        ),
        (
            "%Hh%Mm%Ss on %F",
            "07h08m09s on 2024-05-06",
            "2024-05-06T07:08:09",
        ),
        (
            "%H hrs. %M min. %S sec., %F",
            "07 hrs. 08 min. 09 sec., 2024-05-06",
            "2024-05-06T07:08:09",
        ),
        (
            "%I:%M o'clock %p, the %dth of %B %Y",
            "7:08 o'clock pm, the 6th of May 2024",
            "2024-05-06T19:08:00",
        ),
        (
            "%B %d, %Y at %I:%M %p",
            "May 6, 2024 at 7:08 p.m.",
            "2024-05-06T19:08:00",
        ),
        (
            "%d de %B de %Y a las %H:%M hs",
            "6 de May de 2024 a las 07:08 hs",
            "2024-05-06T07:08:00",
        ),
        (
            "le %d/%m/%Y à %Hh%M",
            "le 06/05/2024 à 07h08",
            "2024-05-06T07:08:00",
        ),
        (
            "%Y年%m月%d日 %H時%M分%S秒",
            "2024年5月6日 7時8分9秒",
            "2024-05-06T07:08:09",
        ),
        (
            "%Y년 %m월 %d일 %H시 %M분",
            "2024년 5월 6일 7시 8분",
            "2024-05-06T07:08:00",
        ),
        (
            "[%d/%b/%Y:%H:%M:%S %z]",
            "[06/May/2024:07:08:09 +0000]",
            "2024-05-06T07:08:09Z",
        ),
        (
            "%a %b %d %Y %H:%M:%S GMT%z",
            "Mon May 06 2024 07:08:09 GMT+0200",
            "2024-05-06T05:08:09Z",
        ),
        (
            "%F %T (UTC%z)",
            "2024-05-06 07:08:09 (UTC-03:30)",
            "2024-05-06T10:38:09Z",
        ),
        (
            "week %V of %G, day %u",
            "week 19 of 2024, day 1",
            "2024-05-06T00:00:00",
        ),
        ("%GW%V%u", "2024W191", "2024-05-06T00:00:00"),
        ("/Date(%s)/", "/Date(0)/", "1970-01-01T00:00:00Z"),
        ("%s.000", "0.000", "1970-01-01T00:00:00Z"),
        ("'%y/%m/%d", "'24/05/06", "2024-05-06T00:00:00"),
        ("%d%m%y", "060524", "2024-05-06T00:00:00"),
        ("%d%b%y", "06May24", "2024-05-06T00:00:00"),
        ("%y%j", "24127", "2024-05-06T00:00:00"),
        ("%y%m%d%H%M", "2405060708", "2024-05-06T07:08:00"),
        ("%H:%M - %F", "07:08 - 2024-05-06", "2024-05-06T07:08:00"),
        (
            "%F \u{2013} %H:%M",
            "2024-05-06 \u{2013} 07:08",
            "2024-05-06T07:08:00",
        ),
        (
            "%Y/%m/%d_%H-%M-%S;#",
            "2024/05/06_07-08-09;#",
            "2024-05-06T07:08:09",
        ),
    ] {
        assert_read(&[format], &[(text, expected)]);
    }
}

/// The README lists the words of a format, and where each word may stand.
#[test]
fn words_listed_in_the_readme_are_accepted() {
    let readme = include_str!("../README.md");
    let table = readme.split("| words | where they may stand |").nth(1).unwrap();
    let rows: Vec<_> = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    let mut tried = 0;
    for row in &rows {
        let [_, words, place, _] = row.split('|').collect::<Vec<_>>()[..] else {
            panic!("{row}");
        };
        let format = |word: &str| match place.trim() {
            "before the hour" => format!("%F {word} %H"),
            "before a part of the date" => format!("%H:%M {word} %F"),
            "before the week" => format!("%G {word}%V %u"),
            "before the offset" => format!("%F %H:%M {word}%z"),
            "after the year" => format!("%Y{word} %m %d"),
            "after the month" => format!("%Y %m{word} %d"),
            "after the day" => format!("%Y %m %d{word}"),
            "after a part of the time of day" => format!("%F %H {word}"),
            "after the minute" => format!("%F %H:%M {word}"),
            "after the second" => format!("%F %T {word}"),
            other => panic!("{other}"),
        };
        for word in words.split(',').map(|word| word.trim().trim_matches('`')) {
            let config = json!({ "columns": { "v": { "type": "timestamp", "formats": [format(word)] } } });
            testing::check::<Clean>(config).unwrap_or_else(|refusal| panic!("{word}: {refusal}"));
            tried += 1;
        }
    }
    assert_eq!((rows.len(), tried), (10, 73));
}

#[test]
fn an_offset_is_never_dropped() {
    let offsets = [
        ("Z", "2024-01-01T12:00:00Z"),
        ("z", "2024-01-01T12:00:00Z"),
        ("+00:00", "2024-01-01T12:00:00Z"),
        ("-00:00", "2024-01-01T12:00:00Z"),
        ("+0000", "2024-01-01T12:00:00Z"),
        ("+02:00", "2024-01-01T10:00:00Z"),
        ("+0200", "2024-01-01T10:00:00Z"),
        ("+02", "2024-01-01T10:00:00Z"),
        ("-03:30", "2024-01-01T15:30:00Z"),
        ("+00:09:21", "2024-01-01T11:50:39Z"),
        ("+14:00", "2023-12-31T22:00:00Z"),
        ("-14:00", "2024-01-02T02:00:00Z"),
        ("+14:01", "-"),
        ("-14:00:01", "-"),
        ("+15:00", "-"),
        ("+25:00", "-"),
        ("+02:60", "-"),
        ("+2:00", "-"),
        ("+020", "-"),
        ("+02:0", "-"),
        ("+02:", "-"),
        ("+02:0000", "-"),
        ("+0200:00", "-"),
        ("+", "-"),
        ("\u{2212}02:00", "-"),
        ("ZZ", "-"),
        ("Z+02:00", "-"),
        ("[Europe/Paris]", "-"),
        ("Z[UTC]", "-"),
        ("+01:00[Europe/Paris]", "-"),
        ("+05:00[Europe/Paris]", "-"),
        ("[u-ca=gregory]", "-"),
        (" Europe/Paris", "-"),
        (" CET", "-"),
        ("+02:00 CEST", "-"),
        (" +02:00 ", "-"),
    ];
    let texts: Vec<_> = offsets
        .map(|(offset, _)| format!("2024-01-01T12:00:00{offset}"))
        .to_vec();
    let cases: Vec<_> = texts
        .iter()
        .map(String::as_str)
        .zip(offsets.map(|case| case.1))
        .collect();
    assert_read(&[], &cases);
    for directive in ["%z", "%:z", "%::z", "%:::z"] {
        assert_read(&[&format!("%Y-%m-%dT%H:%M:%S{directive}")], &cases);
    }
    // A format without an offset refuses a text with an offset.
    let without: Vec<_> = cases.iter().map(|case| (case.0, "-")).collect();
    assert_read(&["%Y-%m-%dT%H:%M:%S"], &without);
    assert_read(
        &["%Y-%m-%d %H:%M:%S %z"],
        &[
            ("2024-01-01 12:00:00 UTC", "2024-01-01T12:00:00Z"),
            ("2024-01-01 12:00:00 GMT", "2024-01-01T12:00:00Z"),
            ("2024-01-01 12:00:00 GMT+1", "-"),
            ("2024-01-01 12:00:00 CET", "-"),
            ("2024-01-01 12:00:00", "-"),
            ("2024-01-01 12:00:00 ", "-"),
        ],
    );
    assert_read(
        &[],
        &[
            ("2024-01-01T12:00:00UTC", "-"),
            ("2024-01-01Z", "-"),
            ("2024-01-01+02:00", "-"),
        ],
    );
}

#[test]
fn instants_outside_the_calendar_are_rejected() {
    let cases = [
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
        ("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999999Z"),
        ("9999-12-31T23:59:59+02:00", "9999-12-31T21:59:59Z"),
        ("9999-12-31T23:59:59-02:00", "-"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("0001-01-01T00:00:00-02:00", "0001-01-01T02:00:00Z"),
        ("0001-01-01T00:00:00+02:00", "-"),
    ];
    assert_read(&[], &cases);
    assert_read(&["%FT%T%.f%z"], &cases);
    assert_read(
        &["%s"],
        &[
            ("0", "1970-01-01T00:00:00Z"),
            ("-1", "1969-12-31T23:59:59Z"),
            ("1737396540", "2025-01-20T18:09:00Z"),
            ("253402300799", "9999-12-31T23:59:59Z"),
            ("253402300800", "-"),
            // Milliseconds are not accepted as seconds.
            ("1737396540000", "-"),
            ("9223372036854775808", "-"),
            ("1737396540.5", "-"),
        ],
    );
    assert_read(
        &["%s.%f", "%s%.f"],
        &[
            ("1737396540.25", "2025-01-20T18:09:00.25Z"),
            ("-1.5", "1969-12-31T23:59:58.5Z"),
            ("1737396540", "2025-01-20T18:09:00Z"),
        ],
    );
}

#[test]
fn iso_8601_is_accepted_in_its_usual_forms_only() {
    assert_read(
        &[],
        &[
            ("2024-02-29T12", "2024-02-29T12:00:00"),
            ("2024-02-29 12:30", "2024-02-29T12:30:00"),
            ("2024-02-29t12:30:15,5z", "2024-02-29T12:30:15.5Z"),
            ("20240229T123015Z", "2024-02-29T12:30:15Z"),
            ("20240229T1230+0200", "2024-02-29T10:30:00Z"),
            ("2024-02-29T12:30:15.1234567891", "-"),
            ("2024-02-29T12:30:15.", "-"),
            ("2024-02-29T12:30.5", "-"),
            ("2024-02-29T12:3", "-"),
            ("2024-02-29T", "-"),
            ("2024-0229", "-"),
            ("202402-29", "-"),
            ("2024-02-29  12:30", "-"),
            ("2024-02-29_12:30", "-"),
            ("12:30", "-"),
            ("now", "-"),
        ],
    );
}

#[test]
fn a_senseless_format_is_refused() {
    for (format, why) in [
        ("YYYY-MM-DD", "no directives: write %Y-%m-%d"),
        ("yyyy-MM-dd HH:mm:ss", "no directives"),
        ("", "no directives"),
        ("%%", "no directives"),
        ("%", "ends with a % that begins nothing"),
        ("%Y-%m-%d %", "ends with a % that begins nothing"),
        ("%Y-%m-%d %-", "ends with a % that begins nothing"),
        ("%!", "has %!, which is no directive"),
        ("%Y-%m-%d 100%", "ends with a %"),
        ("%Y-%m-%d %v", "has %v, which is no directive"),
        ("%Y-%m-%d %é", "has %é, which is no directive"),
        ("%Y-%m-%d %H:%M %Z", "has %Z, the name of a zone"),
        ("%Y-%m-%d %H:%M %Q", "has %Q, the name of a zone"),
        ("%Y-%m-%d %H:%M %:Q", "has %:Q, the name of a zone"),
        ("%c", "from language to language"),
        ("%x %X", "from language to language"),
        ("%Y-%m-%d %r", "from language to language"),
        ("%Ey", "from language to language"),
        ("%C%y-%m-%d", "write %Y"),
        ("%Y-%U-%u", "write %G-W%V-%u"),
        ("%Y-%m-%03d", "has %03d, whose flags mean nothing"),
        ("%_Y-%m-%d", "has %_Y, whose flags mean nothing"),
        ("%-Y-%m-%d", "has %-Y, whose flags mean nothing"),
        ("%-y-%m-%d", "has %-y, whose flags mean nothing"),
        ("%Y-%_j", "has %_j, whose flags mean nothing"),
        ("%-G-W%V-%u", "has %-G, whose flags mean nothing"),
        ("%G-W%V-%_u", "has %_u, whose flags mean nothing"),
        ("%G-W%V-%-u", "has %-u, whose flags mean nothing"),
        ("%Y-%_-m-%d", "has %_-m, whose flags mean nothing"),
        ("%Y-%m-%d %-p", "has %-p, whose flags mean nothing"),
        (
            "%Y%-m%-d",
            "has the flag - in a number directly beside another one",
        ),
        (
            "%-H%M %F",
            "has the flag - in a number directly beside another one",
        ),
        ("%Y-%m-%d %H:%M:%S.%10f", "has %10f, whose flags"),
        ("%Y-%^b-%d", "has %^, which is no directive"),
        // A part of the date is missing.
        ("%H:%M", "has no year (%Y)"),
        ("%Y", "has no month (%m)"),
        ("%Y-%m", "has no day of the month (%d)"),
        ("%m-%d", "has no year (%Y)"),
        ("%Y-MM-%d", "has no month (%m)"),
        ("%Y-%V-%u", "has no month (%m)"),
        ("%G-W%V", "has no year (%Y)"),
        // A field would occur twice, and the second value would replace the first.
        ("%Y-%m-%d %H:%m", "has the month twice: minutes are %M"),
        ("%Y-%M-%d %H:%M", "has the minute twice: months are %m"),
        ("%Y-%m-%d %y", "has the year twice"),
        ("%F %d", "has the day of the month twice"),
        ("%Y-%m-%d %b", "has the month twice"),
        ("%Y-%m-%d %T %k", "has the hour twice"),
        ("%Y-%m-%d %H %I %p", "has the hour twice"),
        ("%Y-%m-%d %S.%f.%N", "has the fraction of the second twice"),
        ("%Y-%m-%d %H:%M %z %z", "has the offset from UTC twice"),
        ("%s %Y", "has %s, which is a whole time, and the year too"),
        (
            "%s %z",
            "has %s, which is a whole time, and the offset from UTC too",
        ),
        // A field would have no use or no clear meaning.
        ("%Y-%m-%d %I:%M", "without %p: write %H"),
        ("%Y-%m-%d %p", "has the half of the day without the hour"),
        ("%Y-%m-%d %M", "has the minute without the hour"),
        ("%Y-%m-%d %H %S", "has the second without the minute"),
        (
            "%Y-%m-%d %H:%M.%f",
            "has the fraction of the second without the second",
        ),
        // The end of the digits would be ambiguous.
        ("%H:%M:%S.%f%Y%m%d", "put something else between them"),
        ("%H:%M%z%Y-%m-%d", "put something else between them"),
        ("%H:%M:%S%.3f%Y-%m-%d", "put something else between them"),
    ] {
        let refusal = refusal(format);
        assert!(refusal.contains(why), "{refusal}");
    }
    assert_eq!(
        refusal("YYYY-MM-DD"),
        "config: column \"v\": \"formats\": \"YYYY-MM-DD\" has no directives: \
         write %Y-%m-%d where others write YYYY-MM-DD"
    );
}

/// The formats of whole dates. `CLOCKS` has the formats of whole times of day.
const DATES: [&str; 13] = [
    "%Y-%m-%d",
    "%d.%m.%Y",
    "%Y%m%d",
    "%d%m%Y",
    "%F",
    "%b %d, %Y",
    "%A %d %B %Y",
    "%a, %-d %b %Y",
    "%Y-%j",
    "%Y%j",
    "%G-W%V-%u",
    "%GW%V%u",
    "%e/%m/%Y",
];
const CLOCKS: [&str; 9] = [
    "%H:%M:%S",
    "%H%M%S",
    "%T",
    "%k.%M.%S",
    "%I:%M:%S %p",
    "%I%M%S%P",
    "%-H h %-M m %-S s",
    "%H:%M:%S%.f",
    "%H:%M:%S.%f",
];
const BETWEEN: [&str; 4] = [" ", "T", "  at ", "%n"];

fn time() -> impl Strategy<Value = DateTime> {
    // The days from 0001-01-01 to 9999-12-31, counted from 1970-01-01.
    let days = -719_162..=2_932_896_i64;
    let nanosecond = prop_oneof![Just(0_i64), 0..1_000_000_000_i64];
    (days, 0..86_400_i64, nanosecond).prop_map(|(day, second, nanosecond)| {
        let since = SignedDuration::from_secs(day * 86_400 + second) + SignedDuration::from_nanos(nanosecond);
        let epoch = Date::constant(1970, 1, 1).at(0, 0, 0, 0);
        epoch.checked_add(since).expect("within the calendar")
    })
}

fn format() -> impl Strategy<Value = String> {
    let pick = |texts: &'static [&'static str]| proptest::sample::select(texts);
    (pick(&DATES), pick(&BETWEEN), pick(&CLOCKS), any::<bool>()).prop_map(
        |(date, between, clock, is_turned)| {
            // `clean` allows `T` only before the hour, not before a date. So with `T`, the date comes first.
            if is_turned && between != "T" {
                format!("{clock}{between}{date}")
            } else {
                format!("{date}{between}{clock}")
            }
        },
    )
}

/// Returns the text with one character replaced, removed, inserted or doubled.
fn damaged(text: &str, at: usize, how: u8, other: char) -> String {
    let mut characters: Vec<_> = text.chars().collect();
    let at = at % characters.len();
    match how % 4 {
        0 => characters[at] = other,
        1 => drop(characters.remove(at)),
        2 => characters.insert(at, other),
        _ => characters.insert(at, characters[at]),
    }
    characters.into_iter().collect()
}

/// Returns a text without the differences that the parser may ignore:
///
/// - upper case
/// - white space that does not follow a digit
/// - leading zeros of numbers
/// - trailing zeros of fractions
/// - a fraction of zeros with its point
fn essence(text: &str) -> String {
    let words: Vec<_> = text.split_ascii_whitespace().collect();
    let text = words.join(" ").to_ascii_lowercase();
    let is_digit = |character: char| character.is_ascii_digit();
    let mut essence = String::new();
    let mut rest = text.as_str();
    while let Some(first) = rest.chars().next() {
        let before = &text[..text.len() - rest.len()];
        let count = rest.bytes().take_while(u8::is_ascii_digit).count();
        if count == 0 {
            if first != ' ' || before.ends_with(is_digit) {
                essence.push(first);
            }
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let (digits, after) = rest.split_at(count);
        rest = after;
        // A fraction follows a second and a point. The second follows a colon.
        let is_fraction = before.strip_suffix('.').is_some_and(|second| {
            second.ends_with(is_digit) && second.trim_end_matches(is_digit).ends_with(':')
        });
        if !is_fraction {
            essence.push_str(digits.trim_start_matches('0'));
            continue;
        }
        let significant = digits.trim_end_matches('0');
        if significant.is_empty() {
            essence.pop();
        }
        essence.push_str(significant);
    }
    essence
}

fn runner() -> TestRunner {
    TestRunner::new(Config {
        failure_persistence: None,
        ..Config::with_cases(2_000)
    })
}

#[test]
fn a_format_reads_its_own_output() {
    let all = runner().run(&(time(), format()), |(time, format)| {
        let text = strtime::format(&format, time).expect("the format is of a time");
        let has_fraction = format.contains('f');
        let expected = if has_fraction {
            time
        } else {
            time.with().subsec_nanosecond(0).build().unwrap()
        };
        let found = read(&[&format], &[&text]);
        prop_assert_eq!(found, [Some(expected.to_string())], "{} by {}", text, format);
        Ok(())
    });
    all.unwrap();
}

#[test]
fn an_accepted_text_is_written_back_unchanged() {
    let accepted = std::cell::Cell::new(0);
    let cases = (
        time(),
        format(),
        any::<usize>(),
        any::<u8>(),
        proptest::sample::select(b"0123456789 -+:.T".as_slice()),
    );
    let all = runner().run(&cases, |(time, format, at, how, other)| {
        let text = damaged(&strtime::format(&format, time).unwrap(), at, how, other.into());
        if let Some(found) = &read(&[&format], &[&text])[0] {
            let found: DateTime = found.parse().expect("ISO 8601");
            let again = strtime::format(&format, found).unwrap();
            prop_assert_eq!(
                essence(&again),
                essence(&text),
                "{} by {} is {}",
                text,
                format,
                found
            );
            accepted.set(accepted.get() + 1);
        }
        Ok(())
    });
    all.unwrap();
    assert!(accepted.get() > 200, "{}", accepted.get());
}

#[test]
fn an_offset_is_subtracted() {
    let form = proptest::sample::select([0, 1, 2].as_slice());
    let all = runner().run(
        &(time(), -15 * 60..=15 * 60_i64, form),
        |(time, minutes, form)| {
            let sign = if minutes < 0 { '-' } else { '+' };
            let (hours, rest) = (minutes.abs() / 60, minutes.abs() % 60);
            let offset = match form {
                0 => format!("{sign}{hours:02}:{rest:02}"),
                1 => format!("{sign}{hours:02}{rest:02}"),
                _ => format!("{sign}{hours:02}:{rest:02}:00"),
            };
            let instant = time.checked_sub(SignedDuration::from_mins(minutes)).ok();
            let instant = instant.filter(|instant| instant.year() >= 1 && minutes.abs() <= 14 * 60);
            let expected = instant.map(|instant| format!("{instant}Z"));
            let text = format!("{time}{offset}");
            prop_assert_eq!(&read(&[], &[&text])[0], &expected, "{}", text);
            prop_assert_eq!(&read(&["%FT%T%.f%z"], &[&text])[0], &expected, "{}", text);
            Ok(())
        },
    );
    all.unwrap();
}
