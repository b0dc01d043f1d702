//! Tests `plugin new` and `plugin build`: a new project builds and passes its tests at once, and errors say what to do.

use serde_json::Value;

use crate::support::author::Author;
use crate::support::host::Host;

#[test]
fn a_new_project_builds_and_passes_its_tests_at_once() {
    let author = Author::new();
    author.project("clean-orders");
    author.cargo("clean-orders", "test").ok();
    author.cargo("clean-orders", "fmt --check").ok();
    let built = author.run("plugin build clean-orders --json").json().remove(0);
    assert_eq!(
        (&built["name"], &built["version"]),
        (&"clean-orders".into(), &"0.1.0".into())
    );
    assert_eq!(built["interface"], "ingest:plugin@0.2.0");
    let component = built["component"].as_str().unwrap();
    let bytes = std::fs::metadata(component).unwrap().len();
    assert_eq!(built["bytes"], Value::from(bytes));
    let said = author.run("plugin build clean-orders").ok();
    assert!(
        said.starts_with("clean-orders@0.1.0  ") && said.contains(component),
        "{said}"
    );
    let said = author.run("plugin test clean-orders").ok();
    assert!(said.contains("pass     example  4 records, 2 rejected"), "{said}");
    assert!(said.ends_with("1 case, all pass\n"), "{said}");
}

#[test]
fn a_project_has_what_an_author_needs() {
    let host = Host::embedded();
    let listed = host.run("plugin new celsius --lang rust").ok();
    for file in [
        "Cargo.toml",
        "src/lib.rs",
        "cases/example.csv",
        "cases/example.out.csv",
        "cases/example.rejects.csv",
        ".github/workflows/plugin.yml",
        ".gitignore",
        "README.md",
    ] {
        let path = format!("celsius/{file}");
        assert!(listed.lines().any(|line| line == path), "{file}: {listed}");
        let text = std::fs::read_to_string(host.path(&path)).unwrap();
        assert!(!text.replace("${{", "").contains("{{"), "{file}: {text}");
    }
    let manifest = std::fs::read_to_string(host.path("celsius/Cargo.toml")).unwrap();
    assert!(manifest.contains(&format!("ingest-plugin = \"{}\"", env!("CARGO_PKG_VERSION"))));

    let listed = host.run("plugin new kelvin --lang js").ok();
    for file in ["package.json", "package-lock.json", "plugin.js", "plugin.test.js"] {
        let path = format!("kelvin/{file}");
        assert!(listed.lines().any(|line| line == path), "{file}: {listed}");
        let text = std::fs::read_to_string(host.path(&path)).unwrap();
        assert!(!text.contains("{{"), "{file}: {text}");
    }
    assert!(host.path("kelvin/vendor/ingest-plugin/package.json").is_file());
}

#[test]
fn what_exists_is_not_touched() {
    let host = Host::embedded();
    host.write("celsius", "a file");
    let said = host.run("plugin new celsius").refused(2);
    assert!(
        said.contains("celsius: exists already: choose another name"),
        "{said}"
    );
    assert_eq!(std::fs::read_to_string(host.path("celsius")).unwrap(), "a file");
    std::fs::create_dir(host.path("kelvin")).unwrap();
    host.run("plugin new kelvin").refused(2);
    assert_eq!(std::fs::read_dir(host.path("kelvin")).unwrap().count(), 0);
}

#[test]
fn a_bad_name_is_refused_and_makes_nothing() {
    let host = Host::embedded();
    for (name, why) in [
        ("Celsius", "must have 1 to 64 lowercase ASCII letters"),
        ("2fast", "starting with a letter"),
        ("a/b", "is a path: change to the folder"),
        ("../a", "is a path"),
        ("fn", "Rust reserves this name"),
        ("a\u{1b}b", "must have"),
        ("", "must have"),
    ] {
        let said = host.run_with("plugin new", &[name]).refused(2);
        assert!(
            said.contains(why) && said.contains("[name-invalid]"),
            "{name:?}: {said}"
        );
        assert!(!said.contains('\u{1b}'), "{said:?}");
    }
    let said = host.run("plugin new a --lang cobol").refused(2);
    assert!(said.contains("[possible values: rust"), "{said}");
    let left: Vec<_> = std::fs::read_dir(host.folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_build_without_a_project_or_tools_says_what_to_do() {
    let host = Host::embedded();
    let said = host.run("plugin build").refused(2);
    assert!(
        said.contains("has no project of a plugin; a project has the file Cargo.toml"),
        "{said}"
    );
    let said = host.run("plugin build nowhere").refused(2);
    assert!(said.contains("nowhere: is no folder"), "{said}");
    host.run("plugin new celsius").ok();
    // The commands of this host have no PATH.
    let output = host
        .command()
        .env("PATH", "/nowhere")
        .args(["plugin", "build", "celsius"])
        .output();
    let said = String::from_utf8(output.unwrap().stderr).unwrap();
    assert!(
        said.contains(
            "the program cargo is not in PATH; https://rustup.rs installs Rust [toolchain-missing]"
        ),
        "{said}"
    );
}

#[test]
fn a_missing_target_is_named() {
    let host = Host::embedded();
    host.run("plugin new celsius").ok();
    // A tool chain without the target: its rustc names a folder that does not exist.
    std::fs::create_dir(host.path("bin")).unwrap();
    for (program, answer) in [("cargo", "cargo 1.95.0"), ("rustc", "/no/such/folder")] {
        let path = host.write(&format!("bin/{program}"), format!("#!/bin/sh\necho {answer}\n"));
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:/bin:/usr/bin", host.path("bin").display());
    let output = host
        .command()
        .env("PATH", path)
        .args(["plugin", "build", "celsius"])
        .output();
    let said = String::from_utf8(output.unwrap().stderr).unwrap();
    assert!(
        said.contains("but not its target wasm32-wasip2; `rustup target add wasm32-wasip2` installs it"),
        "{said}"
    );
}

#[test]
fn source_that_does_not_compile_fails_the_build() {
    let author = Author::new();
    author.project("broken");
    author.host.write("broken/src/lib.rs", "fn main( {");
    let said = author.run("plugin build broken").refused(1);
    assert!(said.contains("[build-failed]"), "{said}");
    assert!(said.contains("src/lib.rs"), "the compiler says where: {said}");
    author.host.write("broken/src/lib.rs", "");
    let manifest = std::fs::read_to_string(author.host.path("broken/Cargo.toml")).unwrap();
    author.host.write(
        "broken/Cargo.toml",
        manifest.replace("crate-type = [\"cdylib\"]", ""),
    );
    let said = author.run("plugin build broken").refused(1);
    assert!(
        said.contains("cargo built no component; Cargo.toml needs a section [lib]"),
        "{said}"
    );
}
