//! Merges input options: the options of an input and their defaults go in; the effective options come out. Defaults
//! that contradict the given options are left out.

use super::InputOptions;

impl InputOptions {
    /// Returns these options, with `defaults` for the options that are not given. The options of a request take
    /// precedence over the options of its binding, and these over the options of the worker. An option that none of
    /// them gives is detected from the file or has its default.
    ///
    /// Delimiter and dialect both define the separator of fields. If these options give one of the two, neither is
    /// taken from `defaults`. A default that contradicts these options is not taken either, for example a comment
    /// character that is the delimiter in these options. So two valid sets of options always merge into a valid set.
    #[must_use]
    pub fn or(self, defaults: &Self) -> Self {
        if !(self.says_syntax() && defaults.says_syntax()) {
            return self.take(defaults, &SyntaxMembers::ALL);
        }
        let whole = self.clone().take(defaults, &SyntaxMembers::ALL);
        if whole.syntax().is_ok() || self.syntax().is_err() {
            return whole;
        }
        // There are few sets of members, so all are tried. The first set that gives valid options is used. It leaves
        // out the fewest members.
        let mut fitting: Vec<Self> = SyntaxMembers::without_some()
            .map(|allowed| self.clone().take(defaults, &allowed))
            .collect();
        let fits = fitting.iter().position(|options| options.syntax().is_ok());
        fits.map_or(whole, |index| fitting.swap_remove(index))
    }

    /// Returns whether an option is given that could contradict another option.
    fn says_syntax(&self) -> bool {
        self.delimiter.is_some()
            || self.dialect.is_some()
            || self.quote.is_some()
            || self.escape.is_some()
            || self.comment.is_some()
            || self.trim.is_some()
    }

    /// Returns these options, with `defaults` for the options that are not given. Takes an option for the syntax from
    /// `defaults` only if it is in `allowed`.
    fn take(self, defaults: &Self, allowed: &SyntaxMembers) -> Self {
        let has_separator = self.delimiter.is_some() || self.dialect.is_some();
        let separator = allowed.separator && !has_separator;
        Self {
            format: self.format.or(defaults.format),
            delimiter: self.delimiter.or(defaults.delimiter.filter(|_| separator)),
            quote: self.quote.or(defaults.quote.filter(|_| allowed.quote)),
            escape: self.escape.or(defaults.escape.filter(|_| allowed.escape)),
            comment: self.comment.or(defaults.comment.filter(|_| allowed.comment)),
            trim: self.trim.or(defaults.trim.filter(|_| allowed.trim)),
            header: self.header.or(defaults.header),
            dialect: self.dialect.or(defaults.dialect.filter(|_| separator)),
            skip_lines: self.skip_lines.or(defaults.skip_lines),
            skip_footer: self.skip_footer.or(defaults.skip_footer),
            short_rows: self.short_rows.or(defaults.short_rows),
            long_rows: self.long_rows.or(defaults.long_rows),
            blank_rows: self.blank_rows.or(defaults.blank_rows),
            duplicate_columns: self.duplicate_columns.or(defaults.duplicate_columns),
            encoding: self.encoding.or_else(|| defaults.encoding.clone()),
            sha256: self.sha256.or_else(|| defaults.sha256.clone()),
            version: self.version.or_else(|| defaults.version.clone()),
        }
    }
}

/// A set of the options for the syntax, which can contradict each other.
struct SyntaxMembers {
    /// True if the set contains delimiter and dialect, which both define the separator of fields.
    separator: bool,
    quote: bool,
    escape: bool,
    comment: bool,
    trim: bool,
}

impl SyntaxMembers {
    const ALL: Self = Self::of(0);
    const COUNT: u32 = 5;

    /// Returns all members except the members whose bits are set in `without`.
    const fn of(without: u32) -> Self {
        Self {
            trim: without & 1 == 0,
            comment: without & 2 == 0,
            escape: without & 4 == 0,
            quote: without & 8 == 0,
            separator: without & 16 == 0,
        }
    }

    /// Returns all sets in which members are left out, beginning with the largest sets.
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

    /// Checks for each option alone that the request takes precedence over the binding, and the binding over the
    /// worker.
    #[test]
    fn given_options_take_precedence() {
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
            // A worker merges three sets of options one after the other.
            let merged = nothing.clone().or(&alone).or(&first);
            assert_eq!(members(&merged), expected, "{name}");
        }
    }

    /// Checks that delimiter and dialect are merged as one option, and that no character gets two meanings.
    #[test]
    fn contradicting_defaults_are_dropped() {
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
            // The delimiter of the second set is left out. The output would need this character as its quote, because
            // the quote in the first set is `none`.
            (
                json!({ "quote": "none" }),
                json!({ "delimiter": "\"", "quote": "'" }),
                json!({ "quote": "none" }),
            ),
            // The delimiter of the second set is left out, so the delimiter has its default. The comment character is
            // the same as this default, so it is left out, too.
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
        /// Checks that two valid sets of options merge into a valid set, in which the options of the first set take
        /// precedence.
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

    /// Generates valid options from few characters, so that two sets of options often contradict each other.
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
