//! Tests that a request fails if an answer of its plugin breaks the interface. The error must say why.

use ingest_host::config::Limits;
use ingest_host::plugin::Plugin;
use ingest_host::request::InputOptions;

use crate::support::pipeline::{PipelineRun, RunOutcome, engine, plugin};
use crate::support::wat::{ANSWER, HandWrittenPlugin, Interface, ROOM, answer, words};

/// Runs a plugin on two records.
fn run(plugin: &Plugin, limits: Limits) -> Result<RunOutcome, String> {
    PipelineRun {
        input: b"n\na\nb\n",
        options: InputOptions::default(),
        plugin,
        config: "{}",
        output_format: None,
        limits,
    }
    .run(1)
    .map_err(|error| error.report())
}

/// Runs the plugin in each version of the interface, and checks that the results are the same.
fn hand_written(plugin: &HandWrittenPlugin) -> Result<RunOutcome, String> {
    let [former, current] = Interface::ALL.map(|interface| {
        let plugin = HandWrittenPlugin {
            interface,
            ..plugin.clone()
        };
        run(&engine().load(&plugin.component()).unwrap(), Limits::default())
    });
    assert_eq!(former, current);
    current
}

#[track_caller]
fn fails_with(plugin: &HandWrittenPlugin, why: &str) {
    let error = hand_written(plugin).expect_err(why);
    assert!(error.starts_with("plugin hand-written: "), "{error}");
    assert!(error.contains(why), "expected {why:?}: {error}");
    assert!(error.len() < 1_000, "{error}");
}

/// Checks that an answer with these verdicts, operands and bytes fails the request with an error that contains `why`.
#[track_caller]
fn breaks(verdicts: &[u8], operands: &[u32], bytes: &[u8], why: &str) {
    fails_with(&HandWrittenPlugin::answering(verdicts, operands, bytes), why);
}

#[test]
fn what_is_right_is_taken() {
    assert_eq!(
        hand_written(&HandWrittenPlugin::answering(&[], &[], b""))
            .unwrap()
            .output,
        "n\na\nb\n"
    );
    let outcome = hand_written(&HandWrittenPlugin::answering(
        &[1, 2],
        &[1, 0, 1, 2, 2, 3],
        b"xyz",
    ))
    .unwrap();
    assert_eq!(outcome.output, "n\nx\ny\nz\n");
    let outcome = hand_written(&HandWrittenPlugin::answering(&[3, 4], &[3, 5], b"badno")).unwrap();
    assert_eq!(
        (outcome.output.as_str(), outcome.by_code),
        ("n\n", vec![("bad".to_owned(), 1)])
    );
}

#[test]
fn verdicts_fit_the_records() {
    breaks(&[0], &[], b"", "1 verdicts for 2 rows");
    breaks(&[0, 0, 0], &[], b"", "3 verdicts for 2 rows");
    breaks(&[0; 4_000], &[], b"", "4000 verdicts for 2 rows");
    breaks(
        &[5, 0],
        &[],
        b"",
        "record 1: returned changes that break the interface: verdict 5 does not exist",
    );
    breaks(&[0, 255], &[], b"", "verdict 255 does not exist");
    breaks(&[0, 19], &[], b"", "verdict 19 does not exist");
}

#[test]
fn operands_fit_the_verdicts() {
    breaks(&[1, 0], &[], b"", "1 operands needed at row 1, 0 left");
    breaks(&[0, 4], &[1], b"x", "2 operands needed at row 2, 1 left");
    breaks(&[0, 0], &[7], b"", "1 operands after the last row");
    breaks(
        &[1, 0],
        &[1, 1, 0],
        b"",
        "edit of column 1, which is out of order or does not exist",
    );
    breaks(&[1, 0], &[2, 0, 0, 0, 0], b"", "2 edits in a row of 1 columns");
    breaks(
        &[1, 0],
        &[u32::MAX],
        b"",
        "4294967295 edits in a row of 1 columns",
    );
    breaks(&[2, 0], &[0], b"", "an emitting verdict with no rows");
    breaks(
        &[2, 0],
        &[u32::MAX, 0],
        b"",
        "4294967295 operands needed at row 1, 1 left",
    );
    breaks(&[8, 0], &[1_000_000], b"", "1000000 operands needed");
}

#[test]
fn offsets_are_in_order_and_within() {
    breaks(&[1, 0], &[1, 0, 9], b"abc", "a text from 0 to 9 in 3 bytes");
    breaks(
        &[1, 1],
        &[1, 0, 2, 1, 0, 1],
        b"abc",
        "a text from 2 to 1 in 3 bytes",
    );
    breaks(&[2, 0], &[2, 3, 2], b"abc", "a text from 3 to 2 in 3 bytes");
    breaks(
        &[2, 0],
        &[1, u32::MAX],
        b"abc",
        "a text from 0 to 4294967295 in 3 bytes",
    );
    breaks(&[1, 0], &[1, 0, 1], b"abc", "2 bytes after the last row");
    breaks(
        &[1, 0],
        &[1, 0, 1],
        "é".as_bytes(),
        "a text from 0 to 1 in 2 bytes",
    );
    breaks(&[1, 0], &[1, 0, 1], b"\xff", "bytes of changes are not UTF-8");
    breaks(&[4, 0], &[0, 0], b"", "reject code \"\"");
    breaks(&[4, 0], &[2, 2], b"A!", "reject code \"A!\"");
    breaks(&[4, 0], &[4_000, 4_000], &[b'a'; 4_000], "reject code \"aaaa");
}

/// Returns a plugin whose answer consists of three lists. Each argument is the address and the length of a list.
fn lists(verdicts: (u32, u32), operands: (u32, u32), bytes: (u32, u32)) -> HandWrittenPlugin {
    HandWrittenPlugin {
        data: vec![(ANSWER, answer(verdicts, operands, bytes))],
        ..HandWrittenPlugin::default()
    }
}

#[test]
fn lists_lie_in_the_memory() {
    let nothing = (ROOM, 0);
    let why = "breaks the interface: process returned what cannot be read";
    // A list is 4 GiB long at address 0, or begins beyond the end of the memory.
    fails_with(&lists(nothing, nothing, (0, u32::MAX)), why);
    fails_with(&lists(nothing, nothing, (u32::MAX, 1)), why);
    fails_with(&lists((0x0400_0000, 2), nothing, nothing), why);
    // The count of numbers is so large that their size in bytes overflows 32 bits.
    fails_with(&lists(nothing, (0, 0x4000_0001), nothing), why);
    // The numbers are at an unaligned address.
    fails_with(&lists(nothing, (ROOM + 1, 1), nothing), why);
    // The answer itself lies outside the memory, or at an unaligned address.
    let outside = |at: i64| HandWrittenPlugin {
        process: format!("(i32.const {at})"),
        ..HandWrittenPlugin::default()
    };
    fails_with(&outside(-4), why);
    fails_with(&outside(i64::from(ANSWER) + 1), why);
    // The answer is neither changes nor an error.
    let neither = HandWrittenPlugin {
        data: vec![(ANSWER, words(&[9, 0, 0, 0, 0, 0, 0]))],
        ..HandWrittenPlugin::default()
    };
    fails_with(&neither, why);
}

#[test]
fn lists_over_each_other_count_each() {
    // Three lists of 8 MiB overlap in a memory of 9 MiB.
    let overlapping = HandWrittenPlugin {
        pages: 9 * 16,
        ..lists((0, 8 << 20), (0, 2 << 20), (0, 8 << 20))
    };
    let why = "returned what cannot be read, or more than the limit of 20971520 bytes";
    fails_with(&overlapping, why);
}

#[test]
fn sentences_are_text() {
    let sentence = |at: u32, bytes: u32| HandWrittenPlugin {
        data: vec![(ANSWER, words(&[1, at, bytes])), (ROOM, b"no \xff text".to_vec())],
        ..HandWrittenPlugin::default()
    };
    fails_with(&sentence(ROOM, 3), "records 1 to 2: no");
    fails_with(&sentence(ROOM, 9), "process returned what cannot be read");
    fails_with(&sentence(0, u32::MAX), "process returned what cannot be read");
    // The plugin returns an error text of 1 MB of zeros. The host's message must quote only a short part of the text.
    let error = hand_written(&sentence(0x0020_0000, 1 << 20)).unwrap_err();
    assert!(error.len() < 2_000, "{error}");
}

#[test]
fn the_last_rows_fit_the_output() {
    let finish = |answer: &[u32], bytes: &[u8]| HandWrittenPlugin {
        data: vec![
            (ANSWER, words(&[0; 7])),
            (512, words(answer)),
            (ROOM, bytes.to_vec()),
            (ROOM + 64, words(&[1, 2])),
        ],
        ..HandWrittenPlugin::default()
    };
    let good = finish(&[0, 2, ROOM, 2, ROOM + 64, 2], b"xy");
    assert_eq!(hand_written(&good).unwrap().output, "n\na\nb\nx\ny\n");
    for (answer, bytes, why) in [
        (
            [0, 3, ROOM, 2, ROOM + 64, 2],
            b"xy",
            "2 ends for 3 emitted rows of 1 columns",
        ),
        (
            [0, u32::MAX, ROOM, 2, ROOM + 64, 2],
            b"xy",
            "2 ends for 4294967295 emitted rows",
        ),
        (
            [0, 2, ROOM, 1, ROOM + 64, 2],
            b"xy",
            "a text from 1 to 2 in 1 bytes",
        ),
        (
            [0, 1, ROOM, 2, ROOM + 64, 1],
            b"xy",
            "emitted bytes after the last end",
        ),
        (
            [0, 2, ROOM, 2, ROOM + 64, 2],
            b"\xffy",
            "emitted bytes are not UTF-8",
        ),
        (
            [0, 0, 0, u32::MAX, 0, 0],
            b"xy",
            "finish returned what cannot be read",
        ),
    ] {
        fails_with(&finish(&answer, bytes), why);
    }
}

#[test]
fn plans_fit_the_input() {
    let plan = |words_of_plan: &[u32], more: Vec<(u32, Vec<u8>)>| {
        let mut plugin = HandWrittenPlugin::answering(&[], &[], b"");
        plugin.data.push((256, words(words_of_plan)));
        plugin.data.extend(more);
        plugin
    };
    let column = |name: u32, source: u32| words(&[name, 1, 0, 1, source]);
    let two_of_a_name = [column(352, 0), column(352, 0)].concat();
    for (planned, more, why) in [
        (
            vec![0, 300, 1, 0, 0, 320, 0, 0],
            vec![],
            "planned an output without columns",
        ),
        (
            vec![0, ROOM, 1, 0, 0, 320, 1, 0],
            vec![(ROOM, words(&[7]))],
            "planned to use column 7 of 1",
        ),
        (
            vec![0, ROOM, 2, 0, 0, 320, 1, 0],
            vec![(ROOM, words(&[0, 0]))],
            "planned to read a column twice",
        ),
        (
            vec![0, 300, 1, 0, 0, 320, 1, 0],
            vec![(320, column(352, 9))],
            "planned to use column 9 of 1",
        ),
        (
            vec![0, 300, 1, 0, 0, ROOM, 2, 0],
            vec![(ROOM, two_of_a_name)],
            "two output columns of one name",
        ),
        (
            vec![0, 300, 1, 0, 0, 0x0002_0000, 5_000, 0],
            vec![],
            "its output has 5000 columns, more than the 4096 allowed; --limit columns=5000 allows them",
        ),
        (
            vec![0, 0, u32::MAX, 0, 0, 320, 1, 0],
            vec![],
            "open returned what cannot be read",
        ),
    ] {
        fails_with(&plan(&planned, more), why);
    }
}

#[test]
fn a_memory_is_as_large_as_it_may_be() {
    // The plugin has no table, and its memory never grows.
    let (pages, bytes) = (160_u32, 160 << 16);
    let plugin = HandWrittenPlugin {
        pages,
        ..HandWrittenPlugin::answering(&[], &[], b"")
    };
    let plugin = engine().load(&plugin.component()).unwrap();
    let with = |plugin_memory_bytes| Limits {
        plugin_memory_bytes,
        ..Limits::default()
    };
    run(&plugin, with(bytes)).unwrap();
    let error = run(&plugin, with(bytes - 1)).unwrap_err();
    assert!(
        error.contains("start needed more memory than the limit of 10485759 bytes"),
        "{error}"
    );
}

#[test]
fn a_plugin_that_answers_wrongly_leaves_the_next_one_alone() {
    breaks(&[9, 9], &[], b"", "operands needed");
    assert_eq!(
        run(&plugin("clean"), Limits::default()).unwrap().output,
        "n\na\nb\n"
    );
}
