//! Queues and plugins on a Redis server (6.2 or later). Requests move between their states by scripts, each one
//! atomic step on the server and by its clock.
//!
//! # Keys
//! All keys of a queue have the queue's name in braces, so that a cluster keeps them in one slot. Programs in other
//! languages may read all of them, and write to the first two; all else is written by the scripts alone.
//!
//! | key | type | holds |
//! |---|---|---|
//! | `ingest:{Q}:in` | list | documents of foreign producers: `RPUSH` one JSON document for each request, of at most 64 KiB |
//! | `ingest:{Q}:wake` | list | tokens that idle workers block on: `RPUSH` one after a document that is in a hurry |
//! | `ingest:{Q}:ready` | sorted set | ids by rank: priority, then age; 0 for what the next claim is to end |
//! | `ingest:{Q}:delayed` | sorted set | ids by the time they become ready |
//! | `ingest:{Q}:leased` | sorted set | ids by the end of their lease: to be in here is to be running |
//! | `ingest:{Q}:done`, `:dead`, `:cancelled` | sorted set | ids by the time they ended |
//! | `ingest:{Q}:request:ID` | hash | `uri`, `input` (JSON), `digest` (of both), `priority`, `rank`, `submitted_ms`, `attempts`, `lost`, `waited_ms` (for how long it has waited for its next attempts), `life_ms` (when this life of it began); of the last claim `fence`, `nonce`, `worker`, `binding`, `output` (id and URI), `concluding` if it is only to end the request and, once over, `ended`; `stray` once a claim was lost; `cancel` while a cancel is asked for; `ending`, the reason why the next claim is to end it; `note`, what a person should know of its end; `progress` (JSON); `error`; of a dead request `report`, the URI of the report that its worker has kept; `receipt` (JSON) |
//! | `ingest:{Q}:nonces` | hash | nonce to id, for each claim that stands |
//! | `ingest:{Q}:sequence`, `:fence` | number | the last ones given |
//! | `ingest:{Q}:paused` | text | present while claims are withheld |
//! | `ingest:{Q}:invalid` | list | JSON `{document, reason, at_ms}`, the newest first; of a document over 64 KiB only the beginning |
//! | `ingest:{Q}:bindings` | hash | number to binding (JSON) |
//! | `ingest:{Q}:binding` | number | the one in force |
//! | `ingest:queues` | set | the names of all queues |
//! | `ingest:reached` | sorted set | hosts (`HOST:PORT`) that have answered a worker, by when that was noted |
//! | `ingest:components` | hash | SHA-256 to component (JSON) |
//! | `ingest:component:SHA256` | text | the bytes of a component |
//!
//! A request's state is the sorted set that has its id (`ZSCORE`); it is in exactly one. Times are milliseconds since
//! 1970 by the server's clock. Nothing expires; workers remove what ended long ago.

mod audit;
mod invalid;
mod link;
mod losses;
mod registry;
mod scripts;
mod settings;
mod wait;

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use redis::{Cmd, Script, ScriptInvocation};
use serde::Deserialize;
use url::Url;

use self::link::Link;
use self::scripts::Scripts;
use self::wait::Waits;
use super::intake::{self, Document, IMPORT_MAX, IMPORT_STEPS_MAX};
use super::{
    CLAIM_STEP, COMEBACK_MAX, Cancelled, Claim, ClaimOptions, Counts, DEAD_STEP, Elsewhere, Failure, Invalid,
    LOOK_MAX, LOOK_STEPS_MAX, Listed, Next, OutputId, Place, Progress, Queue, REACHED_MAX, REAP_STEP, Reaped,
    Renewed, Revived, SUBMIT_STEP, State, Status, Submitted, Ticket, WAIT_MAX, bury_unreadable, millis,
    progress_text, progress_value,
};
use crate::complaints::Complaints;
use crate::error::{Code, Error, Result, Stage};
use crate::request::{NewRequest, Request, check_queue_name};

/// A Redis server.
pub(super) struct RedisServer {
    link: Arc<Link>,
    waits: Waits,
    scripts: Scripts,
    /// When this handle last saw each queue in `ingest:queues`.
    registered: Mutex<HashMap<String, Instant>>,
    /// The last fence that this handle has seen of each queue.
    fences: Mutex<HashMap<String, u64>>,
    losses: AtomicU64,
    complaints: Complaints,
}

/// The key of the hosts that have answered.
const REACHED: &str = "ingest:reached";

/// What may fail while claims succeed.
const IMPORT: &str = "cannot import documents, trying again";

/// Whether claims are granted, the length of the intake list, claims as their hashes have them, and the last fence
/// that was given before.
type ClaimAnswer = (bool, u64, Vec<[Stored; STORED]>, u64, u64);

/// What the script tells of a claim: see `claim.lua`.
const STORED: usize = 17;

type Stored = Option<Vec<u8>>;

/// The answer of this version's own script.
#[derive(Deserialize)]
struct StatusPart {
    id: String,
    state: State,
    uri: String,
    input: String,
    attempts: u32,
    lost: u32,
    due_ms: Option<f64>,
    error: Option<String>,
    coded: Option<String>,
    report: Option<String>,
    lease_ends_ms: Option<f64>,
    receipt: Option<String>,
    progress: Option<String>,
    #[serde(default)]
    cancel: bool,
    ending: Option<String>,
    output: Option<String>,
    note: Option<String>,
}

impl RedisServer {
    pub(super) async fn connect(url: &Url) -> Result<Self> {
        let link = Arc::new(Link::connect(url).await?);
        Ok(Self {
            waits: Waits::new(Arc::clone(&link)),
            link,
            scripts: Scripts::default(),
            registered: Mutex::default(),
            fences: Mutex::default(),
            losses: AtomicU64::new(0),
            complaints: Complaints::default(),
        })
    }

    /// One step of a claim, which passes over so many ready requests.
    async fn claim_once(
        &self,
        queue: &str,
        options: &ClaimOptions,
        count: usize,
        passed_over: u64,
    ) -> Result<ClaimAnswer> {
        let mut call = on(&self.scripts.claim, queue)?;
        call.arg(&options.worker).arg(millis(options.lease));
        call.arg(options.lost_max)
            .arg(u8::from(options.needs_binding))
            .arg(COMEBACK_MAX)
            .arg(LOOK_MAX)
            .arg(passed_over)
            .arg(options.output.to_string())
            .arg(u8::from(options.move_output));
        for number in 0..count {
            call.arg(options.nonce_of(number));
        }
        let known = lock(&self.fences).get(queue).copied().unwrap_or(0);
        let answer: ClaimAnswer = self.link.invoke(&call).await?;
        self.witness(queue, known, &answer);
        Ok(answer)
    }

    /// Turns the first documents of the intake list into requests, or sets them aside.
    async fn import(&self, queue: &str) -> Result<()> {
        let mut read = on(&self.scripts.intake, queue)?;
        read.arg(IMPORT_MAX).arg(intake::STEP_BYTES);
        read.arg(intake::DOCUMENT_BYTES_MAX).arg(intake::CLIP_BYTES);
        let documents: Vec<(u64, Vec<u8>)> = self.link.invoke(&read).await?;
        let mut call = on(&self.scripts.import, queue)?;
        call.arg(intake::CONFLICT);
        for (length, bytes) in documents {
            call.arg(length).arg(bytes.as_slice());
            match intake::examine(&Document { length, bytes }) {
                Ok(request) => add_request(call.arg(""), &request)?,
                Err(reason) => {
                    call.arg(reason).arg(&[""; 7]);
                }
            }
        }
        self.link.invoke(&call).await
    }

    /// Runs a script about the claim of a ticket; `more` are its arguments after id, fence and nonce.
    async fn end(&self, script: &Script, ticket: &Ticket, more: &[&str]) -> Result<()> {
        let mut call = on_ticket(script, ticket)?;
        call.arg(more);
        if self.link.invoke(&call).await? {
            Ok(())
        } else {
            Err(ticket.lost())
        }
    }

    /// Runs a script that does something to dead requests, on one of them whenever it died.
    async fn revive_any(&self, script: &Script, queue: &str, id: &str) -> Result<bool> {
        let mut call = on(script, queue)?;
        let words: Vec<String> = self.link.invoke(call.arg(id).arg("")).await?;
        Ok(words == ["done"])
    }

    /// Runs such a script on several, each as it died at that time.
    async fn revive(&self, script: &Script, queue: &str, deaths: &[Place]) -> Result<Vec<Revived>> {
        check_queue_name(queue)?;
        let mut answers = Vec::with_capacity(deaths.len());
        for step in deaths.chunks(DEAD_STEP) {
            let mut call = on(script, queue)?;
            for Place { at_ms, id } in step {
                call.arg(id).arg(*at_ms);
            }
            let words: Vec<String> = self.link.invoke(&call).await?;
            answers.extend(words.iter().map(|word| match word.as_str() {
                "done" => Revived::Done,
                "lost" => Revived::Lost,
                _ => Revived::Gone,
            }));
        }
        Ok(answers)
    }

    async fn flag(&self, script: &Script, queue: &str, argument: &str) -> Result<bool> {
        self.link.invoke(on(script, queue)?.arg(argument)).await
    }

    fn status_of(&self, queue: &str, text: &[u8]) -> Result<Status> {
        let part: StatusPart = self.decode(text)?;
        Ok(Status {
            id: part.id,
            queue: queue.into(),
            uri: part.uri,
            input: super::input_value(&part.input),
            state: part.state,
            attempts: part.attempts,
            lost: part.lost,
            due_ms: part.due_ms.map(|due_ms| due_ms as i64),
            code: super::code_of(part.coded.as_deref(), part.error.as_deref()),
            error: part.error,
            report: part.report,
            lease_ends_ms: part.lease_ends_ms.map(|ends_ms| ends_ms as i64),
            progress: part.progress.as_deref().and_then(progress_value),
            ending: super::ending_word(part.state, part.cancel, part.ending.is_some()),
            output: part
                .output
                .as_deref()
                .and_then(|output| output.split_once(' '))
                .map(|(_, uri)| uri.to_owned()),
            note: part.note,
            receipt: part.receipt.map(super::receipt_value),
        })
    }

    fn decode<T: for<'de> Deserialize<'de>>(&self, text: &[u8]) -> Result<T> {
        // Documents are shown as they were pushed, which need not be UTF-8.
        strict_json::from_str(&String::from_utf8_lossy(text)).map_err(|e| {
            Error::permanent(
                Stage::Queue,
                Code::QueueDamaged,
                format!("{}: holds what no script wrote", self.link.name()),
            )
            .because(e)
        })
    }
}

#[async_trait]
impl Queue for RedisServer {
    async fn submit(&self, queue: &str, requests: &[NewRequest]) -> Result<Vec<Submitted>> {
        check_queue_name(queue)?;
        requests.iter().try_for_each(NewRequest::check)?;
        self.register(queue).await?;
        let mut answers = Vec::with_capacity(requests.len());
        for step in requests.chunks(SUBMIT_STEP) {
            let mut call = on(&self.scripts.submit, queue)?;
            for request in step {
                add_request(&mut call, request)?;
            }
            for word in self.link.invoke::<Vec<String>>(&call).await? {
                answers.push(match word.as_str() {
                    "created" => Submitted::Created,
                    "conflict" => Submitted::Conflict,
                    state => Submitted::Existing(self.state(state)?),
                });
            }
        }
        Ok(answers)
    }

    async fn claim_some(&self, queue: &str, options: &ClaimOptions, count: usize) -> Result<Vec<Claim>> {
        self.register(queue).await?;
        let count = count.clamp(1, CLAIM_STEP);
        let mut passed_over = 0;
        for _ in 0..IMPORT_STEPS_MAX {
            let (open, intake, stored, _, looked) =
                self.claim_once(queue, options, count, passed_over).await?;
            passed_over = looked;
            let imported = if intake > 0 {
                self.import(queue).await
            } else {
                Ok(())
            };
            let mut claims = Vec::with_capacity(stored.len());
            let has_claims = !stored.is_empty();
            for stored in stored {
                let ticket = ticket_of(queue, &stored);
                match accept(ticket.clone(), stored, &options.output) {
                    Ok(claim) => claims.push(claim),
                    Err(why) => bury_unreadable(self, &ticket, &why).await?,
                }
            }
            if !claims.is_empty() {
                // The claims stand, whatever came of the import; the next one tries it again.
                if let Err(error) = imported {
                    self.complaints.note(IMPORT, &error);
                }
                return Ok(claims);
            }
            imported?;
            if !has_claims && passed_over == 0 && (intake == 0 || !open) {
                break;
            }
        }
        Ok(Vec::new())
    }

    async fn renew(&self, ticket: &Ticket, lease: Duration, progress: Progress) -> Result<Renewed> {
        let mut call = on_ticket(&self.scripts.renew, ticket)?;
        let answer: String = self
            .link
            .invoke(call.arg(millis(lease)).arg(progress_text(progress)))
            .await?;
        match answer.as_str() {
            "lost" => Err(ticket.lost()),
            "gone" => Err(ticket.gone()),
            word => Ok(Renewed {
                cancel: word == "cancel",
            }),
        }
    }

    async fn settle(&self, ticket: &Ticket, receipt: &str) -> Result<()> {
        self.end(&self.scripts.settle, ticket, &[receipt]).await
    }

    async fn fail_with(&self, ticket: &Ticket, failure: Failure<'_>, next: Next) -> Result<()> {
        let (next, delay_ms) = match next {
            Next::Retry(delay) => ("retry", millis(delay)),
            Next::RetryContested(delay) => ("retry-contested", millis(delay)),
            Next::Dead => (State::Dead.name(), 0),
            Next::Cancelled => (State::Cancelled.name(), 0),
            Next::Conclude(delay) => ("conclude", millis(delay)),
        };
        let (delay_ms, report) = (delay_ms.to_string(), failure.report.unwrap_or_default());
        let coded = failure.coded().unwrap_or_default();
        self.end(
            &self.scripts.fail,
            ticket,
            &[failure.error, next, &delay_ms, report, &coded],
        )
        .await
    }

    async fn release(&self, ticket: &Ticket) -> Result<()> {
        self.end(&self.scripts.release, ticket, &[]).await
    }

    async fn wait(&self, queue: &str, timeout: Duration) -> Result<()> {
        check_queue_name(queue)?;
        self.waits.wait(&key(queue, "wake")?, timeout.min(WAIT_MAX)).await
    }

    async fn elsewhere(&self, queue: &str, own: &OutputId) -> Result<Vec<Elsewhere>> {
        let mut found = Vec::<(String, u64)>::new();
        for step in 0..LOOK_STEPS_MAX {
            let mut call = on(&self.scripts.elsewhere, queue)?;
            call.arg(own.to_string()).arg(step * LOOK_MAX).arg(LOOK_MAX);
            let (looked, outputs): (usize, Vec<(String, u64)>) = self.link.invoke(&call).await?;
            for (output, requests) in outputs {
                match found.iter_mut().find(|(known, _)| *known == output) {
                    Some((_, count)) => *count += requests,
                    None => found.push((output, requests)),
                }
            }
            if looked < LOOK_MAX {
                break;
            }
        }
        let elsewhere = |(output, requests): (String, u64)| Elsewhere {
            uri: output
                .split_once(' ')
                .map_or(String::new(), |(_, uri)| uri.to_owned()),
            requests,
        };
        Ok(found.into_iter().map(elsewhere).collect())
    }

    async fn status(&self, queue: &str, id: &str) -> Result<Option<Status>> {
        let text: Option<Vec<u8>> = self.link.invoke(on(&self.scripts.status, queue)?.arg(id)).await?;
        text.map(|text| self.status_of(queue, &text)).transpose()
    }

    async fn requests(&self, queue: &str, state: State, limit: usize) -> Result<Vec<Status>> {
        check_queue_name(queue)?;
        if limit == 0 {
            return Ok(Vec::new());
        }
        let mut call = on(&self.scripts.requests, queue)?;
        let texts: Vec<Vec<u8>> = self
            .link
            .invoke(call.arg(state.name()).arg(last_index(limit)))
            .await?;
        texts.iter().map(|text| self.status_of(queue, text)).collect()
    }

    async fn cancel(&self, queue: &str, id: &str) -> Result<Cancelled> {
        let word: String = self.link.invoke(on(&self.scripts.cancel, queue)?.arg(id)).await?;
        match word.as_str() {
            "unknown" => return Ok(Cancelled::Unknown),
            "ending" => return Ok(Cancelled::Asked),
            _ => {}
        }
        Ok(match self.state(&word)? {
            State::Ready | State::Delayed => Cancelled::Now,
            State::Leased => Cancelled::Asked,
            ended => Cancelled::TooLate(ended),
        })
    }

    async fn after(&self, queue: &str, state: State, place: &Place, limit: usize) -> Result<Vec<Listed>> {
        check_queue_name(queue)?;
        // Those of the same time come by their ids, which the server cannot begin at.
        let mut wanted = limit;
        loop {
            let mut call = on(&self.scripts.after, queue)?;
            call.arg(state.name()).arg(place.at_ms).arg(wanted);
            let found: Vec<(String, i64, u32, bool)> = self.link.invoke(&call).await?;
            let are_all = found.len() < wanted;
            let listed = found.into_iter().map(|(id, at_ms, attempts, is_ending)| Listed {
                place: Place { at_ms, id },
                attempts,
                is_ending,
            });
            let behind: Vec<_> = listed
                .filter(|listed| listed.place > *place)
                .take(limit)
                .collect();
            if are_all || !behind.is_empty() || limit == 0 {
                return Ok(behind);
            }
            wanted *= 2;
        }
    }

    async fn now_ms(&self) -> Result<i64> {
        let (seconds, micros): (i64, i64) = self.link.query(&Cmd::new().arg("TIME").to_owned()).await?;
        Ok(seconds * 1_000 + micros / 1_000)
    }

    async fn retry_dead(&self, queue: &str, id: &str) -> Result<bool> {
        self.revive_any(&self.scripts.retry_dead, queue, id).await
    }

    async fn purge_dead(&self, queue: &str, id: &str) -> Result<bool> {
        self.revive_any(&self.scripts.purge_dead, queue, id).await
    }

    async fn retry_deaths(&self, queue: &str, deaths: &[Place]) -> Result<Vec<Revived>> {
        self.revive(&self.scripts.retry_dead, queue, deaths).await
    }

    async fn purge_deaths(&self, queue: &str, deaths: &[Place]) -> Result<Vec<Revived>> {
        self.revive(&self.scripts.purge_dead, queue, deaths).await
    }

    async fn reap(&self, queue: &str, keep: Duration) -> Result<Reaped> {
        let mut call = on(&self.scripts.reap, queue)?;
        let removed = self.link.invoke(call.arg(millis(keep)).arg(REAP_STEP)).await?;
        Ok(Reaped::of(removed))
    }

    async fn invalid(&self, queue: &str, limit: usize) -> Result<Vec<Invalid>> {
        self.list_invalid(queue, limit).await
    }

    async fn purge_invalid(&self, queue: &str, key: &str) -> Result<bool> {
        self.remove_invalid(queue, key).await
    }

    async fn purge_invalid_until(&self, queue: &str, until_ms: i64) -> Result<Vec<String>> {
        self.remove_invalid_until(queue, until_ms).await
    }

    async fn set_paused(&self, queue: &str, paused: bool) -> Result<()> {
        self.register(queue).await?;
        self.flag(&self.scripts.pause, queue, if paused { "1" } else { "0" })
            .await?;
        Ok(())
    }

    async fn counts(&self, queue: &str) -> Result<Counts> {
        let text: Vec<u8> = self.link.invoke(&on(&self.scripts.counts, queue)?).await?;
        let counts: Counts = self.decode(&text)?;
        Ok(Counts {
            queue: queue.into(),
            ..counts
        })
    }

    async fn queues(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> = self
            .link
            .query(Cmd::new().arg("SMEMBERS").arg("ingest:queues"))
            .await?;
        names.sort_unstable();
        Ok(names)
    }

    async fn audit(&self, queue: &str) -> Result<Vec<String>> {
        audit::audit(&self.link, &self.scripts, queue).await
    }

    async fn note_reached(&self, hosts: &[String]) -> Result<()> {
        let mut call = self.scripts.note_reached.key(REACHED);
        call.arg(REACHED_MAX);
        for host in hosts.iter().take(REACHED_MAX) {
            call.arg(host);
        }
        self.link.invoke(&call).await
    }

    async fn was_reached(&self, host: &str) -> Result<bool> {
        let score: Option<f64> = self
            .link
            .query(Cmd::new().arg("ZSCORE").arg(REACHED).arg(host))
            .await?;
        Ok(score.is_some())
    }

    async fn settings(&self) -> Result<Vec<String>> {
        settings::settings(&self.link).await
    }
}

impl RedisServer {
    fn state(&self, word: &str) -> Result<State> {
        State::from_name(word).ok_or_else(|| {
            Error::permanent(
                Stage::Queue,
                Code::QueueDamaged,
                format!("{}: unknown state \"{word}\"", self.link.name()),
            )
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The ticket of a claim that a script has just given, so that fence and nonce are sound.
fn ticket_of(queue: &str, stored: &[Stored; STORED]) -> Ticket {
    let text = |index: usize| {
        let bytes = stored[index].as_deref().unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    };
    Ticket {
        queue: queue.into(),
        id: text(0),
        fence: text(5).parse().unwrap_or_default(),
        nonce: text(6),
    }
}

/// The claim as its hash has it, or why this host cannot read that: another version of this program may have
/// written it.
fn accept(ticket: Ticket, stored: [Stored; STORED], own: &OutputId) -> Result<Claim, String> {
    let [
        _,
        uri,
        priority,
        submitted_ms,
        input,
        _,
        _,
        attempts,
        lost,
        binding,
        life_ms,
        stray,
        cancel,
        ending,
        waited_ms,
        coded,
        output,
    ] = stored;
    let text = |name: &str, stored: Stored| {
        let bytes = stored.ok_or_else(|| format!("it has no {name}"))?;
        String::from_utf8(bytes).map_err(|e| format!("{name}: {e}"))
    };
    fn number<N: std::str::FromStr<Err: std::fmt::Display>>(name: &str, text: &str) -> Result<N, String> {
        text.parse().map_err(|e| format!("{name}: {e}"))
    }
    let submitted_ms = number("submitted_ms", &text("submitted_ms", submitted_ms)?)?;
    let lossy = |stored: Stored| stored.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let (coded, ending) = (lossy(coded), lossy(ending));
    Ok(Claim {
        life_ms: match life_ms {
            Some(life_ms) => number("life_ms", &text("life_ms", Some(life_ms))?)?,
            None => submitted_ms,
        },
        is_contested: stray.is_some(),
        ending_code: super::code_of(coded.as_deref(), ending.as_deref()),
        ending: super::ending_of(cancel.is_some(), ending),
        moved_from: super::moved_from(lossy(output).as_deref(), own),
        request: Request {
            id: ticket.id.clone(),
            queue: ticket.queue.clone(),
            uri: text("uri", uri)?,
            priority: number("priority", &text("priority", priority)?)?,
            submitted_ms,
            input: strict_json::from_str(&text("input", input)?).map_err(|e| e.to_string())?,
        },
        ticket,
        attempt: number("attempts", &text("attempts", attempts)?)?,
        lost: number("lost", &text("lost", lost)?)?,
        waited: match waited_ms {
            Some(waited_ms) => {
                Duration::from_millis(number("waited_ms", &text("waited_ms", Some(waited_ms))?)?)
            }
            None => Duration::ZERO,
        },
        binding: match binding {
            Some(binding) => Some(number("binding", &text("binding", Some(binding))?)?),
            None => None,
        },
    })
}

/// The name of one of a queue's keys.
fn key(queue: &str, part: &str) -> Result<String> {
    check_queue_name(queue)?;
    Ok(format!("ingest:{{{queue}}}:{part}"))
}

/// A script on a queue, still without arguments.
fn on<'a>(script: &'a Script, queue: &str) -> Result<ScriptInvocation<'a>> {
    check_queue_name(queue)?;
    Ok(script.key(format!("ingest:{{{queue}}}")))
}

fn on_ticket<'a>(script: &'a Script, ticket: &Ticket) -> Result<ScriptInvocation<'a>> {
    let mut call = on(script, &ticket.queue)?;
    call.arg(&ticket.id).arg(ticket.fence).arg(&ticket.nonce);
    Ok(call)
}

/// The index of the last one of a list of at most `limit`, which is not 0, in the range that the server counts in.
fn last_index(limit: usize) -> i64 {
    i64::try_from(limit - 1).unwrap_or(i64::MAX)
}

/// Adds the seven arguments that the scripts read a new request from.
fn add_request(call: &mut ScriptInvocation<'_>, request: &NewRequest) -> Result<()> {
    let input = serde_json::to_string(&request.input)
        .map_err(|e| Error::permanent(Stage::Queue, Code::HostFailure, "input options").because(e))?;
    call.arg(&request.id).arg(&request.uri).arg(request.priority);
    call.arg(request.delay_ms)
        .arg(input)
        .arg(request.content_digest())
        .arg(request.content_digest_before().unwrap_or_default());
    Ok(())
}
