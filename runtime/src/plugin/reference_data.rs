//! Holds the reference data of a plugin: named bytes go in; the plugin reads them at `open`, and receipts get their
//! digests.

use std::collections::BTreeMap;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::error::{Code, Error, Result, Stage};

/// The maximum number of bytes of all reference data of a plugin. Each instance can copy them into its own memory.
pub const DATA_BYTES_MAX: usize = 64 << 20;

/// The maximum number of names of reference data of a plugin.
const DATA_NAMES_MAX: usize = 64;

/// The maximum length of a name, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// The reference data that the operator gives to a plugin. A clone is cheap.
#[derive(Default, Clone, PartialEq, Eq)]
pub struct ReferenceData(Arc<BTreeMap<String, NamedData>>);

/// The bytes of one name, with their digest.
#[derive(Clone, PartialEq, Eq)]
struct NamedData {
    sha256: String,
    bytes: Arc<[u8]>,
}

impl std::fmt::Debug for ReferenceData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ReferenceData").field(&self.digests()).finish()
    }
}

impl ReferenceData {
    /// Returns reference data from names and their bytes.
    ///
    /// # Errors
    /// Fails permanently, with stage config, if a name is malformed or occurs twice, or if there are too many names or
    /// bytes.
    pub fn new(named: impl IntoIterator<Item = (String, Arc<[u8]>)>) -> Result<Self> {
        let mut data = BTreeMap::new();
        let mut left = DATA_BYTES_MAX;
        for (name, bytes) in named {
            check_data_name(&name)?;
            left = left.checked_sub(bytes.len()).ok_or_else(|| too_large(&name))?;
            let sha256 = HEXLOWER.encode(&Sha256::digest(&bytes));
            let twice = || refused(format!("the reference data \"{name}\" is given twice"));
            match data.insert(name.clone(), NamedData { sha256, bytes }) {
                Some(_) => return Err(twice()),
                None if data.len() > DATA_NAMES_MAX => {
                    return Err(refused(format!(
                        "a plugin takes reference data under at most {DATA_NAMES_MAX} names"
                    )));
                }
                None => {}
            }
        }
        Ok(Self(Arc::new(data)))
    }

    /// Returns whether there is no byte of data.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of bytes of all data.
    pub fn len(&self) -> usize {
        self.0.values().map(|data| data.bytes.len()).sum()
    }

    /// Returns the bytes with this SHA-256, in lowercase hex.
    pub fn with_digest(&self, sha256: &str) -> Option<Arc<[u8]>> {
        let found = self.0.values().find(|data| data.sha256 == sha256);
        found.map(|data| Arc::clone(&data.bytes))
    }

    /// Returns the names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Returns the bytes of a name.
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(|data| &*data.bytes)
    }

    /// Checks that the data has these digests, which are given by name, sorted.
    ///
    /// # Errors
    /// Fails permanently if a digest differs: the place where the data was stored has changed it.
    pub fn expect<'a>(&'a self, digests: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<()> {
        let own = self.0.iter();
        let own = own.map(|(name, data)| (name.as_str(), data.sha256.as_str()));
        if own.eq(digests) {
            return Ok(());
        }
        let what = "the server's reference data has other digests than the binding";
        Err(Error::permanent(Stage::Plugin, Code::PluginMissing, what))
    }

    /// Returns the SHA-256 of each name's bytes, in lowercase hex.
    pub fn digests(&self) -> BTreeMap<String, String> {
        let digests = self.0.iter();
        digests
            .map(|(name, data)| (name.clone(), data.sha256.clone()))
            .collect()
    }
}

/// Checks the name of reference data: 1 to 64 ASCII letters, digits, dots, dashes and underscores.
///
/// # Errors
/// Fails permanently, with stage config.
pub fn check_data_name(name: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(allowed) {
        return Ok(());
    }
    Err(refused(format!(
        "\"{name}\" is no name of reference data: it takes 1 to {NAME_BYTES_MAX} letters, digits, dots, dashes and \
         underscores"
    )))
}

/// Returns the error for reference data of a binding that the server does not have.
pub fn missing(name: &str, sha256: &str) -> Error {
    let what = format!("the server does not have the reference data \"{name}\", {sha256}");
    Error::permanent(Stage::Plugin, Code::PluginMissing, what)
}

/// Returns the error for reference data that exceeds [`DATA_BYTES_MAX`] with this name.
pub fn too_large(name: &str) -> Error {
    refused(format!(
        "the reference data has more than {DATA_BYTES_MAX} bytes, with \"{name}\""
    ))
}

fn refused(what: String) -> Error {
    Error::permanent(Stage::Config, Code::SettingsInvalid, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(named: &[(&str, usize)]) -> Result<ReferenceData> {
        let named = named.iter();
        ReferenceData::new(named.map(|&(name, bytes)| (name.to_owned(), vec![b'x'; bytes].into())))
    }

    #[test]
    fn names_and_sizes_are_bounded() {
        let two = data(&[("b", 2), ("a.csv", DATA_BYTES_MAX - 2)]).unwrap();
        assert_eq!(two.names().collect::<Vec<_>>(), ["a.csv", "b"]);
        assert_eq!(two.bytes("b"), Some(&b"xx"[..]));
        assert_eq!((two.bytes("c"), two.digests().len()), (None, 2));
        let many: Vec<_> = (0..=DATA_NAMES_MAX).map(|at| at.to_string()).collect();
        let many: Vec<_> = many.iter().map(|name| (name.as_str(), 0)).collect();
        data(&many[1..]).unwrap();
        let refused: [(&[(&str, usize)], &str); 6] = [
            (
                &[("a", DATA_BYTES_MAX), ("b", 1)],
                "more than 67108864 bytes, with \"b\"",
            ),
            (&[("a", 1), ("a", 1)], "given twice"),
            (&many, "at most 64 names"),
            (&[("", 1)], "no name of reference data"),
            (&[("a b", 1)], "no name of reference data"),
            (&[("a/b", 1)], "no name of reference data"),
        ];
        for (named, why) in refused {
            let error = data(named).unwrap_err();
            assert_eq!(error.code(), Code::SettingsInvalid);
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
