//! Expands the input arguments of `ingest`. Arguments go in, and the inputs come out, in order: standard input, paths
//! and URIs, and the files that patterns match.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use crate::document::near_file;
use crate::error::{Error, Result, Stage};
use crate::fetch::STDIN_URI;
use crate::listing::{for_each_match, has_wildcards};
use crate::location::{Location, is_uri, path_uri, redact};

/// An input of `ingest`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum InputArgument {
    /// Standard input, given as `-`.
    Stdin,
    /// A path or a URI.
    At(String),
}

impl InputArgument {
    /// Returns the URI for receipts, without credentials.
    pub(super) fn uri(&self) -> String {
        match self {
            Self::Stdin => STDIN_URI.to_owned(),
            Self::At(uri) => redact(uri),
        }
    }
}

impl fmt::Display for InputArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("stdin"),
            Self::At(uri) => f.write_str(&redact(uri)),
        }
    }
}

/// An argument that names no input, or a pattern that may not have found all files, with the error.
#[derive(Debug)]
pub(super) struct InputNotFound {
    pub(super) argument: String,
    pub(super) error: Box<Error>,
}

/// Returns the inputs that the arguments name. An input that is named twice is returned once.
pub(super) fn expand(arguments: &[OsString]) -> Vec<Result<InputArgument, InputNotFound>> {
    let mut seen = HashSet::new();
    let inputs = arguments.iter().flat_map(|argument| named_by(argument));
    inputs
        .filter(|input| input.as_ref().map_or(true, |input| seen.insert(identity(input))))
        .collect()
}

/// Returns an identity of an input. All spellings of the path of one local file, and all symbolic links to the file,
/// have the same identity.
fn identity(input: &InputArgument) -> OsString {
    let InputArgument::At(uri) = input else {
        return "-".into();
    };
    let real = match Location::parse(uri, Stage::Config) {
        Ok(Location::File(path)) => path.canonicalize().ok(),
        _ => None,
    };
    real.map_or_else(|| uri.into(), PathBuf::into_os_string)
}

/// Returns the inputs that an argument names. If a file has exactly this name, the argument is not treated as a
/// pattern.
fn named_by(argument: &OsStr) -> Vec<Result<InputArgument, InputNotFound>> {
    if argument == "-" {
        return vec![Ok(InputArgument::Stdin)];
    }
    let path = Path::new(argument);
    let Some(text) = argument.to_str() else {
        return vec![Ok(at(path))];
    };
    if text.contains("://") {
        return vec![Ok(InputArgument::At(text.to_owned()))];
    }
    if path.symlink_metadata().is_ok() {
        return vec![Ok(at(path))];
    }
    if is_uri(text) || !has_wildcards(text) {
        return vec![Ok(InputArgument::At(text.to_owned()))];
    }
    match matches(text) {
        Ok((found, unread)) => {
            let found = found.iter().map(|path| Ok(at(path)));
            found
                .chain(unread.map(|error| Err(not_found(text, error))))
                .collect()
        }
        Err(error) => vec![Err(not_found(text, error))],
    }
}

fn not_found(argument: &str, error: Error) -> InputNotFound {
    InputNotFound {
        argument: argument.to_owned(),
        error: Box::new(error),
    }
}

/// Returns the files that a pattern matches, sorted. If a folder could not be read, also returns an error, because this
/// folder may contain more matches.
fn matches(pattern: &str) -> Result<(Vec<PathBuf>, Option<Error>)> {
    let mut found = Vec::new();
    let unread = for_each_match(pattern, &mut |path| {
        found.push(path.to_owned());
        Ok(())
    })?;
    Ok((found, unread))
}

/// Returns the file whose name is most similar to the name of a missing input, or `None` if no name is similar.
pub(super) fn near(uri: &str) -> Option<String> {
    match Location::parse(uri, Stage::Fetch) {
        Ok(Location::File(path)) => near_file(&path, |_| true).map(|near| near.display().to_string()),
        _ => None,
    }
}

/// Returns the input at a path.
fn at(path: &Path) -> InputArgument {
    InputArgument::At(path_uri(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(arguments: &[&OsStr]) -> Vec<Result<String, String>> {
        let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let text = |input: Result<InputArgument, InputNotFound>| match input {
            Ok(input) => Ok(input.to_string()),
            Err(not_found) => Err(not_found.error.report()),
        };
        expand(&arguments).into_iter().map(text).collect()
    }

    #[test]
    fn a_pattern_names_its_files_in_order_and_a_file_itself() {
        use std::os::unix::ffi::OsStrExt;

        let folder = tempfile::tempdir().unwrap();
        let names = [
            &b"b.csv"[..],
            b"a b.csv",
            b"[x]*.csv",
            b"c\n.csv",
            b".hidden.csv",
            b"\xff.csv",
            b"d.txt",
        ];
        for name in names {
            std::fs::write(folder.path().join(OsStr::from_bytes(name)), "a\n1\n").unwrap();
        }
        std::fs::create_dir(folder.path().join("e.csv")).unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let all = path("*.csv");
        let literal = path("[x]*.csv");
        let found = expanded(&[
            literal.as_ref(),
            all.as_ref(),
            literal.as_ref(),
            "-".as_ref(),
            "-".as_ref(),
        ]);
        let not_utf8 = format!("file://{}", path("%FF.csv"));
        let expected = [
            &literal,
            &path("a b.csv"),
            &path("b.csv"),
            &path("c\n.csv"),
            &not_utf8,
            "stdin",
        ];
        assert_eq!(found, expected.map(|text| Ok(text.to_owned())));

        std::fs::create_dir_all(folder.path().join("f/g/.h")).unwrap();
        let deep = ["f/1.tsv", "f/g/2.tsv", "f/g/.h/3.tsv"].map(&path);
        for file in &deep {
            std::fs::write(file, "a\n").unwrap();
        }
        for (pattern, expected) in [
            ("**/*.tsv", &deep[..2]),
            ("f/**/[12].tsv", &deep[..2]),
            ("?/*/2.*", &deep[1..2]),
            ("f/g/.*/*", &deep[2..]),
        ] {
            let expected: Vec<_> = expected.iter().cloned().map(Ok).collect();
            assert_eq!(expanded(&[path(pattern).as_ref()]), expected, "{pattern}");
        }

        for pattern in ["*.parquet", "no/*.csv", "e.*", "b.csv/*", "F/*.tsv"] {
            let pattern = path(pattern);
            let [Err(why)] = &expanded(&[pattern.as_ref()])[..] else {
                panic!("{pattern} matches nothing");
            };
            assert!(why.contains(&pattern) && why.contains("no file matches"), "{why}");
        }
    }

    /// The folder cannot be read because its path is too long. A folder of another user would not do for this test,
    /// because root can read it.
    #[test]
    fn a_folder_that_cannot_be_read_is_told_beside_the_files_that_are_found() {
        use rustix::fs::{Mode, OFlags, mkdirat, openat};

        let folder = tempfile::tempdir().unwrap();
        let mut last = rustix::fs::open(folder.path(), OFlags::DIRECTORY, Mode::empty()).unwrap();
        let name = "x".repeat(200);
        for _ in 0..25 {
            mkdirat(&last, &*name, Mode::RWXU).unwrap();
            last = openat(&last, &*name, OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        let path = |name: &str| folder.path().join(name).display().to_string();
        let all = path("**/*.csv");
        let [Err(why)] = &expanded(&[all.as_ref()])[..] else {
            panic!("nothing is there");
        };
        assert!(why.contains("x cannot be read") && why.contains(&all), "{why}");

        std::fs::create_dir(folder.path().join("a")).unwrap();
        let files = ["a/1.csv", "z.csv"].map(&path);
        for file in &files {
            std::fs::write(file, "a\n").unwrap();
        }
        let [Ok(one), Ok(other), Err(why)] = &expanded(&[all.as_ref()])[..] else {
            panic!("two files and an error");
        };
        assert_eq!([one, other], [&files[0], &files[1]]);
        assert!(
            why.contains(&name) && why.ends_with("name a narrower pattern"),
            "{why}"
        );
    }

    #[test]
    fn a_uri_is_no_pattern() {
        for uri in [
            "https://example.com/a.csv?x=[1]*",
            "s3://bucket/*.csv",
            "file:///no/such/*.csv",
        ] {
            assert_eq!(expanded(&[uri.as_ref()]), [Ok(uri.to_owned())]);
        }
    }
}
