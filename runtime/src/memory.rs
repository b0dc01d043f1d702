//! Shares a worker's memory among its attempts. Requests for memory come in, and grants and refusals go out. In this
//! module, a *request* is a request for memory. An attempt requests memory before it takes much, and waits while the
//! other attempts hold too much.
//!
//! When an attempt begins, it requests the memory that a usual attempt needs. Later it requests only large amounts: for
//! a record that is longer than a chunk, for the output of such a record, for a decompressor's window, for a plugin's
//! memory, for another lane, for a part of an upload to an object store, for a checkpoint, or for the ranges of a large object.
//!
//! **No deadlock.** An attempt that holds memory may have to wait for more. To prevent a deadlock, one attempt at a
//! time has *priority*. The proof uses these names:
//!
//! - `held(a)`: the memory that attempt `a` holds
//! - `T`: the total
//! - `M`: the maximum that one attempt may hold ([`MemoryBudget::request_max`]); it is less than `T`
//!
//! A grant must keep both conditions:
//!
//! ```text
//! sum of held(a) for each a without priority <= T - M     and     held(a) <= M for each a
//! ```
//! So all attempts together never hold more than `T`. The attempt with priority can always get more memory, up to `M`,
//! because this changes no term of the sum. A request that would exceed `M` never waits: it fails. So the attempt with
//! priority never waits, and it ends. Then another attempt gets priority, and so on until all attempts have ended.
//!
//! This proof needs one more rule. While an attempt waits for memory, it must not keep anything else that an attempt
//! with more memory may wait for. An example is the turn to call a plugin. So a call into a plugin never waits for
//! memory. If the memory is not available, the call is refused ([`Held::try_raise`]), and the attempt runs again alone.
//!
//! **No starvation.** While no attempt waits, the attempt that holds most has priority. If an attempt's request fits
//! only with priority, this attempt gets the priority instead. If a request does not fit even with priority, its
//! attempt waits in a line. Only the first in line can take over the priority. When the attempt with priority ends, all
//! other attempts together hold at most `T - M`. So the request of the first in line fits with priority. Memory that is
//! given back is granted to the line at once, so no attempt outside the line can take it first. Three kinds of requests
//! can be granted before the request of the first in line, but they never take over the priority:
//!
//! - a request of the attempt with priority
//! - a request that never waits ([`Held::try_raise`]): for a plugin's memory, another lane, a part of an upload, a
//!   checkpoint or the ranges of an object. (An upload that has no part on its way waits in the line instead.)
//! - any request, if the attempt with priority already holds more than `T - M`, and each attempt ahead in the line would
//!   hold more than `T - M` after its grant

mod machine;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

pub use self::machine::default_total;
use crate::error::{Code, Error, Result, Stage};
use crate::stop::Stop;
use crate::units::ByteSize;

/// The memory of a usual attempt, in bytes: some chunks and their output, a plugin instance, and the pieces of a
/// transfer.
pub const ATTEMPT_BYTES: usize = 3 << 20;

/// The memory of each further lane, in bytes. A lane that makes a profile needs twice as much.
pub const LANE_BYTES: usize = 2 << 20;

/// The part of a plugin instance's memory that is included in [`ATTEMPT_BYTES`] and [`LANE_BYTES`], in bytes.
pub const INSTANCE_BYTES: usize = 3 << 19;

/// The minimum total of a worker, in bytes.
pub const TOTAL_MIN: u64 = 64 << 20;

/// The interval at which a waiting attempt checks whether it has to stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The memory of a worker, which its attempts share. Clones refer to the same budget.
#[derive(Clone)]
pub struct MemoryBudget(Arc<Budget>);

struct Budget {
    total: usize,
    state: Mutex<BudgetState>,
    /// Notified when a waiting thread may have been granted memory.
    changed: Condvar,
}

#[derive(Default)]
struct BudgetState {
    holders: BTreeMap<u64, Holder>,
    /// The number of bytes that all attempts hold together.
    sum: usize,
    line: VecDeque<WaitingRequest>,
    /// The number of the holder with priority. This holder may already be gone.
    priority: u64,
    /// The last number that was given to a holder or a waiting request.
    number: u64,
    /// The number of threads that wait for `changed`.
    sleepers: usize,
}

#[derive(Default, Clone, Copy)]
struct Holder {
    used: usize,
    /// The number of bytes that are reserved for the holder, whether it uses them or not.
    reserved: usize,
}

impl Holder {
    fn bytes(self) -> usize {
        self.used.max(self.reserved)
    }
}

#[derive(Clone, Copy)]
struct WaitingRequest {
    number: u64,
    holder: u64,
    ask: MemoryRequest,
}

#[derive(Clone, Copy)]
enum MemoryRequest {
    /// A request for this number of additional bytes.
    More(usize),
    /// A request to reserve this number of bytes in total.
    Reserve(usize),
}

impl MemoryRequest {
    fn granted_to(self, holder: Holder) -> Holder {
        match self {
            Self::More(bytes) => Holder {
                used: holder.used.saturating_add(bytes),
                ..holder
            },
            Self::Reserve(reserved) => Holder { reserved, ..holder },
        }
    }
}

impl fmt::Debug for MemoryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryBudget({})", ByteSize(self.0.total as u64))
    }
}

impl MemoryBudget {
    /// Creates a budget of `total` bytes.
    pub fn new(total: u64) -> Self {
        Self(Arc::new(Budget {
            total: usize::try_from(total).unwrap_or(usize::MAX),
            state: Mutex::default(),
            changed: Condvar::new(),
        }))
    }

    /// Returns the maximum number of bytes that one attempt may hold: three quarters of the total. So other attempts
    /// can run beside the largest attempt.
    pub fn request_max(&self) -> usize {
        self.0.request_max()
    }

    /// Returns the number of bytes that all attempts hold at present.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.0.state.lock().sum
    }

    /// Creates the share of an attempt, which holds no memory yet. A wait for memory ends when `stop` is requested.
    pub fn share(&self, stop: &Stop) -> MemoryShare {
        let mut state = self.0.state.lock();
        let holder = state.next_number();
        state.holders.insert(holder, Holder::default());
        MemoryShare(Some(Arc::new(AttemptShare {
            budget: Arc::clone(&self.0),
            holder,
            stop: stop.clone(),
            is_refused: AtomicBool::new(false),
            is_alone: AtomicBool::new(false),
            is_abandoned: AtomicBool::new(false),
            waited: Mutex::default(),
        })))
    }
}

impl Budget {
    fn request_max(&self) -> usize {
        self.total / 4 * 3
    }

    /// Returns the maximum number of bytes that all attempts without priority may hold together.
    fn beside_max(&self) -> usize {
        self.total - self.request_max()
    }

    /// Returns the holder that has priority after `ask` is granted, or `None` if `ask` cannot be granted now.
    /// `takes_over` says whether `holder` may take over the priority.
    fn fits(&self, state: &BudgetState, holder: u64, ask: MemoryRequest, takes_over: bool) -> Option<u64> {
        let after = ask.granted_to(state.holder(holder)).bytes();
        if after > self.request_max() {
            return None;
        }
        let others = state.sum - state.holder(holder).bytes();
        let without_priority = match state.priority {
            priority if priority == holder => others,
            priority => others + after - state.holder(priority).bytes(),
        };
        if without_priority <= self.beside_max() {
            Some(state.priority)
        } else {
            (takes_over && others <= self.beside_max()).then_some(holder)
        }
    }

    /// Returns the position in the line of the next request that can be granted, and the holder that has priority after
    /// this grant.
    fn next(&self, state: &BudgetState) -> Option<(usize, u64)> {
        let largest = state.holder(state.priority).bytes();
        let (mut is_first, mut may_overtake) = (true, true);
        for (place, WaitingRequest { holder, ask, .. }) in state.line.iter().enumerate() {
            let after = ask.granted_to(state.holder(*holder)).bytes();
            if after > self.request_max() {
                continue; // The thread that waits for this request removes it.
            }
            if (may_overtake || *holder == state.priority)
                && let Some(priority) = self.fits(state, *holder, *ask, is_first)
            {
                return Some((place, priority));
            }
            is_first = false;
            may_overtake &= after.min(largest) > self.beside_max();
        }
        None
    }

    /// Grants the requests in the line that can be granted. Must be called after each change of the held memory.
    fn serve(&self, state: &mut BudgetState) {
        while let Some((place, priority)) = self.next(state)
            && let Some(WaitingRequest { holder, ask, .. }) = state.line.remove(place)
        {
            state.grant(holder, ask, priority);
            // Most requests are granted at once, so usually no thread waits. A notification without a waiting thread
            // would be a useless system call.
            if state.sleepers > 0 {
                self.changed.notify_all();
            }
        }
    }

    /// Waits until `ask` is granted. Returns false as soon as the grant would exceed the maximum that one attempt may
    /// hold. This can also happen during the wait, if another thread of the attempt is granted memory.
    ///
    /// # Errors
    /// Returns the error of the stop, or an error that says that the attempt was abandoned.
    fn grant(&self, share: &AttemptShare, ask: MemoryRequest) -> Result<bool> {
        let mut state = self.state.lock();
        state.favor_largest();
        let (number, holder) = (state.next_number(), share.holder);
        state.line.push_back(WaitingRequest { number, holder, ask });
        self.serve(&mut state);
        let mut waiting = None;
        let result = loop {
            if !state.line.iter().any(|waiter| waiter.number == number) {
                return Ok(true);
            }
            if ask.granted_to(state.holder(holder)).bytes() > self.request_max() {
                break Ok(false);
            }
            if let Err(error) = share.check() {
                break Err(error);
            }
            waiting.get_or_insert_with(|| WaitGuard::new(&share.waited));
            state.sleepers += 1;
            self.changed.wait_for(&mut state, LOOK_EVERY);
            state.sleepers -= 1;
        };
        state.line.retain(|waiter| waiter.number != number);
        self.serve(&mut state);
        result
    }

    /// Grants `ask` if that is possible without waiting, and if all attempts then hold at most `sum_max` bytes together.
    /// Returns whether `ask` was granted.
    fn try_grant(&self, holder: u64, ask: MemoryRequest, sum_max: usize) -> bool {
        let mut state = self.state.lock();
        state.favor_largest();
        let before = state.holder(holder);
        if state.sum - before.bytes() + ask.granted_to(before).bytes() > sum_max {
            return false;
        }
        let takes_over = state.line.is_empty();
        let Some(priority) = self.fits(&state, holder, ask, takes_over) else {
            return false;
        };
        state.grant(holder, ask, priority);
        self.serve(&mut state);
        true
    }

    fn give_back(&self, holder: u64, bytes: usize) {
        let mut state = self.state.lock();
        let Some(slot) = state.holders.get_mut(&holder) else {
            return;
        };
        let before = slot.bytes();
        slot.used -= bytes;
        let after = slot.bytes();
        state.sum = state.sum - before + after;
        self.serve(&mut state);
    }
}

impl BudgetState {
    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn holder(&self, holder: u64) -> Holder {
        self.holders.get(&holder).copied().unwrap_or_default()
    }

    /// Gives priority to the attempt that holds most, if no attempt waits.
    fn favor_largest(&mut self) {
        if self.line.is_empty() {
            let largest = self.holders.iter().max_by_key(|(_, holder)| holder.bytes());
            self.priority = largest.map_or(0, |(number, _)| *number);
        }
    }

    fn grant(&mut self, holder: u64, ask: MemoryRequest, priority: u64) {
        let slot = self.holders.entry(holder).or_default();
        let before = slot.bytes();
        *slot = ask.granted_to(*slot);
        self.sum = self.sum - before + slot.bytes();
        self.priority = priority;
    }
}

/// The part of a worker's memory that one attempt holds. Clones refer to the same share. The default has no bound.
#[derive(Clone, Default)]
pub struct MemoryShare(Option<Arc<AttemptShare>>);

struct AttemptShare {
    budget: Arc<Budget>,
    holder: u64,
    stop: Stop,
    is_refused: AtomicBool,
    is_alone: AtomicBool,
    is_abandoned: AtomicBool,
    waited: Mutex<MemoryWaitTime>,
}

impl AttemptShare {
    /// Checks whether a wait has to end.
    fn check(&self) -> Result<()> {
        self.stop.check()?;
        if self.is_abandoned.load(Ordering::Relaxed) {
            let why = "the wait for memory ended: another part of the input has failed";
            return Err(Error::transient(Stage::Worker, Code::Stopped, why));
        }
        Ok(())
    }
}

/// Shows no details. So the debug texts of two [`Limits`](crate::config::Limits) are the same if only their shares
/// differ.
impl fmt::Debug for MemoryShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryShare")
    }
}

impl MemoryShare {
    /// Creates a [`Held`] of zero bytes.
    pub fn hold(&self) -> Held {
        Held {
            share: self.clone(),
            bytes: 0,
        }
    }

    /// Records that a request for `bytes` additional bytes was refused, and returns the error. If the attempt is alone,
    /// it must end with this error. If it is not alone, it gives all memory back and runs again
    /// [alone](Self::be_alone).
    pub fn refuse(&self, bytes: usize) -> Error {
        let Some(share) = &self.0 else {
            return Error::permanent(Stage::Worker, Code::MemoryExceeded, "no memory");
        };
        let budget = &share.budget;
        if !share.is_alone.load(Ordering::Relaxed) {
            share.is_refused.store(true, Ordering::Relaxed);
            let why = "waits for memory that other requests hold, then starts again alone";
            return Error::transient(Stage::Worker, Code::MachineBusy, why);
        }
        let used = budget.state.lock().holder(share.holder).used;
        let needed = ByteSize((used.saturating_add(bytes) as u64).next_multiple_of(1 << 10));
        let [most, total] = [budget.request_max(), budget.total].map(|bytes| ByteSize(bytes as u64));
        let why = format!(
            "needs {needed} of memory, and a request may hold {most}, three quarters of the worker's --memory-total {total}"
        );
        Error::permanent(Stage::Worker, Code::MemoryExceeded, why)
    }

    /// Returns whether the attempt must run again alone because memory was refused. If the attempt is alone already,
    /// the answer is false.
    pub fn is_refused(&self) -> bool {
        let share = self.0.as_ref();
        share.is_some_and(|share| share.is_refused.load(Ordering::Relaxed))
    }

    /// Returns the stop of the attempt, or `None` if the share has no budget.
    pub fn stop(&self) -> Option<&Stop> {
        self.0.as_ref().map(|share| &share.stop)
    }

    /// Waits until this attempt has reserved the maximum that one attempt may hold. The attempt should hold no memory
    /// before this call. After the call, its grants do not depend on other attempts.
    ///
    /// # Errors
    /// Returns the error of the stop, also if the attempt was abandoned.
    pub fn be_alone(&self) -> Result<()> {
        let Some(share) = &self.0 else {
            return Ok(());
        };
        let budget = &share.budget;
        // The result is always true, because one attempt may hold this much.
        budget.grant(share, MemoryRequest::Reserve(budget.request_max()))?;
        share.is_alone.store(true, Ordering::Relaxed);
        share.is_refused.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Returns whether the attempt has reserved the maximum that one attempt may hold.
    pub fn is_alone(&self) -> bool {
        let share = self.0.as_ref();
        share.is_some_and(|share| share.is_alone.load(Ordering::Relaxed))
    }

    /// Sets whether the attempt has failed. After a failure, the attempt's threads only have to end, so none of them
    /// waits for memory.
    pub fn set_abandoned(&self, is_abandoned: bool) {
        if let Some(share) = &self.0 {
            share.is_abandoned.store(is_abandoned, Ordering::Relaxed);
            // A thread that made its check before this change is waiting by now, so it must be woken.
            if share.budget.state.lock().sleepers > 0 {
                share.budget.changed.notify_all();
            }
        }
    }

    /// Returns the total time in which at least one thread of the attempt has waited for memory.
    pub fn waited(&self) -> Duration {
        let share = self.0.as_ref();
        share.map_or(Duration::ZERO, |share| share.waited.lock().so_far())
    }
}

impl Drop for AttemptShare {
    fn drop(&mut self) {
        let mut state = self.budget.state.lock();
        if let Some(holder) = state.holders.remove(&self.holder) {
            state.sum -= holder.bytes();
        }
        self.budget.serve(&mut state);
    }
}

/// Some bytes of a share. When this value is dropped, the bytes are given back.
#[derive(Debug)]
pub struct Held {
    share: MemoryShare,
    bytes: usize,
}

impl Held {
    /// Returns the number of bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Waits until this value holds at least `bytes`.
    ///
    /// # Errors
    /// Fails with
    ///
    /// - the error of the stop
    /// - the error of [`MemoryShare::refuse`], if the attempt would then exceed the maximum of an attempt
    /// - an error that says that the attempt was [abandoned](MemoryShare::set_abandoned)
    pub fn raise(&mut self, bytes: usize) -> Result<()> {
        let Some(more) = bytes.checked_sub(self.bytes).filter(|more| *more > 0) else {
            return Ok(());
        };
        if let Some(share) = &self.share.0
            && !share.budget.grant(share, MemoryRequest::More(more))?
        {
            return Err(self.share.refuse(more));
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Raises this value to at least `bytes` without waiting. Returns false if the bytes cannot be granted now.
    pub fn try_raise(&mut self, bytes: usize) -> bool {
        self.try_raise_within(bytes, |_| usize::MAX)
    }

    /// Does the same as [`Held::try_raise`], for memory that only makes an attempt faster. Returns false if all attempts
    /// would then hold more than an eighth of the total, so that further attempts can begin.
    pub fn try_raise_spare(&mut self, bytes: usize) -> bool {
        self.try_raise_within(bytes, |budget| budget.total / 8)
    }

    fn try_raise_within(&mut self, bytes: usize, sum_max: impl Fn(&Budget) -> usize) -> bool {
        let Some(more) = bytes.checked_sub(self.bytes).filter(|more| *more > 0) else {
            return true;
        };
        if let Some(share) = &self.share.0
            && !share
                .budget
                .try_grant(share.holder, MemoryRequest::More(more), sum_max(&share.budget))
        {
            return false;
        }
        self.bytes = bytes;
        true
    }

    /// Records that a raise to `bytes` in total was refused, and returns the error: see [`MemoryShare::refuse`].
    pub fn refuse(&self, bytes: usize) -> Error {
        self.share.refuse(bytes.saturating_sub(self.bytes))
    }

    /// Gives bytes back until this value holds at most `bytes`.
    pub fn lower(&mut self, bytes: usize) {
        let Some(less) = self.bytes.checked_sub(bytes).filter(|less| *less > 0) else {
            return;
        };
        self.bytes = bytes;
        if let Some(share) = &self.share.0 {
            share.budget.give_back(share.holder, less);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.lower(0);
    }
}

/// The time in which at least one thread of an attempt has waited.
#[derive(Debug, Default)]
struct MemoryWaitTime {
    before: Duration,
    since: Option<Instant>,
    threads: usize,
}

impl MemoryWaitTime {
    fn so_far(&self) -> Duration {
        self.before + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// A guard of a waiting thread. The time from its creation to its drop counts as waiting time.
struct WaitGuard<'a>(&'a Mutex<MemoryWaitTime>);

impl<'a> WaitGuard<'a> {
    fn new(waited: &'a Mutex<MemoryWaitTime>) -> Self {
        let mut state = waited.lock();
        state.threads += 1;
        state.since.get_or_insert_with(Instant::now);
        drop(state);
        Self(waited)
    }
}

impl Drop for WaitGuard<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.threads -= 1;
        if state.threads == 0 {
            state.before = state.so_far();
            state.since = None;
        }
    }
}

#[cfg(test)]
mod tests;
