//! Copies and compares short texts as machine words, eight or sixteen bytes at once. In WebAssembly, a copy of unknown
//! length is a call that leaves the sandbox's code, and a comparison is a loop over bytes. For a short field, such a
//! call or loop costs more than all other work on the field.

/// The number of bytes that must be free to copy a short text without a call.
const ROOM: usize = 24;

/// Returns up to eight bytes as a word. The first byte is the lowest. If there are fewer than eight bytes, the
/// remaining high bytes are zero.
#[inline(always)]
pub(crate) fn word(bytes: &[u8]) -> u64 {
    let len = bytes.len();
    debug_assert!(len <= 8, "a word has eight bytes");
    if let (Some(head), Some(tail)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        // Where head and tail overlap, they have the same bytes.
        let tail = u64::from(u32::from_le_bytes(*tail)).wrapping_shl(8 * (len as u32 - 4));
        u64::from(u32::from_le_bytes(*head)) | tail
    } else if let (Some(head), Some(tail)) = (bytes.first_chunk::<2>(), bytes.last_chunk::<2>()) {
        let tail = u64::from(u16::from_le_bytes(*tail)) << (8 * (len - 2));
        u64::from(u16::from_le_bytes(*head)) | tail
    } else {
        bytes.first().map_or(0, |&byte| u64::from(byte))
    }
}

/// Returns `left == right`. The comparison is fastest if the two differ in length, in the first byte or in the middle.
#[inline]
pub(crate) fn is_same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let (left_words, right_words) = (left.as_chunks::<8>().0, right.as_chunks::<8>().0);
    let middle = left_words.len() / 2;
    left.first() == right.first()
        && left_words.get(middle) == right_words.get(middle)
        && is_same_throughout(left, right)
}

#[inline(never)]
fn is_same_throughout(left: &[u8], right: &[u8]) -> bool {
    let (left_words, left_rest) = left.as_chunks::<8>();
    let (right_words, right_rest) = right.as_chunks::<8>();
    left_words.iter().eq(right_words) && word(left_rest) == word(right_rest)
}

/// Appends `bytes` to `out`.
#[inline]
#[expect(
    unsafe_code,
    reason = "with one check of the room, a short text is a few stores"
)]
pub(crate) fn append(out: &mut Vec<u8>, bytes: &[u8]) {
    let (at, len) = (out.len(), bytes.len());
    let Some(room) = out.spare_capacity_mut().first_chunk_mut::<ROOM>() else {
        return append_long(out, bytes);
    };
    // There is no loop, because each iteration would cost as much as the copy.
    let (words, rest) = bytes.as_chunks::<8>();
    if words.len() > 2 {
        return append_long(out, bytes);
    }
    if let Some(word) = words.first() {
        room[..8].write_copy_of_slice(word);
    }
    if let Some(word) = words.get(1) {
        room[8..16].write_copy_of_slice(word);
    }
    let after = 8 * words.len();
    room[after..after + 8].write_copy_of_slice(&word(rest).to_le_bytes());
    // SAFETY: `room` is spare capacity. It has been written up to eight bytes after the last whole word of `bytes`, so
    // the first `len` bytes of `room` are initialized.
    unsafe { out.set_len(at + len) }
}

/// Appends bytes that are too long for `append`, or that may not fit into the spare capacity.
#[inline(never)]
fn append_long(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_word_has_the_bytes_in_their_order(bytes in vec(any::<u8>(), 0..=8)) {
            let mut padded = bytes.clone();
            padded.resize(8, 0);
            prop_assert_eq!(word(&bytes).to_le_bytes().to_vec(), padded);
        }

        #[test]
        fn appended_bytes_follow_those_that_are_there(
            before in vec(any::<u8>(), 0..40),
            bytes in vec(any::<u8>(), 0..80),
            room in 0..80_usize,
        ) {
            let mut out = before.clone();
            out.reserve_exact(room);
            append(&mut out, &bytes);
            prop_assert_eq!(out, [before, bytes].concat());
        }

        #[test]
        fn one_other_byte_makes_a_difference(
            bytes in vec(any::<u8>(), 1..80),
            at in any::<prop::sample::Index>(),
            change in 1..=255_u8,
        ) {
            let mut other = bytes.clone();
            prop_assert!(is_same(&bytes, &other));
            other[at.index(bytes.len())] ^= change;
            prop_assert!(!is_same(&bytes, &other));
            prop_assert!(!is_same(&bytes, &bytes[1..]));
        }
    }
}
