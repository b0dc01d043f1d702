use std::sync::atomic::AtomicUsize;
use std::sync::mpsc;
use std::thread;

use super::*;
use crate::error::Class;

const MIB: usize = 1 << 20;

/// The time after which a wait counts as endless.
const PATIENCE: Duration = Duration::from_secs(20);

fn budget(mib: usize) -> MemoryBudget {
    MemoryBudget::new((mib * MIB) as u64)
}

fn share(budget: &MemoryBudget) -> MemoryShare {
    budget.share(&Stop::default())
}

/// Waits until this number of requests is in the line.
fn until_waiting(budget: &MemoryBudget, waiters: usize) {
    while budget.0.state.lock().line.len() < waiters {
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
        text.contains("needs 76MiB of memory, and a request may hold 75MiB"),
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
    assert_eq!(budget.0.state.lock().line.len(), 0);
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
        // This request does not need priority: it fits as soon as `medium` gives its memory back. So later requests
        // wait behind it.
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
        // While `large` holds this much, this request does not fit, even if no other attempt holds memory. So later
        // requests do not wait for it.
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

/// Two threads of one attempt together request more than the attempt may hold. One request is refused, and the other
/// threads continue.
#[test]
fn threads_of_one_attempt_do_not_wait_for_what_it_may_never_hold() {
    let budget = budget(64);
    let (stop, (said, results)) = (Stop::default(), mpsc::channel());
    let [large, one, last] = [0; 3].map(|_| budget.share(&stop));
    let mut neighbor = large.hold();
    neighbor.raise(40 * MIB).unwrap();
    let mut chunk = one.hold();
    chunk.raise(10 * MIB).unwrap();
    thread::scope(|scope| {
        let wait_for = |share: &MemoryShare, mib: usize| {
            let (mut held, said) = (share.hold(), said.clone());
            scope.spawn(move || {
                let result = held.raise(mib * MIB);
                said.send((mib, result.map_err(|error| error.class()))).unwrap();
                held
            })
        };
        let splitter = wait_for(&one, 20);
        until_waiting(&budget, 1);
        let lane = wait_for(&one, 21);
        until_waiting(&budget, 2);
        let behind = wait_for(&last, 15);
        until_waiting(&budget, 3);
        neighbor.lower(0);
        let mut ended = Vec::from_iter((0..3).map_while(|_| results.recv_timeout(PATIENCE).ok()));
        stop.request(Class::Cancelled, "the test is over");
        ended.sort_by_key(|&(mib, _)| mib);
        assert_eq!(ended, [(15, Ok(())), (20, Ok(())), (21, Err(Class::Transient))]);
        assert!(one.is_refused());
        assert_eq!(budget.held(), 45 * MIB);
        drop([splitter, lane, behind].map(|thread| thread.join().unwrap()));
    });
}

#[test]
fn no_thread_of_an_abandoned_attempt_waits() {
    let budget = budget(100);
    let [large, failed] = [0; 2].map(|_| share(&budget));
    let mut held = large.hold();
    held.raise(60 * MIB).unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| failed.hold().raise(30 * MIB));
        until_waiting(&budget, 1);
        failed.set_abandoned(true);
        assert_eq!(waiting.join().unwrap().unwrap_err().class(), Class::Transient);
        failed.hold().raise(30 * MIB).unwrap_err();
        failed.hold().raise(20 * MIB).unwrap();
        assert!(!failed.is_refused(), "it may have that much");
        // The attempt runs again, and waits as before.
        failed.set_abandoned(false);
        let again = scope.spawn(|| failed.hold().raise(30 * MIB));
        until_waiting(&budget, 1);
        held.lower(0);
        again.join().unwrap().unwrap();
    });
}

/// Checks that memory that is given back goes to the first in line, and that no other attempt can take it first.
#[test]
fn nobody_takes_what_the_first_in_line_can_have() {
    for asks_first in [false, true] {
        let budget = budget(100);
        let [large, medium, first] = [0; 3].map(|_| share(&budget));
        let (mut held, mut other) = (large.hold(), medium.hold());
        held.raise(60 * MIB).unwrap();
        other.raise(20 * MIB).unwrap();
        thread::scope(|scope| {
            let first = scope.spawn(move || {
                first.be_alone().unwrap();
                first
            });
            until_waiting(&budget, 1);
            if asks_first {
                scope.spawn(|| medium.hold().raise(20 * MIB).unwrap());
                until_waiting(&budget, 2);
            }
            held.lower(0);
            assert_eq!(budget.held(), 95 * MIB);
            assert!(!other.try_raise(40 * MIB));
            drop(first.join().unwrap());
        });
    }
}

/// Checks that the priority does not move between large holders while an attempt waits.
#[test]
fn who_has_priority_keeps_it_from_all_but_the_first_in_line() {
    let budget = budget(100);
    let [large, medium, first] = [0; 3].map(|_| share(&budget));
    let (mut with_priority, mut other) = (large.hold(), medium.hold());
    with_priority.raise(60 * MIB).unwrap();
    other.raise(20 * MIB).unwrap();
    thread::scope(|scope| {
        let first = scope.spawn(|| first.hold().raise(75 * MIB));
        until_waiting(&budget, 1);
        with_priority.lower(10 * MIB);
        assert!(
            !other.try_raise(60 * MIB),
            "it holds most, but the first in line waits"
        );
        let other = scope.spawn(move || other.raise(60 * MIB));
        until_waiting(&budget, 2);
        with_priority.raise(75 * MIB).unwrap();
        assert_eq!(budget.0.state.lock().line.len(), 2);
        with_priority.lower(0);
        first.join().unwrap().unwrap();
        other.join().unwrap().unwrap();
    });
    assert_eq!(budget.held(), 0);
}

/// Checks that attempts end if they take memory in random steps. Some totals have room for one attempt only.
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
        assert!(budget.0.state.lock().holders.is_empty());
    }
}

/// Takes and gives back memory at random on two threads. After a refusal, runs the steps again alone.
fn run_attempt(budget: &MemoryBudget, random: &mut fastrand::Rng) {
    let (share, max) = (share(budget), budget.request_max());
    let steps = |mut held: Vec<Held>, max: usize, mut random: fastrand::Rng| {
        for _ in 0..20 {
            let one = random.choice(&mut held).unwrap();
            let bytes = random.usize(..=max);
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
    // Together, the two threads can request more memory than their attempt may hold.
    let all_done = thread::scope(|scope| {
        let threads = [0; 2].map(|_| {
            let (share, random) = (&share, random.fork());
            scope.spawn(move || {
                let result = steps(vec![share.hold()], max / 3 * 2, random);
                if result.is_err() {
                    share.set_abandoned(true);
                }
                result
            })
        });
        threads
            .map(|thread| thread.join().unwrap())
            .iter()
            .all(Result::is_ok)
    });
    share.set_abandoned(false);
    if !all_done {
        assert!(share.is_refused());
        share.be_alone().unwrap();
        steps(vec![share.hold(), share.hold()], max / 2, random.fork()).unwrap();
        assert!(!share.is_refused());
    }
}

/// Checks that a large request is granted, although many other attempts request and give back memory all the time.
#[test]
fn a_large_one_does_not_starve_beside_many_that_grow() {
    let budget = budget(100);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for seed in 0..4 {
            let (budget, done) = (&budget, &done);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                while !done.load(Ordering::Relaxed) {
                    let share = share(budget);
                    let mut held = share.hold();
                    for _ in 0..random.u8(1..8) {
                        held.lower(3 * MIB);
                        held.raise(random.usize(3..60) * MIB).unwrap();
                        thread::yield_now();
                    }
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
