//! The host of ingest plugins: a request comes from a queue, its input is fetched, decoded, sent through a
//! WebAssembly component, encoded and committed with a receipt. The modules stand in the data's order.

pub mod config; // the bounds of everything
pub mod error; // the one error type
pub mod escape; // what strangers wrote, as people may see it
pub mod names; // which ids and names of queues are allowed
pub mod request; // what a producer asks for
pub mod stop;
pub mod units; // sizes and times as operators write them // how an attempt is told to end early

pub mod memory; // what the attempts of a worker may hold together
mod tls; // who provides the cryptography of TLS
mod trust; // whether others can change what this program trusts

mod document; // small files in, their bytes out
mod telemetry; // log lines, and errors that repeat

pub mod digest; // the length and the SHA-256 of bytes that pass
pub mod location; // what a URI names

pub mod queue; // requests in, claims out, each settled once

mod fail_points; // places at which tests make a worker die
pub mod fetch; // a URI in, bytes out

pub mod format;
pub mod record; // records of an input, and what a plugin made of them // one raw record as a text: taken apart and put together

pub mod decode; // bytes in, batches out

pub mod plugin; // batches in, changes out, in a sandbox

pub mod encode; // records and verdicts in, bytes out

pub mod quality; // bytes of the output in, what its columns hold out

pub mod commit; // bytes staged, checked and published under their final names
pub mod gate; // whether there are too many rejects
pub mod receipt; // the document that says that a request is done

pub mod pipeline; // one input through all stages
pub mod worker; // claims in, attempts run, each settled

pub mod cli; // the program around it all
