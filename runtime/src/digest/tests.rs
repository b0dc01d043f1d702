use data_encoding::HEXLOWER;
use proptest::collection::vec;
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::*;

fn by_sha2(bytes: &[u8]) -> Digest {
    Digest {
        bytes: bytes.len() as u64,
        sha256: HEXLOWER.encode(&Sha256::digest(bytes)),
    }
}

#[test]
fn each_length_of_the_last_block_is_filled_up_right() {
    for len in 0..200 {
        let bytes = vec![b'a'; len];
        let mut digesting = Digesting::default();
        digesting.update(&bytes);
        assert_eq!(digesting.finish(), by_sha2(&bytes), "{len} bytes");
    }
}

/// Checks that the code for processors without SHA-256 instructions gives the same results.
#[test]
fn both_ways_to_compress_agree() {
    let blocks: Vec<[u8; BLOCK]> = (0..9)
        .map(|of| std::array::from_fn(|at| (of * 37 + at * 11) as u8))
        .collect();
    let (mut states, mut expected) = ([INITIAL; 2], [INITIAL; 2]);
    let [first, second] = &mut states;
    compress([first, second], [&blocks[..4], &blocks[5..]]);
    for (state, blocks) in expected.iter_mut().zip([&blocks[..4], &blocks[5..]]) {
        compress::one_by_one(state, blocks);
    }
    assert_eq!(states, expected);
}

proptest! {
    /// Checks that a digest can be continued from a stored state at any position.
    #[test]
    fn a_digest_goes_on_elsewhere(bytes in vec(any::<u8>(), 0..1_000), at in 0..1_000_usize) {
        let (head, tail) = bytes.split_at(at.min(bytes.len()));
        let mut first = Digesting::default();
        first.update(head);
        let midstate = first.midstate();
        prop_assert!(midstate.is_sound());
        prop_assert_eq!(midstate.bytes, head.len() as u64);
        let document = serde_json::to_string(&midstate).unwrap();
        let mut second = Digesting::from_midstate(serde_json::from_str(&document).unwrap());
        second.update(tail);
        first.update(tail);
        prop_assert_eq!(second.midstate(), first.midstate());
        prop_assert_eq!(second.finish(), by_sha2(&bytes));
        prop_assert_eq!(first.finish(), by_sha2(&bytes));
    }

    /// Checks that two digests do not affect each other. The test adds pieces of any size, to one digest or to both
    /// together.
    #[test]
    fn two_are_digested_as_each_on_its_own(pieces in vec((0..700_usize, 0..700_usize, any::<bool>()), 0..40)) {
        let mut digesting = [Digesting::default(), Digesting::default()];
        let mut all = [Vec::new(), Vec::new()];
        for (number, (one, other, together)) in pieces.into_iter().enumerate() {
            let pieces = [one, other].map(|len| (0..len).map(|at| (at * 7 + number) as u8).collect::<Vec<u8>>());
            let [first, second] = &mut digesting;
            if together {
                update_both((first, &pieces[0]), (second, &pieces[1]));
            } else {
                first.update(&pieces[0]);
                second.update(&pieces[1]);
            }
            for (all, piece) in all.iter_mut().zip(pieces) {
                all.extend(piece);
            }
        }
        prop_assert_eq!(digesting.map(Digesting::finish), all.map(|bytes| by_sha2(&bytes)));
    }
}
