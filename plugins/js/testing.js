// Runs a plugin natively, in the plugin's own tests: a CSV text comes in, a report goes out. The records go through
// batches and changes as in the sandbox.

import { checkedConfig, checkedPlugin, Driver } from "./src/driver.js";
import { connect } from "./src/host.js";
import { setLocator } from "./src/stack.js";
import { bytesOf, toUtf8 } from "./src/text.js";
import { csvRecords, csvText } from "./src/testing/csv.js";
import { Decoder } from "./src/testing/decode.js";

/** The number of records in a batch. The number is small, so that a test with few records has several batches. */
const BATCH_RECORDS = 3;

const PACKAGE = new URL(".", import.meta.url).href;

/** Runs the plugin on a CSV text whose first line is the header. */
export function run(plugin, csv, { config = {}, batchRecords = BATCH_RECORDS } = {}) {
    const [header, ...records] = csvRecords(csv);
    const report = new Report();
    return capture(report, () => {
        const input = { columns: header, format: "csv" };
        const driver = new Driver(checkedPlugin(plugin), input, jsonOf(config));
        report.begin(driver.plan);
        for (let at = 0; at < records.length; at += batchRecords) {
            const some = records.slice(at, at + batchRecords);
            report.addBatch(some, driver.process(batchOf(some, driver.plan.reads)));
        }
        report.end(driver.finish());
        return report;
    });
}

/** Checks a config without an input, as the host does before it binds the plugin to a queue. */
export function check(plugin, config = {}) {
    capture(new Report(), () => checkedConfig(checkedPlugin(plugin), jsonOf(config)));
}

/** The result of a test run. */
class Report {
    columns = [];
    types = [];
    rows = [];
    rejects = [];
    read = 0;
    kept = 0;
    edited = 0;
    replaced = 0;
    dropped = 0;
    rejected = 0;
    logs = [];
    counters = {};
    #sources = [];
    #decoder;

    /** Returns the output as CSV, with a header. */
    csv() {
        return csvText([this.columns, ...this.rows]);
    }

    /** Returns the values of the output in a column. */
    column(name) {
        const at = this.columns.indexOf(name);
        if (at < 0) {
            throw new RangeError(`the output has no column ${name}, it has ${this.columns.join(", ")}`);
        }
        return this.rows.map((row) => row[at]);
    }

    begin(plan) {
        this.columns = plan.output.map((column) => column.name);
        this.types = plan.output.map((column) => column.columnType);
        this.#sources = plan.output.map((column) => column.source);
        this.#decoder = new Decoder(plan.output.length);
    }

    addBatch(records, changes) {
        const outcomes = this.#decoder.outcomes(changes, records.length);
        records.forEach((record, at) => this.#add(record, outcomes[at]));
    }

    end(emitted) {
        this.rows.push(...this.#decoder.rows(emitted));
    }

    #add(record, { verdict, cells, rows, code, reason }) {
        this.read += 1;
        this[verdict] += 1;
        if (verdict === "rejected") {
            this.rejects.push({ record: this.read, code, reason });
            return;
        }
        if (verdict === "kept" || verdict === "edited") {
            const row = this.#sources.map((source) => (source === null ? "" : record[source]));
            cells.forEach(([column, text]) => {
                row[column] = text;
            });
            this.rows.push(row);
        }
        this.rows.push(...rows);
    }
}

/** Calls a function while the report takes what the plugin logs, prints and counts. */
function capture(report, call) {
    setLocator(nativePlace);
    const before = connect({
        log: (level, message) => report.logs.push({ level, message }),
        count: (name, delta) => {
            report.counters[name] = (report.counters[name] ?? 0) + delta;
        },
    });
    try {
        return call();
    } finally {
        connect(before);
    }
}

/** Returns the file and line of a frame in a file of the author, or null. */
function nativePlace({ file, line }) {
    const isOfPackage = file.startsWith(`${PACKAGE}src/`) || file === `${PACKAGE}testing.js`;
    if (isOfPackage || file.startsWith("node:") || file.includes("/node_modules/")) {
        return null;
    }
    return { file: file.slice(file.lastIndexOf("/") + 1), line };
}

function jsonOf(config) {
    return typeof config === "string" ? config : JSON.stringify(config);
}

/** Returns records as the host passes them: the bytes of the fields that are read, and where they are. */
function batchOf(records, reads) {
    const starts = [];
    const ends = [];
    let text = "";
    for (const record of records) {
        starts.push(text.length);
        for (const read of reads) {
            text += toUtf8(record[read]);
            ends.push(text.length);
            text += ",";
        }
    }
    return { bytes: bytesOf(text), starts: Uint32Array.from(starts), ends: Uint32Array.from(ends) };
}
