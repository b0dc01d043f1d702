import assert from "node:assert/strict";
import test from "node:test";

import { Schema } from "../src/schema.js";

const schemaOf = (format, ...columns) => new Schema({ columns, format });
const outputOf = (plan) => plan.output.map(({ name, source }) => [name, source]);

test("added columns follow those of the input", () => {
    const schema = schemaOf("csv", "a", "b");
    schema.add("c", "integer");
    const plan = schema.plan(false);
    assert.deepEqual(outputOf(plan), [
        ["a", 0],
        ["b", 1],
        ["c", null],
    ]);
    assert.deepEqual(
        plan.output.map((column) => column.columnType),
        ["inherit", "inherit", "integer"],
    );
    assert.equal(plan.reads.length, 0);
    assert.equal(plan.stateful, false);
});

test("a config can make a plugin stateful", () => {
    const schema = schemaOf("csv", "a");
    schema.keepState();
    assert.equal(schema.plan(false).stateful, true);
    assert.equal(schemaOf("csv", "a").plan(true).stateful, true);
});

test("handles stay valid when columns move", () => {
    const schema = schemaOf("csv", "a", "b", "c");
    const [c, a, b] = [schema.read("c"), schema.read("a"), schema.output("b")];
    const d = schema.add("d", "text");
    schema.select([d, c, b]);
    schema.rename(b, "a");
    const plan = schema.plan(false);
    assert.deepEqual([...plan.reads], [2, 0]);
    assert.deepEqual(outputOf(plan), [
        ["d", null],
        ["c", 2],
        ["a", 1],
    ]);
    assert.deepEqual([d.index, c.output.index, a.output.index], [0, 1, -1]);
    assert.deepEqual([c.output.sourceField, b.sourceField, d.sourceField], [0, -1, -1]);
    assert.equal(schema.outputNamed("b"), b);
    assert.equal(schema.field("c"), c);
});

test("a dropped column can be selected again", () => {
    const schema = schemaOf("csv", "a", "b", "c");
    const [a, b, c] = ["a", "b", "c"].map((name) => schema.output(name));
    schema.drop(a);
    schema.drop(c);
    schema.select([c, a]);
    schema.drop(a);
    schema.drop(b);
    assert.deepEqual(outputOf(schema.plan(false)), [["c", 2]]);
});

test("a column that is read twice crosses once", () => {
    const schema = schemaOf("csv", "a", "b");
    assert.equal(schema.read("b"), schema.read("b"));
    assert.deepEqual([...schema.plan(false).reads], [1]);
});

test("a missing column is refused in CSV and awaited in JSONL", () => {
    const csv = schemaOf("csv", "a", "b");
    assert.equal(csv.readOptional("c"), null);
    assert.throws(() => csv.read("c"), { message: 'the input has no column "c", it has ["a", "b"]' });
    assert.throws(() => csv.read(" B"), {
        message: 'the input has no column " B", it has ["a", "b"]; "b" differs only in case or spaces',
    });
    const jsonl = schemaOf("jsonl", "a", "b");
    jsonl.add("x", "text");
    const c = jsonl.read("c");
    assert.equal(jsonl.readOptional("c"), c);
    assert.deepEqual(jsonl.columns, ["a", "b"]);
    const plan = jsonl.plan(false);
    assert.deepEqual(plan.moreColumns, ["c"]);
    assert.deepEqual([...plan.reads], [2]);
    assert.deepEqual(outputOf(plan)[3], ["c", 2]);
});

test("output columns need distinct names, and there must be one", () => {
    const twice = schemaOf("csv", "a");
    twice.add("a", "text");
    assert.throws(() => twice.plan(false), { message: 'the output has two columns "a", rename or drop one of them' });
    const none = schemaOf("csv", "a");
    none.drop(none.output("a"));
    assert.throws(() => none.plan(false), { message: "the output has no columns, keep one or add one" });
    assert.throws(() => none.add("b", "float"), /"float" is no type of a column/);
});

test("of two input columns with one name, the first is read", () => {
    const schema = schemaOf("jsonl", "a", "a");
    schema.read("a");
    assert.throws(() => schema.plan(false), { message: /two columns "a"/ });
});

test("columns need no linear search", () => {
    const names = Array.from({ length: 50_000 }, (_, at) => `column ${at}`);
    const schema = schemaOf("csv", ...names);
    const began = performance.now();
    for (const name of names) {
        schema.read(name);
        assert.equal(schema.readOptional(name.slice(1)), null);
    }
    assert.equal(schema.plan(false).reads.length, 50_000);
    assert(performance.now() - began < 30_000);
});
