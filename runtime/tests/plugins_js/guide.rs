//! Tests the way of docs/plugins-js.md, from a new project to a bound plugin.

use std::fs;

use crate::project::npm_offline;
use crate::support::documents::{self, blocks};
use crate::support::host::Host;

/// Runs the commands of docs/plugins-js.md as they are, with npm offline.
#[test]
fn the_way_of_the_guide_leads_to_a_bound_plugin() {
    let guide = documents::text("docs/plugins-js.md");
    let [new, bless, work, bind] = <[String; 4]>::try_from(blocks(&guide, "sh")).unwrap();
    let [plugin, test] = <[String; 2]>::try_from(blocks(&guide, "js")).unwrap();
    let promised = blocks(&guide, "text").remove(0);
    let host = Host::embedded();
    let npm = npm_offline();
    let said = host
        .bash(&format!("{npm}{new}npm test\ningest-host plugin test ."))
        .ok();
    assert!(
        said.contains("pass 1") && said.contains("1 case, all pass"),
        "{said}"
    );

    host.write("celsius/plugin.js", plugin);
    host.write("celsius/plugin.test.js", test);
    let remove = "rm cases/example.*";
    assert!(guide.contains(&format!("(`{remove}`)")));
    host.bash(&format!("cd celsius\n{remove}")).ok();
    host.write("celsius/cases/readings.csv", blocks(&guide, "csv").remove(0));
    host.bash(&format!("{npm}cd celsius\n{bless}")).ok();
    let read = |path: &str| fs::read_to_string(host.path("celsius").join(path)).unwrap();
    let expected = "station,fahrenheit,celsius\nOulu,14,-10\nVienna,68.5,20.3\n";
    assert_eq!(read("cases/readings.out.csv"), expected);
    let said = host.bash(&format!("cd celsius\n{work}")).ok();
    for part in ["1 case, all pass", "  * celsius     (none) -> -10", &promised] {
        assert!(
            said.contains(part),
            "the guide promises\n{part}\nand the commands say\n{said}"
        );
    }
    let output = said
        .lines()
        .find_map(|line| line.strip_prefix("output   file://"));
    assert_eq!(read(output.expect("an output")), expected);

    host.bash(&format!("cd celsius\n{bind}")).ok();
    let requests = host.run("requests --queue weather --json").json();
    assert_eq!(requests.len(), 1);
    let id = requests[0]["id"].as_str().unwrap();
    let receipt = &host.status(id)["receipt"];
    assert_eq!(receipt["plugin"]["name"], "celsius");
    assert_eq!(receipt["records"]["rejected"], 2);
}
