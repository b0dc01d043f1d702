//! Decides whether an output may be published. If it must not be published, gives the reason. The decision depends on
//! the rejects of the whole input and on the number of its records.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::decode::{LATIN_1_HINT, NOT_UTF8, REJECT_CODES, STRAY_QUOTE};
use crate::format::redacted_start;
use crate::receipt::{EXAMPLES_MAX, Example, RecordCounts};
use crate::record::Position;

/// The maximum number of codes that a message names. A refusal names the codes with the most rejects first.
const CODES_SHOWN: usize = 8;

/// The maximum number of characters of a reason that an [`Example`] keeps.
const REASON_CHARS_MAX: usize = 120;

/// 100%, in parts per million. In this unit, a percentage can have up to four decimals.
const WHOLE: u128 = 1_000_000;

/// 1%, in parts of [`WHOLE`].
const PARTS_PER_PERCENT: u32 = 10_000;

/// The maximum share of rejects under the default rule, in parts of [`WHOLE`].
const SHARE_BY_DEFAULT: RuleLimit = RuleLimit::Share(500_000);

/// The minimum number of records for the default rule. In an input with fewer records, a share means little.
const RECORDS_BY_DEFAULT: u64 = 20;

/// The prefix of the minimum number of records in a stored gate. No rule for rejects begins like this.
const RECORDS_AT_LEAST: &str = "records>=";

/// The rules on rejected records, and the minimum number of records. If no rule is for all rejects together, the
/// default rule applies. It refuses an input of at least 20 records if more than half of them are rejected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<String>", try_from = "Vec<String>")]
pub struct Gate {
    rules: Vec<Rule>,
    min_records: u64,
}

/// One rule: `10`, `0.5%`, `bad-id=10` or `bad-id=0.5%`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The code of the rejects that the rule limits, or `None` if it limits all rejects together.
    code: Option<String>,
    limit: RuleLimit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RuleLimit {
    Count(u64),
    /// A share of the records that were read, in parts of [`WHOLE`].
    Share(u32),
}

/// The rejects of one code.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectTally {
    /// The number of rejects with this code.
    pub count: u64,
    /// The first examples of these rejects.
    pub examples: Vec<Example>,
}

impl RejectTally {
    /// Counts the next reject.
    pub fn add(&mut self, position: Position, reason: &str) {
        self.count += 1;
        if self.examples.len() < EXAMPLES_MAX {
            let reason = redacted_start(reason, REASON_CHARS_MAX);
            let reason = reason.replace(|c: char| c.is_control(), " ");
            self.examples.push(Example { position, reason });
        }
    }
}

impl Gate {
    /// Returns a gate. An output passes the gate if no rule refuses the output and the input has at least `min_records`
    /// records.
    pub fn new(rules: Vec<Rule>, min_records: u64) -> Self {
        Self { rules, min_records }
    }

    /// Returns a gate that every output passes.
    pub fn open() -> Self {
        let limit = RuleLimit::Count(u64::MAX);
        Self::new(vec![Rule { code: None, limit }], 0)
    }

    /// Returns a gate that refuses an output if there is any reject.
    pub fn closed(min_records: u64) -> Self {
        let limit = RuleLimit::Count(0);
        Self::new(vec![Rule { code: None, limit }], min_records)
    }

    /// Returns whether only the default rule applies: the gate has no other rules and no minimum number of records.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Returns a warning if there are rejects, and a rule names a code that none of them has. The code may be mistyped,
    /// and a rule with a mistyped code never refuses an output.
    pub fn unused_rule_warning(&self, by_code: &BTreeMap<String, u64>) -> Option<String> {
        let of_rules = self.rules.iter().filter_map(|rule| rule.code.as_deref());
        let without: BTreeSet<_> = of_rules.filter(|code| !by_code.contains_key(*code)).collect();
        if by_code.is_empty() || without.is_empty() {
            return None;
        }
        let there = by_code.keys().map(String::as_str);
        let [without, there] = [listed(without), listed(there)];
        Some(format!("no reject has the code {without}; there are {there}"))
    }

    /// Returns a gate with the rules of both gates and the higher minimum number of records. If one of the gates has a
    /// rule for all rejects together, the default rule does not apply.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            rules: [self.rules.as_slice(), &other.rules].concat(),
            min_records: self.min_records.max(other.min_records),
        }
    }

    /// Returns `None` if the output may be published. If it must not be published, returns a text with the reasons, and
    /// with the number of rejects of each code.
    pub fn check(&self, records: &RecordCounts, by_code: &BTreeMap<String, RejectTally>) -> Option<String> {
        let RecordCounts { read, rejected, .. } = *records;
        let not_utf8 = by_code.get(NOT_UTF8).map_or(0, |rejects| rejects.count);
        let encoding = encoding_hint(rejected, not_utf8);
        let mut broken = Vec::new();
        if read < self.min_records {
            let least = self.min_records;
            broken.push(format!(
                "{read} records were read, and --min-records asks for at least {least}"
            ));
        }
        for Rule { code, limit } in &self.rules {
            let (count, noun) = match code {
                Some(code) => (
                    by_code.get(code).map_or(0, |rejects| rejects.count),
                    format!(" as {code}"),
                ),
                None => (rejected, String::new()),
            };
            if !limit.allows(count, read) {
                broken.push(format!(
                    "{count} of {read} records were rejected{noun}, and at most {limit} may be"
                ));
            }
        }
        if self.rules.iter().all(|rule| rule.code.is_some())
            && read >= RECORDS_BY_DEFAULT
            && !SHARE_BY_DEFAULT.allows(rejected, read)
        {
            let what = format!(
                "{rejected} of {read} records were rejected, and by default at most {SHARE_BY_DEFAULT} may be"
            );
            broken.push(match encoding {
                Some(_) => what,
                None => format!(
                    "{what}: check that the input is what it seems, or set another bound with --max-rejects (100% for none)"
                ),
            });
        }
        if broken.is_empty() {
            return None;
        }
        broken.extend(encoding);
        if !by_code.is_empty() {
            broken.push(shown(by_code));
        }
        Some(broken.join("; "))
    }
}

/// Returns advice if most rejects are not UTF-8, or `None` otherwise.
pub(crate) fn encoding_hint(rejected: u64, not_utf8: u64) -> Option<String> {
    (not_utf8 > rejected / 2).then(|| format!("most rejects are not UTF-8: {LATIN_1_HINT}"))
}

/// Returns a warning with advice if all records of an input were rejected, or `None` otherwise.
pub(crate) fn all_rejected_warning(
    records: &RecordCounts,
    by_code: &BTreeMap<String, u64>,
) -> Option<String> {
    let what = match records.read {
        read if read == 0 || records.rejected < read => return None,
        1 => "the only record was rejected".to_owned(),
        read => format!("all {read} records were rejected"),
    };
    let of = |code| by_code.get(code).copied().unwrap_or(0);
    if let Some(hint) = encoding_hint(records.rejected, of(NOT_UTF8)) {
        return Some(format!("{what}: {hint}"));
    }
    if !by_code.keys().any(|code| REJECT_CODES.contains(&code.as_str())) {
        return Some(format!(
            "{what}, by the plugin: the rejects have the reasons; --trim removes spaces around the fields of CSV"
        ));
    }
    let quote = match of(STRAY_QUOTE) {
        0 => "",
        _ => "; --trim removes spaces before quotes, --quote none makes quotes plain text",
    };
    Some(format!(
        "{what}: is the input what it seems? (--input-format, --delimiter, --no-header){quote}"
    ))
}

/// Returns a list of the first [`CODES_SHOWN`] of these codes.
fn listed<'a>(codes: impl IntoIterator<Item = &'a str>) -> String {
    let first: Vec<_> = codes.into_iter().take(CODES_SHOWN).collect();
    first.join(", ")
}

/// Returns the counts of the rejects by code, as a text for people.
fn shown(by_code: &BTreeMap<String, RejectTally>) -> String {
    let mut codes: Vec<_> = by_code.iter().collect();
    codes.sort_by_key(|(_, rejects)| std::cmp::Reverse(rejects.count));
    let mut text = String::from("by code:");
    for (code, RejectTally { count, examples }) in codes.iter().take(CODES_SHOWN) {
        let _ = write!(text, " {count} {code}");
        if let Some(Example { position, reason }) = examples.first() {
            let Position { record, line, .. } = position;
            let _ = write!(text, " (first record {record}, line {line}: {reason})");
        }
        text.push(',');
    }
    text.pop();
    if let Some(more) = codes.len().checked_sub(CODES_SHOWN).filter(|more| *more > 0) {
        let _ = write!(text, " and {more} codes more");
    }
    text
}

impl RuleLimit {
    fn allows(self, rejected: u64, read: u64) -> bool {
        match self {
            Self::Count(most) => rejected <= most,
            Self::Share(parts) => u128::from(rejected) * WHOLE <= u128::from(parts) * u128::from(read),
        }
    }
}

impl fmt::Display for RuleLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(most) => write!(f, "{most}"),
            Self::Share(parts) => write!(f, "{}%", f64::from(*parts) / f64::from(PARTS_PER_PERCENT)),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            Some(code) => write!(f, "{code}={}", self.limit),
            None => write!(f, "{}", self.limit),
        }
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Vec::from(self.clone()).join(","))
    }
}

impl From<Gate> for Vec<String> {
    fn from(gate: Gate) -> Self {
        let mut rules: Vec<_> = gate.rules.iter().map(Rule::to_string).collect();
        if gate.min_records > 0 {
            rules.push(format!("{RECORDS_AT_LEAST}{}", gate.min_records));
        }
        rules
    }
}

impl TryFrom<Vec<String>> for Gate {
    type Error = String;

    fn try_from(texts: Vec<String>) -> Result<Self, String> {
        let mut gate = Self::default();
        for text in texts {
            match text.strip_prefix(RECORDS_AT_LEAST) {
                Some(least) => {
                    let least = least.parse::<u64>().map_err(|e| format!("{text}: {e}"))?;
                    gate.min_records = gate.min_records.max(least);
                }
                None => gate.rules.push(text.parse()?),
            }
        }
        Ok(gate)
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (code, limit) = match text.split_once('=') {
            Some((code, limit)) => (Some(code), limit),
            None => (None, text),
        };
        let is_code = |code: &str| {
            code.bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        };
        if let Some(code) = code
            && !(is_code(code) && (1..=64).contains(&code.len()))
        {
            return Err(format!(
                "\"{code}\" is not a code of rejects: a code has lowercase letters, digits and hyphens, as in ragged-row"
            ));
        }
        let limit = match limit.strip_suffix('%') {
            Some(share) => parts(share).map(RuleLimit::Share),
            None => limit.parse().ok().map(RuleLimit::Count),
        };
        let limit =
            limit.ok_or("expected a number or a percentage, as in 10, 0.5%, bad-id=10 or bad-id=0.5%")?;
        Ok(Self {
            code: code.map(str::to_owned),
            limit,
        })
    }
}

/// Parses a percentage into parts of [`WHOLE`]. Returns `None` if the text is not a number from 0 to 100, or has more
/// than four decimals.
fn parts(share: &str) -> Option<u32> {
    let (whole, decimals) = share.split_once('.').unwrap_or((share, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(decimals) || decimals.len() > 4 {
        return None;
    }
    let parts = whole.parse::<u32>().ok()?.checked_mul(PARTS_PER_PERCENT)?;
    let parts = parts.checked_add(format!("{decimals:0<4}").parse().ok()?)?;
    (u128::from(parts) <= WHOLE).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(rules: &[&str]) -> Gate {
        Gate::new(rules.iter().map(|rule| rule.parse().unwrap()).collect(), 0)
    }

    fn check(gate: &Gate, read: u64, codes: &[(&str, u64)]) -> Option<String> {
        let first = Position {
            record: 812,
            line: 815,
            offset: 9,
        };
        let by_code: BTreeMap<_, _> = codes
            .iter()
            .map(|&(code, count)| {
                let mut rejects = RejectTally::default();
                rejects.add(first, "is\nempty");
                rejects.count = count;
                (code.to_owned(), rejects)
            })
            .collect();
        let rejected = codes.iter().map(|(_, count)| count).sum();
        let records = RecordCounts {
            read,
            rejected,
            ..RecordCounts::default()
        };
        gate.check(&records, &by_code)
    }

    #[test]
    fn each_limit_is_the_last_that_passes() {
        for (rules, read, codes, passes) in [
            (&[][..], 10, &[("a", 10)][..], true),
            (&["0"], 10, &[], true),
            (&["0"], 10, &[("a", 1)], false),
            (&["3"], 10, &[("a", 2), ("b", 1)], true),
            (&["3"], 10, &[("a", 2), ("b", 2)], false),
            (&["18446744073709551615"], u64::MAX, &[("a", u64::MAX)], true),
            // With no records, no share is exceeded and there is no reject.
            (&["0%"], 0, &[], true),
            (&["50%"], 0, &[], true),
            (&["0%"], 10, &[("a", 1)], false),
            (&["10%"], 10, &[("a", 1)], true),
            (&["10%"], 10, &[("a", 2)], false),
            (&["10%"], 19, &[("a", 2)], false),
            (&["10%"], 20, &[("a", 2)], true),
            (&["0.0001%"], 1_000_000, &[("a", 1)], true),
            (&["0.0001%"], 999_999, &[("a", 1)], false),
            (&["100%"], u64::MAX, &[("a", u64::MAX)], true),
            (&["99.9999%"], u64::MAX, &[("a", u64::MAX)], false),
            (&["a=1"], 10, &[("a", 1), ("b", 9)], true),
            (&["a=1"], 10, &[("a", 2)], false),
            (&["a=20%"], 10, &[("a", 2)], true),
            (&["a=20%"], 10, &[("a", 3)], false),
            (&["5", "a=1"], 10, &[("a", 1), ("b", 4)], true),
            (&["5", "a=1"], 10, &[("a", 1), ("b", 5)], false),
            (&["5", "a=1"], 10, &[("a", 2)], false),
        ] {
            let verdict = check(&gate(rules), read, codes);
            assert_eq!(
                verdict.is_none(),
                passes,
                "{rules:?} {read} {codes:?}: {verdict:?}"
            );
        }
        assert!(check(&Gate::closed(0), 1, &[("a", 1)]).is_some());
        assert!(check(&Gate::closed(0), 1, &[]).is_none());
    }

    #[test]
    fn more_than_half_is_too_many_unless_somebody_says_otherwise() {
        for (rules, read, codes, passes) in [
            (&[][..], 19, &[("a", 19)][..], true),
            (&[], 20, &[("a", 10)], true),
            (&[], 20, &[("a", 11)], false),
            (&[], 21, &[("a", 10)], true),
            (&[], 21, &[("a", 11)], false),
            (&[], 40, &[("a", 10), ("b", 11)], false),
            (&[], u64::MAX, &[("a", u64::MAX / 2)], true),
            (&[], u64::MAX, &[("a", u64::MAX / 2 + 1)], false),
            // A rule for all rejects replaces the default rule, even if it allows more.
            (&["100%"], 20, &[("a", 20)], true),
            (&["60%"], 20, &[("a", 12)], true),
            (&["15"], 20, &[("a", 15)], true),
            (&["15"], 20, &[("a", 16)], false),
            // A rule for one code does not replace the default rule.
            (&["a=100%"], 20, &[("a", 11)], false),
            (&["b=0"], 20, &[("a", 11)], false),
            (&["a=100%", "100%"], 20, &[("a", 20)], true),
        ] {
            let verdict = check(&gate(rules), read, codes);
            assert_eq!(
                verdict.is_none(),
                passes,
                "{rules:?} {read} {codes:?}: {verdict:?}"
            );
        }
        // A rule for all rejects in one of two gates replaces the default rule of both gates.
        for both in [
            gate(&["100%"]).and(&Gate::default()),
            Gate::default().and(&gate(&["100%"])),
        ] {
            assert!(check(&both, 20, &[("a", 20)]).is_none());
        }
        assert_eq!(
            check(&Gate::default(), 20, &[("a", 11)]).unwrap(),
            "11 of 20 records were rejected, and by default at most 50% may be: check that the input is what it seems, or set \
             another bound with --max-rejects (100% for none); by code: 11 a (first record 812, line 815: is empty)"
        );
    }

    #[test]
    fn what_is_not_utf_8_may_have_another_encoding() {
        let hint = "most rejects are not UTF-8: if it is Latin-1 or Windows-1252, say --encoding latin-1";
        let by_default = check(&Gate::default(), 20, &[("a", 5), (NOT_UTF8, 6)]).unwrap();
        assert_eq!(
            by_default,
            format!(
                "11 of 20 records were rejected, and by default at most 50% may be; {hint}; by code: 6 not-utf8 (first \
                 record 812, line 815: is empty), 5 a (first record 812, line 815: is empty)"
            )
        );
        let by_rule = check(&gate(&["0"]), 20, &[(NOT_UTF8, 1)]).unwrap();
        assert!(by_rule.contains(hint), "{by_rule}");
        for codes in [&[("a", 6), (NOT_UTF8, 6)][..], &[("a", 20)]] {
            let why = check(&Gate::default(), 20, codes).unwrap();
            assert!(!why.contains("--encoding"), "{why}");
        }
    }

    #[test]
    fn too_few_records_are_a_fault_if_somebody_says_so() {
        let at_least = |least| Gate::new(Vec::new(), least);
        for (gate, read, passes) in [
            (Gate::default(), 0, true),
            (at_least(1), 0, false),
            (at_least(1), 1, true),
            (at_least(5).and(&at_least(3)), 4, false),
            (at_least(3).and(&at_least(5)), 5, true),
            (Gate::closed(2), 1, false),
        ] {
            assert_eq!(check(&gate, read, &[]).is_none(), passes, "{gate} {read}");
        }
        assert_eq!(
            check(&at_least(5), 4, &[]).unwrap(),
            "4 records were read, and --min-records asks for at least 5"
        );
    }

    #[test]
    fn the_verdict_has_the_rules_and_the_codes() {
        let verdict = check(
            &gate(&["0.5%", "bad-id=1"]),
            10,
            &[("bad-id", 2), ("required", 3)],
        )
        .unwrap();
        assert_eq!(
            verdict,
            "5 of 10 records were rejected, and at most 0.5% may be; \
             2 of 10 records were rejected as bad-id, and at most 1 may be; \
             by code: 3 required (first record 812, line 815: is empty), \
             2 bad-id (first record 812, line 815: is empty)"
        );
        let codes: Vec<_> = (0..256).map(|number| format!("code-{number}")).collect();
        let codes: Vec<_> = codes.iter().map(|code| (code.as_str(), 1)).collect();
        let verdict = check(&Gate::closed(0), 999, &codes).unwrap();
        assert!(
            verdict.ends_with(" and 248 codes more") && verdict.len() < 2_000,
            "{verdict}"
        );
    }

    #[test]
    fn a_gate_is_kept_as_it_is_written() {
        let both = gate(&["0.5%", "bad-id=10"]).and(&gate(&["7"]));
        let document = serde_json::to_string(&both).unwrap();
        assert_eq!(document, r#"["0.5%","bad-id=10","7"]"#);
        assert_eq!(serde_json::from_str::<Gate>(&document).unwrap(), both);
        assert_eq!(both.to_string(), "0.5%,bad-id=10,7");
        assert!(serde_json::from_str::<Gate>(r#"["101%"]"#).is_err());
        let counted = Gate::new(vec!["7".parse().unwrap()], 5);
        let document = serde_json::to_string(&counted).unwrap();
        assert_eq!(document, r#"["7","records>=5"]"#);
        assert_eq!(serde_json::from_str::<Gate>(&document).unwrap(), counted);
        for wrong in [r#"["records>=-1"]"#, r#"["records>=x"]"#] {
            assert!(serde_json::from_str::<Gate>(wrong).is_err());
        }
        assert!(Gate::default().is_default() && !both.is_default() && !counted.is_default());
    }

    #[test]
    fn a_rule_that_cannot_be_read_is_refused() {
        for rule in [
            "",
            "-1",
            "1.5",
            "%",
            "5 %",
            ".5%",
            "5.%",
            "0.00001%",
            "101%",
            "100.0001%",
            "=1",
            "A=1",
            "a=",
            "a=b=1",
        ] {
            rule.parse::<Rule>().expect_err(rule);
        }
        for (rule, limit) in [
            ("100%", "100%"),
            ("0.5%", "0.5%"),
            ("00.5000%", "0.5%"),
            ("7", "7"),
        ] {
            assert_eq!(rule.parse::<Rule>().unwrap().limit.to_string(), limit);
        }
    }
}
