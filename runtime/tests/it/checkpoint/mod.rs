//! What a lost attempt had done its successor does not do again, and nobody can tell from the output. Where anything is not
//! as it was, the successor begins anew.

mod fixture;
mod rejected_checkpoints;
mod resumed;
mod workers;
