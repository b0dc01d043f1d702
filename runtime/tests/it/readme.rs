//! Tests the documents. The commands of README.md and of the tutorial must run, except commands that need the
//! repository. The guide for authors of plugins must run outside the repository, and print the output that it shows. Each link must lead to an existing file and heading.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::support::author::Author;
use crate::support::documents::{self, block};
use crate::support::host::{CommandOutput, Host, component};

/// Runs the guide of docs/plugins.md from nothing to a bound plugin, as a reader would.
#[test]
fn the_guide_for_authors_runs_and_does_what_it_says() {
    let author = Author::new();
    let host = &author.host;
    let text = documents::text("docs/plugins.md");
    let (_, guide) = text.split_once("\n## Write a plugin in five minutes").unwrap();
    let (guide, _) = guide.split_once("\n## Swap the plugin of a queue").unwrap();
    let mut commands = documents::blocks(guide, "sh").into_iter();
    let first = commands.next().unwrap();
    // The target is installed already, because other tests need it.
    let first = first.replace("rustup target add wasm32-wasip2\n", "");
    author.bash(&first).ok();
    author.finish_project("celsius");

    let sdk = documents::root().join("plugins/sdk");
    let patch = block("toml", "[patch.crates-io]");
    assert!(patch.contains("../ingest-host/plugins/sdk"));
    std::fs::create_dir(host.path("celsius/.cargo")).unwrap();
    host.write(
        "celsius/.cargo/config.toml",
        patch.replace("../ingest-host/plugins/sdk", sdk.to_str().unwrap()),
    );
    host.write("celsius/src/lib.rs", block("rust", "Celsius"));
    author.bash("rm celsius/cases/example.*").ok();
    host.write("celsius/cases/readings.csv", block("csv", "fahrenheit"));
    let commands: Vec<_> = std::iter::once("cd celsius\n".to_owned())
        .chain(commands)
        .collect();
    assert!(commands.len() > 4, "{commands:?}");
    let said = author.bash(&commands.concat()).ok();
    let promised = documents::blocks(guide, "text");
    assert_eq!(promised.len(), 2, "{promised:?}");
    for promised in promised {
        assert!(
            said.contains(&promised),
            "the document promises\n{promised}\nand the program says\n{said}"
        );
    }
    assert!(said.contains("1 done, 0 dead"), "{said}");
    assert_eq!(
        std::fs::read_to_string(host.path("celsius/cases/readings.out.csv")).unwrap(),
        "station,fahrenheit,celsius\nOulu,14,-10\nVienna,68.5,20.3\n"
    );

    // The plugin rejects numbers that are not finite. The last number is finite, but its result is not.
    let not_finite = ["NaN", "-nan", "inf", "Infinity", "1e999", "1e308"];
    host.write(
        "celsius/not_finite.csv",
        format!("station,fahrenheit\nX,{}\n", not_finite.join("\nX,")),
    );
    let said = author
        .bash("cd celsius; ingest-host ingest not_finite.csv --plugin target/wasm32-wasip2/release/celsius.wasm")
        .ok();
    assert!(
        said.contains("6 rejected; 0 written\n         6  bad-value\n"),
        "{said}"
    );
}

/// Runs the `sh` blocks of a document in order, in one shell. Blocks that need the repository are left out.
fn run_blocks(host: &Host, document: &str) -> CommandOutput {
    let blocks = documents::blocks(&documents::text(document), "sh");
    let of_repository = |block: &String| {
        ["make ", "docker ", "cargo "]
            .iter()
            .any(|word| block.contains(word))
    };
    let blocks: Vec<_> = blocks.into_iter().filter(|block| !of_repository(block)).collect();
    host.bash(&blocks.concat())
}

/// Returns a host with the files that the first commands of the documents create.
fn prepared() -> Host {
    let host = Host::embedded();
    let mut csv = Vec::new();
    alarm_feed::write_alarms(&mut csv, 7, 1_000, 5).unwrap();
    host.write("alarms.csv", csv);
    for plugin in ["clean", "alarms"] {
        std::fs::copy(component(plugin), host.path(&format!("{plugin}.wasm"))).unwrap();
    }
    let config = documents::root().join("examples/alarms.clean.json");
    std::fs::copy(config, host.path("alarms.clean.json")).unwrap();
    host
}

#[test]
fn the_commands_of_the_readme_run() {
    let said = run_blocks(&prepared(), "README.md").ok();
    for part in [
        "1000 records: ",
        "readme-1  submitted (ready)",
        "1 done, 0 dead",
        "binding 2: alarms@0.1.0",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn the_commands_of_the_tutorial_run() {
    let host = prepared();
    let said = run_blocks(&host, "docs/tutorial.md").ok();
    let mut promised = documents::blocks(&documents::text("docs/tutorial.md"), "text");
    promised.retain(|block| !block.starts_with("export "));
    assert_eq!(promised.len(), 3, "{promised:?}");
    promised.push("binding 2: alarms@0.1.0".into());
    for part in promised {
        assert!(said.contains(&part), "{part}: {said}");
    }
    let dead = host.run("dead list --queue bigdatastudy --json").json();
    assert!(dead.is_empty(), "the last step repairs it: {dead:?}");
    host.run("queue audit").ok();
}

#[test]
fn the_example_of_the_config_file_runs() {
    let host = prepared();
    let file = block("toml", "[queues.bigdatastudy]");
    host.write("ingest-host.toml", &file);
    let commands = block("sh", "config check --config-file ingest-host.toml");
    let said = host.bash(&commands).ok();
    for line in file.lines().filter(|line| line.contains('=')) {
        let (key, _) = line.split_once('=').unwrap();
        let key = key.trim().split('.').next().unwrap();
        let number = file.lines().position(|other| other == line).unwrap() + 1;
        assert!(
            said.contains(&format!("ingest-host.toml:{number}\n")),
            "{key} of line {number}: {said}"
        );
    }
    assert!(said.contains("1 done, 0 dead"), "{said}");
    assert!(host.path("out/study/bigdatastudy/study-1.csv").exists());
    assert!(
        host.path("out/partners").exists(),
        "each output is prepared at the start"
    );
}

/// Returns the anchors of a document's headings, as GitHub creates them.
fn anchors(text: &str) -> HashSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

/// Returns a document without its fenced blocks.
fn without_blocks(text: &str) -> String {
    text.split("\n```").step_by(2).collect()
}

#[test]
fn each_link_leads_to_a_file_and_a_heading() {
    let root = documents::root();
    let folders = [
        "",
        "docs",
        "docs/adr",
        "docs/how-to",
        "examples",
        "plugins/clean",
        "plugins/sdk",
    ];
    let paths: Vec<_> = folders
        .iter()
        .flat_map(|folder| documents::in_folder(&root.join(folder)))
        .collect();
    let (mut links, mut broken) = (0, Vec::new());
    for path in &paths {
        let text = without_blocks(&documents::text(path));
        let targets = text
            .split("](")
            .skip(1)
            .map(|rest| rest.split(')').next().unwrap());
        for target in targets.filter(|target| !target.starts_with("http")) {
            links += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = match file {
                "" => path.clone(),
                file => path.parent().unwrap().join(file),
            };
            let is_there = file.exists()
                && (anchor.is_empty() || anchors(&without_blocks(&documents::text(&file))).contains(anchor));
            if !is_there {
                broken.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(links > 50, "{links} links");
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Returns the paths of all files below a folder, except the folders of git and cargo.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_dir() || path.is_symlink() {
            files.push(path);
        } else if !path.ends_with("target") && !path.ends_with(".git") {
            files.extend(files_below(&path));
        }
    }
    files
}

/// Checks the documents for contributors: each path in backticks must be the path of a file in the repository, or the
/// end of such a path. For example, the paths in some tables are relative to `runtime/src`.
#[test]
fn each_path_for_contributors_is_a_file() {
    const EXTENSIONS: [&str; 7] = ["rs", "lua", "sh", "py", "md", "toml", "wit"];
    let root = documents::root();
    let files = files_below(root);
    let mut paths = documents::in_folder(&root.join("docs/how-to"));
    paths.extend(["ARCHITECTURE.md", "CONTRIBUTING.md"].map(|name| root.join(name)));
    let (mut names, mut missing) = (0, Vec::new());
    for path in &paths {
        let text = without_blocks(&documents::text(path));
        for name in text.split('`').skip(1).step_by(2) {
            let is_path = !name.contains([' ', '\n', '{', '*', '<'])
                && name
                    .rsplit_once('.')
                    .is_some_and(|(stem, extension)| !stem.is_empty() && EXTENSIONS.contains(&extension));
            if !is_path {
                continue;
            }
            names += 1;
            if !files.iter().any(|file| file.ends_with(name)) {
                missing.push(format!("{}: {name}", path.display()));
            }
        }
    }
    assert!(names > 120, "{names} paths");
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Checks the tables of the recipes: each type or function must exist in the file that is named in the same row.
#[test]
fn each_name_in_a_recipe_is_in_the_file_beside_it() {
    let folder = documents::root().join("docs/how-to");
    let (mut names, mut missing) = (0, Vec::new());
    for path in documents::in_folder(&folder) {
        // | role | [file](path) | `name`, `name` |
        for row in documents::text(&path).lines() {
            let cells: Vec<_> = row.split(" | ").collect();
            let [_, link, named] = cells[..] else { continue };
            let Some((_, file)) = link.trim_end_matches(')').split_once("](") else {
                continue;
            };
            let file = documents::text(folder.join(file));
            for name in named.split('`').skip(1).step_by(2) {
                names += 1;
                if !file.contains(name) {
                    missing.push(format!("{}: {name}: {link}", path.display()));
                }
            }
        }
    }
    assert!(names > 50, "{names} names");
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Checks that each test command in a recipe names an existing test program and, if it names a module, an existing
/// module.
#[test]
fn each_test_in_a_recipe_exists() {
    let tests = documents::root().join("runtime/tests");
    let mut count = 0;
    for path in documents::in_folder(&documents::root().join("docs/how-to")) {
        let text = documents::text(&path);
        for rest in text.split("--test ").skip(1) {
            count += 1;
            let mut words = rest.split(['`', '\n']).next().unwrap().split(' ');
            let program = tests.join(words.next().unwrap());
            let module = words.find_map(|word| word.strip_suffix("::")).unwrap_or("main");
            let module = program.join(module.replace("::", "/"));
            let is_there = module.with_extension("rs").exists() || module.join("mod.rs").exists();
            assert!(is_there, "{}: {}", path.display(), module.display());
        }
    }
    assert!(count > 20, "{count} tests");
}

/// Checks that each decision record has all sections and a valid status, and that the list shows it with the same
/// status.
#[test]
fn each_decision_is_complete_and_listed() {
    let folder = documents::root().join("docs/adr");
    let list = documents::text(folder.join("README.md"));
    let paths = documents::in_folder(&folder);
    let decisions = paths.iter().filter(|path| !path.ends_with("README.md"));
    let mut count = 0;
    for (index, path) in decisions.enumerate() {
        count += 1;
        let text = documents::text(path);
        let file = path.file_name().unwrap().to_string_lossy();
        let number = index + 1;
        assert!(
            file.starts_with(&format!("{number:04}-")),
            "{file}: not number {number}"
        );
        let title = text.lines().next().unwrap().trim_start_matches("# ");
        assert!(title.starts_with(&format!("{number}. ")), "{file}: {title}");
        let headings: Vec<_> = text.lines().filter(|line| line.starts_with("## ")).collect();
        assert_eq!(
            headings,
            ["## Context", "## Decision", "## Consequences"],
            "{file}"
        );
        let status = text
            .lines()
            .find_map(|line| line.strip_prefix("- Status: "))
            .expect("a status");
        // Each part of a decision can have its own status: "accepted for groups, proposed for splits".
        let is_known_part =
            |part: &str| ["proposed", "accepted"].contains(&part.split(" for ").next().unwrap());
        let is_known = status.split(", ").all(is_known_part) || status.starts_with("replaced by ");
        assert!(is_known, "{file}: {status}");
        assert!(text.contains("\n- Date: 20"), "{file}: no date");
        let row = format!("| [{title}]({file}) | {status} |");
        assert!(list.contains(&row), "docs/adr/README.md lacks {row}");
    }
    assert!(count > 10, "{count} decisions");
}
