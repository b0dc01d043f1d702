//! Tests a row of the fault table in docs/reliability.md: an attempt is suspended in its commit on an object store. Before
//! it continues, its request is ended or retried, another attempt commits, or another program changes the objects.

use crate::Scale;
use crate::fixture::QUEUE;
use crate::objects_fixture::{BUCKET, ObjectsFixture, decisions_prefix, output_key, receipt_key};
use crate::support::s3::script::{Call, PlannedFault};
use crate::worker_process::WorkerProcess;

const FEW: usize = 100;
const INPUTS: usize = 4;

/// The options of a worker that ends when it finds no work.
const BURST: &str = "--concurrency 1 --burst --burst-wait 0s";

/// The steps of a commit after which an attempt is suspended, and whether the request is committed by then.
const STEPS: [(&str, bool); 4] = [
    ("staged", false),
    ("sealed", false),
    ("decided", true),
    ("completed", true),
];

/// The end of a request while its attempt is suspended.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Cancel,
    /// The suspended worker is the third one that the request has lost.
    Poison,
    /// Like `Poison`. Then the dead letter is retried, and the attempt of the new life is at its commit when the
    /// suspended worker continues.
    PoisonRetried,
}

/// Runs all cases, one after the other.
pub(crate) fn endings(scale: &Scale) -> String {
    let rounds = scale.of(5, 1);
    let mut fixture = ObjectsFixture::new(FEW, INPUTS);
    for round in 0..rounds {
        for (step, is_committed) in STEPS {
            for end in [End::Cancel, End::Poison, End::PoisonRetried] {
                let id = format!("{step}-{end:?}-{round}").to_lowercase();
                end_while_suspended(&mut fixture, &id, step, is_committed, end);
            }
        }
        let cases: [fn(&mut ObjectsFixture, &str); 5] = [
            two_decide,
            two_complete,
            the_decision_is_reaped,
            a_strange_object_is_there,
            a_strange_object_appears,
        ];
        for (number, case) in cases.into_iter().enumerate() {
            case(&mut fixture, &format!("case-{number}-{round}"));
        }
    }
    fixture.check();
    format!(
        "{} times suspended after the upload, before and after the decision, and after the output was visible; then a \
         cancel, the third lost worker or a `dead retry`: nothing of a request that ended ever appeared. Two attempts at \
         one decision, a decision that the reaper removed, and objects of another program: no output was made twice, \
         none was replaced",
        rounds * STEPS.len() * 3
    )
}

/// Submits a request, and starts a worker that is suspended when it passes this step of the request.
fn suspended(fixture: &mut ObjectsFixture, id: &str, step: &str) -> WorkerProcess {
    fixture.submit_as(id);
    suspend(fixture, 0, id, step)
}

fn suspend(fixture: &ObjectsFixture, machine: usize, id: &str, step: &str) -> WorkerProcess {
    let worker = fixture.worker(machine, BURST, Some(&format!("{step}:STOP:={id}")));
    fixture.wait_until("a worker to stand still", |_| worker.stands_still());
    worker
}

/// Runs a worker on the other machine until it finds no work.
fn finish(fixture: &ObjectsFixture) {
    let mut worker = fixture.worker(1, BURST, None);
    worker.wait();
}

fn state(fixture: &ObjectsFixture, id: &str) -> String {
    fixture.machines[0].status(id)["state"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn end_while_suspended(fixture: &mut ObjectsFixture, id: &str, step: &str, is_committed: bool, end: End) {
    let mut first = suspended(fixture, id, step);
    // The worker that ends the request cannot abort the output's upload.
    let uploads = output_key(id);
    fixture
        .server
        .plan(Call::Abort, &uploads, &[PlannedFault::Refused]);
    match end {
        End::Cancel => {
            fixture.machines[0].run(&format!("cancel {id}")).ok();
        }
        End::Poison | End::PoisonRetried => fixture.set_lost(id, 2),
    }
    fixture.machines[0].expire_lease(id);
    finish(fixture);
    if is_committed {
        assert_eq!(state(fixture, id), "done", "{id}");
        first.wake_until_it_ends();
        return;
    }
    if end == End::PoisonRetried {
        assert_eq!(state(fixture, id), "dead", "{id}");
        let retry = format!("dead retry --queue {QUEUE} {id}");
        fixture.machines[0].run(&retry).ok();
        let mut second = suspend(fixture, 1, id, "sealed");
        first.wake_until_it_ends();
        fixture.check_nothing(id);
        second.wake_until_it_ends();
        finish(fixture);
        assert_eq!(state(fixture, id), "done", "{id}");
        return;
    }
    fixture.check_nothing(id);
    first.wake_until_it_ends();
    let wanted = if end == End::Cancel { "cancelled" } else { "dead" };
    fixture.check_ended(id, wanted);
}

/// An attempt proposes its decision after another one has decided, and before there is a receipt.
fn two_decide(fixture: &mut ObjectsFixture, id: &str) {
    let mut first = suspended(fixture, id, "sealed");
    fixture.machines[0].expire_lease(id);
    let mut second = suspend(fixture, 1, id, "decided");
    first.wake_until_it_ends();
    second.wake_until_it_ends();
    finish(fixture);
    assert_eq!(state(fixture, id), "done");
}

/// Two attempts carry out the same decision at the same time.
fn two_complete(fixture: &mut ObjectsFixture, id: &str) {
    let mut first = suspended(fixture, id, "decided");
    fixture.machines[0].expire_lease(id);
    let parts = fixture.server.parts().len();
    let mut second = suspend(fixture, 1, id, "completed");
    assert_eq!(
        fixture.server.parts().len(),
        parts,
        "{id}: the output was uploaded again, although there was a decision"
    );
    first.wake_until_it_ends();
    second.wake_until_it_ends();
    finish(fixture);
    assert_eq!(state(fixture, id), "done");
}

/// An attempt sleeps for so long that the reaper has removed the decision about its request, and another program has
/// taken the output away.
fn the_decision_is_reaped(fixture: &mut ObjectsFixture, id: &str) {
    let mut first = suspended(fixture, id, "sealed");
    fixture.machines[0].expire_lease(id);
    finish(fixture);
    assert_eq!(state(fixture, id), "done");
    let keys = fixture.server.keys(BUCKET);
    for key in keys.iter().filter(|key| key.starts_with(&decisions_prefix(id))) {
        fixture.server.remove(BUCKET, key);
    }
    let (output, receipt) = (output_key(id), receipt_key(id));
    let [bytes, before] = [&output, &receipt].map(|key| fixture.server.read(BUCKET, key).unwrap());
    fixture.server.remove(BUCKET, &output);
    first.wake_until_it_ends();
    let again = fixture.server.read(BUCKET, &output).is_some();
    assert!(!again, "the output was made again");
    assert_eq!(fixture.server.read(BUCKET, &receipt), Some(before));
    fixture.server.put(BUCKET, &output, bytes);
}

/// Another program has stored an object with the output's name before the attempt begins.
fn a_strange_object_is_there(fixture: &mut ObjectsFixture, id: &str) {
    fixture.submit_as(id);
    fixture.put_strange(id);
    finish(fixture);
    check_refused(fixture, id);
}

/// Another program stores an object with the output's name after the attempt has looked for one. The attempt has or has
/// not made its decision by then.
fn a_strange_object_appears(fixture: &mut ObjectsFixture, id: &str) {
    for step in ["sealed", "decided"] {
        let id = format!("{id}-{step}");
        let mut worker = suspended(fixture, &id, step);
        fixture.put_strange(&id);
        worker.wake_until_it_ends();
        assert_eq!(state(fixture, &id), "delayed", "{}", worker.log());
        fixture.machines[0].make_due(&id);
        finish(fixture);
        check_refused(fixture, &id);
    }
}

fn check_refused(fixture: &mut ObjectsFixture, id: &str) {
    let status = fixture.machines[0].status(id);
    assert_eq!(status["code"], "output-exists", "{status}");
    fixture.check_ended(id, "dead");
}
