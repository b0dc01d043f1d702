//! Tests that numbers with decimal commas, separators and currencies are read exactly, and that `decimal(p,s)` never
//! rounds. A number with two meanings is rejected.

use clean::Clean;
use ingest_plugin::ColumnType;
use ingest_plugin::testing::{self, Report};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
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
fn a_decimal_comma_and_points_between_thousands_are_read() {
    let rule = json!({ "type": "number", "notation": { "decimal": ",", "thousands": "." } });
    assert_outcomes(
        &rule,
        &[
            ("1.234,56", "1234.56"),
            ("1234,56", "1234.56"),
            ("1.234.567", "1234567"),
            ("12.345", "12345"),
            ("123.456,7890", "123456.7890"),
            ("-1.234,5", "-1234.5"),
            ("+1,5", "1.5"),
            ("\u{2212}1,5", "-1.5"),
            (",5", "0.5"),
            ("5,", "5"),
            ("0,123", "0.123"),
            ("1,5e3", "1.5e3"),
            ("12345678901234567890,123456789", "12345678901234567890.123456789"),
            ("", ""),
            // These numbers could be meant with a decimal point.
            ("0.123", "not-number"),
            ("1.5", "not-number"),
            ("1.2345", "not-number"),
            ("1234.567", "not-number"),
            ("1.234567", "not-number"),
            ("00.123", "not-number"),
            ("1.234.56", "not-number"),
            ("1..234", "not-number"),
            (".123", "not-number"),
            ("1.", "not-number"),
            ("1,5.0", "not-number"),
            ("1,234,567", "not-number"),
            ("1.234,5e3", "not-number"),
            ("1 234", "not-number"),
            ("- 1", "not-number"),
            ("(1)", "not-number"),
            ("1-", "not-number"),
            ("1,5 €", "not-number"),
            ("NaN", "not-number"),
            (",", "not-number"),
            ("-", "not-number"),
            ("1e999", "not-number"),
        ],
    );
    let reject = &run(&rule, &["0.123"]).rejects[0];
    assert_eq!(reject.reason, "v: \"0.123\" is not a number of the form 1.234,50");
}

#[test]
fn each_separator_of_thousands_is_read() {
    for (sign, decimal, cases) in [
        (
            ",",
            ".",
            &[
                ("1,234.5", "1234.5"),
                ("1,234,567", "1234567"),
                ("12,34", "not-number"),
            ][..],
        ),
        (
            "'",
            ".",
            &[
                ("1'234.5", "1234.5"),
                ("1\u{2019}234.5", "1234.5"),
                ("1,234", "not-number"),
            ],
        ),
        (
            " ",
            ",",
            &[
                ("1 234,5", "1234.5"),
                ("1\u{a0}234\u{202f}567\u{2009}890", "1234567890"),
                ("1  234", "not-number"),
            ],
        ),
        ("_", ".", &[("1_234.5", "1234.5"), ("1_2", "not-number")]),
    ] {
        let notation = json!({ "decimal": decimal, "thousands": sign });
        assert_outcomes(&json!({ "type": "number", "notation": notation }), cases);
    }
    assert_outcomes(
        &json!({ "type": "integer", "notation": { "thousands": "." } }),
        &[
            ("9.223.372.036.854.775.807", "9223372036854775807"),
            ("9.223.372.036.854.775.808", "not-integer"),
            ("-1.234", "-1234"),
            ("007", "7"),
            ("1,5", "not-integer"),
            ("1.5", "not-integer"),
            ("1e3", "not-integer"),
        ],
    );
}

#[test]
fn a_currency_stands_on_one_side_and_a_sign_once() {
    let notation = json!({
        "decimal": ".", "thousands": ",", "currency": ["$", "USD", "US$"], "negative": ["parentheses", "trailing"]
    });
    assert_outcomes(
        &json!({ "type": "number", "notation": notation }),
        &[
            ("$1,234.50", "1234.50"),
            ("$ 1,234.50", "1234.50"),
            ("1,234.50 USD", "1234.50"),
            ("1,234.50\u{a0}$", "1234.50"),
            ("US$5", "5"),
            ("5US$", "5"),
            ("-$5", "-5"),
            ("$-5", "-5"),
            ("- $5", "-5"),
            ("-5 $", "-5"),
            ("+$5", "5"),
            ("5-", "-5"),
            ("5- $", "-5"),
            ("5 $-", "-5"),
            ("(1,234.50)", "-1234.50"),
            ("($5)", "-5"),
            ("(5 USD)", "-5"),
            ("(5) USD", "-5"),
            ("$(5)", "-5"),
            ("(0)", "-0"),
            ("$5$", "not-number"),
            ("$$5", "not-number"),
            ("€5", "not-number"),
            ("USD", "not-number"),
            ("usd 5", "not-number"),
            ("-5-", "not-number"),
            ("--5", "not-number"),
            ("-(5)", "not-number"),
            ("(-5)", "not-number"),
            ("(5-)", "not-number"),
            ("(5", "not-number"),
            ("5)", "not-number"),
            ("((5))", "not-number"),
            ("()", "not-number"),
            (" 5", "not-number"),
            ("5 ", "not-number"),
        ],
    );
}

#[test]
fn a_decimal_has_a_fixed_scale_and_never_rounds() {
    let rule = json!({ "type": "decimal(6,2)" });
    assert_outcomes(
        &rule,
        &[
            ("1.5", "1.50"),
            ("1", "1.00"),
            ("-0.5", "-0.50"),
            (".5", "0.50"),
            ("007", "7.00"),
            ("1.500", "1.50"),
            ("1e3", "1000.00"),
            ("12.5e-1", "1.25"),
            ("5e-2", "0.05"),
            ("0.0100e2", "1.00"),
            ("9999.99", "9999.99"),
            ("-9999.990", "-9999.99"),
            ("0", "0.00"),
            ("-0", "0.00"),
            ("0e99999999999", "0.00"),
            ("", ""),
            ("1.005", "not-decimal"),
            ("0.001", "not-decimal"),
            ("1e-3", "not-decimal"),
            ("1e-99999999999", "not-decimal"),
            ("10000", "not-decimal"),
            ("1e4", "not-decimal"),
            ("1e300", "not-decimal"),
            ("1,5", "not-decimal"),
            ("x", "not-decimal"),
        ],
    );
    let reasons = |value: &str| run(&rule, &[value]).rejects[0].reason.clone();
    assert_eq!(
        reasons("1.005"),
        "v: \"1.005\" does not fit decimal(6,2), which has 2 digits after the point"
    );
    assert_eq!(
        reasons("10000"),
        "v: \"10000\" does not fit decimal(6,2), which has 4 digits before the point"
    );
    assert_eq!(
        reasons("1,5"),
        "v: \"1,5\" is not a number: a decimal point is expected"
    );
    assert_outcomes(
        &json!({ "type": "decimal(2,2)" }),
        &[("0.99", "0.99"), ("1", "not-decimal")],
    );
    assert_outcomes(
        &json!({ "type": "decimal(3,0)" }),
        &[("999", "999"), ("1.0", "1"), ("1.1", "not-decimal")],
    );
    let long = "12345678901234567890123456789012345678";
    assert_outcomes(&json!({ "type": "decimal(38, 0)" }), &[(long, long)]);
    assert_outcomes(
        &json!({ "type": "decimal(6,2)", "range": { "min": 0.5, "max": 10 } }),
        &[
            ("0.5", "0.50"),
            ("10.00", "10.00"),
            ("10.01", "out-of-range"),
            ("0.49", "out-of-range"),
        ],
    );
    assert_eq!(run(&rule, &["1"]).types[1], ColumnType::Number);
}

#[test]
fn a_decimal_has_the_value_of_its_number() {
    let number = "-?[0-9]{1,6}(\\.[0-9]{0,4})?(e-?[0-3])?";
    let seen = std::cell::Cell::new((0, 0));
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::with_cases(4_000)
    });
    let all = runner.run(&number, |text| {
        let report = run(&json!({ "type": "decimal(8,3)" }), &[&text]);
        // Thousandths of the number, as an exact integer and the rest of its digits.
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits: i128 = format!("{whole}{fraction}").parse().expect("digits");
        let power = exponent.parse::<i32>().expect("an exponent") - fraction.len() as i32 + 3;
        let scale = 10_i128.pow(power.unsigned_abs());
        let (thousandths, is_exact) = if power < 0 {
            (digits / scale, digits % scale == 0)
        } else {
            (digits * scale, true)
        };
        let fits = is_exact && thousandths.abs() < 100_000_000;
        prop_assert_eq!(report.rejected == 0, fits, "{}", text);
        let (mut fit, mut unfit) = seen.get();
        if fits {
            let written = report.column("v")[0];
            let (whole, fraction) = written.split_once('.').expect("a point");
            prop_assert_eq!(fraction.len(), 3);
            prop_assert_eq!(
                format!("{whole}{fraction}").parse::<i128>(),
                Ok(thousandths),
                "{}",
                text
            );
            prop_assert_eq!(written.starts_with('-'), thousandths < 0, "{}", written);
            fit += 1;
        } else {
            unfit += 1;
        }
        seen.set((fit, unfit));
        Ok(())
    });
    all.unwrap_or_else(|error| panic!("{error}"));
    assert!(seen.get().0 > 500 && seen.get().1 > 500, "{:?}", seen.get());
}

#[test]
fn a_number_with_separators_has_the_digits_of_the_plain_number() {
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::with_cases(2_000)
    });
    let signs = prop_oneof![Just(('.', ',')), Just(('\'', '.')), Just((' ', ','))];
    let all = runner.run(
        &(any::<i64>(), 0..1_000_u32, signs),
        |(whole, fraction, (thousands, decimal))| {
            let digits = whole.unsigned_abs().to_string();
            let mut grouped = String::from(if whole < 0 { "-" } else { "" });
            for (at, digit) in digits.chars().enumerate() {
                if at > 0 && (digits.len() - at) % 3 == 0 {
                    grouped.push(thousands);
                }
                grouped.push(digit);
            }
            let notation = json!({ "decimal": decimal.to_string(), "thousands": thousands.to_string() });
            let rule = json!({ "type": "number", "notation": notation });
            let report = run(&rule, &[&format!("{grouped}{decimal}{fraction:03}")]);
            prop_assert_eq!(report.column("v"), [format!("{whole}.{fraction:03}")]);
            Ok(())
        },
    );
    all.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_notation_that_leaves_a_question_is_refused() {
    let number = |notation: Value| json!({ "type": "number", "notation": notation });
    assert_refused(
        number(json!({ "thousands": "," })),
        "\"notation\" needs \"decimal\": write \".\"",
    );
    assert_refused(number(json!({})), "\"notation\" needs \"decimal\"");
    assert_refused(
        number(json!({ "decimal": ".", "thousands": "." })),
        "\"decimal\" and \"thousands\" are both \".\"",
    );
    assert_refused(
        number(json!({ "decimal": "·" })),
        "\"decimal\" is \"·\": write \".\" or \",\"",
    );
    assert_refused(
        number(json!({ "decimal": ".", "thousands": "" })),
        "\"thousands\" is \"\": write",
    );
    assert_refused(
        number(json!({ "decimal": ".", "negative": ["minus"] })),
        "\"negative\" lists \"minus\": write \"parentheses\"",
    );
    assert_refused(
        number(json!({ "decimal": ".", "currency": "€" })),
        "\"currency\" takes a list: [\"€\"]",
    );
    for currencies in [["€", "$"], ["EUR", "USD"]] {
        assert_refused(
            number(json!({ "decimal": ".", "currency": currencies })),
            "and would lose which of them a value has",
        );
    }
    for currency in ["", " €", "5", ".", "-", "E5", "a,b"] {
        assert_refused(
            number(json!({ "decimal": ".", "currency": [currency] })),
            "a currency has letters",
        );
    }
    assert_refused(
        json!({ "type": "integer", "notation": { "decimal": "," } }),
        "an integer has no decimal sign",
    );
    assert_refused(
        json!({ "type": "integer", "notation": {} }),
        "\"notation\" says nothing",
    );
    assert_refused(
        json!({ "notation": { "decimal": "," } }),
        "\"notation\" needs the type",
    );
    assert_refused(
        json!({ "type": "timestamp", "notation": { "decimal": "," } }),
        "\"notation\" needs the type",
    );
    assert_refused(
        json!({ "type": "number", "case": "lower", "notation": { "decimal": ".", "currency": ["EUR"] } }),
        "\"currency\" lists \"EUR\", which no value is after \"case\"",
    );
    for (name, sentence) in [
        (
            "decimal",
            "write \"number\" for any number of digits, or \"decimal(12,2)\"",
        ),
        ("decimal(5)", "write two numbers"),
        ("decimal(5,x)", "write two numbers"),
        ("decimal(0,0)", "1 to 38 digits"),
        ("decimal(39,2)", "1 to 38 digits"),
        ("decimal(2,3)", "not more than these after the point"),
    ] {
        assert_refused(json!({ "type": name }), sentence);
    }
    assert_refused(
        json!({ "type": "decimal(4,2)", "allowed": ["1.005"] }),
        "\"allowed\" lists \"1.005\", which does not fit decimal(4,2)",
    );
    for fine in [
        json!({ "type": "number", "notation": { "decimal": ".", "currency": ["Fr.", "CHF", "kr", "R$", "zł"] } }),
        json!({ "type": "integer", "notation": { "negative": ["trailing"] } }),
        json!({ "type": "number", "notation": { "decimal": "," }, "allowed": ["1,5"], "default": "1,5" }),
    ] {
        testing::check::<Clean>(json!({ "columns": { "v": fine } })).expect("the rule has a meaning");
    }
}
