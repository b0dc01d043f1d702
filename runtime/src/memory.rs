//! What the attempts of a worker hold in memory, all together: each asks before it takes much, and waits while the others
//! hold too much.
//!
//! What a usual attempt holds is asked for once, when it begins. After that only what is large is asked for: a record that
//! is longer than a chunk, what is made of it, a decompressor's window, a plugin's memory.
//!
//! **No deadlock.** An attempt that holds something may have to wait for more. Let `held(a)` be what attempt `a` holds,
//! `T` the total and `M` ([`MemoryBudget::request_max`], less than `T`) the most that one may hold. Nothing is granted
//! beyond
//!
//! ```text
//! sum of all held(a) - largest held(a) <= T - M     and     held(a) <= M for each a
//! ```
//! so all together never hold more than `T`. Whoever holds most can always be granted more, up to `M`: that changes the
//! largest term only, which the first rule leaves out. So one attempt never waits, and ends. Then another one holds most,
//! and so on until all have ended. This holds as long as nobody waits for memory while it has what an attempt that holds
//! more may wait for; so a call into a plugin never waits, it is refused ([`Held::try_raise`]), and the attempt is done
//! again alone.
//!
//! **Nobody starves.** Who waits stands in a line, and those behind do not overtake, with two exceptions that take nothing
//! from it: the one that holds most, and anybody while what is asked for in front cannot stand beside what the largest
//! holds, whatever all others do.

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

/// What a usual attempt holds: some chunks and what is made of them, an instance of a plugin, pieces of a transfer.
pub const ATTEMPT_BYTES: usize = 3 << 20;

/// What a further lane of it holds, and a further one that makes a profile.
pub const LANE_BYTES: usize = 2 << 20;

/// How much of the memory of a plugin's instance belongs to that.
pub const INSTANCE_BYTES: usize = 3 << 19;

/// The least total with which a worker runs.
pub const TOTAL_MIN: u64 = 64 << 20;

/// How often whoever waits looks whether it is to stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The memory of a worker that its attempts share. Clones are the same.
#[derive(Clone)]
pub struct MemoryBudget(Arc<Budget>);

struct Budget {
    total: usize,
    state: Mutex<State>,
    /// Told when something was given back, or the line is shorter.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    holders: BTreeMap<u64, Holder>,
    /// What all hold.
    sum: usize,
    line: VecDeque<Waiter>,
    /// Of the next holder or waiter.
    number: u64,
}

#[derive(Default, Clone, Copy)]
struct Holder {
    used: usize,
    /// What was set aside for it, used or not.
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
    /// So much more.
    More(usize),
    /// So much set aside.
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
    /// A budget of so many bytes.
    pub fn new(total: u64) -> Self {
        Self(Arc::new(Budget {
            total: usize::try_from(total).unwrap_or(usize::MAX),
            state: Mutex::default(),
            changed: Condvar::new(),
        }))
    }

    /// The most that one request may hold: three quarters, so that others can go on beside the largest.
    pub fn request_max(&self) -> usize {
        self.0.request_max()
    }

    /// What all attempts hold at present.
    pub fn held(&self) -> usize {
        self.0.lock().sum
    }

    /// The share of an attempt, nothing so far. Waiting for memory ends when the attempt is to stop.
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

    /// What all but the largest may hold.
    fn beside_max(&self) -> usize {
        self.total - self.request_max()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it may be granted now, whoever waits.
    fn fits(&self, state: &State, holder: u64, ask: Ask) -> bool {
        let before = state.holder(holder);
        let after = ask.granted_to(before).bytes();
        let others = state.sum - before.bytes();
        let largest = state.largest_but(holder).max(after);
        after <= self.request_max() && others + after - largest <= self.beside_max()
    }

    /// Whether it may be granted to the one that stands there in the line.
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

    /// Waits until it is granted.
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

/// What one attempt may hold of its worker's memory. Clones are the same share; the default is one without bounds.
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

/// It says nothing of who it is: limits that are equal but for their shares are equal.
impl fmt::Debug for MemoryShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryShare")
    }
}

impl MemoryShare {
    /// Holds nothing so far.
    pub fn hold(&self) -> Held {
        Held {
            share: self.clone(),
            bytes: 0,
        }
    }

    /// Says that something was refused that cannot be waited for. An attempt that has all that one may have must end with this
    /// error; any other is to give all back and be done again [alone](Self::be_alone).
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

    /// Whether something was refused since the attempt began or is alone.
    pub fn is_refused(&self) -> bool {
        let share = self.0.as_ref();
        share.is_some_and(|share| share.is_refused.load(Ordering::Relaxed))
    }

    /// Waits until all that one attempt may hold is set aside for this one, which should hold nothing so far. What it asks for
    /// then depends on nobody else.
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

    /// Whether it has all that one attempt may have.
    pub fn is_alone(&self) -> bool {
        let share = self.0.as_ref();
        share.is_some_and(|share| share.is_alone.load(Ordering::Relaxed))
    }

    /// For how long the attempt, or a part of it, has waited for memory.
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
    /// How many.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Waits until there are at least so many.
    ///
    /// # Errors
    /// The stop's; if it is more than a request may hold.
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

    /// The same without waiting. False if it cannot be granted now.
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

    /// Says that so many were refused: see [`MemoryShare::refuse`].
    pub fn refuse(&self, bytes: usize) -> Error {
        self.share.refuse(bytes.saturating_sub(self.bytes))
    }

    /// Gives back what is more than so many.
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

/// How long any of an attempt's threads waited.
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

/// Counts the time until it is dropped.
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
