//! Administers queues, requests and plugins for people: a connected server and plain arguments go in; typed answers come
//! out, whose JSON form is what the commands print with `--json`. Nothing here prints, and no answer has credentials in
//! the URI of an input.

pub mod dead;
pub mod plugin;
pub mod plugin_config;
pub mod queues;
pub mod report;
pub mod requests;
pub mod submit;
