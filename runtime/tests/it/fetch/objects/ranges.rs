//! Tests large objects, which are fetched in several ranges at a time: the bytes are those of one version, whatever the
//! store does.

use std::ops::Range;
use std::time::Duration;

use ingest_host::config::Limits;
use ingest_host::digest::Digesting;
use ingest_host::error::{Class, Code, Result};
use ingest_host::fetch::{Access, Fetcher, RequestedBy, Source};
use ingest_host::memory::{ATTEMPT_BYTES, MemoryBudget, MemoryShare, TOTAL_MIN};
use ingest_host::stop::Stop;
use ingest_host::storage::object::ObjectStores;

use crate::support::inputs::objects::{anonymous_stores, is, random};
use crate::support::inputs::scripted_server::{RangeAnswer, ScriptedServer, object};
use crate::support::inputs::{digest, limits, read};
use crate::support::s3::S3Server;

const RANGE: usize = 64 << 10;

/// The length of the object: many ranges, and a last one that is short.
const LONG: usize = 20 * RANGE + 1_000;

const MEMORY: u64 = 64 << 20;

/// The longest time without a byte from a server that lies.
const SILENCE: Duration = Duration::from_millis(300);

/// Opens the object `a.bin` of the bucket `lake`. The attempt may use the memory of this share.
async fn open(server: &S3Server, memory: &MemoryShare) -> Result<Source> {
    open_in(server.stores(), limits(), memory).await
}

async fn open_in(stores: ObjectStores, limits: Limits, memory: &MemoryShare) -> Result<Source> {
    let limits = Limits {
        fetch_chunk_bytes: RANGE / 4,
        fetch_range_bytes: RANGE,
        ..limits
    };
    let fetcher = Fetcher::new(Access::default(), &limits).with_stores(stores);
    let stop = Stop::default();
    let source = fetcher.open("s3://lake/a.bin", RequestedBy::Typed, &stop).await?;
    Ok(source.hold_in(memory))
}

/// Waits until the condition is true, for at most ten seconds.
async fn until(mut is_met: impl FnMut() -> bool) {
    let waiting = async {
        while !is_met() {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(10), waiting).await;
    waited.expect("the condition is met");
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
    // At most three ranges arrive with the first answer.
    assert!(ranges.len() > LONG / RANGE - 3, "{ranges:?}");
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

/// A change of the answer to a request for a range.
type Lie = fn(&mut RangeAnswer);

fn with_range(answer: &mut RangeAnswer, range: Range<usize>) {
    answer.head = RangeAnswer::head(&range, LONG);
}

/// Returns a server with the object, which tells this lie about the range with this number and no other.
fn lying(number: usize, lie: Lie) -> ScriptedServer {
    object(random(LONG), move |answer| {
        if answer.number == number {
            lie(answer);
        }
    })
}

async fn read_from(server: &ScriptedServer, delay: Duration) -> Result<Vec<u8>> {
    let limits = Limits {
        http_first_byte: SILENCE,
        http_idle: SILENCE,
        ..limits()
    };
    let source = open_in(anonymous_stores(server), limits, &share()).await?;
    tokio::time::sleep(delay).await;
    Ok(read(source).await?.0)
}

#[tokio::test]
async fn a_range_that_is_not_the_one_that_was_asked_for_is_fetched_again() {
    // Each lie, and the number of right bytes of the range that arrive with it.
    let lies: &[(&str, Lie, usize)] = &[
        (
            "more bytes",
            |answer| {
                let range = answer.range.start..answer.range.end + 10;
                with_range(answer, range);
                answer.body.extend([0; 10]);
            },
            0,
        ),
        (
            "fewer bytes",
            |answer| {
                let range = answer.range.start..answer.range.end - 10;
                with_range(answer, range);
                answer.body.truncate(RANGE - 10);
            },
            RANGE - 10,
        ),
        (
            "one byte",
            |answer| {
                let range = answer.range.start..answer.range.start + 1;
                with_range(answer, range);
                answer.body.truncate(1);
            },
            1,
        ),
        (
            "an earlier start",
            |answer| {
                let range = answer.range.start - 10..answer.range.end - 10;
                with_range(answer, range);
            },
            0,
        ),
        (
            "another length of the object",
            |answer| answer.head = RangeAnswer::head(&answer.range, LONG + 1),
            0,
        ),
        (
            "another version",
            |answer| answer.head = answer.head.replace("v1", "v2"),
            0,
        ),
        (
            "no version",
            |answer| answer.head = answer.head.replace("ETag: \"v1\"\r\n", ""),
            0,
        ),
        (
            "another status",
            |answer| answer.head = answer.head.replace("206 Partial Content", "200 OK"),
            0,
        ),
        (
            "another coding",
            |answer| answer.head.push_str("Content-Encoding: gzip\r\n"),
            0,
        ),
        (
            "several ranges",
            |answer| answer.head.push_str("Content-Type: multipart/byteranges\r\n"),
            0,
        ),
        (
            "a redirect",
            |answer| answer.head = "HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n".into(),
            0,
        ),
        (
            "a refusal",
            |answer| answer.head = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n".into(),
            0,
        ),
        ("silence in the head", |answer| answer.head.truncate(20), 0),
        ("silence", |answer| answer.body.clear(), 0),
        (
            "silence in the body",
            |answer| answer.body.truncate(RANGE / 2),
            RANGE / 2,
        ),
    ];
    for &(what, lie, arrived) in lies {
        // The second range arrives while the first answer is read.
        for number in [0, 1, 5] {
            let server = lying(number, lie);
            let bytes = read_from(&server, Duration::ZERO).await.expect(what);
            assert!(bytes == random(LONG), "{what}: the content differs");
            let requested: Vec<_> = ranges_of(&server).collect();
            match requested.iter().find(|(_, end)| end.is_none()) {
                Some((resumed, _)) => {
                    let lied = resumed - arrived;
                    assert!(
                        requested.contains(&(lied, Some(lied + RANGE))),
                        "{what}: {requested:?}"
                    );
                }
                // If the first range does not begin, the first answer brings the rest. Two ranges are requested at once.
                None => assert!(number < 2 && arrived == 0, "{what}: {requested:?}"),
            }
        }
    }
}

/// Returns the start and the end of each range that was requested. A request for the rest of the object has no end.
fn ranges_of(server: &ScriptedServer) -> impl Iterator<Item = (usize, Option<usize>)> {
    server.requests().into_iter().filter_map(|head| {
        let range = head.lines().find_map(|line| line.strip_prefix("range: bytes="))?;
        let (first, last) = range.split_once('-').unwrap();
        Some((
            first.parse().unwrap(),
            last.parse().ok().map(|last: usize| last + 1),
        ))
    })
}

#[tokio::test]
async fn a_range_that_contradicts_itself_ends_the_transfer() {
    let lies: &[(&str, Code, Lie)] = &[
        (
            "announced 65536 bytes and sent more",
            Code::TransferBroken,
            |answer| {
                let length = format!("Content-Length: {RANGE}\r\n");
                answer.head = answer.head.replace(&length, "Transfer-Encoding: chunked\r\n");
                let chunk = format!("{:x}\r\n", RANGE + 1);
                answer.body = [chunk.as_bytes(), &answer.body, b"x\r\n0\r\n\r\n"].concat();
            },
        ),
        (
            "damaged on its way: Content-Digest says sha-256 0000",
            Code::ChecksumMismatch,
            |answer| {
                let zeros = format!("Content-Digest: sha-256=:{}=:\r\n", "A".repeat(43));
                answer.head.push_str(&zeros);
            },
        ),
    ];
    for &(what, code, lie) in lies {
        let error = read_from(&lying(3, lie), Duration::ZERO).await.expect_err(what);
        is(&error, Class::Transient, code, what);
    }
}

#[tokio::test]
async fn the_wait_that_a_store_asks_for_with_a_range_is_kept() {
    let server = lying(3, |answer| {
        answer.head = "HTTP/1.1 503 Slow Down\r\nRetry-After: 77\r\nContent-Length: 0\r\n".into();
    });
    let error = read_from(&server, Duration::ZERO).await.expect_err("a long wait");
    assert_eq!(
        error.retry_after(),
        Some(Duration::from_secs(77)),
        "{}",
        error.report()
    );
}

#[tokio::test]
async fn a_range_that_stalls_while_nothing_is_read_is_fetched_again() {
    for number in [0, 1] {
        let server = lying(number, |answer| answer.body.truncate(RANGE / 3));
        // The plugin is slower than the longest silence that is allowed.
        let bytes = read_from(&server, 2 * SILENCE).await.unwrap();
        assert!(bytes == random(LONG), "the content differs");
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
    let server = object(random(LONG), |answer| {
        if answer.number >= 3 {
            answer.head = "HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n".into();
            answer.body.clear();
        }
    });
    let error = read_from(&server, Duration::ZERO)
        .await
        .expect_err("another version");
    is(
        &error,
        Class::Transient,
        Code::TransferBroken,
        "the file has changed, its ETag is no longer \"",
    );
}

#[tokio::test]
async fn a_store_without_ranges_gives_the_object_in_one_answer() {
    let server = object(random(LONG), |answer| {
        answer.head = format!("HTTP/1.1 200 OK\r\nETag: \"v1\"\r\nContent-Length: {LONG}\r\n");
        answer.body = random(LONG);
    });
    assert!(read_from(&server, Duration::ZERO).await.unwrap() == random(LONG));
    let is_bounded = |(_, end): &(usize, Option<usize>)| end.is_some();
    assert!(ranges_of(&server).all(|range| is_bounded(&range)));
    assert_eq!(ranges_of(&server).count(), 2);
}

#[tokio::test]
async fn a_break_of_the_first_answer_does_not_end_the_ranges() {
    let server = S3Server::start();
    let bytes = random(LONG);
    server.put("lake", "a.bin", &bytes);
    // The first ranges are requested after the first piece, and the first answer breaks off before their start.
    server.cut_after(&[RANGE / 2]);
    let (fetched, _) = read(open(&server, &share()).await.unwrap()).await.unwrap();
    assert!(fetched == bytes, "the content differs");
    let requests = server.requests();
    let bounded = requests.iter().filter(|request| !request.contains("- ")).count();
    assert!(bounded > LONG / RANGE - 3, "{requests:?}");
}

#[tokio::test]
async fn an_object_of_many_ranges_may_break_off_often() {
    // The third range after each start of the ranges is refused. It is requested after the first one has begun.
    let mut ranges = 0;
    let server = object(random(60 * RANGE), move |answer| {
        let is_range = answer.range.len() <= RANGE;
        ranges = if is_range { ranges + 1 } else { 0 };
        if ranges == 3 {
            answer.head = "HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n".into();
            answer.body.clear();
        }
    });
    let limits = Limits {
        http_resumes: 10,
        ..limits()
    };
    let source = open_in(anonymous_stores(&server), limits, &share())
        .await
        .unwrap();
    assert!(read(source).await.unwrap().0 == random(60 * RANGE));
    let resumed = ranges_of(&server).filter(|(_, end)| end.is_none()).count();
    assert!(resumed > 10, "{resumed}");
}

#[tokio::test]
async fn ranges_leave_memory_for_attempts_to_begin() {
    let server = S3Server::start();
    // With their ranges, some of these objects would fill the memory for attempts without priority.
    let budget = MemoryBudget::new(TOTAL_MIN);
    let limits = Limits {
        fetch_range_bytes: 1 << 20,
        ..limits()
    };
    server.put("lake", "a.bin", random(4 << 20));
    let mut attempts = Vec::new();
    for _ in 0..6 {
        let share = budget.share(&Stop::default());
        let mut held = share.hold();
        assert!(held.try_raise(ATTEMPT_BYTES), "{}", attempts.len());
        let fetcher = Fetcher::new(Access::default(), &limits).with_stores(server.stores());
        let stop = Stop::default();
        let source = fetcher.open("s3://lake/a.bin", RequestedBy::Typed, &stop).await;
        attempts.push((held, source.unwrap().hold_in(&share)));
    }
}

#[tokio::test]
async fn no_memory_is_held_for_ranges_that_cannot_come() {
    // Without a version, no range can be requested.
    let server = ScriptedServer::sending(&random(LONG));
    let budget = MemoryBudget::new(MEMORY);
    let share = budget.share(&Stop::default());
    let source = open_in(anonymous_stores(&server), limits(), &share)
        .await
        .unwrap();
    assert!(share.hold().try_raise(budget.request_max()));
    drop(source);
    // After the last byte, no range can come.
    let server = S3Server::start();
    server.put("lake", "a.bin", random(LONG));
    let source = open(&server, &share).await.unwrap();
    assert!(!share.hold().try_raise(budget.request_max()));
    let reading = tokio::task::spawn_blocking(move || {
        let (mut reader, _) = source.into_reader(Digesting::default()).unwrap();
        std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
        reader
    });
    let reader = reading.await.unwrap();
    until(|| share.hold().try_raise(budget.request_max())).await;
    drop(reader);
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
    until(|| share.hold().try_raise(most)).await;
}
