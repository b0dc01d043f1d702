#![doc = include_str!("../README.md")]

// The boundary between plugin and host: bytes in, bytes out.
#[doc(hidden)]
pub mod bindings;
mod driver;
mod instance;

// The trait that the author implements, and the types that `open` uses.
#[cfg(feature = "schemars")]
mod config_schema;
mod plugin;
mod refusal;
mod schema;

// The types that `record` and `finish` use.
mod arena;
mod changes;
mod copies;
mod record;
mod reject;
mod rows;
mod text;
mod value;
mod words;

// Checks and parsers for fields.
mod scan;
mod time;

// The host's log, counters, reference data and origin of an input.
pub mod data;
mod host;
pub mod log;

#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use bindings::exports::ingest::plugin::transform::{ColumnType, Format};
#[cfg(feature = "schemars")]
pub use config_schema::config_schema_of;
pub use copies::CopiedRow;
pub use host::{Origin, count};
#[doc(hidden)]
pub use instance::{Instance, is_plugin_name};
pub use plugin::{NoConfig, Plugin, Verdict};
pub use record::Record;
pub use refusal::Refusal;
pub use reject::Reject;
pub use rows::{Row, Rows};
pub use scan::{is_decimal, is_digits};
pub use schema::{Column, OutputColumn, Schema};
#[cfg(feature = "schemars")]
pub use schemars;
pub use time::DateTime;
pub use value::Value;

/// Exports a type that implements [`Plugin`] as the plugin of the crate that calls the macro. Call it once per crate,
/// next to the type.
///
/// The plugin's name and version are those of the package. The name must be 1 to 64 lowercase letters, digits, dashes
/// and underscores. With another name, the plugin does not compile.
///
/// Only a build for WebAssembly has the exports, because a native linker does not accept their names
/// (`ingest:plugin/...`). In a native build, the macro only checks the name, and that its argument implements
/// [`Plugin`]. A plugin can therefore be tested with a plain `cargo test`.
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        const _: () = ::core::assert!(
            $crate::is_plugin_name(::core::env!("CARGO_PKG_NAME")),
            "a plugin's package name is 1 to 64 lowercase letters, digits, dashes and underscores"
        );

        #[cfg(not(target_arch = "wasm32"))]
        const _: $crate::Instance<$plugin> = $crate::Instance::new();

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::bindings::exports::ingest::plugin::transform;

            ::std::thread_local! {
                static INSTANCE: $crate::Instance<$plugin> = const { $crate::Instance::new() };
            }

            struct Component;

            impl transform::Guest for Component {
                fn describe() -> transform::Description {
                    transform::Description {
                        name: ::core::env!("CARGO_PKG_NAME").into(),
                        version: ::core::env!("CARGO_PKG_VERSION").into(),
                    }
                }

                fn config_schema() -> ::core::option::Option<::std::string::String> {
                    INSTANCE.with(|instance| instance.config_schema())
                }

                fn open(
                    input: transform::Input,
                    config: ::std::string::String,
                ) -> ::core::result::Result<transform::Plan, ::std::string::String> {
                    INSTANCE.with(|instance| instance.open(input, &config))
                }

                fn check(config: ::std::string::String) -> ::core::result::Result<(), ::std::string::String> {
                    INSTANCE.with(|instance| instance.check(&config))
                }

                fn process(
                    batch: transform::Batch,
                ) -> ::core::result::Result<transform::Changes, ::std::string::String> {
                    INSTANCE.with(|instance| instance.process(&batch))
                }

                fn finish() -> ::core::result::Result<transform::Emitted, ::std::string::String> {
                    INSTANCE.with(|instance| instance.finish())
                }
            }

    $crate::bindings::export_component!(Component with_types_in $crate::bindings);
        };
    };
}
