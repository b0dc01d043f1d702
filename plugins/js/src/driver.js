// Runs a plugin: a batch comes in, each of its records goes through the code of the author, and the changes go out. The
// driver is the same in the sandbox and in a native test.

import { changesWriter, emittedRows } from "./changes.js";
import { log } from "./host.js";
import { movingRecord } from "./record.js";
import { Refusal, Reject } from "./reject.js";
import { newRows, unwritableSentence } from "./rows.js";
import { Schema } from "./schema.js";
import { explained, stackLines } from "./stack.js";

/** The code of rejects for records on which the plugin threw an error. */
const PLUGIN_ERROR = "plugin-error";

/** The number of different errors whose stacks are logged. Most errors of one input have the same cause. */
const STACKS_MAX = 20;

/** Thrown if the engine has no memory left. Then every further record could fail, too, so the instance ends. */
export class OutOfMemory {}

/** Returns a plugin that an author exports, after a check of its form. */
export function checkedPlugin(plugin) {
    const isClass = typeof plugin === "function";
    const methods = isClass ? plugin.prototype : plugin;
    if (!isClass && (typeof plugin !== "object" || plugin === null)) {
        throw new TypeError("the module of the plugin must have a default export: a class or an object");
    }
    for (const method of ["open", "record"]) {
        if (typeof methods?.[method] !== "function") {
            throw new TypeError(`the plugin has no function ${method}`);
        }
    }
    if (typeof plugin.stateful !== "boolean") {
        const keyword = isClass ? "static stateful = false;" : "stateful: false,";
        throw new TypeError(`the plugin does not say if it keeps state: write \`${keyword}\` or true`);
    }
    return plugin;
}

/** Parses a config, and runs the plugin's `check` on it. */
export function checkedConfig(plugin, json) {
    let config;
    try {
        config = JSON.parse(json);
    } catch (error) {
        throw new Refusal(`config: ${error.message}`);
    }
    const open = typeof plugin === "function" ? plugin.prototype.open : plugin.open;
    if (open.length < 2 && plugin.check === undefined) {
        const [name] = Object.keys(config);
        if (name !== undefined) {
            throw new Refusal(`config: unknown field \`${name}\`: this plugin takes no config`);
        }
    }
    refusePromise("check", plugin.check?.(config));
    return config;
}

/** A plugin that has been opened for an input. */
export class Driver {
    /** The plan for the host. */
    plan;
    #plugin;
    #schema;
    #changes;
    #moving;
    /** The errors whose stacks are in the log. */
    #logged = new Set();

    constructor(plugin, input, json) {
        const config = checkedConfig(plugin, json);
        this.#schema = new Schema(input);
        this.#plugin = typeof plugin === "function" ? new plugin() : Object.create(plugin);
        refusePromise("open", this.#plugin.open(this.#schema, config));
        this.plan = this.#schema.plan(plugin.stateful);
        const width = this.plan.output.length;
        const emitted = newRows(this.#schema, width);
        this.#changes = changesWriter(emitted, width);
        this.#moving = movingRecord(this.#schema, this.plan, this.#changes, emitted);
    }

    /** Passes each record of a batch to the plugin, and returns the changes. */
    process(batch) {
        const plugin = this.#plugin;
        const changes = this.#changes;
        const { record, load, moveTo, settle } = this.#moving;
        const records = batch.starts.length;
        changes.begin(records);
        load(batch);
        for (let at = 0; at < records; at++) {
            moveTo(at);
            let answer;
            try {
                answer = plugin.record(record);
            } catch (thrown) {
                changes.reject(this.#rejectOf(thrown));
                continue;
            }
            if (answer !== undefined) {
                refusePromise("record", answer);
            }
            settle();
        }
        return changes.finish();
    }

    /** Returns the rows that the plugin adds at the end of the output. */
    finish() {
        const rows = newRows(this.#schema, this.plan.output.length);
        refusePromise("finish", this.#plugin.finish?.(rows));
        const column = rows.unwritable();
        if (column >= 0) {
            throw new Refusal(unwritableSentence(this.plan.output[column].name));
        }
        return emittedRows(rows);
    }

    /** Returns the reject for what `record` threw. */
    #rejectOf(thrown) {
        if (thrown instanceof Reject) {
            return thrown;
        }
        if (thrown instanceof Refusal) {
            throw thrown;
        }
        if (isOutOfMemory(thrown)) {
            throw new OutOfMemory();
        }
        const reason = explained(thrown);
        this.#logStack(reason, thrown);
        return new Reject(PLUGIN_ERROR, reason);
    }

    #logStack(reason, thrown) {
        if (!(thrown instanceof Error) || this.#logged.size >= STACKS_MAX) {
            return;
        }
        const lines = stackLines(thrown);
        const place = `${thrown.name} ${lines.join(" ")}`;
        if (!this.#logged.has(place)) {
            this.#logged.add(place);
            log.error([reason, ...lines].join("\n    "));
        }
    }
}

/** Refuses a promise: nothing in the sandbox ever fulfils one. */
function refusePromise(method, answer) {
    if (typeof answer?.then === "function") {
        throw new Refusal(`the plugin's function ${method} is async, but a plugin cannot wait`);
    }
}

function isOutOfMemory(thrown) {
    return thrown === "out of memory" || (thrown?.name === "InternalError" && /out of memory/.test(thrown.message));
}
