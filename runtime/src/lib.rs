//! Hosts ingest plugins. A request comes from a queue. Its input is fetched, decoded, sent through a WebAssembly
//! component, encoded, and committed with a receipt. After some modules for general use, the modules are listed in the
//! order in which the data passes them.

pub mod config; // bounds of attempts and leases
pub mod error; // the only error type
pub mod escape; // makes untrusted texts safe to show
pub mod names; // checks ids and names of queues and groups
pub mod request; // a producer's request
pub mod stop; // ends attempts early
pub mod units; // sizes and times as operators write them

pub mod memory; // memory that the attempts of a worker share
mod net; // builds HTTP clients
mod tls; // provides the cryptography of TLS
mod trust; // checks whether other users can change trusted files

mod document; // reads small files
mod telemetry; // log lines, and repeated errors

pub mod digest; // length and SHA-256 of bytes
pub mod location; // the target of a URI, and its redaction

pub mod queue; // requests go in, claims come out

mod fail_points; // points at which tests kill or pause a worker
pub mod fetch; // a URI goes in, bytes come out
pub mod listing; // a pattern or a list goes in, inputs come out

pub mod format; // parses and writes single raw records
pub mod record; // records of an input, and a plugin's changes

pub mod decode; // bytes go in, batches come out

pub mod plugin; // batches go in, changes come out, in a sandbox

pub mod encode; // records and verdicts go in, bytes come out

pub mod quality; // bytes of the output go in, a profile of its columns comes out

pub mod commit; // publishes an attempt's output, once
pub mod gate; // decides whether an output may be published
pub mod receipt;
pub mod storage; // keeps outputs: one committed output for each request // the document that proves that a request is done

pub mod pipeline; // takes one input through all stages
pub mod worker; // claims requests, runs attempts, settles claims

pub mod admin; // operations on queues, requests and plugins
pub mod cli;
pub mod kit; // makes, builds and tests plugins on their author's machine // the command line
