//! Finds local files: a pattern goes in, and the paths of the files that it matches come out, in order, one at a time.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern, PatternError};

use super::sorted_names::{Entry, Kind, SortedNames};
use crate::error::{Code, Error, Result, Stage};
use crate::location::redact;

/// The matching rules of a shell: names are case-sensitive, and `*` does not match a leading dot.
pub(super) const AS_A_SHELL: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

const WILDCARDS: [char; 3] = ['*', '?', '['];

/// Returns whether a text has a character with a meaning in patterns.
pub fn has_wildcards(text: &str) -> bool {
    text.contains(WILDCARDS)
}

/// Passes each file that a pattern matches to `each`, in the order of the paths, until `each` fails. `**` stands for any
/// number of nested folders, without links to folders. A trailing `**` stands for all files below. If a folder could not
/// be read, returns an error, because it may contain more matches.
///
/// # Errors
/// Fails permanently, with stage fetch, if the pattern is malformed or no file matches it. Fails as `each` does.
pub fn for_each_match(pattern: &str, each: &mut dyn FnMut(&Path) -> Result<()>) -> Result<Option<Error>> {
    let name = redact(pattern);
    let failed = |why: &str| Error::permanent(Stage::Fetch, Code::InputMissing, format!("{name}: {why}"));
    let segments = pattern.split('/').filter(|segment| !segment.is_empty());
    let mut segments: Vec<_> = segments
        .map(Segment::parse)
        .collect::<Result<_, _>>()
        .map_err(|error| failed("is neither a file nor a pattern").because(error))?;
    if let Some(Segment::Folders) = segments.last() {
        segments.push(Segment::all());
    }
    let root = Path::new(if pattern.starts_with('/') { "/" } else { "" });
    let walk = Walk::new(&segments, each).take(root)?;
    walk.outcome(
        &name,
        failed("no file matches this pattern: check the folder and the pattern"),
    )
}

/// Passes each file in a folder and in the folders below to `each`, as [`for_each_match`] does for the pattern `**`.
///
/// # Errors
/// Fails permanently, with stage fetch, if there is no such folder or no file in it. Fails as `each` does.
pub(super) fn for_each_below(
    folder: &Path,
    each: &mut dyn FnMut(&Path) -> Result<()>,
) -> Result<Option<Error>> {
    let failed = |why: &str| {
        let what = format!("{}: {why}", shown(folder));
        Error::permanent(Stage::Fetch, Code::InputMissing, what)
    };
    if !folder.is_dir() {
        return Err(failed("there is no such folder"));
    }
    let segments = [Segment::Folders, Segment::all()];
    let walk = Walk::new(&segments, each).take(folder)?;
    walk.outcome(&shown(folder), failed("no file is in this folder or below"))
}

/// Returns a path for people. The path may be a mistyped URL with secrets, which must not be shown.
pub(super) fn shown(path: &Path) -> String {
    redact(&path.to_string_lossy())
}

/// The part of a pattern between two slashes.
enum Segment<'a> {
    Name(&'a str),
    Pattern(Pattern),
    /// `**`: any number of nested folders.
    Folders,
}

impl<'a> Segment<'a> {
    fn parse(text: &'a str) -> Result<Self, PatternError> {
        match text {
            "**" => Ok(Self::Folders),
            _ if has_wildcards(text) => Pattern::new(text).map(Self::Pattern),
            _ => Ok(Self::Name(text)),
        }
    }

    fn all() -> Self {
        Self::Pattern(Pattern::new("*").expect("a pattern"))
    }
}

/// A walk over the folders that may contain matches. It visits each folder once, with all positions in the pattern that
/// the folder's path has reached. So it finds each file once, in order, without a list of all files.
struct Walk<'a> {
    segments: &'a [Segment<'a>],
    each: &'a mut dyn FnMut(&Path) -> Result<()>,
    has_found: bool,
    /// The first folder that could not be read, with the error.
    unread: Option<(PathBuf, io::Error)>,
    /// The number of the other folders that could not be read.
    others_unread: usize,
}

impl<'a> Walk<'a> {
    fn new(segments: &'a [Segment<'a>], each: &'a mut dyn FnMut(&Path) -> Result<()>) -> Self {
        Self {
            segments,
            each,
            has_found: false,
            unread: None,
            others_unread: 0,
        }
    }

    fn take(mut self, root: &Path) -> Result<Self> {
        self.visit(root, &[0])?;
        Ok(self)
    }

    /// Visits a folder. `reached` has the segments that its entries must match next.
    fn visit(&mut self, folder: &Path, reached: &[usize]) -> Result<()> {
        let here = match folder.as_os_str().is_empty() {
            true => Path::new("."),
            false => folder,
        };
        let reached = self.with_skipped_folders(reached);
        // A folder need not be readable if the pattern gives the names in it.
        let mut names: Vec<_> = reached
            .iter()
            .filter_map(|&at| match self.segments[at] {
                Segment::Name(name) => Some(name),
                _ => None,
            })
            .collect();
        let are_all_names = names.len() == reached.len();
        if !are_all_names {
            names.retain(|name| matches!(*name, "." | ".."));
        }
        names.sort_unstable();
        names.dedup();
        for name in names {
            match folder.join(name).symlink_metadata() {
                Ok(found) => {
                    let kind = found.file_type().into();
                    self.enter(folder, OsStr::new(name), kind, &reached)?;
                }
                Err(error) => self.pass_over(here, error),
            }
        }
        if are_all_names {
            return Ok(());
        }
        let mut entries = SortedNames::of(here);
        loop {
            let (segments, mut failures) = (self.segments, Vec::new());
            let entry = entries.next(
                |entry| reached.iter().any(|&at| follows(segments, at, entry).is_some()),
                |error| failures.push(error),
            );
            failures.into_iter().for_each(|error| self.pass_over(here, error));
            match entry {
                Some(Entry { name, kind }) => self.enter(folder, &name, kind, &reached)?,
                None => return Ok(()),
            }
        }
    }

    /// Returns the positions, and those after each `**`, which may stand for no folder.
    fn with_skipped_folders(&self, reached: &[usize]) -> Vec<usize> {
        let mut all = Vec::with_capacity(reached.len() + 1);
        for &at in reached {
            let skipped = self.segments[at..]
                .iter()
                .take_while(|segment| matches!(segment, Segment::Folders))
                .count();
            all.extend(at..=at + skipped);
        }
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Visits an entry of a folder if it is a folder that may contain matches. Passes it on if it is a match.
    fn enter(&mut self, folder: &Path, name: &OsStr, kind: Kind, reached: &[usize]) -> Result<()> {
        let entry = Entry {
            name: name.to_owned(),
            kind,
        };
        let mut next: Vec<_> = reached
            .iter()
            .filter_map(|&at| follows(self.segments, at, &entry))
            .collect();
        next.sort_unstable();
        next.dedup();
        let is_match = next.pop_if(|at| *at == self.segments.len()).is_some();
        if !is_match && next.is_empty() {
            return Ok(());
        }
        let path = folder.join(name);
        let is_folder = match kind {
            Kind::Folder => true,
            Kind::Link => path.is_dir(),
            Kind::File => false,
        };
        match is_folder {
            true if next.is_empty() => Ok(()),
            true => self.visit(&path, &next),
            false if is_match => {
                self.has_found = true;
                (self.each)(&path)
            }
            false => Ok(()),
        }
    }

    /// Notes a folder that could not be read. Ignores the error if the folder is gone or is not a folder, because there
    /// are no files in it.
    fn pass_over(&mut self, folder: &Path, error: io::Error) {
        if matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
        ) {
            return;
        }
        match &self.unread {
            None => self.unread = Some((folder.to_owned(), error)),
            Some((noted, _)) if noted == folder => {}
            Some(_) => self.others_unread += 1,
        }
    }

    /// Returns the error of the folders that could not be read, or `missing` if no file was found.
    fn outcome(self, name: &str, missing: Error) -> Result<Option<Error>> {
        let Some((folder, error)) = self.unread else {
            return if self.has_found { Ok(None) } else { Err(missing) };
        };
        let more = match self.others_unread {
            0 => String::new(),
            count => format!(" and {count} more"),
        };
        let why = format!(
            "{}{more} cannot be read, so files below may be left out",
            shown(&folder)
        );
        let unread = Error::permanent(Stage::Fetch, Code::InputUnreadable, format!("{name}: {why}"))
            .because(error)
            .with_hint("let this user read it, or name a narrower pattern");
        if self.has_found {
            Ok(Some(unread))
        } else {
            Err(unread)
        }
    }
}

/// Returns the position that the path of an entry reaches if the entry matches the segment at the position `at`. Returns
/// `None` if the entry does not match. A `**` also covers the folders below, so its position stays.
fn follows(segments: &[Segment<'_>], at: usize, entry: &Entry) -> Option<usize> {
    match segments.get(at)? {
        Segment::Name(name) => (entry.name == *name).then_some(at + 1),
        // In a name that is not UTF-8, each invalid sequence is matched as one unknown character.
        Segment::Pattern(pattern) => pattern
            .matches_with(&entry.name.to_string_lossy(), AS_A_SHELL)
            .then_some(at + 1),
        Segment::Folders => {
            let is_hidden = entry.name.as_encoded_bytes().starts_with(b".");
            (entry.kind == Kind::Folder && !is_hidden).then_some(at)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pattern: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut note = |path: &Path| {
            found.push(path.display().to_string());
            Ok(())
        };
        assert!(for_each_match(pattern, &mut note).unwrap().is_none());
        found
    }

    #[test]
    fn each_file_is_found_once_in_the_order_of_the_paths() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let files = ["a.csv", "a/a/a/x.csv", "a/a/x.csv", "a/x.csv", "b/x.csv", "z.csv"];
        for file in files {
            let file = folder.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "").unwrap();
        }
        std::os::unix::fs::symlink("a", folder.path().join("link")).unwrap();
        let mut all: Vec<_> = files.iter().map(|file| PathBuf::from(path(file))).collect();
        all.sort();
        let all: Vec<_> = all.iter().map(|path| path.display().to_string()).collect();
        assert_eq!(found(&path("**")), all);
        assert_eq!(found(&path("**/*.csv")), all);
        assert_eq!(found(&path("**/**/*.csv")), all);
        for (pattern, expected) in [
            ("**/a/**/x.csv", &["a/a/a/x.csv", "a/a/x.csv", "a/x.csv"][..]),
            ("*/*/x.csv", &["a/a/x.csv", "link/a/x.csv"]),
            ("?/../z.csv", &["a/../z.csv", "b/../z.csv"]),
            ("b/**/../?.csv", &["b/../a.csv", "b/../z.csv"]),
        ] {
            let expected: Vec<_> = expected.iter().map(|name| path(name)).collect();
            assert_eq!(found(&path(pattern)), expected, "{pattern}");
        }
    }

    #[test]
    fn the_first_failure_ends_the_walk() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let mut count = 0;
        let mut each = |_: &Path| {
            count += 1;
            match count {
                1 => Ok(()),
                _ => Err(Error::permanent(Stage::Fetch, Code::Stopped, "enough")),
            }
        };
        let error = for_each_below(folder.path(), &mut each).expect_err("the second file");
        assert_eq!((error.code(), count), (Code::Stopped, 2));
    }

    #[test]
    fn what_is_gone_has_no_files() {
        let mut each = |_: &Path| Ok(());
        let mut walk = Walk::new(&[], &mut each);
        for kind in [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory] {
            walk.pass_over(Path::new("gone"), kind.into());
        }
        assert!(walk.unread.is_none());
        for _ in 0..2 {
            walk.pass_over(Path::new("theirs"), io::ErrorKind::PermissionDenied.into());
        }
        assert!(
            walk.unread
                .is_some_and(|(folder, _)| folder == Path::new("theirs"))
        );
        assert_eq!(walk.others_unread, 0);
    }
}
