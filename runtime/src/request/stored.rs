//! Defines the text in which a queue stores the input options of a request, and what else it has to remember about the
//! request. Options go in and a text comes out, and the other way round.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::InputOptions;

/// The name of the member with [`StoredInput::submitted`].
const SUBMITTED: &str = "submitted_input";

/// The input options of a request as a queue stores them: one JSON object with the members of [`InputOptions`] and, only
/// if they are needed, members for the rest. A program that does not know one of these members refuses the request, because
/// it could do the wrong work.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredInput {
    /// The options for reading the input.
    pub options: InputOptions,
    /// The options with which the request was submitted. `None` if they are [`StoredInput::options`].
    pub submitted: Option<InputOptions>,
}

/// The members of a stored text that are not input options, for people.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ShownInput {
    /// The options for reading the input, with options that only a newer version knows.
    pub options: Map<String, Value>,
    /// The options with which the request was submitted, if they are others.
    pub submitted: Option<Map<String, Value>>,
}

impl StoredInput {
    /// Reads a stored text.
    ///
    /// # Errors
    /// Fails if the text is not what [`StoredInput::text`] returns, or if a newer version has stored an unknown member.
    pub fn parse(text: &str) -> serde_json::Result<Self> {
        let mut options: Map<String, Value> = strict_json::from_str(text)?;
        let submitted = options.remove(SUBMITTED);
        Ok(Self {
            submitted: submitted.map(InputOptions::deserialize).transpose()?,
            options: InputOptions::deserialize(Value::Object(options))?,
        })
    }

    /// Returns the text to store.
    pub fn text(&self) -> String {
        let mut members = self.options.members();
        if let Some(submitted) = &self.submitted {
            members.insert(SUBMITTED.to_owned(), Value::Object(submitted.members()));
        }
        Value::Object(members).to_string()
    }

    /// Returns what is stored after a retry with the options `given`, which override the options so far. Remembers the
    /// options with which the request was submitted.
    #[must_use]
    pub fn read_with(self, given: InputOptions) -> Self {
        let options = given.or(&self.options);
        let submitted = self.submitted.unwrap_or(self.options);
        Self {
            submitted: (submitted != options).then_some(submitted),
            options,
        }
    }
}

impl ShownInput {
    /// Reads a stored text as far as possible. All members are absent if the text cannot be read.
    pub fn of(text: &str) -> Self {
        let mut options: Map<String, Value> = strict_json::from_str(text).unwrap_or_default();
        let submitted = match options.remove(SUBMITTED) {
            Some(Value::Object(submitted)) => Some(submitted),
            _ => None,
        };
        Self { options, submitted }
    }

    /// Returns the input with options that this program can check.
    ///
    /// # Errors
    /// Fails if a newer version has stored an option that this program does not know.
    pub fn read(self) -> serde_json::Result<StoredInput> {
        let read = |members| InputOptions::deserialize(Value::Object(members));
        Ok(StoredInput {
            options: read(self.options)?,
            submitted: self.submitted.map(read).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(document: Value) -> InputOptions {
        serde_json::from_value(document).unwrap()
    }

    #[test]
    fn a_stored_text_comes_back_and_has_no_member_that_is_not_needed() {
        let delimiter = options(serde_json::json!({"delimiter": ";"}));
        let plain = StoredInput {
            options: delimiter.clone(),
            submitted: None,
        };
        assert_eq!(plain.text(), r#"{"delimiter":";"}"#);
        let changed = plain
            .clone()
            .read_with(options(serde_json::json!({"encoding": "latin1"})));
        assert_eq!(changed.submitted, Some(delimiter));
        for stored in [StoredInput::default(), plain, changed] {
            assert_eq!(StoredInput::parse(&stored.text()).unwrap(), stored);
        }
    }

    #[test]
    fn the_options_of_the_submit_are_kept_through_several_changes() {
        let submitted = options(serde_json::json!({"delimiter": ",", "trim": true}));
        let stored = StoredInput {
            options: submitted.clone(),
            submitted: None,
        };
        let once = stored.read_with(options(serde_json::json!({"delimiter": ";"})));
        assert_eq!(
            once.options,
            options(serde_json::json!({"delimiter": ";", "trim": true}))
        );
        let twice = once.read_with(options(serde_json::json!({"encoding": "latin1"})));
        assert_eq!(twice.submitted, Some(submitted.clone()));
        // The way back leaves nothing to remember.
        let back = StoredInput {
            submitted: Some(submitted.clone()),
            options: options(serde_json::json!({"delimiter": ";", "trim": true})),
        };
        assert_eq!(
            back.read_with(options(serde_json::json!({"delimiter": ","})))
                .submitted,
            None
        );
    }

    #[test]
    fn an_unknown_member_is_refused_and_shown() {
        let text = r#"{"trim":true,"newer":1,"submitted_input":{"later":2}}"#;
        assert!(StoredInput::parse(text).is_err());
        let ShownInput { options, submitted } = ShownInput::of(text);
        assert_eq!(
            Value::Object(options),
            serde_json::json!({"trim": true, "newer": 1})
        );
        assert_eq!(
            submitted.map(Value::Object),
            Some(serde_json::json!({"later": 2}))
        );
        assert_eq!(ShownInput::of("no JSON"), ShownInput::default());
    }
}
