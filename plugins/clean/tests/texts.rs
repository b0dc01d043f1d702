//! Tests the keys that rewrite, replace and measure texts, and the order in which they apply.

use clean::Clean;
use ingest_plugin::testing::{self, Report};
use proptest::prelude::*;
use serde_json::{Value, json};
use unicode_normalization::UnicodeNormalization;

fn run(rule: &Value, values: &[&str]) -> Report {
    let config = json!({ "columns": { "v": rule } });
    let csv: String = values.iter().map(|value| format!("1,\"{value}\"\n")).collect();
    testing::run::<Clean>(config, &format!("n,v\n{csv}")).expect("the rule is accepted")
}

#[track_caller]
fn assert_written(rule: &Value, cases: &[(&str, &str)]) {
    let values: Vec<_> = cases.iter().map(|case| case.0).collect();
    let report = run(rule, &values);
    assert_eq!(report.rejects, [], "{rule}");
    for ((value, expected), found) in cases.iter().zip(report.column("v")) {
        assert_eq!(found, *expected, "{value:?} under {rule}");
    }
    let changed = cases.iter().filter(|case| case.0 != case.1).count();
    assert_eq!(report.edited, changed as u64, "{rule}");
}

fn codes(report: &Report) -> Vec<(u64, &str)> {
    let rejects = report.rejects.iter();
    rejects
        .map(|reject| (reject.record, reject.code.as_str()))
        .collect()
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
fn invisible_characters_are_removed_or_rejected() {
    let cases = [
        ("plain é 日本\u{3000}語", "plain é 日本\u{3000}語"),
        ("tab\tand\nline", "tab\tand\nline"),
        ("\u{feff}a\u{200b}b\u{ad}c", "abc"),
        ("a\u{a0}b\u{202f}c\u{2028}d\u{85}e", "a b c d e"),
        ("a\0b\u{7f}c\u{9f}d\u{1b}", "abcd"),
        ("\u{202e}abc\u{202c}", "abc"),
        ("x\u{e0041}\u{e007f}", "x"),
        ("a\u{200d}b\u{200c}", "ab"),
        ("می\u{200c}خواهم", "می\u{200c}خواهم"),
        ("👩\u{200d}🔬", "👩\u{200d}🔬"),
        ("☀\u{fe0f}", "☀\u{fe0f}"),
    ];
    assert_written(&json!({ "invisible": "remove" }), &cases);
    let values: Vec<_> = cases.iter().map(|case| case.0).collect();
    let report = run(&json!({ "invisible": "reject" }), &values);
    let changed = (1..).zip(&cases).filter(|(_, case)| case.0 != case.1);
    let expected: Vec<_> = changed.map(|(record, _)| (record, "invisible")).collect();
    assert_eq!(codes(&report), expected);
    let reason = &run(&json!({ "invisible": "reject" }), &["a\u{feff}"]).rejects[0].reason;
    assert_eq!(reason, "v: \"a\\u{feff}\" has the invisible character U+FEFF");
}

#[test]
fn unicode_has_one_form() {
    let cases = [
        ("Zoe\u{308}", "Zo\u{eb}"),
        ("ﬁ １²", "ﬁ １²"),
        ("Å", "Å"),
        ("\u{1112}\u{1161}\u{11ab}", "한"),
        ("plain", "plain"),
    ];
    assert_written(&json!({ "unicode": "nfc" }), &cases);
    assert_written(
        &json!({ "unicode": "nfkc" }),
        &[
            ("Zoe\u{308}", "Zo\u{eb}"),
            ("ﬁ １²", "fi 12"),
            ("a\u{a0}b", "a b"),
            ("plain", "plain"),
        ],
    );
    // The form is that of the final text: a number of other digits becomes a number.
    assert_written(
        &json!({ "unicode": "nfkc", "type": "integer" }),
        &[("１２", "12")],
    );
    assert_written(
        &json!({ "unicode": "nfkc", "trim": true }),
        &[("\u{a0}x\u{2003}", "x")],
    );
    assert_written(
        &json!({ "unicode": "nfkc", "case": "lower" }),
        &[("℡ E\u{301}", "tel é")],
    );
}

#[test]
fn case_follows_unicode() {
    assert_written(
        &json!({ "case": "lower" }),
        &[("ÀB", "àb"), ("ΣΑΣ", "σας"), ("x", "x"), ("İ", "i\u{307}")],
    );
    assert_written(
        &json!({ "case": "upper" }),
        &[("straße", "STRASSE"), ("ﬁ", "FI"), ("i", "I")],
    );
    assert_refused(json!({ "case": "title" }), "differs from language to language");
    assert_refused(
        json!({ "case": "Lower" }),
        "\"case\" is \"Lower\": write \"lower\" or \"upper\"",
    );
    assert_refused(
        json!({ "unicode": "nfd" }),
        "\"unicode\" is \"nfd\": write \"nfc\" or \"nfkc\"",
    );
    assert_refused(json!({ "invisible": true }), "column \"v\": invalid type");
    assert_refused(json!({ "invisible": "drop" }), "write \"remove\" or \"reject\"");
}

#[test]
fn rewritten_texts_are_clean_and_stay_as_they_are() {
    let rule = json!({ "invisible": "remove", "unicode": "nfc", "trim": true, "case": "lower" });
    let changed = std::cell::Cell::new(0);
    let text = proptest::collection::vec(
        prop_oneof![
            proptest::char::range('a', 'c'),
            proptest::char::range('A', 'C'),
            proptest::sample::select(vec![
                'é', '\u{301}', '\u{308}', '\u{200b}', '\u{200d}', '\u{a0}', '\u{feff}', ' ', 'Ü', 'İ', 'ß',
                '\u{85}', '한'
            ]),
        ],
        0..8,
    );
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(3_000)
    });
    let all = runner.run(&text, |text| {
        let text: String = text.into_iter().collect();
        let report = run(&rule, &[&text]);
        let written = report.column("v")[0].to_owned();
        prop_assert_eq!(written.nfc().collect::<String>(), written.as_str(), "{:?}", text);
        prop_assert_eq!(written.trim(), &written, "{:?}", text);
        prop_assert_eq!(written.to_lowercase(), written.as_str(), "{:?}", text);
        prop_assert!(
            !written.contains(['\u{200b}', '\u{a0}', '\u{feff}']),
            "{:?}",
            text
        );
        let again = run(&rule, &[&written]);
        prop_assert_eq!(again.column("v"), [written.as_str()], "{:?}", text);
        changed.set(changed.get() + u32::from(written != text));
        Ok(())
    });
    all.unwrap_or_else(|error| panic!("{error}"));
    assert!(changed.get() > 1_000, "{}", changed.get());
}

#[test]
fn a_default_fills_empty_values_and_is_checked() {
    assert_written(
        &json!({ "trim": true, "null": ["-"], "default": "x" }),
        &[("", "x"), (" ", "x"), ("-", "x"), ("y", "y")],
    );
    assert_written(
        &json!({ "default": "+05", "type": "integer" }),
        &[("", "5"), ("7", "7")],
    );
    assert_written(
        &json!({ "default": "31.12.2099", "type": "date", "formats": ["%d.%m.%Y"] }),
        &[("", "2099-12-31")],
    );
    assert_written(
        &json!({ "default": "?", "map": { "?": "unknown", "m": "male" } }),
        &[("", "unknown")],
    );
    for (rule, sentence) in [
        (json!({ "default": "" }), "\"default\" is empty"),
        (json!({ "default": "x", "required": true }), "remove \"required\""),
        (
            json!({ "default": "x", "type": "integer" }),
            "\"default\" is \"x\", which is not an integer",
        ),
        (
            json!({ "default": "x", "allowed": ["y"] }),
            "\"default\" is \"x\", which is none of",
        ),
        (
            json!({ "default": "x", "map": { "y": "z" } }),
            "\"default\" is \"x\", which is not in \"map\"",
        ),
        (
            json!({ "default": "x", "map": { "x": "" } }),
            "\"default\" is \"x\", which \"map\" makes empty",
        ),
        (json!({ "default": "x", "constant": "y" }), "replaces every value"),
        (json!({ "default": 5 }), "invalid type"),
    ] {
        assert_refused(rule, sentence);
    }
}

#[test]
fn a_map_replaces_values_and_says_what_happens_to_others() {
    let map = json!({ "m": "male", "f": "female", "-": "" });
    let values = ["m", "f", "-", "x", ""];
    for (unmapped, expected) in [
        (json!("keep"), vec!["male", "female", "", "x", ""]),
        (json!("empty"), vec!["male", "female", "", "", ""]),
        (
            json!({ "value": "other" }),
            vec!["male", "female", "", "other", ""],
        ),
        (json!("reject"), vec!["male", "female", "", ""]),
        (json!(null), vec!["male", "female", "", ""]),
    ] {
        let report = run(&json!({ "map": map, "unmapped": unmapped }), &values);
        assert_eq!(report.column("v"), expected, "{unmapped}");
        if expected.len() == 4 {
            assert_eq!(codes(&report), [(4, "not-mapped")]);
            assert_eq!(report.rejects[0].reason, "v: \"x\" is not in \"map\"");
        }
    }
    // The new values are converted and checked, and the old ones are not.
    let rule = json!({ "case": "lower", "map": { "ja": "true", "nein": "false" }, "type": "boolean" });
    assert_written(&rule, &[("JA", "true"), ("nein", "false")]);
    let rule = json!({ "map": { "a": "1" }, "unmapped": "keep", "type": "integer", "allowed": ["1", "2"] });
    let report = run(&rule, &["a", "2", "3", "b"]);
    assert_eq!(report.column("v"), ["1", "2"]);
    assert_eq!(codes(&report), [(3, "not-allowed"), (4, "not-integer")]);
    for (rule, sentence) in [
        (json!({ "map": {} }), "\"map\" has no value"),
        (json!({ "unmapped": "keep" }), "\"unmapped\" needs a \"map\""),
        (json!({ "map": { "": "x" } }), "write \"default\""),
        (
            json!({ "map": { "-": "x" }, "null": ["-"] }),
            "\"map\" has \"-\", which is made empty before",
        ),
        (
            json!({ "map": { " a": "x" }, "trim": true }),
            "\"map\" has \" a\", which no value is after \"trim\"",
        ),
        (
            json!({ "map": { "A": "x" }, "case": "lower" }),
            "which no value is after \"case\"",
        ),
        (
            json!({ "map": { "a": "x" }, "type": "integer" }),
            "gives \"x\", which is not an integer",
        ),
        (
            json!({ "map": { "a": "x" }, "length": { "min": 2 } }),
            "gives \"x\", which is not 2 or more characters long",
        ),
        (
            json!({ "map": { "a": "" }, "required": true }),
            "gives an empty value, but",
        ),
        (
            json!({ "map": { "a": "b" }, "unmapped": "empty", "required": true }),
            "gives an empty value, but",
        ),
        (
            json!({ "map": { "a": "b" }, "allowed": ["a", "b"] }),
            "\"allowed\" lists \"a\", which no value is after \"map\"",
        ),
        (
            json!({ "map": { "a": "b" }, "unmapped": "other" }),
            "or {\"value\": \"other\"}",
        ),
        (
            json!({ "map": { "a": "b" }, "unmapped": 5 }),
            "\"unmapped\" takes",
        ),
        (json!({ "map": ["a"] }), "invalid type"),
        (
            json!({ "null": ["N/A"], "case": "lower" }),
            "\"null\" lists \"N/A\", which no value is after \"case\"",
        ),
        (
            json!({ "allowed": ["É"], "case": "lower" }),
            "\"allowed\" lists \"É\", which no value is after \"case\"",
        ),
        (
            json!({ "allowed": ["e\u{301}"], "unicode": "nfc" }),
            "which no value is after \"unicode\"",
        ),
        (
            json!({ "null": ["a\u{200b}"], "invisible": "reject" }),
            "which no value is after \"invisible\"",
        ),
    ] {
        assert_refused(rule, sentence);
    }
    let twice = r#"{"columns": {"v": {"map": {"a": "b", "a": "c"}}}}"#;
    let refusal = testing::check::<Clean>(twice)
        .expect_err("a key twice")
        .to_string();
    assert!(refusal.contains("column \"v\": "), "{refusal}");
}

#[test]
fn a_length_counts_characters() {
    let report = run(
        &json!({ "length": { "min": 2, "max": 3 } }),
        &["é", "éé", "日本語", "abcd", "", "👩🔬"],
    );
    assert_eq!(report.column("v"), ["éé", "日本語", "", "👩🔬"]);
    assert_eq!(codes(&report), [(1, "length"), (4, "length")]);
    assert_eq!(report.rejects[0].reason, "v: \"é\" is not 2 to 3 characters long");
    // The text of the input counts, not that of the output.
    let report = run(
        &json!({ "type": "integer", "length": { "min": 5, "max": 5 } }),
        &["00123", "123"],
    );
    assert_eq!(
        (report.column("v"), codes(&report)),
        (vec!["123"], vec![(2, "length")])
    );
    for (length, sentence) in [
        (json!({}), "\"length\" needs a \"min\", a \"max\", or both"),
        (json!({ "min": 3, "max": 2 }), "\"min\" 3 above the \"max\" 2"),
        (json!({ "max": 0 }), "which only an empty value has"),
        (json!({ "min": -1 }), "invalid value"),
        (json!(5), "invalid type"),
    ] {
        assert_refused(json!({ "length": length }), sentence);
    }
    assert_refused(
        json!({ "length": { "min": 2 }, "allowed": ["a"] }),
        "\"allowed\" lists \"a\", which is not 2 or more characters long",
    );
}

#[test]
fn a_column_without_changes_is_not_edited() {
    let rule = json!({
        "invisible": "remove", "unicode": "nfc", "case": "lower", "length": { "max": 9 }, "default": "x",
        "map": { "a": "b" }, "unmapped": "keep"
    });
    let report = run(&rule, &["plain", "é", "ñandú"]);
    assert_eq!((report.kept, report.edited), (3, 0));
}
