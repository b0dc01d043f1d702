//! Implements `replay`, which has rejects processed again.

use std::process::ExitCode;
use std::time::Duration;

use super::environment::Environment;
use super::print;
use super::submit;
use crate::admin::groups::RollUp;
use crate::admin::replay::{self, ReplayAnswer};
use crate::error::{Code, Error, Result, Stage};
use crate::queue::{Backend, State};
use crate::request::REPLAY_CODES_MAX;
use crate::units::HumanDuration;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The id of the request.
    #[arg(required_unless_present = "queue", conflicts_with = "since")]
    id: Option<String>,
    /// The queue of the request. Without ID: all requests of this queue that are done and have rejects.
    #[arg(long, alias = "queuename")]
    queue: Option<String>,
    /// Only rejects with this code; give it several times for several codes. The others stay rejects.
    #[arg(long, value_name = "CODE")]
    code: Vec<String>,
    /// Without ID: only requests that were done at this time or later, such as 2026-11-29T12:00:00Z, 2026-11-29 or 2h (two
    /// hours ago).
    #[arg(long, value_name = "TIME", requires = "queue", value_parser = since)]
    since: Option<Since>,
    /// Wait until the replays have ended, and show the results.
    #[arg(long)]
    wait: bool,
    /// Print JSON: without --wait, an answer for each request; with --wait, a receipt for each replay.
    #[arg(long)]
    json: bool,
}

/// A time by the server's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    At(jiff::Timestamp),
    Ago(Duration),
}

fn since(text: &str) -> Result<Since, String> {
    if let Ok(at) = text.parse() {
        return Ok(Since::At(at));
    }
    if let Ok(at) = text.parse::<jiff::civil::Date>() {
        let at = at
            .to_zoned(jiff::tz::TimeZone::UTC)
            .map_err(|error| error.to_string())?;
        return Ok(Since::At(at.timestamp()));
    }
    match text.parse() {
        Ok(HumanDuration(ago)) => Ok(Since::Ago(ago)),
        Err(_) => Err("expected a time such as 2026-11-29T12:00:00Z, a day such as 2026-11-29, or a duration such as 2h".into()),
    }
}

impl Since {
    fn at_ms(self, now_ms: i64) -> i64 {
        match self {
            Self::At(at) => at.as_millisecond(),
            Self::Ago(ago) => {
                now_ms.saturating_sub_unsigned(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX))
            }
        }
    }
}

pub(super) async fn replay(mut args: Args, environment: &Environment) -> Result<ExitCode> {
    // The order of the codes means nothing, and a repeated code selects nothing more.
    args.code.sort_unstable();
    args.code.dedup();
    if args.code.len() > REPLAY_CODES_MAX {
        let what = format!("--code: at most {REPLAY_CODES_MAX} codes can be given");
        return Err(Error::permanent(Stage::Config, Code::Usage, what));
    }
    let backend = environment.connect().await?;
    let (mut answers, mut failed) = (Vec::new(), false);
    let mut take = |answer: Result<ReplayAnswer>| match answer {
        Ok(answer) => {
            print_answer(&args, &answer);
            answers.push(answer);
        }
        // An error of one request must not hide the answers to the others.
        Err(error) => {
            print::error(&error);
            failed = true;
        }
    };
    match (&args.id, &args.queue) {
        (Some(id), queue) => {
            let answer = replay::replay(&backend, id, queue.as_deref(), &args.code).await?;
            take(Ok(answer));
        }
        (None, queue) => {
            let queue = queue.as_deref().unwrap_or_default();
            let now_ms = backend.queue.now_ms().await?;
            let since_ms = args.since.map_or(0, |since| since.at_ms(now_ms));
            replay::replay_all(&backend, queue, &args.code, since_ms, take).await?;
        }
    }
    if answers.is_empty() && !failed && !args.json {
        print::note("no request has such rejects");
    }
    if args.wait {
        failed |= !wait(&args, &backend, &answers).await?;
    }
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Waits for the end of each replay, and shows its result. Returns false if one of them is not done.
async fn wait(args: &Args, backend: &Backend, answers: &[ReplayAnswer]) -> Result<bool> {
    let mut all_done = true;
    for ReplayAnswer { id, queue, .. } in answers {
        if let Some(id) = id {
            let mut sum = RollUp::of(queue, None);
            all_done &= submit::wait(queue, args.json, backend, id, &mut sum).await?;
        }
    }
    Ok(all_done)
}

/// Prints an answer, except with `--wait --json`, which prints receipts later.
fn print_answer(args: &Args, answer: &ReplayAnswer) {
    if args.json {
        if !args.wait {
            print::json(answer);
        }
        return;
    }
    let ReplayAnswer {
        id,
        parent,
        rejects,
        state,
        note,
        ..
    } = answer;
    print::line(match (id, note) {
        (Some(id), Some(note)) => format!("{id}  {note} ({})", state.map_or("", State::name)),
        (Some(id), None) => format!("{id}  submitted, rejects of {parent}: {rejects}"),
        (None, note) => format!(
            "{parent}  nothing to replay: {}",
            note.as_deref().unwrap_or_default()
        ),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_moment_a_day_or_a_span() {
        let at_ms = |text: &str| since(text).unwrap().at_ms(10_000_000);
        assert_eq!(at_ms("1970-01-01T00:00:01Z"), 1_000);
        assert_eq!(at_ms("1970-01-02"), 86_400_000);
        assert_eq!(at_ms("2h"), 10_000_000 - 7_200_000);
        assert!(since("yesterday").is_err());
    }
}
