//! Tests that an attempt resumes from the checkpoint of a lost attempt, and that the output is the same as without the
//! loss. If the input, the plugin or the settings have changed, the attempt starts from the beginning.

mod fixture;
mod rejected_checkpoints;
mod resumed;
mod workers;
