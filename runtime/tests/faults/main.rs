//! Injects faults, and checks the promises of docs/reliability.md: every acknowledged request is done, with one receipt
//! and one output. The output equals the output of an undisturbed run, and the audit of the queue has no findings. The
//! servers, workers and signals are real.
//!
//! `cargo test` runs a part of the suite, the slice. `make faults` runs the whole suite and writes the results to
//! docs/reliability.md.
#![expect(clippy::unwrap_used, reason = "a broken promise stops the suite")]

mod endings;
mod fixture;
mod object_answers;
mod object_endings;
mod object_journal;
mod objects;
mod objects_fixture;
mod proxy;
mod replays;
mod report;
mod server_faults;
mod servers;
mod storage;
mod time_limit;
mod transfers;
mod worker_process;
mod workers;

#[path = "../it/support/mod.rs"]
#[expect(dead_code, reason = "other programs use the rest")]
mod support;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use support::host::component;

/// The size of the run: the whole suite, or the slice.
pub(crate) struct Scale {
    pub(crate) seed: u64,
    pub(crate) is_full: bool,
}

impl Scale {
    /// Returns `all` in the whole suite, and `few` in the slice.
    pub(crate) fn of(&self, all: usize, few: usize) -> usize {
        if self.is_full { all } else { few }
    }

    /// Returns the random number generator of a row.
    pub(crate) fn random(&self, row: u64) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed ^ (row << 32))
    }
}

/// A row of the fault table in docs/reliability.md: a fault, and the function that injects it. The function panics if a
/// promise is broken. If all promises hold, it returns the measured figures as a text.
pub(crate) struct Row {
    pub(crate) number: &'static str,
    pub(crate) fault: &'static str,
    pub(crate) run: fn(&Scale) -> String,
}

/// The result of a row: whether the promises hold, the figures, and the duration.
pub(crate) struct RowOutcome {
    pub(crate) row: &'static Row,
    pub(crate) holds: bool,
    pub(crate) figures: String,
    pub(crate) took: Duration,
}

static ROWS: &[Row] = &[
    Row {
        number: "1",
        fault: "`kill -9` of random workers",
        run: workers::random_kills,
    },
    Row {
        number: "2",
        fault: "`kill -9` after each step",
        run: workers::kills_at_each_step,
    },
    Row {
        number: "3",
        fault: "`kill -9` of Redis, `appendfsync always`",
        run: servers::redis_killed_always,
    },
    Row {
        number: "4",
        fault: "`kill -9` of Redis, `appendfsync everysec`",
        run: servers::redis_killed_everysec,
    },
    Row {
        number: "5",
        fault: "answers dropped, halved, stalled, connections reset",
        run: servers::bad_network,
    },
    Row {
        number: "6",
        fault: "a worker is suspended before its commit, for longer than its lease",
        run: workers::zombies,
    },
    Row {
        number: "7",
        fault: "SIGTERM during a request",
        run: workers::terminated,
    },
    Row {
        number: "8",
        fault: "connections cut, slow or truncated, and a compression bomb",
        run: transfers::bad_transfers,
    },
    Row {
        number: "9",
        fault: "a server that lies about ranges",
        run: transfers::lies,
    },
    Row {
        number: "10",
        fault: "an output that is full, read-only or removed",
        run: storage::bad_output,
    },
    Row {
        number: "11",
        fault: "Redis emptied, full, closed, written to by others",
        run: server_faults::server_troubles,
    },
    Row {
        number: "12",
        fault: "a request that kills its worker, among good ones",
        run: workers::poison,
    },
    Row {
        number: "13",
        fault: "`kill -9` of SQLite workers and producers",
        run: servers::sqlite_killed,
    },
    Row {
        number: "14",
        fault: "an attempt stops after each step; then the request is retried, cancelled or becomes poison",
        run: endings::endings,
    },
    Row {
        number: "15",
        fault: "S3, two machines: `kill -9` after each step",
        run: objects::kills_at_each_step,
    },
    Row {
        number: "16",
        fault: "S3, two machines: `kill -9` of random workers",
        run: objects::random_kills,
    },
    Row {
        number: "17",
        fault: "S3, two machines: a worker is suspended at each step of a commit, for longer than its lease",
        run: objects::zombies,
    },
    Row {
        number: "18",
        fault: "S3: `kill -9` in the middle of an output of several parts",
        run: objects::kills_between_parts,
    },
    Row {
        number: "19",
        fault: "S3: the store throttles, fails after it took effect, cuts bodies, ignores ranges, rejects credentials",
        run: objects::disturbed,
    },
    Row {
        number: "20",
        fault: "S3: answers dropped, halved, stalled, connections reset",
        run: objects::bad_network,
    },
    Row {
        number: "21",
        fault: "S3: the answer to a step of a commit is lost, late, missing or a refusal",
        run: object_answers::bad_answers,
    },
    Row {
        number: "22",
        fault: "S3, two machines: a request ends, or its objects change, while an attempt is suspended in its commit",
        run: object_endings::endings,
    },
    Row {
        number: "23",
        fault: "a replay of rejects: `kill -9` after each step",
        run: replays::kills_at_each_step,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let is_full = arguments.iter().any(|argument| argument == "--full");
    let seed = value("--seed").map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap());
    let scale = Scale { seed, is_full };
    say(format_args!(
        "faults, seed {seed} (`--seed {seed}` for the same again)"
    ));
    let wanted = value("--row");
    let rows: Vec<_> = ROWS
        .iter()
        .filter(|row| wanted.as_deref().is_none_or(|wanted| wanted == row.number))
        .collect();
    // The first call builds the plugins. The time for this counts for no row.
    component("alarms");
    let seen = run(&rows, &scale);
    if let Some(path) = value("--report").map(PathBuf::from) {
        report::write(&path, &seen, &scale).unwrap();
    }
    let failed = seen.iter().filter(|seen| !seen.holds).count();
    say(format_args!("{} passed, {failed} failed", seen.len() - failed));
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs the rows, up to three at the same time, because a row mostly waits.
fn run(rows: &[&'static Row], scale: &Scale) -> Vec<RowOutcome> {
    const AT_ONCE: usize = 3;

    let next = Mutex::new(rows.iter().enumerate());
    let seen = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some((at, row)) = next.lock().unwrap().next() else {
                        return;
                    };
                    let start = Instant::now();
                    time_limit::begin(scale);
                    let outcome = catch_unwind(AssertUnwindSafe(|| (row.run)(scale)));
                    let (holds, figures) = match outcome {
                        Ok(figures) => (true, figures),
                        Err(_) => (false, "DOES NOT HOLD: see above".to_owned()),
                    };
                    let took = start.elapsed();
                    say(format_args!(
                        "row {:>2}, {}: {figures} ({:.0} s)",
                        row.number,
                        row.fault,
                        took.as_secs_f64()
                    ));
                    seen.lock().unwrap().push((
                        at,
                        RowOutcome {
                            row,
                            holds,
                            figures,
                            took,
                        },
                    ));
                }
            });
        }
    });
    let mut seen = seen.into_inner().unwrap();
    seen.sort_by_key(|(at, _)| *at);
    seen.into_iter().map(|(_, seen)| seen).collect()
}

fn say(what: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stdout(), "{what}");
}
