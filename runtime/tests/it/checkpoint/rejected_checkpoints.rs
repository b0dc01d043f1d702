//! Tests that the next attempt starts over if the checkpoint is damaged, or if the input, the plugin or a setting on
//! which the result depends has changed. The attempt must still commit the right output.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ingest_host::config::Limits;
use ingest_host::error::{Code, Error};
use ingest_host::format::Format;
use ingest_host::gate::Gate;
use ingest_host::pipeline::Job;
use ingest_host::plugin::{Plugin, ReferenceData};
use ingest_host::receipt::Receipt;
use jiff::Timestamp;
use serde_json::Value;

use super::fixture::{
    AttemptOutcome, AttemptSettings, BATCH_BYTES, CheckpointFixture, alarms, limits, range_of, undisturbed,
};
use crate::support::inputs::scripted_server::{ScriptedServer, answer};
use crate::support::inputs::served_file::{Action, CustomAnswer, Framing, ServedFile};
use crate::support::inputs::{digest, gzip};
use crate::support::pipeline::plugin;

const A: Option<&str> = Some("\"a\"");

/// A request whose first attempt was lost halfway through its input.
struct LostAttempt {
    fixture: CheckpointFixture,
    server: ScriptedServer,
    bytes: Vec<u8>,
    settings: AttemptSettings,
}

impl LostAttempt {
    fn new(actions: Vec<Action>) -> Self {
        Self::of(
            |bytes| ServedFile::new(bytes, A),
            actions,
            AttemptSettings::of("alarms"),
        )
    }

    /// Runs an attempt that is lost halfway through the file that `file` serves. The server answers the first request
    /// with half of the file, and the next requests with `actions`.
    fn of(file: impl FnOnce(Vec<u8>) -> ServedFile, actions: Vec<Action>, settings: AttemptSettings) -> Self {
        let bytes = alarms(5);
        let file = file(bytes.clone());
        let mut all = vec![Action::Cut(file.bytes.len() / 2)];
        all.extend(actions);
        let lost = Self {
            fixture: CheckpointFixture::new(),
            server: file.serve(all),
            bytes,
            settings,
        };
        lost.fixture
            .attempt(&lost.server.uri(), &lost.settings)
            .unwrap_err();
        lost
    }

    fn has_checkpoint(self) -> Self {
        self.fixture.staged_one(".checkpoint");
        self
    }

    /// Runs the next attempt, after `change` has edited its job.
    #[track_caller]
    fn attempt_changed(&self, change: impl FnOnce(&mut Job)) -> Receipt {
        self.try_attempt_changed(change).unwrap()
    }

    fn try_attempt_changed(&self, change: impl FnOnce(&mut Job)) -> Result<Receipt, Error> {
        self.fixture
            .attempt_changed(&self.server.uri(), &self.settings, limits(), change)
    }

    /// Checks that the next attempt starts at offset 0 and has the expected outcome.
    #[track_caller]
    fn starts_over(&self, expected: &AttemptOutcome) {
        let receipt = self.fixture.attempt(&self.server.uri(), &self.settings).unwrap();
        assert_eq!(receipt.attempt.resumed_from, None);
        assert_eq!(&AttemptOutcome::of(&receipt), expected);
        let asked = self.server.requests();
        assert_eq!(range_of(asked.last().unwrap()), None, "{asked:?}");
        self.fixture.is_tidy();
    }

    /// Checks that the next attempt starts over and has the outcome of an undisturbed run.
    #[track_caller]
    fn starts_over_and_gives_the_same(&self) {
        self.starts_over(&undisturbed(&self.bytes, &self.settings));
    }
}

#[test]
fn a_file_that_has_changed_is_read_from_its_beginning() {
    let other = alarms(6);
    let file = ServedFile::new(other.clone(), Some("\"b\""));
    let actions = vec![Action::ServeOther(file.clone()), Action::ServeOther(file)];
    let lost = LostAttempt::new(actions).has_checkpoint();
    lost.starts_over(&undisturbed(&other, &lost.settings));
    let asked: Vec<_> = lost
        .server
        .requests()
        .iter()
        .map(|head| range_of(head).is_some())
        .collect();
    assert_eq!(asked, [false, true, false]);
}

/// Returns a 206 response with these headers. The body is `bytes` from `first` to the end.
fn part(headers: &str, first: usize, total: usize, bytes: &[u8]) -> Vec<u8> {
    let headers = format!("{headers}Content-Range: bytes {first}-{}/{total}\r\n", total - 1);
    answer("206 Partial Content", &headers, &bytes[first..])
}

#[test]
fn no_answer_to_the_range_that_leaves_a_doubt_is_taken() {
    const TAG: &str = "ETag: \"a\"\r\n";
    let lies: [CustomAnswer; 9] = [
        // The answer is the whole file, with the same ETag.
        |bytes, _| answer("200 OK", TAG, bytes),
        |bytes, from| part("", from, bytes.len(), bytes),
        |bytes, from| part("ETag: \"b\"\r\n", from, bytes.len(), bytes),
        |bytes, from| part(TAG, from - 1, bytes.len(), bytes),
        |bytes, from| part(TAG, from, bytes.len() + 1, &[bytes, b"\n"].concat()),
        |bytes, from| answer("206 Partial Content", TAG, &bytes[from..]),
        |_, _| answer("416 Range Not Satisfiable", TAG, b""),
        |_, _| answer("403 Forbidden", "", b""),
        |_, _| answer("500 Internal ScriptedServer Error", "", b""),
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        println!("lie {number}");
        let lost = LostAttempt::new(vec![Action::Custom(lie)]).has_checkpoint();
        lost.starts_over_and_gives_the_same();
        assert_eq!(lost.server.requests().len(), 3);
    }
    // A 206 response is accepted if its headers are right.
    let lost = LostAttempt::new(vec![Action::Custom(|bytes, from| {
        part(TAG, from, bytes.len(), bytes)
    })]);
    let receipt = lost.fixture.attempt(&lost.server.uri(), &lost.settings).unwrap();
    assert!(receipt.attempt.resumed_from.is_some());
}

#[test]
fn without_a_strong_etag_a_length_ranges_or_utf8_there_is_no_checkpoint() {
    let files: [fn(Vec<u8>) -> ServedFile; 5] = [
        |bytes| ServedFile::new(bytes, None),
        |bytes| ServedFile::new(bytes, Some("W/\"a\"")),
        |bytes| ServedFile::new(bytes, A).framed(Framing::Chunked),
        |bytes| ServedFile::new(bytes, A).with("Accept-Ranges: none"),
        // The state of an MD5 digest cannot be saved, so an attempt that computes one cannot be resumed.
        |bytes| ServedFile::new(bytes, A).with("Content-MD5: 1B2M2Y8AsgTpgAmY7PhCfg=="),
    ];
    for (number, file) in files.into_iter().enumerate() {
        let lost = LostAttempt::of(file, Vec::new(), AttemptSettings::of("alarms"));
        lost.fixture.is_tidy();
        if number < 4 {
            lost.starts_over_and_gives_the_same();
        }
    }
    let mut settings = AttemptSettings::of("alarms");
    settings.options.encoding = Some("latin1".to_owned());
    LostAttempt::of(|bytes| ServedFile::new(bytes, A), Vec::new(), settings)
        .fixture
        .is_tidy();
    let mut settings = AttemptSettings::of("alarms");
    settings.options.sha256 = Some(digest(&alarms(5)).sha256);
    LostAttempt::of(files[4], Vec::new(), settings).has_checkpoint();
}

#[test]
fn an_input_that_is_soon_at_its_end_does_not_wait_for_a_checkpoint() {
    let (bytes, settings) = (alarms(5), AttemptSettings::of("alarms"));
    let length = bytes.len() as u64;
    for (every, count) in [(length / 3, 1), (length - 20_000, 0), (length, 0), (0, 0)] {
        let limits = Limits {
            batch_bytes: BATCH_BYTES,
            checkpoint_bytes: every,
            http_resumes: 0,
            ..Limits::default()
        };
        let fixture = CheckpointFixture::new();
        let server = ServedFile::new(bytes.clone(), A).serve(vec![Action::Cut(bytes.len() - 1)]);
        fixture
            .attempt_within(&server.uri(), &settings, limits)
            .unwrap_err();
        assert_eq!(
            fixture.staged(".checkpoint").len(),
            count,
            "every {every} of {length}"
        );
    }
}

#[test]
fn packed_inputs_and_plugins_with_state_begin_anew() {
    let packed = LostAttempt::of(
        |bytes| ServedFile::new(gzip(&bytes), A),
        Vec::new(),
        AttemptSettings::of("alarms"),
    );
    packed.fixture.is_tidy();
    packed.starts_over(&undisturbed(&gzip(&packed.bytes), &packed.settings));
    let stateful = LostAttempt::of(
        |bytes| ServedFile::new(bytes, A),
        Vec::new(),
        AttemptSettings::of("hostile"),
    );
    stateful.fixture.is_tidy();
    stateful.starts_over_and_gives_the_same();
}

/// Returns the plugin with reference data that it does not read.
fn with_data(plugin: &Plugin) -> Plugin {
    let data = [("any".to_owned(), b"x"[..].into())];
    plugin.with_data(ReferenceData::new(data).unwrap())
}

#[test]
fn other_work_does_not_go_on_with_what_was_made_before() {
    let changes: [fn(&mut AttemptSettings); 6] = [
        |settings| settings.plugin = plugin("clean"),
        |settings| settings.plugin = with_data(&settings.plugin),
        |settings| settings.config = "{ }",
        |settings| settings.output_format = Some(Format::Jsonl),
        |settings| settings.options.quote = Some(ingest_host::request::Character::Is('\'')),
        |settings| settings.options.sha256 = Some(digest(&alarms(5)).sha256),
    ];
    for change in changes {
        let mut lost = LostAttempt::new(Vec::new()).has_checkpoint();
        change(&mut lost.settings);
        lost.starts_over_and_gives_the_same();
    }
    let changes: [fn(&mut Job); 2] = [
        |job| job.placement.uri.push('?'),
        |job| job.placement.submitted_at = Timestamp::MAX,
    ];
    for change in changes {
        let lost = LostAttempt::new(Vec::new()).has_checkpoint();
        assert_eq!(lost.attempt_changed(change).attempt.resumed_from, None);
        lost.fixture.is_tidy();
    }
}

type LimitChange = fn(&mut Limits);

fn limits_of(job: &mut Job) -> &mut Limits {
    Arc::make_mut(&mut job.work.limits)
}

#[test]
fn each_limit_that_the_result_depends_on_must_be_the_same() {
    let changes: [LimitChange; 15] = [
        |limits| limits.batch_bytes += 1,
        |limits| limits.batch_records += 1,
        |limits| limits.batch_cells += 1,
        |limits| limits.record_bytes_max += 1,
        |limits| limits.columns_max += 1,
        |limits| limits.column_name_bytes_max += 1,
        |limits| limits.plugin_memory_bytes += 1,
        |limits| limits.plugin_call += Duration::from_nanos(1),
        |limits| limits.traps += 1,
        |limits| limits.timeouts += 1,
        |limits| limits.changes_bytes_max += 1,
        |limits| limits.record_rows_max += 1,
        |limits| limits.rejects_bytes_max += 1,
        |limits| limits.plugin_counters += 1,
        |limits| limits.reject_codes += 1,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let lost = LostAttempt::new(Vec::new()).has_checkpoint();
        let receipt = lost.attempt_changed(|job| change(limits_of(job)));
        assert_eq!(receipt.attempt.resumed_from, None, "change {number}");
        lost.fixture.is_tidy();
    }
}

#[test]
fn whatever_the_result_does_not_depend_on_may_change() {
    let lost = LostAttempt::new(Vec::new()).has_checkpoint();
    let receipt = lost.attempt_changed(|job| {
        let limits = limits_of(job);
        limits.lanes += 1;
        limits.input_raw_bytes_max += 1;
        limits.input_bytes_max += 1;
        limits.input_ratio_max += 1;
        limits.input_ratio_from_bytes += 1;
        limits.zstd_window_bytes_max += 1;
        limits.attempt += Duration::from_secs(1);
        limits.checkpoint_bytes += 1;
        limits.output_bytes_max += 1;
        limits.plugin_log_bytes += 1;
        limits.component_bytes_max += 1;
        limits.compile += Duration::from_secs(1);
        limits.compile_memory_bytes += 1;
        limits.http_connect += Duration::from_secs(1);
        limits.http_first_byte += Duration::from_secs(1);
        limits.http_idle += Duration::from_secs(1);
        limits.http_rate_min += 1;
        limits.http_rate_window += Duration::from_secs(1);
        limits.http_redirects += 1;
        limits.http_resumes += 1;
        limits.http_resumes_in_vain += 1;
        limits.http_resume_pause += Duration::from_secs(1);
        limits.fetch_chunks += 1;
        limits.fetch_chunk_bytes += 1;
        limits.fetch_range_bytes += 1;
        job.work.gate = Gate::new(vec!["99%".parse().unwrap()], 0);
        job.work.binding = Some(7);
        job.placement.owner.fence += 1;
        job.placement.owner.life_ms += 1;
        job.placement.owner.is_contested = true;
        job.execution.attempt += 1;
        job.execution.worker.push('2');
        job.execution.started_at += Duration::from_secs(1);
        job.execution.lanes += 1;
    });
    assert!(receipt.attempt.resumed_from.is_some());
    assert_eq!(
        AttemptOutcome::of(&receipt),
        undisturbed(&lost.bytes, &lost.settings)
    );
    lost.fixture.is_tidy();
    let lost = LostAttempt::new(Vec::new()).has_checkpoint();
    let receipt = lost.attempt_changed(|job| job.work.profile = false);
    assert!(receipt.attempt.resumed_from.is_some());
}

#[test]
fn a_total_that_is_too_large_by_now_ends_a_resumed_attempt() {
    let changes: [(LimitChange, Code); 3] = [
        (|limits| limits.input_raw_bytes_max = 100, Code::InputTooLarge),
        (|limits| limits.input_bytes_max = 100, Code::InputTooLarge),
        (|limits| limits.output_bytes_max = 100, Code::OutputTooLarge),
    ];
    for (change, code) in changes {
        let lost = LostAttempt::new(Vec::new()).has_checkpoint();
        let error = lost
            .try_attempt_changed(|job| change(limits_of(job)))
            .expect_err("it is too large");
        assert_eq!(error.code(), code);
    }
}

#[test]
fn a_checkpoint_of_version_1_is_none() {
    let lost = LostAttempt::new(Vec::new()).has_checkpoint();
    let path = lost.fixture.staged_one(".checkpoint");
    let text = fs::read_to_string(&path).unwrap();
    // A checkpoint of version 1 was a single document, and the staged files were a member of it.
    let lines: Vec<_> = text.lines().collect();
    let [staged, progress, _] = lines[..] else {
        panic!("three lines: {text}");
    };
    let mut document: Value = serde_json::from_str(progress).unwrap();
    let staged: Value = serde_json::from_str(staged).unwrap();
    assert_eq!(document["checkpoint"], 2);
    document["checkpoint"] = 1.into();
    document["work"]["limits"] = "0".repeat(64).into();
    document["staged"] = staged["staged"].clone();
    let document = document.to_string();
    let digest = digest(document.as_bytes()).sha256;
    fs::write(&path, format!("{document}\n{digest}\n")).unwrap();
    let receipt = lost.fixture.attempt(&lost.server.uri(), &lost.settings).unwrap();
    assert_eq!(receipt.attempt.resumed_from, None);
    assert_eq!(
        AttemptOutcome::of(&receipt),
        undisturbed(&lost.bytes, &lost.settings)
    );
    // The staged output and rejects of the earlier attempt stay. The reaper later removes them as abandoned.
    assert_eq!(lost.fixture.staged("").len(), 2);
}

/// Flips a bit near the start of the file, among the bytes that every checkpoint covers.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[10] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn truncate(path: &Path, bytes: u64) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_len(bytes).unwrap();
}

#[test]
fn a_checkpoint_that_was_damaged_or_has_lost_its_files_is_none() {
    let harms: [fn(&LostAttempt); 11] = [
        |lost| damage(&lost.fixture.staged_one(".checkpoint")),
        // The document stays well-formed and its values plausible, but its digest no longer matches.
        |lost| {
            let path = lost.fixture.staged_one(".checkpoint");
            let text = fs::read_to_string(&path).unwrap();
            fs::write(path, text.replacen("\"line\":", "\"line\":1", 1)).unwrap();
        },
        |lost| truncate(&lost.fixture.staged_one(".checkpoint"), 0),
        |lost| truncate(&lost.fixture.staged_one(".checkpoint"), 100),
        |lost| fs::write(lost.fixture.staged_one(".checkpoint"), "{}\n").unwrap(),
        |lost| damage(&lost.fixture.staged_one(".output")),
        |lost| truncate(&lost.fixture.staged_one(".output"), 100),
        |lost| fs::remove_file(lost.fixture.staged_one(".output")).unwrap(),
        |lost| damage(&lost.fixture.staged_one(".rejects")),
        |lost| truncate(&lost.fixture.staged_one(".rejects"), 50),
        |lost| fs::remove_file(lost.fixture.staged_one(".rejects")).unwrap(),
    ];
    for (number, harm) in harms.into_iter().enumerate() {
        println!("harm {number}");
        let lost = LostAttempt::new(Vec::new()).has_checkpoint();
        harm(&lost);
        let receipt = lost.fixture.attempt(&lost.server.uri(), &lost.settings).unwrap();
        assert_eq!(receipt.attempt.resumed_from, None, "harm {number}");
        assert_eq!(
            AttemptOutcome::of(&receipt),
            undisturbed(&lost.bytes, &lost.settings)
        );
        assert_eq!(range_of(&lost.server.requests()[1]), None);
        // An unreadable checkpoint does not name its staged files. The reaper later removes these files as abandoned.
        let left = if number < 5 { 2 } else { 0 };
        assert_eq!(
            lost.fixture.staged("").len(),
            left,
            "harm {number}: {:?}",
            lost.fixture.staged("")
        );
    }
}

#[test]
fn what_was_written_behind_a_checkpoint_does_not_count() {
    let lost = LostAttempt::new(Vec::new()).has_checkpoint();
    for end in [".output", ".rejects"] {
        let mut file = fs::File::options()
            .append(true)
            .open(lost.fixture.staged_one(end))
            .unwrap();
        file.write_all(b"of nobody\n").unwrap();
    }
    let receipt = lost.fixture.attempt(&lost.server.uri(), &lost.settings).unwrap();
    assert!(receipt.attempt.resumed_from.is_some());
    assert_eq!(
        AttemptOutcome::of(&receipt),
        undisturbed(&lost.bytes, &lost.settings)
    );
    lost.fixture.is_tidy();
}

#[test]
fn a_local_file_that_is_another_one_is_read_from_its_beginning() {
    let (bytes, other) = (alarms(5), alarms(6));
    let changes: [fn(&Path, &[u8]); 3] = [
        |path, other| fs::write(path, other).unwrap(),
        |path, other| {
            fs::write(path.with_extension("new"), other).unwrap();
            fs::rename(path.with_extension("new"), path).unwrap();
        },
        // The file keeps its length and its modification time.
        |path, other| {
            let modified = fs::metadata(path).unwrap().modified().unwrap();
            let mut bytes = fs::read(path).unwrap();
            let length = bytes.len().min(other.len());
            bytes[..length].copy_from_slice(&other[..length]);
            fs::write(path, bytes).unwrap();
            fs::File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_modified(modified)
                .unwrap();
        },
    ];
    for change in changes {
        let (fixture, mut settings) = (CheckpointFixture::new(), AttemptSettings::of("alarms"));
        let path = fixture.folder.path().join("a.csv");
        fs::write(&path, &bytes).unwrap();
        super::resumed::lose_after(&mut settings, bytes.len() as u64 / 2);
        fixture.attempt(path.to_str().unwrap(), &settings).unwrap_err();
        fixture.staged_one(".checkpoint");
        change(&path, &other);
        let settings = AttemptSettings::of("alarms");
        let receipt = fixture.attempt(path.to_str().unwrap(), &settings).unwrap();
        assert_eq!(receipt.attempt.resumed_from, None);
        assert_eq!(
            AttemptOutcome::of(&receipt),
            undisturbed(&fs::read(&path).unwrap(), &settings)
        );
        fixture.is_tidy();
    }
}
