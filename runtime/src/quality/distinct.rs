//! Hashes of values go in; an estimate of the number of different values comes out. The estimate is made by a
//! HyperLogLog sketch.

use datasketches::hll::{HllSketch, HllType, HllUnion};

/// The size of the largest sketch, as an exponent of two: 2^12 registers of one byte. Its standard error is 1.04 /
/// sqrt(2^12), which is 1.6 %.
const BITS_MAX: u32 = 12;
/// The size of the smallest sketch, as an exponent of two. Up to [`crate::receipt::EXACT_MAX`] different values, even
/// this sketch counts exactly.
const BITS_MIN: u32 = 8;

/// The maximum number of bytes that all sketches of a lane use for registers. If there are more than 4,096 columns,
/// even the smallest sketches use more than this maximum.
const BYTES_MAX: usize = 1 << 20;

/// An estimate of the number of different values in a column.
#[derive(Debug, Clone)]
pub(super) struct Distinct(HllSketch);

impl Distinct {
    /// Returns an empty sketch for one column of an output that has `columns` columns. With more columns, each sketch
    /// is smaller and less precise.
    pub(super) fn one_of(columns: usize) -> Self {
        let share = (BYTES_MAX / columns.max(1)).max(1);
        let bits = share.ilog2().clamp(BITS_MIN, BITS_MAX) as u8;
        Self(HllSketch::new(bits, HllType::Hll8).expect("within the bounds of a sketch"))
    }

    pub(super) fn add(&mut self, hash: u64) {
        self.0.update(hash);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        let mut union = HllUnion::new(self.0.lg_config_k()).expect("as the sketch");
        union.update(&self.0);
        union.update(&other.0);
        self.0 = union.to_sketch(HllType::Hll8);
    }

    pub(super) fn count(&self) -> u64 {
        // The sketch also offers a more precise estimate, but that estimate depends on the order of the values.
        self.0.composite_estimate().round() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receipt::EXACT_MAX;

    fn of(numbers: impl Iterator<Item = u64>, columns: usize) -> Distinct {
        let mut distinct = Distinct::one_of(columns);
        numbers.for_each(|number| distinct.add(number));
        distinct
    }

    #[test]
    fn few_values_are_counted_and_many_are_estimated() {
        for columns in [1, 256, 4_096] {
            for count in 0..=EXACT_MAX {
                assert_eq!(of(0..count, columns).count(), count);
            }
        }
        for (count, columns, error) in [
            (100, 1, 0.01),
            (3_000, 256, 0.05),
            (20_000, 1, 0.05),
            (1_000_000, 1, 0.05),
            (1_000_000, 4_096, 0.20),
        ] {
            let found = of(0..count, columns).count();
            let off = (found as f64 - count as f64).abs();
            assert!(off <= error * count as f64, "{found} of {count}");
        }
    }

    #[test]
    fn values_may_come_in_any_order_and_apart() {
        for columns in [1, 4_096] {
            for end in [5, 9, 24, 25, 40, 300, 400, 500, 5_000] {
                let all = of(0..end, columns);
                assert_eq!(of((0..end).rev(), columns).count(), all.count());
                let parts = [0..end / 2, end / 3..end, 0..3].map(|part| of(part, columns));
                for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
                    let mut merged = Distinct::one_of(columns);
                    order.iter().for_each(|&part| merged.merge(&parts[part]));
                    assert_eq!(merged.count(), all.count(), "{end} of {columns}");
                }
            }
        }
    }
}
