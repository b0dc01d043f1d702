//! Tests the documents that producers write. The host accepts exactly the documents that `schemas/request.schema.json`
//! allows, except for a few rules that a schema cannot express. This file lists those rules.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use fastrand::Rng;
use ingest_host::request::NewRequest;
use jsonschema::Validator;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

const SCHEMA: &str = include_str!("../../../schemas/request.schema.json");

const CASES: usize = 40_000;
/// The minimum number of valid documents, and the minimum number of invalid documents.
const FLOOR: usize = 5_000;
/// For each rule that the schema cannot express: the minimum number of documents that violate only this rule.
const FLOOR_EACH: usize = 20;

const MEMBERS: [&str; 22] = [
    "id",
    "uri",
    "priority",
    "delay_ms",
    "format",
    "delimiter",
    "quote",
    "escape",
    "comment",
    "trim",
    "header",
    "dialect",
    "skip_lines",
    "skip_footer",
    "short_rows",
    "long_rows",
    "blank_rows",
    "duplicate_columns",
    "encoding",
    "sha256",
    "version",
    "group",
];

/// The members that belong to the request and not to its input.
const OWN: [&str; 4] = ["id", "priority", "delay_ms", "group"];

const UNKNOWN: [&str; 6] = ["", "Id", "uri ", "uri\\n", "prioritty", "\\u0000"];

const NUMBERS: [&str; 36] = [
    "0",
    "1",
    "-1",
    "100",
    "-100",
    "101",
    "-101",
    "1.0",
    "-1.00",
    "1e2",
    "1E+2",
    "1e3",
    "-0",
    "-0.0",
    "0e99",
    "1.5",
    "1e-1",
    "10e-1",
    "100.5",
    "100.00000000000000001",
    "31622400000",
    "31622400001",
    "31622400000.0",
    "3.16224e10",
    "3.16224e11",
    "1e308",
    "-1e308",
    "1e400",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "-9223372036854775809",
    "4294967297",
    "01",
    "1.",
    "NaN",
];

const TEXTS: [&str; 42] = [
    r#""""#,
    r#""a""#,
    r#""a\n""#,
    r#""\na""#,
    r#""\u0000""#,
    r#""\u0061""#,
    r#""\u0085""#,
    r#""\u007f""#,
    r#""\u2028""#,
    r#""\ud800""#,
    r#""\ud83d\ude00""#,
    r#""é""#,
    r#""e\u0301""#,
    r#"" ""#,
    r#""a b""#,
    r#""a/b""#,
    r#"".a""#,
    r#""..""#,
    r#""a.b-c_D9""#,
    r#""-""#,
    r#"",""#,
    r#"";""#,
    r#""\"""#,
    r#""\t""#,
    r#""\r""#,
    r#""\n""#,
    r#"",,""#,
    r#""csv""#,
    r#""jsonl""#,
    r#""CSV""#,
    r#""csv\n""#,
    r#""auto""#,
    r#""utf-8""#,
    r#"" UTF-16 ""#,
    r#""Latin-1""#,
    r#""utf-17""#,
    r#""replacement""#,
    r#""https://u:p@h.example/x""#,
    r#""HTTP:\\me@h.example/""#,
    r#""s3://:pw@bucket/x""#,
    r#""file:///data/a@b.csv""#,
    r#""1""#,
];

const OTHERS: [&str; 12] = [
    "null",
    "true",
    "false",
    "[]",
    "{}",
    r#"["csv"]"#,
    r#"{"csv":null}"#,
    "[1]",
    "tru",
    "'a'",
    "{",
    r#"{"a":[{"b":null}]}"#,
];

/// A generator of random documents. Most of them are valid or nearly valid.
struct Maker(Rng);

impl Maker {
    fn one_of(&mut self, texts: &[&str]) -> String {
        texts[self.0.usize(..texts.len())].to_owned()
    }

    fn chance(&mut self, percent: u8) -> bool {
        self.0.u8(..100) < percent
    }

    /// Returns a text whose number of characters is close to a limit.
    fn long(&mut self) -> String {
        let count = *self
            .0
            .choice(&[64, 63, 65, 127, 128, 129, 4_096, 8_191, 8_192, 8_193])
            .unwrap();
        let unit = *self.0.choice(&["a", "F", "é", "😀", "\\u00e9", "\\n"]).unwrap();
        let end = if self.chance(20) { "\\n" } else { "" };
        format!("\"{}{end}\"", unit.repeat(count))
    }

    fn any_value(&mut self) -> String {
        match self.0.u8(..10) {
            0..3 => self.one_of(&NUMBERS),
            3..7 => self.one_of(&TEXTS),
            7 => self.long(),
            _ => self.one_of(&OTHERS),
        }
    }

    fn valid_value(&mut self, member: &str) -> String {
        match member {
            "id" | "group" => self.one_of(&[r#""a""#, r#""a.b-c_D9""#, r#""0""#, r#""\u0061""#]),
            "version" => self.one_of(&[r#""1-2.000000003""#, r#""\"x\"""#, r#"" ""#, r#""é""#]),
            "uri" => self.one_of(&[
                r#""a.csv""#,
                r#""https://h.example/x?y@z""#,
                r#""é 汉""#,
                r#"" ""#,
            ]),
            "priority" => self.one_of(&["0", "-100", "100", "1.0", "1e2", "-0"]),
            "delay_ms" => self.one_of(&["0", "1", "31622400000", "3.16224e10", "1E+2", "-0.0"]),
            "format" => self.one_of(&[r#""csv""#, r#""jsonl""#]),
            "delimiter" => self.one_of(&[r#"";""#, r#""\t""#, r#""\u0001""#, r#""|""#, r#""\u007f""#]),
            "quote" => self.one_of(&[r#""'""#, r#""\u0022""#, r#"" ""#, r#""none""#]),
            "escape" => self.one_of(&[r#""\\""#, r#""none""#, r#""^""#, r#""'""#]),
            "comment" => self.one_of(&[r##""#""##, r#""none""#, r#""%""#, r#"";""#]),
            "skip_lines" => self.one_of(&["0", "3", "1e6", "1000000.0"]),
            "skip_footer" => self.one_of(&["0", "1", "1e3"]),
            "short_rows" => self.one_of(&[r#""reject""#, r#""fill""#]),
            "long_rows" => self.one_of(&[r#""reject""#, r#""trailing-empty""#]),
            "blank_rows" => self.one_of(&[r#""keep""#, r#""drop""#]),
            "duplicate_columns" => self.one_of(&[r#""fail""#, r#""number""#]),
            "trim" | "header" => self.one_of(&["true", "false"]),
            "dialect" => r#""auto""#.to_owned(),
            "encoding" => self.one_of(&[
                r#""utf-16""#,
                r#""Latin-1""#,
                r#"" SJIS ""#,
                r#""utf8""#,
                r#""utf_8_sig""#,
            ]),
            _ => format!("\"{}\"", if self.chance(50) { "aF" } else { "09" }.repeat(32)),
        }
    }

    fn members(&mut self) -> Vec<(String, String)> {
        let odd = if self.chance(50) { 0 } else { 12 };
        let mut members = Vec::new();
        for member in MEMBERS {
            if self.chance(if member == "uri" { 97 } else { 35 }) {
                let value = if self.chance(odd) {
                    self.any_value()
                } else {
                    self.valid_value(member)
                };
                members.push((member.to_owned(), value));
            }
        }
        if self.chance(3) {
            members.push((self.one_of(&UNKNOWN), self.any_value()));
        }
        if self.chance(3) && !members.is_empty() {
            let twice = self.0.usize(..members.len());
            members.push(members[twice].clone());
        }
        if self.chance(3) {
            members.push(("delimiter".to_owned(), r#""\"""#.to_owned()));
        }
        if self.chance(1)
            && let Some((_, uri)) = members.iter_mut().find(|(name, _)| name == "uri")
        {
            *uri = r#""https://u:p@h.example/x""#.to_owned();
        }
        self.0.shuffle(&mut members);
        members
    }

    /// Moves the members of the input into the member `inputs`. In some cases, the result is invalid.
    fn with_inputs(&mut self, members: Vec<(String, String)>) -> Vec<(String, String)> {
        let is_own = |(name, _): &(String, String)| OWN.contains(&name.as_str());
        let (mut own, input): (Vec<_>, Vec<_>) = members.into_iter().partition(is_own);
        let input: Vec<_> = input
            .iter()
            .map(|(name, value)| format!("\"{name}\":{value}"))
            .collect();
        let input = format!("{{{}}}", input.join(","));
        let inputs = match self.0.u8(..30) {
            0 => "[]".to_owned(),
            1 => format!("[{input},{input}]"),
            2 => input,
            3 => self.any_value(),
            _ => format!("[{input}]"),
        };
        own.push(("inputs".to_owned(), inputs));
        if self.chance(2) {
            own.push(own[own.len() - 1].clone());
        }
        if self.chance(5) {
            let outside = self.one_of(&["uri", "trim", "sha256"]);
            own.push((outside.clone(), self.valid_value(&outside)));
        }
        self.0.shuffle(&mut own);
        own
    }

    fn json(&mut self, depth: usize) -> String {
        match self.0.u8(..6) {
            0 if depth > 0 => {
                let elements: Vec<_> = (0..self.0.usize(..4)).map(|_| self.json(depth - 1)).collect();
                format!("[{}]", elements.join(","))
            }
            1 | 2 if depth > 0 => {
                let names = [&MEMBERS[..], &UNKNOWN].concat();
                let members: Vec<_> = (0..self.0.usize(..4))
                    .map(|_| format!("\"{}\":{}", self.one_of(&names), self.json(depth - 1)))
                    .collect();
                format!("{{{}}}", members.join(","))
            }
            _ => self.any_value(),
        }
    }

    fn document(&mut self) -> String {
        if self.chance(5) {
            return self.json(4);
        }
        let mut members = self.members();
        if self.chance(30) {
            members = self.with_inputs(members);
        }
        if self.chance(2) {
            // This array has the values of all members in the order of the schema, without their names.
            let values: Vec<_> = MEMBERS.iter().map(|member| self.valid_value(member)).collect();
            return format!("[{}]", values.join(","));
        }
        let members: Vec<_> = members
            .iter()
            .map(|(name, value)| match self.0.u8(..8) {
                0 => format!(" \"{name}\" :\n{value} "),
                1 if !name.is_empty() && name.is_ascii() && !name.contains('\\') => {
                    format!("\"\\u{:04x}{}\":{value}", name.as_bytes()[0], &name[1..])
                }
                _ => format!("\"{name}\":{value}"),
            })
            .collect();
        let document = format!("{{{}}}", members.join(","));
        match self.0.u8(..60) {
            0 => format!("\u{feff}{document}"),
            1 => format!("{document} {}", self.one_of(&["{}", ",", "null", "\u{0}"])),
            2 => format!("\r\n\t {document}\n"),
            3 => document.replacen(',', ",,", 1),
            4 => document.replacen("\":", &format!("\":{}", "[".repeat(200)), 1),
            5 => {
                let mut characters: Vec<char> = document.chars().collect();
                let at = self.0.usize(..characters.len());
                characters[at] = self.0.char('\u{0}'..'\u{ff}');
                characters.into_iter().collect()
            }
            6 => document.chars().take(self.0.usize(..document.len())).collect(),
            _ => document,
        }
    }
}

/// True if an object, or an object in its `inputs`, contains a member twice.
struct HasTwins(bool);

impl<'de> serde::Deserialize<'de> for HasTwins {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = HasTwins;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<HasTwins, A::Error> {
                let (mut names, mut twins) = (BTreeSet::new(), false);
                while let Some(name) = map.next_key::<String>()? {
                    if name == "inputs" {
                        let inputs: Vec<HasTwins> = map.next_value()?;
                        twins |= inputs.iter().any(|input| input.0);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                    twins |= !names.insert(name);
                }
                Ok(HasTwins(twins))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// Returns the short form of a valid document: the members of its only input become members of the document.
fn short_form(document: &Value) -> Value {
    let mut short = document.clone();
    let members = short.as_object_mut().unwrap();
    if let Some(inputs) = members.remove("inputs") {
        members.extend(inputs[0].as_object().unwrap().clone());
    }
    short
}

/// Returns the violated rule for a document that is valid by the schema, or `None` if the host must accept it.
fn beyond_the_schema(text: &str, document: &Value) -> Option<&'static str> {
    let HasTwins(has_twins) = serde_json::from_str(text).unwrap();
    let document = &short_form(document);
    let member = |name: &str, default: &'static str| {
        document
            .get(name)
            .map_or(default, |value| value.as_str().unwrap())
    };
    if has_twins {
        return Some("a member is there twice");
    }
    let uri = member("uri", "");
    let has_credentials = match url::Url::parse(uri) {
        Ok(url) => !url.username().is_empty() || url.password().is_some(),
        Err(_) => false,
    };
    // `check_uri` also refuses a URI in which only some programs find credentials. The tests of `redact` check this
    // rule in detail.
    let may_have = ingest_host::request::check_uri(uri).is_err();
    if has_credentials || may_have {
        return Some("the URI has credentials");
    }
    let characters = [
        ("delimiter", ","),
        ("quote", "\""),
        ("escape", "none"),
        ("comment", "none"),
    ];
    let characters = characters.map(|(name, default)| member(name, default));
    let given: Vec<_> = characters
        .iter()
        .filter(|character| **character != "none")
        .collect();
    if given.iter().collect::<BTreeSet<_>>().len() < given.len() {
        return Some("two characters are the same");
    }
    if document.get("trim") == Some(&Value::Bool(true)) && characters.contains(&" ") {
        return Some("a character is a space that is trimmed");
    }
    if characters[..2] == ["\"", "none"] {
        return Some("the delimiter is the quote of the output");
    }
    let label = member("encoding", "utf-8");
    let is_known = encoding_rs::Encoding::for_label_no_replacement(label.as_bytes()).is_some();
    let is_pythons = ["latin-1", "utf_8_sig"].contains(&label.to_ascii_lowercase().as_str());
    (!is_known && !is_pythons).then_some("the encoding is not known")
}

fn validator() -> Validator {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

/// Checks that a request has the values of its document.
#[track_caller]
fn assert_read(request: &NewRequest, document: &Value) {
    let document = &short_form(document);
    let number = |name: &str| document.get(name).map_or(0.0, |value| value.as_f64().unwrap());
    assert_eq!(document["uri"], request.uri);
    assert!(document.get("id").is_none_or(|id| *id == request.id));
    assert_eq!(f64::from(request.priority), number("priority"));
    assert_eq!(request.delay_ms as f64, number("delay_ms"));
    let input = serde_json::to_value(&request.input).unwrap();
    for name in ["skip_lines", "skip_footer"] {
        assert_eq!(
            input.get(name).map_or(0.0, |value| value.as_f64().unwrap()),
            number(name),
            "{name}"
        );
    }
    for name in [
        "format",
        "delimiter",
        "quote",
        "escape",
        "comment",
        "trim",
        "header",
        "dialect",
        "short_rows",
        "long_rows",
        "blank_rows",
        "duplicate_columns",
    ] {
        assert_eq!(input.get(name), document.get(name), "{name}");
    }
}

#[test]
fn the_parser_and_the_schema_agree() {
    let (validator, mut maker) = (validator(), Maker(Rng::with_seed(7)));
    let (mut valid, mut invalid, mut beyond) = (0, 0, BTreeMap::<_, usize>::new());
    let mut lists = 0;
    for _ in 0..CASES {
        let text = maker.document();
        // The host ignores a byte order mark at the start of the document.
        let unmarked = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let document = serde_json::from_str::<Value>(unmarked)
            .ok()
            .filter(|document| validator.is_valid(document));
        let rule = document
            .as_ref()
            .and_then(|document| beyond_the_schema(unmarked, document));
        match (NewRequest::parse(&text), document, rule) {
            (Ok(request), Some(document), None) => {
                assert_read(&request, &document);
                lists += usize::from(document.get("inputs").is_some());
                valid += 1;
            }
            (Err(_), None, _) => invalid += 1,
            (Err(_), Some(_), Some(rule)) => *beyond.entry(rule).or_default() += 1,
            (Ok(_), _, rule) => panic!("taken: {text}, schema says no, or {rule:?}"),
            (Err(error), ..) => panic!("refused: {text}: {}", error.report()),
        }
    }
    assert!(
        valid >= FLOOR && invalid >= FLOOR,
        "{valid} valid, {invalid} invalid"
    );
    assert!(lists >= FLOOR / 5, "{lists} valid with a list of inputs");
    assert_eq!(beyond.len(), 6, "{beyond:?}");
    assert!(beyond.values().all(|count| *count >= FLOOR_EACH), "{beyond:?}");
}

#[test]
fn the_schemas_own_examples_and_defaults_are_valid() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let examples = schema["examples"].as_array().unwrap();
    assert!(examples.len() >= 3);
    for example in examples {
        NewRequest::parse(&example.to_string()).unwrap();
    }
    let names = |properties: &Value| -> BTreeSet<String> {
        properties.as_object().unwrap().keys().cloned().collect()
    };
    let of_input = &schema["$defs"]["input"]["properties"];
    let is_own = |name: &&str| OWN.contains(name);
    let (own, input): (Vec<_>, Vec<_>) = MEMBERS.into_iter().partition(is_own);
    assert_eq!(names(of_input), input.iter().map(ToString::to_string).collect());
    let all = own.iter().chain(&input).chain(&["inputs"]);
    assert_eq!(
        names(&schema["properties"]),
        all.map(ToString::to_string).collect()
    );
    for name in input {
        let reference = serde_json::json!({ "$ref": format!("#/$defs/input/properties/{name}") });
        assert_eq!(schema["properties"][name], reference);
    }
    let bare = NewRequest::parse(r#"{"uri":"a"}"#).unwrap();
    let properties = schema["properties"].as_object().unwrap();
    for (name, property) in properties.iter().chain(of_input.as_object().unwrap()) {
        if let Some(default) = property.get("default") {
            let document = serde_json::json!({ "uri": "a", name: default });
            let given = NewRequest::parse(&document.to_string()).unwrap();
            assert_eq!(
                (given.priority, given.delay_ms),
                (bare.priority, bare.delay_ms),
                "{name}"
            );
            assert_eq!(
                given.input.syntax().unwrap(),
                bare.input.syntax().unwrap(),
                "{name}"
            );
            assert_eq!(given.input.row_rules(), bare.input.row_rules(), "{name}");
            assert_eq!(given.input.encoding().unwrap(), None, "{name}");
        }
    }
}

/// Checks that no pattern contains `$`. In some validators, `$` also matches before a final line end, so `a\n` would be
/// a valid `id`.
#[test]
fn no_pattern_of_the_schema_depends_on_where_a_text_ends() {
    fn patterns(schema: &Value, found: &mut Vec<String>) {
        match schema {
            Value::Object(members) => {
                found.extend(members.get("pattern").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|value| patterns(value, found));
            }
            Value::Array(elements) => elements.iter().for_each(|value| patterns(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    patterns(&serde_json::from_str(SCHEMA).unwrap(), &mut found);
    assert!(found.len() >= 5, "{found:?}");
    assert!(found.iter().all(|pattern| !pattern.contains('$')), "{found:?}");
}
