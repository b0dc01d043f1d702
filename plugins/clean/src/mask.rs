//! Protection of personal data: a value comes in, a keyed hash or a masked text goes out. The value itself is shown
//! nowhere.

use std::fmt;

use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use serde_json::value::RawValue;
use sha2::Sha256;

/// The key `hash` of a rule.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hash {
    key: Key,
}

/// A secret key of 256 bits, ready to hash values.
#[derive(Clone)]
struct Key(Hmac<Sha256>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl<'de> Deserialize<'de> for Key {
    /// Reads 64 hexadecimal digits. No error shows a part of the key.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let key = serde_json::from_str::<String>(raw.get()).ok();
        let key = key.as_deref().and_then(bytes).ok_or_else(|| {
            D::Error::custom(
                "\"hash\" needs a \"key\" of 64 hexadecimal digits from a generator of random numbers, such as \
                 openssl rand -hex 32",
            )
        })?;
        let hmac = <Hmac<Sha256> as KeyInit>::new_from_slice(&key);
        hmac.map(Self).map_err(D::Error::custom)
    }
}

/// Returns the hexadecimal digit of a number below 16.
fn hex(value: u8) -> char {
    char::from(b"0123456789abcdef"[usize::from(value)])
}

/// Returns the 32 bytes of 64 hexadecimal digits.
fn bytes(hex: &str) -> Option<[u8; 32]> {
    let digits = hex.as_bytes().as_array::<64>()?;
    let value = |digit: u8| {
        char::from(digit)
            .to_digit(16)
            .and_then(|value| u8::try_from(value).ok())
    };
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

/// The key `mask` of a rule.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Mask {
    first: usize,
    last: usize,
    with: char,
}

impl Default for Mask {
    fn default() -> Self {
        Self {
            first: 0,
            last: 0,
            with: '*',
        }
    }
}

impl Mask {
    /// Checks the character that replaces others.
    ///
    /// # Errors
    /// Returns a sentence about a letter or a digit, which would look like a part of the value.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.with.is_alphanumeric() || self.with.is_control() || self.with.is_whitespace() {
            return Err(format!(
                "\"mask\" is \"with\" {:?}, which could be a part of a value: write a sign such as \"*\" or \"#\"",
                self.with
            ));
        }
        Ok(())
    }
}

/// The replacement of a value in the output.
#[derive(Clone, Debug)]
pub(crate) enum Protection {
    /// The HMAC-SHA-256 of the value, in hexadecimal digits.
    Hash(Hash),
    /// A text of the same length, with some of the value's characters.
    Mask(Mask),
}

impl Protection {
    /// Replaces `value` in the buffer by its protected form.
    pub(crate) fn apply(&self, value: &mut String) {
        match self {
            Self::Hash(hash) => {
                let mut hmac = hash.key.0.clone();
                hmac.update(value.as_bytes());
                value.clear();
                let digits = hmac.finalize().into_bytes().into_iter();
                value.extend(digits.flat_map(|byte| [byte >> 4, byte & 0xf].map(hex)));
            }
            Self::Mask(mask) => mask.apply(value),
        }
    }
}

impl Mask {
    /// Replaces all characters but the first and the last ones. If no character would be replaced, all are.
    fn apply(&self, value: &mut String) {
        let count = value.chars().count();
        let shown = self.first.saturating_add(self.last);
        let (first, last) = if shown < count {
            (self.first, self.last)
        } else {
            (0, 0)
        };
        let masked = |(at, character)| {
            let is_shown = at < first || at >= count - last;
            if is_shown { character } else { self.with }
        };
        *value = value.chars().enumerate().map(masked).collect();
    }
}
