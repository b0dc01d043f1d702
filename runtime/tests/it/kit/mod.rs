//! Tests the commands for authors of plugins: each command, option and error of the kit.

mod bench;
mod cases;
mod dry_run;
mod inspect;
mod preview;
mod projects;
