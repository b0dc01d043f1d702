// The exports of the component: the host's calls come in, in the order that the interface promises, and results in the
// types of the interface go out. `build.js` makes the module that calls `component`.

import { checkedConfig, checkedPlugin, Driver, OutOfMemory } from "./driver.js";
import { connect } from "./host.js";
import { Refusal } from "./reject.js";
import { explained, setLocator, stackLines } from "./stack.js";

/**
 * Returns the functions of the interface for a plugin.
 *
 * @param plugin the author's class or object
 * @param host the imports of the component: `log(level, message)` and `count(name, delta)`
 * @param about the plugin's `name` and `version`, and the table `lines` of `build.js`
 */
export function component(plugin, host, { name, version, lines }) {
    checkedPlugin(plugin);
    setLocator(locatorOf(lines));
    let driver = null;
    // While the component is built, its module runs without a host. So the host is connected by the first call.
    const answer = (call) => {
        connect(host);
        try {
            return call();
        } catch (thrown) {
            throw failure(thrown, host);
        }
    };
    return {
        describe: () => ({ name, version }),
        check: (config) => answer(() => void checkedConfig(plugin, config)),
        open: (input, config) =>
            answer(() => {
                driver = new Driver(plugin, input, config);
                return driver.plan;
            }),
        process: (batch) => answer(() => driver.process(batch)),
        finish: () => answer(() => driver.finish()),
    };
}

/** Returns what a call throws: a sentence, which is the error of the interface, or something else, which is a trap. */
function failure(thrown, host) {
    if (thrown instanceof Refusal) {
        return thrown.message;
    }
    if (thrown instanceof OutOfMemory) {
        host.log("error", "the plugin has no memory left");
        return 0;
    }
    if (thrown instanceof Error) {
        host.log("error", [explained(thrown), ...stackLines(thrown)].join("\n    "));
    }
    return explained(thrown);
}

/**
 * Returns a function that finds the author's file and line of a frame in the bundle. `lines` is the JSON of an object
 * with the names of the `files`, and for each line of the bundle a list of triples: the column from which on the code
 * is that of a file, the index of the file, and the line.
 */
function locatorOf(lines) {
    let table = null;
    return ({ line, column }) => {
        table ??= JSON.parse(lines);
        const triples = table.lines[line - 1] || [];
        let found = null;
        for (let at = 0; at < triples.length; at += 3) {
            if (found === null || triples[at] < column) {
                found = { file: table.files[triples[at + 1]], line: triples[at + 2] };
            }
        }
        return found;
    };
}
