//! Contains the interface of `wit/plugin.wit` as Rust, generated at compile time.

wasmtime::component::bindgen!({
    path: "../wit",
    world: "plugin",
});
