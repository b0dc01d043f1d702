// Errors that the author did not mean to throw: an error comes in, a sentence with the line in the file of the author
// goes out.

import { quotedValue } from "./reject.js";

/** A frame of V8 and QuickJS: `at name (file:line:column)` or `at file:line:column`. */
const AT_FRAME = /^\s*at (?:.*\()?(.+?):(\d+)(?::(\d+))?\)?$/;
/** A frame of SpiderMonkey: `name@file:line:column`. */
const SIGN_FRAME = /^.*?@(.+?):(\d+)(?::(\d+))?$/;

/** Finds the author's file and line of a frame. Returns null for a frame of a library. */
let locate = ({ file, line }) => ({ file: file.slice(file.lastIndexOf("/") + 1), line });

/** Sets the function that finds the author's file and line of a frame. */
export function setLocator(next) {
    locate = next;
}

/**
 * Returns the name and message of an error, and the line of the author's file that threw it: `TypeError: x is not a
 * function (plugin.js, line 12)`.
 */
export function explained(thrown) {
    if (!(thrown instanceof Error)) {
        return `the plugin threw ${typeof thrown === "string" ? quotedValue(thrown) : String(thrown)}`;
    }
    const place = placeOf(thrown);
    const message = String(thrown.message).split(/\s+/).join(" ").trim();
    const text = message === "" ? thrown.name : `${thrown.name}: ${message}`;
    return place === null ? text : `${text} (${place.file}, line ${place.line})`;
}

/** Returns the file and line of the innermost frame in a file of the author, or null. */
function placeOf(error) {
    for (const line of framesOf(error)) {
        const frame = AT_FRAME.exec(line) ?? SIGN_FRAME.exec(line);
        const place = frame && locate({ file: frame[1], line: Number(frame[2]), column: Number(frame[3] ?? 1) });
        if (place) {
            return place;
        }
    }
    return null;
}

/** Returns the lines of an error's stack, without its message. */
function framesOf(error) {
    const stack = String(error.stack ?? "");
    const message = String(error.message);
    // V8 begins the stack with the error's name and message.
    const end = stack.startsWith(error.name) && message !== "" ? stack.indexOf(message) + message.length : 0;
    return stack.slice(end).split("\n").filter((line) => AT_FRAME.test(line) || SIGN_FRAME.test(line));
}

/** Returns the lines of an error's stack, with the author's files and lines where they are known. */
export function stackLines(error) {
    return framesOf(error).map((line) => {
        const frame = AT_FRAME.exec(line) ?? SIGN_FRAME.exec(line);
        const place = locate({ file: frame[1], line: Number(frame[2]), column: Number(frame[3] ?? 1) });
        return place === null ? line.trim() : `at ${place.file}, line ${place.line}`;
    });
}
