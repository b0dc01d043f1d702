//! Tests attempts that end early at any point, by a lost lease or a broken connection, and the attempts that follow.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use fastrand::Rng;
use ingest_host::error::Class;
use ingest_host::format::Format;
use ingest_host::pipeline::ProgressCounters;
use ingest_host::request::{BlankRows, Character, DialectFrom, InputOptions, LongRows, ShortRows};
use ingest_host::stop::Stop;

use ingest_host::receipt::Receipt;

use super::fixture::{
    AttemptOutcome, AttemptSettings, BATCH_BYTES, CheckpointFixture, alarms, range_of, shown, undisturbed,
};
use crate::support::inputs::digest;
use crate::support::inputs::scripted_server::answer;
use crate::support::inputs::served_file::{Action, ServedFile};

const A: Option<&str> = Some("\"a\"");

/// Returns random CSV or JSONL that contains every kind of record, and the settings for it.
fn random_input(random: &mut Rng) -> (Vec<u8>, AttemptSettings) {
    let mut settings = AttemptSettings::of("clean");
    // The text is longer than the part by which the decoder detects the dialect.
    let lines = random.usize(3_000..9_000);
    let mut text = Vec::new();
    if random.bool() {
        settings.options.format = Some(Format::Csv);
        settings.output_format = [None, Some(Format::Jsonl)][random.usize(..2)];
        settings.config = r#"{"columns": {"a": {"trim": true, "null": ["x"], "pattern": "^[^7]*$"}, "k": {"constant": "c"}}}"#;
        text.extend_from_slice(b"\xef\xbb\xbf");
        let has_options = random.bool();
        if has_options {
            text.extend_from_slice(b"a \"title\n\n");
            settings.options = options_of_all_kinds(random);
        }
        text.extend_from_slice(b"a,b\r\n");
        let is_told = random.bool();
        for line in 0..lines {
            let row = match random.usize(..8) {
                0 => format!("\" {line}\n\",\"\"\"é\"\r\n"),
                3 if has_options && !is_told => (*random
                    .choice(&["# \"\n", "\\,\\\n, \\\"\n", " \"x\\\"\n\" ,2,,\n", ",,\n"])
                    .unwrap())
                .to_owned(),
                // The dialect is detected only if nine in ten records have the same number of fields.
                1 if !is_told => format!("{line}\n"),
                2 => "\n".to_owned(),
                3 => format!("x,{}\n", "long ".repeat(random.usize(..200))),
                _ => format!("{line}, b\n"),
            };
            text.extend_from_slice(row.as_bytes());
        }
        if is_told {
            settings.options.dialect = Some(DialectFrom::Auto);
            text.iter_mut()
                .filter(|byte| **byte == b',')
                .for_each(|byte| *byte = b';');
        }
    } else {
        settings.options.format = Some(Format::Jsonl);
        settings.output_format = [None, Some(Format::Csv)][random.usize(..2)];
        settings.config = r#"{"columns": {"a": {"null": ["x"], "pattern": "^[^7]*$"}}}"#;
        for line in 0..lines {
            let row = match random.usize(..8) {
                0 => "not json\n".to_owned(),
                1 => "\n".to_owned(),
                2 => format!("{{\"b\":\"{}\"}}\r\n", "long ".repeat(random.usize(..200))),
                3 => "{\"a\":\"x\"}\n".to_owned(),
                _ => format!("{{\"a\":{line},\"b\":\"\\u00e9\"}}\n"),
            };
            text.extend_from_slice(row.as_bytes());
        }
    }
    (text, settings)
}

/// Returns options that make the decoder rewrite each record. The last 0 to 3 lines are a footer.
fn options_of_all_kinds(random: &mut Rng) -> InputOptions {
    InputOptions {
        format: Some(Format::Csv),
        escape: Some(Character::Is('\\')),
        comment: Some(Character::Is('#')),
        trim: Some(true),
        skip_lines: Some(2),
        skip_footer: Some(random.u32(..4)),
        short_rows: Some(ShortRows::Fill),
        long_rows: Some(LongRows::TrailingEmpty),
        blank_rows: Some(BlankRows::Drop),
        ..InputOptions::default()
    }
}

/// Makes the attempt lose its lease after it has read `bytes` bytes of input.
pub(crate) fn lose_after(settings: &mut AttemptSettings, bytes: u64) {
    (settings.progress, settings.stop) = (Arc::default(), Stop::default());
    let (progress, stop) = (Arc::clone(&settings.progress), settings.stop.clone());
    std::thread::spawn(move || {
        // When the attempt has ended and the settings have other counters, only this reference is left.
        while progress.bytes.load(Ordering::Relaxed) < bytes && Arc::strong_count(&progress) > 1 {
            std::thread::yield_now();
        }
        stop.request(Class::LeaseLost, "the lease is lost");
    });
}

/// Runs attempts with different numbers of lanes until one commits. The earlier attempts end early: for a local file
/// (`is_file`), they lose their lease at a random point; for HTTP, the server cuts the connection.
fn attempts_at(
    fixture: &CheckpointFixture,
    uri: &str,
    settings: &mut AttemptSettings,
    random: &mut Rng,
    length: usize,
    is_file: bool,
) -> Receipt {
    for number in 1..20 {
        (settings.progress, settings.stop) = (Arc::default(), Stop::default());
        settings.lanes = random.usize(1..4);
        if is_file && number < 5 {
            lose_after(settings, random.u64(..length as u64));
        }
        match fixture.attempt(uri, settings) {
            Ok(receipt) => return receipt,
            Err(error) => {
                let is_lost = matches!(error.class(), Class::Transient | Class::LeaseLost);
                assert!(is_lost, "{}", error.report());
            }
        }
    }
    panic!("it never ends");
}

#[test]
fn whatever_the_input_and_wherever_its_attempts_are_lost_the_output_is_the_same() {
    let seed = 20_171_024;
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let mut resumed = [0, 0];
    for round in 0..30 {
        let (bytes, mut settings) = random_input(&mut random);
        let expected = undisturbed(&bytes, &settings);
        let (fixture, is_file) = (CheckpointFixture::new(), round % 2 == 0);
        let cuts = (0..random.usize(1..5)).map(|_| Action::Cut(random.usize(..bytes.len())));
        let server = ServedFile::new(bytes.clone(), A).serve(cuts.collect());
        let uri = match is_file {
            true => {
                let path = fixture.folder.path().join("a.csv");
                std::fs::write(&path, &bytes).unwrap();
                path.to_str().unwrap().to_owned()
            }
            false => server.uri(),
        };
        let receipt = attempts_at(&fixture, &uri, &mut settings, &mut random, bytes.len(), is_file);
        assert_eq!(AttemptOutcome::of(&receipt), expected, "round {round}");
        assert_eq!(receipt.inputs[0].sha256, digest(&bytes).sha256);
        fixture.is_tidy();
        resumed[usize::from(is_file)] += u32::from(receipt.attempt.resumed_from.is_some());
    }
    println!("resumed: {resumed:?} of 15 each");
    assert!(resumed.iter().all(|&count| count >= 6), "{resumed:?}");
}

#[test]
fn the_rest_is_asked_for_and_no_more_and_progress_starts_there() {
    let (bytes, mut settings) = (alarms(1), AttemptSettings::of("alarms"));
    let expected = undisturbed(&bytes, &settings);
    let fixture = CheckpointFixture::new();
    let cuts = vec![Action::Cut(bytes.len() / 2), Action::Cut(5 * BATCH_BYTES)];
    let server = ServedFile::new(bytes.clone(), A).serve(cuts);
    let error = fixture.attempt(&server.uri(), &settings).unwrap_err();
    assert_eq!(error.class(), Class::Transient, "{}", error.report());
    let first = shown(&settings);
    settings.progress = Arc::new(ProgressCounters::default());
    fixture.attempt(&server.uri(), &settings).unwrap_err();
    let second = shown(&settings);
    let receipt = fixture.attempt(&server.uri(), &settings).unwrap();
    assert_eq!(AttemptOutcome::of(&receipt), expected);

    let from = receipt.attempt.resumed_from.unwrap();
    let asked = server.requests();
    let ranges: Vec<Option<u64>> = asked.iter().map(|head| range_of(head)).collect();
    let [None, Some(second_from), Some(third_from)] = ranges[..] else {
        panic!("{asked:?}")
    };
    assert!(asked[1].contains("\nif-range: \"a\""), "{asked:?}");
    // The resumed attempt does not request the bytes before the checkpoint again. The first attempt could have read
    // part of a record beyond the checkpoint.
    assert!(
        (1..=first + BATCH_BYTES as u64).contains(&second_from),
        "{ranges:?}"
    );
    assert!(
        second >= second_from - 1_000,
        "{second} shown, from {second_from}"
    );
    assert!(
        second_from < third_from && third_from <= second + BATCH_BYTES as u64,
        "{ranges:?}"
    );
    assert!(
        (from.offset..from.offset + 1_000).contains(&third_from),
        "{from:?}"
    );
    let (head, lines) = (&bytes[..from.offset as usize], from.record);
    assert_eq!(head.iter().filter(|&&byte| byte == b'\n').count() as u64, lines);
    fixture.is_tidy();
}

#[test]
fn an_attempt_that_comes_no_further_than_the_one_before_has_none_like_it() {
    let (bytes, mut settings) = (alarms(2), AttemptSettings::of("alarms"));
    let expected = undisturbed(&bytes, &settings);
    let fixture = CheckpointFixture::new();
    let cuts = vec![Action::Cut(bytes.len() / 2), Action::Cut(10), Action::Serve];
    let server = ServedFile::new(bytes, A).serve(cuts);
    fixture.attempt(&server.uri(), &settings).unwrap_err();
    assert_eq!(fixture.staged(".checkpoint").len(), 1);
    settings.progress = Arc::default();
    fixture.attempt(&server.uri(), &settings).unwrap_err();
    // The progress includes the bytes before the checkpoint.
    assert!(shown(&settings) > BATCH_BYTES as u64 / 2);
    fixture.is_tidy();
    let receipt = fixture.attempt(&server.uri(), &settings).unwrap();
    let ranges: Vec<_> = server
        .requests()
        .iter()
        .map(|head| range_of(head).is_some())
        .collect();
    assert_eq!(ranges, [false, true, false]);
    assert_eq!(receipt.attempt.resumed_from, None);
    assert_eq!(AttemptOutcome::of(&receipt), expected);
}

#[test]
fn a_server_that_is_away_for_a_while_costs_nothing() {
    let (bytes, settings) = (alarms(3), AttemptSettings::of("alarms"));
    let fixture = CheckpointFixture::new();
    let away = || Action::Send(answer("503 Service Unavailable", "", b""));
    let actions = vec![Action::Cut(bytes.len() / 2), away(), away(), Action::Serve];
    let server = ServedFile::new(bytes.clone(), A).serve(actions);
    fixture.attempt(&server.uri(), &settings).unwrap_err();
    // The server now answers with 503, both for the rest and for the whole file.
    let error = fixture.attempt(&server.uri(), &settings).unwrap_err();
    assert!(error.report().contains("503"), "{}", error.report());
    let receipt = fixture.attempt(&server.uri(), &settings).unwrap();
    assert!(receipt.attempt.resumed_from.is_some());
    assert_eq!(AttemptOutcome::of(&receipt), undisturbed(&bytes, &settings));
    assert_eq!(server.requests().len(), 4);
    fixture.is_tidy();
}

#[test]
fn the_digest_of_the_whole_is_checked_also_where_only_the_rest_came() {
    let bytes = alarms(4);
    let right = digest(&bytes).sha256;
    let attempts = |sha256: &str, header: &str| {
        let mut settings = AttemptSettings::of("alarms");
        settings.options.sha256 = Some(sha256.to_owned());
        let fixture = CheckpointFixture::new();
        let server = ServedFile::new(bytes.clone(), A)
            .with(header)
            .serve(vec![Action::Cut(bytes.len() / 2)]);
        fixture.attempt(&server.uri(), &settings).unwrap_err();
        let result = fixture.attempt(&server.uri(), &settings);
        fixture.is_tidy();
        assert!(range_of(&server.requests()[1]).is_some());
        result
    };
    let receipt = attempts(&right, "X-Other: 1").unwrap();
    assert!(receipt.attempt.resumed_from.is_some());
    let error = attempts(&"00".repeat(32), "X-Other: 1").unwrap_err();
    assert_eq!(error.class(), Class::Permanent);
    assert!(
        error.report().contains(&format!("has the SHA-256 {right}")),
        "{}",
        error.report()
    );
    // Together with the first half, the server announced the digest of other content.
    let other = "Repr-Digest: sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";
    let error = attempts(&right, other).unwrap_err();
    assert_eq!(error.class(), Class::Transient);
    assert!(
        error.report().contains("damaged on its way"),
        "{}",
        error.report()
    );
}

#[test]
fn what_a_plugin_counted_before_a_checkpoint_counts_once() {
    let bytes = alarms(7);
    for lanes in 1..4 {
        let mut settings = AttemptSettings::of("by_hand");
        (settings.config, settings.lanes) = (r#"{"count":true}"#, lanes);
        let expected = undisturbed(&bytes, &settings);
        let fixture = CheckpointFixture::new();
        let cuts = vec![Action::Cut(bytes.len() / 3), Action::Cut(bytes.len() / 3)];
        let server = ServedFile::new(bytes.clone(), A).serve(cuts);
        fixture.attempt(&server.uri(), &settings).unwrap_err();
        fixture.attempt(&server.uri(), &settings).unwrap_err();
        let receipt = fixture.attempt(&server.uri(), &settings).unwrap();
        assert!(receipt.attempt.resumed_from.is_some());
        assert_eq!(AttemptOutcome::of(&receipt), expected);
        // Ragged records are not given to the plugin.
        let ragged = receipt.rejects.by_code["ragged-row"];
        assert_eq!(receipt.counters["rows"], receipt.records.read - ragged);
        assert_eq!((receipt.counters["opened"], receipt.counters["finished"]), (1, 1));
    }
}
