//! Reads small files: paths go in; the files' bytes come out. A file that is larger than a bound is refused.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::OFlags;
use rustix::io::Errno;

/// The flags for opening a file. With these flags, opening a pipe or a device by mistake neither blocks nor has a side
/// effect.
const READ: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Is true after [`refuse_pipes`].
static ARE_PIPES_REFUSED: AtomicBool = AtomicBool::new(false);

/// Makes [`open_named`] refuse everything but regular files from now on. A running worker calls this, because it reads
/// files again: the second reader of a pipe gets nothing, or waits for a writer that never comes.
pub(crate) fn refuse_pipes() {
    ARE_PIPES_REFUSED.store(true, Ordering::Relaxed);
}

/// Opens a file that the operator names. It can be a symbolic link. It can be a pipe, except after [`refuse_pipes`].
///
/// # Errors
/// Returns errors of the system. After [`refuse_pipes`], also fails if the path does not lead to a regular file; the
/// error says what it is instead.
pub(crate) fn open_named(path: &Path) -> io::Result<File> {
    match ARE_PIPES_REFUSED.load(Ordering::Relaxed) {
        true => open_regular_with(path, READ.difference(OFlags::NOFOLLOW)),
        false => File::open(path),
    }
}

/// Opens the regular file at a path that a program has built or that a document contains. Does not follow a symbolic
/// link at the end of the path.
///
/// # Errors
/// Fails if the path is not a regular file; the error says what it is instead. Also returns errors of the system.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    open_regular_with(path, READ)
}

fn open_regular_with(path: &Path, flags: OFlags) -> io::Result<File> {
    let opened = File::options()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path);
    let file = opened.map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::LOOP) if flags.contains(OFlags::NOFOLLOW) => {
            unfit("is a symbolic link: give the file that it leads to")
        }
        // A socket gives this error.
        Some(Errno::NXIO) => unfit("is a socket, not a regular file"),
        _ => error,
    })?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    Err(unfit(match () {
        () if kind.is_dir() => "is a folder, not a regular file",
        () if kind.is_fifo() => "is a pipe, not a regular file",
        () => "is a device, not a regular file",
    }))
}

/// Opens the regular file at a path with [`open_regular`], and reads it.
///
/// # Errors
/// Fails as [`open_regular`] does, and if the file has more than `bytes_max` bytes.
pub(crate) fn read_regular(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    read_bounded(open_regular(path)?, bytes_max)
}

/// Reads a file that the operator names: see [`open_named`].
///
/// # Errors
/// Fails if the file has more than `bytes_max` bytes. Also returns errors of the system.
pub(crate) fn read_named(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    read_bounded(open_named(path)?, bytes_max)
}

/// Reads the text of a JSON document that the operator names: see [`text`].
///
/// # Errors
/// Fails as [`read_named`] and [`text`] do.
pub(crate) fn read_named_text(path: &Path, bytes_max: u64) -> io::Result<String> {
    read_text(open_named(path)?, bytes_max)
}

/// Reads the text of a JSON document from an open file: see [`text`].
///
/// # Errors
/// Fails as [`read_named_text`] does.
pub(crate) fn read_text(file: File, bytes_max: u64) -> io::Result<String> {
    let bytes = read_bounded(file, bytes_max)?;
    let text = text(&bytes).map_err(|why| io::Error::new(ErrorKind::InvalidData, why))?;
    Ok(text.to_owned())
}

/// Returns the text of a JSON document that a person wrote, without the byte order mark that some editors put at the
/// beginning.
///
/// # Errors
/// Fails if the text is not UTF-8. The error is a sentence without a subject, such as "is UTF-16: ...". If the text is
/// UTF-16 or UTF-32, the error says so, because some editors call these encodings just "Unicode".
pub(crate) fn text(bytes: &[u8]) -> Result<&str, String> {
    // JSON begins with an ASCII character. So the positions of zero bytes show the encoding as clearly as a byte order
    // mark does (RFC 4627, section 3).
    let wide = match *bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] | [_, 0, 0, 0, ..] | [0, 0, 0, _, ..] => {
            Some("UTF-32")
        }
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [_, 0, ..] | [0, _, ..] => Some("UTF-16"),
        _ => None,
    };
    if let Some(encoding) = wide {
        return Err(format!("is {encoding}: save it as UTF-8"));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| format!("is not UTF-8: {error}"))?;
    Ok(without_mark(text))
}

/// Returns a document without its byte order mark.
pub(crate) fn without_mark(document: &str) -> &str {
    document.strip_prefix('\u{feff}').unwrap_or(document)
}

fn read_bounded(file: File, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        let what = format!("has more than the {bytes_max} bytes allowed");
        return Err(io::Error::new(ErrorKind::FileTooLarge, what));
    }
    Ok(bytes)
}

fn unfit(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, what)
}

/// The minimum similarity, from 0 to 1, of two file names that a person can confuse.
const NEAR: f64 = 0.7;
/// The maximum number of files that are compared with the missing file.
const FILES_COMPARED_MAX: usize = 10_000;

/// Returns the file that the operator probably meant instead of a missing file. The returned file is in the folder of
/// the missing file, `may_be` accepts it, and its name is the most similar. Returns `None` if no name is similar.
pub(crate) fn near_file(missing: &Path, may_be: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let (folder, name) = (missing.parent()?, missing.file_name()?.to_str()?.to_lowercase());
    let here = match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    };
    let files = here
        .read_dir()
        .ok()?
        .take(FILES_COMPARED_MAX)
        .filter_map(Result::ok);
    let named = files.filter_map(|file| file.file_name().into_string().ok());
    let likeness = |other: &str| strsim::normalized_damerau_levenshtein(&name, &other.to_lowercase());
    let near = named
        .map(|other| (likeness(&other), folder.join(other)))
        .filter(|(likeness, path)| *likeness >= NEAR && may_be(path) && path.is_file());
    let nearest = near.max_by(|(one, _), (other, _)| one.total_cmp(other));
    nearest.map(|(_, path)| path)
}

/// Returns a hint for a file that cannot be opened: the file that the operator probably meant. Returns `None` if the
/// file is there, or if no name is similar.
pub(crate) fn near_hint(path: &Path, error: &io::Error) -> Option<String> {
    let near = match error.kind() {
        ErrorKind::NotFound => near_file(path, |_| true)?,
        _ => return None,
    };
    Some(format!("{} is here: did you mean it?", near.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn a_byte_order_mark_is_passed_over_and_wide_encodings_are_named() {
        for (bytes, expected) in [
            (&b"{}"[..], Ok("{}")),
            (b"", Ok("")),
            (b"1", Ok("1")),
            (b"\xef\xbb\xbf{}", Ok("{}")),
            (b"\xef\xbb\xbf", Ok("")),
            (b"\xff\xfe{\0}\0", Err("is UTF-16: save it as UTF-8")),
            (b"\xfe\xff\0{\0}", Err("is UTF-16: save it as UTF-8")),
            (b"{\0}\0", Err("is UTF-16: save it as UTF-8")),
            (b"\0{\0}", Err("is UTF-16: save it as UTF-8")),
            (b"\xff\xfe\0\0{\0\0\0", Err("is UTF-32: save it as UTF-8")),
            (b"\0\0\xfe\xff\0\0\0{", Err("is UTF-32: save it as UTF-8")),
            (b"{\0\0\0}\0\0\0", Err("is UTF-32: save it as UTF-8")),
            (b"\0\0\0{\0\0\0}", Err("is UTF-32: save it as UTF-8")),
        ] {
            assert_eq!(text(bytes), expected.map_err(str::to_owned), "{bytes:?}");
        }
        let error = text(b"{\"a\":\"\xe9\"}").unwrap_err();
        assert!(error.starts_with("is not UTF-8: "), "{error}");
    }

    #[test]
    fn only_a_regular_file_is_read_and_nothing_else_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("file"), "12345").unwrap();
        std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
        std::fs::create_dir(path("folder")).unwrap();
        mknodat(CWD, path("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();
        assert_eq!(read_regular(&path("file"), 5).unwrap(), b"12345");
        assert_eq!(read_named(&path("link"), 5).unwrap(), b"12345");
        for (path, why) in [
            (path("file"), "more than the 4 bytes"),
            (path("link"), "is a symbolic link"),
            (path("folder"), "is a folder"),
            (path("pipe"), "is a pipe"),
            (path("socket"), "is a socket"),
            ("/dev/zero".into(), "is a device"),
        ] {
            let error = read_regular(&path, 4).expect_err(why).to_string();
            assert!(error.contains(why), "{error}");
        }
        let error = read_named(Path::new("/dev/zero"), 4).expect_err("too much");
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
    }
}
