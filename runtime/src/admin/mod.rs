//! Administers queues, requests and plugins for people. Takes a connected server and plain arguments, and returns typed
//! answers. With `--json`, the commands print the JSON form of these answers. Nothing in this module prints. No answer
//! contains credentials in the URI of an input.

pub mod dead;
pub mod groups;
pub mod plugin;
pub mod plugin_config;
pub mod queues;
pub mod replay;
pub mod report;
pub mod requests;
pub mod submit;
