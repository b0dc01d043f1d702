//! Tests large objects, which are fetched in several ranges at a time: the bytes are those of one version, whatever the
//! store does.

use ingest_host::config::Limits;
use ingest_host::error::{Class, Code, Result};
use ingest_host::fetch::{Access, Fetcher, RequestedBy, Source};
use ingest_host::memory::{MemoryBudget, MemoryShare};
use ingest_host::stop::Stop;

use crate::support::inputs::objects::{is, random};
use crate::support::inputs::{digest, limits, read};
use crate::support::s3::S3Server;

const RANGE: usize = 64 << 10;

/// The length of the object: many ranges, and a last one that is short.
const LONG: usize = 20 * RANGE + 1_000;

const MEMORY: u64 = 64 << 20;

/// Opens the object `a.bin` of the bucket `lake`. The attempt may use the memory of this share.
async fn open(server: &S3Server, memory: &MemoryShare) -> Result<Source> {
    let limits = Limits {
        fetch_chunk_bytes: RANGE / 4,
        fetch_range_bytes: RANGE,
        ..limits()
    };
    let fetcher = Fetcher::new(Access::default(), &limits).with_stores(server.stores());
    let stop = Stop::default();
    let source = fetcher.open("s3://lake/a.bin", RequestedBy::Typed, &stop).await?;
    Ok(source.hold_in(memory))
}

fn share() -> MemoryShare {
    MemoryBudget::new(MEMORY).share(&Stop::default())
}

/// Returns the first and the last byte of each range that was requested, in order, and checks that all requests are for
/// one version.
fn ranges(server: &S3Server) -> Vec<(usize, usize)> {
    let requests = server.requests();
    assert_eq!(requests[0], "/lake/a.bin");
    let etag = requests[1].split(' ').nth(2).expect("an ETag").to_owned();
    let range_of = |request: &String| {
        assert!(request.ends_with(&etag), "{request}: another version than {etag}");
        let range = request.split(' ').nth(1).unwrap().strip_prefix("bytes=").unwrap();
        let (first, last) = range.split_once('-').unwrap();
        (first.parse().unwrap(), last.parse().unwrap_or(LONG - 1))
    };
    let mut ranges: Vec<_> = requests[1..].iter().map(range_of).collect();
    ranges.sort_unstable();
    ranges
}

#[tokio::test]
async fn a_large_object_is_fetched_in_ranges() {
    let server = S3Server::start();
    let bytes = random(LONG);
    server.put("lake", "a.bin", &bytes);
    let (fetched, its_digest) = read(open(&server, &share()).await.unwrap()).await.unwrap();
    assert!(fetched == bytes, "the content differs");
    assert_eq!(its_digest, digest(&bytes));
    // The first answer brings at least the bytes before the first range.
    let ranges = ranges(&server);
    assert!(ranges[0].0 > RANGE, "{ranges:?}");
    assert!(
        ranges.windows(2).all(|two| two[0].1 + 1 == two[1].0),
        "{ranges:?}"
    );
    assert!(
        ranges.iter().all(|(first, last)| last - first < RANGE),
        "{ranges:?}"
    );
    assert_eq!(ranges.last().unwrap().1, LONG - 1);
    assert!(ranges.len() >= 17, "{ranges:?}");
}

#[tokio::test]
async fn a_large_object_is_fetched_in_one_answer_if_memory_is_short() {
    let server = S3Server::start();
    let bytes = random(LONG);
    server.put("lake", "a.bin", &bytes);
    let budget = MemoryBudget::new(MEMORY);
    let other = budget.share(&Stop::default());
    let mut held = other.hold();
    held.raise(budget.request_max()).unwrap();
    let third = budget.share(&Stop::default());
    let mut rest = third.hold();
    assert!(rest.try_raise(MEMORY as usize / 4));
    let alone = MemoryBudget::new(MEMORY).share(&Stop::default());
    alone.be_alone().unwrap();
    for memory in [budget.share(&Stop::default()), alone] {
        let before = server.requests().len();
        let (fetched, _) = read(open(&server, &memory).await.unwrap()).await.unwrap();
        assert!(fetched == bytes, "the content differs");
        assert_eq!(server.requests().len(), before + 1, "{:?}", server.requests());
    }
}

#[tokio::test]
async fn ranges_that_break_off_are_fetched_again() {
    let server = S3Server::start();
    let bytes = random(LONG);
    server.put("lake", "a.bin", &bytes);
    // The cuts hit answers in the order of the requests: the first answer, and then ranges and resumes.
    for cuts in [
        &[RANGE / 2][..],
        &[10 * RANGE, 1, 0],
        &[10 * RANGE, RANGE, 100, RANGE, 5],
    ] {
        server.cut_after(cuts);
        let (fetched, its_digest) = read(open(&server, &share()).await.unwrap()).await.unwrap();
        assert!(fetched == bytes, "{cuts:?}: the content differs");
        assert_eq!(its_digest, digest(&bytes));
    }
}

#[tokio::test]
async fn a_disturbed_store_never_gives_wrong_bytes() {
    let server = S3Server::start();
    let bytes = random(LONG);
    server.put("lake", "a.bin", &bytes);
    server.disturb(Some(fastrand::Rng::with_seed(7)));
    let mut whole = 0;
    for _ in 0..60 {
        let read = async { read(open(&server, &share()).await?).await };
        match read.await {
            Ok((fetched, _)) => {
                assert!(fetched == bytes, "the content differs");
                whole += 1;
            }
            Err(error) => assert_eq!(error.class(), Class::Transient, "{}", error.report()),
        }
    }
    assert!(whole > 0, "{}", server.disturbances());
}

#[tokio::test]
async fn an_object_that_changes_between_two_ranges_is_an_error() {
    let server = S3Server::start();
    server.put("lake", "a.bin", random(LONG));
    let source = open(&server, &share()).await.unwrap();
    // The body waits for its reader after some pieces, so not all ranges were requested yet.
    while server.requests().len() < 2 {
        tokio::task::yield_now().await;
    }
    server.put("lake", "a.bin", random(LONG + 1));
    let error = read(source).await.expect_err("another version");
    is(
        &error,
        Class::Transient,
        Code::TransferBroken,
        "the file has changed, its ETag is no longer \"",
    );
}

#[tokio::test]
async fn the_memory_for_ranges_is_given_back() {
    let server = S3Server::start();
    server.put("lake", "a.bin", random(LONG));
    let budget = MemoryBudget::new(MEMORY);
    let share = budget.share(&Stop::default());
    // The attempt may hold three quarters of the memory, if nothing is held for ranges.
    let most = budget.request_max();
    let source = open(&server, &share).await.unwrap();
    assert!(!share.hold().try_raise(most), "the ranges need memory");
    read(source).await.unwrap();
    while !share.hold().try_raise(most) {
        tokio::task::yield_now().await;
    }
}
