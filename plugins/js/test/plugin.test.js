import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { count, log, Refusal, Reject } from "../index.js";
import { component } from "../src/component.js";
import { Driver } from "../src/driver.js";
import { consoleOfHost } from "../src/host.js";
import { check, run } from "../testing.js";
import { randomInteger, randomText } from "./random.js";

/** Returns a plugin that reads all columns, and runs `record` on each record. */
const plugin = (record, more = {}) => ({
    stateful: false,
    open(schema) {
        schema.columns.forEach((name) => schema.read(name));
    },
    record,
    ...more,
});

test("each verdict is counted, and rows follow or replace their record", () => {
    const each = plugin((record) => {
        switch (record.get("a")) {
            case "edit":
                return record.set("a", "edited");
            case "drop":
                return record.drop();
            case "replace":
                record.set("a", "lost");
                record.emit().set("a", 1);
                record.emit().set("a", 2);
                return record.drop();
            case "keep+":
                record.emit().set("a", "more");
                return undefined;
            case "edit+":
                record.set("a", "edited");
                record.emit();
                return undefined;
            case "reject":
                record.set("a", "lost");
                record.emit().set("a", "lost");
                return record.reject("bad", "is bad", "a");
            default:
                return undefined;
        }
    });
    const verdicts = ["keep", "edit", "drop", "replace", "keep+", "edit+", "reject"];
    for (const batchRecords of [1, 2, 100]) {
        const report = run(each, `a,b\n${verdicts.map((verdict) => `${verdict},x\n`).join("")}`, { batchRecords });
        assert.equal(report.csv(), "a,b\nkeep,x\nedited,x\n1,\n2,\nkeep+,x\nmore,\nedited,x\n,\n");
        assert.deepEqual(report.rejects, [{ record: 7, code: "bad", reason: 'a: "reject" is bad' }]);
        const { read, kept, edited, replaced, dropped, rejected } = report;
        assert.deepEqual([read, kept, edited, replaced, dropped, rejected], [7, 2, 2, 1, 1, 1]);
    }
});

test("texts cross as they are", () => {
    const random = randomInteger(3);
    for (let round = 0; round < 300; round++) {
        const rows = Array.from({ length: random(7) }, () => [randomText(random), randomText(random)]);
        const seen = [];
        const swap = plugin((record) => {
            const [a, b] = [record.get("a"), record.get("b")];
            seen.push([a, b]);
            record.set("a", b);
            record.set("b", a);
        });
        const quoted = (field) => `"${field.replaceAll('"', '""')}"`;
        const report = run(swap, ["a,b", ...rows.map((row) => row.map(quoted).join(","))].join("\n"));
        assert.deepEqual(seen, rows);
        assert.deepEqual(
            report.rows,
            rows.map(([a, b]) => [b, a]),
        );
        assert.equal(report.kept, rows.filter(([a, b]) => a === b).length);
    }
});

test("any mix of verdicts and texts in a batch gives the rows of a model", () => {
    const random = randomInteger(5);
    for (let round = 0; round < 300; round++) {
        const rows = [];
        const rejects = [];
        let number = 0;
        const any = plugin((record) => {
            number += 1;
            const row = [record.get("a"), record.get("b")];
            for (let sets = random(4); sets > 0; sets--) {
                const at = random(2);
                row[at] = randomText(random);
                record.set("ab"[at], row[at]);
            }
            const emitted = Array.from({ length: random(3) }, () => ["", randomText(random)]);
            emitted.forEach(([, text]) => record.emit().set("b", text));
            const verdict = random(4);
            if (verdict === 0) {
                const reason = randomText(random);
                rejects.push({ record: number, code: "bad", reason });
                return record.reject("bad", reason);
            }
            rows.push(...(verdict === 1 ? [] : [row]), ...emitted);
            return verdict === 1 ? record.drop() : undefined;
        });
        const report = run(any, `a,b\n${"x,é\n".repeat(random(9))}`, { batchRecords: 1 + random(9) });
        assert.deepEqual(report.rows, rows);
        assert.deepEqual(report.rejects, rejects);
    }
});

test("columns that are not read stay outside, and can be set", () => {
    const outside = {
        stateful: false,
        open(schema) {
            schema.read("c");
            this.b = schema.output("b");
        },
        record(record) {
            assert.throws(() => record.get("a"), { name: "TypeError", message: /"a" is not read/ });
            record.set(this.b, `${record.get("c")}!`);
            record.set("a", "set");
        },
    };
    assert.equal(run(outside, "a,b,c\n1,2,3\n").csv(), "a,b,c\nset,3!,3\n");
});

test("of several values the last one holds, whether or not it can be written", () => {
    const runSteps = (emits, steps) =>
        run(
            {
                stateful: false,
                open(schema) {
                    schema.read("a");
                    schema.read("b");
                    schema.add("c", "number");
                },
                record(record) {
                    const row = emits ? record.emit() : record;
                    steps.forEach(([column, value]) => row.set(column, value ?? NaN));
                    if (emits) {
                        record.drop();
                    }
                },
            },
            "a,b\n1,2\n3,4\n",
        );
    // `?` stands for the value of the record. In a new row, that cell is empty.
    const written = [
        [[["a"], ["a", 7]], "7,?,"],
        [[["c"], ["c", 7]], "?,?,7"],
        [[["b"], ["b"], ["b", 7]], "?,7,"],
        [[["b", 5], ["b"], ["b", 7]], "?,7,"],
        [[["b"], ["a", 8], ["b", 7]], "8,7,"],
        [[["b"], ["c", 8], ["b", 7]], "?,7,8"],
        [[["a", 9], ["b"], ["c", 8], ["b", 7]], "9,7,8"],
        [[["c"], ["a"], ["a", 7], ["c", 8]], "7,?,8"],
        [[["c", 1], ["b", 2], ["a", 3], ["b", 4]], "3,4,1"],
    ];
    for (const [steps, cells] of written) {
        const rows = (inputs) =>
            inputs.map((input) => `${cells.split(",").map((cell, at) => (cell === "?" ? input[at] : cell)).join(",")}\n`);
        const edited = runSteps(false, steps);
        assert.equal(edited.csv(), `a,b,c\n${rows([["1", "2"], ["3", "4"]]).join("")}`, JSON.stringify(steps));
        assert.equal(runSteps(true, steps).csv(), `a,b,c\n${rows([["", ""], ["", ""]]).join("")}`, JSON.stringify(steps));
    }
    // The last step sets the value of the input again, so the first record is unchanged.
    const again = runSteps(false, [["a"], ["a", 1]]);
    assert.deepEqual([again.kept, again.edited, again.csv()], [1, 1, "a,b,c\n1,2,\n1,4,\n"]);
    const rejected = [
        [[["c"]], "c"],
        [[["a", 7], ["a"]], "a"],
        [[["a"], ["a", 7], ["a"]], "a"],
        [[["a"], ["b"], ["a", 7]], "b"],
        [[["c"], ["b"], ["b", 7]], "c"],
        [[["c"], ["b"]], "b"],
    ];
    for (const [steps, column] of rejected) {
        for (const emits of [false, true]) {
            const reason = `${column}: the plugin's value is not a finite number`;
            const { rejects } = runSteps(emits, steps);
            assert.deepEqual(
                rejects,
                [1, 2].map((record) => ({ record, code: "bad-value", reason })),
            );
        }
    }
});

test("a row that cannot be written stays so, and a dropped record writes nothing", () => {
    const open = (schema) => {
        schema.add("n", "number");
    };
    const twoRows = plugin(
        (record) => {
            record.emit().set("n", NaN);
            record.emit().set("n", 1);
        },
        { open },
    );
    assert.equal(run(twoRows, "a\n1\n").rejected, 1);
    const dropped = plugin(
        (record) => {
            record.set("n", NaN);
            record.drop();
        },
        { open },
    );
    assert.equal(run(dropped, "a\n1\n").dropped, 1);
    const rejectedAnyway = plugin(
        (record) => {
            record.set("n", NaN);
            record.reject("own", "is bad");
        },
        { open },
    );
    assert.deepEqual(run(rejectedAnyway, "a\n1\n").rejects, [{ record: 1, code: "own", reason: "is bad" }]);
    const atEnd = plugin(() => {}, { open, finish: (rows) => rows.emit().set("n", Infinity) });
    assert.throws(() => run(atEnd, "a\n"), { message: "n: the plugin's value is not a finite number" });
});

test("a string of JSONL gives way to a literal of the same text", () => {
    const same = {
        stateful: false,
        open(schema) {
            this.columns = ["n", "t", "s"].map((name) => schema.read(name));
            schema.convert(this.columns[0], "number");
            schema.convert(this.columns[1], "timestamp");
        },
        record(record) {
            this.columns.forEach((column) => record.set(column, record.get(column)));
        },
    };
    /** The fields are `5`, empty and `5`. `behind` has the character after each of them. */
    const changes = (format, behind) => {
        const driver = new Driver(same, { columns: ["n", "t", "s"], format }, "{}");
        const bytes = new TextEncoder().encode(`5${behind[0]}${behind[1]}5${behind[2]}`);
        const batch = { bytes, starts: Uint32Array.of(0), ends: Uint32Array.of(1, 2, 4) };
        const { verdicts, operands, bytes: texts } = driver.process(batch);
        return [[...verdicts], [...operands], new TextDecoder().decode(texts)];
    };
    const kept = [[], [], ""];
    assert.deepEqual(changes("jsonl", "\n\n\n"), kept);
    assert.deepEqual(changes("jsonl", '\n\n"'), kept);
    assert.deepEqual(changes("jsonl", '"\n"'), [[1], [1, 0, 1], "5"]);
    assert.deepEqual(changes("jsonl", '\n"\n'), [[1], [1, 1, 0], ""]);
    assert.deepEqual(changes("csv", '"""'), kept);
});

test("records stand in any order, and what is around their fields means nothing", () => {
    const seen = [];
    const collect = plugin((record) => void seen.push([record.get("a"), record.get("b")]));
    const driver = new Driver(collect, { columns: ["a", "b"], format: "csv" }, "{}");
    const bytes = Uint8Array.from([0xff, ...new TextEncoder().encode("cd,é"), 0xff, ...new TextEncoder().encode("a,"), 0xff]);
    driver.process({ bytes, starts: Uint32Array.of(7, 1), ends: Uint32Array.of(8, 9, 3, 6) });
    assert.deepEqual(seen, [
        ["a", ""],
        ["cd", "é"],
    ]);
});

test("more changes than the first room holds", () => {
    const wide = plugin((record) => {
        for (let row = 0; row < 1_000; row++) {
            record.emit().set("a", "x".repeat(row % 3)).set("b", row);
        }
    });
    const report = run(wide, "a,b\n1,2\n3,4\n", { batchRecords: 2 });
    assert.equal(report.rows.length, 2_002);
    assert.deepEqual(report.rows[2_001], ["", "999"]);
});

test("an error is one reject with its name, its message and the line of the author's file", () => {
    const faulty = plugin((record) => {
        record.set("a", "lost");
        record.emit();
        if (record.get("a") === "bad") {
            undefined.x; // this line is named below
        }
    });
    const source = new URL(import.meta.url).pathname;
    const report = run(faulty, "a\n1\nbad\n3\nbad\n");
    assert.deepEqual([report.edited, report.rejected, report.rows.length], [2, 2, 4]);
    for (const { code, reason } of report.rejects) {
        assert.equal(code, "plugin-error");
        assert.match(reason, /^TypeError: Cannot read properties of undefined.* \(plugin\.test\.js, line \d+\)$/);
    }
    const line = Number(/line (\d+)\)$/.exec(report.rejects[0].reason)[1]);
    assert.equal(lineOf(source, "// this line is named" + " below"), line);
    // The log has the stack once.
    assert.equal(report.logs.length, 1);
    assert.equal(report.logs[0].level, "error");
    assert(report.logs[0].message.startsWith(report.rejects[0].reason));
});

test("a misuse of this package names the author's line, not a line of the package", () => {
    const misuse = plugin((record) => record.set("a", {}));
    const [{ reason }] = run(misuse, "a\n1\n").rejects;
    assert.match(reason, /^TypeError: a cell cannot be set to a value of the type Object: pass a text \(plugin\.test\.js, line \d+\)$/);
});

test("whatever is thrown is a reject", () => {
    const reasonOf = (thrown) => {
        const throwing = plugin(() => {
            throw thrown;
        });
        return run(throwing, "a\n1\n").rejects[0].reason;
    };
    assert.equal(reasonOf("oops"), 'the plugin threw "oops"');
    assert.equal(reasonOf(undefined), "the plugin threw undefined");
    assert.match(reasonOf(new RangeError("two\n  lines\n    at x (y:1:1)")), /^RangeError: two lines at x \(y:1:1\) \(plugin\.test\.js, line \d+\)$/);
    assert.match(reasonOf(new Error("")), /^Error \(plugin\.test\.js, line \d+\)$/);
    assert.equal(reasonOf(new Reject("Own Code", "sentence")), "sentence");
    const endless = plugin(function record(next) {
        return record(next) + 1;
    });
    assert.match(run(endless, "a\n1\n").rejects[0].reason, /^RangeError: Maximum call stack size exceeded/);
});

test("a refusal fails the request from everywhere", () => {
    const refuse = () => {
        throw new Refusal("this fails");
    };
    for (const method of ["check", "open", "record", "finish"]) {
        assert.throws(() => run(plugin(() => {}, { [method]: refuse }), "a\n1\n"), { message: "this fails" });
    }
});

test("a plugin cannot wait", () => {
    for (const method of ["check", "open", "record", "finish"]) {
        const waiting = plugin(() => {}, { [method]: async () => {} });
        assert.throws(() => run(waiting, "a\n1\n"), {
            message: `the plugin's function ${method} is async, but a plugin cannot wait`,
        });
    }
});

test("a plugin of a wrong form is refused with what to do", () => {
    class NoStateful {
        open() {}
        record() {}
    }
    class NoRecord {
        static stateful = false;
        open() {}
    }
    assert.throws(() => run(NoStateful, "a\n"), /write `static stateful = false;` or true/);
    assert.throws(() => run(NoRecord, "a\n"), /the plugin has no function record/);
    assert.throws(() => run({ open() {}, record() {} }, "a\n"), /write `stateful: false,` or true/);
    assert.throws(() => run(undefined, "a\n"), /default export/);
});

test("each input has a plugin of its own", () => {
    class Counter {
        static stateful = true;
        seen = 0;
        open(schema) {
            this.n = schema.add("n", "integer");
        }
        record(record) {
            record.set(this.n, ++this.seen);
        }
    }
    for (let round = 0; round < 2; round++) {
        assert.deepEqual(run(Counter, "a\nx\ny\nz\nu\n").column("n"), ["1", "2", "3", "4"]);
    }
});

test("a config is checked before open, and a plugin without one takes none", () => {
    const limited = plugin(() => {}, {
        check(config) {
            if (!(config.max > 0)) {
                throw new Refusal("config: max is 0, which nothing passes");
            }
        },
        open(schema, config) {
            assert.equal(config.max, 3);
        },
    });
    check(limited, { max: 3 });
    assert.throws(() => check(limited, '{"max": 0}'), { message: "config: max is 0, which nothing passes" });
    assert.throws(() => run(limited, "other\n", { config: { max: 0 } }), { message: /max is 0/ });
    run(limited, "other\n", { config: { max: 3 } });
    assert.throws(() => check(plugin(() => {}), { max: 3 }), {
        message: "config: unknown field `max`: this plugin takes no config",
    });
    assert.throws(() => check(limited, "{"), { message: /^config: / });
});

test("what the plugin says is in the report", () => {
    const talking = plugin(
        (record) => {
            log.info(`read ${record.get("a")}`);
            count("seen");
            count("seen", 2);
            assert.throws(() => count("seen", -1), TypeError);
            assert.throws(() => count("seen", 0.5), TypeError);
        },
        { finish: () => log.warn("done") },
    );
    const report = run(talking, "a\n1\n2\n");
    assert.deepEqual(
        report.logs.map(({ level, message }) => `${level} ${message}`),
        ["info read 1", "info read 2", "warn done"],
    );
    assert.deepEqual(report.counters, { seen: 6 });
});

test("the component answers in the types of the interface", () => {
    const console = consoleOfHost();
    const lines = [];
    const counts = [];
    const host = { log: (level, message) => lines.push([level, message]), count: (name, delta) => counts.push([name, delta]) };
    const table = { files: ["x.js"], lines: [] };
    const about = { name: "talking", version: "1.2.3", lines: JSON.stringify(table) };
    const talking = plugin((record) => {
        console.log("value", record.get("a"), { b: 1 }, [2], undefined, new Error("e"));
        console.error("bad");
        count("seen");
        record.set("a", "ü");
    });
    const transform = component(talking, host, about);
    assert.deepEqual(transform.describe(), { name: "talking", version: "1.2.3" });
    assert.equal(transform.check("{}"), undefined);
    assert.throws(
        () => transform.check('{"x": 1}'),
        (thrown) => thrown === "config: unknown field `x`: this plugin takes no config",
    );
    const plan = transform.open({ columns: ["a"], format: "csv" }, "{}");
    assert.deepEqual(plan.output, [{ name: "a", columnType: "inherit", source: 0 }]);
    const batch = { bytes: Uint8Array.of(49), starts: Uint32Array.of(0), ends: Uint32Array.of(1) };
    const changes = transform.process(batch);
    assert.deepEqual([...changes.verdicts, ...changes.operands, ...changes.bytes], [1, 1, 0, 2, 0xc3, 0xbc]);
    assert.deepEqual(transform.finish(), { rows: 0, bytes: new Uint8Array(0), ends: new Uint32Array(0) });
    assert.deepEqual(lines, [
        ["info", 'value 1 {"b":1} [2] undefined Error: e'],
        ["error", "bad"],
    ]);
    assert.deepEqual(counts, [["seen", 1]]);
    const broken = component(plugin(() => {}, { open: () => undefined.x }), host, about);
    assert.throws(
        () => broken.open({ columns: ["a"], format: "csv" }, "{}"),
        (thrown) => /^TypeError: Cannot read/.test(thrown),
    );
});

function lineOf(path, text) {
    const lines = readFileSync(path, "utf8").split("\n");
    return 1 + lines.findIndex((line) => line.includes(text));
}
