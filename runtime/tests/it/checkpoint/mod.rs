//! Tests that an attempt resumes from the checkpoint of a lost attempt, and that the output does not show it. If
//! anything has changed, the attempt starts from the beginning.

mod fixture;
mod rejected_checkpoints;
mod resumed;
mod workers;
