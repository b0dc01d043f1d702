//! Implements the operations on claims on Redis. Only one operation can end a claim.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use redis::{Cmd, Script, ScriptInvocation};

use super::producer::add_request;
use super::{RedisServer, key, on};
use crate::error::{Class, Code, Result};
use crate::names::check_queue_name;
use crate::queue::intake::{self, IMPORT_MAX, IMPORT_STEPS_MAX, IntakeDocument, Refusal};
use crate::queue::{
    CLAIM_STEP, COMEBACK_MAX, Claim, ClaimOptions, Claims, Failure, LOOK_MAX, LOOK_STEPS_MAX, Next,
    OtherOutput, OutputId, Progress, Queue, REACHED_MAX, Renewed, State, Ticket, WAIT_MAX, code_of,
    ending_of, input_or_ending, millis, moved_from, progress_text, unreadable_request,
};
use crate::request::Request;

/// The key of the hosts that have answered a worker.
const REACHED: &str = "ingest:reached";

/// The log message for an import that fails while claims succeed.
const CANNOT_IMPORT: &str = "cannot import documents, trying again";

/// The answer of `claim.lua`: whether the queue is open, the length of the intake list, the fields of each claim, the
/// last fence that was given before this claim, the number of ready requests that the next step has to skip, and the ids
/// of the requests that became dead letters because the server had lost their hashes.
pub(super) type ClaimAnswer = (bool, u64, Vec<[StoredValue; STORED]>, u64, u64, Vec<String>);

/// The number of fields that `claim.lua` returns for a claim.
pub(super) const STORED: usize = 18;

pub(super) type StoredValue = Option<Vec<u8>>;

#[async_trait]
impl Claims for RedisServer {
    async fn claim_some(&self, queue: &str, options: &ClaimOptions, count: usize) -> Result<Vec<Claim>> {
        self.register(queue).await?;
        let count = count.clamp(1, CLAIM_STEP);
        let mut passed_over = 0;
        for _ in 0..IMPORT_STEPS_MAX {
            let (open, intake, stored, _, looked, _) =
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
                    Err(why) => end_broken(self, &ticket, &why).await?,
                }
            }
            if !claims.is_empty() {
                // The claims are valid even if the import fails. The next claim imports again.
                if let Err(error) = imported {
                    self.repeated_errors.failed(CANNOT_IMPORT, &error);
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
            .connections
            .invoke(
                call.arg(millis(lease))
                    .arg(progress_text(progress))
                    .arg(progress.checkpoint),
            )
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

    async fn elsewhere(&self, queue: &str, own: &OutputId) -> Result<Vec<OtherOutput>> {
        let mut found = Vec::<(String, u64)>::new();
        for step in 0..LOOK_STEPS_MAX {
            let mut call = on(&self.scripts.elsewhere, queue)?;
            call.arg(own.to_string()).arg(step * LOOK_MAX).arg(LOOK_MAX);
            let (looked, outputs): (usize, Vec<(String, u64)>) = self.connections.invoke(&call).await?;
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
        let elsewhere = |(output, requests): (String, u64)| OtherOutput {
            uri: output
                .split_once(' ')
                .map_or(String::new(), |(_, uri)| uri.to_owned()),
            requests,
        };
        Ok(found.into_iter().map(elsewhere).collect())
    }

    fn requests_lost(&self) -> u64 {
        self.requests_lost.load(Ordering::Relaxed)
    }

    async fn note_reached(&self, hosts: &[String]) -> Result<()> {
        let mut call = self.scripts.note_reached.key(REACHED);
        call.arg(REACHED_MAX);
        for host in hosts.iter().take(REACHED_MAX) {
            call.arg(host);
        }
        self.connections.invoke(&call).await
    }

    async fn was_reached(&self, host: &str) -> Result<bool> {
        let score: Option<f64> = self
            .connections
            .query(Cmd::new().arg("ZSCORE").arg(REACHED).arg(host))
            .await?;
        Ok(score.is_some())
    }
}

impl RedisServer {
    /// Takes one step of a claim. The step skips the first `passed_over` ready requests.
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
        let known = self.fences.lock().get(queue).copied().unwrap_or(0);
        let answer: ClaimAnswer = self.connections.invoke(&call).await?;
        self.observe_fence(queue, known, &answer);
        self.note_lost_requests(queue, &answer.5);
        Ok(answer)
    }

    /// Turns the first documents of the intake list into requests, or sets them aside as invalid.
    async fn import(&self, queue: &str) -> Result<()> {
        let mut read = on(&self.scripts.intake, queue)?;
        read.arg(IMPORT_MAX).arg(intake::STEP_BYTES);
        read.arg(intake::DOCUMENT_BYTES_MAX).arg(intake::CLIP_BYTES);
        let documents: Vec<(u64, Vec<u8>)> = self.connections.invoke(&read).await?;
        let mut call = on(&self.scripts.import, queue)?;
        let conflict = Refusal::conflict();
        call.arg(&conflict.reason).arg(conflict.code.as_str());
        for (length, bytes) in documents {
            call.arg(length).arg(bytes.as_slice());
            match intake::examine(&IntakeDocument { length, bytes }) {
                Ok(request) => add_request(call.arg(&[""; 2]), &request),
                Err(Refusal { code, reason }) => {
                    call.arg(reason).arg(code.as_str()).arg(&[""; 8]);
                }
            }
        }
        self.connections.invoke(&call).await
    }

    /// Runs a script that ends the claim of a ticket. `more` contains the script's arguments after id, fence and nonce.
    async fn end(&self, script: &Script, ticket: &Ticket, more: &[&str]) -> Result<()> {
        let mut call = on_ticket(script, ticket)?;
        call.arg(more);
        if self.connections.invoke(&call).await? {
            Ok(())
        } else {
            Err(ticket.lost())
        }
    }
}

/// Returns the ticket of a claim. The claim script has just made the claim, so its fence and nonce are well-formed.
pub(super) fn ticket_of(queue: &str, stored: &[StoredValue; STORED]) -> Ticket {
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

/// Ends the claim of a request whose stored fields this host cannot read. The request becomes a dead letter, so that it
/// does not block others.
async fn end_broken(queue: &dyn Queue, ticket: &Ticket, why: &str) -> Result<()> {
    let reason = unreadable_request(ticket, why);
    tracing::warn!(
        queue = ticket.queue,
        request_id = ticket.id,
        reason,
        code = %Code::HostOutdated,
        "unreadable request given up"
    );
    let failure = Failure {
        error: &reason,
        code: Some(Code::HostOutdated.as_str()),
        report: None,
    };
    match queue.fail_with(ticket, failure, Next::Dead).await {
        Err(error) if error.class() == Class::LeaseLost => Ok(()),
        done => done,
    }
}

/// Returns the claim with the fields of its request's hash, or the reason why this host cannot read them. Another
/// version of this program may have written them.
fn accept(ticket: Ticket, stored: [StoredValue; STORED], own: &OutputId) -> Result<Claim, String> {
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
        group,
        output,
    ] = stored;
    let text = |name: &str, stored: StoredValue| {
        let bytes = stored.ok_or_else(|| format!("it has no {name}"))?;
        String::from_utf8(bytes).map_err(|e| format!("{name}: {e}"))
    };
    fn number<N: std::str::FromStr<Err: std::fmt::Display>>(name: &str, text: &str) -> Result<N, String> {
        text.parse().map_err(|e| format!("{name}: {e}"))
    }
    let submitted_ms = number("submitted_ms", &text("submitted_ms", submitted_ms)?)?;
    let lossy = |stored: StoredValue| stored.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let ending = lossy(ending);
    let code = code_of(lossy(coded).as_deref(), ending.as_deref());
    let ending = ending_of(cancel.is_some(), ending);
    let (input, ending, ending_code) = input_or_ending(&ticket, &text("input", input)?, ending, code);
    Ok(Claim {
        life_ms: match life_ms {
            Some(life_ms) => number("life_ms", &text("life_ms", Some(life_ms))?)?,
            None => submitted_ms,
        },
        is_contested: stray.is_some(),
        ending,
        ending_code,
        moved_from: moved_from(lossy(output).as_deref(), own),
        request: Request {
            id: ticket.id.clone(),
            queue: ticket.queue.clone(),
            uri: text("uri", uri)?,
            priority: number("priority", &text("priority", priority)?)?,
            submitted_ms,
            group: lossy(group),
            input: input.options,
            submitted_input: input.submitted,
            replay: input.replay,
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

fn on_ticket<'a>(script: &'a Script, ticket: &Ticket) -> Result<ScriptInvocation<'a>> {
    let mut call = on(script, &ticket.queue)?;
    call.arg(&ticket.id).arg(ticket.fence).arg(&ticket.nonce);
    Ok(call)
}
