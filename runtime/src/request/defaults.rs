//! The options of an input go in, with defaults for them; the options that count come out. Defaults that contradict the given
//! options are left out.

use super::InputOptions;

impl InputOptions {
    /// These options and, where they say nothing, those of `defaults`. A request's options come first, then its binding's,
    /// then the worker's; what nobody says is told by the file or has its default.
    ///
    /// Delimiter and dialect are one question, what stands between fields: who answers it with one of them takes neither from
    /// `defaults`. Nor is a character taken that these options leave no room for, as a comment that is their delimiter. So two
    /// sides that are each right by themselves make one that is.
    #[must_use]
    pub fn or(self, defaults: &Self) -> Self {
        if !(self.says_syntax() && defaults.says_syntax()) {
            return self.take(defaults, &SyntaxMembers::ALL);
        }
        let whole = self.clone().take(defaults, &SyntaxMembers::ALL);
        if whole.syntax().is_ok() || self.syntax().is_err() {
            return whole;
        }
        // Few options clash, and few sets of them are there to try: the first that leaves out least.
        let mut fitting: Vec<Self> = SyntaxMembers::without_some()
            .map(|questions| self.clone().take(defaults, &questions))
            .collect();
        let fits = fitting.iter().position(|options| options.syntax().is_ok());
        fits.map_or(whole, |index| fitting.swap_remove(index))
    }

    /// Whether anything is said that a contradiction may come of.
    fn says_syntax(&self) -> bool {
        self.delimiter.is_some()
            || self.dialect.is_some()
            || self.quote.is_some()
            || self.escape.is_some()
            || self.comment.is_some()
            || self.trim.is_some()
    }

    /// These options and, where they say nothing, those of `defaults`; of what describes the syntax only these questions.
    fn take(self, defaults: &Self, questions: &SyntaxMembers) -> Self {
        let says_what_is_between = self.delimiter.is_some() || self.dialect.is_some();
        let between = questions.between && !says_what_is_between;
        Self {
            format: self.format.or(defaults.format),
            delimiter: self.delimiter.or(defaults.delimiter.filter(|_| between)),
            quote: self.quote.or(defaults.quote.filter(|_| questions.quote)),
            escape: self.escape.or(defaults.escape.filter(|_| questions.escape)),
            comment: self.comment.or(defaults.comment.filter(|_| questions.comment)),
            trim: self.trim.or(defaults.trim.filter(|_| questions.trim)),
            header: self.header.or(defaults.header),
            dialect: self.dialect.or(defaults.dialect.filter(|_| between)),
            skip_lines: self.skip_lines.or(defaults.skip_lines),
            skip_footer: self.skip_footer.or(defaults.skip_footer),
            short_rows: self.short_rows.or(defaults.short_rows),
            long_rows: self.long_rows.or(defaults.long_rows),
            blank_rows: self.blank_rows.or(defaults.blank_rows),
            duplicate_columns: self.duplicate_columns.or(defaults.duplicate_columns),
            encoding: self.encoding.or_else(|| defaults.encoding.clone()),
            sha256: self.sha256.or_else(|| defaults.sha256.clone()),
        }
    }
}

/// The questions on the syntax whose answers may contradict each other.
struct SyntaxMembers {
    /// Delimiter and dialect.
    between: bool,
    quote: bool,
    escape: bool,
    comment: bool,
    trim: bool,
}

impl SyntaxMembers {
    const ALL: Self = Self::of(0);
    const COUNT: u32 = 5;

    /// All but those whose bits are set.
    const fn of(without: u32) -> Self {
        Self {
            trim: without & 1 == 0,
            comment: without & 2 == 0,
            escape: without & 4 == 0,
            quote: without & 8 == 0,
            between: without & 16 == 0,
        }
    }

    /// Those without some, beginning with those that lack the fewest.
    fn without_some() -> impl Iterator<Item = Self> {
        let mut sets: Vec<u32> = (1..1 << Self::COUNT).collect();
        sets.sort_by_key(|set| set.count_ones());
        sets.into_iter().map(Self::of)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::input::tests::{all, members, options};
    use super::super::{Character, DialectFrom};
    use super::*;

    /// The request's word counts before the binding's, and that before the worker's, for each option by itself.
    #[test]
    fn what_is_said_first_counts() {
        let [first, second] = all();
        let nothing = InputOptions::default();
        assert_eq!(first.clone().or(&second), first);
        assert_eq!(second.clone().or(&first), second);
        assert_eq!(nothing.clone().or(&first), first);
        assert_eq!(first.clone().or(&nothing), first);
        for name in InputOptions::MEMBERS {
            let value = members(&second).remove(name).unwrap();
            let alone = options(json!({ name: value.clone() }));
            let mut expected = members(&first);
            if ["delimiter", "dialect"].contains(&name) {
                expected.retain(|name, _| !["delimiter", "dialect"].contains(&name.as_str()));
            }
            expected.insert(name.to_owned(), value);
            assert_eq!(members(&alone.clone().or(&first)), expected, "{name}");
            // Three in a row, as in a worker.
            let merged = nothing.clone().or(&alone).or(&first);
            assert_eq!(members(&merged), expected, "{name}");
        }
    }

    /// What stands between fields is one question, and a character stands for one thing.
    #[test]
    fn what_is_said_first_leaves_no_room_for_what_contradicts_it() {
        for (first, second, merged) in [
            (
                json!({ "dialect": "spaces" }),
                json!({ "delimiter": ";", "comment": "#" }),
                json!({ "dialect": "spaces", "comment": "#" }),
            ),
            (
                json!({ "delimiter": ";" }),
                json!({ "dialect": "spaces", "quote": "'" }),
                json!({ "delimiter": ";", "quote": "'" }),
            ),
            (
                json!({ "dialect": "auto" }),
                json!({ "delimiter": ";" }),
                json!({ "dialect": "auto" }),
            ),
            (
                json!({ "delimiter": ";" }),
                json!({ "dialect": "auto", "delimiter": "|" }),
                json!({ "delimiter": ";" }),
            ),
            (
                json!({ "delimiter": ";" }),
                json!({ "comment": ";", "escape": "\\" }),
                json!({ "delimiter": ";", "escape": "\\" }),
            ),
            (
                json!({ "comment": ";" }),
                json!({ "delimiter": ";", "quote": "'" }),
                json!({ "comment": ";", "quote": "'" }),
            ),
            (
                json!({ "quote": "'" }),
                json!({ "escape": "'", "comment": "#" }),
                json!({ "quote": "'", "comment": "#" }),
            ),
            (
                json!({ "escape": "'" }),
                json!({ "quote": "'" }),
                json!({ "escape": "'" }),
            ),
            (
                json!({ "dialect": "spaces" }),
                json!({ "escape": "\t" }),
                json!({ "dialect": "spaces" }),
            ),
            (
                json!({ "trim": true }),
                json!({ "delimiter": " " }),
                json!({ "trim": true }),
            ),
            (
                json!({ "delimiter": " " }),
                json!({ "trim": true }),
                json!({ "delimiter": " " }),
            ),
            // Nothing of it is said twice, but the one leaves the other no quote.
            (
                json!({ "quote": "none" }),
                json!({ "delimiter": "\"", "quote": "'" }),
                json!({ "quote": "none" }),
            ),
            // What takes the place of an option that is left out has room, too.
            (
                json!({ "quote": ";" }),
                json!({ "delimiter": ";", "comment": ",", "skip_lines": 1 }),
                json!({ "quote": ";", "skip_lines": 1 }),
            ),
        ] {
            for side in [&first, &second] {
                options(side.clone()).check().unwrap();
            }
            let found = options(first.clone()).or(&options(second.clone()));
            assert_eq!(members(&found), members(&options(merged)), "{first} {second}");
            found.check().unwrap();
        }
    }

    proptest::proptest! {
        /// Two sides that are each right by themselves make one that is, in which the first one's word stands.
        #[test]
        fn merged_options_are_right(first in syntax_options(), second in syntax_options()) {
            let merged = first.clone().or(&second);
            merged.check().unwrap();
            let found = members(&merged);
            for (name, value) in members(&first) {
                proptest::prop_assert_eq!(&found[&name], &value);
            }
            for (name, value) in &found {
                let said = [&first, &second].map(|side| members(side).get(name).cloned());
                proptest::prop_assert!(said.contains(&Some(value.clone())));
            }
        }
    }

    /// Options that may be given together, of few characters, so that those of two sides often clash.
    fn syntax_options() -> impl proptest::strategy::Strategy<Value = InputOptions> {
        use proptest::prelude::*;
        let character =
            || proptest::option::of(proptest::sample::select(vec![',', ';', ' ', '\t', '"', '\'']));
        let optional = move || {
            let none = proptest::option::of(Just(Character::None));
            prop_oneof![none, character().prop_map(|found| found.map(Character::Is))]
        };
        let dialect =
            proptest::sample::select(vec![None, Some(DialectFrom::Auto), Some(DialectFrom::Spaces)]);
        let trim = proptest::option::of(any::<bool>());
        let all = (character(), optional(), optional(), optional(), trim, dialect);
        let made = all.prop_map(
            |(delimiter, quote, escape, comment, trim, dialect)| InputOptions {
                delimiter,
                quote,
                escape,
                comment,
                trim,
                dialect,
                ..InputOptions::default()
            },
        );
        made.prop_filter("a side that is right by itself", |options| {
            options.check().is_ok()
        })
    }
}
