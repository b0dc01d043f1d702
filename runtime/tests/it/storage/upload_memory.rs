//! Tests the memory that uploads take from the budget of the worker.

use ingest_host::error::{Class, Code, Result};
use ingest_host::format::Format;
use ingest_host::memory::{MemoryBudget, MemoryShare};
use ingest_host::stop::Stop;
use ingest_host::storage::{Owner, Storage};

use super::{OUTPUT, StorageFixture, owner};
use crate::support::receipts::ID;

/// Runs an attempt up to its seal. It writes `2 * bytes` bytes of output and `bytes` bytes of rejects, and takes its
/// memory from `memory`.
fn seal_within(storage: &dyn Storage, id: &str, bytes: usize, memory: &MemoryShare) -> Result<()> {
    let owner = Owner {
        id: Some(id.to_owned()),
        ..owner(1, 1)
    };
    let mut attempt = storage.begin(owner, Format::Csv)?;
    attempt.hold_in(memory);
    attempt.output().take(&vec![b'a'; bytes])?;
    attempt.rejects()?.take(&vec![b'r'; bytes])?;
    attempt.checkpoint(Box::new(String::new))?;
    attempt.output().take(&vec![b'b'; bytes])?;
    attempt.seal().map(drop)
}

#[test]
fn many_uploads_share_little_memory_and_all_of_them_end() {
    // One attempt may hold 48 bytes, and all others together 16: two parts.
    let budget = MemoryBudget::new(64);
    let fixture = StorageFixture::new();
    std::thread::scope(|scope| {
        for number in 0..16 {
            let (storage, memory) = (fixture.healthy(), budget.share(&Stop::default()));
            scope.spawn(move || seal_within(&storage, &format!("day-{number}"), 500, &memory).unwrap());
        }
    });
    // The bytes of a checkpoint count until the store has written them.
    let share = budget.share(&Stop::default());
    share.be_alone().unwrap();
    share.hold().raise(48).unwrap();
}

#[test]
fn an_upload_that_needs_more_memory_than_a_request_may_hold_is_refused() {
    let fixture = StorageFixture::new();
    // A request may hold 6 bytes, and a part has 8.
    let budget = MemoryBudget::new(8);
    let share = budget.share(&Stop::default());
    let error = seal_within(&fixture.healthy(), ID, 500, &share).expect_err("it is too little");
    assert_eq!(
        (error.class(), error.code()),
        (Class::Transient, Code::MachineBusy)
    );
    assert!(share.is_refused(), "the attempt runs again, alone");
    share.be_alone().unwrap();
    let error = seal_within(&fixture.healthy(), ID, 500, &share).expect_err("it is too little");
    assert_eq!(
        (error.class(), error.code()),
        (Class::Permanent, Code::MemoryExceeded)
    );
    let report = error.report();
    assert!(
        report.contains(OUTPUT) && report.contains("--memory-total"),
        "{report}"
    );
}

#[test]
fn an_attempt_that_runs_alone_holds_one_part_of_each_upload() {
    let fixture = StorageFixture::new();
    // A request may hold 24 bytes: a part of the output, a part of the rejects, and a checkpoint's copy of both
    // unfinished last parts.
    let budget = MemoryBudget::new(32);
    let share = budget.share(&Stop::default());
    share.be_alone().unwrap();
    seal_within(&fixture.healthy(), ID, 500, &share).unwrap();
}
