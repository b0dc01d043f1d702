//! Tests dates, times of day, ranges of times, and names of months in other languages.

use clean::Clean;
use ingest_plugin::ColumnType;
use ingest_plugin::testing::{self, Report};
use serde_json::{Value, json};

fn run(rule: &Value, values: &[&str]) -> Report {
    let config = json!({ "columns": { "v": rule } });
    let csv: String = values.iter().map(|value| format!("1,\"{value}\"\n")).collect();
    testing::run::<Clean>(config, &format!("n,v\n{csv}")).expect("the rule is accepted")
}

/// Tests the output of each value, or the code of its reject.
#[track_caller]
fn assert_outcomes(rule: &Value, cases: &[(&str, &str)]) {
    let values: Vec<_> = cases.iter().map(|case| case.0).collect();
    let report = run(rule, &values);
    let mut written = report.column("v").into_iter();
    for (at, (value, expected)) in (1..).zip(cases) {
        let reject = report.rejects.iter().find(|reject| reject.record == at);
        let found = match reject {
            Some(reject) => &reject.code,
            None => written.next().expect("a row for each record"),
        };
        assert_eq!(found, *expected, "{value:?} under {rule}");
    }
}

#[track_caller]
fn assert_refused(rule: Value, sentence: &str) {
    let mut config = json!({ "columns": {} });
    config["columns"]["v"] = rule;
    let refusal = testing::check::<Clean>(config).expect_err(sentence).to_string();
    assert!(refusal.starts_with("config: column \"v\": "), "{refusal}");
    assert!(refusal.contains(sentence), "{refusal}");
}

#[test]
fn a_date_has_no_time_of_day() {
    let rule = json!({ "type": "date" });
    assert_outcomes(
        &rule,
        &[
            ("2024-02-29", "2024-02-29"),
            ("20240229", "2024-02-29"),
            ("0001-01-01", "0001-01-01"),
            ("", ""),
            ("2023-02-29", "bad-date"),
            ("0000-01-01", "bad-date"),
            ("2024-0229", "bad-date"),
            ("2024-02-29T00:00:00", "bad-date"),
            ("2024-02-29 ", "bad-date"),
            ("24-02-29", "bad-date"),
            ("29.02.2024", "bad-date"),
        ],
    );
    assert_eq!(run(&rule, &["2024-02-29"]).types[1], ColumnType::Timestamp);
    assert_eq!(
        run(&rule, &["x"]).rejects[0].reason,
        "v: \"x\" is not a date of the expected format"
    );
    assert_outcomes(
        &json!({ "type": "date", "formats": ["%d.%m.%y", "%m/%d/%Y", "%F 00:00:00", "%G-W%V-%u"] }),
        &[
            ("1.2.24", "2024-02-01"),
            ("02/01/2024", "2024-02-01"),
            ("2024-02-01 00:00:00", "2024-02-01"),
            ("2024-W05-4", "2024-02-01"),
            ("2024-02-01 12:00:00", "bad-date"),
        ],
    );
    for (format, sentence) in [
        (
            "%F %H:%M",
            "has the hour, which a \"date\" would lose: write the type \"timestamp\"",
        ),
        ("%F%z", "has the offset from UTC, which a \"date\" would lose"),
        ("%s", "has the seconds since 1970, which a \"date\" would lose"),
        ("%Y-%m", "has no day of the month (%d)"),
        ("YYYY-MM-DD", "write %Y-%m-%d where others write"),
    ] {
        assert_refused(json!({ "type": "date", "formats": [format] }), sentence);
    }
}

#[test]
fn a_time_of_day_has_no_date() {
    let rule = json!({ "type": "time" });
    assert_outcomes(
        &rule,
        &[
            ("08:30", "08:30:00"),
            ("0830", "08:30:00"),
            ("083015", "08:30:15"),
            ("23:59:59.999999999", "23:59:59.999999999"),
            ("08:30:15,5", "08:30:15.5"),
            ("", ""),
            ("8:30", "bad-time"),
            ("08", "bad-time"),
            ("24:00", "bad-time"),
            ("08:60", "bad-time"),
            ("23:59:60", "bad-time"),
            ("08:30Z", "bad-time"),
            ("T08:30", "bad-time"),
            ("2024-01-01T08:30", "bad-time"),
        ],
    );
    assert_eq!(run(&rule, &["08:30"]).types[1], ColumnType::Timestamp);
    assert_outcomes(
        &json!({ "type": "time", "formats": ["%H h %M", "%I:%M %p", "%Hh", "%H:%M:%S%.f"] }),
        &[
            ("8 h 30", "08:30:00"),
            ("12:05 am", "00:05:00"),
            ("9h", "09:00:00"),
            ("08:30:15.25", "08:30:15.25"),
            ("13:05 pm", "bad-time"),
        ],
    );
    for (format, sentence) in [
        ("%F %T", "has the year, which a \"time\" would lose"),
        ("%H:%M %z", "has the offset from UTC, which a \"time\" would lose"),
        ("%M:%S", "has no hour (%H)"),
        ("%H:%S", "has the second without the minute"),
        ("%I:%M", "without %p"),
        ("HH:MM", "write %H:%M:%S where others write HH:MM:SS"),
    ] {
        assert_refused(json!({ "type": "time", "formats": [format] }), sentence);
    }
}

#[test]
fn a_range_of_times_includes_its_bounds() {
    assert_outcomes(
        &json!({ "type": "date", "formats": ["%d.%m.%Y"], "range": { "min": "2020-01-01", "max": "2020-12-31" } }),
        &[
            ("01.01.2020", "2020-01-01"),
            ("31.12.2020", "2020-12-31"),
            ("31.12.2019", "out-of-range"),
            ("01.01.2021", "out-of-range"),
            ("", ""),
        ],
    );
    assert_outcomes(
        &json!({ "type": "time", "range": { "min": "08:00", "max": "17:30" } }),
        &[
            ("08:00:00", "08:00:00"),
            ("17:30:00.000000001", "out-of-range"),
            ("07:59:59", "out-of-range"),
        ],
    );
    let rule = json!({ "type": "timestamp", "range": { "min": "2024-01-01T00:00:00+01:00" } });
    assert_outcomes(
        &rule,
        &[
            ("2023-12-31T23:00:00Z", "2023-12-31T23:00:00Z"),
            ("2024-01-01T01:00:00+02:00", "2023-12-31T23:00:00Z"),
            ("2023-12-31T22:59:59Z", "out-of-range"),
            ("2024-06-01T00:00:00", "out-of-range"),
        ],
    );
    let reasons: Vec<_> = run(&rule, &["2023-12-31T22:59:59Z", "2024-06-01T00:00:00"])
        .rejects
        .into_iter()
        .map(|reject| reject.reason)
        .collect();
    assert_eq!(
        reasons,
        [
            "v: \"2023-12-31T22:59:59Z\" is not 2023-12-31T23:00:00Z or later",
            "v: \"2024-06-01T00:00:00\" has no offset from UTC, but the range has one: 2023-12-31T23:00:00Z or later",
        ]
    );
    let rule = json!({ "type": "timestamp", "range": { "max": "2024-12-31T23:59:59" } });
    assert_outcomes(
        &rule,
        &[
            ("2024-12-31", "2024-12-31T00:00:00"),
            ("2024-12-31T00:00:00Z", "out-of-range"),
        ],
    );
    assert!(
        run(&rule, &["2024-12-31T00:00:00Z"]).rejects[0]
            .reason
            .contains("has an offset from UTC, but the range has none: 2024-12-31T23:59:59 or earlier")
    );
}

#[test]
fn a_bound_with_two_meanings_is_refused() {
    let timestamp =
        |formats: &[&str], range: Value| json!({ "type": "timestamp", "formats": formats, "range": range });
    for (rule, sentence) in [
        (
            json!({ "type": "timestamp", "range": { "max": "2024-12-31" } }),
            "\"range\": \"max\" is \"2024-12-31\", which does not say whether the whole day is in the range: write \
             \"2024-12-31T00:00:00\" or \"2024-12-31T23:59:59.999999999\"",
        ),
        (
            timestamp(&["%F %T%z"], json!({ "min": "2024-01-01T00:00:00" })),
            "but a format of the values has an offset from UTC: write one, such as 2024-01-01T00:00:00Z",
        ),
        (
            timestamp(&["%F %T"], json!({ "min": "2024-01-01T00:00:00Z" })),
            "but a format of the values has no offset from UTC",
        ),
        (
            timestamp(&["%F %T", "%s"], json!({ "min": "2024-01-01T00:00:00Z" })),
            "but a format of the values has no offset from UTC",
        ),
        (
            json!({ "type": "timestamp", "range": { "min": "2024-01-01T00:00:00Z", "max": "2025-01-01T00:00:00" } }),
            "only one of \"min\" and \"max\" has an offset from UTC",
        ),
        (
            json!({ "type": "date", "range": { "min": 2020 } }),
            "is the number 2020, expected a text such as \"2024-12-31\"",
        ),
        (
            json!({ "type": "date", "range": { "min": "01.01.2020" } }),
            "\"min\" is \"01.01.2020\", expected a text",
        ),
        (
            json!({ "type": "date", "range": { "min": "today" } }),
            "expected a text such as",
        ),
        (
            json!({ "type": "time", "range": { "max": "25:00" } }),
            "expected a text such as \"17:30:00\"",
        ),
        (json!({ "type": "date", "range": {} }), "\"range\" needs"),
        (
            json!({ "type": "date", "range": { "min": "2021-01-01", "max": "2020-01-01" } }),
            "\"range\" needs",
        ),
        (
            json!({ "type": "number", "range": { "min": "2020-01-01" } }),
            "expected a number",
        ),
        (
            json!({ "range": { "min": "2020-01-01" } }),
            "\"range\" needs the type",
        ),
        (
            json!({ "type": "boolean", "range": { "min": 0 } }),
            "\"range\" needs the type",
        ),
    ] {
        assert_refused(rule, sentence);
    }
}

#[test]
fn names_of_months_and_weekdays_are_those_of_the_locale() {
    const LOCALES: &[(&str, &str, &[&str])] = &[
        ("cs", "%d. %B %Y", &["1. července 2024", "1. Červenec 2024"]),
        ("da", "%d. %b %Y", &["1. jul. 2024", "1. jul 2024"]),
        (
            "de",
            "%a, %d. %b %Y",
            &["Mo, 1. Juli 2024", "Mo., 1. Jul. 2024", "mo, 01. JUL 2024"],
        ),
        ("en", "%d %B %Y", &["1 July 2024"]),
        (
            "es",
            "%A %d de %B de %Y",
            &["lunes 1 de julio de 2024", "LUNES 01 de JULIO de 2024"],
        ),
        ("fi", "%d. %B %Y", &["1. heinäkuuta 2024", "1. Heinäkuu 2024"]),
        ("fr", "%A %d %B %Y", &["lundi 1 juillet 2024"]),
        ("fr", "%d-%b-%y", &["01-juil.-24", "1-juil-24"]),
        ("it", "%A %d %b %Y", &["lunedì 1 lug 2024"]),
        ("nb", "%d.%b.%Y", &["1.jul.2024", "1.juli.2024"]),
        ("nl", "%A %d %B %Y", &["maandag 1 juli 2024"]),
        ("pl", "%d %B %Y", &["1 lipca 2024", "1 LIPIEC 2024"]),
        (
            "pt",
            "%A, %d de %B de %Y",
            &["segunda-feira, 1 de julho de 2024", "segunda, 1 de julho de 2024"],
        ),
        ("sv", "%a %d %b %Y", &["mån 1 juli 2024", "mån. 1 jul. 2024"]),
    ];
    for (locale, format, values) in LOCALES {
        let rule = json!({ "type": "date", "formats": [format], "locale": locale });
        let cases: Vec<_> = values.iter().map(|value| (*value, "2024-07-01")).collect();
        assert_outcomes(&rule, &cases);
    }
    assert_outcomes(
        &json!({ "type": "timestamp", "formats": ["%d. %b %Y %H:%M"], "locale": "de" }),
        &[
            ("24. Dez. 2017 18:30", "2017-12-24T18:30:00"),
            ("24. Mrz 2017 18:30", "2017-03-24T18:30:00"),
            ("24. Ma\u{308}r 2017 18:30", "bad-timestamp"),
            ("24. Dec 2017 18:30", "bad-timestamp"),
            ("24. Dezember 2017 18:30", "bad-timestamp"),
            ("24. D 2017 18:30", "bad-timestamp"),
        ],
    );
    assert_outcomes(
        &json!({ "type": "date", "unicode": "nfc", "formats": ["%d. %b %Y"], "locale": "de" }),
        &[("24. Ma\u{308}r 2017", "2017-03-24")],
    );
    // A weekday must fit the date.
    assert_outcomes(
        &json!({ "type": "date", "formats": ["%A %d %B %Y"], "locale": "fr" }),
        &[("mardi 1 juillet 2024", "bad-date")],
    );
    for (locale, sentence) in [
        ("de-CH", "\"locale\" is \"de-CH\": write \"de\""),
        ("DE", "write \"de\""),
        ("pt_BR.UTF-8", "write \"pt\""),
        ("no", "write \"nb\""),
        ("en_US", "write \"en\""),
        (
            "ja",
            "whose names of months clean does not know: it knows en, cs, da, de, es, fi, fr, it, nb, nl, pl, pt, sv",
        ),
    ] {
        assert_refused(
            json!({ "type": "date", "formats": ["%d %B %Y"], "locale": locale }),
            sentence,
        );
    }
    for rule in [
        json!({ "type": "date", "locale": "de" }),
        json!({ "type": "date", "formats": ["%F"], "locale": "de" }),
        json!({ "type": "timestamp", "formats": ["%F %I:%M %p"], "locale": "en" }),
        json!({ "locale": "de" }),
    ] {
        assert_refused(rule, "\"locale\" has no use");
    }
}
