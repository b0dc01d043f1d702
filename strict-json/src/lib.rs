//! Reads JSON strictly: a text comes in, a value or an error goes out. This crate refuses two faults that Serde
//! accepts: an array in place of the object for a struct, and two members with the same name in the object for a map.
//!
//! Arrays for structs and repeated members are errors at any depth and for all types. The error names the position.
//!
//! ```
//! #[derive(Debug, serde::Deserialize)]
//! struct Range {
//!     min: f64,
//!     max: f64,
//! }
//! let range: Range = strict_json::from_str(r#"{"min": 1, "max": 2}"#).unwrap();
//! assert!(range.min < range.max);
//! let error = strict_json::from_str::<Range>("[1, 2]").unwrap_err();
//! assert_eq!(error.to_string(), "invalid type: sequence, expected struct Range at line 1 column 0");
//! ```

use std::collections::HashSet;
use std::fmt;

use serde::de::value::StringDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer, MapAccess,
    SeqAccess, VariantAccess, Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};

/// Reads a JSON document.
///
/// # Errors
/// Fails if the text is not JSON or does not fit the type `T`. The error names the position in the text.
pub fn from_str<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    read(serde_json::Deserializer::from_str(text))
}

/// Reads a JSON document in UTF-8.
///
/// # Errors
/// Returns the same errors as [`from_str`].
pub fn from_slice<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    read(serde_json::Deserializer::from_slice(text))
}

fn read<'de, R: serde_json::de::Read<'de>, T: Deserialize<'de>>(
    mut text: serde_json::Deserializer<R>,
) -> serde_json::Result<T> {
    let value = T::deserialize(Strict(&mut text))?;
    text.end()?;
    Ok(value)
}

/// A deserializer that accepts only an object for a struct, and each member of an object only once. It checks this at
/// any depth.
struct Strict<D>(D);

macro_rules! forward {
    ($($method:ident($($argument:ident: $type:ty),*))*) => {
        $(fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method($($argument,)* Within(visitor))
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Strict<D> {
    type Error = D::Error;

    forward! {
        deserialize_any() deserialize_bool()
        deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64() deserialize_i128()
        deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64() deserialize_u128()
        deserialize_f32() deserialize_f64() deserialize_char() deserialize_str() deserialize_string()
        deserialize_bytes() deserialize_byte_buf() deserialize_option() deserialize_unit()
        deserialize_unit_struct(name: &'static str) deserialize_newtype_struct(name: &'static str)
        deserialize_seq() deserialize_tuple(len: usize) deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_map() deserialize_enum(name: &'static str, variants: &'static [&'static str])
        deserialize_identifier() deserialize_ignored_any()
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(Within(visitor))
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

/// A visitor, seed or access that deserializes its content with [`Strict`].
struct Within<T>(T);

macro_rules! visit {
    ($($method:ident: $type:ty;)*) => {
        $(fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.0.$method(value)
        })*
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Within<V> {
    type Value = V::Value;

    visit! {
        visit_bool: bool;
        visit_i64: i64;
        visit_i128: i128;
        visit_u64: u64;
        visit_u128: u128;
        visit_f64: f64;
        visit_char: char;
        visit_str: &str;
        visit_borrowed_str: &'de str;
        visit_string: String;
        visit_bytes: &[u8];
        visit_borrowed_bytes: &'de [u8];
        visit_byte_buf: Vec<u8>;
    }

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Strict(inner))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Strict(inner))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Within(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Members {
            members,
            names: HashSet::new(),
        })
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        self.0.visit_enum(Within(variant))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Within<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Strict(inner))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Within<A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, A::Error> {
        self.0.next_element_seed(Within(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: EnumAccess<'de>> EnumAccess<'de> for Within<A> {
    type Error = A::Error;
    type Variant = Within<A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), A::Error> {
        let (variant, content) = self.0.variant_seed(seed)?;
        Ok((variant, Within(content)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Within<A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.0.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.0.newtype_variant_seed(Within(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.0.tuple_variant(len, Within(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.0.newtype_variant_seed(Object(visitor))
    }
}

/// The seed for the content of an enum variant with named fields. It accepts only an object.
struct Object<V>(V);

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Object<V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        inner.deserialize_map(Within(self.0))
    }
}

/// The members of an object, and the names that have been read so far.
struct Members<A> {
    members: A,
    names: HashSet<String>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Members<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let Some(name) = self.members.next_key::<String>()? else {
            return Ok(None);
        };
        if self.names.contains(&name) {
            return Err(A::Error::custom(format_args!(
                "the member \"{name}\" is there twice"
            )));
        }
        self.names.insert(name.clone());
        seed.deserialize(Name(name.into_deserializer())).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.members.next_value_seed(Within(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.members.size_hint()
    }
}

/// The name of a member. If the keys of a map are numbers or booleans, the name is parsed as a number or boolean.
struct Name<E>(StringDeserializer<E>);

macro_rules! parsed {
    ($($method:ident: $type:ty, $visit:ident;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
            let name = String::deserialize(self.0)?;
            match name.parse::<$type>() {
                Ok(value) => visitor.$visit(value),
                Err(_) => visitor.visit_string(name),
            }
        })*
    };
}

impl<'de, E: Error> Deserializer<'de> for Name<E> {
    type Error = E;

    parsed! {
        deserialize_bool: bool, visit_bool;
        deserialize_i8: i64, visit_i64;
        deserialize_i16: i64, visit_i64;
        deserialize_i32: i64, visit_i64;
        deserialize_i64: i64, visit_i64;
        deserialize_i128: i128, visit_i128;
        deserialize_u8: u64, visit_u64;
        deserialize_u16: u64, visit_u64;
        deserialize_u32: u64, visit_u64;
        deserialize_u64: u64, visit_u64;
        deserialize_u128: u128, visit_u128;
        deserialize_f32: f64, visit_f64;
        deserialize_f64: f64, visit_f64;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        self.0.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, E> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, E> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;
    use serde_json::value::RawValue;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Point {
        x: i32,
        y: Option<i32>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Pair(Point, u8);

    #[derive(Debug, PartialEq, Deserialize)]
    struct Wrapped(Point);

    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Unit,
        One(u8),
        Two(u8, u8),
        Many { n: u8 },
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct All {
        points: Vec<Point>,
        by_name: BTreeMap<String, Point>,
        by_number: BTreeMap<u64, bool>,
        by_kind: BTreeMap<Kind, i8>,
        maybe: Option<Point>,
        pair: Pair,
        wrapped: Wrapped,
        kinds: Vec<Kind>,
        any: Value,
    }

    const ALL: &str = r#"{"points": [{"x": 1, "y": null}, {"x": -2}], "by_name": {"a": {"x": 1}}, "by_number": {"7": true},
        "by_kind": {"unit": 1}, "maybe": {"x": 3, "y": 4}, "pair": [{"x": 5}, 6], "wrapped": {"x": 7},
        "kinds": ["unit", {"one": 1}, {"two": [1, 2]}, {"many": {"n": 1}}], "any": {"b": [1.5, {"c": null}]}}"#;

    #[test]
    fn a_document_is_read_as_by_serde() {
        let all: All = from_str(ALL).unwrap();
        assert_eq!(all, serde_json::from_str(ALL).unwrap());
        assert_eq!(all, from_slice(ALL.as_bytes()).unwrap());
        let raw: BTreeMap<String, Box<RawValue>> = from_str(r#"{"a": [1, {"b" : 2}]}"#).unwrap();
        assert_eq!(raw["a"].get(), r#"[1, {"b" : 2}]"#);
    }

    #[test]
    fn a_struct_is_an_object_at_any_depth() {
        for (object, array) in [
            (r#"{"x": -2}"#, "[-2, 1]"),
            (r#""a": {"x": 1}"#, r#""a": [1, 2]"#),
            (r#""maybe": {"x": 3, "y": 4}"#, r#""maybe": [3, 4]"#),
            (r#"[{"x": 5}, 6]"#, "[[5, 5], 6]"),
            (r#""wrapped": {"x": 7}"#, r#""wrapped": [7, 7]"#),
            (r#"{"many": {"n": 1}}"#, r#"{"many": [1]}"#),
        ] {
            assert!(ALL.contains(object), "{object}");
            let text = ALL.replace(object, array);
            serde_json::from_str::<All>(&text).expect(array);
            let error = from_str::<All>(&text).expect_err(array).to_string();
            assert!(
                error.contains("invalid type: sequence") && error.contains(" at line "),
                "{error}"
            );
        }
    }

    #[test]
    fn a_member_is_there_once_at_any_depth() {
        for (once, twice) in [
            (r#"{"x": -2}"#, r#"{"x": -2, "x": -2}"#),
            (r#""a": {"x": 1}"#, r#""a": {"x": 1}, "\u0061": {"x": 2}"#),
            (r#""7": true"#, r#""7": true, "7": false"#),
            (r#""unit": 1"#, r#""unit": 1, "unit": 1"#),
            (r#"{"c": null}"#, r#"{"c": null, "c": null}"#),
            (r#""any":"#, r#""any": 1, "any":"#),
        ] {
            assert!(ALL.contains(once), "{once}");
            let error = from_str::<All>(&ALL.replace(once, twice))
                .expect_err(twice)
                .to_string();
            assert!(error.contains("is there twice at line "), "{error}");
        }
    }

    #[test]
    fn what_is_no_document_is_refused() {
        for text in ["", "{", "{} {}", "{}x", "\u{feff}{}", "[]", "null", r#"{"a":1,}"#] {
            from_str::<BTreeMap<String, Value>>(text).expect_err(text);
        }
        let deep = format!("{}{}", "[".repeat(1_000), "]".repeat(1_000));
        let error = from_str::<Value>(&deep).expect_err("too deep").to_string();
        assert!(error.contains("recursion limit"), "{error}");
        // The position of an error is the same as in `serde_json`.
        let text = "{\"x\": 1,\n \"z\": true, \"y\": true}";
        let (strict, lax) = (from_str::<Point>(text), serde_json::from_str::<Point>(text));
        assert_eq!(strict.unwrap_err().to_string(), lax.unwrap_err().to_string());
    }
}
