import assert from "node:assert/strict";
import test from "node:test";

import { run } from "ingest-plugin/testing";

import Alarms from "./plugin.js";

const HEADER = "id,station_id,alarm_id,parameter_id,start_time,end_time,value,threshold\n";

test("an alarm gets ISO times and a duration", () => {
    const report = run(
        Alarms,
        HEADER +
            "71,2001,309,121,2019-02-28 23:59:50,2019-03-01 00:00:05,199,200\n" +
            "72,2001,310,122,2019-02-28 10:00:00,2019-02-28 10:00:00,-31.5,30\n",
    );
    assert.equal(
        report.csv(),
        "id,station_id,alarm_id,parameter_id,start_time,end_time,value,threshold,duration_s\n" +
            "71,2001,309,121,2019-02-28T23:59:50,2019-03-01T00:00:05,199,200,15\n" +
            "72,2001,310,122,2019-02-28T10:00:00,2019-02-28T10:00:00,-31.5,30,0\n",
    );
    assert.equal(report.edited, 2);
});

test("what is not set is empty", () => {
    const report = run(Alarms, `${HEADER}71,2001,323,1,2019-02-28 10:00:00,,999999,999999\n`);
    for (const column of ["end_time", "value", "threshold", "duration_s"]) {
        assert.deepEqual(report.column(column), [""]);
    }
});

test("each fault has its code and reason", () => {
    const good = "71,2001,309,121,2019-02-28 10:00:00,2019-02-28 10:00:05,1.5,2";
    const cases = [
        ["71,", "0,", "bad-id", 'id: "0" is not a whole number above zero'],
        ["309", "", "bad-id", 'alarm_id: "" is not a whole number above zero'],
        ["02-28 10:00:00", "02-29 10:00:00", "bad-time", 'start_time: "2019-02-29 10:00:00" is not a time YYYY-MM-DD HH:MM:SS'],
        ["28 10:00:05", "28T10:00:05", "bad-time", 'end_time: "2019-02-28T10:00:05" is not a time YYYY-MM-DD HH:MM:SS'],
        [
            "10:00:05",
            "09:59:59",
            "ends-before-start",
            'end_time: "2019-02-28 09:59:59" is before the start, "2019-02-28 10:00:00"',
        ],
        [",1.5", ",1.5.0", "bad-number", 'value: "1.5.0" is not a number'],
        [",2", ",NaN", "bad-number", 'threshold: "NaN" is not a number'],
    ];
    for (const [from, to, code, reason] of cases) {
        const at = good.lastIndexOf(from);
        const report = run(Alarms, `${HEADER}${good.slice(0, at)}${to}${good.slice(at + from.length)}\n`);
        assert.deepEqual(report.rejects, [{ record: 1, code, reason }]);
    }
});

test("another header is refused", () => {
    assert.throws(() => run(Alarms, "id,when\n1,2\n"), {
        message: 'the input has no column "station_id", it has ["id", "when"]',
    });
});
