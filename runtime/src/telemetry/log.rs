//! Writes the log. Events go in. For each event, exactly one line on stderr comes out, even if the event contains line
//! breaks.

use std::ffi::OsString;
use std::fmt::{self, Debug};
use std::io::IsTerminal;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::{Format, Json, JsonFields, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use super::stderr::Lines;
use crate::escape;

/// The form of log lines.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Human,
    Json,
}

/// The target of the lines that say why the program, or a part of its work, has failed. No filter removes these lines.
/// Without them, only the exit code would show an error.
pub(crate) const FAILURE: &str = "failure";

/// Starts the log: from now on, the events that pass the filter are written to stderr.
pub(crate) fn start(format: LogFormat, filter: Targets) {
    let filter = filter.with_target(FAILURE, LevelFilter::ERROR);
    let log = tracing_subscriber::fmt::layer()
        .with_writer(|| Lines)
        .with_target(false);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Json => registry
            .with(
                log.json()
                    .flatten_event(true)
                    .with_span_list(false)
                    .map_event_format(SafeJson),
            )
            .init(),
        LogFormat::Human => registry
            .with(log.fmt_fields(HumanFields).with_ansi(colours_stderr()))
            .init(),
    }
}

/// Returns whether stderr can show colours and the user wants them.
pub(crate) fn colours_stderr() -> bool {
    may_colour(std::io::stderr().is_terminal(), &|name| std::env::var_os(name))
}

/// Returns whether stdout can show colours and the user wants them.
pub(crate) fn colours_stdout() -> bool {
    may_colour(std::io::stdout().is_terminal(), &|name| std::env::var_os(name))
}

/// Returns whether colours can be shown and the user wants them: see <https://no-color.org>.
fn may_colour(is_terminal: bool, variable: &dyn Fn(&str) -> Option<OsString>) -> bool {
    is_terminal && variable("NO_COLOR").is_none_or(|value| value.is_empty()) && !is_dumb(variable)
}

/// Returns whether the terminal does not support escape sequences.
pub(crate) fn is_dumb(variable: &dyn Fn(&str) -> Option<OsString>) -> bool {
    variable("TERM").is_some_and(|value| value == "dumb")
}

/// Formats events as lines of JSON. Characters that could control a terminal are escaped.
struct SafeJson<T>(Format<Json, T>);

impl<S, T> FormatEvent<S, JsonFields> for SafeJson<T>
where
    T: FormatTime,
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        writer.write_str(&escape::json(line))
    }
}

/// Formats fields for people: `message field=word other="more words"`. Texts are escaped and limited in length. A text
/// of more than one word is quoted, so that no part of it looks like a field or a line.
struct HumanFields;

impl<'writer> FormatFields<'writer> for HumanFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = HumanVisitor {
            writer,
            is_first: true,
            written: Ok(()),
        };
        fields.record(&mut visitor);
        visitor.written
    }
}

struct HumanVisitor<'writer> {
    writer: Writer<'writer>,
    is_first: bool,
    written: fmt::Result,
}

impl HumanVisitor<'_> {
    fn write(&mut self, field: &Field, text: &str, in_quotes: bool) {
        if self.written.is_err() {
            return;
        }
        let space = if std::mem::take(&mut self.is_first) {
            ""
        } else {
            " "
        };
        let name = field.name();
        let shown = if in_quotes {
            escape::quoted(text).into()
        } else {
            escape::for_people(text)
        };
        self.written = if name == "message" {
            write!(self.writer, "{space}{shown}")
        } else {
            let [italic, dimmed, plain] = match self.writer.has_ansi_escapes() {
                true => ["\x1b[3m", "\x1b[2m", "\x1b[0m"],
                false => [""; 3],
            };
            write!(self.writer, "{space}{italic}{name}{plain}{dimmed}={plain}{shown}")
        };
    }
}

impl Visit for HumanVisitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.write(field, value, field.name() != "message");
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.write(field, &value.to_string(), true);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        let is_word = |c: char| !c.is_whitespace() && !matches!(c, '"' | '=') && !escape::is_unseen(c);
        let in_quotes = field.name() != "message" && !text.chars().all(is_word);
        self.write(field, &text, in_quotes);
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns the log line of an event that has this text in each part that can hold text.
    fn logged(format: LogFormat, text: &str) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let log = tracing_subscriber::fmt::layer()
            .with_writer(move || writer.clone())
            .with_target(false)
            .without_time();
        let event = || {
            let _span = tracing::info_span!("request", id = text).entered();
            let error = io::Error::other(text);
            tracing::warn!(
                text,
                shown = %text,
                debug = ?Some(1),
                count = 3,
                error = &error as &dyn std::error::Error,
                "the {text}"
            );
        };
        match format {
            LogFormat::Human => {
                let log = log.fmt_fields(HumanFields).with_ansi(false);
                tracing::subscriber::with_default(tracing_subscriber::registry().with(log), event);
            }
            LogFormat::Json => {
                let log = log.json().flatten_event(true).map_event_format(SafeJson);
                tracing::subscriber::with_default(tracing_subscriber::registry().with(log), event);
            }
        }
        String::from_utf8(lines.0.lock().expect("no panic").clone()).expect("text")
    }

    #[test]
    fn an_event_is_one_line_and_its_fields_are_told_apart() {
        assert_eq!(
            logged(LogFormat::Human, "word"),
            " WARN request{id=\"word\"}: the word text=\"word\" shown=word debug=Some(1) count=3 error=\"word\"\n"
        );
        let shown = r#"a\" b=\"\n\u{202e}"#;
        assert_eq!(
            logged(LogFormat::Human, "a\" b=\"\n\u{202e}"),
            format!(
                " WARN request{{id=\"{shown}\"}}: the a\" b=\"\\n\\u{{202e}} text=\"{shown}\" shown=\"{shown}\" \
                 debug=Some(1) count=3 error=\"{shown}\"\n"
            )
        );
    }

    #[test]
    fn colours_are_for_terminals_that_show_them_to_people_who_want_them() {
        for (is_terminal, no_color, term, expected) in [
            (true, None, Some("xterm-256color"), true),
            (true, None, None, true),
            (true, Some(""), Some("xterm"), true),
            (true, Some("1"), Some("xterm"), false),
            (true, Some("0"), None, false),
            (true, None, Some("dumb"), false),
            (false, None, Some("xterm"), false),
        ] {
            let variable = |name: &str| {
                let value = if name == "TERM" { term } else { no_color };
                value.map(OsString::from)
            };
            assert_eq!(
                may_colour(is_terminal, &variable),
                expected,
                "{no_color:?} {term:?}"
            );
        }
    }

    #[test]
    fn a_line_of_json_keeps_every_text() {
        let text = "a\"\n\u{1b}[2J\u{7f}\u{9b}\u{202e}\u{2028}\u{e0041}z";
        let line = logged(LogFormat::Json, text);
        assert_eq!(line.find(escape::is_unseen), Some(line.len() - 1), "{line}");
        let event: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        for member in [
            &event["text"],
            &event["shown"],
            &event["error"],
            &event["span"]["id"],
        ] {
            assert_eq!(member, text);
        }
        assert_eq!(event["message"], format!("the {text}"));
    }

    #[test]
    fn a_line_is_bounded() {
        let line = logged(LogFormat::Human, &"\u{202e}".repeat(1 << 20));
        assert!(line.len() < 6 * (escape::SHOWN_CHARS_MAX + 100), "{}", line.len());
        assert!(line.contains(" more characters)"), "{line}");
    }
}
