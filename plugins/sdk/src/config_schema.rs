//! Makes the JSON Schema of a config: the type of the config comes in, the schema goes out as JSON.

use schemars::JsonSchema;

/// Returns the JSON Schema of a config type, as [`Plugin::config_schema`](crate::Plugin::config_schema) returns it. This
/// function needs the feature `schemars`.
///
/// The schema follows the serde attributes of the type. The doc comments of its fields become descriptions.
///
/// ```
/// use ingest_plugin::schemars::JsonSchema;
/// use ingest_plugin::*;
/// use serde::Deserialize;
///
/// #[derive(Deserialize, JsonSchema)]
/// #[serde(deny_unknown_fields)]
/// #[schemars(crate = "ingest_plugin::schemars")]
/// struct Config {
///     /// The largest amount that is kept.
///     at_most: u32,
/// }
///
/// struct Bounded {
///     amount: Column,
///     at_most: u32,
/// }
///
/// impl Plugin for Bounded {
///     type Config = Config;
///     const STATEFUL: bool = false;
///
///     fn config_schema() -> Option<String> {
///         Some(config_schema_of::<Config>())
///     }
///
///     fn open(schema: &mut Schema, config: Config) -> Result<Self, Refusal> {
///         Ok(Self { amount: schema.read("amount")?, at_most: config.at_most })
///     }
///
///     fn record(&mut self, record: &mut Record<'_>) -> Result<Verdict, Reject> {
///         let amount: u32 = record.parse(self.amount)?;
///         Ok(if amount > self.at_most { Verdict::Drop } else { Verdict::Keep })
///     }
/// }
///
/// let schema = Bounded::config_schema().expect("there is a schema");
/// assert!(schema.contains("The largest amount that is kept."));
/// assert!(schema.contains(r#""required":["at_most"]"#));
/// ```
#[must_use]
pub fn config_schema_of<Config: JsonSchema>() -> String {
    schemars::schema_for!(Config).to_value().to_string()
}
