//! Recognizes a log by the first lines of a text. A line of a log has a time and a level, or the form of syslog or of a
//! web server's log. The result is a guess, because the rows of a CSV file can look like such lines.

/// The maximum number of lines that are examined after the first.
const LINES: usize = 100;

/// The words that logs use for levels of severity.
const LEVELS: &[&str] = &[
    "TRACE", "DEBUG", "INFO", "NOTICE", "WARN", "WARNING", "ERROR", "ERR", "FATAL", "CRITICAL", "SEVERE",
    "PANIC",
];

/// Returns whether the first line of a text and at least half of the next lines have the form of a log.
pub(super) fn is_log<'a>(first: &str, rest: impl Iterator<Item = &'a [u8]>) -> bool {
    if !is_log_line(first.as_bytes()) {
        return false;
    }
    let lines = rest.filter(|line| !line.trim_ascii().is_empty()).take(LINES);
    let (alike, all) = lines.fold((0, 0), |(alike, all), line| {
        (alike + usize::from(is_log_line(line)), all + 1)
    });
    2 * alike >= all
}

fn is_log_line(line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(&line[..line.len().min(256)]);
    let line = line.trim_start();
    // These are the forms of Apache, nginx and logfmt.
    let has_word = |word: &str| {
        line.match_indices(word)
            .any(|(at, _)| at == 0 || line[..at].ends_with(' '))
    };
    if line.contains(" - - [") || has_word("level=") && has_word("msg=") {
        return true;
    }
    let mut words = line
        .split([' ', '[', ']', '(', ')', '<', '>'])
        .filter(|word| !word.is_empty())
        .map(|word| word.trim_end_matches([':', '|', '-']));
    let first = words.next().unwrap_or_default();
    let second = words.next().unwrap_or_default();
    // This is the form of Python's `logging`: `INFO:root:started`.
    let mut parts = line.splitn(3, ':');
    if parts.next().is_some_and(|level| LEVELS.contains(&level))
        && parts.next().is_some_and(is_logger)
        && parts.next().is_some()
    {
        return true;
    }
    if is_level(first) {
        return is_date(second) || line.starts_with('[') && words.next().is_some();
    }
    let is_timed = is_date(first) || is_clock(first) || is_month(first) && second.parse::<u8>().is_ok();
    let is_syslog = is_month(first)
        && words.next().is_some_and(is_clock)
        && words.nth(1).is_some_and(|name| !name.is_empty());
    let others = line.split([' ', '[', ']', '(', ')', '|', ':']).take(12);
    is_timed && (is_syslog || others.into_iter().any(is_level))
}

/// Returns whether a word is a level of severity.
pub(super) fn is_level(word: &str) -> bool {
    LEVELS.iter().any(|level| word.eq_ignore_ascii_case(level))
}

/// Returns whether a text can be the name of a logger: one word, which can contain dots.
fn is_logger(name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-');
    !name.is_empty() && name.chars().all(is_part)
}

/// Returns whether a word begins with a date in digits, such as `2024-01-31`, `2024/01/31` or `31.01.2024`.
fn is_date(word: &str) -> bool {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let first = digits(word);
    let rest = word.get(first + 1..).unwrap_or_default();
    let second = digits(rest);
    let third = digits(rest.get(second + 1..).unwrap_or_default());
    let mark = |text: &str, at: usize| matches!(text.as_bytes().get(at), Some(b'-' | b'/' | b'.'));
    mark(word, first)
        && mark(rest, second)
        && matches!((first, second, third), (4, 1 | 2, 1..) | (1 | 2, 1 | 2, 4))
}

/// Returns whether a word begins with a time of day.
fn is_clock(word: &str) -> bool {
    matches!(
        word.as_bytes(),
        [b'0'..=b'2', b'0'..=b'9', b':', b'0'..=b'5', b'0'..=b'9', b':', ..]
    )
}

fn is_month(word: &str) -> bool {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    MONTHS.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::super::lines::lines;
    use super::*;

    fn of(text: &str) -> bool {
        let (first, rest) = text.split_at(text.find(['\n', '\r']).unwrap_or(text.len()));
        is_log(first, lines(rest.as_bytes()))
    }

    #[test]
    fn a_log_is_recognized_by_half_of_its_lines() {
        for text in [
            "2024-01-01 10:00:00 INFO started\n2024-01-01 10:00:01 ERROR failed, retrying\n",
            "2024-01-01 10:00:00 INFO started\r2024-01-01 10:00:01 ERROR failed, retrying\r",
            "2024-01-01 10:00:00,123 INFO started\n",
            "2024-01-01 10:00:00 ERROR failed\nTraceback\n2024-01-01 10:00:01 INFO started\n",
            "Jan  1 10:00:00 host sshd[12]: accepted\r\nJan  1 10:00:01 host cron: done\r\n",
            "INFO:root:started\nINFO:root:ended\n",
            "time=10:00 level=info msg=\"a, b\"\nlevel=warn msg=c\n",
        ] {
            assert!(of(text), "{text:?}");
        }
    }

    #[test]
    fn a_table_with_times_or_levels_is_none() {
        for text in [
            "time,level,message\n2024-01-01 10:00:00,INFO,started\n",
            "2024-01-01 10:00:00,INFO,started\n2024-01-01 10:00:01,INFO,ended\n",
            "2024-01-01 10:00:00;INFO;started\n",
            "Warning: low,Warning: high\n",
            "Error:Count:Rate\n",
            "INFO:as follows:x\n",
            "host=a,level=1,msg=2\n",
            "timestamp\n2024-01-01 10:00:00\n",
            "2024-01-01 10:00:00 INFO started\r1\r2\r3\r",
        ] {
            assert!(!of(text), "{text:?}");
        }
    }
}
