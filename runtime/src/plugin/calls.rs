//! Schedules calls into plugins. Calls with time limits come in. Permissions to run and timeouts go out. Calls take
//! turns on the cores. Only processor time counts towards a call's limit, so a busy machine does not make a plugin
//! late.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};

use crate::error::Result;
use crate::stop::Stop;

/// The interval at which a running call is checked. Time limits, stops and turns have this precision.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// If this multiple of a call's limit has passed, and the call has still used less processor time than the limit, the
/// call counts as stalled: this machine cannot do the work now. Another machine, or this machine later, may be able to
/// do it.
const STALL_FACTOR: u32 = 30;

/// The minimum time after which a call counts as stalled. Without this minimum, a call with a short limit would be
/// retried after each brief pause of the machine.
const STALL_MIN: Duration = Duration::from_mins(1);

/// The interval at which a waiting call checks whether it has to stop.
const STOP_CHECK: Duration = Duration::from_millis(50);

/// Returns the processor time that this thread has used.
pub fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// The calls of one engine. A call begins as a short call. Short calls run beside any number of other calls, because
/// handing a core to another thread takes longer than most calls. After one tick of processor time, a call is a long
/// call. At most one long call per core runs, and the other long calls wait in line for a turn. A call that must be
/// alone waits in the same line until no other call runs.
pub(super) struct Calls {
    cores: usize,
    /// The ticks of the engine's clock. While the process or the machine is suspended, this clock does not advance. So
    /// the time of the suspension does not count.
    ticks: AtomicU64,
    /// Set if calls wait in line. If so, running long calls give way at their next tick.
    is_crowded: AtomicBool,
    line: Mutex<CallLine>,
}

/// The running calls and the waiting calls.
#[derive(Default)]
struct CallLine {
    running: usize,
    /// The number of running calls that are long.
    long: usize,
    /// Set if the running call must be alone. If so, no other call may start.
    is_alone: bool,
    /// The total number of admitted calls.
    admitted: u64,
    waiting: VecDeque<Arc<WaitingCall>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CallKind {
    /// The call has not yet used one tick of processor time.
    Short,
    Long,
    /// No other call may run at the same time.
    Alone,
}

struct WaitingCall {
    thread: Thread,
    kind: CallKind,
    is_admitted: AtomicBool,
}

impl CallLine {
    /// Returns whether a call of this kind may run beside the calls that run now.
    fn has_room(&self, kind: CallKind, cores: usize) -> bool {
        match kind {
            CallKind::Short => !self.is_alone,
            CallKind::Long => !self.is_alone && self.long < cores,
            CallKind::Alone => self.running == 0,
        }
    }

    /// Returns whether a new call of this kind has to let a waiting call go first.
    fn has_precedent(&self, kind: CallKind) -> bool {
        match kind {
            // The long calls in line wait for a core, and a short call does not take a core from them.
            CallKind::Short => self.waiting.iter().any(|other| other.kind == CallKind::Alone),
            CallKind::Long | CallKind::Alone => !self.waiting.is_empty(),
        }
    }

    fn let_in(&mut self, kind: CallKind) {
        self.running += 1;
        self.long += usize::from(kind == CallKind::Long);
        self.is_alone = kind == CallKind::Alone;
        self.admitted += 1;
    }

    fn let_out(&mut self, kind: CallKind) {
        self.running -= 1;
        self.long -= usize::from(kind == CallKind::Long);
        self.is_alone = false;
    }
}

impl Calls {
    pub(super) fn new(cores: usize) -> Self {
        Self {
            cores: cores.max(1),
            ticks: AtomicU64::new(0),
            is_crowded: AtomicBool::new(false),
            line: Mutex::default(),
        }
    }

    pub(super) fn tick(&self) {
        self.ticks.fetch_add(1, Ordering::Relaxed);
    }

    fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }

    /// Waits until a call of this kind may run. Returns the number of the call's admission if the call did not wait and
    /// no other call is running. In all other cases, returns `None`.
    fn enter(&self, kind: CallKind, stop: &Stop) -> Result<Option<u64>> {
        let mut line = self.line.lock();
        if line.has_room(kind, self.cores) && !line.has_precedent(kind) {
            line.let_in(kind);
            return Ok((line.running == 1).then_some(line.admitted));
        }
        let waiter = Arc::new(WaitingCall {
            thread: thread::current(),
            kind,
            is_admitted: AtomicBool::new(false),
        });
        line.waiting.push_back(Arc::clone(&waiter));
        self.note(&line);
        drop(line);
        while !waiter.is_admitted.load(Ordering::Acquire) {
            if let Err(stopped) = stop.check() {
                self.give_up(&waiter);
                return Err(stopped);
            }
            thread::park_timeout(STOP_CHECK);
        }
        Ok(None)
    }

    fn leave(&self, kind: CallKind) {
        let mut line = self.line.lock();
        line.let_out(kind);
        self.admit(&mut line);
    }

    /// Turns a running short call into a long one and returns true, if a core is free and no other call waits in line.
    fn lengthen(&self) -> bool {
        let mut line = self.line.lock();
        let is_free = line.has_room(CallKind::Long, self.cores) && !line.has_precedent(CallKind::Long);
        line.long += usize::from(is_free);
        is_free
    }

    fn note(&self, line: &CallLine) {
        self.is_crowded.store(!line.waiting.is_empty(), Ordering::Relaxed);
    }

    fn give_up(&self, waiter: &Arc<WaitingCall>) {
        let mut line = self.line.lock();
        match line.waiting.iter().position(|other| Arc::ptr_eq(other, waiter)) {
            Some(at) => drop(line.waiting.remove(at)),
            // The call is no longer in the line, because it was admitted just now.
            None => line.let_out(waiter.kind),
        }
        self.admit(&mut line);
    }

    /// Admits the next calls in order. No waiting call overtakes a call that must be alone. Without this rule, the call
    /// that must be alone could wait forever.
    fn admit(&self, line: &mut CallLine) {
        let mut at = 0;
        while let Some(next) = line.waiting.get(at) {
            let kind = next.kind;
            if line.has_room(kind, self.cores) {
                if let Some(next) = line.waiting.remove(at) {
                    line.let_in(kind);
                    next.is_admitted.store(true, Ordering::Release);
                    next.thread.unpark();
                }
            } else if kind == CallKind::Alone {
                break;
            } else {
                at += 1;
            }
        }
        self.note(line);
    }
}

/// A call that is permitted to run. Dropping it admits the next call.
pub(super) struct Call {
    calls: Arc<Calls>,
    kind: CallKind,
    is_running: bool,
    /// The number of the call's admission, or `None` if another call ran at that time or this call has waited for a
    /// turn.
    alone_since: Option<u64>,
    clock: CallClock,
}

/// The state of a call with respect to its time limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallTime {
    InTime,
    /// The call has used more processor time than its limit.
    Late,
    /// The call has had hardly any processor time for a long time. The machine is the cause, not the plugin.
    Stalled,
}

impl Call {
    /// Waits until the call may run. If `alone` is true, no other call runs at the same time.
    ///
    /// # Errors
    /// Returns the error of the stop, if the stop is requested before the call may run.
    pub(super) fn begin(calls: &Arc<Calls>, limit: Duration, alone: bool, stop: &Stop) -> Result<Self> {
        let kind = match alone {
            true => CallKind::Alone,
            false => CallKind::Short,
        };
        let alone_since = calls.enter(kind, stop)?;
        Ok(Self {
            calls: Arc::clone(calls),
            kind,
            is_running: true,
            alone_since,
            clock: CallClock::start(limit, calls.ticks()),
        })
    }

    /// Checks a running call. If the call is in time, it continues. Must be called at each tick.
    ///
    /// # Errors
    /// Returns the error of the stop, if the stop is requested while this call waits for its next turn.
    pub(super) fn tick(&mut self, stop: &Stop) -> Result<CallTime> {
        let used = self.clock.used(thread_time());
        let standing = self.clock.standing(used, self.calls.ticks());
        if standing == CallTime::InTime && used >= TICK {
            self.give_way(stop)?;
        }
        Ok(standing)
    }

    /// Returns whether it is certain that no other call has run at the same time as this call.
    pub(super) fn was_alone(&self) -> bool {
        self.kind == CallKind::Alone || self.alone_since == Some(self.calls.line.lock().admitted)
    }

    /// Makes a short call a long call. If other calls wait, or if no core is free for another long call, ends this turn
    /// and waits for the next turn. This wait does not count towards the call's limit.
    ///
    /// # Errors
    /// Returns the error of the stop, if the stop is requested before the next turn.
    fn give_way(&mut self, stop: &Stop) -> Result<()> {
        let was = self.kind;
        let may_stay = match was {
            CallKind::Short => self.calls.lengthen(),
            CallKind::Long | CallKind::Alone => !self.calls.is_crowded.load(Ordering::Relaxed),
        };
        if was == CallKind::Short {
            self.kind = CallKind::Long;
        }
        if may_stay {
            return Ok(());
        }
        let before = self.calls.ticks();
        self.is_running = false;
        self.calls.leave(was);
        self.alone_since = None;
        self.calls.enter(self.kind, stop)?;
        self.is_running = true;
        self.clock.leave_out(self.calls.ticks() - before);
        Ok(())
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.is_running {
            self.calls.leave(self.kind);
        }
    }
}

/// The processor time and the ticks that a call has used.
struct CallClock {
    limit: Duration,
    /// The thread's processor time at the call's first tick. The processor time before that tick does not count. It is
    /// at most one tick, and reading the clock at the start of each call would cost too much for short calls.
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

    /// Returns the processor time that the call has used. `by_thread` is the processor time of its thread.
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
        // A time in which the process is suspended counts as one tick, however long this time is.
        assert_eq!(at(&mut clock, 5_001, 101), CallTime::InTime);
        // The process ran for five minutes, and the call got one second of processor time.
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
                        // A call does this when it has used one tick.
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
        let line = calls.line.lock();
        assert_eq!((line.running, line.long, line.waiting.len()), (0, 0, 0));
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

    /// Starts a call on a separate thread, and returns when the call waits in line. The thread ends the call at once
    /// when it is admitted.
    fn wait_in_line<'scope>(
        scope: &'scope thread::Scope<'scope, '_>,
        calls: &'scope Arc<Calls>,
        kind: CallKind,
    ) -> thread::ScopedJoinHandle<'scope, ()> {
        let waiting = calls.line.lock().waiting.len();
        let thread = scope.spawn(move || {
            let mut call = begin(calls, kind == CallKind::Alone);
            if kind == CallKind::Long {
                call.give_way(&Stop::default()).unwrap();
            }
        });
        while calls.line.lock().waiting.len() == waiting {
            thread::yield_now();
        }
        thread
    }

    #[test]
    fn short_calls_wait_for_calls_that_must_be_alone_and_for_no_others() {
        let calls = Arc::new(Calls::new(1));
        let mut long = begin(&calls, false);
        long.give_way(&Stop::default()).unwrap();
        thread::scope(|scope| {
            let second_long = wait_in_line(scope, &calls, CallKind::Long);
            // These calls would never start if they waited for the core.
            let short: Vec<_> = (0..100).map(|_| begin(&calls, false)).collect();
            assert!(!second_long.is_finished());
            let alone = wait_in_line(scope, &calls, CallKind::Alone);
            let late_short = wait_in_line(scope, &calls, CallKind::Short);
            drop(long);
            second_long.join().unwrap();
            assert!(!alone.is_finished() && !late_short.is_finished());
            drop(short);
            alone.join().unwrap();
            late_short.join().unwrap();
        });
        assert_eq!(calls.line.lock().running, 0);
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
        assert_eq!(calls.line.lock().running, 0);
    }
}
