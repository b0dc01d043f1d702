// The functions of the host: log lines and counters of the plugin go out. `component.js` connects them to the host, and
// `testing.js` to a report.

/** Where lines and counts go. While the module of a plugin loads, there is no host, and they go nowhere. */
let host = { log() {}, count() {} };

/** Connects this module to a host. Returns the host before it. */
export function connect(next) {
    const before = host;
    host = next;
    return before;
}

/** Adds a whole number to the counter `name`, which the receipt reports. */
export function count(name, delta = 1) {
    if (!Number.isSafeInteger(delta) || delta < 0) {
        throw new TypeError(`count: ${delta} is no whole number from 0 on`);
    }
    host.count(String(name), delta);
}

const line = (level) => (message) => host.log(level, String(message));

/** Writes lines to the host's log. */
export const log = {
    trace: line("trace"),
    debug: line("debug"),
    info: line("info"),
    warn: line("warn"),
    error: line("error"),
};

/** The functions of `console`, each with the level of its lines. */
const CONSOLE = { trace: "trace", debug: "debug", log: "info", info: "info", warn: "warn", error: "error" };

/** Returns a `console` that writes to the host's log. */
export function consoleOfHost() {
    const text = (value) => (typeof value === "string" ? value : shown(value));
    const functions = Object.entries(CONSOLE).map(([name, level]) => [
        name,
        (...values) => host.log(level, values.map(text).join(" ")),
    ]);
    return Object.fromEntries(functions);
}

/** Returns the text of a value for the log. */
function shown(value) {
    if (value instanceof Error) {
        return `${value.name}: ${value.message}`;
    }
    if (typeof value !== "object" || value === null) {
        return String(value);
    }
    try {
        return JSON.stringify(value) ?? String(value);
    } catch {
        return String(value);
    }
}
