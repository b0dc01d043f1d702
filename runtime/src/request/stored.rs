//! Defines the text in which a queue stores the input options of a request, and what else it has to remember about the
//! request. Options go in and a text comes out, and the other way round.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{InputOptions, Replay};

/// The name of the member with [`StoredInput::submitted`].
const SUBMITTED: &str = "submitted_input";

/// The name of the member with [`StoredInput::replay`].
const REPLAY: &str = "replay";

/// The input options of a request as a queue stores them: one JSON object with the members of [`InputOptions`] and, only
/// if they are needed, members for the rest. A program that does not know one of these members refuses the request, because
/// it could do the wrong work.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredInput {
    /// The options for reading the input.
    pub options: InputOptions,
    /// The options with which the request was submitted. `None` if they are [`StoredInput::options`].
    pub submitted: Option<InputOptions>,
    /// The rejects that the request processes again in place of an input.
    pub replay: Option<Replay>,
}

/// The members of a stored text that are not input options, for people.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ShownInput {
    /// The options for reading the input, with options that only a newer version knows.
    pub options: Map<String, Value>,
    /// The options with which the request was submitted, if they are others.
    pub submitted: Option<Map<String, Value>>,
    /// The rejects that the request processes again in place of an input, if this version can read the member.
    pub replay: Option<Replay>,
}

impl StoredInput {
    /// Reads a stored text.
    ///
    /// # Errors
    /// Fails if the text is not what [`StoredInput::text`] returns, or if a newer version has stored an unknown member.
    pub fn parse(text: &str) -> serde_json::Result<Self> {
        let mut options: Map<String, Value> = strict_json::from_str(text)?;
        let submitted = options.remove(SUBMITTED);
        let replay = options.remove(REPLAY);
        Ok(Self {
            submitted: submitted.map(InputOptions::deserialize).transpose()?,
            replay: replay.as_ref().map(known_replay).transpose()?,
            options: InputOptions::deserialize(Value::Object(options))?,
        })
    }

    /// Returns the text to store.
    pub fn text(&self) -> String {
        let mut members = self.options.members();
        if let Some(submitted) = &self.submitted {
            members.insert(SUBMITTED.to_owned(), Value::Object(submitted.members()));
        }
        if let Some(replay) = &self.replay {
            let replay = serde_json::to_value(replay).expect("texts and numbers serialize");
            members.insert(REPLAY.to_owned(), replay);
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
            replay: self.replay,
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
        let replay = options.remove(REPLAY);
        Self {
            options,
            submitted,
            replay: replay.and_then(|replay| Replay::deserialize(replay).ok()),
        }
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
            replay: self.replay,
        })
    }
}

/// Reads a replay. Refuses members that only a newer version knows.
fn known_replay(stored: &Value) -> serde_json::Result<Replay> {
    let replay = Replay::deserialize(stored)?;
    match serde_json::to_value(&replay)? == *stored {
        true => Ok(replay),
        false => Err(serde::de::Error::custom("replay has an unknown member")),
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
            ..StoredInput::default()
        };
        let document = |stored: &StoredInput| serde_json::from_str::<Value>(&stored.text()).unwrap();
        assert_eq!(document(&plain), serde_json::json!({"delimiter": ";"}));
        let changed = plain
            .clone()
            .read_with(options(serde_json::json!({"encoding": "latin1"})));
        assert_eq!(changed.submitted, Some(delimiter));
        let replay = StoredInput {
            replay: Some(Replay {
                parent: "a".into(),
                number: 2,
                codes: vec!["x".into()],
            }),
            ..StoredInput::default()
        };
        let member = serde_json::json!({"replay": {"codes": ["x"], "number": 2, "parent": "a"}});
        assert_eq!(document(&replay), member);
        assert_eq!(ShownInput::of(&replay.text()).replay, replay.replay);
        for stored in [StoredInput::default(), plain, changed, replay] {
            assert_eq!(StoredInput::parse(&stored.text()).unwrap(), stored);
        }
    }

    #[test]
    fn the_options_of_the_submit_are_kept_through_several_changes() {
        let submitted = options(serde_json::json!({"delimiter": ",", "trim": true}));
        let stored = StoredInput {
            options: submitted.clone(),
            ..StoredInput::default()
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
            submitted: Some(submitted),
            options: options(serde_json::json!({"delimiter": ";", "trim": true})),
            replay: None,
        };
        assert_eq!(
            back.read_with(options(serde_json::json!({"delimiter": ","})))
                .submitted,
            None
        );
    }

    #[test]
    fn an_unknown_member_is_refused_and_shown() {
        let newer = r#"{"replay":{"parent":"a","number":1,"newer":true}}"#;
        assert!(StoredInput::parse(newer).is_err() && ShownInput::of(newer).replay.is_some());
        let text = r#"{"trim":true,"newer":1,"submitted_input":{"later":2}}"#;
        assert!(StoredInput::parse(text).is_err());
        let ShownInput {
            options, submitted, ..
        } = ShownInput::of(text);
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
