//! Tests a row of the fault table in docs/reliability.md: the answer to one step of a commit on an object store is lost,
//! late, missing or a refusal. Each case is one request. Its faults are planned, so each case occurs in each run.

use std::time::Duration;

use crate::Scale;
use crate::objects_fixture::{ObjectsFixture, decisions_prefix, output_key, receipt_key};
use crate::support::s3::script::{Call, PlannedFault};
use crate::worker_process::WorkerProcess;

const FEW: usize = 100;
const INPUTS: usize = 4;

/// The divisor of the workers' time limits for the store. A worker waits for an answer for 5 s instead of 300 s.
const LIMITS_DIVIDED_BY: u32 = 60;

/// The time after which a late request takes effect. By then, the worker no longer waits for its answer.
const LATE: Duration = Duration::from_secs(6);

/// The object that a step creates.
#[derive(Debug, Clone, Copy)]
enum Step {
    Decision,
    Output,
    Receipt,
}

/// A fault, and what must follow.
struct Case {
    name: &'static str,
    faults: &'static [PlannedFault],
    /// The steps after which the same attempt must continue, as if its first call had succeeded. After the other steps,
    /// the attempt fails, and the next one ends the request.
    continues: &'static [&'static str],
}

const CASES: [Case; 7] = [
    Case {
        name: "lost",
        faults: &[PlannedFault::AnswerLost],
        continues: &["decision", "output", "receipt"],
    },
    Case {
        name: "silent",
        faults: &[PlannedFault::Silent],
        continues: &["output"],
    },
    Case {
        name: "late",
        faults: &[PlannedFault::LateBy(LATE)],
        continues: &[],
    },
    Case {
        name: "last",
        faults: &[PlannedFault::LateUntilReleased],
        continues: &[],
    },
    Case {
        name: "refused",
        faults: &[PlannedFault::Refused],
        continues: &[],
    },
    Case {
        name: "conflict",
        faults: &[PlannedFault::Conflict, PlannedFault::Conflict],
        continues: &["decision", "output", "receipt"],
    },
    Case {
        name: "conflicts-then-lost",
        faults: &[PlannedFault::Conflict, PlannedFault::AnswerLost],
        continues: &["decision", "output", "receipt"],
    },
];

impl Step {
    const ALL: [Self; 3] = [Self::Decision, Self::Output, Self::Receipt];

    fn name(self) -> &'static str {
        match self {
            Self::Decision => "decision",
            Self::Output => "output",
            Self::Receipt => "receipt",
        }
    }

    /// Plans faults for this step of a request.
    fn plan(self, fixture: &ObjectsFixture, id: &str, faults: &[PlannedFault]) {
        let (call, key) = match self {
            Self::Decision => (Call::Put, decisions_prefix(id)),
            Self::Output => (Call::Complete, output_key(id)),
            Self::Receipt => (Call::Put, receipt_key(id)),
        };
        fixture.server.plan(call, &key, faults);
    }
}

/// Runs each case at each step. All cases of a round run at the same time.
pub(crate) fn bad_answers(scale: &Scale) -> String {
    let rounds = scale.of(5, 1);
    let mut requests = 0;
    for _ in 0..rounds {
        requests += round();
    }
    format!(
        "{requests} requests, each with another fault in the answer to the create of its decision, to the completion of its \
         output or to the create of its receipt: took effect and 500; took effect, no answer; took effect after the \
         worker had given up; took effect after the request was done; credentials expired; 409; 0 lost, 0 doubled, no \
         upload aborted that a decision names, no step taken twice"
    )
}

fn round() -> usize {
    let mut fixture = ObjectsFixture::new(FEW, INPUTS);
    fixture
        .variables
        .push(("INGEST_HOST_LIMITS_DIVIDED_BY", LIMITS_DIVIDED_BY.to_string()));
    let mut continuing = Vec::new();
    for step in Step::ALL {
        for case in &CASES {
            let id = format!("{}-{}", step.name(), case.name);
            step.plan(&fixture, &id, case.faults);
            fixture.submit_as(&id);
            if case.continues.contains(&step.name()) {
                continuing.push(id);
            }
        }
    }
    // The worker must recognize its own decision, and keep the uploads that this decision names.
    let id = "decision-lost-and-output-refused";
    Step::Decision.plan(&fixture, id, &[PlannedFault::AnswerLost]);
    Step::Output.plan(&fixture, id, &[PlannedFault::Refused]);
    fixture.submit_as(id);

    let workers = [0, 1].map(|machine| fixture.worker(machine, "--concurrency 12", None));
    let retried = fixture.wait_for_all();
    assert_eq!(retried, 0, "a request became dead");
    assert_eq!(fixture.server.planned_faults_left(), 0, "each fault has occurred");
    fixture.server.release_late_requests();
    fixture.wait_until("the late requests to take effect", |fixture| {
        fixture.server.pending_changes() == 0
    });
    let log = workers.iter().map(WorkerProcess::log).collect::<String>();
    workers.into_iter().for_each(WorkerProcess::stop);
    fixture.check();
    for id in continuing {
        let of_id = format!("\"id\":\"{id}\"");
        let lines: Vec<_> = log.lines().filter(|line| line.contains(&of_id)).collect();
        assert!(
            lines.iter().any(|line| line.contains("\"done\"")),
            "{id}: {lines:#?}"
        );
        let claims = lines.iter().filter(|line| line.contains("\"claimed\"")).count();
        let is_found = lines
            .iter()
            .any(|line| line.contains("was committed by an attempt before"));
        assert!(
            claims == 1 && !is_found,
            "the first attempt at {id} must continue: {lines:#?}"
        );
    }
    fixture.accepted.len()
}
