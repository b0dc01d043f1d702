//! Tests that a number keeps all its digits in any form, and that comparisons use all digits.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::cmp::Ordering;

use clean::Clean;
use ingest_plugin::testing::{self, Report};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

fn run(rule: &str, values: &[&str]) -> Report {
    let config = format!(r#"{{"columns": {{"v": {rule}}}}}"#);
    let csv: String = values.iter().map(|value| format!("1,\"{value}\"\n")).collect();
    testing::run::<Clean>(config, &format!("n,v\n{csv}")).expect("the rule is accepted")
}

/// Returns the output for each value, or the code of the reject if the value is rejected.
fn outcomes(rule: &str, values: &[&str]) -> Vec<String> {
    let report = run(rule, values);
    let mut written = report.column("v").into_iter();
    let outcome = |at: usize| {
        let reject = report
            .rejects
            .iter()
            .find(|reject| reject.record == at as u64 + 1);
        let text = reject.map_or_else(|| written.next().unwrap(), |reject| &reject.code);
        text.to_owned()
    };
    (0..values.len()).map(outcome).collect()
}

#[track_caller]
fn assert_outcomes(rule: &str, cases: &[(&str, &str)]) {
    let values: Vec<_> = cases.iter().map(|case| case.0).collect();
    for (found, (value, expected)) in outcomes(rule, &values).into_iter().zip(cases) {
        assert_eq!(found, *expected, "{value:?} under {rule}");
    }
}

#[test]
fn a_number_that_is_normalised_keeps_its_digits() {
    assert_outcomes(
        r#"{"type": "number"}"#,
        &[
            ("+12345678901234567890", "12345678901234567890"),
            ("0012345678901234567.89", "12345678901234567.89"),
            (".123456789012345678", "0.123456789012345678"),
            ("-.123456789012345678", "-0.123456789012345678"),
            ("+1e300", "1e300"),
            ("+1E-300", "1E-300"),
            ("01e+05", "1e+05"),
            ("1.e2", "1e2"),
            (".5e1", "0.5e1"),
            ("5.", "5"),
            ("-5.", "-5"),
            ("00", "0"),
            ("-0", "-0"),
            ("-00.0", "-0.0"),
            ("+0.0", "0.0"),
            ("000.10", "0.10"),
            ("1.50", "1.50"),
            ("1e400", "not-number"),
            ("-1e400", "not-number"),
            ("1e99999999999999999999", "not-number"),
            ("0e99999999999999999999", "0e99999999999999999999"),
            ("1e-400", "1e-400"),
            ("1e-99999999999999999999", "1e-99999999999999999999"),
            ("1.7976931348623157e308", "1.7976931348623157e308"),
            ("1.7976931348623159e308", "not-number"),
            (".", "not-number"),
            ("+", "not-number"),
            ("", ""),
            ("e5", "not-number"),
            ("1e", "not-number"),
            ("1e+", "not-number"),
            ("1e1.5", "not-number"),
            ("--1", "not-number"),
            ("+-1", "not-number"),
            ("1,234", "not-number"),
            ("1_234", "not-number"),
            ("1 234", "not-number"),
            ("1'234", "not-number"),
            (" 1", "not-number"),
            ("1.2.3", "not-number"),
            ("0x10", "not-number"),
            ("\u{ff11}", "not-number"),
            ("\u{2212}1", "not-number"),
            ("nan", "not-number"),
            ("infinity", "not-number"),
        ],
    );
    let long = format!("+{}.{}", "9".repeat(300), "1".repeat(300));
    assert_eq!(outcomes(r#"{"type": "number"}"#, &[&long]), [&long[1..]]);
}

#[test]
fn an_integer_is_digits_within_64_bits() {
    assert_outcomes(
        r#"{"type": "integer"}"#,
        &[
            ("9223372036854775807", "9223372036854775807"),
            ("+009223372036854775807", "9223372036854775807"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("9223372036854775808", "not-integer"),
            ("-9223372036854775809", "not-integer"),
            ("18446744073709551615", "not-integer"),
            ("9007199254740993", "9007199254740993"),
            ("-0", "0"),
            ("1.0", "not-integer"),
            ("1.", "not-integer"),
            ("1e3", "not-integer"),
            ("1E0", "not-integer"),
            ("true", "not-integer"),
            ("0x1", "not-integer"),
            ("1,000", "not-integer"),
        ],
    );
    let reject = &run(r#"{"type": "integer"}"#, &["1.0"]).rejects[0];
    assert_eq!(
        reject.reason,
        r#"v: "1.0" is not an integer of 64 bits, which has only digits and perhaps a sign"#
    );
    assert_outcomes(
        r#"{"type": "boolean"}"#,
        &[
            ("1", "true"),
            ("0", "false"),
            ("1.0", "not-boolean"),
            ("01", "not-boolean"),
            ("+1", "not-boolean"),
            ("-0", "not-boolean"),
            ("2", "not-boolean"),
            ("t", "not-boolean"),
            ("on", "not-boolean"),
        ],
    );
}

#[test]
fn ranges_count_every_digit() {
    assert_outcomes(
        r#"{"type": "integer", "range": {"min": -9007199254740993, "max": 9007199254740992}}"#,
        &[
            ("9007199254740992", "9007199254740992"),
            ("9007199254740993", "out-of-range"),
            ("-9007199254740993", "-9007199254740993"),
            ("-9007199254740994", "out-of-range"),
        ],
    );
    assert_outcomes(
        r#"{"type": "integer", "range": {"min": 9223372036854775806}}"#,
        &[
            ("9223372036854775805", "out-of-range"),
            ("9223372036854775806", "9223372036854775806"),
            ("9223372036854775807", "9223372036854775807"),
        ],
    );
    assert_outcomes(
        r#"{"type": "integer", "range": {"min": 0.5, "max": 1e3}}"#,
        &[
            ("0", "out-of-range"),
            ("1", "1"),
            ("1000", "1000"),
            ("1001", "out-of-range"),
        ],
    );
    assert_outcomes(
        r#"{"type": "number", "range": {"min": 0.1, "max": 12345678901234567890.5}}"#,
        &[
            ("0.1", "0.1"),
            ("0.10", "0.10"),
            ("1e-1", "1e-1"),
            ("0.09999999999999999999", "out-of-range"),
            ("12345678901234567890.5", "12345678901234567890.5"),
            ("12345678901234567890.50000", "12345678901234567890.50000"),
            ("12345678901234567890.50001", "out-of-range"),
            ("12345678901234567891", "out-of-range"),
        ],
    );
    assert_outcomes(
        r#"{"type": "number", "range": {"min": 0, "max": 0}}"#,
        &[
            ("-0", "-0"),
            ("0e5", "0e5"),
            (".0", "0.0"),
            ("1e-400", "out-of-range"),
            ("-1e-400", "out-of-range"),
        ],
    );
    let rule = r#"{"type": "integer", "range": {"max": 9007199254740993}}"#;
    let reject = &run(rule, &["9007199254740994"]).rejects[0];
    assert_eq!(
        reject.reason,
        r#"v: "9007199254740994" is not 9007199254740993 or less"#
    );
}

#[test]
fn a_bound_is_a_number_and_the_lower_one_is_not_above() {
    let refusal = |range: &str| {
        let config = format!(r#"{{"columns": {{"v": {{"type": "number", "range": {range}}}}}}}"#);
        testing::check::<Clean>(config)
            .err()
            .map(|refusal| refusal.to_string())
    };
    for (range, why) in [
        (
            r#"{"min": 9007199254740993, "max": 9007199254740992}"#,
            "\"range\" needs",
        ),
        (
            r#"{"min": 0.10000000000000000001, "max": 0.1}"#,
            "\"range\" needs",
        ),
        (r#"{"min": -1, "max": -1.0000000000000000001}"#, "\"range\" needs"),
        (r#"{"min": 1e-400, "max": 0}"#, "\"range\" needs"),
        (r#"{"min": null, "max": null}"#, "\"range\" needs"),
        (r#"{"min": "1"}"#, "expected a number"),
        (r#"{"min": true}"#, "expected a number"),
        (r#"{"min": [1]}"#, "expected a number"),
        (r#"{"max": 1e999}"#, "number out of range"),
        (r#"{"mini": 1}"#, "unknown field `mini`"),
    ] {
        let refusal = refusal(range).expect(range);
        assert!(
            refusal.starts_with("config: ") && refusal.contains(why),
            "{refusal}"
        );
    }
    for range in [
        r#"{"min": 1, "max": 1.0}"#,
        r#"{"min": -1e3, "max": -1000}"#,
        r#"{"min": null, "max": 1}"#,
    ] {
        assert_eq!(refusal(range), None, "{range}");
    }
}

/// An exact number. The members are: true if the number is negative, its digits without leading and trailing zeros, and
/// the power of ten of the last digit.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Exact(bool, Vec<u8>, i64);

impl Exact {
    fn new(text: &str) -> Self {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits: Vec<u8> = format!("{whole}{fraction}")
            .bytes()
            .filter(u8::is_ascii_digit)
            .collect();
        let mut power = exponent.parse::<i64>().unwrap() - fraction.len() as i64;
        while digits.last() == Some(&b'0') {
            digits.pop();
            power += 1;
        }
        digits = digits.into_iter().skip_while(|&digit| digit == b'0').collect();
        if digits.is_empty() {
            return Self(false, digits, 0);
        }
        Self(text.starts_with('-'), digits, power)
    }

    /// Returns the digits down to the power of ten `power`. Missing digits are zeros.
    fn down_to(&self, power: i64) -> Vec<u8> {
        if self.1.is_empty() {
            return Vec::new();
        }
        let zeros = usize::try_from(self.2 - power).unwrap();
        self.1
            .iter()
            .copied()
            .chain(std::iter::repeat_n(b'0', zeros))
            .collect()
    }

    fn order(&self, other: &Self) -> Ordering {
        if self.0 != other.0 {
            return other.0.cmp(&self.0); // `new` makes zero not negative.
        }
        let power = self.2.min(other.2).min(0);
        let (left, right) = (self.down_to(power), other.down_to(power));
        let order = left.len().cmp(&right.len()).then(left.cmp(&right));
        if self.0 { order.reverse() } else { order }
    }
}

fn runner() -> TestRunner {
    TestRunner::new(Config {
        failure_persistence: None,
        ..Config::with_cases(4_000)
    })
}

#[test]
fn a_normalised_number_is_equal_and_json() {
    let number = "[+-]?0{0,3}[0-9]{0,24}(\\.[0-9]{0,24})?([eE][+-]?0?[0-9]{1,3})?";
    let accepted = std::cell::Cell::new(0);
    let all = runner().run(&number, |text| {
        let report = run(r#"{"type": "number"}"#, &[&text]);
        let is_number = text.parse::<f64>().is_ok_and(f64::is_finite);
        prop_assert_eq!(report.rejected == 0, is_number || text.is_empty(), "{}", text);
        if is_number {
            let written = report.column("v")[0];
            prop_assert_eq!(
                Exact::new(written),
                Exact::new(&text),
                "{} became {}",
                text,
                written
            );
            prop_assert!(written.len() <= text.len() + 1, "{} became {}", text, written);
            let json: Value = serde_json::from_str(written).expect("JSON");
            prop_assert!(json.is_number(), "{}", written);
            accepted.set(accepted.get() + 1);
        }
        Ok(())
    });
    all.unwrap();
    assert!(accepted.get() > 2_000, "{}", accepted.get());
}

#[test]
fn a_range_is_that_of_exact_numbers() {
    let bound = "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,8})?(e-?[0-9]{1,2})?";
    let seen = std::cell::RefCell::new(std::collections::BTreeMap::new());
    // These are changes to the bound: more digits at its end, or a plus and a zero at its start.
    let changes = ("[0-9]{0,3}", any::<bool>(), any::<bool>());
    let all = runner().run(
        &(bound, changes, bound),
        |(bound, (tail, is_near, is_plus), other)| {
            let value = match (is_near, bound.contains(['.', 'e'])) {
                (true, false) => format!("{bound}.{tail}"),
                (true, true) if !bound.contains('e') => format!("{bound}{tail}"),
                _ => other,
            };
            let value = if is_plus && !value.starts_with('-') {
                format!("+0{value}")
            } else {
                value
            };
            let order = Exact::new(&value).order(&Exact::new(&bound));
            for (range, is_within) in [
                (json!({ "min": null }), order.is_ge()),
                (json!({ "max": null }), order.is_le()),
            ] {
                let range = range.to_string().replace("null", &bound);
                let report = run(&format!(r#"{{"type": "number", "range": {range}}}"#), &[&value]);
                prop_assert_eq!(report.rejected == 0, is_within, "{} in {}", value, range);
            }
            *seen.borrow_mut().entry(order).or_insert(0) += 1;
            Ok(())
        },
    );
    all.unwrap();
    let seen = seen.into_inner();
    assert!(
        seen.len() == 3 && seen.values().all(|&count| count > 20),
        "{seen:?}"
    );
}
