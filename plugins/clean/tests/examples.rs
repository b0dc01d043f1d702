//! Tests the examples of the README: a config, an input, the output, and the rejects.

use clean::Clean;
use ingest_plugin::testing;

/// A block of a document: its language and its text.
struct Block<'a> {
    language: &'a str,
    text: &'a str,
}

fn blocks(document: &str) -> Vec<Block<'_>> {
    let fenced = document.split("```").skip(1).step_by(2);
    let block = |text| str::split_once(text, '\n').map(|(language, text)| Block { language, text });
    fenced.map(|text| block(text).expect("a language")).collect()
}

/// Replaces `\u{200b}` and the like, which make characters visible in the document.
fn unescape(text: &str) -> String {
    let mut parts = text.split("\\u{");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (digits, rest) = part.split_once('}').expect("a closing brace");
        let number = u32::from_str_radix(digits, 16).expect("hexadecimal digits");
        plain.push(char::from_u32(number).expect("a character"));
        plain.push_str(rest);
    }
    plain
}

#[test]
fn the_examples_of_the_readme_do_what_they_say() {
    let blocks = blocks(include_str!("../README.md"));
    let mut count = 0;
    for (at, block) in blocks.iter().enumerate() {
        let [config, input, output, rejects] = [at, at + 1, at + 2, at + 3].map(|at| blocks.get(at));
        let is_example = block.language == "json" && input.is_some_and(|input| input.language == "csv");
        let (true, Some(config), Some(input), Some(output), Some(rejects)) =
            (is_example, config, input, output, rejects)
        else {
            continue;
        };
        assert_eq!((output.language, rejects.language), ("csv", "text"));
        let report = testing::run::<Clean>(config.text, &unescape(input.text)).expect(config.text);
        assert_eq!(report.csv(), output.text, "{}", config.text);
        let line =
            |reject: &testing::Rejected| format!("{} {} {}\n", reject.record, reject.code, reject.reason);
        let found: String = report.rejects.iter().map(line).collect();
        assert_eq!(found, rejects.text, "{}", config.text);
        count += 1;
    }
    assert!(count >= 4, "{count}");
}
