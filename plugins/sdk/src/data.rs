//! Reference data: files that the operator gives to a plugin besides the input, such as a list of stations. The name of
//! the data comes in; its bytes, or a [`Table`] with an index, go out.
//!
//! The operator gives the data with `--data NAME=FILE` (`ingest`, `run`) or `--data NAME=URI` (`plugin bind`). A binding
//! keeps the bytes, so all requests of a binding see the same data. Data can be read in [`check`](crate::Plugin::check)
//! and [`open`](crate::Plugin::open) only, because the receipt names its digest before the first record.
//!
//! This plugin adds the name of a station to each record:
//!
//! ```
//! use ingest_plugin::data::{Table, TableColumn};
//! use ingest_plugin::*;
//!
//! struct Named {
//!     station_id: Column,
//!     station: OutputColumn,
//!     stations: Table,
//!     name: TableColumn,
//! }
//!
//! impl Plugin for Named {
//!     type Config = NoConfig;
//!     const STATEFUL: bool = false;
//!
//!     fn open(schema: &mut Schema, _: NoConfig) -> Result<Self, Refusal> {
//!         let stations = Table::read("stations", "id")?;
//!         Ok(Self {
//!             station_id: schema.read("station_id")?,
//!             station: schema.add("station", ColumnType::Text),
//!             name: stations.column("name")?,
//!             stations,
//!         })
//!     }
//!
//!     fn record(&mut self, record: &mut Record<'_>) -> Result<Verdict, Reject> {
//!         let Some(station) = self.stations.find(record.get(self.station_id)) else {
//!             return Err(record.reject(self.station_id, "unknown-station", "is no station"));
//!         };
//!         record.set(self.station, station.get(self.name));
//!         Ok(Verdict::Keep)
//!     }
//! }
//!
//! let setup = testing::Setup::new().data("stations", "id,name\n7,Mill\n8,Harbour\n");
//! let report = setup.run::<Named>("{}", "station_id\n8\n9\n")?;
//! assert_eq!(report.csv(), "station_id,station\n8,Harbour\n");
//! assert_eq!(report.rejects[0].code, "unknown-station");
//! # Ok::<(), Refusal>(())
//! ```

use std::collections::hash_map::{DefaultHasher, Entry};
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::host;
use crate::refusal::Refusal;
use crate::text::offset;

/// An index from texts to numbers. Its hash has no random key, because the component would have to import a source of
/// randomness. The operator chooses the data, so nobody gains from keys with the same hash.
type Index = HashMap<Box<str>, u32, BuildHasherDefault<DefaultHasher>>;

/// Returns the names of the reference data, sorted.
#[must_use]
pub fn names() -> Vec<String> {
    host::data_names()
}

/// Returns the bytes of the reference data `name`, or `None` if the operator gave no such data.
#[must_use]
pub fn bytes(name: &str) -> Option<Vec<u8>> {
    host::data(name)
}

/// Reference data as a table of texts, with an index by one column.
#[derive(Debug)]
pub struct Table {
    /// The name of the reference data, for refusals.
    name: String,
    columns: Vec<String>,
    /// The texts of all cells, one after the other.
    text: String,
    /// The end of each cell in `text`.
    ends: Vec<u32>,
    /// The index in `ends` of the first cell of each row. A row of JSON lines can have fewer cells than `columns`.
    starts: Vec<u32>,
    rows: Index,
}

/// A handle to a column of a [`Table`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableColumn(u32);

/// A row of a [`Table`].
#[derive(Clone, Copy, Debug)]
pub struct TableRow<'a> {
    table: &'a Table,
    row: usize,
}

impl Table {
    /// Reads the reference data `name` as a table, with an index by the column `key`. If the data begins with `{`, it is
    /// JSON lines: one object per line, whose members are the columns. If not, it is CSV: a header, and fields separated
    /// by commas.
    ///
    /// The text of a JSON string is its cell. For null and for a missing member, the cell is empty. For any other JSON
    /// value, the cell is the JSON text.
    ///
    /// # Errors
    /// Returns a refusal that names the data if there is no such data, if it is no table in UTF-8, if it has no column
    /// `key`, or if two rows have the same key.
    pub fn read(name: &str, key: &str) -> Result<Self, Refusal> {
        let bytes = bytes(name).ok_or_else(|| {
            Refusal::new(format!(
                "there is no reference data {name:?}, give it with --data {name}=..."
            ))
        })?;
        let mut table = Self::parse(name, bytes)?;
        table.rows = table.index(table.column(key)?)?;
        Ok(table)
    }

    /// Returns the names of the columns. For JSON lines, they are in the order of their first occurrence, sorted within
    /// a row.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Returns the handle of a column.
    ///
    /// # Errors
    /// Returns a refusal that lists the columns if there is no such column.
    pub fn column(&self, name: &str) -> Result<TableColumn, Refusal> {
        let at = self.columns.iter().position(|column| column == name);
        let missing = || self.refused(format!("there is no column {name:?}, only {:?}", self.columns));
        Ok(TableColumn(offset(at.ok_or_else(missing)?)))
    }

    /// Returns the row with this key, or `None` if there is none.
    #[inline]
    #[must_use]
    pub fn find(&self, key: &str) -> Option<TableRow<'_>> {
        self.rows.get(key).map(|&row| self.row(row as usize))
    }

    /// Returns the rows in the order of the data.
    pub fn rows(&self) -> impl Iterator<Item = TableRow<'_>> {
        (0..self.starts.len()).map(|row| self.row(row))
    }

    fn row(&self, row: usize) -> TableRow<'_> {
        TableRow { table: self, row }
    }

    fn index(&self, key: TableColumn) -> Result<Index, Refusal> {
        let mut index = Index::default();
        for row in self.rows() {
            let text = row.get(key);
            match index.entry(text.into()) {
                Entry::Vacant(entry) => entry.insert(offset(row.row)),
                Entry::Occupied(entry) => {
                    let (first, second) = (entry.get() + 1, row.row + 1);
                    let why = format!("rows {first} and {second} both have the key {text:?}");
                    return Err(self.refused(why));
                }
            };
        }
        Ok(index)
    }

    fn parse(name: &str, bytes: Vec<u8>) -> Result<Self, Refusal> {
        let mut table = Self {
            name: name.to_owned(),
            columns: Vec::new(),
            text: String::new(),
            ends: Vec::new(),
            starts: Vec::new(),
            rows: Index::default(),
        };
        let text = String::from_utf8(bytes).map_err(|_| table.refused("it is not UTF-8"))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        match text.trim_start().starts_with('{') {
            true => table.parse_jsonl(text)?,
            false => table.parse_csv(text)?,
        }
        Ok(table)
    }

    fn parse_csv(&mut self, text: &str) -> Result<(), Refusal> {
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header = reader
            .headers()
            .map_err(|error| self.refused(error.to_string()))?;
        self.columns = header.iter().map(str::to_owned).collect();
        let mut record = csv::StringRecord::new();
        while reader
            .read_record(&mut record)
            .map_err(|error| self.refused(error.to_string()))?
        {
            self.starts.push(offset(self.ends.len()));
            record.iter().for_each(|cell| self.push(cell));
        }
        Ok(())
    }

    fn parse_jsonl(&mut self, text: &str) -> Result<(), Refusal> {
        for (at, line) in text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
        {
            let refused = |table: &Self, error| table.refused(format!("line {}: {error}", at + 1));
            // A strict parser refuses repeated members. It cannot keep the texts of numbers.
            strict_json::from_str::<Map<String, Value>>(line).map_err(|error| refused(self, error))?;
            let mut members: BTreeMap<String, &RawValue> =
                serde_json::from_str(line).map_err(|error| refused(self, error))?;
            self.starts.push(offset(self.ends.len()));
            for column in 0..self.columns.len() {
                let value = members.remove(&self.columns[column]);
                self.push_json(value.map_or("null", RawValue::get))
                    .map_err(|error| refused(self, error))?;
            }
            for (name, value) in members {
                self.columns.push(name);
                self.push_json(value.get())
                    .map_err(|error| refused(self, error))?;
            }
        }
        Ok(())
    }

    fn push_json(&mut self, value: &str) -> serde_json::Result<()> {
        match value.as_bytes().first() {
            Some(b'"') => self.push(&serde_json::from_str::<String>(value)?),
            _ if value == "null" => self.push(""),
            _ => self.push(value),
        }
        Ok(())
    }

    fn push(&mut self, cell: &str) {
        self.text.push_str(cell);
        self.ends.push(offset(self.text.len()));
    }

    fn refused(&self, why: impl std::fmt::Display) -> Refusal {
        Refusal::new(format!("reference data {:?}: {why}", self.name))
    }
}

impl<'a> TableRow<'a> {
    /// Returns the cell in `column`.
    #[inline]
    #[must_use]
    pub fn get(&self, column: TableColumn) -> &'a str {
        let Table {
            text, ends, starts, ..
        } = self.table;
        let at = (starts[self.row] + column.0) as usize;
        let next_row = starts
            .get(self.row + 1)
            .map_or(ends.len(), |&start| start as usize);
        if at >= next_row {
            return "";
        }
        let start = match at {
            0 => 0,
            at => ends[at - 1] as usize,
        };
        &text[start..ends[at] as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Surroundings, run_in};

    fn table(bytes: impl Into<Vec<u8>>, key: &str) -> Result<Table, Refusal> {
        let mut surroundings = Surroundings::none();
        surroundings.data.insert("t".into(), bytes.into());
        run_in(surroundings, || Table::read("t", key)).0
    }

    fn cells(table: &Table) -> Vec<Vec<&str>> {
        let columns: Vec<_> = (0..table.columns.len())
            .map(|at| TableColumn(at as u32))
            .collect();
        table
            .rows()
            .map(|row| columns.iter().map(|&column| row.get(column)).collect())
            .collect()
    }

    #[test]
    fn csv_and_jsonl_give_the_same_table() {
        let csv = table("\u{feff}id,name\n7,\"a,b\"\n8,\n", "id").unwrap();
        let jsonl = table(
            "{\"id\":7,\"name\":\"a,b\"}\n\n{\"name\":null,\"id\":\"8\"}\n",
            "id",
        )
        .unwrap();
        for table in [csv, jsonl] {
            assert_eq!(table.columns(), ["id", "name"]);
            assert_eq!(cells(&table), [["7", "a,b"], ["8", ""]]);
            let name = table.column("name").unwrap();
            assert_eq!(table.find("7").map(|row| row.get(name)), Some("a,b"));
            assert!(table.find("9").is_none());
        }
    }

    #[test]
    fn rows_of_jsonl_can_lack_members_and_keep_the_text_of_numbers() {
        let table = table("{\"id\":1}\n{\"id\":2,\"x\":1.50}\n{\"y\":[1, 2],\"id\":3}", "id").unwrap();
        assert_eq!(table.columns(), ["id", "x", "y"]);
        assert_eq!(
            cells(&table),
            [["1", "", ""], ["2", "1.50", ""], ["3", "", "[1, 2]"]]
        );
    }

    #[test]
    fn data_that_is_no_table_is_refused() {
        for (bytes, key, why) in [
            (&b"id\n1\n1\n"[..], "id", "rows 1 and 2 both have the key \"1\""),
            (b"id\n1\n", "name", "there is no column \"name\", only [\"id\"]"),
            (b"id\n1,2\n", "id", "CSV error: record 1 (line: 2, byte: 3)"),
            (b"id\n\xff\n", "id", "it is not UTF-8"),
            (
                b"{\"a\":1,\"a\":2}",
                "a",
                "line 1: the member \"a\" is there twice",
            ),
            (b"{\"a\":1}\n[1]", "a", "line 2: "),
            (b"", "a", "there is no column \"a\", only []"),
        ] {
            let refusal = table(bytes, key).unwrap_err().to_string();
            assert!(refusal.starts_with("reference data \"t\": "), "{refusal}");
            assert!(refusal.contains(why), "expected {why:?}: {refusal}");
        }
        let missing = Table::read("other", "id").unwrap_err().to_string();
        assert_eq!(
            missing,
            "there is no reference data \"other\", give it with --data other=..."
        );
    }
}
