//! Tests the effect of each key of the config, and the configs that are refused.

use clean::Clean;
use ingest_plugin::ColumnType;
use ingest_plugin::testing::{self, Report};
use serde_json::{Value, json};

/// Runs the plugin with `rule` for the column `v`, which contains `values`.
fn run(rule: &Value, values: &[&str]) -> Report {
    let config = json!({ "columns": { "v": rule } });
    let mut csv = String::from("n,v\n");
    for value in values {
        csv.push_str(&format!("1,\"{value}\"\n"));
    }
    testing::run::<Clean>(config, &csv).expect("the rule is accepted")
}

fn codes(report: &Report) -> Vec<(u64, &str)> {
    let rejects = report.rejects.iter();
    rejects.map(|r| (r.record, r.code.as_str())).collect()
}

fn refusal(rule: &Value) -> String {
    let config = json!({ "columns": { "v": rule } });
    let refusal = testing::check::<Clean>(config).expect_err("the rule is refused");
    refusal.to_string()
}

#[test]
fn without_a_config_everything_is_kept() {
    let csv = "a,b\n1,\n x ,y\n";
    let report = testing::run::<Clean>("{}", csv).unwrap();
    assert_eq!(report.kept, 2);
    assert_eq!(report.csv(), csv);
}

#[test]
fn the_config_of_the_readme_works() {
    let readme = include_str!("../README.md");
    let config = readme.split("```json").nth(1).unwrap();
    let config = config.split("```").next().unwrap();
    let report = testing::run::<Clean>(
        config,
        "id,name,price,active,created,country,sku,card\n\
         1, Ada ,1.50,YES,24.12.2017 18:30,VN,AB-1,4111\n\
         x,Bob,1.50,yes,24.12.2017,VN,AB-1,4111\n",
    )
    .unwrap();
    assert_eq!(
        report.csv(),
        "id,customer,price,active,created,country,sku,source\n\
         1,Ada,1.50,true,2017-12-24T18:30:00,VN,AB-1,shop\n"
    );
    assert_eq!(codes(&report), [(2, "not-integer")]);
}

#[test]
fn trim_and_null_come_before_required() {
    let rule = json!({ "trim": true, "null": ["N/A"], "required": true });
    let report = run(&rule, &[" a ", "a", "", "  ", " N/A", "N/A."]);
    assert_eq!(report.column("v"), ["a", "a", "N/A."]);
    assert_eq!((report.edited, report.kept), (1, 2));
    assert_eq!(
        codes(&report),
        [(3, "required"), (4, "required"), (5, "required")]
    );
    assert_eq!(report.rejects[0].reason, "v: \"\" is empty but required");
}

#[test]
fn an_empty_value_that_is_not_required_passes() {
    let rule = json!({ "type": "integer", "range": { "min": 1 }, "null": ["-"] });
    let report = run(&rule, &["", "-", "1"]);
    assert_eq!(report.column("v"), ["", "", "1"]);
}

#[test]
fn integers_and_numbers_are_written_as_json_allows() {
    let report = run(&json!({ "type": "integer" }), &["7", "-7", "+7", "007"]);
    assert_eq!(report.column("v"), ["7", "-7", "7", "7"]);
    assert_eq!(report.types[1], ColumnType::Integer);
    let report = run(&json!({ "type": "integer" }), &["7.0", "9223372036854775808"]);
    assert_eq!(codes(&report), [(1, "not-integer"), (2, "not-integer")]);

    let rule = json!({ "type": "number" });
    let report = run(&rule, &["1.50", "-0.5", "1e3", ".5", "5.", "+1", "01.5", "1.e2"]);
    assert_eq!(
        report.column("v"),
        ["1.50", "-0.5", "1e3", "0.5", "5", "1", "1.5", "1e2"]
    );
    let not_finite = ["NaN", "-nan", "inf", "+Infinity", "1e999", "-1e999"];
    let report = run(&rule, &[&["1,5"], &not_finite[..]].concat());
    assert_eq!(report.rejected, 7);
    let ranged = json!({ "type": "number", "range": { "max": 5 } });
    assert!(
        codes(&run(&ranged, &not_finite))
            .iter()
            .all(|reject| reject.1 == "not-number")
    );
    for value in not_finite {
        let constant = json!({ "type": "number", "constant": value });
        assert!(refusal(&constant).contains("is not a number"), "{value}");
    }
    let endless = r#"{"columns": {"v": {"type": "number", "range": {"max": 1e999}}}}"#;
    let refusal = testing::check::<Clean>(endless).unwrap_err().to_string();
    assert!(refusal.contains("number out of range"), "{refusal}");
    assert_eq!(report.rejects[0].code, "not-number");
    assert_eq!(
        report.rejects[0].reason,
        "v: \"1,5\" is not a number: a decimal point is expected"
    );
    for (value, has_comma) in [
        ("-1,50", true),
        (",5e3", true),
        ("1,5x", false),
        ("1,5,0", false),
        ("1,000.5", false),
    ] {
        let report = run(&rule, &[value]);
        let reason = &report.rejects[0].reason;
        assert_eq!(
            reason.ends_with(": a decimal point is expected"),
            has_comma,
            "{reason}"
        );
    }
}

#[test]
fn booleans_become_true_and_false() {
    let rule = json!({ "type": "boolean" });
    let report = run(&rule, &["true", "No", "1", "0", "maybe"]);
    assert_eq!(report.column("v"), ["true", "false", "true", "false"]);
    assert_eq!(codes(&report), [(5, "not-boolean")]);
}

#[test]
fn timestamps_become_iso_8601() {
    let report = run(
        &json!({ "type": "timestamp" }),
        &["2024-02-29T12:00:00+02:00", "2024-02-29 12:00", "2023-02-29"],
    );
    assert_eq!(
        report.column("v"),
        ["2024-02-29T10:00:00Z", "2024-02-29T12:00:00"]
    );
    assert_eq!(codes(&report), [(3, "bad-timestamp")]);

    let formats = ["%d/%m/%y", "%d/%m/%y %H:%M:%S %z"];
    let report = run(
        &json!({ "type": "timestamp", "formats": formats }),
        &["29/02/24", "29/02/24 12:00:00 +0200", "2024-02-29"],
    );
    assert_eq!(
        report.column("v"),
        ["2024-02-29T00:00:00", "2024-02-29T10:00:00Z"]
    );
    assert_eq!(codes(&report), [(3, "bad-timestamp")]);
}

#[test]
fn a_range_includes_its_bounds() {
    let rule = json!({ "type": "number", "range": { "min": 0, "max": 1.5 } });
    let report = run(&rule, &["0", "1.5", "-0.1", "1.6"]);
    assert_eq!(codes(&report), [(3, "out-of-range"), (4, "out-of-range")]);
    assert_eq!(report.rejects[0].reason, "v: \"-0.1\" is not between 0 and 1.5");
}

#[test]
fn allowed_and_pattern_restrict_values() {
    let report = run(&json!({ "allowed": ["on", "off"] }), &["on", "On"]);
    assert_eq!(codes(&report), [(2, "not-allowed")]);
    assert_eq!(report.rejects[0].reason, r#"v: "On" is none of {"off", "on"}"#);
    let report = run(&json!({ "pattern": "^[a-z]+$" }), &["ab", "a1"]);
    assert_eq!(codes(&report), [(2, "pattern")]);
    assert_eq!(report.rejects[0].reason, r#"v: "a1" does not match ^[a-z]+$"#);
}

#[test]
fn a_dropped_column_is_checked_all_the_same() {
    let report = run(&json!({ "drop": true, "required": true }), &["x", ""]);
    assert_eq!(report.csv(), "n\n1\n");
    assert_eq!(codes(&report), [(2, "required")]);
}

#[test]
fn a_constant_fills_a_column_or_adds_one() {
    let report = run(&json!({ "constant": "k", "rename": "w" }), &["x", "k"]);
    assert_eq!(report.csv(), "n,w\n1,k\n1,k\n");

    let columns = json!({ "z": { "constant": "+5", "type": "integer" } });
    let report = testing::run::<Clean>(json!({ "columns": columns }), "a\n1\n").unwrap();
    assert_eq!(report.csv(), "a,z\n1,5\n");
    assert_eq!(report.types[1], ColumnType::Integer);
}

#[test]
fn a_senseless_config_is_refused_before_there_is_an_input() {
    let cases = [
        (json!({ "drop": true, "rename": "w" }), "nothing to \"rename\""),
        (json!({ "constant": "k", "trim": true }), "replaces every value"),
        (json!({ "constant": "k", "type": "integer" }), "is not an integer"),
        (json!({ "range": { "min": 1 } }), "needs the type"),
        (
            json!({ "type": "number", "range": { "min": 2, "max": 1 } }),
            "\"range\" needs",
        ),
        (json!({ "type": "number", "range": {} }), "\"range\" needs"),
        (json!({ "formats": ["%Y"] }), "needs the type \"timestamp\""),
        (json!({ "allowed": [] }), "lists no value"),
        (json!({ "pattern": "(" }), "\"pattern\": "),
        (json!({ "rename": "" }), "\"rename\" gives no name"),
        (
            json!({ "type": "timestamp", "formats": ["%Y-%m-%d", "DD.MM.YYYY"] }),
            "\"formats\": \"DD.MM.YYYY\" has no directives",
        ),
        (
            json!({ "type": "timestamp", "formats": ["%d.%m.%Y"], "constant": "2024-01-01" }),
            "\"constant\": \"2024-01-01\" is not a time",
        ),
        // These texts say something about the time, but no directive reads them.
        (
            json!({ "type": "timestamp", "formats": ["%Y-%m-%dT%H:%M:%SZ"] }),
            "has \"Z\" as a text, and would lose what it says: write %z",
        ),
        (
            json!({ "type": "timestamp", "formats": ["%d.%m.%Y %H:%M MEZ"] }),
            "has \"MEZ\" as a text",
        ),
        (
            json!({ "type": "timestamp", "formats": ["%Y-%m-%dT%H:%M:%S+0200"] }),
            "has \"+0200\" as a text, and would lose an offset: write %z",
        ),
        (
            json!({ "type": "timestamp", "formats": ["%F %H:%M PM"] }),
            "has \"PM\" as a text, and would lose the half of the day: write %p, which reads AM, PM, a.m. and p.m., with %I",
        ),
        // No value could pass these rules.
        (
            json!({ "type": "integer", "allowed": ["1", "a"] }),
            "\"allowed\" lists \"a\", which is not an integer",
        ),
        (
            json!({ "type": "number", "range": { "max": 5 }, "allowed": ["5.5"] }),
            "\"allowed\" lists \"5.5\", which is not 5 or less",
        ),
        (
            json!({ "pattern": "^[a-z]$", "allowed": ["A"] }),
            "\"allowed\" lists \"A\", which does not match",
        ),
        (
            json!({ "trim": true, "allowed": [" a"] }),
            "\"allowed\" lists \" a\", which is none of",
        ),
        (
            json!({ "null": ["-"], "allowed": ["-", "a"] }),
            "\"allowed\" lists \"-\", which is made empty before",
        ),
        (
            json!({ "required": true, "allowed": ["", "a"] }),
            "\"allowed\" lists \"\", which is empty but required",
        ),
        (
            json!({ "trim": true, "null": ["N/A", " -"] }),
            "\"null\" lists \" -\", which no value is after \"trim\"",
        ),
        (json!({ "requird": true }), "unknown field `requird`"),
        (
            json!({ "type": "Date" }),
            "there is no type \"Date\": write \"date\"",
        ),
        (json!({ "range": { "min": [1] } }), "column \"v\": invalid type"),
        (json!({ "requird": true }), "column \"v\": unknown field"),
    ];
    for (rule, sentence) in cases {
        let refusal = refusal(&rule);
        assert!(refusal.starts_with("config: "), "{refusal}");
        assert!(refusal.contains(sentence), "{refusal}");
    }
    let refusal = refusal(&json!({ "allowed": [] }));
    assert_eq!(refusal, r#"config: column "v": "allowed" lists no value"#);
    for fine in [
        json!({ "allowed": ["", "a"] }),
        json!({ "type": "integer", "allowed": ["007", "+7"], "range": { "min": 7, "max": 7 } }),
        json!({ "null": [" -", ""] }),
    ] {
        testing::check::<Clean>(json!({ "columns": { "v": fine } })).expect("the rule has a meaning");
    }
}

/// Tests two typical mistakes: a type name of another program, and a single text in place of a list.
#[test]
fn a_typical_mistake_names_its_column() {
    let refusal = |rule: &str| {
        let config = format!(r#"{{"columns": {{"a": {{"trim": true}}, "price": {rule}}}}}"#);
        testing::check::<Clean>(config).expect_err(rule).to_string()
    };
    for (name, meant) in [
        ("float", "\"number\""),
        ("double", "\"number\""),
        ("int", "\"integer\""),
        ("Integer", "\"integer\""),
        ("string", "\"text\""),
        ("str", "\"text\""),
        ("bool", "\"boolean\""),
        ("datetime", "\"timestamp\""),
        ("DATE", "\"date\""),
        ("Time", "\"time\""),
        (
            "numeric",
            "\"number\" for any number of digits, or \"decimal(12,2)\" for 12 digits of which 2 are after the point",
        ),
        (
            "uuid",
            "\"text\", \"integer\", \"number\", \"decimal(p,s)\", \"boolean\", \"timestamp\", \"date\" or \"time\"",
        ),
    ] {
        let refusal = refusal(&format!(r#"{{"type": "{name}"}}"#));
        let sentence =
            format!("config: column \"price\": there is no type \"{name}\": write {meant} at line 1 column ");
        assert!(refusal.starts_with(&sentence), "{refusal}");
    }
    for key in ["null", "formats", "allowed"] {
        let refusal = refusal(&format!(r#"{{"{key}": "-"}}"#));
        let sentence = format!("config: column \"price\": \"{key}\" takes a list: [\"-\"] at line 1 column ");
        assert!(refusal.starts_with(&sentence), "{refusal}");
        let refusal = self::refusal(&json!({ key: [1] }));
        assert!(
            refusal.starts_with("config: column \"v\": invalid type: "),
            "{refusal}"
        );
    }
    let refusal = refusal(r#"{"required": "yes"}"#);
    assert!(
        refusal.starts_with("config: column \"price\": invalid type: "),
        "{refusal}"
    );
}

#[test]
fn the_first_fault_in_the_order_of_the_input_is_reported() {
    let number = json!({ "type": "number" });
    let config = json!({ "columns": { "a": number, "b": number, "c": { "required": true } } });
    for (csv, code, reason) in [
        ("b,a,c\nx,y,\n", "not-number", "b: \"x\" is not a number"),
        ("a,b,c\ny,x,\n", "not-number", "a: \"y\" is not a number"),
        ("c,b,a\n,x,y\n", "required", "c: \"\" is empty but required"),
    ] {
        let report = testing::run::<Clean>(config.clone(), csv).unwrap();
        assert_eq!(report.rejects.len(), 1);
        assert_eq!(
            (&*report.rejects[0].code, &*report.rejects[0].reason),
            (code, reason)
        );
    }
}

#[test]
fn output_columns_of_a_config_have_distinct_names() {
    let check = |columns: Value| {
        let refused = testing::check::<Clean>(json!({ "columns": columns })).err();
        refused.map(|refusal| refusal.to_string())
    };
    for columns in [
        json!({ "a": { "rename": "x" }, "b": { "rename": "x" } }),
        json!({ "a": { "rename": "x" }, "x": { "trim": true } }),
        json!({ "a": { "rename": "x" }, "x": {} }),
        json!({ "a": { "rename": "x" }, "x": { "constant": "k" } }),
        json!({ "a": { "constant": "k", "rename": "x" }, "b": { "constant": "k", "rename": "x" } }),
    ] {
        let refusal = check(columns.clone()).unwrap_or_else(|| panic!("{columns} is refused"));
        assert!(
            refusal.contains(r#"both are "x" in the output, rename or drop one of them"#),
            "{refusal}"
        );
    }
    for columns in [
        json!({ "a": { "rename": "b" }, "b": { "rename": "a" } }),
        json!({ "a": { "rename": "b" }, "b": { "drop": true } }),
        json!({ "a": { "rename": "a" } }),
        json!({ "a": { "drop": true }, "b": { "drop": true } }),
    ] {
        assert_eq!(check(columns.clone()), None, "{columns}");
    }
    // Only `open` can find a conflict with another column of the input.
    let config = json!({ "columns": { "a": { "rename": "b" } } });
    let refusal = testing::run::<Clean>(config, "a,b\n").unwrap_err().to_string();
    assert!(refusal.contains("the output has two columns \"b\""), "{refusal}");
}

#[test]
fn patterns_match_unicode_unless_ascii() {
    let accepts = |pattern: &str, value: &str| {
        let report = run(&json!({ "pattern": pattern }), &[value]);
        report.kept == 1
    };
    for (pattern, value) in [
        (r"^\w+$", "Zürich"),
        (r"^\w+$", "東京"),
        (r"^\bé\b$", "é"),
        (r"(?i)^zürich$", "ZÜRICH"),
        (r"^\d+$", "٣"),
        (r"^a\sb$", "a\u{a0}b"),
        ("^.$", "é"),
        ("^[à-ü]$", "é"),
    ] {
        assert!(accepts(pattern, value), "{value} by {pattern}");
    }
    for (pattern, value) in [
        (r"^(?-u:\w+)$", "Zürich"),
        (r"^(?-u:\d+)$", "٣"),
        ("^[0-9]+$", "٣"),
        (r"^\W$", "é"),
        (r"^\D$", "٣"),
    ] {
        assert!(!accepts(pattern, value), "{value} by {pattern}");
    }
    assert!(accepts(r"^(?-u:\w+)$", "Bern"));
    // A pattern that could match a part of a character is refused.
    assert!(refusal(&json!({ "pattern": r"(?-u:\W)" })).contains("\"pattern\": "));
    // A character class with the letters of all scripts, such as `\w`, takes too much memory if it is repeated many
    // times. An ASCII class does not.
    assert!(refusal(&json!({ "pattern": r"^\w{1,1000}$" })).contains("exceeds size limit"));
    assert!(accepts(r"^(?-u:\w){1,1000}$", "a"));
}

#[test]
fn a_column_that_the_input_lacks_is_refused() {
    let config = json!({ "columns": { "x": { "trim": true } } });
    let refusal = testing::run::<Clean>(config, "a,b\n").unwrap_err();
    assert_eq!(
        refusal.to_string(),
        r#"the input has no column "x", it has ["a", "b"]"#
    );
}

#[test]
fn duplicate_keys_and_arrays_are_refused() {
    for (config, reason) in [
        (
            r#"[{"v": {"trim": true}}]"#,
            "invalid type: sequence, expected struct Config",
        ),
        (
            r#"{"columns": {"v": [true]}}"#,
            "invalid type: sequence, expected struct Rule",
        ),
        (
            r#"{"columns": {"v": {"type": "number", "range": [0, 1]}}}"#,
            "invalid type: sequence, expected struct Range",
        ),
        (
            r#"{"columns": {"v": {"trim": true}, "v": {"drop": true}}}"#,
            "the member \"v\" is there twice",
        ),
        (
            r#"{"columns": {"v": {"trim": true, "trim": false}}}"#,
            "the member \"trim\" is there twice",
        ),
    ] {
        let refusal = testing::check::<Clean>(config).expect_err(config).to_string();
        assert!(
            refusal.contains(reason) && refusal.contains(" at line 1 column "),
            "{refusal}"
        );
    }
}
