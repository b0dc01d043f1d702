//! Recognizes a notice that a server sent in place of a file, by the first records of the text. A notice consists of
//! sentences, or of phrases such as `Access denied`. In a sentence, each comma is followed by a space and usually by a
//! lowercase letter. In a row of a table, a delimiter usually is not. The result is a guess.

/// Phrases that servers and people write in place of a file. Usually a phrase is the whole line, or a punctuation mark
/// follows it.
const PHRASES: &[&str] = &[
    "access denied",
    "accessdenied",
    "authentication required",
    "bad gateway",
    "bad request",
    "connection timed out",
    "file not found",
    "forbidden",
    "gateway timeout",
    "gateway time-out",
    "internal server error",
    "invalid api key",
    "invalid token",
    "login required",
    "maintenance",
    "no content",
    "no data",
    "no records",
    "no such file or directory",
    "no results",
    "not authorized",
    "not found",
    "nosuchbucket",
    "nosuchkey",
    "permission denied",
    "rate exceeded",
    "rate limit exceeded",
    "request timeout",
    "service temporarily unavailable",
    "service unavailable",
    "session expired",
    "slow down",
    "temporarily unavailable",
    "too many requests",
    "unauthorized",
    "under maintenance",
];

/// The first words of notices that continue with other words.
const BEGINNINGS: &[&str] = &[
    "error:",
    "warning:",
    "notice:",
    "fatal:",
    "exception:",
    "sorry,",
    "sorry ",
    "error code:",
    "no healthy upstream",
    "upstream connect error",
    "upstream request timeout",
    "stream timeout",
    "rbac: access denied",
    "dear ",
    "traceback (",
];

/// Words that are common in sentences and rare in the names of columns.
const WORDS_OF_SENTENCES: &[&str] = &[
    "are",
    "be",
    "been",
    "can",
    "cannot",
    "contact",
    "could",
    "denied",
    "does",
    "expired",
    "failed",
    "has",
    "have",
    "is",
    "must",
    "not",
    "please",
    "try",
    "unable",
    "unavailable",
    "was",
    "were",
    "will",
    "you",
    "your",
];

/// The minimum number of words in a sentence that has no word of [`WORDS_OF_SENTENCES`].
const WORDS_OF_PROSE: usize = 7;

/// A text that is possibly a notice.
pub(super) struct NoticeCandidate<'a> {
    /// The first line, without its quotes.
    pub(super) line: &'a str,
    /// The fields of the first line.
    pub(super) names: &'a [&'a str],
    /// The records below the first line.
    pub(super) records: &'a [&'a [u8]],
    /// True if at least half of the records have as many fields as the first line.
    pub(super) is_table: bool,
}

/// Returns whether a text is a notice.
pub(super) fn is_notice(text: &NoticeCandidate<'_>) -> bool {
    let line = text.line.trim();
    if line.contains('_') {
        return false;
    }
    match text.names {
        [] | [_] => is_notice_in_one_column(line, text.records),
        names => is_notice_over_columns(line, names, text),
    }
}

/// Returns whether a line without a delimiter is a sentence or a phrase of a notice. If there are records below, at
/// least half of them must look like text, not like values.
fn is_notice_in_one_column(line: &str, records: &[&[u8]]) -> bool {
    let is_sentence = is_sentence(line);
    // A single word can also be the name of a column, so at least half of the lines below must explain an error.
    let is_phrase = |line: &str| is_phrase(line) && (line.contains(' ') || is_half(records, is_explanation));
    if records.is_empty() {
        return is_sentence || begins_notice(line) || self::is_phrase(line) || has_words_of_sentence(line);
    }
    // Values look different: numbers and dates have no letters, and names have few words.
    let has_letters = |record: &str| record.contains(char::is_alphabetic);
    let has_words = |record: &str| {
        words(record) > 2
            || record.ends_with(['.', '!', '?', ':', ',', '？', '：', '、', '，'])
            || ends_sentence(record)
    };
    begins_notice(line) && is_half(records, has_letters)
        || (is_sentence || is_phrase(line)) && is_half(records, has_words)
}

/// Returns whether a line with delimiters is a sentence or an error. After each delimiter, such a line continues like a
/// sentence, or it consists of clauses of at least three words.
fn is_notice_over_columns(line: &str, names: &[&str], text: &NoticeCandidate<'_>) -> bool {
    let (first, others) = (names[0].trim(), &names[1..]);
    let has_clauses = || {
        let is_upper = |name: &&str| name.trim_start().starts_with(char::is_uppercase);
        is_upper(&first) && !others.iter().any(is_upper) && names.iter().all(|name| words(name) >= 3)
    };
    if !others.iter().all(|name| reads_on(name)) {
        return !text.is_table && has_clauses() && has_words_of_sentence(line);
    }
    let begins = begins_notice(line);
    if text.is_table {
        return (begins || is_sentence(line)) && is_half(text.records, is_line_of_letter);
    }
    let has_long = others.iter().any(|name| words(name) >= 3);
    let is_over_letter = is_half(text.records, is_line_of_letter) && words(line) >= 3;
    let names_error =
        first.eq_ignore_ascii_case("error") && (has_long || others.iter().any(|name| begins_phrase(name)));
    let begins =
        begins && (has_long || is_sentence(line) || BEGINNINGS.iter().any(|start| has_start(line, start)));
    begins && (words(line) >= 3 || others.iter().all(|name| name.is_empty()))
        || names_error
        || is_over_letter
        || is_sentence(line) && has_long && first.starts_with(char::is_uppercase)
        || has_clauses() && has_words_of_sentence(line)
}

/// Returns whether the field after a delimiter continues the sentence before the delimiter. An empty field counts too,
/// because the delimiter can be at the end of the line.
fn reads_on(name: &str) -> bool {
    name.is_empty() || name.starts_with(' ') && name.trim_start().starts_with(char::is_lowercase)
}

/// Returns whether a line can belong to a letter to a person. Such a line ends like a sentence, or has commas or
/// semicolons. After each of them, the line continues like a sentence.
fn is_line_of_letter(line: &str) -> bool {
    let is_ended = line.starts_with(char::is_alphabetic)
        && (line.ends_with(['.', '!', '?', '？']) || ends_sentence(line));
    let mut clauses = line.split([',', ';']).skip(1).peekable();
    let goes_on = clauses.peek().is_some() && words(line) >= 3 && line.starts_with(char::is_uppercase);
    (is_ended || goes_on) && clauses.all(reads_on)
}

fn is_sentence(line: &str) -> bool {
    words(line) >= 3 && line.ends_with(['.', '!']) || ends_sentence(line)
}

/// Returns whether a line ends with a mark that ends sentences in Chinese, Japanese, Hindi or Urdu. Names and
/// abbreviations do not end with such a mark. The words are not counted, because Chinese and Japanese have no spaces
/// between words.
fn ends_sentence(line: &str) -> bool {
    line.ends_with(['。', '｡', '！', '．', '।', '۔'])
}

/// Returns whether a line explains an error. Such a line ends like a sentence. It also has the words of a sentence, or
/// ends with a mark that only sentences have.
fn is_explanation(line: &str) -> bool {
    is_sentence(line) && (has_words_of_sentence(line) || ends_sentence(line))
}

/// Returns whether a line has the words of a sentence: at least [`WORDS_OF_PROSE`] words, or at least four words with
/// one of [`WORDS_OF_SENTENCES`] among them. A question does not count, because it can be the name of a column.
fn has_words_of_sentence(line: &str) -> bool {
    const QUESTIONS: &[&str] = &["how", "what", "when", "where", "which", "who", "why"];
    let lower = line.to_lowercase();
    let each: Vec<_> = lower
        .split_whitespace()
        .map(|word| word.trim_matches([',', ';', ':', '.', '!']))
        .collect();
    let is_question = line.ends_with('?') || each.first().is_some_and(|word| QUESTIONS.contains(word));
    // A line such as `Number of items that were sold` is the name of a column.
    let is_name =
        matches!(each[..], [first, "of", ..] if !["all", "most", "none", "one", "some"].contains(&first));
    let has_verb = || {
        let mut before = "";
        each.iter().any(|word| {
            let is_in_clause = ["that", "which", "who"].contains(&std::mem::replace(&mut before, word));
            !is_in_clause && WORDS_OF_SENTENCES.contains(word)
        })
    };
    !is_question && (each.len() >= WORDS_OF_PROSE && !is_name || each.len() >= 4 && has_verb())
}

/// Returns whether a line begins with an HTTP status, with one of the [`BEGINNINGS`], or with one of the [`PHRASES`]
/// and a punctuation mark.
fn begins_notice(line: &str) -> bool {
    let is_mark = |rest: &str| rest.starts_with([':', ',', '!', '.', ';']);
    is_status(line)
        || BEGINNINGS.iter().any(|start| has_start(line, start))
        || PHRASES
            .iter()
            .any(|phrase| has_start(line, phrase) && is_mark(&line[phrase.len()..]))
}

/// Returns whether a line is one of the [`PHRASES`].
fn is_phrase(line: &str) -> bool {
    PHRASES.iter().any(|phrase| line.eq_ignore_ascii_case(phrase))
}

/// Returns whether a line begins with the number of an HTTP error and one of the [`PHRASES`], such as `404 Not Found`
/// or `HTTP 502: Bad Gateway`.
fn is_status(line: &str) -> bool {
    let before = ["http error ", "http ", "error "]
        .iter()
        .find(|before| has_start(line, before));
    let line = &line[before.map_or(0, |before| before.len())..];
    let [b'4' | b'5', b'0'..=b'9', b'0'..=b'9', b' ' | b':', ..] = line.as_bytes() else {
        return false;
    };
    begins_phrase(&line[4..])
}

fn begins_phrase(text: &str) -> bool {
    let text = text.trim_start_matches([' ', ':', '-']);
    PHRASES.iter().any(|phrase| has_start(text, phrase))
}

/// Returns whether a text begins with `start`, in uppercase or lowercase letters.
fn has_start(text: &str, start: &str) -> bool {
    text.get(..start.len())
        .is_some_and(|text| text.eq_ignore_ascii_case(start))
}

fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

/// Returns whether there are records and `is` holds for at least half of them.
fn is_half(records: &[&[u8]], is: impl Fn(&str) -> bool) -> bool {
    let such = records
        .iter()
        .filter(|record| is(String::from_utf8_lossy(record).trim()))
        .count();
    such > 0 && 2 * such >= records.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> bool {
        let mut lines = text.lines();
        let line = lines.next().unwrap();
        let names: Vec<_> = line.split(',').collect();
        let records: Vec<_> = lines.filter(|line| !line.is_empty()).map(str::as_bytes).collect();
        let is_wide = |record: &&&[u8]| record.split(|byte| *byte == b',').count() == names.len();
        let is_table = names.len() > 1 && is_half(&records, |record| is_wide(&&record.as_bytes()));
        is_notice(&NoticeCandidate {
            line,
            names: &names,
            records: &records,
            is_table,
        })
    }

    #[test]
    fn sentences_and_the_words_of_an_error_are_a_notice() {
        for text in [
            "Service unavailable",
            "NoSuchKey",
            "404: Not Found",
            "404 page not found",
            "HTTP 502: Bad Gateway\n",
            "404 Not Found\nnginx\n",
            "error code: 1020",
            "Your export is being prepared",
            "Your export is being prepared, please come back later",
            "Access to this resource is denied,please log in",
            "Error, file not found",
            "error, not found",
            "Access denied, please log in",
            "Sorry, no data",
            "Hello, the export failed.",
            "Dear customer,\nwe are closed.\nGoodbye.\n",
            "Hello to all,\nwe are closed.\nGoodbye.\n",
            "The export has failed.\nPlease contact support.\n",
            "The export has failed.\n\nRequest id: 81a7\n",
            "Sorry, the export is not ready yet.\nPlease try again later, or write to us.\n",
            "Error: not found, sorry\nPlease, try later\n",
            "Forbidden",
            "Forbidden\nYou are not allowed to see this file.\n",
            "The file that you requested is gone",
            "None of the files that you requested is there",
            "Number of requests: the limit that was set is exceeded",
            "ファイルが見つかりません。",
            "ただいまメンテナンス中です！\nしばらくお待ちください。\n",
            "您没有访问权限。\n请联系管理员。\n",
            "Sorry, the export is not ready yet.\nPlease wait.\n",
        ] {
            assert!(of(text), "{text:?}");
        }
    }

    #[test]
    fn names_of_columns_are_none_whatever_stands_below() {
        let headers = [
            "error,message",
            "error,count",
            "error, message",
            "forbidden,count",
            "forbidden, allowed",
            "No records,Records",
            "Maintenance,Cost",
            "maintenance, total cost",
            "Warning: limit,b",
            "404 Not Found,500 Internal Server Error",
            "How satisfied are you with it?,Comment",
            "id,What is your favourite colour and why?",
            "id,full name,tel no.",
            "date,Please tell us more.",
            "Item name,Unit price,Serial No.",
            "Date of birth,Date of the last visit,Name of the doctor",
        ];
        for header in headers {
            let row = vec!["5"; header.split(',').count()].join(",");
            for below in [
                String::new(),
                "5\n".to_owned(),
                format!("{row}\n"),
                format!("{row}\n5\n{row}\n"),
            ] {
                let text = format!("{header}\n{below}");
                assert!(!of(&text), "{text:?}");
            }
        }
        for text in [
            "error",
            "error\nx\n",
            "no data\n1\n2\n",
            "404 Not Found\n12\n13\n",
            "Please rate us.\n5\n4\n",
            "What is your favourite colour and why",
            "Is it good enough for you?",
            "Date of birth",
            "Date of the last visit",
            "Name of customer.\nSmith\nJones\n",
            "Number of items that were sold",
            "Number of items that were sold in the year",
            "maintenance\nOil change for car\nTyre change at front\n",
            "maintenance\nOil change done at last.\nTyre change at front.\n",
            "Forbidden\nno dogs in here\n",
            "商品名",
            "first name, last name\nJohn, Smith\n",
            "first name, last name\nJohn\n",
        ] {
            assert!(!of(text), "{text:?}");
        }
    }
}
