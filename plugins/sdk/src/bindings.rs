//! The code generated from `wit/plugin.wit`: the types that cross the boundary, the host's functions, and the macro
//! behind [`export!`](crate::export). Plugin authors do not need it.

wit_bindgen::generate!({
    path: "wit",
    world: "plugin",
    pub_export_macro: true,
    export_macro_name: "export_component",
    default_bindings_module: "ingest_plugin::bindings",
});
