//! Computes the compression function of SHA-256 (FIPS 180-4, section 6.2.2) for several messages at the same time. If
//! an x86-64 processor has instructions for SHA-256, this code uses them and interleaves the messages. On any other
//! processor, the crate `sha2` compresses one message after the other.

use sha2::digest::generic_array::GenericArray;

/// The number of bytes in a block.
pub(super) const BLOCK: usize = 64;

/// The state of SHA-256: the words `a` to `h`.
pub(super) type Sha256State = [u32; 8];

/// The state before the first block (FIPS 180-4, section 5.3.3).
pub(super) const INITIAL: Sha256State = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// Compresses the next blocks of each message into the state of the message. All messages must have the same number of
/// blocks.
pub(super) fn compress<const N: usize>(states: [&mut Sha256State; N], blocks: [&[[u8; BLOCK]]; N]) {
    #[cfg(target_arch = "x86_64")]
    if x86::is_there() {
        #[expect(unsafe_code, reason = "instructions that not every processor has")]
        // SAFETY: the processor has these instructions.
        return unsafe { x86::compress(states, blocks) };
    }
    for (state, blocks) in states.into_iter().zip(blocks) {
        one_by_one(state, blocks);
    }
}

/// Compresses the next blocks of one message into its state. Works on any processor.
pub(super) fn one_by_one(state: &mut Sha256State, blocks: &[[u8; BLOCK]]) {
    for block in blocks {
        sha2::compress256(state, &[GenericArray::from(*block)]);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{BLOCK, Sha256State};

    /// The constants of FIPS 180-4, section 4.2.2.
    const K: [[u32; 4]; 16] = [
        [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
        [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
        [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
        [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
        [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
        [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
        [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
        [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
        [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
        [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
        [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
        [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
        [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
        [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
        [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
        [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
    ];

    pub(super) fn is_there() -> bool {
        is_x86_feature_detected!("sha")
            && is_x86_feature_detected!("sse4.1")
            && is_x86_feature_detected!("ssse3")
    }

    #[target_feature(enable = "sha,ssse3,sse4.1")]
    pub(super) fn compress<const N: usize>(states: [&mut Sha256State; N], blocks: [&[[u8; BLOCK]]; N]) {
        // The instructions keep the state in two vectors. The first letter in the name of a vector is its topmost word.
        let mut abef = [_mm_setzero_si128(); N];
        let mut cdgh = abef;
        for message in 0..N {
            let [a, b, c, d, e, f, g, h] = states[message].map(u32::cast_signed);
            abef[message] = _mm_set_epi32(a, b, e, f);
            cdgh[message] = _mm_set_epi32(c, d, g, h);
        }
        let big_endian = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
        let count = blocks.iter().map(|blocks| blocks.len()).min().unwrap_or_default();
        for at in 0..count {
            let before = (abef, cdgh);
            // This array holds the last sixteen words of the message schedule.
            let mut words = [[_mm_setzero_si128(); 4]; N];
            for (words, blocks) in words.iter_mut().zip(blocks) {
                for (words, bytes) in words.iter_mut().zip(blocks[at].as_chunks::<16>().0) {
                    let bytes = u128::from_le_bytes(*bytes);
                    let bytes = _mm_set_epi64x((bytes >> 64) as i64, bytes as i64);
                    *words = _mm_shuffle_epi8(bytes, big_endian);
                }
            }
            for (sixteen, k) in K.as_chunks::<4>().0.iter().enumerate() {
                for (four, k) in k.iter().enumerate() {
                    let [k0, k1, k2, k3] = k.map(u32::cast_signed);
                    let k = _mm_set_epi32(k3, k2, k1, k0);
                    // Each step runs for all messages before the next step begins, because steps of different messages
                    // do not wait for each other.
                    for message in 0..N {
                        let words = &mut words[message];
                        if sixteen > 0 {
                            let [w0, w1, w2, w3] = [0, 1, 2, 3].map(|on| words[(four + on) % 4]);
                            let sum = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8(w3, w2, 4));
                            words[four] = _mm_sha256msg2_epu32(sum, w3);
                        }
                        let [abef, cdgh] = [&mut abef[message], &mut cdgh[message]];
                        let added = _mm_add_epi32(words[four], k);
                        *cdgh = _mm_sha256rnds2_epu32(*cdgh, *abef, added);
                        *abef = _mm_sha256rnds2_epu32(*abef, *cdgh, _mm_shuffle_epi32(added, 0x0e));
                    }
                }
            }
            for message in 0..N {
                abef[message] = _mm_add_epi32(abef[message], before.0[message]);
                cdgh[message] = _mm_add_epi32(cdgh[message], before.1[message]);
            }
        }
        for (message, state) in states.into_iter().enumerate() {
            let (abef, cdgh) = (abef[message], cdgh[message]);
            *state = [
                _mm_extract_epi32(abef, 3),
                _mm_extract_epi32(abef, 2),
                _mm_extract_epi32(cdgh, 3),
                _mm_extract_epi32(cdgh, 2),
                _mm_extract_epi32(abef, 1),
                _mm_extract_epi32(abef, 0),
                _mm_extract_epi32(cdgh, 1),
                _mm_extract_epi32(cdgh, 0),
            ]
            .map(i32::cast_unsigned);
        }
    }
}
