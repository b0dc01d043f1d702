//! Checks of a field's form, eight bytes at a time: a text comes in, true or false goes out. If the plugin calculates
//! with the value, use `str::parse`. If the value only has to be valid, use these checks.

use crate::words::word;

const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
const ZEROS: u64 = 0x3030_3030_3030_3030;

/// Returns true if `text` consists of one or more of the digits 0 to 9.
///
/// ```
/// # use ingest_plugin::is_digits;
/// assert!(is_digits("0123456789"));
/// assert!(!is_digits("") && !is_digits("-1") && !is_digits("1.0") && !is_digits("٣"));
/// ```
#[inline]
#[must_use]
pub fn is_digits(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(head), Some(tail)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) else {
        return !bytes.is_empty() && others(short_word(bytes)) == 0;
    };
    let found = others(u64::from_le_bytes(*head)) | others(u64::from_le_bytes(*tail));
    found == 0 && (bytes.len() <= 16 || is_long_digits(bytes))
}

#[cold]
fn is_long_digits(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_digit)
}

/// Returns true if `text` is a plain decimal number: an optional minus, digits, and optionally a point followed by more
/// digits. A plus sign, an exponent and infinity are not allowed.
///
/// ```
/// # use ingest_plugin::is_decimal;
/// assert!(is_decimal("199") && is_decimal("-31.5") && is_decimal("007.50"));
/// assert!(!is_decimal("") && !is_decimal("-") && !is_decimal(".5") && !is_decimal("5."));
/// assert!(!is_decimal("+1") && !is_decimal("1e3") && !is_decimal("1.2.3") && !is_decimal("NaN"));
/// ```
#[inline]
#[must_use]
pub fn is_decimal(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let bytes = text.as_bytes();
    if bytes.is_empty() || bytes.len() > 8 {
        return is_long_decimal(text);
    }
    let word = short_word(bytes);
    let found = others(word);
    if found == 0 {
        return true;
    }
    // The text is valid only if exactly one byte is not a digit, and this byte is a point between two digits.
    let at = found.trailing_zeros() / 8;
    let is_one = found & (found - 1) == 0;
    let is_point = (word >> (8 * at)) & 0xFF == u64::from(b'.');
    is_one && is_point && at > 0 && at as usize + 1 < bytes.len()
}

#[cold]
fn is_long_decimal(text: &str) -> bool {
    match text.split_once('.') {
        Some((whole, fraction)) => is_digits(whole) && is_digits(fraction),
        None => is_digits(text),
    }
}

/// Returns up to eight bytes as a machine word. If there are fewer than eight bytes, the remaining high bytes are the
/// character `0`.
#[inline(always)]
fn short_word(bytes: &[u8]) -> u64 {
    let padding = if bytes.len() < 8 {
        ZEROS << (8 * bytes.len())
    } else {
        0
    };
    word(bytes) | padding
}

/// Returns a word in which the high bit of a byte is set if that byte of `word` is not a digit.
#[inline(always)]
fn others(word: u64) -> u64 {
    // The XOR turns a digit into a number from 0 to 9. The addition sets the high bit of each byte that is greater than
    // 9, and `| word` keeps a high bit that was already set.
    let word = word ^ ZEROS;
    (((word & !HIGH_BITS) + 0x7676_7676_7676_7676) | word) & HIGH_BITS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn by_bytes(text: &str) -> bool {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
    }

    #[test]
    fn each_other_byte_is_seen_at_each_place() {
        for len in 1..30 {
            for at in 0..len {
                for byte in 0..128_u8 {
                    let mut bytes = vec![b'7'; len];
                    bytes[at] = byte;
                    let text = String::from_utf8(bytes).unwrap();
                    assert_eq!(is_digits(&text), byte.is_ascii_digit(), "{text:?}");
                    let is_inner_point = byte == b'.' && at > 0 && at + 1 < len;
                    let is_minus = byte == b'-' && at == 0 && len > 1;
                    let is_fine = byte.is_ascii_digit() || is_inner_point || is_minus;
                    assert_eq!(is_decimal(&text), is_fine, "{text:?}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn digits_are_what_they_are_byte_by_byte(text in "[0-9]{0,25}[0-9.é]?[0-9]{0,3}") {
            prop_assert_eq!(is_digits(&text), by_bytes(&text));
        }

        #[test]
        fn decimals_are_digits_around_a_point(text in "-?-?[0-9]{0,9}[.é٣]?[0-9]{0,9}[.eE+]?[0-9]{0,2}") {
            let unsigned = text.strip_prefix('-').unwrap_or(&text);
            let expected = match unsigned.split_once('.') {
                Some((whole, fraction)) => by_bytes(whole) && by_bytes(fraction),
                None => by_bytes(unsigned),
            };
            prop_assert_eq!(is_decimal(&text), expected);
        }
    }
}
