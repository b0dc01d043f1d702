//! Where anything is not as it was, the next attempt begins anew, and what it commits is right.

use std::fs;
use std::io::Write;
use std::path::Path;

use ingest_host::config::Limits;
use ingest_host::format::Format;

use super::bed::{BATCH_BYTES, Bed, Seen, Work, alarms, range_of, undisturbed, uri};
use crate::support::inputs::faulty::{Deed, File, Framing, Invention};
use crate::support::inputs::servers::{Server, answer};
use crate::support::inputs::{digest, gzip};
use crate::support::work::plugin;

const A: Option<&str> = Some("\"a\"");

/// A request whose first attempt was lost at half of its input.
struct Lost {
    bed: Bed,
    server: Server,
    bytes: Vec<u8>,
    work: Work,
}

impl Lost {
    fn new(deeds: Vec<Deed>) -> Self {
        Self::of(|bytes| File::new(bytes, A), deeds, Work::of("alarms"))
    }

    /// Of a file that is served in some way; to the requests after the first come these deeds.
    fn of(file: impl FnOnce(Vec<u8>) -> File, deeds: Vec<Deed>, work: Work) -> Self {
        let bytes = alarms(5);
        let file = file(bytes.clone());
        let mut all = vec![Deed::Cut(file.bytes.len() / 2)];
        all.extend(deeds);
        let lost = Self {
            bed: Bed::new(),
            server: file.serve(all),
            bytes,
            work,
        };
        lost.bed.attempt(&uri(&lost.server), &lost.work).unwrap_err();
        lost
    }

    fn has_checkpoint(self) -> Self {
        self.bed.staged_one(".checkpoint");
        self
    }

    /// The next attempt begins at zero, and makes this of it.
    #[track_caller]
    fn starts_over(&self, expected: &Seen) {
        let receipt = self.bed.attempt(&uri(&self.server), &self.work).unwrap();
        assert_eq!(receipt.attempt.resumed_from, None);
        assert_eq!(&Seen::of(&receipt), expected);
        let asked = self.server.requests();
        assert_eq!(range_of(asked.last().unwrap()), None, "{asked:?}");
        self.bed.is_tidy();
    }

    /// The same, which is what anybody else would get.
    #[track_caller]
    fn starts_over_and_gives_the_same(&self) {
        self.starts_over(&undisturbed(&self.bytes, &self.work));
    }
}

#[test]
fn a_file_that_has_changed_is_read_from_its_beginning() {
    let other = alarms(6);
    let file = File::new(other.clone(), Some("\"b\""));
    let deeds = vec![Deed::ServeOther(file.clone()), Deed::ServeOther(file)];
    let lost = Lost::new(deeds).has_checkpoint();
    lost.starts_over(&undisturbed(&other, &lost.work));
    let asked: Vec<_> = lost
        .server
        .requests()
        .iter()
        .map(|head| range_of(head).is_some())
        .collect();
    assert_eq!(asked, [false, true, false]);
}

/// A 206 with these headers and the bytes from `from` on.
fn part(headers: &str, first: usize, total: usize, bytes: &[u8]) -> Vec<u8> {
    let headers = format!("{headers}Content-Range: bytes {first}-{}/{total}\r\n", total - 1);
    answer("206 Partial Content", &headers, &bytes[first..])
}

#[test]
fn no_answer_to_the_range_that_leaves_a_doubt_is_taken() {
    const TAG: &str = "ETag: \"a\"\r\n";
    let lies: [Invention; 9] = [
        // The whole, under the same tag.
        |bytes, _| answer("200 OK", TAG, bytes),
        |bytes, from| part("", from, bytes.len(), bytes),
        |bytes, from| part("ETag: \"b\"\r\n", from, bytes.len(), bytes),
        |bytes, from| part(TAG, from - 1, bytes.len(), bytes),
        |bytes, from| part(TAG, from, bytes.len() + 1, &[bytes, b"\n"].concat()),
        |bytes, from| answer("206 Partial Content", TAG, &bytes[from..]),
        |_, _| answer("416 Range Not Satisfiable", TAG, b""),
        |_, _| answer("403 Forbidden", "", b""),
        |_, _| answer("500 Internal Server Error", "", b""),
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        println!("lie {number}");
        let lost = Lost::new(vec![Deed::Invent(lie)]).has_checkpoint();
        lost.starts_over_and_gives_the_same();
        assert_eq!(lost.server.requests().len(), 3);
    }
    // The same means without a lie.
    let lost = Lost::new(vec![Deed::Invent(|bytes, from| {
        part(TAG, from, bytes.len(), bytes)
    })]);
    let receipt = lost.bed.attempt(&uri(&lost.server), &lost.work).unwrap();
    assert!(receipt.attempt.resumed_from.is_some());
}

#[test]
fn without_a_strong_etag_a_length_ranges_or_utf8_there_is_no_checkpoint() {
    let files: [fn(Vec<u8>) -> File; 5] = [
        |bytes| File::new(bytes, None),
        |bytes| File::new(bytes, Some("W/\"a\"")),
        |bytes| File::new(bytes, A).framed(Framing::Chunked),
        |bytes| File::new(bytes, A).with("Accept-Ranges: none"),
        // There is no going on with an MD5.
        |bytes| File::new(bytes, A).with("Content-MD5: 1B2M2Y8AsgTpgAmY7PhCfg=="),
    ];
    for (number, file) in files.into_iter().enumerate() {
        let lost = Lost::of(file, Vec::new(), Work::of("alarms"));
        lost.bed.is_tidy();
        if number < 4 {
            lost.starts_over_and_gives_the_same();
        }
    }
    let mut work = Work::of("alarms");
    work.options.encoding = Some("latin1".to_owned());
    Lost::of(|bytes| File::new(bytes, A), Vec::new(), work)
        .bed
        .is_tidy();
    let mut work = Work::of("alarms");
    work.options.sha256 = Some(digest(&alarms(5)).sha256);
    Lost::of(files[4], Vec::new(), work).has_checkpoint();
}

#[test]
fn an_input_that_is_soon_at_its_end_does_not_wait_for_a_checkpoint() {
    let (bytes, work) = (alarms(5), Work::of("alarms"));
    let length = bytes.len() as u64;
    for (every, count) in [(length / 3, 1), (length - 20_000, 0), (length, 0), (0, 0)] {
        let limits = Limits {
            batch_bytes: BATCH_BYTES,
            checkpoint_bytes: every,
            http_resumes: 0,
            ..Limits::default()
        };
        let bed = Bed::new();
        let server = File::new(bytes.clone(), A).serve(vec![Deed::Cut(bytes.len() - 1)]);
        bed.attempt_within(&uri(&server), &work, limits).unwrap_err();
        assert_eq!(
            bed.staged(".checkpoint").len(),
            count,
            "every {every} of {length}"
        );
    }
}

#[test]
fn packed_inputs_and_plugins_with_state_begin_anew() {
    let packed = Lost::of(|bytes| File::new(gzip(&bytes), A), Vec::new(), Work::of("alarms"));
    packed.bed.is_tidy();
    packed.starts_over(&undisturbed(&gzip(&packed.bytes), &packed.work));
    let stateful = Lost::of(|bytes| File::new(bytes, A), Vec::new(), Work::of("hostile"));
    stateful.bed.is_tidy();
    stateful.starts_over_and_gives_the_same();
}

#[test]
fn other_work_does_not_go_on_with_what_was_made_before() {
    let changes: [fn(&mut Work); 5] = [
        |work| work.plugin = plugin("clean"),
        |work| work.config = "{ }",
        |work| work.output_format = Some(Format::Jsonl),
        |work| work.options.quote = Some(ingest_host::request::Character::Is('\'')),
        |work| work.options.sha256 = Some(digest(&alarms(5)).sha256),
    ];
    for change in changes {
        let mut lost = Lost::new(Vec::new()).has_checkpoint();
        change(&mut lost.work);
        lost.starts_over_and_gives_the_same();
    }
    // Another limit may make other output, too.
    let lost = Lost::new(Vec::new()).has_checkpoint();
    let limits = Limits {
        batch_bytes: 2 * BATCH_BYTES,
        checkpoint_bytes: 1,
        ..Limits::default()
    };
    let receipt = lost
        .bed
        .attempt_within(&uri(&lost.server), &lost.work, limits)
        .unwrap();
    assert_eq!(receipt.attempt.resumed_from, None);
    lost.bed.is_tidy();
}

/// Changes one of the first bytes, which any checkpoint tells of.
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
    let harms: [fn(&Lost); 11] = [
        |lost| damage(&lost.bed.staged_one(".checkpoint")),
        // It stays a document that says nothing impossible.
        |lost| {
            let path = lost.bed.staged_one(".checkpoint");
            let text = fs::read_to_string(&path).unwrap();
            fs::write(path, text.replacen("\"line\":", "\"line\":1", 1)).unwrap();
        },
        |lost| truncate(&lost.bed.staged_one(".checkpoint"), 0),
        |lost| truncate(&lost.bed.staged_one(".checkpoint"), 100),
        |lost| fs::write(lost.bed.staged_one(".checkpoint"), "{}\n").unwrap(),
        |lost| damage(&lost.bed.staged_one(".output")),
        |lost| truncate(&lost.bed.staged_one(".output"), 100),
        |lost| fs::remove_file(lost.bed.staged_one(".output")).unwrap(),
        |lost| damage(&lost.bed.staged_one(".rejects")),
        |lost| truncate(&lost.bed.staged_one(".rejects"), 50),
        |lost| fs::remove_file(lost.bed.staged_one(".rejects")).unwrap(),
    ];
    for (number, harm) in harms.into_iter().enumerate() {
        println!("harm {number}");
        let lost = Lost::new(Vec::new()).has_checkpoint();
        harm(&lost);
        let receipt = lost.bed.attempt(&uri(&lost.server), &lost.work).unwrap();
        assert_eq!(receipt.attempt.resumed_from, None, "harm {number}");
        assert_eq!(Seen::of(&receipt), undisturbed(&lost.bytes, &lost.work));
        assert_eq!(range_of(&lost.server.requests()[1]), None);
        // Of a checkpoint that cannot be read nobody knows which files were its own; in time they go as abandoned ones.
        let left = if number < 5 { 2 } else { 0 };
        assert_eq!(
            lost.bed.staged("").len(),
            left,
            "harm {number}: {:?}",
            lost.bed.staged("")
        );
    }
}

#[test]
fn what_was_written_behind_a_checkpoint_does_not_count() {
    let lost = Lost::new(Vec::new()).has_checkpoint();
    for end in [".output", ".rejects"] {
        let mut file = fs::File::options()
            .append(true)
            .open(lost.bed.staged_one(end))
            .unwrap();
        file.write_all(b"of nobody\n").unwrap();
    }
    let receipt = lost.bed.attempt(&uri(&lost.server), &lost.work).unwrap();
    assert!(receipt.attempt.resumed_from.is_some());
    assert_eq!(Seen::of(&receipt), undisturbed(&lost.bytes, &lost.work));
    lost.bed.is_tidy();
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
        // Of the same length and, as far as its time says, as old.
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
        let (bed, mut work) = (Bed::new(), Work::of("alarms"));
        let path = bed.folder.path().join("a.csv");
        fs::write(&path, &bytes).unwrap();
        super::resumed::lose_after(&mut work, bytes.len() as u64 / 2);
        bed.attempt(path.to_str().unwrap(), &work).unwrap_err();
        bed.staged_one(".checkpoint");
        change(&path, &other);
        let work = Work::of("alarms");
        let receipt = bed.attempt(path.to_str().unwrap(), &work).unwrap();
        assert_eq!(receipt.attempt.resumed_from, None);
        assert_eq!(Seen::of(&receipt), undisturbed(&fs::read(&path).unwrap(), &work));
        bed.is_tidy();
    }
}
