//! Tests the keys of the plugin `clean` for single values on JSON lines: a value has the type of its column, and a JSON
//! number is never read as a text in another notation.

use ingest_host::config::Limits;
use ingest_host::format::Format;
use ingest_host::request::InputOptions;
use serde_json::{Value, json};

use crate::support::pipeline::{PipelineRun, RunOutcome, plugin};

fn run(config: &Value, lines: &str) -> RunOutcome {
    let work = PipelineRun {
        input: lines.as_bytes(),
        options: InputOptions {
            format: Some(Format::Jsonl),
            ..InputOptions::default()
        },
        plugin: &plugin("clean"),
        config: &config.to_string(),
        output_format: Some(Format::Jsonl),
        limits: Limits::default(),
    };
    work.run(2).unwrap()
}

const KEY: &str = "5d0b1f3a9c27e8446a0f7b92d1c35e8812f4ab6790de03c15b7a29e4f68c01d3";

/// The HMAC of `7` with this key.
const SEVEN: &str = "f579ece3e90c10ed9ffefbad7ff19d69c714387a9822a27dc75d665721c53ea9";

#[test]
fn each_value_has_the_type_of_its_column() {
    let config = json!({ "columns": {
        "a": { "type": "decimal(12,2)", "notation": { "decimal": ",", "thousands": ".", "currency": ["€"] } },
        "i": { "type": "integer", "notation": { "thousands": "." } },
        "d": { "type": "date", "formats": ["%d. %b %Y"], "locale": "de", "range": { "min": "2000-01-01" } },
        "t": { "type": "time" },
        "s": { "invisible": "remove", "unicode": "nfc", "case": "lower" },
        "m": { "map": { "1": "yes", "-": "", "true": "yes" }, "unmapped": "keep" },
        "h": { "hash": { "key": KEY } },
        "k": { "mask": { "last": 4 } },
        "l": { "length": { "max": 5 } },
    }});
    let hashed = format!("{{\"h\":\"{SEVEN}\"}}");
    let cases = [
        (r#"{"a":"1.234,5 €"}"#, r#"{"a":1234.50}"#),
        (r#"{"a":"1.234"}"#, r#"{"a":1234.00}"#),
        (r#"{"a":1.25}"#, r#"{"a":1.25}"#),
        (r#"{"a":1.5}"#, r#"{"a":1.50}"#),
        (r#"{"a":1e3}"#, r#"{"a":1000.00}"#),
        (r#"{"a":-0}"#, r#"{"a":0.00}"#),
        (r#"{"a":""}"#, r#"{"a":null}"#),
        (r#"{"i":"1.234"}"#, r#"{"i":1234}"#),
        (r#"{"i":1234}"#, r#"{"i":1234}"#),
        (r#"{"d":"24. Dez. 2017"}"#, r#"{"d":"2017-12-24"}"#),
        (r#"{"d":""}"#, r#"{"d":null}"#),
        (r#"{"t":"08:30"}"#, r#"{"t":"08:30:00"}"#),
        (r#"{"t":1830}"#, r#"{"t":"18:30:00"}"#),
        (r#"{"t":""}"#, r#"{"t":null}"#),
        (r#"{"t":null}"#, r#"{"t":null}"#),
        (r#"{"s":"\ufeffZOE\u0308"}"#, "{\"s\":\"zo\u{eb}\"}"),
        (r#"{"s":{"A":"E\u0308"}}"#, r#"{"s":{"A":"E\u0308"}}"#),
        (r#"{"s":["A"]}"#, r#"{"s":["A"]}"#),
        (r#"{"s":1E2}"#, r#"{"s":1E2}"#),
        (r#"{"s":null}"#, r#"{"s":null}"#),
        (r#"{"m":1}"#, r#"{"m":"yes"}"#),
        (r#"{"m":"1"}"#, r#"{"m":"yes"}"#),
        (r#"{"m":true}"#, r#"{"m":"yes"}"#),
        (r#"{"m":"-"}"#, r#"{"m":null}"#),
        (r#"{"m":2}"#, r#"{"m":2}"#),
        (r#"{"h":7}"#, &hashed),
        (r#"{"h":"7"}"#, &hashed),
        (r#"{"h":null}"#, r#"{"h":null}"#),
        (r#"{"k":4111111111111111}"#, r#"{"k":"************1111"}"#),
        (r#"{"k":"äöüß日"}"#, r#"{"k":"*öüß日"}"#),
        (r#"{"l":12345}"#, r#"{"l":12345}"#),
    ];
    for (input, expected) in cases {
        let outcome = run(&config, &format!("{input}\n"));
        assert_eq!(outcome.records.rejected, 0, "{}", outcome.rejects);
        assert_eq!(outcome.output, format!("{expected}\n"), "{input}");
    }
}

#[test]
fn a_json_number_is_not_read_in_the_notation_of_texts() {
    let config = json!({ "columns": {
        "a": { "type": "number", "notation": { "decimal": ",", "thousands": "." } },
    }});
    let input = "{\"a\":1.234}\n{\"a\":\"1.234\"}\n{\"a\":1234.5}\n{\"a\":\"1234.5\"}\n";
    let outcome = run(&config, input);
    assert_eq!(outcome.output, "{\"a\":1.234}\n{\"a\":1234}\n{\"a\":1234.5}\n");
    assert!(
        outcome.rejects.contains("is not a number of the form 1.234,50"),
        "{}",
        outcome.rejects
    );
    // A default is a text of the config, so it has the notation of the texts. The same holds for a mapped value.
    let config = json!({ "columns": {
        "a": {
            "type": "number", "default": "1.234", "map": { "7": "2.345" }, "unmapped": "keep",
            "notation": { "decimal": ",", "thousands": "." }
        },
    }});
    let outcome = run(&config, "{\"a\":null}\n{\"b\":1}\n{\"a\":7}\n{\"a\":8.125}\n");
    assert_eq!(
        outcome.output,
        "{\"a\":1234}\n{\"b\":1,\"a\":1234}\n{\"a\":2345}\n{\"a\":8.125}\n"
    );
}

#[test]
fn the_reason_of_a_reject_shows_no_protected_value() {
    let config = json!({ "columns": {
        "card": { "pattern": "^[0-9]{12,19}$", "mask": { "last": 4 } },
        "mail": { "pattern": "@", "hash": { "key": KEY } },
    }});
    let outcome = run(&config, "{\"card\":\"4111-x\"}\n{\"mail\":\"ada\"}\n");
    for column in ["card", "mail"] {
        let reason = format!("{column}: the value, which is not shown here, does not match");
        assert!(outcome.rejects.contains(&reason), "{}", outcome.rejects);
    }
}
