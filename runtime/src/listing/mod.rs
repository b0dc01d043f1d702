//! Lists inputs, so that one command can submit many. A pattern, a folder or a list of URIs goes in. The inputs that it
//! names come out, one at a time, each with an id. Local files and listed objects also have a version.

mod objects;
mod sorted_names;
mod uri_list;
mod walk;

use std::ffi::OsStr;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use tokio::runtime::Handle;

pub use self::objects::ObjectPattern;
pub use self::uri_list::{ListedUri, UriList};
use self::walk::{for_each_below, shown};
pub use self::walk::{for_each_match, has_wildcards};
use crate::error::{Code, Error, Result, Stage};
use crate::fetch::version_of_file;
use crate::location::{Location, Provider, file_uri, is_uri, redact, scheme};
use crate::names::derived_id;
use crate::storage::object::ObjectStores;

/// The number of hexadecimal digits in the id of a listed input. With this many, two of a million files have the same id
/// with a probability below 1 in 10 million.
const ID_DIGEST_CHARS: usize = 16;

/// An input that a listing has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedInput {
    /// An id that is the same whenever this version of the input is listed, and only then.
    pub id: String,
    /// The URI or the absolute path of the input.
    pub uri: String,
    /// The version of the input: see [`crate::request::InputOptions::version`].
    pub version: Option<String>,
}

impl ListedInput {
    /// Returns an input whose version is not known. The id is made of the URI only.
    pub fn at(uri: &str) -> Self {
        Self::of(uri.to_owned(), None)
    }

    fn of(uri: String, version: Option<String>) -> Self {
        // Neither a URI nor a version has line ends, so different inputs have different contents.
        let content = format!("{uri}\n{}", version.as_deref().unwrap_or_default());
        Self {
            id: derived_id(&uri, &content, ID_DIGEST_CHARS),
            uri,
            version,
        }
    }
}

/// An argument that names several inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Several {
    /// A pattern for local files.
    Pattern(String),
    /// A local folder: all files in it and in the folders below.
    Folder(PathBuf),
    /// A pattern for objects of a store.
    Objects(ObjectPattern),
}

/// The result of a listing.
#[derive(Debug, Default)]
pub struct Listed {
    /// The number of matches that were left out because they are no regular files.
    pub left_out: u64,
    /// The error of a folder or a file that could not be examined, or of a list of objects that broke off.
    pub unread: Option<Error>,
}

impl Several {
    /// Returns the inputs that an argument names, or `None` if it names one input. If a file has exactly this name, the
    /// argument is not treated as a pattern.
    ///
    /// # Errors
    /// Fails permanently, with stage config, if the inputs cannot be listed.
    pub fn of(argument: &str) -> Result<Option<Self>> {
        let is_folder = argument.ends_with('/');
        if let Some(scheme) = scheme(argument) {
            return match Provider::of_scheme(&scheme) {
                Some(_) => Ok(ObjectPattern::parse(argument)?.map(Self::Objects)),
                None => Ok(None),
            };
        }
        // A mistyped URL with a query is no pattern.
        if argument.contains("://") {
            return Ok(None);
        }
        let exists = Path::new(argument).symlink_metadata().is_ok();
        Ok(match (exists, has_wildcards(argument)) {
            (false, true) if is_folder => Some(Self::Pattern(format!("{argument}**"))),
            (false, true) => Some(Self::Pattern(argument.to_owned())),
            _ if is_folder => Some(Self::Folder(argument.into())),
            _ => None,
        })
    }

    /// Passes each input to `each`, in the order of the paths or of the store, until `each` fails. Objects are listed by
    /// `stores`, on `runtime`. Blocks.
    ///
    /// # Errors
    /// Fails with stage fetch, permanently if there is no input. Fails as [`ObjectPattern::for_each`] and `each` do.
    pub fn for_each(
        &self,
        stores: &ObjectStores,
        runtime: &Handle,
        each: impl FnMut(ListedInput) -> Result<()>,
    ) -> Result<Listed> {
        match self {
            Self::Pattern(pattern) => {
                let name = redact(pattern);
                for_each_file(&name, each, |visit| for_each_match(pattern, visit))
            }
            Self::Folder(folder) => {
                let name = shown(folder);
                for_each_file(&name, each, |visit| for_each_below(folder, visit))
            }
            Self::Objects(pattern) => pattern.for_each(stores, runtime, each),
        }
    }
}

/// Passes each regular file that `walk` visits to `each`.
fn for_each_file(
    name: &str,
    mut each: impl FnMut(ListedInput) -> Result<()>,
    walk: impl FnOnce(&mut dyn FnMut(&Path) -> Result<()>) -> Result<Option<Error>>,
) -> Result<Listed> {
    let (mut files, mut listed, mut has_found) = (LocalFiles::default(), Listed::default(), false);
    let mut unknown = None;
    let mut visit = |path: &Path| {
        match files.input(path) {
            Ok(Some(input)) => {
                has_found = true;
                return each(input);
            }
            Ok(None) => listed.left_out += 1,
            Err(error) if leads_nowhere(&error) => listed.left_out += 1,
            Err(error) => {
                unknown.get_or_insert_with(|| {
                    let what = format!(
                        "{name}: {} cannot be examined, so it and files beside it may be left out",
                        shown(path)
                    );
                    Error::permanent(Stage::Fetch, Code::InputUnreadable, what)
                        .because(error)
                        .with_hint("let this user examine it, or name a narrower pattern")
                });
            }
        }
        Ok(())
    };
    let unread = walk(&mut visit)?.or(unknown);
    if !has_found {
        if let Some(error) = unread {
            return Err(error);
        }
        let what = format!(
            "{name}: none of its {} matches is a regular file",
            listed.left_out
        );
        return Err(Error::permanent(Stage::Fetch, Code::NotAFile, what));
    }
    listed.unread = unread;
    Ok(listed)
}

/// Returns whether an error means that a file is gone since its folder was read, or is a link that leads nowhere.
fn leads_nowhere(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidFilename, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory | InvalidFilename)
        || Errno::from_io_error(error) == Some(Errno::LOOP)
}

/// Returns the input at a URI or path. If it is a local file, the input has a version. All spellings of the URI of an
/// object give the same input.
pub fn input_at(uri: &str, files: &mut LocalFiles) -> ListedInput {
    let uri = match Location::parse(uri, Stage::Fetch) {
        Ok(Location::File(path)) => match files.input(&path) {
            Ok(Some(input)) => return input,
            _ => absolute(uri),
        },
        Ok(Location::Object(object)) => object.to_string(),
        _ => absolute(uri),
    };
    ListedInput::at(&uri)
}

/// Returns a URI unchanged, and a path as an absolute path, so that a worker in another folder of this machine can find
/// the file.
pub fn absolute(uri: &str) -> String {
    if is_uri(uri) {
        return uri.to_owned();
    }
    std::path::absolute(uri).map_or_else(|_| uri.to_owned(), |path| uri_of(&path))
}

/// Makes inputs of local files. Remembers the last folder, because most files are in the same folder as the one before.
#[derive(Debug, Default)]
pub struct LocalFiles {
    /// A folder, and its path without links.
    folder: Option<(PathBuf, PathBuf)>,
}

impl LocalFiles {
    /// Returns the input at a path, or `None` if it is no regular file. All spellings of a path, and all links to a file,
    /// give the same input.
    fn input(&mut self, path: &Path) -> io::Result<Option<ListedInput>> {
        let found = path.symlink_metadata()?;
        let (real, found) = match (found.is_symlink(), path.parent(), path.file_name()) {
            (false, Some(folder), Some(name)) => (self.real_path(folder, name)?, found),
            _ => (path.canonicalize()?, path.metadata()?),
        };
        Ok(found.is_file().then(|| of_file(&real, &found)))
    }

    fn real_path(&mut self, folder: &Path, name: &OsStr) -> io::Result<PathBuf> {
        if let Some((known, real)) = &self.folder
            && known == folder
        {
            return Ok(real.join(name));
        }
        let real = match folder.as_os_str().is_empty() {
            true => Path::new(".").canonicalize()?,
            false => folder.canonicalize()?,
        };
        let path = real.join(name);
        self.folder = Some((folder.to_owned(), real));
        Ok(path)
    }
}

fn of_file(real: &Path, metadata: &Metadata) -> ListedInput {
    ListedInput::of(uri_of(real), Some(version_of_file(metadata)))
}

/// Returns an absolute path unchanged. A path that is not UTF-8, or that has control characters, becomes a `file:` URI.
fn uri_of(path: &Path) -> String {
    match path.to_str() {
        Some(text) if !text.contains(char::is_control) => text.to_owned(),
        _ => file_uri(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(argument: &str) -> Vec<ListedInput> {
        let several = Several::of(argument).unwrap().expect("several inputs");
        let mut inputs = Vec::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let listed = several.for_each(&ObjectStores::default(), runtime.handle(), |input| {
            inputs.push(input);
            Ok(())
        });
        assert!(listed.unwrap().unread.is_none());
        inputs
    }

    #[test]
    fn an_argument_is_a_pattern_a_folder_or_one_input() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("[a]*.csv"), "").unwrap();
        std::fs::create_dir(path("d[1]")).unwrap();
        for (argument, expected) in [
            (path("[a]*.csv"), None),
            (path("*.csv"), Some(Several::Pattern(path("*.csv")))),
            (path("x*/"), Some(Several::Pattern(path("x*/**")))),
            (path("d[1]/"), Some(Several::Folder(path("d[1]/").into()))),
            (path("none/"), Some(Several::Folder(path("none/").into()))),
            (path("d[1]"), None),
            (path("none"), None),
            ("https://h.example/a*/".into(), None),
            ("file:///a*".into(), None),
            ("x/https://h.example/a?x=1".into(), None),
            ("s3://b/a.csv?versionId=1".into(), None),
        ] {
            assert_eq!(Several::of(&argument).unwrap(), expected, "{argument}");
        }
        for uri in ["s3://b/a/", "S3://b/*.csv", "gs://b/**", "az://c/"] {
            let several = Several::of(uri).unwrap();
            assert!(matches!(several, Some(Several::Objects(_))), "{uri}");
        }
    }

    #[test]
    fn an_id_is_that_of_a_version_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["b.csv", "a.csv", "c\n.csv"] {
            std::fs::write(path(name), name).unwrap();
        }
        std::os::unix::fs::symlink("b.csv", path("d.csv")).unwrap();
        std::os::unix::fs::symlink("nowhere", path("e.csv")).unwrap();
        let all = path("*.csv").display().to_string();
        let before = listed(&all);
        let names: Vec<_> = before
            .iter()
            .map(|input| &input.uri[input.uri.len() - 6..])
            .collect();
        assert_eq!(names, ["/a.csv", "/b.csv", "0A.csv", "/b.csv"]);
        assert_eq!(before[1], before[3]);
        assert_eq!(listed(&all), before);
        assert_eq!(listed(&format!("{}/", folder.path().display()))[..2], before[..2]);
        for (spelled, listed) in [("../x/./b.csv", &before[1]), ("d.csv", &before[1])] {
            let spelled = path(&spelled.replace('x', &folder.path().file_name().unwrap().to_string_lossy()));
            let found = input_at(&spelled.display().to_string(), &mut LocalFiles::default());
            assert_eq!(found, *listed);
        }
        // The file is replaced by another file of the same length.
        let replacement = std::fs::File::create(path("b.new")).unwrap();
        std::io::Write::write_all(&mut &replacement, b"b.new").unwrap();
        replacement.set_modified(std::time::UNIX_EPOCH).unwrap();
        std::fs::rename(path("b.new"), path("b.csv")).unwrap();
        let after = listed(&all);
        assert_eq!((&after[0], &after[1].uri), (&before[0], &before[1].uri));
        assert_ne!(after[1].id, before[1].id);
        assert_eq!(after[1].version.as_deref(), Some("5-0.000000000"));
    }

    #[test]
    fn an_input_without_a_version_has_the_id_of_its_uri() {
        let at = |uri: &str| input_at(uri, &mut LocalFiles::default());
        let one = at("https://h.example/a.csv?x=1");
        assert!(one.id.starts_with("a-") && one.version.is_none());
        assert_eq!(one, at("https://h.example/a.csv?x=1"));
        assert_ne!(one.id, at("https://h.example/a.csv?x=2").id);
        assert_eq!(at("/no/such.csv").version, None);
        let object = at("s3://b/x y/a.csv?versionId=1");
        assert_eq!(object, at("S3://b/x%20y/%61.csv?versionId=1"));
        assert_ne!(object.id, at("s3://b/x y/a.csv").id);
    }

    #[test]
    fn a_file_that_cannot_be_examined_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("a.csv"), "").unwrap();
        std::os::unix::fs::symlink("loop", path("loop")).unwrap();
        let files = |names: &[&str]| {
            let mut count = 0;
            let each = |_: ListedInput| {
                count += 1;
                Ok(())
            };
            let listed = for_each_file("d", each, |visit| {
                names
                    .iter()
                    .try_for_each(|name| visit(&path(name)))
                    .map(|()| None)
            });
            (listed, count)
        };
        // The system refuses this name, in the place of a folder whose files this user may not examine.
        let refused = "\0";
        let (listed, count) = files(&["none", "a.csv", refused, "loop", "none/x", "a.csv/x"]);
        let listed = listed.unwrap();
        assert_eq!((listed.left_out, count), (4, 1));
        assert_eq!(listed.unread.expect("an error").code(), Code::InputUnreadable);
        assert_eq!(
            files(&["none", refused]).0.expect_err("no file").code(),
            Code::InputUnreadable
        );
        assert_eq!(
            files(&["none", "loop"]).0.expect_err("no file").code(),
            Code::NotAFile
        );
    }

    #[test]
    fn only_plain_paths_are_made_absolute() {
        assert_eq!(absolute("https://example.com/a.csv"), "https://example.com/a.csv");
        assert_eq!(absolute("file:/data/a.csv"), "file:/data/a.csv");
        assert_eq!(absolute("http:\\\\example.com"), "http:\\\\example.com");
        assert!(absolute("a.csv").starts_with('/') && absolute("./a:b.csv").starts_with('/'));
        assert!(absolute("a\n.csv").starts_with("file:///"));
    }
}
