//! Tests that a hash needs its key, that a mask keeps only what it says, and that no reason shows a protected value.

use clean::Clean;
use hmac::{Hmac, Mac};
use ingest_plugin::ColumnType;
use ingest_plugin::testing::{self, Report};
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::Sha256;

const KEY: &str = "5d0b1f3a9c27e8446a0f7b92d1c35e8812f4ab6790de03c15b7a29e4f68c01d3";

fn run(rule: &Value, values: &[&str]) -> Report {
    let config = json!({ "columns": { "v": rule } });
    let csv: String = values.iter().map(|value| format!("1,\"{value}\"\n")).collect();
    testing::run::<Clean>(config, &format!("n,v\n{csv}")).expect("the rule is accepted")
}

fn refusal(rule: &Value) -> String {
    let config = json!({ "columns": { "v": rule } });
    testing::check::<Clean>(config)
        .expect_err("the rule is refused")
        .to_string()
}

#[test]
fn a_hash_is_the_hmac_of_the_value_in_the_form_of_the_output() {
    let hash = json!({ "key": KEY });
    // The expected values come from Python's `hmac`.
    let seven = "f579ece3e90c10ed9ffefbad7ff19d69c714387a9822a27dc75d665721c53ea9";
    let report = run(&json!({ "hash": hash }), &["é", "", "7"]);
    let accent = "5b4665b937ed4434b15c33e6fcaaf6f41fdbe1a26312540fb3d4617e7de5ed58";
    assert_eq!(report.column("v"), [accent, "", seven]);
    let report = run(&json!({ "type": "integer", "hash": hash }), &["007", "+7"]);
    assert_eq!(report.column("v"), [seven, seven]);
    assert_eq!(report.types[1], ColumnType::Text);
    let upper = json!({ "key": KEY.to_uppercase() });
    assert_eq!(run(&json!({ "hash": upper }), &["7"]).column("v"), [seven]);
    let other = json!({ "key": KEY.replace("5d", "5e") });
    assert_ne!(run(&json!({ "hash": other }), &["7"]).column("v"), [seven]);
}

#[test]
fn every_value_has_its_own_hash() {
    let key: Vec<u8> = (0..KEY.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&KEY[at..at + 2], 16).expect("digits"))
        .collect();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(500)
    });
    let all = runner.run(&"[a-zé ]{1,200}", |text| {
        let report = run(&json!({ "hash": { "key": KEY } }), &[&text]);
        let mut hmac = Hmac::<Sha256>::new_from_slice(&key).expect("any length");
        hmac.update(text.as_bytes());
        let expected: String = hmac
            .finalize()
            .into_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        prop_assert_eq!(report.column("v"), [expected]);
        Ok(())
    });
    all.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_key_is_random_and_no_error_shows_it() {
    let digits = "1".repeat(40);
    for key in [
        json!("swordfish"),
        json!(KEY[1..]),
        json!(format!("{KEY}00")),
        json!(KEY.replace('5', "g")),
        json!(5_123_456_789_u64),
        json!([KEY]),
        json!({ "secret": KEY }),
        json!(digits),
    ] {
        let refusal = refusal(&json!({ "hash": { "key": key } }));
        assert!(
            refusal.contains("\"hash\" needs a \"key\" of 64 hexadecimal digits"),
            "{refusal}"
        );
        for part in ["swordfish", "0b1f3a9c", "5123456789", "1111"] {
            assert!(!refusal.contains(part), "{refusal}");
        }
    }
    assert!(refusal(&json!({ "hash": {} })).contains("missing field `key`"));
    // A fault elsewhere in the rule does not show the key either.
    let refusal = refusal(&json!({ "hash": { "key": KEY }, "constant": "x" }));
    assert!(
        refusal.contains("replaces every value") && !refusal.contains(KEY),
        "{refusal}"
    );
    let refusal = self::refusal(&json!({ "hash": { "key": KEY }, "mask": {} }));
    assert!(
        refusal.contains("remove one of them") && !refusal.contains(KEY),
        "{refusal}"
    );
    let config = format!(r#"{{"columns": {{"v": {{"hash": {{"key": "{KEY}", "kee": "{KEY}"}}}}}}}}"#);
    let refusal = testing::check::<Clean>(config)
        .expect_err("an unknown key")
        .to_string();
    assert!(
        refusal.contains("unknown field `kee`") && !refusal.contains(KEY),
        "{refusal}"
    );
}

#[test]
fn a_mask_keeps_the_first_and_last_characters() {
    for (mask, value, expected) in [
        (json!({ "last": 4 }), "4111111111111111", "************1111"),
        (json!({ "first": 1, "last": 2 }), "abcdef", "a***ef"),
        (json!({ "first": 2, "with": "#" }), "äöü日", "äö##"),
        (json!({}), "abc", "***"),
        (json!({ "last": 4 }), "12345", "*2345"),
        // A value of which nothing would be masked is masked as a whole.
        (json!({ "last": 4 }), "1234", "****"),
        (json!({ "first": 3, "last": 3 }), "abcde", "*****"),
        (
            json!({ "first": 18446744073709551615_u64, "last": 5 }),
            "abc",
            "***",
        ),
        (json!({ "last": 4 }), "", ""),
    ] {
        let report = run(&json!({ "mask": mask }), &[value]);
        assert_eq!(report.column("v"), [expected], "{mask}");
    }
    let report = run(
        &json!({ "type": "decimal(6,2)", "mask": { "last": 2 } }),
        &["12.5"],
    );
    assert_eq!(report.column("v"), ["***50"]);
    assert_eq!(report.types[1], ColumnType::Text);
    for with in ["a", "7", " ", "é"] {
        let refusal = refusal(&json!({ "mask": { "with": with } }));
        assert!(refusal.contains("which could be a part of a value"), "{refusal}");
    }
    assert!(refusal(&json!({ "mask": { "with": "**" } })).contains("invalid value"));
    assert!(refusal(&json!({ "mask": { "first": -1 } })).contains("invalid value"));
}

#[test]
fn no_reason_shows_a_protected_value() {
    let secret = "geheim\u{200b}7";
    let rules = [
        (json!({ "type": "integer" }), "not-integer"),
        (json!({ "type": "number" }), "not-number"),
        (json!({ "type": "decimal(4,2)" }), "not-decimal"),
        (
            json!({ "type": "number", "notation": { "decimal": "," } }),
            "not-number",
        ),
        (json!({ "type": "boolean" }), "not-boolean"),
        (json!({ "type": "timestamp" }), "bad-timestamp"),
        (json!({ "type": "date" }), "bad-date"),
        (json!({ "type": "time" }), "bad-time"),
        (json!({ "invisible": "reject" }), "invisible"),
        (json!({ "map": { "a": "b" } }), "not-mapped"),
        (json!({ "length": { "max": 3 } }), "length"),
        (json!({ "allowed": ["a"] }), "not-allowed"),
        (json!({ "pattern": "^a" }), "pattern"),
    ];
    for protection in ["hash", "mask"] {
        let protection = (
            protection,
            if protection == "hash" {
                json!({ "key": KEY })
            } else {
                json!({ "last": 1 })
            },
        );
        for (rule, code) in &rules {
            let mut rule = rule.clone();
            rule[protection.0] = protection.1.clone();
            let report = run(&rule, &[secret]);
            let reject = &report.rejects[0];
            assert_eq!(reject.code, *code, "{rule}");
            let prefix = "v: the value, which is not shown here, ";
            assert!(reject.reason.starts_with(prefix), "{}", reject.reason);
            assert!(!reject.reason.contains("geheim"), "{}", reject.reason);
        }
        let ranges = [
            (json!({ "type": "integer", "range": { "max": 5 } }), "123456"),
            (json!({ "type": "decimal(3,0)" }), "123456"),
            (
                json!({ "type": "date", "range": { "max": "2020-01-01" } }),
                "2021-02-03",
            ),
        ];
        for (mut rule, value) in ranges {
            rule[protection.0] = protection.1.clone();
            let reject = &run(&rule, &[value]).rejects[0];
            assert!(!reject.reason.contains(value), "{}", reject.reason);
        }
    }
    let reject = &run(&json!({ "required": true, "mask": {} }), &[""]).rejects[0];
    assert_eq!(
        reject.reason,
        "v: the value, which is not shown here, is empty but required"
    );
}
