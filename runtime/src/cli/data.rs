//! Reads reference data that a person names: `NAME=URI` comes in; the bytes go to the plugin, unpacked if they are
//! compressed.

use std::io::Read;
use std::sync::Arc;

use super::options::heading;
use crate::digest::Digesting;
use crate::error::{Class, Code, Error, Result, Stage};
use crate::fetch::{Fetcher, RequestedBy};
use crate::location::redact;
use crate::plugin::{DATA_BYTES_MAX, ReferenceData, check_data_name, data_too_large};
use crate::stop::Stop;

/// The option for reference data.
#[derive(Clone, Default, clap::Args)]
#[command(next_help_heading = heading::PLUGIN)]
pub(super) struct DataArgs {
    /// Reference data that the plugin can read: a file or URI, under a name (repeatable). It is read once, and unpacked
    /// if it is compressed. All data together has at most 64 MiB.
    #[arg(long = "data", value_name = "NAME=URI", value_parser = data_argument)]
    data: Vec<DataArgument>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct DataArgument {
    name: String,
    uri: String,
}

/// Reference data that was read.
pub(super) struct NamedData {
    pub(super) name: String,
    /// The URI or path, without credentials.
    pub(super) uri: String,
    pub(super) bytes: Arc<[u8]>,
}

fn data_argument(text: &str) -> Result<DataArgument, String> {
    let (name, uri) = text
        .split_once('=')
        .filter(|(_, uri)| !uri.is_empty())
        .ok_or("write NAME=FILE or NAME=URI, as in stations=stations.csv")?;
    check_data_name(name).map_err(|error| error.report_without_stage())?;
    Ok(DataArgument {
        name: name.to_owned(),
        uri: uri.to_owned(),
    })
}

impl DataArgs {
    /// Reads the data with the rights of the person who typed the option. Must be called on a thread of a Tokio runtime
    /// that is allowed to block.
    ///
    /// # Errors
    /// Fails permanently, with stage config, if a name is given twice or all data together is too large. Returns the
    /// errors of the fetch about a file or a server.
    pub(super) fn read_blocking(&self, fetcher: &Fetcher) -> Result<Vec<NamedData>> {
        let mut left = DATA_BYTES_MAX;
        let mut read = Vec::with_capacity(self.data.len());
        for DataArgument { name, uri } in &self.data {
            let about = |error: Error| error.about(format_args!("--data {name}"));
            let bytes = read_whole(fetcher, uri, left as u64 + 1).map_err(about)?;
            left = left
                .checked_sub(bytes.len())
                .ok_or_else(|| data_too_large(name))?;
            read.push(NamedData {
                name: name.clone(),
                uri: redact(uri),
                bytes: bytes.into(),
            });
        }
        Ok(read)
    }

    /// Reads the data on a thread that may block.
    ///
    /// # Errors
    /// Fails as [`DataArgs::read_blocking`] does.
    pub(super) async fn read(&self, fetcher: Fetcher) -> Result<Vec<NamedData>> {
        if self.data.is_empty() {
            return Ok(Vec::new());
        }
        let arguments = self.clone();
        let reading = tokio::task::spawn_blocking(move || arguments.read_blocking(&fetcher));
        reading.await.unwrap_or_else(|error| {
            let what = "reference data could not be read";
            Err(Error::permanent(Stage::Config, Code::HostFailure, what).because(error))
        })
    }

    /// Returns whether the option is not given.
    pub(super) fn is_empty(&self) -> bool {
        self.data.is_empty()
    }
}

/// Returns the data in the form in which a plugin reads it.
///
/// # Errors
/// Fails as [`ReferenceData::new`] does.
pub(super) fn for_plugin(read: Vec<NamedData>) -> Result<ReferenceData> {
    ReferenceData::new(read.into_iter().map(|data| (data.name, data.bytes)))
}

/// Reads an input, but at most `bytes_max` bytes of it.
fn read_whole(fetcher: &Fetcher, uri: &str, bytes_max: u64) -> Result<Vec<u8>> {
    let source = fetcher.open_blocking(uri, RequestedBy::Typed, &Stop::default())?;
    let (reader, _) = source.into_reader(Digesting::default())?;
    let mut bytes = Vec::new();
    let read = reader.take(bytes_max).read_to_end(&mut bytes);
    read.map_err(|error| {
        let what = format!("{}: cannot be read", redact(uri));
        Error::from_io(error, Stage::Fetch, Class::Transient, Code::InputUnreadable, what)
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_has_a_name_and_a_place() {
        let argument = data_argument("stations=https://host/a?b=c").unwrap();
        assert_eq!(
            (argument.name.as_str(), argument.uri.as_str()),
            ("stations", "https://host/a?b=c")
        );
        for refused in ["stations", "stations=", "=a.csv", "a b=c.csv"] {
            data_argument(refused).unwrap_err();
        }
    }
}
