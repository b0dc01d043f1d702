//! Tests `plugin bench`: it measures time and fuel, and fuel is the same in each run.

use serde_json::Value;

use crate::support::host::{CommandOutput, Host, component};

fn bench(host: &Host, plugin: &str, options: &str) -> CommandOutput {
    let plugin = component(plugin);
    host.run_with(
        &format!("plugin bench --input in.csv {options}"),
        &[plugin.to_str().unwrap()],
    )
}

fn measured(host: &Host, plugin: &str, options: &str) -> Value {
    bench(host, plugin, &format!("--json {options}")).json().remove(0)
}

/// Returns a host with an input of some thousand records, in several chunks.
fn host() -> Host {
    let host = Host::embedded();
    let mut csv = Vec::new();
    alarm_feed::write_alarms(&mut csv, 7, 4_000, 5).unwrap();
    assert!(csv.len() > 150_000, "{}", csv.len());
    host.write("in.csv", csv);
    host
}

#[test]
fn fuel_is_the_same_in_each_run_and_grows_with_the_work() {
    let host = host();
    let first = measured(&host, "alarms", "");
    assert_eq!(first["records"], 4_000);
    let fuel = first["fuel"].as_u64().unwrap();
    assert!(fuel > 4_000 * 50, "{first}");
    assert_eq!(measured(&host, "alarms", "")["fuel"], first["fuel"]);
    let per_record = first["fuel_per_record"].as_f64().unwrap();
    assert!((per_record - fuel as f64 / 4_000.0).abs() < 1e-6, "{first}");
    for time in ["records_per_second", "ns_per_record", "plugin_ns_per_record"] {
        assert!(first[time].as_f64().unwrap() > 0.0, "{time}: {first}");
    }
    assert!(
        first["ns_per_record"].as_f64() >= first["plugin_ns_per_record"].as_f64(),
        "{first}"
    );
    let idle = measured(&host, "hostile", "");
    let busy = measured(&host, "hostile", "--plugin-config {\"turns\":100}");
    let [idle, busy] = [idle, busy].map(|cost| cost["fuel"].as_u64().unwrap());
    assert!(busy > idle + 100 * 4_000, "{busy} and {idle}");
}

#[test]
fn a_bound_on_fuel_fails_above_it_only() {
    let host = host();
    let cost = measured(&host, "alarms", "");
    let per_record = cost["fuel_per_record"].as_f64().unwrap();
    let enough = format!("--max-fuel-per-record {}", per_record.ceil() as u64);
    let said = bench(&host, "alarms", &enough).ok();
    assert!(
        said.contains("alarms@") && said.contains("4000 records"),
        "{said}"
    );
    assert!(
        said.contains(&format!("fuel a record  {per_record:.1}")),
        "{said}"
    );
    let too_little = format!("--max-fuel-per-record {}", per_record.floor() as u64 - 1);
    let said = bench(&host, "alarms", &too_little);
    assert_eq!(said.code, Some(1));
    assert!(
        said.stdout.contains("fuel a record"),
        "the figures are shown: {}",
        said.stdout
    );
    assert!(
        said.stderr.contains("more than the limit of") && said.stderr.contains("[plugin-cost]"),
        "{}",
        said.stderr
    );
}

#[test]
fn an_input_without_records_measures_nothing() {
    let host = Host::embedded();
    host.write("in.csv", "a,b\n");
    let said = bench(&host, "clean", "").refused(2);
    assert!(said.contains("in.csv: has no record to measure with"), "{said}");
    let said = bench(&host, "clean", "--max-fuel-per-record x").refused(2);
    assert!(said.contains("expected a whole number"), "{said}");
}
