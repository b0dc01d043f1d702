//! Contains the interface of `wit/plugin.wit` as Rust, generated at compile time.

#![allow(missing_docs, unreachable_pub)]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "plugin",
});
