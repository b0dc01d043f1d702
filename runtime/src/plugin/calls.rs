//! Schedules calls into plugins: calls with limits come in; permission to run, and timeouts, go out. Calls take turns
//! on the cores. Only processor time counts against a call, so a busy machine cannot make a plugin late.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::error::Result;
use crate::stop::Stop;

/// The interval at which a running call is checked: the precision of time limits, stops and turns.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// The multiple of its limit after which a call that has not used up the limit has stalled. This machine cannot do the
/// work now, but another one may, or the same one later.
const STALL_FACTOR: u32 = 30;

/// The shortest time after which a call has stalled, so that a short limit does not turn a brief pause of the machine
/// into a retry.
const STALL_MIN: Duration = Duration::from_mins(1);

/// The interval at which a waiting call checks whether it has to stop.
const STOP_CHECK: Duration = Duration::from_millis(50);

/// Returns the processor time that this thread has used.
pub fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// The number of calls for each core that run at once while none of them uses more than a tick and none waits. Handing
/// a slot to another thread takes longer than a short call.
const SHORT_CALLS: usize = 8;

/// The calls of one engine. At most one call per core may run beyond its first tick. The others wait in line, and while
/// some wait, short calls wait behind them.
pub(super) struct Calls {
    cores: usize,
    /// The ticks of the engine's clock, which stops with the process: time in which the process is stopped, or the
    /// machine suspended, does not count.
    ticks: AtomicU64,
    /// Set if running calls must look for others at their next tick: some wait, or more run than there are cores.
    is_crowded: AtomicBool,
    queue: Mutex<CallQueue>,
}

#[derive(Default)]
struct CallQueue {
    /// The number of cores that running calls hold.
    held: usize,
    /// Set if the running call must be alone, so that no short call may join it.
    is_alone: bool,
    /// The number of calls ever admitted.
    admitted: u64,
    waiting: VecDeque<Arc<WaitingCall>>,
}

/// The cores that a call takes.
#[derive(Clone, Copy)]
struct CallSlot {
    cores: usize,
    is_alone: bool,
}

struct WaitingCall {
    thread: Thread,
    slot: CallSlot,
    is_admitted: AtomicBool,
}

impl Calls {
    pub(super) fn new(cores: usize) -> Self {
        Self {
            cores: cores.max(1),
            ticks: AtomicU64::new(0),
            is_crowded: AtomicBool::new(false),
            queue: Mutex::default(),
        }
    }

    pub(super) fn tick(&self) {
        self.ticks.fetch_add(1, Ordering::Relaxed);
    }

    fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }

    fn queue(&self) -> MutexGuard<'_, CallQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a slot that leaves at most `held_max` cores held. Returns the number of the admission if no other call
    /// runs now.
    fn enter(&self, slot: CallSlot, held_max: usize, stop: &Stop) -> Result<Option<u64>> {
        let mut queue = self.queue();
        if queue.waiting.is_empty() && !queue.is_alone && queue.held + slot.cores <= held_max {
            self.let_in(&mut queue, slot);
            return Ok((queue.held == slot.cores).then_some(queue.admitted));
        }
        let waiter = Arc::new(WaitingCall {
            thread: thread::current(),
            slot,
            is_admitted: AtomicBool::new(false),
        });
        queue.waiting.push_back(Arc::clone(&waiter));
        self.note(&queue);
        drop(queue);
        while !waiter.is_admitted.load(Ordering::Acquire) {
            if let Err(stopped) = stop.check() {
                self.give_up(&waiter);
                return Err(stopped);
            }
            thread::park_timeout(STOP_CHECK);
        }
        Ok(None)
    }

    fn leave(&self, cores: usize) {
        let mut queue = self.queue();
        self.let_out(&mut queue, cores);
        self.admit(&mut queue);
    }

    fn let_in(&self, queue: &mut CallQueue, slot: CallSlot) {
        queue.held += slot.cores;
        queue.is_alone = slot.is_alone;
        queue.admitted += 1;
        self.note(queue);
    }

    fn let_out(&self, queue: &mut CallQueue, cores: usize) {
        queue.held -= cores;
        queue.is_alone = false;
        self.note(queue);
    }

    fn note(&self, queue: &CallQueue) {
        let is_crowded = !queue.waiting.is_empty() || queue.held > self.cores;
        self.is_crowded.store(is_crowded, Ordering::Relaxed);
    }

    fn give_up(&self, waiter: &Arc<WaitingCall>) {
        let mut queue = self.queue();
        match queue.waiting.iter().position(|other| Arc::ptr_eq(other, waiter)) {
            Some(at) => drop(queue.waiting.remove(at)),
            // It was admitted at this moment.
            None => self.let_out(&mut queue, waiter.slot.cores),
        }
        self.admit(&mut queue);
    }

    /// Admits the next calls in order, so that a call that wants all cores is not overtaken for ever.
    fn admit(&self, queue: &mut CallQueue) {
        while let Some(next) = queue.waiting.front()
            && queue.held + next.slot.cores <= self.cores
        {
            let next = Arc::clone(next);
            queue.waiting.pop_front();
            self.let_in(queue, next.slot);
            next.is_admitted.store(true, Ordering::Release);
            next.thread.unpark();
        }
        self.note(queue);
    }
}

/// A call that may run: on one core, or alone. Dropping this admits the next one.
pub(super) struct Call {
    calls: Arc<Calls>,
    slot: CallSlot,
    is_running: bool,
    /// The number of its admission, if no other call ran then.
    alone_since: Option<u64>,
    clock: CallClock,
}

/// The standing of a call against its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallTime {
    InTime,
    /// The call has used more processor time than it may.
    Late,
    /// The call has had hardly any processor time for a long time, which is the machine's fault.
    Stalled,
}

impl Call {
    /// Waits until the call may run, `alone` or beside others.
    ///
    /// # Errors
    /// Returns the error of the stop, if it is requested before that.
    pub(super) fn begin(calls: &Arc<Calls>, limit: Duration, alone: bool, stop: &Stop) -> Result<Self> {
        let (cores, held_max) = match alone {
            true => (calls.cores, calls.cores),
            false => (1, SHORT_CALLS * calls.cores),
        };
        let slot = CallSlot {
            cores,
            is_alone: alone,
        };
        let alone_since = calls.enter(slot, held_max, stop)?;
        Ok(Self {
            calls: Arc::clone(calls),
            slot,
            is_running: true,
            alone_since,
            clock: CallClock::start(limit, calls.ticks()),
        })
    }

    /// Checks a running call, which may continue if it is in time. Must be called at each tick.
    ///
    /// # Errors
    /// Returns the error of the stop, if it is requested while others have this call's slot.
    pub(super) fn tick(&mut self, stop: &Stop) -> Result<CallTime> {
        let used = self.clock.used(thread_time());
        let standing = self.clock.standing(used, self.calls.ticks());
        // A call's first tick gives no slot away: most such calls end before others could use it.
        if standing == CallTime::InTime && used >= TICK {
            self.give_way(stop)?;
        }
        Ok(standing)
    }

    /// Returns whether no other call has run at the same time as this one.
    pub(super) fn was_alone(&self) -> bool {
        self.slot.is_alone || self.alone_since == Some(self.calls.queue().admitted)
    }

    /// Gives the slot to others, if any wait, and waits for a new one. This wait does not count against the call.
    ///
    /// # Errors
    /// Returns the error of the stop, if it is requested before the next slot.
    fn give_way(&mut self, stop: &Stop) -> Result<()> {
        if !self.calls.is_crowded.load(Ordering::Relaxed) {
            return Ok(());
        }
        let before = self.calls.ticks();
        self.is_running = false;
        self.calls.leave(self.slot.cores);
        self.alone_since = None;
        self.calls.enter(self.slot, self.calls.cores, stop)?;
        self.is_running = true;
        self.clock.leave_out(self.calls.ticks() - before);
        Ok(())
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.is_running {
            self.calls.leave(self.slot.cores);
        }
    }
}

/// The time that a call has used.
struct CallClock {
    limit: Duration,
    /// The thread's processor time at the call's first tick. Earlier use, a tick at most, does not count: reading the
    /// clock for each call would cost a short call too much.
    used_before: Option<Duration>,
    ticks_before: u64,
}

impl CallClock {
    fn start(limit: Duration, ticks: u64) -> Self {
        Self {
            limit,
            used_before: None,
            ticks_before: ticks,
        }
    }

    /// Returns the processor time that the call has used, from that of its thread.
    fn used(&mut self, by_thread: Duration) -> Duration {
        by_thread.saturating_sub(*self.used_before.get_or_insert(by_thread))
    }

    fn standing(&self, used: Duration, ticks: u64) -> CallTime {
        let stall = self.limit.saturating_mul(STALL_FACTOR).max(STALL_MIN);
        if used >= self.limit {
            CallTime::Late
        } else if u128::from(ticks.saturating_sub(self.ticks_before)) * TICK.as_millis() >= stall.as_millis()
        {
            CallTime::Stalled
        } else {
            CallTime::InTime
        }
    }

    fn leave_out(&mut self, ticks: u64) {
        self.ticks_before += ticks;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::error::Class;

    const LIMIT: Duration = Duration::from_secs(10);

    fn begin(calls: &Arc<Calls>, alone: bool) -> Call {
        Call::begin(calls, LIMIT, alone, &Stop::default()).unwrap()
    }

    #[test]
    fn processor_time_makes_a_call_late_and_a_standstill_does_not() {
        let mut clock = CallClock::start(LIMIT, 100);
        let at = |clock: &mut CallClock, used_ms, ticks| {
            let used = clock.used(Duration::from_millis(used_ms));
            clock.standing(used, ticks)
        };
        // This is the first tick.
        assert_eq!(at(&mut clock, 5_000, 100), CallTime::InTime);
        assert_eq!(at(&mut clock, 14_999, 100), CallTime::InTime);
        assert_eq!(at(&mut clock, 15_000, 101), CallTime::Late);
        // A stopped process counts as one tick, however long it stands still.
        assert_eq!(at(&mut clock, 5_001, 101), CallTime::InTime);
        // The process ran for five minutes, and the call got one second of them.
        assert_eq!(at(&mut clock, 6_000, 100 + 29_999), CallTime::InTime);
        assert_eq!(at(&mut clock, 6_000, 100 + 30_000), CallTime::Stalled);
        clock.leave_out(1);
        assert_eq!(at(&mut clock, 6_000, 100 + 30_000), CallTime::InTime);
        let mut short = CallClock::start(Duration::from_millis(50), 101);
        assert_eq!(at(&mut short, 5_000, 101 + 5_999), CallTime::InTime);
        assert_eq!(at(&mut short, 5_000, 101 + 6_000), CallTime::Stalled);
    }

    #[test]
    fn no_more_calls_run_for_long_than_there_are_cores() {
        let calls = Arc::new(Calls::new(2));
        let (running, most, alone) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for number in 0..16 {
                let (calls, running, most, alone) = (&calls, &running, &most, &alone);
                scope.spawn(move || {
                    for round in 0..200 {
                        let is_alone = (number + round) % 8 == 0;
                        let mut call = begin(calls, is_alone);
                        // A call does this when it has used a tick.
                        call.give_way(&Stop::default()).unwrap();
                        for _ in 0..3 {
                            let others = running.fetch_add(1, Ordering::SeqCst);
                            if is_alone {
                                assert_eq!(others, 0);
                                alone.fetch_add(1, Ordering::SeqCst);
                            }
                            most.fetch_max(others + 1, Ordering::SeqCst);
                            thread::yield_now();
                            running.fetch_sub(1, Ordering::SeqCst);
                            call.give_way(&Stop::default()).unwrap();
                        }
                        assert!(!is_alone || call.was_alone());
                    }
                });
            }
        });
        assert_eq!(alone.into_inner(), 16 * 200 / 8 * 3);
        assert!(most.into_inner() <= 2);
        let queue = calls.queue();
        assert_eq!((queue.held, queue.waiting.len()), (0, 0));
    }

    #[test]
    fn a_call_knows_whether_it_had_company() {
        let calls = Arc::new(Calls::new(2));
        let first = begin(&calls, false);
        assert!(first.was_alone());
        let second = begin(&calls, false);
        assert!(!first.was_alone() && !second.was_alone());
        drop(second);
        assert!(!first.was_alone(), "it had");
        drop(first);
        assert!(begin(&calls, false).was_alone());
        let calls = Arc::new(Calls::new(1));
        assert!(begin(&calls, false).was_alone());
    }

    #[test]
    fn a_call_that_waits_hears_of_a_stop() {
        let calls = Arc::new(Calls::new(2));
        let running = begin(&calls, true);
        let stop = Stop::default();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| Call::begin(&calls, LIMIT, true, &stop).map(drop));
            while !calls.is_crowded.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            stop.request(Class::LeaseLost, "the lease was lost");
            let error = waiting.join().unwrap().unwrap_err();
            assert_eq!(error.class(), Class::LeaseLost);
        });
        drop(running);
        drop(begin(&calls, true));
        assert_eq!(calls.queue().held, 0);
    }
}
