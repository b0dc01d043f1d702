//! Hashes of values in, about how many different ones there were out: a HyperLogLog sketch, with the estimator of O. Ertl, "New
//! cardinality estimation algorithms for HyperLogLog sketches", 2017, section 4.
//!
//! As long as there are few, they are counted. It looks at its registers only when it is asked, so what comes out does not
//! depend on the order of what came in.

use crate::receipt::EXACT_MAX;

/// Registers are this many bits of an index. With 12 the standard error is 1.04 / sqrt(2^12), 1.6 %.
const BITS_MAX: u32 = 12;
const BITS_MIN: u32 = 8;

/// What all sketches of a lane may have in registers.
const BYTES_MAX: usize = 1 << 20;

/// So many are counted.
const FEW: usize = EXACT_MAX as usize;

/// 1 / (2 ln 2).
const ALPHA: f64 = 0.5 / std::f64::consts::LN_2;

/// How many different values a column has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Distinct {
    /// For all hashes that begin with the register's index: how many zeros follow at most, and one.
    registers: Box<[u8]>,
    /// The hashes in order, as long as they are few.
    few: Option<Vec<u64>>,
}

impl Distinct {
    /// One of so many; the more there are, the coarser they are.
    pub(super) fn one_of(columns: usize) -> Self {
        let share = (BYTES_MAX / columns.max(1)).max(1);
        let bits = share.ilog2().clamp(BITS_MIN, BITS_MAX);
        Self {
            registers: vec![0; 1 << bits].into(),
            few: Some(Vec::new()),
        }
    }

    fn bits(&self) -> u32 {
        self.registers.len().ilog2()
    }

    #[inline]
    pub(super) fn add(&mut self, hash: u64) {
        let bits = self.bits();
        // The bit behind the hash ends the zeros.
        let rest = hash << bits | 1 << (bits - 1);
        let rank = rest.leading_zeros() as u8 + 1;
        let register = &mut self.registers[(hash >> (64 - bits)) as usize];
        *register = rank.max(*register);
        if let Some(few) = &mut self.few
            && let Err(place) = few.binary_search(&hash)
        {
            if few.len() < FEW {
                few.insert(place, hash);
            } else {
                self.few = None;
            }
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (own, others) in self.registers.iter_mut().zip(&other.registers) {
            *own = (*own).max(*others);
        }
        self.few = match (self.few.take(), &other.few) {
            (Some(mut few), Some(others)) => {
                few.extend_from_slice(others);
                few.sort_unstable();
                few.dedup();
                (few.len() <= FEW).then_some(few)
            }
            _ => None,
        };
    }

    pub(super) fn count(&self) -> u64 {
        self.few
            .as_ref()
            .map_or_else(|| self.estimate(), |few| few.len() as u64)
    }

    fn estimate(&self) -> u64 {
        let ranks = 64 - self.bits() as usize;
        let mut with_rank = vec![0_u32; ranks + 2];
        for register in &self.registers {
            with_rank[usize::from(*register)] += 1;
        }
        let registers = self.registers.len() as f64;
        let mut sum = registers * tau(1.0 - f64::from(with_rank[ranks + 1]) / registers);
        for count in with_rank[1..=ranks].iter().rev() {
            sum = 0.5 * (sum + f64::from(*count));
        }
        sum += registers * sigma(f64::from(with_rank[0]) / registers);
        // There are more than are counted.
        (ALPHA * registers * registers / sum)
            .round()
            .max(FEW as f64 + 1.0) as u64
    }
}

/// x + sum of x^(2^k) 2^(k-1) over k from 1 on.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut power, mut sum) = (1.0, x);
    loop {
        x *= x;
        let before = sum;
        sum += x * power;
        power += power;
        if sum == before {
            return sum;
        }
    }
}

/// A third of 1 - x - sum of (1 - x^(2^-k))^2 2^-k over k from 1 on.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut power, mut sum) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = sum;
        power *= 0.5;
        sum -= (1.0 - x).powi(2) * power;
        if sum == before {
            return sum / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u64) -> u64 {
        rapidhash::v3::rapidhash_v3(&number.to_le_bytes())
    }

    fn of(numbers: std::ops::Range<u64>, columns: usize) -> Distinct {
        let mut distinct = Distinct::one_of(columns);
        numbers.for_each(|number| distinct.add(hash(number)));
        distinct
    }

    #[test]
    fn few_values_are_counted_and_many_are_estimated() {
        for (count, columns, error) in [
            (0, 1, 0.0),
            (1, 1, 0.0),
            (2, 4_096, 0.0),
            (64, 4_096, 0.0),
            (65, 1, 0.04),
            (300, 1, 0.04),
            (3_000, 256, 0.05),
            (20_000, 1, 0.05),
            (1_000_000, 1, 0.05),
            (1_000_000, 4_096, 0.20),
            (65, 4_096, 0.3),
        ] {
            let found = of(0..count, columns).count();
            let off = (found as f64 - count as f64).abs();
            assert!(off <= error * count as f64, "{found} of {count}");
            assert_eq!(found > EXACT_MAX, count > EXACT_MAX, "{found} of {count}");
        }
    }

    #[test]
    fn values_may_come_in_any_order_and_apart() {
        for end in [30, 64, 65, 70, 5_000] {
            let all = of(0..end, 8);
            let mut merged = of(end / 3..end, 8);
            merged.merge(&of(0..end / 2, 8));
            assert_eq!(merged, all);
            assert_eq!(merged.count(), all.count());
        }
    }

    #[test]
    fn the_last_rank_is_within_its_bounds() {
        for columns in [1, 4_096] {
            let mut distinct = Distinct::one_of(columns);
            for index in 0..distinct.registers.len() as u64 {
                distinct.add(index << (64 - distinct.bits()));
            }
            assert!(distinct.estimate() > u64::from(u32::MAX));
        }
    }
}
