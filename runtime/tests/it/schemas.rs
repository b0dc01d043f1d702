//! Tests that documents match the schemas in `schemas/`. Every document that the program writes or prints must be
//! valid, and the schemas must have exactly the members that it can write. `request_schema.rs` tests the documents that
//! producers write.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ingest_host::admin::groups::RollUp;
use ingest_host::error::Code;
use ingest_host::format::Format;
use ingest_host::queue::{
    Binding, ListedBinding, Progress, State, Status, StatusDocument, Step, StepData, StoredReceipt,
};
use ingest_host::receipt::{
    AttemptPart, ColumnQuality, Example, Inferred, InputPart, OutputPart, PluginPart, QualityPart, Receipt,
    RecordCounts, RejectsPart, Report, RequestPart, ResumedFrom, StepPart, SyntaxPart,
};
use ingest_host::record::{Origin, Position};
use ingest_host::request::{InputOptions, Replay};
use jsonschema::{Retrieve, Uri, Validator};
use serde_json::{Value, json};

use crate::support::host::Host;
use crate::support::wat::HandWrittenPlugin;
use crate::upgrade::fixtures;

macro_rules! schemas {
    ($($name:literal)+) => {
        [$(($name, include_str!(concat!("../../../schemas/", $name)))),+]
    };
}

const SCHEMAS: [(&str, &str); 7] = schemas!(
    "receipt.schema.json" "report.schema.json" "status.schema.json" "dead-letter.schema.json" "binding.schema.json"
    "request.schema.json" "group.schema.json"
);

fn schema(name: &str) -> Value {
    let found = SCHEMAS.iter().find(|(known, _)| *known == name);
    serde_json::from_str(found.expect(name).1).unwrap()
}

/// Loads the schemas that another schema refers to.
struct Files;

impl Retrieve for Files {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        let name = uri.as_str().rsplit('/').next().unwrap_or_default();
        Ok(schema(name))
    }
}

fn validator(name: &str) -> Validator {
    let schema = schema(name);
    jsonschema::meta::validate(&schema).unwrap();
    jsonschema::options()
        .with_retriever(Files)
        .build(&schema)
        .unwrap()
}

#[track_caller]
fn assert_valid(schema: &str, document: &Value) {
    let validator = validator(schema);
    let errors: Vec<_> = validator
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{schema}: {errors:#?}\n{document:#}");
}

/// A position in a schema: the file, and the JSON pointer within the file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place(String, String);

impl Place {
    fn root(file: &str) -> Self {
        Self(file.to_owned(), String::new())
    }

    fn below(&self, more: &str) -> Self {
        Self(self.0.clone(), format!("{}/{more}", self.1))
    }

    fn node(&self) -> Value {
        schema(&self.0).pointer(&self.1).expect(&self.1).clone()
    }

    fn target(&self, reference: &str) -> Self {
        let (file, pointer) = reference.split_once('#').unwrap_or((reference, ""));
        let file = if file.is_empty() { &self.0 } else { file };
        Self(file.to_owned(), pointer.to_owned())
    }
}

/// The positions in a schema that describe the members and elements of a value.
#[derive(Default)]
struct Shape {
    members: BTreeMap<String, Place>,
    others: Option<Place>,
    elements: Option<Place>,
}

impl Shape {
    /// Adds the members and elements that the schema at `place` allows for `value`.
    fn add(&mut self, place: &Place, value: &Value) {
        let node = place.node();
        if let Some(reference) = node["$ref"].as_str() {
            self.add(&place.target(reference), value);
        }
        for list in ["allOf", "anyOf"] {
            for index in 0..node[list].as_array().map_or(0, Vec::len) {
                self.add(&place.below(&format!("{list}/{index}")), value);
            }
        }
        if let Some(condition) = node.get("if") {
            let branch = match jsonschema::is_valid(condition, value) {
                true => "then",
                false => "else",
            };
            self.add(&place.below(branch), value);
        }
        for name in node["properties"]
            .as_object()
            .into_iter()
            .flat_map(|all| all.keys())
        {
            self.members
                .insert(name.clone(), place.below(&format!("properties/{name}")));
        }
        if node.get("additionalProperties").is_some() {
            self.others = Some(place.below("additionalProperties"));
        }
        if node.get("items").is_some() {
            self.elements = Some(place.below("items"));
        }
    }
}

/// Adds the members of a document to `seen`, as positions in its schema. Panics if the schema lacks one of these
/// members.
fn note_members(place: &Place, value: &Value, seen: &mut BTreeSet<Place>) {
    let mut shape = Shape::default();
    shape.add(place, value);
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match (shape.members.get(name), &shape.others) {
                    (Some(place), _) => {
                        seen.insert(place.clone());
                        note_members(place, member, seen);
                    }
                    (None, Some(others)) => note_members(others, member, seen),
                    (None, None) => panic!("{place:?} has no member {name}"),
                }
            }
        }
        Value::Array(elements) => {
            let place = shape.elements.expect("the schema has elements");
            elements
                .iter()
                .for_each(|element| note_members(&place, element, seen));
        }
        _ => {}
    }
}

/// Collects the positions of all members in a schema.
fn all_members(place: &Place, node: &Value, found: &mut BTreeSet<Place>) {
    let Some(keywords) = node.as_object() else { return };
    for (keyword, value) in keywords {
        let below = place.below(keyword);
        match keyword.as_str() {
            "properties" => {
                for (name, property) in value.as_object().unwrap() {
                    let place = below.below(name);
                    all_members(&place, property, found);
                    found.insert(place);
                }
            }
            "$defs" => {
                for (name, definition) in value.as_object().unwrap() {
                    all_members(&below.below(name), definition, found);
                }
            }
            "items" | "additionalProperties" | "then" | "else" => all_members(&below, value, found),
            "allOf" | "anyOf" => {
                for (index, branch) in value.as_array().unwrap().iter().enumerate() {
                    all_members(&below.below(&index.to_string()), branch, found);
                }
            }
            _ => {}
        }
    }
}

fn replay() -> Replay {
    Replay {
        parent: "b".into(),
        number: 2,
        codes: vec!["bad".into()],
    }
}

fn receipt() -> Receipt {
    let digest = "0a".repeat(32);
    let count = RecordCounts {
        read: 15,
        kept: 1,
        edited: 2,
        replaced: 3,
        dropped: 4,
        rejected: 5,
        written: 6,
    };
    let example = Example {
        position: Position {
            record: 1,
            line: 2,
            offset: 3,
        },
        reason: "no".into(),
    };
    Receipt {
        host: "0.2.0".into(),
        request: RequestPart {
            id: "a".into(),
            queue: Some("q".into()),
            uri: "file:///a.csv".into(),
            submitted_at: "2026-01-01T00:00:00Z".into(),
            parent: Some("b".into()),
            group: Some("c".into()),
            submitted_input: Some(InputOptions::default()),
            replay: Some(replay()),
        },
        attempt: AttemptPart {
            number: 2,
            fence: 3,
            worker: "w".into(),
            started_at: "2026-01-01T00:00:00Z".into(),
            finished_at: "2026-01-01T00:00:01.5Z".into(),
            resumed_from: Some(ResumedFrom { record: 1, offset: 2 }),
        },
        inputs: vec![InputPart {
            uri: "file:///a.csv".into(),
            bytes: 1,
            sha256: digest.clone(),
            etag: Some("\"x\"".into()),
            format: Format::Csv.name().into(),
            columns: vec!["n".into()],
            options: Some(InputOptions::default()),
            syntax: Some(SyntaxPart {
                delimiter: ';',
                quote: '"',
            }),
        }],
        steps: vec![StepPart {
            plugin: PluginPart {
                name: "clean".into(),
                version: "1.0.0".into(),
                sha256: digest.clone(),
                interface: "ingest:plugin@0.1.0".into(),
            },
            config_sha256: digest.clone(),
            data: [("stations".to_owned(), digest.clone())].into(),
            origin: Some(Origin::of(Some("a"), "file:///a.csv")),
        }],
        binding: Some(4),
        records: count,
        outputs: vec![OutputPart {
            uri: "file:///out/a.csv".into(),
            format: Format::Jsonl.name().into(),
            records: 6,
            bytes: 7,
            sha256: digest.clone(),
        }],
        rejects: RejectsPart {
            uri: Some("file:///out/_ingest/rejects/a.rejects.csv".into()),
            records: 5,
            bytes: 6,
            sha256: Some(digest),
            by_code: [("bad".to_owned(), 5)].into(),
            examples: [("bad".to_owned(), vec![example])].into(),
        },
        counters: [("fixed".to_owned(), 1)].into(),
        quality: Some(QualityPart {
            records: 6,
            columns: vec![ColumnQuality {
                name: "n".into(),
                inferred: Some(Inferred::Integer),
                filled: 6,
                distinct: 2,
                min: Some("1".into()),
                max: Some("2".into()),
                min_length: Some(1),
                max_length: Some(1),
            }],
        }),
    }
}

fn status() -> Status {
    Status {
        id: "a".into(),
        queue: "q".into(),
        uri: "file:///a.csv".into(),
        input: json!({ "trim": true }).as_object().unwrap().clone(),
        submitted_input: json!({ "trim": false }).as_object().cloned(),
        replay: Some(replay()),
        state: State::Dead,
        attempts: 1,
        lost: 2,
        due_ms: Some(3),
        error: Some("no".into()),
        code: Some(Code::PluginFailed.to_string()),
        report: Some("file:///out/_ingest/quarantine/a.json".into()),
        lease_ends_ms: Some(4),
        progress: Some(Progress {
            bytes: 5,
            records: 6,
            rejects: 7,
            checkpoint: 0,
        }),
        ending: Some("ending".into()),
        output: Some("file:///out".into()),
        note: Some("gone".into()),
        receipt: Some(StoredReceipt::Readable(receipt().into())),
        group: Some("g".into()),
    }
}

fn sum() -> RollUp {
    let mut sum = RollUp::of("q", Some("g"));
    for state in State::ALL {
        sum.add(&Status { state, ..status() });
    }
    assert_eq!((sum.submitted, sum.waiting, sum.running, sum.done), (6, 2, 1, 1));
    assert_eq!((sum.dead, sum.cancelled, sum.errors.len()), (1, 1, 1));
    assert_eq!(
        (sum.records.read, sum.records.written, sum.records.rejected),
        (15, 6, 5)
    );
    assert_eq!((sum.bytes.read, sum.bytes.written), (1, 7));
    sum
}

fn binding() -> Binding {
    Binding {
        number: 2,
        steps: vec![Step {
            sha256: "0a".repeat(32),
            name: "clean".into(),
            version: "1.0.0".into(),
            config: "{}".into(),
            data: [(
                "stations".to_owned(),
                StepData {
                    sha256: "0b".repeat(32),
                    bytes: 3,
                    uri: "stations.csv".into(),
                },
            )]
            .into(),
        }],
        limits: [("memory".to_owned(), "64MiB".to_owned())].into(),
        gate: serde_json::from_value(json!(["0.5%"])).unwrap(),
        input: serde_json::from_value(json!({ "trim": true })).unwrap(),
        bound_ms: 1,
        rollback_of: Some(1),
    }
}

/// Returns one document for each schema, with every member that the program can write.
fn whole_documents() -> Vec<(&'static str, Value)> {
    let report = Report {
        refused: Some("too many rejects".into()),
        code: Some(Code::GateExceeded.to_string()),
        receipt: receipt(),
    };
    let status = status();
    let status = serde_json::to_value(StatusDocument::from(&status)).unwrap();
    // This document has the members that `dead list` prints for an invalid document. The test
    // `what_the_program_writes_is_valid` checks documents that the program has printed.
    let document = json!({
        "queue": "q", "name": "document:1", "document": "x", "error": "no", "code": Code::RequestInvalid,
        "report": null, "at_ms": 1,
    });
    vec![
        ("receipt.schema.json", serde_json::to_value(receipt()).unwrap()),
        ("report.schema.json", serde_json::to_value(report).unwrap()),
        ("status.schema.json", status.clone()),
        ("dead-letter.schema.json", status),
        ("dead-letter.schema.json", document),
        ("group.schema.json", serde_json::to_value(sum()).unwrap()),
        (
            "binding.schema.json",
            serde_json::to_value(ListedBinding::Readable(binding().into())).unwrap(),
        ),
    ]
}

#[test]
fn the_schemas_have_exactly_the_members_that_are_written() {
    let (mut seen, mut all) = (BTreeSet::new(), BTreeSet::new());
    for (name, document) in whole_documents() {
        assert_valid(name, &document);
        note_members(&Place::root(name), &document, &mut seen);
        all_members(&Place::root(name), &schema(name), &mut all);
    }
    let unwritten: Vec<_> = all.difference(&seen).collect();
    assert!(unwritten.is_empty(), "no document has {unwritten:#?}");
    assert!(all.len() > 100, "{}", all.len());
}

#[test]
fn each_member_has_a_description() {
    let mut all = BTreeSet::new();
    for (name, _) in SCHEMAS {
        assert!(schema(name)["title"].is_string() && schema(name)["description"].is_string());
        all_members(&Place::root(name), &schema(name), &mut all);
    }
    for place in all {
        let mut node = place.node();
        if node.get("description").is_none() {
            node = place.target(node["$ref"].as_str().expect("a description")).node();
        }
        let description = node["description"].as_str().unwrap_or_default();
        assert!(description.ends_with('.'), "{place:?}: {description:?}");
    }
}

#[test]
fn a_receipt_of_version_1_needs_no_lists_and_one_of_version_2_no_short_forms() {
    let validator = validator("receipt.schema.json");
    let whole = serde_json::to_value(receipt()).unwrap();
    for (version, needed, ignored) in [
        (
            1,
            ["input", "plugin", "config_sha256"].as_slice(),
            ["inputs", "steps"].as_slice(),
        ),
        (2, &["inputs", "steps"], &["input", "plugin", "config_sha256"]),
    ] {
        let mut document = whole.clone();
        document["receipt"] = version.into();
        let members = document.as_object_mut().unwrap();
        ignored.iter().for_each(|name| drop(members.remove(*name)));
        assert!(validator.is_valid(&document));
        let read = |document: &Value| Receipt::read(document.to_string().as_bytes());
        let mut expected = receipt();
        if version == 1 {
            // The short forms have neither reference data nor an origin, because version 0.1.0 knows none.
            (expected.steps[0].data, expected.steps[0].origin) = Default::default();
        }
        assert_eq!(read(&document).unwrap(), expected);
        for name in needed {
            let mut lacking = document.clone();
            lacking.as_object_mut().unwrap().remove(*name);
            assert!(!validator.is_valid(&lacking), "{name}");
            assert!(read(&lacking).is_err(), "{name}");
        }
    }
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn documents_in(folder: &Path) -> Vec<Value> {
    let files = std::fs::read_dir(folder).unwrap();
    let documents: Vec<_> = files
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| read(&path))
        .collect();
    assert!(!documents.is_empty(), "{}", folder.display());
    documents
}

#[test]
fn documents_of_0_1_0_are_valid() {
    for backend in ["sqlite", "redis"] {
        let out = fixtures(backend).join("out");
        for receipts in ["receipts", "q/receipts"] {
            for receipt in documents_in(&out.join(receipts)) {
                assert_eq!(receipt["receipt"], 1);
                assert_valid("receipt.schema.json", &receipt);
            }
        }
        for report in documents_in(&out.join("rejects/q/.quarantine")) {
            assert_valid("report.schema.json", &report);
        }
    }
}

fn what_the_program_writes_is_valid(host: &Host) {
    let plugin = HandWrittenPlugin::answering(&[0, 0, 0], &[], &[]).component();
    host.write("plugin.wasm", plugin);
    host.write("a.csv", "n\n1\n2\n3\n");
    host.write("b.csv", "n\n1\n2\n3\n4,5\n");
    host.run("plugin push plugin.wasm").ok();
    host.run("plugin bind --queue q hand-written@0.1.0").ok();
    host.run("plugin bind --queue q hand-written@0.1.0 --max-rejects 10 --trim --limit memory=64MiB")
        .ok();
    host.run("plugin rollback --queue q").ok();
    let bindings = host.run("plugin history --queue q --json").json();
    assert_eq!(bindings.len(), 3);
    bindings
        .iter()
        .for_each(|binding| assert_valid("binding.schema.json", binding));
    let queue = &host.run("queue list --json").json()[0];
    assert_eq!(queue["steps"], bindings[0]["steps"]);

    for submit in [
        "a --uri a.csv --group g",
        "b --uri b.csv --trim",
        "gone --group g --uri gone.csv --no-check",
        "left --uri a.csv",
    ] {
        host.run(&format!("submit --queue q --id {submit}")).ok();
    }
    host.run("cancel left").ok();
    host.push(r#"{"inputs":[{"uri":"a.csv"},{"uri":"b.csv"}]}"#);
    host.push(r#"{"id":"a","uri":"b.csv"}"#);
    host.push(r#"{"id":"late","uri":"a.csv","delay_ms":3600000}"#);
    let worker = host.worker("--queue q --profile --allow-root .");
    for (id, state) in [
        ("a", "done"),
        ("b", "done"),
        ("gone", "dead"),
        ("late", "delayed"),
    ] {
        host.wait_for_state(id, state);
    }
    worker.stop();
    host.run("submit --queue q --id refused --uri b.csv").ok();
    let worker = host.worker("--queue q --max-rejects 0 --allow-root .");
    host.wait_for_state("refused", "dead");
    worker.stop();

    let requests = host.run("requests --queue q --json").json();
    assert_eq!(requests.len(), 6, "{requests:#?}");
    for status in &requests {
        assert_valid("status.schema.json", status);
        let id = status["id"].as_str().unwrap();
        assert_eq!(&host.status(id), status);
        assert_eq!(status["inputs"][0]["uri"], status["uri"]);
    }
    for receipt in documents_in(&host.path("out/_ingest/q/receipts")) {
        assert_valid("receipt.schema.json", &receipt);
        let id = receipt["request"]["id"].as_str().unwrap();
        assert_eq!(host.status(id)["receipt"], receipt);
        assert_eq!(host.run(&format!("report {id} --json")).json()[0], receipt);
        let submitted = host.run(&format!(
            "submit --queue q --id {id} --uri {id}.csv {} --wait --json",
            if id == "b" { "--trim" } else { "" }
        ));
        assert_eq!(submitted.json()[0], receipt);
    }
    let reports = documents_in(&host.path("out/_ingest/q/quarantine"));
    assert_valid("report.schema.json", &reports[0]);
    assert_eq!(host.run("report refused --json").json(), reports);

    let sum = &host.run("status --group g --json").json()[0];
    assert_valid("group.schema.json", sum);
    assert_eq!((&sum["done"], &sum["dead"]), (&json!(1), &json!(1)), "{sum}");
    assert_eq!(host.status("a")["group"], "g");
    assert_eq!(host.status("a")["receipt"]["request"]["group"], "g");

    let letters = host.run("dead list --queue q --json").json();
    let codes: Vec<_> = letters
        .iter()
        .map(|letter| letter["code"].as_str().unwrap())
        .collect();
    let wanted = [
        "gate-exceeded",
        "input-missing",
        "request-conflict",
        "request-invalid",
    ];
    assert_eq!(codes, wanted, "{letters:#?}");
    for letter in &letters {
        assert_valid("dead-letter.schema.json", letter);
        assert!(letter.get("report").is_some());
    }
    assert!(letters[0]["report"].is_string());
    let ingested = host.run("ingest a.csv --plugin plugin.wasm --json").json();
    assert_valid("receipt.schema.json", &ingested[0]);
}

on_both_queues! { what_the_program_writes_is_valid }
