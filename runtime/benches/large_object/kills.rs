//! Kills workers in the middle of the file, and lets the next worker continue. Counts the parts that reach the server.

use std::collections::HashSet;
use std::fs::File;
use std::process::Child;
use std::time::{Duration, Instant};

use ingest_host::storage::object::PART_BYTES;
use serde_json::Value;

use crate::Result;
use crate::rounds::{Bench, QUEUE, Rounds, check_receipt, same_bytes};

/// The id of the request.
const ID: &str = "killed";

/// The maximum time to wait until a worker can be killed.
const PATIENCE: Duration = Duration::from_secs(600);

/// The time between two looks at the parts.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The counts of a request whose workers were killed.
pub(crate) struct Killed {
    pub(crate) kills: usize,
    /// The number of calls that uploaded a part of the output.
    pub(crate) calls: usize,
    /// The number of parts of the output.
    pub(crate) parts: usize,
    /// The number of parts that checkpoints covered when workers were killed, each part counted once.
    pub(crate) covered: u64,
    pub(crate) wall: Duration,
}

/// The state of a checkpoint's upload of the output.
struct CheckpointUpload {
    id: String,
    /// The number of whole parts that the checkpoint covers.
    covered: u64,
}

/// Runs one request whose workers are killed in the middle of the file, and a last worker that completes it.
///
/// # Errors
/// Fails if a worker does not resume from the checkpoint of its predecessor, if a part is uploaded again that the
/// checkpoint covers, if there is not exactly one receipt, or if the output differs.
pub(crate) fn run(bench: &Bench<'_>, rounds: &Rounds) -> Result<Killed> {
    let (kills, start) = (bench.scale.kills, Instant::now());
    let parts = usize::try_from(rounds.output_bytes.div_ceil(PART_BYTES as u64))?;
    bench.submit_object(ID)?;
    let before = bench.server.borrow_mut().parts()?.len();
    // For each kill: the number of calls so far, and the checkpoint at that time.
    let mut killed: Vec<(usize, CheckpointUpload)> = Vec::new();
    for kill in 0..kills {
        let target = parts * (kill + 1) / (kills + 1);
        let covered = killed.last().map_or(0, |(_, last)| last.covered);
        let (mut worker, log) = start_worker(bench)?;
        wait_for_part(bench, &mut worker, target as u64, covered)?;
        worker.kill()?;
        worker.wait()?;
        let calls = bench.server.borrow_mut().parts()?.len();
        let checkpoint = checkpoint(bench).ok_or("the killed worker has left no checkpoint")?;
        bench.scale.progress(format_args!(
            "kill {kill}: after {} calls, the checkpoint covers {} parts",
            calls - before,
            checkpoint.covered
        ));
        check_resumed(&log, kill > 0)?;
        killed.push((calls, checkpoint));
        bench.host.expire_lease(ID);
    }
    let (mut worker, log) = start_worker(bench)?;
    let status = worker.wait()?;
    check_resumed(&log, kills > 0)?;
    if !status.success() {
        return Err(format!("the last worker: {status}\n{}", std::fs::read_to_string(log)?).into());
    }
    let calls = bench.server.borrow_mut().parts()?;
    check_receipt(&bench.receipt(ID), bench.scale.records)?;
    check_parts(&calls, &killed)?;
    let receipts = std::fs::read_dir(bench.object(&format!("out/_ingest/{QUEUE}/receipts")))?;
    let of_id = receipts.filter(|entry| {
        let name = entry.as_ref().map(|entry| entry.file_name()).unwrap_or_default();
        name.to_string_lossy().starts_with(ID)
    });
    if of_id.count() != 1 {
        return Err("there is not exactly one receipt".into());
    }
    same_bytes(&rounds.expected, &bench.object(&format!("out/{QUEUE}/{ID}.csv")))?;
    let upload = &killed.last().ok_or("no worker was killed")?.1.id;
    let of_output: Vec<u64> = numbers(&calls[before..], upload).collect();
    let distinct = of_output.iter().collect::<HashSet<_>>().len();
    if distinct != parts {
        return Err(format!("{distinct} different parts were uploaded instead of {parts}").into());
    }
    Ok(Killed {
        kills,
        calls: of_output.len(),
        parts,
        covered: killed.last().map_or(0, |(_, last)| last.covered),
        wall: start.elapsed(),
    })
}

/// Returns the numbers of the parts of one upload.
fn numbers(calls: &[(String, u64)], upload: &str) -> impl Iterator<Item = u64> {
    let of_upload = calls.iter().filter(move |(id, _)| id == upload);
    of_upload.map(|(_, number)| *number)
}

/// Checks that after a kill, no part was uploaded that the checkpoint at that time covers.
fn check_parts(calls: &[(String, u64)], killed: &[(usize, CheckpointUpload)]) -> Result {
    for (at, checkpoint) in killed {
        // Parts are numbered from 1.
        if let Some(part) = numbers(&calls[*at..], &checkpoint.id).find(|part| *part <= checkpoint.covered) {
            let covered = checkpoint.covered;
            return Err(
                format!("part {part} was uploaded again, although the checkpoint covers {covered}").into(),
            );
        }
    }
    Ok(())
}

fn start_worker(bench: &Bench<'_>) -> Result<(Child, std::path::PathBuf)> {
    let log = bench.folder().join("killed.log");
    let mut worker = bench.store_worker();
    worker.stderr(File::create(&log)?);
    Ok((worker.spawn()?, log))
}

/// Waits until a part with the number `target` or a higher one was uploaded, and until the checkpoint covers more than
/// `covered` parts.
fn wait_for_part(bench: &Bench<'_>, worker: &mut Child, target: u64, covered: u64) -> Result {
    let start = Instant::now();
    loop {
        if let Some(checkpoint) = checkpoint(bench).filter(|found| found.covered > covered) {
            let calls = bench.server.borrow_mut().parts()?;
            if numbers(&calls, &checkpoint.id).any(|part| part >= target) {
                return Ok(());
            }
        }
        if let Some(status) = worker.try_wait()? {
            return Err(format!("the worker ended before it was killed: {status}").into());
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("part {target} was not uploaded in {PATIENCE:?}").into());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Returns the upload of the output in the request's checkpoint, or `None` if there is no checkpoint.
fn checkpoint(bench: &Bench<'_>) -> Option<CheckpointUpload> {
    let folder = bench.object(&format!("out/_ingest/{QUEUE}/checkpoints"));
    let path = std::fs::read_dir(folder).ok()?.find_map(|entry| {
        let path = entry.ok()?.path();
        path.file_name()?.to_str()?.starts_with(ID).then_some(path)
    })?;
    let bytes = std::fs::read(path).ok()?;
    // The first line has the length of the text. The text begins with a line that describes the uploads.
    let line = bytes.split(|byte| *byte == b'\n').nth(1)?;
    let line: Value = serde_json::from_slice(line).ok()?;
    let output = &line["staged"]["output"];
    Some(CheckpointUpload {
        id: output["upload"].as_str()?.to_owned(),
        covered: output["parts"].as_array()?.len() as u64,
    })
}

/// Checks by its log whether a worker has resumed from a checkpoint.
fn check_resumed(log: &std::path::Path, expected: bool) -> Result {
    let log = std::fs::read_to_string(log)?;
    let what = match (expected, log.contains("resumed from a checkpoint")) {
        (true, false) => "a worker did not resume from the checkpoint",
        (false, true) => "the first worker resumed from a checkpoint",
        _ => return Ok(()),
    };
    Err(format!("{what}\n{log}").into())
}
