//! Requests for memory from the attempts of a worker come in; grants and refusals go out. An attempt asks before it takes
//! much, and waits while the others hold too much.
//!
//! An attempt asks once for the memory of a usual attempt, when it begins. Later it asks only for large pieces: a record that
//! is longer than a chunk, the output of that record, a decompressor's window, a plugin's memory.
//!
//! **No deadlock.** An attempt that holds something may have to wait for more. Let `held(a)` be what attempt `a` holds,
//! `T` the total and `M` ([`MemoryBudget::request_max`], less than `T`) the most that one may hold. Nothing is granted
//! beyond
//!
//! ```text
//! sum of all held(a) - largest held(a) <= T - M     and     held(a) <= M for each a
//! ```
//! so all together never hold more than `T`. The attempt that holds most can always be granted more, up to `M`: that changes
//! the largest term only, which the first rule leaves out. So one attempt never waits, and ends. Then another one holds most,
//! and so on until all have ended. This proof needs one more rule: an attempt that waits for memory must not keep anything
//! else (such as the turn to call a plugin) that an attempt with more memory may wait for. So a call into a plugin never
//! waits. It is refused ([`Held::try_raise`]), and the attempt runs again alone.
//!
//! **Nobody starves.** Attempts wait in a line and do not overtake, with two exceptions that delay nobody in front: the
//! attempt that holds most, and any attempt while the one in front asks for more than fits beside the largest, even if all
//! others gave everything back.

mod machine;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use self::machine::default_total;
use crate::config::Size;
use crate::error::{Error, Result, Stage};
use crate::stop::Stop;

/// The memory of a usual attempt: some chunks and their output, an instance of a plugin, pieces of a transfer.
pub const ATTEMPT_BYTES: usize = 3 << 20;

/// The memory of each further lane; a lane that makes a profile counts twice.
pub const LANE_BYTES: usize = 2 << 20;

/// The part of a plugin instance's memory that [`ATTEMPT_BYTES`] and [`LANE_BYTES`] include.
pub const INSTANCE_BYTES: usize = 3 << 19;

/// The least total with which a worker runs.
pub const TOTAL_MIN: u64 = 64 << 20;

/// The interval at which a waiting attempt checks whether it has to stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The memory of a worker that its attempts share. Clones are the same budget.
#[derive(Clone)]
pub struct MemoryBudget(Arc<Budget>);

struct Budget {
    total: usize,
    state: Mutex<State>,
    /// Notified when memory was given back, or the line is shorter.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    holders: BTreeMap<u64, Holder>,
    /// The bytes that all attempts hold.
    sum: usize,
    line: VecDeque<Waiter>,
    /// The number of the last holder or waiter.
    number: u64,
}

#[derive(Default, Clone, Copy)]
struct Holder {
    used: usize,
    /// The bytes set aside for it, used or not.
    reserved: usize,
}

impl Holder {
    fn bytes(self) -> usize {
        self.used.max(self.reserved)
    }
}

struct Waiter {
    number: u64,
    holder: u64,
    ask: Ask,
}

#[derive(Clone, Copy)]
enum Ask {
    /// This many bytes more.
    More(usize),
    /// This many bytes set aside in all.
    Reserve(usize),
}

impl Ask {
    fn granted_to(self, holder: Holder) -> Holder {
        match self {
            Self::More(bytes) => Holder {
                used: holder.used + bytes,
                ..holder
            },
            Self::Reserve(reserved) => Holder { reserved, ..holder },
        }
    }
}

impl fmt::Debug for MemoryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryBudget({})", Size(self.0.total as u64))
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

    /// Returns the most that one request may hold: three quarters, so that others can go on beside the largest.
    pub fn request_max(&self) -> usize {
        self.0.request_max()
    }

    /// Returns the bytes that all attempts hold at present.
    pub fn held(&self) -> usize {
        self.0.lock().sum
    }

    /// Creates the share of an attempt, which holds nothing yet. A wait for memory ends when `stop` asks for it.
    pub fn share(&self, stop: &Stop) -> MemoryShare {
        let mut state = self.0.lock();
        let holder = state.next_number();
        state.holders.insert(holder, Holder::default());
        MemoryShare(Some(Arc::new(Share {
            budget: Arc::clone(&self.0),
            holder,
            stop: stop.clone(),
            is_refused: AtomicBool::new(false),
            is_alone: AtomicBool::new(false),
            waited: Mutex::default(),
        })))
    }
}

impl Budget {
    fn request_max(&self) -> usize {
        self.total / 4 * 3
    }

    /// Returns the most that all attempts but the largest may hold together.
    fn beside_max(&self) -> usize {
        self.total - self.request_max()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `ask` may be granted now, regardless of the line.
    fn fits(&self, state: &State, holder: u64, ask: Ask) -> bool {
        let before = state.holder(holder);
        let after = ask.granted_to(before).bytes();
        let others = state.sum - before.bytes();
        let largest = state.largest_but(holder).max(after);
        after <= self.request_max() && others + after - largest <= self.beside_max()
    }

    /// Whether the ask of this waiter may be granted now, given the waiters before it.
    fn is_next(&self, state: &State, waiter: u64) -> bool {
        for Waiter { number, holder, ask } in &state.line {
            if *number == waiter {
                return self.fits(state, *holder, *ask);
            }
            let after = ask.granted_to(state.holder(*holder)).bytes();
            if state.largest_but(*holder).min(after) <= self.beside_max() {
                return false;
            }
        }
        false
    }

    fn try_grant(&self, state: &mut State, holder: u64, ask: Ask) -> bool {
        let fits = self.fits(state, holder, ask);
        if fits {
            let slot = state.holders.entry(holder).or_default();
            let before = slot.bytes();
            *slot = ask.granted_to(*slot);
            let after = slot.bytes();
            state.sum = state.sum - before + after;
        }
        fits
    }

    /// Waits until `ask` is granted.
    ///
    /// # Errors
    /// The stop's.
    fn grant(&self, share: &Share, ask: Ask) -> Result<()> {
        let mut state = self.lock();
        let holder = share.holder;
        let holds_most = state.holder(holder).bytes() >= state.largest_but(holder);
        if (holds_most || state.line.is_empty()) && self.try_grant(&mut state, holder, ask) {
            return Ok(());
        }
        let _waiting = Waiting::new(&share.waited);
        let waiter = state.next_number();
        state.line.push_back(Waiter {
            number: waiter,
            holder,
            ask,
        });
        let result = loop {
            let holds_most = state.holder(holder).bytes() >= state.largest_but(holder);
            if (holds_most || self.is_next(&state, waiter)) && self.try_grant(&mut state, holder, ask) {
                break Ok(());
            }
            if let Err(stopped) = share.stop.check() {
                break Err(stopped);
            }
            let waited = self.changed.wait_timeout(state, LOOK_EVERY);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        };
        state.line.retain(|other| other.number != waiter);
        if !state.line.is_empty() {
            self.changed.notify_all();
        }
        result
    }

    fn give_back(&self, holder: u64, bytes: usize) {
        let mut state = self.lock();
        let Some(slot) = state.holders.get_mut(&holder) else {
            return;
        };
        let before = slot.bytes();
        slot.used -= bytes;
        let after = slot.bytes();
        state.sum = state.sum - before + after;
        if !state.line.is_empty() {
            self.changed.notify_all();
        }
    }
}

impl State {
    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn holder(&self, holder: u64) -> Holder {
        self.holders.get(&holder).copied().unwrap_or_default()
    }

    fn largest_but(&self, holder: u64) -> usize {
        let others = self.holders.iter().filter(|(other, _)| **other != holder);
        others.map(|(_, other)| other.bytes()).max().unwrap_or_default()
    }
}

/// The part of its worker's memory that one attempt holds. Clones are the same share; the default has no bound.
#[derive(Clone, Default)]
pub struct MemoryShare(Option<Arc<Share>>);

struct Share {
    budget: Arc<Budget>,
    holder: u64,
    stop: Stop,
    is_refused: AtomicBool,
    is_alone: AtomicBool,
    waited: Mutex<Waited>,
}

/// Shows no identity, so that limits that differ only in their shares look equal.
impl fmt::Debug for MemoryShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryShare")
    }
}

impl MemoryShare {
    /// Creates a holding of no bytes.
    pub fn hold(&self) -> Held {
        Held {
            share: self.clone(),
            bytes: 0,
        }
    }

    /// Notes that `bytes` more were refused where the attempt cannot wait. If the attempt is alone, it must end with this error.
    /// Otherwise it gives everything back and runs again [alone](Self::be_alone).
    pub fn refuse(&self, bytes: usize) -> Error {
        let Some(share) = &self.0 else {
            return Error::permanent(Stage::Worker, "no memory");
        };
        let budget = &share.budget;
        if !share.is_alone.load(Ordering::Relaxed) {
            share.is_refused.store(true, Ordering::Relaxed);
            let why = "waits for memory that other requests hold, then starts again alone";
            return Error::transient(Stage::Worker, why);
        }
        let needed = Size((budget.lock().holder(share.holder).used + bytes) as u64);
        let [most, total] = [budget.request_max(), budget.total].map(|bytes| Size(bytes as u64));
        let why = format!(
            "needs {needed} bytes of memory, and a request may hold {most}, three quarters of the worker's --memory-total {total}"
        );
        Error::permanent(Stage::Worker, why)
    }

    /// Whether memory was refused since the attempt began or, if later, became alone.
    pub fn is_refused(&self) -> bool {
        let share = self.0.as_ref();
        share.is_some_and(|share| share.is_refused.load(Ordering::Relaxed))
    }

    /// Waits until the most that one attempt may hold is set aside for this one, which should hold nothing yet. From then on
    /// its grants do not depend on other attempts.
    ///
    /// # Errors
    /// The stop's.
    pub fn be_alone(&self) -> Result<()> {
        let Some(share) = &self.0 else {
            return Ok(());
        };
        let budget = &share.budget;
        budget.grant(share, Ask::Reserve(budget.request_max()))?;
        share.is_alone.store(true, Ordering::Relaxed);
        share.is_refused.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the most that one attempt may hold is set aside for it.
    pub fn is_alone(&self) -> bool {
        let share = self.0.as_ref();
        share.is_some_and(|share| share.is_alone.load(Ordering::Relaxed))
    }

    /// Returns how long at least one thread of the attempt has waited for memory.
    pub fn waited(&self) -> Duration {
        let share = self.0.as_ref();
        share.map_or(Duration::ZERO, |share| lock(&share.waited).so_far())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut state = self.budget.lock();
        if let Some(holder) = state.holders.remove(&self.holder) {
            state.sum -= holder.bytes();
        }
        self.budget.changed.notify_all();
    }
}

/// Some bytes of a share; dropping it gives them back.
#[derive(Debug)]
pub struct Held {
    share: MemoryShare,
    bytes: usize,
}

impl Held {
    /// Returns their number.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Waits until it holds at least `bytes`.
    ///
    /// # Errors
    /// The stop's, or that of [`MemoryShare::refuse`] if a request may not hold that many.
    pub fn raise(&mut self, bytes: usize) -> Result<()> {
        let Some(more) = bytes.checked_sub(self.bytes).filter(|more| *more > 0) else {
            return Ok(());
        };
        if let Some(share) = &self.share.0 {
            let budget = &share.budget;
            if budget.lock().holder(share.holder).used + more > budget.request_max() {
                return Err(self.share.refuse(more));
            }
            budget.grant(share, Ask::More(more))?;
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Does the same without waiting. Returns false if the bytes cannot be granted now.
    pub fn try_raise(&mut self, bytes: usize) -> bool {
        let Some(more) = bytes.checked_sub(self.bytes).filter(|more| *more > 0) else {
            return true;
        };
        if let Some(share) = &self.share.0 {
            let mut state = share.budget.lock();
            if !share.budget.try_grant(&mut state, share.holder, Ask::More(more)) {
                return false;
            }
        }
        self.bytes = bytes;
        true
    }

    /// Notes that `bytes` in all were refused: see [`MemoryShare::refuse`].
    pub fn refuse(&self, bytes: usize) -> Error {
        self.share.refuse(bytes.saturating_sub(self.bytes))
    }

    /// Gives back all but `bytes`.
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

/// The time in which at least one of an attempt's threads waited.
#[derive(Debug, Default)]
struct Waited {
    before: Duration,
    since: Option<Instant>,
    threads: usize,
}

impl Waited {
    fn so_far(&self) -> Duration {
        self.before + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// Counts as waiting until it is dropped.
struct Waiting<'a>(&'a Mutex<Waited>);

impl<'a> Waiting<'a> {
    fn new(waited: &'a Mutex<Waited>) -> Self {
        let mut state = lock(waited);
        state.threads += 1;
        state.since.get_or_insert_with(Instant::now);
        drop(state);
        Self(waited)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = lock(self.0);
        state.threads -= 1;
        if state.threads == 0 {
            state.before = state.so_far();
            state.since = None;
        }
    }
}

fn lock(waited: &Mutex<Waited>) -> MutexGuard<'_, Waited> {
    waited.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
