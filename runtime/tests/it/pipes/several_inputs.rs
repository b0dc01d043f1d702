//! Tests that each of several inputs has its own output and receipt, even if other inputs fail.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::{ROWS, clean, interrupted, leaves_no_staging, names, output, said};
use crate::support::host::Host;
use crate::support::http::Files;

#[test]
fn a_signal_ends_the_inputs_that_are_left() {
    let host = Host::embedded();
    host.write("a.csv", ROWS);
    host.write("b.csv", ROWS);
    for (output, end) in [
        ("o", "1 of 3 inputs are done; not done: stdin, b.csv"),
        ("-", "nothing was written to stdout; not done: stdin, b.csv"),
    ] {
        let command = clean(&host, &["a.csv", "-", "b.csv", "--output", output]);
        let stderr = interrupted(command).refused(1);
        assert_eq!(stderr.matches("interrupted").count(), 1, "{stderr}");
        assert!(stderr.contains(end), "{stderr}");
    }
    leaves_no_staging(&host);
}

#[test]
fn each_of_several_inputs_has_its_own_receipt() {
    let host = Host::embedded();
    std::fs::create_dir_all(host.path("data/deep.csv")).unwrap();
    for (name, rows) in [
        ("data/b.csv", "a\n2\n"),
        ("data/a.csv", "a\n1\n"),
        ("data/.hidden.csv", "a\n0\n"),
        ("c.csv", "a\n3\n"),
    ] {
        host.write(name, rows);
    }
    std::os::unix::fs::symlink("data/a.csv", host.path("link.csv")).unwrap();
    let uri = format!("file://{}", host.path("data/b.csv").display());
    let again = ["data/a.csv", "./data/a.csv", "link.csv", &uri, "./data/*.csv"];
    let receipts = said(clean(
        &host,
        &[&["c.csv", "data/*.csv", "--json"], &again[..]].concat(),
    ))
    .json();
    let outputs: Vec<_> = receipts.iter().map(output).collect();
    assert_eq!(outputs, ["a\n3\n", "a\n1\n", "a\n2\n"], "in order, and each once");
    let uris: Vec<_> = receipts
        .iter()
        .map(|receipt| receipt["request"]["uri"].as_str().unwrap())
        .collect();
    assert_eq!(uris, ["c.csv", "data/a.csv", "data/b.csv"]);
    assert_eq!(names(&host.path("out/_ingest/receipts")).len(), 3);
    let said = said(clean(&host, &["c.csv", "data/*.csv", "--output", "o"])).ok();
    for part in [
        "c.csv\n1 record: 1 kept",
        "data/a.csv\n",
        "data/b.csv\n",
        "all 3 inputs are done",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn one_that_fails_does_not_hold_up_the_others() {
    let host = Host::embedded();
    host.write("a.csv", "a\n1\n");
    host.write("b.csv", "a,b\n1,\"x\n");
    host.write("c.csv", "a\n3\n");
    std::fs::create_dir(host.path("folder")).unwrap();
    let inputs = ["a.csv", "b.csv", "missing.csv", "*.parquet", "folder", "c.csv"];
    let said = said(clean(&host, &inputs));
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    for part in [
        "error: b.csv: decode: record 1",
        "error: missing.csv: fetch: no such file",
        "error: *.parquet: fetch: no file matches",
        "error: folder: fetch: is a folder: name the files in it, such as 'folder/*.csv'",
        "2 of 6 inputs are done; not done: b.csv, missing.csv, *.parquet, folder",
    ] {
        assert!(said.stderr.contains(part), "{part}: {}", said.stderr);
    }
    assert!(
        said.stdout.contains("a.csv\n1 record") && said.stdout.contains("c.csv\n1 record"),
        "{}",
        said.stdout
    );
    assert_eq!(names(&host.path("out/_ingest/receipts")).len(), 2);
    for (option, value) in [("--id", "x"), ("--sha256", &*"ab".repeat(32))] {
        let said = self::said(clean(&host, &["a.csv", "c.csv", option, value, "--output", "o"])).refused(2);
        assert!(
            said.contains(option) && said.contains("these are 2 inputs"),
            "{said}"
        );
        assert!(!host.path("o").exists());
    }
}

/// Checks that with several inputs, each error names its input as it was given, because inputs in several folders can
/// have the same file name.
#[test]
fn of_several_inputs_an_error_begins_with_the_input_as_it_was_given() {
    let host = Host::embedded();
    std::fs::create_dir(host.path("parts")).unwrap();
    host.write("parts/1.csv", "a\n1\n");
    host.write("parts/2.csv", "b\n1\n");
    host.write("parts/3.csv", "a\n\"x\n");
    let files = Files::serve();
    let busy = files.put("4.csv", "a\n1\n");
    files.fail("4.csv", 100);
    let config = r#"{"columns":{"a":{"trim":true}}}"#;
    let ingest = |output: &str, inputs: &[&str]| {
        let mut arguments = inputs.to_vec();
        arguments.extend(["--plugin-config", config, "--output", output]);
        said(clean(&host, &arguments)).refused(1)
    };
    let transient = "; it may pass by itself: `ingest` does not try again, a queue does";
    for output in ["o", "-"] {
        let stderr = ingest(output, &["parts/*.csv", &busy]);
        let errors: Vec<_> = stderr
            .lines()
            .filter(|line| line.starts_with("error: "))
            .collect();
        let begins = [
            (
                "error: parts/2.csv: plugin clean: refuses the input: ".to_owned(),
                "input-refused",
            ),
            (
                "error: parts/3.csv: decode: record 1".to_owned(),
                "quote-unclosed",
            ),
            (format!("error: {busy}: fetch: "), "http-status"),
        ];
        assert_eq!(errors.len(), begins.len(), "{stderr}");
        for (error, (begin, code)) in errors.iter().zip(&begins) {
            assert!(error.starts_with(begin), "{begin}: {stderr}");
            let told = error.strip_suffix(&format!(" [{code}]")).expect(error);
            assert_eq!(told.ends_with(transient), *code == "http-status", "{stderr}");
        }
    }
    // If there is only one input, the error names a local file without its folder.
    let stderr = ingest("o", &["parts/3.csv"]);
    assert!(stderr.starts_with("error: decode 3.csv: record 1"), "{stderr}");
    let stderr = ingest("o", &[&busy]);
    assert!(
        stderr.contains("503") && stderr.ends_with(&format!("{transient} [http-status]\n")),
        "{stderr}"
    );
}

#[test]
fn names_may_have_any_characters() {
    let host = Host::embedded();
    let names: [&[u8]; 10] = [
        b"a b.csv",
        b"*.csv",
        b"[1].csv",
        b"ab:c.csv",
        b"file:x.csv",
        b"50%.csv",
        b"q?#.csv",
        b"new\nline.csv",
        b"\xff.csv",
        b"\xc3\xa9'\".csv",
    ];
    let mut command = clean(&host, &["--json"]);
    for (number, name) in names.iter().enumerate() {
        let name = OsStr::from_bytes(name);
        std::fs::write(host.path("").join(name), format!("a\n{number}\n")).unwrap();
        command.arg(name);
    }
    let receipts = said(command).json();
    let outputs: Vec<_> = receipts.iter().map(output).collect();
    let expected: Vec<_> = (0..names.len()).map(|number| format!("a\n{number}\n")).collect();
    assert_eq!(outputs, expected);
    // A pattern finds the same files.
    std::fs::remove_file(host.path("*.csv")).unwrap();
    let again = said(clean(&host, &["*.csv", "--json"])).json();
    assert_eq!(again.len(), names.len() - 1);
    host.write("-", "a\n7\n");
    host.write("-x.csv", "a\n8\n");
    let receipts = said(clean(&host, &["--json", "./-", "./-x.csv"])).json();
    assert_eq!(
        receipts.iter().map(output).collect::<Vec<_>>(),
        ["a\n7\n", "a\n8\n"]
    );
}

#[test]
fn a_file_is_no_folder_for_outputs() {
    let host = Host::embedded();
    host.write("in.csv", ROWS);
    host.write("there.csv", "");
    let hints = |option: &str, folder: &str| format!("write `{option} {folder}/`");
    for (name, folder) in [
        ("out.csv", "out"),
        ("data/x.CSV.gz", "data/x"),
        ("there.csv", "there"),
        ("y.jsonl", "y"),
    ] {
        for option in ["--output", "--rejects"] {
            let ingest = said(clean(&host, &["in.csv", option, name])).refused(2);
            let run = host
                .run(&format!("run --queue q --burst {option} {name}"))
                .refused(2);
            for said in [ingest, run] {
                assert!(
                    said.contains("looks like a file") && said.contains(&hints(option, folder)),
                    "{said}"
                );
                assert_eq!(said.contains("--output - > FILE"), option == "--output", "{said}");
            }
        }
    }
    let uri = format!("file://{}", host.path("z.csv").display());
    said(clean(&host, &["in.csv", "--output", &uri])).refused(2);
    for args in [
        "run --queue q --burst --output -",
        "run --queue q --burst --rejects -",
    ] {
        let said = host.run(args).refused(2);
        assert!(said.contains("takes a folder"), "{said}");
    }
    for device in ["/dev/stdout", "/dev/null"] {
        let said = self::said(clean(&host, &["in.csv", "--output", device])).refused(2);
        assert!(
            said.contains("is no folder; `ingest --output - > FILE`"),
            "{said}"
        );
    }
    assert_eq!(names(&host.path("")), ["in.csv", "there.csv"]);
    // These values of `--output` name folders: a path that ends with a slash, an existing folder, and names without the
    // extension of a data file.
    std::fs::create_dir(host.path("is.csv")).unwrap();
    for folder in ["new.csv/", "is.csv", "v1.2", "conf.d"] {
        said(clean(&host, &["in.csv", "--output", folder])).ok();
        assert_eq!(
            names(&host.path(folder).join("_ingest/receipts")).len(),
            1,
            "{folder}"
        );
    }
}
