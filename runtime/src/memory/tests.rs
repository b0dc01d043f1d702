use std::sync::atomic::AtomicUsize;
use std::thread;

use super::*;
use crate::error::Class;

const MIB: usize = 1 << 20;

fn budget(mib: usize) -> MemoryBudget {
    MemoryBudget::new((mib * MIB) as u64)
}

fn share(budget: &MemoryBudget) -> MemoryShare {
    budget.share(&Stop::default())
}

/// Waits until so many stand in the line.
fn until_waiting(budget: &MemoryBudget, waiters: usize) {
    while budget.0.lock().line.len() < waiters {
        thread::yield_now();
    }
}

#[test]
fn what_is_held_is_given_back() {
    let budget = budget(100);
    let one = share(&budget);
    let mut held = one.hold();
    held.raise(10 * MIB).unwrap();
    held.raise(5 * MIB).unwrap();
    assert_eq!((held.bytes(), budget.held()), (10 * MIB, 10 * MIB));
    held.lower(4 * MIB);
    assert_eq!(budget.held(), 4 * MIB);
    drop(held);
    assert_eq!(budget.held(), 0);
    assert_eq!(one.waited(), Duration::ZERO);
    let mut unbounded = MemoryShare::default().hold();
    unbounded.raise(usize::MAX).unwrap();
}

#[test]
fn the_largest_has_three_quarters_and_all_others_the_rest() {
    let budget = budget(100);
    let shares = [0; 3].map(|_| share(&budget));
    let mut held = shares.each_ref().map(MemoryShare::hold);
    assert!(held[0].try_raise(40 * MIB));
    assert!(held[1].try_raise(20 * MIB));
    assert!(!held[2].try_raise(6 * MIB), "beside the largest 25 are held");
    assert!(held[2].try_raise(5 * MIB));
    assert!(!held[1].try_raise(21 * MIB));
    assert!(held[0].try_raise(75 * MIB), "who holds most has more");
    assert_eq!(budget.held(), 100 * MIB);
    assert!(!held[0].try_raise(75 * MIB + 1));
}

#[test]
fn more_than_a_request_may_hold_is_an_error_once_it_is_alone() {
    let budget = budget(100);
    let one = share(&budget);
    let mut held = one.hold();
    let error = held.raise(76 * MIB).unwrap_err();
    assert_eq!(error.class(), Class::Transient);
    assert!(one.is_refused());
    one.be_alone().unwrap();
    assert_eq!(budget.held(), 75 * MIB);
    held.raise(75 * MIB).unwrap();
    let error = held.raise(76 * MIB).unwrap_err();
    assert_eq!(error.class(), Class::Permanent);
    let text = error.to_string();
    assert!(
        text.contains("needs 76MiB bytes of memory, and a request may hold 75MiB"),
        "{text}"
    );
    assert!(text.contains("--memory-total 100MiB"), "{text}");
    assert!(!one.is_refused());
    drop((held, one));
    assert_eq!(budget.held(), 0);
}

#[test]
fn who_waits_goes_on_when_there_is_room_and_the_wait_is_counted() {
    let budget = budget(100);
    let [large, other] = [0; 2].map(|_| share(&budget));
    let mut held = large.hold();
    held.raise(60 * MIB).unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let mut held = other.hold();
            held.raise(30 * MIB).map(|()| held)
        });
        until_waiting(&budget, 1);
        held.lower(20 * MIB);
        waiting.join().unwrap().unwrap();
    });
    assert!(other.waited() > Duration::ZERO);
    let counted = other.waited();
    assert_eq!(other.waited(), counted, "it goes on no more");
}

#[test]
fn a_stop_ends_a_wait() {
    let budget = budget(100);
    let large = share(&budget);
    let mut held = large.hold();
    held.raise(60 * MIB).unwrap();
    let stop = Stop::default();
    let other = budget.share(&stop);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| other.hold().raise(30 * MIB));
        until_waiting(&budget, 1);
        stop.request(Class::Cancelled, "cancelled");
        assert_eq!(waiting.join().unwrap().unwrap_err().class(), Class::Cancelled);
    });
    assert_eq!(budget.0.lock().line.len(), 0);
    assert_eq!(budget.held(), 60 * MIB);
}

#[test]
fn nobody_overtakes_but_where_it_takes_nothing_from_those_in_front() {
    let budget = budget(100);
    let shares = [0; 4].map(|_| share(&budget));
    let [mut large, mut medium] = [shares[0].hold(), shares[1].hold()];
    large.raise(24 * MIB).unwrap();
    medium.raise(20 * MIB).unwrap();
    thread::scope(|scope| {
        // It could stand beside the largest, so what comes later waits behind it.
        let first = scope.spawn(|| {
            let mut held = shares[2].hold();
            held.raise(22 * MIB).map(|()| held)
        });
        until_waiting(&budget, 1);
        let second = scope.spawn(|| {
            let mut held = shares[3].hold();
            held.raise(MIB).map(|()| held)
        });
        until_waiting(&budget, 2);
        medium.lower(0);
        let first = first.join().unwrap().unwrap();
        let second = second.join().unwrap().unwrap();
        drop((first, second));
        // This one cannot, whatever the others give back: nobody waits for it.
        large.raise(60 * MIB).unwrap();
        let first = scope.spawn(|| {
            let mut held = shares[2].hold();
            held.raise(26 * MIB).map(|()| held)
        });
        until_waiting(&budget, 1);
        shares[3].hold().raise(MIB).unwrap();
        large.lower(0);
        first.join().unwrap().unwrap();
    });
}

/// Whoever takes memory in steps, in the order of a generator, ends: with totals so small that only one has room, too.
#[test]
fn attempts_that_hold_some_and_take_more_all_end() {
    for seed in 0..60 {
        let total = [4, 16, 64, 256][seed as usize % 4];
        let budget = budget(total);
        let (attempts, ended) = (12, AtomicUsize::new(0));
        thread::scope(|scope| {
            for attempt in 0..attempts {
                let (budget, ended) = (&budget, &ended);
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(1_000 * seed + attempt);
                    for _ in 0..5 {
                        run_attempt(budget, &mut random);
                    }
                    ended.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        assert_eq!(ended.into_inner(), attempts as usize);
        assert_eq!(budget.held(), 0);
        assert!(budget.0.lock().holders.is_empty());
    }
}

/// Takes and gives back at random; what is refused is done again alone.
fn run_attempt(budget: &MemoryBudget, random: &mut fastrand::Rng) {
    let (share, max) = (share(budget), budget.request_max());
    let mut steps = |share: &MemoryShare, max: usize| {
        // Two threads of one attempt hold something each.
        let mut held = [share.hold(), share.hold()];
        for _ in 0..20 {
            let one = &mut held[random.usize(..2)];
            let bytes = random.usize(..=max / 2);
            match random.u8(..4) {
                0 => one.lower(bytes),
                1 if !one.try_raise(bytes) => return Err(one.refuse(bytes)),
                1 => {}
                _ => one.raise(bytes)?,
            }
            assert!(budget.held() <= budget.0.total, "never more than the total");
            thread::yield_now();
        }
        Ok(())
    };
    if steps(&share, max).is_err() {
        assert!(share.is_refused());
        share.be_alone().unwrap();
        steps(&share, max).unwrap();
        assert!(!share.is_refused());
    }
}

/// A stream of small ones does not keep a large one from its turn.
#[test]
fn a_large_one_does_not_starve_beside_many_small_ones() {
    let budget = budget(100);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let share = share(&budget);
                    let mut held = share.hold();
                    held.raise(8 * MIB).unwrap();
                    thread::yield_now();
                }
            });
        }
        for _ in 0..50 {
            let share = share(&budget);
            share.be_alone().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
}
