use proptest::collection::vec;
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::*;

fn by_sha2(bytes: &[u8]) -> Digest {
    Digest {
        bytes: bytes.len() as u64,
        sha256: hex(&Sha256::digest(bytes)),
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

#[test]
fn one_far_ahead_of_the_other_does_not_wait_for_it() {
    let bytes = vec![7; AHEAD_MAX / 2 + 1_000];
    for which in 0..2 {
        let mut pair = pair();
        pair[1 - which].update(b"x");
        for _ in 0..9 {
            pair[which].update(&bytes);
            assert!(pair[which].pair.lock().streams[which].waiting.len() < AHEAD_MAX + bytes.len());
        }
        let digests = pair.map(Digesting::finish);
        assert_eq!(digests[which], by_sha2(&bytes.repeat(9)));
        assert_eq!(digests[1 - which], by_sha2(b"x"));
    }
}

#[test]
fn bytes_that_come_while_others_are_gone_through_are_not_lost() {
    let pieces = |of: u8| (1..400).map(move |len| vec![of; len * 61]);
    let threads = pair().map(|mut digesting| {
        std::thread::spawn(move || {
            pieces(digesting.which as u8).for_each(|piece| digesting.update(&piece));
            digesting.finish()
        })
    });
    for (of, thread) in threads.into_iter().enumerate() {
        assert_eq!(
            thread.join().unwrap(),
            by_sha2(&pieces(of as u8).flatten().collect::<Vec<u8>>())
        );
    }
}

/// Without instructions of its own the processor does the same.
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
    /// Wherever the first one stops, and however far the other of its pair is.
    #[test]
    fn a_digest_goes_on_elsewhere(bytes in vec(any::<u8>(), 0..1_000), at in 0..1_000_usize, other in 0..1_000_usize) {
        let (head, tail) = bytes.split_at(at.min(bytes.len()));
        let [mut first, mut beside] = pair();
        beside.update(&bytes[..other.min(bytes.len())]);
        first.update(head);
        let midstate = first.midstate();
        prop_assert!(midstate.is_sound());
        prop_assert_eq!(midstate.bytes, head.len() as u64);
        let document = serde_json::to_string(&midstate).unwrap();
        let [mut second, _beside] = pair();
        second = second.from_midstate(&serde_json::from_str(&document).unwrap());
        second.update(tail);
        first.update(tail);
        prop_assert_eq!(second.midstate(), first.midstate());
        prop_assert_eq!(second.finish(), by_sha2(&bytes));
        prop_assert_eq!(first.finish(), by_sha2(&bytes));
    }

    /// Whatever comes of which in which pieces, and whichever ends first.
    #[test]
    fn a_pair_digests_as_two_on_their_own(
        pieces in vec((0..2_usize, 0..700_usize), 0..40),
        ends in vec(any::<bool>(), 2),
        end_at in 0..40_usize,
    ) {
        let mut digesting = pair().map(Some);
        let mut all = [Vec::new(), Vec::new()];
        let mut found = [None, None];
        for (number, (which, len)) in pieces.into_iter().enumerate() {
            if number == end_at && ends[which] {
                found[which] = digesting[which].take().map(Digesting::finish);
            }
            if let Some(digesting) = &mut digesting[which] {
                let bytes: Vec<u8> = (0..len).map(|at| (at * 7 + number) as u8).collect();
                digesting.update(&bytes);
                all[which].extend(bytes);
            }
        }
        for which in 0..2 {
            let found = found[which].take().or_else(|| digesting[which].take().map(Digesting::finish));
            prop_assert_eq!(found, Some(by_sha2(&all[which])));
        }
    }
}
