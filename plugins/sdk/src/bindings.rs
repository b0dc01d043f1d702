//! The code generated from `wit/0.2/plugin.wit`: the types that cross the boundary between host and plugin, the host's
//! functions, and the macro that [`export!`](crate::export) calls. Authors of plugins do not need this module.

wit_bindgen::generate!({
    path: "wit",
    world: "plugin",
    pub_export_macro: true,
    export_macro_name: "export_component",
    default_bindings_module: "ingest_plugin::bindings",
});
