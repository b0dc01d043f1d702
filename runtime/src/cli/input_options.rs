//! Defines the options for reading an input, which `submit`, `run`, `ingest` and `plugin bind` share.

use super::options::{heading, number};
use crate::format::Format;
use crate::request::{
    BlankRows, Character, DialectFrom, DuplicateColumns, InputOptions, LongRows, SKIP_FOOTER_MAX,
    SKIP_LINES_MAX, ShortRows, encoding_refused, parse_character, parse_encoding,
};

/// The options for reading an input. [`InputOptions`] explains each option.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = heading::INPUT)]
pub(super) struct InputOptionArgs {
    /// Format of the input [default: by its content type or name, else CSV].
    #[arg(id = "input_format", long = "input-format", value_name = "FORMAT", value_enum)]
    format: Option<Format>,
    /// CSV input: the character between fields [default: `,`]. `tab` or `\t` is a tab; `0x01` or `\x01` is a byte by
    /// its number. For several spaces use `--dialect spaces`.
    #[arg(long, value_name = "CHAR", value_parser = parse_character, allow_hyphen_values = true)]
    delimiter: Option<char>,
    /// CSV input: the character around fields that need it [default: `"`]; with `none`, quotes are plain text.
    #[arg(long, value_name = "CHAR|none")]
    quote: Option<Character>,
    /// CSV input: the escape character, such as `\`, which makes the next character plain text [default: none].
    #[arg(long, value_name = "CHAR|none")]
    escape: Option<Character>,
    /// CSV input: skip lines that begin with this character, such as `#` [default: none].
    #[arg(long, value_name = "CHAR|none")]
    comment: Option<Character>,
    /// CSV input: remove spaces after a delimiter, before the first field and around quotes.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    trim: Option<bool>,
    /// CSV input: the first record is data; the columns are named column_1, column_2, ...
    #[arg(
        long = "no-header",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = no_header
    )]
    header: Option<bool>,
    /// CSV input: `auto` detects an unspecified delimiter and quote from the first records; `spaces` reads fields
    /// separated by one or more spaces.
    #[arg(long, value_enum)]
    dialect: Option<DialectFrom>,
    /// CSV input: skip N lines at the beginning of the file, whatever they contain [default: 0].
    #[arg(long, value_name = "N", value_parser = number::<u32>(0..=i64::from(SKIP_LINES_MAX)))]
    skip_lines: Option<u32>,
    /// CSV input: skip N rows at the end of the file, such as a row of totals [default: 0].
    #[arg(long, value_name = "N", value_parser = number::<u32>(0..=i64::from(SKIP_FOOTER_MAX)))]
    skip_footer: Option<u32>,
    /// CSV input: how to treat a row with fewer fields than the header [default: reject].
    #[arg(long, value_enum)]
    short_rows: Option<ShortRows>,
    /// CSV input: how to treat a row with more fields than the header [default: reject].
    #[arg(long, value_enum)]
    long_rows: Option<LongRows>,
    /// CSV input: how to treat a row that consists of delimiters only [default: keep].
    #[arg(long, value_enum)]
    blank_rows: Option<BlankRows>,
    /// CSV input: how to treat a file with two columns of the same name [default: fail].
    #[arg(long, value_enum)]
    duplicate_columns: Option<DuplicateColumns>,
    /// Encoding of the input, such as utf-16, latin-1 or cp1252; the output is UTF-8.
    #[arg(long, value_name = "NAME", value_parser = encoding_name)]
    encoding: Option<String>,
}

impl From<InputOptionArgs> for InputOptions {
    fn from(args: InputOptionArgs) -> Self {
        let InputOptionArgs {
            format,
            delimiter,
            quote,
            escape,
            comment,
            trim,
            header,
            dialect,
            skip_lines,
            skip_footer,
            short_rows,
            long_rows,
            blank_rows,
            duplicate_columns,
            encoding,
        } = args;
        Self {
            format,
            delimiter,
            quote,
            escape,
            comment,
            trim,
            header,
            dialect,
            skip_lines,
            skip_footer,
            short_rows,
            long_rows,
            blank_rows,
            duplicate_columns,
            encoding,
            sha256: None,
            version: None,
        }
    }
}

/// Parses the value of `--no-header`. Returns true if the input has a header.
fn no_header(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(false),
        "false" => Ok(true),
        _ => Err("expected true or false".into()),
    }
}

fn encoding_name(label: &str) -> Result<String, String> {
    parse_encoding(label).ok_or_else(|| encoding_refused(label))
}
