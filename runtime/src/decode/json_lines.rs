//! Checks that the first lines of a text look like JSONL. The result is a guess, and an option of the request overrules
//! it.

use memchr::memchr;

use super::lines::lines;
use super::{content_kind, text_document};
use crate::format::{OtherType, clip};

/// Checks that a text looks like JSONL.
///
/// # Errors
/// Returns a message with the reason why the text is probably not JSONL, and with advice.
pub(super) fn check(text: &[u8], other: Option<OtherType>) -> Result<(), String> {
    let mut lines = lines(text)
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty());
    let Some(first) = lines.next() else {
        return Ok(());
    };
    let is_json = other == Some(OtherType::Json);
    let is_object = |line: &[u8]| line.starts_with(b"{");
    let first_words = clip(first);
    if let Some(what) = text_document::of_program(&String::from_utf8_lossy(first), text)
        && first.starts_with(b"{")
    {
        return Err(format!(
            "is {what}, not JSONL (\"{first_words}\"): is it an answer in place of the file? say --input-format jsonl if it is not"
        ));
    }
    if !is_object(first) && !lines.any(is_object) {
        let called = if is_json { "JSON" } else { "JSONL" };
        return Err(format!(
            "is {called} by its name or content type, but none of its first lines is an object (\"{first_words}\"): say --input-format csv \
             if it is CSV"
        ));
    }
    // A file with several lines is JSONL even if its name or content type says JSON. An object on a single line can be
    // a record or a JSON document, so the request has to say which it is.
    let text = text.trim_ascii();
    if is_json && memchr(b'\n', text).is_none() {
        let advice = match content_kind::advice_on_list(text) {
            Some(advice) => format!("{advice}; or say --input-format jsonl if it is a record itself"),
            None => {
                "is it an answer in place of the file? say --input-format jsonl if it is a record".to_owned()
            }
        };
        return Err(format!(
            "is a JSON object, not lines of them ({first_words}): {advice}"
        ));
    }
    Ok(())
}
