//! Tests components and bindings.

use ingest_host::error::{Class, Code};
use ingest_host::queue::{Binding, Component, ListedBinding, Step, StepData, UnreadableBinding};

use crate::test_server::{Q, TestServer, how};

fn component(sha256: &str, version: &str, pushed_ms: i64) -> Component {
    Component {
        sha256: sha256.into(),
        name: "clean".into(),
        version: version.into(),
        bytes: 4,
        pushed_ms,
    }
}

pub(crate) fn binding(sha256: &str) -> Binding {
    Binding {
        number: 77,
        steps: vec![Step {
            sha256: sha256.into(),
            name: "clean".into(),
            version: "1.2.0".into(),
            config: r#"{"path":"a/b","empty":[],"n":1.5}"#.into(),
            data: Default::default(),
        }],
        limits: [("memory".to_owned(), "64MiB".to_owned())].into(),
        gate: serde_json::from_str(r#"["0.5%","bad-id=10"]"#).unwrap(),
        input: serde_json::from_str(r#"{"delimiter":"\t","quote":"none","skip_lines":3}"#).unwrap(),
        bound_ms: 1_800_000_000_123,
        rollback_of: None,
    }
}

/// Returns the list entry of a readable binding with this number.
fn readable(number: u64, binding: Binding) -> ListedBinding {
    ListedBinding::Readable(Box::new(Binding { number, ..binding }))
}

pub(crate) async fn a_component_is_kept_under_its_digest(server: TestServer) {
    let registry = server.registry();
    assert_eq!(registry.component("aa", 4).await.unwrap(), None);
    let bytes = [0, 0xff, b'\r', b'\n'];
    registry
        .push_component(&component("aa", "1.0.0", 1_000), &bytes)
        .await
        .unwrap();
    registry
        .push_component(&component("bb", "2.0.0", 2_000), b"wasm")
        .await
        .unwrap();
    // If a component with the same digest is pushed again with other data, only the time changes.
    registry
        .push_component(&component("aa", "9.9.9", 9_000), b"else")
        .await
        .unwrap();
    assert_eq!(
        registry.component("aa", 4).await.unwrap().as_deref(),
        Some(&bytes[..])
    );
    let error = registry.component("aa", 3).await.expect_err("too large");
    assert_eq!(error.class(), Class::Permanent);
    let sentence = "plugin the component has 4 bytes, more than the limit of 3 (--limit component-bytes)";
    assert_eq!(error.to_string(), sentence);
    let components = registry.components().await.unwrap();
    assert_eq!(
        components,
        [component("aa", "1.0.0", 9_000), component("bb", "2.0.0", 2_000)]
    );
}

pub(crate) async fn reference_data_is_kept_under_its_digest(server: TestServer) {
    let registry = server.registry();
    assert_eq!(registry.data("aa", 4).await.unwrap(), None);
    let bytes = [0, 0xff, b'\r', b'\n'];
    registry.push_data("aa", &bytes).await.unwrap();
    registry.push_data("bb", b"").await.unwrap();
    registry.push_data("aa", b"else").await.unwrap();
    assert_eq!(registry.data("aa", 4).await.unwrap().as_deref(), Some(&bytes[..]));
    assert_eq!(registry.data("bb", 0).await.unwrap().as_deref(), Some(&b""[..]));
    let error = registry.data("aa", 3).await.expect_err("too large");
    assert_eq!(
        (error.class(), error.code()),
        (Class::Permanent, Code::PluginUnfit)
    );
    assert_eq!(
        error.to_string(),
        "plugin the reference data has 4 bytes, more than the limit of 3"
    );
    // Components have keys of their own.
    assert_eq!(registry.component("aa", 4).await.unwrap(), None);
    assert_eq!(registry.components().await.unwrap(), []);
}

/// Checks that a binding keeps the digests of its reference data, in both forms.
pub(crate) async fn a_binding_names_its_reference_data(server: TestServer) {
    let registry = server.registry();
    let mut binding = binding("aa");
    let data = StepData {
        sha256: "bb".into(),
        bytes: 3,
        uri: "https://host/stations.csv".into(),
    };
    binding.steps[0].data.insert("stations".into(), data);
    registry.bind(Q, &binding, None).await.unwrap();
    let number = 1;
    let expected = Binding { number, ..binding };
    assert_eq!(registry.binding(Q, 1).await.unwrap(), Some(expected.clone()));
    let short = serde_json::to_value(&expected).unwrap();
    assert_eq!(short["data"]["stations"]["sha256"], "bb");
    let mut with_list = short.clone();
    let members = with_list.as_object_mut().unwrap();
    let step: serde_json::Map<_, _> = ["sha256", "name", "version", "config", "data"]
        .into_iter()
        .map(|name| (name.to_owned(), members.remove(name).unwrap()))
        .collect();
    members.insert("steps".into(), serde_json::json!([step]));
    server.store_binding(1, &with_list.to_string());
    assert_eq!(registry.binding(Q, 1).await.unwrap(), Some(expected));
    // Data beside a list of steps belongs to no step.
    with_list["data"] = short["data"].clone();
    server.store_binding(1, &with_list.to_string());
    registry.binding(Q, 1).await.unwrap_err();
}

pub(crate) async fn the_component_pushed_last_comes_first(server: TestServer) {
    for (sha256, pushed_ms) in [("aa", 1_000), ("bb", 2_000), ("aa", 3_000)] {
        let pushed = component(sha256, "1.0.0", pushed_ms);
        server.registry().push_component(&pushed, b"wasm").await.unwrap();
    }
    let newest = &server.registry().components().await.unwrap()[0];
    assert_eq!((newest.sha256.as_str(), newest.pushed_ms), ("aa", 3_000));
}

/// Checks that a binding that a newer version has written is refused. A worker leaves such a binding to a newer worker.
pub(crate) async fn a_binding_that_says_more_than_is_known_is_refused(server: TestServer) {
    let registry = server.registry();
    let known = serde_json::to_value(binding("aa")).unwrap();
    registry.bind(Q, &binding("aa"), None).await.unwrap();
    registry.bind(Q, &binding("bb"), None).await.unwrap();
    for (place, member) in [("", "sampling"), ("/input", "skip_rowz")] {
        let mut newer = known.clone();
        newer.pointer_mut(place).unwrap()[member] = 2.into();
        server.store_binding(1, &newer.to_string());
        let error = registry.binding(Q, 1).await.expect_err(member);
        let report = error.report();
        assert_eq!(error.class(), Class::Transient, "{report}");
        for words in ["cannot read binding 1", member, "update this program"] {
            assert!(report.contains(words), "{words}: {report}");
        }
        // The list contains this binding with the reason, next to the readable bindings.
        let unreadable = UnreadableBinding {
            number: 1,
            rollback_of: None,
            code: error.code(),
            error: report,
        };
        assert_eq!(
            registry.bindings(Q).await.unwrap(),
            [readable(2, binding("bb")), ListedBinding::Unreadable(unreadable)]
        );
    }
    server.store_binding(1, &known.to_string());
    assert_eq!(registry.binding(Q, 1).await.unwrap(), Some(binding("aa")));
}

/// Checks that a list with one step is read like the short form. The short form is stored so that version 0.1.0 can
/// read it. This version refuses longer lists.
pub(crate) async fn a_list_of_one_step_is_read_as_its_short_form(server: TestServer) {
    let registry = server.registry();
    let mut stored = serde_json::to_value(binding("aa")).unwrap();
    assert_eq!(stored.get("steps"), None);
    assert_eq!(stored["sha256"], "aa");
    let members = stored.as_object_mut().unwrap();
    let step: serde_json::Map<_, _> = ["sha256", "name", "version", "config"]
        .into_iter()
        .filter_map(|name| members.remove_entry(name))
        .collect();
    registry.bind(Q, &binding("aa"), None).await.unwrap();
    for (steps, why) in [
        (vec![step.clone()], None),
        (
            vec![step.clone(), step],
            Some("it has 2 steps, and this version runs one"),
        ),
        (Vec::new(), Some("it has 0 steps")),
    ] {
        stored["steps"] = serde_json::to_value(&steps).unwrap();
        server.store_binding(1, &stored.to_string());
        match (registry.binding(Q, 1).await, why) {
            (Ok(found), None) => assert_eq!(found, Some(binding("aa"))),
            (Err(error), Some(why)) => {
                assert_eq!(
                    (error.class(), error.code()),
                    (Class::Transient, Code::HostOutdated)
                );
                assert!(error.report().contains(why), "{}", error.report());
            }
            (found, _) => panic!("{steps:?}: {found:?}"),
        }
    }
}

pub(crate) async fn bindings_are_numbered(server: TestServer) {
    let registry = server.registry();
    assert_eq!(registry.binding(Q, 1).await.unwrap(), None);
    assert_eq!(registry.bindings(Q).await.unwrap(), []);
    assert_eq!(registry.bind(Q, &binding("aa"), None).await.unwrap(), 1);
    assert_eq!(registry.bind(Q, &binding("bb"), None).await.unwrap(), 2);
    let back = Binding {
        rollback_of: Some(1),
        ..binding("aa")
    };
    assert_eq!(registry.bind(Q, &back, None).await.unwrap(), 3);

    let wanted = [
        readable(3, back),
        readable(2, binding("bb")),
        readable(1, binding("aa")),
    ];
    assert_eq!(registry.bindings(Q).await.unwrap(), wanted);
    let second = registry.binding(Q, 2).await.unwrap().unwrap();
    assert_eq!(ListedBinding::Readable(Box::new(second)), wanted[1]);
    assert_eq!(registry.bindings("other").await.unwrap(), []);
    assert_eq!(server.queue().counts(Q).await.unwrap().binding, Some(3));
    assert_eq!(server.queue().queues().await.unwrap(), [Q]);
}

pub(crate) async fn the_expected_binding_must_be_in_force(server: TestServer) {
    let registry = server.registry();
    assert_eq!(registry.bind(Q, &binding("aa"), Some(0)).await.unwrap(), 1);
    let error = registry
        .bind(Q, &binding("bb"), Some(0))
        .await
        .expect_err("another is in force");
    assert_eq!(error.class(), Class::Permanent);
    assert!(
        error.to_string().contains("binding 1 is in force, not 0"),
        "{error}"
    );
    assert_eq!(registry.bind(Q, &binding("bb"), Some(1)).await.unwrap(), 2);
    assert_eq!(registry.bindings(Q).await.unwrap().len(), 2);
}

pub(crate) async fn a_claim_carries_the_binding(server: TestServer) {
    server.submit(&["a", "b", "c"]).await;
    assert_eq!(server.claim().await.binding, None);
    server.registry().bind(Q, &binding("aa"), None).await.unwrap();
    let options = how();
    let claim = server.queue().claim(Q, &options).await.unwrap().unwrap();
    assert_eq!(claim.binding, Some(1));
    server.registry().bind(Q, &binding("bb"), None).await.unwrap();
    // If the same claim is repeated, it keeps its binding. The next claim has the new binding.
    assert_eq!(
        server.queue().claim(Q, &options).await.unwrap().as_ref(),
        Some(&claim)
    );
    assert_eq!(server.claim().await.binding, Some(2));
}

pub(crate) async fn a_queue_may_need_a_binding(server: TestServer) {
    server.submit(&["a"]).await;
    let mut options = how();
    options.needs_binding = true;
    assert_eq!(server.queue().claim(Q, &options).await.unwrap(), None);
    let first = binding("aa");
    server
        .is_woken_by(server.registry().bind(Q, &first, None))
        .await
        .unwrap();
    let claim = server.queue().claim(Q, &options).await.unwrap().unwrap();
    assert_eq!((claim.ticket.id.as_str(), claim.binding), ("a", Some(1)));
}
