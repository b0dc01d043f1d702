//! Tests the commands for authors of plugins: each command, option and error of the kit.

mod cases;
mod preview;
mod projects;
