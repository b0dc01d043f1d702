#![doc = include_str!("../README.md")]

// Here a plugin and the host meet: bytes in, bytes out.
#[doc(hidden)]
pub mod bindings;
mod driver;
mod instance;

// What the author implements, and what `open` works with.
mod plugin;
mod refusal;
mod schema;

// What `record` and `finish` work with.
mod arena;
mod changes;
mod record;
mod reject;
mod rows;
mod text;
mod value;
mod words;

// What fields are looked at and read with.
mod scan;
mod time;

// The way to the host's log and counters.
mod host;
pub mod log;

#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use bindings::exports::ingest::plugin::transform::{ColumnType, Format};
pub use host::count;
#[doc(hidden)]
pub use instance::{Instance, is_plugin_name};
pub use plugin::{NoConfig, Plugin, Verdict};
pub use record::Record;
pub use refusal::Refusal;
pub use reject::Reject;
pub use rows::{Row, Rows};
pub use scan::{is_decimal, is_digits};
pub use schema::{Column, OutputColumn, Schema};
pub use time::DateTime;
pub use value::Value;

/// Makes the [`Plugin`] the one that this crate exports. Stands once in a plugin, next to its type.
///
/// The plugin's name and version are those of the package, so the name must be 1 to 64 lowercase
/// letters, digits, dashes and underscores; another one does not compile.
///
/// The exports exist in builds for WebAssembly only: their names (`ingest:plugin/...`) are none that a
/// native linker accepts. Natively the macro checks its argument and nothing more, which is what lets a
/// plugin be tested by a plain `cargo test`.
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
