//! The name of a file and its content type go in; hints about its format come out. Any hint can be wrong, so the
//! options of a request overrule the hints.

use super::Format;

/// The hints from a name and a content type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hints {
    /// The format.
    pub format: Option<Format>,
    /// The delimiter of CSV.
    pub delimiter: Option<char>,
    /// True if the first record of CSV names the columns, or `None` if the content type does not say.
    pub header: Option<bool>,
    /// The label of the encoding, as the server gives it.
    pub charset: Option<String>,
    /// The type that the name or the content type gives, if this type is not a format of this crate.
    pub other: Option<OtherType>,
}

/// A type of a file that is not a format of this crate, given by the file's name or content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherType {
    /// JSON. Such a file can have one object on each line.
    Json,
    /// A type of file that is not a table in text form. The string is the name of the type in messages.
    NoTable(&'static str),
}

/// The hints from an extension or a media type.
type HintParts = (Option<Format>, Option<char>, Option<OtherType>);

const NOTHING: HintParts = (None, None, None);

const fn csv(delimiter: Option<char>) -> HintParts {
    (Some(Format::Csv), delimiter, None)
}

const fn no_table(what: &'static str) -> HintParts {
    (None, None, Some(OtherType::NoTable(what)))
}

impl Hints {
    /// Combines the hints from a file name and from a content type. `extension` is the last extension of the name, in
    /// lowercase and without its dot. If the content type names a format, the content type decides. Exception:
    /// `text/csv` does not name the delimiter, so the delimiter can come from the extension. If only the extension
    /// names a format, the extension decides, because servers give types such as `text/plain` or `application/json` to
    /// any file. If neither names a format, the field `other` comes from the content type or, if this gives no hint,
    /// from the extension.
    pub fn new(extension: &str, content_type: Option<&str>) -> Self {
        let content_type = content_type.unwrap_or_default();
        let mut parts = content_type.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
        let by_type = of_media_type(&media_type);
        let by_extension = of_extension(extension);
        let (format, delimiter, other) = match (by_type, by_extension) {
            // `text/csv` does not say which delimiter the file has.
            ((Some(Format::Csv), None, _), (Some(Format::Csv), Some(delimiter), _)) => csv(Some(delimiter)),
            ((Some(_), ..), _) => by_type,
            (_, (Some(_), ..)) => by_extension,
            ((.., Some(_)), _) => by_type,
            _ => by_extension,
        };
        let mut hints = Self {
            format,
            delimiter,
            other,
            ..Self::default()
        };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"').to_ascii_lowercase();
            match (name.trim().to_ascii_lowercase().as_str(), value.as_str()) {
                ("charset", _) if !value.is_empty() => hints.charset = Some(value),
                // RFC 4180, section 3, defines this parameter.
                ("header", "absent") => hints.header = Some(false),
                ("header", "present") => hints.header = Some(true),
                _ => {}
            }
        }
        hints
    }
}

fn of_media_type(media_type: &str) -> HintParts {
    match media_type {
        "text/csv"
        | "text/x-csv"
        | "application/csv"
        | "application/x-csv"
        | "text/comma-separated-values"
        | "text/x-comma-separated-values" => csv(None),
        "text/tab-separated-values"
        | "text/x-tab-separated-values"
        | "application/tab-separated-values"
        | "text/tsv"
        | "text/x-tsv"
        | "application/tsv" => csv(Some('\t')),
        "application/jsonl"
        | "application/x-jsonl"
        | "text/jsonl"
        | "text/x-jsonl"
        | "application/jsonlines"
        | "application/x-jsonlines"
        | "application/json-lines"
        | "application/ndjson"
        | "application/x-ndjson"
        | "text/x-ndjson"
        | "application/x-ldjson" => (Some(Format::Jsonl), None, None),
        "application/json" | "text/json" | "application/x-json" => (None, None, Some(OtherType::Json)),
        "text/html" | "application/xhtml+xml" => no_table("HTML"),
        "text/xml" | "application/xml" => no_table("XML"),
        "application/pdf" => no_table("PDF"),
        "application/zip" | "application/x-zip-compressed" => no_table("a ZIP archive"),
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => no_table("an Excel workbook"),
        _ if media_type.ends_with("+json") => (None, None, Some(OtherType::Json)),
        _ if media_type.ends_with("+xml") => no_table("XML"),
        _ if media_type.starts_with("image/") => no_table("an image"),
        _ if media_type.starts_with("audio/") || media_type.starts_with("video/") => no_table("media"),
        // Windows also uses `application/vnd.ms-excel` for CSV, so this type gives no hint.
        _ => NOTHING,
    }
}

fn of_extension(extension: &str) -> HintParts {
    match extension {
        "csv" => csv(None),
        "tsv" | "tab" => csv(Some('\t')),
        "psv" => csv(Some('|')),
        "ssv" => csv(Some(';')),
        "jsonl" | "ndjson" | "jsonlines" | "ldjson" => (Some(Format::Jsonl), None, None),
        "json" | "geojson" | "json5" | "ipynb" => (None, None, Some(OtherType::Json)),
        "html" | "htm" | "xhtml" => no_table("HTML"),
        "xml" => no_table("XML"),
        "pdf" => no_table("PDF"),
        "xlsx" | "xlsm" | "ods" => no_table("a spreadsheet"),
        "docx" | "odt" | "rtf" => no_table("a document"),
        "zip" | "7z" | "rar" | "tar" | "tgz" => no_table("an archive"),
        "xz" | "bz2" | "lz4" | "br" => no_table("a compressed file"),
        "parquet" | "avro" | "orc" | "feather" | "arrow" => no_table("a columnar file"),
        "sqlite" | "db" => no_table("a database"),
        "png" | "jpg" | "jpeg" | "gif" | "webp" => no_table("an image"),
        "sql" => no_table("SQL"),
        "yaml" | "yml" => no_table("YAML"),
        "md" => no_table("Markdown"),
        "log" => no_table("a log"),
        _ => NOTHING,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Format::{Csv, Jsonl};

    #[test]
    fn the_content_type_goes_before_the_name_where_it_says_a_format() {
        let json = Some(OtherType::Json);
        let html = Some(OtherType::NoTable("HTML"));
        for (extension, content_type, expected) in [
            ("csv", None, (Some(Csv), None, None)),
            ("tsv", None, (Some(Csv), Some('\t'), None)),
            ("tab", None, (Some(Csv), Some('\t'), None)),
            ("psv", None, (Some(Csv), Some('|'), None)),
            ("ssv", None, (Some(Csv), Some(';'), None)),
            ("ndjson", None, (Some(Jsonl), None, None)),
            ("json", None, (None, None, json)),
            ("txt", None, NOTHING),
            ("", None, NOTHING),
            ("tsv", Some("text/csv"), (Some(Csv), Some('\t'), None)),
            (
                "csv",
                Some("text/tab-separated-values"),
                (Some(Csv), Some('\t'), None),
            ),
            (
                "",
                Some("Text/Tab-Separated-Values; charset=utf-8"),
                (Some(Csv), Some('\t'), None),
            ),
            ("csv", Some("application/x-ndjson"), (Some(Jsonl), None, None)),
            ("jsonl", Some("application/json"), (Some(Jsonl), None, None)),
            ("csv", Some("application/json"), (Some(Csv), None, None)),
            ("csv", Some("text/html"), (Some(Csv), None, None)),
            ("csv", Some("application/vnd.ms-excel"), (Some(Csv), None, None)),
            ("json", Some("text/csv"), (Some(Csv), None, None)),
            ("json", Some("text/plain"), (None, None, json)),
            ("", Some("application/problem+json"), (None, None, json)),
            ("php", Some("text/html; charset=utf-8"), (None, None, html)),
            ("json", Some("text/html"), (None, None, html)),
            (
                "tsv",
                Some("application/octet-stream"),
                (Some(Csv), Some('\t'), None),
            ),
        ] {
            let Hints {
                format,
                delimiter,
                other,
                ..
            } = Hints::new(extension, content_type);
            assert_eq!(
                (format, delimiter, other),
                expected,
                "{extension} {content_type:?}"
            );
        }
    }

    #[test]
    fn parameters_are_read_however_they_are_written() {
        for (content_type, charset, header) in [
            ("text/csv; charset=ISO-8859-1", Some("iso-8859-1"), None),
            (
                "text/csv;header=absent ; Charset = \"UTF-8\"",
                Some("utf-8"),
                Some(false),
            ),
            ("text/csv; header=present", None, Some(true)),
            ("text/csv; charset=", None, None),
            ("text/csv; x", None, None),
        ] {
            let hints = Hints::new("", Some(content_type));
            assert_eq!(
                (hints.charset.as_deref(), hints.header),
                (charset, header),
                "{content_type}"
            );
        }
    }
}
